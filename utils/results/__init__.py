"""Result files: written, found and compared."""

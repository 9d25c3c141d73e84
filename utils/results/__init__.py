"""Result files: written, found, and held side by side."""

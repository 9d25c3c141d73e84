"""The evaluated data: found, verified, read."""

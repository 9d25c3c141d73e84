"""What was computed before, kept on disk."""

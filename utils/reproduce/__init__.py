"""Our results compared with the paper's tables."""

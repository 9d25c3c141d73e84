"""Keeps on disk what was computed before."""

"""A fitted detector over HTTP."""

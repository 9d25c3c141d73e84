"""Results as a page."""

"""The metrics: pure functions on arrays."""

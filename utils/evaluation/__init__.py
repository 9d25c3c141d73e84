"""A task is run on an encoder."""

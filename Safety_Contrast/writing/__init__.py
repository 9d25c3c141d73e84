"""A contrast set written by a chat model."""

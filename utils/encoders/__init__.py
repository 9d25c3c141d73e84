"""A name in, an encoder out."""

"""A fitted detector: made, kept, loaded and used."""

"""The evaluations inside other programs."""

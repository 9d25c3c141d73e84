"""The evaluations inside other programs, which go beyond the paper."""

"""Tuned encoders, which know more about safety than their base: no task of the paper."""

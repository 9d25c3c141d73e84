"""Detectors of unsafe prompts, and what their scores mean."""

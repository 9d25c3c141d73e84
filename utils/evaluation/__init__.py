"""Runs a task on an encoder."""

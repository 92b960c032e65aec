"""Scenes and plain twins that tests and benchmarks share."""

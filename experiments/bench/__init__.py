"""Benchmarks: implementations of the project against plain ones that compute the same numbers."""

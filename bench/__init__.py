"""Benchmarks: each a module that measures both sides in one run and prints one JSON object."""

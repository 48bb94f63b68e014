"""Comparisons of detectors that differ in one thing: planned, run and reported."""

"""Data, training and evaluation. Nothing here is needed to serve."""

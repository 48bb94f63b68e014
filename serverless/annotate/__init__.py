"""Whole jobs of a CVAT server: the clicks that people placed become boxes on every frame.

``python -m serverless.annotate --help`` tells how to use it.
"""

"""Limits that callers of a model keep, too; this imports nothing, so they need not load torch."""

MAX_PER_QUERY = 256
"""Exemplars of one query: each is compared with every tile."""

SIDES = (0.1, 100_000.0)
"""Of the boxes of exemplars, in pixels."""

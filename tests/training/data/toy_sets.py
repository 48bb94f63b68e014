"""A row of the registry of real sets, for tests."""

from __future__ import annotations

from dataclasses import MISSING, fields

from training.data.real_sets import RealSet


def a_set(name: str = "toy", **changes: object) -> RealSet:
    """Fill in what every row has to have."""
    needed = [one.name for one in fields(RealSet) if one.default is MISSING]
    values = dict.fromkeys(needed, "said") | {"name": name} | changes
    return RealSet(**values)  # type: ignore[arg-type]

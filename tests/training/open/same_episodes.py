"""Whether two batches are the same."""

from __future__ import annotations

from dataclasses import fields

import torch

from training.open.episodes import Episode


def same(first: Episode, second: Episode) -> bool:
    """Whether all tensors of two batches are equal."""
    return all(torch.equal(getattr(first, f.name), getattr(second, f.name)) for f in fields(first))

"""Batches that are taken more than once, where drawing them is slower than training on them.

Every ``reuse`` steps a batch is drawn. The step takes it as it is; the steps up to the next one
take one of the last batches at random, mirrored and turned at random. Which is decided by the seed
and the number of the step alone, so that a run that goes on takes what it would have taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
import torch

from training.open.episodes import Episode

KEPT = 6
"""Batches that are kept for each further step that is made of a batch."""

_REPLAYED = 1
"""Tells these random numbers from those that draw the batches."""


class Replay:
    """The last batches, on the device that trains.

    Args:
        reuse: Steps that are made of a batch, on average; 1: each step takes a new one.
        seed: Of the choice.
        step: The first step that is asked for.
        device: To keep the batches on.

    Attributes:
        first: Number of the first batch that is needed, one that was drawn before ``step`` or the
            next one.
    """

    def __init__(self, reuse: int, seed: int, step: int, device: torch.device) -> None:
        self._reuse, self._seed, self._device = reuse, seed, device
        most = 1 + KEPT * (reuse - 1)
        self._kept: deque[Episode] = deque(maxlen=most)
        drawn = -(-step // reuse)
        self._missing = min(drawn, most - (step % reuse == 0))
        self.first = drawn - self._missing

    def take(self, step: int, batches: Iterator[Episode]) -> Episode:
        """The batch of a step; steps are asked for one after the other.

        Args:
            step: Its number.
            batches: Those from number `first` on; the same iterator at every call.
        """
        is_new = step % self._reuse == 0
        for _ in range(self._missing + is_new):
            self._kept.append(next(batches).to(self._device))
        self._missing = 0
        if is_new:
            return self._kept[-1]
        rng = np.random.default_rng([self._seed, step, _REPLAYED])
        return self._kept[rng.integers(len(self._kept))].turned(int(rng.integers(8)))

"""How long pieces of work take, and whether there is time for another one before a deadline."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import torch

from c3det.devices import wait_for


class Pace:
    """The last times of each kind of work.

    A kind is ``"read"`` (the templates of clicks) or ``"search"`` (for objects), of a tile that is
    encoded already or not.
    """

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, bool], deque[float]] = {}

    def expected(self, kind: str, encoded: bool) -> float:
        """Seconds that a piece of work is likely to take: the median of the last three.

        Of a kind that was not timed yet, those of the other kind count; 0 if there are none.
        """
        alike = [seconds for (_, other), seconds in self._seconds.items() if other == encoded]
        own = self._seconds.get((kind, encoded))
        return max((median(seconds) for seconds in ([own] if own else alike)), default=0.0)

    @contextmanager
    def timed(self, kind: str, encoded: bool) -> Iterator[None]:
        """Time the block."""
        started = time.perf_counter()
        yield
        seconds = self._seconds.setdefault((kind, encoded), deque(maxlen=3))
        seconds.append(time.perf_counter() - started)


class TimeBudget:
    """Of one call: whether another piece of work may start, and the seconds of each stage.

    Args:
        deadline: A value of `time.monotonic`; ``None``: none.
        reserved_seconds: What is likely to be needed after the last piece of work.
        device: That computes.
    """

    def __init__(
        self, deadline: float | None, reserved_seconds: float, device: torch.device
    ) -> None:
        self.seconds = {"encode": 0.0, "detect": 0.0}
        self._device = device
        self._deadline = deadline
        self._reserved_seconds = reserved_seconds
        self._started_one = False

    def allows(self, seconds: float) -> bool:
        """Whether work that takes so long may start. The first piece always may."""
        late = (
            self._deadline is not None
            and time.monotonic() + seconds + self._reserved_seconds >= self._deadline
        )
        if late and self._started_one:
            return False
        self._started_one = True
        return True

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the seconds of the block to a stage, on a GPU until it is done there."""
        wait_for(self._device)
        started = time.perf_counter()
        try:
            yield
            wait_for(self._device)
        finally:
            self.seconds[stage] += time.perf_counter() - started

"""The last pictures, so that a further click on one neither decodes nor encodes it again.

1. A picture is known by its key, a digest of its file: a worker has one model on one device.
2. All pictures take at most ``max_bytes``; the one that was used longest ago is dropped first.
3. A picture grows while it is used, so it is measured after each use. If it alone takes more than
   ``max_bytes``, it is trimmed, and dropped if that does not suffice.
4. A picture that was not used for ``seconds`` is dropped at the next request.

A worker answers one request at a time, so there are no locks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar


class Cacheable(Protocol):
    """What the cache keeps."""

    @property
    def nbytes(self) -> int:
        """Memory held now."""

    def trim(self, max_bytes: int) -> None:
        """Drop what can be computed again until at most ``max_bytes`` are held, if possible."""


P = TypeVar("P", bound=Cacheable)


class PictureCache(Generic[P]):
    """Pictures by content, see the policy at the top of the module.

    ``hits`` and ``misses`` count the uses of pictures that were known and that were not.
    """

    def __init__(
        self, max_bytes: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._clock = clock
        # With the time of the last use; the latest use comes last.
        self._pictures: dict[str, tuple[P, float]] = {}
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._pictures)

    @property
    def nbytes(self) -> int:
        """Memory that the pictures hold now."""
        return sum(picture.nbytes for picture, _ in self._pictures.values())

    @contextmanager
    def use(self, key: str, open_picture: Callable[[], P]) -> Iterator[tuple[P, bool]]:
        """Give the picture under ``key`` while the block lasts, and whether it was known.

        ``open_picture`` opens it where it is not; what this raises is raised here.
        """
        oldest = self._clock() - self._seconds
        for each, (_, last_use) in list(self._pictures.items()):
            if last_use < oldest:
                del self._pictures[each]
        known = key in self._pictures
        if known:
            self.hits += 1
            picture, _ = self._pictures.pop(key)
        else:
            self.misses += 1
            picture = open_picture()
        try:
            yield picture, known
        finally:
            if picture.nbytes > self._max_bytes:
                picture.trim(self._max_bytes)
            if picture.nbytes <= self._max_bytes:
                self._pictures[key] = (picture, self._clock())
                while self.nbytes > self._max_bytes:
                    del self._pictures[next(iter(self._pictures))]

    def clear(self) -> None:
        """Drop all pictures."""
        self._pictures.clear()

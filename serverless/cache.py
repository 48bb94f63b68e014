"""The pictures seen last, so that a further click opens and computes none of them again.

1. A picture is known by its content: SHA-256 of its file, SHA-256 of the weights, and the device.
2. All known pictures take at most ``max_bytes``; the one that was used longest ago goes first.
3. A picture grows while it is used, so it is measured after each use. If it alone takes more than
   ``max_bytes``, it is asked to trim itself, and goes if that does not suffice.
4. A picture that nobody used for ``seconds`` goes at the next request.
5. Requests for one picture open it once; those that come meanwhile wait. If that fails, nothing is
   kept, and each of those that waited tries for itself: the next error may be another, or none.
6. A picture in use is neither forgotten nor trimmed. Safe from several threads.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Cacheable(Protocol):
    """What the cache keeps."""

    @property
    def nbytes(self) -> int:
        """Memory held now."""

    def trim(self, max_bytes: int) -> None:
        """Forget what can be computed again until at most ``max_bytes`` are held, if possible."""


P = TypeVar("P", bound=Cacheable)


@dataclass(frozen=True, slots=True)
class PictureKey:
    """What makes two pictures the same to the cache.

    Attributes:
        picture: SHA-256 of the picture's file, in hexadecimal.
        weights: SHA-256 of the weights, in hexadecimal.
        device: Where the model runs.
    """

    picture: str
    weights: str
    device: str

    @classmethod
    def of(cls, picture: bytes, weights: str, device: str) -> PictureKey:
        """Return the key of an encoded picture."""
        return cls(hashlib.sha256(picture).hexdigest(), weights, device)


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What a cache did since the start.

    Attributes:
        hits: Uses of a picture that was known, or that another request was just opening.
        misses: Attempts to open a picture.
        failures: How many of these failed.
        evictions: Pictures that went because there was no room.
        expired: Pictures that went because nobody used them.
        entries: Pictures known now.
        bytes: Memory that they took when each was last measured.
    """

    hits: int = 0
    misses: int = 0
    failures: int = 0
    evictions: int = 0
    expired: int = 0
    entries: int = 0
    bytes: int = 0


class _Entry(Generic[P]):
    """A picture that is known, or that its first user is opening."""

    def __init__(self) -> None:
        self.picture: P | None = None
        self.opened = threading.Event()
        self.users = 1
        self.nbytes = 0
        self.last_use = 0.0


class PictureCache(Generic[P]):
    """Pictures by content, see the policy at the top of the module.

    Args:
        max_bytes: Memory that they may take together between two requests.
        seconds: How long a picture that nobody uses stays.
        clock: Seconds that only ever grow.
    """

    def __init__(
        self, max_bytes: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._clock = clock
        self._entries: OrderedDict[PictureKey, _Entry[P]] = OrderedDict()
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(("hits", "misses", "failures", "evictions", "expired"), 0)

    @contextmanager
    def use(self, key: PictureKey, open_picture: Callable[[], P]) -> Iterator[tuple[P, bool]]:
        """Give the picture under ``key``, for as long as the block lasts.

        Args:
            key: Of the picture.
            open_picture: Makes it where it is not known; what it raises is raised here.

        Yields:
            The picture, and whether it was known.
        """
        entry, known = self._enter(key, open_picture)
        assert entry.picture is not None
        try:
            yield entry.picture, known
        finally:
            self._leave(key, entry, entry.picture)

    def clear(self) -> None:
        """Forget everything; who uses a picture keeps it until the end of its use."""
        with self._lock:
            for key in [key for key, entry in self._entries.items() if entry.opened.is_set()]:
                del self._entries[key]

    def stats(self) -> CacheStats:
        """Return what happened so far."""
        with self._lock:
            return CacheStats(**self._counts, entries=len(self._entries), bytes=self._bytes())

    def _enter(self, key: PictureKey, open_picture: Callable[[], P]) -> tuple[_Entry[P], bool]:
        while True:
            with self._lock:
                self._expire()
                entry = self._entries.get(key)
                if entry is None:
                    entry = self._entries[key] = _Entry()
                    self._counts["misses"] += 1
                    break
                entry.users += 1
                self._entries.move_to_end(key)
            entry.opened.wait()
            if entry.picture is not None:
                with self._lock:
                    self._counts["hits"] += 1
                return entry, True
        try:
            entry.picture = open_picture()
            entry.nbytes = entry.picture.nbytes
        except BaseException:
            with self._lock:
                entry.picture = None
                del self._entries[key]
                self._counts["failures"] += 1
            raise
        finally:
            entry.opened.set()
        return entry, False

    def _leave(self, key: PictureKey, entry: _Entry[P], picture: P) -> None:
        # The picture is asked outside the lock: another user may hold it for long.
        nbytes = picture.nbytes
        if nbytes > self._max_bytes and entry.users == 1:
            picture.trim(self._max_bytes)
            nbytes = picture.nbytes
        with self._lock:
            entry.nbytes = nbytes
            entry.last_use = self._clock()
            entry.users -= 1
            self._make_room()

    def _expire(self) -> None:
        before = self._clock() - self._seconds
        for key, entry in list(self._entries.items()):
            if not entry.users and entry.last_use < before:
                del self._entries[key]
                self._counts["expired"] += 1

    def _make_room(self) -> None:
        unused = [(key, entry) for key, entry in self._entries.items() if not entry.users]
        # One that never fits takes no other with it.
        unused.sort(key=lambda item: item[1].nbytes <= self._max_bytes)
        excess = self._bytes() - self._max_bytes
        for key, entry in unused:
            if excess <= 0:
                break
            del self._entries[key]
            excess -= entry.nbytes
            self._counts["evictions"] += 1

    def _bytes(self) -> int:
        return sum(entry.nbytes for entry in self._entries.values())

"""The cache of pictures, with a fake encoder and every interleaving forced by events."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from serverless.cache import CacheStats, PictureCache, PictureKey

PATIENCE_S = 20


class Picture:
    """Holds some bytes; ``trim`` cannot bring it below ``least``."""

    def __init__(self, nbytes: int, least: int = 0) -> None:
        self.nbytes = nbytes
        self.least = least
        self.trims: list[int] = []

    def trim(self, max_bytes: int) -> None:
        self.trims.append(max_bytes)
        self.nbytes = max(self.least, min(self.nbytes, max_bytes))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def key(name: str) -> PictureKey:
    return PictureKey(name, "weights", "cpu")


def must_be_known() -> Picture:
    raise AssertionError("the picture was opened again")


def look(cache: PictureCache[Picture], name: str, nbytes: int = 100) -> tuple[Picture, bool]:
    """Use a picture and leave it at once."""
    with cache.use(key(name), lambda: Picture(nbytes)) as (picture, known):
        return picture, known


def test_what_makes_a_key() -> None:
    one = PictureKey.of(b"abc", "weights", "cpu")
    assert one.picture == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert one == PictureKey.of(b"abc", "weights", "cpu")
    others = {
        PictureKey.of(b"abd", "weights", "cpu"),
        PictureKey.of(b"abc", "other", "cpu"),
        PictureKey.of(b"abc", "weights", "cuda:0"),
    }
    assert one not in others
    assert len(others) == 3


def test_a_picture_is_opened_once() -> None:
    cache = PictureCache[Picture](1000, 60)
    first, known = look(cache, "a")
    assert not known
    with cache.use(key("a"), must_be_known) as (again, known):
        assert known
        assert again is first
    assert cache.stats() == CacheStats(hits=1, misses=1, entries=1, bytes=100)


def test_what_was_used_longest_ago_goes_first() -> None:
    cache = PictureCache[Picture](300, 60)
    for name in ("a", "b", "c", "a", "d"):
        look(cache, name)
    assert [look(cache, name)[1] for name in ("a", "c", "d")] == [True] * 3
    assert cache.stats() == CacheStats(hits=4, misses=4, evictions=1, entries=3, bytes=300)
    assert not look(cache, "b")[1]


def test_a_picture_is_measured_again_after_each_use() -> None:
    cache = PictureCache[Picture](300, 60)
    look(cache, "a")
    look(cache, "b")
    with cache.use(key("b"), must_be_known) as (picture, _):
        picture.nbytes = 250
    assert cache.stats() == CacheStats(hits=1, misses=2, evictions=1, entries=1, bytes=250)
    assert look(cache, "b")[1]


def test_a_picture_above_the_limit_trims_itself_and_takes_no_other_with_it() -> None:
    cache = PictureCache[Picture](300, 60)
    look(cache, "a")
    with cache.use(key("b"), lambda: Picture(100)) as (picture, _):
        picture.nbytes = 500
    assert picture.trims == [300]
    # Trimmed to 300, it fits alone; the older one goes.
    assert cache.stats() == CacheStats(misses=2, evictions=1, entries=1, bytes=300)
    with cache.use(key("c"), lambda: Picture(100)):
        pass
    with cache.use(key("d"), lambda: Picture(400, least=301)) as (stubborn, _):
        pass
    assert stubborn.trims == [300]
    assert [look(cache, name)[1] for name in ("c", "d")] == [True, False]


def test_a_limit_of_nothing_keeps_nothing() -> None:
    cache = PictureCache[Picture](0, 60)
    with cache.use(key("a"), lambda: Picture(100, least=10)):
        assert cache.stats().entries == 1
    assert cache.stats() == CacheStats(misses=1, evictions=1)


def test_what_nobody_uses_expires() -> None:
    clock = Clock()
    cache = PictureCache[Picture](1000, 60, clock)
    look(cache, "a")
    clock.now = 50
    look(cache, "b")
    clock.now = 61
    look(cache, "b")
    assert cache.stats() == CacheStats(hits=1, misses=2, expired=1, entries=1, bytes=100)
    clock.now = 121
    assert look(cache, "b")[1], "a use lets the time begin anew"


def test_a_picture_in_use_does_not_expire() -> None:
    clock = Clock()
    cache = PictureCache[Picture](1000, 60, clock)
    with cache.use(key("a"), lambda: Picture(100)) as (picture, _):
        clock.now = 1000
        look(cache, "b")
        assert look(cache, "a") == (picture, True)
    assert cache.stats().expired == 0


def test_a_picture_in_use_is_neither_forgotten_nor_trimmed() -> None:
    cache = PictureCache[Picture](100, 60)
    with cache.use(key("a"), lambda: Picture(80)) as (picture, _):
        with cache.use(key("a"), must_be_known) as (same, _):
            same.nbytes = 150
        assert picture.trims == [], "the first user still has it"
        look(cache, "b", 90)
        assert look(cache, "a") == (picture, True)
        assert picture.trims == []
    assert picture.trims == [100]
    assert look(cache, "a")[1]


def test_clear_leaves_users_their_picture() -> None:
    cache = PictureCache[Picture](1000, 60)
    with cache.use(key("a"), lambda: Picture(100)) as (picture, _):
        cache.clear()
        other, known = look(cache, "a")
        assert not known
        assert other is not picture
    assert cache.stats() == CacheStats(misses=2, entries=1, bytes=100)
    assert look(cache, "a") == (other, True)


def test_an_error_of_the_user_keeps_the_picture() -> None:
    cache = PictureCache[Picture](1000, 60)
    with pytest.raises(ValueError, match="outside"), cache.use(key("a"), lambda: Picture(1)):
        raise ValueError("outside")
    assert look(cache, "a")[1]


class Encoder:
    """Opens pictures, each call held back until ``go`` is called for it."""

    def __init__(self) -> None:
        self._begun: list[threading.Event] = [threading.Event() for _ in range(9)]
        self._go: list[threading.Event] = [threading.Event() for _ in range(9)]
        self._results: list[Picture | BaseException] = []
        self._lock = threading.Lock()
        self.calls = 0

    def __call__(self) -> Picture:
        with self._lock:
            call = self.calls
            self.calls += 1
        self._begun[call].set()
        assert self._go[call].wait(PATIENCE_S)
        result = self._results[call]
        if isinstance(result, BaseException):
            raise result
        return result

    def wait_for_call(self, call: int) -> None:
        assert self._begun[call].wait(PATIENCE_S)

    def go(self, result: Picture | BaseException) -> None:
        self._results.append(result)
        self._go[len(self._results) - 1].set()


@contextmanager
def threads() -> Iterator[Callable[..., Future[tuple[Picture, bool]]]]:
    with ThreadPoolExecutor(4) as pool:

        def ask(cache: PictureCache[Picture], name: str, encoder: Encoder) -> tuple[Picture, bool]:
            with cache.use(key(name), encoder) as got:
                return got

        yield lambda cache, name, encoder: pool.submit(ask, cache, name, encoder)


class WaitingCache(PictureCache[Picture]):
    """Tells when so many requests have entered, by its clock, which each reads once on its way."""

    def __init__(self, max_bytes: int = 1000) -> None:
        self._entered = threading.Semaphore(0)

        def clock() -> float:
            self._entered.release()
            return 0.0

        super().__init__(max_bytes, 60, clock)

    def wait_for_entry(self) -> None:
        assert self._entered.acquire(timeout=PATIENCE_S)
        # The clock is read inside the lock: once it is free, the request waits or opens.
        with self._lock:
            pass


def test_two_requests_for_one_picture_open_it_once() -> None:
    cache, encoder, picture = WaitingCache(), Encoder(), Picture(100)
    with threads() as ask:
        first = ask(cache, "a", encoder)
        cache.wait_for_entry()
        encoder.wait_for_call(0)
        second = ask(cache, "a", encoder)
        cache.wait_for_entry()
        assert not second.done()
        encoder.go(picture)
        assert first.result(PATIENCE_S) == (picture, False)
        assert second.result(PATIENCE_S) == (picture, True)
    assert encoder.calls == 1
    assert cache.stats() == CacheStats(hits=1, misses=1, entries=1, bytes=100)


def test_other_pictures_do_not_wait() -> None:
    cache, slow = WaitingCache(), Encoder()
    with threads() as ask:
        first = ask(cache, "a", slow)
        slow.wait_for_call(0)
        assert not look(cache, "b")[1]
        assert cache.stats().entries == 2
        slow.go(Picture(1))
        first.result(PATIENCE_S)


def test_after_a_failure_nothing_is_kept_and_who_waited_tries_again() -> None:
    cache, encoder, picture = WaitingCache(), Encoder(), Picture(100)
    with threads() as ask:
        first = ask(cache, "a", encoder)
        cache.wait_for_entry()
        encoder.wait_for_call(0)
        second = ask(cache, "a", encoder)
        cache.wait_for_entry()
        encoder.go(MemoryError("no room"))
        with pytest.raises(MemoryError, match="no room"):
            first.result(PATIENCE_S)
        encoder.wait_for_call(1)
        encoder.go(picture)
        assert second.result(PATIENCE_S) == (picture, False)
    assert cache.stats() == CacheStats(misses=2, failures=1, entries=1, bytes=100)


def test_each_of_those_that_waited_gets_its_own_error() -> None:
    cache, encoder = WaitingCache(), Encoder()
    with threads() as ask:
        first = ask(cache, "a", encoder)
        cache.wait_for_entry()
        encoder.wait_for_call(0)
        second = ask(cache, "a", encoder)
        cache.wait_for_entry()
        encoder.go(ValueError("one"))
        encoder.go(ValueError("two"))
        with pytest.raises(ValueError, match="one"):
            first.result(PATIENCE_S)
        with pytest.raises(ValueError, match="two"):
            second.result(PATIENCE_S)
    assert cache.stats() == CacheStats(misses=2, failures=2)


def test_a_picture_that_cannot_be_measured_is_a_failure() -> None:
    class Broken(Picture):
        @property
        def nbytes(self) -> int:
            raise RuntimeError("broken")

        @nbytes.setter
        def nbytes(self, value: int) -> None:
            pass

    cache = PictureCache[Picture](1000, 60)
    with pytest.raises(RuntimeError, match="broken"), cache.use(key("a"), lambda: Broken(1)):
        pass
    assert cache.stats() == CacheStats(misses=1, failures=1)


def test_clear_does_not_disturb_a_picture_that_is_being_opened() -> None:
    cache, encoder, picture = WaitingCache(), Encoder(), Picture(100)
    with threads() as ask:
        first = ask(cache, "a", encoder)
        encoder.wait_for_call(0)
        cache.clear()
        encoder.go(picture)
        assert first.result(PATIENCE_S) == (picture, False)
    assert look(cache, "a") == (picture, True)


def test_a_crowd_keeps_the_limit() -> None:
    cache = PictureCache[Picture](500, 60)
    start = threading.Barrier(4)

    def crowd(worker: int) -> None:
        start.wait(PATIENCE_S)
        for step in range(200):
            with cache.use(key(str((worker + step) % 7)), lambda: Picture(100)) as (picture, _):
                picture.nbytes = 100 + step % 3 * 50

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(crowd, worker) for worker in range(4)]:
            done.result(PATIENCE_S)
    stats = cache.stats()
    assert stats.hits + stats.misses == 800
    assert stats.bytes <= 500
    assert stats.failures == 0

"""The policy of the cache of pictures."""

from __future__ import annotations

import pytest

from serverless.cache import PictureCache


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


def must_be_known() -> Picture:
    raise AssertionError("the picture was opened again")


def look(cache: PictureCache[Picture], name: str, nbytes: int = 100) -> tuple[Picture, bool]:
    """Use a picture and leave it at once."""
    with cache.use(name, lambda: Picture(nbytes)) as (picture, known):
        return picture, known


def state(cache: PictureCache[Picture]) -> tuple[int, int, int, int]:
    """Hits, misses, number of pictures and their bytes."""
    return cache.hits, cache.misses, len(cache), cache.nbytes


def test_a_picture_is_opened_once() -> None:
    cache = PictureCache[Picture](1000, 60)
    first, known = look(cache, "a")
    assert not known
    with cache.use("a", must_be_known) as (again, known):
        assert known
        assert again is first
    assert state(cache) == (1, 1, 1, 100)


def test_what_was_used_longest_ago_goes_first() -> None:
    cache = PictureCache[Picture](300, 60)
    for name in ("a", "b", "c", "a", "d"):
        look(cache, name)
    assert [look(cache, name)[1] for name in ("a", "c", "d")] == [True] * 3
    assert state(cache) == (4, 4, 3, 300)
    assert not look(cache, "b")[1]


def test_a_picture_is_measured_again_after_each_use() -> None:
    cache = PictureCache[Picture](300, 60)
    look(cache, "a")
    look(cache, "b")
    with cache.use("b", must_be_known) as (picture, _):
        picture.nbytes = 250
    assert state(cache) == (1, 2, 1, 250)
    assert look(cache, "b")[1]


def test_a_picture_above_the_limit_trims_itself_and_takes_no_other_with_it() -> None:
    cache = PictureCache[Picture](300, 60)
    look(cache, "a")
    with cache.use("b", lambda: Picture(100)) as (picture, _):
        picture.nbytes = 500
    assert picture.trims == [300]
    # Trimmed to 300, it fits alone; the older one goes.
    assert state(cache) == (0, 2, 1, 300)
    with cache.use("c", lambda: Picture(100)):
        pass
    with cache.use("d", lambda: Picture(400, least=301)) as (stubborn, _):
        pass
    assert stubborn.trims == [300]
    assert [look(cache, name)[1] for name in ("c", "d")] == [True, False]


def test_a_limit_of_nothing_keeps_nothing() -> None:
    cache = PictureCache[Picture](0, 60)
    look(cache, "a", 100)
    with cache.use("b", lambda: Picture(100, least=10)):
        pass
    assert not look(cache, "b")[1]
    assert cache.nbytes == 0


def test_what_nobody_uses_expires() -> None:
    clock = Clock()
    cache = PictureCache[Picture](1000, 60, clock)
    look(cache, "a")
    clock.now = 50
    look(cache, "b")
    clock.now = 61
    look(cache, "b")
    assert state(cache) == (1, 2, 1, 100)
    clock.now = 121
    assert look(cache, "b")[1], "the time counts from the last use"


def test_clear_drops_all() -> None:
    cache = PictureCache[Picture](1000, 60)
    look(cache, "a")
    cache.clear()
    assert state(cache) == (0, 1, 0, 0)
    assert not look(cache, "a")[1]


def test_an_error_of_the_user_keeps_the_picture() -> None:
    cache = PictureCache[Picture](1000, 60)
    with pytest.raises(ValueError, match="outside"), cache.use("a", lambda: Picture(1)):
        raise ValueError("outside")
    assert look(cache, "a")[1]


def test_a_picture_that_cannot_be_opened_is_not_kept() -> None:
    def fail() -> Picture:
        raise MemoryError("no room")

    cache = PictureCache[Picture](1000, 60)
    with pytest.raises(MemoryError, match="no room"), cache.use("a", fail):
        pass
    assert state(cache) == (0, 1, 0, 0)
    assert not look(cache, "a")[1]

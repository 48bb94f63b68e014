"""Which tiles are packed and dropped, with tiles of 100 bytes that hold nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from c3det.tile_cache import TileCache

SHARED = torch.zeros(5)  # 20 bytes


class FakeTile:
    image_size = (1, 1)

    def __init__(self) -> None:
        self.packed = False

    @property
    def nbytes(self) -> int:
        return 50 if self.packed else 100

    def pack(self) -> None:
        self.packed = True

    def unpack(self) -> None:
        self.packed = False

    def borrowed(self) -> list[torch.Tensor]:
        return [SHARED]


class FakeModel:
    def kept_for(self, tile: FakeTile) -> list[torch.Tensor]:
        return [SHARED, torch.zeros(1)]  # 4 bytes


@pytest.fixture
def cache() -> TileCache:
    model: Any = FakeModel()
    cache = TileCache(model)
    for index in range(4):
        tile: Any = FakeTile()
        cache[index] = tile
    return cache


def state(cache: TileCache) -> dict[int, bool]:
    return {index: tile.packed for index, tile in cache.items()}


def test_what_tiles_share_counts_once(cache: TileCache) -> None:
    assert cache.nbytes == 400 + 20 + 4
    cache.clear()
    assert cache.nbytes == 0


def test_the_newest_are_packed_first_and_no_more_than_needed(cache: TileCache) -> None:
    cache.shrink(424)
    assert state(cache) == dict.fromkeys(range(4), False)
    cache.shrink(424 - 60)
    assert state(cache) == {0: False, 1: False, 2: True, 3: True}
    assert cache.nbytes == 324


def test_tiles_are_dropped_where_packing_is_not_enough(cache: TileCache) -> None:
    cache.shrink(24 + 150)
    assert state(cache) == {0: True, 1: True, 2: True}
    cache.shrink(0)
    assert state(cache) == {}


def test_tiles_under_clicks_go_last_and_the_one_in_use_stays(cache: TileCache) -> None:
    cache.shrink(24 + 150, under_clicks={3}, current=0)
    assert state(cache) == {0: False, 3: True}
    cache.shrink(0, current=0)
    assert state(cache) == {0: False}
    assert 0 in cache
    assert 3 not in cache

"""Tiles of large pictures, and one box for one object where they overlap."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from c3det.clicks import Size
from c3det.detections import Detections
from c3det.predictor import TILE_OVERLAP, TILE_SIDE
from c3det.tiles import (
    MAX_TILES,
    TileArea,
    TileCache,
    TileLimitError,
    distances,
    merge_tiles,
    plan_tiles,
)
from tests.c3det.twins import merged_tiles

SIZES = [(1, 1), (100, 100), (100, 101), (101, 100), (250, 100), (1000, 333), (99, 2000)]


def found(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(
        table[:, :4].astype(np.float32),
        table[:, 4].astype(np.float32),
        table[:, 5].astype(np.int64),
        np.full(len(table), -1, np.int64),
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("overlap", [0, 20, 60])
def test_cores_are_a_partition_and_tiles_overlap(size: tuple[int, int], overlap: int) -> None:
    height, width = size
    areas = plan_tiles(size, 100, overlap)
    cores, sizes = np.zeros(size, int), set()
    for area in areas:
        x1, y1, x2, y2 = area.core
        cores[y1:y2, x1:x2] += 1
        assert area.core_area == (x2 - x1) * (y2 - y1)
        sizes.add((area.box[3] - area.box[1], area.box[2] - area.box[0]))
        assert 0 <= area.box[0] <= x1 < x2 <= area.box[2] <= width
        assert 0 <= area.box[1] <= y1 < y2 <= area.box[3] <= height
        # An object of the size of the overlap whose middle is in the core is whole in the tile.
        assert area.box[0] == 0 or x1 - area.box[0] >= overlap // 2
        assert area.box[3] == height or area.box[3] - y2 >= overlap // 2
    assert (cores == 1).all()
    (tile_size,) = sizes
    assert max(tile_size) <= 100


def test_a_picture_of_one_tile_is_one_tile() -> None:
    whole = (0, 0, 80, 100)
    assert plan_tiles((100, 80), 100, 20) == [TileArea(whole, whole)]


def test_tiles_by_hand() -> None:
    # Two tiles of 85 that overlap by 20 cover 150.
    left, right = plan_tiles((50, 150), 100, 20)
    assert left == TileArea((0, 0, 85, 50), (0, 0, 75, 50))
    assert right == TileArea((65, 0, 150, 50), (75, 0, 150, 50))
    points = [(75.0, 10.0), (72.0, 54.0)]
    assert distances([left, right], points).tolist() == [[0, 0], [4, 5]]


def test_overlap_as_large_as_a_tile_is_refused() -> None:
    with pytest.raises(ValueError, match="overlap must be at least 0 and below 100, it is 100"):
        plan_tiles((200, 200), 100, 100)


@pytest.mark.parametrize("size", [(50_000_000, 1), (1, 50_000_000), (1_300_000, 30)])
def test_a_picture_of_too_many_tiles_is_refused(size: Size) -> None:
    with pytest.raises(TileLimitError, match=f"it takes .* tiles of .*, at most {MAX_TILES}"):
        plan_tiles(size, TILE_SIDE, TILE_OVERLAP)


def test_a_square_picture_of_a_thousand_million_pixels_is_not() -> None:
    assert len(plan_tiles((31_622, 31_622), TILE_SIDE, TILE_OVERLAP)) <= MAX_TILES


def merge(parts: Sequence[tuple[TileArea, Detections]], image_size: Size) -> Detections:
    areas, boxes = zip(*parts, strict=True)
    return merge_tiles(boxes, areas, image_size)


TILES = plan_tiles((50, 150), 100, 20)


def test_one_object_seen_by_two_tiles_is_one_box() -> None:
    visible = [
        (TILES[0], found((68, 10, 78, 20, 0.8, 1), (10, 10, 20, 20, 0.9, 1))),
        (TILES[1], found((69, 10, 79, 20, 0.7, 1), (100, 10, 110, 20, 0.6, 1))),
    ]
    for parts in itertools.permutations(visible):
        merged = merge(parts, (50, 150))
        assert merged.scores.tolist() == pytest.approx([0.9, 0.8, 0.6])
        assert merged.boxes[1].tolist() == [68, 10, 78, 20]


def test_what_an_edge_cut_off_gives_way_to_the_whole() -> None:
    # The right tile begins at 65: it sees 3 of the 10 px of the object, with a higher score.
    parts = [
        (TILES[0], found((58, 10, 68, 20, 0.5, 1))),
        (TILES[1], found((65, 10, 68, 20, 0.9, 1))),
    ]
    merged = merge(parts, (50, 150))
    assert merged.boxes.tolist() == [[58, 10, 68, 20]]


def test_an_object_that_only_a_cut_box_shows_stays() -> None:
    parts = [(TILES[0], found()), (TILES[1], found((65, 10, 75, 20, 0.9, 1)))]
    assert len(merge(parts, (50, 150))) == 1


def test_neighbours_of_one_tile_and_other_classes_stay() -> None:
    parts = [
        (TILES[0], found((68, 10, 78, 20, 0.8, 1), (68, 10, 78, 21, 0.7, 1))),
        (TILES[1], found((68, 10, 78, 20, 0.6, 2))),
    ]
    # Suppression within a tile is the detector's; between classes there is none.
    assert merge(parts, (50, 150)).scores.tolist() == pytest.approx([0.8, 0.7, 0.6])


def test_classes_that_compete_have_one_box_for_an_object() -> None:
    first = found((68, 10, 78, 20, 0.8, 1), (68, 30, 78, 40, 0.2, 0))
    second = found((68, 10, 78, 20, 0.6, 2), (68, 30, 78, 40, 0.7, -1))
    # A box of no class, found without clicks, takes the place of none that has one.
    together = merge_tiles([first, second], TILES, (50, 150), compete=True)
    assert together.labels.tolist() == [1, -1, 0]
    assert together.scores.tolist() == pytest.approx([0.8, 0.7, 0.2])


def test_a_box_that_stays_keeps_its_rival() -> None:
    first = replace(
        found((68, 10, 78, 20, 0.6, 1)), rivals=np.array([3]), rival_scores=np.float32([0.5])
    )
    second = replace(
        found((68, 10, 78, 20, 0.8, 2), (100, 10, 110, 20, 0.6, 1)),
        rivals=np.array([1, -1]),
        rival_scores=np.float32([0.75, 0]),
    )
    together = merge_tiles([first, second], TILES, (50, 150), compete=True)
    assert together.labels.tolist() == [2, 1]
    assert together.rivals.tolist() == [1, -1]
    assert together.rival_scores.tolist() == [0.75, 0]


def test_no_boxes_at_all() -> None:
    assert len(merge([(area, found()) for area in TILES], (50, 150))) == 0


def test_random_objects_are_found_once() -> None:
    draw = np.random.default_rng(0)
    size = (400, 500)
    areas = plan_tiles(size, 200, 40)
    corners = np.stack(np.meshgrid(np.arange(5, 470, 30), np.arange(5, 370, 30)), -1).reshape(-1, 2)
    objects = np.concatenate([corners, corners + draw.integers(8, 25, corners.shape)], 1)
    parts = []
    for area in areas:
        x1, y1, x2, y2 = area.box
        clipped = np.stack(
            [
                objects[:, 0].clip(x1, x2),
                objects[:, 1].clip(y1, y2),
                objects[:, 2].clip(x1, x2),
                objects[:, 3].clip(y1, y2),
            ],
            1,
        )
        visible = clipped[((clipped[:, 2:] - clipped[:, :2]) >= 2).all(1)]
        scores = draw.uniform(0.3, 1, len(visible))
        parts.append((area, found(*[(*b, s, 0) for b, s in zip(visible, scores, strict=True)])))
    merged = merge(parts, size)
    assert sorted(map(tuple, merged.boxes.tolist())) == sorted(map(tuple, objects.tolist()))
    assert (np.diff(merged.scores) <= 0).all()


def crowded(
    areas: Sequence[TileArea], boxes: int, draw: np.random.Generator
) -> list[Detections | None]:
    """In every tile so many boxes that overlap, of three classes, some at its edges."""
    parts: list[Detections | None] = []
    for area in areas:
        x1, y1, x2, y2 = area.box
        corners = draw.uniform((x1, y1), (x2, y2), (boxes, 2)).round()
        sides = draw.integers(4, 40, (boxes, 2))
        rows = np.concatenate([corners, np.minimum(corners + sides, (x2, y2))], 1)
        scores = draw.integers(1, 20, boxes) / 20  # many are equal
        labels = draw.integers(0, 3, boxes)
        parts.append(found(*np.column_stack([rows, scores, labels]).tolist()))
    return parts


@pytest.mark.parametrize("seed", range(4))
def test_merging_is_the_obvious_comparison(seed: int) -> None:
    draw = np.random.default_rng(seed)
    size = (400, 500)
    areas = plan_tiles(size, 200, 60)
    parts = crowded(areas, 30, draw)
    parts[3] = None
    for _ in range(6):
        got = merge_tiles(parts, areas, size)
        given = [(a, part) for a, part in zip(areas, parts, strict=True) if part is not None]
        wanted = merged_tiles(given, size)
        assert 0 < len(wanted) < sum(len(part) for _, part in given)
        for attribute in ("boxes", "scores", "labels"):
            np.testing.assert_array_equal(getattr(got, attribute), getattr(wanted, attribute))
        for tile in draw.integers(0, len(areas), 2):
            (parts[tile],) = crowded([areas[tile]], 30, draw)


def test_crowded_tiles_are_merged_many_times_faster_than_by_the_obvious_comparison() -> None:
    """Measured side by side, so that the machine's speed does not matter."""
    draw = np.random.default_rng(0)
    size = (7000, 7000)
    areas = plan_tiles(size, TILE_SIDE, TILE_OVERLAP)
    parts = crowded(areas, 40, draw)
    assert (len(areas), len(parts)) == (49, 49)

    def seconds(action: object) -> float:
        started = time.perf_counter()
        action()  # type: ignore[operator]
        return time.perf_counter() - started

    slow = seconds(lambda: merged_tiles(list(zip(areas, parts, strict=True)), size))
    fast = seconds(lambda: merge_tiles(parts, areas, size))
    print(f"slow {slow:.3f} s, fast {fast:.3f} s")
    assert fast < slow / 4


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


class FakeModel:
    def shared_by(self, tiles: Sequence[FakeTile]) -> list[torch.Tensor]:
        return [*(SHARED for _ in tiles), *(torch.zeros(1) for _ in tiles[:1])]  # 4 bytes


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

"""A large picture in overlapping tiles: where they lie, which are held, and their boxes merged.

Every pixel belongs to the core of one tile; the cores meet in the middle of the overlaps. An object
that is not larger than the overlap lies whole in the tile whose core holds its middle.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from c3det.answering import SAME_OBJECT_IOU
from c3det.boxes import box_area, intersection, iou, touching
from c3det.clicks import Size
from c3det.detections import Detections
from c3det.memory import held_bytes

if TYPE_CHECKING:
    from c3det.model import Model, Tile

MAX_TILES = 1024
"""Most tiles of one picture. With tiles of 1280 px that overlap by 200, a square picture of 1.2
gigapixels has as many, and so has a strip 1.1 million pixels long, however narrow."""

CUT_MARGIN = 2.0
"""A box that comes so near to an edge of its tile, in pixels, may be cut off by it."""


class TileLimitError(ValueError):
    """A picture takes more than `MAX_TILES` tiles."""


@dataclass(frozen=True, slots=True)
class TileArea:
    """A tile ``(x1, y1, x2, y2)`` in pixels of the picture; its core belongs to no other tile."""

    box: tuple[int, int, int, int]
    core: tuple[int, int, int, int]

    @property
    def core_area(self) -> int:
        """Pixels of the core."""
        return (self.core[2] - self.core[0]) * (self.core[3] - self.core[1])


def plan_tiles(image_size: Size, side: int, overlap: int) -> list[TileArea]:
    """Cover a picture with tiles of one size, row by row.

    Args:
        image_size: ``(height, width)`` of the picture.
        side: Largest side of a tile in pixels.
        overlap: Least overlap of neighbours in pixels.

    Raises:
        TileLimitError: They would be more than `MAX_TILES`.
        ValueError: The overlap is negative, or as large as a tile.
    """
    if not 0 <= overlap < side:
        raise ValueError(f"the overlap must be at least 0 and below {side}, it is {overlap}")
    height, width = image_size
    number = _number(height, side, overlap) * _number(width, side, overlap)
    if number > MAX_TILES:
        raise TileLimitError(
            f"the picture of {width} x {height} pixels is too long: it takes {number} tiles of "
            f"{side} x {side} pixels, at most {MAX_TILES} are searched"
        )
    rows, columns = (_spans(length, side, overlap) for length in image_size)
    return [
        TileArea((x1, y1, x2, y2), (core_x1, core_y1, core_x2, core_y2))
        for (y1, y2), (core_y1, core_y2) in rows
        for (x1, x2), (core_x1, core_x2) in columns
    ]


def distances(
    areas: Sequence[TileArea], points: Iterable[tuple[float, float]]
) -> NDArray[np.float64]:
    """From N points ``(x, y)`` to the cores of T tiles, ``(N, T)`` in pixels; 0 inside."""
    x1, y1, x2, y2 = np.array([area.core for area in areas], np.float64).T
    x, y = np.array(list(points), np.float64).reshape(-1, 2, 1).transpose(1, 0, 2)
    return np.hypot(np.maximum(x1 - x, x - x2).clip(0), np.maximum(y1 - y, y - y2).clip(0))


def _number(length: int, side: int, overlap: int) -> int:
    """How many tiles cover a length."""
    return 1 if length <= side else math.ceil((length - overlap) / (side - overlap))


def _spans(length: int, side: int, overlap: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Along one axis, the span of each tile and that of its core."""
    if length <= side:
        return [((0, length), (0, length))]
    count = _number(length, side, overlap)
    side = math.ceil((length + (count - 1) * overlap) / count)
    starts = [number * (length - side) // (count - 1) for number in range(count)]
    middles = [(before + side + start) // 2 for before, start in pairwise(starts)]
    cores = pairwise([0, *middles, length])
    return [((start, start + side), core) for start, core in zip(starts, cores, strict=True)]


class TileCache(dict[int, "Tile"]):
    """Encoded tiles of one picture by their index, packed or not.

    Beyond a limit of memory tiles are kept in half precision (packed). If that is not enough, they
    are dropped, and encoded again when they are needed. The tiles that were encoded last go first,
    because tiles near clicks are encoded before the rest; tiles under clicks go last of all.
    """

    def __init__(self, model: Model[Any]) -> None:
        super().__init__()
        self._model = model

    @property
    def nbytes(self) -> int:
        """Memory of all tiles; what they share counts once."""
        tiles = list(self.values())
        return sum(tile.nbytes for tile in tiles) + held_bytes(self._model.shared_by(tiles))

    def shrink(
        self, max_bytes: int, under_clicks: Collection[int] = (), current: int | None = None
    ) -> None:
        """Pack tiles, and drop tiles if that is not enough.

        Args:
            max_bytes: Of all tiles together.
            under_clicks: Indices of tiles that go last.
            current: Index of the tile in use, which stays as it is.
        """
        newest_first = [index for index in reversed(self) if index != current]
        # sorted() keeps the order within both groups.
        order = sorted(newest_first, key=lambda index: index in under_clicks)
        held = self.nbytes
        while order and held > max_bytes:
            unpacked = [self[index] for index in order if not self[index].packed]
            if held - sum(tile.nbytes // 2 for tile in unpacked) <= max_bytes:
                break
            del self[order.pop(0)]
            held = self.nbytes
        for index in order:
            tile = self[index]
            if held > max_bytes and not tile.packed:
                held -= tile.nbytes
                tile.pack()
                held += tile.nbytes
        for index in order:  # some values may not fit half precision
            if held > max_bytes:
                del self[index]
                held = self.nbytes


def merge_tiles(
    found: Sequence[Detections | None],
    areas: Sequence[TileArea],
    image_size: Size,
    *,
    compete: bool = False,
) -> Detections:
    """Merge the boxes of the tiles of one picture: one object has one box.

    Of two boxes of one class, or of any two classes where these compete for objects, from different
    tiles with an IoU of at least 0.5 the one with the larger score stays. A box that an edge of its
    tile may have cut off comes after all others, and gives way also to one that covers half of it.

    Args:
        found: What was found in each tile, in pixels of the picture; ``None``: nothing yet.
        areas: The tiles.
        image_size: ``(height, width)`` of the picture.
        compete: Whether an object has one box, whatever the class.

    Returns:
        By falling score.
    """
    parts = [Detections.none() if part is None else part for part in found]
    starts = np.cumsum([0, *map(len, parts)])
    every = Detections.joined(parts)
    cut = np.concatenate(
        [_is_cut(part.boxes, area.box, image_size) for part, area in zip(parts, areas, strict=True)]
    )
    tiles = np.array([area.box for area in areas], np.float64)
    rows: list[NDArray[np.int64]] = [np.zeros((0, 2), np.int64)]
    for first, second in touching(tiles, tiles):
        for one, other in zip(first.tolist(), second.tolist(), strict=True):
            if one < other and len(parts[one]) and len(parts[other]):
                near = _reaching(parts[one].boxes, areas[other].box) + starts[one]
                far = _reaching(parts[other].boxes, areas[one].box) + starts[other]
                rows += [
                    np.stack([near[a], far[b]], 1)
                    for a, b in touching(every.boxes[near], every.boxes[far])
                ]
    better, worse = _same_objects(every, cut, np.concatenate(rows), compete)
    # A box that has given way to a better one removes no other.
    left = [True] * len(every)
    order = np.lexsort((better, -every.scores[better], cut[better]))
    for one, other in zip(better[order].tolist(), worse[order].tolist(), strict=True):
        if left[one]:
            left[other] = False
    return every.take(np.array(left, bool)).by_score()


def _same_objects(
    every: Detections, cut: NDArray[np.bool_], pairs: NDArray[np.int64], compete: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of the pairs ``(P, 2)`` that show one object, the better box and the worse one."""
    labels, scores = every.labels[pairs], every.scores[pairs]
    alike = labels < 0 if compete else labels
    pairs, scores = (values[alike[:, 0] == alike[:, 1]] for values in (pairs, scores))
    first_is_cut, second_is_cut = cut[pairs].T
    stays = first_is_cut < second_is_cut
    stays |= (first_is_cut == second_is_cut) & (scores[:, 0] >= scores[:, 1])
    better, worse = np.where(stays[:, None], pairs, pairs[:, ::-1]).T
    boxes, others = every.boxes[better], every.boxes[worse]
    covered = intersection(boxes, others) / box_area(others).clip(1e-6)
    same = iou(boxes, others) >= SAME_OBJECT_IOU
    same |= cut[worse] & (covered >= SAME_OBJECT_IOU)
    return better[same], worse[same]


def _reaching(boxes: NDArray[np.float32], tile: tuple[int, int, int, int]) -> NDArray[np.int64]:
    """Indices of the boxes that reach into a tile."""
    x1, y1, x2, y2 = tile
    left, top, right, bottom = boxes.T
    return np.flatnonzero((left < x2) & (right > x1) & (top < y2) & (bottom > y1))


def _is_cut(
    boxes: NDArray[np.float32], tile: tuple[int, int, int, int], image_size: Size
) -> NDArray[np.bool_]:
    """Which boxes come near to an edge of their tile that is not the picture's."""
    height, width = image_size
    x1, y1, x2, y2 = tile
    left, top, right, bottom = boxes.T
    return (
        ((x1 > 0) & (left < x1 + CUT_MARGIN))
        | ((y1 > 0) & (top < y1 + CUT_MARGIN))
        | ((x2 < width) & (right > x2 - CUT_MARGIN))
        | ((y2 < height) & (bottom > y2 - CUT_MARGIN))
    )

"""A large picture in overlapping tiles, and the merging of their boxes.

Every pixel belongs to the core of one tile; the cores meet in the middle of the overlaps. An object
that is not larger than the overlap lies whole in the tile whose core holds its middle.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from c3det.boxes import box_area, intersection, iou, touching
from c3det.clicks import Size
from c3det.detections import Detections
from c3det.grouping import SAME_OBJECT_IOU

MAX_TILES = 1024
"""Most tiles of one picture. With tiles of 1280 px that overlap by 200, a square picture of 1.2
gigapixels has as many, and so has a strip 1.1 million pixels long, however narrow."""

CUT_MARGIN = 2.0
"""A box that comes so near to an edge of its tile, in pixels, may be cut off by it."""


class TileLimitError(ValueError):
    """A picture takes more than `MAX_TILES` tiles."""


@dataclass(frozen=True, slots=True)
class TileArea:
    """Where a tile lies, in pixels of the picture.

    Attributes:
        box: ``(x1, y1, x2, y2)`` of the tile.
        core: The same of the part that belongs to no other tile.
    """

    box: tuple[int, int, int, int]
    core: tuple[int, int, int, int]

    @property
    def size(self) -> Size:
        """``(height, width)``."""
        return self.box[3] - self.box[1], self.box[2] - self.box[0]

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


def distances(areas: Sequence[TileArea], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """From points to the cores of tiles, in pixels; 0 inside.

    Args:
        areas: T tiles.
        points: ``(N, 2)``, (x, y).

    Returns:
        ``(N, T)``.
    """
    x1, y1, x2, y2 = np.array([area.core for area in areas], np.float64).T
    x, y = points[:, :1], points[:, 1:]
    zero = np.zeros(())
    return np.hypot(
        np.maximum(np.maximum(x1 - x, x - x2), zero), np.maximum(np.maximum(y1 - y, y - y2), zero)
    )


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


@dataclass(frozen=True, slots=True, eq=False)
class _Overlap:
    """Pairs of boxes of two tiles that show the same object.

    Attributes:
        first, second: What was found in the tiles.
        rows: int64 ``(P, 2)``, indices of a box of the first and of one of the second.
        first_stays: bool ``(P,)``, which of the two is the better one.
    """

    first: Detections
    second: Detections
    rows: NDArray[np.int64]
    first_stays: NDArray[np.bool_]


class TileMerger:
    """Merges the boxes of the tiles of one picture: one object has one box.

    Of two boxes of one class, or of any two classes where these compete for objects, from different
    tiles with an IoU of at least 0.5 the one with the larger score stays. A box that an edge of its
    tile may have cut off comes after all others, and gives way also to one that covers half of it.

    The pairs of two tiles are kept, and compared anew only where one of the tiles has changed.

    Args:
        areas: The tiles.
        image_size: ``(height, width)`` of the picture.
        compete: Whether an object has one box, whatever the class.
    """

    def __init__(
        self, areas: Sequence[TileArea], image_size: Size, *, compete: bool = False
    ) -> None:
        self._areas = areas
        self._image_size = image_size
        self._compete = compete
        boxes = np.array([area.box for area in areas], np.float64)
        self._neighbours = [
            (one, other)
            for first, second in touching(boxes, boxes)
            for one, other in zip(first.tolist(), second.tolist(), strict=True)
            if one < other
        ]
        self._overlaps: dict[tuple[int, int], _Overlap] = {}
        self._found: list[Detections | None] = []
        self._merged = Detections.none()

    @property
    def nbytes(self) -> int:
        """Memory of what is kept."""
        overlaps = sum(o.rows.nbytes + o.first_stays.nbytes for o in self._overlaps.values())
        return overlaps + self._merged.nbytes

    def merge(self, found: Sequence[Detections | None]) -> Detections:
        """Merge boxes.

        Args:
            found: What was found in each tile, in pixels of the picture; ``None``: nothing yet.
                The same objects as before are taken to hold the same boxes.

        Returns:
            By falling score.
        """
        known = len(found) == len(self._found) and all(map(operator.is_, found, self._found))
        if not known:
            self._merged = self._compute(found)
            self._found = list(found)
        return self._merged

    def _compute(self, found: Sequence[Detections | None]) -> Detections:
        parts = [Detections.none() if part is None else part for part in found]
        starts = np.cumsum([0, *map(len, parts)])
        rows: list[NDArray[np.int64]] = [np.zeros((0, 2), np.int64)]
        stays: list[NDArray[np.bool_]] = [np.zeros(0, bool)]
        for pair in self._neighbours:
            one, other = (found[tile] for tile in pair)
            if one is None or other is None:
                self._overlaps.pop(pair, None)
                continue
            overlap = self._overlaps.get(pair)
            if overlap is None or overlap.first is not one or overlap.second is not other:
                overlap = self._overlaps[pair] = self._compare(pair, one, other)
            rows.append(overlap.rows + starts[list(pair)])
            stays.append(overlap.first_stays)
        together = Detections.joined(parts)
        pairs, first_stays = np.concatenate(rows), np.concatenate(stays)
        better = np.where(first_stays, pairs[:, 0], pairs[:, 1])
        worse = np.where(first_stays, pairs[:, 1], pairs[:, 0])
        cut = np.concatenate(
            [self._cut(tile, part) for tile, part in enumerate(parts)] or [np.zeros(0, bool)]
        )
        # A box that has given way to a better one removes no other.
        left = [True] * len(together)
        order = np.lexsort((better, -together.scores[better], cut[better]))
        for one, other in zip(better[order].tolist(), worse[order].tolist(), strict=True):
            if left[one]:
                left[other] = False
        return together.take(np.array(left, bool)).by_score()

    def _compare(self, pair: tuple[int, int], one: Detections, other: Detections) -> _Overlap:
        first, second = self._inside(one, pair[1]), self._inside(other, pair[0])
        rows: list[NDArray[np.int64]] = [np.zeros((0, 2), np.int64)]
        for index, near in touching(one.boxes[first], other.boxes[second]):
            rows.append(np.stack([first[index], second[near]], 1))
        a, b = np.concatenate(rows).T
        labels_a, labels_b = one.labels[a], other.labels[b]
        same = (labels_a < 0) == (labels_b < 0) if self._compete else labels_a == labels_b
        a, b = a[same], b[same]
        cut_a, cut_b = self._cut(pair[0], one)[a], self._cut(pair[1], other)[b]
        stays = (cut_a < cut_b) | ((cut_a == cut_b) & (one.scores[a] >= other.scores[b]))
        first_boxes, second_boxes = one.boxes[a], other.boxes[b]
        worse_area = box_area(np.where(stays[:, None], second_boxes, first_boxes))
        covered = intersection(first_boxes, second_boxes) / worse_area.clip(1e-6)
        worse_is_cut = np.where(stays, cut_b, cut_a)
        same = (iou(first_boxes, second_boxes) >= SAME_OBJECT_IOU) | (
            worse_is_cut & (covered >= SAME_OBJECT_IOU)
        )
        return _Overlap(one, other, np.stack([a[same], b[same]], 1), stays[same])

    def _inside(self, found: Detections, tile: int) -> NDArray[np.int64]:
        """Indices of the boxes that reach into another tile."""
        x1, y1, x2, y2 = self._areas[tile].box
        left, top, right, bottom = found.boxes.T
        return np.flatnonzero((left < x2) & (right > x1) & (top < y2) & (bottom > y1))

    def _cut(self, tile: int, found: Detections) -> NDArray[np.bool_]:
        """Which boxes come near to an edge of their tile that is not the picture's."""
        height, width = self._image_size
        x1, y1, x2, y2 = self._areas[tile].box
        boxes = found.boxes
        cut = np.zeros(len(boxes), bool)
        if x1 > 0:
            cut |= boxes[:, 0] < x1 + CUT_MARGIN
        if y1 > 0:
            cut |= boxes[:, 1] < y1 + CUT_MARGIN
        if x2 < width:
            cut |= boxes[:, 2] > x2 - CUT_MARGIN
        if y2 < height:
            cut |= boxes[:, 3] > y2 - CUT_MARGIN
        return cut

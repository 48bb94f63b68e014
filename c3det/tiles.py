"""A large picture in tiles that overlap, and their boxes brought together.

Every pixel belongs to the core of one tile; the cores meet in the middle of the overlaps. An object
that is not larger than the overlap lies whole in the tile to whose core its middle belongs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from c3det.answering import SAME_OBJECT_IOU, Detections
from c3det.heatmaps import Size

CUT_MARGIN = 2.0
"""A box that comes so near to an edge of its tile, in pixels, may be cut off by it."""


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

    def distance(self, x: float, y: float) -> float:
        """From a point to the core, in pixels; 0 inside."""
        x1, y1, x2, y2 = self.core
        return math.hypot(max(x1 - x, 0.0, x - x2), max(y1 - y, 0.0, y - y2))


def plan_tiles(image_size: Size, side: int, overlap: int) -> list[TileArea]:
    """Cover a picture with tiles of one size, row by row.

    Args:
        image_size: ``(height, width)`` of the picture.
        side: Largest side of a tile in pixels.
        overlap: Least overlap of neighbours in pixels.

    Raises:
        ValueError: The overlap is negative, or as large as a tile.
    """
    if not 0 <= overlap < side:
        raise ValueError(f"the overlap must be at least 0 and below {side}, it is {overlap}")
    rows, columns = (_spans(length, side, overlap) for length in image_size)
    return [
        TileArea((x1, y1, x2, y2), (core_x1, core_y1, core_x2, core_y2))
        for (y1, y2), (core_y1, core_y2) in rows
        for (x1, x2), (core_x1, core_x2) in columns
    ]


def _spans(length: int, side: int, overlap: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Along one axis, the span of each tile and that of its core."""
    if length <= side:
        return [((0, length), (0, length))]
    count = math.ceil((length - overlap) / (side - overlap))
    side = math.ceil((length + (count - 1) * overlap) / count)
    begins = [number * (length - side) // (count - 1) for number in range(count)]
    seams = [(before + side + begin) // 2 for before, begin in pairwise(begins)]
    cores = pairwise([0, *seams, length])
    return [((begin, begin + side), core) for begin, core in zip(begins, cores, strict=True)]


def merge(parts: Sequence[tuple[TileArea, Detections]], image_size: Size) -> Detections:
    """Bring the boxes of several tiles together: of one object, one box.

    Of two boxes of one class from different tiles with an IoU of at least 0.5 the one with the
    larger score stays. A box that an edge of its tile may have cut off also gives way to one that
    covers half of it.

    Args:
        parts: Tiles and their boxes, in pixels of the picture.
        image_size: ``(height, width)`` of the picture.

    Returns:
        By falling score.
    """
    if not parts:
        return Detections.none()
    boxes = np.concatenate([found.boxes for _, found in parts])
    together = Detections(
        boxes,
        np.concatenate([found.scores for _, found in parts]),
        np.concatenate([found.labels for _, found in parts]),
        np.concatenate([found.clicks for _, found in parts]),
    )
    tile = np.repeat(np.arange(len(parts)), [len(found) for _, found in parts])
    cut = np.concatenate([_cut(area, found.boxes, image_size) for area, found in parts])
    shared = np.zeros(len(boxes), bool)
    for number, (area, _) in enumerate(parts):
        x1, y1, x2, y2 = area.box
        meets = (boxes[:, 0] < x2) & (boxes[:, 2] > x1) & (boxes[:, 1] < y2) & (boxes[:, 3] > y1)
        shared |= meets & (tile != number)
    kept = ~shared
    for label in np.unique(together.labels[shared]):
        candidates = np.flatnonzero(shared & (together.labels == label))
        order = np.lexsort((-together.scores[candidates], cut[candidates]))
        candidates = candidates[order]
        kept[_distinct(candidates, boxes, tile, cut)] = True
    together = together.take(kept)
    return together.take(np.argsort(-together.scores, kind="stable"))


def _distinct(
    candidates: NDArray[np.int64],
    boxes: NDArray[np.float32],
    tile: NDArray[np.int64],
    cut: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Those of the candidates that no better one, which comes earlier, has made needless."""
    left = np.ones(len(candidates), bool)
    inside = boxes[candidates]
    areas = (inside[:, 2:] - inside[:, :2]).prod(1)
    for number, index in enumerate(candidates):
        if not left[number]:
            continue
        corner = np.minimum(boxes[index, 2:], inside[:, 2:]) - np.maximum(
            boxes[index, :2], inside[:, :2]
        )
        shared = corner.clip(0).prod(1)
        of_both = shared / np.maximum(areas + areas[number] - shared, 1e-9)
        of_it = shared / np.maximum(areas, 1e-9)
        same = (of_both >= SAME_OBJECT_IOU) | (cut[candidates] & (of_it >= SAME_OBJECT_IOU))
        same &= tile[candidates] != tile[index]
        same[: number + 1] = False
        left &= ~same
    return candidates[left]


def _cut(area: TileArea, boxes: NDArray[np.float32], image_size: Size) -> NDArray[np.bool_]:
    """Which boxes come near to an edge of their tile that is not the picture's."""
    height, width = image_size
    x1, y1, x2, y2 = area.box
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

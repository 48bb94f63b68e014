"""The last word is the annotator's: detections are reconciled with the clicks.

The reference never does this (a click on a missed object does not produce a box there).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c3det.clicks import Click

SAME_OBJECT_IOU = 0.5
"""From this overlap with an answer on, another box is taken to be of the same object."""

OWN_CLASS_PREFERENCE = 3.0
"""How much more a box above the threshold answers a click of its class than one of another class.

On the shipped weights anything from 1.5 to 10 picks the clicked object equally often; a large
factor would let a neighbour answer near whose edge the click lies.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Boxes in a picture, by falling score.

    Attributes:
        boxes: float32 ``(N, 4)`` xyxy, pixels of the full picture.
        scores: float32 ``(N,)`` in [0, 1]; 1 where a box answers a click.
        labels: int64 ``(N,)``, 0-based.
        clicks: int64 ``(N,)``, the index of the click that a box answers, -1 for none.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    clicks: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def none(cls) -> Detections:
        """No boxes."""
        return cls(
            np.zeros((0, 4), np.float32),
            np.zeros(0, np.float32),
            np.zeros(0, np.int64),
            np.zeros(0, np.int64),
        )

    def take(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Detections:
        """The boxes at these indices, or where a mask is true."""
        return Detections(
            self.boxes[chosen], self.scores[chosen], self.labels[chosen], self.clicks[chosen]
        )


def contains(boxes: NDArray[np.float32], x: float, y: float) -> NDArray[np.bool_]:
    """Which boxes ``(N, 4)`` hold a point, edges included."""
    x1, y1, x2, y2 = boxes.T
    return (x1 <= x) & (x <= x2) & (y1 <= y) & (y <= y2)


def centredness(boxes: NDArray[np.float32], x: float, y: float) -> NDArray[np.float32]:
    """How central a point lies in the boxes ``(N, 4)`` that contain it.

    1 in the middle, 0 at an edge (FCOS, arXiv 1904.01355, equation 3).
    """
    x1, y1, x2, y2 = boxes.T
    across = np.stack([x - x1, x2 - x])
    down = np.stack([y - y1, y2 - y])
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.sqrt(
            (across.min(0) / across.max(0)).clip(0) * (down.min(0) / down.max(0)).clip(0)
        )
    return np.nan_to_num(value).astype(np.float32)


def iou(box: NDArray[np.float32], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of one box ``(4,)`` with boxes ``(N, 4)``."""
    corner = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = corner.clip(0).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    return shared / np.maximum(areas - shared, 1e-9)


def answer_clicks(
    candidates: Detections,
    clicks: Sequence[Click],
    *,
    score_threshold: float,
    typical_sizes: Sequence[tuple[float, float]],
    image_size: tuple[int, int],
) -> Detections:
    """Answer every positive click by a box of its class that contains it.

    1. A negative click removes the boxes under it, whatever their class.
    2. A positive click is answered by the best proposal of any class and score under it,
       re-labelled, or failing that by a box of the typical size of its class around it. Proposals
       are ranked by their score times how central the click lies in them: it was aimed at one
       object, not at the neighbour whose box reaches under it. Those of the click's class above
       the threshold come before others as good (`OWN_CLASS_PREFERENCE`). One box answers one
       click.
    3. An answer's score is 1. Other boxes of the same object give way to it.

    A box of typical size that would hold a negative click ends half-way to it. Only where a
    negative click lies on the very point of a positive one does a box with it inside remain.

    Args:
        candidates: Proposals of any score, after non-maximum suppression, none of them answers.
        clicks: In pixels of the picture.
        score_threshold: Below it, only answers are kept.
        typical_sizes: ``(width, height)`` in pixels for each class.
        image_size: ``(height, width)`` in pixels.

    Returns:
        The kept boxes; answers first, in the order of their clicks.
    """
    negative = [click for click in clicks if not click.positive]
    for click in negative:
        candidates = candidates.take(~contains(candidates.boxes, click.x, click.y))
    positive = [(index, click) for index, click in enumerate(clicks) if click.positive]

    confident = candidates.scores >= score_threshold
    ranks = []
    for _, click in positive:
        centred = centredness(candidates.boxes, click.x, click.y)
        rank = np.where(
            contains(candidates.boxes, click.x, click.y), candidates.scores * (0.05 + centred), 0.0
        )
        own = confident & (candidates.labels == click.label)
        ranks.append(np.where(own, OWN_CLASS_PREFERENCE * rank, rank))
    chosen = _match(ranks)

    answers = []
    for row, (_, click) in enumerate(positive):
        if row in chosen:
            answers.append(candidates.boxes[chosen[row]])
        else:
            answers.append(_typical_box(click, typical_sizes[click.label], negative, image_size))

    free = confident.copy()
    free[list(chosen.values())] = False
    for box in answers:
        free &= iou(box, candidates.boxes) < SAME_OBJECT_IOU
    rest = candidates.take(free)
    rest = rest.take(np.argsort(-rest.scores, kind="stable"))
    count = len(answers)
    return Detections(
        np.concatenate([np.array(answers, np.float32).reshape(-1, 4), rest.boxes]),
        np.concatenate([np.ones(count, np.float32), rest.scores]),
        np.concatenate([np.array([c.label for _, c in positive], np.int64), rest.labels]),
        np.concatenate([np.array([i for i, _ in positive], np.int64), rest.clicks]),
    )


def _match(ranks: list[NDArray[np.float64]]) -> dict[int, int]:
    """Give each click (row) the index of its best free box, the best pairs first."""
    chosen: dict[int, int] = {}
    taken = set()
    pairs = [
        (-rank[box], row, int(box)) for row, rank in enumerate(ranks) for box in rank.nonzero()[0]
    ]
    for _, row, box in sorted(pairs):
        if row not in chosen and box not in taken:
            chosen[row] = box
            taken.add(box)
    return chosen


def _typical_box(
    click: Click,
    size: tuple[float, float],
    negative: Sequence[Click],
    image_size: tuple[int, int],
) -> NDArray[np.float32]:
    x1, x2 = click.x - size[0] / 2, click.x + size[0] / 2
    y1, y2 = click.y - size[1] / 2, click.y + size[1] / 2
    for other in negative:
        across, down = other.x - click.x, other.y - click.y
        if not (x1 <= other.x <= x2 and y1 <= other.y <= y2) or across == down == 0:
            continue
        if abs(across) >= abs(down):
            x1, x2 = (x1, click.x + across / 2) if across > 0 else (click.x + across / 2, x2)
        else:
            y1, y2 = (y1, click.y + down / 2) if down > 0 else (click.y + down / 2, y2)
    height, width = image_size
    box = np.array([max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)], np.float32)
    return box

"""Box arithmetic, the same for numpy arrays and for tensors.

Boxes are ``(..., 4)``, xyxy in pixels (`c3det.clicks`). Two arguments broadcast against each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # much of what uses boxes does without torch, which takes long to import
    from torch import Tensor

ArrayT = TypeVar("ArrayT", NDArray[np.floating[Any]], "Tensor")

_EPSILON = 1e-6
"""Least area of a union, so that boxes without area have an IoU of 0."""

EDGE_WEIGHT = 0.05
"""A click ranks the boxes under it by ``score * (EDGE_WEIGHT + centredness)``."""

_CHUNK = 256


def _minimum(first: ArrayT, second: ArrayT) -> ArrayT:
    if isinstance(first, np.ndarray):
        return np.minimum(first, second)
    return first.minimum(second)


def _maximum(first: ArrayT, second: ArrayT) -> ArrayT:
    if isinstance(first, np.ndarray):
        return np.maximum(first, second)
    return first.maximum(second)


def _product(sides: ArrayT) -> ArrayT:
    # Tensor.prod would take cumulative products in its gradient.
    return sides[..., 0] * sides[..., 1]


def box_area(boxes: ArrayT) -> ArrayT:
    """Areas ``(...)``; 0 where ``x2 < x1`` or ``y2 < y1``."""
    return _product((boxes[..., 2:] - boxes[..., :2]).clip(0))


def intersection(first: ArrayT, second: ArrayT) -> ArrayT:
    """Areas of the intersections."""
    corner = _minimum(first[..., 2:], second[..., 2:])
    return _product((corner - _maximum(first[..., :2], second[..., :2])).clip(0))


def iou(first: ArrayT, second: ArrayT) -> ArrayT:
    """Intersection over union."""
    shared = intersection(first, second)
    return shared / (box_area(first) + box_area(second) - shared).clip(_EPSILON)


def pairwise_iou(first: ArrayT, second: ArrayT) -> ArrayT:
    """``(..., n, 4)`` and ``(..., m, 4)`` -> ``(..., n, m)``."""
    return iou(first[..., :, None, :], second[..., None, :, :])


def giou(first: Tensor, second: Tensor) -> Tensor:
    """Generalised IoU (arXiv 1902.09630)."""
    shared = intersection(first, second)
    union = (box_area(first) + box_area(second) - shared).clip(_EPSILON)
    low, high = _minimum(first, second)[..., :2], _maximum(first, second)[..., 2:]
    hull = _product((high - low).clip(0)).clip(_EPSILON)
    return shared / union - (hull - union) / hull


def contains(boxes: Any, x: Any, y: Any) -> Any:
    """Which boxes hold a point, edges included.

    Args:
        boxes: ``(..., 4)``, an array or a tensor.
        x: ``(...)`` or a number, in pixels.
        y: Likewise.

    Returns:
        bool ``(...)``.
    """
    return (boxes[..., 0] <= x) & (x <= boxes[..., 2]) & (boxes[..., 1] <= y) & (y <= boxes[..., 3])


def log_sizes(boxes: Tensor) -> Tensor:
    """Logs of the widths and heights of boxes ``(..., 4)`` in pixels, at least 0: ``(..., 2)``."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=1.0).log()


def centredness(boxes: ArrayT, xy: ArrayT) -> ArrayT:
    """How central points lie in boxes: 1 in the middle, 0 at an edge and outside.

    FCOS, arXiv 1904.01355, equation 3.

    Args:
        boxes: ``(..., 4)``.
        xy: ``(..., 2)`` in pixels.
    """
    before, after = xy - boxes[..., :2], boxes[..., 2:] - xy
    ratio = _minimum(before, after).clip(0) / _maximum(before, after).clip(1e-3)
    root: ArrayT = _product(ratio) ** 0.5
    return root


def touching(
    first: NDArray[np.floating[Any]], second: NDArray[np.floating[Any]]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of boxes that share a point, edges included, a portion at a time.

    Args:
        first: ``(N, 4)`` xyxy; a box without area is a point.
        second: ``(M, 4)``.

    Yields:
        Indices of the first and of the second boxes of some pairs, by rising first index from
        portion to portion.
    """
    first, second = first.astype(np.float64), second.astype(np.float64)
    # Boxes of about one width lie, sorted by their left edges, in one run for each first box.
    width_class = np.ceil(np.log2(np.maximum(second[:, 2] - second[:, 0], 1.0))).astype(np.int64)
    runs = []
    for width in np.unique(width_class):
        members = np.flatnonzero(width_class == width)
        members = members[np.argsort(second[members, 0], kind="stable")]
        runs.append((2.0**width, members, second[members, 0]))
    for chunk in range(0, len(first), _CHUNK):
        boxes = first[chunk : chunk + _CHUNK]
        rows, others = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for width, members, left in runs:
            start = np.searchsorted(left, boxes[:, 0] - width, "left")
            count = np.searchsorted(left, boxes[:, 2], "right") - start
            row = np.repeat(np.arange(len(boxes)), count)
            within = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
            other = members[np.repeat(start, count) + within]
            meets = (
                (second[other, 2] >= boxes[row, 0])
                & (second[other, 1] <= boxes[row, 3])
                & (second[other, 3] >= boxes[row, 1])
            )
            rows.append(row[meets] + chunk)
            others.append(other[meets])
        yield np.concatenate(rows), np.concatenate(others)


def non_maximum_suppression(boxes: Tensor, threshold: float, rounds: int = 0) -> Tensor:
    """Greedy non-maximum suppression as a mask, for a batch at once.

    The fixed point of "a box stays unless a better box that stays overlaps it" is greedy
    suppression (Cluster-NMS, arXiv 2005.03572). Each round is one product of matrices.

    Args:
        boxes: ``(..., n, 4)``, the best first.
        threshold: Of the IoU.
        rounds: Number of rounds; 0: until nothing changes, which waits for the device.

    Returns:
        bool ``(..., n)``, true where a box stays.
    """
    better = _better(boxes, threshold)
    kept = boxes.new_ones(boxes.shape[:-1])
    for _ in range(rounds or boxes.shape[-2]):
        new = _round(kept, better)
        if not rounds and bool((new == kept).all()):
            break
        kept = new
    return kept > 0


def suppression_in_rounds(boxes: Tensor, threshold: float, rounds: int) -> tuple[Tensor, Tensor]:
    """`non_maximum_suppression` in some rounds, and whether more of them would change nothing.

    Args:
        boxes: ``(..., n, 4)``, the best first.
        threshold: Of the IoU.
        rounds: At least 1.

    Returns:
        bool ``(..., n)``, true where a box stays, and a bool ``()``: whether the last round changed
        nothing, so that this is greedy suppression.
    """
    better = _better(boxes, threshold)
    kept = before = boxes.new_ones(boxes.shape[:-1])
    for _ in range(rounds):
        before, kept = kept, _round(kept, better)
    return kept > 0, (kept == before).all()


def _better(boxes: Tensor, threshold: float) -> Tensor:
    """1 where the box of a row suppresses that of a column, as long as it stays."""
    return (pairwise_iou(boxes, boxes) > threshold).triu(1).to(boxes.dtype)


def _round(kept: Tensor, better: Tensor) -> Tensor:
    """1 for boxes ``(..., n)`` that none of those kept suppresses, else 0."""
    return ((kept[..., None, :] @ better)[..., 0, :] <= 0).to(better.dtype)


def weighted_boxes_fusion(
    boxes: Sequence[Tensor], scores: Sequence[Tensor], threshold: float, voters: int | None = None
) -> tuple[Tensor, Tensor]:
    """Join what several detectors, or one at several scales, have found (arXiv 1910.13302).

    Of each detector the surest box that fits a box of the non-maximum suppression of all of them
    counts towards that box: the result is their mean, weighted by scores, and its score is the sum
    of theirs over the number of detectors, or 1 if that is less.

    Args:
        boxes: ``(n, 4)`` of each detector.
        scores: ``(n,)`` of each, 0 to 1.
        threshold: Least IoU of two boxes of one object.
        voters: How many detectors look for all objects, if the others look for some: that these
            found nothing says nothing. By default all do.

    Returns:
        Boxes ``(m, 4)`` and scores ``(m,)``, by falling score.
    """
    import torch

    every = torch.cat(list(boxes))[torch.cat(list(scores)).argsort(descending=True, stable=True)]
    leading = every[non_maximum_suppression(every, threshold)]
    total, weighted = leading.new_zeros(len(leading)), torch.zeros_like(leading)
    for some, score in zip(boxes, scores, strict=True):
        if len(some):
            fits = pairwise_iou(leading, some) >= threshold
            best, index = torch.where(fits, score, 0.0).max(1)
            total, weighted = total + best, weighted + best[:, None] * some[index]
    total, order = total.sort(descending=True, stable=True)
    return weighted[order] / total[:, None].clip(_EPSILON), (total / (voters or len(boxes))).clip(
        max=1.0
    )


def nested_in_better(boxes: Tensor, slots: Tensor, share: float) -> Tensor:
    """Which boxes lie mostly in a better box of their slot, or mostly hold one.

    Such boxes are parts of an object, or groups of objects. Their IoU with it is low, so that
    non-maximum suppression keeps them.

    Args:
        boxes: ``(n, 4)``, the best first.
        slots: int64 ``(n,)``.
        share: Least share of the smaller box's area that lies in the larger one.

    Returns:
        bool ``(n,)``.
    """
    area = box_area(boxes)
    inside = intersection(boxes[:, None], boxes) > share * area[:, None].minimum(area)
    inside &= slots[:, None] == slots
    return inside.triu(1).any(0)

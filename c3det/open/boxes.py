"""Box arithmetic on tensors; boxes are xyxy in pixels, as everywhere (see `c3det.clicks`)."""

from __future__ import annotations

import torch
from torch import Tensor


def _product(sides: Tensor) -> Tensor:
    # Tensor.prod would take cumulative products in its gradient.
    return sides[..., 0] * sides[..., 1]


def box_area(boxes: Tensor) -> Tensor:
    """Areas ``(...)`` of boxes ``(..., 4)``; 0 where a box is turned inside out."""
    return _product((boxes[..., 2:] - boxes[..., :2]).clamp(min=0))


def intersection(first: Tensor, second: Tensor) -> Tensor:
    """Shared areas of boxes ``(..., 4)`` that broadcast against each other."""
    corner = torch.minimum(first[..., 2:], second[..., 2:])
    return _product((corner - torch.maximum(first[..., :2], second[..., :2])).clamp(min=0))


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of boxes ``(..., 4)`` that broadcast against each other."""
    shared = intersection(first, second)
    return shared / (box_area(first) + box_area(second) - shared).clamp(min=1e-6)


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """``(..., n, 4)`` and ``(..., m, 4)`` -> ``(..., n, m)``."""
    return iou(first[..., :, None, :], second[..., None, :, :])


def giou(first: Tensor, second: Tensor) -> Tensor:
    """Generalised IoU (arXiv 1902.09630) of boxes ``(..., 4)`` that broadcast."""
    shared = intersection(first, second)
    union = (box_area(first) + box_area(second) - shared).clamp(min=1e-6)
    hull = torch.maximum(first[..., 2:], second[..., 2:]) - torch.minimum(
        first[..., :2], second[..., :2]
    )
    hull_area = _product(hull.clamp(min=0)).clamp(min=1e-6)
    return shared / union - (hull_area - union) / hull_area


def apply_deltas(boxes: Tensor, deltas: Tensor) -> Tensor:
    """Boxes ``(..., 4)`` moved and resized by deltas ``(..., 4)``, as in Faster R-CNN.

    The deltas are of centre and log size relative to the box, with deviations 0.1 and 0.2.
    """
    size = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1.0)
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2 + deltas[..., :2].clamp(-8, 8) * 0.1 * size
    half = size * (deltas[..., 2:].clamp(-5, 5) * 0.2).exp() / 2
    return torch.cat([centre - half, centre + half], -1)


def non_maximum_suppression(boxes: Tensor, threshold: float, rounds: int = 0) -> Tensor:
    """Which of boxes, by falling score, no better kept one overlaps by more than a threshold.

    The fixed point of "a box stays unless a better box that stays overlaps it" is greedy
    suppression (Cluster-NMS, arXiv 2005.03572); each round is one product of matrices.

    Args:
        boxes: ``(..., n, 4)``, the best first.
        threshold: Of the IoU.
        rounds: Number of rounds; 0: until nothing changes, which waits for the device.

    Returns:
        ``(..., n)`` bool.
    """
    better = torch.triu(pairwise_iou(boxes, boxes) > threshold, diagonal=1).to(boxes.dtype)
    kept = boxes.new_ones(boxes.shape[:-1])
    for _ in range(rounds or boxes.shape[-2]):
        suppressed = (kept[..., None, :] @ better)[..., 0, :] > 0
        new = (~suppressed).to(boxes.dtype)
        if not rounds and bool((new == kept).all()):
            break
        kept = new
    return kept > 0


def in_better(boxes: Tensor, slots: Tensor, share: float) -> Tensor:
    """Which of boxes, by falling score, lie mostly in a better one of their slot, or hold it.

    Such are parts of an object and boxes around several, whose IoU is low.

    Args:
        boxes: ``(n, 4)``, the best first.
        slots: int64 ``(n,)``.
        share: Of the smaller one's area that lies in the other, from which on it is so.

    Returns:
        bool ``(n,)``.
    """
    area = box_area(boxes)
    inside = intersection(boxes[:, None], boxes) > share * torch.minimum(area[:, None], area)
    inside &= slots[:, None] == slots
    return torch.triu(inside, diagonal=1).any(0)

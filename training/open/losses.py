"""What the open model is trained to do; see `training.open.step`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from c3det.boxes import centredness, giou, pairwise_iou
from c3det.open.detector import STRIDES

LEVEL_SIZES = ((0.0, 32.0), (22.0, 72.0), (52.0, 1e9))
"""Longest sides, in pixels, of the objects that each level predicts; neighbours overlap."""

CORE = 0.35
"""A cell predicts an object if its centre lies in this middle part of the box (of half a side)."""

LEAST_CHOSEN, CHOICE_SHARPNESS = 0.4, 15.0
"""IoU that one of the boxes under a click must have to be learned from, and the factor on the IoUs
before they are shares of the target."""

RING = 0.85
"""Up to here a cell is neither object nor ground."""


def assign(
    boxes: Tensor, valid: Tensor, ignored: Tensor, sizes: list[tuple[int, int]]
) -> list[tuple[Tensor, Tensor]]:
    """For each level, which object each cell predicts, and which cells are to be ignored.

    Args:
        boxes: ``(B, M, 4)``.
        valid: bool ``(B, M)``, false for padding.
        ignored: ``(B, K, 4)``, boxes of what is neither object nor ground; 0 for padding.
        sizes: ``(rows, columns)`` of the levels.

    Returns:
        A level: int64 ``(B, h, w)``, -1 for none; bool ``(B, h, w)``.
    """
    half = (boxes[..., 2:] - boxes[..., :2]) / 2
    centre = boxes[..., :2] + half
    longest = 2 * half.amax(-1)
    area = (4 * half.prod(-1)).masked_fill(~valid, 1e9)
    out = []
    for stride, (rows, columns), (low, high) in zip(STRIDES, sizes, LEVEL_SIZES, strict=True):
        x = (torch.arange(columns, device=boxes.device) + 0.5) * stride
        y = (torch.arange(rows, device=boxes.device) + 0.5) * stride
        away_x = (x - centre[..., :1]).abs()
        away_y = (y - centre[..., 1:]).abs()
        reach = (half * CORE).clamp(min=stride / 2 + 0.01)
        mine = valid & (longest >= low) & (longest < high)
        core = (away_y <= reach[..., 1:])[..., :, None] & (away_x <= reach[..., :1])[..., None, :]
        core &= mine[..., None, None]
        ring = (away_y < half[..., 1:] * RING)[..., :, None] & (away_x < half[..., :1] * RING)[
            ..., None, :
        ]
        ring &= valid[..., None, None]
        value, index = torch.where(core, area[..., None, None], 1e9).min(1)
        found = value < 1e9
        odd = ((ignored[..., 1, None] < y) & (y < ignored[..., 3, None]))[..., :, None] & (
            (ignored[..., 0, None] < x) & (x < ignored[..., 2, None])
        )[..., None, :]
        skip = (ring.any(1) | odd.any(1)) & ~found
        out.append((torch.where(found, index, -1), skip))
    return out


def quality_focal(
    logits: Tensor, positive: Tensor, quality: Tensor, ignored: Tensor, ground: float = 0.75
) -> Tensor:
    """Sum of the quality focal loss (arXiv 2006.04388); ``quality`` is the target of positives."""
    probability = logits.sigmoid()
    hit = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    hit = hit * (quality - probability).abs() ** 2
    miss = F.softplus(logits) * probability**2 * ground
    return torch.where(positive, hit, miss).masked_fill(ignored, 0).sum()


def gathered(objects: Tensor, index: Tensor) -> Tensor:
    """Of ``(B, M, 4)`` those at ``(B, ...)``, negative indices as 0: ``(B, ..., 4)``."""
    flat = index.clamp(min=0).flatten(1)
    found = objects.gather(1, flat[..., None].expand(-1, -1, objects.shape[-1]))
    return found.view(*index.shape, objects.shape[-1])


def match(
    boxes: Tensor, objects: Tensor, valid: Tensor, ignored: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The object that each box fits best.

    Args:
        boxes: ``(B, P, 4)``.
        objects: ``(B, M, 4)``.
        valid: bool ``(B, M)``.
        ignored: ``(B, K, 4)``.

    Returns:
        IoU ``(B, P)``, index ``(B, P)``, and whether a box lies mostly in something ignored.
    """
    overlap = pairwise_iou(boxes, objects).masked_fill(~valid[:, None], 0.0)
    best, index = overlap.max(-1)
    odd = pairwise_iou(boxes, ignored).amax(-1) > 0.3
    return best, index, odd & (best < 0.5)


def region_loss(
    before: Tensor,
    logits: Tensor,
    after: Tensor,
    valid: Tensor,
    objects: Tensor,
    is_object: Tensor,
    ignored: Tensor,
) -> tuple[Tensor, Tensor]:
    """Losses of the refined boxes: of their scores, which learn the IoU, and of their place.

    Args:
        before: ``(B, P, 4)`` boxes as proposed.
        logits: ``(B, P)``.
        after: ``(B, P, 4)`` refined.
        valid: bool ``(B, P)``.
        objects: ``(B, M, 4)``.
        is_object: bool ``(B, M)``.
        ignored: ``(B, K, 4)``.
    """
    overlap, index, odd = match(before, objects, is_object, ignored)
    wanted = gathered(objects, index)
    fit = valid & (overlap > 0.35)
    refined = giou(after, wanted)
    place = ((1 - refined) * fit).sum() / fit.sum().clamp(min=1)
    now, _, _ = match(after.detach(), objects, is_object, ignored)
    target = torch.where(now >= 0.4, now, torch.zeros_like(now))
    used = valid & ~odd
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    hits = used & (target > 0)
    rest = used & (target == 0)
    score = (each * hits).sum() / hits.sum().clamp(min=1)
    score = score + (each * rest).sum() / hits.sum().clamp(min=1)
    return score, place


def choice_loss(
    logits: Tensor, boxes: Tensor, xy: Tensor, used: Tensor, objects: Tensor, is_object: Tensor
) -> Tensor:
    """Cross-entropy of the boxes that may be the object under a click; more for a better IoU.

    Args:
        logits: ``(B, n, P)``, -inf for boxes that are not considered.
        boxes: ``(B, P, 4)``.
        xy: ``(B, n, 2)``, the clicks.
        used: bool ``(B, n)``, false for padding.
        objects: ``(B, M, 4)``.
        is_object: bool ``(B, M)``.
    """
    # The clicked object is the one in which the click is most central.
    central = centredness(objects[:, None], xy[:, :, None]).masked_fill(~is_object[:, None], 0)
    most, clicked = central.max(-1)
    overlap = pairwise_iou(boxes, objects).gather(
        2, clicked[:, None].expand(-1, boxes.shape[1], -1)
    )
    overlap = overlap.transpose(1, 2).masked_fill(logits.isneginf(), 0)
    used = used & (most > 0) & (overlap.amax(-1) > LEAST_CHOSEN)
    wanted = (overlap * CHOICE_SHARPNESS).masked_fill(logits.isneginf(), -1e4).softmax(-1)
    log_share = logits.masked_fill(logits.isneginf(), -1e4).log_softmax(-1)
    each = -(wanted * log_share).sum(-1)
    return (each * used).sum() / used.sum().clamp(min=1)


def contrastive(embeddings: Tensor, labels: Tensor, temperature: float = 0.1) -> Tensor:
    """Supervised contrast (arXiv 2004.11362) of a picture's objects, and of those of the batch.

    Args:
        embeddings: ``(n, E)`` of length 1.
        labels: int64 ``(n,)``, one number for each class of each picture; -1: to be left out.
        temperature: Of the softmax.
    """
    like = embeddings @ embeddings.T / temperature
    itself = torch.eye(len(like), dtype=torch.bool, device=like.device)
    counts = ~itself & (labels >= 0)
    same = (labels[:, None] == labels) & counts
    log_share = like - like.masked_fill(~counts, -1e4).logsumexp(1, keepdim=True)
    has = same.any(1)
    each = -(log_share * same).sum(1) / same.sum(1).clamp(min=1)
    return (each * has).sum() / has.sum().clamp(min=1)


@dataclass(frozen=True, slots=True)
class ComparisonTargets:
    """What the comparison should say of each candidate.

    Attributes:
        slot: int64 ``(B, P)``, a slot or S, "none of these".
        weight: ``(B, P)``.
        clicked: bool ``(B, P)``, boxes of their object that hold a click.
        contested: bool ``(B, P)``, boxes that negative clicks on objects of other classes tell
            apart: on objects of these classes, and on those of the slot.
    """

    slot: Tensor
    weight: Tensor
    clicked: Tensor
    contested: Tensor


def comparison_loss(
    logits: Tensor, targets: ComparisonTargets, enforce: float, reject: float
) -> Tensor:
    """Cross-entropy over slots and "none", and UEL (C3Det, equation 4) of the clicked boxes.

    As UEL makes the boxes under positive clicks of their slot, the look-alikes of negative clicks
    are made not to be of theirs, and what is of it is made to stay.

    Args:
        logits: ``(B, P, S + 1)``.
        targets: Of the candidates.
        enforce: Weight of UEL.
        reject: Weight of the contested boxes.
    """
    slot = targets.slot
    each = F.cross_entropy(logits.flatten(0, 1), slot.flatten(), reduction="none").view(slot.shape)

    def mean(weight: Tensor) -> Tensor:
        return (each * weight).sum() / weight.sum().clamp(min=1)

    return mean(targets.weight) + enforce * mean(targets.clicked) + reject * mean(targets.contested)

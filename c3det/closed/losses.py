"""User-input enforcing loss (UEL): clicked objects weigh more in training.

C3Det, arXiv 2203.15266, equation 4: an extra classification loss over the positive boxes that meet
a click, averaged over those boxes alone. Few objects of a picture are clicked, so each of them
weighs far more here than in the detector's own loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from c3det.clicks import Click
from c3det.closed.heatmaps import click_xy
from c3det.devices import moved

Target = Literal["assigned", "clicked"]


@dataclass(frozen=True, slots=True)
class UserInputEnforcing:
    """The settings of the loss.

    Attributes:
        weight: Factor of the loss; the paper's is 1.
        target: ``"assigned"``: the class of the object that the box was assigned to, as in the
            reference (which throws the clicked class away); ``"clicked"``: the class of the click
            in the box, the one nearest to its centre if there are several. They differ where the
            annotator is wrong and where boxes overlap.
        radius: Half the side of the square that stands for a click, in pixels; 0 is the point.
    """

    weight: float = 1.0
    target: Target = "assigned"
    radius: float = 1.0


def clicked_boxes(
    boxes: Tensor, labels: Tensor, clicks: Sequence[Click], settings: UserInputEnforcing
) -> tuple[Tensor, Tensor]:
    """Which boxes of a picture meet a positive click, and the class to enforce there.

    Args:
        boxes: ``(n, 4)`` xyxy, pixels: the positive boxes as predicted.
        labels: ``(n,)`` int64: the classes of the objects they were assigned to.
        clicks: Of the picture.
        settings: Of the loss.

    Returns:
        ``(n,)`` bool and ``(n,)`` int64; the classes are meaningful where the first is true.
    """
    positive = [click for click in clicks if click.positive]
    if not positive or len(boxes) == 0:
        return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device), labels
    boxes = boxes.detach()
    xy = moved(torch.from_numpy(click_xy(positive)).to(boxes.dtype), boxes.device)
    inside = (
        (xy >= boxes[:, None, :2] - settings.radius) & (xy <= boxes[:, None, 2:] + settings.radius)
    ).all(-1)
    if settings.target == "assigned":
        return inside.any(1), labels
    offset = xy - (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    nearest = offset.square().sum(-1).masked_fill(~inside, torch.inf).argmin(1)
    clicked = moved(torch.tensor([click.label for click in positive]), boxes.device)
    return inside.any(1), clicked[nearest]


def enforcing_loss(logits: Tensor, targets: Tensor, *, sigmoid: bool, weight: float) -> Tensor:
    """Cross-entropy averaged over the clicked boxes; 0, with a gradient of 0, if there are none.

    With several processes the average is over the boxes of all of them, once their losses have
    been averaged, as data-parallel training does.

    Args:
        logits: ``(m, K)`` for a sigmoid a class (one-stage), ``(m, K + 1)`` for a softmax with
            background (two-stage).
        targets: ``(m,)`` int64, below K.
        sigmoid: Which of the two.
        weight: Factor.
    """
    count = mean_over_processes(torch.tensor(float(len(logits)), device=logits.device))
    if len(logits) == 0:
        return logits.sum() * 0.0
    if sigmoid:
        wanted = F.one_hot(targets, logits.shape[1]).to(logits.dtype)
        total = F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum")
    else:
        total = F.cross_entropy(logits, targets, reduction="sum")
    return total / count * weight


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a tensor over all processes that train together; itself where there is one."""
    if not (dist.is_available() and dist.is_initialized()):
        return value
    value = value.clone()
    dist.all_reduce(value)
    return value / dist.get_world_size()

"""Clicks and exemplars by slot, in an order that depends on neither labels nor the caller.

Slots are in the order of where their clicks lie and what their exemplars are. So other labels, or
another order of the clicks, give the very same boxes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from c3det.clicks import Click
from c3det.exemplars import Exemplar
from c3det.model import Template

NOWHERE = (-math.inf, -math.inf)
"""Where an exemplar of another picture lies: no heatmap and no box reaches it."""


@dataclass(frozen=True, slots=True, eq=False)
class SlotInputs:
    """Clicks of the picture and, after them, exemplars of other pictures; n together.

    Attributes:
        xy: ``(n, 2)`` in pixels of the tile; `NOWHERE` for an exemplar of another picture.
        templates: Of each.
        positive: bool ``(S, n)``, the positive ones of each slot.
        negative: bool ``(S, n)``, the negative ones of each slot.
    """

    xy: Tensor
    templates: list[Template]
    positive: Tensor
    negative: Tensor

    @property
    def foreign(self) -> Tensor:
        """bool ``(n,)``, which are exemplars of other pictures."""
        return ~self.xy.isfinite().all(1)


def slot_inputs(
    templates: Sequence[Template],
    clicks: Sequence[Click],
    exemplars: Sequence[tuple[Exemplar, Template]],
    device: torch.device,
) -> tuple[SlotInputs, list[int]]:
    """Sort clicks and exemplars into slots.

    Args:
        templates: Of the clicks.
        clicks: In pixels of the tile.
        exemplars: Of other pictures, with their templates.
        device: Of the result.

    Returns:
        The inputs, and the label of each slot.
    """
    labels = _labels_in_order(clicks, [exemplar for exemplar, _ in exemplars])
    slot_of = {label: slot for slot, label in enumerate(labels)}
    here = sorted(
        zip(clicks, templates, strict=True),
        key=lambda one: (slot_of[one[0].label], not one[0].positive, one[0].y, one[0].x),
    )
    elsewhere = sorted(
        exemplars, key=lambda one: (slot_of[one[0].label], not one[0].positive, _look(one[0]))
    )
    both: list[Click | Exemplar] = [one for one, _ in here]
    both += [one for one, _ in elsewhere]
    slots = torch.tensor([slot_of[one.label] for one in both])
    positive = torch.tensor([one.positive for one in both])
    xy = [(click.x, click.y) for click, _ in here] + [NOWHERE] * len(elsewhere)
    own = slots == torch.arange(len(labels))[:, None]
    inputs = SlotInputs(
        torch.tensor(xy, dtype=torch.float32).to(device),
        [template for _, template in (*here, *elsewhere)],
        (own & positive).to(device),
        (own & ~positive).to(device),
    )
    return inputs, labels


def _labels_in_order(clicks: Sequence[Click], exemplars: Sequence[Exemplar]) -> list[int]:
    """The labels that have positive clicks or exemplars."""
    places: dict[int, list[tuple[float, float]]] = {}
    looks: dict[int, list[tuple[bytes, float, float]]] = {}
    for click in clicks:
        if click.positive:
            places.setdefault(click.label, []).append((click.y, click.x))
    for exemplar in exemplars:
        if exemplar.positive:
            looks.setdefault(exemplar.label, []).append(_look(exemplar))
    return sorted(
        places.keys() | looks.keys(),
        key=lambda label: (sorted(places.get(label, [])), sorted(looks.get(label, []))),
    )


def _look(exemplar: Exemplar) -> tuple[bytes, float, float]:
    """All of an exemplar but its label and sign."""
    return exemplar.numbers, exemplar.width, exemplar.height

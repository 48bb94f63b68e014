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
        cells: ``(n, levels, CELL)``, of their templates, as the next two.
        exemplars: ``(n, 4 + numbers)``.
        logits: ``(n,)``.
        positive: bool ``(S, n)``, the positive ones of each slot.
        negative: bool ``(S, n)``, the negative ones of each slot.
        chosen: bool ``(n,)``, whether a click means another box than the likeliest under it.
        foreign: bool ``(n,)``, which are exemplars of other pictures, or padding.
    """

    xy: Tensor
    cells: Tensor
    exemplars: Tensor
    logits: Tensor
    positive: Tensor
    negative: Tensor
    chosen: Tensor
    foreign: Tensor

    @classmethod
    def of(
        cls, places: Tensor, cells: Tensor, exemplars: Tensor, logits: Tensor, slots: int
    ) -> SlotInputs:
        """From the rows of `by_slot` and the templates, for a number of slots.

        Rows of `PADDING` are of no slot, and slots beyond the last one hold nothing.
        """
        xy, slot, sign = places[:, :2], places[:, 2], places[:, 3] > 0
        own = slot == torch.arange(slots, device=slot.device)[:, None]
        foreign = ~xy.isfinite().all(1)
        chosen = places[:, 3] > 1
        return cls(xy, cells, exemplars, logits, own & sign, own & ~sign, chosen, foreign)


PADDING = (*NOWHERE, -1.0, 0.0)
"""A row of `by_slot` that stands for nothing."""


def by_slot(
    templates: Sequence[Template],
    clicks: Sequence[Click],
    exemplars: Sequence[tuple[Exemplar, Template]],
) -> tuple[list[tuple[float, ...]], list[Template], list[int]]:
    """Sort clicks and exemplars into slots.

    Args:
        templates: Of the clicks.
        clicks: In pixels of the tile.
        exemplars: Of other pictures, with their templates.

    Returns:
        A row ``(x, y, slot, sign)`` and the template of each, and the label of each slot. The sign
        of a negative one is 0, that of a positive one 1 and the click's choice.
    """
    labels = _labels_in_order(clicks, [exemplar for exemplar, _ in exemplars])
    slot_of = {label: slot for slot, label in enumerate(labels)}
    here = sorted(
        zip(clicks, templates, strict=True),
        key=lambda one: (slot_of[one[0].label], not one[0].positive, _place(one[0])),
    )
    elsewhere = sorted(
        exemplars, key=lambda one: (slot_of[one[0].label], not one[0].positive, _look(one[0]))
    )
    rows: list[tuple[float, ...]] = [
        (click.x, click.y, slot_of[click.label], click.positive * (1 + click.choice))
        for click, _ in here
    ]
    rows += [(*NOWHERE, slot_of[one.label], one.positive) for one, _ in elsewhere]
    return rows, [template for _, template in (*here, *elsewhere)], labels


def _labels_in_order(clicks: Sequence[Click], exemplars: Sequence[Exemplar]) -> list[int]:
    """The labels that have positive clicks or exemplars."""
    places: dict[int, list[tuple[float, float, int]]] = {}
    looks: dict[int, list[tuple[bytes, float, float]]] = {}
    for click in clicks:
        if click.positive:
            places.setdefault(click.label, []).append(_place(click))
    for exemplar in exemplars:
        if exemplar.positive:
            looks.setdefault(exemplar.label, []).append(_look(exemplar))
    return sorted(
        places.keys() | looks.keys(),
        key=lambda label: (sorted(places.get(label, [])), sorted(looks.get(label, []))),
    )


def _place(click: Click) -> tuple[float, float, int]:
    """Where a click lies, row by row, and which of the boxes there it means."""
    return click.y, click.x, click.choice


def _look(exemplar: Exemplar) -> tuple[bytes, float, float]:
    """All of an exemplar but its label and sign."""
    return exemplar.numbers, exemplar.width, exemplar.height

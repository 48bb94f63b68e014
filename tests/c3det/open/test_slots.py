"""The order of clicks and exemplars in slots."""

from __future__ import annotations

import random
from dataclasses import replace

import torch

from c3det.clicks import Click
from c3det.exemplars import Exemplar
from c3det.model import Template
from c3det.open.slots import NOWHERE, PADDING, SlotInputs, by_slot


def template(number: int) -> Template:
    return (torch.tensor([float(number)]),)


def numbers(templates: list[Template]) -> list[int]:
    return [int(one[0]) for one in templates]


def test_rows_are_sorted_by_where_clicks_lie_and_what_exemplars_are() -> None:
    clicks = [
        Click(50, 20, 7, choice=2),
        Click(10, 20, 3),
        Click(9, 60, 7, positive=False),
        Click(40, 10, 7),
        Click(5, 5, 8, positive=False),  # of no slot of a click
    ]
    exemplars = [
        (Exemplar(8, True, b"b", 5.0, 6.0), template(5)),
        (Exemplar(3, False, b"a", 5.0, 6.0), template(6)),
    ]
    rows, templates, labels = by_slot(list(map(template, range(5))), clicks, exemplars)
    # A slot without clicks comes first; of the others the one with the highest click.
    assert labels == [8, 7, 3]
    assert rows == [
        (5, 5, 0, 0),
        (40, 10, 1, 1),
        (50, 20, 1, 3),
        (9, 60, 1, 0),
        (10, 20, 2, 1),
        (*NOWHERE, 0, 1),
        (*NOWHERE, 2, 0),
    ]
    assert numbers(templates) == [4, 3, 0, 2, 1, 5, 6]


def test_neither_the_caller_nor_labels_decide_the_order() -> None:
    """Slots differ in one thing of one click or exemplar, and so do those of a slot."""
    looks = [(b"a", 5.0, 6.0), (b"b", 5.0, 6.0), (b"a", 5.5, 6.0), (b"a", 5.0, 6.5)]
    clicks = [
        *(Click(30, 40, 0, choice=choice) for choice in (0, 1)),
        *(Click(30, 40, label) for label in range(1, 7)),
        *(Click(60, y, label) for label, y in enumerate((10, 20), 1)),
        *(Click(x, 40, label, choice=x % 2) for label, x in enumerate((60, 61, 62, 60), 3)),
        *(Click(30, 40, label, positive=False) for label in (0, 3)),
    ]
    exemplars = [
        *(Exemplar(label, True, *look) for label in (0, 1) for look in looks),
        *(Exemplar(label, True, *look) for label, look in enumerate(looks, 7)),
        *(Exemplar(0, False, *look) for look in looks),
        Exemplar(6, True, *looks[0]),
    ]
    things = list(enumerate([*clicks, *exemplars]))
    draw, names, answers = random.Random(0), list(range(11)), set()
    for _ in range(20):
        draw.shuffle(things)
        draw.shuffle(names)
        renamed = [(number, replace(one, label=names[one.label])) for number, one in things]
        here = [(number, one) for number, one in renamed if isinstance(one, Click)]
        elsewhere = [
            (one, template(number)) for number, one in renamed if isinstance(one, Exemplar)
        ]
        rows, templates, labels = by_slot(
            [template(number) for number, _ in here], [one for _, one in here], elsewhere
        )
        slots = tuple(names.index(label) for label in labels)
        answers.add((tuple(rows), tuple(numbers(templates)), slots))
    assert len(answers) == 1


def test_what_rows_say() -> None:
    rows = [(1, 2, 0, 1), (3, 4, 1, 0), (5, 6, 1, 3), (*NOWHERE, 0, 0), (7, 8, 1, 2), PADDING]
    places, nothing = torch.tensor(rows, dtype=torch.float32), torch.zeros(6)
    given = SlotInputs.of(places, nothing, nothing, nothing, 3)
    assert given.positive.int().tolist() == [[1, 0, 0, 0, 0, 0], [0, 0, 1, 0, 1, 0], [0] * 6]
    assert given.negative.int().tolist() == [[0, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 0], [0] * 6]
    assert given.chosen.int().tolist() == [0, 0, 1, 0, 1, 0]
    assert given.foreign.int().tolist() == [0, 0, 0, 1, 0, 1]
    assert given.xy[:3].tolist() == [[1, 2], [3, 4], [5, 6]]

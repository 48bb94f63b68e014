"""The click and what it refuses."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError

import pytest

from c3det.clicks import Click, LabelledBox, check_labels


def test_click_is_a_value() -> None:
    click = Click(1.5, 2, 3)
    assert click == Click(x=1.5, y=2, label=3, positive=True)
    assert click != Click(1.5, 2, 3, positive=False)
    assert len({click, Click(1.5, 2, 3)}) == 1
    with pytest.raises(FrozenInstanceError):
        click.x = 0  # type: ignore[misc]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_click_needs_finite_coordinates(bad: float) -> None:
    with pytest.raises(ValueError, match="finite coordinates"):
        Click(bad, 0, 0)
    with pytest.raises(ValueError, match="finite coordinates"):
        Click(0, bad, 0)


def test_click_needs_a_label_from_0() -> None:
    with pytest.raises(ValueError, match="label of a click must not be negative, it is -1"):
        Click(0, 0, -1)
    with pytest.raises(ValueError, match="choice of a click must not be negative, it is -2"):
        Click(0, 0, 0, choice=-2)


def test_check_labels_names_click_and_classes() -> None:
    check_labels([], 1)
    check_labels([Click(0, 0, 0), Click(0, 0, 2)], 3)
    with pytest.raises(ValueError, match="click 1 has label 3, but there are 3 classes"):
        check_labels([Click(0, 0, 0), Click(0, 0, 3)], 3)


def test_a_box_has_an_area_and_a_middle() -> None:
    assert LabelledBox(1, 2, 4, 8, 0).middle == (2.5, 5)
    for corners in ((1, 2, 1, 8), (1, 9, 4, 8), (1, 2, math.nan, 8), (1, 2, math.inf, 8)):
        with pytest.raises(ValueError, match="a box needs finite x1 < x2 and y1 < y2, not"):
            LabelledBox(*corners, 0)
    with pytest.raises(ValueError, match="label of a box must not be negative, it is -1"):
        LabelledBox(1, 2, 4, 8, -1)

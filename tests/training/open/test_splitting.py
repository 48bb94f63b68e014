"""Splitting done pictures: what is trained on, what chooses the step, what tells the gain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.training.open.small_jobs import XS, squares
from training.data.annotated import Annotated
from training.open import splitting
from training.open.splitting import cut, evaluated_section, split_pictures


@pytest.mark.parametrize(
    ("count", "fitted", "watched", "tested"),
    [
        (2, "b", "a", "a"),
        (4, "abd", "c", "c"),
        (5, "ace", "b", "d"),
        (10, "acefhj", "bg", "di"),
    ],
)
def test_pictures_kept_aside_are_spread(count: int, fitted: str, watched: str, tested: str) -> None:
    pictures = [squares("abcdefghij"[n], XS) for n in range(count)]
    nothing = [squares("empty", ()), squares("ignored", (4, 24), ignored=(0, 1))]
    split = split_pictures([*nothing, *pictures])
    names = [
        "".join(one.name for one in side) for side in (split.train, split.validation, split.test)
    ]
    assert names == [fitted, watched, tested]
    assert split.is_independent == (count >= 5)


def test_nothing_is_done() -> None:
    with pytest.raises(ValueError, match="no picture is done"):
        split_pictures([squares("empty", ())])


def test_a_single_picture_is_cut_between_its_objects() -> None:
    split = split_pictures([squares("one", XS, ignored=(5,))])
    ((fitted,), (kept,)) = split.train, split.validation
    assert split.test == split.validation
    assert not split.is_independent
    # Of the five that count, a third, about, is kept aside.
    assert (kept.name, fitted.name) == ("one, first part", "one, second part")
    assert kept.boxes[:, 0].tolist() == [4, 24]
    assert (fitted.boxes[:, 0] + kept.width).tolist() == [44, 64, 84, 104]
    assert fitted.ignored.tolist() == [False, False, False, True]
    assert np.array_equal(np.concatenate([kept.image, fitted.image], 1), squares("", XS).image)


def test_a_third_of_the_objects_is_kept_aside() -> None:
    larger, smaller = cut(squares("nine", tuple(range(4, 184, 20)), width=184))
    assert (len(larger.boxes), len(smaller.boxes)) == (6, 3)


def test_objects_that_the_cut_goes_through_are_ignored() -> None:
    boxes = np.array([[2, 2, 20, 8], [2, 30, 20, 38], [2, 60, 20, 64], [2, 90, 20, 99]], np.float32)
    long = np.array([[0, 40, 20, 58]], np.float32)
    one = Annotated(
        "tall",
        np.zeros((100, 22, 3), np.uint8),
        np.concatenate([boxes, long, long + 1]),
        np.zeros(6, np.int64),
    )
    first, second = cut(one)
    assert len(first.boxes) + len(second.boxes) >= 6
    for part in (first, second):
        assert part.width == 22
        assert (~part.ignored).sum() >= 2
        assert (part.boxes <= [part.width, part.height] * 2).all()
    with pytest.raises(ValueError, match=r"few is the only picture .* finish another picture"):
        cut(squares("few", XS[:3]))


def test_of_a_large_picture_is_shown_where_most_objects_are() -> None:
    whole = squares("wide", (10, 500, 1500, 1540, 1580), width=1600)
    part = evaluated_section(whole)
    assert (part.name, part.width, part.height) == ("wide", splitting.EVALUATED_SIDE, 96)
    assert part.boxes[:, 0].tolist() == [668, 708, 748]
    tall = replace(whole, image=whole.image.swapaxes(0, 1), boxes=whole.boxes[:, [1, 0, 3, 2]])
    assert evaluated_section(tall).boxes[:, 1].tolist() == [668, 708, 748]
    small = squares("small", XS)
    assert evaluated_section(small) is small

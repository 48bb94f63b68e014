"""Which clicks and exemplars a query has, and in which order."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from c3det.clicks import Click
from c3det.exemplars import Exemplar
from c3det.queries import NO_CLICKS, Query, check_clicks

CLICK, EXEMPLAR = Click(30, 40, 1), Exemplar(1, True, b"ab", 5.0, 6.0)
NO = replace(CLICK, positive=False)
NO_EXEMPLAR = replace(EXEMPLAR, positive=False)


@pytest.mark.parametrize("field", ["x", "y", "label", "choice"])
def test_any_order_of_clicks_is_one_query(field: str) -> None:
    clicks = [replace(CLICK, **{field: number}) for number in range(60)]
    wanted = Query.of(clicks, [], counts_negative=True)
    assert set(wanted.clicks) == set(clicks)
    for seed in range(5):
        random.Random(seed).shuffle(clicks)
        assert Query.of(clicks + clicks[:9], [], counts_negative=True) == wanted


@pytest.mark.parametrize("field", ["label", "numbers", "width", "height"])
def test_any_order_of_exemplars_is_one_query(field: str) -> None:
    values = [bytes([number]) if field == "numbers" else number for number in range(60)]
    exemplars = [replace(EXEMPLAR, **{field: value}) for value in values]
    wanted = Query.of([], exemplars, counts_negative=True)
    assert set(wanted.exemplars) == set(exemplars)
    for seed in range(5):
        random.Random(seed).shuffle(exemplars)
        assert Query.of([], exemplars + exemplars[:9], counts_negative=True) == wanted


def test_negative_ones_count_beside_positive_ones_of_their_label() -> None:
    """Whichever of the two a click and which an exemplar is; not where the model does not heed."""
    for clicks, exemplars in (([CLICK], [NO_EXEMPLAR]), ([NO], [EXEMPLAR])):
        query = Query.of(clicks, exemplars, counts_negative=True)
        assert query == Query(tuple(clicks), tuple(exemplars))
        query = Query.of(clicks, exemplars, counts_negative=False)
        assert all(one.positive for one in (*query.clicks, *query.exemplars))
        others = [replace(one, label=2) for one in exemplars]
        query = Query.of(clicks, others, counts_negative=True)
        assert all(one.positive for one in (*query.clicks, *query.exemplars))
    assert Query.of([NO], [NO_EXEMPLAR], counts_negative=True) == NO_CLICKS


def test_the_edges_of_a_picture_and_of_thresholds_are_right() -> None:
    corners = [Click(x, y, 0) for x in (0, 56) for y in (0, 40)]
    for threshold in (0, 1):
        check_clicks(corners, threshold, 1, (40, 56))
    for threshold in (-0.01, 1.01):
        with pytest.raises(ValueError, match="score_threshold must be between 0 and 1"):
            check_clicks([], threshold, 1, (40, 56))


def test_a_label_of_no_class_is_wrong_whatever_the_sign() -> None:
    """A closed model never sees the negative ones."""
    check_clicks([replace(NO, label=2)], 0.5, 3, (100, 100))
    with pytest.raises(ValueError, match="click 1 has label 3, but there are 3 classes"):
        check_clicks([CLICK, replace(NO, label=3)], 0.5, 3, (100, 100))
    check_clicks([replace(NO, label=3)], 0.5, 0, (100, 100))

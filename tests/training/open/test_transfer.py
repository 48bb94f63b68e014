"""What clicks on one picture find in others."""

from __future__ import annotations

from typing import Any

import numpy as np

from c3det.limits import MAX_PER_QUERY
from tests.training.open.small_jobs import NAMES, Fake, a_picture, exemplars_of
from training.open.transfer import Transfer, ratio, thinned


def test_as_many_exemplars_stay_as_a_question_may_have() -> None:
    many = exemplars_of([n % 40 for n in range(400)], names=[f"{n}" for n in range(40)])
    assert len(thinned(many)) == 240  # six of each: seven would be 280
    assert len(thinned(exemplars_of([0] * 20))) == 16
    assert MAX_PER_QUERY == 256


def test_transfer_is_of_the_classes_of_the_first_picture() -> None:
    pages: list[Any] = [Fake(a_picture(0)), Fake(a_picture(3)), Fake(a_picture(4, dots=2), found=2)]
    transfer = Transfer(NAMES, (1, 3), 1)
    for place, page in enumerate(pages):
        transfer.add(place, page)
    moved = transfer.rows()
    # Two of four bars, without a wrong box: precision 1 at 51 of 101 recalls. Dots do not count.
    half = round(100 * 51 / 101, 2)
    assert moved["1"]["carried"]["all"] == moved["1"]["own"]["all"] == half
    assert ratio(moved["1"]) == 100.0
    # Exemplars and no click, then clicks on bars alone and no exemplar.
    asked = [(len(clicks), known) for clicks, known in pages[2].asked]
    assert asked == [(0, 1), (1, 0), (0, 3), (3, 0)]
    assert {click.label for clicks, _ in pages[2].asked for click in clicks} == {0}
    assert pages[0].asked == pages[1].asked == []


def test_only_pictures_from_a_place_on_are_counted() -> None:
    transfer = Transfer(NAMES, (1,), 1)
    pages: list[Any] = [Fake(a_picture(3)), Fake(a_picture(4), found=0), Fake(a_picture(4))]
    for place, page in enumerate(pages):
        transfer.add(place, page)
    assert transfer.rows()["1"]["carried"]["all"] == round(100 * 51 / 101, 2)
    assert transfer.rows(2)["1"]["carried"]["all"] == 100.0
    nothing = {"carried": {"all": 1.0}, "own": {"all": 0.0}}
    assert ratio(nothing) is None
    assert np.isfinite(transfer.rows()["1"]["own"]["all"])

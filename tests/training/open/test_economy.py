"""Annotating a job: works of an annotator, and times, that a person can check."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from c3det.clicks import LabelledBox
from c3det.detections import Detections
from c3det.exemplars import Exemplars
from tests.training.open.small_jobs import NAMES, NONE, Fake, a_picture, boxes_of, exemplars_of
from training.open.economy import Annotator, BoxAssignment, Work


def annotate(*pages: Any, known: Exemplars = NONE, carries: bool = True) -> Work:
    """The work on pictures, one after the other."""
    annotator = Annotator(NAMES, 0.3, known, carries)
    for page in pages:
        annotator.annotate(page)
    return annotator.work


def untimed(work: Work) -> Work:
    return replace(work, waited=0.0)


def test_seconds_of_a_job_made_by_hand() -> None:
    # 327.7 s / 58.3 = 5.621 s by hand, 114.7 s / 17.9 = 6.408 s assisted.
    work = Work(20, clicks=1, negative=1, thresholds=1, accepted=1, deleted=2, drawn=1, waited=0.5)
    work.add(Work(relabelled=1, pulled=1))
    assert work.by_hand == pytest.approx(20 * 5.621, abs=0.01)
    assert work.assisted == pytest.approx(4 * 6.408 + 5 * 5.621 + 0.5, abs=0.01)
    assert work.to_json()["ratio"] == pytest.approx(112.42 / 54.24, abs=0.01)
    assert Work().to_json()["ratio"] is None


def test_one_click_finds_all_and_the_next_picture_needs_none() -> None:
    pages = [Fake(a_picture(4)) for _ in range(3)]
    work = annotate(*pages)
    assert untimed(work) == Work(objects=12, clicks=1, accepted=3, questions=3)
    # Four bars of the first picture go to the second one; equal ones are there once.
    asked = [(len(clicks), known) for page in pages for clicks, known in page.asked]
    assert asked == [(1, 0), (0, 4), (0, 4)]
    alone = annotate(*(Fake(a_picture(4)) for _ in range(3)), carries=False)
    assert untimed(alone) == Work(objects=12, clicks=3, accepted=3, questions=3)
    assert work.assisted < alone.assisted


def test_what_is_waited_for_is_counted() -> None:
    # The picture is encoded once, in 2 s; each answer takes 0.5 s.
    work = annotate(Fake(a_picture(5), wrong=3))
    assert (work.waited, work.questions) == (3.0, 2)


def test_a_click_that_cannot_be_expected_to_pay_is_not_made() -> None:
    # Half of two objects are hoped for: 5.6 s for 6.4 s. The hope falls with what clicks did, the
    # first one of a label and later ones apart.
    assert annotate(Fake(a_picture(2))) == Work(objects=2, drawn=2)
    pages = [Fake(a_picture(4), found=0) for _ in range(2)]
    work = annotate(*pages, carries=False)
    assert untimed(work) == Work(objects=8, clicks=2, drawn=8, questions=2)
    assert pages[1].asked == []


def test_a_single_object_is_drawn() -> None:
    page = Fake(a_picture(1))
    assert annotate(page) == Work(objects=1, drawn=1)
    assert page.kept == [([LabelledBox(0, 0, 10, 10, 0)], [])]


def test_what_is_missed_is_drawn() -> None:
    page = Fake(a_picture(6), found=5)
    work = annotate(page)
    assert untimed(work) == Work(objects=6, clicks=1, accepted=1, drawn=1, questions=1)
    ((boxes, _),) = page.kept
    assert sorted(box.x1 for box in boxes) == [0, 12, 24, 36, 48, 60]


def test_the_class_of_most_errors_comes_first() -> None:
    page = Fake(a_picture(3, dots=4))
    work = annotate(page)
    assert [click.label for click in page.asked[-1][0]] == [1, 0]
    assert untimed(work) == Work(objects=7, clicks=2, accepted=1, questions=2)


def test_wrong_boxes_are_clicked_as_negative_and_become_exemplars() -> None:
    page = Fake(a_picture(5), wrong=3)
    annotator = Annotator(NAMES, 0.3, NONE)
    work = annotator.annotate(page)
    # One click finds five bars and three wrong boxes, one negative click takes these away.
    assert untimed(work) == Work(objects=5, clicks=1, negative=1, accepted=1, questions=2)
    assert [one.positive for one in page.asked[-1][0]] == [True, False]
    assert annotator.known.positive.tolist() == [False] + [True] * 5


def test_a_click_that_makes_it_worse_is_taken_back() -> None:
    # One bar is found, and six wrong boxes: more to correct than the four that were missed.
    annotator = Annotator(NAMES, 0.3, NONE)
    work = annotator.annotate(Fake(a_picture(4), found=1, wrong=6))
    assert untimed(work) == Work(objects=4, clicks=1, drawn=4, questions=1)
    assert len(annotator.known) == 4


def test_a_threshold_stays_for_the_next_pictures() -> None:
    pages = [Fake(a_picture(5), wrong=5, wrong_score=0.42) for _ in range(2)]
    work = annotate(*pages, known=exemplars_of([0]))
    assert untimed(work) == Work(objects=10, thresholds=1, accepted=2, questions=2)


class Stubborn(Fake):
    """Finds all dots, and for bars one right box and four that no click takes away."""

    def detect(self, *arguments: Any, **options: Any) -> Detections:
        bars = [((0, 0, 10, 10), 0), *(((12, 0, 14, 10 - n), 0) for n in range(1, 5))]
        dots = [(box.tolist(), 1) for box in self.picture.boxes[self.picture.labels == 1]]
        return boxes_of(*bars, *dots)


def test_a_label_is_hidden_for_one_picture() -> None:
    # To hide the bars takes 6.4 s and a box to draw, 5.6 s, which is less than four deletions.
    pages = [Stubborn(a_picture(2, dots=6)) for _ in range(2)]
    work = annotate(*pages, known=exemplars_of([0, 1]))
    assert (work.thresholds, work.accepted, work.deleted, work.drawn) == (2, 2, 0, 4)


def test_nothing_is_accepted_where_it_is_faster_to_draw_all() -> None:
    # One of two bars is right: to accept takes 6.4 s, and the other one is to be drawn.
    work = annotate(Fake(a_picture(2), found=1), known=exemplars_of([0]))
    assert untimed(work) == Work(objects=2, drawn=2, questions=1)
    assert work.assisted - work.by_hand == work.waited == 2.5


def test_corrections() -> None:
    picture = replace(a_picture(5, dots=1), ignored=np.array([False] * 4 + [True, False]))
    found = boxes_of(
        ((0, 0, 10, 10), 0),  # bar 0
        ((12, 0, 22, 10), 1),  # bar 1, called a dot
        ((24, 0, 27, 10), 0),  # bar 2, loose
        ((0, 0, 10, 9), 0),  # bar 0 once more
        ((48, 0, 53, 5), 0),  # in a bar that does not count
        ((50, 60, 60, 70), 1),  # of nothing
    )
    comparison = BoxAssignment(picture, found)
    every = np.ones(6, np.bool_)
    left = comparison.corrections(every)
    assert (left.right, left.relabelled, left.pulled) == ([0], [(1, 1)], [(2, 2)])
    assert (left.deleted, left.drawn, len(left)) == ([3, 5], [3, 5], 6)
    # Without the better box of bar 0 the worse one is right.
    left = comparison.corrections(every & (np.arange(6) != 0))
    assert (left.right, left.deleted) == ([3], [5])
    assert len(comparison.corrections(~every)) == 5


class Unsure(Fake):
    """Finds what the annotator's exemplars are of, below the threshold."""

    def detect(self, *arguments: Any, **options: Any) -> Detections:
        found = super().detect(*arguments, **options)
        return replace(found, scores=np.full(len(found), 0.12, np.float32))


def test_the_threshold_of_all_labels_is_moved_at_once() -> None:
    pages = [Unsure(a_picture(3, dots=3)) for _ in range(2)]
    work = annotate(*pages, known=exemplars_of([0, 1]))
    assert untimed(work) == Work(objects=12, thresholds=1, accepted=2, questions=2)


class Confused(Fake):
    """Finds nothing of use once it has exemplars."""

    def detect(self, clicks: Any, exemplars: Exemplars | None = None) -> Detections:
        found = super().detect(clicks, exemplars)
        return found if exemplars is None else Detections.none()


def test_exemplars_that_do_not_pay_are_left_out() -> None:
    pages = [Confused(a_picture(6)) for _ in range(3)]
    annotate(*pages)
    assert [known for _, known in pages[0].asked] == [0]
    assert {known for _, known in pages[1].asked} == {6}
    assert [known for _, known in pages[2].asked] == [0]

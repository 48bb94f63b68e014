"""The reconciliation of detections with clicks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c3det.answering import answer_clicks
from c3det.boxes import iou
from c3det.clicks import Click
from c3det.detections import Detections, answered_clicks, overruled

SIDE = 64
SIZES = [(8.0, 8.0), (20.0, 10.0), (1.0, 1.0)]


def detections(rows: Sequence[tuple[Sequence[float], float, int]]) -> Detections:
    """Candidates from (box, score, label)."""
    return Detections(
        np.array([row[0] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[1] for row in rows], np.float32),
        np.array([row[2] for row in rows], np.int64),
        np.full(len(rows), -1, np.int64),
    )


def reconciled(
    candidates: Detections, clicks: Sequence[Click], threshold: float = 0.3
) -> Detections:
    return answer_clicks(
        candidates,
        clicks,
        score_threshold=threshold,
        typical_sizes=SIZES,
        image_size=(SIDE, SIDE),
    )


def answer(
    candidates: Detections, clicks: Sequence[Click], threshold: float = 0.3
) -> list[tuple[list[float], float, int, int]]:
    """The answer as (box, score rounded, label, click) a row."""
    got = reconciled(candidates, clicks, threshold)
    scores = [round(float(score), 4) for score in got.scores]
    return list(
        zip(got.boxes.tolist(), scores, got.labels.tolist(), got.clicks.tolist(), strict=True)
    )


A, B, C = [10, 10, 20, 20], [40, 10, 50, 20], [10, 40, 20, 50]


def test_what_no_click_decides_keeps_its_rival() -> None:
    candidates = replace(
        detections([(A, 0.9, 0), (B, 0.8, 0), (C, 0.7, 1)]),
        rivals=np.array([1, 1, 2]),
        rival_scores=np.array([0.5, 0.4, 0.25], np.float32),
    )
    got = reconciled(candidates, [Click(45, 15, 1)])
    assert got.boxes.tolist() == [B, A, C]
    assert got.rivals.tolist() == [-1, 1, 2]
    assert got.rival_scores.tolist() == [0, 0.5, 0.25]
    assert detections([(A, 0.9, 0)]).rivals.tolist() == [-1], "none by default"


def test_labels_without_typical_sizes_take_those_of_their_best_boxes() -> None:
    """Classes that clicks define: any numbers, and no card with their sizes."""
    candidates = detections(
        [([30, 30, 36, 40], 0.9, 70), ([50, 50, 56, 60], 0.8, 70), (A, 0.05, 3), (C, 0.9, -1)]
    )
    clicks = [Click(5, 50, 70), Click(55, 5, 3), Click(30, 5, 900)]
    got = answer_clicks(
        candidates, clicks, score_threshold=0.3, typical_sizes=(), image_size=(SIDE, SIDE)
    )
    sides = (got.boxes[:3, 2:] - got.boxes[:3, :2]).tolist()
    assert sides[:2] == [[6, 10], [10, 10]]
    assert sides[2] == [8, 10], "of a label without boxes, the median of all"
    assert got.labels.tolist() == [70, 3, 900, 70, 70], "what has no class is not shown"
    alone = answer_clicks(
        detections([]), clicks[:1], score_threshold=0.3, typical_sizes=(), image_size=(SIDE, SIDE)
    )
    assert alone.boxes.tolist() == [[0, 38, 17, 62]], "24 px, as far as the picture goes"


def test_boxes_of_no_class_answer_clicks_and_are_shown_without() -> None:
    candidates = detections([(A, 0.9, -1), (B, 0.8, -1)])
    assert [label for _, _, label, _ in answer(candidates, [])] == [-1, -1]
    assert answer(candidates, [Click(15, 15, 2)]) == [(A, 1.0, 2, 0)]


def test_no_clicks_leave_what_is_above_the_threshold() -> None:
    candidates = detections([(A, 0.5, 0), (B, 0.29, 1), (C, 0.9, 2)])
    assert answer(candidates, []) == [(C, 0.9, 2, -1), (A, 0.5, 0, -1)]
    assert answer(detections([]), []) == []


def test_a_click_on_a_box_of_its_class_confirms_it() -> None:
    candidates = detections([(A, 0.5, 0), (B, 0.9, 0)])
    assert answer(candidates, [Click(15, 15, 0)]) == [(A, 1, 0, 0), (B, 0.9, 0, -1)]


def test_its_own_class_goes_before_a_higher_score() -> None:
    wider = [9, 9, 21, 21]
    candidates = detections([(A, 0.9, 1), (wider, 0.4, 0)])
    assert answer(candidates, [Click(15, 15, 0)]) == [(wider, 1, 0, 0)]
    candidates = detections([(A, 0.9, 1), (wider, 0.2, 0)])
    assert answer(candidates, [Click(15, 15, 0)]) == [(A, 1, 0, 0)]


def test_a_weak_proposal_of_another_class_is_relabelled() -> None:
    candidates = detections([(A, 0.05, 2), (B, 0.9, 0)])
    assert answer(candidates, [Click(12, 15, 1)]) == [(A, 1, 1, 0), (B, 0.9, 0, -1)]


def test_a_click_on_nothing_gets_a_box_of_the_typical_size() -> None:
    assert answer(detections([]), [Click(30, 30, 1)]) == [([20, 25, 40, 35], 1, 1, 0)]
    assert answer(detections([(A, 0.9, 1)]), [Click(62, 1, 0)])[0] == ([58, 0, 64, 5], 1, 0, 0)


def test_the_more_central_of_two_boxes_is_meant() -> None:
    """The click is in the middle of one box and near the edge of a stronger neighbour."""
    meant, neighbour = [10, 10, 20, 20], [14, 0, 40, 30]
    candidates = detections([(neighbour, 0.9, 0), (meant, 0.6, 0)])
    assert answer(candidates, [Click(15, 15, 0)])[0] == (meant, 1, 0, 0)


def test_a_neighbour_of_the_right_class_does_not_answer_near_its_edge() -> None:
    """The click is in the middle of a box of another class, and near the edge of one of its own."""
    meant, neighbour = [10, 10, 20, 20], [14.5, 10, 30, 20]
    candidates = detections([(neighbour, 0.9, 0), (meant, 0.6, 1)])
    assert answer(candidates, [Click(15, 15, 0)]) == [(meant, 1, 0, 0), (neighbour, 0.9, 0, -1)]


def shared(
    candidates: Detections, clicks: Sequence[Click]
) -> list[tuple[list[float], int, tuple[int, ...]]]:
    """The answers to clicks as (box, label, all clicks that it answers) a row."""
    got = reconciled(candidates, clicks)
    rows = zip(got.boxes.tolist(), got.labels.tolist(), answered_clicks(got, clicks), strict=True)
    return [row for row in rows if row[2]]


LONG = [2, 20, 62, 40]


@pytest.mark.parametrize("score", [0.05, 0.9])
@pytest.mark.parametrize(
    "points",
    [
        [(12, 30), (15, 30)],
        [(4, 30), (60, 30)],
        [(4, 30), (60, 30), (32, 30)],
        [(32, 30), (3, 22), (61, 38), (10, 39)],
        [(4, 30), (4, 30)],
    ],
)
def test_clicks_on_one_object_have_one_box(points: list[tuple[float, float]], score: float) -> None:
    candidates = detections([(LONG, score, 0), ([30, 44, 40, 54], 0.9, 0)])
    clicks = [Click(x, y, 0) for x, y in points]
    assert shared(candidates, clicks) == [(LONG, 0, tuple(range(len(clicks))))]


def test_a_part_of_the_object_and_a_loose_box_around_it_are_not_further_objects() -> None:
    """Each click lies more centrally in a worse box than in the one of the whole object."""
    part, loose = [44, 20, 63, 40], [0, 17, 64, 50]
    clicks = [Click(10, 30, 0), Click(58, 30, 0), Click(32, 39, 0)]
    candidates = detections([(LONG, 0.9, 0), (part, 0.4, 0), (loose, 0.5, 0)])
    assert shared(candidates, clicks) == [(LONG, 0, (0, 1, 2))]


def test_clicks_central_in_one_of_two_boxes_or_three_in_both_are_on_one_object() -> None:
    """The boxes have an IoU of 160 / 440, and each click is more central in its own."""
    left, right = [10, 10, 30, 30], [22, 10, 42, 30]
    candidates = detections([(left, 0.9, 0), (right, 0.9, 0)])
    assert shared(candidates, [Click(24, 20, 0), Click(27, 20, 0)]) == [(left, 0, (0, 1))]
    three = [Click(23, 13, 0), Click(29, 20, 0), Click(26, 27, 0)]
    assert shared(candidates, three) == [(right, 0, (0, 1, 2))]
    # A third object keeps its clicks, the one almost in its box, too.
    beside = Detections.joined([candidates, detections([([10, 44, 20, 54], 0.9, 0)])])
    assert shared(beside, [*three, Click(15, 49, 0), Click(20.5, 49, 0)]) == [
        (right, 0, (0, 1, 2)),
        ([10, 44, 20.5, 54], 0, (3, 4)),
    ]
    # The second is at sqrt(3 / 17) in the left box and at sqrt(5 / 15) in its own: 1.42 of 1.58.
    assert shared(candidates, [Click(20, 20, 0), Click(27, 20, 0)]) == [(left, 0, (0, 1))]
    # At sqrt(2 / 18), which is not central enough.
    apart = [Click(20, 20, 0), Click(28, 20, 0)]
    assert shared(candidates, apart) == [(left, 0, (0,)), (right, 0, (1,))]
    # Two at corners of both, where three would be on one object.
    corners = [Click(23, 11, 0), Click(29, 29, 0)]
    assert shared(candidates, corners) == [(left, 0, (0,)), (right, 0, (1,))]


def test_a_click_almost_in_the_box_is_on_its_object() -> None:
    candidates = detections([(A, 0.9, 0)])
    assert shared(candidates, [Click(15, 15, 0), Click(20.5, 15, 0)]) == [
        ([10, 10, 20.5, 20], 0, (0, 1))
    ]
    clicks = [Click(15, 15, 0), Click(20.5, 15, 0), Click(20.2, 15, 0, positive=False)]
    assert [row[2] for row in shared(candidates, clicks)] == [(0,), (1,)]


def test_clicks_on_neighbours_have_a_box_each() -> None:
    left, right = [10, 10, 20, 20], [18, 10, 28, 20]
    clicks = [Click(15, 15, 0), Click(19.5, 15, 0)]
    # The second lies in both boxes, and nearer to the middle of the right one.
    candidates = detections([(left, 0.9, 0), (right, 0.3, 0)])
    assert shared(candidates, clicks) == [(left, 0, (0,)), (right, 0, (1,))]
    assert shared(candidates, clicks[::-1]) == [(right, 0, (0,)), (left, 0, (1,))]
    upper, lower = [10, 10, 20, 20], [10, 18, 20, 28]
    candidates = detections([(upper, 0.9, 0), (lower, 0.3, 0)])
    clicks = [Click(15, 15, 0), Click(15, 19.5, 0)]
    assert shared(candidates, clicks) == [(upper, 0, (0,)), (lower, 0, (1,))]


def test_a_small_object_on_a_large_one_has_its_own_box() -> None:
    small = [46, 26, 54, 34]
    candidates = detections([(LONG, 0.9, 0), (small, 0.9, 1)])
    assert shared(candidates, [Click(20, 30, 0), Click(50, 30, 1)]) == [
        (LONG, 0, (0,)),
        (small, 1, (1,)),
    ]


def test_clicks_on_one_missed_object_have_one_box_that_holds_them() -> None:
    """The typical size is 8 x 8 for class 0, 20 x 10 for class 1."""
    nothing = detections([])
    assert shared(nothing, [Click(30, 30, 0), Click(33, 30, 0)]) == [
        ([27.5, 26, 35.5, 34], 0, (0, 1))
    ]
    assert shared(nothing, [Click(30, 30, 1), Click(36, 33, 1), Click(39, 30, 1)]) == [
        ([24.5, 26.5, 44.5, 36.5], 1, (0, 1, 2))
    ]
    apart = shared(nothing, [Click(30, 30, 0), Click(35, 30, 0)])
    assert [row[2] for row in apart] == [(0,), (1,)]
    between = [Click(30, 30, 0), Click(33, 30, 0), Click(31, 30, 2, positive=False)]
    assert [row[:1] for row in shared(nothing, between)] == [
        ([26, 26, 30.5, 34],),
        ([32, 26, 37, 34],),
    ]


def test_of_two_classes_on_one_object_the_last_click_counts() -> None:
    for candidates in (
        detections([(A, 0.9, 0)]),
        detections([(A, 0.9, 0), ([9, 10, 20, 20], 0.5, 1)]),
    ):
        for first, last in ((0, 1), (1, 0)):
            clicks = [Click(14, 15, first), Click(60, 60, 2), Click(16, 15, last)]
            got = reconciled(candidates, clicks)
            ((box, label, answered),) = [r for r in shared(candidates, clicks) if r[1] != 2]
            assert label == last
            assert iou(np.array(box, np.float32), np.array(A, np.float32)) > 0.8
            assert answered == (2,)
            assert overruled(got, clicks) == [(0, 2)]
            assert len(got) == 2
    nothing = [Click(30, 30, 1), Click(31, 30, 0)]
    assert overruled(reconciled(detections([]), nothing), nothing) == [(0, 1)]
    assert shared(detections([]), nothing) == [([27, 26, 35, 34], 0, (1,))]


def test_what_is_shown_changes_no_answer() -> None:
    """The box of the click's class comes before the better one of another, shown or not."""
    rows: list[tuple[Sequence[float], float, int]] = [
        (A, 0.9, 1),
        ([9, 9, 21, 21], 0.4, 0),
        ([41, 11, 49, 19], 0.1, 2),
        (B, 0.07, 0),
    ]
    clicks = [Click(15, 15, 0), Click(45, 15, 0), Click(30, 50, 1)]
    answers = [
        [row for row in answer(detections(rows), clicks, threshold) if row[3] >= 0]
        for threshold in (0.0, 0.05, 0.42, 0.9, 1.0)
    ]
    assert answers[0][0][0] == [9, 9, 21, 21]
    assert all(other == answers[0] for other in answers)


def test_clicks_keep_their_index_among_negative_ones() -> None:
    candidates = detections([(A, 0.9, 0), (B, 0.8, 1)])
    clicks = [Click(60, 60, 0, positive=False), Click(45, 15, 1), Click(15, 15, 0)]
    assert answer(candidates, clicks) == [(B, 1, 1, 1), (A, 1, 0, 2)]


def test_a_negative_click_removes_all_boxes_under_it_whatever_their_class() -> None:
    candidates = detections([(A, 0.9, 0), ([12, 12, 30, 30], 0.8, 1), (B, 0.5, 2)])
    assert answer(candidates, [Click(15, 15, 2, positive=False)]) == [(B, 0.5, 2, -1)]


def test_a_box_with_a_negative_click_answers_no_positive_one() -> None:
    candidates = detections([(A, 0.9, 0)])
    got = answer(candidates, [Click(12, 15, 0), Click(18, 15, 0, positive=False)])
    assert got == [([8, 11, 16, 19], 1, 0, 0)]
    got = answer(candidates, [Click(12, 15, 0), Click(15, 15, 0, positive=False)])
    assert got == [([8, 11, 13.5, 19], 1, 0, 0)]
    got = answer(candidates, [Click(12, 15, 0), Click(13, 12, 0, positive=False)])
    assert got == [([8, 13.5, 16, 19], 1, 0, 0)]


def test_contradicting_clicks_leave_the_positive_answer_alone() -> None:
    candidates = detections([(A, 0.9, 0)])
    got = answer(candidates, [Click(15, 15, 0), Click(15, 15, 0, positive=False)])
    assert got == [([11, 11, 19, 19], 1, 0, 0)]


def test_other_boxes_of_an_answered_object_give_way() -> None:
    """Intersection over union of A with the first is 90 / 110 = 0.82, with the second 1 / 3."""
    twin, neighbour = [11, 10, 21, 20], [15, 10, 25, 20]
    candidates = detections([(twin, 0.8, 1), (neighbour, 0.7, 1), (A, 0.9, 0)])
    assert answer(candidates, [Click(12, 15, 0)]) == [(A, 1, 0, 0), (neighbour, 0.7, 1, -1)]


def test_a_click_of_a_choice_is_answered_by_the_box_that_it_means() -> None:
    """It has the score 1; boxes of the class in it and around it, which hold the click, go."""
    part, whole, around = [12, 12, 15, 15], [10, 10, 20, 20], [2, 8, 24, 40]
    beside, of_another_class, off = [12, 5, 30, 17], [11, 11, 16, 16], [16, 16, 19, 19]
    candidates = detections(
        [
            (part, 0.9, 0),
            (around, 0.8, 0),
            (beside, 0.7, 0),
            (of_another_class, 0.6, 1),
            (off, 0.5, 0),
            (whole, 1.0, 0),
        ]
    )
    others = [(beside, 0.7, 0, -1), (of_another_class, 0.6, 1, -1), (off, 0.5, 0, -1)]
    click = Click(13.5, 13.5, 0, choice=1)
    assert answer(candidates, [click]) == [(whole, 1.0, 0, 0), *others]
    meant = answer(candidates, [replace(click, choice=0)])
    assert meant[0] == (part, 1.0, 0, 0)
    # Who clicks again is not answered by the choice of a click elsewhere.
    far = detections([(part, 0.9, 0), (B, 1.0, 0)])
    found = answer(far, [Click(45, 15, 0, choice=1), Click(13.5, 13.5, 0)])
    assert [(row[0], row[3]) for row in found] == [(B, 0), (part, 1)]


def test_nothing_but_what_it_means_answers_a_click_of_a_choice() -> None:
    """However near to an edge of it the click lies, and how well another box fits."""
    meant, best, of_another_label = [10, 10, 50, 50], [8, 6, 14, 16], [9, 9, 13, 13]
    candidates = detections([(best, 0.99, 0), (meant, 1.0, 0), (of_another_label, 1.0, 1)])
    # The first positive click is not the first of all.
    no, likeliest = Click(60, 60, 0, positive=False), Click(58, 5, 2)
    found = answer(candidates, [no, Click(11, 11, 0, choice=1), likeliest])
    assert (found[0][0], found[0][3]) == (meant, 1)


def test_what_clicks_of_a_choice_do_not_mean() -> None:
    """A box nested in the one they mean, to four fifths and more, that holds one of them."""
    meant = [10, 10, 30, 30]
    within, not_enough = [10, 14, 20, 16], [6, 20, 14, 24]  # to the whole, and to a half
    almost = [26, 10, 31, 14]  # to four fifths
    candidates = detections(
        [(meant, 1.0, 0), (within, 0.9, 0), (almost, 0.8, 0), (not_enough, 0.7, 0)]
    )
    one, other = Click(18, 15, 0, choice=1), Click(28, 13, 0, choice=1)
    left = (not_enough, 0.7, 0, -1)
    assert answer(candidates, [one]) == [(meant, 1.0, 0, 0), (almost, 0.8, 0, -1), left]
    assert answer(candidates, [other]) == [(meant, 1.0, 0, 0), (within, 0.9, 0, -1), left]
    # Each of several clicks on one object counts, and only those of a choice.
    for clicks in ([one, other], [other, one]):
        assert answer(candidates, clicks) == [(meant, 1.0, 0, 1), left]
    likeliest = replace(one, choice=0)
    for clicks in ([likeliest, other], [other, likeliest]):
        found = answer(candidates, clicks)
        assert [row[0] for row in found] == [meant, within, not_enough]
    # What one object's click does not mean stays away, whatever that of another one means.
    two = detections([(meant, 1.0, 0), (within, 0.9, 0), ([40, 40, 60, 60], 1.0, 0)])
    found = answer(two, [one, Click(50, 50, 0, choice=1)])
    assert [row[0] for row in found] == [meant, [40, 40, 60, 60]]
    # Nor is a box hidden for the answer of another object, in which it lies as well.
    large, small, beside = [10, 10, 60, 60], [20, 20, 30, 30], [26, 20, 36, 30]
    nested = detections([(large, 0.9, 1), (small, 1.0, 0), (beside, 0.8, 0)])
    found = answer(nested, [Click(45, 45, 1), Click(27, 25, 0, choice=1)])
    assert [row[0] for row in found] == [large, small, beside]


def test_detections_are_frozen_and_sized() -> None:
    candidates = detections([(A, 0.9, 0), (B, 0.5, 1)])
    assert len(candidates) == 2
    assert candidates.take(np.array([1])).labels.tolist() == [1]
    with pytest.raises(FrozenInstanceError):
        candidates.boxes = candidates.boxes  # type: ignore[misc]


quarters = st.integers(0, 4 * SIDE).map(lambda n: n / 4)
boxes = st.tuples(quarters, quarters, quarters, quarters).map(
    lambda c: [min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3])]
)
rows = st.tuples(boxes, st.integers(1, 100).map(lambda n: n / 100), st.integers(0, 2))
some_clicks = st.lists(st.builds(Click, quarters, quarters, st.integers(0, 2), st.booleans()))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(rows, max_size=12), some_clicks, st.sampled_from([0.0, 0.3, 1.0]))
def test_no_click_is_ever_ignored(
    candidates: list[tuple[list[float], float, int]], clicks: list[Click], threshold: float
) -> None:
    found = reconciled(detections(candidates), clicks, threshold)
    got = answer(detections(candidates), clicks, threshold)
    answers = answered_clicks(found, clicks)
    later = dict(overruled(found, clicks))
    for index, click in enumerate(clicks):
        mine = [row for row, of in zip(got, answers, strict=True) if index in of]
        assert len(mine) == (click.positive and index not in later)
        for (x1, y1, x2, y2), score, label, last in mine:
            assert (score, label) == (1, click.label)
            assert x1 <= click.x <= x2
            assert y1 <= click.y <= y2
            assert last >= index
    for index, by in later.items():
        assert index < by
        assert clicks[index].label != clicks[by].label
        assert any(row[3] == by for row in got)
    agreed = {(click.x, click.y) for click in clicks if click.positive}
    for click in clicks:
        if not click.positive and (click.x, click.y) not in agreed:
            for (x1, y1, x2, y2), *_ in got:
                assert not (x1 <= click.x <= x2 and y1 <= click.y <= y2)
    given_rows = [
        (np.array(box, np.float32).tolist(), round(score, 4), label)
        for box, score, label in candidates
    ]
    for box, score, label, click_index in got:
        assert 0 <= min(box)
        assert max(box) <= SIDE
        if click_index == -1:
            assert (box, score, label) in given_rows
            assert score >= threshold
    scores = [row[1] for row in got]
    assert scores == sorted(scores, reverse=True)
    assert got == answer(detections(candidates), clicks, threshold)

"""The reconciliation of detections with clicks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c3det.answering import Detections, answer_clicks, centredness, contains, iou
from c3det.clicks import Click

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


def answer(
    candidates: Detections, clicks: Sequence[Click], threshold: float = 0.3
) -> list[tuple[list[float], float, int, int]]:
    """The answer as (box, score rounded, label, click) a row."""
    got = answer_clicks(
        candidates,
        clicks,
        score_threshold=threshold,
        typical_sizes=SIZES,
        image_size=(SIDE, SIDE),
    )
    scores = [round(float(score), 4) for score in got.scores]
    return list(
        zip(got.boxes.tolist(), scores, got.labels.tolist(), got.clicks.tolist(), strict=True)
    )


A, B, C = [10, 10, 20, 20], [40, 10, 50, 20], [10, 40, 20, 50]


def test_no_clicks_leave_what_is_above_the_threshold() -> None:
    candidates = detections([(A, 0.5, 0), (B, 0.29, 1), (C, 0.9, 2)])
    assert answer(candidates, []) == [(C, 0.9, 2, -1), (A, 0.5, 0, -1)]
    assert answer(detections([]), []) == []


def test_a_click_on_a_box_of_its_class_confirms_it() -> None:
    candidates = detections([(A, 0.5, 0), (B, 0.9, 0)])
    assert answer(candidates, [Click(15, 15, 0)]) == [(A, 1, 0, 0), (B, 0.9, 0, -1)]


def test_its_own_class_above_the_threshold_goes_before_a_higher_score() -> None:
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


def test_one_box_answers_one_click() -> None:
    candidates = detections([(A, 0.9, 0)])
    got = answer(candidates, [Click(12, 12, 0), Click(15, 15, 0)])
    assert got[1] == (A, 1, 0, 1)
    assert got[0] == ([8, 8, 16, 16], 1, 0, 0)


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


def test_detections_are_frozen_and_sized() -> None:
    candidates = detections([(A, 0.9, 0), (B, 0.5, 1)])
    assert len(candidates) == 2
    assert candidates.take(np.array([1])).labels.tolist() == [1]
    with pytest.raises(FrozenInstanceError):
        candidates.boxes = candidates.boxes  # type: ignore[misc]


def test_geometry_by_hand() -> None:
    boxes = np.array([A, B, [10, 10, 15, 20]], np.float32)
    assert contains(boxes, 10, 20).tolist() == [True, False, True]
    assert contains(boxes, 20.1, 15).tolist() == [False, False, False]
    assert iou(boxes[0], boxes).tolist() == [1, 0, 0.5]
    assert centredness(boxes[:1], 15, 15).tolist() == [1]
    assert centredness(boxes[:1], 10, 15).tolist() == [0]
    assert centredness(boxes[:1], 12, 15)[0] == pytest.approx(0.5)
    assert centredness(np.array([[5, 5, 5, 9]], np.float32), 5, 7).tolist() == [0]


quarters = st.integers(0, 4 * SIDE).map(lambda n: n / 4)
boxes = st.tuples(quarters, quarters, quarters, quarters).map(
    lambda c: [min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3])]
)
rows = st.tuples(boxes, st.integers(1, 100).map(lambda n: n / 100), st.integers(0, 2))
some_clicks = st.lists(st.builds(Click, quarters, quarters, st.integers(0, 2), st.booleans()))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(rows, max_size=12), some_clicks, st.sampled_from([0.0, 0.3, 1.0]))
def test_no_click_is_ever_ignored(
    candidates: list[tuple[list[float], float, int]], clicks: list[Click], threshold: float
) -> None:
    got = answer(detections(candidates), clicks, threshold)
    for index, click in enumerate(clicks):
        mine = [row for row in got if row[3] == index]
        assert len(mine) == click.positive
        for (x1, y1, x2, y2), score, label, _ in mine:
            assert (score, label) == (1, click.label)
            assert x1 <= click.x <= x2
            assert y1 <= click.y <= y2
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

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from c3det.clicks import Click
from serverless.inferred_class import inferred_class
from serverless.main import error_answer, plugin_answer
from serverless.protocol import Bounds, BuiltInRequest, Form, Mask, RequestError
from serverless.record import RequestRecord
from serverless.shapes import (
    boxes_of,
    built_in_answer,
    notes_on_clicks,
    object_pixels,
    pixel_bounds,
    runs_of,
)
from tests.serverless.fakes import CLASSES, detections

SIZE = (6, 10)


def request(*positive: tuple[float, float]) -> BuiltInRequest:
    return BuiltInRequest(b"", positive, (), None)


def built_in(*given: Any, outlines: dict[int, np.ndarray] | None = None) -> dict[str, Any]:
    """The body of the answer."""
    return built_in_answer(*given, outlines or {}).body()


def decode_rle(points: list[int]) -> tuple[np.ndarray, list[int]]:
    """The obvious twin: a list of runs, zeros first, into an array of the crop."""
    *runs, left, top, right, bottom = points
    values = [index % 2 for index, length in enumerate(runs) for _ in range(length)]
    return np.array(values).reshape(bottom - top + 1, right - left + 1), [left, top, right, bottom]


@pytest.mark.parametrize(
    ("box", "bounds"),
    [
        ((2, 1, 5, 4), (2, 1, 4, 3)),
        ((2.4, 1.4, 5.4, 4.4), (2, 1, 4, 3)),
        ((2.6, 1.6, 5.6, 4.6), (3, 2, 5, 4)),
        ((-3, -3, 99, 99), (0, 0, 9, 5)),
        # Of 1 and of 2 pixels: 3, the object in their middle where there is room.
        ((2.6, 1.6, 2.9, 1.9), (2, 1, 4, 3)),
        ((2, 1, 6, 3), (2, 1, 5, 3)),
        ((2, 4, 6, 6), (2, 3, 5, 5)),
        ((9.8, 5.8, 10, 6), (7, 3, 9, 5)),
        ((-5, -5, -4, -4), (0, 0, 2, 2)),
    ],
)
def test_pixel_bounds(box: tuple[float, ...], bounds: tuple[int, ...]) -> None:
    assert pixel_bounds(np.array(box, np.float32), SIZE) == bounds


def test_a_mask_grows_no_further_than_its_picture() -> None:
    assert pixel_bounds(np.array((1, 0, 2, 1), np.float32), (2, 5)) == (0, 0, 2, 1)
    assert pixel_bounds(np.array((0, 0, 1, 1), np.float32), (1, 1)) == (0, 0, 0, 0)


@pytest.mark.parametrize("limit", [0, 60])
def test_no_mask_is_thinner_than_3_pixels_and_all_have_attributes(limit: int) -> None:
    found = detections(((4, 2, 5, 3), 1.0, 1, 0), ((8, 4, 10, 5), 0.5, 1, -1))
    answer = built_in(found, request((4.5, 2.5)), 1, SIZE, limit)
    rows = np.array(answer["mask"])
    assert (rows.any(0).sum(), rows.any(1).sum()) == (3, 3)
    assert [shape["points"] for shape in answer["shapes"]] == [
        [0, 9, 3, 1, 5, 3],
        [0, 9, 7, 3, 9, 5],
    ]
    assert all(isinstance(shape["attributes"], list) for shape in answer["shapes"])
    assert answer["points"] == [[4, 2], [5, 2], [5, 3], [4, 3]], "the polygon is exact"


def test_the_mask_of_a_box_has_its_rows_and_columns() -> None:
    found = detections(((2, 1, 6, 4), 1.0, 1, 0))
    none, some = [0] * 10, [0, 0, 1, 1, 1, 1, 0, 0, 0, 0]
    whole = built_in(found, request((4, 2)), 1, SIZE, 60)["mask"]
    assert whole == [none, some, some, some, none, none]
    assert built_in(found, request((4, 2)), 1, SIZE, 0)["mask"] == [[1] * 4] * 3


@pytest.mark.parametrize(
    ("rows", "runs"),
    [
        (["111"], (0, 3)),
        (["010", "110"], (1, 1, 1, 2, 1)),
        (["100", "001"], (0, 1, 4, 1)),
    ],
)
def test_runs_of_a_mask(rows: list[str], runs: tuple[int, ...]) -> None:
    pixels = np.array([[value == "1" for value in row] for row in rows])
    assert runs_of(pixels) == runs
    bounds: Bounds = (4, 5, 3 + pixels.shape[1], 4 + pixels.shape[0])
    mask, bounds_again = decode_rle(Mask(runs_of(pixels), bounds, 0.5).body()["points"])
    assert bounds_again == list(bounds)
    np.testing.assert_array_equal(mask, pixels)


DIAMOND = np.array([[4.5, 0.2], [8.8, 3.0], [4.5, 5.8], [0.2, 3.0]])


def test_the_pixels_of_an_outline() -> None:
    """Those whose middles lie in it, and its bounds are tight."""
    bounds, pixels = object_pixels(np.array([0, 0, 9, 6], np.float32), DIAMOND, SIZE)
    left, top, right, bottom = bounds
    assert pixels.shape == (bottom - top + 1, right - left + 1)
    assert pixels.any(0).all()
    assert pixels.any(1).all()
    painted = np.zeros(SIZE, bool)
    painted[top : bottom + 1, left : right + 1] = pixels
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    distance = abs(x - 4.5) / 4.3 + abs(y - 3) / 2.8
    assert painted[distance < 0.85].all()
    assert not painted[distance > 1.2].any()


def test_an_outline_that_is_too_thin_for_cvat_is_its_box() -> None:
    line = np.array([[1.0, 3.2], [8.0, 3.2], [8.0, 3.4], [1.0, 3.4]])
    bounds, pixels = object_pixels(np.array([1, 2, 8, 5], np.float32), line, SIZE)
    assert bounds == (1, 2, 7, 4)
    assert pixels.all()


@pytest.mark.parametrize("limit", [0, 60])
def test_masks_of_outlines(limit: int) -> None:
    """The clicked object's is the mask, its polygon and its shape alike."""
    found = detections(((0, 0, 9, 6), 1.0, 1, 0), ((6, 2, 9, 5), 0.5, 1, -1))
    answer = built_in(found, request((4.5, 3)), 1, SIZE, limit, outlines={0: DIAMOND})
    assert answer["points"] == DIAMOND.tolist()
    left, top, right, bottom = answer["bounds"]
    painted = np.zeros(SIZE, bool)
    painted[top : bottom + 1, left : right + 1] = answer["mask"]
    crop, (left, top, right, bottom) = decode_rle(answer["shapes"][0]["points"])
    from_rle = np.zeros(SIZE, bool)
    from_rle[top : bottom + 1, left : right + 1] = crop
    np.testing.assert_array_equal(painted, from_rle)
    assert painted[3, 4]
    assert not painted[0, 0]
    assert answer["shapes"][1]["points"] == [0, 9, 6, 2, 8, 4], "without an outline, the box"


def test_a_class_that_is_nearly_as_likely_is_told() -> None:
    """From half of the score on."""
    row = (1, 2, 3, 4), 0.6, 7, -1
    found = replace(
        detections(row, row, row),
        rivals=np.array([4, 4, -1]),
        rival_scores=np.array([0.3125, 0.25, 0], np.float32),
    )
    near, far, alone = (box.body() for box in boxes_of(found, ()))
    assert near["rival"] == {"class": 4, "score": 0.3125}
    assert "rival" not in far
    assert "rival" not in alone


def test_plugin_answer() -> None:
    rows = ((1.234, 2, 3, 4.567), 1.0, 2, 2), ((5, 5, 6, 6), 0.123456, 0, -1)
    clicks = [Click(2, 3, 2), Click(1, 1, 0, positive=False), Click(2, 4, 2)]
    found = detections(*rows, answer_of=[2, -1, 2])
    boxes = boxes_of(found, CLASSES, clicks)
    record = RequestRecord(Form.PLUGIN, cache="hit", coverage=0.75, progress=0.8, notes=("So.",))
    record.add_seconds({"encode": 0.0, "detect": 0.0015})
    assert plugin_answer(record, "starter", boxes, 0.42).body() == {
        "c3det": 1,
        "boxes": [
            {
                "class": 2,
                "label": "1",
                "points": [1.23, 2.0, 3.0, 4.57],
                "rotation": 0.0,
                "score": 1.0,
                "click": 2,
                "clicks": [0, 2],
            },
            {
                "class": 0,
                "label": "tree",
                "points": [5.0, 5.0, 6.0, 6.0],
                "rotation": 0.0,
                "score": 0.1235,
                "click": None,
                "clicks": [],
            },
        ],
        "error": None,
        "model": "starter",
        "threshold": 0.42,
        "timings_ms": {"read": 0, "decode": 0, "encode": 0, "detect": 1.5, "answer": 0},
        "cache": "hit",
        "coverage": 0.75,
        "progress": 0.8,
        "notes": ["So."],
    }


def test_notes_say_which_of_two_classes_counts() -> None:
    clicks = [Click(2, 3, 2), Click(3, 3, 2), Click(2, 2, 0), Click(9, 9, 1)]
    found = detections(
        ((1, 2, 3, 4), 1.0, 0, 2), ((8, 8, 10, 10), 1.0, 1, 3), answer_of=[2, 2, 2, 3]
    )
    sentence = "1 and tree were clicked on one object: the last click, tree, counts"
    assert notes_on_clicks(found, CLASSES, clicks) == (sentence,)
    assert [box.clicks for box in boxes_of(found, CLASSES, clicks)] == [(2,), (3,)]


def test_plugin_answer_without_boxes() -> None:
    assert boxes_of(detections(), CLASSES) == ()


def test_boxes_of_an_open_model_are_of_the_callers_labels_or_of_none() -> None:
    clicks = [Click(2, 3, 200), Click(5, 5, 7, positive=False)]
    found = detections(((1, 2, 3, 4), 1.0, 200, 0), ((5, 5, 6, 6), 0.5, 200, -1))
    assert [(box.label, box.name, box.clicks) for box in boxes_of(found, (), clicks)] == [
        (200, None, (0,)),
        (200, None, ()),
    ]
    (box,) = boxes_of(detections(((1, 2, 3, 4), 0.5, -1, -1)), ())
    assert (box.label, box.name) == (None, None)


def test_notes_of_an_open_model_name_no_labels() -> None:
    clicks = [Click(2, 3, 9), Click(3, 3, 9), Click(2, 2, 4)]
    found = detections(((1, 2, 3, 4), 1.0, 4, 2), answer_of=[2, 2, 2])
    sentence = "clicks of several labels lie on one object: the last one counts"
    assert notes_on_clicks(found, (), clicks) == (sentence,)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("malformed", 400),
        ("invalid", 400),
        ("too_large", 413),
        ("internal", 500),
        ("out_of_memory", 503),
        ("unfinished", 503),
    ],
)
def test_error_answers(code: str, status: int) -> None:
    error = RequestError(code, "Because.", "image")
    error_json = {"code": code, "message": "Because.", "field": "image"}
    built_in = RequestRecord(Form.BUILT_IN, error=error)
    assert error_answer(built_in, error, "m") == (status, {"error": error_json})
    record = RequestRecord(Form.PLUGIN, seconds={"read": 0.25}, error=error)
    answered, body = error_answer(record, error, "m")
    assert answered == 200
    assert body == {
        "c3det": 1,
        "boxes": [],
        "error": error_json,
        "model": "m",
        "threshold": None,
        "timings_ms": {"read": 250},
        "cache": None,
        "coverage": None,
        "progress": None,
        "notes": [],
    }


FOUND = detections(
    ((2, 1, 5, 4), 1.0, 1, 0),
    ((6, 2, 9, 5), 0.5, 1, -1),
    ((0, 0, 10, 6), 0.4, 0, -1),
)


def test_full_mask_of_the_clicked_object() -> None:
    answer = built_in(FOUND, request((3, 2)), 1, SIZE, 60)
    assert answer["mask"] == [
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 0, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 0, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ]
    assert answer["bounds"] == [0, 0, 9, 5]
    assert answer["points"] == [[2, 1], [5, 1], [5, 4], [2, 4]]


def test_cut_mask_of_a_large_picture() -> None:
    answer = built_in(FOUND, request((3, 2)), 1, SIZE, 59)
    assert answer["mask"] == [[1, 1, 1], [1, 1, 1], [1, 1, 1]]
    assert answer["bounds"] == [2, 1, 4, 3]
    assert answer["points"] == [[2, 1], [5, 1], [5, 4], [2, 4]]


@pytest.mark.parametrize("limit", [0, 60])
def test_mask_and_bounds_describe_the_same_pixels(limit: int) -> None:
    answer = built_in(FOUND, request((3, 2)), 1, SIZE, limit)
    left, top, right, bottom = answer["bounds"]
    assert np.array(answer["mask"]).shape == (bottom - top + 1, right - left + 1)
    painted = np.zeros(SIZE, int)
    painted[top : bottom + 1, left : right + 1] = answer["mask"]
    crop, (left, top, right, bottom) = decode_rle(answer["shapes"][0]["points"])
    from_rle = np.zeros(SIZE, int)
    from_rle[top : bottom + 1, left : right + 1] = crop
    np.testing.assert_array_equal(painted, from_rle)


def test_shapes_hold_each_object_of_the_class() -> None:
    answer = built_in(FOUND, request((3, 2)), 1, SIZE, 60)
    assert answer["shapes"] == [
        {
            "type": "mask",
            "points": points,
            "attributes": [{"spec_id": 0, "value": score}],
            "group": 0,
            "rotation": 0,
        }
        for points, score in (([0, 9, 2, 1, 4, 3], "1.0000"), ([0, 9, 6, 2, 8, 4], "0.5000"))
    ]


def test_the_object_of_the_last_click_counts() -> None:
    found = detections(((6, 2, 9, 5), 1.0, 1, 1), ((2, 1, 5, 3), 1.0, 1, 0))
    answer = built_in(found, request((3, 2), (7, 3)), 1, SIZE, 0)
    assert answer["bounds"] == [6, 2, 8, 4]
    answer = built_in(found, request((7, 3), (3, 2)), 1, SIZE, 0)
    assert answer["bounds"] == [6, 2, 8, 4], "the box says which click it answers"


def test_a_click_that_shares_its_box_with_a_later_one_finds_it() -> None:
    found = detections(((2, 1, 5, 3), 1.0, 1, 1), ((6, 2, 9, 5), 0.5, 1, -1), answer_of=[1, 1])
    answer = built_in(found, request((3, 2), (4, 2)), 1, SIZE, 0)
    assert answer["bounds"] == [2, 1, 4, 3]


def test_shapes_come_with_the_highest_score_first() -> None:
    answer = built_in(FOUND, request((3, 2)), 1, SIZE, 60)
    scores = [float(shape["attributes"][0]["value"]) for shape in answer["shapes"]]
    assert all(one >= other for one, other in pairwise(scores))


@pytest.mark.parametrize(
    ("points", "label"),
    [
        ([(3, 2)], 1),
        ([(1, 5)], 0),
        ([(1, 5), (3, 2)], 1),
        ([(1, 5), (0, 0), (0, 6), (3, 2)], 0),  # three times 0.4 against once 1.0
    ],
)
def test_inferred_class_is_the_vote_of_the_best_boxes(
    points: list[tuple[float, float]], label: int
) -> None:
    assert inferred_class(FOUND, points, 3) == label


def test_inferred_class_outside_all_boxes_is_that_of_the_nearest() -> None:
    found = detections(((0, 0, 2, 2), 0.9, 1, -1), ((8, 4, 10, 6), 0.1, 2, -1))
    assert inferred_class(found, [(1, 3), (7, 5)], 3) == 2


def test_inferred_class_of_an_empty_picture_is_the_first() -> None:
    assert inferred_class(detections(), [(1, 1)], 3) == 0

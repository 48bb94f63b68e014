"""The same weights without clicks, as an ordinary detector."""

from __future__ import annotations

import json
from typing import Any

import pytest
from nuclio_sdk import Event

from serverless.main import detector_handler, handler
from tests.serverless.fakes import base64_picture, event, make_context


def call(payload: object, **limits: int) -> tuple[int, Any]:
    response = detector_handler(make_context(**limits), event(payload))
    return response.status_code, json.loads(response.body)


def test_boxes_of_all_classes_without_clicks() -> None:
    status, boxes = call({"image": base64_picture()})
    assert status == 200
    assert [(box["label"], box["points"], box["confidence"]) for box in boxes] == [
        ("0", [10.0, 10.0, 14.0, 16.0], "0.9"),
        ("0", [30.0, 20.0, 36.0, 24.0], "0.5"),
        ("tree", [0.0, 0.0, 60.0, 40.0], "0.4"),
    ]
    assert {(box["type"], box["rotation"]) for box in boxes} == {("rectangle", 0.0)}


def test_points_are_not_read() -> None:
    plugin = {"pos_points": [[1, 1]], "neg_points": [[-1, 1], [99, 1]], "mapping": {"0": "x"}}
    context = make_context()
    detector_handler(context, event({"image": base64_picture(), **plugin, "threshold": 0.7}))
    assert context.user_data.predictor.detected == [([], 0.7)]


@pytest.mark.parametrize(
    ("payload", "status", "field"),
    [
        ({}, 400, "image"),
        ({"image": "###"}, 400, "image"),
        ({"image": base64_picture(), "threshold": "high"}, 400, "threshold"),
        ({"image": base64_picture(101, 100)}, 413, "image"),
        ([], 400, "body"),
    ],
)
def test_errors_have_a_status_and_a_field(payload: object, status: int, field: str) -> None:
    found, body = call(payload, max_pixels=10_000)
    assert (found, set(body), body["error"]["field"]) == (status, {"error"}, field)


def test_a_body_that_is_not_json() -> None:
    response = detector_handler(make_context(), Event(body=b"{"))
    assert response.status_code == 400


def test_a_picture_that_was_searched_in_part_is_an_error() -> None:
    context = make_context(time_budget_seconds=3)
    context.user_data.predictor.coverage = 0.755
    response = detector_handler(context, event({"image": base64_picture()}))
    assert response.status_code == 503
    error = json.loads(response.body)["error"]
    assert error["code"] == "unfinished"
    assert error["message"] == (
        "the time budget of 3 s ended before more than 75 % of the picture was searched: ask again "
        "to go on from there, or raise C3DET_TIME_BUDGET_SECONDS"
    )


def test_without_a_cache_nobody_is_told_to_ask_again() -> None:
    """As the detector is shipped: a further request begins anew."""
    context = make_context(time_budget_seconds=3, cache_bytes=0)
    context.user_data.predictor.coverage = 0.755
    response = detector_handler(context, event({"image": base64_picture()}))
    assert json.loads(response.body)["error"]["message"] == (
        "the time budget of 3 s ended before more than 75 % of the picture was searched: raise "
        "C3DET_TIME_BUDGET_SECONDS"
    )


def test_an_open_model_has_no_classes_to_detect() -> None:
    context = make_context(classes=())
    response = detector_handler(context, event({"image": base64_picture()}))
    assert response.status_code == 400
    error = json.loads(response.body)["error"]
    assert (error["code"], error["field"]) == ("unsupported", None)
    assert "serve the detector with weights that have classes" in error["message"]
    assert context.user_data.predictor.opened == []


def test_the_log_counts_the_boxes() -> None:
    context = make_context()
    detector_handler(context, event({"image": base64_picture()}))
    ((_, message, fields),) = context.logger.lines
    assert (message, fields["form"], fields["objects"]) == ("answered", "detector", 3)


def test_it_finds_what_the_interactor_finds_without_clicks() -> None:
    context = make_context()
    payload = {"image": base64_picture(), "pos_points": [], "neg_points": [[-1, 1]]}
    interactive = json.loads(handler(context, event(payload)).body)["boxes"]
    automatic = json.loads(detector_handler(context, event(payload)).body)
    assert [b["points"] for b in automatic] == [b["points"] for b in interactive]
    assert len(context.user_data.predictor.encoded) == 1, "one cache serves both"

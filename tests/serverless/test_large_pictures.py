"""Pictures of many tiles and little time, from the handler to those who ask on by themselves.

The predictor is a real one, of small random weights and with small tiles, and a request has time
for one piece of work.
"""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from nuclio_sdk import Context
from PIL import Image

from c3det import predictor as predictor_module
from c3det.clicks import Click
from c3det.closed.incremental import IncrementalDetector
from c3det.closed.model import ClosedModel
from c3det.predictor import Predictor
from serverless.annotate.function import Function, checked_boxes
from serverless.main import detector_handler, handler
from serverless.protocol import PluginAnswer, plugin_prompts, with_picture
from tests.c3det.small import saved
from tests.serverless.fakes import context_of, event

SIZE = (300, 280)
TILES = 12


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Layers this small only lose time to the hand-over between threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor_module, "TILE_SIDE", 128)
    monkeypatch.setattr(predictor_module, "TILE_OVERLAP", 48)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return saved(tmp_path_factory.mktemp("weights"))


def encoded(image: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def some_clicks(number: int) -> list[Click]:
    draw = np.random.default_rng(1)
    xy = draw.uniform(0, SIZE[::-1], (number, 2)).tolist()
    labels = draw.integers(0, 3, number).tolist()
    return [Click(x, y, label) for (x, y), label in zip(xy, labels, strict=True)]


class HandlerFunction(Function):
    """The handler as a function of the helper's; keeps its answers."""

    name = "the handler"
    classes = ("a", "b", "c")

    def __init__(self, context: Context, image: np.ndarray) -> None:
        self.answers: list[PluginAnswer] = []
        self._context = context
        self._picture = base64.b64decode(encoded(image))

    def send(self, frame: int, prompts: Mapping[str, Any]) -> bytes:
        body = handler(self._context, event(with_picture(self._picture, prompts))).body
        self.answers.append(PluginAnswer.read(json.loads(body)))
        return body.encode()


def test_the_helper_asks_on_until_all_is_searched(predictor: Predictor) -> None:
    clicks = some_clicks(60)
    function = HandlerFunction(context_of(predictor, time_budget_seconds=0), noise())
    answer = function.detect(0, clicks, 0.05)
    progress = [one.progress for one in function.answers]
    assert len(progress) > TILES
    assert progress == sorted(set(progress)), "each call comes further"
    assert [one.coverage for one in function.answers[:8]] == [0] * 8
    assert (answer.progress, answer.coverage) == (1, 1)
    at_once = HandlerFunction(context_of(predictor, time_budget_seconds=60), noise()).detect(
        0, clicks, 0.05
    )
    assert at_once.progress == 1
    assert answer.boxes == at_once.boxes
    boxes = checked_boxes(answer, function.classes, function.name)
    answered = [index for box in boxes for index in box.clicks]
    assert len(answered) == len(set(answered))
    assert len(answered) + len(answer.notes) >= 50


def test_two_and_three_clicks_on_one_object_are_one_box_in_both_forms(
    predictor: Predictor,
) -> None:
    context, picture = context_of(predictor, time_budget_seconds=60), encoded(noise())
    clicks = [Click(140 + dx, 150 + dy, 1) for dx, dy in ((0, 0), (2, 1), (-2, 2))]
    for number in (1, 2, 3):
        answer = json.loads(
            handler(context, event({"image": picture, **plugin_prompts(clicks[:number])})).body
        )
        (box,) = [box for box in answer["boxes"] if box["click"] is not None]
        assert (box["click"], box["clicks"]) == (number - 1, list(range(number)))
        points = [[click.x, click.y] for click in clicks[:number]]
        built_in = json.loads(
            handler(context, event({"image": picture, "pos_points": points})).body
        )
        sure = [s for s in built_in["shapes"] if s["attributes"][0]["value"] == "1.0000"]
        assert len(sure) == 1


def test_of_two_classes_on_one_object_the_last_counts_and_a_note_says_so(
    predictor: Predictor,
) -> None:
    function = HandlerFunction(context_of(predictor, time_budget_seconds=60), noise())
    answer = function.detect(0, [Click(140, 150, 1), Click(140, 150, 2)], None)
    (box,) = [box for box in answer.boxes if box.clicks]
    assert (box.name, box.clicks) == ("c", (1,))
    assert answer.notes == ("b and c were clicked on one object: the last click, c, counts",)


@pytest.mark.parametrize("threshold", [0.05, 0.42, 0.9])
def test_what_is_shown_changes_no_answer(predictor: Predictor, threshold: float) -> None:
    function = HandlerFunction(context_of(predictor, time_budget_seconds=60), noise())
    answers = [
        [box for box in function.detect(0, some_clicks(20), t).boxes if box.clicks]
        for t in (threshold, None)
    ]
    assert len(answers[0]) > 10
    assert answers[0] == answers[1]


def test_a_detector_answers_with_all_or_an_error(predictor: Predictor) -> None:
    context, payload = (
        context_of(predictor, time_budget_seconds=0),
        {"image": encoded(noise()), "threshold": 0.1},
    )
    statuses = []
    while not statuses or statuses[-1] != 200:
        response = detector_handler(context, event(payload))
        statuses.append(response.status_code)
        body = json.loads(response.body)
        if statuses[-1] != 200:
            assert body["error"]["code"] == "unfinished"
            assert "C3DET_TIME_BUDGET_SECONDS" in body["error"]["message"]
    assert statuses == [503] * (TILES - 1) + [200]
    at_once = detector_handler(context_of(predictor, time_budget_seconds=60), event(payload))
    assert body == json.loads(at_once.body)


class ByBrightness:
    """Sees objects of class "b" all over a bright tile, and of class "a" all over a dark one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.encoded = 0
        bright: dict[int, bool] = {}
        encode = ClosedModel.encode

        def noted(model: ClosedModel, image: np.ndarray) -> Any:
            self.encoded += 1
            tile = encode(model, image)
            bright[id(tile)] = bool(image[-20:, -20:].mean() > 128)
            return tile

        def found(
            detector: IncrementalDetector, tile: Any, templates: Any, labels: Any
        ) -> InstanceData:
            corners = torch.cartesian_prod(torch.arange(0, 120, 20), torch.arange(0, 120, 20))
            return InstanceData(
                bboxes=torch.cat([corners, corners + 20], 1).float(),
                scores=torch.full((len(corners),), 0.8),
                labels=torch.full((len(corners),), int(bright[id(tile)])),
            )

        monkeypatch.setattr(ClosedModel, "encode", noted)
        monkeypatch.setattr(IncrementalDetector, "detect", found)


def test_the_class_of_a_click_is_looked_for_in_its_tile_alone(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is of class "a" but what is in the last tile, and there is time for one tile."""
    detector = ByBrightness(monkeypatch)
    image = np.full((*SIZE, 3), 10, np.uint8)
    image[-60:, -60:] = 250
    payload = {"image": encoded(image), "pos_points": [[270, 285]], "neg_points": []}
    context = context_of(predictor, time_budget_seconds=0)
    first = handler(context, event(payload))
    assert detector.encoded == 1
    assert first.status_code == 503, "the tile under the click is not searched with it yet"
    assert json.loads(first.body)["error"]["code"] == "unfinished"
    second = handler(context, event(payload))
    assert second.status_code == 200
    assert detector.encoded == 1, "the tile under the click was searched twice and encoded once"
    assert context.logger.lines[-1][2]["coverage"] < 0.2
    # All that was found is of the bright tile: of class "b", of which the dark ones have none.
    shapes = json.loads(second.body)["shapes"]
    assert len(shapes) == 36
    assert min(shape["points"][-4] for shape in shapes) >= SIZE[1] - 128


def test_a_picture_of_too_many_tiles_is_refused_by_name(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # with the tiles that are served
    picture = encoded(np.zeros((1, 50_000_000), np.uint8))
    for form in (plugin_prompts([]), {"pos_points": [[0, 0]]}):
        payload = {"image": picture, **form}
        error = json.loads(
            handler(context_of(predictor, time_budget_seconds=60), event(payload)).body
        )["error"]
        assert (error["code"], error["field"]) == ("too_large", "image")
        assert (
            "takes 46297 tiles of 1280 x 1280 pixels, at most 1024 are searched"
            in (error["message"])
        )


class TimedTiles:
    """Lets every tile take a while, so that a budget of seconds has time for few."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        encode = ClosedModel.encode

        def slow(model: ClosedModel, image: np.ndarray) -> Any:
            time.sleep(seconds)
            return encode(model, image)

        monkeypatch.setattr(ClosedModel, "encode", slow)


def test_no_call_takes_much_longer_than_the_budget(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    TimedTiles(monkeypatch, 0.3)
    function = HandlerFunction(context_of(predictor, time_budget_seconds=1), noise())
    prompts, calls = plugin_prompts(some_clicks(30)), []
    while not function.answers or (function.answers[-1].progress or 0) < 1:
        started = time.monotonic()
        function.send(0, prompts)
        calls.append(time.monotonic() - started)
    assert len(calls) > 3
    assert max(calls) < 1.4, "at most a tile that took longer than the ones before it"

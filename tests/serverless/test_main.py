from __future__ import annotations

import base64
import gc
import json
import os
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nuclio_sdk import Context, Event, Response

from c3det.clicks import Click
from serverless.main import handler, init_context
from serverless.protocol import Box
from serverless.settings import OPEN_WEIGHTS
from tests.c3det.open.small import saved
from tests.serverless.fakes import (
    PLUGIN_KEYS,
    FakePredictor,
    Log,
    base64_picture,
    encoded_picture,
    event,
    make_context,
)

ROOT = Path(__file__).resolve().parents[2]


def plugin(**changes: Any) -> dict[str, Any]:
    payload = {
        "image": base64_picture(),
        "pos_points": [[50, 30], [12, 12]],
        "neg_points": [[-1, 1], [2, 1], [0, 0]],
        "obj_bbox": None,
    }
    return {**payload, **changes}


def built_in(**changes: Any) -> dict[str, Any]:
    payload = {
        "image": base64_picture(),
        "pos_points": [[12, 12]],
        "neg_points": [],
        "obj_bbox": None,
    }
    return {**payload, **changes}


def answer(response: Response) -> dict[str, Any]:
    """The body of an answer that Nuclio passes on as it is."""
    assert type(response.body) is str
    assert response.content_type == "application/json"
    assert type(response.status_code) is int

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(response.body, parse_constant=refuse)


def test_plugin_request() -> None:
    context = make_context()
    response = handler(context, event(plugin()))
    body = answer(response)
    assert response.status_code == 200
    assert body["boxes"] == [
        {
            "class": 2,
            "label": "1",
            "points": [48.0, 28.0, 52.0, 32.0],
            "rotation": 0.0,
            "score": 1.0,
            "click": 0,
            "clicks": [0],
        },
        {
            "class": 1,
            "label": "0",
            "points": [30.0, 20.0, 36.0, 24.0],
            "rotation": 0.0,
            "score": 0.5,
            "click": None,
            "clicks": [],
        },
    ]
    assert set(body) == PLUGIN_KEYS
    assert (body["c3det"], body["error"], body["model"]) == (1, None, "fake")
    assert body["threshold"] == context.user_data.predictor.card.score_threshold
    assert (body["cache"], body["coverage"]) == ("miss", 1)
    assert set(body["timings_ms"]) == {"read", "decode", "encode", "detect", "answer"}
    assert (body["timings_ms"]["encode"], body["timings_ms"]["detect"]) == (1, 2)
    assert context.user_data.predictor.detected == [
        ([Click(50, 30, 2), Click(12, 12, 0, positive=False)], None)
    ]


def test_plugin_request_without_clicks() -> None:
    body = answer(handler(make_context(), event(plugin(pos_points=[], neg_points=[[-1, 1]]))))
    assert [box["click"] for box in body["boxes"]] == [None, None, None]


def test_an_open_model_is_asked_with_the_callers_labels() -> None:
    context = make_context(classes=())
    pairs = [[-1, 1], [200, 1], [7, 0]]
    body = answer(handler(context, event(plugin(neg_points=pairs))))
    assert [(box["class"], box["label"], box["click"]) for box in body["boxes"]] == [
        (200, None, 0),
        (200, None, None),
    ]
    assert set(body) == PLUGIN_KEYS
    assert context.user_data.predictor.detected == [
        ([Click(50, 30, 200), Click(12, 12, 7, positive=False)], None)
    ]


def test_an_open_model_without_clicks_finds_objects_of_no_class() -> None:
    context = make_context(classes=())
    body = answer(handler(context, event(plugin(pos_points=[], neg_points=[[-1, 1]]))))
    assert [(box["class"], box["label"]) for box in body["boxes"]] == [(None, None)] * 3
    assert body["error"] is None


def test_an_open_model_with_negative_clicks_alone_claims_nothing() -> None:
    context = make_context(classes=())
    body = answer(handler(context, event(plugin(neg_points=[[-1, 1], [2, 0], [0, 0]]))))
    assert (body["boxes"], body["error"]) == ([], None)


def test_an_open_model_takes_the_clicks_of_the_panel_for_one_label() -> None:
    """No class is guessed under the clicks: there is none to guess."""
    context = make_context(classes=())
    payload = built_in(pos_points=[[12, 12], [50, 30]], neg_points=[[33, 22]])
    response = handler(context, event(payload))
    body = answer(response)
    assert response.status_code == 200
    assert body["points"] == [[48, 28], [52, 28], [52, 32], [48, 32]], "of the last click"
    assert len(body["shapes"]) == 3
    predictor = context.user_data.predictor
    assert predictor.looked_at == []
    ((clicks, _),) = predictor.detected
    assert clicks == [Click(12, 12, 0), Click(50, 30, 0), Click(33, 22, 0, positive=False)]


OPEN_BAD_PAIRS: list[tuple[str, list[Any], str, str]] = [
    ("label too large", [[-1, 1], [2, 1], [256, 0]], "neg_points[2]", "invalid"),
    ("negative label", [[-1, 1], [-2, 1], [0, 0]], "neg_points[1]", "invalid"),
    ("unknown sign", [[-1, 1], [2, 5], [0, 0]], "neg_points[1]", "invalid"),
    ("later version", [[-1, 3], [2, 1], [0, 0]], "neg_points", "unsupported"),
]


@pytest.mark.parametrize(
    ("pairs", "field", "code"),
    [bad[1:] for bad in OPEN_BAD_PAIRS],
    ids=[bad[0] for bad in OPEN_BAD_PAIRS],
)
def test_bad_pairs_to_an_open_model(pairs: list[Any], field: str, code: str) -> None:
    response = handler(make_context(classes=()), event(plugin(neg_points=pairs)))
    check_error(response, "plugin", field, 200)
    assert answer(response)["error"]["code"] == code


def test_too_many_labels_to_an_open_model() -> None:
    def ask(count: int) -> Response:
        points = [[index % 60, index % 40] for index in range(count)]
        pairs = [[-1, 1], *([index, 1] for index in range(count))]
        payload = plugin(pos_points=points, neg_points=pairs)
        return handler(make_context(classes=()), event(payload))

    assert answer(ask(64))["error"] is None
    check_error(ask(65), "plugin", "neg_points", 200)


def test_threshold_reaches_the_model_in_both_forms() -> None:
    context = make_context()
    handler(context, event(plugin(threshold=0.75)))
    handler(context, event(built_in(threshold=0.25)))
    thresholds = [threshold for _, threshold in context.user_data.predictor.detected]
    assert thresholds == [0.75, 0.25]


def test_built_in_request() -> None:
    context = make_context()
    response = handler(context, event(built_in(neg_points=[[33, 22]])))
    body = answer(response)
    assert response.status_code == 200
    assert set(body) == {"mask", "bounds", "points", "shapes"}
    assert np.array(body["mask"]).shape == (40, 60)
    assert np.array(body["mask"]).sum() == 16
    assert body["bounds"] == [0, 0, 59, 39]
    assert body["points"] == [[10, 10], [14, 10], [14, 14], [10, 14]]
    assert [shape["points"] for shape in body["shapes"]] == [
        [0, 16, 10, 10, 13, 13],
        [0, 24, 10, 10, 13, 15],
    ]
    predictor = context.user_data.predictor
    assert predictor.looked_at == [[(12, 12)]], "the class is looked for under the clicks alone"
    ((clicks, _),) = predictor.detected
    assert clicks == [Click(12, 12, 1), Click(33, 22, 1, positive=False)]


def test_built_in_masks_follow_the_outlines_that_the_model_knows() -> None:
    context = make_context(classes=())
    context.user_data.predictor.outline = np.array([[2, 0], [4, 2], [2, 4], [0, 2]])
    body = answer(handler(context, event(built_in(pos_points=[[50, 30]]))))
    assert body["points"] == [[50, 28], [52, 30], [50, 32], [48, 30]]
    assert np.array(body["mask"]).sum() < 16, "less than the box"
    assert np.array(body["mask"])[30, 50] == 1
    assert all(len(shape["points"]) > 6 for shape in body["shapes"])


def test_built_in_mask_of_a_large_picture_is_cut() -> None:
    body = answer(handler(make_context(full_mask_max_pixels=60 * 40 - 1), event(built_in())))
    assert body["bounds"] == [10, 10, 13, 13]
    assert np.array(body["mask"]).shape == (4, 4)


def test_a_negative_click_on_a_positive_one_leaves_its_object() -> None:
    response = handler(make_context(), event(built_in(neg_points=[[12, 12]])))
    assert response.status_code == 200
    assert answer(response)["points"] == [[10, 10], [14, 10], [14, 14], [10, 14]]


@pytest.mark.parametrize("wrap", [bytes, bytearray, bytes.decode, json.loads])
def test_the_body_may_arrive_parsed_or_not(wrap: Callable[[bytes], object]) -> None:
    body = wrap(json.dumps(plugin()).encode())
    response = handler(make_context(), Event(body=body, content_type="application/json; x=y"))
    assert answer(response)["error"] is None


def test_one_picture_is_decoded_and_encoded_once() -> None:
    context = make_context()
    predictor = context.user_data.predictor
    first = answer(handler(context, event(plugin())))
    again = answer(handler(context, event(plugin())))
    handler(context, event(built_in()))
    assert predictor.opened == [(40, 60, 3)]
    assert predictor.encoded == [(40, 60)]
    assert again["boxes"] == first["boxes"]
    assert again["cache"] == "hit"
    assert (again["timings_ms"]["decode"], again["timings_ms"]["encode"]) == (0, 0)
    handler(context, event(plugin(image=base64_picture(value=9))))
    assert len(predictor.encoded) == 2
    assert context.user_data.cache.hits == 2


def test_each_question_has_the_time_that_is_left() -> None:
    context = make_context(time_budget_seconds=7)
    before = time.monotonic()
    handler(context, event(built_in()))
    first, second = context.user_data.predictor.deadlines
    assert first == second, "both questions of a request share its budget"
    assert before + 7 <= first <= time.monotonic() + 7


def test_an_answer_tells_how_much_of_the_picture_was_searched() -> None:
    context = make_context()
    context.user_data.predictor.coverage = 0.25
    body = answer(handler(context, event(plugin())))
    assert (body["coverage"], body["progress"]) == (0.25, 0.25)
    assert context.logger.lines[-1][2]["coverage"] == 0.25


def test_the_class_of_the_setting_is_not_guessed() -> None:
    context = make_context(class_name="tree")
    handler(context, event(built_in()))
    assert context.user_data.predictor.detected == [([Click(12, 12, 0)], None)]
    assert context.user_data.predictor.looked_at == []


def test_what_the_budget_cut_under_the_clicks_is_an_error_of_the_built_in_form() -> None:
    context = make_context(time_budget_seconds=7)
    context.user_data.predictor.under_clicks = False
    response = handler(context, event(built_in()))
    assert response.status_code == 503
    error = answer(response)["error"]
    assert error["code"] == "unfinished"
    assert "time budget of 7 s" in error["message"]
    assert "C3DET_TIME_BUDGET_SECONDS" in error["message"]


def test_points_are_checked_also_when_the_picture_is_known() -> None:
    context = make_context()
    for _ in range(2):
        body = answer(handler(context, event(plugin(pos_points=[[50, 30], [61, 12]]))))
        assert body["error"]["field"] == "pos_points[1]"
        handler(context, event(plugin()))


def test_a_point_outside_is_found_before_the_picture_is_encoded() -> None:
    context = make_context()
    handler(context, event(plugin(pos_points=[[50, 30], [61, 12]])))
    assert context.user_data.predictor.encoded == []


NOISE = np.random.default_rng(0).integers(0, 256, 30_000, np.uint8).tobytes()
CUT_OFF = base64.b64encode(encoded_picture(file_format="JPEG")[:-150]).decode()
# What is wrong, the keys that are, the field and the status that tell it.
BAD_IN_BOTH: list[tuple[str, dict[str, Any], str, int]] = [
    ("no picture", {"image": None}, "image", 400),
    ("number for a picture", {"image": 7}, "image", 400),
    ("not base64", {"image": "###"}, "image", 400),
    ("not a picture", {"image": base64.b64encode(NOISE).decode()}, "image", 400),
    ("cut off", {"image": CUT_OFF}, "image", 400),
    ("too many pixels", {"image": base64_picture(101, 100)}, "image", 413),
    ("no points", {"pos_points": None}, "pos_points", 400),
    ("points in a string", {"pos_points": "[[1, 2]]"}, "pos_points", 400),
    ("10,000 clicks", {"pos_points": [[1, 1]] * 10_000}, "pos_points", 413),
    ("threshold in a string", {"threshold": "high"}, "threshold", 400),
    ("threshold too high", {"threshold": 50}, "threshold", 400),
]
BAD_POINTS: list[tuple[str, Any]] = [
    ("outside", [60.5, 1]),
    ("negative", [1, -1]),
    ("not a number", [float("nan"), 1]),
    ("infinite", [1, float("inf")]),
    ("strings", ["1", "1"]),
    ("true", [True, 1]),
    ("null", None),
    ("three numbers", [1, 2, 3]),
    ("one number", [1]),
    ("beyond floats", [10**400, 1]),
]
BAD_PAIRS: list[tuple[str, list[Any], str]] = [
    ("unknown class", [[-1, 1], [3, 1], [0, 0]], "neg_points[1]"),
    ("negative class", [[-1, 1], [2, 1], [-2, 0]], "neg_points[2]"),
    ("half a class", [[-1, 1], [0.5, 1], [0, 0]], "neg_points[1]"),
    ("name of a class", [[-1, 1], ["tree", 1], [0, 0]], "neg_points[1]"),
    ("unknown sign", [[-1, 1], [2, 5], [0, 0]], "neg_points[1]"),
    ("pair too few", [[-1, 1], [2, 1]], "neg_points"),
    ("pair too many", [[-1, 1], [2, 1], [2, 1], [2, 1]], "neg_points"),
    ("later version", [[-1, 3], [2, 1], [0, 0]], "neg_points"),
]


def check_error(response: Response, form: str, field: str, status: int) -> None:
    body = answer(response)
    error = body["error"]
    assert set(error) == {"code", "message", "field"}
    assert error["field"] == field
    assert len(response.body) < 1000
    for leak in ("Traceback", "File ", os.sep + "serverless", "BytesIO"):
        assert leak not in response.body
    if form == "plugin":
        assert response.status_code == 200
        assert set(body) == PLUGIN_KEYS
        assert body["boxes"] == []
    else:
        assert response.status_code == status
        assert set(body) == {"error"}


def check_next_request(context: Context) -> None:
    assert answer(handler(context, event(plugin())))["error"] is None
    assert handler(context, event(built_in())).status_code == 200


@pytest.mark.parametrize("form", ["plugin", "built-in"])
@pytest.mark.parametrize(
    ("changes", "field", "status"),
    [bad[1:] for bad in BAD_IN_BOTH]
    + [({"pos_points": [[1, 1], bad[1]]}, "pos_points[1]", 400) for bad in BAD_POINTS],
    ids=[bad[0] for bad in BAD_IN_BOTH + BAD_POINTS],
)
def test_bad_input(form: str, changes: dict[str, Any], field: str, status: int) -> None:
    context = make_context(max_pixels=10_000)
    payload = plugin(**changes) if form == "plugin" else built_in(**changes)
    check_error(handler(context, event(payload)), form, field, status)
    check_error(handler(context, Event(body=json.dumps(payload).encode())), form, field, status)
    check_next_request(context)


@pytest.mark.parametrize(
    ("pairs", "field"), [bad[1:] for bad in BAD_PAIRS], ids=[bad[0] for bad in BAD_PAIRS]
)
def test_bad_pairs(pairs: list[Any], field: str) -> None:
    context = make_context()
    check_error(handler(context, event(plugin(neg_points=pairs))), "plugin", field, 200)
    check_next_request(context)


@pytest.mark.parametrize(
    "body", [b"", None, b"{", b"\xff\xd8\xff", "[]", b"null", [], 3, b"[" * 100_000]
)
def test_a_body_that_is_not_a_json_object(body: object) -> None:
    context = make_context()
    check_error(handler(context, Event(body=body)), "built-in", "body", 400)
    check_next_request(context)


def test_10_000_clicks_of_the_plugin() -> None:
    points = [[1, 1]] * 10_000
    response = handler(
        make_context(), event(plugin(pos_points=points, neg_points=[[-1, 1], *points]))
    )
    check_error(response, "plugin", "pos_points", 200)


def test_the_most_clicks_allowed_are_answered() -> None:
    points = [[index % 60, index % 40] for index in range(1000)]
    payload = plugin(pos_points=points, neg_points=[[-1, 1]] + [[2, 1]] * 1000)
    assert answer(handler(make_context(), event(payload)))["error"] is None


@pytest.mark.parametrize(
    ("fault", "code", "field", "status"),
    [
        (KeyError("secret"), "internal", None, 500),
        (RecursionError("secret"), "internal", None, 500),
        (MemoryError(), "out_of_memory", "image", 503),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "out_of_memory", "image", 503),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out_of_memory", "image", 503),
    ],
)
def test_a_fault_of_the_function(
    fault: Exception, code: str, field: str | None, status: int
) -> None:
    context = make_context()
    predictor = context.user_data.predictor
    for form, payload in (("plugin", plugin()), ("built-in", built_in())):
        predictor.fault = fault
        response = handler(context, event(payload))
        check_error(response, form, field, status)
        assert answer(response)["error"]["code"] == code
        assert "secret" not in response.body
        level, message, fields = context.logger.lines[-1]
        assert (level, message) == ("error", "failed")
        assert "Traceback" in fields["traceback"]
        predictor.fault = None
        check_next_request(context)


def test_numbers_that_are_not_finite_never_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    context = make_context()
    boxes = (Box(0, "tree", (1, 2, 3, 4), float("nan")),)
    monkeypatch.setattr("serverless.main.boxes_of", lambda *_: boxes)
    check_error(handler(context, event(plugin())), "plugin", None, 200)


def test_after_a_cuda_error_the_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ended(BaseException):
        pass

    def end(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr("os._exit", end)
    context = make_context()
    context.user_data.predictor.fault = RuntimeError("CUDA error: an illegal memory access")
    with pytest.raises(Ended) as caught:
        handler(context, event(plugin()))
    assert caught.value.args == (1,)
    assert context.logger.lines[-1][0] == "error"


def test_each_request_writes_one_short_line() -> None:
    context = make_context()
    for payload in (plugin(), built_in(), plugin(threshold="x"), built_in(image="x")):
        before = len(context.logger.lines)
        handler(context, event(payload))
        assert len(context.logger.lines) == before + 1
        assert len(json.dumps(context.logger.lines[-1])) < 500
    assert [line[1] for line in context.logger.lines] == ["answered"] * 2 + ["refused"] * 2
    first, _, refused, undecoded = (line[2] for line in context.logger.lines)
    timings = first.pop("timings_ms")
    assert set(timings) == {"read", "decode", "encode", "detect", "answer"}
    assert first == {
        "model": "fake",
        "form": "plugin",
        "cache": "miss",
        "clicks": 2,
        "objects": 2,
        "coverage": 1.0,
        "progress": 1.0,
        "picture": "60x40",
    }
    assert refused["field"] == "threshold"
    assert undecoded["field"] == "image"


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, str]]:
    """Replaces ``c3det.predictor.load``; holds the arguments of its calls."""
    calls: list[tuple[Any, str]] = []

    def load(weights: Any, device: str) -> FakePredictor:
        calls.append((weights, device))
        return FakePredictor()

    module = types.ModuleType("c3det.predictor")
    module.load = load
    monkeypatch.setitem(sys.modules, "c3det.predictor", module)
    monkeypatch.setattr("serverless.deployment.DESCRIPTIONS", ())
    monkeypatch.setattr("serverless.service.limit_pixels", lambda max_pixels: None)
    for name in [name for name in os.environ if name.startswith("C3DET_")]:
        monkeypatch.delenv(name)
    return calls


def test_init_context_loads_the_weights_of_the_open_model(loaded: list[tuple[Any, str]]) -> None:
    context = Context(logger=Log())
    gc.unfreeze()
    init_context(context)
    assert gc.get_freeze_count() > 0, "a collection would stop a click for 0.2 s"
    gc.unfreeze()
    assert loaded == [(OPEN_WEIGHTS, "cpu")]
    assert context.user_data.predictor.warm
    assert [line[1] for line in context.logger.lines] == ["ready"]
    check_next_request(context)


class Platform:
    """The part of Nuclio's platform that the function uses."""

    def set_termination_callback(self, callback: Callable[[], None]) -> None:
        self.terminate = callback


@pytest.mark.usefixtures("loaded")
def test_a_worker_that_nuclio_stops_logs_its_cache_and_ends() -> None:
    platform = Platform()
    context = Context(logger=Log(), platform=platform)
    init_context(context)
    check_next_request(context)
    with pytest.raises(SystemExit) as ended:
        platform.terminate()
    assert ended.value.code == 0
    line = context.logger.lines[-1]
    assert line == ("info", "ending", {"cache_hits": 1, "cache_misses": 1})


def test_init_context_obeys_the_environment(
    loaded: list[tuple[Any, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("C3DET_WEIGHTS", "other.safetensors")
    monkeypatch.setenv("C3DET_MAX_CLICKS", "1")
    context = Context(logger=Log())
    init_context(context)
    assert [(str(weights), device) for weights, device in loaded] == [("other.safetensors", "cpu")]
    assert answer(handler(context, event(plugin())))["error"]["field"] == "pos_points"


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("C3DET_MAX_PIXELS", "16 MP", "C3DET_MAX_PIXELS must be a whole number from 1 to"),
        ("C3DET_MAX_CLICKS", "0", "C3DET_MAX_CLICKS must be a whole number of at least 1"),
        ("C3DET_CACHE_BYTES", "-1", "C3DET_CACHE_BYTES must be a whole number of at least 0"),
        ("C3DET_DEVICE", "cuda", "set C3DET_DEVICE to 'cpu'"),
    ],
)
def test_init_context_says_what_to_mend(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message):
        init_context(Context(logger=Log()))


def test_faults_of_the_weights_end_the_start(
    loaded: list[tuple[Any, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(weights: Any, device: str) -> None:
        raise RuntimeError(f"{weights} is missing: fetch it again")

    monkeypatch.setattr(sys.modules["c3det.predictor"], "load", load)
    with pytest.raises(RuntimeError, match="fetch it again"):
        init_context(Context(logger=Log()))


def test_importing_the_handler_is_light() -> None:
    heavy = "{'torch', 'mmcv', 'mmdet', 'mmengine', 'cv2'}"
    code = f"import sys, serverless.main; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.strip() == "[]"


OPEN_ALONE = """
import importlib.abc, os, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {"mmcv", "mmdet", "mmengine", "cv2"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
os.environ["C3DET_WEIGHTS"] = sys.argv[1]
from serverless.deployment import FUNCTION
from serverless.nuclio_worker import NuclioWorker
from serverless.settings import ServingSettings
from tests.serverless.fakes import Log, encoded_picture
import base64, json

worker = NuclioWorker.load(FUNCTION, Log())
worker.start(ServingSettings.from_environment(os.environ))
body = {
    "image": base64.b64encode(encoded_picture(64, 64)).decode(),
    "pos_points": [],
    "neg_points": [[-1, 1]],
    "threshold": 1,
}
answer = worker.post(json.dumps(body).encode())
body = json.loads(answer.body)
print(answer.status, body["error"], body["coverage"])
"""


def test_the_open_model_is_served_without_mmdet_and_opencv(tmp_path: Path) -> None:
    """In a process where they cannot be imported; a whole picture is searched."""
    done = subprocess.run(
        [sys.executable, "-c", OPEN_ALONE, str(saved(tmp_path))],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
    )
    assert (done.stdout.splitlines()[-1:], done.stderr) == (["200 None 1.0"], "")

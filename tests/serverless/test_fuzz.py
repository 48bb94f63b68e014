"""Random requests, good, bad and absurd: every one is answered, and the next good one right.

Of functions with classes and of open ones. ``C3DET_FUZZ_REQUESTS`` sets the number of requests to
each, of which a tenth goes to the shipped weights; a number that is set is of other requests each
time.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, event, given, settings

from c3det.predictor import load
from serverless.main import detector_handler, handler
from serverless.nuclio_worker import NuclioWorker, Trigger
from serverless.protocol import LARGEST_LABEL, ExemplarsAnswer, packed
from serverless.service import Service
from serverless.settings import OPEN_WEIGHTS, STARTER_WEIGHTS, ServingSettings
from tests.serverless.fakes import CLASSES, PLUGIN_KEYS, FakePredictor
from tests.serverless.odd_pictures import SIZE, broken_pictures, whole_pictures

REQUESTS = int(os.environ.get("C3DET_FUZZ_REQUESTS", "400"))
WHOLE = whole_pictures()
BROKEN = broken_pictures()
MAX_PIXELS = 120_000
MAX_CLICKS = 20
NUM_CLASSES = 3

BOX_KEYS = {"class", "label", "points", "rotation", "score", "click", "clicks"}
CODES = {
    "malformed",
    "missing",
    "invalid",
    "outside",
    "too_large",
    "unsupported",
    "other_weights",
    "undecodable",
}
FIELD = re.compile(r"body|image|threshold|(pos|neg)_points(\[\d+\])?")
PACKED = re.compile(r'"(vector|thumbnail)": "[A-Za-z0-9+/=]*"')
"""Base64, in which a slash begins no path."""
LEAK = re.compile(r"Traceback|File \"|\.py\b|object at 0x|site-packages|/\w+/\w+|Error\(|Exception")

# Requests


def weighted(strategies: dict[st.SearchStrategy[Any], int]) -> st.SearchStrategy[Any]:
    """One of the strategies, each as often as its number says."""
    choices = [strategy for strategy, times in strategies.items() for _ in range(times)]
    return st.sampled_from(choices).flatmap(lambda strategy: strategy)


def mutated(data: bytes) -> st.SearchStrategy[bytes]:
    """The bytes, cut, overwritten or with others put in."""
    places = st.integers(0, max(len(data) - 1, 0))

    def put(edits: list[tuple[int, bytes, bool]]) -> bytes:
        changed = bytearray(data)
        for at, piece, insert in edits:
            changed[at : at if insert else at + len(piece)] = piece
        return bytes(changed)

    edits = st.lists(
        st.tuples(places, st.binary(min_size=1, max_size=6), st.booleans()), min_size=1, max_size=4
    )
    return st.one_of(st.builds(put, edits), places.map(lambda at: data[:at]))


small_broken = {name: data for name, data in BROKEN.items() if len(data) < 4000}
pictures = weighted(
    {
        st.sampled_from(sorted(WHOLE)).map(WHOLE.__getitem__): 3,
        st.sampled_from(sorted(BROKEN)).map(BROKEN.__getitem__): 1,
        st.sampled_from(sorted(WHOLE)).flatmap(lambda name: mutated(WHOLE[name])): 1,
        st.sampled_from(sorted(small_broken)).flatmap(lambda n: mutated(small_broken[n])): 1,
    }
)
images = pictures.map(lambda data: base64.b64encode(data).decode())
numbers = st.one_of(
    st.integers(-2, 30),
    st.floats(0, 24),
    st.floats(),
    st.integers(),
    st.just(10**400),
    st.sampled_from([-1, -0.0, 1e-320, 2**53, True, False]),
)
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
inside = st.floats(0, SIZE[1])
near = st.floats(-2, 1.5 * SIZE[0])
points = weighted({st.tuples(inside, inside): 9, st.tuples(near, near): 1}).map(list)
clicks = st.lists(points, max_size=5)
labels = weighted(
    {
        st.integers(0, NUM_CLASSES - 1): 40,
        st.integers(0, LARGEST_LABEL): 2,
        st.integers(0, 2 * LARGEST_LABEL): 1,
    }
)


@st.composite
def plugin_payloads(draw: Callable[..., Any]) -> dict[str, Any]:
    positive = draw(clicks)
    pairs = [[draw(labels), draw(st.integers(0, 1))] for _ in positive]
    return {"image": draw(images), "pos_points": positive, "neg_points": [[-1, 1], *pairs]}


@st.composite
def exemplars_payloads(draw: Callable[..., Any]) -> dict[str, Any]:
    """Asks for exemplars."""
    positive, boxes = draw(clicks), draw(st.lists(points, max_size=3))
    pairs = [[draw(labels), draw(st.integers(0, 1))] for _ in (*positive, *boxes)]
    corners = [corner for x, y in boxes for corner in ([x, y], [x + 5, y + 0.5])]
    neg_points = [[-1, 2], [1, len(boxes)], *pairs]
    return {"image": draw(images), "pos_points": positive + corners, "neg_points": neg_points}


@st.composite
def carrying_payloads(draw: Callable[..., Any]) -> dict[str, Any]:
    """Brings exemplars along, mostly of two numbers, as those of the fakes are."""
    positive, digest = draw(clicks), draw(weighted({st.just(0): 9, st.integers(0, 2**48): 1}))
    size = draw(weighted({st.just(4): 9, st.integers(1, 12): 1}))
    vectors = draw(st.lists(st.binary(min_size=size, max_size=size), max_size=3))
    pairs = [[-1, 2], [2, len(vectors)], [digest, size]]
    pairs += [[draw(labels), draw(st.integers(0, 1))] for _ in positive]
    for vector in vectors:
        pairs += [[draw(labels), draw(st.integers(0, 1))], [draw(st.floats(0.1, 90)), 5]]
        pairs += packed(vector)
    return {"image": draw(images), "pos_points": positive, "neg_points": pairs}


@st.composite
def built_in_payloads(draw: Callable[..., Any]) -> dict[str, Any]:
    positive = draw(st.lists(points, min_size=1, max_size=4))
    return {"image": draw(images), "pos_points": positive, "neg_points": draw(clicks)}


detector_payloads = st.fixed_dictionaries({"image": images})
thresholds = st.one_of(st.just({}), st.floats(0, 1).map(lambda value: {"threshold": value}))
good = st.builds(
    lambda payload, threshold: {**payload, "obj_bbox": None, **threshold},
    st.one_of(
        plugin_payloads(),
        exemplars_payloads(),
        carrying_payloads(),
        built_in_payloads(),
        detector_payloads,
    ),
    thresholds,
)


@st.composite
def spoiled(draw: Callable[..., Any]) -> Any:
    """A good payload in which a few values somewhere are others, missing, doubled or new."""
    payload = draw(good)
    for _ in range(draw(st.integers(1, 3))):
        node: Any = payload
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(node[key], (dict, list)) and draw(st.booleans()):
                node = node[key]
                continue
            action = draw(st.sampled_from(["replace", "remove", "double"]))
            if action == "replace":
                node[key] = draw(anything)
            elif action == "remove":
                del node[key]
            elif isinstance(node, list):
                node += [node[key]] * draw(st.integers(1, 3 * MAX_CLICKS))
            else:
                node[draw(st.text(max_size=8))] = node[key]
            break
    return payload


def encoded(payload: object) -> bytes:
    return json.dumps(payload).encode()


absurd = [b"[" * 99_999, b'{"image":' * 20_000, b"\xef\xbb\xbf{}", b'{"a": NaN}', b""]
bodies = weighted(
    {
        good.map(encoded): 8,
        spoiled().map(encoded): 8,
        good.map(encoded).flatmap(mutated): 2,
        anything.map(encoded): 1,
        st.binary(max_size=60) | st.sampled_from(absurd): 1,
    }
)
content_types = st.sampled_from(
    ["application/json", "application/json", "application/json; charset=utf-8", "text/plain", ""]
)
addresses = st.sampled_from(["interactor", "interactor", "detector"])

# Answers


class Log:
    """Keeps the lines of errors and warnings."""

    def __init__(self) -> None:
        self.errors: list[Any] = []

    def info_with(self, message: str, **fields: Any) -> None:
        assert len(json.dumps(fields)) < 2000

    warn_with = info_with

    def error_with(self, message: str, **fields: Any) -> None:
        self.errors.append(fields)

    def error(self, message: str) -> None:
        self.errors.append(message)


class Workers:
    """The interactor and the detector of one service."""

    def __init__(self, service: Service) -> None:
        self.log = Log()
        self.classes = service.predictor.classes
        self._workers = {
            address: NuclioWorker(entry, Trigger(), self.log, service)
            for address, entry in (("interactor", handler), ("detector", detector_handler))
        }
        self.right = self.good_answers()

    def ask(self, address: str, body: bytes, content_type: str) -> tuple[int, Any]:
        """The status and the body of an answer, which must be JSON in Nuclio's terms."""
        answer = self._workers[address].handle(body, content_type)
        assert self.log.errors == []
        assert answer.content_type == "application/json"

        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is not JSON")

        return answer.status, json.loads(answer.body, parse_constant=refuse)

    def good_answers(self) -> list[Any]:
        """The answers to a good request of each form, without what differs from time to time."""
        image = base64.b64encode(WHOLE["PNG of noise"]).decode()
        answers = []
        for address, points in (
            ("interactor", {"pos_points": [[12, 12]], "neg_points": [[-1, 1], [1, 1]]}),
            ("interactor", {"pos_points": [[12, 12]], "neg_points": []}),
            ("detector", {}),
        ):
            status, body = self.ask(
                address, encoded({"image": image, **points}), "application/json"
            )
            assert status == (400 if address == "detector" and not self.classes else 200)
            if isinstance(body, dict):
                body = {k: v for k, v in body.items() if k not in ("timings_ms", "cache")}
            answers.append(body)
        return answers


def form_of_body(body: bytes, address: str) -> str:
    """The form that the answer must have, by the rules of the protocol."""
    if address == "detector":
        return "detector"
    try:
        first = json.loads(body)["neg_points"][0][0]
    except (ValueError, TypeError, LookupError, RecursionError):
        return "built-in"
    number = isinstance(first, (int, float)) and not isinstance(first, bool)
    return "plugin" if number and first == -1 else "built-in"


def check_error(error: Any) -> None:
    assert set(error) == {"code", "message", "field"}
    assert error["code"] in CODES
    if error["field"] is None:
        assert "take any label and know no classes to detect" in error["message"]
    else:
        assert FIELD.fullmatch(error["field"])
        assert error["field"].partition("[")[0] in error["message"] or error["field"] == "image"
    assert "\n" not in error["message"]
    assert len(error["message"]) < 300


def check_rectangle(points: Any) -> None:
    x1, y1, x2, y2 = points
    assert x1 <= x2
    assert y1 <= y2


def check_class(box: Any, classes: Sequence[str]) -> None:
    if classes:
        assert box["label"] == classes[box["class"]]
    else:
        assert box["label"] is None
        assert box["class"] is None or 0 <= box["class"] <= LARGEST_LABEL
        assert box["class"] is not None or box["click"] is None


def check_answer(form: str, status: int, body: Any, classes: Sequence[str]) -> None:
    text = PACKED.sub("", json.dumps(body))
    assert not LEAK.search(text), LEAK.search(text)
    if form == "plugin":
        assert status == 200
        if body["c3det"] == 2:
            assert not classes
            answer = ExemplarsAnswer.read(body)
            assert answer.body() == body
            assert answer.progress == 1
            return
        assert set(body) == PLUGIN_KEYS
        assert body["c3det"] == 1
        if body["error"] is not None:
            assert body["boxes"] == []
            check_error(body["error"])
            return
        assert body["cache"] in ("hit", "miss")
        assert 0 <= body["coverage"] <= 1
        assert (body["progress"] == 1) == (body["coverage"] == 1)
        for box in body["boxes"]:
            assert set(box) == BOX_KEYS
            assert 0 <= box["score"] <= 1
            check_class(box, classes)
            check_rectangle(box["points"])
    elif isinstance(body, dict) and "error" in body:
        assert status in (400, 413)
        assert set(body) == {"error"}
        check_error(body["error"])
    elif form == "built-in":
        assert status == 200
        assert set(body) == {"mask", "bounds", "points", "shapes"}
        left, top, right, bottom = body["bounds"]
        assert len(body["mask"]) == bottom - top + 1
        assert {len(row) for row in body["mask"]} == {right - left + 1}
    else:
        assert status == 200
        for shape in body:
            assert set(shape) == {"label", "type", "points", "rotation", "confidence"}
            check_rectangle(shape["points"])


LIMITS = ServingSettings.from_environment({}, max_pixels=MAX_PIXELS, max_clicks=MAX_CLICKS)


@cache
def fake_workers(classes: tuple[str, ...]) -> Workers:
    return Workers(Service.create(FakePredictor(classes), LIMITS))


@cache
def shipped_workers(weights: Path) -> Workers:
    return Workers(Service.create(load(weights), LIMITS))


def fuzz(make: Callable[[Any], Workers], of: object, requests: int) -> Callable[[], None]:
    """A test that sends so many random requests, each followed by good ones.

    Args:
        make: Makes the workers.
        of: Its argument.
        requests: How many.
    """

    def workers() -> Workers:
        return make(of)

    @settings(
        max_examples=requests,
        deadline=None,
        derandomize="C3DET_FUZZ_REQUESTS" not in os.environ,
        suppress_health_check=list(HealthCheck),
    )
    @given(addresses, bodies, content_types)
    def send(address: str, body: bytes, content_type: str) -> None:
        status, answer = workers().ask(address, body, content_type)
        form = form_of_body(body, address)
        error = answer.get("error") if isinstance(answer, dict) else None
        event(
            f"{form}: {error['code'] if error else 'answered'}"
        )  # for --hypothesis-show-statistics
        check_answer(form, status, answer, workers().classes)
        assert workers().good_answers() == workers().right

    return send


FEW = max(REQUESTS // 10, 1)
test_the_function_with_boxes_that_can_be_counted = fuzz(fake_workers, CLASSES, REQUESTS)
test_the_open_function_with_boxes_that_can_be_counted = fuzz(fake_workers, (), REQUESTS)
test_the_function_with_the_shipped_weights = fuzz(shipped_workers, STARTER_WEIGHTS, FEW)
test_the_open_function_with_the_shipped_weights = fuzz(shipped_workers, OPEN_WEIGHTS, FEW)

KINDS = pytest.mark.parametrize("classes", [CLASSES, ()], ids=["closed", "open"])


@KINDS
@pytest.mark.parametrize("name", sorted(WHOLE))
def test_whole_pictures_are_answered_in_every_form(name: str, classes: tuple[str, ...]) -> None:
    image = base64.b64encode(WHOLE[name]).decode()
    workers = fake_workers(classes)
    plugin = {"image": image, "pos_points": [[3, 3]], "neg_points": [[-1, 1], [1, 1]]}
    status, body = workers.ask("interactor", encoded(plugin), "application/json")
    assert (status, body["error"]) == (200, None)
    for address in ("interactor", "detector") if classes else ("interactor",):
        built_in = {"image": image, "pos_points": [[3, 3]], "neg_points": []}
        assert workers.ask(address, encoded(built_in), "application/json")[0] == 200


@KINDS
@pytest.mark.parametrize("name", sorted(BROKEN))
def test_broken_pictures_name_the_picture_or_are_answered(
    name: str, classes: tuple[str, ...]
) -> None:
    image = base64.b64encode(BROKEN[name]).decode()
    workers = fake_workers(classes)
    for address in ("interactor", "detector") if classes else ("interactor",):
        payload = {"image": image, "pos_points": [[0, 0]], "neg_points": [[-1, 1], [1, 1]]}
        status, body = workers.ask(address, encoded(payload), "application/json")
        check_answer(form_of_body(encoded(payload), address), status, body, classes)
        error = body.get("error") if isinstance(body, dict) else None
        assert error is None or error["field"] == "image"
    assert workers.good_answers() == workers.right

"""The wire: the examples that all readers share, and what is refused."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from c3det.clicks import Click, LabelledBox
from serverless.protocol import (
    LARGEST_LABEL,
    MOST_LABELS,
    AnswerError,
    AnyRequest,
    Box,
    BuiltInAnswer,
    BuiltInRequest,
    CarriedExemplars,
    DetectorRequest,
    EncodedExemplar,
    ExemplarsAnswer,
    ExemplarsRequest,
    Form,
    Mask,
    PluginAnswer,
    PluginRequest,
    RequestError,
    check_inside,
    check_weights,
    detector_body,
    form_of,
    packed,
    parse_body,
    plugin_prompts,
    read_built_in_request,
    read_detector_request,
    read_exemplars_request,
    read_plugin_request,
    with_picture,
)

CLASSES = ("tree", "0", "1")
IMAGE = base64.b64encode(b"bytes").decode()


EXAMPLES = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parents[1] / "protocol").glob("*.json"))
}


def examples(*keys: str) -> pytest.MarkDecorator:
    """The shared examples that have some keys; those without are another test's."""
    names = [name for name, example in EXAMPLES.items() if set(keys) <= set(example)]
    return pytest.mark.parametrize("example", [EXAMPLES[name] for name in names], ids=names)


def read_request(example: dict[str, Any]) -> AnyRequest:
    """The request of an example, read in the way of the handler of its form."""
    payload = parse_body(json.dumps(example["request"]).encode())
    if example["form"] == "detector":
        return read_detector_request(payload)
    assert form_of(payload).value == example["form"]
    if example["form"] == "plugin":
        return read_plugin_request(payload, example["classes"], 1000)
    if example["form"] == "exemplars":
        return read_exemplars_request(payload, example["classes"], 1000)
    return read_built_in_request(payload, 1000)


def refused(example: dict[str, Any]) -> bool:
    return isinstance(example["answer"], dict) and example["answer"].get("error") is not None


def test_the_examples_are_of_every_form_and_kind() -> None:
    plain = {(one["form"], bool(one["classes"])) for one in EXAMPLES.values() if not refused(one)}
    both = [(form, known) for form in ("plugin", "built-in") for known in (True, False)]
    assert plain == {*both, ("detector", True), ("exemplars", False)}
    assert {one["form"] for one in EXAMPLES.values() if refused(one)} == {
        "plugin",
        "exemplars",
        "built-in",
        "detector",
    }
    for name, one in EXAMPLES.items():
        assert name.startswith("error-") == refused(one)
        assert one["description"].endswith(".")
        assert {"request", "answer"} & set(one)


@examples("request")
def test_requests_of_the_examples(example: dict[str, Any]) -> None:
    """They are read, and built again; or refused as the example says."""
    if refused(example):
        with pytest.raises(RequestError) as caught:
            read_request(example)
        assert caught.value.to_json() == example["answer"]["error"]
        in_plugin = example["form"] in ("plugin", "exemplars")
        status = 200 if in_plugin else caught.value.status
        assert example["status"] == status
        return
    request = read_request(example)
    assert body_of(request) == example["request"]
    check_inside(request, (10, 16))
    if isinstance(request, (PluginRequest, ExemplarsRequest)):
        assert list(request.clicks) == [Click(**click) for click in example["clicks"]]
        expected = (
            carried(example) if isinstance(request, PluginRequest) else example_boxes(example)
        )
        held = request.exemplars if isinstance(request, PluginRequest) else request.boxes
        assert held == expected
    else:
        assert "clicks" not in example


def body_of(request: AnyRequest) -> dict[str, Any]:
    """The body that a request was read from; CVAT builds those that are not the plugin's."""
    if isinstance(request, (PluginRequest, ExemplarsRequest)):
        return request.body()
    threshold = {} if request.threshold is None else {"threshold": request.threshold}
    if isinstance(request, DetectorRequest):
        return with_picture(request.picture, threshold)
    points = {name: [list(point) for point in some] for name, some in request.points.items()}
    return with_picture(request.picture, {**points, **threshold})


def carried(example: dict[str, Any]) -> CarriedExemplars | None:
    """The exemplars that an example says its request carries."""
    if "carried" not in example:
        return None
    given = example["carried"]
    return CarriedExemplars(
        given["weights"][:12],
        given["vector_bytes"],
        tuple(
            EncodedExemplar(
                one["class"],
                one["positive"],
                one["width"],
                one["height"],
                base64.b64decode(one["vector"]),
            )
            for one in given["exemplars"]
        ),
    )


def example_boxes(example: dict[str, Any]) -> tuple[LabelledBox, ...]:
    return tuple(LabelledBox(**box) for box in example["boxes"])


def built_in_answer(body: dict[str, Any]) -> BuiltInAnswer:
    """The typed answer that has a body of the built-in form."""
    shapes = []
    for shape in body["shapes"]:
        *runs, left, top, right, bottom = shape["points"]
        score = float(shape["attributes"][0]["value"])
        shapes.append(Mask(tuple(runs), (left, top, right, bottom), score))
    left, top, right, bottom = body["bounds"]
    points = tuple((x, y) for x, y in body["points"])
    return BuiltInAnswer(body["mask"], (left, top, right, bottom), points, tuple(shapes))


def detected_boxes(body: list[dict[str, Any]]) -> list[Box]:
    """The boxes that have a body of the detector form."""
    return [
        Box(0, one["label"], tuple(one["points"]), float(one["confidence"]), (), one["rotation"])
        for one in body
    ]


@examples("answer")
def test_answers_of_the_examples(example: dict[str, Any]) -> None:
    """They are read, and built again."""
    body = example["answer"]
    if example["form"] == "exemplars":
        if refused(example):
            with pytest.raises(RequestError) as caught:
                ExemplarsAnswer.read(body)
            assert caught.value.to_json() == body["error"]
            assert PluginAnswer.read(body).error is not None
        else:
            assert ExemplarsAnswer.read(body).body() == body
            with pytest.raises(AnswerError, match="not of version 1"):
                PluginAnswer.read(body)
        return
    if example["form"] == "plugin":
        if body["c3det"] != 1:
            with pytest.raises(AnswerError, match="not of version 1 of the plugin's protocol"):
                PluginAnswer.read(body)
            return
        read = PluginAnswer.read(body)
        built = read.body()
        assert {key: built[key] for key in body if key != "boxes"} == {
            key: value for key, value in body.items() if key != "boxes"
        }
        for box, expected in zip(built["boxes"], body["boxes"], strict=True):
            assert {key: box[key] for key in expected} == expected
        assert (read.error is not None) == refused(example)
        return
    if refused(example):
        error = RequestError.read(body["error"])
        assert {"error": error.to_json()} == body
        assert error.status == example["status"]
    elif example["form"] == "detector":
        assert detector_body(detected_boxes(body)) == body
    else:
        assert built_in_answer(body).body() == body


def test_what_older_functions_do_not_tell() -> None:
    read = PluginAnswer.read(EXAMPLES["plugin-of-before"]["answer"])
    assert (read.progress, read.coverage, read.threshold, read.notes) == (0.5, 0.5, None, ())
    assert [box.clicks for box in read.boxes] == [(0,)]


def test_an_error_without_a_code_is_the_functions_own() -> None:
    error = PluginAnswer.read({"c3det": 1, "error": {"message": "no"}}).error
    assert error is not None
    assert error.to_json() == {"code": "internal", "message": "no", "field": None}


def test_the_click_that_decided_comes_last() -> None:
    body = Box(1, None, (1, 2, 3, 4), 0.5, (0, 2, 3)).body()
    assert (body["click"], body["clicks"]) == (3, [0, 2, 3])
    assert Box.read({**body, "click": 2}).clicks == (0, 3, 2)


BOX = {"class": 0, "label": None, "points": [1, 2, 3, 4], "rotation": 0, "score": 1}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("<html>", "not of version 1"),
        ({"mask": [[1]]}, "not of version 1"),
        ({"c3det": 1}, "has no boxes"),
        ({"c3det": 1, "boxes": None, "error": None}, "has no boxes"),
        ({"c3det": 1, "boxes": [], "error": "no"}, "has no message"),
        ({"c3det": 1, "boxes": [], "error": {"message": None}}, "has no message"),
        ({"c3det": 1, "boxes": [], "error": {"message": "no", "code": 3}}, "has no message"),
        ({"c3det": 1, "boxes": [], "error": {"message": "no", "field": 3}}, "has no message"),
        ({"c3det": 1, "boxes": [BOX, 3]}, r"boxes\[1\] of the answer is malformed"),
        *(
            ({"c3det": 1, "boxes": [{**BOX, **change}]}, rf"boxes\[0\] .*: {said}")
            for change, said in (
                ({"class": 0.5}, "its class"),
                ({"class": -1}, "its class"),
                ({"class": True}, "its class"),
                ({"label": 3}, "its label"),
                ({"score": 1.5}, "its score"),
                ({"score": None}, "its score"),
                ({"points": None}, "its points"),
                ({"points": [1, 2, 3]}, "its points"),
                ({"points": [1, 2, 3, "4"]}, "its points"),
                ({"rotation": "no"}, "its rotation"),
                ({"rival": 3}, "its rival"),
                ({"rival": {"class": None, "score": 0.5}}, "its rival"),
                ({"rival": {"class": 1, "score": 1.5}}, "its rival"),
                ({"click": -1}, "its click"),
                ({"clicks": [0.5]}, "its clicks"),
            )
        ),
    ],
)
def test_what_is_no_answer_of_the_plugin_form(body: object, message: str) -> None:
    with pytest.raises(AnswerError, match=message):
        PluginAnswer.read(body)


def test_prompts_are_the_request_without_its_picture() -> None:
    clicks = (Click(1.5, 2, 3), Click(4, 5, 0, positive=False))
    points = {"pos_points": [[1.5, 2], [4, 5]], "neg_points": [[-1, 1], [3, 1], [0, 0]]}
    assert plugin_prompts(clicks) == points
    assert plugin_prompts([], 0.5) == {
        "pos_points": [],
        "neg_points": [[-1, 1]],
        "threshold": 0.5,
    }
    assert PluginRequest(b"bytes", clicks, 0.5).body() == {
        "image": IMAGE,
        **points,
        "threshold": 0.5,
    }


coordinates = st.floats(0, 1e6)
some_clicks = st.builds(Click, coordinates, coordinates, st.integers(0, 63), st.booleans())
shares = st.floats(0, 1)
boxes = st.builds(
    Box,
    st.none() | st.integers(0, LARGEST_LABEL),
    st.none() | st.text(max_size=5),
    st.tuples(coordinates, coordinates, coordinates, coordinates),
    shares,
    st.lists(st.integers(0, 99), max_size=3, unique=True).map(tuple),
    st.floats(-360, 360),
)
answers = st.builds(
    PluginAnswer,
    st.text(max_size=5),
    st.lists(boxes, max_size=3).map(tuple),
    threshold=st.none() | shares,
    coverage=shares,
    progress=shares,
    notes=st.lists(st.text(max_size=5), max_size=2).map(tuple),
)


@given(st.lists(some_clicks, max_size=9).map(tuple), st.none() | shares, answers)
def test_what_is_built_is_read_back(
    clicks: tuple[Click, ...], threshold: float | None, answer: PluginAnswer
) -> None:
    sent = PluginRequest(b"bytes", clicks, threshold)
    payload = parse_body(json.dumps(sent.body()).encode())
    assert form_of(payload) is Form.PLUGIN
    assert read_plugin_request(payload, ["class"] * 64, 10) == sent
    of_open = read_plugin_request(payload, (), 10)
    assert replace(of_open, clicks=clicks) == sent
    assert read_plugin_request(parse_body(json.dumps(of_open.body()).encode()), (), 10) == of_open
    for click, read in zip(clicks, of_open.clicks, strict=True):
        repeats = clicks.count(click) - 1 if click.positive else 0
        assert read == replace(click, choice=repeats)
    assert PluginAnswer.read(json.loads(json.dumps(answer.body()))) == answer


def test_a_click_is_repeated_only_where_all_of_it_is() -> None:
    points = [[3, 4], [3, 4], [3, 4], [3, 4], [3, 4], [3, 4], [5, 4], [3, 5]]
    pairs = [[-1, 1], [7, 1], [7, 1], [8, 1], [7, 0], [7, 1], [7, 0], [7, 1], [7, 1]]
    request = plugin(pos_points=points, neg_points=pairs)
    clicks = read_plugin_request(request, (), 10).clicks
    assert [click.choice for click in clicks] == [2, 2, 0, 0, 2, 0, 0, 0]
    closed = read_plugin_request(request, ["class"] * 9, 10).clicks
    assert {click.choice for click in closed} == {0}


def open_request(labels: list[Any]) -> PluginRequest:
    points = [[index % 16, index // 16] for index in range(len(labels))]
    pairs = [[-1, 1], *([label, 1] for label in labels)]
    return read_plugin_request(plugin(pos_points=points, neg_points=pairs), (), 1000)


def test_labels_of_an_open_function_are_the_callers() -> None:
    labels = [LARGEST_LABEL, 0, 17, 17]
    assert [click.label for click in open_request(labels).clicks] == labels
    most = list(range(MOST_LABELS)) * 3
    assert [click.label for click in open_request(most).clicks] == most


@pytest.mark.parametrize(
    ("labels", "code", "field", "said"),
    [
        ([0, LARGEST_LABEL + 1], "invalid", "neg_points[2]", "a whole number from 0 to 255"),
        ([-1], "invalid", "neg_points[1]", "a whole number from 0 to 255"),
        ([0.5], "invalid", "neg_points[1]", "a whole number from 0 to 255"),
        (list(range(MOST_LABELS + 1)), "too_large", "neg_points", "65 different labels, at most"),
    ],
)
def test_labels_that_no_open_function_takes(
    labels: list[Any], code: str, field: str, said: str
) -> None:
    with pytest.raises(RequestError, match=re.escape(said)) as caught:
        open_request(labels)
    assert (caught.value.code, caught.value.field) == (code, field)


def plugin(**changes: Any) -> dict[str, Any]:
    payload = {
        "image": IMAGE,
        "pos_points": [[1, 2], [3.5, 4]],
        "neg_points": [[-1, 1], [2, 1], [0, 0]],
        "obj_bbox": None,
    }
    return {**payload, **changes}


def built_in(**changes: Any) -> dict[str, Any]:
    payload = {"image": IMAGE, "pos_points": [[1, 2]], "neg_points": [[3, 4]], "obj_bbox": None}
    return {**payload, **changes}


@pytest.mark.parametrize("box", [None, [], "missing"])
def test_a_click_without_a_box_is_the_same_however_cvat_says_so(box: object) -> None:
    def sent(payload: dict[str, Any]) -> dict[str, Any]:
        changed = {**payload, "obj_bbox": box}
        if box == "missing":
            del changed["obj_bbox"]
        return parse_body(json.dumps(changed).encode())

    body = sent(plugin())
    assert form_of(body) is Form.PLUGIN
    assert read_plugin_request(body, CLASSES, 10) == read_plugin_request(plugin(), CLASSES, 10)
    body = sent(built_in())
    assert form_of(body) is Form.BUILT_IN
    assert read_built_in_request(body, 10) == read_built_in_request(built_in(), 10)


@pytest.mark.parametrize("body", [{"a": 1}, b'{"a": 1}', '{"a": 1}', bytearray(b'{"a": 1}')])
def test_body_is_parsed_whatever_its_type(body: object) -> None:
    assert parse_body(body) == {"a": 1}


@pytest.mark.parametrize(
    "body",
    [b"", "", None, b"\xff\xfe\xfa", "{", "[1]", "3", [1], 3, "[" * 100_000, b'"text"', b"null"],
)
def test_other_bodies_are_refused(body: object) -> None:
    with pytest.raises(RequestError) as caught:
        parse_body(body)
    assert (caught.value.code, caught.value.field) == ("malformed", "body")


@pytest.mark.parametrize(
    ("neg_points", "form"),
    [
        ([[-1, 1]], Form.PLUGIN),
        ([[-1.0, 1.0], [0, 1]], Form.PLUGIN),
        ([[-1, 2]], Form.PLUGIN),
        ([[-1, 2], [2, 0]], Form.PLUGIN),
        ([[-1, 2], "1"], Form.PLUGIN),
        ([[-1, 1], [1, 0]], Form.PLUGIN),
        ([[-1, 2], [1, 0]], Form.EXEMPLARS),
        ([[-1.0, 2.0], [1.0]], Form.EXEMPLARS),
        ([[-1]], Form.PLUGIN),
        ([[-1, "x"]], Form.PLUGIN),
        ([], Form.BUILT_IN),
        (None, Form.BUILT_IN),
        ("text", Form.BUILT_IN),
        ([-1, 1], Form.BUILT_IN),
        ([[]], Form.BUILT_IN),
        ([[1, 1], [-1, 1]], Form.BUILT_IN),
        ([["-1", 1]], Form.BUILT_IN),
    ],
)
def test_the_header_decides_the_form(neg_points: object, form: Form) -> None:
    assert form_of({"neg_points": neg_points}) is form


def test_form_without_neg_points_is_built_in() -> None:
    assert form_of({}) is Form.BUILT_IN


def test_plugin_clicks_are_in_the_order_of_pos_points() -> None:
    assert read_plugin_request(plugin(threshold=0.25), CLASSES, 10) == PluginRequest(
        b"bytes", (Click(1, 2, 2), Click(3.5, 4, 0, positive=False)), 0.25
    )


def test_plugin_header_and_pairs_may_be_floats() -> None:
    payload = plugin(pos_points=[[1, 2]], neg_points=[[-1.0, 1.0], [2.0, 1.0]])
    (click,) = read_plugin_request(payload, CLASSES, 10).clicks
    assert click == Click(1, 2, 2)
    assert type(click.label) is int


def test_plugin_without_clicks() -> None:
    request = read_plugin_request(plugin(pos_points=[], neg_points=[[-1, 1]]), CLASSES, 10)
    assert request == PluginRequest(b"bytes", (), None)


def test_built_in_request() -> None:
    request = read_built_in_request(built_in(), 10)
    assert request == BuiltInRequest(b"bytes", ((1.0, 2.0),), ((3.0, 4.0),), None)
    assert request.clicks(2) == [Click(1, 2, 2), Click(3, 4, 2, positive=False)]


@pytest.mark.parametrize("changes", [{"neg_points": None}, {"neg_points": []}])
def test_built_in_request_needs_no_negative_clicks(changes: dict[str, Any]) -> None:
    assert read_built_in_request(built_in(**changes), 10).negative == ()


BAD_IN_BOTH = [
    ({"image": None}, "missing", "image"),
    ({"image": ""}, "missing", "image"),
    ({"image": 5}, "invalid", "image"),
    ({"image": "not base64!"}, "invalid", "image"),
    ({"image": "YWJj\n"}, "invalid", "image"),
    ({"image": "é"}, "invalid", "image"),
    ({"image": "data:image/png;base64," + IMAGE}, "invalid", "image"),
    ({"pos_points": None}, "missing", "pos_points"),
    ({"pos_points": "1, 2"}, "invalid", "pos_points"),
    ({"pos_points": {"0": [1, 2]}}, "invalid", "pos_points"),
    ({"pos_points": [[1, 2]] * 11}, "too_large", "pos_points"),
    ({"threshold": "0.5"}, "invalid", "threshold"),
    ({"threshold": True}, "invalid", "threshold"),
    ({"threshold": 1.5}, "invalid", "threshold"),
    ({"threshold": -0.1}, "invalid", "threshold"),
    ({"threshold": float("nan")}, "invalid", "threshold"),
    ({"threshold": [0.5]}, "invalid", "threshold"),
]
BAD_POINTS = [
    None,
    1,
    "12",
    [],
    [1],
    [1, 2, 3],
    ["1", 2],
    [None, 2],
    [True, 2],
    [float("nan"), 2],
    [1, float("inf")],
    [1, 10**400],
    [[1], 2],
]


@pytest.mark.parametrize(("changes", "code", "field"), BAD_IN_BOTH)
def test_bad_values_name_their_field_in_both_forms(
    changes: dict[str, Any], code: str, field: str
) -> None:
    with pytest.raises(RequestError) as caught:
        read_plugin_request(plugin(**changes), CLASSES, 10)
    if "pos_points" not in changes or field == "pos_points":
        assert (caught.value.code, caught.value.field) == (code, field)
    with pytest.raises(RequestError) as caught:
        read_built_in_request(built_in(**changes), 10)
    assert (caught.value.code, caught.value.field) == (code, field)


@pytest.mark.parametrize("point", BAD_POINTS, ids=repr)
def test_a_point_is_a_pair_of_finite_numbers(point: object) -> None:
    for payload, read in (
        (plugin(pos_points=[[1, 2], point]), lambda p: read_plugin_request(p, CLASSES, 10)),
        (built_in(pos_points=[[1, 2], point]), lambda p: read_built_in_request(p, 10)),
    ):
        with pytest.raises(RequestError) as caught:
            read(payload)
        assert (caught.value.code, caught.value.field) == ("invalid", "pos_points[1]")


@pytest.mark.parametrize(
    ("neg_points", "code", "field"),
    [
        ([[-1, 3], [2, 1], [0, 0]], "unsupported", "neg_points"),
        ([[-1, 2], [2, 1], [0, 0]], "unsupported", "neg_points"),  # a closed one
        ([[-1], [2, 1], [0, 0]], "unsupported", "neg_points"),
        ([[-1, 1, 1], [2, 1], [0, 0]], "unsupported", "neg_points"),
        ([[-1, 1], [2, 1]], "invalid", "neg_points"),
        ([[-1, 1], [2, 1], [0, 0], [0, 0]], "invalid", "neg_points"),
        ([[-1, 1], [3, 1], [0, 0]], "invalid", "neg_points[1]"),
        ([[-1, 1], [2, 1], [-1, 0]], "invalid", "neg_points[2]"),
        ([[-1, 1], [0.5, 1], [0, 0]], "invalid", "neg_points[1]"),
        ([[-1, 1], [10**400, 1], [0, 0]], "invalid", "neg_points[1]"),
        ([[-1, 1], ["2", 1], [0, 0]], "invalid", "neg_points[1]"),
        ([[-1, 1], [True, 1], [0, 0]], "invalid", "neg_points[1]"),
        ([[-1, 1], [2, 2], [0, 0]], "invalid", "neg_points[1]"),
        ([[-1, 1], [2, -1], [0, 0]], "invalid", "neg_points[1]"),
        ([[-1, 1], [2, 0.5], [0, 0]], "invalid", "neg_points[1]"),
        ([[-1, 1], [2, None], [0, 0]], "invalid", "neg_points[1]"),
        ([[-1, 1], None, [0, 0]], "invalid", "neg_points[1]"),
        ([[-1, 1], [2, 1, 0], [0, 0]], "invalid", "neg_points[1]"),
    ],
)
def test_bad_pairs_name_their_place(neg_points: list[Any], code: str, field: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_plugin_request(plugin(neg_points=neg_points), CLASSES, 10)
    assert (caught.value.code, caught.value.field) == (code, field)


def test_an_unsupported_version_is_told_the_supported_one() -> None:
    with pytest.raises(RequestError, match="speaks versions 1 and 2 of the protocol"):
        read_plugin_request(plugin(neg_points=[[-1, 7]]), CLASSES, 10)


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"pos_points": []}, "missing", "pos_points"),
        ({"neg_points": [[1, 2], [1]]}, "invalid", "neg_points[1]"),
        ({"neg_points": 5}, "invalid", "neg_points"),
        ({"neg_points": [[1, 2]] * 10}, "too_large", "neg_points"),
    ],
)
def test_bad_built_in_points(changes: dict[str, Any], code: str, field: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_built_in_request(built_in(**changes), 10)
    assert (caught.value.code, caught.value.field) == (code, field)


@pytest.mark.parametrize(
    ("point", "inside"),
    [
        ((0, 0), True),
        ((60, 40), True),
        ((60.01, 40), False),
        ((60, 40.01), False),
        ((-0.01, 0), False),
        ((0, -0.01), False),
        ((40, 60), False),
    ],
)
def test_the_edges_belong_to_the_picture(point: tuple[float, float], inside: bool) -> None:
    request = BuiltInRequest(b"", ((1.0, 1.0), point), (), None)
    if inside:
        check_inside(request, (40, 60))
        return
    with pytest.raises(RequestError) as caught:
        check_inside(request, (40, 60))
    assert (caught.value.code, caught.value.field) == ("outside", "pos_points[1]")
    assert "60 x 40" in caught.value.message


def test_negative_clicks_outside_are_named_by_the_field_they_came_in() -> None:
    with pytest.raises(RequestError) as caught:
        check_inside(BuiltInRequest(b"", ((1.0, 1.0),), ((99.0, 1.0),), None), (40, 60))
    assert caught.value.field == "neg_points[0]"
    clicks = (Click(1, 1, 0), Click(99, 1, 0, positive=False))
    with pytest.raises(RequestError) as caught:
        check_inside(PluginRequest(b"", clicks, None), (40, 60))
    assert caught.value.field == "pos_points[1]"


def test_messages_do_not_repeat_the_payload() -> None:
    secret = "s3cret" * 100
    for changes in ({"image": secret + "!"}, {"threshold": secret}, {"pos_points": [[secret, 1]]}):
        with pytest.raises(RequestError) as caught:
            read_built_in_request(built_in(**changes), 10)
        assert "s3cret" not in caught.value.message
        assert json.dumps(caught.value.message)


def test_bytes_are_packed_six_a_number_the_first_the_highest() -> None:
    assert packed(b"\x01\x02") == [[0x0102_0000_0000, 0]]
    assert packed(bytes(range(1, 14))) == [
        [0x0102_0304_0506, 0x0708_090A_0B0C],
        [0x0D00_0000_0000, 0],
    ]
    assert packed(b"\xff" * 12) == [[2**48 - 1, 2**48 - 1]]
    assert packed(b"") == []


def two(**changes: Any) -> dict[str, Any]:
    """A request of a click with two exemplars of seven bytes."""
    pairs = [[-1, 2], [2, 2], [0xAB, 7], [3, 1]]
    for label in (3, 4):
        pairs += [[label, 1], [5, 6.5], [2**48 - 1, 2**47]]
    return plugin(pos_points=[[1, 2]], neg_points=pairs, **changes)


def test_exemplars_come_with_clicks() -> None:
    request = read_plugin_request(two(), (), 10)
    assert request.clicks == (Click(1, 2, 3),)
    assert request.exemplars == CarriedExemplars(
        "0000000000ab",
        7,
        tuple(EncodedExemplar(label, True, 5, 6.5, b"\xff" * 6 + b"\x80") for label in (3, 4)),
    )
    # CVAT may make floats of whole numbers.
    floats = two()
    floats["neg_points"] = [[float(one) for one in pair] for pair in floats["neg_points"]]
    assert read_plugin_request(json.loads(json.dumps(floats)), (), 10) == request


@pytest.mark.parametrize(
    ("at", "pair", "code", "field"),
    [
        (1, [3, 2], "invalid", "neg_points[1]"),
        (1, [2, 257], "too_large", "neg_points[1]"),
        (1, [2, 1.5], "invalid", "neg_points[1]"),
        (1, [2, 1e300], "invalid", "neg_points[1]"),
        (1, [2, -1], "invalid", "neg_points[1]"),
        (1, [2], "invalid", "neg_points[1]"),
        (1, [2, 1], "invalid", "neg_points"),
        (1, [2, 3], "invalid", "neg_points"),
        (2, [2**48, 7], "invalid", "neg_points[2]"),
        (2, [1, 0], "invalid", "neg_points[2]"),
        (2, [1, 4101], "invalid", "neg_points[2]"),
        (2, [1, 13], "invalid", "neg_points"),
        (2, [0.5, 7], "invalid", "neg_points[2]"),
        (3, [256, 1], "invalid", "neg_points[3]"),
        (4, [3, 2], "invalid", "neg_points[4]"),
        (5, [0, 6], "invalid", "neg_points[5]"),
        (5, [5, 1e6], "invalid", "neg_points[5]"),
        (5, [5, float("nan")], "invalid", "neg_points[5]"),
        (6, [0.5, 0], "invalid", "neg_points[6]"),
        (9, [0, 2**48], "invalid", "neg_points[9]"),
        (9, [-1, 0], "invalid", "neg_points[9]"),
        (9, [0, None], "invalid", "neg_points[9]"),
    ],
)
def test_bad_exemplars_name_their_place(at: int, pair: Any, code: str, field: str) -> None:
    payload = two()
    payload["neg_points"][at] = pair
    with pytest.raises(RequestError) as caught:
        read_plugin_request(payload, (), 10)
    assert (caught.value.code, caught.value.field) == (code, field)


def test_labels_of_clicks_and_exemplars_are_counted_together() -> None:
    def sent(labels: int) -> dict[str, Any]:
        clicks = tuple(Click(1, 1, label) for label in range(10))
        some = (EncodedExemplar(label, True, 1, 1, b"x") for label in range(9, labels))
        carried = CarriedExemplars("0" * 12, 1, tuple(some))
        return PluginRequest(b"bytes", clicks, None, carried).body()

    request = read_plugin_request(sent(MOST_LABELS), (), 10)
    assert request.exemplars is not None
    assert len(request.exemplars.exemplars) == 55
    with pytest.raises(RequestError, match="65 different labels"):
        read_plugin_request(sent(MOST_LABELS + 1), (), 10)


def test_exemplars_are_of_the_weights_of_the_function() -> None:
    carried = CarriedExemplars("abababababab", 7, ())
    check_weights(carried, "ab" * 32, "open")
    with pytest.raises(RequestError, match="than those of this function, open") as caught:
        check_weights(carried, "abababababac" + "ab" * 26, "open")
    assert caught.value.to_json() == {
        "code": "other_weights",
        "message": caught.value.message,
        "field": "neg_points",
    }


def asked(points: list[Any], pairs: list[Any]) -> ExemplarsRequest:
    pairs = [[-1, 2], *pairs]
    return read_exemplars_request(plugin(pos_points=points, neg_points=pairs), (), 1000)


def test_exemplars_are_asked_for_by_clicks_and_boxes() -> None:
    points = [[1, 2], [3, 4], [5, 6]]
    assert asked(points, [[1, 1], [7, 1], [8, 0]]) == ExemplarsRequest(
        b"bytes", (Click(1, 2, 7),), (LabelledBox(3, 4, 5, 6, 8, False),)
    )
    assert asked([], [[1, 0]]) == ExemplarsRequest(b"bytes", (), ())


@pytest.mark.parametrize(
    ("points", "pairs", "code", "field"),
    [
        ([[1, 2]], [[1, 1], [7, 1]], "invalid", "neg_points"),
        ([[1, 2]], [[1, 1]], "invalid", "neg_points"),
        ([[1, 2], [3, 4]], [[1, 1], [7, 1], [7, 1]], "invalid", "neg_points"),
        ([[1, 2], [3, 4]], [[1, 1]], "invalid", "neg_points"),
        ([[1, 2]], [[1]], "invalid", "neg_points[1]"),
        ([[1, 2]], [[1, -1], [7, 1], [7, 1]], "invalid", "neg_points[1]"),
        ([[0, 0], [3, 4], [3, 5]], [[1, 1], [7, 1], [7, 1]], "invalid", "pos_points[1]"),
        ([[0, 0], [-1e300, 4], [1e300, 5]], [[1, 1], [7, 1], [7, 1]], "invalid", "pos_points[1]"),
        ([[1, 2]], [[1, 1e300], [7, 1]], "invalid", "neg_points[1]"),
        ([[0, 0], [3, 4], [5, 5]], [[1, 1], [7, 1], [7, 2]], "invalid", "neg_points[3]"),
        ([[0, 0], [3, 4], [5, 5]], [[1, 1], [7, 2], [7, 1]], "invalid", "neg_points[2]"),
        ([[1, 1]] * 257, [[1, 0]] + [[7, 1]] * 257, "too_large", "pos_points"),
        ([[1, 1]] * 513, [[1, 0]], "too_large", "pos_points"),
    ],
)
def test_what_asks_for_no_exemplars(points: Any, pairs: Any, code: str, field: str) -> None:
    with pytest.raises(RequestError) as caught:
        asked(points, pairs)
    assert (caught.value.code, caught.value.field) == (code, field)


def test_a_box_may_stick_out_but_not_its_middle() -> None:
    clicks = (Click(1, 1, 0),)
    boxes = (LabelledBox(1, 1, 2, 2, 0), LabelledBox(50, 30, 70, 50, 0))
    check_inside(ExemplarsRequest(b"", clicks, boxes), (40, 60))
    with pytest.raises(RequestError, match=r"middle of the box from pos_points\[3\]") as caught:
        check_inside(ExemplarsRequest(b"", clicks, boxes), (40, 59))
    assert (caught.value.code, caught.value.field) == ("outside", "pos_points[3]")


EXEMPLAR = {
    "class": 1,
    "positive": True,
    "width": 2,
    "height": 3,
    "vector": "AAAA",
    "thumbnail": "AAAA",
}
EXEMPLARS = {"c3det": 2, "exemplars": [EXEMPLAR], "weights": "ab" * 32, "error": None}


def test_an_answer_with_exemplars_is_read() -> None:
    read = ExemplarsAnswer.read({**EXEMPLARS, "progress": 1})
    exemplar = EncodedExemplar(1, True, 2, 3, b"\0" * 3, b"\0" * 3)
    assert read == ExemplarsAnswer("", "ab" * 32, (exemplar,), progress=1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"c3det": 1}, "has no exemplars"),
        ({"exemplars": None}, "has no exemplars"),
        ({"weights": "ab"}, "does not tell the weights"),
        ({"weights": None}, "does not tell the weights"),
        *(
            ({"exemplars": [EXEMPLAR, {**EXEMPLAR, **wrong}]}, said)
            for wrong, said in (
                ({"class": -1}, r"exemplars\[1\] .*: it has no class"),
                ({"positive": 1}, "it has no class and sign"),
                ({"width": 0}, "it has no width"),
                ({"height": None}, "it has no width"),
                ({"vector": ""}, "its vector"),
                ({"vector": "no!"}, "its vector"),
                ({"vector": "AAAA" * 2000}, "its vector"),
                ({"thumbnail": 5}, "its thumbnail"),
                ({"thumbnail": "AAAA" * 4000}, "its thumbnail"),
            )
        ),
    ],
)
def test_what_is_no_answer_with_exemplars(change: dict[str, Any], said: str) -> None:
    with pytest.raises(AnswerError, match=said):
        ExemplarsAnswer.read({**EXEMPLARS, **change})

"""The lambda manager of the emulator in front of the real handlers, profile by profile."""

from __future__ import annotations

import base64
import io
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from c3det.clicks import Click, LabelledBox
from serverless.protocol import (
    CarriedExemplars,
    EncodedExemplar,
    ExemplarsAnswer,
    PluginAnswer,
    exemplar_prompts,
    plugin_prompts,
    read_plugin_request,
)
from tests.emulator.functions import PROFILES, CallError, Function, LambdaManager
from tests.emulator.server import Emulator, hosted_functions
from tests.emulator.store import Store, Task
from tests.serverless.fakes import encoded_picture, make_context

ALL = pytest.mark.parametrize("profile", ["2.15", "2026", "2.80"])
PLUGIN = {"frame": 0, **plugin_prompts([Click(50, 30, 1)])}
BUILT_IN = {"frame": 0, "pos_points": [[12, 12]], "neg_points": []}


def manager(functions: list[Function], profile: str = "2.15", **changes: Any) -> LambdaManager:
    store = Store()
    pictures = [(f"{i}.png", encoded_picture(value=i)) for i in range(4)]
    store.add_task("t", ["tree", "0", {"name": "1", "type": "polygon"}], pictures, segment_size=2)
    return LambdaManager(functions, store, replace(PROFILES[profile], **changes))


def only_task(lambdas: LambdaManager) -> Task:
    (task,) = lambdas.store.tasks.values()
    return task


def call(lambdas: LambdaManager, name: str = "c3det", **data: Any) -> Any:
    return lambdas.call(name, {"task": only_task(lambdas).id, **data})


def refusal(lambdas: LambdaManager, name: str = "c3det", **data: Any) -> tuple[int, Any]:
    with pytest.raises(CallError) as caught:
        call(lambdas, name, **data)
    return caught.value.status, caught.value.body


@ALL
def test_the_list_says_what_function_yaml_says(functions: list[Function], profile: str) -> None:
    interactor, detector = (f.to_dict(PROFILES[profile]) for f in functions)
    assert (interactor["id"], interactor["kind"]) == ("c3det", "interactor")
    assert (interactor["min_pos_points"], interactor["min_neg_points"]) == (1, 0)
    assert (interactor["startswith_box"], interactor["version"]) == (False, 2)
    assert ("startswith_box_optional" in interactor) is (profile != "2.15")
    assert interactor["labels_v2"][0] == {"name": "tree", "type": "rectangle", "attributes": []}
    assert (detector["id"], detector["kind"]) == ("c3det-detector", "detector")
    assert "min_pos_points" not in detector


@ALL
def test_the_plugin_form_passes_both_ways(functions: list[Function], profile: str) -> None:
    lambdas = manager(functions, profile)
    answer = call(lambdas, **PLUGIN, threshold=0.3, label="0", session="secret")
    assert 0 < answer.pop("threshold") < 1
    assert [box["click"] for box in answer["boxes"]] == [0, None, None, None]
    keys = {
        "c3det",
        "boxes",
        "error",
        "model",
        "timings_ms",
        "cache",
        "coverage",
        "progress",
        "notes",
    }
    assert set(answer) == keys
    (received,) = lambdas.calls
    assert set(received) == {
        "image",
        "pos_points",
        "neg_points",
        "obj_bbox",
        "threshold",
        "function",
    }
    assert received["neg_points"] == [[-1, 1], [1, 1]]
    assert received["obj_bbox"] == ([] if profile == "2.80" else None)


@ALL
def test_an_open_function_takes_any_labels_through_cvat(profile: str) -> None:
    with hosted_functions(make_context(classes=()).user_data) as hosted:
        lambdas = manager(hosted, profile)
        (listed,) = lambdas.listing()
        assert (listed["kind"], listed["labels_v2"]) == ("interactor", [])
        clicks = [Click(50, 30, 200), Click(12, 12, 7, positive=False)]
        answer = PluginAnswer.read(call(lambdas, frame=0, **plugin_prompts(clicks)))
        assert lambdas.calls[0]["neg_points"] == [[-1, 1], [200, 1], [7, 0]]
        assert [(box.label, box.name, box.clicks) for box in answer.boxes] == [
            (200, None, (0,)),
            (200, None, ()),
        ]
        answer = PluginAnswer.read(call(lambdas, frame=0, **plugin_prompts([])))
        assert [box.label for box in answer.boxes] == [None] * 3
        assert len(call(lambdas, **BUILT_IN)["shapes"]) == 4


@ALL
def test_exemplars_go_through_cvat_and_back(profile: str) -> None:
    """Each byte of them, whatever the server makes of the pairs."""
    with hosted_functions(make_context(classes=()).user_data) as hosted:
        lambdas = manager(hosted, profile)
        clicks, boxes = [Click(50, 30, 200)], [LabelledBox(10, 10, 14.5, 16, 7)]
        body = call(lambdas, frame=0, **exemplar_prompts(clicks, boxes))
        answer = ExemplarsAnswer.read(body)
        assert [(one.label, one.width, one.height) for one in answer.exemplars] == [
            (200, 4, 4),
            (7, 4.5, 6),
        ]
        exemplars = [
            EncodedExemplar(one.label, True, one.width, one.height, vector)
            for one, vector in zip(answer.exemplars, (b"\xff\x7b\x7f\xff", b"\0" * 4), strict=True)
        ]
        exemplars.append(replace(exemplars[0], vector=b"\x12\x34\x56\x78"))
        sent = CarriedExemplars(answer.weights[:12], 4, tuple(exemplars))
        found = PluginAnswer.read(call(lambdas, frame=1, **plugin_prompts([], None, sent)))
        assert found.error is None
        assert [box.label for box in found.boxes] == [200] * 3
        arrived = {**lambdas.calls[1], "image": "AAAA"}
        assert read_plugin_request(arrived, (), 10).exemplars == sent


@ALL
def test_the_built_in_form_passes_without_a_box(functions: list[Function], profile: str) -> None:
    lambdas = manager(functions, profile)
    assert call(lambdas, **BUILT_IN)["shapes"]
    assert lambdas.calls[0]["obj_bbox"] == ([] if profile == "2.80" else None)


def test_one_bad_function_breaks_the_list_of_2_15_alone(functions: list[Function]) -> None:
    twice = json.dumps([{"id": i, "name": "same", "type": "rectangle"} for i in range(2)])
    bad = replace(functions[0], id="bad", annotations={**functions[0].annotations, "spec": twice})
    with pytest.raises(CallError, match="non-unique labels"):
        manager([*functions, bad], "2.15").listing()
    for profile in ("2026", "2.80"):
        listed = manager([bad, *functions], profile).listing()
        assert [function["id"] for function in listed] == ["c3det", "c3det-detector"]


def test_2_80_drops_thin_masks_and_fails_on_those_without_attributes(
    functions: list[Function],
) -> None:
    def mask(right: int, bottom: int) -> dict[str, Any]:
        area = (right + 1) * (bottom + 1)
        return {"type": "mask", "points": [0, area, 0, 0, right, bottom], "attributes": []}

    masks = [mask(1, 9), mask(9, 1), mask(2, 2), mask(0, 0)]
    for profile, count in (("2026", 4), ("2.80", 1)):
        lambdas = manager(functions, profile)
        lambdas._post = lambda function, payload: {"shapes": [dict(each) for each in masks]}
        assert len(call(lambdas, **BUILT_IN)["shapes"]) == count
    del masks[2]["attributes"]
    assert refusal(lambdas, **BUILT_IN)[0] == 500


@ALL
def test_a_threshold_of_0_is_dropped(functions: list[Function], profile: str) -> None:
    lambdas = manager(functions, profile)
    call(lambdas, **PLUGIN, threshold=0)
    assert "threshold" not in lambdas.calls[0]


def test_points_that_are_no_pairs_pass_2_15_and_stop_at_2026(functions: list[Function]) -> None:
    data = {**PLUGIN, "neg_points": [[-1, 1, "0"], [1, 1]]}
    lambdas = manager(functions, "2.15")
    assert call(lambdas, **data)["error"]["field"] == "neg_points"
    assert lambdas.calls[0]["neg_points"] == [[-1, 1, "0"], [1, 1]]
    lambdas = manager(functions, "2026")
    message = "Interactor prompt points must contain point pairs"
    assert refusal(lambdas, **data) == (400, [message])
    assert lambdas.calls == []


def test_the_answer_of_the_built_in_form(functions: list[Function]) -> None:
    answer = call(manager(functions, "2.15"), **BUILT_IN)
    assert set(answer) == {"mask", "bounds", "points", "shapes"}
    assert (len(answer["mask"]), len(answer["mask"][0])) == (40, 60)


def test_2026_moves_points_and_masks_of_a_region(functions: list[Function]) -> None:
    lambdas = manager(functions, "2026")
    data = {"frame": 0, "pos_points": [[32, 24]], "neg_points": [[41, 13]], "roi": [20, 12, 60, 40]}
    answer = call(lambdas, **data)
    received = lambdas.calls[0]
    assert (received["pos_points"], received["neg_points"]) == ([[12, 12]], [[21, 1]])
    assert "roi" not in received
    # In the region the predictor sees a "0" at (10, 10, 14, 14), with a click on it.
    assert [p for p in answer["shapes"] if p["points"][2:] == [30, 22, 33, 25]]
    mask = answer["mask"]
    assert (len(mask), len(mask[0])) == (40, 60)
    assert [(y, row.index(1), sum(row)) for y, row in enumerate(mask) if any(row)] == [
        (y, 30, 4) for y in range(22, 26)
    ]


def test_2026_sends_the_picture_of_the_region(functions: list[Function]) -> None:
    lambdas = manager(functions, "2026")
    sent = []
    lambdas._post = lambda function, payload: sent.append(payload) or {}
    call(lambdas, **BUILT_IN, roi=[20, 12, 60, 40])
    with Image.open(io.BytesIO(base64.b64decode(sent[0]["image"]))) as image:
        assert (image.size, image.format) == ((40, 28), "PNG")


def test_2026_fails_on_a_mask_cut_to_its_bounds(functions: list[Function]) -> None:
    lambdas = manager(functions, "2026")
    lambdas._post = lambda function, payload: {"mask": [[1, 1], [1, 1]], "bounds": [3, 3, 4, 4]}
    assert refusal(lambdas, **BUILT_IN, roi=[20, 12, 60, 40])[0] == 500


def test_2026_lets_masks_through_and_no_other_shapes(functions: list[Function]) -> None:
    lambdas = manager(functions, "2026")
    mask = {"type": "mask", "points": [0, 4, 1, 1, 2, 2]}
    box = {"type": "rectangle", "points": [1, 1, 2, 2]}
    lambdas._post = lambda function, payload: {"shapes": [dict(box), dict(mask)]}
    assert call(lambdas, **BUILT_IN)["shapes"] == [mask]
    moved = call(lambdas, **BUILT_IN, roi=[10, 20, 60, 40])["shapes"]
    assert moved == [{"type": "mask", "points": [0, 4, 11, 21, 12, 22]}]
    lambdas = manager(functions, "2.15")
    lambdas._post = lambda function, payload: {"shapes": [box, mask]}
    assert len(call(lambdas, **BUILT_IN)["shapes"]) == 2


@pytest.mark.parametrize(
    ("roi", "message"),
    [
        ([1, 2, 3], "ROI must contain four integer coordinates"),
        ([0, 0, 1.5, 2], "ROI must contain four integer coordinates"),
        ([-1, 0, 5, 5], "non-negative"),
        ([5, 5, 5, 9], "positive"),
        ([0, 0, 61, 40], "outside the image"),
    ],
)
def test_2026_checks_the_region(functions: list[Function], roi: list[Any], message: str) -> None:
    status, body = refusal(manager(functions, "2026"), **BUILT_IN, roi=roi)
    assert status == 400
    assert message in body


def test_2_15_does_not_know_regions(functions: list[Function]) -> None:
    lambdas = manager(functions, "2.15")
    call(lambdas, **BUILT_IN, roi=[20, 12, 60, 40])
    assert lambdas.calls[0]["pos_points"] == [[12, 12]]


def test_only_2_15_sends_the_compressed_picture(functions: list[Function]) -> None:
    for profile, formats in (("2.15", ["PNG", "JPEG"]), ("2026", ["PNG", "PNG"])):
        lambdas = manager(functions, profile)
        sent: list[dict[str, Any]] = []
        lambdas._post = lambda function, payload, sent=sent: sent.append(payload) or {}
        for quality in ("original", "compressed"):
            call(lambdas, **BUILT_IN, quality=quality)
        pictures = [Image.open(io.BytesIO(base64.b64decode(p["image"]))) for p in sent]
        assert [picture.format for picture in pictures] == formats


@ALL
def test_the_body_of_an_error_is_lost(functions: list[Function], profile: str) -> None:
    lambdas = manager(functions, profile)
    url = functions[0].url
    assert refusal(lambdas, frame=0, pos_points=[[70, 12]], neg_points=[]) == (
        400,
        f"400 Client Error: Bad Request for url: {url}",
    )
    # The plugin form is answered with 200, and so its error arrives.
    answer = call(lambdas, **{**PLUGIN, "pos_points": [[70, 12]]})
    assert answer["error"]["field"] == "pos_points[0]"


def test_a_function_that_takes_too_long(functions: list[Function]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        slow = replace(functions[0], url=f"http://127.0.0.1:{silent.getsockname()[1]}/")
        status, body = refusal(manager([slow], timeout_s=0.1), **PLUGIN)
    assert (status, "timed out" in body) == (504, True)
    assert PROFILES["2.15"].timeout_s == PROFILES["2026"].timeout_s == 120


def test_a_function_that_is_not_there(functions: list[Function]) -> None:
    gone = replace(functions[0], url="http://127.0.0.1:9/")
    status, body = refusal(manager([gone]), **PLUGIN)
    assert status == 503
    assert "refused" in body
    assert refusal(manager(functions), "other", **PLUGIN)[0] == 404


@pytest.mark.parametrize("missing", ["frame", "pos_points", "neg_points"])
def test_mandatory_arguments(functions: list[Function], missing: str) -> None:
    data = {key: value for key, value in PLUGIN.items() if key != missing}
    status, body = refusal(manager(functions), **data)
    assert status == 400
    assert body.endswith(f"without mandatory argument: {missing}")


def test_frames_belong_to_jobs(functions: list[Function]) -> None:
    lambdas = manager(functions)
    task = only_task(lambdas)
    second = task.jobs[1]
    assert (second.start, second.stop) == (2, 3)
    message = "The frame is outside the job range"
    with pytest.raises(CallError, match=message):
        lambdas.call("c3det", {**PLUGIN, "job": second.id})
    assert lambdas.call("c3det", {**PLUGIN, "job": second.id, "frame": 3})["boxes"]
    with pytest.raises(CallError, match="does not match"):
        lambdas.call("c3det", {**PLUGIN, "job": second.id, "task": task.id + 99})
    assert refusal(lambdas, **{**PLUGIN, "frame": 4})[0] == 400


@ALL
def test_the_detector_gets_the_picture_alone(functions: list[Function], profile: str) -> None:
    lambdas = manager(functions, profile)
    answer = call(lambdas, "c3det-detector", frame=0, threshold=0.3)
    assert set(lambdas.calls[0]) == {"image", "threshold", "function"}
    assert answer == [
        {
            "label": "0",
            "type": "rectangle",
            "points": [10.0, 10.0, 14.0, 16.0],
            "rotation": 0.0,
            "confidence": "0.9",
            "attributes": [],
        },
        {
            "label": "0",
            "type": "rectangle",
            "points": [30.0, 20.0, 36.0, 24.0],
            "rotation": 0.0,
            "confidence": "0.5",
            "attributes": [],
        },
        {
            "label": "tree",
            "type": "rectangle",
            "points": [0.0, 0.0, 60.0, 40.0],
            "rotation": 0.0,
            "confidence": "0.4",
            "attributes": [],
        },
    ]


def test_labels_of_the_detector_are_mapped(functions: list[Function]) -> None:
    lambdas = manager(functions)
    mapping = {"0": {"name": "tree"}}
    answer = call(lambdas, "c3det-detector", frame=0, mapping=mapping)
    assert [shape["label"] for shape in answer] == ["tree", "tree"]
    for wrong in ({"9a": {"name": "0"}}, {"0": {"name": "cat"}}, {"0": {"name": "1"}}):
        status, body = refusal(lambdas, "c3det-detector", frame=0, mapping=wrong)
        assert status == 400
        assert body.startswith("Invalid mapping.")


def test_2026_moves_the_detectors_boxes(functions: list[Function]) -> None:
    answer = call(manager(functions, "2026"), "c3det-detector", frame=0, roi=[20, 12, 60, 40])
    assert answer[0]["points"] == [30.0, 22.0, 34.0, 28.0]


def test_the_same_over_http(start: Callable[..., Emulator]) -> None:
    emulator = start("2026")
    task = emulator.store.add_task("t", ["0"], [("a.png", encoded_picture())])

    def post(data: dict[str, Any]) -> tuple[int, Any]:
        request = urllib.request.Request(
            f"{emulator.url}/api/lambda/functions/c3det",
            json.dumps(data).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    status, answer = post({**PLUGIN, "task": task.id})
    assert (status, len(answer["boxes"])) == (200, 4)
    status, answer = post({**BUILT_IN, "task": task.id, "pos_points": []})
    assert (status, answer[:30]) == (400, "400 Client Error: Bad Request ")
    with urllib.request.urlopen(f"{emulator.url}/api/lambda/functions", timeout=20) as listed:
        assert [f["id"] for f in json.load(listed)] == ["c3det", "c3det-detector"]

"""Exemplars through the function, which remembers none of them."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nuclio_sdk import Context
from PIL import Image

from c3det.clicks import Click, LabelledBox
from c3det.exemplars import THUMBNAIL, Exemplars, ExemplarsError
from c3det.predictor import Predictor, load
from serverless.exemplar_codec import (
    LABELS,
    dequantized,
    from_answer,
    from_request,
    quantized,
    to_request,
)
from serverless.main import handler
from serverless.protocol import (
    CarriedExemplars,
    EncodedExemplar,
    ExemplarsAnswer,
    ExemplarsRequest,
    PluginAnswer,
    PluginRequest,
    RequestError,
)
from tests.c3det.open.small import pixels, saved
from tests.serverless.fakes import context_of, encoded_picture, event, make_context

CLICKS = (Click(60, 50, 3), Click(20, 90, 7), Click(120, 30, 3, positive=False))
BOXES = (LabelledBox(30, 60, 60, 72, 7),)


def png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def answer_to(context: Context, request: ExemplarsRequest | PluginRequest) -> dict[str, Any]:
    response = handler(context, event(request.body()))
    assert response.status_code == 200
    return json.loads(response.body)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("open"))


@pytest.fixture(scope="module")
def predictor(weights: Path) -> Predictor:
    return load(weights)


FIRST = pixels(150, 200, 5)
SECOND = pixels(150, 200, 6)


def test_exemplars_of_one_replica_serve_another(predictor: Predictor, weights: Path) -> None:
    """As in one process, and in turn."""
    one, other = context_of(predictor), context_of(load(weights))
    answer = ExemplarsAnswer.read(answer_to(one, ExemplarsRequest(png(FIRST), CLICKS, BOXES)))
    assert (answer.weights, answer.progress) == (predictor.card.tensors, 1)
    wanted = predictor.open(FIRST).exemplars(CLICKS, LABELS, boxes=BOXES)
    assert wanted is not None
    got = from_answer(answer, LABELS, "frame 3")
    assert got.labels.tolist() == [3, 7, 3, 7]
    assert got.positive.tolist() == [True, True, False, True]
    assert np.array_equal(got.sizes, wanted.sizes)
    assert got.sizes[3].tolist() == [30, 12]
    assert np.array_equal(got.thumbnails, wanted.thumbnails)
    assert got.sources == ("frame 3",) * 4
    assert (
        np.abs(got.vectors - wanted.vectors).max()
        <= 0.502 / 127 * np.abs(wanted.vectors).max() + 1e-4
    )

    sent = to_request(got)
    assert list(from_request(sent, answer.weights)) == list(got)
    for clicks in ((), (Click(90, 20, 5),)):
        expected = predictor.open(SECOND).detect(clicks, 0.05, exemplars=got).detections
        assert {3, 7} & set(expected.labels.tolist())
        for context in (other, one, other):
            request = PluginRequest(png(SECOND), clicks, 0.05, sent)
            found = PluginAnswer.read(answer_to(context, request))
            assert found.error is None
            assert found.progress == 1
            assert [box.label for box in found.boxes] == expected.labels.tolist()
            points = np.array([box.points for box in found.boxes])
            assert np.allclose(points, expected.boxes, atol=0.01)
    assert len(one.user_data.cache) == 2
    lines = [fields["form"] for _, _, fields in one.logger.lines]
    assert lines == ["exemplars", "plugin", "plugin"]


def test_a_click_that_is_repeated_means_the_next_box(predictor: Predictor) -> None:
    """All of the repeats are answered by it, and it is their exemplar."""
    context = context_of(predictor)
    click, other = Click(60, 50, 3), Click(20, 90, 7)
    once = PluginAnswer.read(answer_to(context, PluginRequest(png(FIRST), (click, other), 0.0)))
    sent = (click, other, click)
    twice = PluginAnswer.read(answer_to(context, PluginRequest(png(FIRST), sent, 0.0)))
    (first,) = (box for box in once.boxes if 0 in box.clicks)
    (second,) = (box for box in twice.boxes if 0 in box.clicks)
    assert (second.clicks, second.score) == ((0, 2), 1)
    found = predictor.open(FIRST).detect([replace(click, choice=1), other], 0.0).detections
    assert second.points == pytest.approx(found.boxes[found.clicks == 0][0], abs=0.01)
    assert second.points != first.points
    answer = ExemplarsAnswer.read(answer_to(context, ExemplarsRequest(png(FIRST), sent)))
    wanted = predictor.open(FIRST).exemplars([replace(click, choice=1), other], LABELS)
    assert wanted is not None
    got = from_answer(answer, LABELS, "")
    assert got.sizes == pytest.approx(wanted.sizes[[0, 1, 0]], abs=1e-4)


def test_a_picture_is_searched_once_for_the_same_exemplars(predictor: Predictor) -> None:
    context = context_of(predictor)
    answer = ExemplarsAnswer.read(answer_to(context, ExemplarsRequest(png(FIRST), CLICKS)))
    sent = to_request(from_answer(answer, LABELS, ""))
    request = PluginRequest(png(SECOND), (), None, sent)
    first = PluginAnswer.read(answer_to(context, request))
    again = PluginAnswer.read(answer_to(context, request))
    assert (first.cache, again.cache) == ("miss", "hit")
    assert first.boxes == again.boxes
    assert again.timings_ms["encode"] < first.timings_ms["encode"]


def test_the_time_budget_goes_for_exemplars_too(predictor: Predictor) -> None:
    """Far clicks are in tiles of their own, one of which is read a request."""
    wide = png(pixels(100, 3000, 7))
    request = ExemplarsRequest(wide, (Click(20, 20, 1), Click(2900, 50, 1)))
    context = context_of(predictor, time_budget_seconds=0)
    answers = [ExemplarsAnswer.read(answer_to(context, request)) for _ in range(3)]
    assert [answer.progress for answer in answers] == [0.5, 1, 1]
    assert [len(answer.exemplars) for answer in answers] == [0, 2, 2]
    sent = to_request(from_answer(answers[-1], LABELS, ""))
    progress = []
    while not progress or progress[-1] < 1:
        asking = PluginRequest(wide, (), None, sent)
        progress.append(PluginAnswer.read(answer_to(context, asking)).progress)
    assert progress == sorted(set(progress))
    assert len(progress) > 2


def test_exemplars_of_other_weights_are_refused(predictor: Predictor) -> None:
    none = to_request(Exemplars.none("ab" * 32, 576))
    body = answer_to(context_of(predictor), PluginRequest(png(FIRST), (), None, none))
    assert body["c3det"] == 1
    assert body["error"]["code"] == "other_weights"
    assert body["error"]["message"] == (
        "the exemplars in neg_points are of other weights (their sha256 begins with abababababab) "
        f"than those of this function, untrained (with {predictor.card.tensors[:12]}): take them "
        "again"
    )


@pytest.mark.parametrize(
    ("vector", "code", "said"),
    [
        # As of a version that describes objects by other numbers.
        (bytes(20), "other_weights", "an exemplar has 18 numbers, and untrained takes"),
        (b"\x00\x7e" + bytes(576), "invalid", "vectors must be finite numbers"),  # NaN
        (b"\xff\x7b" + b"\x80" * 576, "invalid", "vectors must be finite numbers"),
    ],
)
def test_vectors_that_no_model_has(
    predictor: Predictor, vector: bytes, code: str, said: str
) -> None:
    digest = predictor.card.tensors[:12]
    sent = CarriedExemplars(digest, len(vector), (EncodedExemplar(0, True, 5, 5, vector),))
    body = answer_to(context_of(predictor), PluginRequest(png(FIRST), (), None, sent))
    assert (body["error"]["code"], body["error"]["field"]) == (code, "neg_points")
    assert said in body["error"]["message"]


def test_places_outside_the_picture_are_refused(predictor: Predictor) -> None:
    context = context_of(predictor)
    for request, field in (
        (ExemplarsRequest(png(FIRST), (Click(300, 3, 0),)), "pos_points[0]"),
        (ExemplarsRequest(png(FIRST), (), (LabelledBox(190, 3, 230, 9, 0),)), "pos_points[0]"),
    ):
        body = answer_to(context, request)
        assert (body["error"]["code"], body["error"]["field"]) == ("outside", field)


def test_a_closed_function_has_no_exemplars() -> None:
    context = make_context()
    picture = encoded_picture()
    carrying = PluginRequest(picture, (), None, CarriedExemplars("0" * 12, 2, ()))
    for request in (ExemplarsRequest(picture, (Click(1, 1, 0),)), carrying):
        body = answer_to(context, request)
        assert (body["c3det"], body["boxes"]) == (1, [])
        assert body["error"]["code"] == "unsupported"
        assert "takes no exemplars" in body["error"]["message"]
    assert context.user_data.predictor.opened == []


def test_a_second_quantization_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(50, 99)) * 10.0 ** rng.integers(-4, 4, (50, 1))).astype(np.float16)
    vectors[7] = 0
    once = quantized(vectors)
    assert {len(one) for one in once} == {101}
    back = dequantized(once, 101)
    assert quantized(back) == once
    most = np.abs(vectors).max(1, keepdims=True).astype(np.float32)
    assert (np.abs(back.astype(np.float32) - vectors) <= most * (0.5 / 127 + 1e-3) + 1e-6).all()
    assert (back[7] == 0).all()
    # 1.5 in half precision, and the share of 127 steps.
    assert quantized(np.array([[1.5, -0.75, 0]], np.float16)) == [b"\x00\x3e\x7f\xc0\x00"]


def test_thumbnails_that_cannot_be_read_are_black() -> None:
    shown = np.full((THUMBNAIL, THUMBNAIL, 3), 9, np.uint8)
    pictures = (png(shown), b"no picture", encoded_picture(7, 5))
    answer = ExemplarsAnswer(
        "m", "ab" * 32, tuple(EncodedExemplar(0, True, 2, 3, bytes(5), one) for one in pictures)
    )
    got = from_answer(answer, ["nut"], "")
    assert np.array_equal(got.thumbnails[0], shown)
    assert not got.thumbnails[1:].any()
    assert len(from_answer(replace(answer, exemplars=()), ["nut"], "")) == 0
    odd = EncodedExemplar(0, True, 2, 3, bytes(6), pictures[0])
    with pytest.raises(ExemplarsError, match="differ in length"):
        from_answer(replace(answer, exemplars=(*answer.exemplars, odd)), ["nut"], "")


@pytest.mark.parametrize("vector", [b"\x00\x7c\x01\x01", b"\x00\x01", b"\x01"])
def test_what_no_exemplar_has_is_the_fault_of_the_request(vector: bytes) -> None:
    sent = CarriedExemplars("0" * 12, len(vector), (EncodedExemplar(0, True, 5, 5, vector),))
    with pytest.raises(RequestError, match="in neg_points: the exemplars cannot be used"):
        from_request(sent, "ab" * 32)

"""Encode once, detect after every click: shrunk detectors with random weights, saved and loaded."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmdet.structures import DetDataSample
from numpy.typing import NDArray

from c3det.clicks import Click
from c3det.closed.architecture import Architecture, Fusion
from c3det.closed.mmdet_adapter import build_detector
from c3det.closed.model import ClosedModel
from c3det.closed.presets import Stages
from c3det.detections import answered_clicks, overruled
from c3det.predictor import Detections, Predictor, load
from c3det.weights import Card, WeightsError, card_path, digest, load_tensors, save
from tests.c3det.mutations import mutate
from tests.c3det.small import build, shrunk, small_detectors

CLASSES = ("tree", "0", "1")
SIZES = ((20.0, 24.0), (8.0, 12.0), (6.0, 10.0))
VARIANTS: list[tuple[Stages, Fusion]] = [
    ("one-stage", "plain"),
    ("one-stage", "early"),
    ("one-stage", "late"),
    ("one-stage", "c3det"),
    ("two-stage", "c3det"),
]


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    with small_detectors():
        yield


def saved(path: Path, stages: Stages, fusion: Fusion) -> Path:
    architecture = Architecture("starter", stages, fusion)
    card = Card(
        name="shrunk",
        classes=CLASSES,
        architecture=architecture,
        score_threshold=0.4,
        typical_sizes=SIZES,
        training={},
        results={},
        licence={},
    )
    save(path, build("starter", architecture.config(len(CLASSES))).state_dict(), card)
    return path


@pytest.fixture(scope="module", params=VARIANTS, ids="-".join)
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("weights") / "w.safetensors", *request.param)


@pytest.fixture(scope="module")
def predictor(weights: Path, device: str) -> Predictor:
    return load(weights, device)


@pytest.fixture(scope="module")
def c3det(tmp_path_factory: pytest.TempPathFactory, device: str) -> Predictor:
    folder = tmp_path_factory.mktemp("weights")
    return load(saved(folder / "w.safetensors", "one-stage", "c3det"), device)


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def random_clicks(number: int, height: int, width: int) -> list[Click]:
    draw = random.Random(number)
    return [
        Click(
            draw.uniform(0, width),
            draw.uniform(0, height),
            draw.randrange(len(CLASSES)),
            draw.random() < 0.8,
        )
        for _ in range(number)
    ]


def same(first: Detections, second: Detections) -> bool:
    fields = ("boxes", "scores", "labels", "clicks")
    return all(np.array_equal(getattr(first, f), getattr(second, f)) for f in fields)


@pytest.mark.parametrize("size", [(1, 1), (37, 501), (64, 64), (16, 15), (100, 3)])
def test_any_size_of_picture(predictor: Predictor, size: tuple[int, int]) -> None:
    height, width = size
    features = predictor.encode(picture(height, width))
    assert features.image_size == size
    assert all(
        side <= padded < side + 16 and padded % 16 == 0
        for side, padded in zip(size, features.input_size, strict=True)
    )
    clicks = [Click(width, height, 2), Click(width / 2, height / 2, 0), Click(0, 0, 1, False)]
    for found in (
        predictor.detect(features, [], 0),
        predictor.detect(features, clicks, 0),
        predictor.detect(features, clicks, 0, answer_clicks=False),
    ):
        assert found.boxes.dtype == found.scores.dtype == np.float32
        assert found.labels.dtype == found.clicks.dtype == np.int64
        assert found.boxes.shape == (len(found), 4)
        assert found.scores.shape == found.labels.shape == found.clicks.shape == (len(found),)
        assert (found.boxes >= 0).all()
        assert (found.boxes[:, [0, 2]] <= width).all()
        assert (found.boxes[:, [1, 3]] <= height).all()
        assert (found.boxes[:, :2] <= found.boxes[:, 2:]).all()
        assert (np.diff(found.scores) <= 0).all()


def test_features_are_frozen(predictor: Predictor) -> None:
    features = predictor.encode(picture(40, 56))
    assert isinstance(features.levels, tuple)
    with pytest.raises(FrozenInstanceError):
        features.levels = ()  # type: ignore[misc]
    before = [level.clone() for level in features.levels]
    first = predictor.detect(features, [])
    predictor.detect(features, random_clicks(7, 40, 56))
    assert all(torch.equal(a, b) for a, b in zip(features.levels, before, strict=True))
    assert same(predictor.detect(features, []), first)


def test_is_the_detector_on_the_normalised_padded_picture(
    predictor: Predictor, weights: Path
) -> None:
    image, clicks = picture(40, 56), [Click(20, 30, 1), Click(50, 3, 0)]
    got = predictor.detect(predictor.encode(image), clicks, 0, answer_clicks=False)

    card = predictor.card
    normalization = card.architecture.normalization
    rgb = (image - np.array(normalization["mean"])) / np.array(normalization["std"])
    padded = np.zeros((1, 3, 48, 64), np.float32)
    padded[0, :, :40, :56] = rgb.transpose(2, 0, 1)
    detector = build_detector(card.architecture.config(len(CLASSES)), normalization).eval()
    detector.load_state_dict(load_tensors(weights, card))
    sample = DetDataSample(
        metainfo=dict(img_shape=(40, 56), batch_input_shape=(48, 64), clicks=clicks)
    )
    with torch.no_grad():
        (sample,) = detector.predict(torch.from_numpy(padded), [sample], rescale=False)
    found = sample.pred_instances
    np.testing.assert_allclose(got.boxes, found.bboxes.numpy(), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(got.scores, found.scores.numpy(), rtol=1e-4)
    assert got.labels.tolist() == found.labels.tolist()
    assert set(got.clicks.tolist()) == {-1}


@pytest.mark.parametrize("number", [0, 1, 20, 300])
def test_every_positive_click_is_answered(predictor: Predictor, number: int) -> None:
    clicks = random_clicks(number, 60, 90)
    found = predictor.detect(predictor.encode(picture(60, 90)), clicks)
    later = dict(overruled(found, clicks))
    answers = answered_clicks(found, clicks)
    for index, click in enumerate(clicks):
        mine = [row for row, of_box in enumerate(answers) if index in of_box]
        assert len(mine) == (click.positive and index not in later)
        for row in mine:
            x1, y1, x2, y2 = found.boxes[row]
            assert (found.scores[row], found.labels[row]) == (1, click.label)
            assert x1 <= np.float32(click.x) <= x2
            assert y1 <= np.float32(click.y) <= y2


def test_a_negative_click_clears_its_place(predictor: Predictor) -> None:
    features = predictor.encode(picture(60, 90))
    (x1, y1, x2, y2), *_ = predictor.detect(features, [], 0).boxes
    x, y = float(x1 + x2) / 2, float(y1 + y2) / 2
    found = predictor.detect(features, [Click(x, y, 0, positive=False)], 0)
    inside = (found.boxes[:, :2] < [x, y]).all(1) & ([x, y] < found.boxes[:, 2:]).all(1)
    assert not inside.any()


def test_threshold(c3det: Predictor) -> None:
    features = c3det.encode(picture(60, 90))
    everything = c3det.detect(features, [], 0)
    middle = float(np.median(everything.scores))
    for threshold in (0, middle, 1):
        found = c3det.detect(features, [], threshold)
        assert same(found, everything.take(everything.scores >= threshold))
    assert same(c3det.detect(features, []), c3det.detect(features, [], 0.4))
    clicks = [Click(30, 30, 1)]
    assert c3det.detect(features, clicks, 1).clicks.tolist() == [0]


def test_clicks_move_the_output_of_the_model(c3det: Predictor) -> None:
    features = c3det.encode(picture(60, 90))
    without = c3det.detect(features, [], 0, answer_clicks=False)
    with_clicks = c3det.detect(features, [Click(30, 30, 1)], 0, answer_clicks=False)
    assert not same(without, with_clicks)


def test_pictures_as_numpy_may_hold_them(c3det: Predictor) -> None:
    image = picture(40, 56)
    wanted = c3det.encode(image)
    mirrored_twice = np.ascontiguousarray(image[:, ::-1])[:, ::-1]
    read_only = image.copy()
    read_only.setflags(write=False)
    for other in (mirrored_twice, read_only):
        got = c3det.encode(other)
        assert all(torch.equal(a, b) for a, b in zip(got.levels, wanted.levels, strict=True))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 1), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((3, 8, 8), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8, 3), np.uint16),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((8, 0, 3), np.uint8),
    ],
    ids=lambda image: f"{image.dtype}-{image.shape}",
)
def test_other_arrays_are_refused(c3det: Predictor, image: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="image must be a uint8 array of shape"):
        c3det.encode(image)


@pytest.mark.parametrize(("x", "y"), [(-0.1, 5), (5, -1), (56.5, 5), (5, 40.01)])
def test_click_outside_is_named(c3det: Predictor, x: float, y: float) -> None:
    features = c3det.encode(picture(40, 56))
    with pytest.raises(ValueError, match=r"click 1 is at .* outside the picture of 56 x 40"):
        c3det.detect(features, [Click(1, 1, 0), Click(x, y, 0)])


def test_unknown_label_and_threshold_are_named(c3det: Predictor) -> None:
    features = c3det.encode(picture(40, 56))
    with pytest.raises(ValueError, match="click 0 has label 3, but there are 3 classes"):
        c3det.detect(features, [Click(1, 1, 3)])
    for threshold in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="score_threshold must be between 0 and 1"):
            c3det.detect(features, [], threshold)


def test_predictor_has_classes_and_device_of_the_card(c3det: Predictor, device: str) -> None:
    assert c3det.classes == CLASSES
    assert c3det.card.typical_sizes == SIZES
    assert str(c3det.device) == device


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1j])
def test_tensors_that_are_no_numbers(value: complex, tmp_path: Path, c3det: Predictor) -> None:
    assert isinstance(c3det.model, ClosedModel)
    tensors = c3det.model.detector.state_dict()
    name = next(name for name in tensors if name.endswith(".bias"))
    tensors[name] = torch.full_like(
        tensors[name], value, dtype=torch.complex64 if value == 1j else torch.float32
    )
    save(tmp_path / "w.safetensors", tensors, c3det.card)
    with pytest.raises(WeightsError, match=f"w.safetensors are no finite numbers in {name}: train"):
        load(tmp_path / "w.safetensors")


def test_tensors_of_another_architecture(tmp_path: Path, c3det: Predictor) -> None:
    config = shrunk("starter", "one-stage", "plain")
    path = tmp_path / "w.safetensors"
    save(path, build("starter", config).state_dict(), c3det.card)
    with pytest.raises(WeightsError, match="do not fit the architecture in their card: export"):
        load(path)


@given(data=st.data())
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_is_in_a_card_is_refused_or_detects(
    c3det: Predictor, tmp_path: Path, data: st.DataObject
) -> None:
    path = tmp_path / "w.safetensors"
    if not path.exists():
        save(path, c3det.model.detector.state_dict(), c3det.card)
    tensors = hashlib.sha256(path.read_bytes()).hexdigest()
    content = json.loads(json.dumps({**asdict(c3det.card), "tensors": tensors}))
    mutate(data, content)
    with contextlib.suppress(ValueError):  # NaN and Infinity
        content["sha256"] = digest(content)
    card_path(path).write_text(json.dumps(content), encoding="utf-8")
    try:
        loaded = load(path)
    except WeightsError:
        return
    found = loaded.detect(loaded.encode(picture(32, 40)), [Click(8, 9, 0)])
    assert len(found) > 0


def test_missing_weights_are_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"is missing: put it beside none\.safetensors"):
        load(str(tmp_path / "none.safetensors"))

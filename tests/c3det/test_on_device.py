"""What a GPU does, on the device of ``--device``; on a CPU the same way, where it makes sense.

On a GPU late fusion is computed whole, on a CPU in windows: the fixtures here take the GPU's way
wherever they run.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from c3det.clicks import Click
from c3det.closed.architecture import Fusion
from c3det.closed.incremental import IncrementalDetector
from c3det.closed.presets import Preset, Stages
from c3det.devices import use_float32
from c3det.graphs import Recorded
from c3det.open.detector import OpenDetector
from c3det.open.model import OpenModel
from c3det.predictor import WARM_CLICKS, WARM_SIDES, Detections, Predictor, load
from tests.c3det.small import saved, small_detectors
from tests.c3det.test_picture import (
    VARIANTS,
    assert_same,
    edited_clicks,
    pixels,
    random_click,
    small_tiles,
    whole,
)

SHIPPED = Path(__file__).resolve().parents[2] / "serverless/weights/starter.safetensors"

PIXELS, SCORE = 0.02, 5e-4
"""How far the answers of a GPU may lie from the CPU's. Both compute in float32."""


def as_on_a_gpu(predictor: Predictor) -> Predictor:
    predictor.model.incremental = IncrementalDetector(predictor.model.detector, windows=False)
    return predictor


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda v: "-".join(map(str, v)))
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, device: str
) -> tuple[Predictor, Predictor]:
    """The same weights on the CPU and, computed as on a GPU, on the device."""
    folder = tmp_path_factory.mktemp("weights")
    there = saved(folder, *request.param, device)
    with small_detectors():
        return load(folder / "w.safetensors"), as_on_a_gpu(there)


@pytest.fixture(scope="module")
def shipped(device: str) -> Predictor:
    return as_on_a_gpu(load(SHIPPED, device))


def photo(side: int) -> np.ndarray[Any, Any]:
    """Bright squares of some sizes on noise: the shipped weights find something in it."""
    draw = np.random.default_rng(side)
    image = draw.integers(60, 110, (side, side, 3), np.uint8)
    for x, y, size in draw.integers(8, side - 40, (side // 8, 3)):
        width = 6 + size % 22
        image[y : y + width, x : x + width + size % 5] = draw.integers(120, 255, 3)
    return image


def clicks_on(image: np.ndarray[Any, Any], count: int, classes: int, seed: int = 0) -> list[Click]:
    draw = random.Random(seed)
    height, width = image.shape[:2]
    return [
        Click(draw.uniform(0, width), draw.uniform(0, height), draw.randrange(classes), i % 6 != 5)
        for i in range(count)
    ]


def assert_near(got: Detections, wanted: Detections, share: float = 1.0) -> None:
    """Both hold the same boxes; of those below a score of 0.3, at least a share."""
    for first, second in ((got, wanted), (wanted, got)):
        missing = 0
        for box, score, label in zip(first.boxes, first.scores, first.labels, strict=True):
            near = (
                (np.abs(second.boxes - box).max(1, initial=0) <= PIXELS)
                & (np.abs(second.scores - score) <= SCORE)
                & (second.labels == label)
            )
            if not near.any():
                missing += 1
                assert score < 0.3, f"{box} {score} {label} is in one answer only"
        assert missing <= (1 - share) * len(first)


@pytest.mark.parametrize("size", [(100, 130), (256, 200)])
def test_every_click_of_a_sequence_is_the_whole_computation(
    both: tuple[Predictor, Predictor], size: tuple[int, int]
) -> None:
    predictor = both[1]
    image = pixels(*size)
    picture = predictor.open(image)
    for clicks in edited_clicks(3, 8, size, more=20):
        assert_same(picture.detect(clicks, 0).detections, whole(predictor, image, clicks))
    assert_same(picture.detect([], 0).detections, whole(predictor, image, []))


@pytest.mark.parametrize("count", [0, 1, 20])
def test_serving_and_evaluation_find_what_the_cpu_finds(
    both: tuple[Predictor, Predictor], count: int
) -> None:
    cpu, there = both
    image = pixels(150, 190)
    clicks = clicks_on(image, count, 3)
    wanted = whole(cpu, image, clicks)
    assert_near(whole(there, image, clicks), wanted)
    assert_near(there.open(image).detect(clicks, 0).detections, wanted)
    assert_near(cpu.open(image).detect(clicks, 0).detections, wanted)


@pytest.mark.parametrize("count", [0, 1, 20])
def test_shipped_weights_find_what_they_find_on_the_cpu(shipped: Predictor, count: int) -> None:
    cpu = load(SHIPPED)
    image = photo(320)
    clicks = clicks_on(image, count, len(cpu.classes))
    wanted = cpu.detect(cpu.encode(image), clicks, 0.05)
    assert len(wanted) > count
    assert_near(shipped.detect(shipped.encode(image), clicks, 0.05), wanted, 0.99)
    assert_near(shipped.open(image).detect(clicks, 0.05).detections, wanted, 0.99)


def test_tiles_of_a_large_picture(shipped: Predictor) -> None:
    cpu = load(SHIPPED)
    image = photo(250)
    clicks = clicks_on(image, 5, len(cpu.classes))
    got = small_tiles(shipped, image).detect(clicks, 0.05)
    assert got.coverage == 1
    assert_near(got.detections, small_tiles(cpu, image).detect(clicks, 0.05).detections, 0.99)


def test_pictures_in_turn_answer_as_alone(shipped: Predictor) -> None:
    """One model, and recordings that are replayed for both."""
    images = [photo(96), photo(128)]
    classes = len(shipped.classes)
    shared = [shipped.open(image) for image in images]
    for number in range(8):
        image = images[number % 2]
        clicks = clicks_on(image, number, classes, seed=number)
        wanted = shipped.open(image).detect(clicks, 0.05).detections
        assert_near(shared[number % 2].detect(clicks, 0.05).detections, wanted)


def test_everything_is_in_float32_and_contiguous(shipped: Predictor) -> None:
    image = photo(96)
    with torch.inference_mode():
        tile = shipped.model.encode(image)
        shipped.model.incremental.draw_clicks(tile, [Click(20, 30, 1)])
        tensors = [*tile.values, *tile.joined, *tile.compared, *shipped.encode(image).levels]
    assert tensors
    for tensor in tensors:
        assert tensor.dtype == torch.float32
        assert tensor.is_contiguous()
        assert tensor.device.type == shipped.device.type


@pytest.fixture
def flags() -> Iterator[None]:
    backends = torch.backends
    before = backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32
    yield
    backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32 = before


@pytest.mark.usefixtures("flags")
def test_tf32_is_off() -> None:
    backends = torch.backends
    backends.cudnn.allow_tf32 = backends.cuda.matmul.allow_tf32 = True
    use_float32(torch.device("cpu"))
    assert backends.cudnn.allow_tf32
    use_float32(torch.device("cuda", 1))
    assert not backends.cudnn.allow_tf32
    assert not backends.cuda.matmul.allow_tf32


class Calls(TorchDispatchMode):
    """Counts the calls of torch's operators, and holds the shapes of convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.convolved: set[tuple[Any, ...]] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.count += 1
        if "conv" in str(func):
            self.convolved.add((tuple(args[0].shape), tuple(args[1].shape)))
        return func(*args, **kwargs or {})


def calls_of(work: Callable[[], Any]) -> Calls:
    calls = Calls()
    with calls:
        work()
    return calls


@pytest.mark.parametrize(
    ("preset", "stages", "fusion", "options"), [v for v in VARIANTS if v[2] == "c3det"]
)
def test_a_click_takes_as_many_calls_as_fifty(
    tmp_path: Path,
    device: str,
    preset: Preset,
    stages: Stages,
    fusion: Fusion,
    options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that nothing is made on the device for each click, and no shape is new to cuDNN."""
    monkeypatch.setattr("c3det.closed.regions._on_cpu", lambda level: False)
    monkeypatch.setattr("c3det.graphs._RECORD", False)
    predictor = as_on_a_gpu(saved(tmp_path, preset, stages, fusion, options, device))
    there = predictor.model.incremental
    image = pixels(128, 160)
    draw = random.Random(0)
    few = [random_click(draw, 128, 160) for _ in range(2)]
    many = [random_click(draw, 128, 160) for _ in range(60)]
    counted = []
    with torch.inference_mode():
        tile = there.encode(predictor.model.batch(image), (128, 160))
        for clicks in (few, many):
            positive = [click for click in clicks if click.positive]

            def answer(clicks: list[Click] = positive) -> None:
                templates = there.templates(tile, clicks)
                there.draw_clicks(tile, clicks)
                there.detect(tile, templates, [click.label for click in clicks])

            counted.append(calls_of(answer))
    assert counted[0].count == counted[1].count
    assert counted[0].convolved == counted[1].convolved
    assert counted[0].convolved


def test_warming_up_answers(shipped: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    opens = shipped.open
    monkeypatch.setattr(shipped, "open", lambda image: opened.append(image.shape) or opens(image))
    shipped.warm_up()
    sides = 1 if shipped.device.type == "cpu" else len(WARM_SIDES)
    assert len(opened) == sides * 2


@pytest.mark.parametrize("weights", ["open", "starter"])
def test_what_was_warmed_up_is_recorded_on_a_gpu(
    weights: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU, where there are no graphs, the work is called as it is."""
    predictor = load(SHIPPED.with_name(f"{weights}.safetensors"), device)
    recorded = recordings(predictor)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predictor.warm_up()
        on_a_gpu = predictor.device.type != "cpu"
        for one in recorded:
            assert bool(one._graphs) == on_a_gpu
            assert all(graph is not None for graph in one._graphs.values())
        known = [set(one._graphs) for one in recorded]
        image = photo(WARM_SIDES[-1])
        for count in WARM_CLICKS[1:]:
            predictor.open(image).detect(clicks_on(image, count, 4))
    assert known == [set(one._graphs) for one in recorded]


def recordings(predictor: Predictor) -> list[Recorded]:
    model = predictor.model
    if isinstance(model, OpenModel):
        return [model._recorded_templates, model._recorded_answer]
    incremental = model.incremental
    return [
        incremental._recorded_templates,
        incremental._recorded_fusion,
        incremental._recorded_heads,
        model.detector._read,
    ]


@pytest.mark.usefixtures("flags")
def test_an_open_model_on_a_gpu_computes_without_tf32(device: str) -> None:
    """Whoever makes one: serving, evaluation and adapting."""
    torch.backends.cudnn.allow_tf32 = True
    OpenModel(OpenDetector().to(device).eval())
    assert torch.backends.cudnn.allow_tf32 == (device == "cpu")


def test_with_and_without_graphs(shipped: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    image = photo(128)
    picture, answers = shipped.open(image), []
    for count in (1, 5, 70, 0, 64, 65):
        clicks = clicks_on(image, count, len(shipped.classes))
        answers.append((clicks, picture.detect(clicks, 0.05).detections))
    monkeypatch.setattr("c3det.graphs._RECORD", False)
    for clicks, answer in answers:
        assert_near(shipped.open(image).detect(clicks, 0.05).detections, answer)

"""A click of the open model as a GPU computes it, on the CPU and with ``--device`` on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from c3det.clicks import Click
from c3det.detections import Detections
from c3det.exemplars import Exemplar
from c3det.model import Template
from c3det.open import ridge
from c3det.open.compare import ExemplarBatch
from c3det.open.detector import CELL, LAYOUT, STRIDES, OpenDetector
from c3det.open.model import OpenModel
from c3det.open.slots import PADDING
from c3det.open.tile import OpenTile
from tests.c3det.open.small import load_of_one_scale, pixels, saved

HEIGHT, WIDTH = 150, 200


@pytest.fixture(scope="module")
def cpu(tmp_path_factory: pytest.TempPathFactory) -> OpenModel:
    model = load_of_one_scale(saved(tmp_path_factory.mktemp("open"))).model
    assert isinstance(model, OpenModel)
    return model


@pytest.fixture(scope="module")
def there(cpu: OpenModel, device: str) -> OpenModel:
    model = OpenModel(cpu.network.to(device), {})
    cpu.network.to("cpu")
    model.fixed_shapes = True
    return model


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with torch.inference_mode():
        monkeypatch.setattr(ridge, "_iterates", lambda gram: True)
        yield


@pytest.fixture(scope="module")
def tiles(cpu: OpenModel, there: OpenModel) -> tuple[OpenTile, OpenTile]:
    image = pixels(HEIGHT, WIDTH)
    with torch.inference_mode():
        return cpu.encode(image), there.encode(image)


def some_clicks(count: int, labels: int) -> list[Click]:
    draw = np.random.default_rng(count)
    return [
        Click(
            draw.uniform(0, WIDTH),
            draw.uniform(0, HEIGHT),
            row % labels,
            row % 5 != 4,
            choice=row % 3 if row % 5 != 4 else 0,
        )
        for row in range(count)
    ]


def answered(
    model: OpenModel,
    tile: OpenTile,
    clicks: list[Click],
    exemplars: list[tuple[Exemplar, Template]] | None = None,
) -> Detections:
    return model.detect(tile, model.templates(tile, clicks), clicks, exemplars or [])


def assert_equal(got: Detections, wanted: Detections) -> None:
    assert len(got) == len(wanted) > 10
    # Boxes of almost the same score may come in another order.
    near = np.abs(got.boxes[:, None] - wanted.boxes).max(2).argmin(0)
    assert len(set(near.tolist())) == len(wanted)
    got = got.take(near)
    assert np.abs(got.boxes - wanted.boxes).max() < 0.02
    assert np.abs(got.scores - wanted.scores).max() < 1e-4
    assert np.array_equal(got.labels, wanted.labels)
    assert np.array_equal(got.rivals, wanted.rivals)
    assert np.abs(got.rival_scores - wanted.rival_scores).max() < 1e-4


@pytest.mark.parametrize(("count", "labels"), [(1, 1), (3, 2), (12, 4), (30, 6)])
def test_padding_changes_nothing(
    cpu: OpenModel,
    there: OpenModel,
    tiles: tuple[OpenTile, OpenTile],
    count: int,
    labels: int,
) -> None:
    clicks = some_clicks(count, labels)
    assert_equal(answered(there, tiles[1], clicks), answered(cpu, tiles[0], clicks))


def test_nothing_clicked(
    cpu: OpenModel, there: OpenModel, tiles: tuple[OpenTile, OpenTile]
) -> None:
    assert_equal(there.detect(tiles[1], [], []), cpu.detect(tiles[0], [], []))


def test_exemplars_of_other_pictures(
    cpu: OpenModel, there: OpenModel, tiles: tuple[OpenTile, OpenTile]
) -> None:
    boxes = np.array([[20, 30, 44, 50], [90, 60, 110, 84]], np.float32)
    answers = []
    for model, tile in ((cpu, tiles[0]), (there, tiles[1])):
        described = [model.described(one) for one in model.templates_of_boxes(tile, boxes)]
        exemplars = [
            Exemplar(label, True, numbers.astype(np.float16).tobytes(), 24.0, 20.0)
            for label, (numbers, _) in enumerate(described)
        ]
        foreign = list(zip(exemplars, model.templates_of(exemplars), strict=True))
        answers.append(answered(model, tile, some_clicks(4, 2), foreign))
        answers.append(model.detect(tile, [], [], foreign))
    assert_equal(answers[2], answers[0])
    assert_equal(answers[3], answers[1])


def test_exchanged_slots_exchange_the_answers(
    there: OpenModel, tiles: tuple[OpenTile, OpenTile]
) -> None:
    clicks, names = some_clicks(12, 3), np.array([5, 0, 1])
    renamed = [replace(c, label=int(names[c.label])) for c in reversed(clicks)]
    wanted, got = (answered(there, tiles[1], some) for some in (clicks, renamed))
    assert len(wanted) > 10
    assert np.array_equal(got.boxes, wanted.boxes)
    assert np.array_equal(got.scores, wanted.scores)
    assert np.array_equal(got.labels, names[wanted.labels])
    assert np.array_equal(got.rivals, names[wanted.rivals])


def test_where_rounds_are_not_enough_it_starts_anew(
    there: OpenModel, tiles: tuple[OpenTile, OpenTile], monkeypatch: pytest.MonkeyPatch
) -> None:
    clicks = some_clicks(6, 2)
    wanted = answered(there, tiles[1], clicks)
    keys = []
    work = there._answer_at_once

    def watched(key: tuple[int, int], *inputs: Any) -> tuple[torch.Tensor]:
        keys.append(key)
        return work(key, *inputs)

    monkeypatch.setattr("c3det.open.model.ROUNDS", 1)
    monkeypatch.setattr(there, "_answer_at_once", watched)
    monkeypatch.setattr(there, "_recorded_answer", watched)
    assert_equal(answered(there, tiles[1], clicks), wanted)
    assert keys == [(4, 1), (4, 0)]


class Calls(TorchDispatchMode):
    """The operators that are called, with the shapes of their tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[Any, ...]]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        tensors = [one for one in args if isinstance(one, torch.Tensor)]
        self.found.append((str(func), tuple(tuple(one.shape) for one in tensors)))
        if "aten.index." in str(func):
            assert all(one is None or one.dtype == torch.int64 for one in args[1])
        return func(*args, **kwargs or {})


def rivals_on_a_gpu(batch: ExemplarBatch) -> torch.Tensor:
    return torch.arange(batch.negative.shape[1], device=batch.negative.device)


def calls_of(work: Callable[[], Any]) -> list[tuple[str, tuple[Any, ...]]]:
    with Calls() as calls:
        work()
    return calls.found


def test_what_is_recorded_neither_waits_nor_depends_on_the_clicks(
    there: OpenModel, tiles: tuple[OpenTile, OpenTile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No operator whose result the CPU has to see, none that copies from it, and fixed shapes."""
    monkeypatch.setattr("c3det.graphs._RECORD", False)
    monkeypatch.setattr(ExemplarBatch, "rivals", rivals_on_a_gpu)
    recorded: list[list[tuple[str, tuple[Any, ...]]]] = []
    works = {name: getattr(there, name) for name in ("_recorded_templates", "_recorded_answer")}
    for name, work in works.items():

        def watched(key: Any, *inputs: Any, work: Any = work) -> Any:
            found: list[Any] = []
            recorded.append(calls_of(lambda: found.append(work(key, *inputs))))
            return found[0]

        monkeypatch.setattr(there, name, watched)
    answered(there, tiles[1], some_clicks(2, 2))
    answered(there, tiles[1], some_clicks(16, 4))
    assert recorded[:2] == recorded[2:]
    for calls in recorded[:2]:
        names = {name.split(".")[1] for name, _ in calls}
        assert len(names) > 20
        waiting = {"nonzero", "is_nonzero", "_local_scalar_dense", "masked_select"}
        assert not names & (waiting | {"lift_fresh"})
        assert not any("solve" in name or "linalg_lu" in name for name in names)


def test_what_is_recorded_mixes_no_devices(
    cpu: OpenModel, tiles: tuple[OpenTile, OpenTile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it lies on the device. Tensors of the device "meta" have no numbers to wait for."""
    monkeypatch.setattr("c3det.open.model.folded", lambda network: network)
    model = OpenModel(OpenDetector().eval().to("meta"), {})
    tensors = [tensor.to("meta") for tensor in tiles[1].tensors]
    places = torch.empty(16, len(PADDING), device="meta")
    (cells, exemplars, logits) = model._templates_at_once(None, places[None, :, :3], *tensors)
    (answer,) = model._answer_at_once((4, 8), places, cells, exemplars, logits[:, 0], *tensors)
    assert answer.device.type == "meta"
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        answer.cpu()


def test_templates_are_as_long_as_the_model_says(
    there: OpenModel, tiles: tuple[OpenTile, OpenTile]
) -> None:
    """What pads them has the same shapes."""
    (template,) = there.templates(tiles[1], [Click(40, 50, 0)])
    numbers = there.network.region_embedding.out_features + LAYOUT + 2
    shapes = [tuple(part.shape) for part in template]
    assert shapes == [(len(STRIDES), CELL), (4 + numbers,), (1,)]
    assert shapes == [tuple(part.shape) for part in there._nothing]

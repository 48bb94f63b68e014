"""The benchmark of a training step."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from training.benchmark import step
from training.benchmark.__main__ import main
from training.benchmark.step import CLICKS, OBJECTS, batch, times


@pytest.fixture(autouse=True)
def _threads() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_its_clicks_lie_on_objects() -> None:
    (sample, _) = batch(2, 96)["data_samples"]
    assert len(sample.gt_instances) == OBJECTS
    assert len(sample.clicks) == CLICKS
    for click, box in zip(sample.clicks, sample.gt_instances.bboxes, strict=False):
        assert (click.x, click.y) == pytest.approx(((box[:2] + box[2:]) / 2).tolist())


def test_every_way_of_fusion_is_timed() -> None:
    torch.set_num_threads(1)
    seconds = times("starter", "one-stage", ("plain", "c3det"), 1, 64, 1)
    assert seconds.keys() == {"plain", "c3det"}
    assert min(seconds.values()) > 0


def test_ratios_are_to_the_plain_detector(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = {"plain": 0.2, "late": 0.22, "c3det": 0.25}
    monkeypatch.setattr(step, "times", lambda *_: seconds)
    mebibytes = {"plain": 100.0, "late": 110.0, "c3det": 120.0}
    monkeypatch.setattr(step, "alone", lambda _, preset, stages, fusion, *rest: mebibytes[fusion])
    main(["step", "--stages", "two-stage", "--threads", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("starter, 8 pictures of 256 px, 10 clicks each, 1 threads, ")
    assert lines[3].endswith("c3det:     250 ms a step (1.25 x plain),    120 MiB (1.20 x)")

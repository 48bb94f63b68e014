"""Training: the end-to-end run at 64 px, exact resume, the clock and the command line."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from training.open import train
from training.open.settings import COMPONENTS, OpenTrainingSettings
from training.open.step import StepSettings
from training.open.train import Run, parse

CPU = torch.device("cpu")
SMALL = OpenTrainingSettings(steps=4, batch=2, side=64, seed=3)


@pytest.mark.parametrize("reuse", [1, 2])
def test_a_resumed_run_equals_an_unbroken_one(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reuse: int
) -> None:
    small = replace(SMALL, reuse=reuse)
    Run(pool, tmp_path / "whole", small, StepSettings(), CPU, 0).train()

    broken = Run(pool, tmp_path / "broken", small, StepSettings(), CPU, 1)
    real_run = train.run

    def run_and_stop(*arguments):  # type: ignore[no-untyped-def]
        broken.stop = broken.step == 1
        return real_run(*arguments)

    monkeypatch.setattr(train, "run", run_and_stop)
    broken.train()
    monkeypatch.setattr(train, "run", real_run)
    record = json.loads((tmp_path / "broken" / "run.json").read_text())
    assert (record["steps"], record["finished"]) == (2, False)
    torch.manual_seed(99)
    resumed = Run(pool, tmp_path / "broken", small, StepSettings(), CPU, 0)
    assert resumed.step == 2
    assert resumed.seconds > 0
    resumed.train()

    first, second = (
        load_file(tmp_path / name / "model.safetensors") for name in ("whole", "broken")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    first, second = (
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["model"]
        for name in ("whole", "broken")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    record = json.loads((tmp_path / "broken" / "run.json").read_text())
    assert (record["steps"], record["pictures"], record["finished"]) == (4, 8, True)
    assert 0 <= record["share of time waited for pictures"] <= 1
    assert list((tmp_path / "broken").glob("events.out.tfevents.*"))

    # The averaged weights move, and stay behind.
    before = train._new_model(small, pool).state_dict()["neck.detail.0.weight"]
    averaged = torch.load(tmp_path / "broken" / "checkpoint.pt", weights_only=True)["averaged"]
    name = "neck.detail.0.weight"
    assert not torch.equal(averaged[name], second[name])
    assert not torch.equal(averaged[name], before)

    with pytest.raises(ValueError, match="is of a run with another rate, seed; name a new folder"):
        Run(
            pool,
            tmp_path / "broken",
            replace(small, seed=4, rate=2e-3),
            StepSettings(),
            CPU,
            0,
        )


def test_a_machine_without_tensorboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert train._scalars(tmp_path, 0) is None
    assert "TensorBoard is not installed" in capsys.readouterr().out


def test_the_schedule_follows_the_clock() -> None:
    by_clock = OpenTrainingSettings(minutes=10, rate=2.0)
    assert by_clock.share(step=7, seconds=150) == 0.25
    assert OpenTrainingSettings(steps=8).share(step=2, seconds=1e6) == 0.25
    assert by_clock.rate_at(299, 0.5) == pytest.approx(2 * (0.5 + 0.005))
    assert by_clock.rate_at(29, 0.0) == pytest.approx(0.1 * 2 * 1.005)
    assert by_clock.rate_at(1000, 1.0) == pytest.approx(0.01)


def test_sets_of_a_fold_are_left_out(pool: Path) -> None:
    assert OpenTrainingSettings().left_out(pool) == frozenset()
    assert OpenTrainingSettings(fold=1).left_out(pool) == {"toy"}
    assert OpenTrainingSettings(without="toy").left_out(pool) == {"toy"}
    with pytest.raises(ValueError, match="holds no real set boats"):
        OpenTrainingSettings(without="toy, boats").left_out(pool)
    with pytest.raises(ValueError, match="there is no real set of fold 5"):
        OpenTrainingSettings(fold=5).left_out(pool)


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_that_is_left_out_has_no_weight(
    pool: Path, tmp_path: Path, component: str
) -> None:
    settings = replace(SMALL, steps=2, leave_out=component)
    Run(pool, tmp_path, settings, StepSettings(), CPU, 0).train()
    weights = load_file(tmp_path / "model.safetensors")
    for name, inputs in COMPONENTS[component]:
        left_out = weights[name].clone()[:, inputs]
        assert left_out.numel()
        assert (left_out == 0).all()
        other = next(one for one in COMPONENTS if one != component)
        name, inputs = COMPONENTS[other][0]
        assert (weights[name][:, inputs] != 0).any()


def test_what_weights_to_start_from_do_not_have_begins_anew(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = train._new_model(SMALL, pool).state_dict()
    kept, narrower = "comparison.first.2.weight", "comparison.first.0.weight"
    weights = {name: value.half() + 1 for name, value in weights.items()}
    weights[narrower] = weights[narrower][:, 1:].contiguous()
    del weights["comparison.gain"]
    save_file(weights, tmp_path / "start.safetensors")
    started = train._new_model(replace(SMALL, start=str(tmp_path / "start.safetensors")), pool)
    state = started.state_dict()
    assert torch.equal(state[kept], weights[kept].float())
    assert state[narrower].shape[1] == weights[narrower].shape[1] + 1
    assert float(state["comparison.gain"]) == 6
    assert capsys.readouterr().out.endswith(f"begin anew: comparison.gain, {narrower}\n")

    save_file({"other": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="no weights of the open model"):
        train._new_model(replace(SMALL, start=str(tmp_path / "other.safetensors")), pool)


def test_the_command_line_is_made_from_the_settings() -> None:
    options = parse(["--pool", "p", "--out", "o", "--backbone-rate", "0.1", "--enforce", "0"])
    assert options.settings == OpenTrainingSettings(backbone_rate=0.1)
    assert options.step_settings == StepSettings(enforce=0)
    assert options.processes == max(1, (os.cpu_count() or 2) - 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"side": 100}, "side must be a multiple of 32"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"real": 1.5}, "real must be between 0 and 1"),
        ({"minutes": 0.0}, "minutes must be more than 0"),
        ({"leave_out": "all"}, "leave_out must be one of correlation, heatmaps, late-fusion"),
    ],
)
def test_impossible_settings(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OpenTrainingSettings(**change)  # type: ignore[arg-type]


def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"^training\.open\.train: .*manifest\.json"):
        train.main(["--pool", str(tmp_path / "none"), "--out", str(tmp_path / "run")])

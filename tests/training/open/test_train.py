"""Training: the end-to-end run at 64 px, exact resume, the clock and the command line."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from c3det.weights import card_path, read_card
from tests.c3det.open.small import saved
from training.open import train
from training.open.export import MODEL
from training.open.records import trained_sets
from training.open.settings import COMPONENTS, OpenTrainingSettings
from training.open.step import StepSettings
from training.open.train import Run, RunSettings

SMALL = OpenTrainingSettings(steps=4, batch=2, side=64, seed=3, bfloat16=False)


def a_run(
    pool: Path,
    out: Path,
    settings: OpenTrainingSettings = SMALL,
    *,
    device: str = "cpu",
    processes: int = 0,
) -> Run:
    how = RunSettings(pool=pool, out=out, device=device, processes=processes)
    return Run(how, settings, StepSettings())


def stopped_after(monkeypatch: pytest.MonkeyPatch, run: Run, step: int) -> None:
    """Train until a step, and stop as a signal does."""
    real_run = train.run

    def run_and_stop(*arguments: Any) -> Any:
        run.stop = run.step == step
        return real_run(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(train, "run", run_and_stop)
        run.train()


@pytest.mark.parametrize("reuse", [1, 2])
def test_a_resumed_run_equals_an_unbroken_one(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reuse: int
) -> None:
    small = replace(SMALL, reuse=reuse)
    a_run(pool, tmp_path / "whole", small).train()
    stopped_after(monkeypatch, a_run(pool, tmp_path / "broken", small, processes=1), 1)
    record = json.loads((tmp_path / "broken" / "run.json").read_text())
    assert (record["steps"], record["finished"]) == (2, False)
    torch.manual_seed(99)
    resumed = a_run(pool, tmp_path / "broken", small)
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
    assert record["pictures drawn"] == 8 // reuse
    assert "origin" not in record
    assert 0 <= record["share of time waited for pictures"] <= 1
    assert list((tmp_path / "broken").glob("events.out.tfevents.*"))

    # The averaged weights move, and stay behind.
    before = train._new_model(small, pool).state_dict()["neck.detail.0.weight"]
    averaged = torch.load(tmp_path / "broken" / "checkpoint.pt", weights_only=True)["averaged"]
    name = "neck.detail.0.weight"
    assert not torch.equal(averaged[name], second[name])
    assert not torch.equal(averaged[name], before)

    with pytest.raises(ValueError, match="is of a run with another rate, seed; name a new folder"):
        a_run(pool, tmp_path / "broken", replace(small, seed=4, rate=2e-3))


def test_training_on_a_device(
    pool: Path, tmp_path: Path, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(SMALL, reuse=2, bfloat16=device != "cpu")
    stopped_after(monkeypatch, a_run(pool, tmp_path, settings, device=device, processes=1), 1)
    resumed = a_run(pool, tmp_path, settings, device=device, processes=1)
    assert resumed.step == 2
    resumed.train()
    record = json.loads((tmp_path / "run.json").read_text())
    assert (record["steps"], record["finished"]) == (4, True)
    assert all(bool(one.isfinite().all()) for one in load_file(tmp_path / MODEL).values())
    # Written on another kind of device.
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True, map_location="cpu")
    checkpoint["inputs"]["kind of device"] = "xpu"
    torch.save(checkpoint, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="is of a run with another kind of device; name a new"):
        a_run(pool, tmp_path, settings, device=device)


@pytest.mark.parametrize("where", ["loss", "forward pass"])
def test_what_is_not_finite_changes_no_weight(
    pool: Path, tmp_path: Path, device: str, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    run = a_run(pool, tmp_path, device=device)
    run._start_processes()
    episode = run._replay.take(0, run._batches)
    run._train_step(episode, 1e-3)
    before = {
        title: {name: value.clone() for name, value in model.state_dict().items()}
        for title, model in (("model", run.model), ("averaged", run.averaged))
    }
    if where == "loss":
        real_run = train.run
        monkeypatch.setattr(
            train, "run", lambda *given: real_run(*given) | {"bad": run.model.dense.bias[0] * nan}
        )
    else:
        monkeypatch.setattr(
            "training.open.step.augmented", lambda images, *_: images.permute(0, 3, 1, 2) * nan
        )
    run._train_step(episode, 1e-3)
    assert run.step == 2
    for title, model in (("model", run.model), ("averaged", run.averaged)):
        for name, value in model.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                assert torch.equal(value, before[title][name]), (title, name)
    monkeypatch.undo()
    run._train_step(episode, 1e-3)
    assert not torch.equal(run.model.dense.bias, before["model"]["dense.bias"])


FAILING = """
import sys
from training.open import train

def fail(*arguments):
    raise RuntimeError("out of memory")

if sys.argv[1] == "a step":
    train.run = fail
else:
    train.Episodes.__getitem__ = fail
train.main(sys.argv[2:])
"""


@pytest.mark.parametrize("fails", ["a step", "a process that draws"])
def test_a_run_that_fails_ends(pool: Path, tmp_path: Path, fails: str) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-c", FAILING, fails, "--pool", str(pool), "--out", str(tmp_path)),
            *("--steps", "2", "--batch", "2", "--side", "64", "--processes", "2"),
            "--no-bfloat16",
        ],
        capture_output=True,
        text=True,
        timeout=100,  # most of it is the start of Python
        check=False,
        cwd=Path(__file__).resolve().parents[3],
    )
    assert done.returncode == 1
    assert "RuntimeError: out of memory" in done.stderr


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
    a_run(pool, tmp_path, settings).train()
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


def test_a_run_goes_on_with_the_same_pool_and_the_same_start_alone(
    pool: Path, tmp_path: Path
) -> None:
    start = tmp_path / "before" / MODEL
    a_run(pool, start.parent, replace(SMALL, steps=1)).train()
    settings = replace(SMALL, steps=1, start=str(start))
    a_run(pool, tmp_path / "run", settings).train()
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    origin = record["origin"]
    assert origin["weights"] == MODEL
    assert origin["sha256"] == hashlib.sha256(start.read_bytes()).hexdigest()
    first = json.loads((start.parent / "run.json").read_text())
    assert {name: origin[name] for name in first} == first
    assert trained_sets(record) == {"toy"}

    other = Path(shutil.copytree(pool, tmp_path / "pool"))
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps(manifest | {"bytes": 1}))
    with pytest.raises(ValueError, match="is of a run with another pool; name a new folder"):
        a_run(other, tmp_path / "run", settings)
    save_file({name: one + 1 for name, one in load_file(start).items()}, start)
    with pytest.raises(ValueError, match="is of a run with another start; name a new folder"):
        a_run(pool, tmp_path / "run", settings)


def test_the_start_may_have_a_card_or_nothing_beside_it(pool: Path, tmp_path: Path) -> None:
    start = saved(tmp_path)
    card = read_card(start)
    origin = train._origin(start)
    assert origin == card.training | {
        "licence": card.licence,
        "weights": start.name,
        "sha256": card.tensors,
    }
    card_path(start).unlink()
    assert train._origin(start) == {"weights": start.name, "sha256": card.tensors}
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ValueError, match=r"run\.json is not what training\.open\.train writes"):
        train._origin(start)


def test_what_weights_were_trained_on() -> None:
    record = {"trained on": {"real": {"a": {}, "b": {}, "c": {}}}, "without": ["c"]}
    assert trained_sets({}) == frozenset()
    assert trained_sets(record | {"settings": {"real": 0.5}}) == {"a", "b"}
    assert trained_sets(record | {"settings": {"real": 0.0}}) == frozenset()
    origin = {"trained on": {"real": {"d": {}}}, "without": [], "settings": {"real": 0.5}}
    assert trained_sets(record | {"settings": {"real": 0.5}, "origin": origin}) == {"a", "b", "d"}


def test_the_command_line_is_made_from_the_settings(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []

    class Fake:
        def __init__(self, *given: Any) -> None:
            found.extend(given)

        def train(self) -> None:
            pass

    monkeypatch.setattr(train, "Run", Fake)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    train.main(["--pool", "p", "--out", "o", "--backbone-rate", "0.1", "--enforce", "0"])
    how, settings, step_settings = found
    assert settings == OpenTrainingSettings(backbone_rate=0.1)
    assert step_settings == StepSettings(enforce=0)
    assert (how.device, how.processes) == ("cpu", max(1, train.usable_cores() - 1))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be chosen here")
def test_cores_that_the_process_may_not_use_do_not_count() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert train.usable_cores() == 1
        assert RunSettings(pool=Path("p"), out=Path("o")).processes == 1
    finally:
        os.sched_setaffinity(0, before)


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "none/manifest.json: no such file or directory"),
        (["--batch", "0"], "batch must be at least 1"),
        (["--processes", "-1"], "argument --processes: must be a whole number from 0"),
        (["--checkpoint-minutes", "0"], "--checkpoint-minutes: must be a number above 0"),
        (["--device", "gpu"], "argument --device: must be cpu, cuda, or such as cuda:1, not 'gpu'"),
        (["--device", "cuda:99"], "argument --device: there is no cuda:99: PyTorch"),
        (["--pool", "POOL", "--start", "broken"], "broken is not a safetensors file"),
        (["--pool", "POOL", "--start", "missing"], "missing: no such file or directory"),
    ],
)
def test_wrong_input_gives_one_sentence(
    pool: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken").write_bytes(b"PK no tensors")
    given = [str(pool) if one == "POOL" else one for one in arguments]
    with pytest.raises(SystemExit) as stopped:
        train.main(["--pool", "none", "--out", "run", *given])
    assert stopped.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("python -m training.open.train: ")
    assert message in line

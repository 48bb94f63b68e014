"""Training: what a killed run becomes, several processes, and what a run does not accept."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch._utils import ExceptionWrapper

from c3det.closed.architecture import Architecture, architecture
from c3det.closed.presets import Stages
from tests.c3det.small import build, small_detectors
from tests.training import small_runs
from training import train
from training.checkpoints import checkpoints, last_checkpoint
from training.clicks.sampling import parse_strategy
from training.data.annotated import Annotated
from training.data.picture_files import PictureError
from training.data.sets import load_set
from training.dataset import TrainingData, pack, unpack, vary_light
from training.settings import TrainingSettings
from training.train import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_runs.write_folder(tmp_path_factory.mktemp("squares"))


@pytest.fixture(scope="module")
def how(folder: Path) -> TrainingSettings:
    return small_runs.settings(
        folder, validate_every=2, validation_pictures=2, patience=10, clicks="errors", accumulate=2
    )


@pytest.fixture(scope="module")
def whole(how: TrainingSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole")
    assert small_runs.in_process(small_runs.run, out, how) == 0
    return out


@pytest.fixture(scope="module")
def killed(how: TrainingSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, killed at every moment of `small_runs.KILLS`, and ended at last."""
    out = tmp_path_factory.mktemp("killed")
    for moment in small_runs.KILLS:
        code = small_runs.in_process(small_runs.run, out, how, kill=moment)
        assert code == -signal.SIGKILL, moment
        assert checkpoints(out)[-1].name == "iter_4.pth", moment
    assert small_runs.in_process(small_runs.run, out, how) == 0
    return out


def same(first: Any, second: Any) -> bool:
    """Whether two nests of tensors, lists and dicts are equal to the last bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


def test_a_killed_run_ends_as_if_never_killed(whole: Path, killed: Path) -> None:
    first, second = last_checkpoint(whole), last_checkpoint(killed)
    assert first["meta"]["iter"] == second["meta"]["iter"] == 12
    for part in ("state_dict", "optimizer", "param_schedulers"):
        assert same(first[part], second[part]), part
    waited = [one["message_hub"]["runtime_info"]["early_stopping"] for one in (first, second)]
    assert waited[0] == waited[1]


def test_training_changes_what_is_not_frozen(whole: Path) -> None:
    early, late = (torch.load(path, weights_only=False) for path in checkpoints(whole))
    moved = {
        name
        for name, value in late["state_dict"].items()
        if not torch.equal(value, early["state_dict"][name])
    }
    assert any(name.startswith("roi_head.") for name in moved)
    assert any(name.startswith("click_fusion.") for name in moved)
    assert not any("running_" in name for name in moved)


def test_a_run_leaves_scalars_and_pictures_for_tensorboard(whole: Path) -> None:
    events = EventAccumulator(str(whole / "vis_data"))
    events.Reload()
    assert {"AP", "AP_0_clicks", "AP_5_clicks", "loss", "loss_uel"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("AP")] == [4, 8, 12]
    assert "picture_1_after_5_clicks" in events.Tags()["images"]


def test_what_a_run_says_of_itself(whole: Path, how: TrainingSettings) -> None:
    content = json.loads((whole / "training.json").read_text())
    assert content["classes"] == list(small_runs.CLASSES)
    assert content["settings"]["clicks"] == "errors"
    assert content["origin"] == "ImageNet"
    stored = json.loads((whole / "architecture.json").read_text())
    assert Architecture.read(stored) == Architecture("starter")


def test_another_run_in_the_same_folder_is_refused(
    whole: Path, how: TrainingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []
    monkeypatch.setattr(MMLogger, "callHandlers", lambda _, one: logged.append(one.getMessage()))
    with pytest.raises(ValueError, match=r"another training \(iterations 6 -> 7\): go on with"):
        small_runs.run(whole, replace(how, iterations=7))
    assert not any("torch.Size" in line for line in logged)


def test_a_run_does_not_go_on_from_a_checkpoint_that_runs_code(
    whole: Path, how: TrainingSettings, tmp_path: Path
) -> None:
    """mmengine unpickles all of it where it cannot read it safely."""
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    last = checkpoints(run)[-1]
    content = torch.load(last, weights_only=False)

    class Poison:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path}/touched",)

    torch.save({**content, "more": Poison()}, last)
    with pytest.raises(ValueError, match=r"iter_12.pth holds posix.system.* may run code"):
        small_runs.run(run, how)
    assert not (tmp_path / "touched").exists()


def test_picture_that_is_gone_is_told_in_one_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    shutil.copytree(folder, tmp_path / "set")
    for path in (tmp_path / "set").glob("train-*.png"):
        path.write_bytes(path.read_bytes()[:-50])
    monkeypatch.setattr("training.initialization.imagenet_mobilenet", lambda backbone: None)
    size = ["--size", "64", "--iterations", "1", "--batch", "1"]
    with small_detectors(small_runs.small), pytest.raises(SystemExit) as exit_:
        main(["--out", str(tmp_path / "run"), "--set", str(tmp_path / "set"), *size])
    assert exit_.value.code == 2
    assert ".png: the picture is cut off or broken" in capsys.readouterr().err.splitlines()[-1]


def test_early_stopping_ends_the_run_and_restarting_does_not_go_on(
    folder: Path, tmp_path: Path
) -> None:
    # With a rate of 0 nothing gets better: the first validation is the best one.
    how = small_runs.settings(
        folder, learning_rate=0.0, validate_every=1, patience=2, validation_pictures=1
    )
    for _ in range(2):
        small_runs.run(tmp_path, how)
        assert checkpoints(tmp_path)[-1].name == "iter_3.pth"


@pytest.fixture(scope="module")
def together(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of each kind of detector, for one step of two processes with two pictures each."""
    out = tmp_path_factory.mktemp("together")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*command, small_runs.__file__, str(out), str(folder)], env=environment, check=True
    )
    return out


@pytest.mark.parametrize("stages", ["one-stage", "two-stage"])
def test_two_processes_train_as_one(
    stages: Stages, together: Path, folder: Path, tmp_path: Path
) -> None:
    code = small_runs.in_process(
        small_runs.one_step, tmp_path, folder, stages, batch=4, launcher="none"
    )
    assert code == 0
    ours = together / stages
    losses = [json.loads((ours / f"losses-{rank}.json").read_text()) for rank in (0, 1)]
    expected = json.loads((tmp_path / "losses-0.json").read_text())
    expected.pop("acc", None)
    assert expected["loss_uel"] > 0
    for name, value in expected.items():
        assert (losses[0][name] + losses[1][name]) / 2 == pytest.approx(value, rel=1e-4), name
    assert losses[0]["loss"] != pytest.approx(losses[1]["loss"], rel=1e-3)
    # AdamW's first moment after one step is a tenth of the gradient.
    gradients = [last_checkpoint(out)["optimizer"]["state"] for out in (tmp_path, ours)]
    assert gradients[0].keys() == gradients[1].keys()
    for key, state in gradients[0].items():
        torch.testing.assert_close(
            gradients[1][key]["exp_avg"], state["exp_avg"], rtol=1e-3, atol=1e-6
        )


@pytest.mark.parametrize("stages", ["one-stage", "two-stage"])
def test_bfloat16_trains(folder: Path, tmp_path: Path, stages: Stages) -> None:
    how = small_runs.settings(folder, iterations=2, precision="bfloat16")
    small_runs.run(tmp_path, how, stages=stages)
    state = last_checkpoint(tmp_path)["state_dict"]
    assert all(value.isfinite().all() for value in state.values())
    head = "bbox_head.retina_cls" if stages == "one-stage" else "rpn_head.rpn_cls"
    assert state[f"{head}.weight"].dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "float16"}, "float16 needs a GPU"),
        ({"start": "nowhere"}, "there is no run nowhere"),
        ({"weights": "nowhere.safetensors"}, "the card nowhere.json is missing"),
        ({"patience": 2}, "stopping early needs validations"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"clicks": "wild"}, "there is no click strategy 'wild'"),
        ({"balance": 2.0}, "balance must be between 0 and 1"),
        ({"objects": 0}, "at least one object"),
        ({"sets": ("nowhere",)}, "there is no set 'nowhere'"),
        ({"weights": "w", "fusion": "late"}, "so --fusion cannot be chosen"),
        ({"correlation": '{"type": "os.system"}'}, "correlation.type is unknown"),
        ({"uel": '{"weight": NaN}'}, "uel.weight must be a number from 0 to 1000, not nan"),
        ({"sigma": 0}, "sigma must be a number from 0.1 to 100, not 0.0"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU changes what is refused")
def test_what_cannot_be_trained_is_told_in_one_line(
    changes: dict[str, Any], message: str, folder: Path, tmp_path: Path, capsys: Any
) -> None:
    sets = changes.pop("sets", (str(folder),))
    arguments = ["--out", str(tmp_path / "run"), "--set", *sets]
    for name, value in changes.items():
        arguments += [f"--{name}", str(value)]
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert message in lines[-1]
    assert not any(line.startswith("Traceback") for line in lines)


def test_classes_that_no_weights_can_have_are_told_before_the_training(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder, tmp_path / "set")
    for split in ("train", "val", "test"):
        path = tmp_path / "set" / f"{split}.json"
        content = json.loads(path.read_text())
        content["categories"][0]["name"] = "two\nlines"
        path.write_text(json.dumps(content))
    with pytest.raises(SystemExit) as exit_:
        main(["--out", str(tmp_path / "run"), "--set", str(tmp_path / "set"), "--iterations", "1"])
    assert exit_.value.code == 2
    assert "classes[0] must be a text of one line" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_has_one_start() -> None:
    with pytest.raises(ValueError, match="from another run or from weights, not from both"):
        TrainingSettings(sets=("trees",), start="a", weights="b")


def test_adding_clicks_slows_the_detector_down_by_default() -> None:
    changes = ({}, {"start": "b"}, {"start": "b", "trunk_rate": 0.0})
    found = [TrainingSettings(sets=("trees",), **one) for one in changes]
    assert [(one.trunk_rate, one.head_rate) for one in found] == [(1, 1), (0.2, 0.2), (0, 0.2)]


def grey(labels: list[int], ignored: list[bool]) -> Annotated:
    boxes = np.array([[4 * i, 0, 4 * i + 3, 3] for i in range(len(labels))], np.float32)
    return Annotated(
        "grey",
        np.full((8, 40, 3), 100, np.uint8),
        boxes.reshape(-1, 4),
        np.array(labels, np.int64),
        np.array(ignored, np.bool_),
    )


def test_ignored_objects_travel_apart_and_come_back() -> None:
    item = pack(grey([0, 1, 2], [False, True, False]), ())
    sample = item["data_samples"]
    assert sample.gt_instances.labels.tolist() == [0, 2]
    assert sample.ignored_instances.bboxes.tolist() == [[4, 0, 7, 3]]
    back = unpack(item["inputs"], sample)
    assert back.labels.tolist() == [0, 2, 1]
    assert back.ignored.tolist() == [False, False, True]
    assert back.image.shape == (8, 40, 3)


@pytest.mark.parametrize("stages", ["one-stage", "two-stage"])
def test_ignored_objects_give_no_loss(stages: Stages) -> None:
    """A detection in an ignored region costs nothing; in the background it does."""
    torch.manual_seed(0)
    config = small_runs.small(architecture("starter", 3, stages=stages))
    for part in (config["train_cfg"], config["train_cfg"].get("rpn", {})):
        if "sampler" in part and "num" in part["sampler"]:
            part["sampler"]["num"] = 10**6  # no random choice
    model = build("starter", config)
    model.train()
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    first, region = [8, 8, 24, 24], [30, 30, 64, 64]

    def losses(ignored: bool) -> torch.Tensor:
        boxes = [first, region] if ignored else [first]
        picture = Annotated(
            "one",
            image,
            np.array(boxes, np.float32),
            np.zeros(len(boxes), np.int64),
            np.array([False, True][: len(boxes)]),
        )
        item = pack(picture, ())
        batch = model.data_preprocessor(
            {"inputs": [item["inputs"]], "data_samples": [item["data_samples"]]}, True
        )
        levels = model.encode(batch["inputs"])
        levels = [level.detach().requires_grad_() for level in levels]
        model.encode = lambda images: tuple(levels)
        found = model.loss(batch["inputs"], batch["data_samples"])
        part = "loss_cls" if stages == "one-stage" else "loss_rpn_cls"
        sum(torch.as_tensor(one).sum() for one in found[part]).backward()
        # Strides of 4 px: cell (13, 13) lies at pixel 54, far inside the region.
        return levels[0].grad[0, :, 13, 13].abs().sum()

    encode = model.encode
    plain = losses(ignored=False)
    model.encode = encode
    spared = losses(ignored=True)
    assert spared < 0.2 * plain


def test_items_depend_on_seed_and_index_alone(folder: Path) -> None:
    pictures = load_set(str(folder))
    strategy = parse_strategy("mixed")
    first, again, other = (TrainingData(pictures, 9, seed, 48, strategy)[4] for seed in (3, 3, 4))
    assert torch.equal(first["inputs"], again["inputs"])
    assert first["data_samples"].clicks == again["data_samples"].clicks
    assert not torch.equal(first["inputs"], other["inputs"])


def test_clicks_of_an_item_lie_on_its_objects(folder: Path) -> None:
    data = TrainingData(load_set(str(folder)), 20, 0, 80, parse_strategy("uniform"))
    seen = 0
    for index in range(20):
        sample = data[index]["data_samples"]
        boxes, labels = sample.gt_instances.bboxes, sample.gt_instances.labels
        for click in sample.clicks:
            inside = (
                (boxes[:, 0] <= click.x)
                & (click.x <= boxes[:, 2])
                & (boxes[:, 1] <= click.y)
                & (click.y <= boxes[:, 3])
            )
            assert (labels[inside] == click.label).any()
            seen += 1
    assert seen > 20


def test_light_varies_within_its_bounds() -> None:
    even = np.full((4, 4, 3), 100, np.uint8)
    for seed in range(20):
        varied = vary_light(even, np.random.default_rng(seed)).astype(int)
        assert abs(varied - 100).max() <= 12
        assert np.ptp(varied, axis=(0, 1)).max() == 0


def test_a_picture_that_breaks_in_a_worker_process_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Breaks:
        def train(self) -> None:
            try:
                raise PictureError("a.png: the picture is cut off or broken")
            except PictureError:
                error = ExceptionWrapper(where="in DataLoader worker process 0")
            error.reraise()

    monkeypatch.setattr(train, "build_runner", lambda *arguments, **options: Breaks())
    with pytest.raises(SystemExit) as ended:
        main(["--set", "trees", "--out", str(tmp_path)])
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert message == "python -m training.train: a.png: the picture is cut off or broken\n"

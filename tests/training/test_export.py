"""From a run to the function's weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from c3det.predictor import Predictor, load
from tests.c3det.small import small_detectors
from tests.training import small_runs
from training.checkpoints import checkpoints, last_checkpoint, read_checkpoint
from training.data.sets import load_set
from training.export import (
    ClosedExportSettings,
    check_same,
    chosen_checkpoint,
    export,
    main,
    typical_sizes,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_runs.write_folder(tmp_path_factory.mktemp("squares"))


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    how = small_runs.settings(folder, validate_every=2, patience=9, validation_pictures=1)
    assert small_runs.in_process(small_runs.run, out, how) == 0
    return out


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    with small_detectors(small_runs.small):
        yield


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy to be spoilt."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_exported_weights_load_and_equal_the_best_checkpoint(run: Path, tmp_path: Path) -> None:
    weights = tmp_path / "squares.safetensors"
    how = ClosedExportSettings(
        run=run,
        out=weights,
        threshold=0.25,
        licence="CC0",
        limits=("It knows squares alone.",),
    )
    card = export(how)
    assert card.limits == ("It knows squares alone.",)
    assert card.classes == small_runs.CLASSES
    assert card.score_threshold == 0.25
    assert card.typical_sizes == ((16.0, 16.0),) * 3
    assert set(card.licence.values()) == {"CC0", "Apache-2.0", card.licence["initial backbone"]}
    (best,) = run.glob("best_AP_iter_*.pth")
    checkpoint = read_checkpoint(best)
    assert card.training["iterations done"] == checkpoint["meta"]["iter"]
    predictor = load(weights)
    assert predictor.card == card
    state = predictor.model.detector.state_dict()
    assert state.keys() == checkpoint["state_dict"].keys()
    assert all(torch.equal(state[name], value) for name, value in checkpoint["state_dict"].items())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "run",
        "squares.json",
        "squares.safetensors",
    ]


def test_a_run_that_cannot_stop_early_gives_its_last_checkpoint(run: Path, folder: Path) -> None:
    settings = small_runs.settings(folder)
    assert chosen_checkpoint(run, settings)["meta"]["iter"] == 6


def test_the_threshold_is_chosen_on_the_validation_pictures(run: Path, tmp_path: Path) -> None:
    card = export(ClosedExportSettings(run=run, out=tmp_path / "w.safetensors"))
    assert 0.05 <= card.score_threshold <= 0.95


def test_the_architecture_of_a_run_is_checked(run: Path, tmp_path: Path) -> None:
    (run / "architecture.json").write_text(json.dumps({"preset": "starter", "type": "os.system"}))
    with pytest.raises(ValueError, match=r"architecture\.type is unknown"):
        export(ClosedExportSettings(run=run, out=tmp_path / "w.safetensors", threshold=0.3))


def change_training(run: Path, **changes: Any) -> None:
    path = run / "training.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def spoil_a_tensor(run: Path) -> None:
    for path in [*run.glob("best_*.pth"), *checkpoints(run)]:
        content = read_checkpoint(path)
        content["state_dict"]["rpn_head.rpn_cls.bias"][0] = float("nan")
        torch.save(content, path)


def take_a_tensor_away(run: Path) -> None:
    for path in [*run.glob("best_*.pth"), *checkpoints(run)]:
        content = read_checkpoint(path)
        del content["state_dict"]["rpn_head.rpn_cls.bias"]
        torch.save(content, path)


def take_checkpoints_away(run: Path) -> None:
    for path in run.glob("*.pth"):
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_a_tensor, "has diverged: rpn_head.rpn_cls.bias is not finite"),
        (take_checkpoints_away, "has no checkpoint yet: train it first"),
        (shutil.rmtree, "there is no run"),
        (
            lambda run: change_training(run, classes=["red", "red", "blue"]),
            "CVAT needs class names that differ",
        ),
        (lambda run: change_training(run, settings={"sets": [], "x": 1}), "not what a run writes"),
        (lambda run: change_training(run, classes=3), "not what a run writes"),
        (lambda run: change_training(run, licence=3), "not what a run writes"),
        (lambda run: (run / "training.json").write_text("[]"), "training.json is not what a run"),
        (lambda run: (run / "architecture.json").write_text("{"), "architecture.json is not what"),
        (take_a_tensor_away, "is of another detector: Missing key(s)"),
        (
            lambda run: change_training(run, classes=["red", "green", "cyan"]),
            "has other classes now than",
        ),
    ],
)
def test_what_cannot_be_exported_is_told_in_one_line(
    spoil: Callable[[Path], None], message: str, run: Path, tmp_path: Path, capsys: Any
) -> None:
    spoil(run)
    out = tmp_path / "weights" / "w.safetensors"
    with pytest.raises(SystemExit) as exit_:
        main(["--run", str(run), "--out", str(out), "--threshold", "0.3"])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
    assert not out.exists()


@pytest.mark.parametrize("spoiled", ["boxes", "scores"])
def test_a_predictor_that_differs_is_refused(
    spoiled: str, run: Path, tmp_path: Path, folder: Path
) -> None:
    export(ClosedExportSettings(run=run, out=tmp_path / "w.safetensors", threshold=0.3))
    detector = load(tmp_path / "w.safetensors").model.detector
    predictor = load(tmp_path / "w.safetensors")
    pictures = load_set(str(folder)).val_pictures(1)
    assert max(check_same(detector, predictor, pictures)) < 1e-4

    class Off(Predictor):
        def detect(self, *args: Any, **kwargs: Any) -> Any:
            found = super().detect(*args, **kwargs)
            getattr(found, spoiled)[:] += 2e-3
            return found

    off = Off(predictor.model, predictor.card)
    with pytest.raises(ValueError, match="differs from the trained detector by"):
        check_same(detector, off, pictures)


def test_another_answer_on_the_way_that_serves_is_refused(run: Path, tmp_path: Path) -> None:
    """Seen on a GPU: the levels of the served way were read as if they lay otherwise in memory."""
    export(ClosedExportSettings(run=run, out=tmp_path / "w.safetensors", threshold=0.3))
    predictor = load(tmp_path / "w.safetensors")
    pictures = load_set(json.loads((run / "training.json").read_text())["settings"]["sets"][0])
    shown = pictures.val_pictures(1)
    check_same(predictor.model.detector, predictor, shown)
    encode = predictor.model.incremental.encode

    def scrambled(*args: Any) -> Any:
        tile = encode(*args)
        for index in predictor.model.incremental._joined:
            level = tile.values[index]
            tile.values[index] = level.permute(0, 2, 3, 1).reshape(level.shape)
        return tile

    predictor.model.incremental.encode = scrambled  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=r"what is served for .* boxes are in one of them alone"):
        check_same(predictor.model.detector, predictor, shown)


def test_a_predictor_of_other_weights_finds_other_objects(run: Path, tmp_path: Path) -> None:
    export(ClosedExportSettings(run=run, out=tmp_path / "w.safetensors", threshold=0.3))
    predictor, other = load(tmp_path / "w.safetensors"), load(tmp_path / "w.safetensors")
    with torch.no_grad():
        for parameter in other.model.detector.roi_head.parameters():
            parameter += torch.randn_like(parameter) * 0.1
    settings = json.loads((run / "training.json").read_text())["settings"]
    pictures = load_set(settings["sets"][0]).val_pictures(1)
    with pytest.raises(ValueError, match=r"than the trained detector|differs from the trained"):
        check_same(other.model.detector, predictor, pictures)


def test_typical_size_of_a_class_that_does_not_occur(folder: Path) -> None:
    class Rare:
        name, classes = "rare", (*small_runs.CLASSES, "black")
        train_crop = staticmethod(load_set(str(folder)).train_crop)

    assert typical_sizes(Rare(), 96, count=3) == ((16.0, 16.0),) * 4  # type: ignore[arg-type]


def test_a_set_without_objects_has_no_typical_size(folder: Path) -> None:
    class Empty:
        name, classes = "empty", small_runs.CLASSES

        def train_crop(self, size: int, rng: np.random.Generator) -> Any:
            whole = load_set(str(folder)).train_crop(size, rng)
            whole.ignored[:] = True
            return whole

    with pytest.raises(ValueError, match="3 training crops of empty hold no object"):
        typical_sizes(Empty(), 96, count=3)  # type: ignore[arg-type]


def test_last_checkpoint_is_complete(run: Path) -> None:
    assert {"state_dict", "optimizer", "message_hub", "meta"} <= last_checkpoint(run).keys()

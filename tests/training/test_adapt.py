"""The command that fits the open model to a job."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.torch import load_file

from c3det.clicks import Click
from c3det.predictor import load
from c3det.weights import read_card
from tests.c3det.open.small import pixels, saved
from training import adapt
from training.open.adapt import AdaptSettings, FitResult, Quality
from training.open.splitting import Split

ROOT = Path(__file__).resolve().parents[2]
XS = (4, 24, 44, 64)


def coco(folder: Path, done: int, empty: int = 0) -> Path:
    """A COCO file of pictures with four squares each, and of pictures without a box."""
    folder.mkdir(exist_ok=True)
    images, annotations = [], []
    for number in range(done + empty):
        name = f"{number}.png"
        image = pixels(64, 96, number)
        if number < done:
            for x in XS:
                image[20:32, x : x + 12] = (220, 30, 30)
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": 1,
                        "bbox": [x, 20, 12, 12],
                    }
                )
        Image.fromarray(image).save(folder / name)
        images.append({"id": number, "file_name": name, "width": 96, "height": 64})
    path = folder / "labels.json"
    categories = [{"id": 1, "name": "valve"}]
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return path


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], list[Any]]:
    """Let the fit find a quality before and after; returns what it was asked for."""

    def script(before: float, after: float) -> list[Any]:
        asked: list[Any] = []

        def fit(network: Any, split: Split, settings: AdaptSettings, log: Any) -> FitResult:
            asked.append((split, settings))
            network.dense.bias.data.add_(1.0)
            first, last = (Quality(value, value, None) for value in (before, after))
            return FitResult(network, 7, [(0, first), (7, last)], first, last, 12.34)

        monkeypatch.setattr(adapt, "fit", fit)
        return asked

    return script


def call(*arguments: object) -> object:
    """The exit status."""
    try:
        adapt.main(list(map(str, arguments)))
    except SystemExit as end:
        return end.code
    return 0


def test_weights_and_card_are_written_and_deploy(
    tmp_path: Path, found: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = found(20.0, 31.5)
    weights, out = saved(tmp_path), tmp_path / "new" / "Valves 2.safetensors"
    path = coco(tmp_path / "job", done=5, empty=3)
    assert call("coco", path, "--weights", weights, "--out", out, "--minutes", 3) == 0
    ((split, settings),) = asked
    assert settings.minutes == 3
    assert len(split.train) == 3, "two of five are kept aside, and pictures without a box left out"
    start, card = read_card(weights), read_card(out)
    assert (card.name, card.classes) == ("Valves 2", ())
    assert card.score_threshold == start.score_threshold
    assert card.training["adapted from"]["sha256"] == start.sha256
    about = card.training["adapted on"]
    assert (about["pictures"], about["classes"], about["format"]) == (5, ["valve"], "coco")
    assert about["kept aside to choose the step"] == ["1.png"]
    assert about["kept aside to tell the gain"] == ["3.png"]
    assert card.results["adapt"]["before"]["clicked"] == 20.0
    assert card.results["adapt"]["after"]["clicked"] == 31.5
    old, new = load_file(weights), load_file(out)
    assert old.keys() == new.keys()
    assert (new["dense.bias"] - old["dense.bias"]).float().numpy() == pytest.approx(1.0, abs=0.02)
    assert load(out).open(pixels(80, 90)).detect([Click(20, 20, 0)], 0) is not None
    assert sorted(one.name for one in out.parent.iterdir()) == [
        "Valves 2.json",
        "Valves 2.safetensors",
    ]
    told = capsys.readouterr().out
    assert "5 of 8 pictures are done" in told
    assert "after:  AP 31.5 after 3 clicks a class" in told
    # The command that is printed, but for the part that needs a CVAT.
    assert told.splitlines()[-1].endswith(f"deploy/deploy.sh --weights '{out}'")
    done = subprocess.run(
        [sys.executable, str(ROOT / "deploy" / "write_function.py"), "--weights", str(out)],
        capture_output=True,
        text=True,
        check=True,
    )
    function = yaml.safe_load(done.stdout)
    default = yaml.safe_load((ROOT / "function.yaml").read_text())
    assert function["metadata"]["name"] == f"{default['metadata']['name']}-valves-2"
    values = {one["name"]: one["value"] for one in function["spec"]["env"]}
    assert values["C3DET_WEIGHTS"].endswith("/Valves 2.safetensors")


@pytest.mark.parametrize("after", [20.0, 19.0])
def test_what_gained_nothing_is_refused(
    after: float, tmp_path: Path, found: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    found(20.0, after)
    weights, out = saved(tmp_path), tmp_path / "new" / "mine.safetensors"
    path = coco(tmp_path / "job", done=2)
    assert call("coco", path, "--weights", weights, "--out", out) == 1
    told = capsys.readouterr()
    assert "which chose the step too" in told.out
    (line,) = told.err.splitlines()
    assert line.startswith(
        "python -m training.adapt: nothing was gained on the pictures kept aside"
    )
    assert not list(out.parent.iterdir()), "nothing is left"


def test_a_picture_that_is_cut_in_two_counts_once(tmp_path: Path, found: Any) -> None:
    asked = found(1.0, 2.0)
    out = tmp_path / "mine.safetensors"
    path = coco(tmp_path / "job", done=1)
    assert call("coco", path, "--weights", saved(tmp_path), "--out", out) == 0
    ((split, _),) = asked
    assert (len(split.train), len(split.validation)) == (1, 1)
    assert read_card(out).training["adapted on"]["pictures"] == 1


def test_frames_are_chosen(tmp_path: Path, found: Any, capsys: pytest.CaptureFixture[str]) -> None:
    asked = found(1.0, 2.0)
    weights, out = saved(tmp_path), tmp_path / "mine.safetensors"
    path = coco(tmp_path / "job", done=5, empty=1)
    assert call("coco", path, "--weights", weights, "--out", out, "--frames", "3-5,0") == 0
    ((split, _),) = asked
    names = {one.name for side in (split.train, split.validation) for one in side}
    assert names == {"0.png", "3.png", "4.png"}
    capsys.readouterr()
    for frames, message in (
        ("5", "no picture is done: of 6 none that --frames names has a box"),
        ("2-6", "--frames names 6, but the last of the pictures, counted from 0, is 5"),
        ("5-2", "argument --frames: must be such as 0-9,12, not '5-2'"),
        ("a", "argument --frames: must be such as 0-9,12, not 'a'"),
    ):
        assert call("coco", path, "--weights", weights, "--out", out, "--frames", frames) == 2
        assert message in capsys.readouterr().err


def test_what_cannot_be_used_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = saved(tmp_path)
    path = coco(tmp_path / "job", done=0, empty=2)
    closed = ROOT / "serverless" / "weights" / "starter.safetensors"
    out = tmp_path / "mine.safetensors"
    for given, message in (
        (("--weights", weights, "--out", out), "no picture is done: of 2 none has a box"),
        (("--weights", weights, "--out", weights), "would be overwritten, which it starts from"),
        (("--weights", weights, "--out", tmp_path / "a.pt"), "--out must end in .safetensors"),
        (("--weights", closed, "--out", out), "are of the closed model"),
    ):
        assert call("coco", path, *given) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("python -m training.adapt: ")
        assert message in line
    assert not out.exists()


def test_few_of_many_large_pictures_are_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(adapt, "MOST_PIXELS", 3 * 96 * 64)
    from training.data.readers.coco import read_coco

    records = adapt.done(read_coco(coco(tmp_path / "job", done=7)).index, None)
    assert [one.name for one in adapt.load(records)] == ["0.png", "3.png", "6.png"]
    assert "3 of 7 done pictures are used" in capsys.readouterr().out


def test_it_fits_within_its_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights, out = saved(tmp_path), tmp_path / "mine.safetensors"
    path = coco(tmp_path / "job", done=2)
    status = call("coco", path, "--weights", weights, "--out", out, "--minutes", 0.01)
    told = capsys.readouterr().out
    assert 1 <= told.count(" steps: AP ") <= 4
    assert (status == 0) == out.exists()
    if status == 0:
        assert np.isfinite(load_file(out)["dense.bias"].numpy()).all()
    else:
        assert status == 1

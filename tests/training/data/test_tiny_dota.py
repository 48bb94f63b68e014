from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data import tiny_dota
from training.data.index import read_index
from training.data.splits import SPLITS, split_of

OPTIONS = ["--size", "100", "--gap", "20", "--processes", "1"]


@pytest.fixture
def dota(tmp_path: Path) -> list[str]:
    """Two parts of five pictures of 180 x 100, each with a ship, a difficult plane and a harbor."""
    parts = []
    for part in range(2):
        folder = tmp_path / f"part{part}"
        (folder / "images").mkdir(parents=True)
        (folder / "labelTxt").mkdir()
        for number in range(part * 5, part * 5 + 5):
            pixels = np.full((100, 180, 3), number, np.uint8)
            Image.fromarray(pixels).save(folder / "images" / f"P{number:04}.png")
            (folder / "labelTxt" / f"P{number:04}.txt").write_text(
                "imagesource:GoogleEarth\ngsd:0.2\n"
                "10 20 30 20 30 40 10 40 ship 0\n"
                "120 20 140 20 140 40 120 40 plane 1\n"
                "10 50 30 50 30 90 10 90 harbor 0\n"
            )
        parts.append(str(folder))
    return parts


def test_recipe(tmp_path: Path, dota: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "tiny"
    tiny_dota.main([*dota, "--out", str(out), "--strict", *OPTIONS])
    names: dict[str, set[str]] = {}
    for split in SPLITS:
        index = read_index(out / f"{split}.json")
        assert index.classes == tiny_dota.TINY_CLASSES
        names[split] = {record.name.partition("@")[0] for record in index.records}
        for record in index.records:
            name, _, window = record.name.partition("@")
            assert split_of(name) == split
            left = window == "0,0,100x100"
            assert left or window == "80,0,100x100"
            # The ship in the left tile, the plane in the right one.
            assert record.labels.tolist() == [4 if left else 0]
            assert record.boxes.tolist() == [[10, 20, 30, 40] if left else [40, 20, 60, 40]]
            assert record.ignored.tolist() == [not left]
            assert record.corners is not None
            assert record.load().image[0, 0, 0] == int(name[1:5])
        assert len(index.records) == 2 * len(names[split])
    assert sorted(set().union(*names.values())) == [f"P{number:04}.png" for number in range(10)]
    whole = {
        split: set(part) for split, part in json.loads((out / "split.json").read_text()).items()
    }
    assert whole == names
    assert "no defects" in capsys.readouterr().out


def test_split_of_an_earlier_run_is_taken_up(tmp_path: Path, dota: list[str]) -> None:
    split = {
        "train": [f"P{number:04}.png" for number in range(8)],
        "val": ["P0008.png"],
        "test": ["P0009.png"],
    }
    (tmp_path / "split.json").write_text(json.dumps(split))
    out = tmp_path / "tiny"
    tiny_dota.main([*dota, "--out", str(out), "--split", str(tmp_path / "split.json"), *OPTIONS])
    assert json.loads((out / "split.json").read_text()) == split
    tests = [record.name for record in read_index(out / "test.json").records]
    assert tests == ["P0009.png@0,0,100x100", "P0009.png@80,0,100x100"]
    again = tmp_path / "again"
    tiny_dota.main([*dota, "--out", str(again), "--split", str(out / "split.json"), *OPTIONS])
    for name in (*(f"{split}.json" for split in SPLITS), "split.json"):
        assert (again / name).read_bytes() == (out / name).read_bytes()


def test_no_data_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        tiny_dota.main([str(tmp_path / "gone"), "--out", str(tmp_path / "tiny")])
    assert exit_info.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        f"{tmp_path}/gone/images:1: there is no such folder",
        f"{tmp_path}/gone/labelTxt:1: there is no such folder",
        "training.data.tiny_dota: no picture is left, the defects above say why",
    ]

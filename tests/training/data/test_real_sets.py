"""The registry of real sets, its folds and splits, and `NOTICE`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.data.toy_sets import a_set
from training.data import notice, real_sets
from training.data.real_sets import folds, locate
from training.data.sources import SourceError


def test_registry_is_complete() -> None:
    sets = real_sets.real_sets()
    assert sum(not one.kept_aside for one in sets.values()) == 34
    for one in sets.values():
        assert one.kind in folds() or one.kept_aside
        assert one.repository.startswith("https://")
        assert len(one.commit) == 40
        assert len(one.annotations_sha256) == len(one.pictures_sha256) == 64
        assert min(map(len, (one.paths, one.licence_stated, one.attribution))) > 3
        assert bool(one.prepared) != bool(one.recipe)
    assert [one.name for one in sets.values() if one.test_only] == ["aerial_cars"]
    assert all("SA" not in one.licence or one.test_only for one in sets.values())


def test_every_kind_that_is_tested_on_has_one_of_two_folds() -> None:
    assert set(folds().values()) == {0, 1}
    sets = real_sets.real_sets()
    assert folds()[sets["coins_il"].kind] == folds()[sets["coins_ph"].kind] == 1
    assert folds()[sets["bccd_bloodcells"].kind] == folds()[sets["dsb2018_nuclei"].kind] == 0


def test_split_is_three_in_five_whatever_the_order() -> None:
    names = [f"{letter}.jpg" for letter in "abcdefg"]
    sides = a_set().is_trained(names[::-1])
    assert [sides[name] for name in names] == [True, False, True, False, True, True, False]


def test_pictures_of_one_scene_stand_on_one_side() -> None:
    names = ["a_1.jpg", "a_2.jpg", "b_1.jpg", "b_2.jpg", "c_1.jpg"]
    sides = a_set(scene="[a-z]").is_trained(names)
    assert sides == {
        "a_1.jpg": True,
        "a_2.jpg": True,
        "b_1.jpg": False,
        "b_2.jpg": False,
        "c_1.jpg": True,
    }


def test_test_only() -> None:
    assert a_set(test_only=True).is_trained(["a", "b"]) == {"a": False, "b": False}
    assert a_set(kept_aside=True).is_trained(["a", "b"]) == {"a": False, "b": False}
    assert a_set(test_pictures="b").is_trained(["a", "b"]) == {"a": True, "b": False}


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prepared set of two pictures, the only one of the registry."""
    folder = tmp_path / "toy"
    folder.mkdir()
    content = {
        "images": [
            {"id": 7, "file_name": "b.png", "width": 12, "height": 10},
            {"id": 8, "file_name": "a.png", "width": 12, "height": 10},
        ],
        "categories": [{"id": 3, "name": "ring"}, {"id": 5, "name": "dot"}],
        "annotations": [
            {"image_id": 8, "category_id": 5, "bbox": [1, 2, 3, 4]},
            {"image_id": 7, "category_id": 3, "bbox": [0, 0, 8, 8], "iscrowd": 1},
        ],
    }
    for name, value in (("a.png", 10), ("b.png", 20)):
        Image.new("RGB", (12, 10), (value, 0, 0)).save(folder / name)
    (folder / "annotations.json").write_text(json.dumps(content))
    pinned = hashlib.sha256((folder / "annotations.json").read_bytes()).hexdigest()
    registered = a_set(annotations_sha256=pinned)
    monkeypatch.setattr(real_sets, "real_sets", lambda: {"toy": registered})
    monkeypatch.setenv("C3DET_DATA", str(tmp_path))
    return folder


def test_load(toy: Path) -> None:
    classes, (picture,) = real_sets.load("toy", trained=True)
    assert classes == ["ring", "dot"]
    assert picture.name == "toy/a.png"
    assert picture.image[0, 0].tolist() == [10, 0, 0]
    np.testing.assert_array_equal(picture.boxes, [[1, 2, 4, 6]])
    assert picture.labels.tolist() == [1]
    _, (picture,) = real_sets.load("toy", trained=False)
    assert (picture.name, picture.ignored.tolist()) == ("toy/b.png", [True])


def test_locate_says_what_is_wrong(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert locate("toy") == toy
    with pytest.raises(SourceError, match="there is no real set 'boats', only toy"):
        locate("boats")
    (toy / "annotations.json").write_text("{}")
    earlier = hashlib.sha256(b"{}").hexdigest()
    with monkeypatch.context() as patched:
        registered = a_set(earlier_sha256=earlier)
        patched.setattr(real_sets, "real_sets", lambda: {"toy": registered})
        assert locate("toy") == toy
    with pytest.raises(SourceError, match=r"annotations\.json has sha256 44136fa3"):
        locate("toy")
    (toy / "annotations.json").unlink()
    with pytest.raises(SourceError, match="the real set toy is not in"):
        locate("toy")
    monkeypatch.delenv("C3DET_DATA")
    with pytest.raises(SourceError, match="set C3DET_DATA to the folder"):
        locate("toy")


def test_notice_is_up_to_date() -> None:
    written = notice.PATH.read_text(encoding="utf-8")
    assert written == notice.notice(), "run: python -m training.data.notice"
    assert "hdBPMN by dwslab" in written
    assert "aerial_cars" not in written

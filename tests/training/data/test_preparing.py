"""Preparing a real set of a repository's files."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.data.toy_sets import a_set
from training.data import real_sets
from training.data.preparing import Recipe, prepare
from training.data.real_sets import RealSet
from training.data.sources import SourceError

YOLO = Recipe("yolo", ("all/data.yaml",), fetched=("all",))


def write_picture(folder: Path, name: str, side: int, lines: list[str]) -> None:
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), (90, 60, 30)).save(folder / "images" / f"{name}.png")
    (folder / "labels" / f"{name}.txt").write_text("\n".join(lines))


def boxes_of(side: float, count: int, label: int = 0) -> list[str]:
    """Lines of squares in a row, in shares of the picture."""
    return [f"{label} {0.1 + 0.1 * n:.3f} 0.5 {side} {side}" for n in range(count)]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Pictures of three scenes, one of them twice, one without an object."""
    folder = tmp_path / "raw"
    data = "names: [bean, stone, plate]\ntrain: images\n"
    write_picture(folder / "all", "a_1", 800, [*boxes_of(0.1, 6), "2 0.5 0.5 1 1"])
    write_picture(folder / "all", "a_2", 800, boxes_of(0.1, 6))
    write_picture(folder / "all", "b_1", 400, boxes_of(0.05, 5, label=1))
    write_picture(folder / "all", "c_1", 400, boxes_of(0.1, 2))
    write_picture(folder / "all", "empty", 400, [])
    (folder / "all" / "data.yaml").write_text(data)
    (folder / "weights.bin").write_text("large, and not needed")
    return folder


def written(out: Path) -> dict[str, list[list[float]]]:
    """Boxes ``x, y, width, height, category`` of the pictures of a prepared set, by name."""
    content = json.loads((out / "annotations.json").read_text())
    found: dict[str, list[list[float]]] = {one["file_name"]: [] for one in content["images"]}
    names = {one["id"]: one["file_name"] for one in content["images"]}
    for one in content["annotations"]:
        found[names[one["image_id"]]].append([*one["bbox"], one["category_id"]])
    return found


def test_pictures_become_smaller_and_boxes_with_them(repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(replace(YOLO, drop=("plate",)), repository, out)
    boxes = written(out)
    assert sorted(boxes) == [f"images-{name}.jpg" for name in ("a_1", "a_2", "b_1", "c_1")]
    assert sum(map(len, boxes.values())) == 6 + 6 + 5 + 2
    # The median object, of 80 px, becomes one of 34, and with it all pictures smaller.
    assert Image.open(out / "images-a_1.jpg").size == (340, 340)
    assert Image.open(out / "images-b_1.jpg").size == (170, 170)
    np.testing.assert_allclose(boxes["images-a_1.jpg"][0], [17, 153, 34, 34, 1], atol=0.02)
    np.testing.assert_allclose(boxes["images-b_1.jpg"][0], [12.75, 80.75, 8.5, 8.5, 2], atol=0.02)


def test_a_recipe_may_say_the_scale(repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(replace(YOLO, drop=("plate",), scale=0.9), repository, out)
    # 20 px become 18, but where objects would still be large they become 40 px.
    assert Image.open(out / "images-b_1.jpg").size == (360, 360)
    assert Image.open(out / "images-a_1.jpg").size == (400, 400)
    np.testing.assert_allclose(written(out)["images-a_1.jpg"][0], [20, 180, 40, 40, 1], atol=0.02)


def test_names_may_be_shortened(repository: Path, tmp_path: Path) -> None:
    recipe = replace(YOLO, drop=("plate",), pictures="images-[ab]", name="images-(.)_1")
    prepare(recipe, repository, tmp_path / "out")
    assert sorted(written(tmp_path / "out")) == ["a.jpg", "b.jpg", "images-a_2.jpg"]
    with pytest.raises(ValueError, match=r"two pictures would be called a\.jpg"):
        prepare(replace(recipe, name="images-(.)"), repository, tmp_path / "none")


def test_a_margin_is_cut_off(repository: Path, tmp_path: Path) -> None:
    recipe = replace(YOLO, drop=("plate",), pictures="images-b", margin=45, scale=1.0)
    prepare(recipe, repository, tmp_path / "out")
    boxes = written(tmp_path / "out")["images-b_1.jpg"]
    assert Image.open(tmp_path / "out/images-b_1.jpg").size == (310, 310)
    # The first of five, from 30 to 50 px, has lost most of it.
    np.testing.assert_allclose(boxes[0], [25, 145, 20, 20, 2], atol=0.02)
    assert len(boxes) == 4


def test_a_second_picture_of_a_scene_comes_last(repository: Path, tmp_path: Path) -> None:
    recipe = replace(YOLO, drop=("plate",), most=3)
    prepare(recipe, repository, tmp_path / "out", lambda name: name[:8])
    assert len({name[:8] for name in written(tmp_path / "out")}) == 3
    # Usual numbers of objects come before others.
    prepare(replace(recipe, most=2), repository, tmp_path / "two", lambda name: name[:8])
    assert {name[:8] for name in written(tmp_path / "two")} == {"images-a", "images-b"}


def test_the_same_input_gives_the_same_set(repository: Path, tmp_path: Path) -> None:
    recipe = replace(YOLO, most=2)
    first, second = (prepare(recipe, repository, tmp_path / name) for name in ("x", "y"))
    assert first == second
    Image.new("RGB", (800, 800)).save(repository / "all/images/a_1.png")
    third = prepare(replace(recipe, pictures="images-a"), repository, tmp_path / "z")
    assert third.pictures_sha256 != first.pictures_sha256


def test_classes_are_renamed_joined_and_dropped(repository: Path, tmp_path: Path) -> None:
    recipe = replace(YOLO, rename={"bean": "thing", "stone": "thing"}, drop=("plate",))
    prepare(recipe, repository, tmp_path / "out")
    content = json.loads((tmp_path / "out/annotations.json").read_text())
    assert [one["name"] for one in content["categories"]] == ["thing"]
    with pytest.raises(ValueError, match="there is no class 'pea', only bean, stone, plate"):
        prepare(replace(YOLO, drop=("pea",)), repository, tmp_path / "none")


def test_double_boxes_become_one(repository: Path, tmp_path: Path) -> None:
    twice = [*boxes_of(0.1, 5), "1 0.105 0.5 0.1 0.1", "0 0.15 0.5 0.1 0.1"]
    write_picture(repository / "all", "b_1", 400, twice)
    recipe = replace(YOLO, drop=("plate",), pictures="images-b")
    for doubles, count in ((None, 7), (0.5, 6), (0.3, 5)):
        out = tmp_path / str(doubles)
        prepare(replace(recipe, doubles=doubles), repository, out)
        boxes = written(out)["images-b_1.jpg"]
        assert [len(boxes), boxes[0][4]] == [count, 1]


def test_two_pictures_of_one_name_are_refused(repository: Path, tmp_path: Path) -> None:
    Image.new("RGB", (400, 400)).save(repository / "all/images/b_1.jpg")
    with pytest.raises(ValueError, match=r"two pictures would be called images-b_1\.jpg"):
        prepare(YOLO, repository, tmp_path / "out")


def test_nothing_left(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no picture of all/data\.yaml is large enough"):
        prepare(replace(YOLO, pictures="other"), repository, tmp_path / "out")
    # A picture of one object that fills it would become too small to be of use.
    with pytest.raises(ValueError, match="is large enough or has objects"):
        prepare(replace(YOLO, drop=("bean", "stone")), repository, tmp_path / "out")


@pytest.fixture
def registered(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RealSet:
    """The only set of the registry, with the repository under git."""
    monkeypatch.setenv("C3DET_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("C3DET_DATA", raising=False)
    person = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "--quiet"], ["add", "."], [*person, "commit", "--quiet", "-m", "x"]):
        subprocess.run(["git", "-C", str(repository), *arguments], check=True)
    shown = subprocess.run(
        ["git", "-C", str(repository), "rev-parse", "HEAD"], capture_output=True, check=True
    )
    made = prepare(YOLO, repository, tmp_path / "expected")
    one = a_set(
        "beans",
        repository=f"file://{repository}",
        commit=shown.stdout.decode().strip(),
        annotations_sha256=made.annotations_sha256,
        pictures_sha256=made.pictures_sha256,
        recipe=YOLO,
    )
    monkeypatch.setattr(real_sets, "real_sets", lambda: {"beans": one})
    return one


def test_make_fetches_and_prepares(
    registered: RealSet,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(SourceError, match=r"is not prepared: python -m training\.data\.real_sets"):
        real_sets.locate("beans")
    monkeypatch.setattr("sys.argv", ["real_sets"])
    real_sets.main()
    folder = real_sets.locate("beans")
    assert f"beans: {folder}" in capsys.readouterr().out
    assert real_sets.make("beans") == folder
    assert {path.name for path in real_sets.download("beans").iterdir()} == {".git", "all"}
    _, pictures = real_sets.load("beans", trained=True)
    assert 0 < len(pictures) < len(written(folder))


def test_a_wrong_recipe_is_a_sentence(
    registered: RealSet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = replace(registered, recipe=replace(YOLO, drop=("pea",)))
    monkeypatch.setattr(real_sets, "real_sets", lambda: {"beans": one})
    monkeypatch.setattr("sys.argv", ["real_sets"])
    with pytest.raises(SystemExit):
        real_sets.main()
    message = "the recipe of beans does not fit its files: there is no class 'pea', only bean"
    assert message in capsys.readouterr().err


def test_make_refuses_what_is_not_pinned(
    registered: RealSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = replace(registered, pictures_sha256="0" * 64)
    monkeypatch.setattr(real_sets, "real_sets", lambda: {"beans": one})
    with pytest.raises(SourceError, match="beans as prepared has annotations_sha256"):
        real_sets.make("beans")
    with pytest.raises(SourceError, match="is not prepared"):
        real_sets.locate("beans")

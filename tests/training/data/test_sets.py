"""Picture sets by name and by folder, alone and joined."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training import small_runs
from tests.training.data.toy_sets import a_set
from training.data import real_sets
from training.data.annotated import Annotated, Index, Record
from training.data.index import read_index, write_index
from training.data.real_sets import RealSet
from training.data.sets import (
    CompositeSet,
    FewObjects,
    FolderSet,
    MixedSet,
    PictureSet,
    TreesSet,
    load_set,
    load_sets,
    random_window,
    rename,
    split_spec,
)


def blank(width: int, height: int, boxes: Sequence[Sequence[float]] = ()) -> Annotated:
    return Annotated(
        "blank",
        np.zeros((height, width, 3), np.uint8),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.zeros(len(boxes), np.int64),
    )


class Toy(PictureSet):
    """Gives pictures of one object of each class."""

    rotatable = False

    def __init__(self, name: str, *classes: str) -> None:
        self.name, self.classes, self.counted = name, classes, classes[:1]
        self.licence = {name: "free"}

    def train_crop(self, size: int, rng: np.random.Generator) -> Annotated:
        picture = blank(size, size, [[0, 0, 4, 4]] * len(self.classes))
        return replace(picture, name=self.name, labels=np.arange(len(self.classes)))

    def val_pictures(self, limit: int) -> Sequence[Annotated]:
        return [self.train_crop(8, np.random.default_rng(0))] * limit


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_runs.write_folder(tmp_path_factory.mktemp("squares"))


def test_a_mixed_set_numbers_classes_by_name() -> None:
    mixed = MixedSet([Toy("a", "tree", "car"), Toy("b", "car", "ship", "tree")], [0.5, 0.5])
    assert mixed.name == "a+b"
    assert mixed.classes == ("tree", "car", "ship")
    assert mixed.counted == ("tree", "car")
    assert mixed.licence == {"a": "free", "b": "free"}
    rng = np.random.default_rng(0)
    seen = {
        crop.name: crop.labels.tolist() for crop in (mixed.train_crop(8, rng) for _ in "123456")
    }
    assert seen == {"a": [0, 1], "b": [1, 2, 0]}
    assert [one.name for one in mixed.val_pictures(3)] == ["a", "a", "b"]


def test_parts_are_drawn_as_often_as_told() -> None:
    mixed = MixedSet([Toy("a", "x"), Toy("b", "x")], [0.8, 0.2])
    rng = np.random.default_rng(0)
    drawn = Counter(mixed.train_crop(4, rng).name for _ in range(1000))
    assert drawn["a"] == pytest.approx(800, abs=50)


def test_specs_share_what_is_left(folder: Path) -> None:
    joined = load_sets([f"{folder}=0.6", str(folder), str(folder)])
    assert isinstance(joined, MixedSet)
    assert joined._weights.tolist() == pytest.approx([0.6, 0.2, 0.2])
    assert isinstance(load_sets([str(folder)]), FolderSet)


@pytest.mark.parametrize("fractions", [(0.5, 0.6), (0.5, 0.4), (-0.5, 1.5)])
def test_specs_must_add_up(fractions: tuple[float, float], folder: Path) -> None:
    with pytest.raises(ValueError, match="does not add up to 1"):
        load_sets([f"{folder}={fraction}" for fraction in fractions])


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("trees", ("trees", None)),
        ("trees=0.25", ("trees", 0.25)),
        ("my=set", ("my=set", None)),
        ("my=set=1", ("my=set", 1.0)),
        ("=1", ("=1", None)),
    ],
)
def test_a_spec_may_say_how_often(spec: str, expected: tuple[str, float | None]) -> None:
    assert split_spec(spec) == expected


@pytest.mark.parametrize("spec", ["nowhere", ""])
def test_an_unknown_set_is_refused(spec: str) -> None:
    with pytest.raises(ValueError, match=r"there is no set .*: name composite, trees, a real set"):
        load_set(spec)


def test_a_folder_gives_its_splits(folder: Path) -> None:
    pictures = load_set(str(folder))
    assert pictures.classes == pictures.counted == small_runs.CLASSES
    assert [one.name for one in pictures.val_pictures(2)] == ["val-0", "val-1"]
    assert [one.name for one in pictures.test_pictures()] == ["test-0", "test-1", "test-2"]
    crop = pictures.train_crop(48, np.random.default_rng(0))
    assert crop.image.shape == (48, 48, 3)


def test_crops_of_a_folder_keep_boxes_on_their_squares(folder: Path) -> None:
    """A square's colour is its class, wherever it is turned to."""
    pictures = load_set(str(folder))
    rng = np.random.default_rng(1)
    seen = 0
    for _ in range(20):
        crop = pictures.train_crop(64, rng)
        for box, label in zip(crop.boxes.astype(int).tolist(), crop.labels.tolist(), strict=True):
            part = crop.image[box[1] : box[3], box[0] : box[2]]
            assert (part[..., label] == 230).all()
            seen += 1
    assert seen > 20


def test_without_a_test_split_validation_is_the_test(folder: Path, tmp_path: Path) -> None:
    other = small_runs.write_folder(tmp_path / "two")
    (other / "test.json").unlink()
    assert [one.name for one in load_set(str(other)).test_pictures(1)] == ["val-0"]
    (other / "val.json").unlink()
    with pytest.raises(ValueError, match=r"val\.json"):
        load_set(str(other)).val_pictures(1)


def test_splits_of_other_classes_are_refused(tmp_path: Path) -> None:
    folder = small_runs.write_folder(tmp_path / "set")
    index = read_index(folder / "val.json")
    write_index(Index(("red", "green", "cyan"), index.records), folder / "val.json")
    with pytest.raises(ValueError, match=r"val.json has the classes red, green, cyan, but train"):
        load_set(str(folder)).val_pictures(1)


def lopsided(folder: Path, ignored: bool = False) -> Path:
    """99 objects of one class in one picture, one of another class in another."""
    image = Image.fromarray(np.zeros((100, 100, 3), np.uint8))
    records = []
    for number, count in enumerate((99, 1)):
        path = folder / f"{number}.png"
        image.save(path)
        boxes = [
            [x % 10 * 10, x // 10 * 10, x % 10 * 10 + 6, x // 10 * 10 + 6] for x in range(count)
        ]
        labels = np.full(count, number, np.int64)
        flags = np.full(count, ignored)
        records.append(
            Record(str(number), path, 100, 100, np.array(boxes, np.float32), labels, flags)
        )
    write_index(Index(("often", "rare"), tuple(records)), folder / "train.json")
    return folder


@pytest.mark.parametrize(("balance", "expected"), [(0.0, 0.16), (1.0, 0.5)])
def test_rare_classes_are_drawn_more_often(balance: float, expected: float, tmp_path: Path) -> None:
    """Of 20 px in 100, a random window holds the one object in a corner in few cases."""
    pictures = FolderSet(lopsided(tmp_path), balance=balance)
    rng = np.random.default_rng(0)
    crops = [pictures.train_crop(20, rng) for _ in range(400)]
    part = np.mean([1 in crop.labels for crop in crops])
    if balance:
        assert part == pytest.approx(expected, abs=0.08)
    else:
        assert part < expected


def test_crops_with_nothing_but_ignored_objects_are_drawn_again(tmp_path: Path) -> None:
    """All of the first picture is ignored, the second one is empty but for a corner."""
    folder = lopsided(tmp_path, ignored=True)
    pictures = FolderSet(folder)
    rng = np.random.default_rng(0)
    crops = [pictures.train_crop(20, rng) for _ in range(50)]
    assert sum(len(crop.labels) > 0 for crop in crops) <= 2


def test_a_folder_without_an_object_is_refused(tmp_path: Path) -> None:
    folder = lopsided(tmp_path)
    index = read_index(folder / "train.json")
    empty = [
        Record(record.name, record.path, 100, 100, record.boxes[:0], record.labels[:0])
        for record in index.records
    ]
    write_index(Index(index.classes, tuple(empty)), folder / "train.json")
    message = r"train\.json holds no object to train on: 2 pictures without a box of often, rare$"
    with pytest.raises(ValueError, match=message):
        FolderSet(folder)


@pytest.mark.parametrize("size", [10, 30, 200])
@pytest.mark.parametrize("box", [[0, 0, 5, 5], [95, 55, 100, 60], [40, 20, 90, 50]])
def test_a_window_holds_its_box_or_the_centre_of_a_larger_one(size: int, box: list[float]) -> None:
    picture = blank(100, 60)
    for seed in range(20):
        window = random_window(
            picture, size, np.random.default_rng(seed), np.array(box, np.float32)
        )
        assert (window.width, window.height) == (min(size, 100), min(size, 60))
        x, y = map(int, window.name.split("@")[1].split(",")[:2])
        for low, side, begin, end in (
            (x, window.width, box[0], box[2]),
            (y, window.height, box[1], box[3]),
        ):
            if end - begin > side:
                assert low - 1 <= (begin + end) / 2 <= low + side + 1
            else:
                assert low <= begin <= end <= low + side


def test_rename_goes_by_name() -> None:
    picture = replace(blank(9, 9, [[0, 0, 2, 2]] * 3), labels=np.array([0, 1, 0]))
    assert rename(picture, ("b", "a"), ("a", "b")).labels.tolist() == [1, 0, 1]


def test_few_objects_are_always_the_same_few() -> None:
    few = FewObjects(Toy("a", "x", "y"), objects=5, size=8)
    assert (few.name, few.classes) == ("a-5", ("x", "y"))
    assert sum(len(one.labels) for one in few.few) == 6
    drawn = {id(few.train_crop(8, np.random.default_rng(i))) for i in range(50)}
    assert drawn == {id(one) for one in few.few}


def test_the_sets_of_this_project() -> None:
    composite, trees = CompositeSet(), TreesSet()
    assert composite.classes == ("tree", *"0123456789")
    assert composite.counted == tuple("0123456789")
    assert MixedSet([composite, trees], [0.5, 0.5]).classes == composite.classes
    rng = np.random.default_rng(0)
    assert trees.train_crop(200, rng).image.shape == (200, 200, 3)
    assert composite.train_crop(100, rng).image.shape == (100, 100, 3)
    names = [one.name for one in (*trees.val_pictures(9), *trees.test_pictures())]
    assert len(set(names)) == len(names) == 2 + 6
    first, again = composite.val_pictures(1)[0], composite.val_pictures(1)[0]
    assert (first.image == again.image).all()


@pytest.fixture
def real_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, RealSet]:
    """A registry with a prepared set of ten pictures of one object each."""
    content: dict[str, list] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 1, "name": "ring"}],
    }
    (tmp_path / "toys").mkdir()
    for number, letter in enumerate("abcdefghij"):
        name = f"{letter}.png"
        Image.new("RGB", (64, 48), (9 * number, 0, 0)).save(tmp_path / "toys" / name)
        content["images"].append({"id": number, "file_name": name, "width": 64, "height": 48})
        content["annotations"].append(
            {"image_id": number, "category_id": 1, "bbox": [8, 8, 10, 10]}
        )
    text = json.dumps(content)
    (tmp_path / "toys" / "annotations.json").write_text(text)
    pinned = hashlib.sha256(text.encode()).hexdigest()
    said = {"licence": "CC0", "attribution": "toys by a", "annotations_sha256": pinned}
    registry = {"toys": a_set("toys", **said)}
    monkeypatch.setattr(real_sets, "real_sets", lambda: registry)
    monkeypatch.setenv("C3DET_DATA", str(tmp_path))
    return registry


def test_a_real_set_has_three_sides(real_set: dict[str, RealSet]) -> None:
    pictures = load_set("toys")
    assert (pictures.name, pictures.classes, pictures.counted) == ("toys", ("ring",), ("ring",))
    assert pictures.licence == {"pictures of toys": "CC0, toys by a"}
    rng = np.random.default_rng(0)
    drawn = {pictures.train_crop(64, rng).name.partition("@")[0] for _ in range(60)}
    validated = {one.name for one in pictures.val_pictures(9)}
    tested = {one.name for one in pictures.test_pictures()}
    assert drawn == {f"toys/{letter}.png" for letter in "acefj"}
    assert validated == {"toys/h.png"}
    assert tested == {f"toys/{letter}.png" for letter in "bdgi"}


def test_nothing_is_trained_on_a_set_that_is_kept_aside(real_set: dict[str, RealSet]) -> None:
    real_set["toys"] = replace(real_set["toys"], kept_aside=True)
    with pytest.raises(ValueError, match="nothing is trained on the real set toys"):
        load_set("toys")


@pytest.mark.parametrize("name", ["year=2024", "a=0.5", "=1", "x=", " a ", "line\nbreak"])
def test_a_folder_may_have_any_name(name: str, tmp_path: Path) -> None:
    spec = str(small_runs.write_folder(tmp_path / name))
    assert split_spec(spec) == (spec, None)
    assert load_sets([spec]).name == name
    assert split_spec(f"{spec}=0.5") == (spec, 0.5)
    joined = load_sets([f"{spec}=0.25", spec])
    assert isinstance(joined, MixedSet)
    assert joined._weights.tolist() == pytest.approx([0.25, 0.75])

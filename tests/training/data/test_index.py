from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from c3det.clicks import Click
from training.data.annotated import Annotated, Index, Record, crop, relabel, rotate_quarters
from training.data.index import read_index, to_coco, write_index


def annotated() -> Annotated:
    """A picture of 20 x 10 with an upright object, an ignored one and a diamond."""
    image = np.zeros((10, 20, 3), np.uint8)
    image[2, 4] = 200
    return Annotated(
        "toy",
        image,
        np.array([[4, 2, 8, 6], [0, 0, 3, 9], [10, 2, 16, 8]], np.float32),
        np.array([0, 1, 2]),
        ignored=np.array([False, True, False]),
        corners=np.array(
            [
                [[4, 2], [8, 2], [8, 6], [4, 6]],
                [[0, 0], [3, 0], [3, 9], [0, 9]],
                [[13, 2], [16, 5], [13, 8], [10, 5]],
            ],
            np.float32,
        ),
    )


def record(name: str = "a.png", **changes: object) -> Record:
    sound = Record(
        name,
        Path("pictures/a.png"),
        20,
        10,
        np.array([[4, 2, 8, 6], [0.1, 0, 3.3, 9]], np.float32),
        np.array([0, 1]),
    )
    return replace(sound, **changes)  # type: ignore[arg-type]


def test_flags_are_false_where_they_are_left_out() -> None:
    one = annotated()
    plain = Annotated("toy", one.image, one.boxes, one.labels)
    assert plain.ignored.tolist() == [False] * 3
    assert plain.corners is None
    assert record().ignored.tolist() == [False, False]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("ignored", np.zeros(2, bool), r"the ignored flags must be bool \(3,\), not bool \(2,\)"),
        ("ignored", np.zeros(3, int), r"the ignored flags must be bool \(3,\), not int64 \(3,\)"),
        (
            "corners",
            np.zeros((3, 8), np.float32),
            r"the corners must be float32 \(3, 4, 2\), not float32 \(3, 8\)",
        ),
    ],
)
def test_wrong_arrays_are_refused(field: str, value: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=f"^toy: {message}$"):
        replace(annotated(), **{field: value})


def test_crop_moves_corners_and_keeps_any_part_of_what_is_ignored() -> None:
    # The window [2, 14) x [1, 10): a quarter of the ignored object, two thirds of the diamond.
    window = crop(annotated(), 2, 1, 12, 9)
    assert window.boxes.tolist() == [[2, 1, 6, 5], [0, 0, 1, 8], [8, 1, 12, 7]]
    assert window.ignored.tolist() == [False, True, False]
    assert window.corners is not None
    assert window.corners[2].tolist() == [[11, 1], [14, 4], [11, 7], [8, 4]]
    # Of [2, 12) the diamond has a third inside and goes, the ignored one stays.
    assert crop(annotated(), 2, 1, 10, 9).labels.tolist() == [0, 1]


def hull(corners: np.ndarray) -> np.ndarray:
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def signed_area(corners: np.ndarray) -> np.ndarray:
    x, y = corners[..., 0], corners[..., 1]
    return (x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)).sum(axis=1) / 2


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_turn_carries_every_field(quarters: int, mirror: bool) -> None:
    before = annotated()
    after = rotate_quarters(before, quarters, mirror)
    assert after.ignored.tolist() == before.ignored.tolist()
    assert after.corners is not None
    assert before.corners is not None
    np.testing.assert_allclose(hull(after.corners), after.boxes)
    # Clockwise stays clockwise.
    np.testing.assert_allclose(signed_area(after.corners), signed_area(before.corners))
    ((y, x),) = np.argwhere(after.image[..., 0] == 200)
    # The bright pixel is the first one of the first object: its own corner is corner 0 before
    # mirroring, and corner 1 after it.
    corner = after.corners[0, int(mirror)]
    assert np.abs(corner - [x + 0.5, y + 0.5]).tolist() == [0.5, 0.5]


def test_turned_corner_by_hand() -> None:
    # Clockwise by a quarter (x, y) goes to (10 - y, x); mirrored first, x goes to 20 - x.
    turned = rotate_quarters(annotated(), 1, mirror=False).corners
    mirrored = rotate_quarters(annotated(), 0, mirror=True).corners
    assert turned is not None
    assert mirrored is not None
    assert turned[2].tolist() == [[8, 13], [5, 16], [2, 13], [5, 10]]
    assert mirrored[0].tolist() == [[12, 2], [16, 2], [16, 6], [12, 6]]


def test_coco_of_pictures_in_memory() -> None:
    coco = to_coco([annotated()], classes=("a", "b", "c"))
    assert [one["iscrowd"] for one in coco["annotations"]] == [0, 1, 0]
    assert coco["annotations"][2]["corners"] == [13, 2, 16, 5, 13, 8, 10, 5]
    assert coco["annotations"][2]["bbox"] == [10, 2, 6, 6]
    assert coco["images"] == [{"id": 1, "file_name": "toy", "width": 20, "height": 10}]


def test_index_survives_the_disk(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    records = (
        record(
            path=tmp_path / "pictures" / "a.png",
            ignored=np.array([True, True]),
            corners=(np.arange(16).reshape(2, 4, 2) ** 2 / 7).astype(np.float32),
            clicks=(Click(1.25, 2.5, 1), Click(3, 4, 0, positive=False)),
        ),
        record("other/b", path=tmp_path / "pictures" / "b.png"),
        Record(
            "empty",
            tmp_path / "c.png",
            20,
            10,
            np.zeros((0, 4), np.float32),
            np.zeros(0, np.int64),
        ),
    )
    path = tmp_path / "set" / "train.json"
    write_index(Index(("car", "tr\u00e4e"), records), path)
    again = read_index(path)
    assert again.classes == ("car", "tr\u00e4e")
    for before, after in zip(records, again.records, strict=True):
        assert (after.name, after.width, after.height) == (before.name, 20, 10)
        assert after.path.resolve() == before.path.resolve()
        assert after.clicks == before.clicks
        for field in ("boxes", "labels", "ignored"):
            np.testing.assert_array_equal(getattr(after, field), getattr(before, field))
        if before.corners is None:
            assert after.corners is None
        else:
            np.testing.assert_array_equal(after.corners, before.corners)
    content = json.loads(path.read_text())
    assert content["images"][0]["file_name"] == "../pictures/a.png"
    assert content["annotations"][0]["iscrowd"] == 1
    assert [file.name for file in path.parent.iterdir()] == ["train.json"]


def test_index_is_a_coco_file_for_other_tools(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "train.json"
    write_index(Index(("car", "tree"), (record(),)), path)
    coco = COCO(str(path))
    capsys.readouterr()
    assert coco.loadCats(coco.getCatIds()) == [{"id": 1, "name": "car"}, {"id": 2, "name": "tree"}]
    assert [one["bbox"] for one in coco.loadAnns(coco.getAnnIds(imgIds=[1], catIds=[1]))] == [
        [4, 2, 4, 4]
    ]


def test_broken_index_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    write_index(Index(("car", "tree"), (record(),)), path)
    text = path.read_text().replace('"category_id": 2', '"category_id": 5')
    path.write_text(text)
    told = rf"^{path}:annotations\[1\]: annotation 2 is of category 5, which"
    with pytest.raises(ValueError, match=told):
        read_index(path)
    with pytest.raises(ValueError, match=r"none.json:1: there is no such file$"):
        read_index(tmp_path / "none.json")


def test_index_refuses_what_does_not_go_together() -> None:
    with pytest.raises(ValueError, match=r"^the class 'car' occurs twice$"):
        Index(("car", "car"), ())
    with pytest.raises(ValueError, match=r"^the picture 'a.png' occurs twice$"):
        Index(("car", "tree"), (record(), record()))
    with pytest.raises(ValueError, match=r"^a.png has a label that is none of 0 to 0$"):
        Index(("car",), (record(),))
    with pytest.raises(ValueError, match=r"^a.png has a label that is none of 0 to 1$"):
        Index(("car", "tree"), (record(clicks=(Click(1, 1, 2),)),))


def test_kept_classes_take_their_objects_and_clicks_along() -> None:
    one = record(
        ignored=np.array([False, True]),
        corners=np.arange(16, dtype=np.float32).reshape(2, 4, 2),
        clicks=(Click(1, 1, 0), Click(2, 2, 1)),
    )
    index = Index(("car", "tree", "ship"), (one,)).keep_classes(["ship", "tree"])
    assert index.classes == ("ship", "tree")
    (kept,) = index.records
    assert kept.labels.tolist() == [1]
    assert kept.ignored.tolist() == [True]
    assert kept.boxes.tolist() == one.boxes[1:].tolist()
    assert kept.corners is not None
    assert kept.corners[0, 0].tolist() == [8, 9]
    assert kept.clicks == (Click(2, 2, 1),)
    with pytest.raises(ValueError, match=r"^there is no class 'bus', only ship, tree$"):
        index.keep_classes(["bus"])
    assert relabel(kept, np.array([1, 0])).labels.tolist() == [0]


def test_record_loads_its_picture(tmp_path: Path) -> None:
    pixels = np.arange(10 * 20 * 3, dtype=np.uint8).reshape(10, 20, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    one = record(path=tmp_path / "a.png", ignored=np.array([True, False]))
    loaded = one.load()
    np.testing.assert_array_equal(loaded.image, pixels)
    assert loaded.name == "a.png"
    assert loaded.ignored.tolist() == [True, False]
    with pytest.raises(ValueError, match=r"a.png is 20 x 10 pixels large, but 21 x 10 in the ind"):
        replace(one, width=21).load()


@pytest.mark.parametrize(
    "name", ["a\\b.png", " a .png", "line\nbreak.png", "'\"`$.png", "u\u0308.png"]
)
def test_names_of_all_kinds_come_back(name: str, tmp_path: Path) -> None:
    Image.new("RGB", (9, 9), "red").save(tmp_path / "plain.png")
    (tmp_path / "plain.png").rename(tmp_path / name)
    boxes, labels = np.array([[1, 1, 5, 5]], np.float32), np.zeros(1, np.int64)
    record = Record(name, tmp_path / name, 9, 9, boxes, labels)
    write_index(Index(("car",), (record,)), tmp_path / "train.json")
    (found,) = read_index(tmp_path / "train.json").records
    assert found.name == name
    assert found.load().image[0, 0].tolist() == [255, 0, 0]


def test_a_folder_whose_name_is_not_utf8_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"M\xfcnchen")
    folder.mkdir()
    Image.new("RGB", (9, 9), "red").save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(folder / "a.png")
    boxes, labels = np.array([[1, 1, 5, 5]], np.float32), np.zeros(1, np.int64)
    record = Record("a.png", folder / "a.png", 9, 9, boxes, labels)
    write_index(Index(("car",), (record,)), tmp_path / "set" / "train.json")
    (found,) = read_index(tmp_path / "set" / "train.json").records
    assert found.name == "a.png"
    assert found.load().image[0, 0].tolist() == [255, 0, 0]


def test_a_set_below_a_linked_folder_finds_its_pictures(tmp_path: Path) -> None:
    picture = tmp_path / "mine" / "pictures" / "a.png"
    (tmp_path / "disk" / "deep" / "sets").mkdir(parents=True)
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"")
    (tmp_path / "mine" / "sets").symlink_to(tmp_path / "disk" / "deep" / "sets")
    one = tmp_path / "mine" / "sets" / "one" / "train.json"
    other = tmp_path / "mine" / "other" / "train.json"
    write_index(Index(("car", "tree"), (record(path=picture),)), one)
    assert read_index(one).records[0].path.samefile(picture)
    write_index(read_index(one), other)
    assert read_index(other).records[0].path.samefile(picture)

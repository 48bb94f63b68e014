from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from training.data.readers.reading import Reading
from training.data.readers.yolo import read_yolo

MakePicture = Callable[..., Path]

# Pictures are 100 x 80 pixels large.
BOX = "1 0.5 0.5 0.2 0.25\n"  # 20 x 20 px about the centre: 40, 30, 60, 50


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def boxes(reading: Reading) -> dict[str, list[list[float]]]:
    return {record.name: record.boxes.tolist() for record in reading.index.records}


@pytest.fixture
def ultralytics(tmp_path: Path, make_picture: MakePicture) -> Path:
    """Two pictures to train on, one to validate on."""
    for name in ("train/a", "train/deep/b", "val/c"):
        make_picture(f"images/{name}.png")
        text(tmp_path / "labels" / f"{name}.txt", BOX)
    content = "path: .\ntrain: images/train\nval: images/val\ntest:\nnames:\n  0: no\n  1: ship\n"
    text(tmp_path / "data.yaml", content)
    return tmp_path


def test_folders_of_ultralytics(ultralytics: Path) -> None:
    for source in (ultralytics, ultralytics / "data.yaml"):
        reading = read_yolo(source)
        assert reading.defects == reading.notes == reading.unlisted == ()
        assert reading.index.classes == ("no", "ship")
        assert boxes(reading) == {
            f"images/{name}.png": [[40, 30, 60, 50]]
            for name in ("train/a", "train/deep/b", "val/c")
        }
        assert reading.index.records[0].labels.tolist() == [1]
        assert reading.splits == {
            "images/train/a.png": "train",
            "images/train/deep/b.png": "train",
            "images/val/c.png": "val",
        }


def test_every_kind_of_line(ultralytics: Path) -> None:
    path = ultralytics / "labels" / "train" / "a.txt"
    text(
        path,
        "0 0.5 0.5 0.2 0.25\n"
        "0 0.5 0.5 0.4 0.5 0.9\n"  # with a confidence
        "1 0.5 0.25 0.6 0.5 0.5 0.75 0.4 0.5\n"  # corners
        "1 0.5 0.25 0.7 0.5 0.5 0.75 0.3 0.5 0.9\n"  # corners with a confidence
        "1 0.1 0.1 0.3 0.1 0.2 0.5\n"  # a triangle
        "\n"
        "1.0 0.9 0.5 0.3 0.5 \n",  # reaches out to the right
    )
    reading = read_yolo(ultralytics)
    record = reading.index.records[0]
    assert record.labels.tolist() == [0, 0, 1, 1, 1, 1]
    np.testing.assert_allclose(
        record.boxes,
        [
            [40, 30, 60, 50],
            [30, 20, 70, 60],
            [40, 20, 60, 60],
            [30, 20, 70, 60],
            [10, 8, 30, 40],
            [75, 20, 100, 60],
        ],
        atol=1e-4,
    )
    assert record.corners is not None
    np.testing.assert_allclose(
        record.corners[2], [[50, 20], [60, 40], [50, 60], [40, 40]], atol=1e-4
    )
    assert reading.notes == (
        "2 objects have a confidence, not used",
        "1 polygon is read as its bounding box",
    )
    assert [(defect.file, defect.place, defect.kind) for defect in reading.defects] == [
        (path, 7, "partly outside")
    ]


def test_every_broken_line_is_reported(ultralytics: Path) -> None:
    path = ultralytics / "labels" / "train" / "a.txt"
    text(
        path,
        "1 0.5 0.5 0.2\n1 0.5 0.5 0.2 0.25 0.1 0.1 2\n1 0.5 0.5 0.2 wide\n2 0.5 0.5 0.2 0.25\n"
        "-1 0.5 0.5 0.2 0.25\n0.5 0.5 0.5 0.2 0.25\n1 50 40 20 20\n1 nan 0.5 0.2 0.25\n"
        "1 0.5 0.5 -0.2 0.25\n1 1.5 0.5 0.2 0.25\n1 inf 0.5 0.2 0.25\nship 0.5 0.5 0.2 0.25\n",
    )
    reading = read_yolo(ultralytics)
    out = "the object is left out"
    assert [(defect.place, defect.kind) for defect in reading.defects] == [
        (1, "number of fields"),
        (2, "number of fields"),
        (3, "not a number"),
        (4, "unknown class"),
        (5, "unknown class"),
        (6, "unknown class"),
        (7, "not normalised"),
        (8, "not a number"),
        (9, "no area"),
        (10, "outside the picture"),
        (11, "not normalised"),
        (12, "not a number"),
    ]
    sentences = [defect.sentence for defect in reading.defects]
    assert sentences[0] == (
        "the line has 3 numbers behind the class, not 4 for a box, 8 for corners, or an even "
        "number for a polygon; it is left out"
    )
    assert sentences[3] == f"the class is 2, not one of 0 no, 1 ship; {out}"
    assert (
        sentences[6] == f"the numbers are no shares of the picture's size, between 0 and 1; {out}"
    )
    assert boxes(reading)["images/train/a.png"] == []


def test_of_keypoints_the_box_is_read(ultralytics: Path) -> None:
    text(ultralytics / "data.yaml", "train: images/train\nnames: [a, b]\nkpt_shape: [2, 3]\n")
    shutil.rmtree(ultralytics / "images" / "val")
    shutil.rmtree(ultralytics / "labels" / "val")
    text(ultralytics / "labels/train/a.txt", f"{BOX.strip()} 0.1 0.1 2 0.2 0.2 0\n")
    reading = read_yolo(ultralytics)
    assert boxes(reading)["images/train/a.png"] == [[40, 30, 60, 50]]
    assert "1 object has keypoints, not read" in reading.notes
    # The other picture's lines have none.
    assert [str(defect) for defect in reading.defects] == [
        f"{ultralytics}/labels/train/deep/b.txt:1: the line has 4 numbers behind the class, not 10 "
        "as kpt_shape says; it is left out"
    ]


def test_what_is_passed_over_is_named(ultralytics: Path, make_picture: MakePicture) -> None:
    make_picture("images/train/background.png")
    make_picture("images/other/d.png")
    text(ultralytics / "images/train/e.heic", "")
    text(ultralytics / "labels/train/gone.txt", BOX)
    text(ultralytics / "labels/test/gone.txt", BOX)
    make_picture("elsewhere/f.png")
    reading = read_yolo(ultralytics)
    found = [(d.file.relative_to(ultralytics).as_posix(), d.kind) for d in reading.defects]
    assert found == [
        ("images/other/d.png", "picture without labels"),
        ("images/train/e.heic", "unknown file"),
        ("labels/test/gone.txt", "missing picture"),
        ("labels/train/gone.txt", "missing picture"),
    ]
    assert reading.notes == (
        "1 picture has no file of labels, read as background: images/train/background.png",
    )
    assert reading.unlisted == (ultralytics / "elsewhere/f.png",)
    assert boxes(reading)["images/train/background.png"] == []


def test_roboflow_writes_a_path_that_is_not_there(
    tmp_path: Path, make_picture: MakePicture
) -> None:
    for split in ("train", "valid", "test"):
        make_picture(f"{split}/images/a.png")
        text(tmp_path / split / "labels" / "a.txt", BOX)
    text(
        tmp_path / "data.yaml",
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 3\n"
        "names: ['car', 'ship']\n",
    )
    reading = read_yolo(tmp_path)
    assert reading.splits == {
        "train/images/a.png": "train",
        "valid/images/a.png": "val",
        "test/images/a.png": "test",
    }
    assert [defect.sentence for defect in reading.defects] == [
        "nc is 3, but there are 2 names; the names are used"
    ]
    assert all(box == [[40, 30, 60, 50]] for box in boxes(reading).values())


def test_a_list_of_folders_and_a_path(tmp_path: Path, make_picture: MakePicture) -> None:
    for site in ("one", "two"):
        make_picture(f"data/{site}/images/a.png")
        text(tmp_path / "data" / site / "labels" / "a.txt", BOX)
    content = "path: data\ntrain: [one/images, two/images, three]\nnames: {0: x, 1: y}\n"
    text(tmp_path / "sets.yaml", content)
    reading = read_yolo(tmp_path / "sets.yaml")
    assert boxes(reading) == {
        "one/images/a.png": [[40, 30, 60, 50]],
        "two/images/a.png": [[40, 30, 60, 50]],
    }
    assert [defect.sentence for defect in reading.defects] == [
        f"train names three, and there is no such folder or file in {tmp_path}/data"
    ]


def test_the_oriented_boxes_of_cvat(tmp_path: Path, make_picture: MakePicture) -> None:
    """As CVAT writes "Ultralytics YOLO Oriented Bounding Boxes 1.0"."""
    for name in ("train/a.png", "train/folder/b.png", "val/a.png"):
        make_picture(f"images/{name}")
    row = "0 0.500000 0.250000 0.600000 0.500000 0.500000 0.750000 0.400000 0.500000\n"
    text(tmp_path / "labels/train/a.txt", row)
    text(tmp_path / "labels/val/a.txt", row)
    text(tmp_path / "data.yaml", "names:\n  0: ship\npath: .\ntrain: train.txt\nval: val.txt\n")
    lines = "data/images/train/a.png\ndata/images/train/folder/b.png\ndata/images/train/gone.png\n"
    text(tmp_path / "train.txt", lines)
    text(tmp_path / "val.txt", "data/images/val/a.png\n\nREADME\n")
    reading = read_yolo(tmp_path)
    assert boxes(reading) == {
        "images/train/a.png": [[40, 20, 60, 60]],
        "images/train/folder/b.png": [],
        "images/val/a.png": [[40, 20, 60, 60]],
    }
    corners = reading.index.records[0].corners
    assert corners is not None
    np.testing.assert_allclose(corners, [[[50, 20], [60, 40], [50, 60], [40, 40]]], atol=1e-4)
    assert reading.splits["images/val/a.png"] == "val"
    assert [(defect.file.name, defect.place, defect.sentence) for defect in reading.defects] == [
        ("train.txt", 3, "there is no picture data/images/train/gone.png; it is left out"),
        ("val.txt", 3, "'README' is no name of a picture; it is left out"),
    ]


@pytest.fixture
def darknet(tmp_path: Path) -> Path:
    """As CVAT writes "YOLO 1.1", without the pictures."""
    folder = tmp_path / "export"
    text(folder / "obj.names", "car\nship\n")
    text(
        folder / "obj.data",
        "classes = 2\ntrain = data/train.txt\nminival = data/minival.txt\n"
        "names = data/obj.names\nbackup = backup/\n",
    )
    text(folder / "train.txt", "data/obj_train_data/a.png\ndata/obj_train_data/site/b.png\n")
    text(folder / "minival.txt", "data/obj_minival_data/c.png\n")
    for name in ("obj_train_data/a", "obj_train_data/site/b", "obj_minival_data/c"):
        text(folder / f"{name}.txt", BOX)
    return folder


def test_yolo_1_1_of_cvat(darknet: Path, make_picture: MakePicture) -> None:
    for name in ("obj_train_data/a", "obj_train_data/site/b", "obj_minival_data/c"):
        make_picture(f"export/{name}.png")
    text(darknet / "obj_train_data" / "odd.txt", BOX)
    text(darknet / "obj.data", (darknet / "obj.data").read_text().replace("= 2", "= 3"))
    reading = read_yolo(darknet)
    assert reading.index.classes == ("car", "ship")
    assert set(boxes(reading)) == {
        "obj_train_data/a.png",
        "obj_train_data/site/b.png",
        "obj_minival_data/c.png",
    }
    assert all(box == [[40, 30, 60, 50]] for box in boxes(reading).values())
    assert set(reading.splits.values()) == {"train"}
    assert [(defect.file.name, defect.kind) for defect in reading.defects] == [
        ("obj.data", "broken header"),
        ("odd.txt", "missing picture"),
    ]


def test_pictures_of_an_export_without_them_may_lie_elsewhere(
    darknet: Path, make_picture: MakePicture
) -> None:
    reading = read_yolo(darknet)
    assert [defect.kind for defect in reading.defects] == ["missing picture"] * 3
    assert reading.notes[-1] == (
        f"none of the pictures of {darknet}/obj.data is in {darknet}: export it with its pictures, "
        "or name their folder (--images)"
    )
    for name in ("a", "site/b", "c"):
        make_picture(f"pictures/{name}.png")
    reading = read_yolo(darknet, darknet.parent / "pictures")
    assert reading.defects == ()
    assert boxes(reading) == {name: [[40, 30, 60, 50]] for name in ("a.png", "site/b.png", "c.png")}


def test_a_list_may_lie_beside_its_pictures(tmp_path: Path, make_picture: MakePicture) -> None:
    make_picture("set/images/a.png")
    text(tmp_path / "set/labels/a.txt", BOX)
    text(tmp_path / "set/train.txt", "./images/a.png\n")
    text(tmp_path / "data.yaml", "train: set/train.txt\nnames: [a, b]\n")
    assert boxes(read_yolo(tmp_path)) == {"set/images/a.png": [[40, 30, 60, 50]]}


def test_a_list_among_the_labels_is_not_taken_for_one(
    tmp_path: Path, make_picture: MakePicture
) -> None:
    make_picture("set/a.png")
    text(tmp_path / "set/a.txt", BOX)
    text(tmp_path / "set/train.txt", "./a.png\n")
    text(tmp_path / "data.yaml", "train: set/train.txt\nnames: [a, b]\n")
    reading = read_yolo(tmp_path)
    assert reading.defects == ()
    assert boxes(reading) == {"set/a.png": [[40, 30, 60, 50]]}


def test_a_folder_without_names_takes_those_of_the_caller(
    tmp_path: Path, make_picture: MakePicture
) -> None:
    make_picture("a.png")
    text(tmp_path / "a.txt", BOX)
    reading = read_yolo(tmp_path, classes=["x", "y"])
    assert (reading.index.classes, reading.defects) == (("x", "y"), ())
    assert boxes(reading) == {"a.png": [[40, 30, 60, 50]]}


def test_a_folder_with_classes(tmp_path: Path, make_picture: MakePicture) -> None:
    make_picture("images/a.png")
    make_picture("b.png")
    text(tmp_path / "labels/a.txt", BOX)
    text(tmp_path / "b.txt", BOX)
    text(tmp_path / "classes.txt", "car\nship\n")
    reading = read_yolo(tmp_path)
    assert reading.defects == ()
    assert boxes(reading) == {name: [[40, 30, 60, 50]] for name in ("b.png", "images/a.png")}
    assert read_yolo(tmp_path, classes=["x", "y"]).index.classes == ("x", "y")


def test_the_split_of_a_folder_with_classes_is_that_of_its_folders(
    tmp_path: Path, make_picture: MakePicture
) -> None:
    for name in ("train/a", "val/deep/b", "more/c"):
        make_picture(f"images/{name}.png")
        text(tmp_path / "labels" / f"{name}.txt", BOX)
    text(tmp_path / "classes.txt", "car\nship\n")
    reading = read_yolo(tmp_path)
    assert reading.defects == ()
    assert reading.splits == {"images/train/a.png": "train", "images/val/deep/b.png": "val"}


def test_several_files_of_names_must_be_equal(tmp_path: Path, make_picture: MakePicture) -> None:
    for subset, names in (("train", "car\nship\n"), ("val", "car\r\nship")):
        make_picture(f"{subset}/a.png")
        text(tmp_path / subset / "a.txt", BOX)
        text(tmp_path / subset / "classes.txt", names)
    assert read_yolo(tmp_path).index.classes == ("car", "ship")
    text(tmp_path / "val" / "classes.txt", "ship\ncar\n")
    reading = read_yolo(tmp_path)
    assert reading.index.records == ()
    assert [defect.sentence for defect in reading.defects] == [
        "there is more than one description, train/classes.txt, val/classes.txt: give --classes"
    ]
    assert len(read_yolo(tmp_path, classes=["car", "ship"]).index.records) == 2


def test_pictures_above_the_data_set_are_none_of_it(
    tmp_path: Path, make_picture: MakePicture
) -> None:
    make_picture("images/mine/a.png")
    make_picture("images/other/b.png")
    text(tmp_path / "images/mine/a.txt", BOX)
    text(tmp_path / "images/mine/classes.txt", "car\nship\n")
    assert read_yolo(tmp_path / "images/mine").defects == ()


def test_a_picture_of_two_splits_stays_in_the_first(ultralytics: Path) -> None:
    text(ultralytics / "data.yaml", "train: images/train\nval: images/train\nnames: [a, b]\n")
    reading = read_yolo(ultralytics)
    assert set(reading.splits.values()) == {"train"}
    assert reading.notes == (
        "2 pictures are in two splits, kept in the first: images/train/a.png, "
        "images/train/deep/b.png",
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("a: [", "1: this is not YAML: expected the node content, but found '<stream end>'; "
                 "nothing is read"),
        ("- 1", "1: the file is no table of train, val, test and names; nothing is read"),
        ("names: [a]", "1: the file names no train, val or test"),
        ("train: .", "1: no names of classes are found, so that every class is unknown; give "
                     "--classes"),
        ("train: nowhere\nnames: [a]", "1: train names nowhere, and there is no such folder or "
                                       "file in "),
        ("train: .\nnames: {x: a, 1: b}", "1: the class 'x' has no number or no name; it is left "
                                          "out"),
        ("train: .\nnames: [a, a]", "1: the class a occurs twice; both are one class"),
    ],
)  # fmt: skip
def test_a_description_that_is_none(tmp_path: Path, content: str, sentence: str) -> None:
    path = text(tmp_path / "data.yaml", content)
    found = [str(defect) for defect in read_yolo(path).defects]
    assert any(one.startswith(f"{path}:{sentence}") for one in found)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    text(tmp_path / "a.csv", "")
    assert [defect.sentence for defect in read_yolo(tmp_path).defects] == [
        "there is none of data.yaml, data.yml, dataset.yaml, obj.data, classes.txt, obj.names, "
        "labels.txt in this folder, but a.csv"
    ]
    assert [defect.sentence for defect in read_yolo(tmp_path / "a.csv").defects] == [
        "this is neither data.yaml nor obj.data nor a folder with one of them"
    ]
    text(tmp_path / "one" / "data.yaml", "")
    text(tmp_path / "two" / "data.yaml", "")
    assert [defect.sentence for defect in read_yolo(tmp_path).defects] == [
        "there is more than one description, one/data.yaml, two/data.yaml: name the one to read"
    ]


numbers = st.one_of(
    st.floats(width=32).map(str), st.integers().map(str), st.text(max_size=5), st.just("0.5")
)
rows = st.lists(st.lists(numbers, max_size=12).map(" ".join), max_size=4).map("\n".join)
yaml_values = st.recursive(
    st.one_of(st.text(max_size=8), st.just("images"), st.just("list.txt"), st.integers().map(str)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.dictionaries(st.text(max_size=3), inner, max_size=3).map(
            lambda items: "{" + ", ".join(f"{k}: {v}" for k, v in items.items()) + "}"
        ),
    ),
    max_leaves=5,
)
descriptions = st.dictionaries(
    st.sampled_from(["path", "train", "val", "names", "nc", "kpt_shape"]), yaml_values
).map(lambda items: "\n".join(f"{key}: {value}" for key, value in items.items()))


@settings(deadline=None, max_examples=150)
@given(rows, st.one_of(st.just("train: images\nnames: [a, b]"), descriptions), rows)
def test_no_file_stops_the_reader(labels: str, description: str, listed: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images").mkdir()
        Image.new("RGB", (10, 8)).save(folder / "images" / "a.png")
        text(folder / "labels" / "a.txt", labels)
        text(folder / "data.yaml", description)
        text(folder / "list.txt", listed)
        text(folder / "obj.data", f"train = list.txt\nnames = list.txt\n{listed}")
        for source in (folder / "data.yaml", folder / "obj.data"):
            for record in read_yolo(source).index.records:
                assert np.isfinite(record.boxes).all()
                assert (record.boxes[:, 2:] > record.boxes[:, :2]).all()


@pytest.mark.parametrize("name", ["images/train/a.png", "labels/train/a.txt"])
def test_a_pipe_is_not_waited_for(ultralytics: Path, name: str) -> None:
    (ultralytics / name).unlink()
    os.mkfifo(ultralytics / name)
    reading = read_yolo(ultralytics)
    told = [*(str(defect.file) for defect in reading.defects), *reading.notes]
    assert any("train/a" in one for one in told)
    assert "images/val/c.png" in boxes(reading)


@pytest.mark.parametrize(
    ("picture", "labels"),
    [("K\u00f6ln", "Ko\u0308ln.txt"), ("Ko\u0308ln", "K\u00f6ln.txt"), ("a.b", "a.b.TXT")],
)
def test_labels_are_found_whatever_their_name_is_written_with(
    picture: str, labels: str, ultralytics: Path, make_picture: MakePicture
) -> None:
    make_picture(f"images/train/{picture}.png")
    text(ultralytics / "labels" / "train" / labels, BOX)
    reading = read_yolo(ultralytics)
    assert reading.defects == reading.notes == ()
    assert boxes(reading)[f"images/train/{picture}.png"] == [[40, 30, 60, 50]]

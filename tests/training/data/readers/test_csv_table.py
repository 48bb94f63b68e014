from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.readers.csv_table import read_csv

HEADER = "image_path,xmin,ymin,xmax,ymax,label"


@pytest.fixture
def folder(tmp_path: Path, make_picture: Callable[..., Path]) -> Path:
    make_picture("train/a.png")
    make_picture("train/b.png", 50, 40)
    return tmp_path / "train"


def write(folder: Path, *lines: str) -> Path:
    path = folder / "boxes.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_first_line_names_the_columns(folder: Path) -> None:
    source = write(
        folder, HEADER, "a.png,1,2,11.5,12,Tree", "b.png,0,0,5,6,Bush", "a.png,20,20,30,30,Bush"
    )
    reading = read_csv(source)
    assert reading.defects == ()
    assert reading.index.classes == ("Bush", "Tree")
    first, second = reading.index.records
    assert (first.name, first.width, first.height) == ("a.png", 100, 80)
    assert first.boxes.tolist() == [[1, 2, 11.5, 12], [20, 20, 30, 30]]
    assert first.labels.tolist() == [1, 0]
    assert (second.name, second.labels.tolist()) == ("b.png", [0])
    assert reading.splits == {"a.png": "train", "b.png": "train"}


@pytest.mark.parametrize("header", ["filename,width,height,class,xmin,ymin,xmax,ymax", None])
def test_other_columns(folder: Path, header: str | None) -> None:
    line = "a.png,100,80,tree,1,2,3,4"
    if header:
        reading = read_csv(write(folder, header, line))
    else:
        columns = ["picture", "w", "h", "class", "x1", "y1", "x2", "y2"]
        reading = read_csv(write(folder, line), columns=columns)
    assert reading.index.records[0].boxes.tolist() == [[1, 2, 3, 4]]


def test_coordinates_may_be_shares_of_the_picture(folder: Path) -> None:
    reading = read_csv(write(folder, HEADER, "a.png,0.1,0.5,0.2,1,Tree", "b.png,0,0,1,0.5,Tree"))
    assert [one.boxes.tolist() for one in reading.index.records] == [
        [[10, 40, 20, 80]],
        [[0, 0, 50, 20]],
    ]
    assert reading.notes == ("no coordinate is above 1: they are shares of the pictures' sides",)
    pixels = read_csv(write(folder, HEADER, "a.png,0,0,1,1,Tree", "a.png,0.5,0.5,2,2,Tree"))
    assert pixels.notes == (
        "the coordinates are read as pixels, since line 3 has x2 2, though most are not above 1, "
        "as shares of the pictures' sides are",
    )
    assert pixels.index.records[0].boxes.tolist() == [[0, 0, 1, 1], [0.5, 0.5, 2, 2]]


def test_every_defect_is_reported_and_the_rest_read(folder: Path) -> None:
    source = write(
        folder,
        HEADER,
        "a.png,1,2,11,12,Tree",
        "none.png,1,2,11,12,Tree",
        "none.png,1,2,11,12,Tree",
        "a.png,1,wide,11,12,Tree",
        "a.png,1,2,11,12,Bush",
        "a.png,1,2",
        "a.png,9,2,5,12,Tree",
        "a.png,9,2,5,12,Tree,7",
    )
    reading = read_csv(source, classes=["Tree"])
    assert [(one.place, one.kind) for one in reading.defects] == [
        (3, "missing picture"),
        (5, "not a number"),
        (6, "unknown class"),
        (7, "number of fields"),
        (8, "no area"),
        (9, "number of fields"),
    ]
    assert reading.defects[-1].sentence == (
        "the line has 7 fields, not 6 as there are columns; it is left out"
    )
    assert "the object has y1 'wide', which is no number" in str(reading.defects[1])
    (record,) = reading.index.records
    assert record.boxes.tolist() == [[1, 2, 11, 12]]


def test_no_such_columns(folder: Path) -> None:
    (defect,) = read_csv(write(folder, "a.png,1,2,3,4,Tree")).defects
    assert "it has no column picture, x1, y1, x2, y2, class; --columns says" in str(defect)
    (defect,) = read_csv(folder / "none.csv").defects
    assert defect.kind == "missing file"


@pytest.mark.parametrize("odd", ["a.png,0.6,0.6,1.0004,0.9,Tree", "a.png,0.6,nan,0.8,0.9,Tree"])
def test_one_odd_number_makes_no_pixels_of_shares(folder: Path, odd: str) -> None:
    reading = read_csv(write(folder, HEADER, "a.png,0.1,0.5,0.2,1,Tree", odd))
    assert reading.index.records[0].boxes[0].tolist() == [10, 40, 20, 80]
    above = "1 coordinate is above 1, but none reaches 2: they are read as shares"
    assert reading.notes[0].startswith("no coordinate is above 1" if "nan" in odd else above)


def test_a_line_with_broken_quotes_is_left_out_alone(folder: Path) -> None:
    source = write(
        folder,
        HEADER,
        'a.png,1,2,11,12,"Tree, tall"',
        'a.png,1,2,11,13,"Tree',
        "a.png,1,2,11,14,Tree",
        f"a.png,1,2,11,15,{'x' * 140_000}",
        'a.png,1,2,11,16,"Tree',
        *["a.png,1,2,11,17,Tree", "a.png,1,2,11,18,Tree"] * 10_000,
        'a.png,1,2,11,19,"Tree',
    )
    reading = read_csv(source)
    broken = [one.place for one in reading.defects if one.kind == "syntax"]
    assert broken == [3, 5, 6, 20_007]
    assert {one.kind for one in reading.defects} == {"syntax", "duplicate object"}
    assert "the line is no CSV, check its quotes: " in reading.defects[0].sentence
    assert reading.index.classes == ("Tree", "Tree, tall")
    assert reading.index.records[0].boxes[:, 3].tolist() == [12, 14, 17, 18]


def test_a_table_of_automl(folder: Path) -> None:
    columns = ["set", "picture", "class", "x1", "y1", "", "", "x2", "y2", "", ""]
    source = write(
        folder,
        "TEST,gs://bucket/train/a.png,Tree,0.1,0.5,,,0.2,1,,",
        "TEST,gs://bucket/train/a.png,Tree,0.3,0.5,0.4,0.5,0.4,1,0.3,1",
        "UNASSIGNED,gs://bucket/train/b.png,Tree,0,0,,,1,0.5,,",
        "VALIDATION,gs://bucket/train/b.png,Tree,0,0,,,1,1,,",
    )
    reading = read_csv(source, columns=columns)
    assert reading.defects == ()
    assert [one.boxes.tolist() for one in reading.index.records] == [
        [[10, 40, 20, 80], [30, 40, 40, 80]],
        [[0, 0, 50, 20], [0, 0, 50, 40]],
    ]
    # Without a word of the table, it is the split of the folder.
    assert reading.splits == {"a.png": "test", "b.png": "train"}
    assert reading.notes[1:] == (
        "1 picture is in two splits, kept in the first: b.png",
        f"2 pictures are found by the end of an absolute path, such as {folder}/a.png for "
        "gs://bucket/train/a.png",
    )


def test_a_picture_may_be_named_in_several_ways(
    folder: Path, make_picture: Callable[..., Path]
) -> None:
    make_picture("train/deep/c.png")
    source = write(
        folder,
        HEADER,
        "a.png,1,2,11,12,Tree",
        "./a.png,20,20,30,30,Tree",
        "deep\\c.png,1,2,11,12,Tree",
        "deep/c.png,1,2,11,13,Tree",
    )
    reading = read_csv(source)
    assert reading.defects == ()
    assert {one.name: len(one.boxes) for one in reading.index.records} == {
        "a.png": 2,
        "deep/c.png": 2,
    }


def test_the_size_that_a_table_states_is_compared(folder: Path) -> None:
    header = "filename,width,height,class,xmin,ymin,xmax,ymax"
    reading = read_csv(
        write(folder, header, "a.png,640,640,Tree,1,2,3,4", "b.png,50,40,Tree,1,2,3,4")
    )
    assert [(one.place, one.kind) for one in reading.defects] == [(2, "other picture size")]
    assert [one.name for one in reading.index.records] == ["b.png"]


def test_a_picture_without_objects_is_background(folder: Path) -> None:
    columns = ["picture", "x1", "y1", "x2", "y2", "class"]
    reading = read_csv(write(folder, "a.png,1,2,30,40,Tree", "b.png,,,,,"), columns=columns)
    assert reading.defects == ()
    assert [len(one.boxes) for one in reading.index.records] == [1, 0]
    assert reading.splits == {"a.png": "train", "b.png": "train"}
    alone = read_csv(write(folder, "b.png,,,,,"), columns=columns, classes=["Tree"])
    assert (alone.defects, alone.notes, len(alone.index.records[0].boxes)) == ((), (), 0)
    half = read_csv(write(folder, "a.png,1,2,30,40,", "b.png,1,,,,Tree"), columns=columns)
    assert [one.kind for one in half.defects] == ["unknown class", "not a number"]

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
    assert pixels.notes == ()
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
    )
    reading = read_csv(source, classes=["Tree"])
    assert [(one.place, one.kind) for one in reading.defects] == [
        (3, "missing picture"),
        (5, "not a number"),
        (6, "unknown class"),
        (7, "unknown class"),
        (8, "no area"),
    ]
    assert "the object has y1 'wide', which is no number" in str(reading.defects[1])
    (record,) = reading.index.records
    assert record.boxes.tolist() == [[1, 2, 11, 12]]


def test_no_such_columns(folder: Path) -> None:
    (defect,) = read_csv(write(folder, "a.png,1,2,3,4,Tree")).defects
    assert "it has no column picture, x1, y1, x2, y2, class; --columns says" in str(defect)
    (defect,) = read_csv(folder / "none.csv").defects
    assert defect.kind == "missing file"

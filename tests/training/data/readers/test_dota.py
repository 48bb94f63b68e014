from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.readers.dota import CLASSES, read_dota

SOUND = """imagesource:GoogleEarth
gsd:0.146343590398
10.0 20.0 30.0 20.0 30.0 40.0 10.0 40.0 plane 0
50 10 60 20 50 30 40 20 helipad 1
"""

DEFECTIVE = """imagesource:GoogleEarth
gsd:fine
10 20 30 20 30 40 10 40 plane 0
10 20 30 20 30 40 10 plane 0
10 20 30 20 30 40 10 40 plane
10 20 30 20 30 40 10 40 large vehicle 0
ten 20 30 20 30 40 10 40 plane 0
nan 20 30 20 30 40 10 40 plane 0
10 20 30 20 30 40 10 40 zeppelin 0
11 20 30 20 30 40 10 40 plane 3
10 20 10 20 10 20 10 20 plane 0
10 20 30 40 30 40 10 20 plane 0
110 20 130 20 130 40 110 40 plane 0
-4 20 30 20 30 40 -4 40 plane 2
10 20 30 20 30 40 10 40 plane 0

gsd:0.5
"""


@pytest.fixture
def folder(tmp_path: Path, make_picture: Callable[..., Path]) -> Path:
    make_picture("images/P0001.png")
    (tmp_path / "labelTxt").mkdir()
    return tmp_path


def test_corners_and_difficulty_are_kept_and_the_box_is_the_hull(folder: Path) -> None:
    (folder / "labelTxt" / "P0001.txt").write_text(SOUND)
    reading = read_dota(folder)
    assert reading.defects == ()
    assert reading.index.classes == CLASSES["2.0"]
    (record,) = reading.index.records
    assert (record.name, record.width, record.height) == ("P0001.png", 100, 80)
    assert record.boxes.tolist() == [[10, 20, 30, 40], [40, 10, 60, 30]]
    assert record.corners is not None
    assert record.corners.tolist() == [
        [[10, 20], [30, 20], [30, 40], [10, 40]],
        [[50, 10], [60, 20], [50, 30], [40, 20]],
    ]
    assert [reading.index.classes[label] for label in record.labels] == ["plane", "helipad"]
    assert record.ignored.tolist() == [False, True]


def test_versions_differ_in_their_classes(folder: Path) -> None:
    assert {version: len(names) for version, names in CLASSES.items()} == {
        "1.0": 15,
        "1.5": 16,
        "2.0": 18,
    }
    labels = folder / "labelTxt-v1.5"
    labels.mkdir()
    (labels / "P0001.txt").write_text(
        "0 0 9 0 9 9 0 9 container-crane 0\n0 0 9 0 9 9 0 9 helipad 0\n"
    )
    reading = read_dota(folder, version="1.5")
    assert [str(defect) for defect in reading.defects] == [
        f"{labels}/P0001.txt:2: the class 'helipad' is none of DOTA's in this version; "
        "the object is left out"
    ]
    assert reading.index.records[0].labels.tolist() == [15]


def test_every_defect_is_reported_and_the_rest_read(folder: Path) -> None:
    path = folder / "labelTxt" / "P0001.txt"
    path.write_text(DEFECTIVE)
    reading = read_dota(folder, version="2.0")
    assert all(defect.file == path for defect in reading.defects)
    fields = "not 10 (eight coordinates, class, difficulty); it is left out"
    of_100 = "the picture of 100 x 80 pixels"
    out = "; it is left out"
    assert [(defect.place, defect.sentence) for defect in reading.defects] == [
        (4, "the coordinate 'plane' is no number; the object is left out"),
        (5, f"the object is the same as the object in line 3{out}"),
        (6, "the class 'large vehicle' is none of DOTA's in this version; the object is left out"),
        (7, "the coordinate 'ten' is no number; the object is left out"),
        (8, f"the object has a coordinate that is no number: nan, 20, 30, 20, 30, 40, 10, 40{out}"),
        (9, "the class 'zeppelin' is none of DOTA's in this version; the object is left out"),
        (10, "the difficulty is '3', not 0, 1 or 2; it is read as 0"),
        (11, f"the object encloses no area: 10, 20, 10, 20, 10, 20, 10, 20{out}"),
        # The hull has an area, but the corners go there and back on one line.
        (12, f"the object encloses no area: 10, 20, 30, 40, 30, 40, 10, 20{out}"),
        (13, f"the object is outside {of_100}: 110, 20, 130, 40{out}"),
        (14, f"the object reaches 4 px out of {of_100}: -4, 20, 30, 40; it is cut"),
        (15, f"the object is the same as the object in line 3{out}"),
        (17, f"the line has 1 fields, {fields}"),
    ]
    record = reading.index.records[0]
    assert record.boxes.tolist() == [[10, 20, 30, 40], [10, 20, 30, 40], [0, 20, 30, 40]]
    assert record.ignored.tolist() == [False, False, True]
    # Corners stay where they are, outside of the picture too.
    assert record.corners is not None
    assert record.corners[2].tolist() == [[-4, 20], [30, 20], [30, 40], [-4, 40]]


def test_pictures_and_files_without_a_partner(
    folder: Path, make_picture: Callable[..., Path]
) -> None:
    make_picture("images/P0002.png")
    (folder / "labelTxt" / "P0001.txt").write_text("")
    (folder / "labelTxt" / "P0003.txt").write_text(SOUND)
    (folder / "labelTxt" / "P0004.txt").write_bytes(b"imagesource:\xff\n")
    reading = read_dota(folder)
    assert [record.name for record in reading.index.records] == ["P0001.png"]
    images, labels = folder / "images", folder / "labelTxt"
    assert [str(defect) for defect in reading.defects] == [
        f"{images}/P0002.png:1: there is no {labels}/P0002.txt; the picture is left out",
        f"{labels}/P0003.txt:1: there is no picture, or more than one, called P0003 in {images}; "
        "it is left out",
        f"{labels}/P0004.txt:1: the file is not UTF-8 text; nothing in it is read",
    ]


def test_folders_are_searched_and_names_have_them(
    folder: Path, make_picture: Callable[..., Path]
) -> None:
    make_picture("images/site.a/P0001.png")
    make_picture("images/site.b/P0001.png")
    (folder / "images" / "site.b" / "P0002.avif").write_text("")
    for name in ("P0001.txt", "site.a/P0001.txt", "site.c/P0001.txt"):
        (folder / "labelTxt" / name).parent.mkdir(exist_ok=True)
        (folder / "labelTxt" / name).write_text(SOUND)
    (folder / "labelTxt" / "notes.md").write_text("")
    reading = read_dota(folder)
    assert {record.name: len(record.boxes) for record in reading.index.records} == {
        "P0001.png": 2,
        "site.a/P0001.png": 2,
    }
    found = [(defect.file.relative_to(folder), defect.kind) for defect in reading.defects]
    assert [(path.as_posix(), kind) for path, kind in found] == [
        ("images/site.b/P0001.png", "picture without labels"),
        ("images/site.b/P0002.avif", "unknown file"),
        ("labelTxt/notes.md", "unknown file"),
        ("labelTxt/site.c/P0001.txt", "missing picture"),
    ]


def test_own_classes_are_those_that_occur_or_that_are_named(folder: Path) -> None:
    path = folder / "labelTxt" / "P0001.txt"
    box = "10 20 30 20 30 40 10 40"
    path.write_text(f"{box} insulator 0\n{box} bird nest 1\n{box} ship 0\n")
    reading = read_dota(folder)
    assert reading.defects == ()
    assert reading.index.classes == ("bird nest", "insulator", "ship")
    assert reading.index.records[0].labels.tolist() == [1, 0, 2]
    named = read_dota(folder, classes=["ship", "insulator"])
    assert named.index.records[0].labels.tolist() == [1, 0]
    assert [defect.sentence for defect in named.defects] == [
        "the class 'bird nest' is not one of ship, insulator; the object is left out"
    ]
    of_dota = read_dota(folder, version="2.0")
    assert [defect.kind for defect in of_dota.defects] == ["unknown class", "unknown class"]
    with pytest.raises(ValueError, match="not both"):
        read_dota(folder, classes=["ship"], version="2.0")


def test_a_class_may_end_in_a_number(folder: Path) -> None:
    box = "10 20 30 20 30 40 10 40"
    (folder / "labelTxt" / "P0001.txt").write_text(f"{box} type 1 0\n{box} type 2 1\n")
    reading = read_dota(folder)
    assert reading.defects == ()
    assert reading.index.classes == ("type 1", "type 2")
    assert reading.index.records[0].ignored.tolist() == [False, True]


def test_the_difficulty_may_be_missing_and_something_stand_behind_it(folder: Path) -> None:
    path = folder / "labelTxt" / "P0001.txt"
    path.write_text(
        "10 20 30 20 30 40 10 40 ship\n10 20 30 20 30 41 10 41 ship 1 by hand\n"
        "10 20 30 20 30 42 10 42\n10 20 30 20 30 43 10 43 ship 0.5 0.9\n"
    )
    reading = read_dota(folder)
    assert reading.index.records[0].boxes[:, 3].tolist() == [40, 41, 43]
    assert reading.index.records[0].ignored.tolist() == [False, True, False]
    assert reading.notes == ("1 line has no difficulty; it is read as 0",)
    fields = "not 10 (eight coordinates, class, difficulty)"
    assert [(defect.place, defect.sentence) for defect in reading.defects] == [
        (2, f"the line has 12 fields, {fields}; what is behind the tenth, 'by hand', is not read"),
        (3, f"the line has 8 fields, {fields}; it is left out"),
        (4, "the difficulty is '0.5', not 0, 1 or 2; it is read as 0"),
        (4, f"the line has 11 fields, {fields}; what is behind the tenth, '0.9', is not read"),
    ]


def test_missing_folders(tmp_path: Path) -> None:
    reading = read_dota(tmp_path)
    assert reading.index.records == ()
    assert [str(defect) for defect in reading.defects] == [
        f"{tmp_path}/images:1: there is no such folder",
        f"{tmp_path}/labelTxt:1: there is no such folder",
    ]


def test_folders_of_pictures_and_labels_may_differ(
    tmp_path: Path, make_picture: Callable[..., Path]
) -> None:
    """DOTA's archives unpack to ``images/part1/images`` and ``labelTxt-v1.5/DOTA-v1.5_train``."""
    for name in ("part1/images/P1.png", "part2/images/P2.png", "part2/images/P3.png", "P3.png"):
        make_picture(f"images/{name}")
    folder = tmp_path / "labelTxt-v1.5" / "DOTA-v1.5_train"
    folder.mkdir(parents=True)
    for name in ("P1", "P2", "P3"):
        (folder / f"{name}.txt").write_text("10 10 20 10 20 20 10 20 ship 0\n")
    reading = read_dota(tmp_path, version="1.5")
    assert [record.name for record in reading.index.records] == [
        "part1/images/P1.png",
        "part2/images/P2.png",
    ]
    assert [(defect.file.name, defect.kind) for defect in reading.defects] == [
        ("P3.png", "picture without labels"),
        ("P3.png", "picture without labels"),
        ("P3.txt", "missing picture"),
    ]

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.readers.voc import read_voc


def voc_file(objects: str, filename: str = "a.png", size: tuple[int, int] = (100, 80)) -> str:
    """The objects begin in line 4."""
    return (
        f"<annotation>\n<filename>{filename}</filename>\n"
        f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>\n"
        f"{objects}</annotation>\n"
    )


def voc_object(name: str, *edges: object, more: str = "") -> str:
    keys = ("xmin", "ymin", "xmax", "ymax")
    box = "".join(f"<{key}>{edge}</{key}>" for key, edge in zip(keys, edges, strict=False))
    return f"<object><name>{name}</name>{more}<bndbox>{box}</bndbox></object>\n"


@pytest.fixture
def folder(tmp_path: Path, make_picture: Callable[..., Path]) -> Path:
    make_picture("JPEGImages/a.png")
    make_picture("JPEGImages/b.png", 50, 40)
    (tmp_path / "Annotations").mkdir()
    return tmp_path


def test_pixels_are_counted_from_one_and_the_last_is_included(folder: Path) -> None:
    objects = voc_object("tree", 1, 1, 3, 4) + voc_object(
        "car", 100, 80, 100, 80, more="<difficult>1</difficult>"
    )
    (folder / "Annotations" / "a.xml").write_text(voc_file(objects))
    (folder / "Annotations" / "b.xml").write_text(voc_file("", "b.png", (50, 40)))
    reading = read_voc(folder)
    assert reading.defects == ()
    assert reading.index.classes == ("car", "tree")
    first, second = reading.index.records
    # Three columns and four rows; then the one pixel at the bottom right.
    assert first.boxes.tolist() == [[0, 0, 3, 4], [99, 79, 100, 80]]
    assert first.labels.tolist() == [1, 0]
    assert first.ignored.tolist() == [False, True]
    assert (first.name, first.path) == ("a.png", folder / "JPEGImages" / "a.png")
    assert second.boxes.shape == (0, 4)


def test_every_defect_is_reported_and_the_rest_read(folder: Path) -> None:
    objects = (
        voc_object("tree", 10, 10, 20, 20)
        + voc_object("bush", 10, 10, 20, 20)
        + voc_object("tree", 10, 10, 20)
        + voc_object("tree", 10, 10, "wide", 20)
        + voc_object("tree", "inf", 10, 20, 20)
        + voc_object("tree", 10, 10, 9, 20)
        + voc_object("tree", 101, 10, 110, 20)
        + voc_object("tree", 0, 10, 20, 20)
        + voc_object("tree", 10, 10, 20, 20)
        + "<object><name>tree</name><robndbox><cx>1</cx></robndbox></object>\n"
        + voc_object("tree", 5, 5, 6, 6, more="<difficult>maybe</difficult>")
    )
    annotations = folder / "Annotations"
    contents = {
        "a": voc_file(objects),
        "again": voc_file(""),
        "broken": "<annotation>\n<object>\n</annotation>",
        "gone": voc_file("", "gone.png"),
        "other": "<root/>",
        "size": voc_file("", "b.png", (50, 41)),
        "z": "<annotation>\n<filename>b.png</filename>\n</annotation>",
    }
    for name, content in contents.items():
        (annotations / f"{name}.xml").write_text(content)
    reading = read_voc(folder, classes=["tree"], origin=1)
    pictures = folder / "JPEGImages"
    out = "; it is left out"
    of_100 = "the picture of 100 x 80 pixels"
    assert [(d.file.stem, d.place, d.sentence) for d in reading.defects] == [
        ("a", 5, f"object 2 has the class 'bush', not one of tree{out}"),
        ("a", 6, f"object 3 has ymax None, which is no number{out}"),
        ("a", 7, f"object 4 has xmax 'wide', which is no number{out}"),
        ("a", 8, f"object 5 has a coordinate that is no number: inf, 9, 20, 20{out}"),
        ("a", 9, f"object 6 encloses no area: 9, 9, 9, 20{out}"),
        ("a", 10, f"object 7 is outside {of_100}: 100, 9, 110, 20{out}"),
        ("a", 11, f"object 8 reaches 1 px out of {of_100}: -1, 9, 20, 20; it is cut"),
        ("a", 12, f"object 9 is the same as the object in line 4{out}"),
        ("a", 13, f"object 10 has no bndbox, but name, robndbox{out}"),
        ("a", 14, "object 11 has difficult 'maybe', neither 0 nor 1; it is read as 0"),
        ("again", 1, "the picture a.png has another file already; this one is left out"),
        ("broken", 3, "this is not well-formed XML: mismatched tag; nothing is read"),
        ("gone", 1, f"there is no picture {pictures}/gone.png{out}"),
        ("other", 1, "the file begins with <root>, not <annotation>: it is not Pascal VOC"),
        ("size", 1, f"{pictures}/b.png is 50 x 40 pixels large, not 50 x 41 as stated; "
                    "the picture is left out"),
        ("z", 1, "the file has no width and height, but '' and ''"),
    ]  # fmt: skip
    first, second = reading.index.records
    assert first.boxes.tolist() == [[9, 9, 20, 20], [0, 9, 20, 20], [4, 4, 6, 6]]
    assert second.name == "b.png"


def test_one_file_beside_its_picture(tmp_path: Path, make_picture: Callable[..., Path]) -> None:
    make_picture("a.png")
    (tmp_path / "a.xml").write_text(voc_file(voc_object("tree", 1, 1, 3, 4)))
    reading = read_voc(tmp_path / "a.xml")
    assert reading.defects == ()
    assert reading.index.records[0].boxes.tolist() == [[0, 0, 3, 4]]


def test_folder_without_files(tmp_path: Path) -> None:
    assert [str(defect) for defect in read_voc(tmp_path).defects] == [
        f"{tmp_path}:1: there is no XML file in this folder"
    ]


def test_filename_may_be_a_whole_path(folder: Path) -> None:
    annotations, pictures = folder / "Annotations", folder / "JPEGImages"
    (annotations / "a.xml").write_text(voc_file("", str(pictures / "a.png")))
    (annotations / "b.xml").write_text(voc_file("", "./b.png", (50, 40)))
    (annotations / "c.xml").write_text(voc_file("", "../JPEGImages/a.png"))
    reading = read_voc(folder)
    assert [record.name for record in reading.index.records] == ["a.png", "b.png"]
    assert [defect.kind for defect in reading.defects] == ["duplicate picture"]


def test_folders_are_searched_and_names_have_them(
    folder: Path, make_picture: Callable[..., Path]
) -> None:
    """CVAT writes the folder into the name, labelImg does not."""
    for number, (site, name) in enumerate(
        (("one", "a.png"), ("two", "two/a.png"), ("two", "b.png"))
    ):
        path = folder / "Annotations" / site / f"{number}.xml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(voc_file(voc_object("tree", 1, 1, 3, 4 + number), name))
        make_picture(f"JPEGImages/{site}/{Path(name).name}")
    make_picture("JPEGImages/two/c.jpg")
    (folder / "JPEGImages" / "two" / "d.heic").write_text("")
    (folder / "JPEGImages" / ".hidden.png").write_text("")
    (folder / "Annotations" / "two" / "e.json").write_text("{}")
    (folder / "Annotations" / "a.xml").write_text(voc_file(""))
    reading = read_voc(folder)
    found = {record.name: record.boxes.tolist() for record in reading.index.records}
    assert found == {
        "a.png": [],
        "one/a.png": [[0, 0, 3, 4]],
        "two/a.png": [[0, 0, 3, 5]],
        "two/b.png": [[0, 0, 3, 6]],
    }
    assert [(defect.file.name, defect.kind) for defect in reading.defects] == [
        ("e.json", "unknown file"),
        ("b.png", "picture without labels"),
        ("c.jpg", "picture without labels"),
        ("d.heic", "unknown file"),
    ]


def test_the_folder_of_a_picture_may_stand_in_its_file(
    folder: Path, make_picture: Callable[..., Path]
) -> None:
    make_picture("JPEGImages/site/c.png")
    (folder / "Annotations" / "c.xml").write_text(voc_file("<folder>site</folder>", "c.png"))
    assert [record.name for record in read_voc(folder).index.records] == ["site/c.png"]


def test_the_split_is_that_of_the_lists(folder: Path, make_picture: Callable[..., Path]) -> None:
    make_picture("JPEGImages/site/c d.png")
    for name, path in (("a.png", "a"), ("b.png", "b"), ("site/c d.png", "c")):
        size = (50, 40) if name == "b.png" else (100, 80)
        (folder / "Annotations" / f"{path}.xml").write_text(voc_file("", name, size))
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "Train.txt").write_text('a\n"site/c d" 1\n\n')
    (lists / "val.txt").write_text("b -1\ngone\n")
    (lists / "trainval.txt").write_text("a\nb\n")
    reading = read_voc(folder)
    assert reading.defects == ()
    assert reading.splits == {"a.png": "train", "site/c d.png": "train", "b.png": "val"}


CVAT_MARKS = (
    "<source><database>Unknown</database><annotation>Unknown</annotation>"
    "<image>Unknown</image></source>"
)
LABELIMG_MARKS = "<path>/home/me/a.png</path><source><database>Unknown</database></source>"
PASCAL_MARKS = (
    "<source><database>The VOC2012 Database</database><annotation>PASCAL VOC2012</annotation>"
    "<image>flickr</image></source>"
)


@pytest.mark.parametrize(
    ("marks", "other", "origin", "reason"),
    [
        ("", (5, 5, 9, 9), 1, "since no box has a fraction or a 0"),
        ("", (5, 5, 9.5, 9), 0, "has xmax 9.5"),
        ("", (5, 0, 9, 9), 0, "has ymin 0"),
        (CVAT_MARKS, (5, 5, 9, 9), 0, "since 2 of 2 files look like CVAT's"),
        (LABELIMG_MARKS, (5, 5, 9, 9), 0, "since 2 of 2 files look like labelImg's"),
        (
            LABELIMG_MARKS.partition("</path>")[2],
            (5, 5, 9, 9),
            1,
            "look neither like CVAT's nor labelImg's",
        ),
        # Some boxes of VOC2012 have fractions.
        (PASCAL_MARKS, (5, 5, 9.5, 9), 1, "since 2 of 2 files call themselves Pascal's own"),
    ],
)
def test_a_data_set_counts_in_one_way_and_says_which(
    folder: Path, marks: str, other: tuple[float, ...], origin: int, reason: str
) -> None:
    annotations = folder / "Annotations"
    (annotations / "a.xml").write_text(voc_file(marks + voc_object("car", 11, 21, 17, 27)))
    (annotations / "b.xml").write_text(
        voc_file(marks + voc_object("car", *other), "b.png", (50, 40))
    )
    reading = read_voc(folder)
    assert reading.index.records[0].boxes.tolist() == [[11 - origin, 21 - origin, 17, 27]]
    x1, y1, x2, y2 = other
    assert reading.index.records[1].boxes.tolist() == [[x1 - origin, y1 - origin, x2, y2]]
    (note,) = reading.notes
    assert reason in note
    assert f"--origin {1 - origin}" in note
    asked = read_voc(folder, origin=0)
    assert asked.index.records[0].boxes.tolist() == [[11, 21, 17, 27]]
    assert asked.notes == ()


def test_parts_of_objects_are_counted(folder: Path) -> None:
    part = "<part><name>head</name><bndbox><xmin>0.5</xmin></bndbox></part>"
    (folder / "Annotations" / "a.xml").write_text(
        voc_file(voc_object("car", 1, 1, 3, 3, more=part))
    )
    reading = read_voc(folder)
    assert reading.index.classes == ("car",)
    assert reading.index.records[0].boxes.tolist() == [[0, 0, 3, 3]]
    assert reading.notes[-1] == "1 part of an object is not read"


def test_name_too_long_for_a_file_is_a_missing_picture(folder: Path) -> None:
    (folder / "Annotations" / "a.xml").write_text(voc_file("", "a" * 300 + ".png"))
    (folder / "Annotations" / "b.xml").write_text(voc_file("", "b.png", (50, 40)))
    assert [(defect.file.name, defect.kind) for defect in read_voc(folder).defects] == [
        ("a.xml", "missing picture"),
        ("a.png", "picture without labels"),
    ]


def test_a_path_of_another_machine_is_looked_for_by_its_end(
    folder: Path, make_picture: Callable[..., Path]
) -> None:
    make_picture("JPEGImages/site/a.png")
    (folder / "Annotations" / "site").mkdir()
    for name in ("a.xml", "site/a.xml"):
        (folder / "Annotations" / name).write_text(voc_file("", "C:\\data\\pictures\\a.png"))
    (folder / "Annotations" / "b.xml").write_text(voc_file("", "/home/me/b.png", (50, 40)))
    reading = read_voc(folder)
    assert reading.defects == ()
    assert [record.name for record in reading.index.records] == ["a.png", "b.png", "site/a.png"]


@pytest.mark.parametrize("source", ["", "annotations"])
def test_pictures_may_lie_in_images_beside_the_annotations(
    source: str, tmp_path: Path, make_picture: Callable[..., Path]
) -> None:
    make_picture("images/a.png")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "a.xml").write_text(voc_file(voc_object("tree", 1, 1, 3, 4)))
    reading = read_voc(tmp_path / source)
    assert reading.defects == ()
    assert [record.name for record in reading.index.records] == ["a.png"]


def test_objects_in_an_element_of_their_own_are_read(folder: Path) -> None:
    objects = f"<objects>{voc_object('tree', 1, 1, 3, 4)}</objects>"
    (folder / "Annotations" / "a.xml").write_text(voc_file(objects))
    assert read_voc(folder).index.records[0].boxes.tolist() == [[0, 0, 3, 4]]


def test_the_split_may_be_that_of_the_folders(
    tmp_path: Path, make_picture: Callable[..., Path]
) -> None:
    for subset in ("train", "valid", "more"):
        make_picture(f"{subset}/a.png")
        (tmp_path / subset / "a.xml").write_text(voc_file(voc_object("tree", 1, 1, 3, 4)))
    assert read_voc(tmp_path).splits == {"train/a.png": "train", "valid/a.png": "val"}

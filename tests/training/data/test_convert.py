from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from training.data import convert
from training.data.index import read_index
from training.data.splits import SPLITS, split_of

NAMES = [f"{number}.png" for number in range(12)]


def coco(folder: Path, names: list[str] = NAMES, **more: object) -> Path:
    """Pictures of 20 x 10 in two folders, each with one car and one tree."""
    folder.mkdir(exist_ok=True)
    images, annotations = [], []
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((10, 20, 3), number, np.uint8)).save(folder / name)
        images.append({"id": number, "file_name": name, "width": 20, "height": 10})
        for category in (1, 2):
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": number,
                    "category_id": category,
                    "bbox": [category, 2, 4, 4],
                }
            )
    categories = [{"id": 1, "name": "car"}, {"id": 2, "name": "tree"}]
    content = {"images": images, "annotations": annotations, "categories": categories, **more}
    path = folder / "labels.json"
    path.write_text(json.dumps(content))
    return path


def written(folder: Path) -> dict[str, list[str]]:
    return {
        split: [record.name for record in read_index(folder / f"{split}.json").records]
        for split in SPLITS
    }


def test_conversion_splits_and_references(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = coco(tmp_path / "raw")
    convert.main(["coco", str(source), "--out", str(tmp_path / "set")])
    splits = written(tmp_path / "set")
    assert {name: split for split, names in splits.items() for name in names} == {
        name: split_of(name) for name in NAMES
    }
    assert json.loads((tmp_path / "set" / "split.json").read_text()) == splits
    record = read_index(tmp_path / "set" / "train.json").records[0]
    assert record.path.resolve() == tmp_path / "raw" / record.name
    assert record.load().image[0, 0, 0] == NAMES.index(record.name)
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.splitlines()[0] == "no defects"
    assert printed.out.splitlines()[1].split() == ["pictures", "ignored", "car", "tree"]
    count = str(len(splits["train"]))
    assert printed.out.splitlines()[2].split() == ["train", count, "0", count, count]


def test_pictures_are_copied(tmp_path: Path) -> None:
    names = ["a/0.png", "b/0.png", "../odd/0.png"]
    source = coco(tmp_path / "raw", names)
    command = ["coco", str(source), "--out", str(tmp_path / "set"), "--pictures", "copy"]
    convert.main(command)
    images = tmp_path / "set" / "images"
    found = {str(path.relative_to(images)) for path in images.rglob("*.png")}
    assert found == {"a/0.png", "b/0.png", "odd/0.png"}
    for split in SPLITS:
        for record in read_index(tmp_path / "set" / f"{split}.json").records:
            assert images in record.path.parents
            assert record.load().image[0, 0, 0] == names.index(record.name)
    stamp = (images / "a" / "0.png").lstat().st_mtime_ns
    convert.main(command)
    assert (images / "a" / "0.png").lstat().st_mtime_ns == stamp


def test_two_pictures_of_one_path_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = coco(tmp_path / "raw", ["odd/0.png", "../odd/0.png"])
    with pytest.raises(SystemExit) as exit_info:
        convert.main(["coco", str(source), "--out", str(tmp_path / "set"), "--pictures", "copy"])
    assert exit_info.value.code == 2
    assert "two pictures would be written to" in capsys.readouterr().err


def test_split_can_be_given_back_and_classes_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = coco(tmp_path / "raw")
    split = {"train": NAMES[:2], "val": NAMES[2:], "test": []}
    (tmp_path / "split.json").write_text(json.dumps(split))
    command = ["coco", str(source), "--out", str(tmp_path / "set"), "--keep", "tree"]
    convert.main([*command, "--split", str(tmp_path / "split.json")])
    assert written(tmp_path / "set") == split
    index = read_index(tmp_path / "set" / "train.json")
    assert index.classes == ("tree",)
    assert index.records[0].boxes.tolist() == [[2, 2, 6, 6]]
    assert "warning: test is empty" in capsys.readouterr().out


def test_defects_are_printed_and_counted_and_strict_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = {"id": 2, "image_id": 0, "category_id": 1, "bbox": [1, 2, 4, 4]}
    broken = {"id": 1, "image_id": 0, "category_id": 9}
    source = coco(tmp_path / "raw", annotations=[broken, sound])
    command = ["coco", str(source), "--out", str(tmp_path / "set")]
    convert.main(command)
    printed = capsys.readouterr()
    assert printed.err == (
        f"{source}:annotations[0]: annotation 1 is of category 9, which is not in categories; "
        "it is left out\n"
    )
    assert printed.out.splitlines()[:3] == [
        "1 defect",
        "defect         count  first",
        f"unknown class      1  {source}:annotations[0]",
    ]
    assert sum(map(len, written(tmp_path / "set").values())) == len(NAMES)
    with pytest.raises(SystemExit) as exit_info:
        convert.main([*command[:-1], str(tmp_path / "other"), "--strict"])
    assert exit_info.value.code == 2
    assert not (tmp_path / "other").exists()
    assert capsys.readouterr().err.endswith(
        "training.data.convert: 1 defect, and --strict allows none\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--keep", "bus"], "there is no class 'bus', only car, tree"),
        (["--images", "nowhere"], "no picture is left, the defects above say why"),
        (["--split", "nowhere.json"], "nowhere.json: there is no such file"),
    ],
)
def test_one_sentence_without_a_traceback(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    source = coco(tmp_path / "raw")
    command = [sys.executable, "-m", "training.data.convert", "coco", str(source)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "set"), *arguments],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": "."},
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"training.data.convert: {message}"
    assert "Traceback" not in done.stderr


def test_several_sources_become_one_set(tmp_path: Path) -> None:
    first = coco(tmp_path / "first", ["a.png", "b.png"])
    second = coco(tmp_path / "second", ["c.png"])
    convert.main(["coco", str(first), str(second), "--out", str(tmp_path / "set")])
    names = [name for split in written(tmp_path / "set").values() for name in split]
    assert sorted(names) == ["a.png", "b.png", "c.png"]


def csv_source(folder: Path) -> list[str]:
    (folder / "boxes.csv").write_text("a.png,1,2,5,6,ship\n")
    return ["csv", str(folder / "boxes.csv"), "--columns", "picture,x1,y1,x2,y2,class"]


def voc_source(folder: Path) -> list[str]:
    (folder / "a.xml").write_text(
        "<annotation><filename>a.png</filename><size><width>20</width><height>10</height></size>"
        "<object><name>ship</name><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>5</xmax>"
        "<ymax>6</ymax></bndbox></object></annotation>"
    )
    return ["voc", str(folder)]


def cvat_source(folder: Path) -> list[str]:
    (folder / "a.xml").write_text(
        "<annotations><meta><job><labels><label><name>ship</name></label></labels></job></meta>"
        '<image id="0" name="a.png" width="20" height="10">'
        '<box label="ship" xtl="1" ytl="2" xbr="5" ybr="6"/><points label="ship" points="2,3"/>'
        "</image></annotations>"
    )
    return ["cvat", str(folder / "a.xml")]


def dota_source(folder: Path) -> list[str]:
    (folder / "labelTxt-v1.0").mkdir()
    (folder / "labelTxt-v1.0" / "a.txt").write_text("1 2 5 2 5 6 1 6 ship 0\n")
    return ["dota", str(folder), "--images", str(folder), "--version", "1.0", "--keep", "ship"]


def yolo_source(folder: Path) -> list[str]:
    (folder / "a.txt").write_text("0 0.15 0.4 0.2 0.4\n")
    (folder / "data.yaml").write_text("train: .\nnames: [ship]\n")
    return ["yolo", str(folder / "data.yaml")]


@pytest.mark.parametrize("make", [voc_source, cvat_source, dota_source, yolo_source, csv_source])
def test_the_other_formats(tmp_path: Path, make: Callable[[Path], list[str]]) -> None:
    Image.fromarray(np.zeros((10, 20, 3), np.uint8)).save(tmp_path / "a.png")
    convert.main([*make(tmp_path), "--out", str(tmp_path / "set"), "--strict"])
    index = read_index(tmp_path / "set" / f"{split_of('a.png')}.json")
    assert index.classes == ("ship",)
    assert index.records[0].boxes.tolist() == [[1, 2, 5, 6]]
    clicks = tmp_path / "set" / f"{split_of('a.png')}.clicks.json"
    assert clicks.exists() == (make is cvat_source)


@pytest.mark.parametrize(
    ("difficulty", "message"),
    [
        (0, "sought were boxes of ship; found instead: 1 x unknown class (see above)"),
        (1, "sought were boxes of car; found instead: 1 x difficult or crowd, which trains "
            "nothing"),
    ],
)  # fmt: skip
def test_a_set_without_an_object_is_refused(
    tmp_path: Path, difficulty: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.zeros((10, 20, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "labelTxt").mkdir()
    (tmp_path / "labelTxt" / "a.txt").write_text(f"1 2 5 2 5 6 1 6 car {difficulty}\n")
    command = ["dota", str(tmp_path), "--images", str(tmp_path), "--out", str(tmp_path / "set")]
    with pytest.raises(SystemExit) as exit_info:
        convert.main([*command, "--classes", "car" if difficulty else "ship"])
    assert exit_info.value.code == 2
    assert not (tmp_path / "set").exists()
    assert capsys.readouterr().err.endswith(f"no object is left in 1 picture: {message}\n")


def test_the_split_of_the_files_is_kept_where_it_is_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"Train": NAMES[:3], "Validation": NAMES[3:5]}
    images = []
    for subset, of_subset in names.items():
        for name in of_subset:
            path = tmp_path / "images" / subset / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((10, 20, 3), np.uint8)).save(path)
            box = '<box label="ship" xtl="1" ytl="2" xbr="5" ybr="6"/>'
            size = 'width="20" height="10"'
            images.append(f'<image name="{name}" subset="{subset}" {size}>{box}</image>')
    head = "<meta><job><labels><label><name>ship</name></label></labels></job></meta>"
    file = tmp_path / "annotations.xml"
    file.write_text(f"<annotations>{head}{''.join(images)}</annotations>")
    command = ["cvat", str(file), "--out", str(tmp_path / "set")]
    convert.main(command)
    train, val = ([f"{subset}/{name}" for name in of] for subset, of in names.items())
    assert written(tmp_path / "set") == {"train": train, "val": val, "test": []}
    assert "note: the split is the one that the files have" in capsys.readouterr().out
    file.write_text(file.read_text().replace('subset="Validation"', 'subset="Train"'))
    (tmp_path / "images" / "Validation").rename(tmp_path / "images" / "more")
    convert.main(command)
    assert "they are split by the names' hashes" in capsys.readouterr().out


def test_a_zip_is_read_as_it_was_downloaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = io.BytesIO()
    Image.fromarray(np.zeros((10, 20, 3), np.uint8)).save(picture, "PNG")
    raw = tmp_path / "raw"
    raw.mkdir()
    cvat_source(raw)
    archive = tmp_path / "task 1.zip"
    with ZipFile(archive, "w") as zipped:
        zipped.write(raw / "a.xml", "annotations.xml")
        zipped.writestr("images/a.png", picture.getvalue())
        zipped.writestr("../../evil.txt", "")
    convert.main(["cvat", str(archive), "--out", str(tmp_path / "set")])
    (record,) = read_index(tmp_path / "set" / f"{split_of('a.png')}.json").records
    assert record.boxes.tolist() == [[1, 2, 5, 6]]
    assert record.load().image.shape == (10, 20, 3)
    assert capsys.readouterr().err == (
        f"{archive}:1: ../../evil.txt would lie outside the folder; it is left out\n"
    )
    assert not list(tmp_path.parent.rglob("evil.txt"))
    with ZipFile(archive, "w") as zipped:
        zipped.write(raw / "a.xml", "annotations.xml")
    with pytest.raises(SystemExit):
        convert.main(["cvat", str(archive), "--out", str(tmp_path / "set")])
    assert 'export it from CVAT with "Save images"' in capsys.readouterr().out


def test_pictures_that_no_file_lists_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = coco(tmp_path / "raw", ["a.png", "b.png", "more/c.png"])
    second = coco(tmp_path / "raw2", ["d.png"])
    (tmp_path / "raw" / "odd.png").write_bytes((tmp_path / "raw" / "a.png").read_bytes())
    content = json.loads(first.read_text())
    kept = [image for image in content["images"] if image["file_name"] != "b.png"]
    boxes = [one for one in content["annotations"] if one["image_id"] != 1]
    first.write_text(json.dumps({**content, "images": kept, "annotations": boxes}))
    convert.main(["coco", str(first), str(second), "--out", str(tmp_path / "set"), "--strict"])
    raw = tmp_path / "raw"
    assert (
        f"note: 2 pictures are not in the files and skipped: {raw}/b.png, {raw}/odd.png"
    ) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["3"], "'3' is none of job:<id>, task:<id> and project:<id>"),
        (["task:3"], "set CVAT_ACCESS_TOKEN, or name a --user"),
        (
            ["task:3", "--user", "me"],
            "set CVAT_PASSWORD, the password of me: nobody is here to be asked",
        ),
    ],
)
def test_server_needs_an_id_and_credentials(
    tmp_path: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CVAT_ACCESS_TOKEN", raising=False)
    monkeypatch.delenv("CVAT_PASSWORD", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    command = ["cvat-server", *arguments, "--host", "http://localhost:1", "--out", str(tmp_path)]
    with pytest.raises(SystemExit) as exit_info:
        convert.main(command)
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == f"training.data.convert: {message}\n"


def one_picture(folder: Path, name: str, colour: str = "red") -> Path:
    """A COCO set of one BMP picture of 20 x 10; any two of them have one size in bytes."""
    folder.mkdir(exist_ok=True)
    picture(folder / name, colour)
    content = {
        "images": [{"id": 1, "file_name": name, "width": 20, "height": 10}],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 2, 4, 4]}],
    }
    path = folder / "labels.json"
    path.write_text(json.dumps(content))
    return path


def picture(path: Path, colour: str) -> None:
    with path.open("wb") as file:
        Image.new("RGB", (20, 10), colour).save(file, "BMP")


def convert_one(source: Path, out: Path, *more: str) -> Path:
    """Make the set; return where it has its picture."""
    convert.main(["coco", str(source), "--out", str(out), *more])
    (record,) = (record for split in SPLITS for record in read_index(out / f"{split}.json").records)
    return record.path


@pytest.mark.parametrize("age", [-1000, 0, 1000])
def test_a_corrected_picture_is_copied_anew(age: int, tmp_path: Path) -> None:
    source = one_picture(tmp_path / "raw", "a.bmp")
    placed = convert_one(source, tmp_path / "set", "--pictures", "copy")
    before = (tmp_path / "raw" / "a.bmp").stat().st_mtime
    picture(tmp_path / "raw" / "a.bmp", "blue")
    os.utime(tmp_path / "raw" / "a.bmp", (before + age, before + age))
    assert convert_one(source, tmp_path / "set", "--pictures", "copy") == placed
    assert Image.open(placed).getpixel((0, 0)) == (0, 0, 255)


def test_a_copy_takes_the_place_of_a_link(tmp_path: Path) -> None:
    source = one_picture(tmp_path / "raw", "a.bmp")
    (tmp_path / "set" / "images").mkdir(parents=True)
    (tmp_path / "set" / "images" / "a.bmp").symlink_to(tmp_path / "raw" / "a.bmp")
    assert not convert_one(source, tmp_path / "set", "--pictures", "copy").is_symlink()
    assert Image.open(tmp_path / "raw" / "a.bmp").getpixel((0, 0)) == (255, 0, 0)


def test_a_set_that_lies_where_it_is_written_keeps_its_pictures(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    source = one_picture(tmp_path / "set" / "images", "a.bmp")
    placed = convert_one(source, tmp_path / "set", "--pictures", "copy")
    assert Image.open(placed).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("placing", ["reference", "copy"])
@pytest.mark.parametrize(
    "name",
    [
        *("x" * 251 + ".bmp", "\u9065" * 83 + ".bmp", "-rf.bmp", " a .bmp", "year=2024.bmp"),
        *("a[1].bmp", "line\nbreak.bmp", "quote'\"$HOME`.bmp", "\U0001f6a2.bmp"),
    ],
    ids=ascii,
)
def test_pictures_of_any_name_are_converted(name: str, placing: str, tmp_path: Path) -> None:
    source = one_picture(tmp_path / "raw", name)
    placed = convert_one(source, tmp_path / "set", "--pictures", placing)
    assert placed.name == name
    assert Image.open(placed).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_are_found_whatever_unicode_form_the_disk_has(form: str, tmp_path: Path) -> None:
    name = "K\u00f6ln S\u00fcd.bmp"
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    source = one_picture(tmp_path / "raw", unicodedata.normalize(other, name))
    labels = json.loads(source.read_text())
    labels["images"][0]["file_name"] = unicodedata.normalize(form, name)
    source.write_text(json.dumps(labels))
    assert Image.open(convert_one(source, tmp_path / "set")).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("data", ["dota", "voc"])
def test_a_name_that_is_not_utf8_is_a_defect_of_that_picture(
    data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    voc = "<annotation><size><width>20</width><height>10</height></size><object><name>ship</name>"
    voc += "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
    text = {"dota": "1 1 9 1 9 9 1 9 ship 0\n", "voc": f"{voc}</annotation>"}[data]
    images, labels = {
        "dota": ("images", "labelTxt"),
        "voc": ("JPEGImages", "Annotations"),
    }[data]
    suffix = {"dota": "txt", "voc": "xml"}[data]
    for folder in (images, labels):
        (tmp_path / "raw" / folder).mkdir(parents=True)
    for name in (os.fsdecode(b"M\xfcnchen"), "fine"):
        picture(tmp_path / "raw" / images / f"{name}.bmp", "red")
        (tmp_path / "raw" / labels / f"{name}.{suffix}").write_text(text)
    source = tmp_path / "raw" if data == "dota" else tmp_path / "raw" / labels
    convert.main([data, str(source), "--out", str(tmp_path / "set")])
    names = [name for names in written(tmp_path / "set").values() for name in names]
    assert [Path(name).stem for name in names] == ["fine"]
    printed = capsys.readouterr()
    assert "the name M\\udcfcnchen" in printed.err
    assert "is not UTF-8: rename the picture; it is left out" in printed.err
    assert re.search(r"^name not UTF-8 +1 ", printed.out, re.MULTILINE)


@pytest.mark.parametrize("make", [voc_source, dota_source, yolo_source])
def test_a_zip_may_hold_one_folder_with_everything(
    tmp_path: Path, make: Callable[[Path], list[str]]
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    Image.fromarray(np.zeros((10, 20, 3), np.uint8)).save(raw / "a.png")
    kind = make(raw)[0]
    with ZipFile(tmp_path / "a.zip", "w") as zipped:
        for path in sorted(raw.rglob("*.*")):
            name = path.relative_to(raw)
            folder = {("voc", ".xml"): "Annotations", ("voc", ".png"): "JPEGImages"}
            folder |= {("dota", ".txt"): "labelTxt", ("dota", ".png"): "images"}
            zipped.write(path, Path("set/v1", folder.get((kind, path.suffix), ""), name.name))
        zipped.writestr("__MACOSX/set/._a.png", "")
        zipped.writestr(".DS_Store", "")
    convert.main([kind, str(tmp_path / "a.zip"), "--out", str(tmp_path / "set")])
    (record,) = read_index(tmp_path / "set" / f"{split_of('a.png')}.json").records
    assert record.boxes.tolist() == [[1, 2, 5, 6]]


def test_a_note_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = coco(tmp_path / "raw", ["a.png"])
    picture(tmp_path / "raw" / "two\nlines.png", "red")
    convert.main(["coco", str(source), "--out", str(tmp_path / "set")])
    assert "two\\nlines.png\n" in capsys.readouterr().out


@pytest.mark.parametrize("source", ["raw/train.json", "raw", "raw/../raw/val.json"])
def test_the_source_is_not_overwritten(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = coco(tmp_path / "raw").rename(tmp_path / "raw" / Path(source).with_suffix(".json").name)
    before = path.read_bytes()
    with pytest.raises(SystemExit) as exit_info:
        convert.main(["coco", str(tmp_path / source), "--out", str(tmp_path / "raw")])
    assert exit_info.value.code == 2
    assert "would lie among" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_folders_that_are_missing_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        convert.main(["dota", str(tmp_path / "gone"), "--out", str(tmp_path / "tiny")])
    assert exit_info.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        f"{tmp_path}/gone/images:1: there is no such folder",
        f"{tmp_path}/gone/labelTxt:1: there is no such folder",
        "training.data.convert: no picture is left, the defects above say why",
    ]


@pytest.mark.parametrize("pictures", ["reference", "copy"])
def test_a_set_can_be_converted_again(
    pictures: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clicks = [{"x": 3, "y": 4, "category_id": 1, "positive": True}]
    source = coco(tmp_path / "raw")
    content = json.loads(source.read_text())
    content["images"][0]["clicks"] = clicks
    source.write_text(json.dumps(content))
    one, other = tmp_path / "one", tmp_path / "other"
    convert.main(["coco", str(source), "--out", str(one), "--pictures", pictures])
    assert len([*one.glob("*.json")]) == 5
    capsys.readouterr()
    convert.main(["coco", str(one), "--out", str(other)])
    printed = capsys.readouterr()
    assert printed.out.startswith("no defects")
    assert written(other) == written(one)


def test_pictures_of_one_name_in_two_sources_are_told_apart(tmp_path: Path) -> None:
    sources = [coco(tmp_path / name, ["a.png"]) for name in ("one", "two")]
    convert.main(["coco", *map(str, sources), "--out", str(tmp_path / "set")])
    names = [name for of_split in written(tmp_path / "set").values() for name in of_split]
    assert sorted(names) == ["0-labels/a.png", "1-labels/a.png"]


def test_a_copied_frame_of_a_video_has_a_suffix(tmp_path: Path) -> None:
    images = tmp_path / "raw" / "images"
    images.mkdir(parents=True)
    Image.new("RGB", (20, 10)).save(images / "frame_000000.PNG")
    (tmp_path / "raw" / "annotations.xml").write_text(
        "<annotations><meta><task><labels><label><name>x</name></label></labels></task></meta>"
        '<track id="0" label="x"><box frame="0" xtl="1" ytl="2" xbr="3" ybr="4"/></track>'
        "</annotations>"
    )
    out = tmp_path / "set"
    convert.main(["cvat", str(tmp_path / "raw"), "--out", str(out), "--pictures", "copy"])
    assert [path.name for path in (out / "images").iterdir()] == ["frame_000000.PNG"]
    assert ["frame_000000"] in written(out).values()

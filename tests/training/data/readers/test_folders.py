from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.readers.folders import (
    PictureFolder,
    check_picture,
    files_below,
    known_split,
    unused_files,
)
from training.data.readers.reading import Report, listing


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in files_below(folder)]


def test_files_are_found_in_order_and_links_do_not_go_round(tmp_path: Path) -> None:
    for name in ("b.txt", "a/c.txt", ".hidden/d.txt", "a/.e.txt", "__MACOSX/a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "a" / "round").symlink_to(tmp_path)
    (tmp_path / "other").symlink_to(tmp_path / "a")
    found = names(tmp_path)
    assert "b.txt" in found
    assert sum(name.endswith("c.txt") for name in found) == 1
    assert len(found) == 2


def test_very_many_names_are_cut() -> None:
    assert listing(["a", "b"]) == "a, b"
    assert listing(list("abcdefghijkl")) == "a, b, c, d, e, f, g, h, i, j and 2 more"


def test_files_that_are_no_pictures_are_named(tmp_path: Path) -> None:
    for name in ("a.CR2", "b", "notes.txt"):
        (tmp_path / name).write_text("")
    assert [defect.sentence for defect in unused_files(tmp_path, [], str)] == [
        "with the suffix .CR2 this is no picture that can be read; the file is skipped",
        "without a suffix this is no picture that can be read; the file is skipped",
    ]


def test_picture_is_found_by_its_stem_where_that_is_unique(
    make_picture: Callable[..., Path], tmp_path: Path
) -> None:
    for name in ("one.png", "two.png", "two.tif", "deep/three.JPG", "v1.5.png"):
        make_picture(name)
    (tmp_path / "four.txt").write_text("")
    folder = PictureFolder(tmp_path)
    names = ("one.png", "one.jpg", "one", "two", "deep/three", "four", "v1.5", "gone.png")
    found = {name: folder.find(name) for name in names}
    assert {name: path and path.name for name, path in found.items()} == {
        "one.png": "one.png",
        "one.jpg": "one.png",
        "one": "one.png",
        "two": None,
        "deep/three": "three.JPG",
        "four": None,
        "v1.5": "v1.5.png",
        "gone.png": None,
    }


def test_names_of_windows_and_addresses_are_paths(
    make_picture: Callable[..., Path], tmp_path: Path
) -> None:
    for name in ("deep/one.png", "odd\\two.png"):
        make_picture(name)
    folder = PictureFolder(tmp_path)
    names = ("deep\\one.png", "s3://bucket/deep/one.png", "file:///disk/deep/one", "odd\\two.png")
    assert [path and path.name for path in map(folder.find, names)] == [*["one.png"] * 3, names[3]]
    assert [*map(folder.plain, names)] == [
        "deep/one.png",
        "/bucket/deep/one.png",
        "/disk/deep/one",
        names[3],
    ]


@pytest.mark.parametrize(
    ("name", "split"),
    [("train2017", "train"), ("Validation", "val"), (" val2014 ", "val"), ("2017", None)],
)
def test_splits_of_other_tools(name: str, split: str | None) -> None:
    assert known_split(name) == split


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_cut_picture_is_left_out(
    suffix: str, tmp_path: Path, make_picture: Callable[..., Path]
) -> None:
    path = make_picture(f"a.{suffix}")
    report = Report(tmp_path / "a.txt")
    assert check_picture(path, None, report, 1) == (100, 80)
    path.write_bytes(path.read_bytes()[:-200])
    assert check_picture(path, None, report, 3) is None
    assert [(defect.place, defect.kind) for defect in report.defects] == [(3, "unreadable picture")]

from __future__ import annotations

import io
import shutil
import stat
import tempfile
import zipfile
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.readers import folders
from training.data.readers.cvat_xml import read_cvat_xml
from training.data.readers.folders import (
    ArchiveError,
    PictureFolder,
    check_picture,
    files_below,
    unpack,
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


def test_nothing_is_written_outside(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "w") as zipped:
        for name in (
            "../up.txt",
            "/root.txt",
            "C:\\disk.txt",
            "a/../../up.txt",
            "a\\b\\c.txt",
            "d/",
        ):
            zipped.writestr(name, "x")
        zipped.writestr(link, "/etc/passwd")
        zipped.writestr("link/through.txt", "x")
        zipped.writestr("n" * 300, "x")
    defects = unpack(archive, tmp_path / "deep" / "out")
    assert names(tmp_path / "deep" / "out") == ["a/b/c.txt", "link/through.txt"]
    assert names(tmp_path / "deep") == ["out/a/b/c.txt", "out/link/through.txt"]
    assert [defect.sentence.removesuffix("; it is left out") for defect in defects] == [
        "../up.txt would lie outside the folder",
        "/root.txt would lie outside the folder",
        "C:/disk.txt would lie outside the folder",
        "a/../../up.txt would lie outside the folder",
        "link is a link",
        f"{'n' * 300} cannot be written: File name too long",
    ]


def test_names_in_utf_8_without_the_flag_and_in_an_old_encoding(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as zipped:
        zipped.writestr("M_nchen.txt", "x")
        zipped.writestr("K__ln.txt", "x")
    # What ZipInfo writes itself is flagged; other programs write the bytes alone.
    raw = content.getvalue().replace(b"M_nchen", b"M\x81nchen").replace(b"K__ln", "Köln".encode())
    (tmp_path / "a.zip").write_bytes(raw)
    assert unpack(tmp_path / "a.zip", tmp_path / "out") == []
    assert names(tmp_path / "out") == ["Köln.txt", "München.txt"]


def test_a_broken_member_is_left_out_and_the_former_content_replaced(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("a.txt", "sound")
        zipped.writestr("b.txt", "broken")
        zipped.writestr("a.txt/c.txt", "below a file")
    archive.write_bytes(archive.read_bytes().replace(b"broken", b"BROKEN", 1))
    out = tmp_path / "out"
    out.mkdir()
    (out / "former.txt").write_text("")
    assert [defect.sentence.split(":")[0] for defect in unpack(archive, out)] == [
        "b.txt is broken",
        "a.txt/c.txt cannot be written",
    ]
    assert names(out) == ["a.txt"]


def test_a_zip_that_is_none_or_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "a.zip"
    archive.write_text("no zip")
    with pytest.raises(ArchiveError, match=r"a\.zip: File is not a zip file"):
        unpack(archive, tmp_path / "out")
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("a.txt", b"x" * 1000)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(999))
    with pytest.raises(ArchiveError, match=r"it holds 0\.0 GB, but .* has 0\.0 GB left"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_zip_that_would_fill_the_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("a.txt", bytes(1_000_000))
    assert unpack(archive, tmp_path / "small") == []
    monkeypatch.setattr(folders, "_LARGE", 900_000)
    with pytest.raises(ArchiveError, match=r"a\.zip: it would grow to 0\.0 GB: this is no archive"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_that_are_no_pictures_are_named(tmp_path: Path) -> None:
    for name in ("a.CR2", "b", "notes.txt"):
        (tmp_path / name).write_text("")
    assert [defect.sentence for defect in unused_files(tmp_path, [], str)] == [
        "with the suffix .CR2 this is no picture that can be read; the file is skipped",
        "without a suffix this is no picture that can be read; the file is skipped",
    ]


@settings(deadline=None, max_examples=60)
@given(
    st.binary(max_size=40),
    st.integers(0, 400),
    # Python writes no zip with a name that begins with a NUL.
    st.text(max_size=20).filter(lambda name: not name.startswith("\0")),
)
def test_no_zip_stops_the_reader(junk: bytes, place: int, name: str) -> None:
    """Any bytes of a zip may be others; what is left is read."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("annotations.xml", "<annotations/>")
        zipped.writestr(name or "a", "x" * 50)
    raw = content.getvalue()
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "a.zip")
        archive.write_bytes(raw[:place] + junk + raw[place + len(junk) :])
        try:
            unpack(archive, Path(folder, "out"))
        except ArchiveError:
            return
        read_cvat_xml(Path(folder, "out"))


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

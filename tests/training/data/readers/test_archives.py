from __future__ import annotations

import io
import shutil
import stat
import tempfile
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.readers import archives
from training.data.readers.archives import ArchiveError, unpack
from training.data.readers.cvat_xml import read_cvat_xml
from training.data.readers.folders import files_below


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in files_below(folder)]


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


def test_folders_that_windows_programs_write_are_no_files(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        for name in ("images\\", "images\\a.txt", "images\\deep\\"):
            zipped.writestr(zipfile.ZipInfo(name), "" if name.endswith("\\") else "x")
    assert unpack(tmp_path / "a.zip", tmp_path / "out") == []
    assert names(tmp_path / "out") == ["images/a.txt"]


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
    monkeypatch.setattr(archives, "_LARGE", 900_000)
    with pytest.raises(ArchiveError, match=r"a\.zip: it would grow to 0\.0 GB: this is no archive"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


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

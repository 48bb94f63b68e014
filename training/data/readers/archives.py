"""Zips of folders: unpacked so that nothing is written outside, and what is broken left out."""

from __future__ import annotations

import errno
import shutil
import stat
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path, PurePosixPath

from c3det.commands import naming
from training.data.readers.reading import Defect

_LARGE = 10**10
"""Bytes up to which any archive is unpacked that fits on the disk."""

_DENSEST = 100
"""How many times its size a larger archive may grow; pictures are compressed already."""

_OF_THE_NAME = (
    errno.EEXIST,
    errno.ENAMETOOLONG,
    errno.EINVAL,
    errno.EILSEQ,
    errno.ENOTDIR,
    errno.EISDIR,
)


class ArchiveError(ValueError):
    """A zip cannot be unpacked; the message names it, ``cause`` says why."""

    def __init__(self, archive: Path, cause: str) -> None:
        super().__init__(f"{archive}: {cause}")
        self.cause = cause


_INNER = {"images", "annotations", "jpegimages", "labels", "labeltxt", "annfiles", "train", "val"}
"""Names of folders, in lower case, that a data set has inside."""


def unpacked(source: Path, folder: Path) -> tuple[Path, list[Defect]]:
    """Return the folder of a zip, unpacked, and its defects; other sources stay as they are."""
    if source.is_file() and (source.suffix.lower() == ".zip" or zipfile.is_zipfile(source)):
        defects = unpack(source, folder)
        while (inner := _only_folder(folder)) is not None:
            folder = inner
        return folder, defects
    return source, []


def _only_folder(folder: Path) -> Path | None:
    """The folder that many programs put everything into, named like the archive, if there is one.

    Files of the system are not counted.
    """
    there = [path for path in folder.iterdir() if path.name[0] != "." and path.name != "__MACOSX"]
    if len(there) != 1 or not there[0].is_dir() or there[0].name.lower() in _INNER:
        return None
    return there[0]


def unpack(archive: Path, folder: Path) -> list[Defect]:
    """Unpack a zip.

    Nothing is written outside the folder: members with an absolute path or ``..``, and links, are
    left out.

    Args:
        archive: The zip.
        folder: Receives its files. It is complete or absent: what it held before is replaced once
            the new content is there.

    Returns:
        One defect for each member that is left out.

    Raises:
        ArchiveError: The file is no zip, or it does not fit on the disk.
        OSError: The disk cannot be written.
    """
    defects: list[Defect] = []
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        zipped = zipfile.ZipFile(archive)
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # a broken zip is met with errors of many kinds
        raise ArchiveError(archive, str(error)) from error
    with (
        zipped,
        tempfile.TemporaryDirectory(prefix=f".{folder.name[:60]}-", dir=folder.parent) as temporary,
    ):
        members = [one for one in zipped.infolist() if not _member_name(one).endswith("/")]
        needed, free = sum(m.file_size for m in members), shutil.disk_usage(temporary).free
        if needed > max(_LARGE, _DENSEST * archive.stat().st_size):
            raise ArchiveError(
                archive, f"it would grow to {needed / 1e9:.1f} GB: this is no archive of pictures"
            )
        if needed > free:
            cause = (
                f"it holds {needed / 1e9:.1f} GB, but {folder.parent} has {free / 1e9:.1f} GB left"
            )
            raise ArchiveError(archive, cause)
        unpacked = Path(temporary, "unpacked")
        unpacked.mkdir()
        for member in members:
            name = _member_name(member)
            fault = _fault(member, name) or _extract(zipped, member, unpacked, name)
            if fault:
                printable = name.encode("utf-8", "replace").decode()
                sentence = f"{printable} {fault}; it is left out"
                defects.append(Defect(archive, 1, "broken archive", sentence))
        if folder.is_dir():
            shutil.rmtree(folder)
        unpacked.replace(folder)
    return defects


def _member_name(member: zipfile.ZipInfo) -> str:
    """The name of a member; many programs write UTF-8 and do not set the flag that says so."""
    name = member.filename
    if not member.flag_bits & 0x800:
        with suppress(UnicodeError):  # it is in an old encoding, and nothing tells in which
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")


def _fault(member: zipfile.ZipInfo, name: str) -> str | None:
    parts = PurePosixPath(name).parts
    drive = len(name) > 1 and name[1] == ":"
    if not parts or name.startswith("/") or drive or ".." in parts:
        return "would lie outside the folder"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a link"
    if member.flag_bits & 0x1:
        return "is encrypted"
    return None


def _extract(
    zipped: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, name: str
) -> str | None:
    """Write a member; return what is wrong with it where that cannot be done."""
    target = folder / name
    try:
        if target.exists():
            return "is there twice"
        target.parent.mkdir(parents=True, exist_ok=True)
        with naming(target), zipped.open(member) as source, target.open("xb") as file:
            shutil.copyfileobj(source, file)
        return None
    except OSError as error:
        if error.errno is not None and error.errno not in _OF_THE_NAME:
            raise
        fault = f"cannot be written: {error.strerror or error}"
    except Exception as error:  # each method of compression has errors of its own
        fault = f"is broken: {error}"
    with suppress(OSError, ValueError):
        target.unlink()
    return fault

"""Folders of a data set: their pictures, and the files that are not used."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath

from training.data.picture_files import SUFFIXES, PictureError, check_whole, on_disk, picture_size
from training.data.readers.reading import Defect, Position, Report, listing, plural

_BESIDE = {
    *(".txt", ".xml", ".json", ".yaml", ".yml", ".csv", ".md", ".names", ".data", ".html"),
    *(".cache", ".log", ".db", ".ini"),
    *(".tfw", ".jgw", ".pgw", ".wld", ".prj", ".ovr", ".aux", ".geojson"),  # of aerial pictures
}
"""Suffixes that are no pictures and stand beside pictures for good reasons."""


def absolute(path: Path) -> str:
    """Return a path to compare with others: absolute, without ``..``, links not followed."""
    return os.path.abspath(path)


def known_split(name: str) -> str | None:
    """Return the split that a file of another tool means by a name, such as ``train2017``."""
    words = {"train": "train", "training": "train", "test": "test", "testing": "test"}
    words |= dict.fromkeys(("val", "valid", "validation"), "val")
    return words.get(name.strip().lower().rstrip("0123456789"))


def files_below(folder: Path, suffixes: Collection[str] = ()) -> list[Path]:
    """Return all files below a folder, sorted; hidden ones, and what macOS adds to zips, are none.

    Links to folders are followed, each folder is entered once.

    Args:
        folder: To look in.
        suffixes: In lower case; left out, files of any suffix are returned.

    Raises:
        OSError: A folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise error

    found: list[Path] = []
    entered: set[tuple[int, int]] = set()
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        identity = os.stat(parent)
        if (identity.st_dev, identity.st_ino) in entered:
            folders.clear()
            continue
        entered.add((identity.st_dev, identity.st_ino))
        folders[:] = sorted(name for name in folders if name[0] != "." and name != "__MACOSX")
        found += (Path(parent, name) for name in files if name[0] != ".")
    return sorted(path for path in found if not suffixes or path.suffix.lower() in suffixes)


def find_files(folder: Path, names: Collection[str]) -> list[Path]:
    """Return the files of some names: those in a folder, or else those below it."""
    here = [folder / name for name in names if (folder / name).is_file()]
    return here or [path for path in files_below(folder) if path.name in names]


def names_in(folder: Path, files: Iterable[Path] = ()) -> str:
    """Name some or else all files of a folder in a sentence; empty where there is none."""
    return listing([path.relative_to(folder).as_posix() for path in files or files_below(folder)])


def unused_files(
    folder: Path, used: Iterable[Path], sentence: Callable[[Path], str]
) -> list[Defect]:
    """Report what lies below a folder of pictures and is not used.

    Args:
        folder: Of the pictures.
        used: The pictures that labels name.
        sentence: What is wrong with a picture that none names.
    """
    known = set(map(absolute, used))
    defects = []
    for path in files_below(folder):
        suffix = path.suffix.lower()
        if absolute(path) in known or suffix in _BESIDE:
            continue
        if suffix in SUFFIXES:
            defects.append(Defect(path, 1, "picture without labels", sentence(path)))
        else:
            kind = f"with the suffix {path.suffix}" if suffix else "without a suffix"
            unknown = f"{kind} this is no picture that can be read; the file is skipped"
            defects.append(Defect(path, 1, "unknown file", unknown))
    return defects


def unknown_files(folder: Path, suffix: str) -> list[Defect]:
    """Report the files below a folder of label files that are none, by their suffix."""
    return [
        Defect(path, 1, "unknown file", f"this is no {suffix} file; it is skipped")
        for path in files_below(folder)
        if path.suffix.lower() != suffix
    ]


def unlisted_pictures(folder: Path, used: Iterable[Path], *, below: bool) -> tuple[Path, ...]:
    """Return the pictures that a file which lists pictures does not list.

    Args:
        folder: Of the pictures.
        used: Those that it lists.
        below: Look at all that is below the folder, not only where listed pictures lie.
    """
    known = set(map(absolute, used))
    if below:
        around: Iterable[Path] = files_below(folder, SUFFIXES) if folder.is_dir() else ()
    else:
        parents = sorted({Path(path).parent for path in known})
        around = (path for parent in parents for path in sorted(parent.iterdir()))
    return tuple(
        path
        for path in around
        if path.suffix.lower() in SUFFIXES and path.name[0] != "." and absolute(path) not in known
    )


def is_absolute(name: str) -> bool:
    """Tell whether a name, with slashes, is a whole path, of Windows or any other system."""
    return name.startswith("/") or name[1:3] == ":/"


def tails(name: str) -> Iterator[PurePosixPath]:
    """A path, then what is left of it without its first folders, one after the other.

    Lists hold paths of the machine that wrote them, CVAT's begin with ``data/``, and Roboflow's
    ``../train/images`` lies in the folder of the description.
    """
    parts = [part for part in PurePosixPath(name).parts if part not in ("/", "..", ".")]
    for start in range(len(parts)):
        yield PurePosixPath(*parts[start:])


class PictureFolder:
    """Finds pictures by the names that annotation files give them.

    Args:
        root: The folder of the pictures.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._by_stem: dict[Path, dict[str, list[Path]]] = {}
        self._by_end: dict[str, Path] = {}

    def plain(self, name: str) -> str:
        """Return a name with slashes: those of Windows are turned, and an address is a path."""
        if "\\" not in name and "://" not in name:
            return name
        if self._find(name) is not None:  # elsewhere, a name may have such letters
            return name
        return re.sub(r"^\w[\w+.-]+://+", "/", name.replace("\\", "/"))

    def find(self, name: str) -> Path | None:
        """Return the picture of a name, which may have another suffix or none.

        Of an absolute path or an address that is not here, the last folders and the file are looked
        for, as many as there are.
        """
        plain = self.plain(name)
        found = self._find(plain)
        if found is None and is_absolute(plain):
            found = next(filter(None, map(self._find, map(str, tails(plain)))), None)
            if found is not None:
                self._by_end[name] = found
        return found

    def notes(self) -> tuple[str, ...]:
        """Sentences on what was found in another place than it is said to be."""
        if not self._by_end:
            return ()
        name, path = next(iter(self._by_end.items()))
        count = len(self._by_end)
        pictures = plural(count, "picture is", "pictures are")
        return (f"{pictures} found by the end of an absolute path, such as {path} for {name}",)

    def _find(self, name: str) -> Path | None:
        path = on_disk(self.root / name)
        try:
            if path.is_file():
                return path
        except OSError:  # the name is too long for the file system
            return None
        known = Path(name).suffix.lower() in SUFFIXES
        stem = unicodedata.normalize("NFC", path.stem if known else path.name)
        found = self._stems(path.parent).get(stem, [])
        return found[0] if len(found) == 1 else None

    def _stems(self, folder: Path) -> dict[str, list[Path]]:
        if folder not in self._by_stem:
            stems: dict[str, list[Path]] = {}
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                if path.suffix.lower() in SUFFIXES:
                    stem = unicodedata.normalize("NFC", path.stem)
                    stems.setdefault(stem, []).append(path)
            self._by_stem[folder] = stems
        return self._by_stem[folder]


def check_picture(
    path: Path, stated: tuple[int, int] | None, report: Report, place: Position
) -> tuple[int, int] | None:
    """Compare a picture with the size that the annotations state.

    Args:
        path: The picture.
        stated: Width and height in pixels; ``None`` where the annotations state none.
        report: Receives the defect.
        place: Of the annotations.

    Returns:
        Width and height of the picture, or ``None`` where it must be left out: it cannot be read,
        or it has another size, so that the coordinates mean nothing.
    """
    try:
        height, width = picture_size(path)
        check_whole(path)
    except PictureError as error:
        report.add(place, "unreadable picture", f"{error}; the picture is left out")
        return None
    if stated is not None and stated != (width, height):
        sentence = (
            f"{path} is {width} x {height} pixels large, not {stated[0]} x {stated[1]} as stated; "
            "the picture is left out"
        )
        report.add(place, "other picture size", sentence)
        return None
    return width, height

"""DOTA's ``labelTxt``: one text file a picture, with eight corners, class and difficulty a line.

Up to two header lines, ``imagesource:`` and ``gsd:``, stand above the objects. The corners are
kept, the box is their horizontal hull. A difficulty of 1 is the annotators' "difficult"; 2 is
written by DOTA's own tool for objects cut by the edge of a tile. Both are ignored here. The
difficulty may be left out, and a class may have spaces in its name.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from training.data.annotated import Index, Record
from training.data.picture_files import SUFFIXES
from training.data.readers.folders import (
    PictureFolder,
    check_picture,
    files_below,
    unknown_files,
    unused_files,
)
from training.data.readers.objects import Objects
from training.data.readers.reading import Defect, Reading, Report, in_order, listing, plural
from training.data.readers.text import number, read_text

Version = Literal["1.0", "1.5", "2.0"]

_V10 = (
    "plane",
    "baseball-diamond",
    "bridge",
    "ground-track-field",
    "small-vehicle",
    "large-vehicle",
    "ship",
    "tennis-court",
    "basketball-court",
    "storage-tank",
    "soccer-ball-field",
    "roundabout",
    "harbor",
    "swimming-pool",
    "helicopter",
)
CLASSES: dict[Version, tuple[str, ...]] = {
    "1.0": _V10,
    "1.5": (*_V10, "container-crane"),
    "2.0": (*_V10, "container-crane", "airport", "helipad"),
}
TINY_CLASSES = (
    "plane",
    "bridge",
    "small-vehicle",
    "large-vehicle",
    "ship",
    "storage-tank",
    "swimming-pool",
    "helicopter",
)
"""Those of Tiny-DOTA; they are called so in every version."""


_DIFFICULTIES = ("0", "1", "2")
_FIELDS = "eight coordinates, class, difficulty"


def read_dota(
    source: Path,
    images: Path | None = None,
    version: Version | None = None,
    labels: Path | None = None,
    classes: Sequence[str] | None = None,
) -> Reading:
    """Read and validate a folder in DOTA's format.

    Args:
        source: A folder with ``images`` and ``labelTxt``; the latter may be called ``annfiles`` or,
            with DOTA's own versions, ``labelTxt-v<version>``. Folders in them are searched too;
            where those of a picture and of its labels differ, the name has to be there once.
        images: Folder of the pictures; by default ``images`` in the source.
        version: The classes are those of this version of DOTA.
        labels: Folder of the text files; by default as described under ``source``.
        classes: The classes that there are, instead of a version's. With neither, they are all that
            occur: DOTA's of version 2.0 where no other occurs, and otherwise in alphabetical order.

    Returns:
        The data set and all defects. The name of a picture is the path of its file in the folder of
        the pictures.

    Raises:
        ValueError: Both ``version`` and ``classes`` are given.
    """
    if version is not None and classes is not None:
        raise ValueError("the classes are those of a version of DOTA or a list of names, not both")
    images = images or source / "images"
    if labels is None:
        names = [f"labelTxt-v{version or '2.0'}", "labelTxt", "annfiles"]
        found = (source / name for name in names if (source / name).is_dir())
        labels = next(found, source / "labelTxt")
    defects = [
        Defect(folder, 1, "missing file", "there is no such folder")
        for folder in (images, labels)
        if not folder.is_dir()
    ]
    known = CLASSES[version or "2.0"] if classes is None else tuple(dict.fromkeys(classes))
    if defects:
        return Reading(Index(known, ()), tuple(defects))
    texts = files_below(labels, {".txt"})
    files = [
        _File(Report(path, defects), path.relative_to(labels).with_suffix("").as_posix())
        for path in texts
    ]
    if version is None and classes is None:
        occurring = {row.name for file in files for row in file.rows}
        if not occurring <= set(known):
            known = tuple(sorted(occurring))
    label_of = {name: label for label, name in enumerate(known)}
    none_of = (
        "none of DOTA's in this version" if classes is None else f"not one of {listing(known)}"
    )
    records: dict[str, Record] = {}
    folder = PictureFolder(images)
    elsewhere = _only_ones(files_below(images, SUFFIXES))
    alone = _only_ones(texts)
    used: list[Path] = []
    for file in tqdm(files, "pictures", disable=None, leave=False):
        picture = folder.find(file.name)
        stem = Path(file.name).name
        if picture is None and stem in alone:
            picture = elsewhere.get(stem)
        if picture is None and file.sound:
            sentence = f"there is no picture, or more than one, called {file.name} in {images}"
            file.report.add(1, "missing picture", f"{sentence}; it is left out")
        elif picture is not None:
            used.append(picture)
            name = Path(os.path.relpath(picture, images)).as_posix()
            if name in records:
                sentence = f"the picture {name} has another file already; this one is left out"
                file.report.add(1, "duplicate picture", sentence)
            elif record := file.record(name, picture, label_of, none_of):
                records[name] = record

    def without(picture: Path) -> str:
        file = labels / picture.relative_to(images).with_suffix(".txt")
        return f"there is no {file}; the picture is left out"

    defects += unused_files(images, used, without)
    if labels not in (images, *images.parents):
        defects += unknown_files(labels, ".txt")
    notes = []
    if short := sum(row.difficulty is None for file in files for row in file.rows):
        lines = plural(short, "line has", "lines have")
        notes.append(f"{lines} no difficulty; it is read as 0")
    index = Index(known, tuple(records.values()))
    return Reading(index, in_order(defects), tuple(notes))


def _only_ones(files: Sequence[Path]) -> dict[str, Path]:
    """Pictures or label files by their names without suffix, as far as each is there once.

    DOTA's own archives put pictures and labels into folders of different names.
    """
    stems = Counter(path.stem for path in files)
    return {path.stem: path for path in files if stems[path.stem] == 1}


@dataclass(frozen=True)
class _Row:
    """An object as it stands in a file; the difficulty is None where the line has none."""

    line: int
    numbers: tuple[float, ...]
    name: str
    difficulty: str | None


class _File:
    """The objects of a text file.

    Args:
        report: Of the file, which is read at once.
        name: Of its picture, without the suffix.
    """

    def __init__(self, report: Report, name: str) -> None:
        self.name = name
        self.report = report
        self.rows: list[_Row] = []
        text = read_text(report.file, report)
        self.sound = text is not None
        lines = (text or "").splitlines()
        start = self._skip_header(lines)
        for count, line in enumerate(lines[start:], start=start + 1):
            row = self._row(line.split(), count) if line.strip() else None
            if row is not None:
                self.rows.append(row)

    def _skip_header(self, lines: list[str]) -> int:
        """Check the lines above the objects; return how many there are."""
        for count, line in enumerate(lines):
            key, colon, value = line.partition(":")
            if not colon or key.strip() not in ("imagesource", "gsd"):
                return count
            value = value.strip()
            if key.strip() == "gsd" and value.lower() not in ("", "null", "none"):
                resolution = number(value)
                if resolution is None or not 0 < resolution < math.inf:
                    sentence = f"the ground sample distance is {value!r}, not metres"
                    self.report.add(count + 1, "broken header", f"{sentence}; it is not used")
        return len(lines)

    def _row(self, fields: list[str], line: int) -> _Row | None:
        if len(fields) < 9:
            sentence = f"the line has {len(fields)} fields, not 10 ({_FIELDS}); it is left out"
            self.report.add(line, "number of fields", sentence)
            return None
        numbers = []
        for text in fields[:8]:
            value = number(text)
            if value is None:
                sentence = f"the coordinate {text!r} is no number; the object is left out"
                self.report.add(line, "not a number", sentence)
                return None
            numbers.append(value)
        name, rest = fields[8], fields[9:]
        if len(rest) > 1 and rest[0] not in _DIFFICULTIES and rest[-1] in _DIFFICULTIES:
            name, rest = " ".join(fields[8:-1]), rest[-1:]  # a class of several words
        if len(rest) > 1:
            sentence = f"the line has {len(fields)} fields, not 10 ({_FIELDS})"
            behind = f"what is behind the tenth, {' '.join(rest[1:])[:80]!r}, is not read"
            self.report.add(line, "number of fields", f"{sentence}; {behind}")
        difficulty = rest[0] if rest else None
        if difficulty is not None and difficulty not in _DIFFICULTIES:
            sentence = f"the difficulty is {difficulty!r}, not 0, 1 or 2; it is read as 0"
            self.report.add(line, "broken flag", sentence)
        return _Row(line, tuple(numbers), name, difficulty)

    def record(
        self, name: str, picture: Path, label_of: dict[str, int], none_of: str
    ) -> Record | None:
        """Return the picture with its objects, or None, reported.

        Args:
            name: Of the record.
            picture: The file of the picture.
            label_of: Classes by name.
            none_of: What a class is that is not among them.
        """
        size = check_picture(picture, None, self.report, 1) if self.sound else None
        if size is None:
            return None
        objects = Objects(*size, self.report)
        for row in self.rows:
            if row.name not in label_of:
                sentence = f"the class {row.name!r} is {none_of}"
                self.report.add(row.line, "unknown class", f"{sentence}; the object is left out")
                continue
            corners = list(zip(row.numbers[::2], row.numbers[1::2], strict=True))
            ignored = row.difficulty in ("1", "2")
            objects.add(
                row.line, "the object", label_of[row.name], corners=corners, ignored=ignored
            )
        return objects.to_record(name, picture)

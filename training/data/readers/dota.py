"""DOTA's ``labelTxt``: one text file a picture, with eight corners, class and difficulty a line.

Up to two header lines, ``imagesource:`` and ``gsd:``, stand above the objects. The corners are
kept, the box is their horizontal hull. A difficulty of 1 is the annotators' "difficult"; 2 is
written by DOTA's own tool for objects cut by the edge of a tile. Both are ignored here. The
difficulty may be left out, and a class may have spaces in its name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from tqdm import tqdm

from training.data.picture_files import SUFFIXES
from training.data.readers.builder import ReadingBuilder
from training.data.readers.folders import files_below, unknown_files, unused_files
from training.data.readers.reading import Reading, Report, listing
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
_DIFFICULTIES = ("0", "1", "2")
_FIELDS = "eight coordinates, class, difficulty"
_NO_DIFFICULTY = (
    "line has no difficulty; it is read as 0",
    "lines have no difficulty; it is read as 0",
)


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
        folders = [source / f"labelTxt-v{version or '2.0'}", source / "labelTxt"]
        found = filter(Path.is_dir, (*folders, source / "annfiles"))
        labels = next(found, source / "labelTxt")
    builder = ReadingBuilder(images)
    known = CLASSES[version or "2.0"] if classes is None else tuple(dict.fromkeys(classes))
    for folder in (images, labels):
        if not folder.is_dir():
            builder.report(folder).add(1, "missing file", "there is no such folder")
    if builder.defects:
        return builder.reading(known)
    rows = {path: _read_rows(builder.report(path)) for path in files_below(labels, {".txt"})}
    every_row = [row for of_file in rows.values() for row in of_file or ()]
    builder.counts.update(_NO_DIFFICULTY for row in every_row if row.difficulty is None)
    if version is None and classes is None:
        occurring = {row.name for row in every_row}
        if not occurring <= set(known):
            known = tuple(sorted(occurring))
    label_of = {name: label for label, name in enumerate(known)}
    none_of = (
        "none of DOTA's in this version" if classes is None else f"not one of {listing(known)}"
    )
    elsewhere, alone = _by_unique_stem(files_below(images, SUFFIXES)), _by_unique_stem(rows)
    for path, of_file in tqdm(rows.items(), "pictures", disable=None, leave=False):
        report = builder.report(path)
        name = path.relative_to(labels).with_suffix("").as_posix()
        picture = builder.folder.find(name)
        if picture is None and path.stem in alone:
            picture = elsewhere.get(path.stem)
        if picture is None:
            if of_file is not None:
                sentence = f"there is no picture, or more than one, called {name} in {images}"
                report.leave_out(1, "missing picture", sentence)
            continue
        builder.used.append(picture)
        objects = None if of_file is None else builder.open(picture, report, 1)
        if of_file is None or objects is None:
            continue
        for row in of_file:
            if row.name not in label_of:
                sentence = f"the class {row.name!r} is {none_of}; the object is left out"
                report.add(row.line, "unknown class", sentence)
                continue
            corners = list(zip(row.numbers[::2], row.numbers[1::2], strict=True))
            label, ignored = label_of[row.name], row.difficulty in ("1", "2")
            objects.add(row.line, "the object", label, corners=corners, ignored=ignored)

    def without(picture: Path) -> str:
        file = labels / picture.relative_to(images).with_suffix(".txt")
        return f"there is no {file}; the picture is left out"

    builder.defects += unused_files(images, builder.used, without)
    if labels not in (images, *images.parents):
        builder.defects += unknown_files(labels, ".txt")
    return builder.reading(known)


def _by_unique_stem(files: Iterable[Path]) -> dict[str, Path]:
    """Pictures or label files by their names without suffix, as far as each is there once.

    DOTA's own archives put pictures and labels into folders of different names.
    """
    files = list(files)
    stems = Counter(path.stem for path in files)
    return {path.stem: path for path in files if stems[path.stem] == 1}


class _Row(NamedTuple):
    """An object as it stands in a file; the difficulty is None where the line has none."""

    line: int
    numbers: tuple[float, ...]
    name: str
    difficulty: str | None


def _read_rows(report: Report) -> list[_Row] | None:
    """Read a text file; ``None``, reported, where that fails."""
    text = read_text(report.file, report)
    if text is None:
        return None
    rows, in_header = [], True
    for line, content in enumerate(text.splitlines(), start=1):
        key, colon, _ = content.partition(":")
        in_header = in_header and colon == ":" and key.strip() in ("imagesource", "gsd")
        if not in_header and content.strip():
            rows.append(_read_row(content.split(), line, report))
    return [row for row in rows if row is not None]


def _read_row(fields: list[str], line: int, report: Report) -> _Row | None:
    if len(fields) < 9:
        sentence = f"the line has {len(fields)} fields, not 10 ({_FIELDS})"
        report.leave_out(line, "number of fields", sentence)
        return None
    numbers = []
    for text in fields[:8]:
        value = number(text)
        if value is None:
            sentence = f"the coordinate {text!r} is no number; the object is left out"
            report.add(line, "not a number", sentence)
            return None
        numbers.append(value)
    name, rest = fields[8], fields[9:]
    if len(rest) > 1 and rest[-1] in _DIFFICULTIES:
        name, rest = " ".join(fields[8:-1]), rest[-1:]  # a class of several words
    if len(rest) > 1:
        sentence = f"the line has {len(fields)} fields, not 10 ({_FIELDS})"
        behind = f"what is behind the tenth, {' '.join(rest[1:])[:80]!r}, is not read"
        report.add(line, "number of fields", f"{sentence}; {behind}")
    difficulty = rest[0] if rest else None
    if difficulty is not None and difficulty not in _DIFFICULTIES:
        sentence = f"the difficulty is {difficulty!r}, not 0, 1 or 2; it is read as 0"
        report.add(line, "broken flag", sentence)
    return _Row(line, tuple(numbers), name, difficulty)

"""DOTA's ``labelTxt``: one text file a picture, with eight corners, class and difficulty a line.

Up to two header lines, ``imagesource:`` and ``gsd:``, stand above the objects. The corners are
kept, the box is their horizontal hull. A difficulty of 1 is the annotators' "difficult"; 2 is
written by DOTA's own tool for objects cut by the edge of a tile. Both are difficult here.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from training.data.index import Index, Record
from training.data.pictures import SUFFIXES
from training.data.readers.defects import (
    Defect,
    Objects,
    PictureFolder,
    Reading,
    Report,
    check_picture,
)
from training.data.readers.text import read_text

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


def read_dota(
    source: Path, images: Path | None = None, version: Version = "2.0", labels: Path | None = None
) -> Reading:
    """Read and validate a folder of DOTA.

    Args:
        source: A folder with ``images`` and ``labelTxt``; the latter may be called
            ``labelTxt-v<version>``.
        images: Folder of the pictures; by default ``images`` in the source.
        version: Which classes there are.
        labels: Folder of the text files; by default as described under ``source``.

    Returns:
        The data set and all defects. The name of a picture is that of its file.
    """
    images = images or source / "images"
    if labels is None:
        versioned = source / f"labelTxt-v{version}"
        labels = versioned if versioned.is_dir() else source / "labelTxt"
    defects = [
        Defect(folder, 1, "missing file", "there is no such folder")
        for folder in (images, labels)
        if not folder.is_dir()
    ]
    if defects:
        return Reading(Index(CLASSES[version], ()), tuple(defects))
    files = {path.stem: path for path in sorted(labels.glob("*.txt"))}
    label_of = {name: label for label, name in enumerate(CLASSES[version])}
    records: list[Record] = []
    folder = PictureFolder(images)
    for path in tqdm(files.values(), "pictures", disable=None, leave=False):
        report = Report(path)
        record = _read_file(path, folder, label_of, report)
        if record is not None:
            records.append(record)
        defects += report.defects
    for picture in sorted(images.iterdir()):
        if picture.suffix.lower() in SUFFIXES and picture.stem not in files:
            sentence = f"there is no {labels / picture.stem}.txt; the picture is left out"
            defects.append(Defect(picture, 1, "missing file", sentence))
    return Reading(Index(CLASSES[version], tuple(records)), tuple(sorted(defects)))


def _read_file(
    path: Path, folder: PictureFolder, label_of: dict[str, int], report: Report
) -> Record | None:
    text = read_text(path, report)
    if text is None:
        return None
    picture = folder.find(path.stem)
    if picture is None:
        sentence = f"there is no picture, or more than one, called {path.stem} in {folder.root}"
        report.add(1, "missing picture", f"{sentence}; it is left out")
        return None
    size = check_picture(picture, None, report, 1)
    if size is None:
        return None
    objects = Objects(*size, report)
    lines = text.splitlines()
    start = _skip_header(lines, report)
    for number, line in enumerate(lines[start:], start=start + 1):
        if line.strip():
            _read_line(line.split(), number, label_of, objects, report)
    return objects.record(picture.name, picture)


def _skip_header(lines: list[str], report: Report) -> int:
    """Check the lines above the objects; return how many there are."""
    for number, line in enumerate(lines):
        key, colon, value = line.partition(":")
        if not colon or key.strip() not in ("imagesource", "gsd"):
            return number
        value = value.strip()
        if key.strip() == "gsd" and value.lower() not in ("", "null", "none"):
            resolution = _number(value)
            if resolution is None or not 0 < resolution < math.inf:
                sentence = f"the ground sample distance is {value!r}, not metres; it is not used"
                report.add(number + 1, "broken header", sentence)
    return len(lines)


def _read_line(
    fields: list[str], line: int, label_of: dict[str, int], objects: Objects, report: Report
) -> None:
    if len(fields) != 10:
        sentence = (
            f"the line has {len(fields)} fields, not 10 (eight coordinates, class, difficulty); "
            "it is left out"
        )
        report.add(line, "number of fields", sentence)
        return
    *texts, name, difficulty = fields
    values = [_number(text) for text in texts]
    numbers = [value for value in values if value is not None]
    if len(numbers) < 8:
        broken = texts[values.index(None)]
        sentence = f"the coordinate {broken!r} is no number; the object is left out"
        report.add(line, "not a number", sentence)
    elif name not in label_of:
        sentence = f"the class {name!r} is none of DOTA's in this version; the object is left out"
        report.add(line, "unknown class", sentence)
    else:
        if difficulty not in ("0", "1", "2"):
            sentence = f"the difficulty is {difficulty!r}, not 0, 1 or 2; it is taken for 0"
            report.add(line, "broken flag", sentence)
        corners = list(zip(numbers[::2], numbers[1::2], strict=True))
        difficult = difficulty in ("1", "2")
        objects.add(line, "the object", label_of[name], corners=corners, difficult=difficult)


def _number(text: str) -> float | None:
    """Read a number; words such as ``nan`` are numbers here and are found by `Objects`."""
    try:
        return float(text)
    except ValueError:
        return None

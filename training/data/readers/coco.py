"""COCO JSON: boxes of ``annotations``, with the keys that `training.data.index` adds.

CVAT's COCO export writes a rotated box as the box before the rotation, and the angle (degrees,
clockwise) as the attribute ``rotation``; it is read as four corners. Masks, polygons and keypoints
are not read: what counts is ``bbox``. Where that is left out, it is the box around polygons or a
mask. An object whose attribute ``difficult`` is checked is ignored.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard

from tqdm import tqdm

from training.data.picture_files import SUFFIXES
from training.data.readers.builder import ReadingBuilder
from training.data.readers.folders import (
    PictureFolder,
    files_below,
    known_split,
    names_in,
    unlisted_pictures,
)
from training.data.readers.objects import Corners, Objects, hull
from training.data.readers.reading import Position, Reading, Report, distinct, merge, nothing
from training.data.readers.text import is_text, read_json

_IGNORED = ("iscrowd", "difficult")
"""Flags of annotations that are to be ignored."""

_OURS = ("split.json", ".clicks.json")
"""What `training.data.splits` writes beside its COCO files."""

_NO_BBOX = (
    "object has no bbox, polygons and masks are read as the box around them",
    "objects have no bbox, polygons and masks are read as the box around them",
)

Entry = dict[str, Any]

Identity = int | str


def read_coco(path: Path, images: Path | None = None, *, open_pictures: bool = True) -> Reading:
    """Read and validate a COCO JSON file, or a folder of them such as CVAT's zip unpacked.

    Args:
        path: The file, or a folder with ``annotations/instances_<subset>.json``, or else with other
            JSON files, such as Roboflow's ``<subset>/_annotations.coco.json``. A subset called
            train, validation or test is the split of its pictures.
        images: Folder to which the names of the pictures are relative; by default that of the file,
            and of a folder the first that has them: the one beside the file where that holds
            pictures, ``images/<subset>``, ``<subset>``, ``images`` and the folder itself.
        open_pictures: Compare every picture with its size in the file. Otherwise
            pictures may be missing.

    Returns:
        The data set, classes in the order of the file, and all defects.
    """
    if path.is_dir():
        return _read_folder(path, images)
    return _read_file(path, [images or path.parent], open_pictures, below=images is not None)


def _read_file(
    path: Path, folders: Sequence[Path], open_pictures: bool = True, *, below: bool = True
) -> Reading:
    """Read a file whose pictures are in the first of some folders that has one of them."""
    builder = ReadingBuilder(folders[0])
    report = builder.report(path)
    content = read_json(path, report)
    if builder.defects:
        return builder.reading(())
    if len(folders) > 1:
        names = _first_names(content)
        places = (PictureFolder(folder) for folder in folders)
        having = (place for place in places if any(map(place.find, names)))
        builder.folder = next(having, builder.folder)
    reader = _Reader(content, builder, report, open_pictures)
    reader.read()
    unlisted: tuple[Path, ...] = ()
    if open_pictures:
        unlisted = unlisted_pictures(builder.folder.root, builder.used, below=below)
    return builder.reading(reader.classes, unlisted)


def _first_names(content: Any) -> list[str]:
    """Some of the pictures that a file names."""
    images = content.get("images") if isinstance(content, dict) else None
    entries = images[:10] if isinstance(images, list) else ()
    names = (entry.get("file_name") for entry in entries if isinstance(entry, dict))
    return [name for name in names if is_text(name) and name]


def _read_folder(folder: Path, images: Path | None) -> Reading:
    """Read the files of a folder and join them."""
    files = [path for path in files_below(folder, {".json"}) if not path.name.endswith(_OURS)]
    files = [path for path in files if path.parent.name == "annotations"] or files
    files = [path for path in files if path.name.startswith("instances_")] or files
    if not files:
        there = names_in(folder) or "nothing"
        return nothing(folder, f"there is no JSON file in this folder, but {there}")
    subsets = [path.stem.rpartition("_")[2] for path in files]
    above = [one.parent.parent if one.parent.name == "annotations" else one.parent for one in files]
    readings = []
    for path, subset, parent in zip(files, subsets, above, strict=True):
        around = dict.fromkeys((parent, folder))
        places = [
            place / name for name in (f"images/{subset}", subset, "images") for place in around
        ]
        if any(one.suffix.lower() in SUFFIXES for one in parent.iterdir()):
            places.insert(0, parent)
        places = [*filter(Path.is_dir, places), folder]
        reading = _read_file(path, places if images is None else [images])
        split = known_split(subset) or known_split(parent.name)
        splits = {record.name: split for record in reading.index.records} if split else {}
        readings.append(replace(reading, splits=splits))
    return merge(readings, distinct(subsets, [one.name for one in above]))


class _Reader:
    """One pass over the content of a file: classes, then pictures, then annotations."""

    def __init__(
        self, content: Any, builder: ReadingBuilder, report: Report, open_pictures: bool
    ) -> None:
        self.content = content
        self.builder = builder
        self.report = report
        self.open_pictures = open_pictures
        self.classes: list[str] = []
        self.label_of: dict[Identity, int] = {}
        # By id, what is known of a picture; None where it was left out.
        self.pictures: dict[Identity, Objects | None] = {}

    def read(self) -> None:
        """Read everything."""
        for place, entry in self._entries("categories"):
            identity = self._identity(place, entry, self.label_of)
            if identity is not None:
                self._category(place, entry, identity)
        for place, entry in self._entries("images"):
            identity = self._identity(place, entry, self.pictures)
            if identity is not None:
                self.pictures[identity] = self._picture(place, entry)
        annotations: dict[Identity, Position] = {}
        for place, entry in self._entries("annotations"):
            self._annotation(place, entry, annotations)

    def _entries(self, section: str) -> Iterator[tuple[Position, Entry]]:
        """The objects of a section, each with its place."""
        entries = self.content.get(section) if isinstance(self.content, dict) else None
        if not isinstance(entries, list):
            self.report.add(1, "missing field", f"the file has no list {section!r}")
            return
        for number, entry in enumerate(tqdm(entries, section, disable=None, leave=False)):
            if isinstance(entry, dict):
                yield f"{section}[{number}]", entry
            else:
                sentence = f"the entry is no object but {_json(entry)}"
                self.report.leave_out(f"{section}[{number}]", "missing field", sentence)

    def _identity(
        self, place: Position, entry: Entry, taken: Collection[Identity]
    ) -> Identity | None:
        """The id of a category or a picture, or None, reported, where it is none or taken."""
        identity = _identity(entry.get("id"))
        if identity is None:
            sentence = f"the id is {_json(entry.get('id'))}, neither a whole number nor a text"
            self.report.add(place, "missing field", f"{sentence}; the entry is left out")
            return None
        if identity in taken:
            sentence = f"the id {identity} is taken by an earlier entry; this one is left out"
            self.report.add(place, "duplicate id", sentence)
            return None
        return identity

    def _category(self, place: Position, entry: Entry, identity: Identity) -> None:
        name = entry.get("name")
        name = name.strip() if is_text(name) else ""
        if not name:
            self.report.leave_out(place, "missing field", f"category {identity} has no name")
            return
        if name in self.classes:
            sentence = f"the name {name!r} of category {identity} is taken; both are one class"
            self.report.add(place, "duplicate class", sentence)
        else:
            self.classes.append(name)
        self.label_of[identity] = self.classes.index(name)

    def _picture(self, place: Position, entry: Entry) -> Objects | None:
        root = self.builder.folder.root
        file_name = entry.get("file_name")
        name = entry.get("name")
        if not file_name or not (is_text(file_name) or (is_text(name) and _is_path(file_name))):
            self.report.leave_out(place, "missing field", "the picture has no file_name")
            return None
        file_name = self.builder.folder.plain(file_name)
        name = name if is_text(name) and name else file_name
        if name in self.builder.pictures:
            sentence = f"the name {name} is taken; this picture and its objects are left out"
            self.report.add(place, "duplicate picture", sentence)
            return None
        width, height = entry.get("width"), entry.get("height")
        size: tuple[int, int] | None = None
        if isinstance(width, int) and isinstance(height, int) and min(width, height) > 0:
            size = width, height
        else:
            sentence = f"{name} has no width and height, but {width!r} and {height!r}"
            self.report.add(place, "missing field", sentence)
        objects = None
        if self.open_pictures:
            found = self.builder.folder.find(file_name)
            path = self.builder.use(found, self.report, place, root / file_name)
            if path is None:
                return None
            objects = self.builder.open(path, self.report, place, size, name)
        elif size is not None:
            objects = Objects(name, root / file_name, *size, self.report)
            self.builder.pictures[name] = objects
        if objects is not None:
            self._clicks(place, entry.get("clicks", []), objects)
        return objects

    def _clicks(self, place: Position, clicks: Any, objects: Objects) -> None:
        for number, click in enumerate(clicks if isinstance(clicks, list) else [clicks]):
            entry = click if isinstance(click, dict) else {}
            point = _numbers([entry.get("x"), entry.get("y")], 2)
            category = _identity(entry.get("category_id"))
            if point is None or category is None or category not in self.label_of:
                sentence = f"click {number} lacks x, y or a known category_id"
                self.report.leave_out(place, "missing field", sentence)
                continue
            positive = entry.get("positive", True) is True
            label = self.label_of[category]
            objects.add_click(place, f"click {number}", label, *point, positive=positive)

    def _annotation(self, place: Position, entry: Entry, known: dict[Identity, Position]) -> None:
        identity = _identity(entry.get("id"))
        what = f"annotation {_json(entry.get('id'))}"
        if identity is None:
            sentence = f"the id of the annotation is {_json(entry.get('id'))}"
            kept = "neither a whole number nor a text; it is kept"
            self.report.add(place, "missing field", f"{sentence}, {kept}")
        elif identity in known:
            sentence = f"the id {identity} is taken by {known[identity]}"
            self.report.add(place, "duplicate id", f"{sentence}; the annotation is kept")
        else:
            known[identity] = place
        picture, category = _identity(entry.get("image_id")), _identity(entry.get("category_id"))
        if picture is None or picture not in self.pictures:
            given = _json(entry.get("image_id"))
            sentence = f"{what} is of picture {given}, which is not in images"
            self.report.leave_out(place, "unknown picture", sentence)
            return
        objects = self.pictures[picture]
        if objects is None:
            return
        if category is None or category not in self.label_of:
            given = _json(entry.get("category_id"))
            sentence = f"{what} is of category {given}, which is not in categories"
            self.report.leave_out(place, "unknown class", sentence)
            return
        shape = self._shape(place, entry, what)
        flags = [self._flag(place, entry, key, what) for key in _IGNORED]
        flags.append(str(_attributes(entry).get("difficult")).lower() in ("true", "1"))
        if shape is not None:
            box, corners, rotation = shape
            label, ignored = self.label_of[category], any(flags)
            objects.add(place, what, label, box, corners, rotation=rotation, ignored=ignored)

    def _flag(self, place: Position, entry: Entry, key: str, what: str) -> bool:
        """Whether a flag is set; it may be left out."""
        value = entry.get(key)
        if value not in (None, 0, 1):
            sentence = f"{what} has {key} {_json(value)}, neither 0 nor 1; it is read as 0"
            self.report.add(place, "broken flag", sentence)
        return value in (1, True)

    def _shape(
        self, place: Position, entry: Entry, what: str
    ) -> tuple[tuple[float, ...], Corners | None, float] | None:
        """Box, corners and rotation of an annotation, or None, reported."""
        bbox = _numbers(entry.get("bbox"), 4)
        if not entry.get("bbox") and (around := _around(entry.get("segmentation"))):
            self.builder.counts[_NO_BBOX] += 1
            return around, None, 0.0
        if bbox is None:
            sentence = f"{what} has no bbox of four numbers, but {_json(entry.get('bbox'))}"
            self.report.leave_out(place, "missing field", sentence)
            return None
        x, y, width, height = bbox
        box = (x, y, x + width, y + height)
        if "corners" in entry:
            eight = _numbers(entry["corners"], 8)
            if eight is None:
                sentence = f"the corners of {what} are not eight numbers"
                self.report.leave_out(place, "missing field", sentence)
                return None
            return box, list(zip(eight[::2], eight[1::2], strict=True)), 0.0
        stated = _attributes(entry).get("rotation")
        angle = (0.0,) if stated is None else _numbers([stated], 1)
        if angle is None or not math.isfinite(angle[0]):
            sentence = f"the rotation of {what} is {_json(stated)}, which is no number"
            self.report.add(place, "not a number", f"{sentence}; its box is used without it")
            return box, None, 0.0
        return box, None, angle[0]


def _attributes(entry: Entry) -> Entry:
    """CVAT's attributes of an annotation."""
    attributes = entry.get("attributes")
    return attributes if isinstance(attributes, dict) else {}


def _json(value: Any) -> str:
    """Show a value of the file in a sentence."""
    return json.dumps(value)[:80]


def _identity(value: Any) -> Identity | None:
    """Read an id; programs write 1 as 1.0 and as "1" too, and others write a text."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if is_text(value) and value:
        digits = value.isascii() and value.isdecimal() and len(value) < 20
        return int(value) if digits and str(int(value)) == value else value
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _is_path(value: Any) -> TypeGuard[str]:
    """Tell whether a value is the path of a file whose bytes need not be UTF-8."""
    try:
        return isinstance(value, str) and bool(os.fsencode(value))
    except UnicodeEncodeError:
        return False


def _around(segmentation: Any) -> tuple[float, ...] | None:
    """The box around polygons or a mask, or None where there are none."""
    if isinstance(segmentation, dict):
        return _around_mask(segmentation)
    if not isinstance(segmentation, list) or not segmentation:
        return None
    polygons = [_numbers(one, len(one) if isinstance(one, list) else 0) for one in segmentation]
    if any(one is None or len(one) < 6 or len(one) % 2 for one in polygons):
        return None
    values = [value for one in polygons for value in one or ()]
    return hull(zip(values[::2], values[1::2], strict=True))


def _around_mask(rle: Mapping[str, Any]) -> tuple[float, ...] | None:
    """The box around a mask in COCO's run lengths, column by column; the first one counts zeros."""
    size, runs = rle.get("size"), rle.get("counts")
    if not isinstance(size, list) or not all(type(side) is int and side > 0 for side in size):
        return None
    if isinstance(runs, str):
        runs = _uncompressed(runs)
    if len(size) != 2 or not isinstance(runs, list):
        return None
    if not all(type(run) is int and run >= 0 for run in runs) or sum(runs) != size[0] * size[1]:
        return None
    rows, columns, at = [], [], 0
    for number, run in enumerate(runs):
        if number % 2 and run:
            (first, top), (last, bottom) = (divmod(pixel, size[0]) for pixel in (at, at + run - 1))
            columns += [first, last]
            rows += [top, bottom] if first == last else [0, size[0] - 1]
        at += run
    return (min(columns), min(rows), max(columns) + 1, max(rows) + 1) if rows else None


def _uncompressed(counts: str) -> list[int] | None:
    """Run lengths from COCO's text: five bits a letter, from the third on as differences.

    pycocotools does the same, and writes beyond its memory where the text is none.
    """
    runs: list[int] = []
    value, shift = 0, 0
    for letter in counts:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 30:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, shift = 0, 0
    return runs if shift == 0 else None


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    """Return a list of numbers as a tuple, if it is one; JSON in Python knows NaN."""
    if not isinstance(value, list) or len(value) != count:
        return None
    if any(isinstance(item, bool) or not isinstance(item, (int, float)) for item in value):
        return None
    try:
        return tuple(float(item) for item in value)
    except OverflowError:  # a whole number that no floating-point number reaches
        return None

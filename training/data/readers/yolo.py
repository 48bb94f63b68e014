"""YOLO: one text file a picture, with one object a line, in shares of the picture's size.

Three layouts are read:

- Ultralytics' ``data.yaml``, which CVAT writes too ("Ultralytics YOLO Detection 1.0" and
  "Ultralytics YOLO Oriented Bounding Boxes 1.0"): ``names``, and for ``train``, ``val`` and
  ``test`` a folder, a text file that lists pictures, or a list of these. The labels of
  ``images/a.jpg`` are ``labels/a.txt``; a picture without any is background.
- Darknet's ``obj.data``, which CVAT calls "YOLO 1.1": ``obj.names``, lists of pictures, and labels
  beside the pictures.
- A folder with ``classes.txt`` or ``obj.names``, as labelImg and Label Studio write it. A folder
  in it that is called train, val or test is the split of its pictures.

A line is the number of the class, counted from 0, and

================= =================================================================================
4 numbers         a box: centre, width and height
8 numbers         four oriented corners; the box is their horizontal hull
6, 10, 12, ...    the corners of a polygon, of which the bounding box is read
4 or 8, and one   the same with a confidence, which is not used
================= =================================================================================

With ``kpt_shape`` in ``data.yaml`` a line is a box and its keypoints, of which the box is read.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from tqdm import tqdm

from training.data.picture_files import SUFFIXES, on_disk
from training.data.readers.builder import ReadingBuilder
from training.data.readers.folders import (
    PictureFolder,
    absolute,
    files_below,
    find_files,
    known_split,
    names_in,
    tails,
    unlisted_pictures,
    unused_files,
)
from training.data.readers.objects import NO_SHARE, Corners, Objects, hull
from training.data.readers.reading import Reading, Report, listing, nothing, plural
from training.data.readers.text import number, read_text, whole_number

_KEYPOINTS = ("object has keypoints, not read", "objects have keypoints, not read")
_CONFIDENCE = ("object has a confidence, not used", "objects have a confidence, not used")
_POLYGON = ("polygon is read as its bounding box", "polygons are read as their bounding boxes")
"""What is counted of lines, for one and for many."""

_NAMES_FILES = ("classes.txt", "obj.names", "labels.txt")
_DESCRIPTIONS = ("data.yaml", "data.yml", "dataset.yaml", "obj.data")
_YAML = (".yaml", ".yml")


def read_yolo(
    source: Path, images: Path | None = None, classes: Sequence[str] | None = None
) -> Reading:
    """Read and validate a data set in YOLO's format.

    Args:
        source: ``data.yaml``, ``obj.data``, or a folder with one of them or with ``classes.txt``.
        images: Folder of the pictures, where they are not where the files say.
        classes: The names of the classes, where no file tells them.

    Returns:
        The data set and all defects. The name of a picture is the path of its file in the folder of
        the description. Its split is the one whose list names it, or without lists that of a
        folder called like one.
    """
    file = source
    if source.is_dir():
        found = find_files(source, _DESCRIPTIONS)
        found = found or [p for p in sorted(source.iterdir()) if p.suffix.lower() in _YAML]
        wanted = "name the one to read"
        if not found:
            found, wanted = find_files(source, _NAMES_FILES), "give --classes"
            if classes is not None or len(set(map(_names, found))) == 1:
                found = found[:1]
        if len(found) > 1:
            names = names_in(source, found)
            return nothing(source, f"there is more than one description, {names}: {wanted}")
        if not found and classes is None:
            wanted = ", ".join((*_DESCRIPTIONS, *_NAMES_FILES))
            there = listing([path.name for path in sorted(source.iterdir())]) or "nothing"
            return nothing(source, f"there is none of {wanted} in this folder, but {there}")
        file = found[0] if found else source
    kind = "" if file.is_dir() else file.suffix.lower()
    layout = _Layout(file, ReadingBuilder(images or file.parent), file.parent)
    if kind in _YAML:
        layout.read_ultralytics()
    elif kind == ".data":
        layout.read_darknet()
    elif source.is_dir():
        layout.read_folder(source, has_names=bool(found))
    else:
        sentence = "this is neither data.yaml nor obj.data nor a folder with one of them"
        return nothing(file, sentence)
    if classes is not None:
        layout.names = dict(enumerate(classes))
    elif not layout.names:
        sentence = "no names of classes are found, so that every class is unknown; give --classes"
        layout.report.add(1, "missing field", sentence)
    reader = _Reader(layout, images)
    for listed in tqdm(layout.pictures, "pictures", disable=None, leave=False):
        reader.picture(listed)
    return reader.reading()


@dataclass(frozen=True)
class _Listed:
    """A picture: where it was found in a folder, or as a list names it.

    Attributes:
        path: Of the picture.
        split: Of its list or folder, ``""`` where that is none of ours.
        report: Of the list; None where there is none.
        line: In the list.
    """

    path: Path
    split: str
    report: Report | None = None
    line: int = 1


@dataclass
class _Layout:
    """What a data set consists of, before a picture is opened.

    Attributes:
        file: That describes it.
        builder: Receives defects and notes.
        root: Folder to which the names of the pictures are relative.
        names: Of the classes, by their number.
        pictures: Those of all splits.
        keypoints: Numbers behind the box in every line, 0 where there are none.
        lists: The lists of pictures and the file of names.
    """

    file: Path
    builder: ReadingBuilder
    root: Path
    names: dict[int, str] = field(default_factory=dict)
    pictures: list[_Listed] = field(default_factory=list)
    keypoints: int = 0
    lists: list[Path] = field(default_factory=list)

    @property
    def report(self) -> Report:
        """Of the description."""
        return self.builder.report(self.file)

    def read_ultralytics(self) -> None:
        """Read ``data.yaml``."""
        content = _read_yaml(self.report)
        if content is None:
            return
        stated = content.get("path")
        if isinstance(stated, str) and stated not in ("", "."):
            folder = self.root / stated
            if _exists(folder) and folder.is_dir():
                self.root = folder
            else:
                sentence = f"the path {stated} of {self.file} does not exist; {self.root} is used"
                self.builder.notes.append(sentence)
        names = content.get("names")
        if isinstance(names, list):
            names = dict(enumerate(names))
        for key, name in names.items() if isinstance(names, dict) else ():
            label = whole_number(key)
            if label is None or not isinstance(name, str) or not name.strip():
                sentence = f"the class {str(key)[:80]!r} has no number or no name"
                self.report.leave_out(1, "missing field", sentence)
            else:
                self.names[label] = name.strip()
        self._check_count("nc", whole_number(content.get("nc")))
        shape = content.get("kpt_shape")
        sizes = [whole_number(size) or 0 for size in shape] if isinstance(shape, list) else []
        if len(sizes) == 2 and min(sizes) > 0:
            self.keypoints = sizes[0] * sizes[1]
        elif shape is not None:
            sentence = "kpt_shape is not a list of two numbers; it is not used"
            self.report.add(1, "broken header", sentence)
        splits = [key for key in content if isinstance(key, str) and known_split(key)]
        for key in splits:
            for entry in content[key] if isinstance(content[key], list) else [content[key]]:
                if isinstance(entry, str) and entry.strip():
                    self._list_pictures(entry.strip(), key)
        if not splits:
            self.report.add(1, "missing field", "the file names no train, val or test")

    def read_darknet(self) -> None:
        """Read ``obj.data``."""
        count, has_list = None, False
        for line, text in enumerate((read_text(self.file, self.report) or "").splitlines(), 1):
            key, equals, value = (part.strip() for part in text.partition("="))
            if not equals or key == "backup" or not value:
                continue
            if key == "classes":
                count = whole_number(value)
            elif key != "names":
                has_list = True
                self._list_pictures(value, key)
            elif path := _find(value, [self.root]):
                self._read_names(path)
            else:
                sentence = f"there is no {value} in {self.root}"
                self.report.add(line, "missing file", sentence)
        self._check_count("classes", count)
        if not has_list:
            sentence = "the file names no list of pictures, such as train"
            self.report.add(1, "missing field", sentence)

    def read_folder(self, folder: Path, has_names: bool) -> None:
        """Read a folder without a description: its pictures, and the names in classes.txt."""
        self.root = folder
        if has_names:
            self._read_names(self.file)
        for path in files_below(folder, SUFFIXES):
            splits = map(known_split, path.relative_to(folder).parent.parts)
            self.pictures.append(_Listed(path, next(filter(None, splits), "")))

    def _read_names(self, path: Path) -> None:
        _, lines = self._read_lines(path)
        self.names = {label: name.strip() for label, name in enumerate(lines) if name.strip()}

    def _read_lines(self, path: Path) -> tuple[Report, list[str]]:
        """Read a list or a file of names; its report receives what is wrong with it."""
        self.lists.append(path)
        report = self.builder.report(path)
        return report, (read_text(path, report) or "").splitlines()

    def _check_count(self, key: str, count: int | None) -> None:
        """Compare the stated number of classes with their names."""
        names = len(self.names)
        if count is not None and names and count != names:
            sentence = f"{key} is {count}, but there are {names} names; the names are used"
            self.report.add(1, "broken header", sentence)

    def _list_pictures(self, entry: str, key: str) -> None:
        """Add the pictures that an entry of a description names: of a folder, a list, or one."""
        split = known_split(key) or ""
        path = _find(entry, [self.root, self.file.parent])
        if path is None:
            sentence = f"{key} names {entry}, and there is no such folder or file in {self.root}"
            self.report.add(1, "missing file", sentence)
        elif path.is_dir():
            found = files_below(path, SUFFIXES)
            self.pictures += [_Listed(one, split) for one in found]
            if not found:
                sentence = f"{key} names the folder {path}, and there is no picture in it"
                self.report.add(1, "missing picture", sentence)
        elif path.suffix.lower() in SUFFIXES:
            self.pictures.append(_Listed(path, split))
        else:
            report, lines = self._read_lines(path)
            for line, text in enumerate(map(str.strip, lines), start=1):
                picture = Path(text.replace("\\", "/"))
                if picture.suffix.lower() in SUFFIXES:
                    self.pictures.append(_Listed(picture, split, report, line))
                elif text:
                    sentence = f"{text[:200]!r} is no name of a picture"
                    report.leave_out(line, "missing picture", sentence)


def _names(path: Path) -> tuple[bytes, ...]:
    """The lines of a file of names, to compare with another one."""
    return tuple(map(bytes.strip, path.read_bytes().strip().splitlines()))


def _read_yaml(report: Report) -> dict[Any, Any] | None:
    """Read a YAML file; ``None``, reported, where it holds no table."""
    text = read_text(report.file, report)
    if text is None:
        return None
    try:
        # Every value is a string: "no" and "007" are names as good as any.
        content = yaml.load(text, yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        cause = getattr(error, "problem", None) or getattr(error, "context", None) or str(error)
        sentence = f"this is not YAML: {' '.join(cause.split())[:200]}; nothing is read"
        report.add(mark.line + 1 if mark else 1, "syntax", sentence)
        return None
    if not isinstance(content, dict):
        sentence = "the file is no table of train, val, test and names; nothing is read"
        report.add(1, "syntax", sentence)
        return None
    return content


def _exists(path: Path) -> bool:
    """Whether there is a file or folder; a pipe, and a name that none can have, is none."""
    try:
        return path.is_file() or path.is_dir()
    except (OSError, ValueError):
        return False


def _places(name: str, roots: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Where a file may lie: the folder, and its whole name or what of it may stand there."""
    folders = list(dict.fromkeys(roots))
    for end in (name, *map(str, tails(name))):
        for root in folders:
            yield root, end


def _find(entry: str, roots: Iterable[Path]) -> Path | None:
    """Find the file or folder that an entry of a description means."""
    places = _places(str(PurePosixPath(entry.replace("\\", "/"))), roots)
    return next((root / end for root, end in places if _exists(root / end)), None)


class _Reader:
    """One pass over all pictures."""

    def __init__(self, layout: _Layout, images: Path | None) -> None:
        self.layout = layout
        self.builder = layout.builder
        self.roots = [images] if images is not None else []
        self.roots += [layout.root, layout.file.parent]
        self.folders: dict[Path, PictureFolder] = {}
        names = layout.names
        self.classes = tuple(dict.fromkeys(names[label] for label in sorted(names)))
        self.label_of = {label: self.classes.index(name) for label, name in names.items()}
        if len(self.classes) < len(names):
            repeated = [name for name, count in Counter(names.values()).items() if count > 1]
            sentence = f"the class {listing(repeated)} occurs twice; both are one class"
            layout.report.add(1, "duplicate class", sentence)
        self.label_files: set[str] = set()
        self.label_folders = {layout.root / "labels"}
        self.image_folders: set[Path] = set()
        self.background: list[str] = []
        self.twice: list[str] = []

    def picture(self, listed: _Listed) -> None:
        """Read a picture with its labels."""
        builder = self.builder
        report = listed.report or builder.report(listed.path)
        path = builder.use(self._find(listed), report, listed.line, listed.path)
        labels = self._labels(listed, path)
        if labels is not None:
            self.label_files.add(absolute(labels))
            self.label_folders.add(labels.parent)
        if path is None:
            return
        root = next((root for root in self.roots if path.is_relative_to(root)), self.layout.root)
        name = Path(os.path.relpath(path, root)).as_posix()
        if name in builder.pictures:
            if builder.splits.get(name, "") != listed.split:
                self.twice.append(name)
            else:
                sentence = f"the picture {name} is named twice; it is read once"
                report.add(listed.line, "duplicate picture", sentence)
            return
        if labels is None:
            self.background.append(name)
        report = builder.report(labels or path)
        text = read_text(labels, report) if labels is not None else ""
        objects = None if text is None else builder.open(path, report, 1, name=name)
        if text is None or objects is None:
            return
        for line, row in enumerate(text.splitlines(), start=1):
            if row.strip():
                self._row(row.split(), line, objects)
        if listed.split:
            builder.splits[name] = listed.split

    def reading(self) -> Reading:
        """Put everything together, and report what is skipped."""
        layout, builder = self.layout, self.builder
        self._report_unused_files()
        if count := len(self.background):
            what = plural(count, "picture has no file", "pictures have no file")
            names = listing(self.background)
            builder.notes.append(f"{what} of labels, read as background: {names}")
        if count := len(self.twice):
            what = plural(count, "picture is", "pictures are")
            names = listing(self.twice)
            builder.notes.append(f"{what} in two splits, kept in the first: {names}")
        unlisted: tuple[Path, ...] = ()
        if builder.used:
            named = [*builder.used, *(defect.file for defect in builder.defects)]
            unlisted = unlisted_pictures(layout.root, named, below=True)
        return builder.reading(
            self.classes,
            unlisted,
            f"none of the pictures of {layout.file} is in {self.roots[0]}: export it with its "
            "pictures, or name their folder (--images)",
        )

    def _find(self, listed: _Listed) -> Path | None:
        """The file of a picture."""
        if listed.report is None:
            return listed.path
        for root, end in _places(listed.path.as_posix(), [*self.roots, listed.report.file.parent]):
            folder = self.folders.setdefault(root, PictureFolder(root))
            if found := folder.find(end):
                return found
        return None

    def _labels(self, listed: _Listed, found: Path | None) -> Path | None:
        """The file of labels of a picture, or None where there is none."""
        if found is not None:
            folders = (folder for folder in found.parents if folder.name == "images")
            folder = next(folders, found.parent)
            inside = any(folder.is_relative_to(root) for root in self.roots)
            self.image_folders.add(folder if inside else found.parent)
            for candidate in _label_files(found):
                for path in (on_disk(candidate), on_disk(candidate.with_suffix(".TXT"))):
                    if _exists(path):
                        return path
        for candidate in _label_files(listed.path) if listed.report is not None else ():
            for tail in tails(candidate.as_posix()):
                # Its name alone could be that of another folder's picture.
                alone = len(tail.parts) == 1 < len(candidate.parts)
                if not alone and _exists(self.layout.root / tail):
                    return self.layout.root / tail
        return None

    def _report_unused_files(self) -> None:
        """Report label files without a picture, and pictures beside others that no list names."""
        folders = filter(Path.is_dir, self.label_folders)
        files = {absolute(path): path for one in folders for path in files_below(one, {".txt"})}
        known = self.label_files | set(map(absolute, self.layout.lists))
        for file in files.keys() - known:
            if files[file].name not in _NAMES_FILES:
                sentence = "there is no picture of this file of labels; it is skipped"
                self.builder.report(files[file]).add(1, "missing picture", sentence)
        for folder in self.image_folders:
            self.builder.defects += unused_files(
                folder, self.builder.used, lambda _: "no list names the picture; it is left out"
            )

    def _row(self, fields: Sequence[str], line: int, objects: Objects) -> None:
        """Read one object."""
        report = objects.report
        values = [number(text) for text in fields]
        numbers = [value for value in values if value is not None]
        if len(numbers) < len(values):
            broken = fields[values.index(None)]
            sentence = f"{broken[:80]!r} is no number; the object is left out"
            report.add(line, "not a number", sentence)
            return
        if numbers[0] not in self.label_of:
            known = listing([f"{n} {name}" for n, name in sorted(self.layout.names.items())])
            sentence = f"the class is {fields[0][:80]}, not one of {known or 'no class'}"
            report.add(line, "unknown class", f"{sentence}; the object is left out")
            return
        label, rest = self.label_of[int(numbers[0])], numbers[1:]
        keypoints = self.layout.keypoints
        if keypoints and len(rest) == 4 + keypoints:
            self.builder.counts[_KEYPOINTS] += 1
            shape = rest[:4]
        elif keypoints or len(rest) < 4 or (len(rest) % 2 and len(rest) not in (5, 9)):
            wanted = "4 for a box" if not keypoints else f"{4 + keypoints} as kpt_shape says"
            sentence = f"the line has {len(rest)} numbers behind the class, not {wanted}"
            more = "" if keypoints else ", 8 for corners, or an even number for a polygon"
            report.leave_out(line, "number of fields", f"{sentence}{more}")
            return
        else:
            shape = rest[: len(rest) - len(rest) % 2]
            self.builder.counts.update([_CONFIDENCE] * (len(rest) % 2))
        if not all(abs(value) < NO_SHARE for value in shape if value == value):
            sentence = "the numbers are no shares of the picture's size, between 0 and 1"
            report.add(line, "not normalised", f"{sentence}; the object is left out")
            return
        width, height = objects.width, objects.height
        box: tuple[float, ...] | None = None
        corners: Corners | None = None
        if len(shape) == 4:
            x, y, w, h = shape
            box = ((x - w / 2) * width, (y - h / 2) * height)
            box = (*box, (x + w / 2) * width, (y + h / 2) * height)
        else:
            points = list(zip(shape[::2], shape[1::2], strict=True))
            corners = [(x * width, y * height) for x, y in points]
            if len(shape) != 8:
                self.builder.counts[_POLYGON] += 1
                box, corners = hull(corners), None
        objects.add(line, "the object", label, box, corners)


def _label_files(picture: Path) -> tuple[Path, Path]:
    """Where the labels of a picture may be: in ``labels`` instead of ``images``, or beside it."""
    parts = list(picture.parts)
    if "images" in parts[:-1]:
        last = max(at for at, part in enumerate(parts[:-1]) if part == "images")
        parts[last] = "labels"
    return Path(*parts).with_suffix(".txt"), picture.with_suffix(".txt")

"""YOLO: one text file a picture, with one object a line, in shares of the picture's size.

Three layouts are read:

- Ultralytics' ``data.yaml``, which CVAT writes too ("Ultralytics YOLO Detection 1.0" and
  "Ultralytics YOLO Oriented Bounding Boxes 1.0"): ``names``, and for ``train``, ``val`` and
  ``test`` a folder, a text file that lists pictures, or a list of these. The labels of
  ``images/a.jpg`` are ``labels/a.txt``; a picture without any is background.
- Darknet's ``obj.data``, which CVAT calls "YOLO 1.1": ``obj.names``, lists of pictures, and labels
  beside the pictures.
- A folder with ``classes.txt`` or ``obj.names``, as labelImg and Label Studio write it.

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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from tqdm import tqdm

from training.data.annotated import Index, Record
from training.data.picture_files import SUFFIXES, on_disk
from training.data.readers.folders import (
    PictureFolder,
    absolute,
    check_picture,
    files_below,
    find_files,
    known_split,
    tails,
    unlisted_pictures,
    unused_files,
)
from training.data.readers.objects import Corners, Objects
from training.data.readers.reading import Defect, Reading, Report, in_order, listing, plural
from training.data.readers.text import number, read_text

_BEYOND = 2
"""A share of the picture's size that is larger was meant as pixels."""

_KEYPOINTS = ("object has keypoints, not read", "objects have keypoints, not read")
_CONFIDENCE = ("object has a confidence, not used", "objects have a confidence, not used")
_POLYGON = ("polygon is read as its bounding box", "polygons are read as their bounding boxes")
"""What is counted of lines, for one and for many."""

_NAMES_FILES = ("classes.txt", "obj.names", "labels.txt")
_DESCRIPTIONS = ("data.yaml", "data.yml", "dataset.yaml", "obj.data")


@dataclass
class _Layout:
    """What a data set consists of, before a picture is opened.

    Attributes:
        file: That describes it.
        root: Folder to which the names of the pictures are relative.
        names: Of the classes, by their number.
        lists: The pictures of each split, ``""`` where it is none of ours.
        keypoints: Numbers behind the box in every line, 0 where there are none.
        defects: Of all files.
        more: The lists and the file of names.
        notes: See `Reading`.
    """

    file: Path
    root: Path
    names: dict[int, str] = field(default_factory=dict)
    lists: list[tuple[str, list[_Named]]] = field(default_factory=list)
    keypoints: int = 0
    defects: list[Defect] = field(default_factory=list)
    more: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def report(self) -> Report:
        """Of the description."""
        return Report(self.file, self.defects)

    def read_lines(self, path: Path) -> tuple[Report, list[str]]:
        """Read a list or a file of names; its report receives what is wrong with it."""
        self.more.append(path)
        report = Report(path, self.defects)
        return report, (read_text(path, report) or "").splitlines()


@dataclass(frozen=True)
class _Named:
    """A picture: where it was found in a folder, or as a list names it.

    Attributes:
        path: Of the picture.
        report: Of the list; None where there is none.
        line: In the list.
    """

    path: Path
    report: Report | None = None
    line: int = 1


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
        the description. Its split is the one whose list names it.
    """
    layout = _layout(source, classes)
    if isinstance(layout, Defect):
        return Reading(Index((), ()), (layout,))
    reader = _Reader(layout, images)
    for split, pictures in layout.lists:
        for named in tqdm(pictures, split or "pictures", disable=None, leave=False):
            reader.picture(split, named)
    return reader.reading()


def _layout(source: Path, classes: Sequence[str] | None) -> _Layout | Defect:
    """Find what describes a data set, and read it."""
    file = source
    if source.is_dir():
        found = find_files(source, _DESCRIPTIONS)
        if not found:
            found = [p for p in sorted(source.iterdir()) if p.suffix.lower() in (".yaml", ".yml")]
        if not found:
            return _bare(source, classes)
        if len(found) > 1:
            names = listing([path.relative_to(source).as_posix() for path in found])
            sentence = f"there is more than one description, {names}: name the one to read"
            return Defect(source, 1, "missing file", sentence)
        file = found[0]
    if file.suffix.lower() in (".yaml", ".yml"):
        layout = _ultralytics(file)
    elif file.suffix.lower() == ".data":
        layout = _darknet(file)
    else:
        sentence = "this is neither data.yaml nor obj.data nor a folder with one of them"
        return Defect(file, 1, "missing file", sentence)
    if classes is not None:
        layout.names = dict(enumerate(classes))
    elif not layout.names:
        sentence = "no names of classes are found, so that every class is unknown; give --classes"
        layout.report.add(1, "missing field", sentence)
    return layout


def _ultralytics(file: Path) -> _Layout:
    """Read ``data.yaml``."""
    layout = _Layout(file, file.parent)
    text = read_text(file, layout.report)
    content: Any = None
    if text is not None:
        try:
            # Every value is a string: "no" and "007" are names as good as any.
            content = yaml.load(text, yaml.BaseLoader)
        except yaml.MarkedYAMLError as error:
            line = 1 if error.problem_mark is None else error.problem_mark.line + 1
            sentence = f"this is not YAML: {error.problem or error.context}; nothing is read"
            layout.report.add(line, "syntax", sentence)
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            cause = " ".join(str(error).split())[:200]
            layout.report.add(1, "syntax", f"this is not YAML: {cause}; nothing is read")
        else:
            if not isinstance(content, dict):
                sentence = "the file is no table of train, val, test and names; nothing is read"
                layout.report.add(1, "syntax", sentence)
    if not isinstance(content, dict):
        return layout
    stated = content.get("path")
    if isinstance(stated, str) and stated not in ("", "."):
        folder = file.parent / stated
        if _exists(folder) and folder.is_dir():
            layout.root = folder
        else:
            sentence = f"the path {stated} of {file} does not exist; {file.parent} is used"
            layout.notes.append(sentence)
    names = content.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if isinstance(names, dict):
        for key, name in names.items():
            label = _whole(key)
            if label is None or not isinstance(name, str) or not name.strip():
                sentence = f"the class {str(key)[:80]!r} has no number or no name; it is left out"
                layout.report.add(1, "missing field", sentence)
            else:
                layout.names[label] = name.strip()
    _check_count("nc", _whole(content.get("nc")), layout)
    layout.keypoints = _keypoints(content.get("kpt_shape"), layout.report)
    known = [key for key in content if isinstance(key, str) and known_split(key)]
    for key in known:
        entries = content[key] if isinstance(content[key], list) else [content[key]]
        pictures: list[_Named] = []
        for entry in entries:
            if isinstance(entry, str) and entry.strip():
                pictures += _pictures(layout, entry.strip(), key)
        layout.lists.append((known_split(key) or "", pictures))
    if not known:
        layout.report.add(1, "missing field", "the file names no train, val or test")
    return layout


def _check_count(key: str, count: int | None, layout: _Layout) -> None:
    """Compare the stated number of classes with their names."""
    if count is not None and layout.names and count != len(layout.names):
        sentence = f"{key} is {count}, but there are {len(layout.names)} names; the names are used"
        layout.report.add(1, "broken header", sentence)


def _keypoints(shape: Any, report: Report) -> int:
    """How many numbers of keypoints a line has."""
    if shape is None:
        return 0
    parts = [_whole(part) for part in shape] if isinstance(shape, list) else []
    if len(parts) == 2 and parts[0] and parts[1]:
        return parts[0] * parts[1]
    report.add(1, "broken header", "kpt_shape is not a list of two numbers; it is not used")
    return 0


def _darknet(file: Path) -> _Layout:
    """Read ``obj.data``."""
    layout = _Layout(file, file.parent)
    count = None
    for line, text in enumerate((read_text(file, layout.report) or "").splitlines(), start=1):
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or key == "backup" or not value:
            continue
        if key == "classes":
            count = _whole(value)
        elif key == "names":
            path = _resolve(value, [layout.root])
            if path is None:
                sentence = f"there is no {value} in {layout.root}"
                layout.report.add(line, "missing file", sentence)
            else:
                layout.names = _names_file(path, layout)
        else:
            layout.lists.append((known_split(key) or "", _pictures(layout, value, key)))
    _check_count("classes", count, layout)
    if not layout.lists:
        layout.report.add(1, "missing field", "the file names no list of pictures, such as train")
    return layout


def _bare(folder: Path, classes: Sequence[str] | None) -> _Layout | Defect:
    """A folder without a description: its pictures, and the names in classes.txt."""
    files = find_files(folder, _NAMES_FILES)
    if not files and classes is None:
        sentence = (
            f"there is none of {', '.join((*_DESCRIPTIONS, *_NAMES_FILES))} in this folder, "
            f"but {listing([path.name for path in sorted(folder.iterdir())]) or 'nothing'}"
        )
        return Defect(folder, 1, "missing file", sentence)
    layout = _Layout(files[0] if files else folder, folder)
    layout.names = dict(enumerate(classes or ())) or _names_file(files[0], layout)
    layout.lists.append(("", list(map(_Named, files_below(folder, SUFFIXES)))))
    return layout


def _names_file(path: Path, layout: _Layout) -> dict[int, str]:
    _, lines = layout.read_lines(path)
    return {label: name.strip() for label, name in enumerate(lines) if name.strip()}


def _pictures(layout: _Layout, entry: str, key: str) -> list[_Named]:
    """The pictures that an entry of a description names: a folder, a list or one picture."""
    path = _resolve(entry, [layout.root, layout.file.parent])
    if path is None:
        sentence = f"{key} names {entry}, and there is no such folder or file in {layout.root}"
        layout.report.add(1, "missing file", sentence)
        return []
    if path.is_dir():
        found = files_below(path, SUFFIXES)
        if not found:
            sentence = f"{key} names the folder {path}, and there is no picture in it"
            layout.report.add(1, "missing picture", sentence)
        return list(map(_Named, found))
    if path.suffix.lower() in SUFFIXES:
        return [_Named(path)]
    report, lines = layout.read_lines(path)
    named = []
    for line, text in enumerate(lines, start=1):
        picture = Path(text.strip().replace("\\", "/"))
        if picture.suffix.lower() in SUFFIXES:
            named.append(_Named(picture, report, line))
        elif text.strip():
            sentence = f"{text.strip()[:200]!r} is no name of a picture; it is left out"
            report.add(line, "missing picture", sentence)
    return named


def _exists(path: Path) -> bool:
    """Whether there is a file or folder; a pipe, and a name that none can have, is none."""
    try:
        return path.is_file() or path.is_dir()
    except (OSError, ValueError):
        return False


def _resolve(entry: str, roots: Iterable[Path]) -> Path | None:
    """Find the file or folder that an entry of a description means."""
    path = PurePosixPath(entry.replace("\\", "/"))
    folders = list(dict.fromkeys(roots))
    for root in folders:
        if _exists(root / path):
            return root / path
    for tail in tails(str(path)):
        for root in folders:
            if _exists(root / tail):
                return root / tail
    return None


def _labels_of(path: Path) -> Path:
    """Where Ultralytics looks for the labels of a picture: in ``labels`` instead of ``images``."""
    parts = list(path.parts)
    for position in range(len(parts) - 2, -1, -1):
        if parts[position] == "images":
            parts[position] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _image_folder(path: Path) -> Path:
    """The folder in which a picture's neighbours are looked for."""
    return next((folder for folder in path.parents if folder.name == "images"), path.parent)


def _whole(value: Any) -> int | None:
    """Read a whole number that is not negative."""
    text = str(value).strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


class _Reader:
    """One pass over all pictures."""

    def __init__(self, layout: _Layout, images: Path | None) -> None:
        self.layout = layout
        self.images = images
        self.folders: dict[Path, PictureFolder] = {}
        names = layout.names
        self.classes = tuple(dict.fromkeys(names[label] for label in sorted(names)))
        self.label_of = {label: self.classes.index(name) for label, name in names.items()}
        if len(self.classes) < len(names):
            repeated = [name for name, count in Counter(names.values()).items() if count > 1]
            sentence = f"the class {listing(repeated)} occurs twice; both are one class"
            layout.report.add(1, "duplicate class", sentence)
        self.records: dict[str, Record] = {}
        self.splits: dict[str, str] = {}
        self.found: list[Path] = []
        self.missing = 0
        self.label_files: set[str] = set()
        self.label_folders: set[Path] = set()
        self.image_folders: set[Path] = set()
        self.background: list[str] = []
        self.twice: list[str] = []
        self.kinds: Counter[tuple[str, str]] = Counter()

    def picture(self, split: str, named: _Named) -> None:
        """Read a picture with its labels."""
        path = self._find(named)
        labels = self._labels(named, path)
        if labels is not None:
            self.label_files.add(absolute(labels))
        if path is None:
            self.missing += 1
            sentence = f"there is no picture {named.path}; it is left out"
            self._report(named).add(named.line, "missing picture", sentence)
            return
        self.found.append(path)
        root = next((r for r in self._roots() if path.is_relative_to(r)), self.layout.root)
        name = Path(os.path.relpath(path, root)).as_posix()
        if name in self.records:
            if self.splits.get(name, "") != split:
                self.twice.append(name)
            else:
                sentence = f"the picture {name} is named twice; it is read once"
                self._report(named).add(named.line, "duplicate picture", sentence)
            return
        report = self._report(_Named(labels or path))
        text = read_text(labels, report) if labels is not None else ""
        size = None if text is None else check_picture(path, None, report, 1)
        if labels is None:
            self.background.append(name)
        if text is not None and size is not None:
            objects = Objects(*size, report)
            for line, row in enumerate(text.splitlines(), start=1):
                if row.strip():
                    self._row(row.split(), line, size, objects, report)
            self.records[name] = objects.to_record(name, path)
            if split:
                self.splits[name] = split

    def reading(self) -> Reading:
        """Put everything together, and report what is skipped."""
        layout = self.layout
        layout.defects += self._unused_files()
        notes = list(layout.notes)
        if count := len(self.background):
            what = plural(count, "picture has no file", "pictures have no file")
            notes.append(f"{what} of labels, read as background: {listing(self.background)}")
        if count := len(self.twice):
            what = plural(count, "picture is", "pictures are")
            notes.append(f"{what} in two splits, kept in the first: {listing(self.twice)}")
        notes += [plural(self.kinds[kind], *kind) for kind in sorted(self.kinds)]
        if self.missing and not self.records:
            notes.append(
                f"none of the pictures of {layout.file} is in {self._roots()[0]}: export it with "
                "its pictures, or name their folder (--images)"
            )
        unlisted: tuple[Path, ...] = ()
        if self.found:
            named = [*self.found, *(defect.file for defect in layout.defects)]
            unlisted = unlisted_pictures(layout.root, named, below=True)
        index = Index(self.classes, tuple(self.records.values()))
        return Reading(index, in_order(layout.defects), tuple(notes), self.splits, unlisted)

    def _report(self, named: _Named) -> Report:
        """The report of a list, or a new one for a picture that none names."""
        return named.report or Report(named.path, self.layout.defects)

    def _roots(self) -> list[Path]:
        roots = [self.layout.root, self.layout.file.parent]
        return roots if self.images is None else [self.images, *roots]

    def _find(self, named: _Named) -> Path | None:
        """The file of a picture."""
        path = named.path
        if named.report is None:
            return path
        roots = dict.fromkeys((*self._roots(), named.report.file.parent))
        for name in (path.as_posix(), *map(str, tails(path.as_posix()))):
            for root in roots:
                folder = self.folders.setdefault(root, PictureFolder(root))
                if found := folder.find(name):
                    return found
        return None

    def _labels(self, named: _Named, found: Path | None) -> Path | None:
        """The file of labels of a picture, or None where there is none."""
        if found is not None:
            self.image_folders.add(_image_folder(found))
            for candidate in (_labels_of(found), found.with_suffix(".txt")):
                for path in (on_disk(candidate), on_disk(candidate.with_suffix(".TXT"))):
                    if _exists(path):
                        self.label_folders.add(path.parent)
                        return path
        if named.report is None:
            return None
        for candidate in (_labels_of(named.path), named.path.with_suffix(".txt")):
            for tail in tails(candidate.as_posix()):
                # Its name alone could be that of another folder's picture.
                alone = len(tail.parts) == 1 < len(candidate.parts)
                if not alone and _exists(self.layout.root / tail):
                    self.label_folders.add((self.layout.root / tail).parent)
                    return self.layout.root / tail
        return None

    def _unused_files(self) -> list[Defect]:
        """Files of labels without a picture, and pictures that no list names beside those named."""
        defects = []
        folders = self.label_folders | {self.layout.root / "labels"}
        files = {
            path for folder in folders if folder.is_dir() for path in files_below(folder, {".txt"})
        }
        known = self.label_files | set(map(absolute, self.layout.more))
        for path in files:
            if path.name not in _NAMES_FILES and absolute(path) not in known:
                sentence = "there is no picture of this file of labels; it is skipped"
                defects.append(Defect(path, 1, "missing picture", sentence))
                known.add(absolute(path))
        for folder in self.image_folders:
            defects += unused_files(
                folder, self.found, lambda _: "no list names the picture; it is left out"
            )
        return defects

    def _row(
        self,
        fields: Sequence[str],
        line: int,
        size: tuple[int, int],
        objects: Objects,
        report: Report,
    ) -> None:
        """Read one object."""
        values = [number(text) for text in fields]
        numbers = [value for value in values if value is not None]
        if len(numbers) < len(values):
            broken = fields[values.index(None)]
            sentence = f"{broken[:80]!r} is no number; the object is left out"
            report.add(line, "not a number", sentence)
            return
        label = self.label_of.get(int(numbers[0])) if numbers[0] in self.label_of else None
        if label is None:
            known = listing([f"{n} {name}" for n, name in sorted(self.layout.names.items())])
            sentence = f"the class is {fields[0][:80]}, not one of {known or 'no class'}"
            report.add(line, "unknown class", f"{sentence}; the object is left out")
            return
        rest = numbers[1:]
        keypoints = self.layout.keypoints
        shape: list[float]
        if keypoints and len(rest) == 4 + keypoints:
            self.kinds[_KEYPOINTS] += 1
            shape = rest[:4]
        elif keypoints or len(rest) < 4 or (len(rest) % 2 and len(rest) not in (5, 9)):
            wanted = "4 for a box" if not keypoints else f"{4 + keypoints} as kpt_shape says"
            sentence = f"the line has {len(rest)} numbers behind the class, not {wanted}"
            more = "" if keypoints else ", 8 for corners, or an even number for a polygon"
            report.add(line, "number of fields", f"{sentence}{more}; it is left out")
            return
        else:
            shape = rest[: len(rest) - len(rest) % 2]
            if len(rest) % 2:
                self.kinds[_CONFIDENCE] += 1
        if not all(-_BEYOND < value < _BEYOND for value in shape if value == value):
            sentence = "the numbers are no shares of the picture's size, between 0 and 1"
            report.add(line, "not normalised", f"{sentence}; the object is left out")
            return
        width, height = size
        box: tuple[float, ...] | None = None
        corners: Corners | None = None
        if len(shape) == 4:
            x, y, w, h = shape
            box = ((x - w / 2) * width, (y - h / 2) * height)
            box = (*box, (x + w / 2) * width, (y + h / 2) * height)
        else:
            xs, ys = [x * width for x in shape[::2]], [y * height for y in shape[1::2]]
            if len(shape) == 8:
                corners = list(zip(xs, ys, strict=True))
            else:
                self.kinds[_POLYGON] += 1
                box = (min(xs), min(ys), max(xs), max(ys))
        objects.add(line, "the object", label, box, corners)

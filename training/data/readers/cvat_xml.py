"""CVAT's own formats, "CVAT for images 1.1" and "CVAT for video 1.1": one XML file with pictures.

The pictures lie in ``images`` beside the file. Read are ``box``, with its ``rotation`` (degrees,
clockwise about the centre), and ``points``. Every point is a click of the annotator on an object of
the label, and becomes one of `training.data.annotated.Record.clicks`, which are written for replay.
Of ``polygon``, ``ellipse`` and ``mask`` the bounding box is read. A shape whose attribute
``difficult`` is checked is ignored. Everything else (polylines, cuboids, skeletons, tags) is
reported.

A video holds ``track``: a list of boxes, one a frame, which CVAT writes for every frame on which
the object is seen, between keyframes too. Frames are pictures called ``frame_000000`` and so on.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from tqdm import tqdm

from training.data.annotated import Index, Record
from training.data.readers.folders import (
    PictureFolder,
    check_picture,
    files_below,
    find_files,
    known_split,
    unlisted_pictures,
)
from training.data.readers.objects import Objects, rotated
from training.data.readers.reading import Defect, Reading, Report, in_order, listing, plural
from training.data.readers.text import XmlFile, number, read_xml, side

BOXED = {
    "polygon": ("polygon is read as its", "polygons are read as their"),
    "ellipse": ("ellipse is read as its", "ellipses are read as their"),
    "mask": ("mask is read as its", "masks are read as their"),
}
"""Shapes of which the bounding box is read, and how one and many of them are called."""


def read_cvat_xml(path: Path, images: Path | None = None) -> Reading:
    """Read and validate an XML file of "CVAT for images 1.1" or "CVAT for video 1.1".

    Args:
        path: The file, or a folder with ``annotations.xml`` in it.
        images: Folder of the pictures; by default ``images`` beside the file, or the file's own
            folder where there is no such folder. Pictures of a subset may lie in a folder of its
            name.

    Returns:
        The data set, classes in the order of the file's ``labels``, and all defects. The name of a
        picture is ``"<subset>/<name>"`` where the file states subsets, and a subset called train,
        validation or test is the split of its pictures.
    """
    if path.is_dir():
        files = find_files(path, ("annotations.xml",))
        if len(files) != 1:
            there = [file.relative_to(path).as_posix() for file in files or files_below(path)]
            sentence = (
                f"there is no annotations.xml in this folder, but {listing(there) or 'nothing'}"
            )
            if files:
                sentence = f"there is more than one file, {listing(there)}: name the one to read"
            return Reading(Index((), ()), (Defect(path, 1, "missing file", sentence),))
        path = files[0]
    report = Report(path)
    file = read_xml(path, report)
    if file is None:
        return Reading(Index((), ()), tuple(report.defects))
    below = images is not None
    if images is None:
        images = path.parent / "images"
        below = images.is_dir()
        images = images if below else path.parent
    reader = _Reader(file, PictureFolder(images), report)
    index = reader.read()
    return Reading(
        index,
        in_order(report.defects),
        reader.notes(),
        reader.splits,
        unlisted_pictures(images, reader.found, below=below),
    )


@dataclass(frozen=True)
class _Listed:
    """A picture that the file names, before it is looked for.

    Attributes:
        name: Of the record.
        given: What the file calls it, in its subset.
        subset: ``""`` where the file states none.
        line: In the file.
        stated: Width and height, or None.
        shapes: Each with the name of its class and how it is called in a sentence.
    """

    name: str
    given: str
    subset: str
    line: int
    stated: tuple[int, int] | None
    shapes: Sequence[tuple[Element, str | None, str]]


class _Reader:
    """One pass over a file."""

    def __init__(self, file: XmlFile, folder: PictureFolder, report: Report) -> None:
        self.file = file
        self.folder = folder
        self.report = report
        self.label_of: dict[str, int] = {}
        self.found: set[Path] = set()
        self.lines: dict[Path, int] = {}
        self.records: dict[str, Record] = {}
        self.splits: dict[str, str] = {}
        self.missing = 0
        self.boxed: Counter[str] = Counter()

    def read(self) -> Index:
        """Read labels, then pictures with their shapes, then frames with those of tracks."""
        root = self.file.root
        if root.tag != "annotations":
            sentence = f"the file begins with <{root.tag}>, not <annotations>: it is not CVAT's"
            self.report.add(self.file.line(root), "syntax", sentence)
            return Index((), ())
        self._labels(root)
        images = root.findall("image")
        identities: dict[str, int] = {}
        for element in tqdm(images, "pictures", disable=None, leave=False):
            line = self.file.line(element)
            identity = element.get("id")
            if identity is not None and identities.setdefault(identity, line) != line:
                sentence = f"the id {identity} is taken by line {identities[identity]}"
                self.report.add(line, "duplicate id", f"{sentence}; the picture is kept")
            self._image(element, line)
        tracks = root.findall("track")
        if tracks:
            self._frames(tracks)
        return Index(tuple(self.label_of), tuple(self.records.values()))

    def notes(self) -> tuple[str, ...]:
        """Sentences on what was read in another way than it stands there."""
        notes = [
            f"{plural(count, *BOXED[shape])} bounding box{'' if count == 1 else 'es'}"
            for shape, count in sorted(self.boxed.items())
        ]
        notes += self.folder.notes()
        if self.missing and not self.records:
            sentence = f"none of the pictures of {self.report.file} is in {self.folder.root}"
            notes.append(
                f'{sentence}: export it from CVAT with "Save images", or name the folder of the '
                "pictures (--images)"
            )
        return tuple(notes)

    def _labels(self, root: Element) -> None:
        """Number the labels; sublabels of skeletons, which have a parent, are none of boxes."""
        for label in root.iterfind("meta/*/labels/label"):
            if label.find("parent") is not None:
                continue
            line = self.file.line(label)
            name = (label.findtext("name") or "").strip()
            if not name:
                self.report.add(line, "missing field", "the label has no name; it is left out")
            elif name in self.label_of:
                sentence = f"the label {name!r} occurs twice; both are one class"
                self.report.add(line, "duplicate class", sentence)
            else:
                self.label_of[name] = len(self.label_of)
        if not self.label_of:
            sentence = "the file has no labels in meta, so that every class is unknown"
            self.report.add(self.file.line(root), "missing field", sentence)

    def _image(self, element: Element, line: int) -> None:
        given = (element.get("name") or "").replace("\\", "/")
        subset = element.get("subset") or ""
        name = f"{subset}/{given}" if subset else given
        if not given or name in self.records:
            fault = f"the name {name} is taken" if given else "the picture has no name"
            kind = "duplicate picture" if given else "missing field"
            self.report.add(line, kind, f"{fault}; it is left out with its objects")
            return
        shapes = [
            (shape, shape.get("label"), f"shape {count} ({shape.tag})")
            for count, shape in enumerate(element, start=1)
        ]
        texts = element.get("width"), element.get("height")
        self._picture(_Listed(name, given, subset, line, self._size(texts, line), shapes))

    def _picture(self, listed: _Listed) -> None:
        """Look for a picture, and add it with its shapes."""
        path = self.folder.find(listed.name) or self.folder.find(listed.given)
        line = listed.line
        if path is None:
            self.missing += 1
            sentence = f"there is no picture {self.folder.root / listed.given}; it is left out"
            self.report.add(line, "missing picture", sentence)
            return
        self.found.add(path)
        if path in self.lines:
            sentence = f"the picture {path} is that of line {self.lines[path]}; it is left out"
            self.report.add(line, "duplicate picture", sentence)
            return
        size = check_picture(path, listed.stated, self.report, line)
        if size is None:
            return
        self.lines[path] = line
        objects = Objects(*size, self.report)
        for shape, label, what in listed.shapes:
            self._shape(shape, label, what, objects)
        self.records[listed.name] = objects.to_record(listed.name, path)
        if split := known_split(listed.subset):
            self.splits[listed.name] = split

    def _size(self, texts: tuple[str | None, str | None], line: int) -> tuple[int, int] | None:
        width, height = map(side, texts)
        if width and height:
            return width, height
        sentence = f"the picture has no width and height, but {texts[0]!r} and {texts[1]!r}"
        self.report.add(line, "missing field", sentence)
        return None

    def _frames(self, tracks: list[Element]) -> None:
        """Read the boxes of tracks frame by frame, then the frames without any."""
        sizes = self._frame_sizes()
        shapes: dict[tuple[str, int], list[tuple[Element, str | None, str]]] = {}
        tasks: dict[str, str] = {}
        task_of: dict[str, str] = {}
        for track in tracks:
            line = self.file.line(track)
            subset, task = track.get("subset") or "", track.get("task_id") or ""
            if tasks.setdefault(subset, task) != task:
                sentence = (
                    f"the track is of task {task}, whose frames are called like those of task "
                    f"{tasks[subset]}; it is left out: export the tasks one by one"
                )
                self.report.add(line, "duplicate picture", sentence)
                continue
            task_of[subset] = task
            for count, shape in enumerate(track, start=1):
                if shape.get("outside") == "1":
                    continue
                text = shape.get("frame") or ""
                what = f"shape {count} ({shape.tag}) of the track"
                if not (text.isdecimal() and len(text) < 10):
                    sentence = f"{what} has frame={text[:80]!r}, which is no number; it is left out"
                    self.report.add(self.file.line(shape), "not a number", sentence)
                else:
                    shapes.setdefault((subset, int(text)), []).append(
                        (shape, track.get("label"), what)
                    )
        modes = {mode.text for mode in self.file.root.iterfind("meta//mode")}
        for (subset, frame), of_frame in tqdm(
            sorted(shapes.items(), key=lambda item: item[0]), "frames", disable=None, leave=False
        ):
            given = f"frame_{frame:06d}"
            name = f"{subset}/{given}" if subset else given
            if name not in self.records:
                line = self.file.line(of_frame[0][0])
                size = sizes.get(task_of[subset], sizes.get(""))
                self._picture(_Listed(name, given, subset, line, size, of_frame))
        if self.missing and modes == {"annotation"}:
            sentence = (
                'this is a task of pictures, and "CVAT for video" does not hold their names: '
                'export "CVAT for images 1.1"'
            )
            self.report.add(self.file.line(self.file.root), "unsupported shape", sentence)
        if self.file.root.find("image") is None:
            self._empty_frames(sizes.get(""))

    def _empty_frames(self, size: tuple[int, int] | None) -> None:
        """Add the frames on which no object is seen."""
        root = self.folder.root
        for path in files_below(root) if root.is_dir() else ():
            if path in self.found or not re.fullmatch(r"frame_\d{6,}", path.stem):
                continue
            name = path.relative_to(root).with_suffix("").as_posix()
            subset = name.rpartition("/")[0]
            if name not in self.records:
                line = self.file.line(self.file.root)
                self._picture(
                    _Listed(name, path.relative_to(root).as_posix(), subset, line, size, ())
                )

    def _frame_sizes(self) -> dict[str, tuple[int, int] | None]:
        """Width and height of the frames of each task, by its id; by "" where there is one."""
        sizes: dict[str, tuple[int, int] | None] = {}
        for element in self.file.root.iterfind("meta//original_size/.."):
            texts = (
                element.findtext("original_size/width"),
                element.findtext("original_size/height"),
            )
            size = self._size(texts, self.file.line(element))
            sizes[element.findtext("id") or ""] = size
        return sizes | {"": next(iter(sizes.values()))} if len(sizes) == 1 else sizes

    def _shape(self, shape: Element, name: str | None, what: str, objects: Objects) -> None:
        line = self.file.line(shape)
        if shape.tag not in ("box", "points", *BOXED):
            sentence = f"{what} is left out: read are box, points, {', '.join(BOXED)}"
            self.report.add(line, "unsupported shape", sentence)
            return
        label = self.label_of.get(name or "")
        if label is None:
            sentence = f"{what} has the label {name!r}, which is not in meta; it is left out"
            self.report.add(line, "unknown class", sentence)
        elif shape.tag == "points":
            for count, point in self._points(shape, line, what).items():
                objects.add_click(line, f"point {count} of {what}", label, *point)
        else:
            self._box(shape, line, what, label, objects)

    def _box(self, shape: Element, line: int, what: str, label: int, objects: Objects) -> None:
        angle = 0.0
        if shape.tag == "polygon":
            points = self._points(shape, line, what)
            if len(points) < len(_texts(shape)):
                return
            xs, ys = zip(*points.values(), strict=True)
            box = [min(xs), min(ys), max(xs), max(ys)]
        else:
            numbers = self._numbers(shape, line, what)
            if numbers is None:
                return
            a, b, c, d, angle = numbers
            if shape.tag == "ellipse":
                box, angle = _round_ellipse(a, b, c, d, angle), 0.0
            else:
                box = [a, b, a + c, b + d] if shape.tag == "mask" else [a, b, c, d]
        is_rotated = box[2] > box[0] and box[3] > box[1] and angle % 360 != 0
        attributes = {a.get("name"): (a.text or "").strip() for a in shape.iterfind("attribute")}
        self.boxed.update([shape.tag] if shape.tag in BOXED else [])
        objects.add(
            line,
            what,
            label,
            None if is_rotated else box,
            rotated(box, angle) if is_rotated else None,
            ignored=attributes.get("difficult", "").lower() in ("true", "1"),
        )

    def _numbers(self, shape: Element, line: int, what: str) -> list[float] | None:
        """Four numbers of a shape and its rotation, or None, reported."""
        numbers = []
        for key in (*_KEYS[shape.tag], "rotation"):
            text = shape.get(key, "0" if key == "rotation" else None)
            value = number(text)
            if value is None or not math.isfinite(value):
                sentence = f"{what} has {key}={text!r}, which is no number; it is left out"
                self.report.add(line, "not a number", sentence)
                return None
            numbers.append(value)
        return numbers

    def _points(self, shape: Element, line: int, what: str) -> dict[int, tuple[float, float]]:
        """The points of a shape by their number; broken ones are reported and left out."""
        points = {}
        for count, text in enumerate(_texts(shape), start=1):
            values = [number(part) for part in text.split(",")]
            if len(values) != 2 or values[0] is None or values[1] is None:
                sentence = f"point {count} of {what} is {text[:80]!r}, not x,y; it is left out"
                self.report.add(line, "not a number", sentence)
            else:
                points[count] = values[0], values[1]
        return points


def _texts(shape: Element) -> list[str]:
    """The points of a shape as they stand in the file."""
    return (shape.get("points") or "").split(";")


_KEYS = {
    "box": ("xtl", "ytl", "xbr", "ybr"),
    "ellipse": ("cx", "cy", "rx", "ry"),
    "mask": ("left", "top", "width", "height"),
}


def _round_ellipse(cx: float, cy: float, rx: float, ry: float, degrees: float) -> list[float]:
    """The bounding box of an ellipse that is rotated about its centre."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = math.hypot(rx * cosine, ry * sine), math.hypot(rx * sine, ry * cosine)
    return [cx - x, cy - y, cx + x, cy + y]

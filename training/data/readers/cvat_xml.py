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
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from tqdm import tqdm

from training.data.readers.builder import ReadingBuilder
from training.data.readers.folders import (
    files_below,
    find_files,
    known_split,
    names_in,
    unlisted_pictures,
)
from training.data.readers.objects import Objects, hull
from training.data.readers.reading import Reading, Report, nothing
from training.data.readers.text import XmlFile, number, read_xml, stated_size, whole_number

_BOXED = {
    shape: (f"{shape} is read as its bounding box", f"{many} are read as their bounding boxes")
    for shape, many in (("polygon", "polygons"), ("ellipse", "ellipses"), ("mask", "masks"))
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
            there = names_in(path, files)
            fault = f"there is no annotations.xml in this folder, but {there or 'nothing'}"
            if files:
                fault = f"there is more than one file, {there}: name the one to read"
            return nothing(path, fault)
        path = files[0]
    below = images is not None or (path.parent / "images").is_dir()
    images = images or (path.parent / "images" if below else path.parent)
    builder = ReadingBuilder(images)
    file = read_xml(path, builder.report(path))
    if file is None:
        return builder.reading(())
    reader = _Reader(file, builder, builder.report(path))
    reader.read()
    return builder.reading(
        reader.label_of,
        unlisted_pictures(images, builder.used, below=below),
        f"none of the pictures of {path} is in {images}: export it from CVAT with "
        '"Save images", or name the folder of the pictures (--images)',
    )


_Shapes = Sequence[tuple[Element, str | None, str]]
"""Shapes of a picture, each with the name of its class and how it is called in a sentence."""


class _Reader:
    """One pass over a file: labels, then pictures with their shapes, then frames of tracks."""

    def __init__(self, file: XmlFile, builder: ReadingBuilder, report: Report) -> None:
        self.file = file
        self.builder = builder
        self.report = report
        self.label_of: dict[str, int] = {}

    def read(self) -> None:
        """Read everything."""
        root = self.file.root
        if root.tag != "annotations":
            sentence = f"the file begins with <{root.tag}>, not <annotations>: it is not CVAT's"
            self.report.add(self.file.line(root), "syntax", sentence)
            return
        self._labels(root)
        lines: dict[str, int] = {}
        for element in tqdm(root.findall("image"), "pictures", disable=None, leave=False):
            line, identity = self.file.line(element), element.get("id")
            if identity is not None and lines.setdefault(identity, line) != line:
                sentence = f"the id {identity} is taken by line {lines[identity]}"
                self.report.add(line, "duplicate id", f"{sentence}; the picture is kept")
            self._image(element, line)
        if tracks := root.findall("track"):
            self._frames(tracks)

    def _labels(self, root: Element) -> None:
        """Number the labels; sublabels of skeletons, which have a parent, are none of boxes."""
        for label in root.iterfind("meta/*/labels/label"):
            if label.find("parent") is not None:
                continue
            line = self.file.line(label)
            name = (label.findtext("name") or "").strip()
            if not name:
                self.report.leave_out(line, "missing field", "the label has no name")
            elif name in self.label_of:
                sentence = f"the label {name!r} occurs twice; both are one class"
                self.report.add(line, "duplicate class", sentence)
            else:
                self.label_of[name] = len(self.label_of)
        if not self.label_of:
            sentence = "the file has no labels in meta, so that every class is unknown"
            self.report.add(self.file.line(root), "missing field", sentence)

    def _image(self, element: Element, line: int) -> None:
        given = self.builder.folder.plain(element.get("name") or "")
        subset = element.get("subset") or ""
        name = _name(subset, given)
        if not given or name in self.builder.pictures:
            fault = f"the name {name} is taken" if given else "the picture has no name"
            kind = "duplicate picture" if given else "missing field"
            self.report.add(line, kind, f"{fault}; it is left out with its objects")
            return
        shapes = [
            (shape, shape.get("label"), f"shape {count} ({shape.tag})")
            for count, shape in enumerate(element, start=1)
        ]
        texts = element.get("width"), element.get("height")
        stated = stated_size(texts, "picture", self.report, line)
        self._picture(subset, given, line, stated, shapes)

    def _picture(
        self, subset: str, given: str, line: int, stated: tuple[int, int] | None, shapes: _Shapes
    ) -> None:
        """Look for a picture, by its name in its subset, and add it with its shapes."""
        folder, name = self.builder.folder, _name(subset, given)
        found = folder.find(name) or folder.find(given)
        path = self.builder.use(found, self.report, line, folder.root / given)
        objects = path and self.builder.open(path, self.report, line, stated, name)
        if not objects:
            return
        for shape, label, what in shapes:
            self._shape(shape, label, what, objects)
        if split := known_split(subset):
            self.builder.splits[name] = split

    def _frames(self, tracks: list[Element]) -> None:
        """Read the boxes of tracks frame by frame, then the frames without any."""
        root, sizes = self.file.root, self._frame_sizes()
        frames: dict[tuple[str, int], list[tuple[Element, str | None, str]]] = {}
        tasks: dict[str, str] = {}
        for track in tracks:
            subset, task = track.get("subset") or "", track.get("task_id") or ""
            if tasks.setdefault(subset, task) != task:
                sentence = (
                    f"the track is of task {task}, whose frames are called like those of task "
                    f"{tasks[subset]}; it is left out: export the tasks one by one"
                )
                self.report.add(self.file.line(track), "duplicate picture", sentence)
                continue
            for count, shape in enumerate(track, start=1):
                frame = whole_number(shape.get("frame"))
                what = f"shape {count} ({shape.tag}) of the track"
                if shape.get("outside") == "1":
                    continue
                if frame is not None:
                    of_frame = frames.setdefault((subset, frame), [])
                    of_frame.append((shape, track.get("label"), what))
                else:
                    text = (shape.get("frame") or "")[:80]
                    sentence = f"{what} has frame={text!r}, which is no number"
                    self.report.leave_out(self.file.line(shape), "not a number", sentence)
        for subset, frame in tqdm(sorted(frames), "frames", disable=None, leave=False):
            given, shapes = f"frame_{frame:06d}", frames[subset, frame]
            if _name(subset, given) not in self.builder.pictures:
                line, size = self.file.line(shapes[0][0]), sizes.get(tasks[subset], sizes.get(""))
                self._picture(subset, given, line, size, shapes)
        modes = {mode.text for mode in root.iterfind("meta//mode")}
        if self.builder.missing and modes == {"annotation"}:
            sentence = (
                'this is a task of pictures, and "CVAT for video" does not hold their names: '
                'export "CVAT for images 1.1"'
            )
            self.report.add(self.file.line(root), "unsupported shape", sentence)
        if root.find("image") is None:
            self._empty_frames(sizes.get(""))

    def _empty_frames(self, size: tuple[int, int] | None) -> None:
        """Add the frames on which no object is seen."""
        root, used = self.builder.folder.root, set(self.builder.used)
        for path in files_below(root) if root.is_dir() else ():
            subset, _, given = path.relative_to(root).with_suffix("").as_posix().rpartition("/")
            is_frame = re.fullmatch(r"frame_\d{6,}", given) is not None
            if is_frame and path not in used and _name(subset, given) not in self.builder.pictures:
                self._picture(subset, given, self.file.line(self.file.root), size, ())

    def _frame_sizes(self) -> dict[str, tuple[int, int] | None]:
        """Width and height of the frames of each task, by its id; by "" where there is one."""
        sizes: dict[str, tuple[int, int] | None] = {}
        for element in self.file.root.iterfind("meta//original_size/.."):
            texts = [element.findtext(f"original_size/{key}") for key in ("width", "height")]
            size = stated_size(texts, "picture", self.report, self.file.line(element))
            sizes[element.findtext("id") or ""] = size
        return sizes | {"": next(iter(sizes.values()))} if len(sizes) == 1 else sizes

    def _shape(self, shape: Element, name: str | None, what: str, objects: Objects) -> None:
        line = self.file.line(shape)
        if shape.tag not in ("box", "points", *_BOXED):
            sentence = f"{what} is left out: read are box, points, {', '.join(_BOXED)}"
            self.report.add(line, "unsupported shape", sentence)
            return
        label = self.label_of.get(name or "")
        if label is None:
            sentence = f"{what} has the label {name!r}, which is not in meta"
            self.report.leave_out(line, "unknown class", sentence)
        elif shape.tag == "points":
            for count, point in self._points(shape, line, what).items():
                objects.add_click(line, f"point {count} of {what}", label, *point)
        else:
            self._box(shape, line, what, label, objects)

    def _box(self, shape: Element, line: int, what: str, label: int, objects: Objects) -> None:
        angle = 0.0
        box: tuple[float, ...]
        if shape.tag == "polygon":
            points = self._points(shape, line, what)
            if len(points) < len(_texts(shape)):
                return
            box = hull(points.values())
        else:
            numbers = self._numbers(shape, line, what)
            if numbers is None:
                return
            a, b, c, d, angle = numbers
            if shape.tag == "ellipse":
                box, angle = _round_ellipse(a, b, c, d, angle), 0.0
            else:
                box = (a, b, a + c, b + d) if shape.tag == "mask" else (a, b, c, d)
        attributes = {a.get("name"): (a.text or "").strip() for a in shape.iterfind("attribute")}
        ignored = attributes.get("difficult", "").lower() in ("true", "1")
        if shape.tag in _BOXED:
            self.builder.counts[_BOXED[shape.tag]] += 1
        objects.add(line, what, label, box, rotation=angle, ignored=ignored)

    def _numbers(self, shape: Element, line: int, what: str) -> list[float] | None:
        """Four numbers of a shape and its rotation, or None, reported."""
        numbers = []
        for key in (*_KEYS[shape.tag], "rotation"):
            text = shape.get(key, "0" if key == "rotation" else None)
            value = number(text)
            if value is None or not math.isfinite(value):
                sentence = f"{what} has {key}={text!r}, which is no number"
                self.report.leave_out(line, "not a number", sentence)
                return None
            numbers.append(value)
        return numbers

    def _points(self, shape: Element, line: int, what: str) -> dict[int, tuple[float, float]]:
        """The points of a shape by their number; broken ones are reported and left out."""
        points = {}
        for count, text in enumerate(_texts(shape), start=1):
            values = [number(part) for part in text.split(",")]
            if len(values) != 2 or values[0] is None or values[1] is None:
                sentence = f"point {count} of {what} is {text[:80]!r}, not x,y"
                self.report.leave_out(line, "not a number", sentence)
            else:
                points[count] = values[0], values[1]
        return points


def _name(subset: str, given: str) -> str:
    """The name of a picture, with its subset where the file states one."""
    return f"{subset}/{given}" if subset else given


def _texts(shape: Element) -> list[str]:
    """The points of a shape as they stand in the file."""
    return (shape.get("points") or "").split(";")


_KEYS = {
    "box": ("xtl", "ytl", "xbr", "ybr"),
    "ellipse": ("cx", "cy", "rx", "ry"),
    "mask": ("left", "top", "width", "height"),
}


def _round_ellipse(cx: float, cy: float, rx: float, ry: float, degrees: float) -> tuple[float, ...]:
    """The bounding box of an ellipse that is rotated about its centre."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = math.hypot(rx * cosine, ry * sine), math.hypot(rx * sine, ry * cosine)
    return cx - x, cy - y, cx + x, cy + y

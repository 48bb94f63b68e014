"""CVAT's own format, "CVAT for images 1.1": one XML file, with pictures in ``images`` beside it.

Read are ``box``, with its ``rotation`` (degrees, clockwise about the centre), and ``points``. Every
point is a click of the annotator on an object of the label: `training.data.index.Record.clicks`,
which ``training.data.convert`` writes for replay. A box whose attribute ``difficult`` is checked is
difficult. Everything else (polygons, masks, tags, tracks of videos, ...) is reported.
"""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree.ElementTree import Element

from tqdm import tqdm

from training.data.index import Index, Record
from training.data.readers.defects import (
    Objects,
    PictureFolder,
    Reading,
    Report,
    check_picture,
    rotated,
    side,
)
from training.data.readers.text import XmlFile, read_xml


def read_cvat_xml(path: Path, images: Path | None = None) -> Reading:
    """Read and validate an XML file of "CVAT for images 1.1".

    Args:
        path: The file.
        images: Folder of the pictures; by default ``images`` beside the file, or the file's own
            folder where there is no such folder. Pictures of a subset may lie in a folder of its
            name.

    Returns:
        The data set, classes in the order of the file's ``labels``, and all defects. The name of a
        picture is ``"<subset>/<name>"`` where the file states subsets.
    """
    report = Report(path)
    file = read_xml(path, report)
    if file is None:
        return Reading(Index((), ()), tuple(report.defects))
    if images is None:
        images = path.parent / "images"
        images = images if images.is_dir() else path.parent
    reader = _Reader(file, PictureFolder(images), report)
    return Reading(reader.read(), tuple(sorted(report.defects)))


class _Reader:
    """One pass over a file."""

    def __init__(self, file: XmlFile, folder: PictureFolder, report: Report) -> None:
        self.file = file
        self.folder = folder
        self.report = report
        self.label_of: dict[str, int] = {}
        self.lines: dict[Path, int] = {}

    def read(self) -> Index:
        """Read labels, then pictures with their shapes."""
        root = self.file.root
        if root.tag != "annotations":
            sentence = f"the file begins with <{root.tag}>, not <annotations>: it is not CVAT's"
            self.report.add(self.file.line(root), "syntax", sentence)
            return Index((), ())
        self._labels(root)
        for track in root.iter("track"):
            sentence = 'a track is left out: export "CVAT for images 1.1", not "for video"'
            self.report.add(self.file.line(track), "unsupported shape", sentence)
        images = root.findall("image")
        records: dict[str, Record] = {}
        identities: dict[str, int] = {}
        for element in tqdm(images, "pictures", disable=None, leave=False):
            line = self.file.line(element)
            identity = element.get("id")
            if identity is not None and identities.setdefault(identity, line) != line:
                sentence = f"the id {identity} is taken by line {identities[identity]}"
                self.report.add(line, "duplicate id", f"{sentence}; the picture is kept")
            self._picture(element, line, records)
        return Index(tuple(self.label_of), tuple(records.values()))

    def _labels(self, root: Element) -> None:
        """Number the labels; sublabels of skeletons, which have a parent, are none of boxes."""
        for label in root.iterfind("meta/*/labels/label"):
            line = self.file.line(label)
            name = (label.findtext("name") or "").strip()
            if not name:
                self.report.add(line, "missing field", "the label has no name; it is left out")
            elif name in self.label_of:
                sentence = f"the label {name!r} occurs twice; both are one class"
                self.report.add(line, "duplicate class", sentence)
            elif label.find("parent") is None:
                self.label_of[name] = len(self.label_of)
        if not self.label_of:
            sentence = "the file has no labels in meta, so that every class is unknown"
            self.report.add(self.file.line(root), "missing field", sentence)

    def _picture(self, element: Element, line: int, records: dict[str, Record]) -> None:
        given = (element.get("name") or "").replace("\\", "/")
        subset = element.get("subset")
        name = f"{subset}/{given}" if subset else given
        if not given or name in records:
            fault = f"the name {name} is taken" if given else "the picture has no name"
            kind = "duplicate picture" if given else "missing field"
            self.report.add(line, kind, f"{fault}; it is left out with its objects")
            return
        path = self.folder.find(name) or self.folder.find(given)
        if path is None:
            sentence = f"there is no picture {self.folder.root / given}; it is left out"
            self.report.add(line, "missing picture", sentence)
            return
        if path in self.lines:
            sentence = f"the picture {path} is that of line {self.lines[path]}; it is left out"
            self.report.add(line, "duplicate picture", sentence)
            return
        stated = self._stated_size(element, line)
        size = check_picture(path, stated, self.report, line)
        if size is None:
            return
        self.lines[path] = line
        objects = Objects(*size, self.report)
        for number, shape in enumerate(element, start=1):
            self._shape(shape, f"shape {number} ({shape.tag})", objects)
        records[name] = objects.record(name, path)

    def _stated_size(self, element: Element, line: int) -> tuple[int, int] | None:
        texts = element.get("width"), element.get("height")
        width, height = map(side, texts)
        if width and height:
            return width, height
        sentence = f"the picture has no width and height, but {texts[0]!r} and {texts[1]!r}"
        self.report.add(line, "missing field", sentence)
        return None

    def _shape(self, shape: Element, what: str, objects: Objects) -> None:
        line = self.file.line(shape)
        if shape.tag not in ("box", "points"):
            sentence = f"{what} is left out: only boxes and points are read"
            self.report.add(line, "unsupported shape", sentence)
            return
        name = shape.get("label")
        label = self.label_of.get(name or "")
        if label is None:
            sentence = f"{what} has the label {name!r}, which is not in meta; it is left out"
            self.report.add(line, "unknown class", sentence)
        elif shape.tag == "box":
            self._box(shape, line, what, label, objects)
        else:
            self._points(shape, line, what, label, objects)

    def _box(self, shape: Element, line: int, what: str, label: int, objects: Objects) -> None:
        keys = ("xtl", "ytl", "xbr", "ybr", "rotation")
        texts = [shape.get(key, "0" if key == "rotation" else None) for key in keys]
        values = [_number(text) for text in texts]
        for key, text, value in zip(keys, texts, values, strict=True):
            if value is None or not math.isfinite(value):
                sentence = f"{what} has {key}={text!r}, which is no number; it is left out"
                self.report.add(line, "not a number", sentence)
                return
        *box, turn = [value for value in values if value is not None]
        turned = box[2] > box[0] and box[3] > box[1] and turn % 360 != 0
        attributes = {a.get("name"): (a.text or "").strip() for a in shape.iterfind("attribute")}
        objects.add(
            line,
            what,
            label,
            None if turned else box,
            rotated(box, turn) if turned else None,
            difficult=attributes.get("difficult", "").lower() in ("true", "1"),
        )

    def _points(self, shape: Element, line: int, what: str, label: int, objects: Objects) -> None:
        for number, point in enumerate((shape.get("points") or "").split(";"), start=1):
            values = [_number(text) for text in point.split(",")]
            if len(values) != 2 or values[0] is None or values[1] is None:
                sentence = f"point {number} of {what} is {point!r}, not x,y; it is left out"
                self.report.add(line, "not a number", sentence)
            else:
                objects.click(line, f"point {number} of {what}", label, values[0], values[1])


def _number(text: str | None) -> float | None:
    """Read a number; words such as ``nan`` are numbers here and are found by `Objects`."""
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None

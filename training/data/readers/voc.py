"""Pascal VOC: one XML file a picture.

VOC counts pixels from 1 and includes the last one: ``xmin`` 1, ``xmax`` 3 are the first three
columns, ``[0, 3)`` in the coordinates used here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from tqdm import tqdm

from training.data.index import Index, Record
from training.data.readers.defects import (
    Defect,
    Objects,
    PictureFolder,
    Reading,
    Report,
    check_picture,
    side,
)
from training.data.readers.text import XmlFile, read_xml

EDGES = ("xmin", "ymin", "xmax", "ymax")


def read_voc(
    source: Path, images: Path | None = None, classes: Sequence[str] | None = None
) -> Reading:
    """Read and validate Pascal VOC files.

    Args:
        source: One XML file, a folder of them, or a folder with ``Annotations``.
        images: Folder of the pictures; by default ``JPEGImages`` in or beside the folder of the XML
            files, or else that folder itself.
        classes: The classes that there are; by default all that occur, in alphabetical order.

    Returns:
        The data set and all defects. The name of a picture is that of its file.
    """
    annotations = source / "Annotations" if (source / "Annotations").is_dir() else source
    folder = annotations if annotations.is_dir() else annotations.parent
    files = sorted(annotations.glob("*.xml")) if annotations.is_dir() else [annotations]
    if images is None:
        beside = folder / "JPEGImages", folder.parent / "JPEGImages"
        images = next((path for path in beside if path.is_dir()), folder)
    defects: list[Defect] = []
    if not files:
        defects.append(Defect(source, 1, "missing file", "there is no XML file in this folder"))
    parsed = {}
    for path in files:
        report = Report(path)
        file = read_xml(path, report)
        if file is not None:
            parsed[path] = file
        defects += report.defects
    if classes is None:
        found = (o.findtext("name") for file in parsed.values() for o in file.root.iter("object"))
        classes = sorted({name.strip() for name in found if name and name.strip()})
    reader = _Reader(PictureFolder(images), {name: n for n, name in enumerate(classes)})
    for path, file in tqdm(parsed.items(), "pictures", disable=None, leave=False):
        report = Report(path)
        reader.picture(path, file, report)
        defects += report.defects
    return Reading(Index(tuple(classes), tuple(reader.records.values())), tuple(sorted(defects)))


class _Reader:
    """One pass over all files."""

    def __init__(self, folder: PictureFolder, label_of: dict[str, int]) -> None:
        self.folder = folder
        self.label_of = label_of
        self.records: dict[str, Record] = {}

    def picture(self, path: Path, file: XmlFile, report: Report) -> None:
        """Read one file."""
        root = file.root
        if root.tag != "annotation":
            sentence = f"the file begins with <{root.tag}>, not <annotation>: it is not Pascal VOC"
            report.add(file.line(root), "syntax", sentence)
            return
        stated_name = (root.findtext("filename") or "").strip().replace("\\", "/")
        if not stated_name:
            sentence = f"the file has no filename; the picture is looked for as {path.stem}"
            report.add(file.line(root), "missing field", sentence)
        picture = self.folder.find(stated_name) if stated_name else self.folder.find(path.stem)
        if picture is None:
            sentence = f"there is no picture {self.folder.root / (stated_name or path.stem)}"
            report.add(file.line(root), "missing picture", f"{sentence}; it is left out")
            return
        name = Path(os.path.relpath(picture, self.folder.root)).as_posix()
        if name in self.records:
            sentence = f"the picture {name} has another file already; this one is left out"
            report.add(file.line(root), "duplicate picture", sentence)
            return
        size = check_picture(picture, _stated_size(file, report), report, file.line(root))
        if size is None:
            return
        objects = Objects(*size, report)
        for number, element in enumerate(root.findall("object"), start=1):
            self._object(element, f"object {number}", file, objects, report)
        self.records[name] = objects.record(name, picture)

    def _object(
        self, element: Element, what: str, file: XmlFile, objects: Objects, report: Report
    ) -> None:
        line = file.line(element)
        name = (element.findtext("name") or "").strip()
        if name not in self.label_of:
            sentence = f"{what} has the class {name!r}, not one of {', '.join(self.label_of)}"
            report.add(line, "unknown class", f"{sentence}; it is left out")
            return
        bounds = element.find("bndbox")
        if bounds is None:
            others = ", ".join(child.tag for child in element)
            sentence = f"{what} has no bndbox, but {others}; it is left out"
            report.add(line, "unsupported shape", sentence)
            return
        box = []
        for edge in EDGES:
            text = bounds.findtext(edge)
            try:
                box.append(float(text or ""))
            except ValueError:
                sentence = f"{what} has {edge} {text!r}, which is no number; it is left out"
                report.add(file.line(bounds), "not a number", sentence)
                return
        xmin, ymin, xmax, ymax = box
        flag = (element.findtext("difficult") or "0").strip()
        if flag not in ("0", "1"):
            sentence = f"{what} has difficult {flag!r}, neither 0 nor 1; it is taken for 0"
            report.add(line, "broken flag", sentence)
        objects.add(
            file.line(bounds),
            what,
            self.label_of[name],
            (xmin - 1, ymin - 1, xmax, ymax),
            difficult=flag == "1",
        )


def _stated_size(file: XmlFile, report: Report) -> tuple[int, int] | None:
    """Width and height of a file, or None, reported, where it has none."""
    size = file.root.find("size")
    texts = [file.root.findtext(f"size/{key}", "").strip() for key in ("width", "height")]
    width, height = map(side, texts)
    if width and height:
        return width, height
    sentence = f"the file has no width and height, but {texts[0]!r} and {texts[1]!r}"
    report.add(file.line(file.root if size is None else size), "missing field", sentence)
    return None

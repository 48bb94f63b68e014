"""Pascal VOC: one XML file a picture.

The format has two conventions for pixels, and no file says which one it keeps to:

- Pascal's own: pixels are counted from 1 and the last one is included. ``xmin`` 1, ``xmax`` 3 are
  the first three columns, ``[0, 3)`` in the coordinates used here.
- CVAT's (Datumaro's): the coordinates are continuous, from 0, with fractions, and are those used
  here.

A reading decides once, by what its files show, and says how; see `read_voc`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal
from xml.etree.ElementTree import Element

from tqdm import tqdm

from training.data.annotated import Index, Record
from training.data.picture_files import SUFFIXES
from training.data.readers.folders import (
    PictureFolder,
    check_picture,
    files_below,
    is_absolute,
    known_split,
    unknown_files,
    unused_files,
)
from training.data.readers.objects import Objects
from training.data.readers.reading import Defect, Reading, Report, in_order, listing, plural
from training.data.readers.text import XmlFile, number, read_text, read_xml, side

EDGES = ("xmin", "ymin", "xmax", "ymax")

Origin = Literal[0, 1]


def read_voc(
    source: Path,
    images: Path | None = None,
    classes: Sequence[str] | None = None,
    origin: Origin | None = None,
) -> Reading:
    """Read and validate Pascal VOC files.

    Args:
        source: One XML file, a folder of them, or a folder with ``Annotations``; folders in it are
            searched too.
        images: Folder of the pictures; by default ``JPEGImages`` in or beside the folder of the XML
            files, or else that folder itself, or where there is no picture in it, ``images`` beside
            it.
        classes: The classes that there are; by default all that occur, in alphabetical order.
        origin: 1, pixels are counted from 1 and the last one is included; 0, the coordinates are
            continuous, from 0. By default 0 where a coordinate has a fraction or a box begins
            before 1, or where the files are CVAT's; 1 otherwise, and always where the files call
            themselves Pascal's.

    Returns:
        The data set and all defects. The name of a picture is the path of its file in the folder of
        the pictures. Its split is that of ``ImageSets/Main``, beside the folder of the XML files,
        or without any that of a folder called like one.
    """
    annotations = source / "Annotations" if (source / "Annotations").is_dir() else source
    folder = annotations if annotations.is_dir() else annotations.parent
    files = [annotations]
    if annotations.is_dir():
        files = files_below(annotations, {".xml"})
    if images is None:
        images = _image_folder(folder, files)
    defects: list[Defect] = []
    if not files:
        defects.append(Defect(source, 1, "missing file", "there is no XML file in this folder"))
    parsed = {}
    for path in files:
        file = read_xml(path, Report(path, defects))
        if file is not None:
            parsed[path] = file
    if classes is None:
        found = (o.findtext("name") for file in parsed.values() for o in file.root.iter("object"))
        classes = sorted({name.strip() for name in found if name and name.strip()})
    notes: list[str] = []
    if origin is None and any(
        file.root.find(".//object/bndbox") is not None for file in parsed.values()
    ):
        origin, reason = _origin(parsed)
        notes.append(f"{_CONVENTIONS[origin]}, {reason}; --origin {1 - origin} takes the other way")
    label_of = {name: n for n, name in enumerate(classes)}
    reader = _Reader(PictureFolder(images), folder, label_of, 1 if origin is None else origin)
    for path, file in tqdm(parsed.items(), "pictures", disable=None, leave=False):
        reader.picture(path, file, Report(path, defects))
    if annotations.is_dir():
        if images.is_dir():
            defects += unused_files(
                images, reader.found, lambda _: "no XML file is of this picture; it is left out"
            )
        if annotations not in (images, *images.parents):
            defects += unknown_files(annotations, ".xml")
    notes += reader.folder.notes()
    if reader.parts:
        notes.append(
            f"{plural(reader.parts, 'part of an object is', 'parts of objects are')} not read"
        )
    index = Index(tuple(classes), tuple(reader.records.values()))
    listed = _listed(folder.parent / "ImageSets" / "Main", defects)
    names = {PurePosixPath(name).with_suffix("").as_posix(): name for name in reader.records}
    splits = {names[stem]: split for stem, split in listed.items() if stem in names}
    if not listed:
        # Roboflow has a folder for each split instead.
        folders = {name: known_split(PurePosixPath(name).parts[0]) for name in reader.records}
        splits = {name: split for name, split in folders.items() if split}
    return Reading(index, in_order(defects), tuple(notes), splits)


def _image_folder(folder: Path, files: Sequence[Path]) -> Path:
    """Where the pictures lie by default, given the XML files and the folder that they are in."""
    names = ["JPEGImages"]
    around = {path for parent in {file.parent for file in files} for path in parent.iterdir()}
    if not any(path.suffix.lower() in SUFFIXES for path in around):
        names.append("images")
    candidates = (parent / name for name in names for parent in (folder, folder.parent))
    return next((path for path in candidates if path.is_dir()), folder)


def _listed(folder: Path, defects: list[Defect]) -> dict[str, str]:
    """The split of each picture, by its name without suffix, as the lists in a folder have it."""
    splits: dict[str, str] = {}
    for path in sorted(folder.glob("*.txt")) if folder.is_dir() else ():
        split = known_split(path.stem)
        if split is None:
            continue
        for line in (read_text(path, Report(path, defects)) or "").splitlines():
            # CVAT puts names with spaces into quotes; a flag may stand behind a name.
            quoted = line.strip().startswith('"')
            parts = line.strip()[1:].split('"') if quoted else line.split()
            if parts:
                splits.setdefault(parts[0], split)
    return splits


_CONVENTIONS: dict[Origin, str] = {
    0: "the coordinates are read as continuous, from 0, as CVAT writes them",
    1: "the coordinates are read as pixels counted from 1, the last one included",
}


def _origin(parsed: Mapping[Path, XmlFile]) -> tuple[Origin, str]:
    """Decide how the files count, and say why."""
    sources = [
        {key: file.root.findtext(f"source/{key}", "").strip() for key in _SOURCE}
        for file in parsed.values()
    ]
    pascal = sum("PASCAL VOC" in source["annotation"].upper() for source in sources)
    if pascal * 2 > len(sources):
        return 1, f"since {pascal} of {len(sources)} files call themselves Pascal's own"
    fraction = zero = None
    for path, file in parsed.items():
        for bounds in file.root.iterfind(".//object/bndbox"):
            for edge in EDGES:
                value = number(bounds.findtext(edge))
                if value is None or not math.isfinite(value):
                    continue
                place = f"since {path}:{file.line(bounds)} has {edge} {value:.6g}"
                if value != int(value):
                    fraction = fraction or place
                elif edge in ("xmin", "ymin") and value < 1:
                    zero = zero or place
    if fraction or zero:
        return 0, fraction or zero or ""
    cvat = sum(all(text == "Unknown" for text in source.values()) for source in sources)
    if cvat * 2 > len(sources):
        return 0, f"since {cvat} of {len(sources)} files look like CVAT's"
    return 1, "since no box has a fraction or a 0 and the files do not look like CVAT's"


_SOURCE = ("database", "annotation", "image")


class _Reader:
    """One pass over all files."""

    def __init__(
        self, folder: PictureFolder, annotations: Path, label_of: dict[str, int], origin: Origin
    ) -> None:
        self.folder = folder
        self.annotations = annotations
        self.label_of = label_of
        self.origin = origin
        self.records: dict[str, Record] = {}
        self.found: list[Path] = []
        self.parts = 0

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
            stated_name = path.stem
        # In folders, some programs write the name with the folder and some without it.
        # Where the whole path stands there, it is that on the machine that wrote it.
        last = PurePosixPath(stated_name).name if is_absolute(stated_name) else stated_name
        beside = (path.parent.relative_to(self.annotations) / last).as_posix()
        stated_folder = (root.findtext("folder") or "").strip()
        names = dict.fromkeys((beside, stated_name, f"{stated_folder}/{last}"))
        picture = next((p for p in map(self.folder.find, names) if p is not None), None)
        if picture is None:
            sentence = f"there is no picture {self.folder.root / stated_name}"
            report.add(file.line(root), "missing picture", f"{sentence}; it is left out")
            return
        self.found.append(picture)
        name = Path(os.path.relpath(picture, self.folder.root)).as_posix()
        if name in self.records:
            sentence = f"the picture {name} has another file already; this one is left out"
            report.add(file.line(root), "duplicate picture", sentence)
            return
        size = check_picture(picture, _stated_size(file, report), report, file.line(root))
        if size is None:
            return
        objects = Objects(*size, report)
        for count, element in enumerate(root.iter("object"), start=1):
            self._object(element, f"object {count}", file, objects, report)
        self.records[name] = objects.to_record(name, picture)

    def _object(
        self, element: Element, what: str, file: XmlFile, objects: Objects, report: Report
    ) -> None:
        line = file.line(element)
        self.parts += len(element.findall("part"))
        name = (element.findtext("name") or "").strip()
        if name not in self.label_of:
            sentence = f"{what} has the class {name!r}, not one of {listing([*self.label_of])}"
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
            value = number(text)
            if value is None:
                sentence = f"{what} has {edge} {text!r}, which is no number; it is left out"
                report.add(file.line(bounds), "not a number", sentence)
                return
            box.append(value)
        xmin, ymin, xmax, ymax = box
        flag = (element.findtext("difficult") or "0").strip()
        if flag not in ("0", "1"):
            sentence = f"{what} has difficult {flag!r}, neither 0 nor 1; it is read as 0"
            report.add(line, "broken flag", sentence)
        objects.add(
            file.line(bounds),
            what,
            self.label_of[name],
            (xmin - self.origin, ymin - self.origin, xmax, ymax),
            ignored=flag == "1",
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

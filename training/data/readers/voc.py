"""Pascal VOC: one XML file a picture.

The format has two conventions for pixels, and no file says which one it keeps to:

- Pascal's own: pixels are counted from 1 and the last one is included. ``xmin`` 1, ``xmax`` 3 are
  the first three columns, ``[0, 3)`` in the coordinates used here.
- CVAT's (Datumaro's) and labelImg's: the coordinates are continuous, from 0, and are those used
  here. CVAT's have fractions; labelImg cuts them off and writes 1 for 0.

A reading decides once, by what its files show, and says how; see `read_voc`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal
from xml.etree.ElementTree import Element

from tqdm import tqdm

from training.data.picture_files import SUFFIXES
from training.data.readers.builder import ReadingBuilder
from training.data.readers.folders import (
    files_below,
    is_absolute,
    known_split,
    unknown_files,
    unused_files,
)
from training.data.readers.objects import Objects
from training.data.readers.reading import Reading, Report, listing
from training.data.readers.text import XmlFile, number, read_text, read_xml, stated_size

EDGES = ("xmin", "ymin", "xmax", "ymax")
_PARTS = ("part of an object is not read", "parts of objects are not read")

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
            before 1, or where the files are CVAT's or labelImg's; 1 otherwise, and always where the
            files call themselves Pascal's.

    Returns:
        The data set and all defects. The name of a picture is the path of its file in the folder of
        the pictures. Its split is that of ``ImageSets/Main``, beside the folder of the XML files,
        or without any that of a folder called like one.
    """
    annotations = source / "Annotations" if (source / "Annotations").is_dir() else source
    is_folder = annotations.is_dir()
    folder = annotations if is_folder else annotations.parent
    files = files_below(annotations, {".xml"}) if is_folder else [annotations]
    builder = ReadingBuilder(images or _image_folder(folder, files))
    images = builder.folder.root
    if not files:
        sentence = "there is no XML file in this folder"
        builder.report(source).add(1, "missing file", sentence)
    read = ((path, read_xml(path, builder.report(path))) for path in files)
    parsed = {path: file for path, file in read if file is not None}
    if classes is None:
        found = (o.findtext("name") for file in parsed.values() for o in file.root.iter("object"))
        classes = sorted({name.strip() for name in found if name and name.strip()})
    if origin is None:
        origin, reason = _origin(parsed)
        if any(file.root.find(".//object/bndbox") is not None for file in parsed.values()):
            other = f"--origin {1 - origin} takes the other way"
            builder.notes.append(f"{_CONVENTIONS[origin]}, {reason}; {other}")
    label_of = {name: n for n, name in enumerate(classes)}
    for path, file in tqdm(parsed.items(), "pictures", disable=None, leave=False):
        objects = _open(path.relative_to(folder), file, builder, builder.report(path))
        if objects is None:
            continue
        for count, element in enumerate(file.root.iter("object"), start=1):
            builder.counts.update([_PARTS] * len(element.findall("part")))
            _add(element, f"object {count}", file, label_of, origin, objects)
    if is_folder and images.is_dir():
        builder.defects += unused_files(
            images, builder.used, lambda _: "no XML file is of this picture; it is left out"
        )
    if is_folder and annotations not in (images, *images.parents):
        builder.defects += unknown_files(annotations, ".xml")
    listed = _listed(folder.parent / "ImageSets" / "Main", builder)
    for name in builder.pictures:
        relative = PurePosixPath(name).with_suffix("")
        # Roboflow has a folder for each split instead of lists.
        split = listed.get(relative.as_posix()) if listed else known_split(relative.parts[0])
        if split:
            builder.splits[name] = split
    return builder.reading(classes)


def _image_folder(folder: Path, files: Sequence[Path]) -> Path:
    """Where the pictures lie by default, given the XML files and the folder that they are in."""
    names = ["JPEGImages"]
    around = {path for parent in {file.parent for file in files} for path in parent.iterdir()}
    if not any(path.suffix.lower() in SUFFIXES for path in around):
        names.append("images")
    candidates = (parent / name for name in names for parent in (folder, folder.parent))
    return next((path for path in candidates if path.is_dir()), folder)


def _listed(folder: Path, builder: ReadingBuilder) -> dict[str, str]:
    """The split of each picture, by its name without suffix, as the lists in a folder have it."""
    splits: dict[str, str] = {}
    for path in sorted(folder.glob("*.txt")) if folder.is_dir() else ():
        split = known_split(path.stem)
        if split is None:
            continue
        for line in (read_text(path, builder.report(path)) or "").splitlines():
            # CVAT puts names with spaces into quotes; a flag may stand behind a name.
            quoted = line.strip().startswith('"')
            parts = line.strip()[1:].split('"') if quoted else line.split()
            if parts:
                splits.setdefault(parts[0], split)
    return splits


_CONVENTIONS: dict[Origin, str] = {
    0: "the coordinates are read as continuous, from 0, as CVAT and labelImg write them",
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
    label_img = sum(
        source == _LABELIMG and bool(file.root.findtext("path"))
        for file, source in zip(parsed.values(), sources, strict=True)
    )
    if label_img * 2 > len(sources):
        return 0, f"since {label_img} of {len(sources)} files look like labelImg's"
    return 1, (
        "since no box has a fraction or a 0 and the files look neither like CVAT's nor labelImg's"
    )


_SOURCE = ("database", "annotation", "image")
_LABELIMG = {"database": "Unknown", "annotation": "", "image": ""}


def _open(path: Path, file: XmlFile, builder: ReadingBuilder, report: Report) -> Objects | None:
    """Open the picture of a file, whose path is relative to the folder of all files."""
    root = file.root
    line = file.line(root)
    if root.tag != "annotation":
        sentence = f"the file begins with <{root.tag}>, not <annotation>: it is not Pascal VOC"
        report.add(line, "syntax", sentence)
        return None
    stated_name = builder.folder.plain((root.findtext("filename") or "").strip())
    if not stated_name:
        sentence = f"the file has no filename; the picture is looked for as {path.stem}"
        report.add(line, "missing field", sentence)
        stated_name = path.stem
    # In folders, some programs write the name with the folder and some without it.
    # Where the whole path stands there, it is that on the machine that wrote it.
    last = PurePosixPath(stated_name).name if is_absolute(stated_name) else stated_name
    stated_folder = (root.findtext("folder") or "").strip()
    names = dict.fromkeys(((path.parent / last).as_posix(), stated_name, f"{stated_folder}/{last}"))
    found = next(filter(None, map(builder.folder.find, names)), None)
    picture = builder.use(found, report, line, builder.folder.root / stated_name)
    if picture is None:
        return None
    size = root.find("size")
    texts = [root.findtext(f"size/{key}", "").strip() for key in ("width", "height")]
    stated = stated_size(texts, "file", report, line if size is None else file.line(size))
    return builder.open(picture, report, line, stated)


def _add(
    element: Element,
    what: str,
    file: XmlFile,
    label_of: Mapping[str, int],
    origin: Origin,
    objects: Objects,
) -> None:
    """Add an object, or report why it is left out."""
    report, line = objects.report, file.line(element)
    name = (element.findtext("name") or "").strip()
    if name not in label_of:
        sentence = f"{what} has the class {name!r}, not one of {listing([*label_of])}"
        report.leave_out(line, "unknown class", sentence)
        return
    bounds = element.find("bndbox")
    if bounds is None:
        others = ", ".join(child.tag for child in element)
        report.leave_out(line, "unsupported shape", f"{what} has no bndbox, but {others}")
        return
    box = []
    for edge in EDGES:
        text = bounds.findtext(edge)
        value = number(text)
        if value is None:
            sentence = f"{what} has {edge} {text!r}, which is no number"
            report.leave_out(file.line(bounds), "not a number", sentence)
            return
        box.append(value)
    xmin, ymin, xmax, ymax = box
    flag = (element.findtext("difficult") or "0").strip()
    if flag not in ("0", "1"):
        sentence = f"{what} has difficult {flag!r}, neither 0 nor 1; it is read as 0"
        report.add(line, "broken flag", sentence)
    box = [xmin - origin, ymin - origin, xmax, ymax]
    objects.add(file.line(bounds), what, label_of[name], box, ignored=flag == "1")

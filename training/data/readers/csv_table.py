"""CSV: one object a line, with the name of its picture, its corners and its class.

DeepForest, RetinaNet programs and Roboflow write such tables. The first line names the columns, or
the columns are given. The coordinates are continuous pixels, or shares of the picture's width and
height where none is above 1.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from training.data.readers.builder import ReadingBuilder
from training.data.readers.folders import known_split
from training.data.readers.objects import Objects
from training.data.readers.reading import Reading, Report, listing, nothing
from training.data.readers.text import number, read_text

COLUMNS = {
    "picture": ("picture", "image_path", "image", "filename", "file_name", "path"),
    "x1": ("x1", "xmin", "x_min"),
    "y1": ("y1", "ymin", "y_min"),
    "x2": ("x2", "xmax", "x_max"),
    "y2": ("y2", "ymax", "y_max"),
    "class": ("class", "label", "name", "category"),
}
"""What is read, and the names of columns that mean it."""

EDGES = ("x1", "y1", "x2", "y2")


def read_csv(
    source: Path,
    images: Path | None = None,
    classes: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
) -> Reading:
    """Read and validate a table of boxes.

    Args:
        source: The CSV file.
        images: Folder of the pictures; by default that of the file.
        classes: The classes that there are; by default all that occur, in alphabetical order.
        columns: Names of the columns, in their order, where the first line does not have them.

    Returns:
        The data set and all defects. The name of a picture is the path of its file in the folder of
        the pictures. Its split is that of the folder of the file, if it is called like one. A
        picture without a line is not in the data set: nothing says that somebody looked at it.
    """
    builder = ReadingBuilder(images or source.parent)
    report = builder.report(source)
    text = read_text(source, report)
    if text is None:
        return builder.reading(classes or ())
    table = csv.DictReader(text.splitlines(), columns)
    known = {name.strip().lower(): name for name in table.fieldnames or ()}
    key = {
        what: known.get(next((one for one in names if one in known), ""))
        for what, names in COLUMNS.items()
    }
    if lacking := [what for what, found in key.items() if found is None]:
        sentence = f"it has no column {listing(lacking)}; --columns says what its columns are"
        return nothing(source, sentence)
    rows = [
        (table.line_num, {what: (row[name] or "").strip() for what, name in key.items()})
        for row in table
    ]
    numbers = [number(row[edge]) for _, row in rows for edge in EDGES]
    shares = any(numbers) and all(value is None or value <= 1 for value in numbers)
    if shares:
        builder.notes.append("no coordinate is above 1: they are shares of the pictures' sides")
    if classes is None:
        classes = sorted({row["class"] for _, row in rows} - {""})
    label_of = {name: label for label, name in enumerate(classes)}
    opened: dict[str, Objects | None] = {}
    split = known_split(source.parent.name)
    for line, row in tqdm(rows, "objects", disable=None, leave=False):
        name = row["picture"]
        if name not in opened:
            found = builder.use(builder.folder.find(name), report, line, name)
            opened[name] = builder.open(found, report, line) if found else None
        objects = opened[name]
        if objects is not None:
            sides = (objects.width, objects.height) if shares else (1, 1)
            _add(line, row, label_of, objects, report, sides)
            if split:
                builder.splits[objects.name] = split
    return builder.reading(classes)


def _add(
    line: int,
    row: Mapping[str, str],
    label_of: Mapping[str, int],
    objects: Objects,
    report: Report,
    sides: tuple[int, int],
) -> None:
    """Add an object, whose coordinates are in units of the sides, or report why it is left out."""
    if row["class"] not in label_of:
        sentence = f"the object has the class {row['class']!r}, not one of {listing([*label_of])}"
        report.leave_out(line, "unknown class", sentence)
        return
    box = []
    for edge, side in zip(EDGES, sides * 2, strict=True):
        value = number(row[edge])
        if value is None:
            sentence = f"the object has {edge} {row[edge]!r}, which is no number"
            report.leave_out(line, "not a number", sentence)
            return
        box.append(value * side)
    objects.add(line, "the object", label_of[row["class"]], box)

"""CSV: one object a line, with the name of its picture, its corners and its class.

DeepForest, RetinaNet programs, Roboflow and AutoML write such tables. The first line names the
columns, or the columns are given. The coordinates are continuous pixels, or shares of the picture's
width and height where none reaches 2. A line with a picture alone, as RetinaNet programs write it,
is a picture without objects.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from training.data.readers.builder import ReadingBuilder
from training.data.readers.folders import absolute, known_split
from training.data.readers.objects import NO_SHARE, Objects
from training.data.readers.reading import Reading, Report, listing, plural
from training.data.readers.text import number, read_text, stated_size

COLUMNS = {
    "picture": ("picture", "image_path", "image", "filename", "file_name", "path"),
    "x1": ("x1", "xmin", "x_min"),
    "y1": ("y1", "ymin", "y_min"),
    "x2": ("x2", "xmax", "x_max"),
    "y2": ("y2", "ymax", "y_max"),
    "class": ("class", "label", "name", "category"),
}
"""What is read, and the names of columns that mean it."""

MORE_COLUMNS = {
    "width": ("width", "image_width"),
    "height": ("height", "image_height"),
    "split": ("split", "set", "subset"),
}
"""What is read where a table has it; width and height are those of the picture."""

EDGES = ("x1", "y1", "x2", "y2")
SIZE = ("width", "height")


class _Row(NamedTuple):
    """A line: its texts by what they mean, and its four coordinates, None where one is none."""

    line: int
    texts: Mapping[str, str]
    box: tuple[float | None, ...]

    @property
    def names_a_picture_alone(self) -> bool:
        """Whether it says that a picture has no objects."""
        return not any(self.texts[key] for key in (*EDGES, "class"))


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
        columns: Names of the columns, in their order, where the first line does not have them; one
            without a name is skipped.

    Returns:
        The data set and all defects. The name of a picture is the path of its file in the folder of
        the pictures. Its split is the one in a column ``split``, ``set`` or ``subset``, or else
        that of the folder of the file, if it is called like one. A picture without a line is
        not in the data set: nothing says that somebody looked at it.
    """
    builder = ReadingBuilder(images or source.parent)
    report = builder.report(source)
    lines = _lines(read_text(source, report) or "", report)
    if builder.defects and not lines:
        return builder.reading(classes or ())
    if columns is None:
        columns = lines.pop(0)[1] if lines else ()
    places = _places(columns)
    if lacking := [what for what in COLUMNS if what not in places]:
        sentence = f"it has no column {listing(lacking)}; --columns says what its columns are"
        report.add(1, "missing field", sentence)
        return builder.reading(classes or ())
    rows = []
    for line, fields in lines:
        if len(fields) != len(columns):
            sentence = f"the line has {len(fields)} fields, not {len(columns)} as there are columns"
            report.leave_out(line, "number of fields", sentence)
            continue
        texts = {what: fields[place] for what, place in places.items()}
        rows.append(_Row(line, texts, tuple(number(texts[edge]) for edge in EDGES)))
    shares, note = _are_shares(rows)
    builder.notes += [note] if note else []
    if classes is None:
        classes = sorted({row.texts["class"] for row in rows} - {""})
    _Reader(builder, report, classes, shares).read(rows, known_split(source.parent.name))
    return builder.reading(classes)


def _lines(text: str, report: Report) -> list[tuple[int, list[str]]]:
    """The fields of each line that has some; a line that is no CSV is reported and left out."""
    lines, found, start = io.StringIO(text, newline="").readlines(), [], 0
    while start < len(lines):
        at = start
        table = csv.reader((lines[n] for n in range(start, len(lines))), strict=True)
        try:
            for fields in table:
                if fields:
                    found.append((at + 1, [field.strip() for field in fields]))
                at = start + table.line_num
        except csv.Error as error:
            report.leave_out(at + 1, "syntax", f"the line is no CSV, check its quotes: {error}")
        start = at + 1
    return found


def _places(columns: Sequence[str]) -> dict[str, int]:
    """Where the columns stand, by what is read."""
    known = {name.strip().lower(): place for place, name in reversed([*enumerate(columns)])}
    places = {
        what: next((known[name] for name in names if name in known), None)
        for what, names in (COLUMNS | MORE_COLUMNS).items()
    }
    return {what: place for what, place in places.items() if place is not None}


def _are_shares(rows: Sequence[_Row]) -> tuple[bool, str]:
    """Whether the coordinates are shares, and a note if that is so or in doubt."""
    values = [
        (abs(value), edge, row)
        for row in rows
        for edge, value in zip(EDGES, row.box, strict=True)
        if value is not None and math.isfinite(value)
    ]
    if not any(value for value, *_ in values):
        return False, ""
    largest, edge, row = max(values, key=lambda one: one[0])
    above = sum(value > 1 for value, *_ in values)
    if largest < NO_SHARE and not above:
        return True, "no coordinate is above 1: they are shares of the pictures' sides"
    if largest < NO_SHARE:
        what = plural(above, "coordinate is", "coordinates are")
        read = "they are read as shares of the pictures' sides"
        return True, f"{what} above 1, but none reaches {NO_SHARE}: {read}"
    if above * 2 >= len(values):
        return False, ""
    return False, (
        f"the coordinates are read as pixels, since line {row.line} has {edge} {row.texts[edge]}, "
        "though most are not above 1, as shares of the pictures' sides are"
    )


class _Reader:
    """One pass over the rows: pictures, each opened at its first line, and their objects."""

    def __init__(
        self, builder: ReadingBuilder, report: Report, classes: Sequence[str], shares: bool
    ) -> None:
        self.builder = builder
        self.report = report
        self.label_of = {name: label for label, name in enumerate(classes)}
        self.shares = shares
        self.found: dict[str, Path | None] = {}
        # By the path of its file; None where the picture was left out.
        self.opened: dict[str, Objects | None] = {}

    def read(self, rows: Sequence[_Row], split: str | None) -> None:
        """Read everything; the split is that of pictures whose lines name none."""
        twice = set()
        for row in tqdm(rows, "objects", disable=None, leave=False):
            objects = self._objects(row)
            if objects is None:
                continue
            if not row.names_a_picture_alone:
                self._add(row, objects)
            of_row = known_split(row.texts.get("split", "")) or split
            if of_row and self.builder.splits.setdefault(objects.name, of_row) != of_row:
                twice.add(objects.name)
        if twice:
            what = plural(len(twice), "picture is", "pictures are")
            names = listing(sorted(twice))
            self.builder.notes.append(f"{what} in two splits, kept in the first: {names}")

    def _objects(self, row: _Row) -> Objects | None:
        """The picture of a row; None, reported once, where it has to be left out."""
        name = row.texts["picture"]
        if name not in self.found:
            path = self.builder.folder.find(name)
            self.found[name] = self.builder.use(path, self.report, row.line, name)
        path = self.found[name]
        if path is None:
            return None
        if absolute(path) not in self.opened:
            texts = [row.texts.get(key, "") for key in SIZE]
            stated = stated_size(texts, "line", self.report, row.line) if any(texts) else None
            self.opened[absolute(path)] = self.builder.open(path, self.report, row.line, stated)
        return self.opened[absolute(path)]

    def _add(self, row: _Row, objects: Objects) -> None:
        """Add an object, or report why it is left out."""
        name, report = row.texts["class"], self.report
        if name not in self.label_of:
            sentence = f"the object has the class {name!r}, not one of {listing([*self.label_of])}"
            report.leave_out(row.line, "unknown class", sentence)
            return
        sides = (objects.width, objects.height) if self.shares else (1, 1)
        box = []
        for edge, value, side in zip(EDGES, row.box, sides * 2, strict=True):
            if value is None:
                sentence = f"the object has {edge} {row.texts[edge]!r}, which is no number"
                report.leave_out(row.line, "not a number", sentence)
                return
            box.append(value * side)
        objects.add(row.line, "the object", self.label_of[name], box)

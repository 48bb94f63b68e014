"""What readers share: defects with their file and place, pictures, and the checks of objects."""

from __future__ import annotations

import math
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os.path import abspath
from pathlib import Path, PurePosixPath

import numpy as np

from c3det.clicks import Click
from c3det.commands import printable
from training.data.annotated import Index, Record, relabel
from training.data.pictures import SUFFIXES, PictureError, check_whole, on_disk, picture_size

OUTSIDE_TOLERANCE = 0.02
"""Pixels by which a box may leave the picture unreported: formats round to two decimals."""

Corners = Sequence[tuple[float, float]]

_NAMED = 10
"""So many names stand in a sentence."""


def listing(names: Sequence[str]) -> str:
    """Name things in a sentence: all of them, or of very many the first ones."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def counted(count: int, one: str, many: str) -> str:
    """Count things in a sentence: ``counted(1, "box is", "boxes are")`` is "1 box is"."""
    return f"{count} {one if count == 1 else many}"


Place = int | str
"""Where something stands in a file: its line, or an entry of a JSON file such as ``images[3]``."""


@dataclass(frozen=True)
class Defect:
    """One thing that is wrong with the data.

    Attributes:
        file: Where it was found.
        place: Lines are counted from 1, entries from 0; 1 where the file has neither.
        kind: A few words, for counting.
        sentence: What is wrong, and what became of it.
    """

    file: Path
    place: Place
    kind: str
    sentence: str

    def __str__(self) -> str:
        return printable(f"{self.file}:{self.place}: {self.sentence}")


@dataclass(frozen=True, eq=False)
class Reading:
    """What a reader found.

    Attributes:
        index: Everything that is sound.
        defects: Everything that is not.
        notes: Sentences about what was taken for granted, such as how the format counts pixels.
        splits: ``train``, ``val`` or ``test`` by the name of the picture, as far as the files say.
        unlisted: Pictures beside those of a file that lists its pictures, which it does not list.
    """

    index: Index
    defects: tuple[Defect, ...]
    notes: tuple[str, ...] = ()
    splits: Mapping[str, str] = field(default_factory=dict)
    unlisted: tuple[Path, ...] = ()

    def count(self) -> str:
        """Count the defects, in words."""
        return counted(len(self.defects), "defect", "defects")


def in_order(defects: Iterable[Defect]) -> tuple[Defect, ...]:
    """Sort defects by file and line; those of JSON entries stay in the order of the entries."""

    def key(one: Defect) -> tuple[Path, int, str, str]:
        if isinstance(one.place, str):
            return one.file, 0, "", ""
        return one.file, one.place, one.kind, one.sentence

    return tuple(sorted(defects, key=key))


def defect_table(defects: Iterable[Defect]) -> str:
    """Count defects by kind, the most frequent first, each with the place of the first one."""
    ordered = in_order(defects)
    first = {defect.kind: defect for defect in reversed(ordered)}
    counts = Counter(defect.kind for defect in ordered)
    rows = [
        (kind, str(count), printable(f"{first[kind].file}:{first[kind].place}"))
        for kind, count in counts.most_common()
    ]
    rows.insert(0, ("defect", "count", "first"))
    wide, narrow = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join(f"{a:<{wide}}  {b:>{narrow}}  {c}" for a, b, c in rows)


def print_defects(reading: Reading) -> None:
    """Print every defect to standard error, then their count by kind and what else is to know."""
    for defect in reading.defects:
        print(defect, file=sys.stderr)
    if reading.defects:
        print(f"{reading.count()}\n{defect_table(reading.defects)}")
    else:
        print("no defects")
    notes = list(reading.notes)
    if reading.unlisted:
        names = listing([str(path) for path in reading.unlisted])
        pictures = counted(len(reading.unlisted), "picture is", "pictures are")
        notes.append(f"{pictures} not in the files and passed over: {names}")
    for note in notes:
        print(f"note: {printable(note)}")


@dataclass
class Report:
    """Collects the defects of one file.

    Attributes:
        file: The file.
        defects: Found so far; reports of several files may share the list.
    """

    file: Path
    defects: list[Defect] = field(default_factory=list)

    def add(self, place: Place, kind: str, sentence: str) -> None:
        """Add a defect."""
        self.defects.append(Defect(self.file, place, kind, sentence))


def merge(readings: Sequence[Reading]) -> Reading:
    """Join data sets; their classes are united in the order in which they come.

    A picture whose name is already taken is left out and reported.
    """
    classes = tuple(dict.fromkeys(name for reading in readings for name in reading.index.classes))
    defects = [defect for reading in readings for defect in reading.defects]
    records: dict[str, Record] = {}
    splits: dict[str, str] = {}
    for reading in readings:
        splits = {**reading.splits, **splits}
        label_of = np.array([classes.index(name) for name in reading.index.classes], np.int64)
        for record in reading.index.records:
            if record.name in records:
                other = records[record.name].path
                sentence = f"the name {record.name} is taken by {other}; the picture is left out"
                defects.append(Defect(record.path, 1, "duplicate picture", sentence))
            else:
                records[record.name] = relabel(record, label_of)
    listed = {abspath(record.path) for record in records.values()}
    return Reading(
        Index(classes, tuple(records.values())),
        tuple(defects),
        tuple(dict.fromkeys(note for reading in readings for note in reading.notes)),
        splits,
        tuple(
            dict.fromkeys(
                path
                for reading in readings
                for path in reading.unlisted
                if abspath(path) not in listed
            )
        ),
    )


def is_absolute(name: str) -> bool:
    """Tell whether a name, with slashes, is a whole path, of Windows or any other system."""
    return name.startswith("/") or name[1:3] == ":/"


def tails(name: str) -> Iterator[PurePosixPath]:
    """A path, then what is left of it without its first folders, one after the other.

    Lists hold paths of the machine that wrote them, CVAT's begin with ``data/``, and Roboflow's
    ``../train/images`` lies in the folder of the description.
    """
    parts = [part for part in PurePosixPath(name).parts if part not in ("/", "..", ".")]
    for start in range(len(parts)):
        yield PurePosixPath(*parts[start:])


class PictureFolder:
    """Finds pictures by the names that annotation files give them.

    Args:
        root: The folder of the pictures.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._by_stem: dict[Path, dict[str, list[Path]]] = {}
        self._by_end: dict[str, Path] = {}

    def find(self, name: str) -> Path | None:
        """Return the picture of a name, which may have another suffix or none.

        Of an absolute path that is not here, the last folders and the file are looked for, as many
        as there are.
        """
        found = self._find(name)
        if found is None and is_absolute(name):
            found = next(filter(None, map(self._find, map(str, tails(name)))), None)
            if found is not None:
                self._by_end[name] = found
        return found

    def notes(self) -> tuple[str, ...]:
        """Sentences on what was found in another place than it is said to be."""
        if not self._by_end:
            return ()
        name, path = next(iter(self._by_end.items()))
        count = len(self._by_end)
        pictures = "1 picture is" if count == 1 else f"{count} pictures are"
        return (f"{pictures} found by the end of an absolute path, such as {path} for {name}",)

    def _find(self, name: str) -> Path | None:
        path = on_disk(self.root / name)
        try:
            if path.is_file():
                return path
        except OSError:  # the name is too long for the file system
            return None
        known = Path(name).suffix.lower() in SUFFIXES
        stem = unicodedata.normalize("NFC", path.stem if known else path.name)
        found = self._stems(path.parent).get(stem, [])
        return found[0] if len(found) == 1 else None

    def _stems(self, folder: Path) -> dict[str, list[Path]]:
        if folder not in self._by_stem:
            stems: dict[str, list[Path]] = {}
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                if path.suffix.lower() in SUFFIXES:
                    stem = unicodedata.normalize("NFC", path.stem)
                    stems.setdefault(stem, []).append(path)
            self._by_stem[folder] = stems
        return self._by_stem[folder]


def check_picture(
    path: Path, stated: tuple[int, int] | None, report: Report, place: Place
) -> tuple[int, int] | None:
    """Compare a picture with the size that the annotations state.

    Args:
        path: The picture.
        stated: Width and height in pixels; ``None`` where the annotations state none.
        report: Receives the defect.
        place: Of the annotations.

    Returns:
        Width and height of the picture, or ``None`` where it must be left out: it cannot be read,
        or it has another size, so that nobody knows what the coordinates mean.
    """
    try:
        height, width = picture_size(path)
        check_whole(path)
    except PictureError as error:
        report.add(place, "unreadable picture", f"{error}; the picture is left out")
        return None
    if stated is not None and stated != (width, height):
        sentence = (
            f"{path} is {width} x {height} pixels large, not {stated[0]} x {stated[1]} as stated; "
            "the picture is left out"
        )
        report.add(place, "other picture size", sentence)
        return None
    return width, height


def side(text: str | None) -> int:
    """Read the width or height of a picture; 0 where the text is none."""
    return int(text) if text and text.isdecimal() and len(text) < 10 else 0


def rotated(box: Sequence[float], degrees: float) -> Corners:
    """Turn a box clockwise about its centre.

    Args:
        box: xyxy.
        degrees: Clockwise as seen on the screen, where y points down.

    Returns:
        The corners, from the one that was at the top left on, clockwise.
    """
    x1, y1, x2, y2 = box
    cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [
        (cx + cosine * (x - cx) - sine * (y - cy), cy + sine * (x - cx) + cosine * (y - cy))
        for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
    ]


def enclosed_area(corners: Corners) -> float:
    """Return the area of a polygon in square pixels."""
    turned = [*corners[1:], corners[0]]
    doubled = sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(corners, turned, strict=True))
    return abs(doubled) / 2


class Objects:
    """The objects of one picture: each is checked as it is added.

    Args:
        width: Of the picture, in pixels.
        height: Likewise.
        report: Receives the defects.
    """

    def __init__(self, width: int, height: int, report: Report) -> None:
        self.width = width
        self.height = height
        self._report = report
        self._boxes: list[tuple[float, float, float, float]] = []
        self._labels: list[int] = []
        self._ignored: list[bool] = []
        self._corners: list[Corners | None] = []
        self._clicks: list[Click] = []
        self._places: dict[object, Place] = {}

    def add(
        self,
        place: Place,
        what: str,
        label: int,
        box: Sequence[float] | None = None,
        corners: Corners | None = None,
        *,
        ignored: bool = False,
    ) -> None:
        """Add an object, or report why it is left out.

        Args:
            place: Where it stands.
            what: Names it at the start of a sentence.
            label: Its class.
            box: xyxy; left out, it is the horizontal hull of the corners.
            corners: Four oriented corners.
            ignored: It is a crowd, or called difficult.
        """
        if box is None:
            if corners is None:
                raise TypeError("an object needs a box or corners")
            xs, ys = zip(*corners, strict=True)
            box = (min(xs), min(ys), max(xs), max(ys))
        # In single precision, as they are kept: what has an area here has one in the index.
        numbers = _single([*box, *(value for corner in corners or () for value in corner)])
        stated = _numbers(numbers if corners is None else numbers[4:])
        if not all(map(math.isfinite, numbers)):
            sentence = f"{what} has a coordinate that is no number: {stated}"
            self._leave_out(place, "not a number", sentence)
            return
        x1, y1, x2, y2 = box = numbers[:4]
        if corners is not None:
            corners = list(zip(numbers[4::2], numbers[5::2], strict=True))
        if x2 <= x1 or y2 <= y1 or (corners is not None and enclosed_area(corners) == 0):
            self._leave_out(place, "no area", f"{what} encloses no area: {stated}")
            return
        beyond = max(-x1, -y1, x2 - self.width, y2 - self.height)
        cut = (max(x1, 0.0), max(y1, 0.0), min(x2, self.width), min(y2, self.height))
        outside = f"the picture of {self.width} x {self.height} pixels: {_numbers(box)}"
        if cut[2] <= cut[0] or cut[3] <= cut[1]:
            self._leave_out(place, "outside the picture", f"{what} is outside {outside}")
            return
        key = (label, *cut, *numbers[4:])
        if key in self._places:
            first = self._places[key]
            where = f"in line {first}" if isinstance(first, int) else f"at {first}"
            same = "is the same as" if beyond <= 0 else "is, as far as it is in the picture,"
            sentence = f"{what} {same} the object {where}"
            self._leave_out(place, "duplicate object", sentence)
            return
        self._places[key] = place
        if beyond > OUTSIDE_TOLERANCE:
            sentence = f"{what} reaches {beyond:.6g} px out of {outside}; it is cut"
            self._report.add(place, "partly outside", sentence)
        self._boxes.append(cut)
        self._labels.append(label)
        self._ignored.append(ignored)
        self._corners.append(corners)

    def click(
        self, place: Place, what: str, label: int, x: float, y: float, *, positive: bool = True
    ) -> None:
        """Add a click of an annotator, or report why it is left out."""
        if not (math.isfinite(x) and math.isfinite(y)):
            self._leave_out(place, "not a number", f"{what} has a coordinate that is no number")
        elif not (0 <= x <= self.width and 0 <= y <= self.height):
            sentence = f"{what} is outside the picture of {self.width} x {self.height} pixels"
            self._leave_out(place, "outside the picture", f"{sentence}: {_numbers((x, y))}")
        else:
            self._clicks.append(Click(x, y, label, positive))

    def _leave_out(self, place: Place, kind: str, sentence: str) -> None:
        self._report.add(place, kind, f"{sentence}; it is left out")

    def record(self, name: str, path: Path) -> Record:
        """Return the picture with the objects that are sound."""
        corners = None
        if any(of_object is not None for of_object in self._corners):
            corners = np.array(
                [
                    rotated(box, 0) if of_object is None else of_object
                    for box, of_object in zip(self._boxes, self._corners, strict=True)
                ],
                np.float32,
            )
        return Record(
            name=name,
            path=path,
            width=self.width,
            height=self.height,
            boxes=np.array(self._boxes, np.float32).reshape(-1, 4),
            labels=np.array(self._labels, np.int64),
            ignored=np.array(self._ignored, np.bool_),
            corners=corners,
            clicks=tuple(self._clicks),
        )


def _single(values: Sequence[float]) -> list[float]:
    """Round to single precision; what is beyond it is infinite."""
    with np.errstate(over="ignore"):
        return np.array(values).astype(np.float32).tolist()


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.6g}" for value in values)

"""What a reader returns: a data set with its defects, and how they are reported and joined."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os.path import abspath
from pathlib import Path

import numpy as np

from c3det.commands import printable
from training.data.annotated import Index, Record, relabel

_NAMED = 10
"""So many names stand in a sentence."""


def listing(names: Sequence[str]) -> str:
    """Name things in a sentence: all of them, or of very many the first ones."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def plural(count: int, one: str, many: str) -> str:
    """Count things in a sentence: ``plural(1, "box is", "boxes are")`` is "1 box is"."""
    return f"{count} {one if count == 1 else many}"


Position = int | str
"""Where something stands in a file: its line, or an entry of a JSON file such as ``images[3]``."""


def where(place: Position) -> str:
    """Name a position in a sentence."""
    return f"line {place}" if isinstance(place, int) else place


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
    place: Position
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
        notes: Sentences about what was assumed, such as how the format counts pixels.
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
        return plural(len(self.defects), "defect", "defects")


def nothing(source: Path, sentence: str) -> Reading:
    """Return an empty reading: a source is not what it is said to be."""
    return Reading(Index((), ()), (Defect(source, 1, "missing file", sentence),))


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
        pictures = plural(len(reading.unlisted), "picture is", "pictures are")
        notes.append(f"{pictures} not in the files and skipped: {names}")
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

    def add(self, place: Position, kind: str, sentence: str) -> None:
        """Add a defect."""
        self.defects.append(Defect(self.file, place, kind, sentence))

    def leave_out(self, place: Position, kind: str, sentence: str) -> None:
        """Add a defect because of which something is left out."""
        self.add(place, kind, f"{sentence}; it is left out")


def distinct(*choices: Sequence[str]) -> list[str]:
    """The first of some lists of names in which none is twice, or else the first one, numbered."""
    found = (names for names in choices if len(set(names)) == len(names))
    return [*next(found, (f"{number}-{name}" for number, name in enumerate(choices[0])))]


def merge(readings: Sequence[Reading], names: Sequence[str] | None = None) -> Reading:
    """Join data sets; their classes are united in the order in which they come.

    Args:
        readings: The data sets.
        names: Theirs: where pictures have one name and are of different files, each is called
            ``"<data set>/<name>"``. A picture whose name is taken otherwise is left out and
            reported.
    """
    if names is not None:
        readings = _told_apart(readings, names)
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


def _told_apart(readings: Sequence[Reading], names: Sequence[str]) -> list[Reading]:
    """Name the pictures of which there are several of one name after their data sets."""
    files: dict[str, set[str]] = {}
    for reading in readings:
        for record in reading.index.records:
            files.setdefault(record.name, set()).add(abspath(record.path))
    several = [name for name, of_name in files.items() if len(of_name) > 1]
    told = []
    for reading, prefix in zip(readings, names, strict=True):
        taken = {record.name for record in reading.index.records}
        new = {name: f"{prefix}/{name}" for name in several if f"{prefix}/{name}" not in taken}
        records = tuple(
            replace(one, name=new.get(one.name, one.name)) for one in reading.index.records
        )
        index = replace(reading.index, records=records)
        splits = {new.get(name, name): split for name, split in reading.splits.items()}
        told.append(replace(reading, index=index, splits=splits))
    return told

"""What readers share while they go through the pictures of a data set: `ReadingBuilder`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from training.data.annotated import Index
from training.data.readers.folders import PictureFolder, absolute, check_picture
from training.data.readers.objects import Objects
from training.data.readers.reading import Defect, Position, Reading, Report, in_order, plural, where


class ReadingBuilder:
    """Collects pictures with their objects, defects and notes; `reading` is what comes of them.

    Args:
        images: Folder of the pictures.

    Attributes:
        folder: Finds pictures in it.
        defects: Of all files; those of a `report` are added.
        notes: See `Reading`.
        splits: See `Reading`.
        pictures: The objects of each picture, by its name.
        used: Files of pictures that annotations name, broken ones too.
        missing: How many pictures were not found.
        counts: How many objects were read in another way than they are written, by the words for
            one and for many, see `plural`.
    """

    def __init__(self, images: Path) -> None:
        self.folder = PictureFolder(images)
        self.defects: list[Defect] = []
        self.notes: list[str] = []
        self.splits: dict[str, str] = {}
        self.pictures: dict[str, Objects] = {}
        self.used: list[Path] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        self.missing = 0
        self._places: dict[str, Position] = {}

    def report(self, file: Path) -> Report:
        """Return a report of a file that adds to the defects."""
        return Report(file, self.defects)

    def use(self, path: Path | None, report: Report, place: Position, name: object) -> Path | None:
        """Return the file of a picture, noted as used; ``None`` is reported as missing."""
        if path is None:
            self.missing += 1
            report.leave_out(place, "missing picture", f"there is no picture {name}")
        else:
            self.used.append(path)
        return path

    def open(
        self,
        path: Path,
        report: Report,
        place: Position,
        stated: tuple[int, int] | None = None,
        name: str | None = None,
    ) -> Objects | None:
        """Open a picture.

        Args:
            path: Of its file.
            report: Receives its defects and those of its objects.
            place: Of its annotations.
            stated: Its width and height as the annotations state them, if they do.
            name: Of the picture; left out, it is the path of its file in the folder of the
                pictures.

        Returns:
            Receives its objects; ``None``, reported, where the picture has to be left out.
        """
        earlier = self._places.get(absolute(path))
        if name is None:
            name = Path(os.path.relpath(path, self.folder.root)).as_posix()
            sentence = f"the picture {name} has another file already; this one is left out"
        else:
            sentence = f"the picture {path} is that of {where(earlier or 0)}; it is left out"
        if earlier is not None:
            report.add(place, "duplicate picture", sentence)
            return None
        size = check_picture(path, stated, report, place)
        if size is None:
            return None
        self._places[absolute(path)] = place
        objects = self.pictures[name] = Objects(name, path, *size, report)
        return objects

    def reading(
        self, classes: Iterable[str], unlisted: Sequence[Path] = (), none_found: str = ""
    ) -> Reading:
        """Return everything that was collected.

        Args:
            classes: Names, by label.
            unlisted: See `Reading`.
            none_found: What to note where pictures are missing and there is no other.
        """
        counts = [plural(count, *words) for words, count in sorted(self.counts.items())]
        notes = [*self.notes, *self.folder.notes(), *counts]
        if self.missing and not self.pictures:
            notes.append(none_found)
        return Reading(
            Index(tuple(classes), tuple(one.to_record() for one in self.pictures.values())),
            in_order(self.defects),
            tuple(filter(None, notes)),
            self.splits,
            tuple(unlisted),
        )

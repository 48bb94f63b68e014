"""Prepare a real set: choose pictures of a public repository, and make them smaller.

A *recipe* of `real_sets.yaml` says which files a reader of `training.data.formats` gets and what is
taken of them. The result is the form that `training.data.real_sets.load` reads.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from c3det.boxes import pairwise_iou
from training.data.annotated import Annotated, Record, crop, first_repeated, keep_objects, resize
from training.data.formats import FORMATS
from training.data.index import to_coco
from training.data.readers.reading import Reading, merge

MEDIAN = 34.0
"""Size of a set's median object, in pixels; where it is larger, all pictures are made smaller. The
size of an object is the square root of its box's area."""

TOLERANCE = 1.15
"""See `Recipe.largest`."""

LONGEST_SIDE, SHORTEST_SIDE = 1600, 96
"""Of a picture, in pixels. A picture with a shorter one after that is left out."""

SMALLEST = 2.0
"""Boxes with a shorter side, in pixels, are dropped."""

USUAL_OBJECTS = (5, 300)
"""Pictures with so many objects are chosen first."""

QUALITY = 92
"""Of the JPEG files."""

_Sized = tuple[Record, tuple[int, int]]
"""A picture of a repository, and width and height of the prepared one."""


@dataclass(frozen=True)
class Recipe:
    """How a set is made of a repository's files.

    Attributes:
        format: A key of `training.data.formats.FORMATS`.
        source: Paths in the repository, each what the format's reader takes.
        fetched: Folders and files of the repository that alone are fetched, as patterns of a sparse
            checkout; empty: all of it.
        options: The reader's other arguments; ``images`` is a path in the repository.
        most: Pictures that are taken at most.
        pictures: Regular expression that a picture's name, as `prepare` says, must match; empty:
            any.
        name: Regular expression that is found in that name; its first group is the stem of the
            prepared picture's name. Empty: the name stays.
        scale: Factor of the size of all pictures, at most 1; by default that with which the set's
            median object is of the size `MEDIAN`.
        largest: Size of a picture's median object, in pixels; where it is larger than this times
            `TOLERANCE`, that picture is made smaller still.
        margin: Pixels that are cut off at each side of a picture, where objects have no boxes.
        doubles: IoU from which on two boxes of a picture are of one object; the first one stays. By
            default no two are.
        drop: Classes whose objects are no objects.
        rename: New names of classes; classes of one name become one.
    """

    format: str
    source: tuple[str, ...]
    fetched: tuple[str, ...] = ()
    options: Mapping[str, str | list[str] | int] = field(default_factory=dict)
    most: int = 40
    pictures: str = ""
    name: str = ""
    scale: float | None = None
    largest: float = 40.0
    margin: int = 0
    doubles: float | None = None
    drop: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)

    def read(self, repository: Path) -> Reading:
        """Read the files of a checked out repository."""
        options = dict(self.options)
        if "images" in options:
            options["images"] = repository / str(options["images"])  # type: ignore[assignment]
        rows = [FORMATS[self.format].read(repository / one, **options) for one in self.source]
        return rows[0] if len(rows) == 1 else merge(rows)


@dataclass(frozen=True)
class Prepared:
    """What `prepare` has written.

    Attributes:
        annotations_sha256: Of ``annotations.json``.
        pictures_sha256: See `checksum`; of the repository's files.
    """

    annotations_sha256: str
    pictures_sha256: str


def prepare(
    recipe: Recipe, repository: Path, out: Path, scene_of: Callable[[str], str] = str
) -> Prepared:
    """Write the prepared set of a recipe.

    A picture's name is that which the reader gives it, with ``-`` for ``/`` and the suffix of a
    JPEG file; the recipe may shorten it.

    Args:
        recipe: Of the set.
        repository: Its files, checked out.
        out: A new folder; pictures and ``annotations.json`` (COCO).
        scene_of: The scene of a picture, by name. Of each scene one picture is chosen before a
            second one of any.

    Raises:
        ValueError: Nothing is left of the set, the recipe names a class that it does not have, or
            two pictures would have one name.
        PictureError: A picture cannot be read.
    """
    index = recipe.read(repository).index
    index.check_classes(recipe.drop)
    kept = [name for name in index.classes if name not in recipe.drop]
    index = index.keep_classes(kept, recipe.rename)
    records = [replace(record, name=_file_name(record.name)) for record in index.records]
    records = [one for one in records if re.match(recipe.pictures, one.name)]
    records = [replace(one, name=_short(one.name, recipe.name)) for one in records]
    if repeated := first_repeated(record.name for record in records):
        raise ValueError(f"two pictures would be called {repeated}")
    if recipe.doubles is not None:
        records = [_without_doubles(one, recipe.doubles) for one in records]
    scale = recipe.scale or min(1.0, MEDIAN / _median_size(index.records))
    sized = [(one, size) for one in records if (size := _size(one, recipe, scale))]
    chosen = _chosen(sized, recipe.most, scene_of)
    if not chosen:
        raise ValueError(f"no picture of {', '.join(recipe.source)} is large enough or has objects")
    out.mkdir(parents=True)
    pictures = [_smaller(record, size, recipe.margin) for record, size in chosen]
    for picture in pictures:
        Image.fromarray(picture.image).save(out / picture.name, quality=QUALITY)
    text = json.dumps(to_coco(pictures, index.classes), indent=1) + "\n"
    (out / "annotations.json").write_text(text, encoding="utf-8")
    return Prepared(
        hashlib.sha256(text.encode()).hexdigest(),
        checksum([record.path for record, _ in chosen]),
    )


def checksum(paths: Sequence[Path]) -> str:
    """The sha256 of the sha256 sums of files, in their order, one hexadecimal sum a line."""
    sums = (hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    return hashlib.sha256("\n".join(sums).encode()).hexdigest()


def _file_name(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(".jpg")).replace("/", "-")


def _short(name: str, pattern: str) -> str:
    found = re.search(pattern, name) if pattern else None
    return f"{found.group(1)}.jpg" if found else name


def _without_doubles(record: Record, least: float) -> Record:
    """The record without boxes that overlap an earlier one by an IoU of so much."""
    overlap = pairwise_iou(record.boxes, record.boxes) >= least
    stays = np.ones(len(record.boxes), np.bool_)
    for number in range(len(stays)):
        stays[number] = not (overlap[number, :number] & stays[:number]).any()
    return keep_objects(record, stays)


def _median_size(records: Sequence[Record]) -> float:
    """Of the objects that are not ignored; infinite where there is none."""
    boxes = np.concatenate([one.boxes[~one.ignored] for one in records]).astype(float)
    sizes = (boxes[:, 2:] - boxes[:, :2]).prod(1) ** 0.5
    return float(np.median(sizes)) if len(sizes) else np.inf


def _size(record: Record, recipe: Recipe, scale: float) -> tuple[int, int] | None:
    """Width and height of a record's prepared picture; None: it is too small or has no object."""
    width, height = record.width - 2 * recipe.margin, record.height - 2 * recipe.margin
    scale = min(scale, LONGEST_SIDE / max(width, height))
    median = _median_size([record])
    if median * scale > recipe.largest * TOLERANCE:
        scale = recipe.largest / median
    width, height = round(width * scale), round(height * scale)
    return (width, height) if min(width, height) >= SHORTEST_SIDE else None


def _chosen(sized: Sequence[_Sized], most: int, scene_of: Callable[[str], str]) -> list[_Sized]:
    """Some of the pictures, by name."""
    scenes: dict[str, list[_Sized]] = {}
    for one in sorted(sized, key=lambda row: row[0].name):
        scenes.setdefault(scene_of(one[0].name), []).append(one)
    rng = random.Random(0)
    ranked = []
    for scene in sorted(scenes):
        mine = scenes[scene]
        rng.shuffle(mine)
        mine.sort(key=_is_unusual)
        ranked += [(turn, _is_unusual(one), rng.random(), one) for turn, one in enumerate(mine)]
    ranked.sort(key=lambda row: row[:3])
    return sorted((row[-1] for row in ranked[:most]), key=lambda row: row[0].name)


def _is_unusual(sized: _Sized) -> bool:
    low, high = USUAL_OBJECTS
    return not low <= np.count_nonzero(~sized[0].ignored) <= high


def _smaller(record: Record, size: tuple[int, int], margin: int) -> Annotated:
    """The prepared picture of a record."""
    width, height = record.width - 2 * margin, record.height - 2 * margin
    picture = crop(record.load(), margin, margin, width, height)
    small = resize(replace(picture, name=record.name), *size)
    boxes = small.boxes.astype(float).round(2).clip(0, [*size, *size]).astype(np.float32)
    stays = (boxes[:, 2:] - boxes[:, :2]).min(1) >= SMALLEST
    return Annotated(
        small.name, small.image, boxes[stays], small.labels[stays], small.ignored[stays]
    )

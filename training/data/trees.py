"""Tree crowns in airborne pictures of three places: to train on, to validate on, to test on.

They were taken by the same sensor at 10 cm a pixel. They are used reduced, to 1/2 and 1/3, which
makes the crowns small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from training.data.annotated import Annotated, crop, resize
from training.data.readers.voc import read_voc
from training.data.sources import fetch

CLASSES = ("tree",)
TRAIN_PICTURE = "2019_YELL_2_528000_4978000_image_crop2"
TEST_PICTURE = "2019_YELL_2_541000_4977000_image_crop"
VALIDATION_PICTURE = "OSBS_029"
SCALES = (1 / 2, 1 / 3)
PATCH = 256
"""Wished side of a patch of the test picture."""


def load(name: str) -> Annotated:
    """Load the train, test or validation picture in full resolution, with every crown."""
    folder = fetch("deepforest") / "deepforest" / "data"
    reading = read_voc(folder / f"{name}.xml", folder, ["Tree"], origin=1)
    if reading.defects:
        raise ValueError(str(reading.defects[0]))
    (record,) = reading.index.records
    return replace(record.load(), name=name)


def reduce(annotated: Annotated, scale: float) -> Annotated:
    """Reduce a picture by averaging areas.

    Args:
        annotated: The picture.
        scale: Above 0, at most 1. The size is rounded to whole pixels and the boxes follow the
            rounded size.

    Returns:
        The reduced picture, named ``"<name>*<scale to three digits>"``.
    """
    width = max(1, round(annotated.width * scale))
    height = max(1, round(annotated.height * scale))
    reduced = resize(annotated, width, height)
    return replace(reduced, name=f"{annotated.name}*{scale:.3f}")


def grid(annotated: Annotated, patch: int) -> list[Annotated]:
    """Cut a picture into a regular grid without overlap.

    Args:
        annotated: The picture.
        patch: Wished side; the number of rows and columns is the one whose patches come nearest.

    Returns:
        The patches, row by row. A box of which less than half lies in a patch is not one of its
        boxes; the others are cut at the patch's edge.
    """
    columns = max(1, round(annotated.width / patch))
    rows = max(1, round(annotated.height / patch))
    xs = [annotated.width * column // columns for column in range(columns + 1)]
    ys = [annotated.height * row // rows for row in range(rows + 1)]
    return [
        crop(annotated, left, top, right - left, bottom - top)
        for top, bottom in pairwise(ys)
        for left, right in pairwise(xs)
    ]


def train_pictures(scales: Sequence[float] = SCALES) -> list[Annotated]:
    """Return the whole training picture once a scale, to crop from."""
    picture = load(TRAIN_PICTURE)
    return [reduce(picture, scale) for scale in scales]


def test_pictures() -> list[Annotated]:
    """Return the patches of the test picture at every scale, always the same ones."""
    picture = load(TEST_PICTURE)
    return [piece for scale in SCALES for piece in grid(reduce(picture, scale), PATCH)]

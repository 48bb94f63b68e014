"""Tree crowns in airborne pictures of three places: to train on, to validate on, to test on.

They were taken by the same sensor at 10 cm a pixel. They are used reduced, to 1/2 and 1/3, which
makes the crowns small.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from training.index import Annotated, crop
from training.sources import fetch

CLASSES = ("tree",)
TRAIN_PICTURE = "2019_YELL_2_528000_4978000_image_crop2"
TEST_PICTURE = "2019_YELL_2_541000_4977000_image_crop"
VALIDATION_PICTURE = "OSBS_029"
SCALES = (1 / 2, 1 / 3)


def read_voc(path: Path, labels: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Read the boxes of a Pascal VOC file.

    VOC counts pixels from 1 and includes the last one: ``xmin`` 1, ``xmax`` 3 are the first three
    columns, ``[0, 3)`` in the coordinates used here.

    Args:
        path: The XML file.
        labels: Label by name of class.

    Returns:
        Boxes float32 (N, 4), xyxy in continuous coordinates, and labels int64 (N,).

    Raises:
        ValueError: The file is not XML, lacks a field, or has an unknown class, a coordinate that
            is no finite number or a box that ends before it begins. The message names the file
            and the object.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f"{path} is not well-formed XML: {error}") from error
    boxes, found = [], []
    for number, element in enumerate(root.iter("object"), start=1):
        where = f"{path}, object {number}"
        name = element.findtext("name")
        if name not in labels:
            raise ValueError(f"{where}: class {name!r} is none of {', '.join(labels)}")
        box = []
        for field in ("xmin", "ymin", "xmax", "ymax"):
            text = element.findtext(f"bndbox/{field}")
            try:
                value = float(text) if text is not None else float("nan")
            except ValueError:
                value = float("nan")
            if not np.isfinite(value):
                raise ValueError(f"{where}: bndbox/{field} is {text!r}, not a number")
            box.append(value)
        xmin, ymin, xmax, ymax = box
        if xmax < xmin or ymax < ymin:
            raise ValueError(f"{where}: the box {box} ends before it begins")
        boxes.append([xmin - 1, ymin - 1, xmax, ymax])
        found.append(labels[name])
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(found, np.int64)


def load(name: str) -> Annotated:
    """Load the train, test or validation picture in full resolution, with every crown."""
    folder = fetch("deepforest") / "deepforest" / "data"
    boxes, labels = read_voc(folder / f"{name}.xml", {"Tree": 0})
    suffix = "tif" if name == VALIDATION_PICTURE else "png"
    with Image.open(folder / f"{name}.{suffix}") as file:
        image = np.asarray(file.convert("RGB"))
    return Annotated(name, image, boxes, labels)


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
    image = Image.fromarray(annotated.image).resize((width, height), Image.Resampling.BOX)
    factor = np.array([width / annotated.width, height / annotated.height] * 2, np.float32)
    return Annotated(
        name=f"{annotated.name}*{scale:.3f}",
        image=np.asarray(image),
        boxes=annotated.boxes * factor,
        labels=annotated.labels,
    )


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


def test_pictures(scales: Sequence[float] = SCALES, patch: int = 256) -> list[Annotated]:
    """Return the patches of the test picture at every scale, always the same ones."""
    picture = load(TEST_PICTURE)
    return [piece for scale in scales for piece in grid(reduce(picture, scale), patch)]

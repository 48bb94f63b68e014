"""Write the pictures of the browser tests and what is in them: ``python pictures.py FOLDER``.

Three pictures of the rendered test set, ``0.png``, ``1.png`` and the large ``2.png``; the first
has several objects of both classes that are clicked, the large one more than a thousand objects.
The fourth, ``3.png``, is the large one four times: a function needs seconds for it.
``truth.json`` holds for each picture its size and its objects, those with the most room around
them first, ``{"label": name, "box": [x1, y1, x2, y2]}`` in pixels. Run from the repository's root,
with its environment.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from training.data import rendered, trees
from training.data.annotated import Annotated

SMALL = 448
LARGE = 1344
CLASSES = (*rendered.CLASSES, *trees.CLASSES)
CLICKED = ("storage-tank", "large-vehicle")
"""As the tests name them; both are in the first picture, several times."""


def main(folder: Path) -> None:
    """Write the files."""
    folder.mkdir(parents=True, exist_ok=True)
    small = sorted(
        rendered.pictures("test", 20, SMALL, with_trees=True), key=clickable, reverse=True
    )
    truth = []
    for number, picture in enumerate(small[:2]):
        Image.fromarray(picture.image).save(folder / f"{number}.png")
        truth.append(described(picture.image.shape, [(picture, 0, 0)]))
    per_row = LARGE // SMALL
    tiles = sorted(small[2:], key=lambda one: len(one.labels), reverse=True)[: per_row**2]
    image = np.zeros((LARGE, LARGE, 3), np.uint8)
    placed = []
    for number, tile in enumerate(tiles):
        x, y = (number % per_row) * SMALL, (number // per_row) * SMALL
        image[y : y + SMALL, x : x + SMALL] = tile.image
        placed.append((tile, x, y))
    Image.fromarray(image).save(folder / "2.png")
    truth.append(described(image.shape, placed))
    places = [(x, y) for y in (0, LARGE) for x in (0, LARGE)]
    four = [(tile, x + left, y + top) for tile, x, y in placed for left, top in places]
    image = np.tile(image, (2, 2, 1))
    Image.fromarray(image).save(folder / "3.png", compress_level=1)
    truth.append(described(image.shape, four))
    (folder / "truth.json").write_text(json.dumps(truth), encoding="utf-8")


def clickable(picture: Annotated) -> int:
    """Return how many objects a picture has of the rarer one of the classes that are clicked."""
    return min((picture.labels == CLASSES.index(name)).sum() for name in CLICKED)


def clearance(boxes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return how far each object's middle is from the next object's and from the edges, pixels."""
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    apart = np.linalg.norm(middles[:, None] - middles, axis=2)
    np.fill_diagonal(apart, np.inf)
    edges = np.minimum(middles, np.array([shape[1], shape[0]]) - middles).min(1)
    return np.minimum(apart.min(1), edges)


def described(
    shape: tuple[int, ...], parts: Sequence[tuple[Annotated, int, int]]
) -> dict[str, Any]:
    """Return the entry of a picture that consists of parts at places."""
    objects = [
        {
            "label": CLASSES[label],
            "box": [float(value) for value in box + np.array([x, y, x, y])],
        }
        for part, x, y in parts
        for box, label in zip(part.boxes, part.labels, strict=True)
    ]
    room = clearance(np.array([one["box"] for one in objects]), shape)
    objects = [objects[index] for index in np.argsort(-room, kind="stable")]
    return {"width": shape[1], "height": shape[0], "objects": objects}


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Draw the pictures of the browser tests and say what is in them: ``python pictures.py FOLDER``.

Small parts on a table. ``0.png`` and ``1.png`` have several objects of each kind, ``2.png`` more
than a thousand small ones; ``3.png`` is ``2.png`` four times: a function needs seconds for it.
``truth.json`` holds for each picture its size and its objects, those with the most room around
them first, ``{"label": name, "box": [x1, y1, x2, y2]}`` in pixels.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

KINDS = {"nut": 0.25, "washer": 0.2, "bolt": 0.2, "tablet": 0.15, "": 0.2}
"""How often each is in a cell of the picture's grid; ``""`` is none."""
FINE = 4
"""Parts are drawn so many times as large."""
Parts = list[tuple[str, np.ndarray]]
"""The kind and the box of each part."""


def main(folder: Path) -> None:
    """Write the files."""
    folder.mkdir(parents=True, exist_ok=True)
    many, parts = drawn(seed=2, side=1344, cell=36, sizes=(16, 22))
    corners = [np.array([x, y, x, y]) for y in (0, len(many)) for x in (0, len(many))]
    four = [(kind, box + corner) for kind, box in parts for corner in corners]
    pictures = [
        drawn(seed=0, side=448, cell=56, sizes=(22, 30)),
        drawn(seed=1, side=448, cell=56, sizes=(22, 30)),
        (many, parts),
        (np.tile(many, (2, 2, 1)), four),
    ]
    for number, (image, _) in enumerate(pictures):
        Image.fromarray(image).save(folder / f"{number}.png", compress_level=1)
    truth = [described(image.shape, parts) for image, parts in pictures]
    (folder / "truth.json").write_text(json.dumps(truth), encoding="utf-8")


def drawn(seed: int, side: int, cell: int, sizes: tuple[int, int]) -> tuple[np.ndarray, Parts]:
    """Return a picture and its parts, at most one in each cell of a grid."""
    rng = np.random.default_rng(seed)
    light = rng.normal(118, 7, (side // 32, side // 32)).clip(0, 255).astype(np.uint8)
    light = np.asarray(Image.fromarray(light).resize((side, side), Image.Resampling.BICUBIC))
    ground = light[..., None] * np.array([0.9, 1, 1.05]) + rng.normal(0, 3, (side, side, 1))
    picture = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    per_row = side // cell
    kinds = rng.choice(list(KINDS), per_row**2, p=list(KINDS.values()))
    parts = []
    for number, kind in enumerate(kinds):
        if kind == "":
            continue
        patch = part(kind, rng.uniform(*sizes), rng.uniform(0, 360), rng.uniform(0.92, 1.08))
        box = np.array(patch.getchannel("A").point(lambda value: 255 * (value > 127)).getbbox())
        room = cell - (box[2:] - box[:2])
        corner = cell * np.array([number % per_row, number // per_row])
        at = corner + (room * rng.uniform(0.2, 0.8, 2)).astype(int) - box[:2]
        picture.paste(patch, tuple(at), patch)
        parts.append((str(kind), box + np.tile(at, 2)))
    return np.asarray(picture), parts


def part(kind: str, size: float, turn: float, light: float) -> Image.Image:
    """Return a part seen from above, with nothing around it."""
    side = round(2 * size) * FINE
    image = Image.new("RGBA", (side, side))
    draw = ImageDraw.Draw(image)

    def box(x: float, y: float, right: float, bottom: float) -> list[float]:
        """From halves of the size away from the middle."""
        return [side / 2 + value * size * FINE / 2 for value in (x, y, right, bottom)]

    def lit(*color: int) -> tuple[int, ...]:
        return tuple(min(255, round(light * value)) for value in color)

    if kind == "washer":
        draw.ellipse(box(-1, -1, 1, 1), lit(222, 226, 230), lit(60, 62, 66), FINE)
        draw.ellipse(box(-0.5, -0.5, 0.5, 0.5), (0, 0, 0, 0), lit(60, 62, 66), FINE)
    elif kind == "nut":
        draw.regular_polygon((side / 2, side / 2, size * FINE / 2), 6, 0, lit(206, 160, 60))
        draw.ellipse(box(-0.35, -0.35, 0.35, 0.35), lit(250, 214, 120))
    elif kind == "bolt":
        draw.rectangle(box(-0.6, -0.25, 1, 0.25), lit(40, 42, 54))
        draw.rectangle(box(-1, -0.6, -0.4, 0.6), lit(40, 42, 54))
    else:
        draw.ellipse(box(-0.8, -0.8, 0.8, 0.8), lit(50, 96, 190))
        draw.rectangle(box(-0.8, -0.05, 0.8, 0.05), lit(30, 60, 130))
    turned = image.rotate(turn, Image.Resampling.BICUBIC)
    return turned.resize((side // FINE, side // FINE), Image.Resampling.BOX)


def clearance(boxes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return how far each object's middle is from the next object's and from the edges, pixels."""
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    apart = np.linalg.norm(middles[:, None] - middles, axis=2)
    np.fill_diagonal(apart, np.inf)
    edges = np.minimum(middles, np.array([shape[1], shape[0]]) - middles).min(1)
    return np.minimum(apart.min(1), edges)


def described(shape: tuple[int, ...], parts: Parts) -> dict[str, Any]:
    """Return a picture's entry."""
    objects = [{"label": kind, "box": [float(value) for value in box]} for kind, box in parts]
    room = clearance(np.array([box for _, box in parts]), shape)
    objects = [objects[index] for index in np.argsort(-room, kind="stable")]
    return {"width": shape[1], "height": shape[0], "objects": objects}


if __name__ == "__main__":
    main(Path(sys.argv[1]))

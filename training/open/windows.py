"""Windows of real pictures, at random scales."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.open.composites import Drawn
from training.open.kinds import LARGEST, Rng

MOST_KINDS = 8
MOST_OBJECTS = 100


@dataclass(frozen=True, slots=True, eq=False)
class RealPicture:
    """A picture of a real set, whole.

    Attributes:
        image: uint8 ``(H, W, 3)``.
        boxes: float32 ``(n, 4)``.
        kinds: int64 ``(n,)``.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    kinds: NDArray[np.int64]


def load_sets(folder: Path, without: frozenset[str] = frozenset()) -> dict[str, list[RealPicture]]:
    """The real sets of a folder that `training.open.prepare` has made, by name.

    Args:
        folder: Holds a folder a set.
        without: Names of sets that are left out.
    """
    sets = {}
    for path in sorted(folder.glob("*/boxes.json")):
        if path.parent.name in without:
            continue
        pictures = []
        for record in json.loads(path.read_text()):
            rows = np.array(record["boxes"], np.float32).reshape(-1, 5)
            image = np.asarray(Image.open(path.parent / record["name"]).convert("RGB"))
            pictures.append(RealPicture(image, rows[:, :4], rows[:, 4].astype(np.int64)))
        if pictures:
            sets[path.parent.name] = pictures
    return sets


def draw_window(sets: dict[str, list[RealPicture]], rng: Rng, side: int = 256) -> Drawn:
    """A random window of a random picture of a random set.

    The median object becomes 6 to 56 px large, as far as the picture's own resolution allows.
    """
    names = sorted(sets)
    for _ in range(16):
        pictures = sets[names[rng.integers(len(names))]]
        picture = pictures[rng.integers(len(pictures))]
        found = _window(picture, rng, side)
        if found is not None:
            return found
    raise RuntimeError("no window of any real picture holds two objects")


def _window(picture: RealPicture, rng: Rng, side: int) -> Drawn | None:
    height, width = picture.image.shape[:2]
    boxes = picture.boxes
    longest = (boxes[:, 2:] - boxes[:, :2]).max(1)
    wanted = math.exp(rng.uniform(math.log(6), math.log(56)))
    scale = float(np.clip(wanted / np.median(longest), 0.2, 2.2))
    scale = max(scale, side / (max(height, width) * 1.3))
    read = side / scale
    middle = boxes[rng.integers(len(boxes))]
    centre = (middle[:2] + middle[2:]) / 2 + rng.uniform(-0.45, 0.45, 2) * read
    origin = [
        float(np.clip(c - read / 2, min(0.0, length - read), max(0.0, length - read)))
        for c, length in zip(centre, (width, height), strict=True)
    ]
    turn = _turn(rng)
    matrix = np.array([[scale, 0, -origin[0] * scale], [0, scale, -origin[1] * scale]], np.float32)
    image = picture.image
    if scale < 0.7:
        image = cv2.GaussianBlur(image, (0, 0), 0.4 / scale)
    fill = tuple(float(value) for value in image.reshape(-1, 3)[::997].mean(0))
    seen = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderValue=fill)
    moved = (boxes - np.tile(origin, 2).astype(np.float32)) * scale
    inside = moved.clip(0, side)
    area, visible = ((b[:, 2:] - b[:, :2]).prod(1) for b in (moved, inside))
    large = (inside[:, 2:] - inside[:, :2]).max(1)
    kept = (visible > 0.6 * area) & (large >= 4) & (large <= 1.6 * LARGEST)
    kept &= (inside[:, 2:] - inside[:, :2]).min(1) >= 2.5
    if kept.sum() < 2:
        return None
    present = np.unique(picture.kinds[kept])
    if len(present) > MOST_KINDS:
        kept &= np.isin(picture.kinds, rng.choice(present, MOST_KINDS, False))
        present = np.unique(picture.kinds[kept])
    index = np.flatnonzero(kept)[:MOST_OBJECTS]
    out = seen.astype(np.float32)
    if rng.random() < 0.3:
        out *= rng.uniform(0.7, 1.3, 3).astype(np.float32)
    if rng.random() < 0.12:
        out[:] = out.mean(2, keepdims=True)
    if rng.random() < 0.12:
        out = 255 - out
    if rng.random() < 0.3:
        out += rng.normal(0, rng.uniform(1, 10), out.shape).astype(np.float32)
    kinds = np.searchsorted(present, picture.kinds[index]).astype(np.int64)
    left_out = (visible > 0) & ~np.isin(np.arange(len(boxes)), index)
    return turn(
        Drawn(
            out.clip(0, 255).astype(np.uint8),
            inside[index].astype(np.float32),
            kinds,
            ignored=inside[left_out].astype(np.float32),
        )
    )


def _turn(rng: Rng) -> Callable[[Drawn], Drawn]:
    """One of the ways to mirror a square picture and to swap its axes."""
    mirror, swap = rng.random() < 0.5, rng.random() < 0.5

    def moved(boxes: NDArray[np.float32], side: int) -> NDArray[np.float32]:
        if mirror:
            boxes = np.stack([side - boxes[:, 2], boxes[:, 1], side - boxes[:, 0], boxes[:, 3]], 1)
        return np.ascontiguousarray(boxes[:, [1, 0, 3, 2]] if swap else boxes)

    def turned(drawn: Drawn) -> Drawn:
        image, side = drawn.image, drawn.image.shape[1]
        image = image[:, ::-1] if mirror else image
        image = image.transpose(1, 0, 2) if swap else image
        return Drawn(
            np.ascontiguousarray(image),
            moved(drawn.boxes, side),
            drawn.kinds,
            ignored=moved(drawn.ignored, side),
        )

    return turned

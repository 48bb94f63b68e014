"""Windows of real pictures, at random scales, mirrored and turned."""

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

MOST_OBJECTS = 100
MOST_IGNORED = 40
"""Of a window."""

TRIES = 8
"""Windows of a set, before another is taken."""

_FILL_STRIDE = 997


@dataclass(frozen=True, slots=True)
class Scales:
    """What windows are drawn at.

    Attributes:
        sizes: Longest side of the median object, in pixels, least and most; ``None``: as the
            factors make it.
        factors: By which a picture is made smaller or larger, least and most.
        largest: Longest side of an object, in pixels.
        objects: A window has at least so many.
    """

    sizes: tuple[float, float] | None = (6.0, 56.0)
    factors: tuple[float, float] = (0.2, 2.2)
    largest: float = 1.6 * LARGEST
    objects: int = 2

    def draw(self, median: float, rng: Rng) -> float:
        """A factor, for a picture whose median object is so long."""
        if self.sizes is None:
            low, high = self.factors
            return math.exp(rng.uniform(math.log(low), math.log(high)))
        low, high = self.sizes
        wanted = math.exp(rng.uniform(math.log(low), math.log(high)))
        return float(np.clip(wanted / median, *self.factors))


TRAINED_AT = Scales()


@dataclass(frozen=True, slots=True, eq=False)
class RealPicture:
    """A picture of a real set, whole.

    Attributes:
        image: uint8 ``(H, W, 3)``.
        boxes: float32 ``(n, 4)``.
        kinds: int64 ``(n,)``.
        ignored: float32 ``(m, 4)``, boxes of what is neither object nor ground.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    kinds: NDArray[np.int64]
    ignored: NDArray[np.float32]


def load_sets(folder: Path, without: frozenset[str] = frozenset()) -> dict[str, list[RealPicture]]:
    """The real sets of a folder that `training.open.make_pool` has made, by name.

    Args:
        folder: Holds a folder a set.
        without: Names of sets that are left out.

    Raises:
        ValueError: No set is left.
    """
    sets = {}
    for path in sorted(folder.glob("*/boxes.json")):
        if path.parent.name in without:
            continue
        pictures = []
        for record in json.loads(path.read_text()):
            rows = np.array(record["boxes"], np.float32).reshape(-1, 5)
            image = np.asarray(Image.open(path.parent / record["name"]).convert("RGB"))
            ignored = np.array(record["ignored"], np.float32).reshape(-1, 4)
            kinds = rows[:, 4].astype(np.int64)
            pictures.append(RealPicture(image, rows[:, :4], kinds, ignored))
        if pictures:
            sets[path.parent.name] = pictures
    if not sets:
        raise ValueError(f"{folder} holds no real set")
    return sets


def draw_windows(
    sets: dict[str, list[RealPicture]],
    rng: Rng,
    side: int = 256,
    count: int = 1,
    scales: Scales = TRAINED_AT,
) -> list[Drawn]:
    """Random windows of random pictures of one random set.

    By default the median object becomes 6 to 56 px large, as far as the picture's own resolution
    allows. What is cut by the edge or too small or large is neither object nor ground. Colours may
    be what tells classes apart: all windows are grey or negative, or none is.

    Raises:
        ValueError: There are no such windows.
    """
    names = sorted(sets)
    for _ in range(TRIES):
        pictures = sets[names[rng.integers(len(names))]]
        found: list[Drawn] = []
        colours: _Colours | None = None
        for _ in range(TRIES * count):
            one = _window(pictures[rng.integers(len(pictures))], rng, side, scales, colours)
            if one is not None:
                found.append(one[0])
                colours = one[1]
            if len(found) == count:
                return found
    raise ValueError("no window of any real picture holds enough objects and not too many")


@dataclass(frozen=True, slots=True)
class _Colours:
    """What becomes of the colours of a window: nothing, grey, negative, or both."""

    grey: bool
    negative: bool


def _window(
    picture: RealPicture, rng: Rng, side: int, scales: Scales, colours: _Colours | None
) -> tuple[Drawn, _Colours] | None:
    """A random window, None for one that cannot be used; its colours, unless some are given."""
    height, width = picture.image.shape[:2]
    boxes = picture.boxes
    longest = (boxes[:, 2:] - boxes[:, :2]).max(1)
    scale = scales.draw(float(np.median(longest)), rng)
    scale = max(scale, side / (max(height, width) * 1.3))
    read = side / scale
    middle = boxes[rng.integers(len(boxes))]
    centre = (middle[:2] + middle[2:]) / 2 + rng.uniform(-0.45, 0.45, 2) * read
    origin = [
        float(np.clip(c - read / 2, min(0.0, length - read), max(0.0, length - read)))
        for c, length in zip(centre, (width, height), strict=True)
    ]
    turn = _turn(rng)
    # Only what is shown is blurred, with a margin.
    left, top = (max(0, math.floor(at) - 8) for at in origin)
    right, bottom = (math.ceil(at + read) + 8 for at in origin)
    image = picture.image[top:bottom, left:right]
    if scale < 0.7:
        image = cv2.GaussianBlur(image, (0, 0), 0.4 / scale)
    fill = image.reshape(-1, 3)[::_FILL_STRIDE].mean(0).tolist()
    matrix = np.array(
        [[scale, 0, (left - origin[0]) * scale], [0, scale, (top - origin[1]) * scale]], np.float32
    )
    shown = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderValue=fill)
    shift = np.tile(origin, 2).astype(np.float32)
    moved = (boxes - shift) * scale
    inside = moved.clip(0, side)
    area, visible = ((b[:, 2:] - b[:, :2]).prod(1) for b in (moved, inside))
    large = (inside[:, 2:] - inside[:, :2]).max(1)
    kept = (visible > 0.6 * area) & (large >= 4) & (large <= scales.largest)
    kept &= (inside[:, 2:] - inside[:, :2]).min(1) >= 2.5
    cut = (visible > 0) & ~kept
    odd = ((picture.ignored - shift) * scale).clip(0, side)
    odd = odd[(odd[:, 2:] > odd[:, :2]).all(1)]
    if not scales.objects <= kept.sum() <= MOST_OBJECTS or cut.sum() + len(odd) > MOST_IGNORED:
        return None
    out = shown.astype(np.float32)
    if rng.random() < 0.3:
        out *= rng.uniform(0.7, 1.3, 3).astype(np.float32)
    own = _Colours(grey=rng.random() < 0.12, negative=rng.random() < 0.12)
    colours = own if colours is None else colours
    if colours.grey:
        out[:] = out.mean(2, keepdims=True)
    if colours.negative:
        out = 255 - out
    if rng.random() < 0.3:
        out += rng.normal(0, rng.uniform(1, 10), out.shape).astype(np.float32)
    drawn = Drawn(
        out.clip(0, 255).astype(np.uint8),
        inside[kept].astype(np.float32),
        picture.kinds[kept],
        ignored=np.concatenate([inside[cut], odd]).astype(np.float32),
    )
    return turn(drawn), colours


def _turn(rng: Rng) -> Callable[[Drawn], Drawn]:
    """One of the eight ways to mirror a square picture and to swap its axes."""
    across, down, swap = (rng.random(3) < 0.5).tolist()

    def moved(boxes: NDArray[np.float32], side: int) -> NDArray[np.float32]:
        x1, y1, x2, y2 = boxes.T
        if across:
            x1, x2 = side - x2, side - x1
        if down:
            y1, y2 = side - y2, side - y1
        return np.stack([y1, x1, y2, x2] if swap else [x1, y1, x2, y2], 1)

    def turned(drawn: Drawn) -> Drawn:
        image, side = drawn.image, drawn.image.shape[1]
        image = image[:: -1 if down else 1, :: -1 if across else 1]
        image = image.transpose(1, 0, 2) if swap else image
        return Drawn(
            np.ascontiguousarray(image),
            moved(drawn.boxes, side),
            drawn.kinds,
            ignored=moved(drawn.ignored, side),
        )

    return turned

"""Scenes of composites: what a picture is full of, on which ground, where, and beside what.

Most pictures are of no scene: kinds of all families, anywhere. Each of the others is full of what
those lack: things of the stuff of their ground, partly hidden by leaves, drawn with the pen of the
lines that join them, of a few pixels among large things, or of all sizes at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from training.open.kinds import SMALLEST, Floats, Pool, Rng, fill, leaf, noise

PlaceSampler = Callable[[], tuple[float, float]]

Ground = Callable[[Pool, Rng, int, float], Floats]
"""Makes a ground, float32 ``(side, side, 3)``, of the pool, a generator, the side and the direction
from which the light comes, in radians: 0 is from the right, pi / 2 from below."""


def any_ground(pool: Pool, rng: Rng, side: int, light: float) -> Floats:
    """A ground: a photograph, or a colour with noise and lines."""
    if rng.random() < 0.55:
        return photograph(pool, rng, side, light)
    return paper(pool, rng, side, light)


def photograph(pool: Pool, rng: Rng, side: int, light: float) -> Floats:
    """A ground: a piece of a photograph, its contrast and colours changed."""
    image = pool.crop(rng, side)
    if rng.random() < 0.4:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 4))
    image = (image - image.mean()) * rng.uniform(0.2, 1.1) + rng.uniform(40, 215)
    return image * rng.uniform(0.7, 1.3, 3).astype(np.float32) if rng.random() < 0.5 else image


def paper(pool: Pool, rng: Rng, side: int, light: float) -> Floats:
    """A ground: a colour with noise and lines."""
    colour = rng.uniform(0, 255, 3)
    if rng.random() < 0.5:  # paper, black, grey
        colour[:] = rng.choice([rng.uniform(0, 40), rng.uniform(210, 255), rng.uniform(60, 180)])
    image = np.full((side, side, 3), colour, np.float32)
    slow = noise(rng, side, int(rng.integers(2, 7)), int(rng.integers(2, 9)))
    image += slow[..., None] * rng.uniform(0, 50) * rng.uniform(0.6, 1.4, 3).astype(np.float32)
    if rng.random() < 0.3:
        image += noise(rng, side, 3, 32)[..., None] * rng.uniform(5, 50)
    if rng.random() < 0.3:
        _rule(image, rng)
    return image


def sheet(pool: Pool, rng: Rng, side: int, light: float) -> Floats:
    """A ground: light paper, plain, ruled or with a fine grid, in uneven light."""
    image = np.full((side, side, 3), rng.uniform(140, 255), np.float32)
    image *= rng.uniform(0.9, 1.05, 3).astype(np.float32)
    image += noise(rng, side, 2, 2)[..., None] * rng.uniform(0, 30)
    if rng.random() < 0.2:
        _rule(image, rng)
    elif rng.random() < 0.3:
        step, start = int(rng.integers(6, 20)), int(rng.integers(6))
        tone = rng.uniform(0.75, 0.95)
        image[start::step] *= tone
        image[:, start::step] *= tone
    return image


def _rule(image: Floats, rng: Rng) -> None:
    """Draw the lines of ruled paper, a grid, or some at random: they are no objects."""
    side = image.shape[0]
    shade = (image[::16, ::16].mean() + rng.choice([-1, 1]) * rng.uniform(20, 110)).clip(0, 255)
    colour = (shade * rng.uniform(0.8, 1.2, 3)).tolist()
    width = int(rng.integers(1, 4))
    if rng.random() < 0.5:
        step, start = rng.uniform(16, 90), rng.uniform(0, 16)
        for at in np.arange(start, side, step).astype(int).tolist():
            cv2.line(image, (0, at), (side, at), colour, width)
            if width > 1:
                cv2.line(image, (at, 0), (at, side), colour, width)
        return
    for _ in range(int(rng.integers(1, 6))):
        (x1, y1), (x2, y2) = rng.integers(0, side, (2, 2)).tolist()
        cv2.line(image, (x1, y1), (x2, y2), colour, width, cv2.LINE_AA)


def rough(pool: Pool, rng: Rng, side: int, light: float) -> Floats:
    """A ground: soil, grass or leaves from far; or a photograph, whose texture is as fine."""
    if rng.random() < 0.3:
        return photograph(pool, rng, side, light)
    image = np.full((side, side, 3), rng.uniform(60, 200), np.float32)
    image *= rng.uniform(0.6, 1.4, 3).astype(np.float32)
    fine = noise(rng, side, 2, int(rng.integers(40, 110)))
    image += fine[..., None] * rng.uniform(10, 90)
    slow = noise(rng, side, 3, int(rng.integers(3, 9)))
    return image + slow[..., None] * rng.uniform(0, 60) * rng.uniform(0.4, 1.6, 3).astype("f")


def terrain(pool: Pool, rng: Rng, side: int, light: float) -> Floats:
    """A ground: hills or waves in the light."""
    if rng.random() < 0.25:
        return any_ground(pool, rng, side, light)
    height = noise(rng, side, int(rng.integers(4, 7)), int(rng.integers(2, 12)))
    if rng.random() < 0.3:  # drawn out: waves
        height = cv2.resize(height[: side // int(rng.integers(2, 6))], (side, side))
    slope = cv2.Scharr(height, cv2.CV_32F, 1, 0) * math.cos(light)
    slope += cv2.Scharr(height, cv2.CV_32F, 0, 1) * math.sin(light)
    shade = rng.uniform(40, 190) - slope * (rng.uniform(4, 28) / (slope.std() + 1e-6))
    tone = rng.uniform(0.75, 1.25, 3) if rng.random() < 0.6 else np.ones(3)
    return shade[..., None] * tone.astype(np.float32)


def foliage(pool: Pool, rng: Rng, side: int, light: float) -> Floats:
    """A ground: leaves over leaves, and twigs."""
    image = np.empty((side, side, 3), np.uint8)
    colour = rng.uniform(40, 180) * rng.uniform(0.5, 1.5, 3)
    image[:] = (colour * rng.uniform(0.3, 1.2)).clip(0, 255)
    for _ in range(int(rng.integers(30, 100))):
        _leaf(image, rng.uniform(0, side, 2), colour, rng)
    out = image.astype(np.float32)
    out += noise(rng, side, 3, 12)[..., None] * rng.uniform(3, 35)
    return cv2.GaussianBlur(out, (0, 0), rng.uniform(0.5, 2)) if rng.random() < 0.4 else out


def _leaf(image: NDArray[np.uint8], foot: NDArray[Any], colour: NDArray[Any], rng: Rng) -> None:
    """Draw a leaf, one half of it in the shade, or a twig."""
    shade = colour * rng.uniform(0.55, 1.5)
    twig = rng.random() < 0.1
    length = math.exp(rng.uniform(2.5, 4.5)) * (2 if twig else 1)
    width = 0.03 if twig else rng.uniform(0.12, 0.4)
    angle = rng.uniform(0, 2 * math.pi)
    outline = leaf(length, width, rng.uniform(0.3, 0.6), rng.normal(0, 0.2), angle)
    outline += foot.astype(np.float32)
    fill(image, outline, shade.clip(0, 255).tolist())
    half = np.concatenate([outline[:7], (outline[:7] + outline[:6:-1])[::-1] / 2])
    fill(image, half, (shade * rng.uniform(0.75, 1)).clip(0, 255).tolist())


def built(pool: Pool, rng: Rng, side: int, light: float) -> Floats:
    """A ground: water or soil, often with roofs, piers and roads, much larger than objects."""
    image = np.ascontiguousarray(terrain(pool, rng, side, light))
    if rng.random() < 0.5:
        return image
    turn = rng.uniform(0, 180)
    colour = rng.uniform(30, 230, 3)
    for _ in range(int(rng.integers(1, 12))):
        size = (float(rng.uniform(30, 160)), float(rng.uniform(18, 60)))
        centre = tuple(rng.uniform(0, side, 2).tolist())
        corners = cv2.boxPoints((centre, size, turn + 90 * int(rng.integers(2))))
        tone = (colour * rng.uniform(0.5, 1.4)).clip(0, 255).tolist()
        cv2.fillPoly(image, [corners.round().astype(np.int32)], tone)
    return image + noise(rng, side, 2, 64)[..., None] * rng.uniform(0, 25)


Layout = Callable[[Rng, int, float], PlaceSampler]
"""Makes a sampler of places of a generator, the side and the size of a typical object."""


def any_layout(rng: Rng, side: int, size: float) -> PlaceSampler:
    """Where objects stand: anywhere, in heaps, on a grid, or in rows."""
    way = rng.random()
    if way < 0.25:
        return heaps(rng, side, size)
    if way < 0.4:
        step = max(8.0, size * rng.uniform(1.1, 2.0))
        cells = max(1, int(side // step))
        loose = rng.uniform(0, 0.15) * step

        def on_grid() -> tuple[float, float]:
            x, y = (rng.integers(0, cells, 2) + 0.5) * step + rng.normal(0, loose, 2)
            return float(x), float(y)

        return on_grid
    if way < 0.5:
        step, tilt = max(10.0, size * rng.uniform(1.1, 2.5)), rng.uniform(-0.3, 0.3)
        rows = max(1, int(side // step))

        def in_rows() -> tuple[float, float]:
            x = float(rng.uniform(0, side))
            return x, float((rng.integers(rows) + 0.5) * step + tilt * (x - side / 2))

        return in_rows
    return anywhere(rng, side, size)


def anywhere(rng: Rng, side: int, size: float) -> PlaceSampler:
    """Every place is as likely as the others."""

    def place() -> tuple[float, float]:
        return float(rng.uniform(0, side)), float(rng.uniform(0, side))

    return place


def heaps(rng: Rng, side: int, size: float) -> PlaceSampler:
    """Around four places."""
    centres = rng.uniform(0.1, 0.9, (4, 2)) * side

    def place() -> tuple[float, float]:
        x, y = centres[rng.integers(4)] + rng.normal(0, side * 0.09, 2)
        return float(x), float(y)

    return place


def dense(rng: Rng, side: int, size: float) -> PlaceSampler:
    """Side by side, all over or around a place first."""
    return _scattered(rng, side, max(5.0, size * rng.uniform(0.7, 1.1)), 0.25, rng.random() < 0.6)


def apart(rng: Rng, side: int, size: float) -> PlaceSampler:
    """With room between them."""
    step = max(16.0, size * rng.uniform(1.4, 2.5))
    return _scattered(rng, side, step, rng.choice([0.03, 0.2]), False)


def _scattered(rng: Rng, side: int, step: float, loose: float, around: bool) -> PlaceSampler:
    """A loose grid of which no place is tried twice before all are."""
    cells = int(side // step) + 1
    y, x = np.divmod(rng.permutation(cells * cells), cells)
    found = np.stack([x + 0.5 * (y % 2), y], 1) + rng.normal(0, loose, (len(x), 2))
    found = found * step + rng.uniform(-0.5, 0.5, 2) * step
    if around:
        far = np.hypot(*(found - rng.uniform(0, side, 2)).T)
        found = found[np.argsort(far + rng.normal(0, step, len(far)))]
    places = found.tolist()
    number = -1

    def place() -> tuple[float, float]:
        nonlocal number
        number = (number + 1) % len(places)
        return places[number][0], places[number][1]

    return place


@dataclass(frozen=True, slots=True)
class Scene:
    """What a picture is full of.

    Attributes:
        share: How often, relative to the other scenes.
        families: Shares of the families of its kinds; None: of all, by their own.
        ground: What it stands on.
        layout: Where it stands.
        kinds: Classes at most.
        sizes: Of the kinds, in pixels; None: as they come.
        spread: Smallest and largest deviation of the log of a kind's sizes; None: as it comes.
        objects: At least so many.
        overlap: Part of a box that may lie on other objects: one of these.
        shadow: How often objects cast one.
        ink: How often all kinds have one colour.
        melt: How often a kind has nearly the colour of its ground.
        turned: Whether things lie as they fell, in any direction.
        leaves: Whether leaves hide part of it.
        lines: Whether lines join it, and writing stands beside it.
    """

    share: float
    families: Mapping[str, float] | None = None
    ground: Ground = any_ground
    layout: Layout = any_layout
    kinds: int = 8
    sizes: tuple[float, float] | None = None
    spread: tuple[float, float] | None = None
    objects: int = 4
    overlap: tuple[float, ...] = (0.05, 0.05, 0.3)
    shadow: float = 0.25
    ink: float = 0.3
    melt: float = 0.05
    turned: bool = False
    leaves: bool = False
    lines: bool = False


SCENES = (
    Scene(0.62),
    Scene(
        0.08,
        {"crown": 0.7, "rosette": 0.3},
        rough,
        dense,
        kinds=3,
        sizes=(7, 80),
        spread=(0.05, 0.4),
        objects=20,
        overlap=(0.2, 0.5, 0.8),
        shadow=0.7,
        melt=0.6,
    ),
    Scene(
        0.07,
        {"ball": 1.0, "rosette": 0.1, "blob": 0.1},
        foliage,
        kinds=4,
        sizes=(6, 80),
        overlap=(0.05, 0.3),
        melt=0.5,
        leaves=True,
    ),
    Scene(
        0.05,
        {"crater": 1.0, "relief": 0.1},
        terrain,
        anywhere,
        kinds=3,
        sizes=(5, 22),
        spread=(0.3, 0.8),
        objects=15,
        overlap=(0.1, 1.0),
        shadow=0.0,
    ),
    Scene(
        0.07,
        {"symbol": 0.8, "icon": 0.1, "letter": 0.1},
        sheet,
        apart,
        sizes=(12, 80),
        spread=(0.0, 0.25),
        shadow=0.0,
        ink=0.9,
        lines=True,
    ),
    Scene(
        0.04,
        {"rod": 0.6, "box": 0.15, "blob": 0.1, "cutout": 0.15},
        layout=heaps,
        kinds=4,
        sizes=(8, 80),
        objects=10,
        overlap=(0.3, 0.6),
        shadow=0.5,
        turned=True,
    ),
    Scene(
        0.05,
        {"rod": 0.4, "box": 0.3, "blob": 0.2, "ball": 0.1},
        built,
        anywhere,
        kinds=3,
        sizes=(SMALLEST, 11),
        shadow=0.5,
        turned=True,
    ),
    Scene(
        0.02,
        {"blob": 0.4, "cutout": 0.4, "ball": 0.2},
        kinds=3,
        sizes=(4, 25),
        spread=(0.3, 0.7),
        objects=15,
        overlap=(0.1, 0.5),
    ),
)
"""All scenes; the first is none. The others: canopies and crops; fruit behind leaves; craters on
hills; diagrams; heaps of tools; a few pixels among roofs and waves; grains."""

_SCENE_SHARES = np.array([scene.share for scene in SCENES])


def random_scene(rng: Rng) -> Scene:
    """One of the scenes, by their shares."""
    return SCENES[rng.choice(len(SCENES), p=_SCENE_SHARES / _SCENE_SHARES.sum())]


def leaves(
    rng: Rng, side: int, colour: Floats
) -> list[tuple[NDArray[np.uint8], tuple[int, int], Floats]]:
    """Leaves and twigs, each a mask, the place of its corner (x, y), and a shade of the colour."""
    out = []
    for _ in range(int(rng.integers(0, 40))):
        size = int(rng.integers(10, 60))
        width = rng.choice([0.03, 0.15, 0.3])
        angle = rng.uniform(0, 2 * math.pi)
        outline = leaf(size, width, rng.uniform(0.3, 0.6), rng.normal(0, 0.2), angle)
        outline -= outline.min(0)
        across, down = np.ceil(outline.max(0)).astype(int).tolist()
        mask = np.zeros((down + 1, across + 1), np.uint8)
        fill(mask, outline, 255)
        x, y = rng.integers(-size // 2, side - size // 2, 2).tolist()
        shade = (colour * rng.uniform(0.6, 1.6) * rng.uniform(0.9, 1.1, 3)).clip(0, 255)
        out.append((mask, (x, y), shade.astype(np.float32)))
    return out


def writing(boxes: Floats, rng: Rng, side: int) -> NDArray[np.uint8]:
    """Lines that join boxes and words beside them, uint8 ``(side, side)``, 255 where the ink is."""
    mask = np.zeros((side, side), np.uint8)
    pen = int(rng.integers(1, 3))
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    straight = rng.random() < 0.3
    for number in range(1, len(centres)):
        if rng.random() < 0.25:
            continue
        far = np.abs(centres[:number] - centres[number]).sum(1)
        (x1, y1), (x2, y2) = centres[number].tolist(), centres[far.argmin()].tolist()
        corner = [] if straight else [(x1, y2) if rng.random() < 0.5 else (x2, y1)]
        points = np.array([(x1, y1), *corner, (x2, y2)]) + rng.normal(0, 0.7, (2 + len(corner), 2))
        cv2.polylines(mask, [points.round().astype(np.int32)], False, 255, pen, cv2.LINE_AA)
    height = rng.uniform(3, 8)
    for _ in range(int(rng.integers(0, 14))):
        x, y = rng.uniform(0, side, 2)
        strokes = int(rng.integers(6, 30))
        word = np.stack(
            [x + np.arange(strokes) * height * 0.35, y + rng.normal(0, 0.45, strokes) * height], 1
        )
        cv2.polylines(mask, [word.round().astype(np.int32)], False, 255, 1, cv2.LINE_AA)
    for x1, y1, x2, y2 in boxes.astype(int).tolist():
        mask[y1:y2, x1:x2] = 0
    return mask

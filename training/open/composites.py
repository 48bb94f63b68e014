"""Composites: pictures full of objects whose classes are made up on the spot.

A class is told by its look alone. Each picture has one to eight, and nearly half of them are
*look-alikes* of another: the same but for one or two traits. What a class looks like is a few small
RGBA drawings (`Kind.variants`): an emoji in three drawing styles, an icon, a glyph written by
several hands, a piece of a photograph, a cell with its spots, a relief, a box with parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.open.prepare import ACROSS, CELL

Rng = np.random.Generator
Floats = NDArray[np.float32]

SIDE = 64
"""Side of a drawing of a kind, in pixels."""

STYLES = 3
"""Of each emoji."""

LARGEST = 80.0
SMALLEST = 4.0
"""Longest side of an object in pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A picture and what stands in it.

    Attributes:
        image: uint8 ``(H, W, 3)``, RGB.
        boxes: float32 ``(n, 4)`` xyxy.
        kinds: int64 ``(n,)``, numbers of the picture's classes.
        owners: uint8 ``(H, W)``, which object each pixel shows, counted from 1; 0 is the ground.
            None where the masks are not known.
        ignored: float32 ``(m, 4)``, boxes of what is neither to be found nor ground.
    """

    image: NDArray[np.uint8]
    boxes: Floats
    kinds: NDArray[np.int64]
    owners: NDArray[np.uint8] | None = None
    ignored: Floats = field(default_factory=lambda: np.zeros((0, 4), np.float32))


class Pool:
    """The drawn kinds and photographs of a folder that `training.open.prepare` has made."""

    def __init__(self, folder: Path) -> None:
        self._icons = np.asarray(Image.open(folder / "icons.png"))
        self._letters = np.asarray(Image.open(folder / "letters.png"))
        self._emoji = np.asarray(Image.open(folder / "emoji.webp").convert("RGBA"))
        self.photographs = [
            np.asarray(Image.open(path).convert("RGB"))
            for path in sorted((folder / "grounds").glob("*.jpg"))
        ]

    @staticmethod
    def _cell(sheet: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
        row, column = divmod(number, ACROSS)
        return sheet[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]

    def mask(self, rng: Rng, sheet: str) -> NDArray[np.uint8]:
        """A random icon or letter, ``(CELL, CELL)``."""
        cells = self._icons if sheet == "icons" else self._letters
        count = cells.shape[0] // CELL * ACROSS
        for _ in range(8):
            cell = self._cell(cells, int(rng.integers(count)))
            if cell.any():
                break
        return cell

    def emoji(self, rng: Rng) -> list[NDArray[np.uint8]]:
        """A random emoji in its styles, ``(CELL, CELL, 4)`` each."""
        count = self._emoji.shape[0] // CELL * ACROSS // STYLES
        for _ in range(8):
            first = int(rng.integers(count)) * STYLES
            cells = [self._cell(self._emoji, first + style) for style in range(STYLES)]
            if cells[-1].any():
                break
        return cells

    def crop(self, rng: Rng, side: int) -> Floats:
        """A piece of a photograph at a random scale, float32 ``(side, side, 3)``."""
        photograph = self.photographs[rng.integers(len(self.photographs))]
        height, width = photograph.shape[:2]
        read = int(min(height, width, side * rng.uniform(0.5, 2.5)))
        y, x = rng.integers(height - read + 1), rng.integers(width - read + 1)
        mode = cv2.INTER_AREA if read > side else cv2.INTER_LINEAR
        piece = cv2.resize(photograph[y : y + read, x : x + read], (side, side), interpolation=mode)
        return np.rot90(piece, rng.integers(4)).astype(np.float32)


def noise(rng: Rng, side: int, octaves: int, base: int) -> Floats:
    """Smooth noise ``(side, side)`` with an extreme of 1 in absolute value."""
    total = np.zeros((side, side), np.float32)
    amplitude = 1.0
    for octave in range(octaves):
        cells = min(base * 2**octave, side)
        grid = rng.standard_normal((cells, cells)).astype(np.float32)
        total += amplitude * cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC)
        amplitude *= rng.uniform(0.35, 0.75)
    return total / (np.abs(total).max() + 1e-6)


def ground(pool: Pool, rng: Rng, side: int) -> Floats:
    """A ground, float32 ``(side, side, 3)``: a photograph, or a colour with noise."""
    if rng.random() < 0.55:
        image = pool.crop(rng, side)
        if rng.random() < 0.4:
            image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 4))
        image = (image - image.mean()) * rng.uniform(0.2, 1.1) + rng.uniform(40, 215)
        return image * rng.uniform(0.7, 1.3, 3).astype(np.float32) if rng.random() < 0.5 else image
    colour = rng.uniform(0, 255, 3)
    if rng.random() < 0.5:  # paper, black, grey
        colour[:] = rng.choice([rng.uniform(0, 40), rng.uniform(210, 255), rng.uniform(60, 180)])
    image = np.full((side, side, 3), colour, np.float32)
    slow = noise(rng, side, int(rng.integers(2, 7)), int(rng.integers(2, 9)))
    image += slow[..., None] * rng.uniform(0, 50) * rng.uniform(0.6, 1.4, 3).astype(np.float32)
    if rng.random() < 0.3:
        image += noise(rng, side, 3, 32)[..., None] * rng.uniform(5, 50)
    return image


Traits = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """A class of a picture.

    Attributes:
        family: How it is drawn.
        traits: What the family's drawing needs.
        variants: Drawings, float32 ``(SIDE, SIDE, 4)``, RGBA in 0..255, straight alpha.
        size: Longest side of a typical object, in pixels.
        spread: Deviation of the log of the size.
        turn: Largest rotation, in radians.
        tint: Deviation of an object's colour from its drawing's.
        stretch: Deviation of the log of an object's aspect ratio.
        alpha: Opacity.
    """

    family: str
    traits: Traits
    variants: list[Floats] = field(repr=False)
    size: float
    spread: float
    turn: float
    tint: float
    stretch: float
    alpha: float


def _colour(rng: Rng) -> Floats:
    return rng.uniform(0, 255, 3).astype(np.float32)


def _from_mask(mask: NDArray[Any], colour: Floats) -> Floats:
    alpha = cv2.resize(mask, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    return np.dstack([np.broadcast_to(colour, (SIDE, SIDE, 3)), alpha]).astype(np.float32)


def _by_hand(mask: NDArray[np.uint8], rng: Rng, strength: float) -> NDArray[np.uint8]:
    """A mask as another hand would write it: bent, sheared, with a thicker or thinner pen."""
    side = mask.shape[0]
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    shear = rng.normal(0, 0.25) * strength
    for axis in (x, y):
        axis += cv2.resize(
            rng.normal(0, 2.6 * strength, (3, 3)).astype(np.float32),
            (side, side),
            interpolation=cv2.INTER_CUBIC,
        )
    x += shear * (y - side / 2)
    bent = cv2.remap(mask, x, y, cv2.INTER_LINEAR)
    pen = rng.random()
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    if pen < 0.3:
        return cv2.dilate(bent, kernel)
    thin = cv2.erode(bent, kernel)
    return thin if pen < 0.5 and thin.mean() > 0.4 * bent.mean() else bent


def _glyph_traits(pool: Pool, rng: Rng, sheet: str) -> Traits:
    return {
        "mask": pool.mask(rng, sheet),
        "colour": _colour(rng),
        "hand": float(rng.choice([0.0, 0.6, 1.0])) if sheet == "letters" else 0.0,
    }


def _draw_glyph(traits: Traits, rng: Rng) -> list[Floats]:
    mask = traits["mask"]
    if traits["hand"] == 0:
        return [_from_mask(mask, traits["colour"])]
    return [_from_mask(_by_hand(mask, rng, traits["hand"]), traits["colour"]) for _ in range(6)]


def _draw_emoji(traits: Traits, rng: Rng) -> list[Floats]:
    return [
        cv2.resize(cell, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR).astype(np.float32)
        for cell in traits["cells"]
    ]


def _polar(aspect: float) -> tuple[Floats, Floats, Floats, Floats]:
    """Coordinates of a drawing in -1.1..1.1, and the angle; the y axis is stretched."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    u = (x - SIDE / 2 + 0.5) / (SIDE / 2) * 1.1
    v = (y - SIDE / 2 + 0.5) / (SIDE / 2) * 1.1 * max(1.0, aspect)
    return u, v, np.arctan2(v, u), y


def _blob_traits(pool: Pool, rng: Rng) -> Traits:
    return {
        "colour": _colour(rng),
        "aspect": math.exp(rng.uniform(-0.1, 1.0)) if rng.random() < 0.45 else 1.0,
        "power": float(rng.choice([2.0, 2.0, 2.5, 4.0, 8.0])),
        "waves": rng.uniform(0, 0.14, 5) * (rng.random() < 0.6),
        "corners": int(rng.integers(3, 9)) if rng.random() < 0.2 else 0,
        "wobble": rng.uniform(0, 0.14) * (rng.random() < 0.7),
        "rim": rng.uniform(0.08, 0.35) if rng.random() < 0.45 else 0.0,
        "rim_colour": _colour(rng),
        "hole": rng.uniform(0.2, 0.6) if rng.random() < 0.2 else 0.0,
        "gradient": rng.uniform(-70, 70) * (rng.random() < 0.6),
        "spots": int(rng.integers(1, 5)) if rng.random() < 0.5 else 0,
        "spot_colour": _colour(rng),
        "spot_radius": rng.uniform(0.12, 0.4),
        "texture": rng.uniform(0, 55) * (rng.random() < 0.6),
        "grain": int(rng.integers(4, 14)),
        "soft": rng.uniform(0.02, 0.25),
        "light": rng.uniform(0, 70) * (rng.random() < 0.4),
        "patch": None,
    }


def _cutout_traits(pool: Pool, rng: Rng) -> Traits:
    return _blob_traits(pool, rng) | {
        "patch": pool.crop(rng, 128),
        "rim": 0.0,
        "spots": 0,
        "gradient": 0.0,
    }


def _draw_blob(traits: Traits, rng: Rng) -> list[Floats]:
    return [_blob(traits, rng) for _ in range(4)]


def _blob(traits: Traits, rng: Rng) -> Floats:
    u, v, angle, _ = _polar(traits["aspect"])
    power = traits["power"]
    radius = (np.abs(u) ** power + np.abs(v) ** power) ** (1 / power)
    bend = np.zeros_like(radius)
    for order, wave in enumerate(traits["waves"]):
        bend += wave * np.cos((order + 2) * angle + order)
    if traits["corners"]:
        sector = 2 * math.pi / traits["corners"]
        radius = np.hypot(u, v) * np.cos((angle % sector) - sector / 2) / math.cos(sector / 2)
    if traits["wobble"]:
        for order in range(2, 6):
            phase = rng.uniform(0, 2 * math.pi)
            bend += traits["wobble"] * rng.normal() / order * np.cos(order * angle + phase)
    radius = radius / (1 + bend).clip(0.4, 1.6)
    alpha = ((1 - radius) / traits["soft"] + 0.5).clip(0, 1)
    if traits["patch"] is not None:
        y, x = rng.integers(0, 128 - 48, 2)
        rgb = cv2.resize(traits["patch"][y : y + 48, x : x + 48], (SIDE, SIDE))
    else:
        rgb = np.broadcast_to(traits["colour"], (SIDE, SIDE, 3)).astype(np.float32)
    if traits["gradient"]:
        rgb = rgb + (traits["gradient"] * (1 - radius.clip(0, 1)))[..., None]
    if traits["texture"]:
        rgb = rgb + (noise(rng, SIDE, 2, traits["grain"]) * traits["texture"])[..., None]
    if traits["light"]:
        rgb = rgb + ((u + v) * traits["light"])[..., None]
    if traits["rim"]:
        rgb = np.where((radius > 1 - traits["rim"])[..., None], traits["rim_colour"], rgb)
    for _ in range(traits["spots"]):
        far, turn = rng.uniform(0, 0.5), rng.uniform(0, 2 * math.pi)
        near = (u - far * math.cos(turn)) ** 2 + (v - far * math.sin(turn)) ** 2
        rgb = np.where((near < traits["spot_radius"] ** 2)[..., None], traits["spot_colour"], rgb)
    if traits["hole"]:
        alpha = alpha * ((radius - traits["hole"]) / traits["soft"] + 0.5).clip(0, 1)
    return np.dstack([rgb, alpha * 255]).astype(np.float32)


def _box_traits(pool: Pool, rng: Rng) -> Traits:
    return {
        "colour": _colour(rng),
        "aspect": math.exp(rng.uniform(0.1, 1.3)),
        "power": float(rng.choice([5.0, 8.0, 16.0])),
        "parts": [
            (
                *rng.uniform(-0.8, 0.5, 2),
                rng.uniform(0.15, 0.7),
                rng.uniform(0.2, 0.8),
                _colour(rng),
            )
            for _ in range(rng.integers(1, 5))
        ],
        "outline": rng.random() < 0.25,
    }


def _draw_box(traits: Traits, rng: Rng) -> list[Floats]:
    u, v, _, _ = _polar(traits["aspect"])
    power = traits["power"]
    radius = (np.abs(u) ** power + np.abs(v) ** power) ** (1 / power)
    alpha = ((1 - radius) / 0.06 + 0.5).clip(0, 1)
    if traits["outline"]:
        alpha = alpha * ((radius - 0.82) / 0.06 + 0.5).clip(0, 1)
    rgb = np.broadcast_to(traits["colour"], (SIDE, SIDE, 3)).astype(np.float32)
    for left, top, width, height, colour in traits["parts"]:
        inside = (u > left) & (u < left + width) & (v > top) & (v < top + height)
        rgb = np.where(inside[..., None], colour, rgb)
    return [np.dstack([rgb, alpha * 255]).astype(np.float32)]


def _relief_traits(pool: Pool, rng: Rng) -> Traits:
    return {
        "height": rng.uniform(25, 120) * rng.choice([-1, 1]),
        "hollow": bool(rng.random() < 0.5),
        "aspect": math.exp(rng.uniform(0, 0.5)),
        "wobble": rng.uniform(0, 0.12),
        "soft": rng.uniform(0.1, 0.35),
    }


def _draw_relief(traits: Traits, rng: Rng) -> list[Floats]:
    out = []
    for _ in range(3):
        u, v, angle, _ = _polar(traits["aspect"])
        radius = np.hypot(u, v) * (
            1 + traits["wobble"] * np.cos(3 * angle + rng.uniform(0, 2 * math.pi))
        )
        slope = u / np.hypot(u, v).clip(1e-2)
        ring = np.exp(-(((radius - 0.75) / traits["soft"]) ** 2))
        shade = slope * (ring if traits["hollow"] else radius.clip(0, 1)) * traits["height"]
        grey = np.broadcast_to((128 + shade)[..., None], (SIDE, SIDE, 3))
        alpha = ((1 - radius) / 0.15 + 0.5).clip(0, 1) * 255
        out.append(np.dstack([grey, alpha]).astype(np.float32))
    return out


Make = Callable[[Pool, Rng], Traits]
Draw = Callable[[Traits, Rng], list[Floats]]

FAMILIES: dict[str, tuple[float, Make, Draw, tuple[str, ...]]] = {
    "letter": (2.5, lambda p, r: _glyph_traits(p, r, "letters"), _draw_glyph, ("mask", "colour")),
    "icon": (1.5, lambda p, r: _glyph_traits(p, r, "icons"), _draw_glyph, ("mask", "colour")),
    "emoji": (1.5, lambda p, r: {"cells": p.emoji(r)}, _draw_emoji, ("cells",)),
    "cutout": (1.5, _cutout_traits, _draw_blob, ("patch", "aspect", "waves", "power")),
    "blob": (
        3.0,
        _blob_traits,
        _draw_blob,
        (
            "colour",
            "rim",
            "rim_colour",
            "spots",
            "aspect",
            "power",
            "texture",
            "waves",
            "corners",
            "spot_colour",
            "spot_radius",
            "hole",
            "gradient",
            "soft",
        ),
    ),
    "relief": (1.0, _relief_traits, _draw_relief, ("hollow", "height", "aspect", "soft")),
    "box": (1.0, _box_traits, _draw_box, ("colour", "aspect", "parts", "outline")),
}
"""By name: how often it is drawn, how traits are made, how they are drawn, which can differ in a
look-alike."""

_WEIGHTS = np.array([weight for weight, *_ in FAMILIES.values()])


def make_kind(pool: Pool, rng: Rng) -> Kind:
    """A class of its own."""
    family = str(rng.choice(list(FAMILIES), p=_WEIGHTS / _WEIGHTS.sum()))
    _, make, draw, _ = FAMILIES[family]
    traits = make(pool, rng)
    return Kind(
        family,
        traits,
        draw(traits, rng),
        size=math.exp(rng.uniform(math.log(5), math.log(64))),
        spread=rng.uniform(0.02, 0.3),
        turn=float(rng.choice([0.06, 0.35, math.pi], p=[0.35, 0.2, 0.45])),
        tint=float(rng.choice([3.0, 10.0, 30.0, 80.0], p=[0.35, 0.35, 0.2, 0.1])),
        stretch=rng.uniform(0, 0.15),
        alpha=rng.uniform(0.6, 1.0),
    )


def look_alike(kind: Kind, pool: Pool, rng: Rng) -> Kind:
    """A class that differs from another in one or two traits, or in its size."""
    _, make, draw, differing = FAMILIES[kind.family]
    other = make(pool, rng)
    count = min(len(differing), 1 + int(rng.random() < 0.4))
    traits = kind.traits | {name: other[name] for name in rng.choice(differing, count, False)}
    size = kind.size
    if rng.random() < 0.2:
        size = float(np.clip(size * rng.choice([0.55, 1.8]), 5, 64))
    return replace(kind, traits=traits, variants=draw(traits, rng), size=size)


def _placed(kind: Kind, rng: Rng, size: float) -> Floats:
    """An object of a kind, float32 ``(n, n, 4)``, turned, stretched and tinted."""
    variant = kind.variants[rng.integers(len(kind.variants))]
    while variant.shape[0] > 2.2 * size and variant.shape[0] > 8:
        half = variant.shape[0] // 2
        variant = cv2.resize(variant, (half, half), interpolation=cv2.INTER_AREA)
    side = variant.shape[0]
    n = math.ceil(size * 1.5) + 4
    angle = rng.uniform(-kind.turn, kind.turn)
    scale = size / side
    stretch = math.exp(rng.normal(0, kind.stretch)) if kind.stretch else 1.0
    cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
    matrix = np.array([[cos * stretch, -sin / stretch, 0], [sin * stretch, cos / stretch, 0]])
    matrix[:, 2] = n / 2 - matrix[:, :2] @ (side / 2, side / 2)
    turned = cv2.warpAffine(variant, matrix.astype(np.float32), (n, n), flags=cv2.INTER_LINEAR)
    rgb = turned[..., :3]
    solid = turned[..., 3:].clip(1e-3)
    # Around the drawing nothing is known of the colour: warped with the alpha it would darken.
    if kind.family in ("letter", "icon"):
        rgb = np.broadcast_to(kind.traits["colour"], rgb.shape)
    elif kind.family == "emoji":
        premultiplied = variant[..., :3] * (variant[..., 3:] / 255)
        rgb = cv2.warpAffine(
            premultiplied, matrix.astype(np.float32), (n, n), flags=cv2.INTER_LINEAR
        ) / (solid / 255)
    tinted = rgb + rng.normal(0, kind.tint, 3).astype(np.float32)
    return np.dstack([tinted, turned[..., 3:] / 255]).astype(np.float32)


def draw_picture(pool: Pool, rng: Rng, side: int = 256, most: int = 90) -> Drawn:
    """A composite picture.

    Args:
        pool: What is drawn from.
        rng: Decides all.
        side: Of the picture, in pixels.
        most: Objects at most.
    """
    image = ground(pool, rng, side)
    kinds: list[Kind] = []
    for _ in range(int(rng.integers(1, 9))):
        if kinds and rng.random() < 0.45:
            kinds.append(look_alike(kinds[rng.integers(len(kinds))], pool, rng))
        else:
            kinds.append(make_kind(pool, rng))
    if rng.random() < 0.3:  # one ink for all: only shape tells
        ink = _colour(rng)
        kinds = [
            replace(
                kind,
                traits=kind.traits | {"colour": ink},
                variants=FAMILIES[kind.family][2](kind.traits | {"colour": ink}, rng),
                tint=5.0,
            )
            if kind.family in ("letter", "icon", "blob", "box")
            else kind
            for kind in kinds
        ]
    if rng.random() < 0.35:
        kinds = [
            replace(kind, size=float(np.clip(kinds[0].size * math.exp(rng.normal(0, 0.12)), 5, 64)))
            for kind in kinds
        ]
    wanted = int(math.exp(rng.uniform(math.log(4), math.log(most))))
    order = rng.choice(len(kinds), wanted, p=rng.dirichlet(np.full(len(kinds), 1.5)))
    place = _layout(rng, side, float(np.median([kind.size for kind in kinds])))
    allowed = float(rng.choice([0.05, 0.3], p=[0.7, 0.3]))
    shadow = (rng.normal(0, 0.2, 2), rng.uniform(0.2, 0.6)) if rng.random() < 0.25 else None
    owners = np.zeros((side, side), np.uint8)
    boxes, chosen = [], []
    for number in order:
        kind = kinds[number]
        size = float(np.clip(kind.size * math.exp(rng.normal(0, kind.spread)), SMALLEST, LARGEST))
        drawing = _placed(kind, rng, size)
        box = _paste(image, owners, drawing, kind, place, allowed, shadow, len(boxes) + 1)
        if box is not None:
            boxes.append(box)
            chosen.append(int(number))
    return Drawn(
        _finished(image, rng),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(chosen, np.int64),
        owners,
    )


def _layout(rng: Rng, side: int, size: float) -> Callable[[], tuple[float, float]]:
    """Where objects stand: anywhere, in heaps, on a grid, or in rows."""
    way = rng.random()
    if way < 0.25:
        centres = rng.uniform(0.1, 0.9, (4, 2)) * side
        return lambda: tuple(centres[rng.integers(4)] + rng.normal(0, side * 0.09, 2))  # type: ignore[return-value]
    if way < 0.4:
        step = max(8.0, size * rng.uniform(1.1, 2.0))
        cells = max(1, int(side // step))
        loose = rng.uniform(0, 0.15) * step
        return lambda: tuple(  # type: ignore[return-value]
            (rng.integers(0, cells, 2) + 0.5) * step + rng.normal(0, loose, 2)
        )
    if way < 0.5:
        step, tilt = max(10.0, size * rng.uniform(1.1, 2.5)), rng.uniform(-0.3, 0.3)
        rows = max(1, int(side // step))

        def in_row() -> tuple[float, float]:
            x = rng.uniform(0, side)
            return x, (rng.integers(rows) + 0.5) * step + tilt * (x - side / 2)

        return in_row
    return lambda: tuple(rng.uniform(0, side, 2))  # type: ignore[return-value]


def _paste(
    image: Floats,
    owners: NDArray[np.uint8],
    drawing: Floats,
    kind: Kind,
    place: Callable[[], tuple[float, float]],
    allowed: float,
    shadow: tuple[NDArray[np.float64], float] | None,
    number: int,
) -> tuple[int, int, int, int] | None:
    """Put an object where there is room; its box, or None where there is none."""
    seen = drawing[..., 3] > 0.35
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    if len(rows) < 2 or len(columns) < 2:
        return None
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    height, width = bottom - top, right - left
    for _ in range(6):
        x, y = place()
        x1, y1 = int(x - width / 2), int(y - height / 2)
        x2, y2 = x1 + width, y1 + height
        if x1 < 0 or y1 < 0 or x2 > image.shape[1] or y2 > image.shape[0]:
            continue
        if (owners[y1:y2, x1:x2] > 0).mean() <= allowed:
            break
    else:
        return None
    part = drawing[top:bottom, left:right]
    alpha = part[..., 3:] * kind.alpha
    if shadow is not None and kind.family != "relief":
        shift = np.round(shadow[0] * max(height, width)).astype(int)
        sy, sx = y1 + shift[1], x1 + shift[0]
        if sy >= 0 and sx >= 0 and sy + height <= image.shape[0] and sx + width <= image.shape[1]:
            image[sy : sy + height, sx : sx + width] *= 1 - shadow[1] * alpha
    under = image[y1:y2, x1:x2]
    if kind.family == "relief":
        under += (part[..., :3] - 128) * alpha
    else:
        under += (part[..., :3] - under) * alpha
    owners[y1:y2, x1:x2][seen[top:bottom, left:right]] = number
    return x1, y1, x2, y2


def _finished(image: Floats, rng: Rng) -> NDArray[np.uint8]:
    """Blur, noise, grey, negative, JPEG, at times."""
    if rng.random() < 0.35:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.2))
    if rng.random() < 0.5:
        image = image + rng.normal(0, rng.uniform(1, 14), image.shape).astype(np.float32)
    if rng.random() < 0.2:
        image = np.repeat(image.mean(2, keepdims=True), 3, axis=2)
    if rng.random() < 0.2:
        image = 255 - image
    out = image.clip(0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 95))]
        out = cv2.imdecode(cv2.imencode(".jpg", out, quality)[1], cv2.IMREAD_COLOR)
    return out

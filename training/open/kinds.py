"""Kinds of objects that are procedurally generated, and defined by their looks alone.

What a kind looks like is a few small RGBA drawings (`Kind.variants`); each of its objects shows one
of them: an emoji in three drawing styles, an icon or a letter written by several hands, pieces of a
photograph, a cell with its spots, a relief, a box with parts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Rng = np.random.Generator
Floats = NDArray[np.float32]

CELL = 48
"""Side of a drawn object on its sheet, in pixels."""

ACROSS = 100
"""Objects in a row of a sheet."""

SIDE = 64
"""Side of a drawing of a kind, in pixels."""

STYLES = 3
"""Of each emoji."""

LARGEST = 80.0
SMALLEST = 4.0
"""Longest side of an object in pixels."""


class Pool:
    """The drawn kinds and photographs of a folder that `training.open.make_pool` has made.

    Attributes:
        counts: How many ``icons``, ``letters`` and ``emoji`` there are.
        photographs: uint8 ``(H, W, 3)`` each.
    """

    def __init__(self, folder: Path) -> None:
        self._icons = np.asarray(Image.open(folder / "icons.png"))
        self._letters = np.asarray(Image.open(folder / "letters.png"))
        self._emoji = np.asarray(Image.open(folder / "emoji.webp").convert("RGBA"))
        counts = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["counts"]
        self.counts = {name: counts[name] for name in ("icons", "letters")}
        self.counts["emoji"] = counts["emoji"] // STYLES
        self.photographs = [
            np.asarray(Image.open(path).convert("RGB"))
            for path in sorted((folder / "grounds").glob("*.jpg"))
        ]

    @staticmethod
    def _cell(sheet: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
        row, column = divmod(number, ACROSS)
        return sheet[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]

    def mask(self, sheet: str, number: int) -> NDArray[np.uint8]:
        """An icon or a letter, ``(CELL, CELL)``; numbers beyond the last start again."""
        return self._cell(getattr(self, f"_{sheet}"), number % self.counts[sheet])

    def emoji(self, number: int) -> list[NDArray[np.uint8]]:
        """An emoji in its styles, ``(CELL, CELL, 4)`` each."""
        first = number % self.counts["emoji"] * STYLES
        return [self._cell(self._emoji, first + style) for style in range(STYLES)]

    def crop(self, rng: Rng, side: int) -> Floats:
        """A piece of a photograph at a random scale, float32 ``(side, side, 3)``."""
        photograph = self.photographs[rng.integers(len(self.photographs))]
        height, width = photograph.shape[:2]
        read = int(min(height, width, side * rng.uniform(0.5, 2.5)))
        y, x = rng.integers(height - read + 1), rng.integers(width - read + 1)
        mode = cv2.INTER_AREA if read > side else cv2.INTER_LINEAR
        piece = cv2.resize(photograph[y : y + read, x : x + read], (side, side), interpolation=mode)
        return np.rot90(piece, int(rng.integers(4))).astype(np.float32)


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


def _letter_traits(pool: Pool, rng: Rng) -> Traits:
    number = int(rng.integers(pool.counts["letters"]))
    return {
        "number": number,
        "mask": pool.mask("letters", number),
        "colour": _colour(rng),
        "hand": float(rng.choice([0.0, 0.6, 1.0])),
    }


def _icon_traits(pool: Pool, rng: Rng) -> Traits:
    number = int(rng.integers(pool.counts["icons"]))
    return {
        "number": number,
        "mask": pool.mask("icons", number),
        "colour": _colour(rng),
        "hand": float(rng.choice([0.0, 0.4, 0.8], p=[0.7, 0.15, 0.15])),
    }


def _near_number(traits: Traits, reach: int, rng: Rng) -> int:
    return int(traits["number"] + rng.integers(1, reach + 1) * rng.choice([-1, 1]))


def _near_letter(traits: Traits, pool: Pool, rng: Rng) -> Traits:
    """Another letter of the same script, mostly."""
    number = _near_number(traits, 12, rng)
    return traits | {"number": number, "mask": pool.mask("letters", number)}


def _near_icon(traits: Traits, pool: Pool, rng: Rng) -> Traits:
    """A variant of the same icon, often."""
    number = _near_number(traits, 3, rng)
    return traits | {"number": number, "mask": pool.mask("icons", number)}


def _draw_glyph(traits: Traits, rng: Rng) -> list[Floats]:
    mask = traits["mask"]
    if traits["hand"] == 0:
        return [_from_mask(mask, traits["colour"])]
    return [_from_mask(_by_hand(mask, rng, traits["hand"]), traits["colour"]) for _ in range(6)]


def _emoji_traits(pool: Pool, rng: Rng) -> Traits:
    number = int(rng.integers(pool.counts["emoji"]))
    styles = range(STYLES) if rng.random() < 0.6 else [int(rng.integers(STYLES))]
    return {"number": number, "cells": pool.emoji(number), "styles": tuple(styles)}


def _near_emoji(traits: Traits, pool: Pool, rng: Rng) -> Traits:
    """An emoji of the next code points: another face, another fruit."""
    number = _near_number(traits, 4, rng)
    return traits | {"number": number, "cells": pool.emoji(number)}


def _draw_emoji(traits: Traits, rng: Rng) -> list[Floats]:
    return [
        cv2.resize(traits["cells"][style], (SIDE, SIDE), interpolation=cv2.INTER_LINEAR).astype(
            np.float32
        )
        for style in traits["styles"]
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
    return [_blob(traits, rng) for _ in range(3)]


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
Near = Callable[[Traits, Pool, Rng], Traits]


@dataclass(frozen=True, slots=True)
class Family:
    """A way to make up kinds.

    Attributes:
        share: How often kinds of it are made, relative to the other families.
        make: New traits.
        draw: The drawings of a kind with some traits.
        differing: Traits of which a look-alike has one or two others.
        near: The traits of a look-alike whose shape is much the same; None where there is none.
    """

    share: float
    make: Make
    draw: Draw
    differing: tuple[str, ...]
    near: Near | None = None


FAMILIES: dict[str, Family] = {
    "letter": Family(2.5, _letter_traits, _draw_glyph, ("mask", "colour"), _near_letter),
    "icon": Family(1.8, _icon_traits, _draw_glyph, ("mask", "colour"), _near_icon),
    "emoji": Family(1.5, _emoji_traits, _draw_emoji, ("cells",), _near_emoji),
    "cutout": Family(1.5, _cutout_traits, _draw_blob, ("patch", "aspect", "waves", "power")),
    "blob": Family(
        3.0,
        _blob_traits,
        _draw_blob,
        (
            *("colour", "rim", "rim_colour", "spots", "spot_colour", "spot_radius", "hole"),
            *("aspect", "power", "waves", "corners", "texture", "gradient", "soft"),
        ),
    ),
    "relief": Family(1.0, _relief_traits, _draw_relief, ("hollow", "height", "aspect", "soft")),
    "box": Family(1.0, _box_traits, _draw_box, ("colour", "aspect", "parts", "outline")),
}

INKED = ("letter", "icon", "blob", "box")
"""Families of which a kind may be given another colour."""

_SHARES = np.array([family.share for family in FAMILIES.values()])

_SIZES = np.array([4.5, 6.5, 9.0, 13.0, 18.0, 26.0, 37.0, 52.0, 70.0, LARGEST])
_SIZE_SHARES = np.array([1.3, 1.0, 1.0, 1.0, 1.0, 1.0, 1.1, 1.4, 1.4])
"""Of kinds between two of the sizes: large ones are fewer in a picture, and there is less room."""


def random_size(rng: Rng) -> float:
    """Longest side of a typical object of a kind, in pixels."""
    number = rng.choice(len(_SIZE_SHARES), p=_SIZE_SHARES / _SIZE_SHARES.sum())
    return math.exp(rng.uniform(*np.log(_SIZES[number : number + 2])))


def make_kind(pool: Pool, rng: Rng) -> Kind:
    """A class of its own."""
    name = str(rng.choice(list(FAMILIES), p=_SHARES / _SHARES.sum()))
    family = FAMILIES[name]
    traits = family.make(pool, rng)
    return Kind(
        name,
        traits,
        family.draw(traits, rng),
        size=random_size(rng),
        spread=rng.uniform(0.02, 0.3),
        turn=float(rng.choice([0.06, 0.35, math.pi], p=[0.35, 0.2, 0.45])),
        tint=float(rng.choice([3.0, 10.0, 30.0, 80.0], p=[0.35, 0.35, 0.2, 0.1])),
        stretch=rng.uniform(0, 0.15),
        alpha=rng.uniform(0.6, 1.0),
    )


def look_alike(kind: Kind, pool: Pool, rng: Rng) -> Kind:
    """A class that differs from another in one or two traits, or in its size as well."""
    family = FAMILIES[kind.family]
    if family.near is not None and rng.random() < 0.6:
        traits = family.near(kind.traits, pool, rng)
    else:
        other = family.make(pool, rng)
        count = min(len(family.differing), 1 + int(rng.random() < 0.4))
        names = rng.choice(family.differing, count, False)
        traits = kind.traits | {name: other[name] for name in names}
    size = kind.size
    if rng.random() < 0.2:
        size = float(np.clip(size * rng.choice([0.55, 1.8]), SMALLEST, LARGEST))
    return replace(kind, traits=traits, variants=family.draw(traits, rng), size=size)


def inked(kind: Kind, ink: Floats, rng: Rng) -> Kind:
    """The same kind in a given colour; one of a family that has its own colours stays."""
    if kind.family not in INKED:
        return kind
    traits = kind.traits | {"colour": ink}
    return replace(kind, traits=traits, variants=FAMILIES[kind.family].draw(traits, rng), tint=5.0)

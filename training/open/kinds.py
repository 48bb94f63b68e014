"""Kinds of objects that are procedurally generated, and defined by their looks alone.

What a kind looks like is a few small RGBA drawings (`Kind.variants`); each of its objects shows one
of them: an emoji in three drawing styles, an icon or a letter written by several hands, pieces of a
photograph, a cell with its spots, a relief, a box with parts, a crown of the ground's own stuff, a
rosette of leaves, a shaded ball, a crater, a rod with a head, a symbol of strokes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
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
        melt: How far its mean colour is drawn towards the ground's, 0 to 1.
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
    melt: float = 0.0
    _reduced: dict[tuple[int, int], Floats] = field(default_factory=dict, init=False, repr=False)

    def reduced(self, number: int, side: int) -> Floats:
        """A variant at ``side`` pixels with alpha in 0..1, made once.

        It is ``(side, side, 4)``, or ``(side, side)``, the alpha alone, of a flat family. The
        colour of a cut family is multiplied with the alpha.
        """
        found = self._reduced.get((number, side))
        if found is None:
            found = self.variants[number] * np.array([1, 1, 1, 1 / 255], np.float32)
            if FAMILIES[self.family].flat:
                found = found[..., 3].copy()
            elif FAMILIES[self.family].cut:
                found[..., :3] *= found[..., 3:]
            if side < SIDE:
                found = cv2.resize(found, (side, side), interpolation=cv2.INTER_AREA)
            self._reduced[number, side] = found
        return found


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


def _lobed(rng: Rng, aspect: float, wobble: float, lobes: int) -> tuple[Floats, Floats, Floats]:
    """Coordinates of a drawing, and the radius, 1 at an irregular outline, turned at random."""
    u, v, angle, _ = _polar(1.0)
    turn, phase = rng.uniform(0, 2 * math.pi, 2)
    along = u * math.cos(turn) + v * math.sin(turn)
    across = (v * math.cos(turn) - u * math.sin(turn)) * aspect
    bend = wobble * np.cos(lobes * angle + phase)
    for order in (2, 3, 5):
        phase = rng.uniform(0, 2 * math.pi)
        bend += wobble * rng.normal() / order * np.cos(order * angle + phase)
    return u, v, np.hypot(along, across) * (1 + bend.clip(-0.4, 0.6))


def _crown_traits(pool: Pool, rng: Rng) -> Traits:
    return {
        "shift": rng.normal(0, rng.choice([2.0, 10.0, 25.0]), 3).astype(np.float32),
        "light": rng.uniform(30, 100),
        "rim": rng.uniform(20, 100) * (rng.random() < 0.7),
        "aspect": math.exp(rng.uniform(0, 0.3)),
        "wobble": rng.uniform(0.02, 0.2),
        "lobes": int(rng.integers(3, 13)),
        "texture": rng.uniform(0, 60),
        "grain": int(rng.integers(5, 20)),
        "soft": rng.uniform(0.05, 0.4),
    }


def _draw_crown(traits: Traits, rng: Rng) -> list[Floats]:
    out = []
    for _ in range(4):
        u, _, radius = _lobed(rng, traits["aspect"], traits["wobble"], traits["lobes"])
        near = radius.clip(0, 1)
        shade = traits["light"] * u * near - traits["rim"] * (near**4 - 0.25)
        shade += traits["texture"] * noise(rng, SIDE, 2, traits["grain"])
        alpha = ((1 - radius) / traits["soft"] + 0.5).clip(0, 1) * 255
        out.append(np.dstack([128 + shade[..., None] + traits["shift"], alpha]).astype(np.float32))
    return out


def _rosette_traits(pool: Pool, rng: Rng) -> Traits:
    arms = int(rng.choice([2, 3, 4, 5, 6, 8, 11, 15]))
    return {
        "colour": _colour(rng),
        "arms": arms,
        "width": min(0.45, rng.uniform(0.5, 1.6) / arms),
        "widest": rng.uniform(0.25, 0.75),
        "curl": rng.normal(0, 0.25),
        "jitter": rng.uniform(0.02, 0.3),
        "shades": rng.uniform(5, 45),
        "fold": rng.uniform(-40, 40),
        "middle": rng.uniform(0.08, 0.35) if rng.random() < 0.4 else 0.0,
        "middle_colour": _colour(rng),
    }


def leaf(length: float, width: float, widest: float, curl: float, angle: float) -> Floats:
    """The outline of a leaf with its foot at the origin, float32 ``(14, 2)`` xy.

    The first seven points are one edge from the foot to the tip, the others the other edge back.

    Args:
        length: Of it.
        width: Half of its largest one, as a part of the length.
        widest: Where that is, as a part of the length.
        curl: How far the tip leaves the straight line, as a part of the length.
        angle: Where it points, in radians.
    """
    t = np.linspace(0, 1, 7)
    half = width * np.sin(math.pi * t ** (math.log(0.5) / math.log(widest)))
    bent = curl * t**2
    x = np.concatenate([t, t[::-1]])
    y = np.concatenate([bent + half, (bent - half)[::-1]])
    cos, sin = math.cos(angle), math.sin(angle)
    return np.stack([x * cos - y * sin, x * sin + y * cos], 1).astype(np.float32) * length


def fill(image: NDArray[np.uint8], outline: Floats, colour: Any) -> None:
    """Fill a smooth outline, ``(n, 2)`` xy in pixels, in a picture."""
    points = (outline * 16 - 8).round().astype(np.int32)
    cv2.fillPoly(image, [points], colour, cv2.LINE_AA, 4)


def _draw_rosette(traits: Traits, rng: Rng) -> list[Floats]:
    out = []
    for _ in range(4):
        colours = np.empty((SIDE, SIDE, 3), np.uint8)
        colours[:] = traits["colour"]
        alpha = np.zeros((SIDE, SIDE), np.uint8)
        first = rng.uniform(0, 2 * math.pi)
        for arm in range(traits["arms"]):
            angle = first + 2 * math.pi * arm / traits["arms"] + rng.normal(0, traits["jitter"])
            length = SIDE / 2 * rng.uniform(1 - 2 * traits["jitter"], 1)
            outline = leaf(length, traits["width"], traits["widest"], traits["curl"], angle)
            outline += SIDE / 2
            shade = rng.normal(0, traits["shades"])
            fill(alpha, outline, 255)
            fill(colours, outline, (traits["colour"] + shade).clip(0, 255).tolist())
            half = np.concatenate([outline[:7], (outline[:7] + outline[:6:-1])[::-1] / 2])
            shade += traits["fold"]
            fill(colours, half, (traits["colour"] + shade).clip(0, 255).tolist())
        if traits["middle"]:
            radius = int(traits["middle"] * SIDE / 2)
            centre = (SIDE // 2, SIDE // 2)
            cv2.circle(alpha, centre, radius, 255, -1)
            cv2.circle(colours, centre, radius, traits["middle_colour"].tolist(), -1)
        out.append(np.dstack([colours, alpha]).astype(np.float32))
    return out


def _ball_traits(pool: Pool, rng: Rng) -> Traits:
    return {
        "colour": _colour(rng),
        "ambient": rng.uniform(0.25, 0.9),
        "height": rng.uniform(0.2, 1.3),
        "highlight": rng.uniform(20, 160) * (rng.random() < 0.6),
        "sharp": rng.uniform(4, 40),
        "blush": rng.uniform(0.3, 0.9) * (rng.random() < 0.5),
        "blush_colour": _colour(rng),
        "aspect": math.exp(rng.uniform(0, 0.4)),
        "taper": rng.uniform(0.1, 0.5) * (rng.random() < 0.3),
        "texture": rng.uniform(0, 40) * (rng.random() < 0.5),
        "grain": int(rng.integers(2, 14)),
        "mark": rng.uniform(0.1, 0.25) * (rng.random() < 0.3),
        "soft": rng.uniform(0.04, 0.15),
    }


def _draw_ball(traits: Traits, rng: Rng) -> list[Floats]:
    out = []
    for _ in range(4):
        u, v, _, _ = _polar(1.0)
        turn = rng.uniform(0, 2 * math.pi)
        along = u * math.cos(turn) + v * math.sin(turn)
        across = (v * math.cos(turn) - u * math.sin(turn)) * traits["aspect"]
        across *= 1 + traits["taper"] * along
        radius = np.hypot(along, across)
        up = np.sqrt((1 - radius**2).clip(0, 1))
        lit = (math.cos(traits["height"]) * u + math.sin(traits["height"]) * up).clip(0, 1)
        body = np.broadcast_to(traits["colour"], (SIDE, SIDE, 3))
        if traits["blush"]:
            part = (traits["blush"] * (0.5 + along)).clip(0, 1)[..., None]
            body = body * (1 - part) + traits["blush_colour"] * part
        rgb = body * (traits["ambient"] + (1 - traits["ambient"]) * lit)[..., None]
        if traits["texture"]:
            rgb = rgb + (noise(rng, SIDE, 2, traits["grain"]) * traits["texture"])[..., None]
        if traits["mark"]:
            far = np.hypot(along - rng.uniform(0.3, 0.8), across - rng.normal(0, 0.2))
            rgb = rgb * (far / traits["mark"]).clip(0.4, 1)[..., None]
        rgb = rgb + (traits["highlight"] * lit ** traits["sharp"])[..., None]
        alpha = ((1 - radius) / traits["soft"] + 0.5).clip(0, 1) * 255
        out.append(np.dstack([rgb.clip(0, 255), alpha]).astype(np.float32))
    return out


def _crater_traits(pool: Pool, rng: Rng) -> Traits:
    return {
        "depth": rng.uniform(70, 220),
        "bowl": rng.uniform(0.3, 2.0),
        "floor": rng.uniform(0.2, 0.6) * (rng.random() < 0.3),
        "rim": rng.uniform(0.03, 0.15),
        "wall": rng.uniform(0, 0.9),
        "peak": rng.uniform(0.1, 0.25) * (rng.random() < 0.15),
        "shadow": rng.uniform(0, 90) * (rng.random() < 0.4),
        "aspect": math.exp(rng.uniform(0, 0.25)),
        "wobble": rng.uniform(0, 0.08),
    }


def _draw_crater(traits: Traits, rng: Rng) -> list[Floats]:
    out = []
    for _ in range(4):
        u, v, radius = _lobed(rng, traits["aspect"], traits["wobble"], 4)
        radius = radius * 1.2  # around the rim there is a wall
        slope = u / np.hypot(u, v).clip(1e-2)
        inside = radius.clip(0, 1) ** traits["bowl"] * (radius > traits["floor"])
        within = ((1 - radius) / traits["rim"]).clip(-1, 1)  # from -1 to 1 across the rim
        wall = traits["wall"] * np.exp(-((radius - 1).clip(0) / 0.12))
        shade = slope * np.where(within > 0, -inside * within, -wall * within)
        if traits["peak"]:
            shade += slope * np.exp(-(((radius - traits["peak"]) / 0.1) ** 2))
        shade = shade * traits["depth"]
        if traits["shadow"]:
            shade -= traits["shadow"] * ((u + 0.2) * 4).clip(0, 1) * within.clip(0, 1)
        alpha = ((1.2 - radius) / 0.2).clip(0, 1) * 255
        out.append(np.dstack([*[128 + shade] * 3, alpha]).astype(np.float32))
    return out


def _rod_traits(pool: Pool, rng: Rng) -> Traits:
    return {
        "colour": _colour(rng),
        "aspect": math.exp(rng.uniform(0.7, 2.1)),
        "end": float(rng.choice([2.0, 3.0, 8.0, 30.0])),
        "point": rng.uniform(0.3, 1.0) * (rng.random() < 0.3),
        "head": rng.uniform(1.6, 3.2) if rng.random() < 0.45 else 1.0,
        "neck": rng.uniform(0.08, 0.35),
        "waist": rng.uniform(0.3, 0.7) * (rng.random() < 0.25),
        "bend": rng.uniform(0.1, 0.5) * (rng.random() < 0.35),
        "round": rng.uniform(0, 90) * (rng.random() < 0.7),
        "bands": int(rng.integers(2, 12)) if rng.random() < 0.35 else 0,
        "band_height": rng.uniform(15, 70),
        "soft": rng.uniform(0.03, 0.12),
    }


def _draw_rod(traits: Traits, rng: Rng) -> list[Floats]:
    out = []
    for _ in range(3):
        u, v, _, _ = _polar(1.0)
        bend = traits["bend"] * rng.uniform(-1, 1)
        v -= bend * (u**2 - 0.4)
        width = (1 - u.clip(-1, 1) ** 2 * 0.999) ** (1 / traits["end"]) / traits["aspect"]
        width = width * (1 - traits["point"] * (-u).clip(0, 1))
        if traits["waist"]:
            width = width * (1 - traits["waist"] * np.exp(-((u / 0.15) ** 2)))
        if traits["head"] > 1:
            width = np.where(u > 1 - 2 * traits["neck"], width * traits["head"], width)
        across = np.abs(v) / width.clip(1e-3)
        rgb = np.broadcast_to(traits["colour"], (SIDE, SIDE, 3)).astype(np.float32)
        rgb = rgb + (traits["round"] * (0.5 - across.clip(0, 1) ** 2))[..., None]
        if traits["bands"]:
            band = traits["band_height"] * np.sin(traits["bands"] * math.pi * u)
            rgb = rgb + band[..., None]
        alpha = ((width - np.abs(v)) / traits["soft"] + 0.5).clip(0, 1) * (np.abs(u) < 1) * 255
        out.append(np.dstack([rgb, alpha]).astype(np.float32))
    return out


def _regular(corners: int, first: float) -> list[Floats]:
    angle = first + np.arange(corners + 1) * (2 * math.pi / corners)
    return [np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)]


def _lines(*lines: list[tuple[float, float]]) -> list[Floats]:
    return [np.array(line, np.float32) for line in lines]


_OUTLINES: dict[str, list[Floats]] = {
    "none": [],
    "circle": _regular(20, 0.0),
    "box": _lines([(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]),
    "diamond": _regular(4, 0.0),
    "triangle": _regular(3, 0.0),
    "hexagon": _regular(6, 0.0),
    "zigzag": _lines([(-1, 0), (-0.7, -0.6), (-0.35, 0.6), (0, -0.6), (0.35, 0.6), (0.7, -0.6)])
    + _lines([(0.7, -0.6), (1, 0)]),
    "bars": _lines([(-0.2, -1), (-0.2, 1)], [(0.2, -1), (0.2, 1)], [(-1, 0), (-0.2, 0)])
    + _lines([(0.2, 0), (1, 0)]),
    "bumps": [
        np.stack(
            [
                centre + 0.33 * np.cos(np.linspace(0, math.pi, 7)),
                -0.7 * np.sin(np.linspace(0, math.pi, 7)),
            ],
            1,
        ).astype(np.float32)
        for centre in (-0.67, 0.0, 0.67)
    ],
    "comb": _lines([(-1, -1), (1, -1)], [(-0.6, -0.3), (0.6, -0.3)], [(-0.25, 0.4), (0.25, 0.4)]),
    "cup": _lines([(-1, -1), (-1, 1), (1, 1), (1, -1)]),
    "arc": [_regular(20, 0.6)[0][:16]],
}
"""Outlines of symbols: lines through points in -1..1."""

_MARKS: dict[str, list[Floats]] = {
    "none": [],
    "cross": _lines([(-1, -1), (1, 1)], [(-1, 1), (1, -1)]),
    "plus": _lines([(-1, 0), (1, 0)], [(0, -1), (0, 1)]),
    "dash": _lines([(-1, 0), (1, 0)]),
    "dashes": _lines([(-1, -0.6), (1, -0.6)], [(-1, 0), (0.6, 0)], [(-1, 0.6), (0.8, 0.6)]),
    "arrow": _lines([(0, 1), (0, -1)], [(-0.6, -0.3), (0, -1), (0.6, -0.3)]),
    "ring": _regular(12, 0.0),
    "wave": [
        np.stack([np.linspace(-1, 1, 12), 0.6 * np.sin(np.linspace(-3, 3, 12))], 1).astype(
            np.float32
        )
    ],
    "tick": _lines([(-1, 0), (-0.3, 0.8), (1, -0.8)]),
    "envelope": _lines([(-1, -1), (0, 0.3), (1, -1)]),
}


def _symbol_traits(pool: Pool, rng: Rng) -> Traits:
    outline = str(rng.choice(list(_OUTLINES)))
    names = list(_MARKS) if outline != "none" else list(_MARKS)[1:]
    return {
        "colour": _colour(rng),
        "outline": outline,
        "mark": str(rng.choice(names)) if outline == "none" or rng.random() < 0.6 else "none",
        "inside": rng.uniform(0.3, 0.65),
        "aspect": math.exp(rng.uniform(-0.2, 1.1)),
        "pen": rng.uniform(2.5, 9.0),
        "double": bool(rng.random() < 0.12),
        "filled": bool(rng.random() < 0.12),
        "jitter": rng.uniform(0, 0.09),
    }


def _draw_symbol(traits: Traits, rng: Rng) -> list[Floats]:
    out = []
    pen = max(1, round(traits["pen"]))
    for _ in range(5):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        outline, mark = _OUTLINES[traits["outline"]], _MARKS[traits["mark"]]
        scaled = [(line, 1.0) for line in outline]
        scaled += [(line, 0.75) for line in outline if traits["double"]]
        scaled += [(line, traits["inside"] if outline else 1.0) for line in mark]
        reach = np.array([SIDE / 2 - pen / 2 - 2] * 2, np.float32)
        reach[int(traits["aspect"] > 1)] *= min(traits["aspect"], 1 / traits["aspect"])
        bent = rng.normal(0, traits["jitter"], (2, 2)).astype(np.float32)
        for line, scale in scaled:
            shaken = line * scale + rng.normal(0, traits["jitter"] / 2, line.shape)
            placed = (shaken + shaken @ bent).clip(-1, 1) * reach + SIDE / 2
            points = (placed * 16 - 8).round().astype(np.int32)
            if traits["filled"] and scale == 1.0:
                cv2.fillPoly(mask, [points], 255, cv2.LINE_AA, 4)
            cv2.polylines(mask, [points], False, 255, pen, cv2.LINE_AA, 4)
        out.append(_from_mask(mask, traits["colour"]))
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
        shade: Its drawings are added to what is under them, 128 changes nothing.
        stuff: They are added to a piece of the ground from beside them.
        lit: They are lit from the right, and turned as the light of the picture falls.
        cut: Nothing is known of their colour where they are transparent.
        flat: They are of one colour, the trait ``colour``.
    """

    share: float
    make: Make
    draw: Draw
    differing: tuple[str, ...]
    near: Near | None = None
    shade: bool = False
    stuff: bool = False
    lit: bool = False
    cut: bool = False
    flat: bool = False


FAMILIES: dict[str, Family] = {
    "letter": Family(2.5, _letter_traits, _draw_glyph, ("mask", "colour"), _near_letter, flat=True),
    "icon": Family(1.8, _icon_traits, _draw_glyph, ("mask", "colour"), _near_icon, flat=True),
    "emoji": Family(1.5, _emoji_traits, _draw_emoji, ("cells",), _near_emoji, cut=True),
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
    "relief": Family(
        1.0, _relief_traits, _draw_relief, ("hollow", "height", "aspect", "soft"), shade=True
    ),
    "box": Family(1.0, _box_traits, _draw_box, ("colour", "aspect", "parts", "outline")),
    "crown": Family(
        0.4,
        _crown_traits,
        _draw_crown,
        ("shift", "light", "rim", "aspect", "lobes", "texture", "grain"),
        stuff=True,
        lit=True,
    ),
    "rosette": Family(
        0.5,
        _rosette_traits,
        _draw_rosette,
        ("colour", "arms", "width", "widest", "curl", "middle", "middle_colour"),
    ),
    "ball": Family(
        0.5,
        _ball_traits,
        _draw_ball,
        ("colour", "blush", "blush_colour", "aspect", "taper", "texture", "mark", "highlight"),
        lit=True,
    ),
    "crater": Family(
        0.3,
        _crater_traits,
        _draw_crater,
        ("depth", "bowl", "floor", "rim", "wall", "peak", "shadow"),
        shade=True,
        lit=True,
    ),
    "rod": Family(
        0.6, _rod_traits, _draw_rod, ("colour", "aspect", "end", "head", "waist", "bend", "bands")
    ),
    "symbol": Family(
        0.7,
        _symbol_traits,
        _draw_symbol,
        ("outline", "mark", "aspect", "double", "filled"),
        flat=True,
    ),
}

INKED = ("letter", "icon", "blob", "box", "rosette", "rod", "symbol")
"""Families of which a kind may be given another colour."""

_SHARES = {name: family.share for name, family in FAMILIES.items()}

_SIZES = np.array([4.5, 6.5, 9.0, 13.0, 18.0, 26.0, 37.0, 52.0, 70.0, LARGEST])
_SIZE_SHARES = np.array([1.3, 1.0, 1.0, 1.0, 1.0, 1.0, 1.1, 1.4, 1.4])
"""Of kinds between two of the sizes: large ones are fewer in a picture, and there is less room."""


def random_size(rng: Rng) -> float:
    """Longest side of a typical object of a kind, in pixels."""
    number = rng.choice(len(_SIZE_SHARES), p=_SIZE_SHARES / _SIZE_SHARES.sum())
    return math.exp(rng.uniform(*np.log(_SIZES[number : number + 2])))


def make_kind(pool: Pool, rng: Rng, families: Mapping[str, float] | None = None) -> Kind:
    """A class of its own.

    Args:
        pool: What is drawn from.
        rng: Decides all.
        families: Shares of the families that it may be of; None: of all, by their own.
    """
    shares = _SHARES if families is None else families
    share = np.array(list(shares.values()))
    name = str(rng.choice(list(shares), p=share / share.sum()))
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


def inked(kind: Kind, ink: Floats, rng: Rng, pen: float = 0.0) -> Kind:
    """The same kind in a given colour; one of a family that has its own colours stays.

    Args:
        kind: The kind.
        ink: The colour, float32 RGB in 0..255.
        rng: Decides how it is drawn again.
        pen: Width of the strokes of a symbol in pixels of the picture; 0: they stay.
    """
    if kind.family not in INKED:
        return kind
    traits = kind.traits | {"colour": ink}
    if pen and kind.family == "symbol":
        traits["pen"] = float(np.clip(pen * SIDE / kind.size, 2.0, 14.0))
    return replace(kind, traits=traits, variants=FAMILIES[kind.family].draw(traits, rng), tint=5.0)

"""Composites: pictures full of objects whose classes are procedurally generated.

A class is defined by its look alone, see `training.open.kinds`. Each picture has one to eight, and
nearly half of them are *look-alikes* of another: the same but for one or two traits. Every object
can be seen: one that hardly differs from what is under it, or that would hide another, is not
drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from training.open.kinds import (
    LARGEST,
    SMALLEST,
    Floats,
    Kind,
    Pool,
    Rng,
    inked,
    look_alike,
    make_kind,
    noise,
)

MOST_HIDDEN = 0.35
"""Part of an object that later ones may cover."""

LEAST_SEEN = 12.0
"""Mean change of the pixels of an object, in grey levels, without noise."""

MOST_OBJECTS = 90


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


@dataclass(frozen=True, slots=True)
class Degradation:
    """What a camera does to a picture.

    Attributes:
        blur: Sigma in pixels, 0 for none.
        noise: Deviation in grey levels.
        grey: Without colours.
        negative: Light and dark exchanged.
        quality: Of a JPEG, 0 for none.
    """

    blur: float
    noise: float
    grey: bool
    negative: bool
    quality: int

    @classmethod
    def draw(cls, rng: Rng) -> Degradation:
        """A random one."""
        return cls(
            blur=rng.uniform(0.3, 1.2) if rng.random() < 0.35 else 0.0,
            noise=rng.uniform(1, 14) if rng.random() < 0.5 else 0.0,
            grey=bool(rng.random() < 0.2),
            negative=bool(rng.random() < 0.2),
            quality=int(rng.integers(40, 95)) if rng.random() < 0.3 else 0,
        )

    def apply(self, image: Floats, rng: Rng) -> NDArray[np.uint8]:
        """A picture, float32 ``(H, W, 3)``, as it is taken."""
        if self.blur:
            image = cv2.GaussianBlur(image, (0, 0), self.blur)
        if self.grey:
            image = np.repeat(image.mean(2, keepdims=True), 3, axis=2)
        if self.noise:
            image = image + self.noise * rng.standard_normal(image.shape, np.float32)
        if self.negative:
            image = 255 - image
        out = image.clip(0, 255).astype(np.uint8)
        if self.quality:
            coded = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, self.quality])[1]
            out = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
        return out


def ground(pool: Pool, rng: Rng, side: int) -> Floats:
    """A ground, float32 ``(side, side, 3)``: a photograph, or a colour with noise and lines."""
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
    if rng.random() < 0.3:
        _rule(image, rng)
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


def draw_pictures(
    pool: Pool, rng: Rng, side: int = 256, count: int = 1, most: int = MOST_OBJECTS
) -> list[Drawn]:
    """Composite pictures of the same classes, each on a ground and with a degradation of its own.

    Args:
        pool: What is drawn from.
        rng: Decides all.
        side: Of the pictures, in pixels.
        count: How many.
        most: Objects at most, below 256.
    """
    kinds = _kinds(pool, rng)
    return [_draw_picture(pool, kinds, rng, side, most) for _ in range(count)]


def _draw_picture(pool: Pool, kinds: list[Kind], rng: Rng, side: int, most: int) -> Drawn:
    degradation = Degradation.draw(rng)
    wanted = int(math.exp(rng.uniform(math.log(4), math.log(most))))
    order = rng.choice(len(kinds), wanted, p=rng.dirichlet(np.full(len(kinds), 1.5)))
    canvas = _Canvas(ground(pool, rng, side), degradation, rng)
    place = _layout(rng, side, float(np.median([kind.size for kind in kinds])))
    boxes, chosen = [], []
    for number in order:
        kind = kinds[number]
        size = float(np.clip(kind.size * math.exp(rng.normal(0, kind.spread)), SMALLEST, LARGEST))
        box = canvas.paste(_placed(kind, rng, size), kind, place)
        if box is not None:
            boxes.append(box)
            chosen.append(int(number))
    return Drawn(
        degradation.apply(canvas.image, rng),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(chosen, np.int64),
        canvas.owners,
    )


def _kinds(pool: Pool, rng: Rng) -> list[Kind]:
    """The classes of a picture."""
    kinds: list[Kind] = []
    for _ in range(int(rng.integers(1, 9))):
        if kinds and rng.random() < 0.45:
            kinds.append(look_alike(kinds[rng.integers(len(kinds))], pool, rng))
        else:
            kinds.append(make_kind(pool, rng))
    if rng.random() < 0.3:  # one ink for all: only shape tells
        ink = rng.uniform(0, 255, 3).astype(np.float32)
        kinds = [inked(kind, ink, rng) for kind in kinds]
    if rng.random() < 0.35:  # one size for all
        sizes = kinds[0].size * np.exp(rng.normal(0, 0.12, len(kinds)))
        kinds = [
            replace(kind, size=float(size))
            for kind, size in zip(kinds, sizes.clip(SMALLEST, LARGEST), strict=True)
        ]
    return kinds


def _placed(kind: Kind, rng: Rng, size: float) -> Floats:
    """An object of a kind, float32 ``(n, n, 4)``, turned, stretched and tinted; alpha in 0..1."""
    variant = kind.variants[rng.integers(len(kind.variants))]
    side = variant.shape[0]
    while side > 2.2 * size and side > 8:
        side //= 2
    if side < variant.shape[0]:
        variant = cv2.resize(variant, (side, side), interpolation=cv2.INTER_AREA)
    n = math.ceil(size * 1.5) + 4
    angle = rng.uniform(-kind.turn, kind.turn)
    scale = size / side
    stretch = math.exp(rng.normal(0, kind.stretch)) if kind.stretch else 1.0
    cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
    matrix = np.array([[cos * stretch, -sin / stretch, 0], [sin * stretch, cos / stretch, 0]])
    matrix[:, 2] = n / 2 - matrix[:, :2] @ (side / 2, side / 2)
    turned = cv2.warpAffine(variant, matrix.astype(np.float32), (n, n), flags=cv2.INTER_LINEAR)
    rgb = turned[..., :3]
    # Around the drawing nothing is known of the colour: warped with the alpha it would darken.
    if kind.family in ("letter", "icon"):
        rgb = np.broadcast_to(kind.traits["colour"], rgb.shape)
    elif kind.family == "emoji":
        premultiplied = variant[..., :3] * (variant[..., 3:] / 255)
        warped = cv2.warpAffine(
            premultiplied, matrix.astype(np.float32), (n, n), flags=cv2.INTER_LINEAR
        )
        rgb = warped / (turned[..., 3:].clip(1e-3) / 255)
    if kind.family != "relief":
        rgb = rgb + rng.normal(0, kind.tint, 3).astype(np.float32)
    return np.dstack([rgb, turned[..., 3:] / 255]).astype(np.float32)


PlaceSampler = Callable[[], tuple[float, float]]


def _layout(rng: Rng, side: int, size: float) -> PlaceSampler:
    """Where objects stand: anywhere, in heaps, on a grid, or in rows."""
    way = rng.random()
    if way < 0.25:
        centres = rng.uniform(0.1, 0.9, (4, 2)) * side

        def in_heaps() -> tuple[float, float]:
            x, y = centres[rng.integers(4)] + rng.normal(0, side * 0.09, 2)
            return float(x), float(y)

        return in_heaps
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

    def anywhere() -> tuple[float, float]:
        return float(rng.uniform(0, side)), float(rng.uniform(0, side))

    return anywhere


class _Canvas:
    """A picture that objects are put on.

    Attributes:
        image: float32 ``(side, side, 3)``.
        owners: uint8 ``(side, side)``, see `Drawn`.
    """

    def __init__(self, image: Floats, degradation: Degradation, rng: Rng) -> None:
        self.image = image
        self.owners = np.zeros(image.shape[:2], np.uint8)
        self._areas = [0]
        self._visible = [0]
        self._allowed = float(rng.choice([0.05, 0.3], p=[0.7, 0.3]))
        self._grey = degradation.grey
        self._least = LEAST_SEEN + 1.2 * degradation.noise
        self._blur = degradation.blur
        self._shadow = rng.normal(0, 0.2, 2) if rng.random() < 0.25 else None
        self._darkness = rng.uniform(0.2, 0.6)

    def paste(
        self, drawing: Floats, kind: Kind, place: PlaceSampler
    ) -> tuple[int, int, int, int] | None:
        """Put an object where there is room; its box, or None where it cannot be seen."""
        mask = drawing[..., 3] > 0.35
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows) < 3 or len(columns) < 3:
            return None
        top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        drawing, mask = drawing[top:bottom, left:right], mask[top:bottom, left:right]
        for _ in range(8):
            box = self._room(mask, place)
            if box is not None and self._put(drawing, mask, kind, box):
                return box
        return None

    def _room(
        self, mask: NDArray[np.bool_], place: PlaceSampler
    ) -> tuple[int, int, int, int] | None:
        height, width = mask.shape
        x, y = place()
        x1, y1 = int(x - width / 2), int(y - height / 2)
        x2, y2 = x1 + width, y1 + height
        side = len(self.owners)
        if x1 < 0 or y1 < 0 or x2 > side or y2 > side:
            return None
        under = self.owners[y1:y2, x1:x2]
        if not under.any():
            return x1, y1, x2, y2
        if (under > 0).mean() > self._allowed:
            return None
        covered = np.bincount(under[mask], minlength=len(self._areas))
        for number in np.flatnonzero(covered[1:]) + 1:
            left = self._visible[number] - covered[number]
            if left < (1 - MOST_HIDDEN) * self._areas[number]:
                return None
        return x1, y1, x2, y2

    def _put(
        self, drawing: Floats, mask: NDArray[np.bool_], kind: Kind, box: tuple[int, int, int, int]
    ) -> bool:
        x1, y1, x2, y2 = box
        under = self.image[y1:y2, x1:x2]
        alpha = drawing[..., 3:] * kind.alpha
        if kind.family == "relief":
            change = (drawing[..., :3] - 128) * alpha
        else:
            change = (drawing[..., :3] - under) * alpha
        of_object = change[mask]
        difference = np.abs(of_object.mean(1)) if self._grey else np.abs(of_object).max(1)
        # A blur spreads what is small.
        if difference.mean() < self._least * (1 + 3 * self._blur / min(mask.shape)):
            return False
        if self._shadow is not None and kind.family != "relief":
            self._cast(alpha, box)
            change = (drawing[..., :3] - under) * alpha
        under += change
        owned = self.owners[y1:y2, x1:x2]
        if owned.any():
            for number, lost in enumerate(np.bincount(owned[mask])):
                self._visible[number] -= int(lost)
        owned[mask] = len(self._areas)
        self._areas.append(int(mask.sum()))
        self._visible.append(int(mask.sum()))
        return True

    def _cast(self, alpha: Floats, box: tuple[int, int, int, int]) -> None:
        """Darken the ground beside an object, not other objects."""
        assert self._shadow is not None
        x1, y1, x2, y2 = box
        dx, dy = np.round(self._shadow * max(x2 - x1, y2 - y1)).astype(int)
        side = len(self.owners)
        if min(x1 + dx, y1 + dy) < 0 or max(x2 + dx, y2 + dy) > side:
            return
        rows, columns = slice(y1 + dy, y2 + dy), slice(x1 + dx, x2 + dx)
        free = self.owners[rows, columns, None] == 0
        self.image[rows, columns] *= 1 - self._darkness * alpha * free

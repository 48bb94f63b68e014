"""Composites: pictures full of objects whose classes are procedurally generated.

A class is defined by its look alone, see `training.open.kinds`. Each picture has one to eight, and
nearly half of them are *look-alikes* of another: the same but for one or two traits. Where they
stand, and on what, is the *scene*, see `training.open.scenes`. Every object can be seen: one that
hardly differs from what is under it, or that would hide another, is not drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from training.open.kinds import (
    FAMILIES,
    LARGEST,
    SIDE,
    SMALLEST,
    Floats,
    Kind,
    Pool,
    Rng,
    inked,
    look_alike,
    make_kind,
)
from training.open.scenes import PlaceSampler, Scene, leaves, random_scene, writing

MOST_HIDDEN = 0.35
"""Part of an object that later ones may cover."""

LEAST_SEEN = 12.0
"""Mean change of the pixels of an object, in grey levels, without noise."""

MOST_CUT = 0.4
"""Part of an object's box that may lie beyond the border of the picture."""

MOST_OBJECTS = 100

_BESIDE = 24.0
"""How far the stuff of an object may come from, deviation in pixels."""


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


def draw_pictures(
    pool: Pool, rng: Rng, side: int = 256, count: int = 1, most: int = MOST_OBJECTS
) -> list[Drawn]:
    """Composite pictures of the same classes, each on a ground and with a degradation of its own.

    Colours may be what tells classes apart: all are grey or negative, or none is.

    Args:
        pool: What is drawn from.
        rng: Decides all.
        side: Of the pictures, in pixels.
        count: How many.
        most: Objects at most, below 256.
    """
    scene = random_scene(rng)
    kinds = _kinds(pool, scene, rng)
    found: list[Drawn] = []
    first: Degradation | None = None
    for _ in range(count):
        own = Degradation.draw(rng)
        first = first or own
        own = replace(own, grey=first.grey, negative=first.negative)
        found.append(_draw_picture(pool, kinds, scene, own, rng, side, most))
    return found


def _draw_picture(
    pool: Pool,
    kinds: list[Kind],
    scene: Scene,
    degradation: Degradation,
    rng: Rng,
    side: int,
    most: int,
) -> Drawn:
    light = rng.uniform(-math.pi, math.pi)
    wanted = int(math.exp(rng.uniform(math.log(min(scene.objects, most)), math.log(most))))
    order = rng.choice(len(kinds), wanted, p=rng.dirichlet(np.full(len(kinds), 1.5)))
    canvas = _Canvas(scene.ground(pool, rng, side, light), degradation, scene, light, rng)
    place = scene.layout(rng, side, float(np.median([kind.size for kind in kinds])))
    found, chosen = [], []
    for number in order:
        kind = kinds[number]
        size = float(np.clip(kind.size * math.exp(rng.normal(0, kind.spread)), SMALLEST, LARGEST))
        box = canvas.paste(_placed(kind, rng, size, light), kind, place)
        if box is not None:
            found.append(box)
            chosen.append(int(number))
    boxes = np.array(found, np.float32).reshape(-1, 4)
    if scene.leaves:
        for mask, (x, y), colour in leaves(rng, side, canvas.image.mean((0, 1))):
            canvas.cover(mask, x, y, colour)
    if scene.lines:
        inks = [kind.traits["colour"] for kind in kinds if "colour" in kind.traits]
        canvas.write(writing(boxes, rng, side), inks[0])
    return Drawn(
        degradation.apply(canvas.image, rng), boxes, np.array(chosen, np.int64), canvas.owners
    )


def _kinds(pool: Pool, scene: Scene, rng: Rng) -> list[Kind]:
    """The classes of a picture."""
    kinds: list[Kind] = []
    for _ in range(int(rng.integers(1, scene.kinds + 1))):
        if kinds and rng.random() < 0.45:
            kinds.append(look_alike(kinds[rng.integers(len(kinds))], pool, rng))
        else:
            kind = make_kind(pool, rng, scene.families)
            if scene.sizes is not None:
                kind = replace(kind, size=math.exp(rng.uniform(*np.log(scene.sizes))))
            if scene.spread is not None:
                kind = replace(kind, spread=rng.uniform(*scene.spread))
            if scene.turned:
                kind = replace(kind, turn=math.pi)
            if rng.random() < scene.melt:
                kind = replace(kind, melt=rng.uniform(0.3, 0.95))
            kinds.append(kind)
    if rng.random() < 0.35:  # one size for all
        sizes = kinds[0].size * np.exp(rng.normal(0, 0.12, len(kinds)))
        kinds = [
            replace(kind, size=float(size))
            for kind, size in zip(kinds, sizes.clip(SMALLEST, LARGEST), strict=True)
        ]
    if rng.random() < scene.ink:  # one ink for all: only shape tells
        ink = rng.uniform(0, 255, 3).astype(np.float32)
        if scene.lines:
            ink *= 0.6  # on paper
        pen = rng.uniform(1, 3) if rng.random() < 0.7 else 0.0
        kinds = [inked(kind, ink, rng, pen) for kind in kinds]
    return kinds


def _placed(kind: Kind, rng: Rng, size: float, light: float) -> Floats:
    """An object of a kind, float32 ``(n, n, 4)``, turned, stretched and tinted; alpha in 0..1."""
    family = FAMILIES[kind.family]
    side = SIDE
    while side > 2.2 * size and side > 8:
        side //= 2
    variant = kind.reduced(int(rng.integers(len(kind.variants))), side)
    n = math.ceil(size * 1.5) + 4
    angle = light + rng.normal(0, 0.1) if family.lit else rng.uniform(-kind.turn, kind.turn)
    scale = size / side
    stretch = math.exp(rng.normal(0, kind.stretch)) if kind.stretch else 1.0
    cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
    matrix = np.array([[cos * stretch, -sin / stretch, 0], [sin * stretch, cos / stretch, 0]])
    matrix[:, 2] = n / 2 - matrix[:, :2] @ (side / 2, side / 2)
    turned = cv2.warpAffine(variant, matrix.astype(np.float32), (n, n), flags=cv2.INTER_LINEAR)
    if family.flat:
        placed = np.empty((n, n, 4), np.float32)
        placed[..., :3] = kind.traits["colour"] + rng.normal(0, kind.tint, 3)
        placed[..., 3] = turned
        return placed
    if family.cut:
        turned[..., :3] /= turned[..., 3:].clip(1e-3)
    if not family.shade:
        turned[..., :3] += rng.normal(0, kind.tint * (0.3 if family.stuff else 1.0), 3)
    return turned


class _Canvas:
    """A picture that objects are put on.

    Attributes:
        image: float32 ``(side, side, 3)``.
        owners: uint8 ``(side, side)``, see `Drawn`.
    """

    def __init__(
        self, image: Floats, degradation: Degradation, scene: Scene, light: float, rng: Rng
    ) -> None:
        self.image = np.ascontiguousarray(image)
        self.owners = np.zeros(image.shape[:2], np.uint8)
        self._ground = image.copy()
        self._areas = [0]
        self._visible = [0]
        self._allowed = float(rng.choice(scene.overlap))
        self._grey = degradation.grey
        self._least = LEAST_SEEN + 1.2 * degradation.noise
        self._blur = degradation.blur
        self._shadow: NDArray[np.float64] | None = None
        if rng.random() < scene.shadow:
            self._shadow = -abs(rng.normal(0, 0.28)) * np.array([math.cos(light), math.sin(light)])
        self._darkness = rng.uniform(0.2, 0.6)
        self._rng = rng

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
        height, width = mask.shape
        side = len(self.owners)
        for _ in range(8):
            x, y = place()
            x1, y1 = int(x - width / 2), int(y - height / 2)
            inside = (max(x1, 0), max(y1, 0), min(x1 + width, side), min(y1 + height, side))
            across, down = inside[2] - inside[0], inside[3] - inside[1]
            if min(across, down) < 3 or across * down < (1 - MOST_CUT) * width * height:
                continue
            seen = (
                slice(inside[1] - y1, inside[3] - y1),
                slice(inside[0] - x1, inside[2] - x1),
            )
            shown = mask[seen]
            if not shown.any() or not self._is_free(shown, inside):
                continue
            if self._put(drawing[seen], shown, kind, inside):
                return inside
        return None

    def cover(self, mask: NDArray[np.uint8], x: int, y: int, colour: Floats) -> None:
        """Put what is no object on top, a mask with its corner at (x, y), unless it hides one."""
        side = len(self.owners)
        x1, y1 = max(x, 0), max(y, 0)
        mask = mask[y1 - y : side - y, x1 - x : side - x]
        if not mask.size:
            return
        place = (slice(y1, y1 + mask.shape[0]), slice(x1, x1 + mask.shape[1]))
        hides = mask > 127
        lost = np.bincount(self.owners[place][hides], minlength=len(self._areas))
        if self._hides(lost):
            return
        for number in np.flatnonzero(lost).tolist():
            self._visible[number] -= int(lost[number])
        self.owners[place][hides] = 0
        under = self.image[place]
        under += (colour - under) * (mask[..., None] / np.float32(255))

    def write(self, mask: NDArray[np.uint8], ink: Floats) -> None:
        """Write on the ground, a mask of the whole picture."""
        self.image += (ink - self.image) * (mask[..., None] / np.float32(255))

    def _hides(self, lost: NDArray[np.int64]) -> bool:
        """Whether losing so many pixels, the first being the ground's, would hide an object."""
        return any(
            self._visible[number] - lost[number] < (1 - MOST_HIDDEN) * self._areas[number]
            for number in (np.flatnonzero(lost[1:]) + 1).tolist()
        )

    def _is_free(self, mask: NDArray[np.bool_], box: tuple[int, int, int, int]) -> bool:
        x1, y1, x2, y2 = box
        under = self.owners[y1:y2, x1:x2]
        if not under.any():
            return True
        if (under > 0).mean() > self._allowed:
            return False
        return not self._hides(np.bincount(under[mask], minlength=len(self._areas)))

    def _beside(self, box: tuple[int, int, int, int]) -> Floats:
        """A piece of the ground from beside a box, of its size."""
        x1, y1, x2, y2 = box
        side = len(self.owners)
        dx, dy = self._rng.normal(0, _BESIDE, 2).astype(int).tolist()
        dx, dy = min(max(dx, -x1), side - x2), min(max(dy, -y1), side - y2)
        return self._ground[y1 + dy : y2 + dy, x1 + dx : x2 + dx]

    def _put(
        self, drawing: Floats, mask: NDArray[np.bool_], kind: Kind, box: tuple[int, int, int, int]
    ) -> bool:
        family = FAMILIES[kind.family]
        x1, y1, x2, y2 = box
        under = self.image[y1:y2, x1:x2]
        colour, alpha = drawing[..., :3], drawing[..., 3:] * kind.alpha
        own = family.stuff or family.shade
        if own:
            colour = colour - 128
        elif kind.melt:
            colour = colour + kind.melt * (under.mean((0, 1)) - colour[mask].mean(0))
        # A large object is looked at here and there.
        some = (slice(None, None, 1 + min(mask.shape) // 24),) * 2
        if not mask[some].any():
            return False
        # What is made of a rough ground differs from it anyway.
        change = colour[some] if own else colour[some] - under[some]
        of_object = (change * alpha[some])[mask[some]]
        difference = np.abs(of_object.mean(1)) if self._grey else np.abs(of_object).max(1)
        least, short = self._least, min(mask.shape)
        if family.stuff:
            least += 0.3 * float(under[some].std(axis=(0, 1)).mean())
        elif not own and short < 16:  # a speck is lost in what is as rough as it
            least += float(under.std(axis=(0, 1)).mean()) * min(1.0, 6 / short)
        least *= 1 + 3 * self._blur / short  # a blur spreads what is small
        if difference.mean() < least:
            return False
        if family.stuff:
            colour = colour + self._beside(box)
        if not family.shade:
            if self._shadow is not None:
                self._cast(alpha, box)
            colour = colour - under
        under += colour * alpha
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

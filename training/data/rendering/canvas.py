"""A picture in the making: ground, paint on it, shadows, bodies, and then the camera."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from training.data.rendering.shapes import Body, Colour, Frame, Points
from training.data.rendering.style import Style

FINE = 4
"""Bodies are drawn this much larger and then reduced by averaging, which smooths their edges."""
COARSE = 2
"""The same for ground, paint and shadows, which are blurred anyway."""
SHADOW_STEP = 1.5
SHADOW_TINT = np.array([1.05, 1.0, 0.9], np.float32)
"""A shadow takes more of the red light than of the sky's blue."""


@dataclass(frozen=True, eq=False)
class Placed:
    """A body with its place in the picture.

    Attributes:
        body: The body.
        frame: Its own frame.
        label: 0-based class, or None if it belongs to none.
        box: xyxy of all its parts in pixels of the picture; may lie beyond its edges.
        corners: float64 (4, 2), the smallest rectangle along its heading that holds all parts:
            front left, front right, rear right, rear left, which is clockwise to the eye.
    """

    body: Body
    frame: Frame
    label: int | None
    box: tuple[float, float, float, float]
    corners: Points


def put(body: Body, frame: Frame, label: int | None) -> Placed:
    """Place a body and work out its boxes."""
    points = frame.place(np.concatenate([part.points for part in body.parts]))
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    x1, y1, x2, y2 = body.extent()
    corners = frame.place(np.array([[x2, y1], [x2, y2], [x1, y2], [x1, y1]]))
    return Placed(body, frame, label, (left, top, right, bottom), corners)


class Canvas:
    """Draws on a square ground.

    Args:
        ground: uint8 (S, S, 3), RGB; is not changed.
        rng: Source of the unevenness of what is paved.
    """

    def __init__(self, ground: NDArray[np.uint8], rng: np.random.Generator) -> None:
        self.size = len(ground)
        self._ground = ground.astype(np.float32)
        self._paint = Image.new("L", (self.size * COARSE,) * 2)
        self._brush = ImageDraw.Draw(self._paint)
        self._uneven = _uneven(self.size, rng)

    def pave(self, points: Points, colour: Colour, roughness: float = 1.0) -> None:
        """Cover a polygon of the ground with an uneven colour that ends softly.

        Args:
            points: Of the polygon, in pixels of the picture.
            colour: On average.
            roughness: Of its unevenness; 1 is asphalt.
        """
        margin = 3
        left, top = (max(0, math.floor(value) - margin) for value in points.min(axis=0))
        right, bottom = (min(self.size, math.ceil(value) + margin) for value in points.max(axis=0))
        if left >= right or top >= bottom:
            return
        mask = Image.new("L", ((right - left) * COARSE, (bottom - top) * COARSE))
        _fill(ImageDraw.Draw(mask), points - (left, top), COARSE, 255)
        soft = mask.reduce(COARSE).filter(ImageFilter.BoxBlur(1))
        share = np.asarray(soft, np.float32)[:, :, None] * np.float32(1 / 255)
        part = self._ground[top:bottom, left:right]
        uneven = self._uneven[top:bottom, left:right, None] * np.float32(roughness)
        part += share * (np.array(colour, np.float32) + uneven - part)

    def mark(self, points: Points, opacity: float) -> None:
        """Paint a polygon of the ground white.

        Args:
            points: Of the polygon, in pixels of the picture.
            opacity: 0 to 1.
        """
        _fill(self._brush, points, COARSE, round(255 * opacity))

    def render(
        self,
        placed: Sequence[Placed],
        style: Style,
        rng: np.random.Generator,
    ) -> NDArray[np.uint8]:
        """Finish the picture.

        Args:
            placed: Bodies, in the order in which they are painted.
            style: Its sun, shadows, blur and grain are those of the picture.
            rng: Source of the noise.

        Returns:
            uint8 (S, S, 3), RGB.
        """
        white = np.asarray(self._paint.reduce(COARSE), np.float32)[:, :, None] * (1 / 255)
        ground = self._ground + white * (np.float32(226) - self._ground)
        dark = self._shadows(placed, style)[:, :, None] * SHADOW_TINT
        ground *= 1 - np.float32(style.darkness) * dark
        picture = Image.fromarray(np.clip(ground + 0.5, 0, 255).astype(np.uint8))
        picture = picture.resize((self.size * FINE,) * 2, Image.Resampling.NEAREST)
        draw = ImageDraw.Draw(picture)
        for item in placed:
            parts = item.body.parts
            points = item.frame.place(np.concatenate([part.points for part in parts]))
            start = 0
            for part in parts:
                end = start + len(part.points)
                _fill(draw, points[start:end], FINE, part.colour)
                start = end
        blurred = picture.reduce(FINE).filter(ImageFilter.GaussianBlur(style.blur))
        noise = rng.standard_normal((self.size, self.size, 3), np.float32) * np.float32(style.grain)
        return np.clip(np.asarray(blurred) + noise + 0.5, 0, 255).astype(np.uint8)

    def _shadows(self, placed: Sequence[Placed], style: Style) -> NDArray[np.float32]:
        """Return where the ground lies in shade, float32 (S, S), 0 to 1."""
        layer = Image.new("L", (self.size * COARSE,) * 2)
        draw = ImageDraw.Draw(layer)
        away = np.array([-math.cos(style.sun), -math.sin(style.sun)]) * style.shadow
        for item in placed:
            reach = away * item.body.height
            steps = max(1, math.ceil(math.hypot(*reach) / SHADOW_STEP))
            for part in item.body.parts:
                if not part.casts:
                    continue
                points = item.frame.place(part.points)
                for step in range(1, steps + 1):
                    _fill(draw, points + reach * (step / steps), COARSE, 255)
        soft = layer.reduce(COARSE).filter(ImageFilter.BoxBlur(0.7))
        return np.asarray(soft, np.float32) * np.float32(1 / 255)


def _fill(draw: ImageDraw.ImageDraw, points: Points, scale: int, colour: int | Colour) -> None:
    """Fill a polygon on a layer that is ``scale`` times as large as the picture."""
    # PIL names a pixel by its corner, the picture's coordinates by its middle; and it drops
    # fractions.
    corners = np.rint(points * scale - 0.5).astype(np.int64)
    draw.polygon(corners.ravel().tolist(), fill=colour)


def _uneven(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return an uneven brightness without sudden changes but for a fine grain, (S, S)."""
    total = rng.standard_normal((size, size), np.float32) * np.float32(3)
    for cell, strength in ((24, 6.0), (6, 3.5)):
        count = size // cell + 2
        small = Image.fromarray(rng.standard_normal((count, count), np.float32))
        large = small.resize((size, size), Image.Resampling.BICUBIC)
        total += np.asarray(large) * np.float32(strength)
    return total

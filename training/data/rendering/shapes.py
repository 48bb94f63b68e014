"""Polygons, bodies made of them, and how they are placed.

A body is drawn in its own frame: the origin is its middle, x points ahead, y to the right of it,
and one unit is one pixel of the picture. Headings are radians from the picture's x axis towards
its y axis, that is clockwise to the eye.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""The corners of a polygon, float64 (K, 2), xy."""
Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""


@dataclass(frozen=True, eq=False)
class Part:
    """One polygon of one colour.

    Attributes:
        points: In the frame of the body.
        colour: Of the whole polygon.
        casts: Whether it throws the body's shadow; details on top of other parts do not.
    """

    points: Points
    colour: Colour
    casts: bool = False


@dataclass(frozen=True, eq=False)
class Body:
    """What an object looks like from above.

    Attributes:
        parts: Painted in this order; together they are the body, and its boxes hold them all.
        height: Length of the shadow in pixels.
    """

    parts: tuple[Part, ...]
    height: float

    def extent(self) -> tuple[float, float, float, float]:
        """Return the smallest x and y and the largest x and y of all parts, in the own frame."""
        points = np.concatenate([part.points for part in self.parts])
        (x1, y1), (x2, y2) = points.min(axis=0), points.max(axis=0)
        return float(x1), float(y1), float(x2), float(y2)


@dataclass(frozen=True)
class Frame:
    """A place and a direction in the picture.

    Attributes:
        x: Of the origin, in pixels of the picture.
        y: Of the origin.
        heading: Of the frame's x axis, in radians.
    """

    x: float
    y: float
    heading: float

    def place(self, points: Points) -> Points:
        """Bring points of the frame, float64 (K, 2), into the picture."""
        cos, sin = math.cos(self.heading), math.sin(self.heading)
        return points @ np.array([[cos, sin], [-sin, cos]]) + (self.x, self.y)

    def at(self, x: float, y: float, heading: float = 0.0) -> Frame:
        """Return the frame with its origin at a point of this one, turned by ``heading``."""
        cos, sin = math.cos(self.heading), math.sin(self.heading)
        return Frame(self.x + cos * x - sin * y, self.y + sin * x + cos * y, self.heading + heading)


def rectangle(x1: float, y1: float, x2: float, y2: float) -> Points:
    """Return a rectangle between two corners."""
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])


def centred(length: float, width: float, x: float = 0.0, y: float = 0.0) -> Points:
    """Return a rectangle around a point, ``length`` along x."""
    return rectangle(x - length / 2, y - width / 2, x + length / 2, y + width / 2)


def polygon(*points: tuple[float, float]) -> Points:
    """Return the polygon of the given corners."""
    return np.array(points, np.float64)


def symmetric(*points: tuple[float, float]) -> Points:
    """Return a polygon mirrored at the x axis, given its right half from front to rear."""
    half = np.array(points, np.float64)
    return np.concatenate([half, half[::-1] * (1, -1)])


_RING = {
    count: np.stack([np.cos(angle), np.sin(angle)], axis=1)
    for count in (12, 24)
    for angle in [np.arange(count) * (2 * math.pi / count)]
}


def ellipse(length: float, width: float, x: float = 0.0, y: float = 0.0) -> Points:
    """Return an ellipse around a point, ``length`` along x, as a polygon that touches its box."""
    ring = _RING[12 if max(length, width) < 10 else 24]
    return ring * (length / 2, width / 2) + (x, y)


def rounded(length: float, width: float, radius: float, x: float = 0.0) -> Points:
    """Return a rectangle around ``(x, 0)`` with cut-off round corners."""
    radius = min(radius, length / 2, width / 2)
    corner = 0.3 * radius
    a, b = length / 2, width / 2
    outline = symmetric(
        (a, b - radius), (a - corner, b - corner), (a - radius, b), (radius - a, b),
        (corner - a, b - corner), (-a, b - radius),
    )  # fmt: skip
    return outline + np.array([x, 0.0])


def line(start: Sequence[float], end: Sequence[float], width: float) -> Points:
    """Return a straight line of a width, with square ends, as a polygon."""
    a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
    along = (b - a) / max(1e-9, float(np.hypot(*(b - a))))
    across = np.array([-along[1], along[0]]) * (width / 2)
    return np.stack([a + across, b + across, b - across, a - across])


def shade(colour: Colour, factor: float) -> Colour:
    """Return a colour made lighter or darker, cut at 0 and 255."""
    red, green, blue = (min(255, max(0, round(value * factor))) for value in colour)
    return red, green, blue


def blend(first: Colour, second: Colour, share: float) -> Colour:
    """Return the mix of two colours with the given share of the second one."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue

"""How much rectangles overlap, rotated ones included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Rectangle:
    """A rectangle as CVAT has it.

    Attributes:
        points: ``(x1, y1, x2, y2)`` in pixels, before the rotation.
        rotation: Degrees, clockwise about the centre.
    """

    points: tuple[float, ...]
    rotation: float = 0.0

    @property
    def centre(self) -> tuple[float, float]:
        """Which the rotation does not move."""
        x1, y1, x2, y2 = self.points
        return (x1 + x2) / 2, (y1 + y2) / 2

    @property
    def size(self) -> tuple[float, float]:
        """Width and height before the rotation."""
        x1, y1, x2, y2 = self.points
        return abs(x2 - x1), abs(y2 - y1)

    @property
    def hull(self) -> tuple[float, float, float, float]:
        """The upright rectangle around it, ``(x1, y1, x2, y2)``."""
        if self.rotation % 180 == 0:
            (x, y), (width, height) = self.centre, self.size
            return x - width / 2, y - height / 2, x + width / 2, y + height / 2
        corners = self.corners()
        (x1, y1), (x2, y2) = corners.min(axis=0), corners.max(axis=0)
        return float(x1), float(y1), float(x2), float(y2)

    def corners(self) -> NDArray[np.float32]:
        """Return the corners, ``(4, 2)``, after the rotation."""
        return cv2.boxPoints((self.centre, self.size, self.rotation))


def overlaps(rectangle: Rectangle, others: Sequence[Rectangle]) -> NDArray[np.float64]:
    """Return the intersection over union of a rectangle with each of some others, ``(N,)``.

    0 for a pair of which one is empty.
    """
    found = np.zeros(len(others))
    if not others:
        return found
    x1, y1, x2, y2 = rectangle.hull
    left, top, right, bottom = np.array([other.hull for other in others]).T
    width = np.minimum(x2, right) - np.maximum(x1, left)
    height = np.minimum(y2, bottom) - np.maximum(y1, top)
    for index in np.nonzero((width > 0) & (height > 0))[0]:
        other = others[index]
        if rectangle.rotation % 180 == 0 and other.rotation % 180 == 0:
            common = width[index] * height[index]
        else:
            common = _common_area(rectangle, other)
        union = float(np.prod(rectangle.size) + np.prod(other.size)) - common
        found[index] = common / union if union > 0 else 0.0
    return found


def _common_area(a: Rectangle, b: Rectangle) -> float:
    kind, corners = cv2.rotatedRectangleIntersection(
        (a.centre, a.size, a.rotation), (b.centre, b.size, b.rotation)
    )
    if kind == cv2.INTERSECT_NONE or corners is None:
        return 0.0
    return float(cv2.contourArea(cv2.convexHull(corners)))

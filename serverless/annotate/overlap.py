"""How much rectangles overlap, rotated ones included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.affinity import rotate


@dataclass(frozen=True)
class Rectangle:
    """A rectangle as CVAT has it: ``(x1, y1, x2, y2)`` in pixels, and degrees of rotation.

    The points are those before the rotation, which is clockwise about the centre.
    """

    points: tuple[float, ...]
    rotation: float = 0.0

    @property
    def centre(self) -> tuple[float, float]:
        """``(x, y)``, which the rotation does not move."""
        x1, y1, x2, y2 = self.points
        return (x1 + x2) / 2, (y1 + y2) / 2

    @cached_property
    def polygon(self) -> shapely.Polygon:
        """The rectangle after the rotation."""
        return rotate(shapely.box(*self.points), self.rotation)

    @property
    def hull(self) -> tuple[float, float, float, float]:
        """The upright rectangle around it, ``(x1, y1, x2, y2)``."""
        return self.polygon.bounds

    def corners(self) -> NDArray[np.float64]:
        """Return the corners, ``(4, 2)``, after the rotation."""
        return np.array(self.polygon.exterior.coords)[:4]


def overlaps(rectangle: Rectangle, others: Sequence[Rectangle]) -> NDArray[np.float64]:
    """Return the intersection over union of a rectangle with each of some others, ``(N,)``.

    0 for a pair of which one is empty.
    """
    polygon = rectangle.polygon
    polygons = np.array([other.polygon for other in others], object)
    common = shapely.area(shapely.intersection(polygon, polygons))
    union = polygon.area + shapely.area(polygons) - common
    return np.divide(common, union, out=np.zeros(len(others)), where=union > 0)

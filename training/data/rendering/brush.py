"""What the functions that draw a kind of body have in common.

Every kind is one function that draws a body of a given length and width. It is listed in the
``KINDS`` of its module under the name that looks refer to it by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from training.data.rendering.shapes import Body, Colour, Part

GLASS: Colour = (38, 44, 54)
WHITE: Colour = (236, 236, 232)
DARK: Colour = (52, 52, 54)
CONCRETE: Colour = (176, 174, 168)


@dataclass(frozen=True)
class Brush:
    """What a kind needs to draw one object: a `Look` with its size and paint decided."""

    length: float
    width: float
    paint: Colour
    accent: Colour
    variant: float
    light: tuple[float, float]
    rng: np.random.Generator

    def lit(self, x: float, y: float, contrast: float = 0.22) -> float:
        """Return the brightness of a surface that leans towards a direction of the body."""
        return 1 + contrast * (x * self.light[0] + y * self.light[1])


def body(height: float, *parts: Part) -> Body:
    """Return a body of parts, in the order in which they are painted."""
    return Body(parts, height)


Kinds = dict[str, Callable[[Brush], Body]]

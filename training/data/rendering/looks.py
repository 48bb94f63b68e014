"""How the objects of one kind look in one picture.

The kinds of a class and those of its look-alikes (see ``training.data.rendering.style``) overlap on
purpose: a van without visible windows is the same drawing as a plain roof box, and only the picture
tells which is meant.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from training.data.rendering import craft, vehicles, works
from training.data.rendering.brush import WHITE, Brush, Kinds
from training.data.rendering.shapes import Body, Colour, shade

KINDS: Kinds = {**vehicles.KINDS, **craft.KINDS, **works.KINDS}


@dataclass(frozen=True)
class Look:
    """How the objects of one kind look in one picture.

    Attributes:
        kind: A key of ``KINDS``.
        length: Typical length in pixels, along the heading.
        aspect: Width as a part of the length.
        paints: One of them is the object's main colour, drawn for every object.
        accent: Second colour, common to all.
        spread: Largest deviation of an object's length, as a part of it.
        variant: 0 to 1; decides what else a kind can vary, such as the sweep of wings.
    """

    kind: str
    length: float
    aspect: float
    paints: tuple[Colour, ...]
    accent: Colour = WHITE
    spread: float = 0.08
    variant: float = 0.5

    def within(self, longest: float) -> Look:
        """Return the look with a typical length that is at most ``longest``."""
        return replace(self, length=min(self.length, longest))

    def build(self, rng: np.random.Generator, light: tuple[float, float]) -> Body:
        """Draw one object.

        Args:
            rng: Source of randomness.
            light: Unit vector towards the sun, in the frame of the body.
        """
        length = self.length * rng.uniform(1 - self.spread, 1 + self.spread)
        paint = shade(self.paints[rng.integers(len(self.paints))], rng.uniform(0.94, 1.06))
        brush = Brush(length, length * self.aspect, paint, self.accent, self.variant, light, rng)
        return KINDS[self.kind](brush)

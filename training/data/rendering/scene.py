"""A picture's layout so far: what stands where, which ground is taken, and how to add to it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from training.data.rendering.canvas import Canvas, Placed, put
from training.data.rendering.looks import Look
from training.data.rendering.shapes import Frame, blend, centred
from training.data.rendering.style import TREE, Style

TRIES = 14
"""Random places that are tried for a plot before it is given up."""


class Ground:
    """Which part of the ground is taken, on a grid of 2 x 2 pixels.

    Args:
        size: Side of the picture.
    """

    CELL = 2

    def __init__(self, size: int) -> None:
        count = -(-size // self.CELL)
        self._taken = np.zeros((count, count), bool)

    def _cells(
        self, frame: Frame, length: float, width: float
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return a view of the grid around a rectangle and which of its cells it holds."""
        reach = math.hypot(length, width) / 2
        left, top = (max(0, int((at - reach) / self.CELL)) for at in (frame.x, frame.y))
        right, bottom = (max(0, int((at + reach) / self.CELL) + 1) for at in (frame.x, frame.y))
        view = self._taken[top:bottom, left:right]
        y = (np.arange(top, top + view.shape[0]) + 0.5)[:, None] * self.CELL - frame.y
        x = (np.arange(left, left + view.shape[1]) + 0.5) * self.CELL - frame.x
        cos, sin = math.cos(frame.heading), math.sin(frame.heading)
        inside = abs(cos * x + sin * y) < length / 2
        inside &= abs(cos * y - sin * x) < width / 2
        return view, inside

    def taken(self, size: int) -> NDArray[np.bool_]:
        """Return what is taken, bool (size, size), one value a pixel."""
        return self._taken.repeat(self.CELL, axis=0).repeat(self.CELL, axis=1)[:size, :size]

    def free(self, frame: Frame, length: float, width: float) -> bool:
        """Tell whether a rectangle around a frame's origin is free where the picture shows it."""
        view, inside = self._cells(frame, length, width)
        return not bool((view & inside).any())

    def take(self, frame: Frame, length: float, width: float) -> None:
        """Take a rectangle around a frame's origin."""
        view, inside = self._cells(frame, length, width)
        view |= inside


class Scene:
    """The bodies of one picture.

    Args:
        canvas: Takes what is paved and marked; the bodies are drawn on it at the end.
        style: Looks of this picture.
        wanted: Labels of the classes that occur.
        rng: Source of randomness.

    Attributes:
        size: Side of the picture in pixels.
        ground: Where nothing more can be built.
        low: Bodies below all others, such as bridges.
        high: The others.
    """

    def __init__(
        self, canvas: Canvas, style: Style, wanted: frozenset[int], rng: np.random.Generator
    ) -> None:
        self.canvas = canvas
        self.style = style
        self.wanted = wanted
        self.rng = rng
        self.size = canvas.size
        self.ground = Ground(self.size)
        self.low: list[Placed] = []
        self.high: list[Placed] = []
        self._lookalikes_of: int | None = None

    @contextmanager
    def with_lookalikes(self, label: int) -> Iterator[None]:
        """Let look-alikes play the part of a class: they stand where its objects would."""
        self._lookalikes_of = label
        yield
        self._lookalikes_of = None

    def looks(self, label: int) -> tuple[Look, ...]:
        """Return the looks of what stands for a class: its own, unless look-alikes play it."""
        own = self.style.lookalikes if label == self._lookalikes_of else self.style.looks
        return own[label]

    @property
    def placed(self) -> list[Placed]:
        """All bodies, in the order in which they are painted."""
        return self.low + self.high

    def count(self, label: int | None = None) -> int:
        """Return the number of objects, of a class or of all, whose middle is in the picture."""
        labels = self.wanted if label is None else {label}
        return sum(
            item.label in labels and 0 <= item.frame.x < self.size and 0 <= item.frame.y < self.size
            for item in self.placed
        )

    def stand(self, look: Look, frame: Frame, label: int | None, low: bool = False) -> None:
        """Stand a body of a look somewhere, unless no part of it is in the picture.

        Args:
            look: Of the body.
            frame: Its place and heading.
            label: Its class, or None if it has none; a tree has its own.
            low: Whether it lies below the others.
        """
        angle = self.style.sun - frame.heading
        body = look.build(self.rng, (math.cos(angle), math.sin(angle)))
        placed = put(body, frame, TREE if look.kind == "tree" else label)
        left, top, right, bottom = placed.box
        if right > 0 and bottom > 0 and left < self.size and top < self.size:
            (self.low if low else self.high).append(placed)

    def one_of(self, looks: tuple[Look, ...]) -> Look:
        """Draw one of several looks."""
        return looks[self.rng.integers(len(looks))]

    def add(self, label: int, frame: Frame, look: Look | None = None) -> None:
        """Stand an object of a class, in one of its looks if none is given, or what plays it."""
        owner = None if label == self._lookalikes_of else label
        self.stand(look or self.one_of(self.looks(label)), frame, owner)

    def add_lookalike(self, label: int, frame: Frame) -> None:
        """Stand what resembles a class."""
        self.stand(self.one_of(self.style.lookalikes[label]), frame, None)

    def add_either(self, label: int, frame: Frame, share: float) -> None:
        """Stand an object of a wanted class, else or by the given share its look-alike."""
        if label in self.wanted and self.rng.uniform() >= share:
            self.add(label, frame)
        else:
            self.add_lookalike(label, frame)

    def flip(self) -> float:
        """Draw a turn: ahead or back, slightly off."""
        return math.pi * int(self.rng.integers(2)) + float(self.rng.normal(0, 0.04))

    def plot(self, length: float, width: float, margin: float = 3.0) -> Frame | None:
        """Find and take free ground for a rectangle, along the picture's grid more often than not.

        Returns:
            Its middle and direction, or None if no free ground was found.
        """
        for _ in range(TRIES):
            x, y = (self.rng.uniform(0.04, 0.96, 2) * self.size).tolist()
            if self.rng.uniform() < 0.75:
                heading = self.style.grid + int(self.rng.integers(4)) * math.pi / 2
                heading += self.rng.normal(0, 0.03)
            else:
                heading = self.rng.uniform(0, 2 * math.pi)
            frame = Frame(x, y, heading)
            if self.ground.free(frame, length + 2 * margin, width + 2 * margin):
                self.ground.take(frame, length + margin, width + margin)
                return frame
        return None

    def crossing(self) -> Frame:
        """Draw a place in the middle part of the picture, along its grid."""
        x, y = (self.rng.uniform(0.25, 0.75, 2) * self.size).tolist()
        heading = self.style.grid + int(self.rng.integers(2)) * math.pi / 2
        return Frame(x, y, heading + self.rng.normal(0, 0.1))

    def pave(self, frame: Frame, length: float, width: float, main: bool = True) -> None:
        """Pave a rectangle with the main paving of the picture, or the other one."""
        colour = self.style.paving[0 if main else -1]
        border = frame.place(centred(length + 2, width + 2))
        self.canvas.pave(border, blend(colour, (150, 140, 118), 0.6), 1.4)
        self.canvas.pave(frame.place(centred(length, width)), colour)

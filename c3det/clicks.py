"""Clicks, and the conventions of the whole project.

Order
    Points are ``(x, y)``, boxes ``(x1, y1, x2, y2)``. Sizes of pictures and feature maps are
    ``(height, width)``, as tensors have them; an argument of that order is called ``*_size``.
Pixels
    Coordinates are continuous, in pixels of the full picture, with the origin at the top left
    *corner* of the top left pixel. Pixel ``i`` covers ``[i, i + 1)`` and its centre is at
    ``i + 0.5``. Cell ``j`` of a feature map of stride ``s`` covers ``[j * s, (j + 1) * s)``. A box
    covers ``[x1, x2) x [y1, y2)``; its width is ``x2 - x1``, with no "+ 1".
Padding
    Pictures are padded at the right and at the bottom only, so that padding moves no coordinate.
Labels
    Classes are numbered from 0 in the order of the weights' list of classes. -1 is an object of no
    class, as the open model finds it without clicks. mmdet's background label is ``num_classes``.
Angles
    Degrees, clockwise as seen on the screen (y points down), about the centre of the box.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Size = tuple[int, int]
"""``(height, width)``."""


@dataclass(frozen=True, slots=True)
class Click:
    """One click of the annotator: there is, or there is no, object of a class at a point.

    Attributes:
        x: Pixels from the left edge of the picture.
        y: Pixels from its top edge.
        label: 0-based class.
        positive: ``False``: there is no object of the class ``label`` here.
        choice: Which of the boxes under it is the object, for an open model: 0 the likeliest, 1 the
            next likeliest, and so on; after the last one the first again. Closed models have no
            choice.

    Raises:
        ValueError: A coordinate is not a finite number, or the label or the choice is negative.
    """

    x: float
    y: float
    label: int
    positive: bool = True
    choice: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.x) and math.isfinite(self.y)):
            raise ValueError(f"a click needs finite coordinates, not x={self.x}, y={self.y}")
        for name in ("label", "choice"):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"the {name} of a click must not be negative, it is {getattr(self, name)}"
                )


@dataclass(frozen=True, slots=True)
class LabelledBox:
    """A box around an object of a class, as the annotator accepted or drew it.

    Attributes:
        x1: Pixels from the left edge of the picture.
        y1: Pixels from its top edge.
        x2: Likewise, more than ``x1``.
        y2: Likewise, more than ``y1``.
        label: 0-based class.
        positive: ``False``: what it holds is no object of this class.

    Raises:
        ValueError: A coordinate is not a finite number, the box has no area, or the label is
            negative.
    """

    x1: float
    y1: float
    x2: float
    y2: float
    label: int
    positive: bool = True

    def __post_init__(self) -> None:
        corners = (self.x1, self.y1, self.x2, self.y2)
        if not (all(map(math.isfinite, corners)) and self.x1 < self.x2 and self.y1 < self.y2):
            raise ValueError(f"a box needs finite x1 < x2 and y1 < y2, not {corners}")
        if self.label < 0:
            raise ValueError(f"the label of a box must not be negative, it is {self.label}")

    @property
    def middle(self) -> tuple[float, float]:
        """``(x, y)``."""
        return (self.x1 + self.x2) / 2, (self.y1 + self.y2) / 2


def check_labels(clicks: Sequence[Click | LabelledBox], num_classes: int) -> None:
    """Raise ``ValueError`` where a click names a class that is not one of ``num_classes``."""
    for index, click in enumerate(clicks):
        if click.label >= num_classes:
            raise ValueError(
                f"click {index} has label {click.label}, but there are {num_classes} classes"
            )

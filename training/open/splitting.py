"""Splits done pictures into those that are trained on, that choose the step, and that are tested.

With five or more, some choose the step and others are tested; with two to four, one picture does
both; a single picture is cut in two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.data.annotated import Annotated, crop

MOST_HELD_OUT = 4
"""Pictures that choose the step, and as many that are tested."""

EVALUATED_SIDE = 768
"""Longest side of what is evaluated of a held-out picture, in pixels."""


@dataclass(frozen=True, slots=True)
class Split:
    """The done pictures, by what they are for.

    Attributes:
        train: Trained on.
        validation: Choose the step.
        test: Tell the gain; nothing was chosen by them, unless they choose the step, too.
    """

    train: tuple[Annotated, ...]
    validation: tuple[Annotated, ...]
    test: tuple[Annotated, ...]

    @property
    def is_independent(self) -> bool:
        """Whether the pictures that tell the gain are others than those that choose the step."""
        return self.test[0] is not self.validation[0]


def is_done(picture: Annotated) -> bool:
    """Whether a picture has an object. A picture without any may be one that nobody looked at."""
    return bool((~picture.ignored).any())


def split_pictures(pictures: Sequence[Annotated]) -> Split:
    """Hold pictures out, evenly spread over their order.

    Raises:
        ValueError: There is none with objects, or there are too few objects in a single one.
    """
    done = [one for one in pictures if is_done(one)]
    if not done:
        raise ValueError("no picture is done: none has a box")
    if len(done) == 1:
        larger, smaller = cut(done[0])
        return Split((larger,), (smaller,), (smaller,))
    few = 1 if len(done) < 5 else min(MOST_HELD_OUT, len(done) // 5)
    count = few if len(done) < 5 else 2 * few
    # In the middle of equal stretches.
    places = [round((number + 0.5) * len(done) / count - 0.5) for number in range(count)]
    train = [one for place, one in enumerate(done) if place not in places]
    kept = [done[place] for place in places]
    if count == few:
        return Split(tuple(train), tuple(kept), tuple(kept))
    return Split(tuple(train), tuple(kept[::2]), tuple(kept[1::2]))


def cut(picture: Annotated) -> tuple[Annotated, Annotated]:
    """Cut a picture in two, across its longer side, so that few objects are cut.

    Two thirds of the objects, about, come into the first piece. Those that are cut are ignored.

    Raises:
        ValueError: There are not two whole objects in each piece.
    """
    axis = 0 if picture.width >= picture.height else 1
    low, high = picture.boxes[:, axis], picture.boxes[:, axis + 2]
    counted = ~picture.ignored
    best: tuple[float, int] | None = None
    for place in range(8, (picture.width, picture.height)[axis] - 8):
        before, after = (
            int((counted & (high <= place)).sum()),
            int((counted & (low >= place)).sum()),
        )
        if before < 2 or after < 2:
            continue
        crossing = int(counted.sum()) - before - after
        cost = crossing + abs(min(before, after) - counted.sum() / 3)
        if best is None or cost < best[0]:
            best = (float(cost), place)
    if best is None:
        raise ValueError(
            f"{picture.name} is the only picture that is done, and it has too few objects to keep "
            "some aside: finish another picture"
        )
    whole = np.array([0, 0, picture.width, picture.height])
    pieces = []
    for side, name in ((2, "first part"), (0, "second part")):
        box = whole.copy()
        box[axis + side] = best[1]
        pieces.append(window(picture, box, f"{picture.name}, {name}"))
    first, second = pieces
    return (first, second) if is_larger(first, second) else (second, first)


def is_larger(one: Annotated, other: Annotated) -> bool:
    """Whether one picture has at least as many objects as another."""
    return bool((~one.ignored).sum() >= (~other.ignored).sum())


def window(picture: Annotated, box: NDArray[np.int64], name: str) -> Annotated:
    """A window of a picture, xyxy in pixels; objects that its edge cuts are ignored."""
    x1, y1, x2, y2 = box.tolist()
    inside = picture.boxes.clip([x1, y1] * 2, [x2, y2] * 2)
    is_cut = (np.abs(inside - picture.boxes) > 1).any(1)
    marked = replace(picture, ignored=picture.ignored | is_cut)
    return replace(crop(marked, x1, y1, x2 - x1, y2 - y1), name=name)


def evaluated_section(picture: Annotated) -> Annotated:
    """What is looked at of a picture: all of a small one, else where most objects are."""
    if max(picture.width, picture.height) <= EVALUATED_SIDE:
        return picture
    width, height = min(picture.width, EVALUATED_SIDE), min(picture.height, EVALUATED_SIDE)
    best: tuple[int, NDArray[np.int64]] | None = None
    for y in _places(picture.height, height):
        for x in _places(picture.width, width):
            box = np.array([x, y, x + width, y + height])
            whole = (picture.boxes >= [x, y, x, y]) & (picture.boxes <= [x + width, y + height] * 2)
            count = int((whole.all(1) & ~picture.ignored).sum())
            if best is None or count > best[0]:
                best = (count, box)
    assert best is not None
    return window(picture, best[1], picture.name)


def _places(length: int, side: int) -> list[int]:
    """Where windows begin that cover a length and overlap by half."""
    count = max(1, math.ceil(2 * (length - side) / side) + 1)
    return [round(place) for place in np.linspace(0, length - side, count)]

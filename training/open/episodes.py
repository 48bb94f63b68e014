"""Batches of pictures with the clicks of a simulated annotator.

Batch number ``n`` is decided by the seed and ``n`` alone, whoever draws it: a run that goes on at
batch ``n`` gets what it would have got without the break, with any number of processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from training.open.composites import Drawn, draw_pictures
from training.open.kinds import Pool, Rng
from training.open.windows import MOST_IGNORED, MOST_OBJECTS, draw_windows, load_sets

SLOTS = 6
CLICKS = 22
OBJECTS = MOST_OBJECTS
IGNORED = MOST_IGNORED

TAKEN = 0.8
"""Share of the classes of a picture that are clicked."""

NUMBERS = (1, 1, 1, 2, 2, 3, 4, 5)
"""Clicks of a class, each as likely as the others."""

WRONG = 0.02
"""Share of the clicks that name another of the clicked classes."""

NEGATIVE = 0.4
"""Share of the pictures with negative clicks, on objects of classes that are not clicked."""

PAIRED = 0.4
"""Share of the pictures that come in pairs with the same classes: what is clicked in the first goes
along to the second, in which little is clicked."""

CLICKED_AGAIN = 0.3
"""Share of the classes that are clicked in the second picture of a pair, too, once."""

AWAY = 0.14
"""Deviation of a click from the middle of the box, in sides of it; at most `FARTHEST`."""

FARTHEST = 0.35


@dataclass(slots=True)
class Episode:
    """Pictures of one batch and the clicks on them, padded.

    Attributes:
        images: uint8 ``(B, side, side, 3)``.
        boxes: float32 ``(B, OBJECTS, 4)``.
        kinds: int64 ``(B, OBJECTS)``, -1 for padding.
        slots: int64 ``(B, OBJECTS)``, the slot of each object's class, -1 for none.
        ignored: float32 ``(B, IGNORED, 4)``, 0 for padding.
        clicked: int64 ``(B, CLICKS)``, the object of each click, -1 for padding.
        click_xy: float32 ``(B, CLICKS, 2)``, where they are, in pixels; 0 for padding.
        click_slots: int64 ``(B, CLICKS)``, -1 for padding.
        positive: bool ``(B, CLICKS)``.
        support: int64 ``(B,)``, the support picture of each one, whose clicks are known there,
            too; -1 for none.
    """

    images: Tensor
    boxes: Tensor
    kinds: Tensor
    slots: Tensor
    ignored: Tensor
    clicked: Tensor
    click_xy: Tensor
    click_slots: Tensor
    positive: Tensor
    support: Tensor

    def to(self, device: torch.device) -> Episode:
        """The same on a device."""
        return Episode(
            **{f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)}
        )

    def pin_memory(self) -> Episode:
        """The same in memory that a GPU reads directly."""
        return Episode(**{f.name: getattr(self, f.name).pin_memory() for f in fields(self)})

    def turned(self, way: int) -> Episode:
        """All pictures, which are square, mirrored and turned alike: both of a pair, too.

        Args:
            way: 0 to 7; its bits mirror left and right, mirror up and down, and exchange the axes,
                in this order. 0 changes nothing.
        """
        if way == 0:
            return self
        across, down, swap = bool(way & 1), bool(way & 2), bool(way & 4)
        images = self.images.flip([axis for axis, turn in ((1, down), (2, across)) if turn])
        side = images.shape[1]

        def moved(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            x, y = side - x if across else x, side - y if down else y
            return (y, x) if swap else (x, y)

        def moved_boxes(boxes: Tensor) -> Tensor:
            x1, y1, x2, y2 = boxes.unbind(-1)
            (ax, ay), (bx, by) = moved(x1, y1), moved(x2, y2)
            corners = (ax.minimum(bx), ay.minimum(by), ax.maximum(bx), ay.maximum(by))
            return torch.stack(corners, -1)

        is_ignored = (self.ignored[..., 2:] > self.ignored[..., :2]).all(-1, keepdim=True)
        is_click = (self.clicked >= 0)[..., None]
        click_xy = torch.stack(moved(*self.click_xy.unbind(-1)), -1)
        return replace(
            self,
            images=images.transpose(1, 2) if swap else images,
            boxes=moved_boxes(self.boxes) * (self.kinds >= 0)[..., None],
            ignored=moved_boxes(self.ignored) * is_ignored,
            click_xy=click_xy * is_click,
        )


@dataclass(frozen=True, slots=True)
class ObjectClick:
    """A click on an object.

    Attributes:
        number: Of the object.
        slot: That the click is for.
        positive: Whether it says that the object is of the slot, or that it is not.
    """

    number: int
    slot: int
    positive: bool


def choose_clicks(
    drawn: Drawn, rng: Rng, support_slots: Mapping[int, int] | None = None
) -> tuple[dict[int, int], list[ObjectClick]]:
    """Give classes to slots at random and choose which objects are clicked.

    Args:
        drawn: The picture.
        rng: Decides all.
        support_slots: The slots of the classes whose exemplars come from the support picture.

    Returns:
        The slot of each clicked class, and at most `CLICKS` clicks.
    """
    present = np.unique(drawn.kinds)
    if support_slots is None:
        taken = present[rng.random(len(present)) < TAKEN]
        if len(taken) == 0:
            taken = rng.choice(present, 1)
        taken = rng.permutation(taken)[:SLOTS]
        slots = dict(zip(taken.tolist(), rng.permutation(SLOTS).tolist(), strict=False))
    else:
        slots = dict(support_slots)
        taken = present[np.isin(present, list(slots)) & (rng.random(len(present)) < CLICKED_AGAIN)]
    used = list(slots.values())
    clicks = []
    for kind in taken.tolist():
        members = np.flatnonzero(drawn.kinds == kind)
        count = 1 if support_slots else int(rng.choice(NUMBERS))
        for number in rng.choice(members, min(len(members), count), False):
            wrong = rng.random() < WRONG
            slot = int(rng.choice(used)) if wrong else slots[kind]
            clicks.append(ObjectClick(int(number), slot, True))
    others = np.flatnonzero(~np.isin(drawn.kinds, list(slots)))
    if len(others) and rng.random() < NEGATIVE:
        for number in rng.choice(others, min(len(others), int(rng.integers(1, 4))), False):
            clicks.append(ObjectClick(int(number), int(rng.choice(used)), False))
    return slots, clicks[:CLICKS]


def click_point(drawn: Drawn, number: int, rng: Rng) -> tuple[float, float]:
    """Where a person clicks an object: near its middle, and not on another one that covers it."""
    x1, y1, x2, y2 = drawn.boxes[number].tolist()
    away = (AWAY * rng.standard_normal((8, 2))).clip(-FARTHEST, FARTHEST)
    points = (away + 0.5) * (x2 - x1, y2 - y1) + (x1, y1)
    if drawn.owners is None:
        return float(points[0, 0]), float(points[0, 1])
    for x, y in points.tolist():
        if drawn.owners[int(y), int(x)] in (0, number + 1):  # 0: the hole of a ring
            return x, y
    rows, columns = np.nonzero(drawn.owners == number + 1)
    one = rng.integers(len(rows))
    return float(columns[one]) + 0.5, float(rows[one]) + 0.5


class Episodes(Dataset[Episode]):
    """All batches, by number, without an end.

    What they are drawn from is read once, before a loader forks its processes, which share it.

    Args:
        pool: Folder that `training.open.make_pool` has made.
        batch: Pictures of a batch.
        side: Of a picture in pixels.
        real: Share of the pictures that are windows of real ones.
        without: Names of real sets that are left out.
        seed: Of everything random.

    Raises:
        ValueError: The folder has no other real set than those that are left out.
    """

    def __init__(
        self,
        pool: Path,
        batch: int,
        side: int = 256,
        real: float = 0.5,
        without: frozenset[str] = frozenset(),
        seed: int = 0,
    ) -> None:
        self._batch, self._side, self._real, self._seed = batch, side, real, seed
        self._pool = Pool(pool)
        self._sets = load_sets(pool / "real", without) if real else {}

    def __getitem__(self, number: int) -> Episode:
        cv2.setNumThreads(1)
        rng = np.random.default_rng([self._seed, number])
        drawn: list[Drawn] = []
        supports: list[int] = []
        while len(drawn) < self._batch:
            # A pair takes two places.
            is_pair = len(drawn) + 2 <= self._batch and rng.random() < PAIRED / (2 - PAIRED)
            count = 2 if is_pair else 1
            if rng.random() < self._real:
                found = draw_windows(self._sets, rng, self._side, count)
            else:
                found = draw_pictures(self._pool, rng, self._side, count)
            if all(len(one.boxes) >= 2 for one in found):
                supports += [-1, len(drawn)][:count]
                drawn += found
        return collate(drawn, rng, supports)


class From(Sampler[int]):
    """The numbers from one on, without an end."""

    def __init__(self, first: int) -> None:
        self._first = first

    def __iter__(self) -> Iterator[int]:
        number = self._first
        while True:
            yield number
            number += 1


def collate(drawn: list[Drawn], rng: Rng, supports: Sequence[int] | None = None) -> Episode:
    """Pad the pictures of a batch, of one size, and click in them.

    Args:
        drawn: The pictures.
        rng: Decides all.
        supports: See `Episode.support`; a support picture stands before the other of its pair.
            None: there is no pair.
    """
    size = len(drawn)
    support = np.full(size, -1, np.int64) if supports is None else np.array(supports, np.int64)
    boxes = np.zeros((size, OBJECTS, 4), np.float32)
    kinds = np.full((size, OBJECTS), -1, np.int64)
    slots = np.full((size, OBJECTS), -1, np.int64)
    ignored = np.zeros((size, IGNORED, 4), np.float32)
    clicked = np.full((size, CLICKS), -1, np.int64)
    click_xy = np.zeros((size, CLICKS, 2), np.float32)
    click_slots = np.full((size, CLICKS), -1, np.int64)
    positive = np.zeros((size, CLICKS), np.bool_)
    slots_of: list[dict[int, int]] = []
    for row, one in enumerate(drawn):
        count = len(one.boxes)
        own, clicks = choose_clicks(one, rng, slots_of[support[row]] if support[row] >= 0 else None)
        slots_of.append(own)
        boxes[row, :count] = one.boxes
        kinds[row, :count] = one.kinds
        slots[row, :count] = [own.get(kind, -1) for kind in one.kinds.tolist()]
        ignored[row, : len(one.ignored)] = one.ignored
        for column, click in enumerate(clicks):
            clicked[row, column] = click.number
            click_xy[row, column] = click_point(one, click.number, rng)
            click_slots[row, column] = click.slot
            positive[row, column] = click.positive
    return Episode(
        torch.from_numpy(np.stack([one.image for one in drawn])),
        *map(
            torch.from_numpy,
            (boxes, kinds, slots, ignored, clicked, click_xy, click_slots, positive, support),
        ),
    )

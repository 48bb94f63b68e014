"""Batches of pictures with the clicks of a made-up annotator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from training.open.composites import Drawn, draw_picture
from training.open.kinds import Pool, Rng
from training.open.windows import draw_window, load_sets

SLOTS = 6
CLICKS = 22
OBJECTS = 100
IGNORED = 24


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
        click_slots: int64 ``(B, CLICKS)``, -1 for padding.
        positive: bool ``(B, CLICKS)``.
    """

    images: Tensor
    boxes: Tensor
    kinds: Tensor
    slots: Tensor
    ignored: Tensor
    clicked: Tensor
    click_slots: Tensor
    positive: Tensor

    def to(self, device: torch.device) -> Episode:
        """The same on a device."""
        return Episode(
            **{f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)}
        )

    def pin_memory(self) -> Episode:
        """The same in memory that a GPU reads directly."""
        return Episode(**{f.name: getattr(self, f.name).pin_memory() for f in fields(self)})


def _clicks(drawn: Drawn, rng: Rng) -> tuple[NDArray[np.int64], list[tuple[int, int, bool]]]:
    """The slot of each class, and clicks ``(object, slot, positive)``."""
    present = np.unique(drawn.kinds)
    taken = present[rng.random(len(present)) < 0.8]
    if len(taken) == 0:
        taken = rng.choice(present, 1)
    taken = rng.permutation(taken)[:SLOTS]
    slot_of = np.full(int(drawn.kinds.max()) + 1, -1)
    names = rng.permutation(SLOTS)
    clicks: list[tuple[int, int, bool]] = []
    for number, kind in enumerate(taken):
        slot = int(names[number])
        slot_of[kind] = slot
        members = np.flatnonzero(drawn.kinds == kind)
        count = min(len(members), int(rng.choice([1, 1, 1, 2, 2, 3, 4, 5])))
        for member in rng.choice(members, count, False):
            wrong = len(taken) > 1 and rng.random() < 0.02
            clicks.append(
                (int(member), int(names[rng.integers(len(taken))]) if wrong else slot, True)
            )
    others = np.flatnonzero(slot_of[drawn.kinds] < 0)
    if len(others) and rng.random() < 0.4:
        for member in rng.choice(others, min(len(others), int(rng.integers(1, 4))), False):
            clicks.append((int(member), int(names[rng.integers(len(taken))]), False))
    return slot_of, clicks[:CLICKS]


class Episodes(IterableDataset[Episode]):
    """An endless stream of batches.

    Args:
        pool: Folder that `training.open.prepare` has made.
        batch: Pictures of a batch.
        side: Of a picture in pixels.
        real: Share of the pictures that are windows of real ones.
        without: Names of real sets that are left out.
        seed: Of everything random.
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
        self._pool, self._batch, self._side = pool, batch, side
        self._real, self._without, self._seed = real, without, seed

    def __iter__(self) -> Iterator[Episode]:
        import cv2

        cv2.setNumThreads(1)
        worker = get_worker_info()
        rng = np.random.default_rng([self._seed, worker.id if worker else 0])
        pool = Pool(self._pool)
        sets = load_sets(self._pool / "real", self._without) if self._real else {}
        while True:
            drawn: list[Drawn] = []
            while len(drawn) < self._batch:
                if rng.random() < self._real:
                    one = draw_window(sets, rng, self._side)
                else:
                    one = draw_picture(pool, rng, self._side)
                if len(one.boxes) >= 2:
                    drawn.append(one)
            yield collate(drawn, rng)


def collate(drawn: list[Drawn], rng: Rng) -> Episode:
    """Pad the pictures of a batch, and click in them."""
    size = len(drawn)
    boxes = np.zeros((size, OBJECTS, 4), np.float32)
    kinds = np.full((size, OBJECTS), -1, np.int64)
    slots = np.full((size, OBJECTS), -1, np.int64)
    ignored = np.zeros((size, IGNORED, 4), np.float32)
    clicks = np.full((3, size, CLICKS), -1, np.int64)
    for row, one in enumerate(drawn):
        count = min(len(one.boxes), OBJECTS)
        slot_of, made = _clicks(one, rng)
        boxes[row, :count] = one.boxes[:count]
        kinds[row, :count] = one.kinds[:count]
        slots[row, :count] = slot_of[one.kinds[:count]]
        few = one.ignored[:IGNORED]
        ignored[row, : len(few)] = few
        made = [click for click in made if click[0] < count]
        for column, click in enumerate(made):
            clicks[:, row, column] = click
    return Episode(
        torch.from_numpy(np.stack([one.image for one in drawn])),
        torch.from_numpy(boxes),
        torch.from_numpy(kinds),
        torch.from_numpy(slots),
        torch.from_numpy(ignored),
        torch.from_numpy(clicks[0]),
        torch.from_numpy(clicks[1]),
        torch.from_numpy(clicks[2] == 1),
    )

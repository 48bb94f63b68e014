"""Made-up annotators who click on a test picture: at random, or the largest error first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from c3det.clicks import Click
from c3det.detections import Detections
from training.clicks.sampling import missed
from training.data.annotated import Annotated
from training.open.baselines import PictureDetector
from training.open.episodes import AWAY, FARTHEST


@dataclass(slots=True)
class Clicked:
    """Clicks on a picture, in order, and their objects.

    Attributes:
        clicks: Labels are the classes of the set.
        objects: Indices of the clicked objects, -1 for none.
        boxes: float32 ``(4,)`` each, of the objects, or a small box on the ground.
    """

    clicks: list[Click] = field(default_factory=list)
    objects: list[int] = field(default_factory=list)
    boxes: list[NDArray[np.float32]] = field(default_factory=list)

    def add(self, picture: Annotated, index: int, rng: np.random.Generator) -> None:
        """Click an object near its middle."""
        x1, y1, x2, y2 = picture.boxes[index].tolist()
        away = (AWAY * rng.standard_normal(2)).clip(-FARTHEST, FARTHEST) + 0.5
        x, y = x1 + away[0] * (x2 - x1), y1 + away[1] * (y2 - y1)
        x, y = min(max(x, 0.0), picture.width), min(max(y, 0.0), picture.height)
        self.clicks.append(Click(float(x), float(y), int(picture.labels[index])))
        self.objects.append(index)
        self.boxes.append(picture.boxes[index])

    def add_negative(self, box: NDArray[np.float32], label: int) -> None:
        """Click the middle of a box of nothing: there is no object of this label."""
        x1, y1, x2, y2 = box.tolist()
        self.clicks.append(Click((x1 + x2) / 2, (y1 + y2) / 2, label, positive=False))
        self.objects.append(-1)
        self.boxes.append(box)

    def copy(self) -> Clicked:
        """The clicks so far, to which others may be added."""
        return Clicked(list(self.clicks), list(self.objects), list(self.boxes))

    def detect(self, read: PictureDetector) -> Detections:
        """What a method finds."""
        boxes = np.array(self.boxes, np.float32).reshape(-1, 4)
        return read.detect(self.clicks, boxes)


def members(picture: Annotated) -> dict[int, NDArray[np.int64]]:
    """The objects of each class of a picture that may be clicked."""
    usable = np.flatnonzero(~picture.ignored)
    labels = picture.labels[usable]
    return {int(label): usable[labels == label] for label in np.unique(labels)}


def click_at_random(picture: Annotated, counts: Sequence[int], seed: int) -> list[Clicked]:
    """The clicks after each number a class; those of a lower number are among them."""
    rng = np.random.default_rng(seed)
    orders = {label: rng.permutation(own) for label, own in members(picture).items()}
    states, state = [], Clicked()
    for number in range(1, max(counts) + 1):
        for order in orders.values():
            if number <= len(order):
                state.add(picture, int(order[number - 1]), rng)
        if number in counts:
            states.append(state.copy())
    return states


def click_errors(
    picture: Annotated, counts: Sequence[int], read: PictureDetector, threshold: float
) -> list[tuple[Clicked, Detections]]:
    """The clicks of a person, who sees the answers, and what is found after each number.

    The first click of a class is on its largest object. After each round, the next one is on the
    largest object of the class that is not found; where all are, on the largest not clicked one.
    """
    rng = np.random.default_rng(0)
    size = (picture.boxes[:, 2:] - picture.boxes[:, :2]).prod(1)
    states, state, found = [], Clicked(), Detections.none()
    for number in range(1, max(counts) + 1):
        shown = found.take(found.scores >= threshold)
        wrong = set(missed(picture, shown).tolist())
        for own in members(picture).values():
            left = [index for index in own.tolist() if index not in state.objects]
            if left:
                worst = [index for index in left if index in wrong] or left
                state.add(picture, max(worst, key=lambda index: float(size[index])), rng)
        found = state.detect(read)
        if number in counts:
            states.append((state.copy(), found))
    return states

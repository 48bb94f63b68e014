"""A predictor whose answers are known, and pictures for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from c3det.clicks import Click
from c3det.detections import Detections
from training.data.annotated import Annotated
from training.evaluation.protocol import EvaluationSet

CLASSES = ("tree", "car", "ship")


def picture(number: int, objects: int = 4, labels: Sequence[int] = (1,)) -> Annotated:
    """A picture with 10 x 10 objects at x = 0, 20, ..., whose labels go round.

    Its first pixel is its number.
    """
    x = 20 * np.arange(objects, dtype=np.float32)
    image = np.zeros((20, 100, 3), np.uint8)
    image[0, 0] = number
    boxes = np.stack([x, np.zeros_like(x), x + 10, np.full_like(x, 10)], axis=1)
    return Annotated(f"picture {number}", image, boxes, np.resize(labels, objects).astype(np.int64))


def pictures_of(number: int = 3, labels: Sequence[int] = (1,), **options: int) -> EvaluationSet:
    """A set of such pictures, in which the labels that occur count."""
    pictures = tuple(picture(i, labels=labels, **options) for i in range(number))
    return EvaluationSet("toy", CLASSES, tuple(sorted(set(labels))), pictures)


@dataclass
class FakePredictor:
    """Finds the first ``known`` objects with a score of 0.5, and a wrong box at x = 80.

    One that ``reads`` clicks finds, once a class was clicked, all objects of that class with a
    score of 0.6.

    Attributes:
        pictures: What it is asked about.
        known: How many objects of each it finds by itself.
        reads: Whether clicks tell it anything.
        wrong: Score of the wrong box, which has the class of the picture's first object.
        classes: Its own, in its own order.
        asked: The clicks of each call of ``detect``.
    """

    pictures: EvaluationSet
    known: int = 0
    reads: bool = False
    wrong: float = 0.1
    classes: tuple[str, ...] = CLASSES
    asked: list[tuple[Click, ...]] = field(default_factory=list)

    device = torch.device("cpu")

    @property
    def card(self) -> Any:
        return SimpleNamespace(
            name="fake",
            score_threshold=0.3,
            identity="00",
            typical_sizes=((10.0, 10.0),) * len(self.classes),
        )

    def encode(self, image: np.ndarray) -> Any:
        return SimpleNamespace(number=int(image[0, 0, 0]), image_size=image.shape[:2])

    def detect(
        self,
        features: Any,
        clicks: Sequence[Click],
        score_threshold: float | None = None,
        answer_clicks: bool = True,
    ) -> Detections:
        assert (score_threshold, answer_clicks) == (0.0, False)
        self.asked.append(tuple(clicks))
        objects = self.pictures.pictures[features.number]
        own = [self.classes.index(self.pictures.classes[label]) for label in objects.labels]
        named = {click.label for click in clicks if click.positive}
        found = [
            (box, 0.6 if self.reads and label in named else 0.5, label)
            for i, (box, label) in enumerate(zip(objects.boxes, own, strict=True))
            if i < self.known or (self.reads and label in named)
        ]
        found.append((np.array([80, 0, 90, 10], np.float32), self.wrong, own[0] if own else 1))
        found.sort(key=lambda row: -row[1])
        return Detections(
            np.array([box for box, _, _ in found], np.float32),
            np.array([score for _, score, _ in found], np.float32),
            np.array([label for _, _, label in found], np.int64),
            np.full(len(found), -1, np.int64),
        )

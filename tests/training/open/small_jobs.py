"""Pictures of bars and dots, and a model that finds as many of them as it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from c3det.clicks import Click, LabelledBox
from c3det.detections import Detections
from c3det.exemplars import THUMBNAIL, Exemplars
from training.data.annotated import Annotated

NAMES = ("bar", "dot")
NONE = Exemplars.none("ab" * 32, 1, NAMES)
GROUND = (0, 60, 10, 70)


def a_picture(bars: int = 4, dots: int = 0) -> Annotated:
    """Bars of 10 x 10 pixels in the first row, dots of 5 x 5 in the second, 12 pixels apart."""
    boxes = [[12 * n, 0, 12 * n + 10, 10] for n in range(bars)]
    boxes += [[12 * n, 30, 12 * n + 5, 35] for n in range(dots)]
    labels = np.repeat([0, 1], [bars, dots])
    image = np.zeros((100, 100, 3), np.uint8)
    return Annotated("one", image, np.array(boxes, np.float32).reshape(-1, 4), labels)


XS = (4, 24, 44, 64, 84, 104)


def squares(
    name: str, xs: Sequence[int], width: int = 128, height: int = 96, ignored: Sequence[int] = ()
) -> Annotated:
    """Squares of 12 pixels from given places on, in turn red and blue, of two classes."""
    image = np.random.default_rng(len(xs)).integers(90, 130, (height, width, 3)).astype(np.uint8)
    boxes = np.array([[x, 20, x + 12, 32] for x in xs], np.float32).reshape(-1, 4)
    for number, x in enumerate(xs):
        image[20:32, x : x + 12] = (220, 30, 30) if number % 2 else (30, 30, 220)
    labels = np.arange(len(xs), dtype=np.int64) % 2
    flags = np.isin(np.arange(len(xs)), ignored)
    return Annotated(name, image, boxes, labels, flags)


def boxes_of(*rows: tuple[Sequence[float], int], score: float = 0.9) -> Detections:
    """Boxes of classes."""
    return Detections(
        np.array([box for box, _ in rows], np.float32).reshape(-1, 4),
        np.full(len(rows), score, np.float32),
        np.array([label for _, label in rows], np.int64),
        np.full(len(rows), -1, np.int64),
    )


def exemplars_of(
    labels: Sequence[int], positive: Sequence[bool] | None = None, names: Sequence[str] = NAMES
) -> Exemplars:
    """Exemplars that differ in nothing but their number."""
    count = len(labels)
    return replace(
        NONE,
        names=tuple(names),
        labels=np.array(labels, np.int64),
        positive=np.ones(count, np.bool_) if positive is None else np.array(positive, np.bool_),
        vectors=np.arange(1, count + 1, dtype=np.float16).reshape(-1, 1),
        sizes=np.full((count, 2), 10, np.float32),
        thumbnails=np.zeros((count, THUMBNAIL, THUMBNAIL, 3), np.uint8),
        sources=("",) * count,
    )


@dataclass
class Fake:
    """Stands for an `EncodedPicture`: finds objects of each class that is clicked, or known.

    Attributes:
        picture: What it is asked about.
        found: So many objects of each class, the first ones.
        wrong: So many boxes on the ground, of the first class, until a negative click is there.
        wrong_score: Of these.
        asked: Clicks and number of exemplars of each question.
        kept: Boxes and clicks of each call for exemplars.
    """

    picture: Annotated
    found: int = 99
    wrong: int = 0
    wrong_score: float = 0.9
    encode_seconds: float = 2.0
    asked: list[tuple[list[Click], int]] = field(default_factory=list)
    kept: list[tuple[list[LabelledBox], list[Click]]] = field(default_factory=list)

    def answer(self, clicks: Any, exemplars: Any, least_score: float) -> tuple[Detections, float]:
        return self.detect(clicks, exemplars), 0.5

    def detect(self, clicks: Sequence[Click], exemplars: Exemplars | None = None) -> Detections:
        known = NONE if exemplars is None else exemplars
        self.asked.append((list(clicks), len(known)))
        labels = {one.label for one in clicks if one.positive} | set(known.labels.tolist())
        rows: list[tuple[Sequence[float], int]] = []
        for label in labels:
            own = self.picture.boxes[self.picture.labels == label]
            rows += [(box.tolist(), label) for box in own[: self.found]]
        found = boxes_of(*rows)
        if not labels or not all(one.positive for one in clicks):
            return found
        x1, y1, x2, y2 = GROUND
        ground = [((x1 + 12 * n, y1, x2 + 12 * n, y2), 0) for n in range(self.wrong)]
        more = boxes_of(*ground, score=self.wrong_score)
        both = (found, more)
        return Detections(
            np.concatenate([one.boxes for one in both]),
            np.concatenate([one.scores for one in both]),
            np.concatenate([one.labels for one in both]),
            np.concatenate([one.clicks for one in both]),
        )

    def exemplars(
        self, clicks: Sequence[Click], names: Sequence[str], boxes: Sequence[LabelledBox] = ()
    ) -> Exemplars:
        self.kept.append((list(boxes), list(clicks)))
        rows: list[Click | LabelledBox] = [*clicks, *boxes]
        return exemplars_of([one.label for one in rows], [one.positive for one in rows])

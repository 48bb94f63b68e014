"""Detections: the boxes that a model finds in a picture, and the clicks that they answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from c3det.clicks import Click


def _none() -> NDArray[np.int64]:
    return np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """N boxes in a picture, by falling score. The arrays are not to be written to.

    Attributes:
        boxes: float32 ``(N, 4)`` xyxy, pixels of the full picture.
        scores: float32 ``(N,)`` in [0, 1]; 1 where a box answers a click.
        labels: int64 ``(N,)``, 0-based; -1 for an object of no class.
        clicks: int64 ``(N,)``, the index of the last click that a box answers, -1 for none.
        answer_of: int64 ``(C,)``, for each of the C clicks the entry of ``clicks`` whose box is of
            the object under it: its own index for most, that of a later click where several lie on
            one object, -1 for a negative click. If that box is of another class, the later click
            has overruled this one, see `overruled`. Empty before `c3det.answering.answer_clicks`.
        rivals: int64 ``(N,)``, the label with the second largest score for a box; -1 where labels
            do not compete, or a click has decided.
        rival_scores: float32 ``(N,)``, that score; 0 where there is none.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    clicks: NDArray[np.int64]
    answer_of: NDArray[np.int64] = field(default_factory=_none)
    rivals: NDArray[np.int64] = field(default_factory=_none)
    rival_scores: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        if len(self.rivals) != len(self.boxes):
            object.__setattr__(self, "rivals", np.full(len(self.boxes), -1, np.int64))
            object.__setattr__(self, "rival_scores", np.zeros(len(self.boxes), np.float32))

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return sum(getattr(self, entry.name).nbytes for entry in fields(self))

    @classmethod
    def unanswered(
        cls,
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        labels: NDArray[np.int64],
    ) -> Detections:
        """Boxes that answer no click, as a model finds them."""
        return cls(boxes, scores, labels, np.full(len(boxes), -1, np.int64))

    @classmethod
    def none(cls) -> Detections:
        """No boxes."""
        return cls.unanswered(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), _none())

    @classmethod
    def joined(cls, parts: Sequence[Detections]) -> Detections:
        """The boxes of all parts, one part after the other; ``answer_of`` is left out."""
        names = ("boxes", "scores", "labels", "clicks", "rivals", "rival_scores")
        return cls(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        )

    def take(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Detections:
        """The boxes at these indices, or where a mask is true."""
        return Detections(
            self.boxes[chosen],
            self.scores[chosen],
            self.labels[chosen],
            self.clicks[chosen],
            self.answer_of,
            self.rivals[chosen],
            self.rival_scores[chosen],
        )

    def by_score(self) -> Detections:
        """The boxes by falling score; equal ones keep their order."""
        return self.take(np.argsort(-self.scores, kind="stable"))


def answered_clicks(detections: Detections, clicks: Sequence[Click]) -> list[tuple[int, ...]]:
    """The clicks that each box answers, by rising index; several if they lie on one object.

    ``detections`` are all or some that `c3det.answering.answer_clicks` returned for these clicks.
    """
    of: dict[int, list[int]] = {}
    for index, answer in enumerate(detections.answer_of.tolist()):
        if answer >= 0 and clicks[index].label == clicks[answer].label:
            of.setdefault(answer, []).append(index)
    return [tuple(of.get(last, ())) for last in detections.clicks.tolist()]


def overruled(detections: Detections, clicks: Sequence[Click]) -> list[tuple[int, int]]:
    """Pairs (click, later click) on one object, where the later click says another class.

    ``detections`` are those that `c3det.answering.answer_clicks` returned for these clicks.
    """
    return [
        (index, answer)
        for index, answer in enumerate(detections.answer_of.tolist())
        if answer >= 0 and clicks[index].label != clicks[answer].label
    ]

"""Synthetic annotators: clicks on objects whose boxes are known.

Clicks are drawn after augmentation, so that what is clicked is in the picture. They are positive
and carry the class of the object. Every function takes the random generator that it draws from.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from c3det.clicks import Click
from training.index import Annotated

Strategy = Literal["uniform", "class-balanced"]


def order_objects(
    labels: NDArray[np.int64], strategy: Strategy, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return all objects in the order in which an annotator clicks them.

    Args:
        labels: int64 (N,), classes of the objects.
        strategy: ``"uniform"``: every order is equally likely, so frequent classes come first
            more often. ``"class-balanced"``: rounds, each of one object of every class that has
            any left, classes and objects in random order.
        rng: Source of randomness.

    Returns:
        int64 (N,), a permutation of ``range(N)``.
    """
    order = rng.permutation(len(labels))
    if strategy == "uniform":
        return order
    rounds = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels[order] == label)
        rounds[members] = np.arange(len(members))
    return order[np.lexsort((rng.random(len(labels)), rounds))]


def click_on(
    box: NDArray[np.float32], label: int, jitter: float, rng: np.random.Generator
) -> Click:
    """Click an object: uniform in the central part of its box.

    Args:
        box: float32 (4,), xyxy.
        label: Class of the object.
        jitter: Width and height of the central part as a fraction of the box's, 0 to 1; 0 is the
            exact centre.
        rng: Source of randomness.
    """
    x1, y1, x2, y2 = (float(value) for value in box)
    u, v = rng.uniform(-0.5, 0.5, size=2) * jitter
    return Click((x1 + x2) / 2 + u * (x2 - x1), (y1 + y2) / 2 + v * (y2 - y1), label)


@dataclass(frozen=True)
class ClickSampler:
    """Draws the clicks of one training step.

    With ``zero_probability`` there is no click at all; otherwise their number is uniform between
    0 and ``max_clicks``, both included, or between 0 and the number of objects where there are
    fewer objects. No object is clicked twice.

    Attributes:
        max_clicks: Most clicks of a picture.
        zero_probability: Of a picture without clicks, on top of the zeros of the uniform draw.
        balanced_probability: Of the strategy ``"class-balanced"``; otherwise it is ``"uniform"``.
        jitter: See ``click_on``.
    """

    max_clicks: int = 20
    zero_probability: float = 0.15
    balanced_probability: float = 0.5
    jitter: float = 0.5

    def __post_init__(self) -> None:
        if self.max_clicks < 0:
            raise ValueError(f"max_clicks must not be negative, it is {self.max_clicks}")
        for name in ("zero_probability", "balanced_probability", "jitter"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be between 0 and 1, it is {value}")

    def sample(
        self, boxes: NDArray[np.float32], labels: NDArray[np.int64], rng: np.random.Generator
    ) -> list[Click]:
        """Draw clicks for one picture.

        Args:
            boxes: float32 (N, 4), xyxy, after augmentation.
            labels: int64 (N,).
            rng: Source of randomness; the same state gives the same clicks.

        Returns:
            The clicks in the order in which they are made; empty where there is no object.
        """
        if rng.random() < self.zero_probability:
            return []
        number = int(rng.integers(0, min(self.max_clicks, len(labels)), endpoint=True))
        balanced = rng.random() < self.balanced_probability
        order = order_objects(labels, "class-balanced" if balanced else "uniform", rng)
        return [click_on(boxes[i], int(labels[i]), self.jitter, rng) for i in order[:number]]


@dataclass(frozen=True)
class ClickSequence:
    """Clicks of one evaluated picture; the state after ``n`` clicks is the first ``n``.

    Attributes:
        clicks: In order.
        objects: Index of the clicked object in ``Annotated.boxes``, one a click.
    """

    clicks: tuple[Click, ...]
    objects: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.clicks)

    def first(self, number: int) -> ClickSequence:
        """Return the state after ``number`` clicks, or the whole where there are fewer."""
        return ClickSequence(self.clicks[:number], self.objects[:number])


def click_sequence(
    annotated: Annotated,
    rng: np.random.Generator,
    max_clicks: int = 20,
    labels: Collection[int] | None = None,
    jitter: float = 0.5,
) -> ClickSequence:
    """Draw the clicks that an evaluation gives one after the other.

    Args:
        annotated: The picture.
        rng: Source of randomness.
        max_clicks: Fewer where the picture has fewer objects.
        labels: Click only objects of these classes; ``None``: of every class.
        jitter: See ``click_on``.

    Returns:
        Distinct objects in uniformly random order.
    """
    candidates: NDArray[np.int64] = np.arange(len(annotated.labels))
    if labels is not None:
        candidates = candidates[np.isin(annotated.labels, list(labels))]
    order = candidates[order_objects(annotated.labels[candidates], "uniform", rng)][:max_clicks]
    clicks = tuple(
        click_on(annotated.boxes[i], int(annotated.labels[i]), jitter, rng) for i in order
    )
    return ClickSequence(clicks, tuple(int(i) for i in order))


def save_sequences(path: Path, sequences: Mapping[str, ClickSequence]) -> None:
    """Write the sequences of a run, by name of picture, as JSON.

    A sequence is a list of ``{"x", "y", "label", "positive", "object"}``.
    """
    content = {
        name: [
            {
                "x": click.x,
                "y": click.y,
                "label": click.label,
                "positive": click.positive,
                "object": index,
            }
            for click, index in zip(sequence.clicks, sequence.objects, strict=True)
        ]
        for name, sequence in sequences.items()
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


def load_sequences(path: Path) -> dict[str, ClickSequence]:
    """Read what ``save_sequences`` wrote.

    Raises:
        ValueError: The file is not such JSON; the message names the file.
    """
    try:
        content = json.loads(path.read_text())
        return {name: _sequence(clicks) for name, clicks in content.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not hold click sequences: {error!r}") from error


def _sequence(content: list[dict[str, Any]]) -> ClickSequence:
    clicks = tuple(
        Click(float(item["x"]), float(item["y"]), int(item["label"]), bool(item["positive"]))
        for item in content
    )
    return ClickSequence(clicks, tuple(int(item["object"]) for item in content))

"""Synthetic annotators: clicks on pictures whose objects are known, for training and evaluation.

An annotator is a `ClickStrategy`, a value of named probabilities. `STRATEGIES` is the table of
those with a name; `parse_strategy` reads a name with changes, such as
``"uniform,wrong_class_probability=0.1"``, from a command line or a JSON file. Clicks are drawn
after augmentation, so that what is clicked is in the picture, and from the random generator that
the caller passes, so that its seed repeats them. An ignored object is never clicked.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from c3det.boxes import contains, iou
from c3det.clicks import Click
from c3det.detections import Detections
from training.clicks.sequences import BACKGROUND, ClickSequence
from training.data.annotated import Annotated

Number = Literal["inclusive", "reference"]

FOUND_IOU = 0.5
"""An object counts as found from this overlap with a detection of its class on."""

BACKGROUND_TRIES = 64


@dataclass(frozen=True)
class ClickStrategy:
    """How a synthetic annotator clicks.

    No object is clicked twice. By default a click is positive, carries the class of its object, and
    lies uniformly in the central part of its box.

    Attributes:
        name: What `parse_strategy` made it from.
        max_clicks: Most clicks of a picture in training.
        number: How many they are in training, of a picture with N objects. ``"inclusive"``: uniform
            between 0 and the smaller of ``max_clicks`` and N, both included. ``"reference"``: as in
            the authors' code, whose ``randint`` leaves the upper end out, so that a single object
            is never clicked and ``max_clicks`` are never made.
        zero_probability: Of a training picture without clicks, on top of the zeros of ``number``.
        balanced_probability: Of an order in rounds, each of one object of every class that has any
            left, drawn once for the clicks that are made at once. Otherwise every order is equally
            likely, and frequent classes come first more often.
        error_probability: Of a click that, where detections are known, goes to an object that they
            miss or give another class, as long as there is any (RITM, arXiv 2102.06583).
        background_probability: Of a negative click: on a detection of nothing where detections are
            known and there is any, otherwise anywhere outside all boxes.
        wrong_class_probability: Of a positive click that names another class than its object's.
        extent: Width and height of the central region that is clicked, as a fraction of the box's,
            0 to 1; 0 is the exact centre, 1 the whole box.
        jitter_px: Standard deviation of a normal error of both coordinates, in pixels, which may
            lead out of the box; at the picture's edge it ends.
        whole_pixels: Whether coordinates are rounded down, as the reference's are.
    """

    name: str
    max_clicks: int = 20
    number: Number = "inclusive"
    zero_probability: float = 0.15
    balanced_probability: float = 0.0
    error_probability: float = 0.0
    background_probability: float = 0.0
    wrong_class_probability: float = 0.0
    extent: float = 0.5
    jitter_px: float = 0.0
    whole_pixels: bool = False

    def __post_init__(self) -> None:
        if self.number not in get_args(Number):
            raise ValueError(f"number must be inclusive or reference, it is {self.number!r}")
        for field in fields(self):
            value = getattr(self, field.name)
            if (
                field.name.endswith("_probability") or field.name == "extent"
            ) and not 0 <= value <= 1:
                raise ValueError(f"{field.name} must be between 0 and 1, it is {value}")
            if field.name in ("max_clicks", "jitter_px") and not 0 <= value < math.inf:
                raise ValueError(f"{field.name} must be a number of at least 0, it is {value}")

    @property
    def sees_answers(self) -> bool:
        """Whether the annotator has to see what is detected."""
        return self.error_probability > 0

    def draw_number(self, picture: Annotated, rng: np.random.Generator) -> int:
        """Draw how many clicks a training picture gets, as ``number`` says."""
        if _happens(self.zero_probability, rng):
            return 0
        most = min(self.max_clicks, int((~picture.ignored).sum()))
        inclusive = self.number == "inclusive" or most == 0
        return int(rng.integers(0, most, endpoint=inclusive))

    def sample(self, picture: Annotated, rng: np.random.Generator) -> list[Click]:
        """Draw the clicks of one training picture, by an annotator who sees no answer.

        Args:
            picture: After augmentation.
            rng: Source of randomness; the same state gives the same clicks.

        Returns:
            The clicks in the order in which they are made; empty where there is no object.
        """
        number = self.draw_number(picture, rng)
        return list(self.grow(picture, ClickSequence(), number, rng).clicks)

    def grow(
        self,
        picture: Annotated,
        sequence: ClickSequence,
        number: int,
        rng: np.random.Generator,
        detections: Detections | None = None,
        labels: Collection[int] | None = None,
    ) -> ClickSequence:
        """Go on clicking.

        An annotator who looks at the answer to each click is grown by one click at a time, each
        time with the detections that answer the clicks so far.

        Args:
            picture: The picture.
            sequence: The clicks so far.
            number: How many clicks to add; fewer where the objects run out.
            rng: Source of randomness.
            detections: What the annotator sees, if anything: boxes from the served threshold on.
            labels: Classes that wrong and negative clicks may name; ``None``: those that occur in
                the picture.

        Returns:
            The old clicks and the new ones.
        """
        clickable = ~picture.ignored
        clicked = np.array([i for i in sequence.objects if i != BACKGROUND], np.int64)
        clickable[clicked] = False
        left = np.flatnonzero(clickable)
        balanced = _happens(self.balanced_probability, rng)
        order = left[
            order_objects(picture.labels[left], balanced, rng, picture.labels[clicked])
        ].tolist()
        errors = set() if detections is None else set(missed(picture, detections).tolist())
        false = [] if detections is None else false_positives(picture, detections).tolist()
        names = sorted(set(picture.labels.tolist()) if labels is None else labels)

        clicks, objects = list(sequence.clicks), list(sequence.objects)
        while order and len(clicks) < len(sequence) + number:
            if _happens(self.background_probability, rng):
                point = (
                    _centre(detections.boxes[false.pop(int(rng.integers(len(false))))])
                    if false and detections is not None
                    else background_point(picture, rng)
                )
                if point is not None:
                    clicks.append(Click(*point, int(rng.choice(names)), positive=False))
                    objects.append(BACKGROUND)
                    continue
            place = 0
            if _happens(self.error_probability, rng):
                place = next((i for i, one in enumerate(order) if one in errors), 0)
            index = order.pop(place)
            clicks.append(self._click(picture, index, names, rng))
            objects.append(index)
        return ClickSequence(tuple(clicks), tuple(objects))

    def _click(
        self, picture: Annotated, index: int, names: list[int], rng: np.random.Generator
    ) -> Click:
        x1, y1, x2, y2 = picture.boxes[index].tolist()
        u, v = (rng.uniform(-0.5, 0.5, size=2) * self.extent).tolist()
        x, y = (x1 + x2) / 2 + u * (x2 - x1), (y1 + y2) / 2 + v * (y2 - y1)
        if self.jitter_px:
            across, down = rng.normal(0, self.jitter_px, size=2).tolist()
            x, y = x + across, y + down
        if self.whole_pixels:
            x, y = math.floor(x), math.floor(y)
        label = int(picture.labels[index])
        if _happens(self.wrong_class_probability, rng):
            label = int(rng.choice([name for name in names if name != label] or [label]))
        return Click(
            float(min(max(x, 0), picture.width)), float(min(max(y, 0), picture.height)), label
        )


STRATEGIES = {
    strategy.name: strategy
    for strategy in (
        ClickStrategy("uniform"),
        ClickStrategy("mixed", zero_probability=0.35, balanced_probability=0.5),
        ClickStrategy("class-balanced", balanced_probability=1.0),
        ClickStrategy(
            "reference", number="reference", zero_probability=0.0, extent=0.0, whole_pixels=True
        ),
        ClickStrategy("centre", extent=0.0),
        ClickStrategy("in-box", extent=1.0),
        ClickStrategy("jitter", extent=0.0, jitter_px=3.0),
        ClickStrategy("wrong-class", wrong_class_probability=0.1),
        ClickStrategy("background", background_probability=0.2),
        ClickStrategy("errors", error_probability=1.0),
    )
}
"""By name. By default `training.train` uses ``"mixed"`` and `training.evaluate` ``"uniform"``."""


def parse_strategy(spec: str) -> ClickStrategy:
    """Read a strategy: ``NAME``, or ``NAME,FIELD=VALUE,...`` to change some fields of one.

    Raises:
        ValueError: No such name or field, or no such value of the field.
    """
    name, *changes = spec.split(",")
    if name not in STRATEGIES:
        raise ValueError(f"there is no click strategy {name!r}, only {', '.join(STRATEGIES)}")
    types = {
        field.name: type(getattr(STRATEGIES[name], field.name))
        for field in fields(ClickStrategy)
        if field.name != "name"
    }
    values: dict[str, Any] = {"name": spec}
    for change in changes:
        field, _, text = change.partition("=")
        if field not in types:
            raise ValueError(
                f"click strategy {spec!r}: there is no field {field!r}, only {', '.join(types)}"
            )
        try:
            values[field] = _read(text, types[field])
        except (KeyError, ValueError):
            kind = {int: "a whole number", float: "a number", bool: "true or false"}[types[field]]
            raise ValueError(f"click strategy {spec!r}: {field} is {text!r}, not {kind}") from None
    try:
        return replace(STRATEGIES[name], **values)
    except ValueError as error:
        raise ValueError(f"click strategy {spec!r}: {error}") from error


def _read(text: str, kind: type) -> Any:
    if kind is bool:
        return {"true": True, "false": False}[text]
    return kind(text)


def order_objects(
    labels: NDArray[np.int64],
    balanced: bool,
    rng: np.random.Generator,
    clicked: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Return all objects in the order in which an annotator clicks them.

    Args:
        labels: int64 (N,), classes of the objects.
        balanced: Whether the order goes in rounds, each of one object of every class that has any
            left, classes and objects in random order; otherwise every order is equally likely.
        rng: Source of randomness.
        clicked: int64 (M,), classes of the objects that were clicked before; they are part of the
            rounds.

    Returns:
        int64 (N,), a permutation of ``range(N)``.
    """
    order = rng.permutation(len(labels))
    if not balanced:
        return order
    rounds = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels[order] == label)
        before = 0 if clicked is None else int((clicked == label).sum())
        rounds[members] = np.arange(before, before + len(members))
    return order[np.lexsort((rng.random(len(labels)), rounds))]


def missed(picture: Annotated, detections: Detections) -> NDArray[np.int64]:
    """Objects that no detection of their class overlaps by `FOUND_IOU`, in their order."""
    return np.flatnonzero(
        [
            not (iou(box, detections.boxes[detections.labels == label]) >= FOUND_IOU).any()
            for box, label in zip(picture.boxes, picture.labels, strict=True)
        ]
    )


def false_positives(picture: Annotated, detections: Detections) -> NDArray[np.int64]:
    """Detections of nothing: their centre lies in no box of an object, and they answer no click."""
    return np.flatnonzero(
        [
            click < 0 and is_of_nothing(picture, box)
            for box, click in zip(detections.boxes, detections.clicks, strict=True)
        ]
    )


def background_point(picture: Annotated, rng: np.random.Generator) -> tuple[float, float] | None:
    """Draw a point outside all boxes, uniformly; ``None`` where 64 tries find none."""
    points = rng.uniform((0, 0), (picture.width, picture.height), size=(BACKGROUND_TRIES, 2))
    return next(
        ((x, y) for x, y in points.tolist() if not contains(picture.boxes, x, y).any()), None
    )


def is_of_nothing(picture: Annotated, box: NDArray[np.float32]) -> bool:
    """Whether the centre of a box lies in no box of an object."""
    return not contains(picture.boxes, *_centre(box)).any()


def _centre(box: NDArray[np.float32]) -> tuple[float, float]:
    x1, y1, x2, y2 = box.tolist()
    return (x1 + x2) / 2, (y1 + y2) / 2


def _happens(probability: float, rng: np.random.Generator) -> bool:
    """Draw whether something happens; what never does draws nothing."""
    return probability > 0 and bool(rng.random() < probability)

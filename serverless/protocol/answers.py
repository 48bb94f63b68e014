"""Answers: what the function writes, and what its callers read.

Only answers of the plugin's forms are read here. CVAT reads the others.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from serverless.protocol.common import (
    EXEMPLARS_VERSION,
    MOST_THUMBNAIL_BYTES,
    MOST_VECTOR_BYTES,
    PROTOCOL_VERSION,
    AnswerError,
    Bounds,
    EncodedExemplar,
    Point,
    RequestError,
    is_index,
    is_number,
    is_share,
    is_size,
)


@dataclass(frozen=True, slots=True)
class Rival:
    """The class that comes second for a box, where it does not come far behind.

    Attributes:
        label: As that of a `Box`.
        score: 0 to 1.
    """

    label: int
    score: float

    @classmethod
    def read(cls, value: Any) -> Rival:
        """Read the rival of a box.

        Raises:
            AnswerError: It is none.
        """
        if not (
            isinstance(value, dict)
            and is_index(value.get("class"))
            and is_share(value.get("score"))
        ):
            raise AnswerError("its rival is no class with a score from 0 to 1")
        return cls(value["class"], value["score"])


@dataclass(frozen=True, slots=True)
class Box:
    """One object in an answer.

    Attributes:
        label: Its class: a position in the function's list, or in the caller's for an open
            function; ``None``: of no class, found by an open function without clicks.
        name: Of the class; ``None`` from an open function, which does not know it.
        points: ``(x1, y1, x2, y2)`` in pixels of the picture, before the rotation.
        score: 0 to 1.
        clicks: Indices in ``pos_points`` of all clicks that it answers; the last of them decided.
        rotation: Degrees, clockwise about the centre.
        rival: ``None`` where no other class comes near; the key is then left out.
    """

    label: int | None
    name: str | None
    points: tuple[float, float, float, float]
    score: float
    clicks: tuple[int, ...] = ()
    rotation: float = 0.0
    rival: Rival | None = None

    def body(self) -> dict[str, Any]:
        """The box as an answer has it."""
        body: dict[str, Any] = {
            "class": self.label,
            "label": self.name,
            "points": list(self.points),
            "rotation": self.rotation,
            "score": self.score,
            "click": self.clicks[-1] if self.clicks else None,
            "clicks": list(self.clicks),
        }
        if self.rival is not None:
            body["rival"] = {"class": self.rival.label, "score": self.rival.score}
        return body

    @classmethod
    def read(cls, value: Any) -> Box:
        """Read a box of an answer. Older functions give the last click alone.

        Raises:
            AnswerError: It is no box.
        """
        if not isinstance(value, dict):
            raise AnswerError("it is no JSON object")
        label, name, score = value.get("class"), value.get("label"), value.get("score")
        if not (label is None or is_index(label)):
            raise AnswerError("its class is no index")
        if not (name is None or isinstance(name, str)):
            raise AnswerError("its label is no name")
        if not is_share(score):
            raise AnswerError("its score is no number from 0 to 1")
        rotation, points = value.get("rotation", 0.0), value.get("points")
        if not is_number(rotation):
            raise AnswerError("its rotation is no number")
        if not (isinstance(points, list) and len(points) == 4 and all(map(is_number, points))):
            raise AnswerError("its points are not four numbers")
        x1, y1, x2, y2 = points
        last, clicks = value.get("click"), value.get("clicks", [])
        if not (isinstance(clicks, list) and all(map(is_index, clicks))):
            raise AnswerError("its clicks are no list of indices")
        if not (last is None or is_index(last)):
            raise AnswerError("its click is no index")
        if last is not None:
            clicks = [*(index for index in clicks if index != last), last]
        rival = None if value.get("rival") is None else Rival.read(value["rival"])
        return cls(label, name, (x1, y1, x2, y2), score, tuple(clicks), rotation, rival)


@dataclass(frozen=True, slots=True)
class PluginAnswer:
    """An answer of the plugin form. Where there is an error, the rest is empty or ``None``.

    Attributes:
        model: Name of the weights.
        boxes: The objects.
        error: Why there are none.
        threshold: Score from which on boxes are shown, unless the annotator chooses one: that of
            the weights.
        timings_ms: Milliseconds by stage, see `serverless.record.STAGES`.
        cache: ``hit`` where the picture was known, ``miss`` where not.
        coverage: Share of the picture's area, 0 to 1, that was searched with these clicks.
        progress: Share of all work for them that is done: while it is below 1, the same request
            goes on where this one ended, and it grows with each.
        notes: Short sentences for people.
    """

    model: str
    boxes: tuple[Box, ...] = ()
    error: RequestError | None = None
    threshold: float | None = None
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    cache: str | None = None
    coverage: float | None = None
    progress: float | None = None
    notes: tuple[str, ...] = ()

    def body(self) -> dict[str, Any]:
        """The body."""
        return {
            "c3det": PROTOCOL_VERSION,
            "boxes": [box.body() for box in self.boxes],
            "error": None if self.error is None else self.error.to_json(),
            "model": self.model,
            "threshold": self.threshold,
            "timings_ms": dict(self.timings_ms),
            "cache": self.cache,
            "coverage": self.coverage,
            "progress": self.progress,
            "notes": list(self.notes),
        }

    @classmethod
    def read(cls, body: Any) -> PluginAnswer:
        """Read a body. Older functions have no progress; their coverage is taken for it.

        Raises:
            AnswerError: It is no answer of this version of the plugin form.
        """
        if not isinstance(body, dict) or body.get("c3det") != PROTOCOL_VERSION:
            raise AnswerError(
                f"the answer is not of version {PROTOCOL_VERSION} of the plugin's protocol"
            )
        error, boxes = body.get("error"), body.get("boxes")
        if error is not None:
            error, boxes = RequestError.read(error), []
        if not isinstance(boxes, list):
            raise AnswerError("the answer has no boxes")
        notes, coverage = body.get("notes"), _share(body, "coverage")
        progress = _share(body, "progress")
        return cls(
            str(body.get("model", "")),
            _read_all(boxes, "boxes", Box.read),
            error,
            _share(body, "threshold"),
            _timings(body),
            body.get("cache"),
            coverage,
            coverage if progress is None else progress,
            tuple(map(str, notes)) if isinstance(notes, list) else (),
        )


@dataclass(frozen=True, slots=True)
class ExemplarsAnswer:
    """An answer to a request for exemplars; like its request, of version 2.

    An error comes as a `PluginAnswer` instead, which every version of the callers reads.

    Attributes:
        model: Name of the weights.
        weights: SHA-256 of the weights, in hexadecimal. The exemplars are valid for these alone.
        exemplars: Of the clicks, then of the boxes, in their order; none while the progress is
            below 1.
        timings_ms: See `PluginAnswer`.
        cache: Likewise.
        progress: Likewise.
    """

    model: str
    weights: str
    exemplars: tuple[EncodedExemplar, ...] = ()
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    cache: str | None = None
    progress: float | None = None

    def body(self) -> dict[str, Any]:
        """The body."""
        return {
            "c3det": EXEMPLARS_VERSION,
            "exemplars": [
                {
                    "class": one.label,
                    "positive": one.positive,
                    "width": one.width,
                    "height": one.height,
                    "vector": base64.b64encode(one.vector).decode(),
                    "thumbnail": base64.b64encode(one.thumbnail).decode(),
                }
                for one in self.exemplars
            ],
            "weights": self.weights,
            "error": None,
            "model": self.model,
            "timings_ms": dict(self.timings_ms),
            "cache": self.cache,
            "progress": self.progress,
        }

    @classmethod
    def read(cls, body: Any) -> ExemplarsAnswer:
        """Read a body.

        Raises:
            RequestError: It holds an error.
            AnswerError: It is no answer to a request for exemplars.
        """
        if isinstance(body, dict) and body.get("error") is not None:
            raise RequestError.read(body["error"])
        if not isinstance(body, dict) or body.get("c3det") != EXEMPLARS_VERSION:
            raise AnswerError("the answer has no exemplars: the function is another one")
        exemplars, weights = body.get("exemplars"), body.get("weights")
        if not isinstance(exemplars, list):
            raise AnswerError("the answer has no exemplars")
        if not (isinstance(weights, str) and re.fullmatch("[0-9a-f]{64}", weights)):
            raise AnswerError("the answer does not tell the weights of its exemplars")
        return cls(
            str(body.get("model", "")),
            weights,
            _read_all(exemplars, "exemplars", _read_exemplar),
            _timings(body),
            body.get("cache"),
            _share(body, "progress"),
        )


@dataclass(frozen=True, slots=True)
class Mask:
    """One object in an answer of the built-in form, as CVAT stores masks.

    Attributes:
        runs: Run lengths of the crop, row by row; the first counts zeros.
        bounds: Of the crop.
        score: 0 to 1.
    """

    runs: tuple[int, ...]
    bounds: Bounds
    score: float

    def body(self) -> dict[str, Any]:
        """The mask as an answer has it; CVAT's page fails where the attributes are missing."""
        return {
            "type": "mask",
            "points": [*self.runs, *self.bounds],
            "attributes": [{"spec_id": 0, "value": f"{self.score:.4f}"}],
            "group": 0,
            "rotation": 0,
        }


@dataclass(frozen=True, slots=True)
class BuiltInAnswer:
    """An answer of the built-in form.

    Attributes:
        mask: Of the object under the last positive click, rows of 0 and 1 within ``bounds``.
        bounds: Of the mask.
        points: The object's polygon, in pixels.
        shapes: All objects, by falling score.
    """

    mask: list[list[int]]
    bounds: Bounds
    points: tuple[Point, ...]
    shapes: tuple[Mask, ...]

    def body(self) -> dict[str, Any]:
        """The body."""
        return {
            "mask": self.mask,
            "bounds": list(self.bounds),
            "points": [list(point) for point in self.points],
            "shapes": [shape.body() for shape in self.shapes],
        }


def detector_body(boxes: Sequence[Box]) -> list[dict[str, Any]]:
    """The body of an answer of the detector form.

    Args:
        boxes: Each with the name of its class. CVAT reads points and rotation as the corners before
            the rotation, and degrees clockwise about the centre.
    """
    return [
        {
            "label": box.name,
            "type": "rectangle",
            "points": list(box.points),
            "rotation": box.rotation,
            "confidence": str(box.score),
        }
        for box in boxes
    ]


def _read_exemplar(value: Any) -> EncodedExemplar:
    if not isinstance(value, dict):
        raise AnswerError("it is no JSON object")
    label, positive = value.get("class"), value.get("positive")
    if not (is_index(label) and isinstance(positive, bool)):
        raise AnswerError("it has no class and sign")
    size = [value.get("width"), value.get("height")]
    if not is_size(size):
        raise AnswerError("it has no width and height")
    files = []
    for name, most in (("vector", MOST_VECTOR_BYTES), ("thumbnail", MOST_THUMBNAIL_BYTES)):
        text = value.get(name)
        try:
            file = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
        except ValueError:
            file = b""
        if not 1 <= len(file) <= most:
            raise AnswerError(f"its {name} is no base64 of at most {most} bytes")
        files.append(file)
    return EncodedExemplar(label, positive, float(size[0]), float(size[1]), files[0], files[1])


Item = TypeVar("Item")


def _read_all(values: list[Any], name: str, read: Callable[[Any], Item]) -> tuple[Item, ...]:
    """Read the items of a list of an answer; an error names the item."""
    items = []
    for index, value in enumerate(values):
        try:
            items.append(read(value))
        except AnswerError as error:
            raise AnswerError(f"{name}[{index}] of the answer is malformed: {error}") from None
    return tuple(items)


def _share(body: Mapping[str, Any], name: str) -> float | None:
    """A number from 0 to 1 of an answer; ``None`` where there is none."""
    value = body.get(name)
    return float(value) if is_share(value) else None


def _timings(body: Mapping[str, Any]) -> Mapping[str, float]:
    times = body.get("timings_ms")
    return times if isinstance(times, dict) else {}

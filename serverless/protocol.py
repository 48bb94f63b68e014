"""The wire between the function and those who call it, in both directions.

Three forms. The *plugin* form is that of CVAT's plugin, of the page and of the helper for whole
jobs: clicks of several labels in, boxes out. CVAT passes nothing but pairs of numbers, so the label
of each click travels in ``neg_points``, behind the header ``[-1, 1]`` (-1, then the version of the
protocol): one pair ``[class, sign]`` per point of ``pos_points``, so that the pair of
``pos_points[k]`` is ``neg_points[k + 1]``. The sign is 1 for an object, 0 for "no object here". The
class is a position in the function's list of classes, ``spec``. An *open* function has none
(``spec`` is ``[]``), and the class is a position in the caller's own list of labels: 0 to
`LARGEST_LABEL`, with gaps or without, at most `MOST_LABELS` different ones a request.

Without a header the request is a *built-in* one, of CVAT's own panel: plain clicks whose label is
not told. The *detector* has an address of its own: a picture without clicks. Keys that a form does
not know are ignored.

The answer of the plugin form is ``{"c3det": 1, "boxes": [...], "error": null or {...}, "model",
"threshold", "timings_ms", "cache": "hit" or "miss", "coverage": 0 to 1, "progress": 0 to 1,
"notes": [...]}``; see `PluginAnswer` and `Box`. It has neither ``mask`` nor ``shapes``, so that
every version of CVAT passes it on untouched, and its errors travel with status 200, because CVAT
keeps no other body. The built-in form carries ``mask``, ``bounds`` and ``points`` of one object for
CVAT 2.15 to 2025, and ``shapes`` of all objects for CVAT 2026, so that one answer serves every
version. The detector's answer is a list of rectangles.

``tests/protocol`` has examples of all, which the tests of the page and of the plugin read too.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeGuard

from c3det.clicks import Click

PROTOCOL_VERSION = 1
HEADER_MARK = -1

MOST_LABELS = 64
"""Different labels in one request to an open function."""

LARGEST_LABEL = 255
"""Of a click for an open function."""

STATUS = {"too_large": 413, "internal": 500, "out_of_memory": 503, "unfinished": 503}
"""HTTP status of an error outside the plugin form by its code; 400 for the others."""

Point = tuple[float, float]
"""``(x, y)`` in pixels of the picture."""

Bounds = tuple[int, int, int, int]
"""Inclusive ``(left, top, right, bottom)``, in whole pixels."""


class Form(Enum):
    """The form of a request, and so of its answer."""

    PLUGIN = "plugin"
    BUILT_IN = "built-in"
    DETECTOR = "detector"


class RequestError(Exception):
    """A request that cannot be answered as it is.

    Attributes:
        code: Kind of the error, a short constant for programs: ``malformed``, ``missing``,
            ``invalid``, ``outside``, ``too_large``, ``unsupported``, ``undecodable``,
            ``nothing_left``, ``unfinished``, ``out_of_memory`` or ``internal``.
        message: One sentence for people.
        field: The part of the request that is at fault, such as ``pos_points[3]``; ``None`` if
            no part is.
    """

    def __init__(self, code: str, message: str, field: str | None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field

    @property
    def status(self) -> int:
        """Of the answer over HTTP, outside the plugin form."""
        return STATUS.get(self.code, 400)

    def told(self) -> dict[str, str | None]:
        """The error as an answer tells it."""
        return {"code": self.code, "message": self.message, "field": self.field}

    def body(self) -> dict[str, Any]:
        """The body of an answer outside the plugin form."""
        return {"error": self.told()}

    @classmethod
    def read(cls, told: Any) -> RequestError:
        """Read what an answer tells.

        Raises:
            AnswerError: It is not an error of this protocol.
        """
        texts = (str, type(None))
        if not (
            isinstance(told, dict)
            and isinstance(told.get("message"), str)
            and isinstance(told.get("code"), texts)
            and isinstance(told.get("field"), texts)
        ):
            raise AnswerError("the error in the answer has no message")
        return cls(told.get("code") or "internal", told["message"], told.get("field"))


class AnswerError(Exception):
    """A body that is no answer of the form that was asked for; one sentence."""


# Requests


@dataclass(frozen=True, slots=True)
class PluginRequest:
    """A request of the plugin's form.

    Attributes:
        picture: The encoded picture, the bytes of its file.
        clicks: In the order of ``pos_points``.
        threshold: Lowest score of a box in the answer, ``None`` for the default of the weights.
    """

    picture: bytes
    clicks: tuple[Click, ...]
    threshold: float | None = None

    @property
    def points(self) -> Mapping[str, Sequence[Point]]:
        """The points by the field that they came in."""
        return {"pos_points": [(click.x, click.y) for click in self.clicks]}

    def body(self) -> dict[str, Any]:
        """The body."""
        return {"image": encoded(self.picture), **plugin_prompts(self.clicks, self.threshold)}


@dataclass(frozen=True, slots=True)
class BuiltInRequest:
    """A request of CVAT's own interactor panel.

    Attributes:
        picture: The encoded picture, the bytes of its file.
        positive: Points on objects, at least one, in the order of the clicks.
        negative: Points where there is no object.
        threshold: Lowest score of a box in the answer, ``None`` for the default of the weights.
    """

    picture: bytes
    positive: tuple[Point, ...]
    negative: tuple[Point, ...] = ()
    threshold: float | None = None

    @property
    def points(self) -> Mapping[str, Sequence[Point]]:
        """The points by the field that they came in."""
        return {"pos_points": self.positive, "neg_points": self.negative}

    def clicks(self, label: int) -> list[Click]:
        """Return the points as clicks of the class ``label``, the positive ones first."""
        return [Click(x, y, label) for x, y in self.positive] + [
            Click(x, y, label, positive=False) for x, y in self.negative
        ]

    def body(self) -> dict[str, Any]:
        """The body."""
        return {
            "image": encoded(self.picture),
            "pos_points": [list(point) for point in self.positive],
            "neg_points": [list(point) for point in self.negative],
            **_threshold_told(self.threshold),
        }


@dataclass(frozen=True, slots=True)
class DetectorRequest:
    """A request of CVAT's automatic annotation.

    Attributes:
        picture: The encoded picture, the bytes of its file.
        threshold: Lowest score of a box in the answer, ``None`` for the default of the weights.
    """

    picture: bytes
    threshold: float | None = None

    @property
    def points(self) -> Mapping[str, Sequence[Point]]:
        """No points."""
        return {}

    def body(self) -> dict[str, Any]:
        """The body."""
        return {"image": encoded(self.picture), **_threshold_told(self.threshold)}


AnyRequest = PluginRequest | BuiltInRequest | DetectorRequest


def plugin_prompts(clicks: Sequence[Click], threshold: float | None = None) -> dict[str, Any]:
    """The body of a plugin's request without the picture, which CVAT adds by itself."""
    return {
        "pos_points": [[click.x, click.y] for click in clicks],
        "neg_points": [
            [HEADER_MARK, PROTOCOL_VERSION],
            *([click.label, int(click.positive)] for click in clicks),
        ],
        **_threshold_told(threshold),
    }


def encoded(picture: bytes) -> str:
    """The file of a picture as requests carry it."""
    return base64.b64encode(picture).decode()


def _threshold_told(threshold: float | None) -> dict[str, float]:
    return {} if threshold is None else {"threshold": threshold}


def parse_body(body: object) -> dict[str, Any]:
    """Return the JSON object in the body of an event.

    Args:
        body: A ``dict`` where Nuclio has parsed the body (the content type was exactly
            ``application/json``), otherwise the bytes or the text as they arrived.

    Raises:
        RequestError: The body is not a JSON object.
    """
    if isinstance(body, (bytes, bytearray, str)):
        try:
            body = json.loads(body)
        except (ValueError, RecursionError):
            raise RequestError("malformed", "the body is not valid JSON", "body") from None
    if not isinstance(body, dict):
        raise RequestError("malformed", "the body must be a JSON object", "body")
    return body


def form_of(payload: Mapping[str, Any]) -> Form:
    """Return the form of an interactor's request: the header in ``neg_points`` decides.

    A header of any version makes it the plugin's.
    """
    pairs = payload.get("neg_points")
    if isinstance(pairs, list) and pairs:
        first = pairs[0]
        if isinstance(first, list) and first and _is_number(first[0]) and first[0] == HEADER_MARK:
            return Form.PLUGIN
    return Form.BUILT_IN


def read_plugin_request(
    payload: Mapping[str, Any], classes: Sequence[str], max_clicks: int
) -> PluginRequest:
    """Check a request of the plugin form.

    Args:
        payload: The body, whose form is ``Form.PLUGIN``.
        classes: Names of the function's classes; none: it is open.
        max_clicks: Most clicks that are accepted.

    Raises:
        RequestError: Something is missing, of the wrong type or out of range.
    """
    header, *pairs = payload["neg_points"]
    if header != [HEADER_MARK, PROTOCOL_VERSION]:
        raise RequestError(
            "unsupported",
            f"the header of neg_points must be [{HEADER_MARK}, {PROTOCOL_VERSION}]: this function "
            f"speaks version {PROTOCOL_VERSION} of the protocol",
            "neg_points",
        )
    points = _points(payload, "pos_points", max_clicks)
    if len(pairs) != len(points):
        raise RequestError(
            "invalid",
            f"neg_points must hold one pair for each of the {len(points)} points of pos_points "
            f"after its header, it holds {len(pairs)}",
            "neg_points",
        )
    clicks = []
    for index, ((x, y), pair) in enumerate(zip(points, pairs, strict=True), start=1):
        label, positive = _class_and_sign(pair, f"neg_points[{index}]", len(classes))
        clicks.append(Click(x, y, label, positive))
    labels = {click.label for click in clicks}
    if not classes and len(labels) > MOST_LABELS:
        raise RequestError(
            "too_large",
            f"neg_points holds {len(labels)} different labels, at most {MOST_LABELS} fit: ask "
            "about fewer labels at once",
            "neg_points",
        )
    return PluginRequest(_picture(payload), tuple(clicks), _threshold(payload))


def read_built_in_request(payload: Mapping[str, Any], max_clicks: int) -> BuiltInRequest:
    """Check a request of the built-in form.

    Args:
        payload: The body, whose form is ``Form.BUILT_IN``.
        max_clicks: Most clicks that are accepted, positive and negative ones together.

    Raises:
        RequestError: Something is missing, of the wrong type or out of range.
    """
    positive = _points(payload, "pos_points", max_clicks)
    if not positive:
        raise RequestError(
            "missing",
            "pos_points is empty: a click on an object is needed",
            "pos_points",
        )
    negative: tuple[Point, ...] = ()
    if payload.get("neg_points") is not None:
        negative = _points(payload, "neg_points", max_clicks - len(positive))
    return BuiltInRequest(_picture(payload), positive, negative, _threshold(payload))


def read_detector_request(payload: Mapping[str, Any]) -> DetectorRequest:
    """Check a request of the detector form.

    Raises:
        RequestError: Something is missing, of the wrong type or out of range.
    """
    return DetectorRequest(_picture(payload), _threshold(payload))


def check_inside(request: AnyRequest, image_size: tuple[int, int]) -> None:
    """Refuse points outside the picture; its edges belong to it.

    Args:
        request: The request.
        image_size: ``(height, width)`` of the picture as it is shown.

    Raises:
        RequestError: A point is outside; the field names the first one.
    """
    height, width = image_size
    for name, points in request.points.items():
        for index, (x, y) in enumerate(points):
            if not (0 <= x <= width and 0 <= y <= height):
                raise RequestError(
                    "outside",
                    f"{name}[{index}] is at ({x:g}, {y:g}), outside the picture of "
                    f"{width} x {height} pixels",
                    f"{name}[{index}]",
                )


def _is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value of a body is a finite number; true and false are not numbers."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _points(payload: Mapping[str, Any], field: str, max_points: int) -> tuple[Point, ...]:
    if payload.get(field) is None:
        raise RequestError("missing", f"{field} is missing: it must be a list of [x, y]", field)
    items = payload[field]
    if not isinstance(items, list):
        raise RequestError("invalid", f"{field} must be a list of [x, y]", field)
    if len(items) > max_points:
        raise RequestError(
            "too_large", f"{field} holds {len(items)} points, at most {max_points} fit", field
        )
    for index, item in enumerate(items):
        if not (isinstance(item, list) and len(item) == 2 and all(map(_is_number, item))):
            raise RequestError(
                "invalid",
                f"{field}[{index}] must be a pair [x, y] of finite numbers",
                f"{field}[{index}]",
            )
    return tuple((float(x), float(y)) for x, y in items)


def _class_and_sign(pair: object, field: str, num_classes: int) -> tuple[int, bool]:
    if not (isinstance(pair, list) and len(pair) == 2 and all(map(_is_number, pair))):
        raise RequestError("invalid", f"{field} must be a pair [class index, sign]", field)
    label, sign = pair
    name, largest = ("class index", num_classes - 1) if num_classes else ("label", LARGEST_LABEL)
    if label not in range(largest + 1):
        raise RequestError(
            "invalid", f"the {name} in {field} must be a whole number from 0 to {largest}", field
        )
    if sign not in (0, 1):
        raise RequestError(
            "invalid", f"the sign in {field} must be 1 (an object) or 0 (no object)", field
        )
    return int(label), sign == 1


def _picture(payload: Mapping[str, Any]) -> bytes:
    text = payload.get("image")
    if text is None:
        raise RequestError("missing", "image is missing: it must be a picture in base64", "image")
    if not isinstance(text, str):
        raise RequestError("invalid", "image must be a string: a picture in base64", "image")
    try:
        picture = base64.b64decode(text, validate=True)
    except ValueError:
        raise RequestError("invalid", "image is not valid base64", "image") from None
    if not picture:
        raise RequestError("missing", "image is empty: it must be a picture in base64", "image")
    return picture


def _threshold(payload: Mapping[str, Any]) -> float | None:
    threshold = payload.get("threshold")
    if threshold is None:
        return None
    if not (_is_number(threshold) and 0 <= threshold <= 1):
        raise RequestError("invalid", "threshold must be a number from 0 to 1", "threshold")
    return float(threshold)


# Answers


@dataclass(frozen=True, slots=True)
class Rival:
    """The class that a box is nearly as likely of as of its own.

    Attributes:
        label: As that of a `Box`.
        score: 0 to 1.
    """

    label: int
    score: float

    @classmethod
    def read(cls, told: Any) -> Rival:
        """Read the rival of a box.

        Raises:
            AnswerError: It is none.
        """
        label, score = (told.get("class"), told.get("score")) if isinstance(told, dict) else (0, 0)
        if not (isinstance(told, dict) and _is_index(label) and _is_score(score)):
            raise AnswerError("its rival is no class with a score from 0 to 1")
        return cls(label, score)


@dataclass(frozen=True, slots=True)
class Box:
    """One object in an answer of the plugin form.

    Attributes:
        label: Its class: a position in the function's list, or in the caller's for an open
            function; ``None``: of no class, found by an open function without clicks.
        name: Of the class; ``None`` from an open function, which does not know it.
        points: ``(x1, y1, x2, y2)`` in pixels of the picture, before the rotation.
        score: 0 to 1.
        clicks: Indices in ``pos_points`` of all clicks that it answers; the last of them decided.
        rotation: Degrees, clockwise about the centre.
        rival: The class that comes second, where it does not come far behind; the key is left out
            where there is none.
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
    def read(cls, told: Any) -> Box:
        """Read a box of an answer. Older functions tell the last click alone.

        Raises:
            AnswerError: It is no box.
        """
        if not isinstance(told, dict):
            raise AnswerError("it is no JSON object")
        label, name, score = told.get("class"), told.get("label"), told.get("score")
        if not (label is None or _is_index(label)):
            raise AnswerError("its class is no index")
        if not (name is None or isinstance(name, str)):
            raise AnswerError("its label is no name")
        if not _is_score(score):
            raise AnswerError("its score is no number from 0 to 1")
        rotation = told.get("rotation", 0.0)
        if not _is_number(rotation):
            raise AnswerError("its rotation is no number")
        x1, y1, x2, y2 = _four_numbers(told.get("points"))
        last, clicks = told.get("click"), told.get("clicks", [])
        if not (isinstance(clicks, list) and all(map(_is_index, clicks))):
            raise AnswerError("its clicks are no list of indices")
        if not (last is None or _is_index(last)):
            raise AnswerError("its click is no index")
        if last is not None:
            clicks = [*(index for index in clicks if index != last), last]
        rival = None if told.get("rival") is None else Rival.read(told["rival"])
        return cls(label, name, (x1, y1, x2, y2), score, tuple(clicks), rotation, rival)


@dataclass(frozen=True, slots=True)
class PluginAnswer:
    """An answer of the plugin form. Where there is an error, the rest is empty or ``None``.

    Attributes:
        model: Name of the weights.
        boxes: The objects.
        error: Why there are none.
        threshold: Score from which on the weights want boxes to be shown.
        timings_ms: What took how long, by stage.
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
            "error": None if self.error is None else self.error.told(),
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
        """Read a body. Of older functions, which tell no progress, the coverage is taken for it.

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
        read = []
        for index, told in enumerate(boxes):
            try:
                read.append(Box.read(told))
            except AnswerError as fault:
                raise AnswerError(f"boxes[{index}] of the answer is malformed: {fault}") from None
        coverage = _share(body, "coverage")
        progress = _share(body, "progress")
        notes = body.get("notes")
        times = body.get("timings_ms")
        return cls(
            str(body.get("model", "")),
            tuple(read),
            error,
            _share(body, "threshold"),
            times if isinstance(times, dict) else {},
            body.get("cache"),
            coverage,
            coverage if progress is None else progress,
            tuple(map(str, notes)) if isinstance(notes, list) else (),
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
        """The mask as an answer has it; a page fails where it lacks attributes."""
        return {
            "type": "mask",
            "points": [*self.runs, *self.bounds],
            "attributes": [{"spec_id": 0, "value": f"{self.score:.4f}"}],
            "group": 0,
            "rotation": 0,
        }

    @classmethod
    def read(cls, told: Any) -> Mask:
        """Read a mask of an answer.

        Raises:
            AnswerError: It is none.
        """
        try:
            *runs, left, top, right, bottom = map(int, told["points"])
            return cls(
                tuple(runs), (left, top, right, bottom), float(told["attributes"][0]["value"])
            )
        except (LookupError, TypeError, ValueError):
            raise AnswerError("a shape of the answer is no mask with a score") from None


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

    @classmethod
    def read(cls, body: Any) -> BuiltInAnswer:
        """Read a body.

        Raises:
            RequestError: It tells an error.
            AnswerError: It is no answer of the built-in form.
        """
        _raise_error(body)
        try:
            left, top, right, bottom = map(int, body["bounds"])
            points = tuple((float(x), float(y)) for x, y in body["points"])
            mask, shapes = body["mask"], tuple(map(Mask.read, body["shapes"]))
        except (LookupError, TypeError, ValueError):
            raise AnswerError("the answer has no mask with bounds and points") from None
        return cls(mask, (left, top, right, bottom), points, shapes)


@dataclass(frozen=True, slots=True)
class DetectorAnswer:
    """An answer of the detector form.

    Attributes:
        boxes: The objects, each with the name of its class. CVAT reads points and rotation in the
            same way, as the corners before the rotation and degrees clockwise about the centre.
    """

    boxes: tuple[Box, ...]

    def body(self) -> list[dict[str, Any]]:
        """The body."""
        return [
            {
                "label": box.name,
                "type": "rectangle",
                "points": list(box.points),
                "rotation": box.rotation,
                "confidence": str(box.score),
            }
            for box in self.boxes
        ]

    @classmethod
    def read(cls, body: Any, classes: Sequence[str]) -> DetectorAnswer:
        """Read a body.

        Args:
            body: Of the answer.
            classes: Names of the function's classes.

        Raises:
            RequestError: It tells an error.
            AnswerError: It is no answer of the detector form, or names another class.
        """
        _raise_error(body)
        if not isinstance(body, list):
            raise AnswerError("the answer is no list of rectangles")
        boxes = []
        for told in body:
            try:
                name = told["label"]
                x1, y1, x2, y2 = _four_numbers(told["points"])
                boxes.append(
                    Box(
                        list(classes).index(name),
                        name,
                        (x1, y1, x2, y2),
                        float(told["confidence"]),
                        rotation=float(told["rotation"]),
                    )
                )
            except (LookupError, TypeError, ValueError):
                raise AnswerError("a shape of the answer is no rectangle of a class") from None
        return cls(tuple(boxes))


def _raise_error(body: Any) -> None:
    if isinstance(body, dict) and body.get("error") is not None:
        raise RequestError.read(body["error"])


def _is_index(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_score(value: object) -> TypeGuard[float]:
    return _is_number(value) and 0 <= value <= 1


def _share(body: Mapping[str, Any], name: str) -> float | None:
    """A number from 0 to 1 of an answer; ``None`` where it tells none."""
    value = body.get(name)
    return float(value) if _is_number(value) and 0 <= value <= 1 else None


def _four_numbers(points: Any) -> tuple[float, float, float, float]:
    if not (isinstance(points, list) and len(points) == 4 and all(map(_is_number, points))):
        raise AnswerError("its points are not four numbers")
    x1, y1, x2, y2 = points
    return x1, y1, x2, y2

"""The wire between the function and those who call it, in both directions.

Three forms. The *plugin* form is that of CVAT's plugin, of the page and of the helper for whole
jobs: clicks of several labels in, boxes out. CVAT passes nothing but pairs of numbers, so the label
of each click travels in ``neg_points``, behind the header ``[-1, 1]`` (-1, then the version of the
protocol): one pair ``[class, sign]`` per point of ``pos_points``, so that the pair of
``pos_points[k]`` is ``neg_points[k + 1]``. The sign is 1 for an object, 0 for "no object here". The
class is a position in the function's list of classes, ``spec``. An *open* function has none
(``spec`` is ``[]``), and the class is a position in the caller's own list of labels: 0 to
`LARGEST_LABEL`, with gaps or without, at most `MOST_LABELS` different ones a request.

Version 2 carries *exemplars*, what an open model took under clicks and boxes of other pictures,
so that no function has to remember them. The caller asks once for those of a picture
(`Form.EXEMPLARS`, see `ExemplarsRequest`), keeps the answer (`ExemplarsAnswer`), and sends what it
wants of it with later requests (`CarriedExemplars`); the answer to these is that of version 1. A
function of before answers both with the error ``unsupported``. What a vector says is the model's: a
caller packs its bytes into numbers, six each (`packed`), and understands none of them.

An exemplar of 576 numbers is 51 pairs. Measured on one core, KB of a request's JSON, and
milliseconds to write it, to read it and to check it::

    exemplars                       none        10        50       200
    without a picture         KB       0        18        87       348
                              ms       0       1.5       9.5        33
    with a picture of 2 MB    KB    2796      2814      2883      3145
                              ms      15        20        23        51

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
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeGuard

from c3det.clicks import Click, LabelledBox

PROTOCOL_VERSION = 1
EXEMPLARS_VERSION = 2
"""Of requests for exemplars or with them, and of answers that hold some."""

HEADER_MARK = -1

TAKE, CARRY = 1, 2
"""First number after the header of version 2: exemplars are asked for, or come along."""

MOST_LABELS = 64
"""Different labels in one request to an open function."""

LARGEST_LABEL = 255
"""Of a click for an open function."""

MOST_EXEMPLARS = 256
"""That one request carries, or asks for; as many as `c3det.exemplars.MOST_ASKED`."""

MOST_VECTOR_BYTES = 4098
"""Of a vector."""

BYTES_PACKED = 6
"""In one number: a whole number below 2 ** 48 is exact wherever numbers are doubles."""

DIGEST_DIGITS = 12
"""Hexadecimal digits of the weights' SHA-256, its first, that tell which weights are meant."""

SIDES = (0.1, 100_000.0)
"""Of the box of an exemplar, in pixels."""

STATUS = {"too_large": 413, "internal": 500, "out_of_memory": 503, "unfinished": 503}
"""HTTP status of an error outside the plugin form by its code; 400 for the others."""

Point = tuple[float, float]
"""``(x, y)`` in pixels of the picture."""

Bounds = tuple[int, int, int, int]
"""Inclusive ``(left, top, right, bottom)``, in whole pixels."""


class Form(Enum):
    """The form of a request, and so of its answer."""

    PLUGIN = "plugin"
    EXEMPLARS = "exemplars"
    BUILT_IN = "built-in"
    DETECTOR = "detector"


class RequestError(Exception):
    """A request that cannot be answered as it is.

    Attributes:
        code: Kind of the error, a short constant for programs: ``malformed``, ``missing``,
            ``invalid``, ``outside``, ``too_large``, ``unsupported``, ``other_weights``,
            ``undecodable``, ``nothing_left``, ``unfinished``, ``out_of_memory`` or ``internal``.
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
        exemplars: Of other pictures; ``None`` makes the request one of version 1.
    """

    picture: bytes
    clicks: tuple[Click, ...]
    threshold: float | None = None
    exemplars: CarriedExemplars | None = None

    @property
    def points(self) -> Mapping[str, Sequence[Point]]:
        """The points by the field that they came in."""
        return {"pos_points": [(click.x, click.y) for click in self.clicks]}

    def body(self) -> dict[str, Any]:
        """The body."""
        prompts = plugin_prompts(self.clicks, self.threshold, self.exemplars)
        return {"image": encoded(self.picture), **prompts}


@dataclass(frozen=True, slots=True)
class CarriedExemplar:
    """One exemplar of another picture, in a request.

    Attributes:
        label: As that of a click.
        positive: Likewise.
        width: Of its box, in pixels.
        height: Likewise.
        vector: As the function gave it, see `Exemplar`.
    """

    label: int
    positive: bool
    width: float
    height: float
    vector: bytes


@dataclass(frozen=True, slots=True)
class CarriedExemplars:
    """The exemplars in a request, which are all of the same weights.

    In ``neg_points`` they are the pairs ``[-1, 2]``, ``[2, number of exemplars]``, ``[digest, bytes
    of a vector]``, then those of the clicks, then of each exemplar ``[class, sign]``, ``[width,
    height]`` and its vector, `packed`. The digest is the whole number of the first `DIGEST_DIGITS`
    hexadecimal digits of the weights' SHA-256.

    Attributes:
        digest: Of the weights, these digits.
        vector_bytes: Bytes of each vector.
        exemplars: At most `MOST_EXEMPLARS`.
    """

    digest: str
    vector_bytes: int
    exemplars: tuple[CarriedExemplar, ...]

    def pairs(self) -> list[list[float]]:
        """Those that follow the pairs of the clicks."""
        pairs: list[list[float]] = []
        for one in self.exemplars:
            pairs += [[one.label, int(one.positive)], [one.width, one.height]]
            pairs += packed(one.vector)
        return pairs


def packed(vector: bytes) -> list[list[float]]:
    """Bytes as pairs of numbers: six bytes a number, the first the highest; zeros fill the last.

    ``packed(bytes([1, 2]))`` is ``[[0x010200000000, 0]]``.
    """
    step = 2 * BYTES_PACKED
    filled = vector.ljust(-(-len(vector) // step) * step, b"\0")
    numbers = [
        int.from_bytes(filled[at : at + BYTES_PACKED], "big")
        for at in range(0, len(filled), BYTES_PACKED)
    ]
    return [[first, second] for first, second in zip(numbers[::2], numbers[1::2], strict=True)]


@dataclass(frozen=True, slots=True)
class ExemplarsRequest:
    """A request for what the model takes under clicks and in boxes, to find the like elsewhere.

    ``pos_points`` are the clicks, then two corners of each box, top left and bottom right.
    ``neg_points`` are ``[-1, 2]``, ``[1, number of boxes]``, and ``[class, sign]`` of each click,
    then of each box. Clicks and boxes are `MOST_EXEMPLARS` at most.

    Attributes:
        picture: The encoded picture, the bytes of its file.
        clicks: In the order of ``pos_points``.
        boxes: As people drew or accepted them; each is described as it is, and gives its own size.
    """

    picture: bytes
    clicks: tuple[Click, ...]
    boxes: tuple[LabelledBox, ...] = ()

    @property
    def points(self) -> Mapping[str, Sequence[Point]]:
        """The points by the field that they came in: of boxes, whose edges may stick out, none."""
        return {"pos_points": [(click.x, click.y) for click in self.clicks]}

    def body(self) -> dict[str, Any]:
        """The body."""
        return {"image": encoded(self.picture), **exemplar_prompts(self.clicks, self.boxes)}


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


AnyRequest = PluginRequest | ExemplarsRequest | BuiltInRequest | DetectorRequest


def plugin_prompts(
    clicks: Sequence[Click],
    threshold: float | None = None,
    exemplars: CarriedExemplars | None = None,
) -> dict[str, Any]:
    """The body of a plugin's request without the picture, which CVAT adds by itself."""
    header: list[list[float]] = [[HEADER_MARK, PROTOCOL_VERSION]]
    if exemplars is not None:
        header = [
            [HEADER_MARK, EXEMPLARS_VERSION],
            [CARRY, len(exemplars.exemplars)],
            [int(exemplars.digest, 16), exemplars.vector_bytes],
        ]
    return {
        "pos_points": [[click.x, click.y] for click in clicks],
        "neg_points": [
            *header,
            *_labels_told(clicks),
            *(exemplars.pairs() if exemplars is not None else ()),
        ],
        **_threshold_told(threshold),
    }


def exemplar_prompts(clicks: Sequence[Click], boxes: Sequence[LabelledBox]) -> dict[str, Any]:
    """The body of a request for exemplars without the picture, which CVAT adds by itself."""
    points = [[click.x, click.y] for click in clicks]
    for box in boxes:
        points += [[box.x1, box.y1], [box.x2, box.y2]]
    return {
        "pos_points": points,
        "neg_points": [
            [HEADER_MARK, EXEMPLARS_VERSION],
            [TAKE, len(boxes)],
            *_labels_told(clicks),
            *_labels_told(boxes),
        ],
    }


def _labels_told(given: Iterable[Click | LabelledBox]) -> list[list[float]]:
    return [[one.label, int(one.positive)] for one in given]


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

    A header of any version makes it the plugin's, or, where the pair after it says so, one for
    exemplars.
    """
    pairs = payload.get("neg_points")
    if isinstance(pairs, list) and pairs:
        first = pairs[0]
        if isinstance(first, list) and first and _is_number(first[0]) and first[0] == HEADER_MARK:
            second = pairs[1] if len(pairs) > 1 else None
            asked = first == _EXEMPLARS_HEADER and isinstance(second, list) and second[:1] == [TAKE]
            return Form.EXEMPLARS if asked else Form.PLUGIN
    return Form.BUILT_IN


_EXEMPLARS_HEADER = [HEADER_MARK, EXEMPLARS_VERSION]


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
    if header == _EXEMPLARS_HEADER:
        return _read_with_exemplars(payload, pairs, classes, max_clicks)
    if header != [HEADER_MARK, PROTOCOL_VERSION]:
        raise RequestError(
            "unsupported",
            f"the header of neg_points must be [{HEADER_MARK}, {PROTOCOL_VERSION}] or "
            f"{_EXEMPLARS_HEADER}: this function speaks versions {PROTOCOL_VERSION} and "
            f"{EXEMPLARS_VERSION} of the protocol",
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
    clicks = _clicks(points, pairs, 1, len(classes))
    if not classes:
        _check_number_of_labels(clicks)
    return PluginRequest(_picture(payload), clicks, _threshold(payload))


def _read_with_exemplars(
    payload: Mapping[str, Any], pairs: list[Any], classes: Sequence[str], max_clicks: int
) -> PluginRequest:
    _check_open(classes)
    points = _points(payload, "pos_points", max_clicks)
    what, count = _whole_pair(pairs, 0, "what is asked, and the number of exemplars")
    if what != CARRY:
        raise RequestError(
            "invalid",
            f"neg_points[1] must begin with {TAKE}, to ask for exemplars, or {CARRY}, where they "
            "come along",
            "neg_points[1]",
        )
    if count > MOST_EXEMPLARS:
        raise RequestError(
            "too_large",
            f"neg_points carries {count} exemplars, at most {MOST_EXEMPLARS} fit: leave some out",
            "neg_points[1]",
        )
    digest, size = _whole_pair(pairs, 1, "the digest of the weights, and the bytes of a vector")
    if not (digest < 16**DIGEST_DIGITS and 1 <= size <= MOST_VECTOR_BYTES):
        raise RequestError(
            "invalid",
            f"neg_points[2] must be the digest of the weights, below 16 ** {DIGEST_DIGITS}, and "
            f"the bytes of a vector, 1 to {MOST_VECTOR_BYTES}",
            "neg_points[2]",
        )
    each = 2 + -(-size // (2 * BYTES_PACKED))
    wanted = 2 + len(points) + count * each
    if len(pairs) != wanted:
        raise RequestError(
            "invalid",
            f"neg_points must hold {wanted} pairs after its header, for {len(points)} clicks and "
            f"{count} exemplars of {each} pairs, it holds {len(pairs)}",
            "neg_points",
        )
    first = 2 + len(points)
    clicks = _clicks(points, pairs[2:first], 3, 0)
    exemplars = tuple(
        _exemplar(pairs[at : at + each], at + 1, size) for at in range(first, wanted, each)
    )
    _check_number_of_labels([*clicks, *exemplars])
    carried = CarriedExemplars(f"{digest:0{DIGEST_DIGITS}x}", size, exemplars)
    return PluginRequest(_picture(payload), clicks, _threshold(payload), carried)


def read_exemplars_request(
    payload: Mapping[str, Any], classes: Sequence[str], max_clicks: int
) -> ExemplarsRequest:
    """Check a request for exemplars.

    Args:
        payload: The body, whose form is ``Form.EXEMPLARS``.
        classes: Names of the function's classes; none: it is open, as it must be.
        max_clicks: Most clicks and boxes that are accepted, beside `MOST_EXEMPLARS`.

    Raises:
        RequestError: Something is missing, of the wrong type or out of range.
    """
    _check_open(classes)
    _, *pairs = payload["neg_points"]
    most = min(max_clicks, MOST_EXEMPLARS)
    points = _points(payload, "pos_points", 2 * most)
    _, count = _whole_pair(pairs, 0, "what is asked, and the number of boxes")
    number = len(points) - count
    if number > most:
        raise RequestError(
            "too_large",
            f"pos_points holds {number} clicks and boxes, exemplars of at most {most} can be "
            "asked for at once",
            "pos_points",
        )
    if 2 * count > len(points) or len(pairs) != 1 + number:
        raise RequestError(
            "invalid",
            f"of {count} boxes, pos_points must hold two points each, after the clicks, and "
            f"neg_points one pair each and one for each click after its second; they hold "
            f"{len(points)} points and {len(pairs) - 1} pairs",
            "neg_points",
        )
    before = number - count
    clicks = _clicks(points[:before], pairs[1 : 1 + before], 2, 0)
    boxes = []
    for index in range(count):
        at = before + 2 * index
        (x1, y1), (x2, y2) = points[at : at + 2]
        label, positive = _class_and_sign(pairs[1 + before + index], f"neg_points[{2 + at}]", 0)
        if not (x1 < x2 and y1 < y2):
            raise RequestError(
                "invalid",
                f"pos_points[{at}] and the next must be the top left and the bottom right corner "
                "of a box that is not empty",
                f"pos_points[{at}]",
            )
        boxes.append(LabelledBox(x1, y1, x2, y2, label, positive))
    _check_number_of_labels([*clicks, *boxes])
    return ExemplarsRequest(_picture(payload), clicks, tuple(boxes))


def _check_open(classes: Sequence[str]) -> None:
    if classes:
        raise RequestError(
            "unsupported",
            "this function has a closed model, which knows its classes and takes no exemplars: ask "
            "without, or deploy the open model",
            "neg_points",
        )


def _check_number_of_labels(given: Iterable[Click | LabelledBox | CarriedExemplar]) -> None:
    labels = {one.label for one in given}
    if len(labels) > MOST_LABELS:
        raise RequestError(
            "too_large",
            f"neg_points holds {len(labels)} different labels, at most {MOST_LABELS} fit: ask "
            "about fewer labels at once",
            "neg_points",
        )


def _clicks(
    points: Sequence[Point], pairs: Sequence[object], first: int, num_classes: int
) -> tuple[Click, ...]:
    """Clicks at some points, from their pairs, which begin at ``neg_points[first]``."""
    clicks = []
    for index, ((x, y), pair) in enumerate(zip(points, pairs, strict=True), start=first):
        label, positive = _class_and_sign(pair, f"neg_points[{index}]", num_classes)
        clicks.append(Click(x, y, label, positive))
    return tuple(clicks)


def _exemplar(pairs: Sequence[object], first: int, size: int) -> CarriedExemplar:
    """An exemplar from its pairs, which begin at ``neg_points[first]``."""
    label, positive = _class_and_sign(pairs[0], f"neg_points[{first}]", 0)
    sides = pairs[1]
    if not (_is_pair(sides) and all(SIDES[0] <= side <= SIDES[1] for side in sides)):
        raise RequestError(
            "invalid",
            f"neg_points[{first + 1}] must be the width and the height of an exemplar, "
            f"{SIDES[0]:g} to {SIDES[1]:g} pixels",
            f"neg_points[{first + 1}]",
        )
    vector = b""
    for index, pair in enumerate(pairs[2:], start=first + 2):
        if not (_is_pair(pair) and all(0 <= number < _PACKED_END for number in pair)):
            raise _no_packed_pair(index)
        for number in pair:
            if number != int(number):
                raise _no_packed_pair(index)
            vector += int(number).to_bytes(BYTES_PACKED, "big")
    return CarriedExemplar(label, positive, float(sides[0]), float(sides[1]), vector[:size])


_PACKED_END = 256**BYTES_PACKED


def _no_packed_pair(index: int) -> RequestError:
    return RequestError(
        "invalid",
        f"neg_points[{index}] must be a pair of whole numbers from 0 to 2 ** "
        f"{8 * BYTES_PACKED} - 1, bytes of a vector",
        f"neg_points[{index}]",
    )


def _whole_pair(pairs: Sequence[object], index: int, what: str) -> tuple[int, int]:
    """Two whole numbers from 0 on in the pair ``neg_points[index + 1]``."""
    pair = pairs[index] if index < len(pairs) else None
    if not (_is_pair(pair) and all(number >= 0 and number == int(number) for number in pair)):
        raise RequestError(
            "invalid",
            f"neg_points[{index + 1}] must be a pair of whole numbers: {what}",
            f"neg_points[{index + 1}]",
        )
    return int(pair[0]), int(pair[1])


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
    """Refuse points, and boxes whose middle is, outside the picture; its edges belong to it.

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
    if isinstance(request, ExemplarsRequest):
        for number, box in enumerate(request.boxes):
            x, y = box.middle
            if not (0 <= x <= width and 0 <= y <= height):
                field = f"pos_points[{len(request.clicks) + 2 * number}]"
                raise RequestError(
                    "outside",
                    f"the middle of the box from {field} on is at ({x:g}, {y:g}), outside the "
                    f"picture of {width} x {height} pixels",
                    field,
                )


def check_weights(carried: CarriedExemplars, sha256: str, name: str) -> None:
    """Refuse exemplars of other weights.

    Args:
        carried: The exemplars.
        sha256: Of the weights of the function, in hexadecimal.
        name: Of these.

    Raises:
        RequestError: The digest of the exemplars is of others.
    """
    own = sha256[:DIGEST_DIGITS]
    if carried.digest != own:
        raise RequestError(
            "other_weights",
            "the exemplars in neg_points are of other weights (their sha256 begins with "
            f"{carried.digest}) than those of this function, {name} (with {own}): take them again",
            "neg_points",
        )


def _is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value of a body is a finite number; true and false are not numbers."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _is_pair(value: object) -> TypeGuard[list[float]]:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


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
        if not _is_pair(item):
            raise RequestError(
                "invalid",
                f"{field}[{index}] must be a pair [x, y] of finite numbers",
                f"{field}[{index}]",
            )
    return tuple((float(x), float(y)) for x, y in items)


def _class_and_sign(pair: object, field: str, num_classes: int) -> tuple[int, bool]:
    if not _is_pair(pair):
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
class Exemplar:
    """One exemplar in an answer.

    Attributes:
        label: As it was asked with.
        positive: Likewise.
        width: Of its box, in pixels: that which the model takes to be meant by a click.
        height: Likewise.
        vector: What the model takes it for, see `serverless.exemplars`; base64 in the body.
        thumbnail: A small PNG picture, for people; base64 in the body.
    """

    label: int
    positive: bool
    width: float
    height: float
    vector: bytes
    thumbnail: bytes

    def body(self) -> dict[str, Any]:
        """The exemplar as an answer has it."""
        return {
            "class": self.label,
            "positive": self.positive,
            "width": self.width,
            "height": self.height,
            "vector": encoded(self.vector),
            "thumbnail": encoded(self.thumbnail),
        }

    @classmethod
    def read(cls, told: Any) -> Exemplar:
        """Read an exemplar of an answer.

        Raises:
            AnswerError: It is none.
        """
        if not isinstance(told, dict):
            raise AnswerError("it is no JSON object")
        label, positive = told.get("class"), told.get("positive")
        if not (_is_index(label) and isinstance(positive, bool)):
            raise AnswerError("it has no class and sign")
        sides = [told.get("width"), told.get("height")]
        if not (_is_pair(sides) and all(SIDES[0] <= side <= SIDES[1] for side in sides)):
            raise AnswerError("it has no width and height")
        files = []
        for name, most in (("vector", MOST_VECTOR_BYTES), ("thumbnail", MOST_THUMBNAIL_BYTES)):
            text = told.get(name)
            try:
                file = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
            except ValueError:
                file = b""
            if not 1 <= len(file) <= most:
                raise AnswerError(f"its {name} is no base64 of at most {most} bytes")
            files.append(file)
        return cls(label, positive, float(sides[0]), float(sides[1]), files[0], files[1])


MOST_THUMBNAIL_BYTES = 10_000


@dataclass(frozen=True, slots=True)
class ExemplarsAnswer:
    """An answer to a request for exemplars, which is of version 2 as its request is.

    Errors are told in the answer of version 1, as all versions of the function tell them; see
    `PluginAnswer`.

    Attributes:
        model: Name of the weights.
        weights: SHA-256 of the weights, in hexadecimal, which the exemplars are bound to.
        exemplars: Of the clicks, then of the boxes, in their order; none while the progress is
            below 1.
        timings_ms: See `PluginAnswer`.
        cache: Likewise.
        progress: Likewise.
    """

    model: str
    weights: str
    exemplars: tuple[Exemplar, ...] = ()
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    cache: str | None = None
    progress: float | None = None

    def body(self) -> dict[str, Any]:
        """The body."""
        return {
            "c3det": EXEMPLARS_VERSION,
            "exemplars": [exemplar.body() for exemplar in self.exemplars],
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
            RequestError: It tells an error.
            AnswerError: It is no answer to a request for exemplars.
        """
        _raise_error(body)
        if not isinstance(body, dict) or body.get("c3det") != EXEMPLARS_VERSION:
            raise AnswerError("the answer has no exemplars: the function is another one")
        told, weights = body.get("exemplars"), body.get("weights")
        if not isinstance(told, list):
            raise AnswerError("the answer has no exemplars")
        if not (isinstance(weights, str) and re.fullmatch("[0-9a-f]{64}", weights)):
            raise AnswerError("the answer does not tell the weights of its exemplars")
        exemplars = []
        for index, one in enumerate(told):
            try:
                exemplars.append(Exemplar.read(one))
            except AnswerError as fault:
                raise AnswerError(
                    f"exemplars[{index}] of the answer is malformed: {fault}"
                ) from None
        times = body.get("timings_ms")
        return cls(
            str(body.get("model", "")),
            weights,
            tuple(exemplars),
            times if isinstance(times, dict) else {},
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

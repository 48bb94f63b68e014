"""The edge: a request's body is checked here, once, and becomes typed values.

Two forms arrive at the address of the interactor. The *plugin* form packs the class of each click
into ``neg_points``, behind the header ``[-1, 1]`` (-1, then the version of the protocol), one pair
``[class index, sign]`` per point of ``pos_points``; the sign is 1 for an object, 0 for "no object
here". So the pair of ``pos_points[k]`` is ``neg_points[k + 1]``. Without a header the request is a
*built-in* one: plain clicks whose class is not told. The detector has an address of its own and one
form, a picture without clicks. Keys that a form does not know are ignored.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from c3det.clicks import Click

PROTOCOL_VERSION = 1
HEADER_MARK = -1

Point = tuple[float, float]


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


@dataclass(frozen=True, slots=True)
class PluginRequest:
    """A request of the plugin.

    Attributes:
        picture: The encoded picture, the bytes of its file.
        clicks: In the order of ``pos_points``.
        threshold: Lowest score of a box in the answer, ``None`` for the default of the weights.
    """

    picture: bytes
    clicks: tuple[Click, ...]
    threshold: float | None

    @property
    def points(self) -> Mapping[str, Sequence[Point]]:
        """The points by the field that they came in."""
        return {"pos_points": [(click.x, click.y) for click in self.clicks]}


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
    negative: tuple[Point, ...]
    threshold: float | None

    @property
    def points(self) -> Mapping[str, Sequence[Point]]:
        """The points by the field that they came in."""
        return {"pos_points": self.positive, "neg_points": self.negative}

    def clicks(self, label: int) -> list[Click]:
        """Return the points as clicks of the class ``label``, the positive ones first."""
        return [Click(x, y, label) for x, y in self.positive] + [
            Click(x, y, label, positive=False) for x, y in self.negative
        ]


@dataclass(frozen=True, slots=True)
class DetectorRequest:
    """A request of CVAT's automatic annotation.

    Attributes:
        picture: The encoded picture, the bytes of its file.
        threshold: Lowest score of a box in the answer, ``None`` for the default of the weights.
    """

    picture: bytes
    threshold: float | None

    @property
    def points(self) -> Mapping[str, Sequence[Point]]:
        """No points."""
        return {}


AnyRequest = PluginRequest | BuiltInRequest | DetectorRequest


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
        classes: Names of the classes that the class index counts.
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
    for field, points in request.points.items():
        for index, (x, y) in enumerate(points):
            if not (0 <= x <= width and 0 <= y <= height):
                raise RequestError(
                    "outside",
                    f"{field}[{index}] is at ({x:g}, {y:g}), outside the picture of "
                    f"{width} x {height} pixels",
                    f"{field}[{index}]",
                )


def _is_number(value: object) -> bool:
    """Tell whether a value of the payload is a finite number; true and false are not numbers."""
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
    if label not in range(num_classes):
        raise RequestError(
            "invalid",
            f"the class index in {field} must be a whole number from 0 to {num_classes - 1}",
            field,
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

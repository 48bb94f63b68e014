"""Requests: what callers write, and what the function reads and checks."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from c3det.clicks import Click, LabelledBox
from c3det.limits import SIDES
from serverless.protocol.common import (
    DIGEST_DIGITS,
    EXEMPLARS_VERSION,
    LARGEST_LABEL,
    MOST_EXEMPLARS,
    MOST_LABELS,
    MOST_VECTOR_BYTES,
    PROTOCOL_VERSION,
    EncodedExemplar,
    Form,
    Point,
    RequestError,
    is_number,
    is_pair,
    is_share,
    is_size,
)

HEADER_MARK = -1
PLUGIN_HEADER: list[float] = [HEADER_MARK, PROTOCOL_VERSION]
EXEMPLARS_HEADER: list[float] = [HEADER_MARK, EXEMPLARS_VERSION]

ASK, CARRY = 1, 2
"""First number after the header of version 2: the request asks for exemplars, or carries some."""

BYTES_A_NUMBER = 6
"""Of a vector: a whole number below 2 ** 48 is exact wherever numbers are doubles."""


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
        exemplars: At most `MOST_EXEMPLARS`, without thumbnails.
    """

    digest: str
    vector_bytes: int
    exemplars: tuple[EncodedExemplar, ...]


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
        return with_picture(self.picture, prompts)


@dataclass(frozen=True, slots=True)
class ExemplarsRequest:
    """A request for the exemplars of a picture: what the model takes under clicks and in boxes.

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
        """The points by the field that they came in; without boxes, whose edges may stick out."""
        return {"pos_points": [(click.x, click.y) for click in self.clicks]}

    def body(self) -> dict[str, Any]:
        """The body."""
        return with_picture(self.picture, exemplar_prompts(self.clicks, self.boxes))


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


AnyRequest = PluginRequest | ExemplarsRequest | BuiltInRequest | DetectorRequest

# Writing


def plugin_prompts(
    clicks: Sequence[Click],
    threshold: float | None = None,
    exemplars: CarriedExemplars | None = None,
) -> dict[str, Any]:
    """The body of a plugin's request without the picture, which CVAT adds by itself."""
    pairs: list[list[float]] = [PLUGIN_HEADER]
    if exemplars is not None:
        number = len(exemplars.exemplars)
        digest = int(exemplars.digest, 16)
        pairs = [EXEMPLARS_HEADER, [CARRY, number], [digest, exemplars.vector_bytes]]
    pairs = [*pairs, *_classes_and_signs(clicks)]
    for one in () if exemplars is None else exemplars.exemplars:
        pairs += [[one.label, int(one.positive)], [one.width, one.height], *packed(one.vector)]
    prompts: dict[str, Any] = {
        "pos_points": [[click.x, click.y] for click in clicks],
        "neg_points": pairs,
    }
    return prompts if threshold is None else {**prompts, "threshold": threshold}


def exemplar_prompts(clicks: Sequence[Click], boxes: Sequence[LabelledBox]) -> dict[str, Any]:
    """The body of a request for exemplars without the picture, which CVAT adds by itself."""
    points = [[click.x, click.y] for click in clicks]
    for box in boxes:
        points += [[box.x1, box.y1], [box.x2, box.y2]]
    pairs = [EXEMPLARS_HEADER, [ASK, len(boxes)], *_classes_and_signs([*clicks, *boxes])]
    return {"pos_points": points, "neg_points": pairs}


def with_picture(picture: bytes, prompts: Mapping[str, Any]) -> dict[str, Any]:
    """The whole body of a request.

    Args:
        picture: The bytes of its file.
        prompts: From `plugin_prompts` or `exemplar_prompts`.
    """
    return {"image": base64.b64encode(picture).decode(), **prompts}


def packed(vector: bytes) -> list[list[float]]:
    """Bytes as pairs of numbers: six bytes a number, the first the highest; zeros fill the last.

    ``packed(bytes([1, 2]))`` is ``[[0x010200000000, 0]]``.
    """
    step = 2 * BYTES_A_NUMBER
    filled = vector.ljust(-(-len(vector) // step) * step, b"\0")
    numbers = [
        int.from_bytes(filled[at : at + BYTES_A_NUMBER], "big")
        for at in range(0, len(filled), BYTES_A_NUMBER)
    ]
    return [[first, second] for first, second in zip(numbers[::2], numbers[1::2], strict=True)]


def _classes_and_signs(given: Iterable[Click | LabelledBox]) -> list[list[float]]:
    return [[one.label, int(one.positive)] for one in given]


# Reading


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
    match payload.get("neg_points"):
        case [[mark, *_] as header, *pairs] if is_number(mark) and mark == HEADER_MARK:
            second = pairs[0] if pairs else None
            asks = header == EXEMPLARS_HEADER and isinstance(second, list) and second[:1] == [ASK]
            return Form.EXEMPLARS if asks else Form.PLUGIN
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
    if header == EXEMPLARS_HEADER:
        return _read_with_exemplars(payload, pairs, classes, max_clicks)
    if header != PLUGIN_HEADER:
        raise RequestError(
            "unsupported",
            f"the header of neg_points must be {PLUGIN_HEADER} or {EXEMPLARS_HEADER}: this "
            f"function speaks versions {PROTOCOL_VERSION} and {EXEMPLARS_VERSION} of the protocol",
            "neg_points",
        )
    points = _points(payload, "pos_points", max_clicks)
    if len(pairs) != len(points):
        raise _invalid(
            "neg_points",
            f"neg_points must hold one pair for each of the {len(points)} points of pos_points "
            f"after its header, it holds {len(pairs)}",
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
    kind, count = _whole_pair(pairs, 0, "what is asked, and the number of exemplars")
    if kind != CARRY:
        raise _invalid(
            "neg_points[1]",
            f"neg_points[1] must begin with {ASK}, to ask for exemplars, or {CARRY}, where they "
            "come along",
        )
    if count > MOST_EXEMPLARS:
        raise RequestError(
            "too_large",
            f"neg_points carries {count} exemplars, at most {MOST_EXEMPLARS} fit: leave some out",
            "neg_points[1]",
        )
    digest, size = _whole_pair(pairs, 1, "the digest of the weights, and the bytes of a vector")
    if not 1 <= size <= MOST_VECTOR_BYTES:
        raise _invalid(
            "neg_points[2]",
            "neg_points[2] must be the digest of the weights and the bytes of a vector, 1 to "
            f"{MOST_VECTOR_BYTES}",
        )
    each = 2 + -(-size // (2 * BYTES_A_NUMBER))
    first = 2 + len(points)
    wanted = first + count * each
    if len(pairs) != wanted:
        raise _invalid(
            "neg_points",
            f"neg_points must hold {wanted} pairs after its header, for {len(points)} clicks and "
            f"{count} exemplars of {each} pairs, it holds {len(pairs)}",
        )
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
        raise _invalid(
            "neg_points",
            f"of {count} boxes, pos_points must hold two points each, after the clicks, and "
            f"neg_points one pair each and one for each click after its second; they hold "
            f"{len(points)} points and {len(pairs) - 1} pairs",
        )
    before = number - count
    clicks = _clicks(points[:before], pairs[1 : 1 + before], 2, 0)
    boxes = []
    for index in range(count):
        at = before + 2 * index
        (x1, y1), (x2, y2) = points[at : at + 2]
        label, positive = _class_and_sign(pairs[1 + before + index], f"neg_points[{2 + at}]", 0)
        if not is_size([x2 - x1, y2 - y1]):
            raise _invalid(
                f"pos_points[{at}]",
                f"pos_points[{at}] and the next must be the top left and the bottom right corner "
                f"of a box, whose sides have {SIDES[0]:g} to {SIDES[1]:g} pixels",
            )
        boxes.append(LabelledBox(x1, y1, x2, y2, label, positive))
    _check_number_of_labels([*clicks, *boxes])
    return ExemplarsRequest(_picture(payload), clicks, tuple(boxes))


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
            "missing", "pos_points is empty: a click on an object is needed", "pos_points"
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

    def check(x: float, y: float, name: str, field: str) -> None:
        if not (0 <= x <= width and 0 <= y <= height):
            raise RequestError(
                "outside",
                f"{name} is at ({x:g}, {y:g}), outside the picture of {width} x {height} pixels",
                field,
            )

    for name, points in request.points.items():
        for index, (x, y) in enumerate(points):
            check(x, y, f"{name}[{index}]", f"{name}[{index}]")
    if isinstance(request, ExemplarsRequest):
        for number, box in enumerate(request.boxes):
            field = f"pos_points[{len(request.clicks) + 2 * number}]"
            check(*box.middle, f"the middle of the box from {field} on", field)


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


def _invalid(field: str, message: str) -> RequestError:
    return RequestError("invalid", message, field)


def _check_open(classes: Sequence[str]) -> None:
    if classes:
        raise RequestError(
            "unsupported",
            "neg_points is about exemplars, and this function has a closed model, which knows its "
            "classes and takes no exemplars: ask without, or deploy the open model",
            "neg_points",
        )


def _check_number_of_labels(given: Iterable[Click | LabelledBox | EncodedExemplar]) -> None:
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
    """Clicks at some points, from their pairs, which begin at ``neg_points[first]``.

    To an open model a positive click that is repeated says: not this box, the next one.
    """
    clicks = []
    for index, ((x, y), pair) in enumerate(zip(points, pairs, strict=True), start=first):
        label, positive = _class_and_sign(pair, f"neg_points[{index}]", num_classes)
        clicks.append(Click(x, y, label, positive))
    if num_classes:
        return tuple(clicks)
    times = Counter(clicks)
    return tuple(replace(one, choice=times[one] - 1) if one.positive else one for one in clicks)


def _class_and_sign(pair: object, field: str, num_classes: int) -> tuple[int, bool]:
    """Read ``[class, sign]``; without classes the class is one of the caller's labels."""
    if not is_pair(pair):
        raise _invalid(field, f"{field} must be a pair [class index, sign]")
    label, sign = pair
    name, largest = ("class index", num_classes - 1) if num_classes else ("label", LARGEST_LABEL)
    if label not in range(largest + 1):
        raise _invalid(field, f"the {name} in {field} must be a whole number from 0 to {largest}")
    if sign not in (0, 1):
        raise _invalid(field, f"the sign in {field} must be 1 (an object) or 0 (no object)")
    return int(label), sign == 1


def _exemplar(pairs: Sequence[object], first: int, size: int) -> EncodedExemplar:
    """An exemplar from its pairs, which begin at ``neg_points[first]``."""
    label, positive = _class_and_sign(pairs[0], f"neg_points[{first}]", 0)
    sides = pairs[1]
    if not is_size(sides):
        raise _invalid(
            f"neg_points[{first + 1}]",
            f"neg_points[{first + 1}] must be the width and the height of an exemplar, "
            f"{SIDES[0]:g} to {SIDES[1]:g} pixels",
        )
    vector = b""
    for index, pair in enumerate(pairs[2:], start=first + 2):
        if not _is_whole_pair(pair):
            raise _invalid(
                f"neg_points[{index}]",
                f"neg_points[{index}] must be a pair of whole numbers from 0 to 2 ** "
                f"{8 * BYTES_A_NUMBER} - 1, bytes of a vector",
            )
        vector += b"".join(int(number).to_bytes(BYTES_A_NUMBER, "big") for number in pair)
    return EncodedExemplar(label, positive, float(sides[0]), float(sides[1]), vector[:size])


def _is_whole_pair(pair: object) -> TypeGuard[list[float]]:
    """Tell whether a JSON value is a pair of whole numbers below 2 ** 48."""
    return is_pair(pair) and all(
        0 <= number < 256**BYTES_A_NUMBER and number == int(number) for number in pair
    )


def _whole_pair(pairs: Sequence[object], index: int, meaning: str) -> tuple[int, int]:
    """The pair ``neg_points[index + 1]`` of whole numbers."""
    pair = pairs[index] if index < len(pairs) else None
    if not _is_whole_pair(pair):
        field = f"neg_points[{index + 1}]"
        raise _invalid(field, f"{field} must be a pair of whole numbers below 2 ** 48: {meaning}")
    return int(pair[0]), int(pair[1])


def _points(payload: Mapping[str, Any], field: str, max_points: int) -> tuple[Point, ...]:
    if payload.get(field) is None:
        raise RequestError("missing", f"{field} is missing: it must be a list of [x, y]", field)
    items = payload[field]
    if not isinstance(items, list):
        raise _invalid(field, f"{field} must be a list of [x, y]")
    if len(items) > max_points:
        raise RequestError(
            "too_large", f"{field} holds {len(items)} points, at most {max_points} fit", field
        )
    for index, item in enumerate(items):
        if not is_pair(item):
            place = f"{field}[{index}]"
            raise _invalid(place, f"{place} must be a pair [x, y] of finite numbers")
    return tuple((float(x), float(y)) for x, y in items)


def _picture(payload: Mapping[str, Any]) -> bytes:
    text = payload.get("image")
    if text is None:
        raise RequestError("missing", "image is missing: it must be a picture in base64", "image")
    if not isinstance(text, str):
        raise _invalid("image", "image must be a string: a picture in base64")
    try:
        picture = base64.b64decode(text, validate=True)
    except ValueError:
        raise _invalid("image", "image is not valid base64") from None
    if not picture:
        raise RequestError("missing", "image is empty: it must be a picture in base64", "image")
    return picture


def _threshold(payload: Mapping[str, Any]) -> float | None:
    threshold = payload.get("threshold")
    if threshold is None:
        return None
    if not is_share(threshold):
        raise _invalid("threshold", "threshold must be a number from 0 to 1")
    return float(threshold)

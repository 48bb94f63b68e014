"""What requests and answers have in common: versions, limits, errors and checks of JSON values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeGuard

from c3det.limits import MAX_PER_QUERY, SIDES

PROTOCOL_VERSION = 1
EXEMPLARS_VERSION = 2
"""Of requests that ask for exemplars or carry some, and of answers that hold some."""

MOST_LABELS = 64
"""Different labels in one request to an open function."""

LARGEST_LABEL = 255
"""Of a click for an open function."""

MOST_EXEMPLARS = MAX_PER_QUERY
"""In one request or answer."""

MOST_VECTOR_BYTES = 4098
MOST_THUMBNAIL_BYTES = 10_000
"""Of one exemplar."""

DIGEST_DIGITS = 12
"""How many of the first hexadecimal digits of the weights' SHA-256 identify the weights."""

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


class AnswerError(Exception):
    """A body that is no answer of the form that was asked for; the message is one sentence."""


class RequestError(Exception):
    """A request that cannot be answered as it is.

    Attributes:
        code: Kind of the error, a short constant for programs: ``malformed``, ``missing``,
            ``invalid``, ``outside``, ``too_large``, ``unsupported``, ``other_weights``,
            ``undecodable``, ``unfinished``, ``out_of_memory`` or ``internal``.
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
        """HTTP status of the answer, outside the plugin form."""
        return STATUS.get(self.code, 400)

    def to_json(self) -> dict[str, str | None]:
        """The value of the key ``error`` of an answer."""
        return {"code": self.code, "message": self.message, "field": self.field}

    @classmethod
    def read(cls, value: Any) -> RequestError:
        """Read the value of the key ``error`` of an answer.

        Raises:
            AnswerError: It is not an error of this protocol.
        """
        texts = (str, type(None))
        if not (
            isinstance(value, dict)
            and isinstance(value.get("message"), str)
            and isinstance(value.get("code"), texts)
            and isinstance(value.get("field"), texts)
        ):
            raise AnswerError("the error in the answer has no message")
        return cls(value.get("code") or "internal", value["message"], value.get("field"))


@dataclass(frozen=True, slots=True)
class EncodedExemplar:
    """One exemplar: in an answer that gives it, or in a request that carries it to other pictures.

    Attributes:
        label: As that of a click.
        positive: Likewise.
        width: Of its box, in pixels; of a click, of the box that the model infers around it.
        height: Likewise.
        vector: What the model takes it for, see `serverless.exemplar_codec`.
        thumbnail: A small PNG picture, for people; empty in a request.
    """

    label: int
    positive: bool
    width: float
    height: float
    vector: bytes
    thumbnail: bytes = b""


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a JSON value is a finite number; true and false are not numbers."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def is_share(value: object) -> TypeGuard[float]:
    """Tell whether a JSON value is a number from 0 to 1."""
    return is_number(value) and 0 <= value <= 1


def is_index(value: object) -> TypeGuard[int]:
    """Tell whether a JSON value is a whole number from 0 on."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_pair(value: object) -> TypeGuard[list[float]]:
    """Tell whether a JSON value is a list of two finite numbers."""
    return isinstance(value, list) and len(value) == 2 and all(map(is_number, value))


def is_size(value: object) -> TypeGuard[list[float]]:
    """Tell whether a JSON value is a width and a height that the box of an exemplar may have."""
    return is_pair(value) and all(SIDES[0] <= side <= SIDES[1] for side in value)

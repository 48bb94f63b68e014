"""Exemplars of the model become those of the protocol, and back.

A vector takes one byte a number on the wire, and two before them: its largest absolute value, in
half precision and little-endian, then each number as a share of it, an int8 of -127 to 127. A
second quantization changes nothing: exemplars may go back and forth. Measured on ten real sets, it
moves no score above 0.3 by more than 0.003, and the AP50 of exemplars alone from 42.7 to 42.8.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from c3det.exemplars import THUMBNAIL, Exemplars, ExemplarsError
from c3det.weights import Card
from serverless.protocol import (
    DIGEST_DIGITS,
    LARGEST_LABEL,
    CarriedExemplars,
    EncodedExemplar,
    ExemplarsAnswer,
    RequestError,
)
from serverless.record import RequestRecord

LABELS = tuple(map(str, range(LARGEST_LABEL + 1)))
"""Names for the labels of a request, which has no names."""

STEPS = 127

LEAST_VECTOR_BYTES = 3
"""Of a vector of one number."""


def quantized(vectors: NDArray[np.float16]) -> list[bytes]:
    """Vectors ``(n, V)`` as the protocol has them, of V + 2 bytes each."""
    largest = np.abs(vectors).max(1, initial=0, keepdims=True)
    wide = vectors.astype(np.float32)
    shares = wide * STEPS / np.where(largest > 0, largest, 1).astype(np.float32)
    numbers = np.rint(shares).astype(np.int8)
    return [
        most.astype("<f2").tobytes() + own.tobytes()
        for most, own in zip(largest, numbers, strict=True)
    ]


def dequantized(vectors: Sequence[bytes], size: int) -> NDArray[np.float16]:
    """The vectors ``(n, V)`` in what `quantized` returned, ``size`` = V + 2 bytes each."""
    raw = np.frombuffer(b"".join(vectors), np.uint8).reshape(len(vectors), size)
    largest = np.ascontiguousarray(raw[:, :2]).view("<f2").astype(np.float32)
    numbers = np.ascontiguousarray(raw[:, 2:]).view(np.int8).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # `Exemplars` checks the numbers
        return (numbers * largest / STEPS).astype(np.float16)


def to_answer(exemplars: Exemplars | None, card: Card, record: RequestRecord) -> ExemplarsAnswer:
    """Return an answer to a request for exemplars.

    Args:
        exemplars: ``None`` where there was not time for all.
        card: Of the weights.
        record: Of the request.
    """
    given: tuple[EncodedExemplar, ...] = ()
    if exemplars is not None:
        given = tuple(
            replace(one, thumbnail=_png(thumbnail))
            for one, thumbnail in zip(_to_protocol(exemplars), exemplars.thumbnails, strict=True)
        )
    return ExemplarsAnswer(
        card.name, card.tensors, given, record.timings_ms, record.cache, record.progress
    )


def from_answer(answer: ExemplarsAnswer, names: Sequence[str], source: str) -> Exemplars:
    """The exemplars of an answer.

    Args:
        answer: Of a function.
        names: Of the labels of its classes.
        source: Of all of them, see `Exemplars`.

    Raises:
        ExemplarsError: It has what exemplars cannot have.
    """
    exemplars = answer.exemplars
    sizes = {len(one.vector) for one in exemplars} or {LEAST_VECTOR_BYTES}
    if len(sizes) > 1:
        raise ExemplarsError("the exemplars cannot be used: their vectors differ in length")
    found = _from_protocol(answer.weights, names, exemplars, sizes.pop())
    thumbnails = np.array([_pixels(one.thumbnail) for one in exemplars], np.uint8)
    return replace(
        found,
        thumbnails=thumbnails.reshape(found.thumbnails.shape),
        sources=(source,) * len(exemplars),
    )


def to_request(exemplars: Exemplars) -> CarriedExemplars:
    """Exemplars as a request carries them, whose labels are those of the clicks."""
    return CarriedExemplars(
        exemplars.weights[:DIGEST_DIGITS],
        exemplars.vectors.shape[1] + 2,
        tuple(_to_protocol(exemplars)),
    )


def from_request(sent: CarriedExemplars, weights: str) -> Exemplars:
    """The exemplars in a request.

    Args:
        sent: By the caller.
        weights: SHA-256 of the weights, whose digest the request has.

    Raises:
        RequestError: They have what exemplars cannot have.
    """
    try:
        return _from_protocol(weights, LABELS, sent.exemplars, sent.vector_bytes)
    except ExemplarsError as error:
        raise RequestError("invalid", f"in neg_points: {error}", "neg_points") from None


def _to_protocol(exemplars: Exemplars) -> Iterator[EncodedExemplar]:
    """Exemplars of the protocol, without thumbnails."""
    for label, positive, (width, height), vector in zip(
        exemplars.labels.tolist(),
        exemplars.positive.tolist(),
        exemplars.sizes.tolist(),
        quantized(exemplars.vectors),
        strict=True,
    ):
        yield EncodedExemplar(label, positive, width, height, vector)


def _from_protocol(
    weights: str, names: Sequence[str], exemplars: Sequence[EncodedExemplar], vector_bytes: int
) -> Exemplars:
    """Exemplars without thumbnails and sources."""
    if vector_bytes < LEAST_VECTOR_BYTES:
        raise ExemplarsError(
            f"the exemplars cannot be used: a vector has {vector_bytes} bytes, at least "
            f"{LEAST_VECTOR_BYTES} are needed"
        )
    count = len(exemplars)
    return Exemplars(
        weights=weights,
        names=tuple(names),
        labels=np.array([one.label for one in exemplars], np.int64),
        positive=np.array([one.positive for one in exemplars], np.bool_),
        vectors=dequantized([one.vector for one in exemplars], vector_bytes),
        sizes=np.array([(one.width, one.height) for one in exemplars], np.float32).reshape(-1, 2),
        thumbnails=np.zeros((count, THUMBNAIL, THUMBNAIL, 3), np.uint8),
        sources=("",) * count,
    )


def _png(thumbnail: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(thumbnail).save(stream, "PNG")
    return stream.getvalue()


def _pixels(thumbnail: bytes) -> NDArray[np.uint8]:
    """The pixels of a thumbnail; black where it cannot be read, since it is for people alone."""
    try:
        with Image.open(io.BytesIO(thumbnail), formats=["PNG"]) as image:
            if image.size == (THUMBNAIL, THUMBNAIL):
                return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError):
        pass
    return np.zeros((THUMBNAIL, THUMBNAIL, 3), np.uint8)

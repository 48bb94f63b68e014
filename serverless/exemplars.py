"""Exemplars of the model become those of the wire, and back.

A vector takes one byte a number on the wire, and two before them: its largest absolute value, in
half precision and little-endian, then each number as a share of it, an int8 of -127 to 127. What
was rounded once is rounded no more: it may go back and forth. Measured on ten real sets, this moves
no score above 0.3 by more than 0.003, and the AP50 of exemplars alone from 42.7 to 42.8.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from c3det.exemplars import THUMBNAIL, Exemplars, ExemplarsError
from c3det.weights import Card
from serverless.observations import Observation
from serverless.protocol import (
    DIGEST_DIGITS,
    LARGEST_LABEL,
    CarriedExemplar,
    CarriedExemplars,
    Exemplar,
    ExemplarsAnswer,
    RequestError,
)

LABELS = tuple(map(str, range(LARGEST_LABEL + 1)))
"""Names for the labels of a request, whose real names no function is told."""

_STEPS = 127


def rounded(vectors: NDArray[np.float16]) -> list[bytes]:
    """Vectors ``(n, V)`` as the wire has them, of V + 2 bytes each."""
    largest = np.abs(vectors).max(1, initial=0, keepdims=True)
    wide = vectors.astype(np.float32)
    shares = wide * _STEPS / np.where(largest > 0, largest, 1).astype(np.float32)
    numbers = np.rint(shares).astype(np.int8)
    return [
        most.astype("<f2").tobytes() + own.tobytes()
        for most, own in zip(largest, numbers, strict=True)
    ]


def numbers_of(vectors: Sequence[bytes]) -> NDArray[np.float16]:
    """The vectors ``(n, V)`` in what `rounded` returned, all of one length."""
    raw = np.frombuffer(b"".join(vectors), np.uint8).reshape(len(vectors), -1)
    largest = np.ascontiguousarray(raw[:, :2]).view("<f2").astype(np.float32)
    numbers = np.ascontiguousarray(raw[:, 2:]).view(np.int8).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # whatever it is, it is checked later
        return (numbers * largest / _STEPS).astype(np.float16)


def told(exemplars: Exemplars) -> tuple[Exemplar, ...]:
    """Exemplars as an answer tells them."""
    return tuple(
        Exemplar(label, positive, width, height, vector, _png(shown))
        for label, positive, (width, height), vector, shown in zip(
            exemplars.labels.tolist(),
            exemplars.positive.tolist(),
            exemplars.sizes.tolist(),
            rounded(exemplars.vectors),
            exemplars.thumbnails,
            strict=True,
        )
    )


def exemplars_answer(exemplars: Exemplars | None, card: Card, seen: Observation) -> ExemplarsAnswer:
    """Return an answer to a request for exemplars.

    Args:
        exemplars: ``None`` where there was not time for all.
        card: Of the weights.
        seen: What was noted of the request.
    """
    return ExemplarsAnswer(
        card.name,
        card.tensors,
        () if exemplars is None else told(exemplars),
        seen.timings_ms,
        seen.cache,
        seen.progress,
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
    if len({len(one.vector) for one in exemplars}) > 1:
        raise ExemplarsError("the exemplars cannot be used: their vectors differ in length")
    found = _exemplars(answer.weights, names, exemplars, [one.vector for one in exemplars])
    thumbnails = np.array([_pixels(one.thumbnail) for one in exemplars], np.uint8)
    return replace(
        found,
        thumbnails=thumbnails.reshape(found.thumbnails.shape),
        sources=(source,) * len(exemplars),
    )


def carried(exemplars: Exemplars) -> CarriedExemplars:
    """Exemplars as a request carries them, whose labels are those of the clicks."""
    return CarriedExemplars(
        exemplars.weights[:DIGEST_DIGITS],
        exemplars.vectors.shape[1] + 2,
        tuple(
            CarriedExemplar(label, positive, width, height, vector)
            for label, positive, (width, height), vector in zip(
                exemplars.labels.tolist(),
                exemplars.positive.tolist(),
                exemplars.sizes.tolist(),
                rounded(exemplars.vectors),
                strict=True,
            )
        ),
    )


def from_request(sent: CarriedExemplars, weights: str) -> Exemplars:
    """The exemplars in a request.

    Args:
        sent: By the caller.
        weights: SHA-256 of the weights, whose digest the request has.

    Raises:
        RequestError: They have what exemplars cannot have.
    """
    vectors = [one.vector for one in sent.exemplars] or [bytes(sent.vector_bytes)]
    try:
        return _exemplars(weights, LABELS, sent.exemplars, vectors)
    except ExemplarsError as error:
        raise RequestError("invalid", f"in neg_points: {error}", "neg_points") from None


def _exemplars(
    weights: str,
    names: Sequence[str],
    exemplars: Iterable[Exemplar | CarriedExemplar],
    vectors: Sequence[bytes],
) -> Exemplars:
    """Exemplars without thumbnails and sources; some vector is needed for their length."""
    own = tuple(exemplars)
    numbers = numbers_of(vectors) if vectors else np.zeros((0, 1), np.float16)
    count = len(own)
    return Exemplars(
        weights=weights,
        names=tuple(names),
        labels=np.array([one.label for one in own], np.int64),
        positive=np.array([one.positive for one in own], np.bool_),
        vectors=numbers[:count],
        sizes=np.array([(one.width, one.height) for one in own], np.float32).reshape(-1, 2),
        thumbnails=np.zeros((count, THUMBNAIL, THUMBNAIL, 3), np.uint8),
        sources=("",) * count,
    )


def _png(shown: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(shown).save(stream, "PNG")
    return stream.getvalue()


def _pixels(thumbnail: bytes) -> NDArray[np.uint8]:
    """Of a thumbnail, black where it cannot be read: it is for people alone."""
    try:
        with Image.open(io.BytesIO(thumbnail), formats=["PNG"]) as image:
            if image.size == (THUMBNAIL, THUMBNAIL):
                return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError):
        pass
    return np.zeros((THUMBNAIL, THUMBNAIL, 3), np.uint8)

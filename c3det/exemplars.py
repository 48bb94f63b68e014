"""Exemplars: objects that were clicked or boxed in one picture, to find the like in other pictures.

They are vectors that one model computed, so they are bound to its weights. On disk they are one
``.safetensors`` file. Nothing in it is executed, its size is limited, and all of it is checked.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file

from c3det.limits import SIDES
from c3det.weights import check_classes, safetensors_os_errors

FORMAT_VERSION = 1

MAX_EXEMPLARS = 4096
"""Exemplars of one `Exemplars`."""

THUMBNAIL = 32
"""Side of a thumbnail in pixels."""

AROUND = 1.3
"""Side of the crop in a thumbnail, in longer sides of the object."""

_NUMBERS = (1, 4096)
_MAX_BYTES = 64 << 20
_MAX_SOURCE = 200
_FRAME = 2
_BACKGROUND = 255
_ACCEPTED, _REJECTED = (46, 160, 67), (207, 34, 46)
_DTYPES = {
    "labels": np.int64,
    "positive": np.bool_,
    "vectors": np.float16,
    "sizes": np.float32,
    "thumbnails": np.uint8,
}


class ExemplarsError(ValueError):
    """Exemplars that cannot be used; the message is one sentence that says what to do."""


class OtherWeightsError(ExemplarsError):
    """They are of other weights, or of a version that described objects by other numbers."""


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One exemplar of a query. It is hashable, and does not say which picture it is from.

    Attributes:
        label: 0-based class, as the clicks of the query number them.
        positive: See `c3det.clicks.Click`.
        numbers: The bytes of a float16 vector by which the model knows the object.
        width: Of its box, in pixels.
        height: Likewise.
    """

    label: int
    positive: bool
    numbers: bytes
    width: float
    height: float

    @property
    def vector(self) -> NDArray[np.float32]:
        """The numbers ``(V,)``."""
        return np.frombuffer(self.numbers, np.float16).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Exemplars:
    """n exemplars of any pictures. The arrays are not to be written to.

    Attributes:
        weights: SHA-256 of the tensors of the weights, in hexadecimal.
        names: Of the labels; they differ.
        labels: int64 ``(n,)``, indices of names.
        positive: bool ``(n,)``, see `c3det.clicks.Click`.
        vectors: float16 ``(n, V)``, by which the model knows each object. V is the model's.
        sizes: float32 ``(n, 2)``, width and height of their boxes in pixels.
        thumbnails: uint8 ``(n, THUMBNAIL, THUMBNAIL, 3)``, RGB, for people.
        sources: Where each is from, such as "frame 3"; for people.

    Raises:
        ExemplarsError: An array has another type or shape, or a value that it cannot have.
    """

    weights: str
    names: tuple[str, ...]
    labels: NDArray[np.int64]
    positive: NDArray[np.bool_]
    vectors: NDArray[np.float16]
    sizes: NDArray[np.float32]
    thumbnails: NDArray[np.uint8]
    sources: tuple[str, ...]

    def __post_init__(self) -> None:
        try:
            self._check()
        except ValueError as error:
            raise ExemplarsError(f"the exemplars cannot be used: {error}") from None

    def _check(self) -> None:
        if not isinstance(self.weights, str) or not re.fullmatch("[0-9a-f]{64}", self.weights):
            raise ValueError(
                f"weights must be 64 hexadecimal digits, not {reprlib.repr(self.weights)}"
            )
        if self.names:
            check_classes(list(self.names))
        count = len(self.sources)
        if count > MAX_EXEMPLARS:
            raise ValueError(
                f"there may be at most {MAX_EXEMPLARS} of them, not {count}; thin them"
            )
        width = self.vectors.shape[-1] if self.vectors.ndim else 0
        if not _NUMBERS[0] <= width <= _NUMBERS[1]:
            raise ValueError(f"vectors must have {_NUMBERS[0]} to {_NUMBERS[1]} numbers each")
        shapes = {
            "labels": (count,),
            "positive": (count,),
            "vectors": (count, width),
            "sizes": (count, 2),
            "thumbnails": (count, THUMBNAIL, THUMBNAIL, 3),
        }
        for name, shape in shapes.items():
            array = getattr(self, name)
            if array.dtype != _DTYPES[name] or array.shape != shape:
                raise ValueError(
                    f"{name} must be {np.dtype(_DTYPES[name])} {shape}, "
                    f"not {array.dtype} {array.shape}"
                )
        if count and not (self.labels.min() >= 0 and self.labels.max() < len(self.names)):
            raise ValueError(f"labels must be from 0 to {len(self.names) - 1}, one for each name")
        if not np.isfinite(self.vectors).all():
            raise ValueError("vectors must be finite numbers")
        # NaN fails both comparisons.
        if not ((self.sizes >= SIDES[0]) & (self.sizes <= SIDES[1])).all():
            raise ValueError(f"sizes must be numbers from {SIDES[0]:g} to {SIDES[1]:g}")
        for place, source in enumerate(self.sources):
            if not isinstance(source, str) or len(source) > _MAX_SOURCE:
                raise ValueError(
                    f"sources[{place}] must be a text of at most {_MAX_SOURCE} characters"
                )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return sum(getattr(self, name).nbytes for name in _DTYPES)

    @classmethod
    def none(cls, weights: str, numbers: int, names: Sequence[str] = ()) -> Exemplars:
        """No exemplars.

        Args:
            weights: See the class.
            numbers: V.
            names: See the class.
        """
        return cls(
            weights,
            tuple(names),
            np.zeros(0, np.int64),
            np.zeros(0, np.bool_),
            np.zeros((0, numbers), np.float16),
            np.zeros((0, 2), np.float32),
            np.zeros((0, THUMBNAIL, THUMBNAIL, 3), np.uint8),
            (),
        )

    def take(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Exemplars:
        """Those at some indices, or where a mask is true; all names stay."""
        rows = np.arange(len(self))[chosen]
        return replace(
            self,
            sources=tuple(self.sources[row] for row in rows.tolist()),
            **{name: getattr(self, name)[rows] for name in _DTYPES},
        )

    def without(self, source: str) -> Exemplars:
        """All but those from one source."""
        return self.take(np.array([one != source for one in self.sources], np.bool_))

    def numbered(self, names: Sequence[str]) -> Exemplars:
        """The same with the label numbers of a caller, who may not know all of the names.

        Args:
            names: Of all labels of the caller, in the order of their numbers.

        Returns:
            Exemplars whose labels are indices of ``names``; those of other names are left out.
        """
        at = {name: number for number, name in enumerate(names)}
        labels = np.array([at.get(name, -1) for name in self.names], np.int64)
        kept = self.take(labels[self.labels] >= 0) if len(self) else self
        return replace(kept, names=tuple(names), labels=labels[kept.labels])

    def merged(self, other: Exemplars) -> Exemplars:
        """Those of both, equal ones once; the names of this one come first.

        Two are equal if label, sign, size and vector are.

        Raises:
            ExemplarsError: They are of different weights, or too many together.
        """
        if other.weights != self.weights or other.vectors.shape[1] != self.vectors.shape[1]:
            raise ExemplarsError(
                f"exemplars of the weights {self.weights[:12]} cannot be merged with those of "
                f"{other.weights[:12]}: take them again with one of the two"
            )
        names = tuple(dict.fromkeys((*self.names, *other.names)))
        first, second = self.numbered(names), other.numbered(names)
        every = [*first, *second]
        first_at = {one: row for row, one in reversed(list(enumerate(every)))}
        kept = np.array([first_at[one] == row for row, one in enumerate(every)], np.bool_)
        if kept.sum() > MAX_EXEMPLARS:
            raise ExemplarsError(
                f"these would be {kept.sum()} exemplars, and at most {MAX_EXEMPLARS} go together: "
                "thin them before they are merged"
            )
        one, more = first.take(kept[: len(first)]), second.take(kept[len(first) :])
        return replace(
            one,
            sources=one.sources + more.sources,
            **{name: np.concatenate([getattr(one, name), getattr(more, name)]) for name in _DTYPES},
        )

    def thinned(self, count: int, most: int | None = None) -> Exemplars:
        """The most typical ones: at most some number of positive ones of each label.

        These have the largest cosines with the mean of all of their label. Of the negative ones of
        the label the same share stays, rounded up, chosen likewise, and at most the same number.
        Those of a label without positive ones go. Those that stay keep their order.

        Wrong and odd clicks, which are like no others, go first; a choice that covers all looks
        (k-medoids, farthest first) keeps them. Measured with early weights on 30 real test sets, as
        AP of two pictures from exemplars of another one: all of them give 42.4, 5 a label 42.7 (at
        random 42.2, farthest first 42.4, k-medoids 42.4). With a quarter more at random places all
        give 41.0, 5 a label 41.6 (40.3, 40.2, 41.2).

        Args:
            count: 1 or more.
            most: Of all labels together: where more would stay, the count is less, but never less
                than 1.

        Raises:
            ValueError: The count is less than 1.
        """
        if count < 1:
            raise ValueError(f"at least 1 exemplar of each label must stay, not {count}")
        groups = []
        for label in range(len(self.names)):
            own = self.labels == label
            yes, no = np.flatnonzero(own & self.positive), np.flatnonzero(own & ~self.positive)
            if len(yes):  # negative ones alone find nothing
                groups.append((yes, no))

        def numbers(count: int) -> list[tuple[int, int]]:
            positive = [min(count, len(yes)) for yes, _ in groups]
            return [
                (stay, min(count, math.ceil(len(no) * stay / len(yes))))
                for stay, (yes, no) in zip(positive, groups, strict=True)
            ]

        while most is not None and count > 1 and sum(map(sum, numbers(count))) > most:
            count -= 1
        kept: list[int] = []
        for group, stay in zip(groups, numbers(count), strict=True):
            for rows, number in zip(group, stay, strict=True):
                kept += rows[_most_typical(self.vectors[rows], number)].tolist()
        return self.take(np.array(sorted(kept), np.int64))

    def __iter__(self) -> Iterator[Exemplar]:
        columns = (self.labels.tolist(), self.positive.tolist(), self.vectors, self.sizes.tolist())
        for label, positive, vector, (width, height) in zip(*columns, strict=True):
            yield Exemplar(label, positive, vector.tobytes(), width, height)

    def strip(self) -> NDArray[np.uint8]:
        """All thumbnails: a row for each label that has any, positive ones first.

        Returns:
            uint8 ``(H, W, 3)``, RGB, on white; positive ones in a green frame, negative ones in a
            red one.
        """
        rows = [
            [*np.flatnonzero(own & self.positive), *np.flatnonzero(own & ~self.positive)]
            for own in (self.labels == label for label in range(len(self.names)))
        ]
        rows = [row for row in rows if row]
        side = THUMBNAIL + 2 * _FRAME
        columns = max(map(len, rows), default=1)
        shown = np.full((max(len(rows), 1) * side, columns * side, 3), _BACKGROUND, np.uint8)
        for down, row in enumerate(rows):
            for along, index in enumerate(row):
                cell = shown[down * side : (down + 1) * side, along * side : (along + 1) * side]
                cell[:] = _ACCEPTED if self.positive[index] else _REJECTED
                cell[_FRAME:-_FRAME, _FRAME:-_FRAME] = self.thumbnails[index]
        return shown

    def save(self, path: Path) -> None:
        """Write them to a ``.safetensors`` file.

        Raises:
            OSError: It cannot be written.
        """
        metadata = {
            "format_version": str(FORMAT_VERSION),
            "kind": "exemplars",
            "weights": self.weights,
            "names": json.dumps(self.names),
            "sources": json.dumps(self.sources),
        }
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _DTYPES}
        with safetensors_os_errors(path):
            save_file(arrays, path, metadata)

    @classmethod
    def load(cls, path: Path) -> Exemplars:
        """Read what `save` wrote.

        Raises:
            ExemplarsError: The file is missing, is too large or no such file, or holds what
                exemplars cannot have.
        """
        again = "copy the file again, or take the exemplars again"
        if not path.is_file():
            raise ExemplarsError(f"the exemplars {path} are missing: name a file that is there")
        if path.stat().st_size > _MAX_BYTES:
            raise ExemplarsError(
                f"the exemplars {path} have more than {_MAX_BYTES >> 20} MiB: name another file, "
                "or thin them before they are saved"
            )
        try:
            with safetensors.safe_open(path, framework="numpy") as file:
                metadata: dict[str, str] = file.metadata() or {}
                if metadata.get("kind") != "exemplars" or set(file.keys()) != set(_DTYPES):
                    raise ValueError("it holds something else")
                if metadata.get("format_version") != str(FORMAT_VERSION):
                    version = reprlib.repr(metadata.get("format_version"))
                    raise ValueError(
                        f"its format_version is {version}, and this program reads {FORMAT_VERSION}"
                    )
                arrays: dict[str, Any] = {name: file.get_tensor(name) for name in _DTYPES}
            return cls(
                weights=metadata.get("weights", ""),
                names=_texts("names", metadata),
                sources=_texts("sources", metadata),
                **arrays,
            )
        except (safetensors.SafetensorError, OSError, ValueError, TypeError) as error:
            raise ExemplarsError(
                f"the exemplars {path} cannot be read ({str(error)[:400]}): {again}"
            ) from error


def _texts(name: str, metadata: dict[str, str]) -> tuple[str, ...]:
    try:
        texts = json.loads(metadata[name])
    except (KeyError, ValueError, RecursionError):
        raise ValueError(f"{name} must be a list of texts") from None
    if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
        raise ValueError(f"{name} must be a list of texts")
    return tuple(texts)


def _most_typical(vectors: NDArray[np.float16], count: int) -> NDArray[np.int64]:
    """Indices of so many vectors ``(n, V)``, see `Exemplars.thinned`."""
    long = vectors.astype(np.float32)
    long /= np.linalg.norm(long, axis=1, keepdims=True).clip(min=1e-6)
    return np.argsort(-(long @ long.sum(0)), kind="stable")[:count]


def thumbnail(
    image: NDArray[np.uint8], box: Sequence[float], side: int = THUMBNAIL
) -> NDArray[np.uint8]:
    """A small picture of a box and a little around it.

    Args:
        image: uint8 ``(H, W, 3)``.
        box: xyxy in pixels.
        side: Of the result.

    Returns:
        uint8 ``(side, side, 3)``; black outside of the picture.
    """
    x1, y1, x2, y2 = box
    length = max(x2 - x1, y2 - y1, 4.0) * AROUND
    left, top = (x1 + x2 - length) / 2, (y1 + y2 - length) / 2
    low_x, low_y = max(math.floor(left), 0), max(math.floor(top), 0)
    high_x, high_y = max(math.ceil(left + length), 0), max(math.ceil(top + length), 0)
    piece = image[low_y:high_y, low_x:high_x]
    if not piece.size:
        return np.zeros((side, side, 3), np.uint8)
    scale = length / side
    factor = max(int(scale), 1)
    step = scale / factor
    matrix = (step, 0.0, (left - low_x) / factor, 0.0, step, (top - low_y) / factor)
    shown = Image.fromarray(np.ascontiguousarray(piece)).reduce(factor)
    return np.asarray(
        shown.transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    )

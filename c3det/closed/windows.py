"""A convolutional network computed again only where its input has changed.

A `Network` is a list of values in the order of their computation, each a sum of terms that read
earlier values or the input. Its values are kept; after a change in a window of the input,
`Network.update` computes each value again in the window that depends on it, and nowhere else. The
result is that of the whole computation, but for the order in which sums are taken.

Windows are ``(rows, columns)``, each a half-open span ``(first, end)`` of cells. All tensors are of
one picture, ``(1, C, rows, columns)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from c3det.clicks import Size

Span = tuple[int, int]
Window = tuple[Span, Span]
Read = Callable[[Window], Tensor]
"""A source in a window."""

INPUT = -1
"""The source of terms that read the input; all others are indices of values."""


def area(window: Window) -> int:
    """Cells in a window."""
    (top, bottom), (left, right) = window
    return (bottom - top) * (right - left)


def hull(windows: Sequence[Window]) -> Window:
    """The smallest window that holds all of some windows, of which there is at least one."""
    rows, columns = (
        (min(first for first, _ in spans), max(end for _, end in spans))
        for spans in zip(*windows, strict=True)
    )
    return rows, columns


@dataclass(frozen=True, slots=True, eq=False)
class Convolution:
    """A convolution of a source, the index of a value or `INPUT`.

    ``weight`` is ``(out, in, k, k)``, ``bias`` ``(out,)``; stride and padding are in cells of the
    source.
    """

    source: int
    weight: Tensor
    bias: Tensor | None = None
    stride: int = 1
    padding: int = 0

    @property
    def cost(self) -> int:
        """Multiplications for a cell of the result."""
        return self.weight.numel()

    def size(self, source: Size) -> Size:
        """``(rows, columns)`` of the result."""
        return _slid(source, self.weight.shape[-1], self.stride, self.padding)

    def touched(self, window: Window, source: Size, target: Size) -> Window:
        """The window of the result that reads a window of the source."""
        return _touched(window, target, self.weight.shape[-1], self.stride, self.padding)

    def compute(self, read: Read, window: Window, source: Size, target: Size) -> Tensor:
        """The result in a window."""
        kernel = self.weight.shape[-1]
        cells, padding = _padded(read, window, source, kernel, self.stride, self.padding)
        return F.conv2d(cells, self.weight, self.bias, self.stride, padding)


@dataclass(frozen=True, slots=True)
class MaxPool:
    """The maximum of a source that is nowhere below 0, so that zeros may pad it."""

    source: int
    kernel: int
    stride: int
    padding: int
    cost: int = 0

    def size(self, source: Size) -> Size:
        """``(rows, columns)`` of the result."""
        return _slid(source, self.kernel, self.stride, self.padding)

    def touched(self, window: Window, source: Size, target: Size) -> Window:
        """The window of the result that reads a window of the source."""
        return _touched(window, target, self.kernel, self.stride, self.padding)

    def compute(self, read: Read, window: Window, source: Size, target: Size) -> Tensor:
        """The result in a window."""
        cells, padding = _padded(read, window, source, self.kernel, self.stride, self.padding)
        return F.max_pool2d(cells, self.kernel, self.stride, padding)


@dataclass(frozen=True, slots=True)
class Copy:
    """A source as it is; where the result has more cells, by nearest resizing."""

    source: int
    cost: int = 0

    def size(self, source: Size) -> Size:
        """``(rows, columns)`` of the result, where no other term decides it."""
        return source

    def touched(self, window: Window, source: Size, target: Size) -> Window:
        """The window of the result that reads a window of the source."""
        rows, columns = (
            (-(-first * large // small), -(-end * large // small))
            for (first, end), small, large in zip(window, source, target, strict=True)
        )
        return rows, columns

    def compute(self, read: Read, window: Window, source: Size, target: Size) -> Tensor:
        """The result in a window."""
        if source == target:
            return read(window)
        rows, columns = (
            (first * small // large, (end - 1) * small // large + 1)
            for (first, end), small, large in zip(window, source, target, strict=True)
        )
        cells = read((rows, columns))
        down, along = (
            torch.arange(first, end, device=cells.device) * small // large - read_from
            for (first, end), (read_from, _), small, large in zip(
                window, (rows, columns), source, target, strict=True
            )
        )
        return cells.index_select(2, down).index_select(3, along)


Term = Convolution | MaxPool | Copy


def _slid(source: Size, kernel: int, stride: int, padding: int) -> Size:
    rows, columns = ((side + 2 * padding - kernel) // stride + 1 for side in source)
    return rows, columns


def _touched(window: Window, target: Size, kernel: int, stride: int, padding: int) -> Window:
    """Cell ``i`` of the result reads ``[i * stride - padding, i * stride - padding + kernel)``."""
    rows, columns = (
        (
            max(-((kernel - 1 - padding - first) // stride), 0),
            min((end - 1 + padding) // stride + 1, side),
        )
        for (first, end), side in zip(window, target, strict=True)
    )
    return rows, columns


def _padded(
    read: Read, window: Window, source: Size, kernel: int, stride: int, padding: int
) -> tuple[Tensor, tuple[int, int]]:
    """The cells that a window of the result reads, and the padding that the operation adds."""
    wanted = [
        (first * stride - padding, (end - 1) * stride - padding + kernel) for first, end in window
    ]
    rows, columns = (
        (max(first, 0), min(end, side)) for (first, end), side in zip(wanted, source, strict=True)
    )
    cells = read((rows, columns))
    before = [inside[0] - span[0] for inside, span in zip((rows, columns), wanted, strict=True)]
    after = [span[1] - inside[1] for inside, span in zip((rows, columns), wanted, strict=True)]
    if before == after:
        return cells, (before[0], before[1])
    return F.pad(cells, (before[1], after[1], before[0], after[0])), (0, 0)


@dataclass(frozen=True, slots=True)
class Sum:
    """A value of a network: terms that are added; the first decides the size.

    With ``relu`` what is below 0 becomes 0.
    """

    terms: tuple[Term, ...]
    relu: bool = False


class Network:
    """Values that are computed from an input, and from one another, in order; ``None`` is given."""

    def __init__(self, values: Sequence[Sum | None]) -> None:
        self._values = tuple(values)

    def __len__(self) -> int:
        return len(self._values)

    def compute(self, draw: Read, input_size: Size, given: Mapping[int, Tensor]) -> list[Tensor]:
        """All values.

        Args:
            draw: The input.
            input_size: Its ``(rows, columns)``.
            given: By index, what is not to be computed.
        """
        values: list[Tensor] = []
        for index, value in enumerate(self._values):
            if index in given:
                values.append(given[index])
                continue
            if value is None:
                raise ValueError(f"value {index} of the network must be given")
            first = value.terms[0]
            size = first.size(_source_size(first, values, input_size))
            window = ((0, size[0]), (0, size[1]))
            values.append(_sum(value, values, draw, input_size, window, size))
        return values

    def windows(
        self, values: Sequence[Tensor], input_size: Size, changed: Window
    ) -> dict[int, Window]:
        """By index, the windows of the values that depend on a window of the input."""
        windows = {INPUT: changed}
        for index, value in enumerate(self._values):
            touched = [
                term.touched(
                    windows[term.source],
                    _source_size(term, values, input_size),
                    _size(values[index]),
                )
                for term in (value.terms if value is not None else ())
                if term.source in windows
            ]
            if touched and area(hull(touched)) > 0:
                windows[index] = hull(touched)
        return windows

    def cost(self, windows: Mapping[int, Window]) -> int:
        """Multiplications that it takes to compute the values in some windows."""
        return sum(
            area(windows[index]) * sum(term.cost for term in value.terms)
            for index, value in enumerate(self._values)
            if index in windows and value is not None
        )

    def update(
        self,
        values: Sequence[Tensor],
        draw: Read,
        input_size: Size,
        windows: Mapping[int, Window],
    ) -> None:
        """Compute values of `compute` again, in place, in their `windows` of a changed input."""
        for index, value in enumerate(self._values):
            if value is None or index not in windows:
                continue
            (top, bottom), (left, right) = windows[index]
            values[index][:, :, top:bottom, left:right] = _sum(
                value, values, draw, input_size, windows[index], _size(values[index])
            )


def _size(value: Tensor) -> Size:
    return value.shape[-2], value.shape[-1]


def _source_size(term: Term, values: Sequence[Tensor], input_size: Size) -> Size:
    return input_size if term.source == INPUT else _size(values[term.source])


def _sum(
    value: Sum,
    values: Sequence[Tensor],
    draw: Read,
    input_size: Size,
    window: Window,
    size: Size,
) -> Tensor:
    def computed(term: Term) -> Tensor:
        def read(inside: Window) -> Tensor:
            (top, bottom), (left, right) = inside
            return values[term.source][:, :, top:bottom, left:right]

        source = _source_size(term, values, input_size)
        return term.compute(draw if term.source == INPUT else read, window, source, size)

    total = computed(value.terms[0])
    for term in value.terms[1:]:
        total = total + computed(term)
    return F.relu(total) if value.relu else total

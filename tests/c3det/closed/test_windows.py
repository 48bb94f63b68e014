"""Networks computed again in windows, against the same networks computed whole."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from c3det.closed.windows import (
    INPUT,
    Convolution,
    Copy,
    MaxPool,
    Network,
    Read,
    Sum,
    Window,
    area,
    hull,
)

SIZE = (36, 44)


def weight(out: int, channels: int, kernel: int) -> Tensor:
    return torch.randn(out, channels, kernel, kernel, dtype=torch.float64)


def pyramid() -> Network:
    """A stem, a pool, a residual block with a stride, a top-down path, and an added level."""
    torch.manual_seed(0)
    return Network(
        [
            None,
            Sum(
                (Convolution(INPUT, weight(4, 2, 7), torch.randn(4, dtype=torch.float64), 2, 3),),
                relu=True,
            ),
            Sum((MaxPool(1, 3, 2, 1),)),
            Sum((Convolution(2, weight(4, 4, 3), None, 2, 1),), relu=True),
            Sum(
                (
                    Convolution(3, weight(4, 4, 3), torch.randn(4, dtype=torch.float64), 1, 1),
                    Convolution(2, weight(4, 4, 1), None, 2),
                ),
                relu=True,
            ),
            Sum((Convolution(2, weight(4, 4, 1)), Copy(4))),
            Sum(
                (
                    Convolution(5, weight(3, 4, 3), torch.randn(3, dtype=torch.float64), 1, 1),
                    Copy(0),
                )
            ),
            Sum((Convolution(4, weight(3, 4, 3), None, 2, 1),)),
        ]
    )


def reader(image: Tensor) -> Read:
    def read(window: Window) -> Tensor:
        (top, bottom), (left, right) = window
        assert 0 <= top <= bottom <= image.shape[2]
        assert 0 <= left <= right <= image.shape[3]
        return image[:, :, top:bottom, left:right]

    return read


def test_whole_network_is_what_torch_computes() -> None:
    network = pyramid()
    image, given = (
        torch.randn(1, 2, *SIZE, dtype=torch.float64),
        torch.randn(1, 3, 9, 11, dtype=torch.float64),
    )
    values = network.compute(reader(image), SIZE, {0: given})
    torch.manual_seed(0)
    stem = F.relu(F.conv2d(image, weight(4, 2, 7), torch.randn(4, dtype=torch.float64), 2, 3))
    pool = F.max_pool2d(stem, 3, 2, 1)
    middle = F.relu(F.conv2d(pool, weight(4, 4, 3), None, 2, 1))
    block = F.conv2d(middle, weight(4, 4, 3), torch.randn(4, dtype=torch.float64), 1, 1)
    block = F.relu(block + F.conv2d(pool, weight(4, 4, 1), None, 2))
    merged = F.conv2d(pool, weight(4, 4, 1)) + F.interpolate(block, size=pool.shape[2:])
    out = F.conv2d(merged, weight(3, 4, 3), torch.randn(3, dtype=torch.float64), 1, 1) + given
    extra = F.conv2d(block, weight(3, 4, 3), None, 2, 1)
    for got, wanted in zip(values[4:], (block, merged, out, extra), strict=True):
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("seed", range(20))
def test_update_in_windows_is_the_whole_again(seed: int) -> None:
    network, draw = pyramid(), random.Random(seed)
    image, given = (
        torch.randn(1, 2, *SIZE, dtype=torch.float64),
        torch.randn(1, 3, 9, 11, dtype=torch.float64),
    )
    values = network.compute(reader(image), SIZE, {0: given})
    for _ in range(5):
        top, left = draw.randrange(SIZE[0]), draw.randrange(SIZE[1])
        changed = (
            (top, draw.randint(top + 1, min(top + 9, SIZE[0]))),
            (left, draw.randint(left + 1, min(left + 9, SIZE[1]))),
        )
        reader(image)(changed).normal_()
        before = [value.clone() for value in values]
        windows = network.windows(values, SIZE, changed)
        network.update(values, reader(image), SIZE, windows)
        wanted = network.compute(reader(image), SIZE, {0: given})
        for index, (old, new, value) in enumerate(zip(before, values, wanted, strict=True)):
            torch.testing.assert_close(new, value)
            outside = torch.ones(value.shape[2:], dtype=torch.bool)
            if index in windows:
                (y1, y2), (x1, x2) = windows[index]
                outside[y1:y2, x1:x2] = False
            assert torch.equal(old[:, :, outside], new[:, :, outside])


def test_windows_by_hand() -> None:
    convolution = Convolution(INPUT, weight(1, 1, 3), None, 1, 1)
    network = Network([Sum((convolution,)), Sum((Convolution(0, weight(1, 1, 1), None, 2),))])
    image = torch.zeros(1, 1, 10, 10, dtype=torch.float64)
    values = network.compute(reader(image), (10, 10), {})
    # One pixel reaches its eight neighbours, of which every second one is read.
    windows = network.windows(values, (10, 10), ((4, 5), (0, 1)))
    assert windows == {INPUT: ((4, 5), (0, 1)), 0: ((3, 6), (0, 2)), 1: ((2, 3), (0, 1))}
    assert network.cost(windows) == 6 * 9 + 1 * 1
    assert area(windows[0]) == 6
    assert hull([((3, 6), (0, 2)), ((0, 1), (5, 6))]) == ((0, 6), (0, 6))


def test_repeated_cells_follow_their_source() -> None:
    copy = Copy(0)
    assert copy.touched(((1, 2), (0, 3)), (4, 4), (8, 8)) == ((2, 4), (0, 6))
    cells = torch.arange(4.0).view(1, 1, 2, 2)
    got = copy.compute(reader(cells), ((1, 4), (0, 2)), (2, 2), (4, 4))
    assert got[0, 0].tolist() == [[0, 0], [2, 2], [2, 2]]


def test_a_value_that_nothing_computes_is_named() -> None:
    with pytest.raises(ValueError, match="value 0 of the network must be given"):
        pyramid().compute(reader(torch.zeros(1, 2, *SIZE)), SIZE, {})

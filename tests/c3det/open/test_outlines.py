"""Outlines from likeness, on cells that a person can draw."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from c3det.open.outlines import STRIDE, outlines

SIDE = 40
"""Of the square map, in cells."""

MIDDLE, RADIUS = (82.0, 78.0), 24.0
"""Of a disc, in pixels."""

BOX = np.array([[MIDDLE[0] - 24, MIDDLE[1] - 24, MIDDLE[0] + 24, MIDDLE[1] + 24]], np.float32)


def cells(
    shape: NDArray[np.bool_ | np.float64], noise: float = 0.05, apart: float = 1.0
) -> np.ndarray:
    """Embeddings: one direction in a shape, another around it, with some noise.

    Args:
        shape: ``(SIDE, SIDE)``, true or 1 in the shape; 0.5 where it is half like it.
        noise: Deviation of each number.
        apart: How far the directions are apart, 0: not at all.
    """
    draw = np.random.default_rng(0)
    found = draw.normal(0, noise, (8, SIDE, SIDE))
    found[0] += 1
    found[1] += apart * shape
    found /= np.linalg.norm(found, axis=0)
    return found.astype(np.float32)


def disc(middle: tuple[float, float] = MIDDLE) -> NDArray[np.bool_]:
    at = (np.arange(SIDE) + 0.5) * STRIDE
    return np.hypot(at[None] - middle[0], at[:, None] - middle[1]) < RADIUS


BESIDE = np.zeros((SIDE, SIDE), bool)
BESIDE[13:26, 27:31] = True  # an eighth of the ground around the box


def area(outline: np.ndarray) -> float:
    x, y = outline.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def test_a_disc_has_the_outline_of_a_disc() -> None:
    (outline,) = outlines(cells(disc()), BOX, [0])
    assert outline is not None
    away = np.hypot(*(outline - MIDDLE).T)
    assert abs(away - RADIUS).max() < STRIDE
    assert area(outline) == pytest.approx(np.pi * RADIUS**2, rel=0.1), "the box has 27 % more"
    assert (outline >= BOX[0, :2]).all()
    assert (outline <= BOX[0, 2:]).all()


def test_a_bar_across_its_box_has_the_outline_of_a_bar() -> None:
    """From the top left to the bottom right; of an ellipse both ways would be as long."""
    at = (np.arange(SIDE) + 0.5) * STRIDE
    across, down = np.meshgrid(at - MIDDLE[0], at - MIDDLE[1])
    bar = (abs(across - down) < 20) & (abs(across + down) < 48)
    (outline,) = outlines(cells(bar), BOX, [0])
    assert outline is not None
    x, y = (outline - MIDDLE).T
    assert np.ptp(x + y) > 1.5 * np.ptp(x - y)
    assert np.ptp(x - y) == pytest.approx(40, abs=2 * STRIDE)


def test_what_fills_its_box_keeps_it() -> None:
    square = np.zeros((SIDE, SIDE), bool)
    square[14:25, 15:26] = True  # the pixels from 60 to 104 and from 56 to 100
    box = np.array([[60, 56, 104, 100]], np.float32)
    (outline,) = outlines(cells(square), box, [0])
    assert outline is None or area(outline) > 0.9 * 44 * 44


@pytest.mark.parametrize(
    ("shown", "boxes"),
    [
        (cells(disc(), apart=0.0), BOX),  # object and ground look alike
        (cells(disc(), noise=0.4), BOX),  # hardly anything does
        (cells(disc() | disc((MIDDLE[0] + 60, MIDDLE[1]))), BOX),  # its like lies beside it
        (cells(disc() + 0.5 * BESIDE, noise=0.02), BOX),  # what lies beside it is half like it
        (cells(disc((MIDDLE[0] - 10, MIDDLE[1]))), BOX),  # the box does not fit
        (cells(disc()), BOX[:, [0, 1, 0, 1]] + np.float32([20, 20, 26, 26])),  # too small
        (cells(disc()), np.concatenate([BOX, BOX + 30, BOX - 30])),  # in a crowd
        (cells(disc()), np.float32([[-50, -50, 300, 300]])),  # all of the picture
    ],
)
def test_elsewhere_the_box_says_it_better(shown: np.ndarray, boxes: np.ndarray) -> None:
    assert outlines(shown, boxes, [0]) == [None]


@pytest.mark.parametrize("far", [(150, 150), (10, 6)])
def test_what_lies_far_away_does_not_count(far: tuple[float, float]) -> None:
    (outline,) = outlines(cells(disc() | disc(far)), BOX, [0])
    assert outline is not None


def test_outlines_are_those_of_the_wanted_rows_in_their_order() -> None:
    far = (MIDDLE[0] - 54, MIDDLE[1] - 50)
    boxes = np.concatenate([BOX, BOX + np.float32([300] * 4), BOX - np.float32([54, 50, 54, 50])])
    shown = cells(disc() | disc(far))
    second, first = outlines(shown, boxes, [2, 0])
    assert first is not None
    assert second is not None
    np.testing.assert_allclose(first.mean(0), MIDDLE, atol=2)
    np.testing.assert_allclose(second.mean(0), far, atol=2)

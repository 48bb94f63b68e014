"""Windows of backgrounds, and what stays visible of them."""

from __future__ import annotations

import numpy as np
import pytest

from training.data.annotated import Annotated
from training.data.backgrounds import covered, scaled_window


def picture(width: int, height: int, boxes: list[list[float]]) -> Annotated:
    """Red is the column, green the row."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(width), np.arange(height)[:, None]
    return Annotated("p", image, np.array(boxes, np.float32).reshape(-1, 4), np.arange(len(boxes)))


def test_the_only_window_is_the_picture() -> None:
    window = scaled_window(picture(40, 40, [[4, 8, 12, 16]]), 20, 0.5, np.random.default_rng(0))
    assert window.image.shape == (20, 20, 3)
    assert window.boxes.tolist() == [[2, 4, 6, 8]]
    # A pixel of the window is the mean of about two columns of the picture.
    assert np.abs(window.image[0, :, 0].astype(int) - (np.arange(20) * 2 + 0.5)).max() <= 1


def test_boxes_follow_the_window() -> None:
    """Where a window begins shows in its colours, and the box must have moved by as much."""
    for seed in range(20):
        window = scaled_window(
            picture(100, 90, [[40, 40, 60, 50]]), 80, 1.0, np.random.default_rng(seed)
        )
        left, top = window.image[0, 0, :2].tolist()
        assert np.abs(window.boxes[0] - [40 - left, 40 - top, 60 - left, 50 - top]).max() <= 1


def test_a_window_larger_than_the_picture_is_refused() -> None:
    with pytest.raises(ValueError, match=r"p: 40 x 30 pixels are too few for 20 x 20"):
        scaled_window(picture(40, 30, []), 20, 0.6, np.random.default_rng(0))


def test_covered_by_hand() -> None:
    boxes = np.array([[0, 0, 10, 10], [20, 20, 30, 30]], np.float32)
    hidden = np.zeros((40, 40), bool)
    hidden[0:6, 0:10] = True
    assert covered(boxes, hidden).tolist() == pytest.approx([0.6, 0.0])
    assert covered(boxes[:0], hidden).tolist() == []

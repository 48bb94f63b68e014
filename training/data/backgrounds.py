"""Real aerial pictures to draw on: windows of them, and what stays visible.

A background is an ``Annotated`` whose boxes are those of its trees.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data.annotated import Annotated, clip_boxes


def scaled_window(
    picture: Annotated, size: int, scale: float, rng: np.random.Generator
) -> Annotated:
    """Cut a square window out of a picture, anywhere, and bring it to a size.

    Args:
        picture: At full resolution.
        size: Height and width of the result in pixels.
        scale: Of the result to the picture; a smaller one shows more of the picture.
        rng: Source of the place.

    Returns:
        The window with the boxes of which at least half lies in it, cut at its edge.

    Raises:
        ValueError: The picture is smaller than the window.
    """
    side = size / scale
    if side > min(picture.width, picture.height):
        raise ValueError(
            f"{picture.name}: {picture.width} x {picture.height} pixels are too few "
            f"for {size} x {size} at scale {scale:.2f}"
        )
    x = rng.uniform(0, picture.width - side)
    y = rng.uniform(0, picture.height - side)
    # Only the window is handed to PIL: the whole picture would be copied every time.
    left, top = math.floor(x), math.floor(y)
    right, bottom = math.ceil(x + side), math.ceil(y + side)
    # PIL copies what is not contiguous value by value, 20 times slower.
    window = Image.fromarray(np.ascontiguousarray(picture.image[top:bottom, left:right]))
    image = window.resize(
        (size, size),
        Image.Resampling.BILINEAR,
        box=(x - left, y - top, x - left + side, y - top + side),
    )
    boxes, stays = clip_boxes(picture.boxes, x, y, side, side)
    return Annotated(
        name=picture.name,
        image=np.asarray(image),
        # Rounding must not carry a box over the edge.
        boxes=np.clip(boxes * np.float32(size / side), 0, size),
        labels=picture.labels[stays],
    )


def covered(boxes: NDArray[np.float32], hidden: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return which fraction of each box, to whole pixels, is hidden.

    Args:
        boxes: float32 (N, 4), xyxy inside the picture.
        hidden: bool (H, W), where something lies on the background.
    """
    fractions = [
        hidden[math.floor(y1) : math.ceil(y2), math.floor(x1) : math.ceil(x2)].mean()
        for x1, y1, x2, y2 in boxes.tolist()
    ]
    return np.array(fractions, np.float64)

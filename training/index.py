"""Pictures with boxes, in memory: the index that training and evaluation share.

Coordinates follow ``c3det.clicks``: continuous pixels, boxes ``(x1, y1, x2, y2)`` without "+ 1".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLASSES = ("tree", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
TREE_LABEL = 0
DIGIT_LABELS = range(1, 11)


@dataclass(frozen=True, eq=False)
class Annotated:
    """One picture with its boxes.

    Attributes:
        name: Unique within a set, and stable from run to run.
        image: uint8 (H, W, 3), RGB.
        boxes: float32 (N, 4), xyxy in pixels of ``image``.
        labels: int64 (N,), 0-based classes.

    Raises:
        ValueError: A shape or a dtype is another.
    """

    name: str
    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.image.dtype != np.uint8 or self.image.ndim != 3 or self.image.shape[2] != 3:
            raise ValueError(
                f"{self.name}: the image must be uint8 (H, W, 3), "
                f"not {self.image.dtype} {self.image.shape}"
            )
        if self.boxes.dtype != np.float32 or self.boxes.shape != (len(self.boxes), 4):
            raise ValueError(
                f"{self.name}: the boxes must be float32 (N, 4), "
                f"not {self.boxes.dtype} {self.boxes.shape}"
            )
        if self.labels.dtype != np.int64 or self.labels.shape != (len(self.boxes),):
            raise ValueError(
                f"{self.name}: the labels must be int64 ({len(self.boxes)},), "
                f"not {self.labels.dtype} {self.labels.shape}"
            )

    @property
    def width(self) -> int:
        """Pixels from the left to the right edge."""
        return int(self.image.shape[1])

    @property
    def height(self) -> int:
        """Pixels from the top to the bottom edge."""
        return int(self.image.shape[0])


def clip_boxes(
    boxes: NDArray[np.float32],
    x: float,
    y: float,
    width: float,
    height: float,
    min_visible: float = 0.5,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Cut boxes to a window.

    Args:
        boxes: float32 (N, 4).
        x: Left edge of the window.
        y: Top edge of the window.
        width: Of the window.
        height: Of the window.
        min_visible: Fraction of a box's area that must lie in the window for the box to stay.

    Returns:
        The boxes that stay, cut and relative to the window's corner, float32 (M, 4), and which
        ones they are, bool (N,). A box without area inside the window never stays.
    """
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    cut = boxes - np.array([x, y, x, y], np.float32)
    cut = np.clip(cut, 0, np.array([width, height, width, height], np.float32))
    inside = (cut[:, 2] - cut[:, 0]) * (cut[:, 3] - cut[:, 1])
    stays = (inside > 0) & (inside >= min_visible * area)
    return cut[stays], stays


def crop(
    annotated: Annotated, x: int, y: int, width: int, height: int, min_visible: float = 0.5
) -> Annotated:
    """Cut a window out of a picture; see ``clip_boxes`` for the fate of the boxes.

    The name of the window is ``"<name>@<x>,<y>,<width>x<height>"``. Its image is a copy.

    Raises:
        ValueError: The window is empty or not inside the picture.
    """
    fits = 0 <= x and 0 <= y and x + width <= annotated.width and y + height <= annotated.height
    if width <= 0 or height <= 0 or not fits:
        raise ValueError(
            f"{annotated.name}: no window {width} x {height} at ({x}, {y}) "
            f"in a picture of {annotated.width} x {annotated.height}"
        )
    boxes, stays = clip_boxes(annotated.boxes, x, y, width, height, min_visible)
    return Annotated(
        name=f"{annotated.name}@{x},{y},{width}x{height}",
        image=annotated.image[y : y + height, x : x + width].copy(),
        boxes=boxes,
        labels=annotated.labels[stays],
    )


def turn(annotated: Annotated, quarter_turns: int, mirror: bool) -> Annotated:
    """Mirror a picture left to right, if asked, then turn it clockwise by quarter turns.

    Only for pictures whose classes survive it: trees do, digits do not.
    """
    image, boxes = annotated.image, annotated.boxes
    if mirror:
        image = image[:, ::-1]
        x1, y1, x2, y2 = boxes.T
        boxes = np.stack([image.shape[1] - x2, y1, image.shape[1] - x1, y2], axis=1)
    for _ in range(quarter_turns % 4):
        # Clockwise, the left edge becomes the top: (x, y) -> (height - y, x).
        height = image.shape[0]
        image = np.rot90(image, -1)
        x1, y1, x2, y2 = boxes.T
        boxes = np.stack([height - y2, x1, height - y1, x2], axis=1)
    return Annotated(
        name=annotated.name,
        image=np.ascontiguousarray(image),
        boxes=boxes.astype(np.float32),
        labels=annotated.labels,
    )


def to_coco(pictures: Sequence[Annotated], classes: Sequence[str] = CLASSES) -> dict[str, Any]:
    """Describe pictures as a COCO data set, ready for ``pycocotools``.

    Args:
        pictures: In the order of their ids.
        classes: Names by label; category ``i + 1`` is ``classes[i]``.

    Returns:
        ``images``, ``annotations`` and ``categories``; all ids count from 1, ``bbox`` is
        ``[x, y, width, height]`` and ``file_name`` the picture's name.
    """
    images = []
    annotations: list[dict[str, Any]] = []
    for image_id, picture in enumerate(pictures, start=1):
        images.append(
            {
                "id": image_id,
                "file_name": picture.name,
                "width": picture.width,
                "height": picture.height,
            }
        )
        for box, label in zip(picture.boxes.tolist(), picture.labels.tolist(), strict=True):
            width, height = box[2] - box[0], box[3] - box[1]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": label + 1,
                    "bbox": [box[0], box[1], width, height],
                    "area": width * height,
                    "iscrowd": 0,
                }
            )
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(classes)]
    return {
        "info": {"description": "c3det"},
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }

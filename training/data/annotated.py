"""Pictures with boxes: in memory (`Annotated`), on disk (`Record`), and a list of these (`Index`).

Coordinates follow ``c3det.clicks``: continuous pixels, boxes ``(x1, y1, x2, y2)`` without "+ 1".

An object may be *ignored*: a crowd, an object called difficult, or one cut by the edge of a tile.
It counts neither as found nor as missed, is never clicked, and trains nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from c3det.clicks import Click
from training.data.picture_files import PictureError, read_picture


def _none() -> NDArray[np.bool_]:
    return np.zeros(0, np.bool_)


def _check_objects(objects: Annotated | Record) -> None:
    """Check what pictures in memory and on disk share, and fill in flags that were left out."""
    name, boxes = objects.name, objects.boxes
    if len(objects.ignored) == 0:
        object.__setattr__(objects, "ignored", np.zeros(len(boxes), np.bool_))
    if boxes.dtype != np.float32 or boxes.shape != (len(boxes), 4):
        raise ValueError(
            f"{name}: the boxes must be float32 (N, 4), not {boxes.dtype} {boxes.shape}"
        )
    arrays: dict[str, tuple[NDArray | None, type[np.generic], tuple[int, ...]]] = {
        "labels": (objects.labels, np.int64, ()),
        "ignored flags": (objects.ignored, np.bool_, ()),
        "corners": (objects.corners, np.float32, (4, 2)),
    }
    for what, (array, dtype, rest) in arrays.items():
        shape = (len(boxes), *rest)
        if array is not None and (array.dtype != dtype or array.shape != shape):
            raise ValueError(
                f"{name}: the {what} must be {np.dtype(dtype)} {shape}, "
                f"not {array.dtype} {array.shape}"
            )


@dataclass(frozen=True, eq=False)
class Annotated:
    """One picture with its boxes.

    Attributes:
        name: Unique within a set, and stable from run to run.
        image: uint8 (H, W, 3), RGB.
        boxes: float32 (N, 4), xyxy in pixels of ``image``.
        labels: int64 (N,), 0-based classes of the set that the picture comes from.
        ignored: bool (N,), see the module. Left out: none is.
        corners: float32 (N, 4, 2), the oriented corners ``(x, y)`` of the objects in pixels of
            ``image``, clockwise as seen on the screen if the source keeps to that; they may lie
            outside the picture. ``None`` where the source has none.

    Raises:
        ValueError: A shape or a dtype is another.
    """

    name: str
    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    ignored: NDArray[np.bool_] = field(default_factory=_none)
    corners: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.image.dtype != np.uint8 or self.image.ndim != 3 or self.image.shape[2] != 3:
            raise ValueError(
                f"{self.name}: the image must be uint8 (H, W, 3), "
                f"not {self.image.dtype} {self.image.shape}"
            )
        _check_objects(self)

    @property
    def width(self) -> int:
        """Pixels from the left to the right edge."""
        return int(self.image.shape[1])

    @property
    def height(self) -> int:
        """Pixels from the top to the bottom edge."""
        return int(self.image.shape[0])


@dataclass(frozen=True, eq=False)
class Record:
    """One picture of an index: its objects, and where its pixels are.

    Attributes:
        name: Unique within a set, and stable from run to run; parts are separated by ``/``.
        path: The file of the picture.
        width: Of the picture as it is shown, in pixels.
        height: Likewise.
        boxes: float32 (N, 4), xyxy in pixels of the picture.
        labels: int64 (N,), indices into `Index.classes`.
        ignored: bool (N,), see the module. Left out: none is.
        corners: float32 (N, 4, 2) or ``None``, as in `Annotated`.
        clicks: What an annotator clicked in this picture, in order; for replay.

    Raises:
        ValueError: A shape or a dtype is another.
    """

    name: str
    path: Path
    width: int
    height: int
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    ignored: NDArray[np.bool_] = field(default_factory=_none)
    corners: NDArray[np.float32] | None = None
    clicks: tuple[Click, ...] = ()

    def __post_init__(self) -> None:
        _check_objects(self)

    def load(self) -> Annotated:
        """Read the pixels.

        Raises:
            training.data.picture_files.PictureError: The picture cannot be read, or has
                another size than the record says.
        """
        image = read_picture(self.path)
        if image.shape[:2] != (self.height, self.width):
            raise PictureError(
                f"{self.path} is {image.shape[1]} x {image.shape[0]} pixels large, "
                f"but {self.width} x {self.height} in the index"
            )
        return Annotated(self.name, image, self.boxes, self.labels, self.ignored, self.corners)


@dataclass(frozen=True, eq=False)
class Index:
    """A data set on disk.

    Attributes:
        classes: Names, by label.
        records: Its pictures.

    Raises:
        ValueError: A class or the name of a picture occurs twice, or there is no class of a label.
    """

    classes: tuple[str, ...]
    records: tuple[Record, ...]

    def __post_init__(self) -> None:
        for what, names in (
            ("class", self.classes),
            ("picture", [record.name for record in self.records]),
        ):
            if repeated := first_repeated(names):
                raise ValueError(f"the {what} {repeated!r} occurs twice")
        for record in self.records:
            labels = [*record.labels.tolist(), *(click.label for click in record.clicks)]
            if labels and not 0 <= min(labels) <= max(labels) < len(self.classes):
                raise ValueError(
                    f"{record.name} has a label that is none of 0 to {len(self.classes) - 1}"
                )

    def check_classes(self, classes: Iterable[str]) -> None:
        """Raise ``ValueError`` where a class is not in the index."""
        for name in classes:
            if name not in self.classes:
                raise ValueError(f"there is no class {name!r}, only {', '.join(self.classes)}")

    def keep_classes(
        self, classes: Sequence[str], rename: Mapping[str, str] = MappingProxyType({})
    ) -> Index:
        """Return the index with some of its classes, in a given order, and all its pictures.

        Objects and clicks of the other classes are left out.

        Args:
            classes: Which to keep.
            rename: New names of some; classes of one name become one.

        Raises:
            ValueError: A class is not in the index.
        """
        self.check_classes([*classes, *rename])
        new = [rename.get(name, name) for name in classes]
        kept = tuple(dict.fromkeys(new))
        label_of = np.full(len(self.classes), -1)
        label_of[[self.classes.index(name) for name in classes]] = [kept.index(one) for one in new]
        return Index(kept, tuple(relabel(record, label_of) for record in self.records))


PictureT = TypeVar("PictureT", Annotated, Record)


def first_repeated(names: Iterable[str]) -> str | None:
    """Return the first name that occurs a second time."""
    earlier: set[str] = set()
    for name in names:
        if name in earlier:
            return name
        earlier.add(name)
    return None


def keep_objects(picture: PictureT, kept: NDArray[np.bool_]) -> PictureT:
    """The picture with the objects where a mask, bool (N,), is true, in their order."""
    return replace(
        picture,
        boxes=picture.boxes[kept],
        labels=picture.labels[kept],
        ignored=picture.ignored[kept],
        corners=None if picture.corners is None else picture.corners[kept],
    )


def relabel(record: Record, label_of: NDArray[np.int64]) -> Record:
    """Give the objects and clicks of a record other labels.

    Args:
        record: The record.
        label_of: int64 (classes,), the new label by the old one; what gets -1 is left out.
    """
    labels = label_of[record.labels]
    return replace(
        keep_objects(replace(record, labels=labels), labels >= 0),
        clicks=tuple(
            replace(click, label=int(label_of[click.label]))
            for click in record.clicks
            if label_of[click.label] >= 0
        ),
    )


def clip_boxes(
    boxes: NDArray[np.float32],
    x: float,
    y: float,
    width: float,
    height: float,
    min_visible: float | NDArray[np.float32] = 0.5,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Cut boxes to a window.

    Args:
        boxes: float32 (N, 4).
        x: Left edge of the window.
        y: Top edge of the window.
        width: Of the window.
        height: Of the window.
        min_visible: Fraction of a box's area that must lie in the window for the box to stay; one
            for all, or float32 (N,), one a box.

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

    Of an ignored object any part stays. Corners are moved, not cut. The name of the window is
    ``"<name>@<x>,<y>,<width>x<height>"``. Its image is a copy.

    Raises:
        ValueError: The window is empty or not inside the picture.
    """
    fits = 0 <= x and 0 <= y and x + width <= annotated.width and y + height <= annotated.height
    if width <= 0 or height <= 0 or not fits:
        raise ValueError(
            f"{annotated.name}: no window {width} x {height} at ({x}, {y}) "
            f"in a picture of {annotated.width} x {annotated.height}"
        )
    needed = np.where(annotated.ignored, 0, min_visible).astype(np.float32)
    boxes, stays = clip_boxes(annotated.boxes, x, y, width, height, needed)
    corners = annotated.corners
    return Annotated(
        name=f"{annotated.name}@{x},{y},{width}x{height}",
        image=annotated.image[y : y + height, x : x + width].copy(),
        boxes=boxes,
        labels=annotated.labels[stays],
        ignored=annotated.ignored[stays],
        corners=None if corners is None else corners[stays] - np.array([x, y], np.float32),
    )


def resize(annotated: Annotated, width: int, height: int) -> Annotated:
    """Make a picture smaller by averaging areas; boxes and corners follow. The name stays.

    Args:
        annotated: The picture.
        width: In pixels, at least 1.
        height: In pixels, at least 1.
    """
    factor = np.array([width / annotated.width, height / annotated.height])
    corners = annotated.corners
    return replace(
        annotated,
        image=cv2.resize(annotated.image, (width, height), interpolation=cv2.INTER_AREA),
        boxes=(annotated.boxes * np.tile(factor, 2)).astype(np.float32),
        corners=None if corners is None else (corners * factor).astype(np.float32),
    )


def rotate_quarters(annotated: Annotated, quarters: int, mirror: bool) -> Annotated:
    """Mirror a picture left to right, if asked, then rotate it clockwise by 90 degrees a quarter.

    Only for pictures whose classes survive it: trees do, digits do not.
    """
    image, boxes, corners = annotated.image, annotated.boxes, annotated.corners
    if mirror:
        image = image[:, ::-1]
        x1, y1, x2, y2 = boxes.T
        boxes = np.stack([image.shape[1] - x2, y1, image.shape[1] - x1, y2], axis=1)
        if corners is not None:
            # A mirror makes clockwise counterclockwise; the new order undoes it.
            corners = corners[:, [1, 0, 3, 2]]
            corners[..., 0] = image.shape[1] - corners[..., 0]
    for _ in range(quarters % 4):
        # Clockwise, the left edge becomes the top: (x, y) -> (height - y, x).
        height = image.shape[0]
        image = np.rot90(image, -1)
        x1, y1, x2, y2 = boxes.T
        boxes = np.stack([height - y2, x1, height - y1, x2], axis=1)
        if corners is not None:
            corners = np.stack([height - corners[..., 1], corners[..., 0]], axis=-1)
    return replace(
        annotated,
        image=np.ascontiguousarray(image),
        boxes=boxes.astype(np.float32),
        corners=corners,
    )

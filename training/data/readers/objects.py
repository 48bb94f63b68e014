"""The objects of one picture as a reader finds them, each checked when it is added."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import shapely

from c3det.clicks import Click
from training.data.annotated import Record
from training.data.readers.reading import Position, Report

OUTSIDE_TOLERANCE = 0.02
"""Pixels by which a box may leave the picture unreported: formats round to two decimals."""

NO_SHARE = 2
"""A coordinate as large, in shares of the picture's sides, was meant as pixels."""

Corners = Sequence[tuple[float, float]]


def rotated(box: Sequence[float], degrees: float) -> Corners:
    """Turn a box clockwise about its centre.

    Args:
        box: xyxy.
        degrees: Clockwise as seen on the screen, where y points down.

    Returns:
        The corners, from the one that was at the top left on, clockwise.
    """
    x1, y1, x2, y2 = box
    cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [
        (cx + cosine * (x - cx) - sine * (y - cy), cy + sine * (x - cx) + cosine * (y - cy))
        for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
    ]


def hull(points: Iterable[tuple[float, float]]) -> tuple[float, float, float, float]:
    """Return the horizontal box around points, xyxy."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def enclosed_area(corners: Corners) -> float:
    """Return the area of a polygon in square pixels."""
    following = [*corners[1:], corners[0]]
    doubled = sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(corners, following, strict=True))
    return abs(doubled) / 2


class Objects:
    """The objects of one picture: each is checked as it is added.

    Args:
        name: Of the picture, see `Record`.
        path: Of its file.
        width: In pixels.
        height: Likewise.
        report: Receives the defects.
    """

    def __init__(self, name: str, path: Path, width: int, height: int, report: Report) -> None:
        self.name = name
        self.path = path
        self.width = width
        self.height = height
        self.report = report
        self._boxes: list[tuple[float, float, float, float]] = []
        self._labels: list[int] = []
        self._ignored: list[bool] = []
        self._corners: list[Corners | None] = []
        self._clicks: list[Click] = []
        self._places: dict[object, Position] = {}

    def add(
        self,
        place: Position,
        what: str,
        label: int,
        box: Sequence[float] | None = None,
        corners: Corners | None = None,
        *,
        rotation: float = 0.0,
        ignored: bool = False,
    ) -> None:
        """Add an object, or report why it is left out.

        Args:
            place: Where it stands.
            what: Names it at the start of a sentence.
            label: Its class.
            box: xyxy; left out, it is the horizontal hull of the corners.
            corners: Four oriented corners.
            rotation: Of the box about its centre, in degrees clockwise, which makes corners of it.
            ignored: It is a crowd, or called difficult.
        """
        if box is not None and rotation % 360 != 0 and box[2] > box[0] and box[3] > box[1]:
            corners = rotated(box, rotation)
            box = hull(corners)
        elif box is None:
            if corners is None:
                raise TypeError("an object needs a box or corners")
            box = hull(corners)
        # In single precision, as they are kept: what has an area here has one in the index.
        numbers = [*_single(box), *_flat(corners or ())]
        stated = _numbers(numbers if corners is None else numbers[4:])
        if not all(map(math.isfinite, numbers)):
            sentence = f"{what} has a coordinate that is no number: {stated}"
            self.report.leave_out(place, "not a number", sentence)
            return
        x1, y1, x2, y2 = box = numbers[:4]
        if corners is not None:
            corners = list(zip(numbers[4::2], numbers[5::2], strict=True))
        if x2 <= x1 or y2 <= y1 or (corners is not None and enclosed_area(corners) == 0):
            self.report.leave_out(place, "no area", f"{what} encloses no area: {stated}")
            return
        beyond = max(-x1, -y1, x2 - self.width, y2 - self.height)
        cut = (max(x1, 0.0), max(y1, 0.0), min(x2, self.width), min(y2, self.height))
        if corners is not None and beyond > 0 and cut[0] < cut[2] and cut[1] < cut[3]:
            cut = _hull_inside(corners, cut)
        outside = f"the picture of {self.width} x {self.height} pixels: {_numbers(box)}"
        if cut[2] <= cut[0] or cut[3] <= cut[1]:
            self.report.leave_out(place, "outside the picture", f"{what} is outside {outside}")
            return
        # As in the file of the set, where every object has corners if one has.
        key = (label, *cut, *(numbers[4:] or _flat(rotated(cut, 0))))
        if key in self._places:
            first = self._places[key]
            at = f"in line {first}" if isinstance(first, int) else f"at {first}"
            same = "is the same as" if beyond <= 0 else "is, as far as it is in the picture,"
            self.report.leave_out(place, "duplicate object", f"{what} {same} the object {at}")
            return
        self._places[key] = place
        if beyond > OUTSIDE_TOLERANCE:
            sentence = f"{what} reaches {beyond:.6g} px out of {outside}; it is cut"
            self.report.add(place, "partly outside", sentence)
        self._boxes.append(cut)
        self._labels.append(label)
        self._ignored.append(ignored)
        self._corners.append(corners)

    def add_click(
        self,
        place: Position,
        what: str,
        label: int,
        x: float,
        y: float,
        *,
        positive: bool = True,
    ) -> None:
        """Add a click of an annotator, or report why it is left out."""
        if not (math.isfinite(x) and math.isfinite(y)):
            self.report.leave_out(
                place, "not a number", f"{what} has a coordinate that is no number"
            )
        elif not (0 <= x <= self.width and 0 <= y <= self.height):
            sentence = f"{what} is outside the picture of {self.width} x {self.height} pixels"
            self.report.leave_out(place, "outside the picture", f"{sentence}: {_numbers((x, y))}")
        else:
            self._clicks.append(Click(x, y, label, positive))

    def to_record(self) -> Record:
        """Return the picture with the objects that are sound."""
        corners = None
        if any(of_object is not None for of_object in self._corners):
            corners = np.array(
                [
                    rotated(box, 0) if of_object is None else of_object
                    for box, of_object in zip(self._boxes, self._corners, strict=True)
                ],
                np.float32,
            )
        return Record(
            name=self.name,
            path=self.path,
            width=self.width,
            height=self.height,
            boxes=np.array(self._boxes, np.float32).reshape(-1, 4),
            labels=np.array(self._labels, np.int64),
            ignored=np.array(self._ignored, np.bool_),
            corners=corners,
            clicks=tuple(self._clicks),
        )


def _hull_inside(corners: Corners, box: Sequence[float]) -> tuple[float, float, float, float]:
    """The horizontal box around the part of a quadrilateral that is in a box; may be empty."""
    part = shapely.make_valid(shapely.Polygon(corners)).intersection(shapely.box(*box))
    if part.area == 0:
        return 0.0, 0.0, 0.0, 0.0
    x1, y1, x2, y2 = _single(part.bounds)
    return max(x1, box[0]), max(y1, box[1]), min(x2, box[2]), min(y2, box[3])


def _flat(corners: Corners) -> list[float]:
    return _single([value for corner in corners for value in corner])


def _single(values: Sequence[float]) -> list[float]:
    """Round to single precision; what is beyond it is infinite."""
    with np.errstate(over="ignore"):
        return np.array(values).astype(np.float32).tolist()


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.6g}" for value in values)

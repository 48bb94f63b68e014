"""Detections become the shapes of an answer: boxes, and masks as CVAT stores them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from c3det.clicks import Click
from c3det.detections import Detections, answered_clicks, overruled
from serverless.protocol import Bounds, Box, BuiltInAnswer, BuiltInRequest, Mask, Rival

if TYPE_CHECKING:
    from c3det.model import Outline

THINNEST_MASK = 3
"""Shortest side of a mask, in pixels: later versions of CVAT drop those of fewer."""

RIVAL_SHARE = 0.5
"""The class that comes second for a box is in the answer if its score is at least this share of the
box's."""


def boxes_of(
    detections: Detections, classes: Sequence[str], clicks: Sequence[Click] = ()
) -> tuple[Box, ...]:
    """Return the boxes of an answer, in the order of the detections.

    Their points are to a hundredth of a pixel, their scores to four places.

    Args:
        detections: Found with the clicks; labels below 0 are of no class.
        classes: Names of the classes; none: of an open model.
        clicks: Of the request.
    """
    return tuple(
        Box(
            label if label >= 0 else None,
            classes[label] if classes else None,
            (x1, y1, x2, y2),
            score,
            answered,
            rival=Rival(second, behind) if second >= 0 and behind >= RIVAL_SHARE * score else None,
        )
        for (x1, y1, x2, y2), score, label, answered, second, behind in zip(
            detections.boxes.astype(np.float64).round(2).tolist(),
            detections.scores.astype(np.float64).round(4).tolist(),
            detections.labels.tolist(),
            answered_clicks(detections, clicks),
            detections.rivals.tolist(),
            detections.rival_scores.astype(np.float64).round(4).tolist(),
            strict=True,
        )
    )


def notes_on_clicks(
    detections: Detections, classes: Sequence[str], clicks: Sequence[Click]
) -> tuple[str, ...]:
    """Return sentences about clicks of several classes on one object, each once.

    An open model, without names of classes, does not know what the labels are called.
    """
    sentences = (
        f"{classes[clicks[click].label]} and {classes[clicks[later].label]} were clicked on one "
        f"object: the last click, {classes[clicks[later].label]}, counts"
        if classes
        else "clicks of several labels lie on one object: the last one counts"
        for click, later in overruled(detections, clicks)
    )
    return tuple(dict.fromkeys(sentences))


def built_in_answer(
    detections: Detections,
    request: BuiltInRequest,
    label: int,
    image_size: tuple[int, int],
    full_mask_max_pixels: int,
    outlines: Mapping[int, Outline],
) -> BuiltInAnswer:
    """Return the answer to CVAT's own panel.

    Mask, bounds and points describe the object under the last positive click. Up to
    ``full_mask_max_pixels`` the mask covers the whole picture, and the bounds with it: that is
    right for the versions that read bounds as the place of a crop and for those that ignore
    it. Above, the mask is cut to the object. The shapes are all objects of the class, the highest
    score first.

    Args:
        detections: Found with ``request.clicks(label)``; every positive click has an object.
        request: The request.
        label: The class of its clicks.
        image_size: ``(height, width)`` of the picture.
        full_mask_max_pixels: Largest picture, in pixels, with a mask of the whole picture.
        outlines: Of detections, by their rows; the others are masked by their boxes.
    """
    height, width = image_size
    last = len(request.positive) - 1
    clicked = int(np.flatnonzero(detections.clicks == detections.answer_of[last])[0])
    masks = {
        row: object_pixels(detections.boxes[row], outlines.get(row), image_size)
        for row in np.flatnonzero(detections.labels == label).tolist()
    }
    bounds, pixels = masks[clicked]
    left, top, right, bottom = bounds
    mask = pixels.astype(int).tolist()
    if height * width <= full_mask_max_pixels:
        empty = [0] * width
        rows = [[0] * left + row + [0] * (width - 1 - right) for row in mask]
        mask = [empty] * top + rows + [empty] * (height - 1 - bottom)
        bounds = (0, 0, width - 1, height - 1)
    x1, y1, x2, y2 = detections.boxes[clicked].astype(np.float64)
    corners = outlines.get(clicked, np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)]))
    return BuiltInAnswer(
        mask,
        bounds,
        tuple((x, y) for x, y in corners.round(2).tolist()),
        tuple(
            Mask(runs_of(pixels), bounds, float(detections.scores[row]))
            for row, (bounds, pixels) in masks.items()
        ),
    )


def object_pixels(
    box: np.ndarray, outline: Outline | None, image_size: tuple[int, int]
) -> tuple[Bounds, np.ndarray]:
    """Return which pixels an object has: some bounds, and a bool array of the pixels in them.

    The outline lies inside of the box; without one the box counts.
    """
    left, top, right, bottom = bounds = pixel_bounds(box, image_size)
    size = (right - left + 1, bottom - top + 1)
    if outline is None:
        return bounds, np.ones(size[::-1], bool)
    image = Image.new("1", size)
    # Pillow has the middles of pixels at whole numbers.
    corners = [(x - left - 0.5, y - top - 0.5) for x, y in outline.tolist()]
    ImageDraw.Draw(image).polygon(corners, fill=1)
    pixels = np.asarray(image)
    columns, rows = np.flatnonzero(pixels.any(0)), np.flatnonzero(pixels.any(1))
    if min(np.ptp(columns), np.ptp(rows)) + 1 < THINNEST_MASK:
        return bounds, np.ones(size[::-1], bool)
    pixels = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    first = (left + int(columns[0]), top + int(rows[0]))
    return (*first, left + int(columns[-1]), top + int(rows[-1])), pixels


def pixel_bounds(box: np.ndarray, image_size: tuple[int, int]) -> Bounds:
    """Return the pixels whose centres lie in a box, none outside the picture.

    A side of fewer than `THINNEST_MASK` pixels grows to both sides to that many, or to all that the
    picture has.

    Args:
        box: ``(x1, y1, x2, y2)`` in pixels.
        image_size: ``(height, width)`` of the picture.
    """
    height, width = image_size

    def span(low: float, high: float, size: int) -> tuple[int, int]:
        first = min(max(math.ceil(low - 0.5), 0), size - 1)
        last = min(max(math.ceil(high - 0.5) - 1, first), size - 1)
        lacking = min(THINNEST_MASK, size) - (last - first + 1)
        if lacking > 0:
            first = min(max(first - lacking // 2, 0), size - min(THINNEST_MASK, size))
            last = first + min(THINNEST_MASK, size) - 1
        return first, last

    x1, y1, x2, y2 = (float(value) for value in box)
    left, right = span(x1, x2, width)
    top, bottom = span(y1, y2, height)
    return left, top, right, bottom


def runs_of(pixels: np.ndarray) -> tuple[int, ...]:
    """Return the lengths of the runs of a mask, row by row; the first counts zeros.

    Args:
        pixels: Bool ``(height, width)``. All true, three pixels wide and one high: ``(0, 3)``.
    """
    flat = pixels.ravel()
    ends = [*(np.flatnonzero(flat[1:] != flat[:-1]) + 1).tolist(), len(flat)]
    runs = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    return (0, *runs) if flat[0] else tuple(runs)

"""Detections and errors become the bodies that CVAT, its panel and the plugin read.

The plugin form is ``{"c3det": 1, "boxes": [...], "error": null or {...}, "model", "timings_ms",
"cache": "hit" or "miss", "coverage": 0 to 1, "progress": 0 to 1, "notes": [...]}``; where an error
came first, the last four are null or empty. ``coverage`` is the share of the picture's area that
was searched with these clicks, ``progress`` the share of all work for them that is done: while it
is below 1, the same request goes on where this one ended, and it grows with each. ``notes`` are
short sentences for people. The form has neither ``mask`` nor ``shapes``, so that every version of
CVAT passes it on untouched, and its errors travel with status 200, because CVAT keeps no other
body.

The built-in form carries ``mask``, ``bounds`` and ``points`` of one object for CVAT 2.15 to 2025,
and ``shapes`` of all objects for CVAT 2026, so that one answer serves every version.

The detector form is a list of rectangles with labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from c3det.answering import Detections, answered_clicks, overruled
from c3det.clicks import Click
from serverless.observations import Observation
from serverless.requests import PROTOCOL_VERSION, BuiltInRequest, Form, RequestError

STATUS = {"too_large": 413, "internal": 500, "out_of_memory": 503, "unfinished": 503}
"""HTTP status of an error outside the plugin form by its code; 400 for the others."""

THINNEST_MASK = 3
"""Shortest side of a mask, in pixels: later versions of CVAT drop those of fewer."""

Bounds = tuple[int, int, int, int]
"""Inclusive ``(left, top, right, bottom)``, in whole pixels."""


def plugin_boxes(
    detections: Detections, classes: Sequence[str], clicks: Sequence[Click] = ()
) -> list[dict[str, Any]]:
    """Return the boxes of a plugin answer, in the order of the detections.

    ``points`` is ``[x1, y1, x2, y2]`` in pixels of the picture, to a hundredth; ``clicks`` are the
    indices in ``pos_points`` of all clicks that the box answers, ``click`` is the last of them, or
    ``None``.

    Args:
        detections: The answer to the clicks.
        classes: Names of the classes.
        clicks: That were asked with.
    """
    return [
        {
            "class": label,
            "label": classes[label],
            "points": box,
            "rotation": 0.0,
            "score": score,
            "click": click if click >= 0 else None,
            "clicks": list(answered),
        }
        for box, score, label, click, answered in zip(
            detections.boxes.astype(np.float64).round(2).tolist(),
            detections.scores.astype(np.float64).round(4).tolist(),
            detections.labels.tolist(),
            detections.clicks.tolist(),
            answered_clicks(detections, clicks),
            strict=True,
        )
    ]


def notes(
    detections: Detections, classes: Sequence[str], clicks: Sequence[Click]
) -> tuple[str, ...]:
    """Return what people should know of an answer to clicks, each sentence once."""
    told = (
        f"{classes[clicks[click].label]} and {classes[clicks[later].label]} were clicked on one "
        f"object: the last click, {classes[clicks[later].label]}, counts"
        for click, later in overruled(detections, clicks)
    )
    return tuple(dict.fromkeys(told))


def plugin_answer(
    boxes: list[dict[str, Any]], model: str, seen: Observation, threshold: float | None = None
) -> dict[str, Any]:
    """Return the body of a plugin answer.

    Args:
        boxes: From ``plugin_boxes``; empty if there is an error.
        model: Name of the weights.
        seen: What was noted of the request.
        threshold: Score from which on the weights want boxes to be shown, told as ``threshold``;
            ``None`` where an error is told.
    """
    return {
        "c3det": PROTOCOL_VERSION,
        "boxes": boxes,
        "error": None if seen.error is None else _error(seen.error),
        "model": model,
        "threshold": threshold,
        "timings_ms": seen.timings_ms,
        "cache": seen.cache,
        "coverage": seen.coverage,
        "progress": seen.progress,
        "notes": list(seen.notes),
    }


def error_answer(seen: Observation, model: str) -> tuple[int, dict[str, Any]]:
    """Return the status and the body that tell the error of a request in the request's form."""
    assert seen.error is not None
    if seen.form is Form.PLUGIN:
        return 200, plugin_answer([], model, seen)
    return STATUS.get(seen.error.code, 400), {"error": _error(seen.error)}


def built_in_answer(
    detections: Detections,
    request: BuiltInRequest,
    label: int,
    image_size: tuple[int, int],
    full_mask_max_pixels: int,
) -> dict[str, Any]:
    """Return the body of an answer to CVAT's own panel.

    ``mask``, ``bounds`` and ``points`` describe the object under the last positive click. Up to
    ``full_mask_max_pixels`` the mask covers the whole picture, and ``bounds`` with it: that is
    right for the versions that read ``bounds`` as the place of a crop and for those that ignore
    it. Above, the mask is cut to the object. ``shapes`` holds each object of the class, the
    highest score first.

    Args:
        detections: Answer of the model to ``request.clicks(label)``.
        request: The request.
        label: The class of its clicks.
        image_size: ``(height, width)`` of the picture.
        full_mask_max_pixels: Largest picture, in pixels, with a mask of the whole picture.

    Raises:
        RequestError: No object is left under any positive click.
    """
    height, width = image_size
    box = detections.boxes[_clicked(detections, request)]
    left, top, right, bottom = bounds = pixel_bounds(box, image_size)
    if height * width <= full_mask_max_pixels:
        row = [0] * left + [1] * (right - left + 1) + [0] * (width - 1 - right)
        empty = [0] * width
        mask = [row if top <= y <= bottom else empty for y in range(height)]
        bounds = (0, 0, width - 1, height - 1)
    else:
        mask = [[1] * (right - left + 1)] * (bottom - top + 1)
    x1, y1, x2, y2 = (round(float(value), 2) for value in box)
    return {
        "mask": mask,
        "bounds": list(bounds),
        "points": [[x1, y1], [x2, y1], [x2, y2], [x1, y2]],
        "shapes": [
            {
                "type": "mask",
                "points": box_rle(pixel_bounds(other, image_size)),
                "attributes": [{"spec_id": 0, "value": f"{score:.4f}"}],
                "group": 0,
                "rotation": 0,
            }
            for other, score, other_label in zip(
                detections.boxes, detections.scores, detections.labels, strict=True
            )
            if other_label == label
        ],
    }


def detector_answer(boxes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the body of a detector's answer, one rectangle a box.

    Args:
        boxes: From ``plugin_boxes``. CVAT reads ``points`` and ``rotation`` in the same way, as the
            corners before the rotation and degrees clockwise about the centre.
    """
    return [
        {
            "label": box["label"],
            "type": "rectangle",
            "points": box["points"],
            "rotation": box["rotation"],
            "confidence": str(box["score"]),
        }
        for box in boxes
    ]


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


def box_rle(bounds: Bounds) -> list[int]:
    """Return a box-shaped mask as CVAT stores masks.

    Run lengths of the crop row by row, of which the first counts zeros, then the bounds. A crop
    that is all object has no zeros, then one run of ones: ``(2, 3, 4, 3)``, three pixels wide and
    one high, is ``[0, 3, 2, 3, 4, 3]``.
    """
    left, top, right, bottom = bounds
    return [0, (right - left + 1) * (bottom - top + 1), *bounds]


def _clicked(detections: Detections, request: BuiltInRequest) -> int:
    """Return the row of the object under the last positive click that has one."""
    for index in reversed(range(len(request.positive))):
        rows = np.flatnonzero(detections.clicks == detections.answer_of[index])
        if detections.answer_of[index] >= 0 and len(rows):
            return int(rows[0])
    raise RequestError(
        "nothing_left",
        "the clicks in neg_points removed every object under the clicks in pos_points",
        "neg_points",
    )


def _error(error: RequestError) -> dict[str, str | None]:
    return {"code": error.code, "message": error.message, "field": error.field}

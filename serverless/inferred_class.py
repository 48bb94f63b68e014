"""The class of clicks that come without one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from c3det.boxes import contains
from c3det.detections import Detections
from serverless.protocol import Point


def inferred_class(detections: Detections, points: Sequence[Point], num_classes: int) -> int:
    """Return the class of the objects under the points, as the model sees them without clicks.

    Each point gives the score of the highest-scoring box that contains it to that box's class, and
    the class with the most wins. If no box contains a point, the class is that of the box whose
    centre is nearest to the last point, and 0 where there is no box at all. The detections are
    those without clicks, down to low scores.
    """
    if len(detections) == 0:
        return 0
    votes = np.zeros(num_classes)
    for x, y in points:
        scores = np.where(contains(detections.boxes, x, y), detections.scores, -np.inf)
        best = int(np.argmax(scores))
        if np.isfinite(scores[best]):
            votes[detections.labels[best]] += scores[best]
    if votes.any():
        return int(np.argmax(votes))
    x, y = points[-1]
    x1, y1, x2, y2 = detections.boxes.T
    nearest = np.argmin(np.hypot((x1 + x2) / 2 - x, (y1 + y2) / 2 - y))
    return int(detections.labels[nearest])

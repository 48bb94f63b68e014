"""Reconciles detections with clicks: every clicked object gets a box of the clicked class.

The reference implementation does not do this: there, a click on a missed object gives no box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from c3det.boxes import iou, touching
from c3det.clicks import Click, Size
from c3det.detections import Detections
from c3det.grouping import SAME_OBJECT_IOU, ClickGrouping

BEST_BOXES = 15
"""If the card gives no typical size of a class, it is the median of so many of its best boxes."""

UNKNOWN_SIDE = 24.0
"""Of an object in pixels, if neither the card nor a box gives a size."""


def answer_clicks(
    candidates: Detections,
    clicks: Sequence[Click],
    *,
    score_threshold: float,
    typical_sizes: Sequence[tuple[float, float]],
    image_size: Size,
) -> Detections:
    """Answer every object under positive clicks by a box of their class that contains them.

    1. A negative click removes the boxes under it, whatever their class.
    2. A positive click is answered by the best proposal of any class and score under it,
       re-labelled, or failing that by a box of the typical size of its class around it. Proposals
       are ranked by their score times how central the click lies in them: it was aimed at one
       object, not at the neighbour whose box reaches under it. Those of the click's class come
       before others as good (`OWN_CLASS_PREFERENCE`).
    3. Clicks on one object share its box. Two are on one object where their best proposal is the
       same, unless a good one is left in which the second lies more centrally; and where the best
       one that is left for the second is much the same as the first one's, or is of one object
       with it: the classes agree, and it is a part of the other, or a worse box around it, or the
       clicks lie in one of the two almost as centrally as each in its own. Where there is no
       proposal, clicks nearer than `CLOSE` of the typical size are on one object. Of clicks of
       several classes on one object the last one counts.
    4. An answer's score is 1. Other boxes of the same object give way to it.

    A box of typical size that would hold a negative click ends half-way to it. Only where a
    negative click lies on the very point of a positive one does a box with it inside remain.

    Args:
        candidates: Proposals of any score, after non-maximum suppression, none of them answers.
        clicks: In pixels of the picture.
        score_threshold: Below it, only answers are kept. It changes no answer.
        typical_sizes: ``(width, height)`` in pixels for each class. Where there are none, labels
            may be any, and the best proposals of a class give its size.
        image_size: ``(height, width)`` in pixels.

    Returns:
        The kept boxes; answers first, in the order of the last click of each. Those of no class
        (label -1) stay where there are no clicks; after clicks they answer, but are not shown.
    """
    points = np.array([(click.x, click.y) * 2 for click in clicks]).reshape(-1, 4)
    positive = np.array([click.positive for click in clicks], bool)
    left = np.ones(len(candidates), bool)
    for _, under in touching(points[~positive], candidates.boxes):
        left[under] = False
    candidates = candidates.take(left)
    sizes = typical_sizes or _sizes_of_best({click.label for click in clicks}, candidates)
    grouping = ClickGrouping(candidates, clicks, sizes, image_size)
    answers = grouping.answers()
    boxes = np.array([box for box, _ in answers], np.float32).reshape(-1, 4)
    last = [max(members) for _, members in answers]
    answer_of = np.full(len(clicks), -1, np.int64)
    for _, members in answers:
        answer_of[members] = max(members)
    shown = (candidates.scores >= score_threshold) & ~grouping.used
    if clicks:
        shown &= candidates.labels >= 0
    rest = candidates.take(shown)
    free = np.ones(len(rest), bool)
    for answer, other in touching(boxes, rest.boxes):
        same = iou(boxes[answer], rest.boxes[other]) >= SAME_OBJECT_IOU
        free[other[same]] = False
    answered = Detections(
        boxes,
        np.ones(len(boxes), np.float32),
        np.array([clicks[index].label for index in last], np.int64),
        np.array(last, np.int64),
    )
    return replace(Detections.joined([answered, rest.take(free).by_score()]), answer_of=answer_of)


def _sizes_of_best(labels: set[int], candidates: Detections) -> dict[int, tuple[float, float]]:
    """Typical sizes of labels: the median of the label's best boxes, or of the best of all."""
    sides = candidates.boxes[:, 2:] - candidates.boxes[:, :2]
    order = np.argsort(-candidates.scores, kind="stable")
    sizes = {}
    for label in labels:
        own = order[candidates.labels[order] == label]
        best = sides[(own if len(own) else order)[:BEST_BOXES]]
        width, height = np.median(best, 0).tolist() if len(best) else (UNKNOWN_SIDE,) * 2
        sizes[label] = (max(width, 1.0), max(height, 1.0))
    return sizes

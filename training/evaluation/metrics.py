"""Average precision, of all objects or of those that nobody clicked, and counts as shown.

Detections are assigned to objects as COCOeval does it, once for all samples of a bootstrap over the
pictures; on the pictures as they are the result equals that of a plain run of COCOeval. VOC07 is
the metric of the paper's tables.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask

from c3det.detections import Detections
from training.clicks.sequences import BACKGROUND, ClickSequence
from training.data.annotated import Annotated, keep_objects

IOU = 0.5
IOUS = tuple(np.linspace(0.5, 0.95, 10).tolist())
"""COCO's; the first one is `IOU`."""

MAX_DETECTIONS = 2000
"""Of a class in a picture; the best ones count."""

RECALLS = np.linspace(0, 1, 101, dtype=np.float64)
"""COCO's."""

VOC07_RECALLS = np.arange(11) / 10

CHUNK = 2**22
"""Of numbers that a bootstrap holds at once, about."""


@dataclass(frozen=True, eq=False)
class Matches:
    """The detections of one class in all pictures, by falling score; ties in COCOeval's order.

    Those of ignored objects are left out.

    Attributes:
        scores: float64 (D,).
        correct: bool (D,), whether the detection was assigned to an object of its class.
        pictures: int64 (D,), the picture that it lies in.
        objects: int64 (P,), the number of objects of the class in each picture.
    """

    scores: NDArray[np.float64]
    correct: NDArray[np.bool_]
    pictures: NDArray[np.int64]
    objects: NDArray[np.int64]


def match(
    pictures: Sequence[Annotated],
    detections: Sequence[Detections],
    labels: Collection[int],
    ious: Sequence[float] = (IOU,),
) -> list[list[Matches]]:
    """Assign detections to objects as COCO does.

    By falling score, each detection gets the free object of its class and picture that it overlaps
    most, if their IoU is high enough. One that gets none but lies by that part of its area in an
    ignored object is left out.

    Args:
        pictures: With their objects.
        detections: One a picture, in the same order.
        labels: The classes that count; objects and detections of others are left out.
        ious: Lowest IoUs of an assignment, rising.

    Returns:
        For each IoU the matches of each class, in the order of ``labels``.
    """
    assign = partial(_assign_coco, ious=np.array(ious))
    return _matches(pictures, detections, labels, len(ious), assign)


def match_voc(
    pictures: Sequence[Annotated], detections: Sequence[Detections], labels: Collection[int]
) -> list[Matches]:
    """Assign detections to objects as VOC does, and DOTA with it.

    Each detection is of the object of its class that it overlaps most, if their IoU is above 0.5.
    Of an object's detections the one of the highest score is correct. Coordinates stay continuous,
    without VOC's "+ 1".

    Args:
        pictures: With their objects; ignored ones are VOC's difficult ones.
        detections: One a picture, in the same order.
        labels: The classes that count.

    Returns:
        The matches of each class, in the order of ``labels``.
    """
    return _matches(pictures, detections, labels, 1, _assign_voc)[0]


Assigned = tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]
"""Of one class in one picture: scores (D,), falling; which are correct, and ignored, (T, D)."""


def _matches(
    pictures: Sequence[Annotated],
    detections: Sequence[Detections],
    labels: Collection[int],
    ways: int,
    assign: Callable[[Annotated, Detections, int], Assigned],
) -> list[list[Matches]]:
    """The matches of each class in each of the T ways in which ``assign`` assigns."""
    rows: list[list[Matches]] = [[] for _ in range(ways)]
    for label in labels:
        results = [
            assign(picture, found, label)
            for picture, found in zip(pictures, detections, strict=True)
        ]
        scores = np.concatenate([np.zeros(0), *(scores for scores, _, _ in results)])
        order = np.argsort(-scores, kind="stable")
        owners = np.repeat(np.arange(len(results)), [len(scores) for scores, _, _ in results])
        none = np.zeros((ways, 0), np.bool_)
        correct = np.concatenate([none, *(correct for _, correct, _ in results)], axis=1)
        ignored = np.concatenate([none, *(ignored for _, _, ignored in results)], axis=1)
        numbers = [int(((one.labels == label) & ~one.ignored).sum()) for one in pictures]
        for row, is_correct, is_ignored in zip(rows, correct, ignored, strict=True):
            kept = order[~is_ignored[order]]
            row.append(
                Matches(scores[kept], is_correct[kept], owners[kept], np.array(numbers, np.int64))
            )
    return rows


def _assign_coco(
    picture: Annotated, detections: Detections, label: int, ious: NDArray[np.float64]
) -> Assigned:
    found = detections.take(np.flatnonzero(detections.labels == label))
    found = found.take(np.argsort(-found.scores, kind="stable")[:MAX_DETECTIONS])
    correct = np.zeros((len(ious), len(found)), np.bool_)
    ignored = np.zeros_like(correct)
    of_class = picture.labels == label
    crowd = picture.ignored[of_class]
    if len(found) and len(crowd):
        overlaps = mask.iou(
            _xywh(found.boxes), _xywh(picture.boxes[of_class]), crowd.astype(np.uint8)
        )
        near = np.flatnonzero(overlaps.max(axis=1) >= ious[0])
        for row, iou in enumerate(np.minimum(ious, 1 - 1e-10)):
            free = ~crowd
            for index in near:
                possible = np.where(free, overlaps[index], 0)
                best = len(possible) - 1 - possible[::-1].argmax()  # the last one of equals
                if possible[best] >= iou:
                    correct[row, index] = True
                    free[best] = False
                else:
                    ignored[row, index] = (overlaps[index, crowd] >= iou).any()
    return found.scores.astype(np.float64), correct, ignored


def to_coco_results(detections: Sequence[Detections]) -> list[dict]:
    """Describe detections as COCO results; the ids are those of `training.data.index.to_coco`."""
    return [
        {"image_id": image_id, "category_id": label + 1, "bbox": box, "score": score}
        for image_id, found in enumerate(detections, start=1)
        for box, score, label in zip(
            _xywh(found.boxes).tolist(), found.scores.tolist(), found.labels.tolist(), strict=True
        )
    ]


def _assign_voc(picture: Annotated, detections: Detections, label: int) -> Assigned:
    found = detections.take(np.flatnonzero(detections.labels == label))
    found = found.take(np.argsort(-found.scores, kind="stable"))
    correct, ignored = np.zeros((2, 1, len(found)), np.bool_)
    of_class = picture.labels == label
    if len(found) and of_class.any():
        overlaps = _overlaps(found.boxes, picture.boxes[of_class])
        best = np.where(overlaps.max(axis=1) > IOU, overlaps.argmax(axis=1), -1)
        objects, firsts = np.unique(best, return_index=True)
        correct[0, firsts[objects >= 0]] = True
        ignored[0] = (best >= 0) & picture.ignored[of_class][best]
    return found.scores.astype(np.float64), correct, ignored


def average_precision(
    matches: Matches,
    weights: NDArray[np.int64],
    recalls: NDArray[np.float64] = RECALLS,
) -> NDArray[np.float64]:
    """Draw precision-recall curves of one class and return the areas under them.

    The precision at a recall is the best one at this or a higher recall, and its mean over some
    recalls is taken.

    Args:
        matches: Of the class.
        weights: int64 (R, P), R samples of the pictures: how often each picture occurs in each.
        recalls: Rising from 0 to 1.

    Returns:
        float64 (R,), 0 to 1; NaN for a sample without an object of the class.
    """
    objects = weights @ matches.objects
    result = np.where(objects > 0, 0.0, np.nan)
    # The recall changes at correct detections only, and so does the best precision from there on.
    hits = np.flatnonzero(matches.correct)
    if len(hits) == 0:
        return result
    pictures = matches.pictures[: hits[-1] + 1]
    starts = np.concatenate([[0], hits[:-1] + 1])
    step = max(1, CHUNK // len(pictures))
    for start in range(0, len(weights), step):
        occurs = weights[start : start + step, pictures]
        found = np.cumsum(occurs[:, hits], axis=1)
        shown = np.cumsum(np.add.reduceat(occurs, starts, axis=1), axis=1)
        precision = found / (shown + np.spacing(1))
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        recall = found / np.maximum(objects[start : start + step, None], 1)
        reached = np.searchsorted(recalls, recall, side="right")
        gained = np.diff(reached, axis=1, prepend=0)
        result[start : start + step] += (best * gained).sum(axis=1) / len(recalls)
    return result


def mean_over_classes(precisions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of (K, ...) over the K classes, without the NaNs; NaN where there is nothing else."""
    present = ~np.isnan(precisions)
    number = present.sum(axis=0)
    total = np.where(present, precisions, 0).sum(axis=0)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def resamples(pictures: int, number: int, seed: int = 0) -> NDArray[np.int64]:
    """Draw bootstrap samples of pictures.

    Returns:
        int64 (1 + number, pictures), how often each picture occurs in each sample. The first sample
        is the pictures as they are; the others draw as many with replacement.
    """
    drawn = np.random.default_rng(seed).multinomial(
        pictures, np.full(pictures, 1 / pictures), size=number
    )
    return np.concatenate([np.ones((1, pictures), np.int64), drawn.astype(np.int64)])


def interval(samples: NDArray[np.float64]) -> tuple[float, float]:
    """The 2.5th and the 97.5th percentile of the samples that are not NaN."""
    values = samples[~np.isnan(samples)]
    if len(values) == 0:
        return float("nan"), float("nan")
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def unclicked(
    picture: Annotated, detections: Detections, clicked: Collection[int]
) -> tuple[Annotated, Detections]:
    """Take clicked objects out of the comparison, and with them every detection that is of them.

    A detection is of the object that it overlaps most, whatever the two classes, if their IoU is at
    least 0.5. Those of clicked objects go, duplicates and wrong classes too, and so do all boxes
    that answer a click: they are about the objects that were clicked. What
    remains is evaluated as usual, so a clicked object counts neither way, and a detector gains
    nothing by repeating clicks and loses nothing by ignoring them.

    False detections elsewhere remain while objects go, so that the precision falls with the number
    of clicks by itself: it compares detectors after equally many clicks.

    Args:
        picture: With only the objects that are evaluated.
        detections: Of the picture.
        clicked: Indices of objects; `training.clicks.sequences.BACKGROUND` is none.

    Returns:
        The objects and the detections that remain.
    """
    stays = np.ones(len(picture.boxes), bool)
    stays[[index for index in clicked if index != BACKGROUND]] = False
    keeps = detections.clicks < 0
    if len(picture.boxes) and len(detections):
        overlaps = _overlaps(detections.boxes, picture.boxes)
        keeps &= (overlaps.max(axis=1) < IOU) | stays[overlaps.argmax(axis=1)]
    return keep_objects(picture, stays), detections.take(keeps)


def unseen_classes(
    picture: Annotated, detections: Detections, sequence: ClickSequence
) -> tuple[Annotated, Detections]:
    """Keep the classes that no click on this picture has named, of objects and of detections.

    Clicked objects are out of the comparison whatever they were called, see `unclicked`.
    """
    picture, detections = unclicked(picture, detections, sequence.objects)
    named = [click.label for click in sequence.clicks if click.positive]
    return (
        keep_objects(picture, ~np.isin(picture.labels, named)),
        detections.take(~np.isin(detections.labels, named)),
    )


@dataclass(frozen=True, eq=False)
class Counts:
    """Correct and wrong detections of all classes, in each picture.

    Attributes:
        correct: int64 (..., P), detections that were assigned to an object.
        wrong: int64 (..., P), the other detections.
        missed: int64 (..., P), objects without a detection.
    """

    correct: NDArray[np.int64]
    wrong: NDArray[np.int64]
    missed: NDArray[np.int64]

    def total(self) -> Counts:
        """The same over all pictures, as if they were one."""
        parts = (self.correct, self.wrong, self.missed)
        return Counts(*(one.sum(axis=-1, keepdims=True) for one in parts))

    @property
    def precision(self) -> NDArray[np.float64]:
        """Correct part of the detections; 0 without any."""
        return self.correct / np.maximum(1, self.correct + self.wrong)

    @property
    def recall(self) -> NDArray[np.float64]:
        """Found part of the objects; 0 without any."""
        return self.correct / np.maximum(1, self.correct + self.missed)

    @property
    def f1(self) -> NDArray[np.float64]:
        """Harmonic mean of precision and recall."""
        return 2 * self.correct / np.maximum(1, 2 * self.correct + self.wrong + self.missed)


def count(matches: Sequence[Matches], threshold: float = 0.0) -> Counts:
    """Count the detections of score ``threshold`` or higher of at least one class."""
    objects = np.sum([one.objects for one in matches], axis=0)
    correct, wrong = np.zeros_like(objects), np.zeros_like(objects)
    for one in matches:
        shown = one.scores >= threshold
        np.add.at(correct, one.pictures[shown & one.correct], 1)
        np.add.at(wrong, one.pictures[shown & ~one.correct], 1)
    return Counts(correct, wrong, objects - correct)


def clicks_to_reach(
    quality: NDArray[np.float64], counts: Sequence[int], target: float
) -> NDArray[np.float64]:
    """The first number of clicks after which each picture is good enough.

    Args:
        quality: float64 (C, P), of each picture after each number of clicks.
        counts: The C numbers, rising.
        target: Of the quality.

    Returns:
        float64 (P,), NaN for a picture that never is.
    """
    reached = quality >= target
    first = np.array(counts, np.float64)[reached.argmax(axis=0)]
    return np.where(reached.any(axis=0), first, np.nan)


def area_under(values: NDArray[np.float64], counts: Sequence[int]) -> NDArray[np.float64]:
    """Mean height of curves over the number of clicks, by the trapezoidal rule.

    Args:
        values: float64 (C, ...), without NaN between two numbers; from the first NaN on, a curve
            has ended.
        counts: The C numbers of clicks, rising.

    Returns:
        float64 (...), NaN for a curve that ends before its second point.
    """
    widths = np.diff(np.array(counts, np.float64)).reshape(-1, *[1] * (values.ndim - 1))
    pieces = widths * (values[1:] + values[:-1]) / 2
    measured = np.where(np.isnan(pieces), 0, widths).sum(axis=0)
    return np.where(measured > 0, np.nansum(pieces, axis=0) / np.maximum(measured, 1e-9), np.nan)


def _overlaps(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """IoU of each box of the first, float64 (N, M)."""
    return mask.iou(_xywh(first), _xywh(second), np.zeros(len(second), np.uint8))


def _xywh(boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    x1, y1, x2, y2 = boxes.astype(np.float64).T
    return np.stack([x1, y1, x2 - x1, y2 - y1], axis=1)

"""Average precision at IoU 0.5, on all objects and on the unclicked ones, with a bootstrap.

pycocotools assigns detections to objects, once. The precision-recall curves are drawn here, because
a bootstrap over the pictures needs many of them; on the pictures as they are, the result equals
``COCOeval.accumulate``'s.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from c3det.answering import Detections
from training.index import Annotated, to_coco

IOU = 0.5
MAX_DETECTIONS = 1000
"""Of a class in a picture; the best ones count."""

RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True, eq=False)
class Matches:
    """The detections of one class in all pictures, by falling score; ties in COCOeval's order.

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
    pictures: Sequence[Annotated], detections: Sequence[Detections], labels: Collection[int]
) -> list[Matches]:
    """Assign detections to objects as COCO does.

    By falling score, each detection gets the free object of its class and picture that it overlaps
    most, if their IoU is at least 0.5.

    Args:
        pictures: With their objects.
        detections: One a picture, in the same order.
        labels: The classes that count; objects and detections of others are left out.

    Returns:
        One a class, in the order of ``labels``.
    """
    evaluator = coco_evaluator(pictures, detections, labels)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.evaluate()
    found = {
        (result["category_id"], result["image_id"]): result
        for result in evaluator.evalImgs
        if result is not None
    }
    matches = []
    for label in labels:
        objects = np.zeros(len(pictures), np.int64)
        scores: list[float] = []
        correct: list[bool] = []
        owners: list[int] = []
        for index in range(len(pictures)):
            result = found.get((label + 1, index + 1))
            if result is None:
                continue
            objects[index] = len(result["gtIds"])
            scores += result["dtScores"]
            correct += (result["dtMatches"][0] > 0).tolist()
            owners += [index] * len(result["dtScores"])
        order = np.argsort(-np.array(scores, np.float64), kind="stable")
        matches.append(
            Matches(
                np.array(scores, np.float64)[order],
                np.array(correct, np.bool_)[order],
                np.array(owners, np.int64)[order],
                objects,
            )
        )
    return matches


def coco_evaluator(
    pictures: Sequence[Annotated], detections: Sequence[Detections], labels: Collection[int]
) -> COCOeval:
    """Set COCOeval up for IoU 0.5 and ``MAX_DETECTIONS``, with objects of every size."""
    truth, answer = COCO(), COCO()
    truth.dataset = to_coco(pictures)
    boxes = [
        {
            "image_id": image_id,
            "category_id": label + 1,
            "bbox": box,
            "area": box[2] * box[3],
            "score": score,
            "iscrowd": 0,
        }
        for image_id, found in enumerate(detections, start=1)
        for box, score, label in zip(
            _xywh(found.boxes).tolist(), found.scores.tolist(), found.labels.tolist(), strict=True
        )
    ]
    for number, box in enumerate(boxes, start=1):
        box["id"] = number
    answer.dataset = {**truth.dataset, "annotations": boxes}
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        answer.createIndex()
        evaluator = COCOeval(truth, answer, "bbox")
    evaluator.params.catIds = [label + 1 for label in labels]
    evaluator.params.iouThrs = np.array([IOU])
    evaluator.params.maxDets = [MAX_DETECTIONS]
    evaluator.params.areaRng = [[0, 1e10]]
    evaluator.params.areaRngLbl = ["all"]
    return evaluator


def average_precision(matches: Matches, weights: NDArray[np.int64]) -> NDArray[np.float64]:
    """Draw precision-recall curves of one class and return the areas under them, COCO's way.

    The precision at a recall is the best one at this or a higher recall, and its mean over 101
    recalls from 0 to 1 is taken.

    Args:
        matches: Of the class.
        weights: int64 (R, P), R samples of the pictures: how often each picture occurs in each.

    Returns:
        float64 (R,), 0 to 1; NaN for a sample without an object of the class.
    """
    objects = weights @ matches.objects
    occurs = weights[:, matches.pictures]
    # The recall changes at correct detections only, and so does the best precision from there on.
    found = np.cumsum(occurs * matches.correct, axis=1)[:, matches.correct]
    seen = np.cumsum(occurs, axis=1)[:, matches.correct]
    precision = found / (seen + np.spacing(1))
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    best = np.concatenate([best, np.zeros((len(weights), 1))], axis=1)
    result = np.full(len(weights), np.nan)
    for sample in np.flatnonzero(objects):
        recall = found[sample] / objects[sample]
        result[sample] = best[sample, np.searchsorted(recall, RECALLS, side="left")].mean()
    return result


def mean_over_classes(precisions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of (K, R) over the K classes, without the NaNs; NaN where there is nothing else."""
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
    that answer a click: they say what a detector makes of the objects it was told about. What
    remains is evaluated as usual, so a clicked object counts neither way, and a detector gains
    nothing by repeating clicks and loses nothing by ignoring them.

    False detections elsewhere remain while objects go, so that the precision falls with the number
    of clicks by itself: it compares detectors after equally many clicks.

    Args:
        picture: With only the objects that are evaluated.
        detections: Of the picture.
        clicked: Indices of objects.

    Returns:
        The objects and the detections that remain.
    """
    stays = np.ones(len(picture.boxes), bool)
    stays[list(clicked)] = False
    keeps = detections.clicks < 0
    if len(picture.boxes) and len(detections):
        overlaps = mask.iou(
            _xywh(detections.boxes), _xywh(picture.boxes), np.zeros(len(picture.boxes), np.uint8)
        )
        keeps &= (overlaps.max(axis=1) < IOU) | stays[overlaps.argmax(axis=1)]
    remaining = Annotated(picture.name, picture.image, picture.boxes[stays], picture.labels[stays])
    return remaining, detections.take(keeps)


@dataclass(frozen=True)
class Counts:
    """Correct and wrong detections of all classes from a score on.

    Attributes:
        correct: Detections that were assigned to an object.
        wrong: The other detections.
        missed: Objects without a detection.
    """

    correct: int
    wrong: int
    missed: int

    @property
    def precision(self) -> float:
        """Correct part of the detections; 0 without any."""
        return self.correct / max(1, self.correct + self.wrong)

    @property
    def recall(self) -> float:
        """Found part of the objects; 0 without any."""
        return self.correct / max(1, self.correct + self.missed)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.correct / max(1, 2 * self.correct + self.wrong + self.missed)


def count(matches: Sequence[Matches], threshold: float) -> Counts:
    """Count the detections of score ``threshold`` or higher."""
    kept = sum(int((one.scores >= threshold).sum()) for one in matches)
    correct = sum(int(one.correct[one.scores >= threshold].sum()) for one in matches)
    objects = sum(int(one.objects.sum()) for one in matches)
    return Counts(correct, kept - correct, objects - correct)


def _xywh(boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    x1, y1, x2, y2 = boxes.astype(np.float64).T
    return np.stack([x1, y1, x2 - x1, y2 - y1], axis=1)

"""How well the open model finds what was clicked, on kinds that it never saw.

    python -m training.open.evaluate --weights fold0.safetensors fold1.safetensors --out FILE.json

With one file of weights for each fold, in the order of the folds, each set is tested by the weights
that were trained without its kind; with a single file, the pictures that are not trained on are
tested, of all sets. Next to the JSON file a Markdown table and a plot are written.

What is measured, for each set:

- average precision (COCO's, IoU 0.5) and F1 at the served threshold after each number of clicks a
  class, of all objects and of those that nobody clicked (see
  `training.evaluation.metrics.unclicked`), the mean over the classes; of the model's own boxes,
  before boxes are made of clicks. Clicks at random, with several seeds, and of a *person*, who
  clicks the largest error first: of each class the largest object that is not found.
- without clicks: class-agnostic average precision, and recall with the 300 best boxes.
- one negative click on the surest wrong box of each class that has any: which share of the other
  wrong boxes of this class it removes, and which share of all right ones.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shlex
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from c3det.boxes import iou
from c3det.commands import at_least, command
from c3det.detections import Detections
from c3det.open.model import OpenModel
from c3det.predictor import Predictor
from c3det.weights import WeightsError
from training.data.annotated import Annotated
from training.data.sources import SourceError
from training.evaluation import metrics
from training.evaluation.settings import named_weights
from training.open import reporting, test_sets
from training.open.baselines import (
    Method,
    NearestNeighbour,
    OpenMethod,
    Picture,
    TemplateMatching,
)
from training.open.clicking import Clicked, click_at_random, click_errors, members
from training.open.reporting import MAIN_COUNT, MOST_PROPOSALS, mean
from training.open.test_sets import TestSet
from training.open.weights import THRESHOLD, load, weights_of
from training.options import add_options, option, read_options

COUNTS = (1, 2, 3, 5, 10)
"""Clicks a class."""

PERSON = "person"


@dataclass(slots=True)
class Effect:
    """What single negative clicks did, in boxes.

    Attributes:
        wrong: Other wrong boxes of the class, before.
        removed: Of these, afterwards gone.
        right: Right boxes of all classes, before.
        lost: Of these, afterwards gone.
    """

    wrong: int = 0
    removed: int = 0
    right: int = 0
    lost: int = 0

    def shares(self) -> dict[str, float | int | None]:
        """For the results."""
        return {
            "wrong boxes": self.wrong,
            "removed": _percent(self.removed, self.wrong),
            "right boxes": self.right,
            "lost": _percent(self.lost, self.right),
        }


def _percent(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 1) if whole else None


def click_negatives(
    picture: Annotated, state: Clicked, before: Detections, read: Picture, threshold: float
) -> Effect:
    """Of each class with wrong boxes, one at a time, click the surest one as negative."""
    effect = Effect()
    shown = before.take(before.scores >= threshold)
    for label in members(picture):
        (one,) = metrics.match([picture], [shown], [label])[0]
        mine = shown.take(shown.labels == label)
        mine = mine.take(np.argsort(-mine.scores, kind="stable"))
        if len(one.correct) != len(mine) or one.correct.all():
            continue
        wrong = np.flatnonzero(~one.correct)
        clicked = state.copy()
        clicked.add_negative(mine.boxes[wrong[0]], label)
        after = clicked.detect(read)
        after = after.take(after.scores >= threshold)
        others = mine.take(wrong[1:])
        effect.wrong += len(others)
        effect.removed += int((~_still_there(others, after)).sum())
        right = right_boxes(picture, shown)
        effect.right += len(right)
        effect.lost += int((~_still_there(right, after)).sum())
    return effect


def right_boxes(picture: Annotated, shown: Detections) -> Detections:
    """Those of some boxes that are of an object of their class, IoU 0.5 or more."""
    rows = []
    for label in members(picture):
        (one,) = metrics.match([picture], [shown], [label])[0]
        mine = np.flatnonzero(shown.labels == label)
        mine = mine[np.argsort(-shown.scores[mine], kind="stable")]
        if len(mine) == len(one.correct):
            rows.append(mine[one.correct])
    return shown.take(np.concatenate([np.zeros(0, np.int64), *rows]))


def _still_there(boxes: Detections, after: Detections) -> NDArray[np.bool_]:
    """Which boxes have one of the same class, IoU 0.5 or more, among others."""
    same = boxes.labels[:, None] == after.labels
    overlaps = iou(boxes.boxes[:, None], after.boxes[None])
    return ((overlaps >= metrics.IOU) & same).any(1)


Pairs = list[tuple[Annotated, Detections]]


def quality(pairs: Pairs, labels: Sequence[int], threshold: float) -> dict[str, float | None]:
    """Average precision and F1 in percent, of pictures with what was found in them."""
    pictures, found = [one for one, _ in pairs], [one for _, one in pairs]
    matches = metrics.match(pictures, found, labels)[0]
    once = np.ones((1, len(pictures)), np.int64)
    precisions = np.array([metrics.average_precision(one, once)[0] for one in matches])
    mean = float(metrics.mean_over_classes(precisions[:, None])[0])
    f1 = float(metrics.count(matches, threshold).total().f1[0])
    if np.isnan(mean):
        return {"AP": None, "F1": None}
    return {"AP": round(100 * mean, 2), "F1": round(100 * f1, 2)}


def agnostic(pairs: Pairs) -> dict[str, float | None]:
    """Class-agnostic average precision, and recall with the best boxes, in percent."""
    blind = [
        (replace(picture, labels=np.zeros_like(picture.labels)), found) for picture, found in pairs
    ]
    matches = metrics.match([one for one, _ in blind], [one for _, one in blind], [0])[0]
    result = quality(blind, [0], 0.0)
    return {
        "AP": result["AP"],
        "recall": round(100 * float(metrics.count(matches).total().recall[0]), 2),
    }


@dataclass(frozen=True, slots=True)
class OpenEvaluationSettings:
    """What is measured; but for the counts, options of the command line by their names."""

    counts: tuple[int, ...] = COUNTS
    seeds: int = option(2, "of random clicks", parse=at_least(1))
    threshold: float = option(THRESHOLD, "score from which on boxes are shown")
    detections: Path | None = option(None, "folder for all that is found")


def evaluate_set(
    method: Method, test_set: TestSet, settings: OpenEvaluationSettings
) -> dict[str, Any]:
    """The results of one method on one set, see the module."""
    every: dict[tuple[str, int, int], Pairs] = defaultdict(list)
    left: dict[tuple[str, int, int], Pairs] = defaultdict(list)
    blind: Pairs = []
    effect = Effect()
    kept: list[dict[str, Any]] = []

    def note(
        way: str, seed: int, number: int, picture: Annotated, state: Clicked, found: Detections
    ) -> None:
        key = (way, seed, number)
        every[key].append((picture, found))
        left[key].append(metrics.unclicked(picture, found, state.objects))
        kept.append(_record(way, seed, number, picture.name, state, found))

    for place, picture in enumerate(
        tqdm(test_set.pictures, desc=test_set.name, unit="picture", disable=None)
    ):
        read = method.read(picture.image)
        proposals = read.any_object()
        if proposals is not None:
            best = replace(proposals, labels=np.zeros_like(proposals.labels))
            best = best.take(np.arange(min(len(best), MOST_PROPOSALS)))
            blind.append((picture, best))
            kept.append(_record("no clicks", 0, 0, picture.name, Clicked(), best))
        for seed in range(settings.seeds):
            states = click_at_random(picture, settings.counts, 1000 * place + seed)
            for number, state in zip(settings.counts, states, strict=True):
                found = state.detect(read)
                note("random", seed, number, picture, state, found)
                if seed == 0 and number == MAIN_COUNT:
                    one = click_negatives(picture, state, found, read, settings.threshold)
                    effect = Effect(
                        effect.wrong + one.wrong,
                        effect.removed + one.removed,
                        effect.right + one.right,
                        effect.lost + one.lost,
                    )
        answers = click_errors(picture, settings.counts, read, settings.threshold)
        for number, (state, found) in zip(settings.counts, answers, strict=True):
            note(PERSON, 0, number, picture, state, found)
    if settings.detections is not None:
        settings.detections.mkdir(parents=True, exist_ok=True)
        with gzip.open(
            settings.detections / f"{test_set.name}.json.gz", "wt", encoding="utf-8"
        ) as file:
            json.dump(kept, file)
    labels = range(len(test_set.classes))
    result: dict[str, Any] = {
        "kind": test_set.kind,
        "multi": test_set.is_multi_class,
        "pictures": len(test_set.pictures),
        "objects": sum(int((~one.ignored).sum()) for one in test_set.pictures),
        "0": agnostic(blind) if blind else None,
        "negative": effect.shares(),
    }
    for way, seeds in (("random", settings.seeds), (PERSON, 1)):
        result[way] = {
            str(number): {
                "all": mean(
                    [
                        quality(every[way, seed, number], labels, settings.threshold)
                        for seed in range(seeds)
                    ]
                ),
                "unclicked": mean(
                    [
                        quality(left[way, seed, number], labels, settings.threshold)
                        for seed in range(seeds)
                    ]
                ),
            }
            for number in settings.counts
        }
    return result


def _record(
    way: str, seed: int, number: int, name: str, state: Clicked, found: Detections
) -> dict[str, Any]:
    """What is kept of an answer, so that all measures can be computed again.

    A click is ``[x, y, label, index of its object]``; boxes are xyxy in pixels of the test set's
    picture, by falling score.
    """
    return {
        "picture": name,
        "way": way,
        "seed": seed,
        "number": number,
        "clicks": [
            [round(click.x, 1), round(click.y, 1), click.label, index]
            for click, index in zip(state.clicks, state.objects, strict=True)
        ],
        "boxes": found.boxes.round(1).tolist(),
        "scores": found.scores.round(4).tolist(),
        "labels": found.labels.tolist(),
    }


@command("training.open.evaluate")
def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(
        prog="python -m training.open.evaluate", description="Evaluate the open model."
    )
    parser.add_argument("--weights", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--sets", default="", help="names joined by commas; without it all")
    parser.add_argument("--pictures", type=int, default=0, help="first ones of each set; 0: all")
    parser.add_argument("--counts", default=",".join(map(str, COUNTS)), help="clicks a class")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--backbone", type=Path, help="ImageNet's weights: compare the baselines")
    parser.add_argument(
        "--beside",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="more weights in the same tables, such as those of an ablation; repeatable",
    )
    add_options(parser, OpenEvaluationSettings)
    options = parser.parse_args(arguments)
    counts = tuple(int(number) for number in options.counts.split(","))
    settings = replace(read_options(options, OpenEvaluationSettings), counts=counts)
    results: reporting.Results = {}
    try:
        beside = {
            title: OpenMethod(_predictor(path, options.device))
            for title, path in named_weights(options.beside).items()
        }
        for name in test_sets.chosen(options.sets):
            predictor = _predictor(weights_of(name, options.weights), options.device)
            test_set = test_sets.load(name, options.pictures)
            methods = _methods(predictor, options.backbone) | beside
            for title, method in methods.items():
                started = time.monotonic()
                kept = settings if title == "C3Det open" else replace(settings, detections=None)
                one = evaluate_set(method, test_set, kept)
                results.setdefault(title, {})[name] = one
                after = one["random"].get(str(MAIN_COUNT))
                print(f"{name}, {title}: {after}, {time.monotonic() - started:.0f} s", flush=True)
            # Written after each set, so that what was measured is not lost.
            about = {
                "command": f"{parser.prog} {shlex.join(arguments)}",
                "weights": [path.name for path in options.weights],
                "threshold": settings.threshold,
            }
            reporting.write(results, settings.counts, about, options.out)
    except (OSError, ValueError, WeightsError, SourceError) as error:
        raise SystemExit(f"training.open.evaluate: {error}") from error


def _predictor(weights: Path, device: str) -> Predictor:
    network, card = load(weights)
    return Predictor(OpenModel(network.to(device)), card)


def _methods(predictor: Predictor, backbone: Path | None) -> dict[str, Method]:
    methods: dict[str, Method] = {"C3Det open": OpenMethod(predictor)}
    if backbone is not None:
        methods["template matching"] = TemplateMatching()
        methods["nearest neighbour, ImageNet"] = NearestNeighbour(predictor, backbone)
    return methods


if __name__ == "__main__":
    main()

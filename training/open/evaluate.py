"""How well the open model finds what was clicked, on kinds that it never saw, or on own pictures.

    python -m training.evaluate --weights open.safetensors --sets sets/mine --out FILE.json
    python -m training.evaluate --weights fold0.safetensors fold1.safetensors --out FILE.json

With one file of weights for each fold, in the order of the folds, each set is tested by the weights
that were trained without its kind. With a single file and without ``--sets``, the pictures that are
not trained on are tested, of all sets of `training.open.test_sets`.

What is measured, for each set:

- average precision (COCO's, IoU 0.5) and F1 at the served threshold after each number of clicks a
  class, of all objects and of those that nobody clicked (see
  `training.evaluation.metrics.unclicked`), the mean over the classes; of the model's own boxes,
  before boxes are made of clicks. Clicks at random, with several seeds, and of a *person*, who
  clicks the largest error first: of each class the largest object that is not found.
- without clicks: class-agnostic average precision, and recall with the 300 best boxes.
- one negative click on a wrong box of each class that has any, the surest one: which share of the
  other wrong boxes of this class it removes, and which share of all right ones. Once whatever is
  wrong with the box (half of these lie badly on an object of the class, which a person would not
  click away), and once for each of two kinds of errors, named as in TIDE (arXiv 2008.08115):
  *look-alikes*, boxes with an IoU of 0.5 or more with an object of another class, where those on
  objects of the same class as the clicked one count; and *background*, boxes with an IoU below 0.1
  with all objects, which need not look alike.
- after three random clicks a class, which share of the clicked objects has a right box (IoU 0.5),
  and average precision: as they are, and where each click whose box is wrong is repeated, once or
  twice (`c3det.clicks.Click.choice`). Repeats that bring no right box are taken back.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from c3det.boxes import iou, pairwise_iou
from c3det.clicks import Click
from c3det.detections import Detections
from c3det.open.model import OpenModel
from c3det.predictor import Predictor
from training.clicks.sequences import ClickSequence, save_sequences
from training.data.annotated import Annotated, first_repeated
from training.evaluation import metrics
from training.evaluation.evaluator import save_detections
from training.evaluation.protocol import ClickPlan, EvaluationSet
from training.evaluation.settings import EvaluationSettings, named_weights
from training.open import test_sets
from training.open.baselines import (
    Method,
    NearestNeighbour,
    OpenMethod,
    PictureDetector,
    TemplateMatching,
)
from training.open.clicking import Clicked, click_at_random, click_errors, members
from training.open.reporting import (
    MAIN_COUNT,
    MOST_PROPOSALS,
    MOST_REPEATS,
    NEGATIVE,
    REPEATED,
    OpenReport,
    mean,
)
from training.open.weights import check_folds, load, weights_of
from training.options import option

COUNTS = (1, 2, 3, 5, 10)
"""Clicks a class."""

MODEL = "C3Det open"
"""What is evaluated, beside other methods."""


@dataclass(frozen=True, slots=True)
class OpenSettings:
    """With what the open model is compared; options of `training.evaluate`."""

    backbone: Path | None = option(
        None, "ImageNet's weights of training.open.make_pool: measure the baselines, too"
    )
    beside: tuple[str, ...] = option(
        (), "more weights in the same tables, such as those of an ablation", metavar="NAME=PATH"
    )
    available: bool = option(False, "leave out the sets that are not there, and name them")


BACKGROUND_IOU = 0.1
"""Below it with all objects a wrong box is on the background (TIDE's)."""


@dataclass(slots=True)
class Effect:
    """What single negative clicks did, in boxes.

    Attributes:
        wrong: Other wrong boxes of the class that count, before.
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
            "removed": round(100 * self.removed / self.wrong, 1) if self.wrong else None,
            "right boxes": self.right,
            "lost": round(100 * self.lost / self.right, 1) if self.right else None,
        }

    def add(self, wrong: Detections, right: Sequence[Detections], after: Detections) -> None:
        """Count the boxes that are gone.

        Args:
            wrong: Those that the click should remove, the clicked one not among them.
            right: Those that should stay.
            after: What is shown after the click.
        """
        self.wrong += len(wrong)
        self.removed += _gone(wrong, after)
        self.right += sum(map(len, right))
        self.lost += sum(_gone(each, after) for each in right)


@dataclass(slots=True)
class NegativeClicks:
    """What negative clicks on wrong boxes did, see the module.

    Attributes:
        any: Clicks on any wrong box; all wrong boxes of the class count.
        look_alikes: Clicks on a box on an object of another class; those on its like count.
        background: Clicks on a box on the background; those on the background count.
    """

    any: Effect = field(default_factory=Effect)
    look_alikes: Effect = field(default_factory=Effect)
    background: Effect = field(default_factory=Effect)

    def results(self) -> dict[str, dict[str, float | int | None]]:
        """By the names of `training.open.reporting.NEGATIVE`."""
        effects = (self.any, self.look_alikes, self.background)
        return {name: one.shares() for name, one in zip(NEGATIVE, effects, strict=True)}

    def measure(
        self,
        picture: Annotated,
        state: Clicked,
        before: Detections,
        read: PictureDetector,
        threshold: float,
    ) -> None:
        """Of each class with wrong boxes, one at a time, click the surest one as negative.

        Boxes are shown from ``threshold`` on; ``before`` was found after the clicks of ``state``.
        """
        shown = before.take(before.scores >= threshold)
        right: list[Detections] = []
        wrong: list[Detections] = []
        for label in members(picture):
            (one,) = metrics.match([picture], [shown], [label])[0]
            mine = shown.take(shown.labels == label)
            mine = mine.take(np.argsort(-mine.scores, kind="stable"))
            if len(one.correct) == len(mine):
                right.append(mine.take(one.correct))
                wrong.append(mine.take(~one.correct))
        for boxes in filter(len, wrong):
            answers: dict[int, Detections] = {}
            overlaps = pairwise_iou(boxes.boxes, picture.boxes)
            overlap, under = overlaps.max(1), picture.labels[overlaps.argmax(1)]
            under = np.where(overlap >= metrics.IOU, under, boxes.labels)
            confused = under != boxes.labels
            on_background = overlap < BACKGROUND_IOU
            for effect, may_be_clicked, group in (
                (self.any, np.ones(len(boxes), bool), np.zeros(len(boxes))),
                (self.look_alikes, confused, under),
                (self.background, on_background, on_background),
            ):
                if may_be_clicked.any():
                    place = int(may_be_clicked.argmax())
                    if place not in answers:
                        clicked = state.copy()
                        clicked.add_negative(boxes.boxes[place], int(boxes.labels[place]))
                        after = clicked.detect(read)
                        answers[place] = after.take(after.scores >= threshold)
                    others = group == group[place]
                    others[place] = False
                    effect.add(boxes.take(others), right, answers[place])


def _gone(boxes: Detections, after: Detections) -> int:
    """How many boxes have none of the same class, IoU 0.5 or more, among others."""
    same = boxes.labels[:, None] == after.labels
    overlaps = pairwise_iou(boxes.boxes, after.boxes)
    return int((~((overlaps >= metrics.IOU) & same).any(1)).sum())


Pairs = list[tuple[Annotated, Detections]]


@dataclass(slots=True)
class RepeatedClicks:
    """What clicks on the same place again do, see the module.

    A box that was right once counts as right, whatever repeats elsewhere do to it.

    Attributes:
        right: For each number of repeats, whether the clicked objects have a right box.
        found: Likewise, the pictures, their clicks and what was found.
    """

    right: dict[int, list[bool]] = field(default_factory=lambda: defaultdict(list))
    found: dict[int, list[tuple[Annotated, Clicked, Detections]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def measure(
        self, picture: Annotated, state: Clicked, before: Detections, read: PictureDetector
    ) -> None:
        """Repeat the clicks whose box is wrong; ``before`` was found with them as they are."""
        boxes = np.array(state.boxes, np.float32).reshape(-1, 4)

        def right(clicks: Sequence[Click]) -> NDArray[np.bool_] | None:
            answers = read.answers(clicks)
            return None if answers is None else iou(answers, boxes) >= metrics.IOU

        good = right(state.clicks)
        if good is None or not len(good):
            return
        clicked, found = state, before
        for repeats in range(MOST_REPEATS + 1):
            if repeats and not good.all():
                tried = [
                    click if fine else replace(click, choice=repeats)
                    for click, fine in zip(clicked.clicks, good, strict=True)
                ]
                now = right(tried)
                assert now is not None
                if (now & ~good).any():
                    kept = [
                        new if fine else old
                        for new, old, fine in zip(tried, clicked.clicks, now, strict=True)
                    ]
                    clicked = replace(state, clicks=kept)
                    found, good = clicked.detect(read), good | now
            self.right[repeats] += good.tolist()
            self.found[repeats].append((picture, clicked, found))

    def results(self, labels: Sequence[int], threshold: float) -> dict[str, Any]:
        """By the number of repeats; nothing where nothing was measured."""
        if not self.found:
            return {}
        return {
            REPEATED: {
                str(repeats): {
                    "right": round(100 * float(np.mean(self.right[repeats])), 1),
                    **{
                        objects: quality(pairs, labels, threshold)
                        for objects, pairs in _pairs(answers).items()
                    },
                }
                for repeats, answers in self.found.items()
            }
        }


def _pairs(answers: Sequence[tuple[Annotated, Clicked, Detections]]) -> dict[str, Pairs]:
    """What is compared, of all objects and of those that nobody clicked."""
    return {
        "all": [(picture, answer) for picture, _, answer in answers],
        "unclicked": [
            metrics.unclicked(picture, answer, state.objects) for picture, state, answer in answers
        ],
    }


def quality(pairs: Pairs, labels: Sequence[int], threshold: float) -> dict[str, float | None]:
    """Average precision and F1 in percent, of pictures with what was found in them."""
    return _quality(_matched(pairs, labels), len(pairs), threshold)


def _matched(pairs: Pairs, labels: Sequence[int]) -> list[metrics.Matches]:
    return metrics.match([one for one, _ in pairs], [one for _, one in pairs], labels)[0]


def _quality(
    matches: Sequence[metrics.Matches], pictures: int, threshold: float
) -> dict[str, float | None]:
    once = np.ones((1, pictures), np.int64)
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
    matches = _matched(blind, [0])
    return {
        "AP": _quality(matches, len(blind), 0.0)["AP"],
        "recall": round(100 * float(metrics.count(matches).total().recall[0]), 2),
    }


def evaluate_set(
    name: str,
    method: Method,
    test_set: EvaluationSet,
    plan: ClickPlan,
    threshold: float,
    detections: Path | None = None,
) -> dict[str, Any]:
    """The results of one method on one set, see the module.

    Args:
        name: Of the method.
        method: Is measured.
        test_set: With its pictures.
        plan: Seeds of the random clicks, and numbers of clicks a class.
        threshold: Score from which on boxes are shown.
        detections: Folder for all that was found, see
            `training.evaluation.evaluator.save_detections`; beside lie the clicks. The mode is
            ``random``, ``person`` or ``no clicks``.
    """
    found: dict[tuple[str, int, int], list[tuple[Annotated, Clicked, Detections]]] = defaultdict(
        list
    )
    blind: Pairs = []
    negative, repeated = NegativeClicks(), RepeatedClicks()
    pictures = zip(test_set.pictures, test_set.objects, strict=True)
    shown = tqdm(pictures, test_set.name, len(test_set.pictures), unit="picture", disable=None)
    for place, (whole, picture) in enumerate(shown):
        read = method.read(whole.image)
        proposals = read.any_object()
        if proposals is not None:
            best = proposals.take(np.arange(min(len(proposals), MOST_PROPOSALS)))
            blind.append((picture, replace(best, labels=np.zeros_like(best.labels))))
        for seed in plan.seeds:
            states = click_at_random(picture, plan.counts, 1000 * place + seed)
            for number, state in zip(plan.counts, states, strict=True):
                answer = state.detect(read)
                found["random", seed, number].append((picture, state, answer))
                if seed == 0 and number == MAIN_COUNT:
                    negative.measure(picture, state, answer, read, threshold)
                    repeated.measure(picture, state, answer, read)
        answers = click_errors(picture, plan.counts, read, threshold)
        for number, (state, answer) in zip(plan.counts, answers, strict=True):
            found["person", 0, number].append((picture, state, answer))
    if detections is not None:
        boxes = {key: [one for _, _, one in answers] for key, answers in found.items()}
        boxes["no clicks", 0, 0] = [one for _, one in blind]
        save_detections(detections, test_set, name, boxes)
        sequences = {
            f"{way}/seed {seed}/{number} clicks/{picture.name}": ClickSequence(
                tuple(state.clicks), tuple(state.objects)
            )
            for (way, seed, number), answers in found.items()
            for picture, state, _ in answers
        }
        save_sequences(detections / test_set.name / name / "clicks.json", sequences)

    def measured(way: str, seeds: Sequence[int], number: int) -> dict[str, Any]:
        of_seeds = [_pairs(found[way, seed, number]) for seed in seeds]
        return {
            objects: mean([quality(one[objects], test_set.labels, threshold) for one in of_seeds])
            for objects in ("all", "unclicked")
        }

    return {
        "kind": test_set.kind,
        "multi": test_set.is_multi_class,
        "pictures": len(test_set.pictures),
        "objects": sum(int((~one.ignored).sum()) for one in test_set.objects),
        "0": agnostic(blind) if blind else None,
        **negative.results(),
        **repeated.results(test_set.labels, threshold),
        **{
            way: {str(number): measured(way, seeds, number) for number in plan.counts}
            for way, seeds in (("random", plan.seeds), ("person", (0,)))
        },
    }


def evaluate_open(
    settings: EvaluationSettings, options: OpenSettings, detections: Path | None, command: str
) -> None:
    """Measure weights of the open model set by set, and write the report after each set.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: There is no such set, or weights and settings do not fit.
        c3det.weights.WeightsError: Weights cannot be used.
        SourceError: A set cannot be fetched, or is not where it should be.
    """
    plan = settings.plan(2, COUNTS)
    if plan.counts[0] < 1:
        raise ValueError(
            "--clicks starts at 1 for the open model, which is always measured without clicks, too"
        )
    specs = test_sets.chosen(settings.sets)
    # One by one: the folds' files may all be called model.safetensors.
    paths = [path for one in settings.weights for path in named_weights([one]).values()]
    check_folds(paths)
    weights = {spec: weights_of(spec, paths) for spec in specs}
    if repeated := first_repeated(Path(spec).resolve().name for spec in specs):
        raise ValueError(f"two sets have the name {repeated}")
    specs = test_sets.at_hand(specs, options.available)
    if not specs:
        raise ValueError("none of the sets is there: name others with --sets")

    @cache
    def predictor(path: Path) -> Predictor:
        network, card = load(path)
        return Predictor(OpenModel(network.to(settings.device)), card)

    beside = {
        title: OpenMethod(predictor(path)) for title, path in named_weights(options.beside).items()
    }
    results: dict[str, dict[str, Any]] = {}
    for spec in specs:
        model = predictor(weights[spec])
        threshold = model.card.score_threshold if settings.threshold is None else settings.threshold
        methods: dict[str, Method] = {MODEL: OpenMethod(model)}
        if options.backbone is not None:
            methods["template matching"] = TemplateMatching()
            methods["nearest neighbour, ImageNet"] = NearestNeighbour(model, options.backbone)
        test_set = test_sets.load(spec, settings.pictures)
        for title, method in {**methods, **beside}.items():
            started = time.monotonic()
            one = evaluate_set(title, method, test_set, plan, threshold, detections)
            results.setdefault(title, {})[test_set.name] = one
            after = one["random"].get(str(MAIN_COUNT))
            seconds = time.monotonic() - started
            print(f"{test_set.name}, {title}: {after}, {seconds:.0f} s", flush=True)
        # Written after each set, so that what was measured is not lost.
        report = OpenReport(
            commands=[command],
            weights=[path.name for path in paths],
            threshold=settings.threshold,
            counts=plan.counts,
            sets=results,
        )
        report.write(settings.out)
    print(report.page(settings.out.with_suffix(".png").name))

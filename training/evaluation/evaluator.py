"""From predictions to numbers: curves over the number of clicks, their differences, and counts.

Three subsets of a test set are measured: ``all`` objects; the ``unclicked`` ones (see
`training.evaluation.metrics.unclicked`); and those of ``unseen classes``, which no click on the
picture has named. An AP is the mean over the classes that count, in percent; its 95 % interval is a
bootstrap over the pictures, of ``ap50`` alone; the tiles of a picture are drawn together.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from c3det.commands import naming
from c3det.detections import Detections
from c3det.predictor import Predictor
from training.clicks.sequences import ClickSequence
from training.data.annotated import Annotated
from training.data.index import to_coco
from training.evaluation.metrics import (
    IOUS,
    VOC07_RECALLS,
    Counts,
    area_under,
    average_precision,
    clicks_to_reach,
    count,
    interval,
    match,
    match_voc,
    mean_over_classes,
    to_coco_results,
    unclicked,
    unseen_classes,
)
from training.evaluation.predictions import SCORE_THRESHOLD, Key, Predictions, predict
from training.evaluation.protocol import (
    ClickPlan,
    EvaluationSet,
    check_clicks,
    click_name,
    draw_clicks,
    resamples_of,
)

METRICS = ("ap50", "ap", "voc07")
"""COCO's AP at IoU 0.5; its mean over IoUs 0.5 to 0.95; VOC07's 11-point AP at IoU 0.5."""

SUBSETS: dict[
    str, Callable[[Annotated, Detections, ClickSequence], tuple[Annotated, Detections]]
] = {
    "all": lambda picture, detections, _: (picture, detections),
    "unclicked": lambda picture, detections, given: unclicked(picture, detections, given.objects),
    "unseen classes": unseen_classes,
}

SUBSETS_OF_MODE = {"served": tuple(SUBSETS), "model-only": ("all",), "passthrough": tuple(SUBSETS)}
"""The model alone is measured as it was published, on all objects."""

TARGETS = (0.8, 0.9)
"""Of F1."""


@dataclass(frozen=True, eq=False)
class PrecisionCurves:
    """Average precision of one model on one subset of a set in one mode.

    Attributes:
        classes: float64 (metrics, numbers of clicks, seeds, classes), 0 to 1, in the order of
            `METRICS`.
        samples: float64 (numbers of clicks, seeds, 1 + resamples), the mean over the classes of
            ``ap50``; the first sample is the set as it is.
    """

    classes: NDArray[np.float64]
    samples: NDArray[np.float64]

    @property
    def means(self) -> NDArray[np.float64]:
        """float64 (numbers of clicks, 1 + resamples), the mean of ``ap50`` over the seeds."""
        mean: NDArray[np.float64] = self.samples.mean(axis=1)
        return mean


def precision_curves(
    test_set: EvaluationSet,
    predictions: Predictions,
    plan: ClickPlan,
    weights: NDArray[np.int64],
    mode: str,
    subset: str,
) -> PrecisionCurves:
    """Compute average precision of one of `SUBSETS` from the predictions of a mode.

    The weights are those of `training.evaluation.protocol.resamples_of`.
    """
    shape = (len(plan.counts), len(plan.seeds))
    classes = np.empty((len(METRICS), *shape, len(test_set.labels)))
    samples = np.empty((*shape, len(weights)))
    for row, number in enumerate(plan.counts):
        for column, seed in enumerate(plan.seeds):
            pairs = [
                SUBSETS[subset](
                    picture,
                    detections,
                    predictions.sequences[click_name(test_set, seed, picture)].first(number),
                )
                for picture, detections in zip(
                    test_set.objects, predictions.detections[mode, seed, number], strict=True
                )
            ]
            pictures, found = zip(*pairs, strict=True)
            matches = match(pictures, found, test_set.labels, IOUS)
            curves = np.stack([average_precision(one, weights) for one in matches[0]])
            samples[row, column] = mean_over_classes(curves)
            whole = weights[:1]
            of_ious = np.array([[average_precision(m, whole)[0] for m in one] for one in matches])
            voc = match_voc(pictures, found, test_set.labels)
            classes[0, row, column] = curves[:, 0]
            classes[1, row, column] = of_ious.mean(axis=0)
            classes[2, row, column] = [
                average_precision(one, whole, VOC07_RECALLS)[0] for one in voc
            ]
    return PrecisionCurves(classes, samples)


def evaluate(
    predictors: Mapping[str, Predictor],
    test_sets: Sequence[EvaluationSet],
    plan: ClickPlan,
    sequences: Mapping[str, ClickSequence] | None = None,
    *,
    passthrough: Collection[str] = (),
    bootstrap: int = 1000,
    threshold: float | None = None,
    detections: Path | None = None,
    samples: Path | None = None,
) -> tuple[dict[str, Any], dict[str, dict[str, ClickSequence]]]:
    """Measure predictors on the same pictures.

    A predictor that lacks a class that counts in a set is not measured on that set, as long as
    another one is.

    Args:
        predictors: By name.
        test_sets: To measure on.
        plan: Of the clicks.
        sequences: Clicks of an earlier run; ``None``: drawn by the plan.
        passthrough: Names of the predictors of which the control is measured too.
        bootstrap: Resamples of the pictures.
        threshold: The served one; ``None``: each card's.
        detections: Folder to write all detections to, see `save_detections`.
        samples: File, ``.npz``, for what the intervals come from: by ``"<set>/<model>/<mode>/
            <subset>"`` the `PrecisionCurves.means`, fractions. The resamples depend on the pictures
            of the set alone, so those of two evaluations of one set can be subtracted.

    Returns:
        All results, fit for JSON; AP, differences of AP, precision, recall and F1 are in percent,
        and ``None`` where no object is left to be found. And the clicks by the name of the model
        that they were given to, which are the same ones unless the strategy clicks errors.

    Raises:
        ValueError: The clicks are of other pictures, or every predictor lacks a class that counts
            in some set.
    """
    if sequences is None and not plan.strategy.sees_answers:
        sequences = draw_clicks(test_sets, plan)
    if sequences is not None:
        check_clicks(sequences, test_sets, plan)
    results: dict[str, Any] = {
        "clicks": list(plan.counts),
        "seeds": list(plan.seeds),
        "strategy": asdict(plan.strategy),
        "budget": plan.budget,
        "score_threshold": SCORE_THRESHOLD,
        "bootstrap": bootstrap,
        "machine": machine(),
        "sets": {
            test_set.name: {
                "pictures": len(test_set.objects),
                "objects": sum(int((~one.ignored).sum()) for one in test_set.objects),
                "classes": [test_set.classes[label] for label in test_set.labels],
            }
            for test_set in test_sets
        },
        "models": {
            name: {
                "sha256": predictor.card.identity,
                "seconds_per_encode": {},
                "seconds_per_click": {},
                "sets": {},
                "at_threshold": {},
            }
            for name, predictor in predictors.items()
        },
    }
    given: dict[str, dict[str, ClickSequence]] = {name: {} for name in predictors}
    means: dict[str, NDArray[np.float64]] = {}
    for test_set in test_sets:
        weights = resamples_of(test_set, bootstrap)
        first: dict[str, PrecisionCurves] = {}  # by subset, of the first model as served
        able = {name: one for name, one in predictors.items() if knows(one.classes, test_set)}
        # Where none is able, the first one says what it lacks.
        for name, predictor in (able or predictors).items():
            modes = ("served", "model-only", *(["passthrough"] if name in passthrough else []))
            predictions = predict(
                predictor, test_set, plan, sequences, threshold=threshold, modes=modes
            )
            given[name].update(predictions.sequences)
            if detections is not None:
                save_detections(detections, test_set, name, predictions.detections)
            cases = [(mode, subset) for mode in modes for subset in SUBSETS_OF_MODE[mode]]
            curves = {
                (mode, subset): precision_curves(test_set, predictions, plan, weights, mode, subset)
                for mode, subset in tqdm(
                    cases, desc=f"{test_set.name}, {name}", unit="curve", disable=None
                )
            }
            first = first or {subset: curves["served", subset] for subset in SUBSETS}
            served = predictor.card.score_threshold if threshold is None else threshold
            own = _of_model(test_set, predictions, plan, curves, first, served)
            for key, value in own.items():
                results["models"][name][key][test_set.name] = value
            means |= {"/".join((test_set.name, name, *key)): c.means for key, c in curves.items()}
    if samples is not None:
        samples.parent.mkdir(parents=True, exist_ok=True)
        with naming(samples):
            np.savez_compressed(samples, **cast(Any, means))
    return results, given


def _of_model(
    test_set: EvaluationSet,
    predictions: Predictions,
    plan: ClickPlan,
    curves: Mapping[tuple[str, str], PrecisionCurves],
    first: Mapping[str, PrecisionCurves],
    threshold: float,
) -> dict[str, Any]:
    """What `evaluate` returns of one model on one set; the curves are by mode and subset.

    With all but the model's own output come the differences from the first model as served.
    """
    sets: dict[str, Any] = {}
    shown: dict[str, Any] = {"threshold": threshold}
    for (mode, subset), one in curves.items():
        content = sets.setdefault(mode, {})[subset] = describe(one, plan.counts, test_set)
        if mode != "model-only" and one is not first[subset]:
            content["ap50"]["difference"] = difference(one.means - first[subset].means)
        if mode != "model-only" and mode not in shown:
            shown[mode] = at_threshold(test_set, predictions, plan, mode)
    return {
        "seconds_per_encode": _seconds(predictions.encode_seconds),
        "seconds_per_click": _seconds(predictions.click_seconds),
        "sets": sets,
        "at_threshold": shown,
    }


def best_threshold(
    predictor: Predictor, pictures: Sequence[Annotated], clicks: int = 3, seed: int = 0
) -> float:
    """Choose the score from which on boxes are shown.

    Args:
        predictor: As served.
        pictures: Not of the test set; labels are those of the predictor, and all classes count.
        clicks: On each picture.
        seed: Of the clicks.

    Returns:
        The score, a multiple of 0.01 between 0.05 and 0.95, of the largest F1 over all classes, the
        lowest where several have it.

    Raises:
        ValueError: The pictures hold no object.
    """
    if all(picture.ignored.all() for picture in pictures):
        raise ValueError(
            "no validation picture holds an object to choose the score threshold by: put pictures "
            "into val.json (training.data.convert --split), or name a threshold (--threshold)"
        )
    labels = tuple(range(len(predictor.classes)))
    test_set = EvaluationSet("validation", tuple(predictor.classes), labels, pictures)
    plan = ClickPlan(seeds=(seed,), counts=(clicks,))
    sequences = draw_clicks([test_set], plan)
    predictions = predict(predictor, test_set, plan, sequences, modes=["served"])
    (matches,) = match(test_set.objects, predictions.detections["served", seed, clicks], labels)
    thresholds = np.arange(5, 96) / 100
    f1 = [count(matches, threshold).total().f1.item() for threshold in thresholds]
    return float(thresholds[np.argmax(f1)])


def knows(classes: Sequence[str], test_set: EvaluationSet) -> bool:
    """Whether all classes that count in a set are among some."""
    return {test_set.classes[label] for label in test_set.labels} <= set(classes)


def difference(samples: NDArray[np.float64]) -> list[list[float | None]]:
    """Describe a difference of two `PrecisionCurves.means`.

    Args:
        samples: float64 (numbers of clicks, 1 + resamples), fractions.

    Returns:
        For each number of clicks the difference and the ends of its 95 % interval, in percent.
    """
    return [percents([row[0], *interval(row[1:])]) for row in samples]


def machine() -> dict[str, Any]:
    """What times were measured on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def describe(
    measured: PrecisionCurves, counts: Sequence[int], test_set: EvaluationSet
) -> dict[str, Any]:
    """Write measurements for JSON, in percent.

    Returns:
        By metric: ``clicks``, by number of clicks the ``mean``, each of the ``seeds`` and the mean
        of each of the ``classes``, and with ``ap50`` the ``interval``; and ``area``, the mean
        height of the curve (see `training.evaluation.metrics.area_under`), likewise.
    """
    names = [test_set.classes[label] for label in test_set.labels]
    content = {}
    for metric, classes in zip(METRICS, measured.classes, strict=True):
        seeds = mean_over_classes(np.moveaxis(classes, 2, 0))
        points = {}
        for row, number in enumerate(counts):
            points[str(number)] = _point(seeds[row], classes[row], names)
            if metric == "ap50":
                points[str(number)]["interval"] = percents(interval(measured.means[row, 1:]))
        area = _point(area_under(seeds, counts), area_under(classes, counts), names)
        content[metric] = {"clicks": points, "area": area}
    return content


def _point(
    seeds: NDArray[np.float64], classes: NDArray[np.float64], names: Sequence[str]
) -> dict[str, Any]:
    return {
        "mean": percent(float(seeds.mean())),
        "seeds": percents(seeds),
        "classes": dict(zip(names, percents(classes.mean(axis=0)), strict=True)),
    }


def at_threshold(
    test_set: EvaluationSet, predictions: Predictions, plan: ClickPlan, mode: str
) -> dict[str, Any]:
    """Describe what is shown from the served threshold on.

    Returns:
        ``clicks``: by their number, precision, recall and F1 of all pictures together, in percent,
        and ``missed`` objects and ``wrong`` boxes of a picture, means over the seeds. ``to_f1``: by
        the F1 that a picture is to reach, how many ``clicks`` it takes at the mean of the
        ``pictures`` with objects and of the seeds, a picture that never reaches it counted with the
        largest number of clicks; how many never do (``never``, at the mean of the seeds); and the
        mean of the others (``clicks_of_those_that_do``). A number of clicks is one of those that
        were measured.
    """
    counted = [
        count(match(test_set.objects, predictions.shown[mode, seed, number], test_set.labels)[0])
        for seed in plan.seeds
        for number in plan.counts
    ]
    shape = (len(plan.seeds), len(plan.counts), -1)
    every = Counts(
        *(
            np.stack([getattr(one, name) for one in counted]).reshape(shape)
            for name in ("correct", "wrong", "missed")
        )
    )
    totals = every.total()
    return {
        "clicks": {
            str(number): {
                **{
                    name: percent(float(getattr(totals, name)[:, row].mean()))
                    for name in ("precision", "recall", "f1")
                },
                "missed": round(float(every.missed[:, row].mean()), 3),
                "wrong": round(float(every.wrong[:, row].mean()), 3),
            }
            for row, number in enumerate(plan.counts)
        },
        "to_f1": {str(target): _clicks_to_f1(every, plan.counts, target) for target in TARGETS},
    }


def _clicks_to_f1(every: Counts, counts: Sequence[int], target: float) -> dict[str, Any]:
    occupied = (every.correct + every.missed)[0, 0] > 0
    needed = np.stack(
        [clicks_to_reach(of_seed[:, occupied], counts, target) for of_seed in every.f1]
    )
    never = np.isnan(needed)
    return {
        "pictures": int(occupied.sum()),
        "clicks": _rounded(np.where(never, counts[-1], needed)),
        "never": round(float(never.sum(axis=1).mean()), 3),
        "clicks_of_those_that_do": _rounded(needed[~never]),
    }


def _rounded(values: NDArray[np.float64]) -> float | None:
    return round(float(values.mean()), 3) if values.size else None


def save_detections(
    folder: Path,
    test_set: EvaluationSet,
    name: str,
    detections: Mapping[Key, Sequence[Detections]],
) -> None:
    """Write the detections of a model as COCO results, so that others can measure them.

    Beside them, in ``<folder>/<set>/truth.json``, lie the objects that count. A results file is
    ``<folder>/<set>/<model>/<mode>/seed-<seed>-clicks-<number>.json``.
    """
    folder = folder / test_set.name
    (folder / name).mkdir(parents=True, exist_ok=True)
    truth = to_coco(test_set.objects, test_set.classes)
    truth["categories"] = [truth["categories"][label] for label in test_set.labels]
    (folder / "truth.json").write_text(json.dumps(truth) + "\n", encoding="utf-8")
    for (mode, seed, number), found in detections.items():
        path = folder / name / mode / f"seed-{seed}-clicks-{number}.json"
        path.parent.mkdir(exist_ok=True)
        with naming(path):
            path.write_text(json.dumps(to_coco_results(found)) + "\n", encoding="utf-8")


def percent(value: float) -> float | None:
    """A fraction in percent to three decimals, ``None`` for NaN; -0.0 becomes 0.0."""
    return None if math.isnan(value) else round(100 * float(value), 3) + 0.0


def percents(values: Sequence[float] | NDArray[np.float64]) -> list[float | None]:
    """See `percent`."""
    return [percent(value) for value in values]


def _seconds(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 4) if values else None

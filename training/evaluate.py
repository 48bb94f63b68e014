"""Measure weights after 0, 1, 3, ... clicks: ``python -m training.evaluate --weights W --out R``.

The objects that are clicked, and where, depend on the seed and the picture alone: every model is
given the same clicks. They are written beside the results, and ``--replay`` takes them from there.

Two modes. ``served`` is what the annotator sees: detections reconciled with the clicks (see
`c3det.answering`). Of a detector that ignores clicks this is the control that pastes the clicks in.
``model-only`` is the output before that step. Both are measured on all objects and on the unclicked
ones (see `training.measures.unclicked`), on detections from a score of 0.02 on. An AP is the mean
over the classes of a set, in percent, and its 95 % interval is a bootstrap over the pictures. The
pictures of the tree set are few and of one place, so that its intervals are coarse.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from tqdm import tqdm

from c3det.answering import Detections
from c3det.predictor import Predictor, load
from c3det.weights import WeightsError, read_card, save_card
from training import composite, trees
from training.click_sampling import ClickSequence, click_sequence, load_sequences, save_sequences
from training.index import CLASSES, DIGIT_LABELS, TREE_LABEL, Annotated
from training.measures import (
    average_precision,
    count,
    interval,
    match,
    mean_over_classes,
    resamples,
    unclicked,
)

CLICKS = (0, 1, 3, 5, 10, 20)
SETS = ("composite", "trees")
MODES = ("served", "model-only")
MEASURES = ("all", "unclicked")
SCORE_THRESHOLD = 0.02

Curve = dict[str, dict[str, Any]]


@dataclass(frozen=True, eq=False)
class TestSet:
    """Pictures to measure on.

    Attributes:
        name: Of the set.
        labels: The classes that count.
        pictures: With objects of these classes only.
    """

    __test__ = False  # pytest takes it for a test by its name

    name: str
    labels: tuple[int, ...]
    pictures: tuple[Annotated, ...]


def load_set(name: str, pictures: int | None = None) -> TestSet:
    """Load one of ``SETS``, or the first pictures of it."""
    if name == "composite":
        labels = tuple(DIGIT_LABELS)
        found = composite.test_pictures() if pictures is None else composite.test_pictures(pictures)
    else:
        labels, found = (TREE_LABEL,), trees.test_pictures()[:pictures]
    return TestSet(name, labels, tuple(only(picture, labels) for picture in found))


def only(picture: Annotated, labels: Collection[int]) -> Annotated:
    """The picture with the objects of some classes, in their order."""
    kept = np.isin(picture.labels, list(labels))
    return Annotated(picture.name, picture.image, picture.boxes[kept], picture.labels[kept])


def draw_clicks(
    sets: Sequence[TestSet], seeds: Sequence[int], max_clicks: int
) -> dict[str, ClickSequence]:
    """Draw the clicks on every picture, for every seed, by the names of `click_name`."""
    return {
        click_name(test_set, seed, picture): click_sequence(
            picture,
            np.random.default_rng([seed, zlib.crc32(picture.name.encode())]),
            max_clicks,
        )
        for test_set in sets
        for seed in seeds
        for picture in test_set.pictures
    }


def click_name(test_set: TestSet, seed: int, picture: Annotated) -> str:
    """Name of a click sequence, such as ``"composite/seed 0/composite-0-17"``."""
    return f"{test_set.name}/seed {seed}/{picture.name}"


def check_clicks(
    sequences: Mapping[str, ClickSequence],
    sets: Sequence[TestSet],
    seeds: Sequence[int],
    max_clicks: int,
) -> None:
    """Raise ``ValueError`` where clicks are missing or do not lie on the pictures' objects."""
    for test_set in sets:
        for seed in seeds:
            for picture in test_set.pictures:
                name = click_name(test_set, seed, picture)
                if name not in sequences:
                    raise ValueError(f"there are no clicks for {name}")
                sequence = sequences[name]
                if len(sequence) < min(max_clicks, len(picture.boxes)):
                    raise ValueError(f"{name} has {len(sequence)} clicks, {max_clicks} are needed")
                for click, index in zip(sequence.clicks, sequence.objects, strict=True):
                    if not 0 <= index < len(picture.boxes):
                        raise ValueError(f"{name} has a click on object {index}, there is none")
                    x1, y1, x2, y2 = picture.boxes[index].tolist()
                    inside = x1 <= click.x <= x2 and y1 <= click.y <= y2
                    if not inside or click.label != picture.labels[index]:
                        raise ValueError(f"{name} has a click that is not on its object {index}")


@dataclass(frozen=True, eq=False)
class Answers:
    """What a predictor answers on one set.

    Attributes:
        detections: By mode, seed and number of clicks, one a picture.
        encode_seconds: Of every call of ``encode``.
        detect_seconds: Of every call of ``detect``.
    """

    detections: dict[tuple[str, int, int], list[Detections]]
    encode_seconds: list[float]
    detect_seconds: list[float]


def ask(
    predictor: Predictor,
    test_set: TestSet,
    sequences: Mapping[str, ClickSequence],
    seeds: Sequence[int],
    counts: Sequence[int],
    score_threshold: float = SCORE_THRESHOLD,
    modes: Sequence[str] = MODES,
) -> Answers:
    """Encode every picture once and detect after each number of clicks, for every seed and mode."""
    answers = Answers({}, [], [])
    for picture in tqdm(test_set.pictures, desc=test_set.name, unit="picture"):
        start = time.perf_counter()
        features = predictor.encode(picture.image)
        answers.encode_seconds.append(time.perf_counter() - start)
        for seed in seeds:
            sequence = sequences[click_name(test_set, seed, picture)]
            for number in counts:
                for mode in modes:
                    start = time.perf_counter()
                    found = predictor.detect(
                        features,
                        sequence.first(number).clicks,
                        score_threshold=score_threshold,
                        answer_clicks=mode == "served",
                    )
                    answers.detect_seconds.append(time.perf_counter() - start)
                    answers.detections.setdefault((mode, seed, number), []).append(found)
    return answers


@dataclass(frozen=True, eq=False)
class Measured:
    """Average precision of one model on one set in one mode, of all or of the unclicked objects.

    Attributes:
        samples: float64 (numbers of clicks, seeds, 1 + resamples), 0 to 1, the mean over the
            classes; the first sample is the set as it is.
        classes: float64 (numbers of clicks, seeds, classes), of the set as it is.
    """

    samples: NDArray[np.float64]
    classes: NDArray[np.float64]

    @property
    def means(self) -> NDArray[np.float64]:
        """float64 (numbers of clicks, 1 + resamples), the mean over the seeds."""
        mean: NDArray[np.float64] = self.samples.mean(axis=1)
        return mean


def measure(
    test_set: TestSet,
    sequences: Mapping[str, ClickSequence],
    answers: Answers,
    seeds: Sequence[int],
    counts: Sequence[int],
    weights: NDArray[np.int64],
) -> dict[tuple[str, str], Measured]:
    """Compute AP from answers.

    Args:
        test_set: The set.
        sequences: The clicks that were given.
        answers: What was answered.
        seeds: Of the clicks.
        counts: Numbers of clicks.
        weights: See `training.measures.resamples`.

    Returns:
        By mode and measure.
    """
    measured = {}
    for mode in MODES:
        for kind in MEASURES:
            samples = np.empty((len(counts), len(seeds), len(weights)))
            classes = np.empty((len(counts), len(seeds), len(test_set.labels)))
            for row, number in enumerate(counts):
                for column, seed in enumerate(seeds):
                    pairs = list(
                        zip(test_set.pictures, answers.detections[mode, seed, number], strict=True)
                    )
                    if kind == "unclicked":
                        pairs = [
                            unclicked(
                                picture,
                                detections,
                                sequences[click_name(test_set, seed, picture)]
                                .first(number)
                                .objects,
                            )
                            for picture, detections in pairs
                        ]
                    pictures, found = zip(*pairs, strict=True)
                    matches = match(pictures, found, test_set.labels)
                    precisions = np.stack([average_precision(one, weights) for one in matches])
                    samples[row, column] = mean_over_classes(precisions)
                    classes[row, column] = precisions[:, 0]
            measured[mode, kind] = Measured(samples, classes)
    return measured


def evaluate(
    predictors: Mapping[str, Predictor],
    sets: Sequence[TestSet],
    sequences: Mapping[str, ClickSequence],
    seeds: Sequence[int] = range(5),
    counts: Sequence[int] = CLICKS,
    bootstrap: int = 1000,
    threshold: float | None = None,
) -> dict[str, Any]:
    """Measure predictors on the same pictures with the same clicks.

    Args:
        predictors: By name.
        sets: To measure on.
        sequences: Clicks, see `draw_clicks`.
        seeds: Of the clicks.
        counts: Numbers of clicks.
        bootstrap: Resamples of the pictures.
        threshold: At which precision and recall are reported; ``None``: each card's.

    Returns:
        All results, fit for JSON; AP and differences of AP are in percent, and ``None`` where no
        object is left to be found.
    """
    check_clicks(sequences, sets, seeds, max(counts))
    labels = {label for test_set in sets for label in test_set.labels}
    for name, predictor in predictors.items():
        if tuple(predictor.classes)[: max(labels) + 1] != CLASSES[: max(labels) + 1]:
            raise ValueError(f"{name} has the classes {predictor.classes}, the sets have {CLASSES}")
    results: dict[str, Any] = {
        "clicks": list(counts),
        "seeds": list(seeds),
        "score_threshold": SCORE_THRESHOLD,
        "bootstrap": bootstrap,
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        },
        "sets": {
            test_set.name: {
                "pictures": len(test_set.pictures),
                "objects": sum(len(picture.boxes) for picture in test_set.pictures),
                "classes": [CLASSES[label] for label in test_set.labels],
            }
            for test_set in sets
        },
        "models": {
            name: {
                "sha256": predictor.card.sha256,
                "seconds_per_encode": {},
                "seconds_per_click": {},
                "sets": {},
                "at_threshold": {},
            }
            for name, predictor in predictors.items()
        },
        "differences": [],
    }
    for test_set in sets:
        weights = resamples(len(test_set.pictures), bootstrap)
        measured = {}
        for name, predictor in predictors.items():
            answers = ask(predictor, test_set, sequences, seeds, counts)
            measured[name] = measure(test_set, sequences, answers, seeds, counts, weights)
            model = results["models"][name]
            model["seconds_per_encode"][test_set.name] = _mean_seconds(answers.encode_seconds)
            model["seconds_per_click"][test_set.name] = _mean_seconds(answers.detect_seconds)
            model["sets"][test_set.name] = {
                mode: {
                    kind: _describe(measured[name][mode, kind], counts, test_set.labels)
                    for kind in MEASURES
                }
                for mode in MODES
            }
            model["at_threshold"][test_set.name] = _at_threshold(
                test_set,
                answers,
                seeds,
                counts,
                predictor.card.score_threshold if threshold is None else threshold,
            )
        results["differences"] += [
            {
                "set": test_set.name,
                "mode": mode,
                "measure": kind,
                "clicks": number,
                "model": first,
                "minus": second,
                "ap": _percent(difference[0]),
                "interval": _percents(interval(difference[1:])),
            }
            for first, second in combinations(predictors, 2)
            for mode in MODES
            for kind in MEASURES
            for number, difference in zip(
                counts,
                measured[first][mode, kind].means - measured[second][mode, kind].means,
                strict=True,
            )
        ]
    return results


def _describe(measured: Measured, counts: Sequence[int], labels: Sequence[int]) -> Curve:
    return {
        str(number): {
            "ap": _percent(mean[0]),
            "interval": _percents(interval(mean[1:])),
            "seeds": _percents(seeds),
            "classes": {
                CLASSES[label]: _percents(classes)
                for label, classes in zip(labels, per_class.T, strict=True)
            },
        }
        for number, mean, seeds, per_class in zip(
            counts, measured.means, measured.samples[:, :, 0], measured.classes, strict=True
        )
    }


def _at_threshold(
    test_set: TestSet,
    answers: Answers,
    seeds: Sequence[int],
    counts: Sequence[int],
    threshold: float,
) -> dict[str, Any]:
    """Precision, recall and F1 as served, in percent, means over the seeds."""
    rows: dict[str, Any] = {"threshold": threshold}
    for number in counts:
        counted = [
            count(
                match(
                    test_set.pictures, answers.detections["served", seed, number], test_set.labels
                ),
                threshold,
            )
            for seed in seeds
        ]
        rows[str(number)] = {
            quantity: _percent(float(np.mean([getattr(one, quantity) for one in counted])))
            for quantity in ("precision", "recall", "f1")
        }
    return rows


def _percent(value: float) -> float | None:
    return None if math.isnan(value) else round(100 * float(value), 3)


def _percents(values: Sequence[float] | NDArray[np.float64]) -> list[float | None]:
    return [_percent(value) for value in values]


def _mean_seconds(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4)


def summary(results: Mapping[str, Any]) -> dict[str, Any]:
    """Shorten results to what a card tells.

    Returns:
        By model, set and mode, the AP in percent to one decimal by number of clicks, with the same
        for unclicked objects under ``"unclicked"``: ``{"c3det": {"trees": {"served": {"0": 61.3,
        "1": 62.0, "unclicked": {"0": 61.3, "1": 61.5}}}}}``.
    """

    def rounded(curve: Curve) -> dict[str, Any]:
        return {
            number: None if point["ap"] is None else round(point["ap"], 1)
            for number, point in curve.items()
        }

    return {
        name: {
            test_set: {
                mode: {**rounded(curves["all"]), "unclicked": rounded(curves["unclicked"])}
                for mode, curves in modes.items()
            }
            for test_set, modes in model["sets"].items()
        }
        for name, model in results["models"].items()
    }


def card_results(results: Mapping[str, Any]) -> dict[str, Any]:
    """What a card tells of results: how they were measured, on what, and the summary."""
    return {
        "command": "python -m training.evaluate",
        "machine": results["machine"],
        "click seeds": len(results["seeds"]),
        "sets": results["sets"],
        "AP at IoU 0.5, percent, by clicks per picture": summary(results),
        "differences in AP, with 95 % intervals by a bootstrap over the pictures": [
            one for one in results["differences"] if one["mode"] == "served"
        ],
        "at the served threshold": {
            name: model["at_threshold"] for name, model in results["models"].items()
        },
    }


def validation_pictures(pictures: int = 12, size: int = 384) -> list[Annotated]:
    """Composite pictures of the training split, none of which training has seen.

    Their glyphs and their background it has seen.
    """
    composer = composite.composer("train")
    return [
        composer.compose(f"validation-{i}", size, np.random.default_rng([10**6, i]))
        for i in range(pictures)
    ]


def best_threshold(
    predictor: Predictor, pictures: Sequence[Annotated], clicks: int = 3, seed: int = 0
) -> float:
    """Choose the score from which on boxes are shown.

    Args:
        predictor: As served.
        pictures: Of the training split; objects of all classes count.
        clicks: On each picture.
        seed: Of the clicks.

    Returns:
        The score, a multiple of 0.01 between 0.05 and 0.95, of the largest F1 over all classes, the
        lowest where several have it.
    """
    test_set = TestSet("validation", tuple(range(len(predictor.classes))), tuple(pictures))
    sequences = draw_clicks([test_set], [seed], clicks)
    answers = ask(predictor, test_set, sequences, [seed], [clicks], modes=["served"])
    matches = match(pictures, answers.detections["served", seed, clicks], test_set.labels)
    thresholds = np.arange(5, 96) / 100
    return float(thresholds[np.argmax([count(matches, one).f1 for one in thresholds])])


def table(results: Mapping[str, Any]) -> str:
    """Lay results out for a terminal: AP, differences with their intervals, counts, times."""
    models, counts = results["models"], [str(number) for number in results["clicks"]]
    lines = []
    for test_set, content in results["sets"].items():
        about = f"{content['pictures']} pictures, {content['objects']} objects"
        for mode in MODES:
            for kind in MEASURES:
                rows = {
                    name: [model["sets"][test_set][mode][kind][number]["ap"] for number in counts]
                    for name, model in models.items()
                }
                for first, second in combinations(models, 2):
                    differences = [
                        row
                        for row in results["differences"]
                        if (row["set"], row["mode"], row["measure"]) == (test_set, mode, kind)
                        and (row["model"], row["minus"]) == (first, second)
                    ]
                    rows[f"{first} - {second}"] = [row["ap"] for row in differences]
                    for end, word in enumerate(("from", "to")):
                        rows[f"{first} - {second}, {word}"] = [
                            row["interval"][end] for row in differences
                        ]
                heading = f"{test_set} ({about}), {mode}, {kind} objects: AP by clicks"
                lines += _block(heading, counts, rows)
        for name, model in models.items():
            at_threshold = model["at_threshold"][test_set]
            lines += _block(
                f"{test_set}, served, {name} from the score {at_threshold['threshold']} on",
                counts,
                {
                    quantity: [at_threshold[number][quantity] for number in counts]
                    for quantity in ("precision", "recall", "f1")
                },
            )
            lines.append(
                f"{model['seconds_per_encode'][test_set]:.3f} s to encode a picture, "
                f"{model['seconds_per_click'][test_set]:.3f} s a click"
            )
    return "\n".join(lines)


def _block(
    heading: str, counts: Sequence[str], rows: Mapping[str, Sequence[float | None]]
) -> list[str]:
    width = max(map(len, rows))
    return [
        "",
        heading,
        " " * width + "".join(f"{number:>8}" for number in counts),
        *(f"{name:<{width}}" + "".join(map(_cell, values)) for name, values in rows.items()),
    ]


def _cell(value: float | None) -> str:
    return f"{'-':>8}" if value is None else f"{value:8.1f}"


def plot(results: Mapping[str, Any], path: Path) -> None:
    """Draw AP as served against the number of clicks: the mean and the range over the seeds."""
    figure = Figure(figsize=(10, 4 * len(results["sets"])), layout="constrained")
    panels = figure.subplots(len(results["sets"]), len(MEASURES), squeeze=False)
    for row, test_set in zip(panels, results["sets"], strict=True):
        for axes, kind in zip(row, MEASURES, strict=True):
            for name, model in results["models"].items():
                points = [
                    (int(number), point)
                    for number, point in model["sets"][test_set]["served"][kind].items()
                    if point["ap"] is not None
                ]
                clicks = [number for number, _ in points]
                axes.plot(clicks, [point["ap"] for _, point in points], marker="o", label=name)
                axes.fill_between(
                    clicks,
                    [min(point["seeds"]) for _, point in points],
                    [max(point["seeds"]) for _, point in points],
                    alpha=0.2,
                )
            axes.set_title(f"{test_set}, {kind} objects")
            axes.set_xlabel("clicks per picture")
            axes.set_ylabel("AP at IoU 0.5, %")
            axes.set_xticks(results["clicks"])
            axes.grid(alpha=0.3)
            axes.legend()
    figure.savefig(path, dpi=150)


def main() -> None:
    """Read the command line, measure, and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, nargs="+", required=True, action="extend")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of the results")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--seeds", type=int, default=5, help="number of click seeds")
    parser.add_argument("--clicks", type=int, nargs="+", default=CLICKS)
    parser.add_argument("--pictures", type=int, help="only the first ones of each set")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bootstrap", type=int, default=1000, help="resamples of the pictures")
    parser.add_argument("--threshold", type=float, help="of precision and recall; else the cards'")
    parser.add_argument("--replay", type=Path, help="clicks of an earlier run, *.clicks.json")
    parser.add_argument("--plot", type=Path, help="picture of the curves, *.png")
    parser.add_argument(
        "--card", action="store_true", help="write the summary into the first weights' card"
    )
    arguments = parser.parse_args()
    names = [path.stem for path in arguments.weights]
    if len(set(names)) < len(names):
        parser.error("two weights files have the same name")
    seeds = range(arguments.seeds)
    counts = sorted(set(arguments.clicks))
    sets = [load_set(name, arguments.pictures) for name in arguments.sets]
    try:
        predictors = {path.stem: load(path, arguments.device) for path in arguments.weights}
        if arguments.replay:
            sequences = load_sequences(arguments.replay)
        else:
            sequences = draw_clicks(sets, seeds, max(counts))
        results = evaluate(
            predictors,
            sets,
            sequences,
            seeds,
            counts,
            bootstrap=arguments.bootstrap,
            threshold=arguments.threshold,
        )
    except (OSError, ValueError, WeightsError) as error:
        parser.exit(1, f"{error}\n")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")
    save_sequences(arguments.out.with_suffix(".clicks.json"), sequences)
    print(table(results))
    if arguments.plot:
        plot(results, arguments.plot)
    if arguments.card:
        weights = arguments.weights[0]
        save_card(weights, replace(read_card(weights), results=card_results(results)))


if __name__ == "__main__":
    main()

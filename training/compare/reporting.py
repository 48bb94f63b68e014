"""Brings what was measured of all rows of a comparison together in one report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c3det.closed.presets import Stages
from training.compare.planning import BASE, Experiment, Row
from training.evaluation.evaluator import SUBSETS, difference
from training.evaluation.reporting import Curve, Panel, StudyReport, to_curve

TITLES = {
    "variants": "The paper's variants",
    "ablations": "Changed settings of C3Det",
    "data": "How much data fine-tuning needs",
}


def collect(experiment: Experiment, command: str) -> StudyReport:
    """The report of an experiment of which all rows were evaluated.

    There is a panel for each set, kind of detector and subset.

    The differences are from the first row of the panel, if it is `BASE`, with intervals by a
    bootstrap over the pictures, the weights taken as they are. The plain detector is the
    passthrough: it takes no clicks, and the boxes of the clicks are put into its output.

    Raises:
        ValueError: Two rows were measured with other clicks.
    """
    _check_same_clicks(experiment)
    how = experiment.settings
    measured = [
        [
            json.loads(experiment.evaluation(row, seed, ".raw.json").read_text())
            for seed in experiment.seeds
        ]
        for row in experiment.rows
    ]
    first = measured[0][0]
    phase = f"{how.plain_iterations} steps without clicks, shared, then "
    return StudyReport(
        TITLES[how.study],
        "AP at IoU 0.5, percent, as served, after so many clicks a patch and as the area under the "
        f"curve: means of {how.seeds} training and {how.click_seeds} click seeds. Trained on "
        f"{', '.join(how.sets)}: {phase if experiment.shared else ''}{how.iterations} steps a row.",
        [command],
        first["machine"],
        {
            row.key(seed): next(iter(one["models"].values()))["sha256"]
            for row, results in zip(experiment.rows, measured, strict=True)
            for seed, one in zip(experiment.seeds, results, strict=True)
        },
        experiment.counts,
        [
            Panel(
                f"{test_set} ({about['pictures']} pictures), {stages}: {subset}",
                list(_curves(experiment, measured, test_set, stages, subset)),
            )
            for test_set, about in first["sets"].items()
            for stages in dict.fromkeys(row.stages for row in experiment.rows)
            for subset in SUBSETS
        ],
    )


def _check_same_clicks(experiment: Experiment) -> None:
    contents = {
        experiment.evaluation(row, seed, ".clicks.json").read_bytes()
        for row in experiment.rows
        for seed in experiment.seeds
    }
    if len(contents) > 1:
        raise ValueError(
            f"the rows in {experiment.settings.out / 'evaluations'} were measured with other "
            "clicks: delete that folder and start again"
        )


def _curves(
    experiment: Experiment,
    measured: Sequence[Sequence[Mapping[str, Any]]],
    test_set: str,
    stages: Stages,
    subset: str,
) -> Iterator[Curve]:
    rows = [
        (row, [next(iter(one["models"].values()))["sets"][test_set] for one in results])
        for row, results in zip(experiment.rows, measured, strict=True)
        if row.stages == stages
    ]
    first = rows[0][0]
    base = _samples(experiment, first, test_set, subset)
    for row, models in rows:
        minus = None
        if first.name == BASE and row != first:
            minus = difference(_samples(experiment, row, test_set, subset) - base)
        # A detector without clicks is served with the boxes of the clicks put in.
        name = f"{row.name}, passthrough" if row.is_plain else row.name
        yield to_curve(name, _joined([one["served"][subset]["ap50"] for one in models]), minus)


def _samples(experiment: Experiment, row: Row, test_set: str, subset: str) -> NDArray[np.float64]:
    """float64 (numbers of clicks, 1 + resamples), means over the training seeds."""
    found = []
    for seed in experiment.seeds:
        with np.load(experiment.evaluation(row, seed, ".npz")) as arrays:
            found.append(arrays[f"{test_set}/{row.key(seed)}/served/{subset}"])
    mean: NDArray[np.float64] = np.mean(found, axis=0)
    return mean


def _joined(curves: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The curve of all training seeds together."""

    def point(points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        known = [one["mean"] for one in points if one["mean"] is not None]
        return dict(
            mean=float(np.mean(known)) if known else None,
            seeds=[value for one in points for value in one["seeds"]],
        )

    numbers = curves[0]["clicks"]
    return dict(
        clicks={number: point([one["clicks"][number] for one in curves]) for number in numbers},
        area=point([one["area"] for one in curves]),
    )

"""What wrong and clever clicks do: ``python -m training.robustness --weights W --out R``.

Each condition is a click strategy that differs from ``uniform`` in one thing: where in the box the
click falls, how far it misses, how often it names a wrong class, how often it says "nothing here"
instead, or that it goes to what the model got wrong. AP at IoU 0.5 of what is served, of all
objects and of the unclicked ones, and F1 at the served threshold; differences are from ``uniform``,
with a bootstrap over the pictures.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from c3det.commands import command
from c3det.predictor import Predictor
from training.clicks.sampling import parse_strategy
from training.evaluation.evaluator import (
    PrecisionCurves,
    at_threshold,
    describe,
    difference,
    machine,
    precision_curves,
)
from training.evaluation.predictions import predict
from training.evaluation.protocol import ClickPlan, EvaluationSet, draw_clicks, resamples_of
from training.evaluation.reporting import Curve, Panel, StudyReport, Table, rounded, to_curve
from training.evaluation.settings import ClosedSettings, EvaluationSettings
from training.options import add_options, command_parser, input_errors, option, read_options

BASELINE = "uniform"
GROUPS = {
    "place": {
        "centre": "centre",
        "in the box": "in-box",
        **{f"{px} px off": f"jitter,jitter_px={px}" for px in (2, 4, 8)},
    },
    "wrong class": {
        f"{p:.0%} wrong class": f"wrong-class,wrong_class_probability={p}"
        for p in (0.05, 0.1, 0.2, 0.4)
    },
    "background": {
        f"{p:.0%} background": f"background,background_probability={p}" for p in (0.1, 0.3, 0.5)
    },
    "errors": {"errors": "errors"},
}
"""Specs of the conditions beside the baseline, by what they vary and by name."""

SUBSETS = ("all", "unclicked")


@dataclass(frozen=True, kw_only=True)
class RobustnessSettings(EvaluationSettings, ClosedSettings):
    """The options of this command."""

    seeds: int | None = option(3, "number of click seeds", metavar="N")
    clicks: tuple[int, ...] | None = option((0, 1, 3, 5, 10, 20), "numbers of clicks", metavar="N")


def robustness(
    predictors: Mapping[str, Predictor],
    test_sets: Sequence[EvaluationSet],
    plan: ClickPlan,
    *,
    bootstrap: int = 1000,
    threshold: float | None = None,
    command: str = "",
) -> StudyReport:
    """Measure predictors under every condition.

    Args:
        predictors: By name.
        test_sets: To measure on.
        plan: Of the clicks; its strategy is replaced.
        bootstrap: Resamples of the pictures.
        threshold: The served one; ``None``: each card's.
        command: The command line, for the report.

    Returns:
        A panel for each set, model, subset and group of conditions, and for each set and model a
        table of F1.

    Raises:
        ValueError: A predictor lacks a class that counts.
    """
    panels, tables = [], []
    counts = [str(number) for number in plan.counts]
    for test_set in test_sets:
        weights = resamples_of(test_set, bootstrap)
        for name, predictor in predictors.items():
            curves: dict[str, dict[str, Curve]] = {subset: {} for subset in SUBSETS}
            f1: list[Sequence[Any]] = []
            baseline: dict[str, PrecisionCurves] = {}
            specs = {key: spec for group in GROUPS.values() for key, spec in group.items()}
            for condition, spec in {BASELINE: BASELINE, **specs}.items():
                own = replace(plan, strategy=parse_strategy(spec))
                if own.strategy.wrong_class_probability and len(test_set.labels) == 1:
                    continue  # there is no wrong class to name
                sequences = None if own.strategy.sees_answers else draw_clicks([test_set], own)
                predictions = predict(
                    predictor, test_set, own, sequences, threshold=threshold, modes=["served"]
                )
                for subset in SUBSETS:
                    found = precision_curves(test_set, predictions, own, weights, "served", subset)
                    first = baseline.setdefault(subset, found)
                    minus = None if found is first else difference(found.means - first.means)
                    measured = describe(found, plan.counts, test_set)["ap50"]
                    curves[subset][condition] = to_curve(condition, measured, minus)
                shown = at_threshold(test_set, predictions, own, "served")["clicks"]
                f1.append((condition, *(rounded(shown[number]["f1"]) for number in counts)))
            panels += [
                Panel(
                    f"{name} on {test_set.name}, {subset}: {group}",
                    [curves[subset][key] for key in (BASELINE, *names) if key in curves[subset]],
                )
                for subset in SUBSETS
                for group, names in GROUPS.items()
            ]
            tables.append(Table(f"{name} on {test_set.name}: F1 of what is shown", counts, f1))
    return StudyReport(
        "Wrong and clever clicks",
        f"AP at IoU 0.5, percent, as served, after so many clicks a {plan.budget} and as the area "
        f"under the curve: means of {len(plan.seeds)} click seeds on "
        + ", ".join(f"{len(one.objects)} pictures of {one.name}" for one in test_sets)
        + ". Intervals are by a bootstrap over the pictures.",
        [command],
        machine(),
        {name: one.card.identity for name, one in predictors.items()},
        plan.counts,
        panels,
        tables,
        panels_per_row=len(GROUPS),
    )


@command("python -m training.robustness")
def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, and write the report."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = command_parser("training.robustness", __doc__)
    add_options(parser, RobustnessSettings)
    given = parser.parse_args(arguments)
    with input_errors(parser):
        settings = read_options(given, RobustnessSettings)
        report = robustness(
            settings.load_predictors(),
            settings.load_test_sets(),
            settings.plan(budget=settings.budget),
            bootstrap=settings.bootstrap,
            threshold=settings.threshold,
            command=f"{parser.prog} {shlex.join(arguments)}",
        )
    print(report.page(settings.out.with_suffix(".png").name))
    report.write(settings.out)


if __name__ == "__main__":
    main()

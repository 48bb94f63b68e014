"""What wrong and clever clicks do: ``python -m training.robustness --weights W --out R``.

Each condition is a click strategy that differs from ``uniform`` in one thing: where in the box the
click falls, how far it misses, how often it names a wrong class, how often it says "nothing here"
instead, or that it goes to what the model got wrong. AP at IoU 0.5 of what is served, of all
objects and of the unclicked ones, and F1 at the served threshold; differences are to ``uniform``,
with a bootstrap over the pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from c3det.commands import command, naming
from c3det.predictor import Predictor
from c3det.weights import WeightsError
from training.clicks.sampling import parse_strategy
from training.evaluate import add_plan_arguments, load_all
from training.evaluation.asking import ask
from training.evaluation.measures import interval, resamples
from training.evaluation.measuring import (
    Measured,
    at_threshold,
    describe,
    machine,
    measure,
    percent,
    percents,
)
from training.evaluation.protocol import Plan, TestSet, draw_clicks
from training.evaluation.reporting import Rows, block, draw_curve, finish_axes, write_json

CLICKS = (0, 1, 3, 5, 10, 20)
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

CONDITIONS = {BASELINE: BASELINE} | {
    name: spec for group in GROUPS.values() for name, spec in group.items()
}

PARTS = ("all", "unclicked")


def robustness(
    predictors: Mapping[str, Predictor],
    test_sets: Sequence[TestSet],
    plan: Plan,
    *,
    bootstrap: int = 1000,
    threshold: float | None = None,
) -> dict[str, Any]:
    """Measure predictors under every condition.

    Args:
        predictors: By name.
        test_sets: To measure on.
        plan: Of the clicks; its strategy is replaced.
        bootstrap: Resamples of the pictures.
        threshold: The served one; ``None``: each card's.

    Returns:
        Results fit for JSON: by model, set and condition the strategy, AP by part as
        `training.evaluation.measuring.describe` writes it, ``at_threshold``, and ``minus_uniform``,
        by part and number of clicks the difference of ``ap50`` with its interval.

    Raises:
        ValueError: A predictor lacks a class that counts.
    """
    results: dict[str, Any] = {
        "clicks": list(plan.counts),
        "seeds": list(plan.seeds),
        "budget": plan.budget,
        "bootstrap": bootstrap,
        "machine": machine(),
        "models": {
            name: {"sha256": one.card.identity, "sets": {}} for name, one in predictors.items()
        },
    }
    for test_set in test_sets:
        weights = resamples(len(test_set.objects), bootstrap)
        for name, predictor in predictors.items():
            conditions = results["models"][name]["sets"][test_set.name] = {}
            baseline: dict[str, Measured] = {}
            for condition, spec in CONDITIONS.items():
                own = replace(plan, strategy=parse_strategy(spec))
                if own.strategy.wrong_class_probability and len(test_set.labels) == 1:
                    continue  # there is no wrong class to name
                sequences = None if own.strategy.sees_answers else draw_clicks([test_set], own)
                answers = ask(
                    predictor, test_set, own, sequences, threshold=threshold, modes=["served"]
                )
                measured = {
                    part: measure(test_set, answers, own, weights, "served", part) for part in PARTS
                }
                baseline = baseline or measured
                conditions[condition] = {
                    "strategy": asdict(own.strategy),
                    **{part: describe(measured[part], plan.counts, test_set) for part in PARTS},
                    "at_threshold": at_threshold(test_set, answers, own, "served"),
                    f"minus_{BASELINE}": {
                        part: _minus(measured[part], baseline[part], plan) for part in PARTS
                    },
                }
    return results


def _minus(measured: Measured, baseline: Measured, plan: Plan) -> dict[str, Any]:
    return {
        str(number): {
            "ap50": percent(difference[0]),
            "interval": percents(interval(difference[1:])),
        }
        for number, difference in zip(plan.counts, measured.means - baseline.means, strict=True)
    }


def table(results: Mapping[str, Any]) -> str:
    """Lay results out for a terminal: AP, and at the most clicks what it differs by, and F1."""
    counts = [str(number) for number in results["clicks"]]
    most = counts[-1]
    lines = []
    for model, content in results["models"].items():
        for test_set, conditions in content["sets"].items():
            for part in PARTS:
                rows: Rows = []
                for condition, one in conditions.items():
                    curve = one[part]["ap50"]
                    means = [curve["clicks"][number]["mean"] for number in counts]
                    minus = one[f"minus_{BASELINE}"][part][most]
                    numbers = [*means, curve["area"]["mean"], minus["ap50"], *minus["interval"]]
                    rows.append((condition, numbers))
                heading = (
                    f"{model} on {test_set}, {part}: AP at IoU 0.5 by clicks, %, its area, and at "
                    f"{most} clicks the difference to {BASELINE} with its 95 % interval"
                )
                lines += block(heading, [*counts, "area", "diff", "from", "to"], rows)
            rows = [
                (
                    condition,
                    [one["at_threshold"]["clicks"][number]["f1"] for number in counts],
                )
                for condition, one in conditions.items()
            ]
            lines += block(f"{model} on {test_set}: F1 at the served threshold, %", counts, rows)
    return "\n".join(lines)


def plot(results: Mapping[str, Any], path: Path) -> None:
    """Draw AP of all objects by clicks: a row a model and set, a column a group of conditions."""
    rows = [
        (model, test_set, conditions)
        for model, content in results["models"].items()
        for test_set, conditions in content["sets"].items()
    ]
    figure = Figure(figsize=(4.5 * len(GROUPS), 4 * len(rows)), layout="constrained")
    figure.suptitle(f"mean and range of {len(results['seeds'])} click seeds")
    panels = figure.subplots(len(rows), len(GROUPS), squeeze=False, sharey="row")
    for row, (model, test_set, conditions) in zip(panels, rows, strict=True):
        for axes, (group, specs) in zip(row, GROUPS.items(), strict=True):
            shown = [condition for condition in (BASELINE, *specs) if condition in conditions]
            for number, condition in enumerate(shown):
                curve = conditions[condition]["all"]["ap50"]["clicks"]
                draw_curve(axes, curve, condition, f"C{number}")
            finish_axes(axes, f"{model}, {test_set}, all: {group}", results)
    with naming(path):
        figure.savefig(path, dpi=120)


@command("python -m training.robustness")
def main() -> None:
    """Read the command line, measure, and write the report."""
    parser = argparse.ArgumentParser(
        prog="python -m training.robustness",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_plan_arguments(parser, 3, CLICKS)
    arguments = parser.parse_args()
    try:
        plan = Plan(
            seeds=tuple(range(arguments.seeds)),
            counts=tuple(sorted(set(arguments.clicks))),
            budget=arguments.budget,
        )
        predictors, test_sets = load_all(arguments)
        results = robustness(
            predictors,
            test_sets,
            plan,
            bootstrap=arguments.bootstrap,
            threshold=arguments.threshold,
        )
    except (ValueError, WeightsError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    print(table(results))  # it took long: whatever happens to the files
    write_json(results, arguments.out)
    if arguments.plot:
        plot(results, arguments.plot)


if __name__ == "__main__":
    main()

"""Evaluate weights after 0, 1, 2, ... clicks: ``python -m training.evaluate --weights W --out R``.

Of the closed model: AP at IoU 0.5 and 0.5:0.95 and VOC07's, of all objects, the unclicked ones, and
those of classes that no click on the picture has named; precision, recall and F1 of what is shown,
and the clicks that it takes to reach an F1 of 0.8 and 0.9; the passthrough of the first weights,
and seconds a click. See `training.evaluation.predictions` and `training.evaluation.evaluator`. The
clicks are written beside the results, and ``--replay`` takes them from there, so that other models
get the same ones. A strategy that clicks the errors of the model writes them by model.

Of the open model: AP at IoU 0.5 and F1 by clicks a class, on own sets and on those of
`training.open.test_sets`; see `training.open.evaluate`.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from c3det.commands import command
from c3det.open.architecture import OpenArchitecture
from c3det.weights import WeightsError, card_path, read_card, save_card
from training.clicks.sampling import parse_strategy
from training.clicks.sequences import load_sequences, save_sequences
from training.evaluation.evaluator import evaluate
from training.evaluation.reporting import write_json
from training.evaluation.settings import ClosedSettings, EvaluationSettings, named_weights
from training.evaluation.summary import evaluation_report
from training.open.evaluate import OpenSettings, evaluate_open
from training.options import (
    add_options,
    command_parser,
    given_options,
    input_errors,
    option,
    read_options,
)


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(EvaluationSettings):
    """What is measured, and where all detections go."""

    detections: Path | None = option(None, "folder for all detections, COCO results")


@dataclass(frozen=True, kw_only=True)
class ClosedEvaluateSettings(ClosedSettings):
    """The options of this command for the closed model."""

    strategy: str = option(
        "uniform", "who clicks: NAME or NAME,FIELD=VALUE,..., see training.clicks.sampling"
    )
    replay: Path | None = option(None, "clicks of an earlier run, *.clicks.json")
    passthrough: bool = option(True, "measure the passthrough of the first weights, too")
    raw: Path | None = option(None, "JSON file of all numbers, each seed and class by itself")
    samples: Path | None = option(None, "file of the resamples behind the intervals, *.npz")
    card: bool = option(False, "write the report into the first weights' card")


def is_open(weights: Path) -> bool:
    """Whether weights are the open model's, which training writes without a card."""
    if weights.is_file() and not card_path(weights).is_file():
        return True
    try:
        return isinstance(read_card(weights).architecture, OpenArchitecture)
    except WeightsError:  # they are read, and refused, later
        return False


def of_open_model(given: argparse.Namespace) -> bool:
    """Whether a command line evaluates the open model.

    Raises:
        ValueError: It has weights of both models, or an option of the other one.
    """
    models: dict[bool, Path] = {}
    for argument in given.weights:
        (path,) = named_weights([argument]).values()
        models.setdefault(is_open(path), path)
    if len(models) > 1:
        raise ValueError(
            f"{models[True]} is of the open model and {models[False]} of the closed one: evaluate "
            "them one after the other"
        )
    (found,) = models
    mine, other = ("open", "closed") if found else ("closed", "open")
    if misplaced := given_options(given, ClosedEvaluateSettings if found else OpenSettings):
        raise ValueError(
            f"{misplaced[0]} is for the {other} model, but {models[found]} is of the {mine} one: "
            "leave it out"
        )
    return found


@command("python -m training.evaluate")
def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, and write the results."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = command_parser("training.evaluate", __doc__)
    add_options(parser, EvaluateSettings)
    add_options(parser.add_argument_group("of the closed model alone"), ClosedEvaluateSettings)
    add_options(parser.add_argument_group("of the open model alone"), OpenSettings)
    given = parser.parse_args(arguments)
    text = f"{parser.prog} {shlex.join(arguments)}"
    with input_errors(parser):
        settings = read_options(given, EvaluateSettings)
        if of_open_model(given):
            options = read_options(given, OpenSettings)
            evaluate_open(settings, options, settings.detections, text)
        else:
            evaluate_closed(settings, read_options(given, ClosedEvaluateSettings), text)


def evaluate_closed(settings: EvaluateSettings, options: ClosedEvaluateSettings, text: str) -> None:
    """Measure weights of the closed model, and write the results.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: Weights, sets and clicks do not fit each other.
        c3det.weights.WeightsError: Weights cannot be used.
    """
    plan = settings.plan(strategy=parse_strategy(options.strategy), budget=options.budget)
    predictors = settings.load_predictors()
    results, clicks = evaluate(
        predictors,
        settings.load_test_sets(),
        plan,
        load_sequences(options.replay) if options.replay else None,
        passthrough=list(predictors)[:1] if options.passthrough else [],
        bootstrap=options.bootstrap,
        threshold=settings.threshold,
        detections=settings.detections,
        samples=options.samples,
    )
    report = evaluation_report(results, f"Evaluation of {', '.join(predictors)}", text)
    out = settings.out
    print(report.page(out.with_suffix(".png").name))  # it took long: whatever happens to the files
    report.write(out)
    if options.raw:
        write_json(results, options.raw)
    if plan.strategy.sees_answers and not options.replay:
        for name, sequences in clicks.items():
            save_sequences(out.with_suffix(f".{name}.clicks.json"), sequences)
    else:
        shared = {key: one for sequences in clicks.values() for key, one in sequences.items()}
        save_sequences(out.with_suffix(".clicks.json"), shared)
    if options.card:
        path = next(iter(named_weights(settings.weights).values()))
        save_card(path, replace(read_card(path), results=asdict(report)))


if __name__ == "__main__":
    main()

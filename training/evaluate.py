"""Evaluate weights after 0, 1, 2, ... clicks: ``python -m training.evaluate --weights W --out R``.

AP at IoU 0.5 and 0.5:0.95 and VOC07's, of all objects, the unclicked ones, and those of classes
that no click on the picture has named; precision, recall and F1 of what is shown, and the clicks
that it takes to reach an F1 of 0.8 and 0.9; the passthrough of the first weights, and seconds a
click. See `training.evaluation.predictions` and `training.evaluation.evaluator`.

The clicks are written beside the results, and ``--replay`` takes them from there, so that other
models get the same ones. A strategy that clicks the errors of the model writes them by model.

Weights of the open model are evaluated by ``training.open.evaluate``, which has other options.
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
from c3det.weights import WeightsError, read_card, save_card
from training.clicks.sampling import parse_strategy
from training.clicks.sequences import load_sequences, save_sequences
from training.evaluation.evaluator import evaluate
from training.evaluation.reporting import write_json
from training.evaluation.settings import EvaluationSettings, named_weights
from training.evaluation.summary import evaluation_report
from training.open import evaluate as open_model
from training.options import add_options, option, read_options


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(EvaluationSettings):
    """The options of this command alone."""

    strategy: str = option(
        "uniform", "who clicks: NAME or NAME,FIELD=VALUE,..., see training.clicks.sampling"
    )
    replay: Path | None = option(None, "clicks of an earlier run, *.clicks.json")
    passthrough: bool = option(True, "measure the passthrough of the first weights, too")
    raw: Path | None = option(None, "JSON file of all numbers, each seed and class by itself")
    detections: Path | None = option(None, "folder for all detections, COCO results")
    samples: Path | None = option(None, "file of the resamples behind the intervals, *.npz")
    card: bool = option(False, "write the report into the first weights' card")


def of_open_model(arguments: Sequence[str]) -> bool:
    """Whether the first weights of a command line are the open model's."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--weights", nargs="+", default=[])
    names = parser.parse_known_args(arguments)[0].weights
    if not names:
        return False
    try:
        (path, *_) = named_weights(names[:1]).values()
        return isinstance(read_card(path).architecture, OpenArchitecture)
    except (ValueError, WeightsError):
        return False


@command("python -m training.evaluate")
def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, and write the results."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if of_open_model(arguments):
        open_model.main(arguments)
        return
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser, EvaluateSettings)
    given = parser.parse_args(arguments)
    try:
        settings = read_options(given, EvaluateSettings)
        plan = settings.plan(parse_strategy(settings.strategy))
        predictors = settings.load_predictors()
        results, clicks = evaluate(
            predictors,
            settings.load_test_sets(),
            plan,
            load_sequences(settings.replay) if settings.replay else None,
            passthrough=list(predictors)[:1] if settings.passthrough else [],
            bootstrap=settings.bootstrap,
            threshold=settings.threshold,
            detections=settings.detections,
            samples=settings.samples,
        )
    except (ValueError, WeightsError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    title = f"Evaluation of {', '.join(predictors)}"
    report = evaluation_report(results, title, f"{parser.prog} {shlex.join(arguments)}")
    out = settings.out
    print(report.page(out.with_suffix(".png").name))  # it took long: whatever happens to the files
    report.write(out)
    if settings.raw:
        write_json(results, settings.raw)
    if plan.strategy.sees_answers and not settings.replay:
        for name, sequences in clicks.items():
            save_sequences(out.with_suffix(f".{name}.clicks.json"), sequences)
    else:
        shared = {key: one for sequences in clicks.values() for key, one in sequences.items()}
        save_sequences(out.with_suffix(".clicks.json"), shared)
    if settings.card:
        path = next(iter(named_weights(settings.weights).values()))
        save_card(path, replace(read_card(path), results=asdict(report)))


if __name__ == "__main__":
    main()

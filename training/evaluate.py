"""Measure weights after 0, 1, 2, ... clicks: ``python -m training.evaluate --weights W --out R``.

AP at IoU 0.5 and 0.5:0.95 and VOC07's, of all objects, the unclicked ones, and those of classes
that no click on the picture has named; precision, recall and F1 of what is shown, and the clicks
that it takes to reach an F1 of 0.8 and 0.9; the control that pastes the clicks into the output of a
model that is told of none; and seconds a click. See `training.evaluation.asking` and
`training.evaluation.measuring`.

The clicks are written beside the results, and ``--replay`` takes them from there, so that other
models answer the same ones. A strategy that clicks the errors of the model writes them by model.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np

from c3det.commands import command
from c3det.predictor import Predictor, load
from c3det.weights import WeightsError, read_card, save_card
from training.clicks.sampling import parse_strategy
from training.clicks.sequences import load_sequences, save_sequences
from training.data.annotated import Annotated, first_repeated
from training.evaluation.asking import ask
from training.evaluation.measures import count, match
from training.evaluation.measuring import evaluate
from training.evaluation.protocol import CLICKS, Budget, Plan, TestSet, draw_clicks, load_test_set
from training.evaluation.reporting import card_results, plot, table, write_json


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
            "into val.json (training.data.convert --split), or name a threshold (--score-threshold)"
        )
    labels = tuple(range(len(predictor.classes)))
    test_set = TestSet("validation", tuple(predictor.classes), labels, pictures)
    plan = Plan(seeds=(seed,), counts=(clicks,))
    sequences = draw_clicks([test_set], plan)
    answers = ask(predictor, test_set, plan, sequences, modes=["served"])
    (matches,) = match(test_set.objects, answers.detections["served", seed, clicks], labels)
    thresholds = np.arange(5, 96) / 100
    f1 = [count(matches, threshold).total().f1.item() for threshold in thresholds]
    return float(thresholds[np.argmax(f1)])


def named_weights(arguments: Sequence[str]) -> dict[str, Path]:
    """Read ``NAME=PATH`` or ``PATH``, whose name is the file's without its suffix.

    Raises:
        ValueError: Two have one name, or a name would not do as the name of a folder.
    """
    weights: dict[str, Path] = {}
    for argument in arguments:
        name, separator, path = argument.partition("=")
        # A folder may be called year=2024.
        if not separator or Path(argument).is_file():
            name, path = Path(argument).stem, argument
        if not name or "/" in name:
            raise ValueError(f"{argument!r}: {name!r} is not a name for weights")
        if name in weights:
            raise ValueError(f"two weights have the name {name}: tell them apart as NAME=PATH")
        weights[name] = Path(path)
    return weights


def add_plan_arguments(parser: argparse.ArgumentParser, seeds: int, clicks: Sequence[int]) -> None:
    """Add the arguments that this command shares with `training.robustness`."""
    parser.add_argument(
        "--weights",
        nargs="+",
        required=True,
        action="extend",
        metavar="[NAME=]PATH",
        help=".safetensors files; by default named as the file",
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file of the results")
    parser.add_argument(
        "--sets",
        nargs="+",
        default=["rendered", "trees"],
        metavar="SET",
        help="rendered, trees, composite, or a folder that training.data.convert made",
    )
    parser.add_argument("--seeds", type=int, default=seeds, help="number of click seeds")
    parser.add_argument("--clicks", type=int, nargs="+", default=clicks, metavar="N")
    parser.add_argument(
        "--budget",
        choices=get_args(Budget),
        default="patch",
        help="what gets so many clicks: each patch, or each picture, spread over its patches",
    )
    parser.add_argument("--pictures", type=int, help="only the first ones of each set")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bootstrap", type=int, default=1000, help="resamples of the pictures")
    parser.add_argument("--threshold", type=float, help="the served one; by default the cards'")
    parser.add_argument("--plot", type=Path, help="picture of the curves, *.png")


def load_all(arguments: argparse.Namespace) -> tuple[dict[str, Predictor], list[TestSet]]:
    """Load the weights and the sets that the command line names.

    Raises:
        OSError: A file cannot be read.
        ValueError: A name or a file is wrong.
        c3det.weights.WeightsError: Weights cannot be used.
    """
    predictors = {
        name: load(path, arguments.device)
        for name, path in named_weights(arguments.weights).items()
    }
    test_sets = [load_test_set(spec, arguments.pictures) for spec in arguments.sets]
    if repeated := first_repeated(test_set.name for test_set in test_sets):
        raise ValueError(f"two sets have the name {repeated}")
    return predictors, test_sets


@command("python -m training.evaluate")
def main() -> None:
    """Read the command line, measure, and write the results."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_plan_arguments(parser, 5, CLICKS)
    parser.add_argument(
        "--strategy",
        default="uniform",
        help="who clicks: NAME or NAME,FIELD=VALUE,..., see training.clicks.sampling",
    )
    parser.add_argument("--replay", type=Path, help="clicks of an earlier run, *.clicks.json")
    parser.add_argument(
        "--passthrough",
        nargs="*",
        metavar="NAME",
        help="weights of which the control with pasted clicks is measured; by default the first",
    )
    parser.add_argument("--detections", type=Path, help="folder for all detections, COCO results")
    parser.add_argument(
        "--samples", type=Path, help="file of the resamples behind the intervals, *.npz"
    )
    parser.add_argument(
        "--card", action="store_true", help="write the summary into the first weights' card"
    )
    arguments = parser.parse_args()
    try:
        plan = Plan(
            parse_strategy(arguments.strategy),
            tuple(range(arguments.seeds)),
            tuple(sorted(set(arguments.clicks))),
            arguments.budget,
        )
        predictors, test_sets = load_all(arguments)
        passthrough = arguments.passthrough
        if passthrough is None:
            passthrough = list(predictors)[:1]
        for name in passthrough:
            if name not in predictors:
                raise ValueError(f"--passthrough: there are no weights {name!r}")
        results, given = evaluate(
            predictors,
            test_sets,
            plan,
            load_sequences(arguments.replay) if arguments.replay else None,
            passthrough=passthrough,
            bootstrap=arguments.bootstrap,
            threshold=arguments.threshold,
            detections=arguments.detections,
            samples=arguments.samples,
        )
    except (ValueError, WeightsError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    print(table(results))  # it took long: whatever happens to the files
    write_json(results, arguments.out)
    if plan.strategy.sees_answers and not arguments.replay:
        for name, sequences in given.items():
            save_sequences(arguments.out.with_suffix(f".{name}.clicks.json"), sequences)
    else:
        shared = {key: one for sequences in given.values() for key, one in sequences.items()}
        save_sequences(arguments.out.with_suffix(".clicks.json"), shared)
    if arguments.plot:
        plot(results, arguments.plot)
    if arguments.card:
        weights = next(iter(named_weights(arguments.weights).values()))
        save_card(weights, replace(read_card(weights), results=card_results(results)))


if __name__ == "__main__":
    main()

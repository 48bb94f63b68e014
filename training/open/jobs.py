"""What a job gains when what was clicked in one picture is known in the next ones.

    python -m training.open.jobs --weights fold0.safetensors fold1.safetensors --out FILE.json

The sets are those of `training.evaluate` with two test pictures or more, and so are the weights:
one file for each fold, or a single one. Each picture is encoded once for all that is
measured. Next to the JSON file a Markdown table and a plot are written.

- **Transfer**: 1, 3 and 5 clicks a class on the first picture, none on the others, beside as many
  on each, see `training.open.transfer`. The ratio is the AP of exemplars over that of own clicks.
- **Economy**: seconds by hand over seconds assisted until all pictures are right, see
  `training.open.economy`; measured again with nothing carried from picture to picture ("alone").
- **Adapting**, with ``--adapt``: the model is fitted to the first 1, 3 and 10 pictures as
  `training.adapt` does it, in so many minutes. Transfer with three clicks a class is measured on
  the pictures after these, before and after. Where the fit gained nothing on what it kept aside,
  the weights stay.
"""

from __future__ import annotations

import shlex
import sys
import time
from dataclasses import MISSING, asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from c3det.commands import at_least, command, positive
from c3det.exemplars import Exemplars
from c3det.open.detector import OpenDetector
from c3det.open.model import OpenModel
from c3det.predictor import Predictor
from c3det.weights import Card
from training.evaluation.protocol import EvaluationSet
from training.open import test_sets
from training.open.adapt import AdaptSettings, fit
from training.open.clicking import members
from training.open.economy import STUDY, Annotator
from training.open.encoded import EncodedPicture
from training.open.jobs_report import ACCEPTED, JobsReport
from training.open.reporting import MAIN_COUNT
from training.open.splitting import split_pictures
from training.open.transfer import Rows, Transfer
from training.open.weights import THRESHOLD, check_folds, load, weights_of
from training.options import add_options, command_parser, input_errors, option, read_options

COUNTS = (1, MAIN_COUNT, 5)
"""Clicks a class in the first picture."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobSettings:
    """What is measured; each field is an option of the command line."""

    weights: tuple[Path, ...] = option(MISSING, "files, one, or one a fold")
    out: Path = option(MISSING, "JSON file of the report; its page and figure lie beside")
    sets: tuple[str, ...] | None = option(
        None, "sets of training.open.test_sets, or folders (default: all of these)", metavar="SET"
    )
    pictures: int = option(20, "of a job: the first ones of each set, at most", parse=at_least(2))
    seeds: int = option(2, "of random clicks", parse=at_least(1))
    threshold: float | None = option(
        None,
        f"of the boxes shown at first (default: the card's; without a card {THRESHOLD})",
        parse=positive,
    )
    adapt: float | None = option(
        None, "measure adapting, too, in so many minutes", parse=positive, metavar="MINUTES"
    )


def measure(
    network: OpenDetector, card: Card, test_set: EvaluationSet, settings: JobSettings
) -> dict[str, Any]:
    """The results of a set."""
    threshold = card.score_threshold if settings.threshold is None else settings.threshold
    model = OpenModel(network)
    predictor = Predictor(model, card)
    names = test_set.classes
    none = Exemplars.none(card.tensors, model.numbers, names)
    transfer = Transfer(names, COUNTS, settings.seeds)
    annotators = {
        "carried": Annotator(names, threshold, none),
        "alone": Annotator(names, threshold, none, carries=False),
    }
    pictures = tqdm(test_set.pictures, desc=test_set.name, unit="picture", disable=None)
    for place, picture in enumerate(pictures):
        encoded = EncodedPicture(predictor, test_set.counted(picture))
        transfer.add(place, encoded)
        for annotator in annotators.values():
            annotator.annotate(encoded)
    result = {
        "kind": test_set.kind,
        "multi": test_set.is_multi_class,
        "pictures": len(test_set.pictures),
        "transfer": transfer.rows(),
        "economy": {way: one.work.to_json() for way, one in annotators.items()},
    }
    if settings.adapt is not None:
        fit_settings = AdaptSettings(minutes=settings.adapt)
        result["adapt"] = adapted(network, card, test_set, transfer, fit_settings, settings.seeds)
    return result


def adapted(
    network: OpenDetector,
    card: Card,
    test_set: EvaluationSet,
    transfer: Transfer,
    settings: AdaptSettings,
    seeds: int,
) -> dict[str, Any]:
    """Transfer before and after fitting to so many pictures, None where they are too few."""
    pictures = [test_set.counted(one) for one in test_set.pictures]
    first = next(place for place, one in enumerate(pictures) if members(one))
    results: dict[str, Any] = {}
    for number in ACCEPTED:
        results[str(number)] = None
        if number >= len(pictures):
            continue
        try:
            split = split_pictures(pictures[:number])
        except ValueError:  # too few objects
            continue
        fitted = fit(network, split, settings)
        before: Rows = transfer.rows(number)
        after = before
        if fitted.gained:
            predictor = Predictor(OpenModel(fitted.network), card)
            again = Transfer(test_set.classes, (MAIN_COUNT,), seeds)
            for place in (first, *range(number, len(pictures))):
                again.add(place, EncodedPicture(predictor, pictures[place]))
            after = again.rows(number)
        results[str(number)] = {
            "before": before[str(MAIN_COUNT)],
            "after": after[str(MAIN_COUNT)],
            "gained": fitted.gained,
        }
    return results


@command("training.open.jobs")
def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = command_parser("training.open.jobs", __doc__)
    add_options(parser, JobSettings)
    given = parser.parse_args(arguments)
    results: dict[str, dict[str, Any]] = {}
    with input_errors(parser):
        settings = read_options(given, JobSettings)
        check_folds(settings.weights)
        for spec in test_sets.chosen(settings.sets):
            network, card = load(weights_of(spec, settings.weights))
            test_set = test_sets.load(spec, settings.pictures)
            if len(test_set.pictures) < 2:
                print(f"{spec}: left out, it has a single picture", flush=True)
                continue
            started = time.monotonic()
            measured = measure(network, card, test_set, settings)
            results[test_set.name] = measured
            ratio = measured["economy"]["carried"]["ratio"]
            print(f"{spec}: {ratio} times faster, {time.monotonic() - started:.0f} s", flush=True)
            # Written after each set, so that what was measured is not lost.
            JobsReport(
                commands=[f"{parser.prog} {shlex.join(arguments)}"],
                weights=[path.name for path in settings.weights],
                threshold=settings.threshold,
                seeds=settings.seeds,
                study=asdict(STUDY),
                counts=COUNTS,
                sets=results,
            ).write(settings.out)
        if not results:
            raise ValueError("no set has two pictures: choose others with --sets")


if __name__ == "__main__":
    main()

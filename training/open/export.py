"""Makes weights with a card of what the open model's training has written.

    python -m training.open.export --run runs/open --out open.safetensors
    python -m training.open.export --weights model.safetensors --out open.safetensors

The score from which on boxes are shown is the one of the best F1 after three random clicks a class,
the mean over the real sets that were trained on, on the first of their other pictures; or
``--threshold``. What is written is loaded as the function does it before it is put into place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from c3det.commands import command
from c3det.open.architecture import OpenArchitecture
from c3det.open.detector import OpenDetector
from c3det.open.model import fill
from c3det.predictor import Predictor, load
from c3det.weights import Card, save, save_card
from training.data import real_sets
from training.evaluation import metrics
from training.evaluation.protocol import EvaluationSet
from training.open import test_sets
from training.open.clicking import click_at_random, members
from training.open.records import RECORD, read_record, trained_sets
from training.open.reporting import MAIN_COUNT
from training.open.train import save_weights
from training.options import add_options, command_parser, input_errors, option, read_options
from training.weights_files import ExportSettings, read_tensors, without_folders, written_whole

THRESHOLDS = np.arange(0.05, 0.8, 0.01).round(2)

PICTURES = 3
"""Of each set, for the threshold."""

MODEL = "model.safetensors"
"""What a run writes, beside its record."""


def sets_of(run: Path, training: Mapping[str, Any]) -> list[real_sets.RealSet]:
    """The real sets that a run and those before it were trained on.

    Args:
        run: Its folder.
        training: Its record.

    Raises:
        ValueError: The registry has none of such a name.
    """
    known, names = real_sets.real_sets(), sorted(trained_sets(training))
    for name in names:
        if name not in known:
            raise ValueError(
                f"{run / RECORD} names the real set {name}, which training/data/real_sets.yaml has "
                "not: its licence is not known"
            )
    return [known[name] for name in names]


def inherited(training: Mapping[str, Any]) -> dict[str, str]:
    """The licences in the cards of weights that a run and those before it started from."""
    origin = training.get("origin", {})
    return (inherited(origin) | origin.get("licence", {})) if origin else {}


def licences(sets: Sequence[real_sets.RealSet]) -> dict[str, str]:
    """Of the weights, and of each set that they were trained on, with the attribution."""
    found = {
        "weights": "Apache-2.0",
        "initial backbone": "torchvision's ImageNet weights, BSD-3-Clause",
    }
    for one in sets:
        found[f"pictures of {one.name}"] = f"{one.licence}; {one.attribution}; {one.repository}"
    return found


def threshold_of_best_mean_f1(predictor: Predictor, sets: Sequence[EvaluationSet]) -> float:
    """The score of the best mean over sets of the F1 of unclicked objects, three clicks a class.

    Raises:
        ValueError: There is no object to be found.
    """
    curves = []
    for one in sets:
        shown, found = [], []
        for place, picture in enumerate(one.pictures):
            (state,) = click_at_random(picture, (MAIN_COUNT,), place)
            features = predictor.encode(picture.image)
            boxes = predictor.detect(features, state.clicks, 0.0, answer_clicks=False)
            rest, boxes = metrics.unclicked(picture, boxes, state.objects)
            shown.append(rest)
            found.append(boxes)
        if not any((~picture.ignored).any() for picture in shown):
            continue
        labels = sorted({label for picture in one.pictures for label in members(picture)})
        matches = metrics.match(shown, found, labels)[0]
        curves.append(
            [float(metrics.count(matches, score).total().f1[0]) for score in THRESHOLDS.tolist()]
        )
    if not curves:
        raise ValueError("no set has an object beside the clicked ones: choose --threshold")
    return float(THRESHOLDS[np.mean(curves, 0).argmax()])


@dataclass(frozen=True, kw_only=True)
class OpenExportSettings(ExportSettings):
    """The options of this command."""

    run: Path | None = option(None, "folder that training.open.train filled")
    weights: Path | None = option(None, "a file of weights without a card, in place of a run")

    def __post_init__(self) -> None:
        ExportSettings.__post_init__(self)
        if (self.run is None) == (self.weights is None):
            raise ValueError("name a run (--run) or a file of weights (--weights), and not both")


def export(how: OpenExportSettings) -> Card:
    """Write weights and card.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: They are not the weights of an open detector.
        WeightsError: The card has a value that it cannot have.
        SourceError: There are no pictures to measure the threshold on.
    """
    training: dict[str, Any] = {}
    weights = how.weights
    if how.run is not None:
        training = read_record(how.run / RECORD)
        weights = how.run / MODEL
        sets = sets_of(how.run, training)
    else:  # it may have been any
        sets = [one for one in real_sets.real_sets().values() if one.trains]
    assert weights is not None
    network = OpenDetector()
    if not fill(network, read_tensors(weights)):
        raise ValueError(f"{weights} does not hold the weights of an open detector")
    card = Card(
        name=str(how.name),
        classes=(),
        architecture=OpenArchitecture(),
        score_threshold=how.threshold or 0.0,
        typical_sizes=(),
        training=without_folders(training),
        results={},
        licence=inherited(training) | licences(sets),
        limits=how.limits,
    )
    shown = [test_sets.load(one.name, PICTURES) for one in sets] if how.threshold is None else []
    return write(network, how.out, card, shown)


def write(
    network: OpenDetector, out: Path, card: Card, shown: Sequence[EvaluationSet] = ()
) -> Card:
    """Write weights in half precision and their card, loaded once before they are put into place.

    Args:
        network: Has the weights.
        out: The ``.safetensors`` file.
        card: Of the weights.
        shown: Sets that the threshold is measured on; without any it is the card's.

    Returns:
        The card as written.

    Raises:
        OSError: A file cannot be written.
        ValueError: There is nothing to measure the threshold on.
        WeightsError: The card has a value that it cannot have.
    """
    with written_whole(out) as made:
        save_weights(network, made)
        card = save(made, read_tensors(made), card)
        predictor = load(made)
        if shown:
            card = save_card(
                made, replace(card, score_threshold=threshold_of_best_mean_f1(predictor, shown))
            )
    return card


@command("python -m training.open.export")
def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and export."""
    parser = command_parser("training.open.export", __doc__)
    add_options(parser, OpenExportSettings)
    given = parser.parse_args(arguments)
    with input_errors(parser):
        how = read_options(given, OpenExportSettings)
        card = export(how)
    print(
        f"{how.out}: {how.out.stat().st_size / 1e6:.1f} MB, {asdict(card.architecture)}, "
        f"threshold {card.score_threshold}, sha256 {card.sha256}"
    )


if __name__ == "__main__":
    main()

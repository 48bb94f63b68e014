"""Weights of the open model, with a card or as training writes them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from c3det.open.architecture import OpenArchitecture
from c3det.open.detector import OpenDetector
from c3det.open.model import fill, load_network
from c3det.weights import Card, card_path, read_card
from training.data import real_sets
from training.open import test_sets
from training.open.records import record_of, trained_sets
from training.weights_files import read_tensors

THRESHOLD = 0.3
"""Score from which on boxes are shown, where there is no card."""


def load(weights: Path) -> tuple[OpenDetector, Card]:
    """The network of weights, and their card; one is made for weights as training writes them.

    Raises:
        ValueError: They are not those of an open detector.
        WeightsError: They do not go with their card.
        OSError: They cannot be read.
    """
    if card_path(weights).is_file():
        return load_with_card(weights)
    network = OpenDetector()
    if not fill(network, read_tensors(weights)):
        raise ValueError(
            f"{weights} has no card, and does not hold the weights of an open detector"
        )
    card = Card(
        name=weights.stem,
        classes=(),
        architecture=OpenArchitecture(),
        score_threshold=THRESHOLD,
        typical_sizes=(),
        training={},
        results={},
        licence={},
        tensors=hashlib.sha256(weights.read_bytes()).hexdigest(),
    )
    return network.eval(), card


def load_with_card(weights: Path) -> tuple[OpenDetector, Card]:
    """The network of weights with a card.

    Raises:
        WeightsError: They cannot be used.
    """
    card = read_card(weights)
    return load_network(weights, card), card


def check_folds(weights: Sequence[Path]) -> None:
    """Refuse the folds' weights in another order than that of the folds.

    What weights were trained on is known where they have a card, or the record of their run beside
    them.

    Raises:
        OSError: A file cannot be read.
        ValueError: Weights were trained on a kind that they are to be tested on.
        WeightsError: A card cannot be used.
    """
    if len(weights) < 2:
        return
    sets, folds = real_sets.real_sets(), real_sets.folds()
    for fold, path in enumerate(weights):
        for name in sorted(trained_sets(record_of(path))):
            if name in sets and folds.get(sets[name].kind) == fold:
                raise ValueError(
                    f"{path} was trained on {name}, which fold {fold} is tested on: give --weights "
                    "the files in the order of the folds"
                )


def weights_of(name: str, weights: Sequence[Path]) -> Path:
    """The weights that a set is tested by: a single file, or the one of its kind's fold.

    Raises:
        ValueError: There are neither one nor as many as there are folds, or no fold leaves out what
            the set shows.
    """
    if len(weights) == 1:
        return weights[0]
    folds = real_sets.folds()
    count = len(set(folds.values()))
    if len(weights) != count:
        raise ValueError(f"--weights needs one file, or {count}, one for each fold")
    if name not in test_sets.names():
        raise ValueError(
            f"no fold is known to leave out what {name} shows: give --weights one file"
        )
    return weights[folds[test_sets.kind_of(name)]]

"""Weights with a card, and as training writes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from c3det.weights import card_path
from tests.c3det.open.small import saved
from training.data.real_sets import folds
from training.open import test_sets
from training.open.weights import THRESHOLD, load, weights_of


def test_weights_without_a_card(tmp_path: Path) -> None:
    path = saved(tmp_path)
    assert load(path)[1].score_threshold == 0.1  # the card's
    card_path(path).unlink()
    network, card = load(path)
    assert (card.score_threshold, card.classes, len(card.tensors)) == (THRESHOLD, (), 64)
    assert not network.training
    state = load_file(path)
    state.pop(next(iter(state)))
    save_file(state, path)
    with pytest.raises(ValueError, match="does not hold the weights of an open detector"):
        load(path)


def test_weights_of_a_fold_never_saw_the_kind() -> None:
    paths = [Path("0"), Path("1")]
    for name in test_sets.names():
        assert weights_of(name, paths) == paths[folds()[test_sets.kind_of(name)]]
    assert weights_of("coins_ph", paths[:1]) == paths[0]
    with pytest.raises(ValueError, match="--weights needs one file, or 2"):
        weights_of("coins_ph", [*paths, Path("2")])
    with pytest.raises(ValueError, match="no fold is known to leave out what pollen shows"):
        weights_of("pollen", paths)

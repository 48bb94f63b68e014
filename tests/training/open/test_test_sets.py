"""Which sets the open model is tested on."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.data.real_sets import folds, real_sets
from training.open import test_sets
from training.open.weights import weights_of

ASIDE = sorted(name for name, one in real_sets().items() if one.kept_aside)


def test_sets_kept_aside_are_measured_where_they_are_named() -> None:
    assert test_sets.chosen(None) == test_sets.names()
    assert test_sets.chosen(["coins_ph", test_sets.KEPT_ASIDE]) == ["coins_ph", *ASIDE]
    assert ASIDE
    assert not set(ASIDE) & set(test_sets.names())
    with pytest.raises(ValueError, match="there is no test set 'pollen': name a folder"):
        test_sets.chosen(["pollen"])


def test_sets_kept_aside_are_for_weights_of_all_other_sets() -> None:
    path = Path("all.safetensors")
    assert weights_of(ASIDE[0], [path]) == path
    with pytest.raises(ValueError, match="no fold is known to leave out"):
        weights_of(ASIDE[0], [path] * len(set(folds().values())))

"""Seconds a picture by the model of the paper's user study."""

from __future__ import annotations

import pytest

from training.annotation_time import Study, estimate

ROUND = Study(
    manual_interactions=50, manual_seconds=250, assisted_interactions=10, assisted_seconds=50
)
"""5 s by hand, and 5 s assisted besides the waiting."""


def test_seconds_of_an_interaction_of_the_study() -> None:
    assert Study().manual_interaction == pytest.approx(5.6, abs=0.05)
    assert Study().assisted_interaction(0) == pytest.approx(6.4, abs=0.05)
    assert Study().assisted_interaction(2) == pytest.approx(8.4, abs=0.05)


def test_best_number_of_clicks_is_taken() -> None:
    corrections = {
        0: 15.0,  # 15 * 5 = 75
        5: 4.0,  # 5 * 5.5 + 4 * 5 = 47.5
        20: 0.0,  # 20 * 5.5 = 110
    }
    found = estimate(ROUND, 20, corrections, latency=0.5, encoding=2)
    assert found.manual == pytest.approx(100)
    assert found.assisted == pytest.approx(47.5 + 2)
    assert found.clicks == 5


def test_a_slow_model_is_not_clicked() -> None:
    found = estimate(ROUND, 20, {0: 15.0, 5: 4.0}, latency=10, encoding=0)
    assert (found.assisted, found.clicks) == (pytest.approx(75), 0)

"""How what was measured becomes a report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.training.compare.fake_commands import ROWS, Commands, experiment
from training.compare.planning import Experiment
from training.compare.reporting import collect
from training.compare.running import run_all
from training.evaluation.reporting import StudyReport


def report(one: Experiment) -> StudyReport:
    run_all(one)
    return collect(one, "python -m training.compare")


def test_curves_are_means_over_training_seeds(commands: Commands, tmp_path: Path) -> None:
    found = report(experiment(tmp_path))
    everything, _, unseen = found.panels
    assert everything.title == "composite (3 pictures), two-stage: all"
    # The second seed is 1 better.
    expected = {"C3Det": 10.5, "plain, passthrough": 0.5}
    assert [one.name for one in everything.curves] == list(expected)
    for one in everything.curves:
        mean = expected[one.name]
        assert (one.ap50, one.area) == ([mean, mean], mean)
        assert (one.low, one.high) == ([mean - 0.5] * 2, [mean + 0.5] * 2)
    assert [one.ap50 for one in unseen.curves] == [[None, None]] * 2
    assert list(found.weights) == [
        f"{name}-two-stage-seed{seed}" for name in ("c3det", "plain") for seed in (0, 1)
    ]
    assert "9 steps without clicks, shared, then 4 steps a row." in found.about


def test_differences_are_from_c3det_resample_by_resample(
    commands: Commands, tmp_path: Path
) -> None:
    base, plain = report(experiment(tmp_path)).panels[0].curves
    assert base.difference is None
    # In the second resample C3Det is 1 worse.
    assert plain.difference == [[-10, -9.975, -9.025]] * 2


def test_without_c3det_there_are_no_differences(commands: Commands, tmp_path: Path) -> None:
    found = report(experiment(tmp_path, ROWS[1:]))
    assert [one.difference for one in found.panels[0].curves] == [None]


def test_rows_without_a_shared_start_say_so(commands: Commands, tmp_path: Path) -> None:
    rows = tuple(replace(row, start=False) for row in ROWS)
    assert "trees: 4 steps a row." in report(experiment(tmp_path, rows)).about


def test_rows_that_were_given_other_clicks_are_refused(commands: Commands, tmp_path: Path) -> None:
    run_all(experiment(tmp_path))
    (path, *_) = (tmp_path / "evaluations").glob("*.clicks.json")
    path.write_text('{"other": []}')
    with pytest.raises(ValueError, match="were measured with other clicks"):
        collect(experiment(tmp_path), "")

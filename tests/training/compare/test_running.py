"""What a comparison runs, and what it does not run again."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from tests.training.compare.fake_commands import Commands, experiment
from training.compare.planning import ABLATIONS, Row
from training.compare.running import run_all
from training.train import argument_parser


def test_rows_share_a_start_and_differ_in_nothing_else(commands: Commands, tmp_path: Path) -> None:
    run_all(experiment(tmp_path))
    trainings = {Path(one[2]).name: one for one in commands.of("train")}
    assert list(trainings) == [
        "shared-start-two-stage-seed0",
        "shared-start-two-stage-seed1",
        "c3det-two-stage-seed0",
        "plain-two-stage-seed0",
        "c3det-two-stage-seed1",
        "plain-two-stage-seed1",
    ]
    shared = trainings["shared-start-two-stage-seed1"]
    assert shared[shared.index("--iterations") + 1] == "9"
    assert "--start" not in shared
    first, second = (trainings[f"{name}-two-stage-seed1"] for name in ("plain", "c3det"))
    assert first[first.index("--start") + 1] == shared[2]
    assert [(a, b) for a, b in zip(first, second, strict=True) if a != b] == [
        (first[2], second[2]),
        ("plain", "c3det"),
    ]
    for command in trainings.values():
        argument_parser().parse_args(command[1:])


def test_without_a_first_phase_all_start_from_imagenet(commands: Commands, tmp_path: Path) -> None:
    run_all(experiment(tmp_path, plain_iterations=0))
    assert len(commands.of("train")) == 4
    assert not any("--start" in one for one in commands.of("train"))


def test_studies_of_one_folder_share_their_start_and_the_base(
    commands: Commands, tmp_path: Path
) -> None:
    run_all(experiment(tmp_path))
    names = ("C3Det", "without UEL")
    rows = tuple(Row(name, "two-stage", ABLATIONS[name]) for name in names)
    commands.asked = []
    run_all(experiment(tmp_path, rows, study="ablations"))
    assert [Path(one[2]).name for one in commands.of("train")] == [
        "without-uel-two-stage-seed0",
        "without-uel-two-stage-seed1",
    ]


def test_what_is_done_is_not_done_again(commands: Commands, tmp_path: Path) -> None:
    commands.fails = "plain-two-stage-seed1.safetensors"
    with pytest.raises(RuntimeError, match=r"training.export failed, see .*export.log: last words"):
        run_all(experiment(tmp_path))
    assert len(commands.of("train")) == 6
    commands.fails, commands.asked = "", []
    run_all(experiment(tmp_path))
    assert [one[0] for one in commands.asked] == ["training.export", "training.evaluate"]
    commands.asked = []
    run_all(experiment(tmp_path))
    assert commands.asked == []


def test_the_cards_get_what_was_measured(commands: Commands, tmp_path: Path) -> None:
    run_all(experiment(tmp_path))
    evaluations = commands.of("evaluate")
    assert len(evaluations) == 4
    assert all("--card" in one for one in evaluations)


def test_other_settings_in_the_same_folder_are_refused(commands: Commands, tmp_path: Path) -> None:
    run_all(experiment(tmp_path))
    with pytest.raises(ValueError, match=r"done was made by another command: take another folder"):
        run_all(experiment(tmp_path, iterations=5))


def test_two_comparisons_in_one_folder_are_refused(commands: Commands, tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RuntimeError, match="another process is still at work in"):
            run_all(experiment(tmp_path))

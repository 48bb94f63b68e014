"""Comparisons: what is run, what is not run again, and how results become a table."""

from __future__ import annotations

import fcntl
import json
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from c3det.configs import Architecture, architecture, normalization
from c3det.mmdet_adapter import build_detector
from c3det.weights import Card, read_card, save
from training import compare
from training.compare import (
    ABLATIONS,
    PASTED,
    VARIANTS,
    Comparison,
    Row,
    architecture_arguments,
    collect,
    main,
    markdown,
    run_all,
    study_rows,
    write,
)
from training.evaluation.measuring import METRICS, PARTS
from training.train import argument_parser, chosen_architecture

ROWS = (
    Row("plain", "two-stage", {"fusion": "plain"}),
    Row("C3Det", "two-stage", {"fusion": "c3det"}),
)


def comparison(out: Path, **changes: Any) -> Comparison:
    usual: dict[str, Any] = dict(
        out=out,
        study="variants",
        rows=ROWS,
        sets=("composite=0.6", "trees"),
        test_sets=("composite",),
        seeds=(0, 1),
        plain_iterations=9,
        iterations=4,
        training=("--batch", "2"),
        continued=("--trunk-rate", "0.5"),
        click_seeds=2,
        counts=(0, 5),
        pictures=None,
        jobs=1,
    )
    return Comparison(**{**usual, **changes})


def curve(value: float | None) -> dict[str, Any]:
    point = {"mean": value, "seeds": [value, value], "classes": {"0": value}}
    return {"clicks": {"0": point, "5": point}, "area": point}


class Commands:
    """Stands for the programs: notes what it was asked, and leaves the files that they leave."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.fails = ""
        self.clicks = "{}"

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        module, arguments = command[2], command[3:]
        self.asked.append(command[2:])
        if self.fails and self.fails in " ".join(arguments):
            _["stdout"].write(b"first\nlast words\n")
            return subprocess.CompletedProcess(command, 1)
        out = Path(arguments[arguments.index("--out") + 1])
        out.parent.mkdir(parents=True, exist_ok=True)
        if module == "training.export":
            save(
                out,
                {},
                Card(
                    "x",
                    ("0",),
                    architecture=Architecture("starter"),
                    training={},
                    score_threshold=0.3,
                    typical_sizes=((1.0, 1.0),),
                    results={},
                    licence={},
                ),
            )
        if module == "training.evaluate":
            name, _, path = arguments[arguments.index("--weights") + 1].partition("=")
            value = 10.0 * ("c3det" in name) + ("seed1" in name)
            modes = ["served", *(["passthrough"] if "--passthrough" not in arguments else [])]
            parts = {
                mode: {
                    part: {
                        metric: curve(None if part == "unseen classes" else value + len(mode))
                        for metric in METRICS
                    }
                    for part in PARTS
                }
                for mode in modes
            }
            content = {
                "seeds": [0, 1],
                "strategy": {"name": "uniform"},
                "budget": "patch",
                "differences": [],
                "machine": {"cores": 2},
                "sets": {"composite": {"pictures": 3, "objects": 9, "classes": ["0"]}},
                "models": {
                    name: {
                        "sha256": read_card(Path(path)).identity,
                        "sets": {"composite": parts},
                        "at_threshold": {},
                        "seconds_per_click": {},
                    }
                },
            }
            out.write_text(json.dumps(content))
            # Two numbers of clicks, three samples, as fractions; in the third one clicks help less.
            samples = {
                f"composite/{name}/{mode}/{part}": np.full((2, 3), value + len(mode)) / 100
                - np.array([0, 0, 0.01]) * ("c3det" in name)
                for mode in modes
                for part in PARTS
            }
            np.savez(arguments[arguments.index("--samples") + 1], **samples)
            out.with_suffix(".clicks.json").write_text(self.clicks)
        return subprocess.CompletedProcess(command, 0)

    def of(self, module: str) -> list[list[str]]:
        return [one for one in self.asked if one[0] == f"training.{module}"]


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    stand_in = Commands()
    monkeypatch.setattr(compare.subprocess, "run", stand_in)
    return stand_in


def test_the_variants_are_what_they_are_called() -> None:
    found = {}
    for name, fields in VARIANTS.items():
        config = architecture("starter", 3, stages="one-stage", **fields)
        found[name] = (sorted(config["clicks"] or {}), config["bbox_head"]["uel"] is not None)
    assert found == {
        "plain": ([], False),
        "early fusion": (["early"], False),
        "late fusion": (["late"], False),
        "late fusion + UEL": (["late"], True),
        "C3 only": (["correlation"], True),
        "C3Det without UEL": (["correlation", "late"], False),
        "C3Det": (["correlation", "late"], True),
    }


def test_every_ablation_differs_from_c3det_and_from_the_others() -> None:
    configs = [
        json.dumps(architecture("starter", 3, **fields), sort_keys=True)
        for fields in ABLATIONS.values()
    ]
    assert len(set(configs)) == len(configs)
    assert configs[0] == json.dumps(architecture("starter", 3), sort_keys=True)


@pytest.mark.parametrize(
    "name", ["UEL's class the clicked one", "sampling gaussian-nearest, sigma 6.0 px"]
)
def test_ablations_build(name: str) -> None:
    build_detector(architecture("starter", 3, **ABLATIONS[name]), normalization("starter"))


@pytest.mark.parametrize("fields", [*VARIANTS.values(), *ABLATIONS.values()])
def test_the_command_line_says_the_architecture(fields: dict[str, Any]) -> None:
    row = Row("x", "one-stage", fields)
    given = argument_parser().parse_args(
        ["--out", "o", "--set", "trees", *architecture_arguments(row)]
    )
    assert chosen_architecture(given) == Architecture("starter", "one-stage", **fields)


def test_rows_share_a_start_and_differ_in_nothing_else(commands: Commands, tmp_path: Path) -> None:
    run_all(comparison(tmp_path))
    trainings = {Path(one[2]).name: one for one in commands.of("train")}
    assert list(trainings) == [
        "shared-start-two-stage-seed0",
        "shared-start-two-stage-seed1",
        "plain-two-stage-seed0",
        "c3det-two-stage-seed0",
        "plain-two-stage-seed1",
        "c3det-two-stage-seed1",
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
    run_all(comparison(tmp_path, plain_iterations=0))
    assert len(commands.of("train")) == 4
    assert not any("--start" in one for one in commands.of("train"))


def test_studies_of_one_folder_share_their_start_and_the_base(
    commands: Commands, tmp_path: Path
) -> None:
    run_all(comparison(tmp_path))
    names = ("C3Det", "without UEL")
    rows = tuple(Row(name, "two-stage", ABLATIONS[name]) for name in names)
    commands.asked = []
    run_all(comparison(tmp_path, study="ablations", rows=rows))
    assert [Path(one[2]).name for one in commands.of("train")] == [
        "without-uel-two-stage-seed0",
        "without-uel-two-stage-seed1",
    ]


def test_what_is_done_is_not_done_again(commands: Commands, tmp_path: Path) -> None:
    commands.fails = "c3det-two-stage-seed1.safetensors"
    with pytest.raises(RuntimeError, match=r"training.export failed, see .*export.log: last words"):
        run_all(comparison(tmp_path))
    assert len(commands.of("train")) == 6
    commands.fails, commands.asked = "", []
    run_all(comparison(tmp_path))
    assert [one[0] for one in commands.asked] == ["training.export", "training.evaluate"]
    commands.asked = []
    run_all(comparison(tmp_path))
    assert commands.asked == []


def test_other_settings_in_the_same_folder_are_refused(commands: Commands, tmp_path: Path) -> None:
    run_all(comparison(tmp_path))
    with pytest.raises(ValueError, match=r"done was made by another command: take another folder"):
        run_all(comparison(tmp_path, iterations=5))


def test_two_comparisons_in_one_folder_are_refused(commands: Commands, tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RuntimeError, match="another process is still at work in"):
            run_all(comparison(tmp_path))


def test_results_are_means_over_training_seeds(commands: Commands, tmp_path: Path) -> None:
    run_all(comparison(tmp_path))
    results = json.loads(json.dumps(collect(comparison(tmp_path)), allow_nan=False))
    rows = {row["name"]: row for row in results["rows"]}
    assert list(rows) == ["plain", PASTED, "C3Det"]
    # "served" has six letters and "passthrough" eleven; the second seed is 1 better.
    expected = {"plain": 6.5, PASTED: 11.5, "C3Det": 16.5}
    for name, mean in expected.items():
        point = rows[name]["ap"]["composite"]["all"]["ap50"]["clicks"]["5"]
        assert point["mean"] == mean
        assert point["runs"] == [mean - 0.5, mean + 0.5]
        assert point["seeds"] == [mean - 0.5, mean - 0.5, mean + 0.5, mean + 0.5]
    assert len(rows["C3Det"]["sha256"]) == 2
    assert "--fusion c3det" in rows["C3Det"]["command"]


def test_the_table_says_what_the_json_says(commands: Commands, tmp_path: Path) -> None:
    run_all(comparison(tmp_path))
    table = write(comparison(tmp_path))
    assert (tmp_path / "variants.md").read_text() == table
    results = json.loads((tmp_path / "variants.json").read_text())
    assert markdown(results) == table
    lines = table.splitlines()
    start = lines.index("| composite (3 pictures, two-stage): all | 0 | 5 | area |")
    assert lines[start + 2 : start + 5] == [
        "| plain | 6.5 | 6.5 | 6.5 |",
        "| clicks pasted in | 11.5 | 11.5 | 11.5 |",
        "| C3Det | 16.5 | 16.5 | 16.5 |",
    ]
    assert "9 steps without clicks, shared, then 4 steps a row." in lines[0]
    assert "| C3Det | - | - | - |" in lines
    start = lines.index(
        "| composite, two-stage, all: difference from C3Det, 95 % interval | 0 | 5 |"
    )
    assert lines[start + 2 : start + 5] == [
        "| plain | -10.0 (-10.0 to -9.0) | -10.0 (-10.0 to -9.0) |",
        "| clicks pasted in | -5.0 (-5.0 to -4.0) | -5.0 (-5.0 to -4.0) |",
        "",
    ]
    assert (tmp_path / "variants-composite-two-stage.png").read_bytes().startswith(b"\x89PNG")


def test_the_cards_carry_what_was_measured(commands: Commands, tmp_path: Path) -> None:
    run_all(comparison(tmp_path))
    card = read_card(tmp_path / "weights" / "c3det-two-stage-seed0.safetensors")
    assert card.results["command"] == "python -m training.evaluate"


def test_rows_without_a_shared_start_say_so(commands: Commands, tmp_path: Path) -> None:
    rows = tuple(replace(row, start=False) for row in ROWS)
    run_all(comparison(tmp_path, rows=rows))
    assert collect(comparison(tmp_path, rows=rows))["plain_iterations"] == 0
    assert "trees: 4 steps a row." in write(comparison(tmp_path, rows=rows)).splitlines()[0]


def test_rows_that_were_given_other_clicks_are_refused(commands: Commands, tmp_path: Path) -> None:
    run_all(comparison(tmp_path))
    (path, *_) = (tmp_path / "measured").glob("*.clicks.json")
    path.write_text('{"other": []}')
    with pytest.raises(ValueError, match="were measured with other clicks"):
        collect(comparison(tmp_path))


def test_the_study_of_data_has_fewer_and_fewer_objects(tmp_path: Path) -> None:
    weights = Path("serverless/weights/starter.safetensors")
    rows = study_rows("data", ["two-stage"], [25, 100], weights)
    assert [row.name for row in rows] == [
        f"{amount}, {start}"
        for amount in ("25 objects", "100 objects", "all objects")
        for start in ("fine-tuned", "from ImageNet")
    ]
    command = comparison(tmp_path, rows=rows).train_command(rows[0], 0)
    given = argument_parser().parse_args(command[1:])
    assert (given.objects, given.weights, given.start) == (25, str(weights), None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--study", "data"], "name them"),
        (["--study", "data", "--weights", "nowhere.safetensors"], "nowhere.json is missing"),
        (["--rows", "magic"], "there is no row 'magic', only plain"),
    ],
)
def test_mistakes_are_told_in_one_line(
    arguments: Sequence[str], message: str, tmp_path: Path, capsys: Any
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--out", str(tmp_path), "--set", "trees", *arguments])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]

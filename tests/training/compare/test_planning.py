"""The rows of the studies, and the commands that make them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from c3det.closed.architecture import Architecture, architecture
from c3det.closed.mmdet_adapter import build_detector
from c3det.closed.presets import normalization
from tests.training.compare.fake_commands import experiment
from training.compare.__main__ import main
from training.compare.planning import ABLATIONS, VARIANTS, ComparisonSettings, Row
from training.train import argument_parser, chosen_architecture


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
        ["--out", "o", "--set", "trees", *row.architecture_arguments()]
    )
    assert chosen_architecture(given) == Architecture("starter", "one-stage", **fields)


def test_the_study_of_data_has_fewer_and_fewer_objects(tmp_path: Path) -> None:
    weights = Path("serverless/weights/starter.safetensors")
    changes: dict[str, Any] = dict(study="data", objects=(25, 100), weights=weights)
    rows = ComparisonSettings(out=tmp_path, sets=("trees",), **changes).study_rows()
    assert [row.name for row in rows] == [
        f"{amount}, {start}"
        for amount in ("25 objects", "100 objects", "all objects")
        for start in ("fine-tuned", "from ImageNet")
    ]
    command = experiment(tmp_path, rows, **changes).train_command(rows[0], 0)
    given = argument_parser().parse_args(command[1:])
    assert (given.objects, given.weights, given.start) == (25, str(weights), None)


def test_only_the_rows_that_are_asked_for(tmp_path: Path) -> None:
    settings = ComparisonSettings(out=tmp_path, sets=("trees",), rows=("plain", "C3Det"))
    assert [(row.name, row.stages) for row in settings.study_rows()] == [
        (name, stages) for stages in ("two-stage", "one-stage") for name in ("C3Det", "plain")
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--study", "data"], "name them"),
        (["--study", "data", "--weights", "nowhere.safetensors"], "nowhere.json is missing"),
        (["--pictures", "0"], "argument --pictures: must be a whole number from 1, not '0'"),
        (["--rows", "magic"], "there is no row 'magic', only C3Det"),
    ],
)
def test_mistakes_are_told_in_one_line(
    arguments: Sequence[str], message: str, tmp_path: Path, capsys: Any
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--out", str(tmp_path), "--set", "trees", *arguments])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]

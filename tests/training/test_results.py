"""The committed results: pages say what the JSON files say, and are of the shipped weights."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from c3det.weights import read_card
from training.evaluation.reporting import StudyReport
from training.open.reporting import table
from training.report import main

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "training" / "results"
SHIPPED = ROOT / "serverless" / "weights" / "starter.safetensors"
STUDIES = sorted({file.stem for file in RESULTS.glob("*.json")} - {"open"})


def test_every_study_is_one_json_one_page_and_one_figure() -> None:
    names = {"README.md"} | {
        f"{study}.{suffix}" for study in (*STUDIES, "open") for suffix in ("json", "md", "png")
    }
    assert {path.name for path in RESULTS.iterdir()} == names


@pytest.mark.parametrize("study", STUDIES)
def test_the_page_of_a_study_is_made_from_its_json(study: str) -> None:
    page = (RESULTS / f"{study}.md").read_text(encoding="utf-8")
    assert page == StudyReport.read(RESULTS / f"{study}.json").page(f"{study}.png")


def test_a_report_is_laid_out_again(tmp_path: Path) -> None:
    path = Path(shutil.copy(RESULTS / "data.json", tmp_path))
    main([str(path)])
    assert (tmp_path / "data.md").read_text() == (RESULTS / "data.md").read_text(encoding="utf-8")
    assert (tmp_path / "data.png").read_bytes().startswith(b"\x89PNG")
    assert path.read_text() == (RESULTS / "data.json").read_text(encoding="utf-8")


def test_the_tables_of_the_open_model_are_made_from_its_json() -> None:
    measured = json.loads((RESULTS / "open.json").read_text(encoding="utf-8"))
    shown = table(measured["sets"], measured["counts"])
    assert shown == (RESULTS / "open.md").read_text(encoding="utf-8")


def test_what_was_measured_is_of_the_shipped_weights() -> None:
    card = read_card(SHIPPED)
    for study in ("starter", "robustness"):
        assert StudyReport.read(RESULTS / f"{study}.json").weights["starter"] == card.identity
    measured = asdict(StudyReport.read(RESULTS / "starter.json"))
    assert card.results == json.loads(json.dumps(measured))

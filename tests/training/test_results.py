"""The committed results: pages say what the JSON files say, and are of the shipped weights."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from c3det.weights import read_card
from training.evaluation.reporting import StudyReport
from training.open import jobs_report
from training.open import reporting as open_reporting
from training.report import headline, lay_out, main, with_figures

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "training" / "results"
SHIPPED = ROOT / "serverless" / "weights" / "starter.safetensors"
JOBS = {"adapt", "jobs", "jobs-unseen"}
OPEN = {"components", "open", "unseen"} | JOBS
"""Studies of the open model, some of `training.open.jobs`."""

STUDIES = sorted({file.stem for file in RESULTS.glob("*.json")} - OPEN)


def test_every_study_is_one_json_one_page_and_one_figure() -> None:
    names = {"README.md"} | {
        f"{study}.{suffix}" for study in (*STUDIES, *OPEN) for suffix in ("json", "md", "png")
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


@pytest.mark.parametrize("study", sorted(OPEN))
def test_the_page_of_a_study_of_the_open_model_is_made_from_its_json(study: str) -> None:
    content = json.loads((RESULTS / f"{study}.json").read_text(encoding="utf-8"))
    table = jobs_report.table if study in JOBS else open_reporting.table
    tables = table(content["sets"], content["counts"])
    assert open_reporting.page(content, tables) == (RESULTS / f"{study}.md").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize("study", ["jobs", "open"])
def test_studies_of_the_open_model_are_laid_out_again(study: str, tmp_path: Path) -> None:
    path = Path(shutil.copy(RESULTS / f"{study}.json", tmp_path))
    lay_out(path)
    assert path.read_text() == (RESULTS / f"{study}.json").read_text(encoding="utf-8")
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_the_figures_of_the_readme_are_those_of_the_studies() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_figures(readme, headline()) == readme


def test_a_readme_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="the marks"):
        with_figures("# C3Det\n", headline())


def test_what_was_measured_is_of_the_shipped_weights() -> None:
    card = read_card(SHIPPED)
    for study in ("starter", "robustness"):
        assert StudyReport.read(RESULTS / f"{study}.json").weights["starter"] == card.identity
    measured = asdict(StudyReport.read(RESULTS / "starter.json"))
    assert card.results == json.loads(json.dumps(measured))

"""The committed results: pages say what the JSON files say, and are of the shipped weights."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from c3det.weights import read_card
from training.evaluation.reporting import StudyReport
from training.report import headline, main, read_report, with_figures

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "training" / "results"
SHIPPED = ROOT / "serverless" / "weights" / "starter.safetensors"
STUDIES = sorted(path.stem for path in RESULTS.glob("*.json"))


def test_every_study_is_one_json_one_page_and_one_figure() -> None:
    names = {"README.md"} | {
        f"{study}.{suffix}" for study in STUDIES for suffix in ("json", "md", "png")
    }
    assert {path.name for path in RESULTS.iterdir()} == names


@pytest.mark.parametrize("study", STUDIES)
def test_the_page_of_a_study_is_made_from_its_json(study: str) -> None:
    page = (RESULTS / f"{study}.md").read_text(encoding="utf-8")
    assert page == read_report(RESULTS / f"{study}.json").page(f"{study}.png")


@pytest.mark.parametrize("study", ["data", "jobs", "open"])
def test_a_report_is_laid_out_again(study: str, tmp_path: Path) -> None:
    path = Path(shutil.copy(RESULTS / f"{study}.json", tmp_path))
    main([str(path)])
    for suffix in (".json", ".md"):
        written = path.with_suffix(suffix).read_text(encoding="utf-8")
        assert written == (RESULTS / f"{study}{suffix}").read_text(encoding="utf-8")
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

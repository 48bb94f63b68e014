"""The committed results: the tables say what the JSON files say, and are of the shipped weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from c3det.weights import read_card
from training.by_eye import lines
from training.compare import markdown
from training.evaluation.reporting import summary
from training.open.reporting import table

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "training" / "results"
COMPARISONS = sorted({file.stem for file in RESULTS.glob("*.md")} - {"README", "open"})
SHIPPED = ROOT / "serverless" / "weights" / "starter.safetensors"


def read(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def rows_of(file: Path) -> set[str]:
    return set(file.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("name", COMPARISONS)
def test_the_table_of_a_comparison_is_made_from_its_json(name: str) -> None:
    assert markdown(read(name)) == (RESULTS / f"{name}.md").read_text(encoding="utf-8")


def test_the_tables_of_the_open_model_are_made_from_its_json() -> None:
    measured = read("open")
    shown = table(measured["sets"], measured["counts"])
    assert shown == (RESULTS / "open.md").read_text(encoding="utf-8")
    readme = rows_of(ROOT / "README.md")
    for kind, title in (("single-class", "18 single-class"), ("multi-class", "21 multi-class")):
        after = measured["means"]["C3Det open"][kind]["random"]
        for part, start in (
            ("all", f"| {title} sets | all objects |"),
            ("unclicked", "| | objects that nobody clicked |"),
        ):
            cells = [f"{after[str(number)][part]['AP']:.1f}" for number in (1, 3, 5, 10)]
            assert f"{start} {' | '.join(cells)} |" in readme


def test_what_was_measured_is_of_the_shipped_weights() -> None:
    card = read_card(SHIPPED)
    measured = read("starter")
    assert measured["models"]["starter"]["sha256"] == card.identity
    assert read("by_eye/by_eye")["sha256"] == card.identity
    assert card.results["AP at IoU 0.5, percent, by clicks"] == summary(measured)


def test_the_table_of_the_pictures_counted_by_hand() -> None:
    assert set(lines(read("by_eye/by_eye"))) <= rows_of(RESULTS / "README.md")


@pytest.mark.parametrize("test_set", ["rendered", "trees"])
def test_the_readme_says_what_was_measured(test_set: str) -> None:
    readme = rows_of(ROOT / "README.md")
    titles = {
        ("starter", "served"): "**C3Det** (shipped)",
        ("starter", "passthrough"): "clicks pasted in",
        ("former", "served"): "C3Det (former starter)",
    }
    found = 0
    for (name, mode), title in titles.items():
        for part, suffix in (("all", ""), ("unclicked", ", unclicked objects")):
            curves = read("starter")["models"][name]["sets"].get(test_set, {}).get(mode)
            if curves:
                points = curves[part]["ap50"]["clicks"]
                cells = [f"{points[str(number)]['mean']:.1f}" for number in (0, 1, 3, 5, 10, 20)]
                assert f"| {title}{suffix} | {' | '.join(cells)} |" in readme
                found += 1
    assert found == {"rendered": 4, "trees": 6}[test_set]


def test_the_readme_says_what_was_measured_of_the_former_starter() -> None:
    readme = rows_of(ROOT / "README.md")
    measured = read("former-starter")["results"]["AP at IoU 0.5, percent, by clicks"]["composite"]
    for name, title in {
        "c3det": "**C3Det** (former starter)",
        "late": "late fusion alone",
        "plain, clicks pasted in": "clicks pasted in",
    }.items():
        for part, suffix in (("all", ""), ("unclicked", ", unclicked objects")):
            cells = [f"{measured[name][part][str(number)]:.1f}" for number in (0, 1, 3, 5, 10, 20)]
            assert f"| {title}{suffix} | {' | '.join(cells)} |" in readme

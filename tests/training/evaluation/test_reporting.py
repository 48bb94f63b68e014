"""Results for people."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.evaluation.test_measuring import CARS, results
from tests.training.fake_predictor import FakePredictor
from training.evaluation.reporting import block, card_results, plot, summary, table


@pytest.fixture(scope="module")
def content() -> dict:
    return results(knower=FakePredictor(CARS, known=4), paster=FakePredictor(CARS))


def test_table(content: dict) -> None:
    lines = [line.split() for line in table(content).splitlines()]
    start = lines.index(["all:", "AP", "at", "IoU", "0.5,", "%"])
    assert lines[start + 1 : start + 5] == [
        ["0", "1", "2", "4", "area"],
        ["knower", "100.0", "100.0", "100.0", "100.0", "100.0"],
        ["paster", "0.0", "25.7", "50.5", "100.0", "50.4"],
        ["knower,", "model", "only", "100.0", "100.0", "100.0", "100.0", "100.0"],
    ]
    assert ["knower", "-", "paster", "100.0", "74.3", "49.5", "0.0"] in lines
    # Two pairs, the other model and the other's control, in three parts.
    assert [len(line) for line in lines if line[:1] == ["to"]] == [1 + 4] * 2 * 3
    assert ["car", "100.0", "100.0", "100.0", "100.0"] in lines
    assert ["recall", "0.0", "25.0", "50.0", "100.0"] in lines
    reached = "F1 0.9: 4.0 clicks a picture; 0.0 of 3 pictures never reach it"
    assert reached in table(content)


def test_missing_numbers_are_dashes() -> None:
    assert block("h", ["0", "1"], [("a", [1.25, None])])[1:] == [
        "h",
        "        0       1",
        "a     1.2       -",
    ]


def test_plot(content: dict, tmp_path: Path) -> None:
    plot(content, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_summary_is_rounded(content: dict) -> None:
    assert summary(content)["toy"]["paster"] == {
        "all": {"0": 0.0, "1": 25.7, "2": 50.5, "4": 100.0, "area": 50.4},
        "unclicked": {"0": 0.0, "1": 0.0, "2": 0.0, "4": None, "area": 0.0},
        "unseen classes": {"0": 0.0, "1": None, "2": None, "4": None, "area": None},
    }
    assert list(summary(content)["toy"]) == [
        "knower",
        "paster",
        "knower, model only",
        "paster, model only",
        "knower, clicks pasted in",
    ]


def test_card_says_how_it_was_measured(content: dict) -> None:
    card = card_results(content)
    assert card["clicks"] == "2 seeds, centre, per patch"
    assert card["sets"]["toy"]["objects"] == 12
    assert all(
        row["mode"] != "model-only"
        for key, rows in card.items()
        if key.startswith("differences")
        for row in rows
    )

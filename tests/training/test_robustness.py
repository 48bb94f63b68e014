"""The robustness report, of predictors whose answers are known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.training.fake_predictor import FakePredictor, pictures_of
from training.clicks.sampling import parse_strategy
from training.evaluation.protocol import Plan
from training.robustness import CONDITIONS, plot, robustness, table

SET = pictures_of(3, labels=(1, 2))
PLAN = Plan(seeds=(0, 1), counts=(0, 2, 4))


@pytest.fixture(scope="module")
def content() -> dict:
    predictors = {"reader": FakePredictor(SET, known=2, reads=True)}
    return json.loads(
        json.dumps(robustness(predictors, [SET], PLAN, bootstrap=20), allow_nan=False)
    )


def test_every_condition_is_measured(content: dict) -> None:
    conditions = content["models"]["reader"]["sets"]["toy"]
    assert [*conditions] == [*CONDITIONS]
    assert len(conditions) == 1 + 5 + 4 + 3 + 1
    assert conditions["30% background"]["strategy"] == {
        **parse_strategy("background").__dict__,
        "name": "background,background_probability=0.3",
        "background_probability": 0.3,
    }
    start = {one["all"]["ap50"]["clicks"]["0"]["mean"] for one in conditions.values()}
    assert len(start) == 1


def test_differences_are_to_uniform_clicks(content: dict) -> None:
    conditions = content["models"]["reader"]["sets"]["toy"]
    for spec in ("uniform", "centre", "8 px off", "errors"):
        for part in ("all", "unclicked"):
            for number, row in conditions[spec]["minus_uniform"][part].items():
                values = [
                    conditions[one][part]["ap50"]["clicks"][number]["mean"]
                    for one in (spec, "uniform")
                ]
                if None in values:
                    assert row["ap50"] is None
                else:
                    assert row["ap50"] == pytest.approx(values[0] - values[1], abs=2e-3)
    # Answers to clicks at the centre fit, those to clicks beside it often do not.
    assert conditions["centre"]["minus_uniform"]["all"]["4"]["ap50"] >= 0
    assert conditions["8 px off"]["minus_uniform"]["all"]["4"]["ap50"] < 0


def test_wrong_classes_need_two() -> None:
    cars = pictures_of(2)
    conditions = robustness({"one": FakePredictor(cars)}, [cars], PLAN, bootstrap=1)["models"][
        "one"
    ]["sets"]["toy"]
    assert not any("wrong class" in condition for condition in conditions)
    assert "errors" in conditions


def test_table_and_plot(content: dict, tmp_path: Path) -> None:
    lines = table(content).splitlines()
    (row,) = [line for line in lines if line.startswith("errors ")][:1]
    # Three numbers of clicks, the area, the difference and its interval.
    assert len(row.split()) == 1 + 3 + 1 + 3
    assert sum(line.startswith("8 px off ") for line in lines) == 3
    plot(content, tmp_path / "robustness.png")
    assert (tmp_path / "robustness.png").read_bytes().startswith(b"\x89PNG")

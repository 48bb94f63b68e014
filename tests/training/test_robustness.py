"""The robustness report, of predictors whose answers are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.fake_predictor import FakePredictor, pictures_of
from training.clicks.sampling import parse_strategy
from training.evaluation.protocol import ClickPlan
from training.evaluation.reporting import Curve, StudyReport
from training.robustness import GROUPS, robustness

SET = pictures_of(3, labels=(1, 2))
PLAN = ClickPlan(seeds=(0, 1), counts=(0, 2, 4))


@pytest.fixture(scope="module")
def report() -> StudyReport:
    predictors = {"reader": FakePredictor(SET, known=2, reads=True)}
    return robustness(predictors, [SET], PLAN, bootstrap=20)


def curves(report: StudyReport, subset: str) -> dict[str, Curve]:
    panels = [one for one in report.panels if one.title.startswith(f"reader on toy, {subset}: ")]
    assert [one.title.rpartition(": ")[2] for one in panels] == list(GROUPS)
    assert all(one.curves[0].name == "uniform" for one in panels)
    return {curve.name: curve for one in panels for curve in one.curves}


def test_every_condition_is_measured(report: StudyReport) -> None:
    for subset in ("all", "unclicked"):
        assert len(curves(report, subset)) == 1 + 5 + 4 + 3 + 1
    assert len({one.ap50[0] for one in curves(report, "all").values()}) == 1
    (f1,) = report.tables
    assert [name for name, *_ in f1.rows] == ["uniform", *(n for g in GROUPS.values() for n in g)]
    specs = {name: spec for group in GROUPS.values() for name, spec in group.items()}
    assert parse_strategy(specs["30% background"]).background_probability == 0.3


def test_differences_are_from_uniform_clicks(report: StudyReport) -> None:
    for subset in ("all", "unclicked"):
        found = curves(report, subset)
        uniform = found["uniform"]
        assert uniform.difference is None
        for name in ("centre", "8 px off", "errors"):
            for own, base, (mean, _, _) in zip(
                found[name].ap50, uniform.ap50, found[name].difference or (), strict=True
            ):
                if own is None or base is None:
                    assert mean is None
                else:
                    assert mean == pytest.approx(own - base, abs=2e-3)
    # Answers to clicks at the centre fit, those to clicks beside it often do not.
    last = {n: one.difference[2][0] for n, one in curves(report, "all").items() if one.difference}
    assert (last["centre"] or 0) >= 0
    assert (last["8 px off"] or 0) < 0


def test_wrong_classes_need_two() -> None:
    cars = pictures_of(2)
    found = robustness({"reader": FakePredictor(cars)}, [cars], PLAN, bootstrap=1)
    names = curves(found, "all")
    assert not any("wrong class" in name for name in names)
    assert "errors" in names


def test_it_is_written(report: StudyReport, tmp_path: Path) -> None:
    report.write(tmp_path / "robustness.json")
    assert (tmp_path / "robustness.png").read_bytes().startswith(b"\x89PNG")
    lines = (tmp_path / "robustness.md").read_text().splitlines()
    assert sum(line.startswith("| 8 px off ") for line in lines) == 2 * 2 + 1

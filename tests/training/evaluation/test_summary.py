"""The report of an evaluation, of predictors whose answers are known."""

from __future__ import annotations

import pytest

from tests.training.evaluation.test_evaluator import CARS, results
from tests.training.fake_predictor import FakePredictor
from training.evaluation.reporting import Panel, StudyReport, Table
from training.evaluation.summary import evaluation_report


@pytest.fixture(scope="module")
def report() -> StudyReport:
    content = results(knower=FakePredictor(CARS, known=4), clicker=FakePredictor(CARS))
    content["models"]["clicker"]["seconds_per_click"]["toy"] = 0.5
    content["models"]["clicker"]["seconds_per_encode"]["toy"] = 2
    return evaluation_report(content, "Cars", "python -m training.evaluate")


def test_it_says_how_it_was_measured(report: StudyReport) -> None:
    assert report.about.startswith("AP at IoU 0.5, percent, after so many clicks a patch")
    assert "means of 2 click seeds, clicks of the strategy centre." in report.about
    assert report.commands == ["python -m training.evaluate"]
    assert report.weights == {"knower": "00", "clicker": "00"}
    assert report.clicks == [0, 1, 2, 4]


def panel(report: StudyReport, subset: str) -> Panel:
    (found,) = [
        one for one in report.panels if one.title == f"toy (3 pictures, 12 objects): {subset}"
    ]
    return found


def test_curves(report: StudyReport) -> None:
    assert [(one.name, one.ap50, one.area) for one in panel(report, "all").curves] == [
        ("knower", [100, 100, 100, 100], 100),
        ("clicker", [0, 25.743, 50.495, 100], 50.371),
        ("knower, model only", [100, 100, 100, 100], 100),
        ("clicker, model only", [0, 0, 0, 0], 0),
        ("knower, passthrough", [100, 100, 100, 100], 100),
    ]
    unclicked = {one.name: (one.ap50, one.area) for one in panel(report, "unclicked").curves}
    assert unclicked["clicker"] == ([0, 0, 0, None], 0)
    assert set(unclicked) == {"knower", "clicker", "knower, passthrough"}
    unseen = {one.name: one.ap50 for one in panel(report, "unseen classes").curves}
    assert unseen["clicker"] == [0, None, None, None]


def test_differences_are_from_the_first_model_as_served(report: StudyReport) -> None:
    found = {one.name: one.difference for one in panel(report, "all").curves}
    assert found["knower"] is None
    assert found["clicker"] is not None
    assert found["clicker"][1] == [-74.257, -74.257, -74.257]  # all pictures are alike
    assert found["clicker, model only"] is None
    assert found["knower, passthrough"] == [[0, 0, 0]] * 4


def table(report: StudyReport, title: str) -> Table:
    (found,) = [one for one in report.tables if one.title == f"toy: {title}"]
    return found


def test_tables(report: StudyReport) -> None:
    classes = table(report, "AP of each class, knower")
    assert classes.rows == [("car", 100, 100, 100, 100)]
    others = {name: values for name, *values in table(report, "other metrics").rows}
    assert others["clicker, all: VOC07 AP"][:4] == [0, 27.273, 54.545, 100]
    shown = {name: values for name, *values in table(report, "clicker, scores from 0.3 on").rows}
    assert shown["recall"] == [0, 25, 50, 100]
    assert shown["missed objects a picture"] == [4, 3, 2, 0]
    reached = {name: values for name, *values in table(report, "clicker, clicks to reach").rows}
    assert reached["F1 of 0.9"] == [4, 3, 0, 4]


def test_seconds_of_an_annotator(report: StudyReport) -> None:
    rows = table(report, "seconds, the last three estimated of a picture").rows
    (row,) = [row for row in rows if row[0] == "clicker"]
    # Four objects at 327.7 / 58.3 s. A click costs 6.9 s and saves one object.
    assert row == ("clicker", 0.5, 2, 22.484, 24.484, 0)

"""Means, tables and plots of jobs, from numbers that a person can check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training.open.economy import Work
from training.open.jobs_report import JobsReport, means


def row(multi: bool, carried: float, own: float, times: float) -> dict[str, Any]:
    work = Work(objects=20, clicks=1, accepted=1, drawn=2).to_json()
    work |= {"by hand": 100.0, "assisted": 100 / times, "ratio": times}
    each = {
        "carried": {"all": carried, "unclicked": None},
        "own": {"all": own, "unclicked": None},
    }
    return {
        "kind": "bars",
        "multi": multi,
        "pictures": 2,
        "transfer": {"1": each},
        "economy": {"carried": work, "alone": work | {"ratio": 1.0}},
    }


def test_means_table_and_plot(tmp_path: Path) -> None:
    results = {"a": row(False, 40.0, 80.0, 2.0), "b": row(False, 80.0, 80.0, 5.0)}
    results["c"] = row(True, 9.0, 10.0, 3)
    fitted = {"before": {"carried": {"all": 30.0}, "own": {"all": 40.0}}}
    fitted["after"] = {"carried": {"all": 50.0}, "own": {"all": 45.0}}
    lower = {when: {way: {"all": 10.0} for way in ("carried", "own")} for when in fitted}
    results["a"]["adapt"] = {"1": fitted, "3": fitted, "10": None}
    results["b"]["adapt"] = {"1": lower, "3": None, "10": None}
    found = means(results, (1,))
    assert found["single-class"]["sets"] == 2
    assert found["single-class"]["transfer"]["1"]["carried"]["all"] == 60.0
    assert found["single-class"]["transfer"]["1"]["ratio"] == {"all": 75.0, "unclicked": None}
    assert found["single-class"]["economy"] == {"carried": 3.5, "alone": 1.0}
    assert found["single-class"]["adapt"] == {
        number: {
            "before": {"carried": 30.0, "own": 40.0},
            "after": {"carried": 50.0, "own": 45.0},
        }
        for number in ("1", "3")
    }
    assert found["single-class"]["adapted sets"] == 1, "the other has too few pictures for three"
    assert found["multi-class"]["economy"]["carried"] == 3.0
    report = JobsReport(
        commands=["go"],
        weights=["w"],
        threshold=None,
        seeds=1,
        study={},
        counts=(1,),
        sets=results,
    )
    shown = report.page("x.png")
    assert "| a | 2 | 40.0 | 80.0 | 50.0 | - | 100.0 | 50.0 | 2.00 | 1.00 |" in shown
    assert "| **single-class** | - | 60.0 | 80.0 | 75.0 | - | - | - | 3.50 | 1.00 |" in shown
    # 6.4 s to click, 6.4 s to accept, 11.2 s to draw.
    assert "| single-class | 26.6 | 0.0 | 0.0 | 26.6 | 0.0 | 46.7 | 0.0 | 0.0 | 0.0 |" in shown
    assert "| a | 3 | 30.0 | 50.0 |\n| b | 1 | 10.0 | 10.0 |" in shown
    assert "| **single-class**, sets: 1 | 1 | 30.0 | 50.0 |" in shown
    report.write(tmp_path / "x.json")
    assert JobsReport.read(tmp_path / "x.json").page("x.png") == shown
    assert (tmp_path / "x.png").stat().st_size > 5000

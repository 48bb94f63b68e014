"""Seconds an image by the model of the paper's user study."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.training.evaluation.test_measuring import CARS, results
from tests.training.fake_predictor import FakePredictor
from training.annotation_time import (
    Measurement,
    Study,
    estimates,
    main,
    of_set,
    of_study,
    read_evaluation,
)

ROUND = Study(
    manual_interactions=50,
    manual_seconds=250,
    assisted_interactions=10,
    assisted_seconds=60,
    latency=1,
)
"""5 s by hand, and 5 s assisted besides a second of waiting."""


def test_published_seconds_are_reproduced() -> None:
    (published,) = estimates(Study())
    assert published.manual == pytest.approx(327.7)
    assert published.assisted == pytest.approx(114.7)
    # 327.7 / 114.7 = 2.857; the paper cuts it to 2.85.
    assert int(100 * published.ratio) == 285
    assert Study().manual_interaction == pytest.approx(5.6, abs=0.05)
    assert Study().assisted_interaction(0) == pytest.approx(6.4, abs=0.05)


def test_each_second_of_latency_costs_as_many_as_there_are_interactions() -> None:
    slow, slower = (of_study(Study(), latency) for latency in (1, 2))
    assert slower.assisted - slow.assisted == pytest.approx(17.9)
    assert slower.manual == slow.manual


def test_latency_of_the_study_is_replaced() -> None:
    one = of_study(ROUND, latency=0.5, opening=2)
    assert one.manual == pytest.approx(250)
    assert one.assisted == pytest.approx(10 * 5.5 + 2)
    assert one.ratio == pytest.approx(250 / 57)


def test_best_number_of_clicks_is_taken() -> None:
    corrections = {
        0: 15.0,  # 15 * 5 = 75
        5: 4.0,  # 5 * 5.5 + 4 * 5 = 47.5
        20: 0.0,  # 20 * 5.5 = 110
    }
    one = of_set(ROUND, Measurement("toy", 30, corrections, latency=0.5, opening=2))
    assert one.manual == pytest.approx(150)
    assert one.assisted == pytest.approx(49.5)
    assert one.about == "30.0 objects by hand against 5 clicks and 4.0 corrections"


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    content = results(paster=FakePredictor(CARS))
    content["models"]["paster"]["seconds_per_click"]["toy"] = 0.5
    content["models"]["paster"]["seconds_per_encode"]["toy"] = 2
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content))
    return path


def test_an_evaluation_is_put_in(evaluation: Path) -> None:
    (measured,) = read_evaluation(evaluation)
    assert measured == Measurement("paster on toy", 4, {0: 4, 1: 3, 2: 2, 4: 0}, 0.5, 2)
    published, study, own = estimates(ROUND, [measured])
    assert published.assisted == pytest.approx(60)
    assert study.assisted == pytest.approx(57)
    # An interaction by hand costs 5 s; a click 5.5 s, and here it saves but one.
    assert own.title == "paster on toy"
    assert own.manual == pytest.approx(20)
    assert own.assisted == pytest.approx(22)
    assert own.about == "4.0 objects by hand against 0 clicks and 4.0 corrections"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"manual_seconds": 0}, "manual seconds must be positive, it is 0"),
        ({"assisted_interactions": float("nan")}, "assisted interactions must be positive"),
        ({"latency": -1}, "latency must be positive, it is -1"),
        ({"latency": 7}, "a latency of 7 s is longer than an assisted interaction of 6.41 s"),
    ],
)
def test_constants_are_checked(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Study(**change)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["annotation_time", *arguments])
    main()


def test_the_command(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    evaluation: Path,
) -> None:
    out = tmp_path / "reports" / "time.json"
    run(monkeypatch, "--evaluation", str(evaluation), "--out", str(out))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:6] == ["study", "as", "published", "327.7", "114.7", "2.86"]
    assert len(lines) == 4
    content = json.loads(out.read_text())
    assert content["study"]["manual_interactions"] == 58.3
    assert [row["title"] for row in content["estimates"]][2] == "paster on toy"


@pytest.mark.parametrize(
    "content", ["{}", "[]", "no JSON", '{"models": {"a": {}}, "sets": {"b": {}}}']
)
def test_other_files_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture, content: str
) -> None:
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, "--evaluation", str(path))
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "results.json is no evaluation of training.evaluate" in line

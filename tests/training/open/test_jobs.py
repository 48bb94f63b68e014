"""Jobs: the command, and what is measured after adapting."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.c3det.open.small import saved
from tests.training.open.small_jobs import NAMES, a_picture
from training.evaluation.protocol import EvaluationSet
from training.open import jobs, test_sets
from training.open.adapt import AdaptSettings
from training.open.transfer import Transfer


def test_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = (a_picture(4), a_picture(3), a_picture(4))
    sets = {
        "coins_il": EvaluationSet("coins_il", NAMES, (0, 1), pictures, "bars"),
        "coins_ph": EvaluationSet("coins_ph", NAMES, (0, 1), pictures[:1], "bars"),
    }
    asked: list[tuple[str, int]] = []

    def load(name: str, pictures: int) -> EvaluationSet:
        asked.append((name, pictures))
        return sets[name]

    monkeypatch.setattr(test_sets, "load", load)
    out = tmp_path / "new" / "jobs.json"
    call = ["--weights", str(saved(tmp_path)), "--out", str(out), "--seeds", "1", "--sets"]
    jobs.main([*call, "coins_il", "coins_ph"])
    assert "coins_ph: left out, it has a single picture" in capsys.readouterr().out
    assert asked == [("coins_il", 20), ("coins_ph", 20)]
    content = json.loads(out.read_text())
    assert list(content["sets"]) == ["coins_il"]
    assert content["sets"]["coins_il"]["economy"]["carried"]["objects"] == 11
    assert list(content["sets"]["coins_il"]["transfer"]) == ["1", "3", "5"]
    assert "| coins_il | 3 |" in out.with_suffix(".md").read_text()
    assert out.with_suffix(".png").is_file()
    with pytest.raises(SystemExit):
        jobs.main([*call, "coins_ph", "--pictures", "30"])
    assert "no set has two pictures" in capsys.readouterr().err
    assert asked[2:] == [("coins_ph", 30)]


def test_adapting_is_measured_on_the_pictures_after_those_that_are_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pictures = tuple(replace(a_picture(6), name=f"{number}") for number in range(4))
    asked: list[tuple[int, str]] = []

    class Asked(Transfer):
        def add(self, place: int, encoded: Any) -> None:
            asked.append((place, encoded))

        def rows(self, first: int = 0) -> Any:
            return {"3": f"from {first}, {len(asked)} asked"}

    monkeypatch.setattr(jobs, "Transfer", Asked)
    monkeypatch.setattr(jobs, "OpenModel", lambda network: network)
    monkeypatch.setattr(jobs, "Predictor", lambda model, card: model)
    monkeypatch.setattr(jobs, "EncodedPicture", lambda predictor, one: f"{predictor} {one.name}")
    fits = iter([True, False])
    monkeypatch.setattr(
        jobs, "fit", lambda *given: SimpleNamespace(network="fitted", gained=next(fits))
    )
    test_set = EvaluationSet("toy", NAMES, (0, 1), pictures, "bars")
    start: Any = "start"
    card: Any = None
    found = jobs.adapted(start, card, test_set, Asked(NAMES, (3,), 1), AdaptSettings(), 1)
    assert asked == [(n, f"fitted {n}") for n in range(4)]
    assert found["1"] == {"before": "from 1, 0 asked", "after": "from 1, 4 asked", "gained": True}
    assert found["3"]["before"] == found["3"]["after"] == "from 3, 4 asked"
    assert not found["3"]["gained"]
    assert found["10"] is None  # nothing is left to be measured on

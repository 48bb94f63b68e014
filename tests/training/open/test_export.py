"""Weights and card of a run, and the threshold that is measured for them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from c3det.clicks import Click
from c3det.detections import Detections
from c3det.predictor import Predictor, load
from c3det.weights import read_card
from tests.c3det.open.small import CARD, pixels, untrained
from training.data.annotated import Annotated
from training.evaluation.protocol import EvaluationSet
from training.open import export as exporting
from training.open.train import save_weights

BOXES = np.array([[10 + 20 * n, 10, 22 + 20 * n, 22] for n in range(8)], np.float32)


class Knowing(Predictor):
    """Finds the objects: those of a set called "sure" at 0.6, all others at 0.3, with a wrong box
    at 0.2 of each."""

    def encode(self, image: np.ndarray) -> np.ndarray:  # type: ignore[override]
        return image

    def detect(self, features: np.ndarray, *args: object, **kwargs: object) -> Detections:  # type: ignore[override]
        score = 0.6 if features[0, 0, 0] else 0.3
        boxes = np.concatenate([BOXES, BOXES + np.float32([0, 60, 0, 60])])
        scores = np.repeat(np.array([score, 0.2], np.float32), len(BOXES))
        labels, clicks = np.zeros(len(boxes), np.int64), np.full(len(boxes), -1, np.int64)
        return Detections(boxes, scores, labels, clicks)


def a_set(name: str, sure: bool) -> EvaluationSet:
    image = np.full((100, 180, 3), int(sure), np.uint8)
    picture = Annotated(name, image, BOXES, np.zeros(len(BOXES), np.int64))
    return EvaluationSet(name, ("one",), (0,), (picture,))


def test_the_threshold_is_that_of_the_best_mean_f1() -> None:
    knowing = Knowing(None, CARD)  # type: ignore[arg-type]
    # From 0.21 on nothing is wrong, from 0.31 on half of the sets have nothing.
    got = exporting.threshold_of_best_mean_f1(
        knowing, [a_set("sure", True), a_set("unsure", False)]
    )
    assert got == pytest.approx(0.21)
    one = Annotated("one", np.zeros((9, 9, 3), np.uint8), BOXES[:1], np.zeros(1, np.int64))
    clicked = replace(a_set("all", True), pictures=(one,))
    with pytest.raises(ValueError, match="choose --threshold"):
        exporting.threshold_of_best_mean_f1(knowing, [clicked])


def test_a_run_becomes_weights_with_a_card(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "made" / "open.safetensors"
    run.mkdir()
    save_weights(untrained(), run / "model.safetensors")
    origin = {
        "trained on": {"real": {"coins_il": {}}},
        "without": [],
        "settings": {"real": 0.5},
        "licence": {"weights": "MIT", "pictures of before": "CC0"},
    }
    record = {
        "steps": 3,
        "trained on": {"real": {"bolts": {"fold": 1}, "apples": {"fold": 0}}},
        "without": ["apples"],
        "settings": {"start": str(run / "first"), "real": 0.5},
        "origin": origin,
    }
    (run / "run.json").write_text(json.dumps(record))
    exporting.main(["--run", str(run), "--out", str(out), "--threshold", "0.4", "--limit", "None."])
    card = read_card(out)
    assert (card.name, card.classes, card.score_threshold) == ("open", (), 0.4)
    assert card.training == record | {"settings": {"start": "first", "real": 0.5}}
    assert card.limits == ("None.",)
    assert card.licence["weights"] == "Apache-2.0"
    pictures = {name for name in card.licence if name.startswith("pictures")}
    assert pictures == {f"pictures of {name}" for name in ("bolts", "coins_il", "before")}
    predictor = load(out)
    answers = predictor.open(pixels(80, 90)).detect([Click(20, 20, 0)], 0)
    assert len(answers.detections)
    # In half precision, of which nothing is lost on the way.
    trained, written = load_file(run / "model.safetensors"), load_file(out)
    assert trained.keys() == written.keys()
    assert all(bool((trained[name] == written[name]).all()) for name in trained)


def test_what_is_no_open_model_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "w.safetensors", tmp_path / "out.safetensors"
    state = dict(untrained().named_parameters())
    state.pop("dense.bias")
    save_file({name: value.detach().clone() for name, value in state.items()}, path)
    with pytest.raises(SystemExit):
        exporting.main(["--weights", str(path), "--out", str(out), "--threshold", "0.4"])
    assert "does not hold the weights of an open detector" in capsys.readouterr().err
    assert not out.exists()


def test_the_threshold_is_measured_on_what_was_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_weights(untrained(), tmp_path / "model.safetensors")
    asked: list[tuple[str, int]] = []
    monkeypatch.setattr(exporting.test_sets, "load", lambda *given: asked.append(given) or given)
    monkeypatch.setattr(exporting, "threshold_of_best_mean_f1", lambda *_: 0.25)
    record = {
        "trained on": {"real": {"bolts": {}, "apples": {}}},
        "without": [],
        "settings": {"real": 0.5},
    }
    given = ["--run", str(tmp_path), "--out", str(tmp_path / "out.safetensors")]
    (tmp_path / "run.json").write_text(json.dumps(record))
    exporting.main(given)
    assert asked == [("apples", 3), ("bolts", 3)]
    record["trained on"]["real"]["boats"] = {}
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(SystemExit):
        exporting.main(given)
    assert "run.json names the real set boats, which training/data" in capsys.readouterr().err
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(SystemExit):
        exporting.main(given)
    assert "run.json is not what training.open.train writes" in capsys.readouterr().err

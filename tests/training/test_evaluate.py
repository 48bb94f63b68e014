"""The command, and the choice of the threshold."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from c3det.closed.architecture import Architecture
from c3det.weights import Card, WeightsError
from tests.training.fake_predictor import CLASSES, FakePredictor, picture, pictures_of
from training import evaluate, robustness
from training.clicks.sequences import load_sequences
from training.evaluate import main
from training.evaluation import protocol
from training.evaluation import settings as evaluation_settings
from training.evaluation.evaluator import best_threshold
from training.evaluation.reporting import StudyReport
from training.evaluation.settings import named_weights

CARS = pictures_of(3)


def test_best_threshold_lies_above_the_wrong_boxes() -> None:
    # Right boxes have the scores 1 and 0.5, wrong ones 0.1 (or 0.445).
    knower = FakePredictor(CARS, known=4)
    assert best_threshold(knower, CARS.pictures) == pytest.approx(0.11)
    high = FakePredictor(CARS, known=4, wrong=0.445)
    assert best_threshold(high, CARS.pictures) == pytest.approx(0.45)


@pytest.mark.parametrize("module", [evaluate, robustness])
def test_commands_have_the_name_that_starts_them(
    module: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        module.main(["--help"])
    assert capsys.readouterr().out.startswith(f"usage: python -m {module.__name__} ")


def test_no_threshold_without_validation_pictures() -> None:
    with pytest.raises(ValueError, match="no validation picture holds an object"):
        best_threshold(FakePredictor(CARS, known=4), [])


def test_weights_have_names() -> None:
    assert named_weights(["runs/a.safetensors", "b=runs/a.safetensors"]) == {
        "a": Path("runs/a.safetensors"),
        "b": Path("runs/a.safetensors"),
    }
    with pytest.raises(ValueError, match="two weights have the name a: tell them apart"):
        named_weights(["x/a.safetensors", "y/a.safetensors"])
    with pytest.raises(ValueError, match="'x/y' is not a name"):
        named_weights(["x/y=a.safetensors"])


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run the command in a folder, with fake weights of two kinds and a set of five pictures."""
    source = SimpleNamespace(
        name="toy",
        classes=CLASSES,
        counted=("car",),
        test_pictures=lambda limit: [picture(i) for i in range(5)][:limit],
    )

    def load(path: Path, device: str) -> FakePredictor:
        if path.name == "broken.safetensors":
            raise WeightsError("the weights are broken")
        return FakePredictor(pictures_of(5), known=2, reads=path.stem == "reader")

    monkeypatch.setattr(protocol, "load_set", lambda spec: source)
    monkeypatch.setattr(evaluation_settings, "load", load)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> None:
        main(["--sets", "toy", "--out", "results/out.json", "--bootstrap", "10", *arguments])

    return run


def read(path: str) -> Any:
    return json.loads(Path(path).read_text())


def test_the_command_writes_everything(command: Any, capsys: pytest.CaptureFixture) -> None:
    command(
        *["--weights", "reader.safetensors", "plain=other.safetensors"],
        *["--seeds", "2", "--clicks", "5", "0", "1", "--pictures", "3"],
        *["--raw", "raw.json", "--detections", "found"],
    )
    content = read("raw.json")
    assert content["clicks"] == [0, 1, 5]
    assert content["seeds"] == [0, 1]
    assert content["sets"]["toy"]["pictures"] == 3
    modes = {name: [*model["sets"]["toy"]] for name, model in content["models"].items()}
    assert modes == {
        "reader": ["served", "model-only", "passthrough"],
        "plain": ["served", "model-only"],
    }
    assert len(load_sequences(Path("results/out.clicks.json"))) == 2 * 3
    report = StudyReport.read(Path("results/out.json"))
    assert list(report.weights) == ["reader", "plain"]
    assert Path("results/out.md").read_text() == report.page("out.png")
    assert Path("results/out.png").is_file()
    assert len(read("found/toy/truth.json")["annotations"]) == 12
    assert len([*Path("found/toy/plain").rglob("*.json")]) == 2 * 2 * 3
    assert "| reader, passthrough |" in capsys.readouterr().out


def test_clicks_are_replayed(command: Any) -> None:
    first = ["--weights", "reader.safetensors", "--seeds", "1", "--clicks", "0", "2"]
    command(*first, "--strategy", "in-box")
    clicks = load_sequences(Path("results/out.clicks.json"))
    command(*first, "--replay", "results/out.clicks.json", "--no-passthrough", "--raw", "raw.json")
    assert load_sequences(Path("results/out.clicks.json")) == clicks
    assert [*read("raw.json")["models"]["reader"]["sets"]["toy"]] == [
        "served",
        "model-only",
    ]


def test_error_clicks_are_written_by_model(command: Any) -> None:
    weights = ["--weights", "reader.safetensors", "plain.safetensors"]
    command(*weights, "--seeds", "1", "--clicks", "0", "2", "--strategy", "errors")
    own = {
        name: load_sequences(Path(f"results/out.{name}.clicks.json"))
        for name in ("reader", "plain")
    }
    # Two objects are missed: told of one, the reader finds the other.
    assert all(set(one.objects) == {2, 3} for one in own["plain"].values())
    assert any(set(one.objects) != {2, 3} for one in own["reader"].values())
    command(
        *weights, "--seeds", "1", "--clicks", "0", "2", "--replay", "results/out.plain.clicks.json"
    )
    assert load_sequences(Path("results/out.clicks.json")) == own["plain"]


def test_budget_of_a_picture(command: Any) -> None:
    command("--weights", "reader.safetensors", "--seeds", "1", "--budget", "picture")
    assert "after so many clicks a picture" in read("results/out.json")["about"]


def test_the_card_is_written(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card("n", CLASSES, Architecture("starter"), 0.3, ((1.0, 1.0),) * 3, {}, {}, {})
    written = {}
    monkeypatch.setattr(evaluate, "read_card", lambda path: card)
    monkeypatch.setattr(evaluate, "save_card", lambda path, new: written.update({path: new}))
    command("--weights", "x=reader.safetensors", "y.safetensors", "--seeds", "1", "--card")
    ((path, new),) = written.items()
    assert path == Path("reader.safetensors")
    assert new.results["weights"] == {"x": "00", "y": "00"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", "broken.safetensors"], "the weights are broken"),
        (["--weights", "a.safetensors", "x/a.safetensors"], "two weights have the name a"),
        (["--weights", "a.safetensors", "--strategy", "best"], "no click strategy 'best'"),
        (["--weights", "a.safetensors", "--seeds", "0"], "at least one click seed"),
        (["--weights", "a.safetensors", "--clicks", "-1"], "the numbers of clicks must rise"),
        (["--weights", "a.safetensors", "--out", "a.md"], "--out must end in .json, not a.md"),
        (["--weights", "a.safetensors", "--replay", "none.json"], "none.json"),
        (["--weights", "a.safetensors", "--sets", "toy", "x"], "two sets have the name toy"),
        (["--weights", "a.safetensors", "--pictures", "0"], "--pictures: must be a whole number"),
        (["--weights", "a.safetensors", "--device", "gpu"], "--device: must be cpu, cuda, or such"),
        (["--weights", "a.safetensors", "--beside", "b"], "--beside is for the open model, but a."),
        (["--weights", "a.safetensors", "--threshold", "2"], "threshold must be between 0 and 1"),
    ],
)
def test_wrong_input_gives_one_sentence(
    command: Any, capsys: pytest.CaptureFixture, arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        command(*arguments)
    assert stopped.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("python -m training.evaluate: ")
    assert message in line
    assert not Path("results").exists()

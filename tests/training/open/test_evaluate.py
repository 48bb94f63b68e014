"""Evaluation: clicks, measures and baselines on pictures that a person can check."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from c3det.clicks import Click
from c3det.detections import Detections
from c3det.weights import Card
from tests.c3det.open.small import CARD, untrained
from training.clicks.sequences import load_sequences
from training.data import real_sets
from training.data.annotated import Annotated
from training.data.index import to_coco
from training.evaluate import main
from training.evaluation.protocol import ClickPlan, EvaluationSet
from training.open import evaluate, jobs, test_sets
from training.open.baselines import NearestNeighbour, TemplateMatching, best_of
from training.open.clicking import Clicked, click_at_random, click_errors
from training.open.evaluate import (
    Effect,
    NegativeClicks,
    RepeatedClicks,
    agnostic,
    evaluate_set,
    quality,
)
from training.open.reporting import OpenReport, means
from training.open.weights import check_folds

BOXES = np.array(
    [[10, 10, 20, 20], [40, 10, 60, 30], [70, 10, 80, 20], [10, 50, 20, 60], [40, 50, 50, 60]],
    np.float32,
)
"""Three objects of class 0, of which the second is the largest, and two of class 1."""

LABELS = np.array([0, 0, 0, 1, 1])
CLOSED = Path(__file__).resolve().parents[3] / "serverless" / "weights" / "starter.safetensors"


def a_picture() -> Annotated:
    return Annotated("one", np.zeros((100, 100, 3), np.uint8), BOXES, LABELS)


def a_set(name: str = "toy") -> EvaluationSet:
    return EvaluationSet(name, ("bar", "dot"), (0, 1), (a_picture(),), "bars")


def found(rows: Sequence[tuple[int, float, int]]) -> Detections:
    """Detections on objects, ``(object, score, label)``; object -1 is the ground."""
    ground = np.array([80, 80, 95, 95], np.float32)
    boxes = [ground if number < 0 else BOXES[number] for number, _, _ in rows]
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in rows], np.float32),
        np.array([label for _, _, label in rows], np.int64),
        np.full(len(rows), -1, np.int64),
    )


class Fake:
    """Finds what it is told to; a negative click takes away all wrong boxes but those far left."""

    def __init__(self, rows: Sequence[tuple[int, float, int]]) -> None:
        self.rows = rows
        self.asked: list[list[Click]] = []

    def read(self, image: NDArray[np.uint8]) -> Fake:
        return self

    def any_object(self) -> Detections:
        return found(self.rows)

    def detect(self, clicks: Sequence[Click], clicked: NDArray[np.float32]) -> Detections:
        assert len(clicks) == len(clicked)
        self.asked.append(list(clicks))
        rows = self.rows
        if not all(click.positive for click in clicks):
            rows = [row for row in rows if row[0] >= 0]
        return found(rows)

    def answers(self, clicks: Sequence[Click]) -> NDArray[np.float32] | None:
        return None


class Chooser(Fake):
    """Answers with half of an object to a click of the choice that it needs, else with less.

    It finds the objects whose clicks it answers rightly, and what it is told to.
    """

    def __init__(self, needed: Sequence[int]) -> None:
        super().__init__([])
        self.needed = needed
        self.answered: list[list[int]] = []

    def _is_right(self, click: Click) -> tuple[int, bool]:
        point = np.array([click.x, click.y])
        inside = (BOXES[:, :2] <= point).all(1) & (point <= BOXES[:, 2:]).all(1)
        number = int(np.flatnonzero(inside)[0])
        return number, self.needed[number] == click.choice

    def detect(self, clicks: Sequence[Click], clicked: NDArray[np.float32]) -> Detections:
        right = [
            (number, click.label)
            for click in clicks
            for number, it in [self._is_right(click)]
            if it
        ]
        return found([(number, 0.9, label) for number, label in right])

    def answers(self, clicks: Sequence[Click]) -> NDArray[np.float32]:
        self.answered.append([click.choice for click in clicks])
        boxes = np.zeros((len(clicks), 4), np.float32)
        for row, (number, right) in enumerate(map(self._is_right, clicks)):
            x1, y1, x2, y2 = BOXES[number]
            boxes[row] = x1, y1, x2, y1 + (y2 - y1) * (0.5 if right else 0.49)
        return boxes


def test_clicks_with_a_wrong_box_are_repeated() -> None:
    """Until the box is right, twice at most; what does not help is taken back."""
    method = Chooser([0, 1, 2, 7, 0])
    repeated = RepeatedClicks()
    (state,) = click_at_random(a_picture(), (3,), seed=0)
    order = state.objects
    repeated.measure(a_picture(), state, state.detect(method), method)
    assert {count: sum(right) for count, right in repeated.right.items()} == {0: 2, 1: 3, 2: 4}
    assert method.answered == [
        [0] * 5,
        [{0: 0, 4: 0}.get(number, 1) for number in order],
        [{0: 0, 4: 0, 1: 1}.get(number, 2) for number in order],
    ]
    (last,) = repeated.found[2]
    assert [click.choice for click in last[1].clicks] == [
        {1: 1, 2: 2}.get(number, 0) for number in order
    ]
    assert len(last[2]) == 4
    out = repeated.results([0, 1], 0.3)["repeated"]
    assert [out[count]["right"] for count in "012"] == [40.0, 60.0, 80.0]
    assert out["0"]["all"]["AP"] < out["1"]["all"]["AP"] < out["2"]["all"]["AP"] < 100
    assert state.clicks[0].choice == 0, "the clicks that were given stay as they were"
    assert out["2"]["all"]["F1"] == 88.89
    assert repeated.results([0, 1], 0.95)["repeated"]["2"]["all"]["F1"] == 0, "none is shown"
    # Of another picture, in which no repeat brings anything, to the mean of both.
    other = Chooser([0, 0, 0, 7, 7])
    repeated.measure(a_picture(), state, state.detect(other), other)
    out = repeated.results([0, 1], 0.3)["repeated"]
    assert [out[count]["right"] for count in "012"] == [50.0, 60.0, 70.0]
    assert [len(repeated.found[count]) for count in range(3)] == [2, 2, 2]
    # A method without a choice is not measured.
    nothing = RepeatedClicks()
    nothing.measure(a_picture(), state, found([]), Fake([(0, 0.9, 0)]))
    nothing.measure(a_picture(), Clicked(), found([]), method)  # nor is a picture without clicks
    assert nothing.results([0, 1], 0.3) == {}


def test_random_clicks_are_nested_and_on_their_objects() -> None:
    one, three = click_at_random(a_picture(), (1, 3), seed=0)
    assert len(one.clicks) == 2
    assert len(three.clicks) == 5  # class 1 has but two
    assert three.clicks[:2] == one.clicks
    assert sorted(three.objects) == [0, 1, 2, 3, 4]
    for click, index in zip(three.clicks, three.objects, strict=True):
        x1, y1, x2, y2 = BOXES[index].tolist()
        assert x1 <= click.x <= x2
        assert y1 <= click.y <= y2
        assert click.label == LABELS[index]
    assert click_at_random(a_picture(), (1, 3), seed=0)[0].clicks == one.clicks
    assert click_at_random(a_picture(), (1, 3), seed=1)[0].clicks != one.clicks


def test_a_person_clicks_the_largest_object_that_is_missed() -> None:
    # Found: object 0, 1 and 3. Missed: 2 of class 0, 4 of class 1.
    method = Fake([(0, 0.9, 0), (1, 0.9, 0), (3, 0.9, 1)])
    first, second = click_errors(a_picture(), (1, 2), method.read(np.zeros(0)), 0.3)
    assert first[0].objects == [1, 3]  # the largest of each
    assert second[0].objects == [1, 3, 2, 4]


def test_quality() -> None:
    pairs = [(a_picture(), found([(0, 0.9, 0), (-1, 0.8, 0), (1, 0.7, 0), (3, 0.9, 1)]))]
    # Class 0: precision 1 up to recall 1/3, 2/3 up to 2/3: (34 + 33 * 2/3) / 101 of COCO's points.
    # Class 1: precision 1 up to 1/2: 51 of 101 points.
    expected = 100 * ((34 + 33 * 2 / 3) / 101 + 51 / 101) / 2
    one = quality(pairs, [0, 1, 2], threshold=0.75)
    assert one["AP"] == pytest.approx(expected, abs=0.01)
    # Shown: two right, one wrong; three missed.
    assert one["F1"] == pytest.approx(100 * 4 / (4 + 1 + 3), abs=0.01)
    assert quality(pairs, [2], 0.5) == {"AP": None, "F1": None}


def test_agnostic_looks_at_no_class() -> None:
    pairs = [(a_picture(), found([(0, 0.9, 0), (3, 0.8, 0), (4, 0.7, 0)]))]
    assert agnostic(pairs)["recall"] == 60.0


def test_negative_clicks_are_counted() -> None:
    rows = [(0, 0.9, 0), (-1, 0.8, 0), (2, 0.6, 1), (3, 0.5, 1), (-1, 0.7, 0)]
    method = Fake(rows)
    state = Clicked()
    clicks = NegativeClicks()
    clicks.measure(a_picture(), state, found(rows), method, 0.3)
    effect = clicks.any
    # Class 0 has two wrong boxes on the ground: one is clicked, the other vanishes with it.
    # Class 1 has one wrong box: clicked, and no other.
    assert (effect.wrong, effect.removed) == (1, 1)
    # The right boxes, one of each class, were there in both tries.
    assert (effect.right, effect.lost) == (4, 0)
    assert [click.positive for click in method.asked[0]] == [False]
    assert (method.asked[0][0].x, method.asked[0][0].y) == (87.5, 87.5)
    assert effect.shares() == {"wrong boxes": 1, "removed": 100.0, "right boxes": 4, "lost": 0.0}
    # The two of class 0 are the background ones, the one of class 1 is on an object of class 0.
    assert clicks.background == Effect(wrong=1, removed=1, right=2, lost=0)
    assert clicks.look_alikes == Effect(wrong=0, removed=0, right=2, lost=0)
    assert len(method.asked) == 2, "a click that serves two measures is asked for once"


def test_look_alikes_are_on_objects_of_the_clicked_ones_class() -> None:
    # For class 2: the surest wrong box lies on the ground, two on objects of class 0, one on 1.
    rows = [(-1, 0.9, 2), (0, 0.8, 2), (1, 0.7, 2), (3, 0.6, 2), (4, 0.5, 1)]
    labels = np.array([0, 0, 2, 1, 1])

    class Removing(Fake):
        """A negative click takes away what lies on object 1, and a right box."""

        def detect(self, clicks: Sequence[Click], clicked: NDArray[np.float32]) -> Detections:
            self.asked.append(list(clicks))
            return found([row for row in self.rows if row[0] not in (1, 4)])

    method, clicks = Removing(rows), NegativeClicks()
    picture = Annotated("one", np.zeros((100, 100, 3), np.uint8), BOXES, labels)
    clicks.measure(picture, Clicked(), found(rows), method, 0.3)
    assert clicks.look_alikes == Effect(wrong=1, removed=1, right=1, lost=1)
    assert clicks.background == Effect(wrong=0, removed=0, right=1, lost=1)
    assert clicks.any == Effect(wrong=3, removed=1, right=1, lost=1)
    places = [(click.x, click.y, click.label) for (click,) in method.asked]
    assert places == [(87.5, 87.5, 2), (15, 15, 2)]


def test_means_of_negative_clicks_weigh_boxes_alike() -> None:
    one, two, none = (
        NegativeClicks(look_alikes=Effect(wrong, removed, 100, lost)).results()
        for wrong, removed, lost in ((1, 1, 0), (3, 0, 4), (0, 0, 2))
    )
    row: dict[str, Any] = {"multi": True, "0": None, "random": {}, "person": {}}
    found = means({"a": row | one, "b": row | two, "c": row | none}, ())
    assert found["negative, look-alikes"] == {"removed": 25.0, "lost": 2.0}
    assert found["negative, background"] == {"removed": None, "lost": None}, "nothing was measured"


def results(multi: bool = False, **precisions: float | None) -> dict[str, Any]:
    """Of a set, with AP after so many clicks, such as ``c3``."""
    after = {
        name[1:]: {"all": {"AP": value}, "unclicked": {"AP": value}}
        for name, value in precisions.items()
    }
    return {"kind": "x", "multi": multi, "0": None, "random": after, "person": after}


def a_report(counts: Sequence[int], **sets: Any) -> OpenReport:
    return OpenReport(commands=["go"], weights=["w"], threshold=None, counts=counts, sets=sets)


def test_a_page_has_the_clicks_that_were_measured() -> None:
    page = a_report((2, 5), model={"a": results(c2=41.0, c5=52.0)}).page("x.png")
    assert "| model, 2 | model, 5 |" in page
    assert "| a | x | - | 41.0 | 52.0 |" in page
    page = a_report((1, 2, 3), model={"a": results(c1=1.0, c2=2.0, c3=3.0)}).page("x.png")
    assert "| model, 1 | model, 3 |" in page
    assert "difference" not in page


def test_differences_are_paired_by_set() -> None:
    first = {
        name: results(c3=value) for name, value in zip("abcd", (10.0, 50, 90, 70), strict=True)
    }
    # Two better in three sets; of the fourth nothing is known.
    other = {
        name: results(c3=value) for name, value in zip("abcd", (12.0, 52, 92, None), strict=True)
    }
    mixed = {
        name: results(c3=value) for name, value in zip("abcd", (30.0, 30, 90, 70), strict=True)
    }
    lone = {"a": results(True, c3=12.0)}
    page = a_report((3,), model=first, other=other, mixed=mixed, lone=lone).page("x.png")
    assert (
        "| difference from model, 95 % interval over the sets, and their number | after 3 |" in page
    )
    assert "| other: single-class | +2.0 (+2.0 to +2.0), 3 |" in page
    (line,) = [one for one in page.splitlines() if one.startswith("| mixed: single-class")]
    assert re.fullmatch(r"\| mixed: single-class \| \+0.0 \(-1\d.\d to \+1\d.\d\), 4 \|", line)
    assert "| lone: multi-class | -, 1 |" in page, "one set tells nothing of others"


def test_boxes_are_matched_once_without_clicks(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    match = evaluate.metrics.match
    monkeypatch.setattr(evaluate.metrics, "match", lambda *given: calls.append(1) or match(*given))
    assert agnostic([(a_picture(), found([(0, 0.9, 0)]))])["recall"] == 20.0
    assert len(calls) == 1


def test_a_whole_set(tmp_path: Path) -> None:
    method = Fake([(0, 0.9, 0), (1, 0.8, 0), (2, 0.7, 0), (3, 0.6, 1), (4, 0.5, 1)])
    plan = ClickPlan(seeds=(0, 1), counts=(1, 3))
    one = evaluate_set("fake", method, a_set(), plan, 0.3, tmp_path)
    assert (one["pictures"], one["objects"], one["multi"]) == (1, 5, True)
    assert one["0"] == {"AP": 100.0, "recall": 100.0}
    perfect = {"AP": 100.0, "F1": 100.0}
    assert one["random"]["1"] == {"all": perfect, "unclicked": perfect}
    # After three clicks a class nothing is left that nobody clicked.
    assert one["random"]["3"]["unclicked"] == {"AP": None, "F1": None}
    assert means({"toy": one}, (1, 3))["multi-class"]["person"]["1"]["all"] == perfect
    sets = {"method": {"toy": one}}
    report = OpenReport(commands=["go"], weights=["w"], threshold=None, counts=(1, 3), sets=sets)
    assert "| toy | bars | 100.0 | 100.0 | - |" in report.page("toy.png")
    folder = tmp_path / "toy" / "fake"
    assert len([*folder.rglob("seed-*.json")]) == 1 + 2 * 2 + 2
    blind = json.loads((folder / "no clicks" / "seed-0-clicks-0.json").read_text())
    assert [row["category_id"] for row in blind] == [1] * 5
    kept = json.loads((folder / "random" / "seed-1-clicks-3.json").read_text())
    assert kept[0]["bbox"] == [10, 10, 10, 10]
    clicks = load_sequences(folder / "clicks.json")
    assert len(clicks) == 2 * 2 + 2
    for sequence in clicks.values():
        for click, index in zip(sequence.clicks, sequence.objects, strict=True):
            assert LABELS[index] == click.label
    assert len(json.loads((tmp_path / "toy" / "truth.json").read_text())["annotations"]) == 5


def test_what_repeats_bring_is_a_table_of_the_page() -> None:
    plan = ClickPlan(seeds=(0,), counts=(1, 3))
    one = evaluate_set("fake", Chooser([0, 1, 2, 7, 0]), a_set(), plan, 0.3)
    sets = {"method": {"toy": one, "twin": one}}
    report = OpenReport(commands=["go"], weights=["w"], threshold=None, counts=(1, 3), sets=sets)
    page = report.page("toy.png")
    assert "right boxes under clicks | AP, all objects | AP, unclicked |" in page
    for repeats, right in enumerate((40.0, 60.0, 80.0)):
        precision = one["repeated"][str(repeats)]["all"]["AP"]
        assert f"| multi-class: {repeats} | {right} | {precision:.1f} | - |" in page


def test_template_matching_finds_copies() -> None:
    image = np.random.default_rng(0).integers(0, 60, (90, 90, 3)).astype(np.uint8)
    thing = np.random.default_rng(1).integers(0, 255, (12, 10, 3)).astype(np.uint8)
    for x, y in ((5, 7), (40, 30), (70, 60)):
        image[y : y + 12, x : x + 10] = thing
    one = TemplateMatching().read(image)
    box = np.array([[5, 7, 15, 19]], np.float32)
    answer = one.detect([Click(10, 13, 4)], box)
    assert one.any_object() is None
    assert answer.boxes[:3].tolist() == [[5, 7, 15, 19], [40, 30, 50, 42], [70, 60, 80, 72]]
    assert answer.scores[:3] == pytest.approx(1.0)
    assert answer.labels.tolist()[:3] == [4, 4, 4]
    assert len(one.detect([Click(10, 13, 4, positive=False)], box).boxes) == 0


class FakePredictor:
    """Proposes and finds `BOXES` whatever is shown, all of the first click's label."""

    def __init__(self, model: object = None, card: Card = CARD) -> None:
        self.card = card

    def encode(self, image: NDArray[np.uint8]) -> None:
        return None

    def detect(
        self,
        features: None,
        clicks: Sequence[Click],
        threshold: float = 0.5,
        *,
        answer_clicks: bool = True,
    ) -> Detections:
        label = clicks[0].label if clicks else -1
        boxes = found([(number, 0.9, label) for number in range(5)])
        if not answer_clicks:
            return boxes
        answer_of = np.arange(len(clicks))
        return replace(boxes.take(np.arange(1)), clicks=np.zeros(1, int), answer_of=answer_of * 0)


def test_nearest_neighbour_tells_patterns_apart(pool: Path) -> None:
    image = np.full((128, 128, 3), 100, np.uint8)
    noise = np.random.default_rng(1).integers(0, 255, (2, 20, 20, 3)).astype(np.uint8)
    for index, (x1, y1, x2, y2) in enumerate(BOXES.astype(int)):
        kind = int(LABELS[index])
        image[y1:y2, x1:x2] = noise[kind][: y2 - y1, : x2 - x1] if kind else (255, 0, 0)
    method = NearestNeighbour(FakePredictor(), pool / "mobilenet.safetensors")  # type: ignore[arg-type]
    read = method.read(image)
    clicks = [Click(15, 15, 6), Click(15, 55, 8)]
    answer = read.detect(clicks, BOXES[[0, 3]])
    label = {
        tuple(box): int(name)
        for box, name in zip(answer.boxes.tolist(), answer.labels, strict=True)
    }
    assert label[tuple(BOXES[2].tolist())] == 6
    assert label[tuple(BOXES[4].tolist())] == 8
    assert len(read.detect([Click(15, 15, 6, positive=False)], BOXES[:1]).boxes) == 0


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Fakes in place of all weights; the files that are read, and one that is there."""
    read: list[Path] = []
    monkeypatch.setattr(evaluate, "load", lambda path: read.append(path) or (untrained(), CARD))
    monkeypatch.setattr(evaluate, "Predictor", FakePredictor)
    monkeypatch.chdir(tmp_path)
    Path("one.safetensors").touch()  # as training writes it: without a card
    return read


def test_command(weights: list[Path], pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_sets, "load", lambda name, pictures: a_set(name))
    monkeypatch.setattr(real_sets, "locate", lambda name: Path(name))
    main(
        [
            *("--weights", "one.safetensors", "--out", "new/results.json"),
            *("--sets", "coins_il", "coins_ph", "--clicks", "1", "--seeds", "1"),
            *("--backbone", str(pool / "mobilenet.safetensors"), "--beside", "no C3=two"),
        ]
    )
    assert weights == [Path("two"), Path("one.safetensors")]
    out = Path("new/results.json")
    results = json.loads(out.read_text())
    assert results["commands"][0].startswith("python -m training.evaluate --weights one.safe")
    assert sorted(results["sets"]) == [
        "C3Det open",
        "nearest neighbour, ImageNet",
        "no C3",
        "template matching",
    ]
    assert results["sets"]["no C3"] == results["sets"]["C3Det open"]
    assert sorted(results["sets"]["C3Det open"]) == ["coins_il", "coins_ph"]
    assert results["means"]["C3Det open"]["multi-class"]["0"] == {"AP": 100.0, "recall": 100.0}
    assert "| coins_ph | bars | 100.0 |" in out.with_suffix(".md").read_text()
    assert out.with_suffix(".png").stat().st_size > 5000


def test_an_own_set_is_measured(weights: list[Path]) -> None:
    folder = Path("sets") / "mine"
    folder.mkdir(parents=True)
    Image.new("RGB", (100, 100)).save(folder / "a.png")
    content = to_coco([a_picture()], ("bar", "dot"))
    content["images"][0]["file_name"] = "a.png"
    for split in ("train", "test"):
        (folder / f"{split}.json").write_text(json.dumps(content))
    arguments = ["--weights", "one.safetensors", "--out", "own.json", "--clicks", "3", "1"]
    main([*arguments, "--sets", str(folder), "osbs_crowns", "--seeds", "1"])
    report = OpenReport.read(Path("own.json"))
    assert report.counts == [1, 3]
    own = report.sets["C3Det open"]["mine"]
    assert (own["kind"], own["multi"], own["pictures"], own["objects"]) == ("", True, 1, 5)
    assert own["0"] == {"AP": 100.0, "recall": 100.0}
    assert "| mine |  | 100.0 |" in report.page("own.png")
    assert report.sets["C3Det open"]["osbs_crowns"]["kind"] == "trees"


def test_sets_that_are_not_there_are_left_out_if_asked(
    weights: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("C3DET_DATA", str(tmp_path))
    monkeypatch.setenv("C3DET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(test_sets, "load", lambda name, pictures: a_set(name))
    given = ["--weights", "one.safetensors", "--out", "out.json", "--clicks", "1", "--seeds", "1"]
    given += ["--sets", "apples", "trees"]
    with pytest.raises(SystemExit) as stopped:
        main(given)
    assert stopped.value.code == 2
    assert "the real set apples is not prepared" in capsys.readouterr().err
    assert not Path("out.json").exists()
    main([*given, "--available"])
    assert "left out: the real set apples is not prepared" in capsys.readouterr().out
    assert list(OpenReport.read(Path("out.json")).sets["C3Det open"]) == ["trees"]
    with pytest.raises(SystemExit):
        main([*given[:-1], "--available"])
    assert "none of the sets is there: name others" in capsys.readouterr().err


@pytest.mark.parametrize("command", [main, jobs.main])
def test_weights_in_another_order_than_the_folds_are_refused(
    command: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = {name: one.kind for name, one in real_sets.real_sets().items() if one.trains}
    for fold in (0, 1):
        (tmp_path / f"{fold}").mkdir()
        without = [name for name, kind in kinds.items() if real_sets.folds()[kind] == fold]
        record = {"trained on": {"real": kinds}, "without": without, "settings": {"real": 0.5}}
        (tmp_path / f"{fold}" / "run.json").write_text(json.dumps(record))
    paths = [str(tmp_path / f"{fold}" / "model.safetensors") for fold in (0, 1)]
    for path in paths:
        Path(path).touch()
    check_folds(list(map(Path, paths)))
    with pytest.raises(SystemExit) as stopped:
        command(["--weights", *paths[::-1], "--out", str(tmp_path / "out.json")])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert "model.safetensors was trained on " in error
    assert "which fold 0 is tested on: give --weights the files in the order of the folds" in error


def test_a_broken_file_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(b"PK no tensors")
    with pytest.raises(SystemExit) as stopped:
        main(["--weights", str(path), "--sets", "osbs_crowns", "--out", str(tmp_path / "o.json")])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "broken.safetensors is not a safetensors file (" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sets", "pollen"], "there is no test set 'pollen': name a folder that training.data"),
        (["--sets", "."], "there is no set '.'"),
        (["--sets", "bolts", "x/bolts"], "there is no test set 'x/bolts'"),
        (["--sets", "trees", "trees"], "two sets have the name trees"),
        (["--clicks", "0", "1"], "--clicks starts at 1 for the open model"),
        (["--seeds", "0"], "at least one click seed"),
        (["--budget", "picture"], "--budget is for the closed model, but one.safetensors is of"),
        (["--no-passthrough"], "--passthrough is for the closed model"),
        (["--weights", str(CLOSED)], "starter.safetensors of the closed one: evaluate them one"),
        (["--weights", "one.safetensors", "--sets", "."], "no fold is known to leave out what ."),
    ],
)
def test_wrong_input_gives_one_sentence(
    weights: list[Path],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--weights", "one.safetensors", "--out", "out.json", *arguments])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("python -m training.evaluate: ")
    assert message in line
    assert not Path("out.json").exists()


def test_best_of_keeps_the_better_of_two() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [50, 0, 60, 9]], np.float32)
    one = best_of(boxes, np.array([0.5, 0.9, 0.1], np.float32), np.array([1, 2, 1]))
    assert one.labels.tolist() == [2, 1]


def test_sets_from_packages() -> None:
    crowns = test_sets.load("osbs_crowns")
    assert [len(one.boxes) for one in crowns.pictures] == [61]
    digits = test_sets.load("aerial_digits", 2)
    assert digits.is_multi_class
    for picture in digits.pictures:
        assert picture.image.shape == (512, 512, 3)
        assert len(np.unique(picture.labels)) == 6
        longest = (picture.boxes[:, 2:] - picture.boxes[:, :2]).max(1)
        assert 13.5 <= longest.min() <= longest.max() <= 30.5
        assert 60 < len(picture.boxes) <= 120

"""What a job gains: works of an annotator, and times, that a person can check."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from c3det.answering import Detections
from c3det.clicks import Click, LabelledBox
from c3det.exemplars import MOST_ASKED, THUMBNAIL, Exemplars
from c3det.weights import card_path
from tests.c3det.open.small import saved
from training.data.index import Annotated
from training.open import jobs, test_sets
from training.open.evaluate import THRESHOLD
from training.open.jobs import (
    Work,
    annotate,
    economy,
    errors,
    load,
    means,
    plot,
    ratio,
    table,
    thinned,
    transfer,
)
from training.open.test_sets import TestSet

NAMES = ("bar", "dot")
NONE = Exemplars.none("ab" * 32, 1, NAMES)
GROUND = (0, 60, 10, 70)


def a_picture(bars: int = 4, dots: int = 0) -> Annotated:
    """Bars of 10 x 10 pixels in the first row, dots of 5 x 5 in the second, 20 pixels apart."""
    boxes = [[20 * n, 0, 20 * n + 10, 10] for n in range(bars)]
    boxes += [[20 * n, 30, 20 * n + 5, 35] for n in range(dots)]
    labels = np.repeat([0, 1], [bars, dots])
    image = np.zeros((100, 100, 3), np.uint8)
    return Annotated("one", image, np.array(boxes, np.float32).reshape(-1, 4), labels)


def boxes_of(*rows: tuple[Sequence[float], int]) -> Detections:
    """Boxes of classes, each with a score of 0.9."""
    return Detections(
        np.array([box for box, _ in rows], np.float32).reshape(-1, 4),
        np.full(len(rows), 0.9, np.float32),
        np.array([label for _, label in rows], np.int64),
        np.full(len(rows), -1, np.int64),
    )


def exemplars_of(
    labels: Sequence[int], positive: Sequence[bool] | None = None, names: Sequence[str] = NAMES
) -> Exemplars:
    """Exemplars that differ in nothing but their number."""
    count = len(labels)
    return replace(
        NONE,
        names=tuple(names),
        labels=np.array(labels, np.int64),
        positive=np.ones(count, np.bool_) if positive is None else np.array(positive, np.bool_),
        vectors=np.arange(1, count + 1, dtype=np.float16).reshape(-1, 1),
        sizes=np.full((count, 2), 10, np.float32),
        thumbnails=np.zeros((count, THUMBNAIL, THUMBNAIL, 3), np.uint8),
        sources=("",) * count,
    )


@dataclass
class Fake:
    """Finds the first ``found`` objects of each class that is clicked, or known from exemplars.

    Attributes:
        picture: What it is asked about.
        found: So many objects of each class.
        wrong: So many boxes on the ground, of the first class, until a negative click is there.
        asked: Clicks and number of exemplars of each question.
        kept: Boxes and clicks of each call for exemplars.
    """

    picture: Annotated
    found: int = 99
    wrong: int = 0
    asked: list[tuple[list[Click], int]] = field(default_factory=list)
    kept: list[tuple[list[LabelledBox], list[Click]]] = field(default_factory=list)

    def open(self, image: NDArray[np.uint8]) -> Any:
        return SimpleNamespace(detect=self.answer, exemplars=self.exemplars)

    def encode(self, image: NDArray[np.uint8]) -> Any:
        return None

    def answer(self, clicks: Any, threshold: Any = None, *, exemplars: Any = None) -> Any:
        return SimpleNamespace(detections=self.detect(None, clicks, exemplars=exemplars))

    def detect(
        self,
        features: Any,
        clicks: Sequence[Click],
        score_threshold: float | None = None,
        answer_clicks: bool = True,
        exemplars: Exemplars | None = None,
    ) -> Detections:
        known = NONE if exemplars is None else exemplars
        self.asked.append((list(clicks), len(known)))
        labels = {one.label for one in clicks if one.positive} | set(known.labels.tolist())
        rows: list[tuple[Sequence[float], int]] = []
        for label in labels:
            own = self.picture.boxes[self.picture.labels == label]
            rows += [(box.tolist(), label) for box in own[: self.found]]
        if labels and all(one.positive for one in clicks):
            x1, y1, x2, y2 = GROUND
            rows += [((x1 + 12 * n, y1, x2 + 12 * n, y2), 0) for n in range(self.wrong)]
        return boxes_of(*rows)

    def exemplars(
        self, clicks: Sequence[Click], names: Sequence[str], *, boxes: Sequence[LabelledBox] = ()
    ) -> Exemplars:
        self.kept.append((list(boxes), list(clicks)))
        rows: list[Click | LabelledBox] = [*clicks, *boxes]
        return exemplars_of([one.label for one in rows], [one.positive for one in rows])


def untimed(work: Work) -> Work:
    return replace(work, waited=0.0)


def test_seconds_of_a_job_made_by_hand() -> None:
    # 327.7 s / 58.3 = 5.621 s by hand, 114.7 s / 17.9 = 6.408 s assisted.
    work = Work(objects=20, clicks=2, hidden=1, accepted=1, deleted=3, drawn=2, waited=0.5)
    assert work.by_hand == pytest.approx(20 * 5.621, abs=0.01)
    assert work.assisted == pytest.approx(4 * 6.408 + 5 * 5.621 + 0.5, abs=0.01)
    assert work.told()["ratio"] == pytest.approx(112.42 / 54.24, abs=0.01)
    assert Work().told()["ratio"] is None


def test_one_click_finds_all_and_the_next_picture_needs_none() -> None:
    fake = Fake(a_picture(4))
    pictures = [a_picture(4)] * 3
    work = economy(fake, pictures, NAMES, 0.3, NONE)
    assert untimed(work) == Work(objects=12, clicks=1, accepted=3, questions=3)
    # Four bars of the first picture go to the second one; equal ones are there once.
    assert [(len(clicks), known) for clicks, known in fake.asked] == [(1, 0), (0, 4), (0, 4)]
    alone = economy(fake, pictures, NAMES, 0.3, NONE, carries=False)
    assert untimed(alone) == Work(objects=12, clicks=3, accepted=3, questions=3)
    assert work.assisted < alone.assisted


def test_what_is_waited_for_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 100, 2))
    monkeypatch.setattr("training.open.jobs.time.perf_counter", lambda: next(clock))
    work, _ = annotate(a_picture(4), Fake(a_picture(4)), NAMES, 0.3, NONE)
    assert (work.waited, work.questions) == (2.0, 1)


def test_a_click_that_does_not_pay_is_the_last_one_of_its_class() -> None:
    # The click finds one of five bars: 5.6 s saved for 6.4 s. The others are drawn.
    fake = Fake(a_picture(5), found=1)
    work, _ = annotate(a_picture(5), fake, NAMES, 0.3, NONE)
    assert untimed(work) == Work(objects=5, clicks=1, accepted=1, drawn=4, questions=1)
    ((boxes, _),) = fake.kept
    assert sorted(box.x1 for box in boxes) == [0, 20, 40, 60, 80]


def test_a_single_object_is_drawn() -> None:
    fake = Fake(a_picture(1))
    work, _ = annotate(a_picture(1), fake, NAMES, 0.3, NONE)
    assert work == Work(objects=1, drawn=1)
    assert fake.kept == [([LabelledBox(0, 0, 10, 10, 0)], [])]


def test_the_largest_error_of_any_class_comes_first() -> None:
    fake = Fake(a_picture(3, dots=3))
    work, _ = annotate(a_picture(3, dots=3), fake, NAMES, 0.3, NONE)
    assert [click.label for click in fake.asked[-1][0]] == [0, 1]  # a bar is larger than a dot
    assert untimed(work) == Work(objects=6, clicks=2, accepted=1, questions=2)


def test_wrong_boxes_are_clicked_as_negative_and_become_exemplars() -> None:
    fake = Fake(a_picture(5), wrong=3)
    work, new = annotate(a_picture(5), fake, NAMES, 0.3, NONE)
    # One click finds five bars and three wrong boxes, one negative click takes these away.
    assert untimed(work) == Work(objects=5, clicks=2, accepted=1, questions=2)
    assert [one.positive for one in fake.asked[-1][0]] == [True, False]
    assert new.positive.tolist() == [False] + [True] * 5


def test_a_click_that_makes_it_worse_is_taken_back() -> None:
    # One bar is found, and four wrong boxes: four to correct more than the two that were missed.
    fake = Fake(a_picture(2), found=1, wrong=4)
    work, new = annotate(a_picture(2), fake, NAMES, 0.3, NONE)
    assert untimed(work) == Work(objects=2, clicks=1, drawn=2, questions=1)
    assert len(new) == 2


def test_a_class_with_many_wrong_boxes_is_hidden() -> None:
    class Stubborn(Fake):
        """Its wrong boxes lie around objects, and no click takes them away."""

        def detect(self, *arguments: Any, **options: Any) -> Detections:
            return boxes_of(((0, 0, 10, 10), 0), *(((20, 0, 25, 10 - n), 0) for n in range(1, 5)))

    picture = a_picture(2)
    work, _ = annotate(picture, Stubborn(picture), NAMES, 0.3, exemplars_of([0]))
    # One right and four wrong boxes: to hide them takes 6.4 s and a box to draw, 5.6 s, which is
    # less than four deletions. Nothing is left to accept.
    assert (work.hidden, work.accepted, work.deleted, work.drawn) == (1, 0, 0, 2)


def test_errors_are_what_can_be_clicked() -> None:
    picture = replace(a_picture(3), ignored=np.array([False, True, False]))
    # Bar 0 is found, bar 1 does not count, bar 2 has a loose box, and one box is of nothing.
    shown = boxes_of(((0, 0, 10, 10), 0), ((40, 0, 44, 10), 0), ((0, 60, 20, 80), 0))
    first, second = errors(picture, shown)
    assert first.click == Click(10, 70, 0, positive=False)
    assert (second.index, second.click, second.area) == (2, None, 100)


def test_as_many_exemplars_stay_as_a_question_may_have() -> None:
    many = exemplars_of([n % 40 for n in range(400)], names=[f"{n}" for n in range(40)])
    assert len(thinned(many)) == 240  # six of each: seven would be 280
    assert len(thinned(exemplars_of([0] * 20))) == 16
    assert MOST_ASKED == 256


def test_transfer_is_of_the_classes_of_the_first_picture() -> None:
    first, other = a_picture(3), a_picture(4, dots=2)
    fake = Fake(other, found=2)
    moved = transfer(fake, first, [other], NAMES, (1, 3), 1)
    # Two of four bars, without a wrong box: precision 1 at 51 of 101 recalls. Dots do not count.
    half = round(100 * 51 / 101, 2)
    assert moved["1"]["carried"]["all"] == moved["1"]["own"]["all"] == half
    assert ratio(moved["1"]) == 100.0
    # Exemplars and no click, then clicks on bars alone and no exemplar.
    assert [(len(clicks), known) for clicks, known in fake.asked] == [
        (0, 1),
        (1, 0),
        (0, 3),
        (3, 0),
    ]
    assert {click.label for clicks, _ in fake.asked for click in clicks} == {0}


def row(multi: bool, carried: float, own: float, times: float) -> dict[str, Any]:
    told = {"by hand": 100.0, "assisted": 100 / times, "ratio": times}
    each = {
        "carried": {"all": carried, "unclicked": None},
        "own": {"all": own, "unclicked": None},
    }
    return {
        "kind": "bars",
        "multi": multi,
        "pictures": 2,
        "transfer": {"1": each},
        "economy": {"carried": told, "alone": told | {"ratio": 1.0}},
    }


def test_means_table_and_plot(tmp_path: Path) -> None:
    results = {"a": row(False, 40, 80, 2.0), "b": row(False, 80, 80, 5.0), "c": row(True, 9, 10, 3)}
    fitted = {"before": {"carried": {"all": 30.0}, "own": {"all": 40.0}}}
    fitted["after"] = {"carried": {"all": 50.0}, "own": {"all": 45.0}}
    results["a"]["adapt"] = {"1": fitted, "3": None, "10": None}
    found = means(results, (1,))
    assert found["single-class"]["sets"] == 2
    assert found["single-class"]["transfer"]["1"]["carried"]["all"] == 60.0
    assert found["single-class"]["transfer"]["1"]["ratio"] == {"all": 75.0, "unclicked": None}
    assert found["single-class"]["economy"] == {"carried": 3.5, "alone": 1.0}
    assert found["single-class"]["adapt"] == {
        "1": {"before": {"carried": 30.0, "own": 40.0}, "after": {"carried": 50.0, "own": 45.0}}
    }
    assert found["multi-class"]["economy"]["carried"] == 3.0
    shown = table(results, (1,))
    assert "| a | 2 | 40.0 | 80.0 | 50.0 | 100.0 | 50.0 | 2.00 | 1.00 |" in shown
    assert "| **single-class** | | 60.0 | 80.0 | 75.0 | | | 3.50 | 1.00 |" in shown
    assert "| single-class | 1 | 30.0 | 50.0 |" in shown
    plot(results, (1,), tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 5000


def test_weights_without_a_card(tmp_path: Path) -> None:
    path = saved(tmp_path)
    assert load(path)[1].score_threshold == 0.1  # the card's
    card_path(path).unlink()
    network, card = load(path)
    assert (card.score_threshold, card.classes, len(card.tensors)) == (THRESHOLD, (), 64)
    assert not network.training
    state = load_file(path)
    state.pop(next(iter(state)))
    save_file(state, path)
    with pytest.raises(ValueError, match="does not hold the weights of an open detector"):
        load(path)


def test_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = (a_picture(4), a_picture(3), a_picture(4))
    sets = {
        "coins_il": TestSet("coins_il", "bars", NAMES, pictures),
        "coins_ph": TestSet("coins_ph", "bars", NAMES, pictures[:1]),
    }
    monkeypatch.setattr(test_sets, "load", lambda name, most: sets[name])
    out = tmp_path / "new" / "jobs.json"
    call = ["--weights", str(saved(tmp_path)), "--out", str(out), "--seeds", "1", "--sets"]
    jobs.main([*call, "coins_il,coins_ph"])
    assert "coins_ph: left out, it has a single picture" in capsys.readouterr().out
    content = json.loads(out.read_text())
    assert list(content["sets"]) == ["coins_il"]
    assert content["sets"]["coins_il"]["economy"]["carried"]["objects"] == 11
    assert list(content["sets"]["coins_il"]["transfer"]) == ["1", "3", "5"]
    assert "| coins_il | 3 |" in out.with_suffix(".md").read_text()
    assert out.with_suffix(".png").is_file()
    with pytest.raises(SystemExit, match="no set has two pictures"):
        jobs.main([*call, "coins_ph"])


def test_adapting_is_measured_on_the_pictures_after_those_that_are_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pictures = tuple(replace(a_picture(6), name=f"{number}") for number in range(4))
    asked = []

    def moved(predictor: str, first: Annotated, others: Sequence[Annotated], *rest: Any) -> Any:
        asked.append((predictor, first.name, [one.name for one in others]))
        return {"3": predictor}

    monkeypatch.setattr(jobs, "transfer", moved)
    monkeypatch.setattr(jobs, "OpenModel", lambda network: network)
    monkeypatch.setattr(jobs, "Predictor", lambda model, card: model)
    fits = iter([True, False])
    monkeypatch.setattr(
        jobs, "fit", lambda *given: SimpleNamespace(network="fitted", gained=next(fits))
    )
    test_set = TestSet("toy", "bars", NAMES, pictures)
    start: Any = "start"
    card: Any = None
    found = jobs.adapted(start, card, test_set, 1.0, 1)
    assert found["1"] == {"before": "start", "after": "fitted", "gained": True}
    assert found["3"] == {"before": "start", "after": "start", "gained": False}
    assert found["10"] is None  # nothing is left to be measured on
    assert asked[1] == ("fitted", "0", ["1", "2", "3"])
    assert asked[3] == ("start", "0", ["3"])

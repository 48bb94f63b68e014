"""The evaluation loop, with a predictor whose answers are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from c3det.answering import Detections
from c3det.clicks import Click
from training.click_sampling import ClickSequence, load_sequences, save_sequences
from training.evaluate import (
    TestSet,
    best_threshold,
    check_clicks,
    draw_clicks,
    evaluate,
    only,
    plot,
    summary,
    table,
)
from training.index import CLASSES, Annotated


def picture(number: int, objects: int = 4, label: int = 1) -> Annotated:
    """A picture with 10 x 10 objects at x = 0, 20, ...; its first pixel is its number."""
    x = 20 * np.arange(objects, dtype=np.float32)
    image = np.zeros((20, 100, 3), np.uint8)
    image[0, 0] = number
    boxes = np.stack([x, np.zeros_like(x), x + 10, np.full_like(x, 10)], axis=1)
    return Annotated(f"picture {number}", image, boxes, np.full(objects, label, np.int64))


@dataclass
class Paster:
    """Finds the first ``known`` objects, and those that are clicked only if it has to answer.

    A wrong box of score ``wrong`` follows.
    """

    pictures: Sequence[Annotated]
    known: int = 0
    wrong: float = 0.1
    classes: tuple[str, ...] = CLASSES

    @property
    def card(self) -> Any:
        return SimpleNamespace(score_threshold=0.3, sha256="00")

    def encode(self, image: np.ndarray) -> int:
        return int(image[0, 0, 0])

    def detect(
        self,
        features: int,
        clicks: Sequence[Click],
        score_threshold: float | None = None,
        answer_clicks: bool = True,
    ) -> Detections:
        boxes = self.pictures[features].boxes
        (label,) = set(self.pictures[features].labels.tolist())
        answered = {int(click.x // 20): index for index, click in enumerate(clicks)}
        found = [(boxes[i], 1.0, index) for i, index in answered.items() if answer_clicks]
        known = [i for i in range(self.known) if not answer_clicks or i not in answered]
        found += [(boxes[i], 0.5, -1) for i in known]
        found.append((np.array([80, 0, 90, 10], np.float32), self.wrong, -1))
        assert score_threshold is not None
        return Detections(
            np.array([box for box, _, _ in found], np.float32),
            np.array([score for _, score, _ in found], np.float32),
            np.full(len(found), label, np.int64),
            np.array([index for _, _, index in found], np.int64),
        )


PICTURES = tuple(picture(i) for i in range(3))
DIGITS = TestSet("composite", (1,), PICTURES)
COUNTS = (0, 1, 2, 4)


def results(**predictors: Paster) -> dict[str, Any]:
    clicks = draw_clicks([DIGITS], [0, 1], 4)
    return evaluate(predictors, [DIGITS], clicks, [0, 1], COUNTS, bootstrap=20)


def curve(content: dict[str, Any], model: str, mode: str, kind: str) -> list[float | None]:
    points = content["models"][model]["sets"]["composite"][mode][kind]
    return [points[str(number)]["ap"] for number in COUNTS]


def test_pasted_clicks_raise_the_served_precision_only() -> None:
    content = results(paster=Paster(PICTURES))
    # A recall of k / 4 at full precision: 25 k + 1 of the 101 recalls, but none without a click.
    rising = [0, 100 * 26 / 101, 100 * 51 / 101, 100]
    assert curve(content, "paster", "served", "all") == pytest.approx(rising, abs=1e-3)
    assert curve(content, "paster", "model-only", "all") == [0, 0, 0, 0]
    # The unclicked ones stay unfound; in the end there is none.
    assert curve(content, "paster", "served", "unclicked") == [0, 0, 0, None]


def test_known_objects_count_when_unclicked() -> None:
    content = results(knower=Paster(PICTURES, known=4))
    for mode in ("served", "model-only"):
        assert curve(content, "knower", mode, "all") == pytest.approx([100] * 4)
        assert curve(content, "knower", mode, "unclicked") == [100, 100, 100, None]


def test_seeds_classes_and_intervals() -> None:
    point = results(paster=Paster(PICTURES))["models"]["paster"]["sets"]["composite"]["served"][
        "all"
    ]["1"]
    expected = pytest.approx(100 * 26 / 101, abs=1e-3)
    assert point["seeds"] == [expected, expected]
    assert point["classes"] == {"0": [expected, expected]}
    # All pictures are alike.
    assert point["interval"] == [expected, expected]


def test_differences_are_of_the_first_minus_the_second() -> None:
    content = results(knower=Paster(PICTURES, known=4), paster=Paster(PICTURES))
    (row,) = [
        row
        for row in content["differences"]
        if (row["mode"], row["measure"], row["clicks"]) == ("served", "all", 1)
    ]
    assert (row["model"], row["minus"], row["set"]) == ("knower", "paster", "composite")
    expected = pytest.approx(100 * 75 / 101, abs=1e-3)
    assert row["ap"] == expected
    assert row["interval"] == [expected, expected]
    assert len(content["differences"]) == len(COUNTS) * 2 * 2


def test_precision_and_recall_at_the_cards_threshold() -> None:
    # At 0.3 the wrong box of score 0.1 is not shown; with a click, one of four objects is.
    rows = results(paster=Paster(PICTURES))["models"]["paster"]["at_threshold"]["composite"]
    assert rows["threshold"] == 0.3
    assert rows["1"] == {"precision": 100, "recall": 25, "f1": 40}


def test_results_are_json_and_make_a_table_and_a_plot(tmp_path: Path) -> None:
    content = results(knower=Paster(PICTURES, known=4), paster=Paster(PICTURES))
    content = json.loads(json.dumps(content, allow_nan=False))
    assert content["sets"]["composite"] == {"pictures": 3, "objects": 12, "classes": ["0"]}
    lines = table(content).splitlines()
    heading = next(i for i, line in enumerate(lines) if "served, all objects" in line)
    assert [line.split() for line in lines[heading + 1 : heading + 4]] == [
        ["0", "1", "2", "4"],
        ["knower", "100.0", "100.0", "100.0", "100.0"],
        ["paster", "0.0", "25.7", "50.5", "100.0"],
    ]
    plot(content, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_summary_is_rounded() -> None:
    short = summary(results(paster=Paster(PICTURES)))
    assert short["paster"]["composite"]["served"] == {
        "0": 0.0,
        "1": 25.7,
        "2": 50.5,
        "4": 100.0,
        "unclicked": {"0": 0.0, "1": 0.0, "2": 0.0, "4": None},
    }


def test_only_keeps_some_classes() -> None:
    mixed = picture(0)
    mixed.labels[:] = [0, 3, 0, 4]
    kept = only(mixed, (3, 4))
    assert kept.labels.tolist() == [3, 4]
    assert kept.boxes[:, 0].tolist() == [20, 60]


def test_clicks_depend_on_seed_and_picture_alone() -> None:
    alone = draw_clicks([TestSet("composite", (1,), PICTURES[1:2])], [1], 4)
    among = draw_clicks([DIGITS], [0, 1], 4)
    (name,) = alone
    assert name == "composite/seed 1/picture 1"
    assert among[name] == alone[name]
    assert among["composite/seed 0/picture 1"] != among[name]
    assert among["composite/seed 1/picture 2"].objects != among[name].objects


def test_saved_clicks_are_replayed(tmp_path: Path) -> None:
    clicks = draw_clicks([DIGITS], [0, 1], 4)
    save_sequences(tmp_path / "clicks.json", clicks)
    replayed = load_sequences(tmp_path / "clicks.json")
    assert replayed == clicks
    check_clicks(replayed, [DIGITS], [0, 1], 4)


@pytest.mark.parametrize(
    ("sequence", "message"),
    [
        (None, "no clicks for composite/seed 0/picture 2"),
        (ClickSequence((), ()), "has 0 clicks, 1 are needed"),
        (ClickSequence((Click(15, 5, 1),), (0,)), "not on its object 0"),
        (ClickSequence((Click(5, 5, 2),), (0,)), "not on its object 0"),
        (ClickSequence((Click(5, 5, 1),), (4,)), "on object 4, there is none"),
    ],
)
def test_clicks_of_other_pictures_are_refused(sequence: ClickSequence | None, message: str) -> None:
    clicks = draw_clicks([DIGITS], [0], 1)
    name = "composite/seed 0/picture 2"
    del clicks[name]
    if sequence is not None:
        clicks[name] = sequence
    with pytest.raises(ValueError, match=message):
        check_clicks(clicks, [DIGITS], [0], 1)


def test_other_classes_are_refused() -> None:
    stranger = Paster(PICTURES, classes=("car", "ship"))
    with pytest.raises(ValueError, match="stranger has the classes"):
        results(stranger=stranger)


def test_best_threshold_lies_above_the_wrong_boxes() -> None:
    # Right boxes have the scores 1 and 0.5, wrong ones 0.1 (or 0.445).
    assert best_threshold(Paster(PICTURES, known=4), PICTURES) == pytest.approx(0.11)
    high = Paster(PICTURES, known=4, wrong=0.445)
    assert best_threshold(high, PICTURES) == pytest.approx(0.45)

"""Weights on pictures without boxes: what is counted, and what the command writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from c3det.answering import Detections
from c3det.clicks import Click
from training import by_eye
from training.by_eye import Marked, Tally, clicks_on, main, read_marks, tally

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("car", "ship")


def boxes(*rows: tuple[float, float, float, float, int, float]) -> Detections:
    """Rows of x1, y1, x2, y2, label, score."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    none = np.full(len(table), -1, np.int64)
    return Detections(table[:, :4], table[:, 5], table[:, 4].astype(np.int64), none)


def marked(*points: tuple[float, float], name: str = "ship") -> Marked:
    return Marked(
        np.zeros((40, 60, 3), np.uint8),
        np.array(points, float).reshape(-1, 2),
        (name,) * len(points),
    )


class Knower:
    """Finds a ship of 10 x 10 pixels around each click, and a car at (0, 0)."""

    classes = CLASSES
    card = SimpleNamespace(name="knower", identity="ab", score_threshold=0.4)

    def encode(self, image: np.ndarray) -> np.ndarray:
        return image

    def detect(self, features: np.ndarray, clicks: Sequence[Click]) -> Detections:
        found = [(one.x - 5, one.y - 5, one.x + 5, one.y + 5, 1, 1.0) for one in clicks]
        return boxes((0, 0, 4, 4, 0, 0.5), *found)


def test_a_box_stands_for_one_mark_the_nearest_to_its_middle() -> None:
    points = marked((10, 10), (14, 10), (40, 30))
    # The first box holds two marks and takes the second; the second box is of the first mark.
    found = boxes((4, 0, 22, 20, 1, 0.9), (5, 5, 15, 15, 1, 0.8))
    assert tally(points, found, CLASSES) == Tally(found=2, missed=1, wrong=0)


def test_the_second_box_of_an_object_and_boxes_of_other_classes_are_wrong() -> None:
    points = marked((10, 10))
    twice = boxes((5, 5, 15, 15, 1, 0.9), (4, 4, 16, 16, 1, 0.8), (5, 5, 15, 15, 0, 0.7))
    assert tally(points, twice, CLASSES) == Tally(found=1, missed=0, wrong=2)
    assert tally(points, boxes(), CLASSES) == Tally(found=0, missed=1, wrong=0)
    assert tally(marked(), twice, CLASSES) == Tally(found=0, missed=0, wrong=3)


def test_clicks_are_marks_in_a_random_order_that_the_seed_repeats() -> None:
    points = marked((1, 2), (3, 4), (5, 6))
    clicks = clicks_on(points, CLASSES, 2, seed=0)
    assert len(clicks) == 2
    assert {(one.x, one.y, one.label) for one in clicks} < {(1, 2, 1), (3, 4, 1), (5, 6, 1)}
    assert clicks_on(points, CLASSES, 5, seed=0)[:2] == clicks
    assert len(clicks_on(points, CLASSES, 5, seed=0)) == 3
    with pytest.raises(ValueError, match=r"no class 'yacht', only car, ship"):
        clicks_on(marked((1, 2), name="yacht"), CLASSES, 1, seed=0)


def write(folder: Path, **changes: Any) -> Path:
    """A picture of 60 x 40 pixels whose left half is red, and its marks."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, :30, 0] = 255
    Image.fromarray(image).save(folder / "sea.png")
    content = dict(picture="sea.png", window=[20, 0, 40, 20], scale=0.5, marks={"ship": [[15, 5]]})
    path = folder / "marks.json"
    path.write_text(json.dumps({**content, **changes}))
    return path


def test_the_window_is_cut_and_reduced(tmp_path: Path) -> None:
    found = read_marks(write(tmp_path))
    assert found.image.shape == (10, 20, 3)
    assert (found.image[:, :5] == (255, 0, 0)).all()
    assert (found.image[:, 5:] == 0).all()
    assert (found.points.tolist(), found.classes) == ([[15, 5]], ("ship",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"marks": {"ship": [[21, 5]]}}, "the mark 21, 5 lies outside of 20 x 10"),
        ({"window": [30, 0, 40, 20]}, "the window leaves the picture of 60 x 40 pixels"),
        ({"scale": 2}, "the scale must be above 0 and at most 1, it is 2.0"),
        ({"marks": [1]}, "marks.json does not hold marks"),
        ({"source": "nowhere"}, "there is no source 'nowhere'"),
        ({"picture": "gone.png"}, "gone.png"),
        ({"marks": {"yacht": [[1, 2]]}}, "the weights have no class 'yacht', only car, ship"),
    ],
)
def test_mistakes_are_told_in_one_line(
    changes: dict[str, Any],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(by_eye, "load", lambda path: Knower())
    path = write(tmp_path, **changes)
    with pytest.raises(SystemExit) as exit_:
        main([str(path), "--weights", "w.safetensors", "--out", str(tmp_path / "out")])
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line


def test_the_command_writes_pictures_and_what_was_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_eye, "load", lambda path: Knower())
    path = write(tmp_path, marks={"ship": [[15, 5], [4, 5]]})
    out = tmp_path / "out"
    main([str(path), "--weights", "w.safetensors", "--out", str(out), "--clicks", "0", "1", "9"])
    content = json.loads((out / "by_eye.json").read_text())
    assert (content["weights"], content["threshold"]) == ("knower", 0.4)
    assert content["pictures"]["marks"] == {
        "objects": 2,
        "clicks": {
            "0": {"clicks": 0, "found": 0, "missed": 2, "wrong": 1},
            "1": {"clicks": 1, "found": 1, "missed": 1, "wrong": 1},
            "9": {"clicks": 2, "found": 2, "missed": 0, "wrong": 1},
        },
    }
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| marks (2 objects) | 0 | 0 | 2 | 1 |",
        "| marks (2 objects) | 1 | 1 | 1 | 1 |",
        "| marks (2 objects) | 2 | 2 | 0 | 1 |",
    ]
    assert sorted(file.name for file in out.glob("*.jpg")) == [
        "marks-0.jpg",
        "marks-1.jpg",
        "marks-9.jpg",
    ]


@pytest.mark.parametrize(("name", "objects"), [("marina", 58), ("motorway", 29)])
def test_the_marks_of_the_project_fit_their_pictures(name: str, objects: int) -> None:
    found = read_marks(ROOT / "training" / "results" / "by_eye" / f"{name}.json")
    assert len(found.points) == objects

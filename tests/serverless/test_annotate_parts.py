"""The parts of the helper for whole jobs that need no server."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from c3det.clicks import Click
from c3det.exemplars import MAX_EXEMPLARS, THUMBNAIL, Exemplars
from serverless.annotate.__main__ import frame_ranges, label_pair, score
from serverless.annotate.cvat import Label, ScoreAttribute, Shape
from serverless.annotate.errors import AnnotateError, FrameError, Retry, TransientError
from serverless.annotate.function import (
    Function,
    checked_boxes,
    function_classes,
)
from serverless.annotate.job_exemplars import counted, exemplars_to_send, gathered
from serverless.annotate.journal import FrameReport, Journal, journal_name
from serverless.annotate.overlap import Rectangle, overlaps
from serverless.annotate.plan import (
    labelled,
    map_labels,
    placed_clicks,
    sort_boxes,
    unused_shapes,
)
from serverless.annotate.report import MAX_PIXELS, Overlay
from serverless.annotate.review import frame_sureness, review_file, write_review
from serverless.protocol import Box, PluginAnswer, RequestError, Rival, plugin_prompts

CLASSES = ("tree", "car")


def label(number: int, name: str, rectangles: bool = True) -> Label:
    return Label(number, name, "#ff0000", None, rectangles)


def shape(number: int, kind: str, points: tuple[float, ...], **changes: object) -> Shape:
    values = {"frame": 0, "label_id": 1, "rotation": 0.0, "source": "manual", "group": 0}
    return Shape(**{"id": number, "type": kind, "points": points, **values, **changes})


def box(index: int, points: tuple[float, float, float, float], *clicks: int) -> Box:
    return Box(index, None, points, 0.9, clicks)


def test_overlap_by_hand() -> None:
    square = Rectangle((0, 0, 4, 4))
    others = [
        Rectangle((0, 0, 4, 4)),
        Rectangle((2, 0, 6, 4)),  # 8 of 24
        Rectangle((4, 0, 8, 4)),
        Rectangle((1, 1, 3, 3)),  # 4 of 16
        Rectangle((1, 1, 1, 3)),
    ]
    np.testing.assert_allclose(overlaps(square, others), [1, 1 / 3, 0, 0.25, 0])
    assert overlaps(square, []).shape == (0,)


def test_overlap_of_rotated_rectangles_by_hand() -> None:
    # A square of side 4 and the same turned by 45 degrees have an octagon of 32 (sqrt(2) - 1) in
    # common.
    octagon = 32 * (2**0.5 - 1)
    turned = Rectangle((0, 0, 4, 4), 45)
    (found,) = overlaps(Rectangle((0, 0, 4, 4)), [turned])
    assert found == pytest.approx(octagon / (32 - octagon), abs=1e-5)
    # 6 x 2, a quarter turn, is 2 x 6.
    (found,) = overlaps(Rectangle((0, 0, 6, 2), 90), [Rectangle((2, -2, 4, 4))])
    assert found == pytest.approx(1, abs=1e-5)


def test_rotation_is_clockwise_on_the_screen() -> None:
    corners = Rectangle((0, 0, 10, 2), 30).corners()
    right = corners[corners[:, 0] > 5]
    assert right[:, 1].mean() == pytest.approx(1 + 5 * 0.5, abs=1e-5), "the right end is lower"


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 20), min_size=4, max_size=4), st.integers(0, 359))
def test_overlap_by_counting_pixels(sizes: list[int], rotation: int) -> None:
    a = Rectangle((10, 10, 10 + sizes[0], 10 + sizes[1]), float(rotation))
    b = Rectangle((15, 12, 15 + sizes[2], 12 + sizes[3]), 20.0)
    step = 0.2
    grid = np.arange(-20, 60, step) + step / 2
    points = np.stack(np.meshgrid(grid, grid), -1)

    def inside(rectangle: Rectangle) -> np.ndarray:
        angle = np.deg2rad(rectangle.rotation)
        offset = points - rectangle.centre
        along = offset @ [np.cos(angle), np.sin(angle)]
        across = offset @ [-np.sin(angle), np.cos(angle)]
        x1, y1, x2, y2 = rectangle.points
        return (abs(along) <= (x2 - x1) / 2) & (abs(across) <= (y2 - y1) / 2)

    counted = (inside(a) & inside(b)).sum() / (inside(a) | inside(b)).sum()
    assert overlaps(a, [b])[0] == pytest.approx(counted, abs=0.05)


def test_labels_are_classes_of_the_same_name() -> None:
    labels = map_labels([label(1, "tree"), label(2, "cat")], CLASSES, [])
    assert labels.class_of == {1: 0}
    assert {index: found.name for index, found in labels.label_of.items()} == {0: "tree"}


def test_what_people_labelled_are_clicks_and_boxes() -> None:
    labels = map_labels([label(7, "hut"), label(9, "boat")], (), [])
    shapes = [
        shape(1, "points", (1, 2, 3, 4), label_id=9),
        shape(2, "rectangle", (10, 20, 30, 24), label_id=7),
        shape(3, "rectangle", (10, 20, 30, 24), label_id=7, rotation=90.0, source="file"),
        shape(4, "rectangle", (1, 1, 2, 2), label_id=9, source="semi-auto"),
        shape(5, "rectangle", (1, 1, 2, 2), label_id=9, source="semi-auto", group=3),
        shape(6, "rectangle", (1, 1, 2, 2), label_id=9, source="auto"),
        shape(7, "points", (1, 1), label_id=9, source="auto"),
        shape(8, "rectangle", (1, 1, 2, 1), label_id=9),
        shape(9, "rectangle", (1, 1, 2, 2), label_id=99),
        shape(10, "polygon", (1, 1, 2, 2, 1, 3), label_id=9),
    ]
    clicks, boxes = labelled(shapes, labels)
    assert clicks == [Click(1, 2, 1), Click(3, 4, 1)]
    assert [(b.x1, b.y1, b.x2, b.y2, b.label) for b in boxes] == [
        (10, 20, 30, 24, 0),
        pytest.approx((18, 12, 22, 32, 0)),
        (1, 1, 2, 2, 1),
    ]


def some_exemplars(count: int, label: int, seed: int) -> Exemplars:
    """Of one of two labels, with vectors that are like no others."""
    vectors = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float16)
    return Exemplars(
        "0" * 64,
        ("nut", "bolt"),
        np.full(count, label, np.int64),
        np.ones(count, np.bool_),
        vectors,
        np.ones((count, 2), np.float32),
        np.zeros((count, THUMBNAIL, THUMBNAIL, 3), np.uint8),
        ("frame 0",) * count,
    )


@pytest.mark.parametrize("last", [256, MAX_EXEMPLARS])
def test_more_exemplars_than_go_together_are_thinned(last: int) -> None:
    """18 frames with 256 nuts each, then bolts of a frame or of a file."""
    parts = [some_exemplars(256, 0, seed) for seed in range(18)]
    parts.append(some_exemplars(last, 1, 18))
    found, left_out = gathered(parts)
    assert len(found) + left_out == 18 * 256 + last
    assert 1024 < len(found) <= MAX_EXEMPLARS
    assert 256 <= (found.labels == 1).sum() <= last
    labels = map_labels([label(1, "nut"), label(2, "bolt")], (), [])
    sent = exemplars_to_send(found, labels)
    line = counted(found, sent, left_out)
    assert line.endswith(f"; {left_out} less typical ones were left out: at most 4096 go together")


def test_exemplars_that_go_together_are_all_kept() -> None:
    found, left_out = gathered([some_exemplars(3, 0, 0), some_exemplars(2, 1, 1)])
    assert (len(found), left_out) == (5, 0)
    assert counted(found, found, 0) == (
        "exemplars: 5 (bolt 2, nut 3), 5 of them go with each question"
    )


def scored(score: float, rival: float | None = None) -> Box:
    second = None if rival is None else Rival(1, rival)
    return Box(0, None, (1, 2, 3, 4), score, rival=second)


@pytest.mark.parametrize(
    ("boxes", "found", "sureness", "doubts"),
    [
        ([], 0, 0.0, ["nothing was found"]),
        ([], 2, 1.0, []),
        ([scored(1), scored(0.6)], 2, 0.75, []),
        ([scored(0.3), scored(0.2)], 2, 0.0625, ["2 of 2 rectangles hardly reach the threshold"]),
        ([scored(0.6, 0.3), scored(0.6)], 2, 0.375, ["1 of 2 may be of another label"]),
        (
            [scored(0.6, 0.6), scored(0.3)],
            3,
            0.0625,
            ["1 of 2 rectangles hardly reach the threshold", "1 of 2 may be of another label"],
        ),
    ],
)
def test_how_sure_a_frame_is(
    boxes: list[Box], found: int, sureness: float, doubts: list[str]
) -> None:
    """A score of 0.6 is half of the way from a threshold of 0.2 to 1."""
    assert frame_sureness(boxes, found, 0.2) == (pytest.approx(sureness), doubts)


def test_the_least_sure_frame_comes_first(tmp_path: Path) -> None:
    reports = [
        FrameReport(0, written={"nut": 2, "bolt": 1}, sureness=0.5, doubts=["a", "b"]),
        FrameReport(1, written={"nut": 2}, sureness=1.0),
        FrameReport(2, failure="too dark"),
        FrameReport(3, sureness=0.0, doubts=["nothing was found"]),
    ]
    names = {0: "a|b,\n.png", 3: 'say "c".png'}
    write_review(tmp_path / "r.csv", reports, names)
    with (tmp_path / "r.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["look", "frame", "picture", "sureness", "rectangles", "why"],
        ["1", "2", "", "", "0", "failed: too dark"],
        ["2", "3", 'say "c".png', "0.00", "0", "nothing was found"],
        ["3", "0", "a|b,\\n.png", "0.50", "3", "a; b"],
        ["4", "1", "", "1.00", "2", ""],
    ]
    write_review(tmp_path / "r.MD", reports, names)
    lines = (tmp_path / "r.MD").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == [
        "| look | frame | picture | sureness | rectangles | why |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    assert lines[4] == "| 3 | 0 | a\\|b,\\n.png | 0.50 | 3 | a; b |"
    with pytest.raises(AnnotateError, match=r"nowhere/r\.md cannot be written: No such file"):
        write_review(tmp_path / "nowhere" / "r.md", reports, names)
    assert review_file("a.csv") == Path("a.csv")
    with pytest.raises(argparse.ArgumentTypeError, match=r"'a\.txt' ends neither with \.csv nor"):
        review_file("a.txt")


def test_pairs_add_to_the_names() -> None:
    given_labels = [label(1, "tree"), label(2, "oak"), label(3, "auto"), label(4, "van")]
    pairs = [("oak", "tree"), ("auto", "car"), ("van", "car")]
    labels = map_labels(given_labels, CLASSES, pairs)
    assert labels.class_of == {1: 0, 2: 0, 3: 1, 4: 1}
    assert {index: found.name for index, found in labels.label_of.items()} == {0: "tree", 1: "auto"}


def test_a_label_of_points_gives_clicks_and_gets_no_boxes() -> None:
    pair = [("tree point", "tree")]
    labels = map_labels([label(1, "tree"), label(2, "tree point", False)], CLASSES, pair)
    assert labels.class_of == {1: 0, 2: 0}
    assert labels.label_of[0].name == "tree"


def test_an_open_model_takes_the_labels_for_classes() -> None:
    labels = map_labels([label(7, "hut"), label(9, "boat")], (), [])
    assert labels.classes == ("hut", "boat")
    assert labels.class_of == {7: 0, 9: 1}


def test_an_open_model_takes_clicks_of_labels_for_others() -> None:
    """A label of points alone has no boxes, so that it needs to be said whose its clicks are."""
    given_labels = [label(7, "hut"), label(8, "hut point", False), label(9, "boat")]
    labels = map_labels(given_labels, (), [])
    assert (labels.classes, labels.class_of) == (("hut", "boat"), {7: 0, 9: 1})
    ((passed, count),) = unused_shapes([shape(1, "points", (1.0, 2.0), label_id=8)], labels).items()
    assert (passed.label_id, count) == (8, 1)
    assert "takes no rectangles: name the label of its boxes with --label" in passed.reason
    labels = map_labels(given_labels, (), [("hut point", "hut")])
    assert labels.class_of == {7: 0, 8: 0, 9: 1}
    assert labels.label_of[0].name == "hut"
    with pytest.raises(AnnotateError, match=r"\(hut point\) takes rectangles: add one"):
        map_labels(given_labels[1:2], (), [])


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("dog", "tree")], "no label 'dog'"),
        ([("cat", "dog")], "no class 'dog'"),
        ([], "no label of the task"),
    ],
)
def test_labels_that_cannot_be_mapped(pairs: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(AnnotateError, match=message):
        map_labels([label(2, "cat")], CLASSES, pairs)


def test_clicks_are_points_and_centres_of_what_people_made() -> None:
    labels = map_labels([label(1, "tree"), label(2, "car"), label(3, "cat")], CLASSES, [])
    shapes = [
        shape(1, "points", (1.0, 2.0, 3.0, 4.0), label_id=2),
        shape(2, "rectangle", (10.0, 10.0, 20.0, 14.0), rotation=30.0),
        shape(3, "rectangle", (0.0, 0.0, 5.0, 5.0), source="semi-auto"),
        shape(4, "points", (9.0, 9.0), source="auto"),
        shape(5, "points", (9.0, 9.0), label_id=3),
        shape(6, "polygon", (9.0, 9.0, 8.0, 8.0, 7.0, 9.0)),
    ]
    clicks = placed_clicks(shapes, labels)
    assert [c.click for c in clicks] == [Click(1, 2, 1), Click(3, 4, 1), Click(15, 12, 0)]
    assert [c.shape.id for c in clicks] == [1, 1, 2]


def test_what_was_uploaded_is_a_click_and_what_is_not_used_is_counted() -> None:
    labels = map_labels([label(1, "tree"), label(2, "car"), label(3, "cat")], CLASSES, [])
    shapes = [
        shape(1, "points", (1.0, 2.0, 3.0, 4.0), source="file"),
        shape(2, "rectangle", (10.0, 10.0, 20.0, 14.0), source="file"),
        shape(3, "points", (9.0, 9.0), source="auto"),
        shape(4, "points", (8.0, 9.0), source="auto"),
        shape(5, "points", (9.0, 9.0), label_id=3, source="file"),
        shape(6, "rectangle", (0.0, 0.0, 5.0, 5.0), label_id=3),
        shape(7, "polygon", (9.0, 9.0, 8.0, 8.0, 7.0, 9.0), label_id=2),
        shape(8, "rectangle", (0.0, 0.0, 5.0, 5.0), source="auto"),  # boxes give way to it
    ]
    clicks = placed_clicks(shapes, labels)
    assert [c.click for c in clicks] == [Click(1, 2, 0), Click(3, 4, 0), Click(15, 12, 0)]
    no_class = "which is no class of the function (tree, car)"
    assert unused_shapes(shapes, labels) == {
        ("points", 1, "whose source is auto: no person placed them"): 2,
        ("points", 3, no_class): 1,
        ("rectangle", 3, no_class): 1,
        ("polygon", 2, "which are neither points nor rectangles"): 1,
    }


def test_a_box_of_a_drawn_object_and_of_points_on_it_is_not_written_again() -> None:
    labels = map_labels([label(1, "tree")], CLASSES, [])
    clicks = placed_clicks(
        [shape(1, "rectangle", (0.0, 0.0, 10.0, 10.0)), shape(2, "points", (2.0, 2.0))], labels
    )
    found = sort_boxes([box(0, (0, 0, 4, 4), 0, 1)], clicks, [], labels)
    assert (len(found.chosen), len(found.drawn)) == (0, 1)


def test_boxes_are_sorted() -> None:
    labels = map_labels([label(1, "tree")], CLASSES, [])
    drawn = shape(1, "rectangle", (0.0, 0.0, 10.0, 10.0))
    point = shape(2, "points", (50.0, 50.0))
    clicks = placed_clicks([drawn, point], labels)
    boxes = [
        box(0, (4, 4, 6, 6), 0),  # small, but of the drawn object
        box(0, (45, 45, 55, 55), 1),
        box(0, (1, 0, 10, 10)),  # 90 of 100
        box(0, (6, 0, 16, 10)),  # 40 of 160
        box(1, (1, 0, 10, 10)),
    ]
    found = sort_boxes(boxes, clicks, [drawn, point], labels)
    assert [chosen for chosen, _ in found.chosen] == [boxes[1], boxes[3]]
    assert found.drawn == [boxes[0], boxes[2]]
    assert found.unlabelled == [boxes[4]]


def test_an_overlap_counts_within_one_label() -> None:
    labels = map_labels([label(1, "tree"), label(2, "car")], CLASSES, [])
    drawn = shape(1, "rectangle", (0.0, 0.0, 10.0, 10.0), label_id=2)
    found = sort_boxes([box(0, (0, 0, 10, 10)), box(1, (0, 0, 10, 10))], [], [drawn], labels)
    assert [chosen.label for chosen, _ in found.chosen] == [0]


def test_scores_take_the_form_of_the_attribute() -> None:
    def find(name: str, kind: str, *values: str) -> ScoreAttribute | None:
        return ScoreAttribute.find([{"id": 3, "name": name, "input_type": kind, "values": values}])

    assert find("Score", "text").value(0.876) == "0.88"
    assert find("confidence", "number", "0", "1", "0.05").value(0.876) == "0.9"
    assert find("score", "number", "0", "100", "1").value(0.876) == "88"
    assert find("score", "number", "10", "20", "5").value(0.876) == "20"
    assert find("score", "select", "low", "high") is None
    assert find("quality", "text") is None


def test_boxes_of_an_answer() -> None:
    points = (1.0, 2.0, 3.0, 4.0)
    boxes = (Box(1, "car", points, 0.5, (0, 2), 9.0), Box(1, None, points, 0.5))
    assert checked_boxes(PluginAnswer("m", boxes), CLASSES, "f") == list(boxes)
    for other in (Box(1, "tree", points, 1), Box(2, None, points, 1), Box(None, None, points, 1)):
        with pytest.raises(AnnotateError, match="other classes"):
            checked_boxes(PluginAnswer("m", (other,)), CLASSES, "f")
    failed = PluginAnswer("m", error=RequestError("too_large", "too large", "image"))
    with pytest.raises(FrameError, match="too large"):
        checked_boxes(failed, CLASSES, "f")


def test_classes_of_a_function_yaml(tmp_path: Path) -> None:
    file = tmp_path / "function.yaml"
    for spec, names in (('[{"name": "tree"}, {"name": "plane"}]', ("tree", "plane")), ("[]", ())):
        file.write_text(f"metadata: {{annotations: {{spec: '{spec}'}}}}")
        assert function_classes(file) == names
    for text in ("", "metadata: 3", "metadata: {annotations: {spec: '[1'}}", "a: ["):
        file.write_text(text)
        with pytest.raises(AnnotateError, match="no readable"):
            function_classes(file)
    with pytest.raises(AnnotateError, match=r"^--function-yaml \S+absent.yaml is missing: name"):
        function_classes(tmp_path / "absent.yaml")


def test_a_journal_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a" / "run.jsonl"
    journal = Journal(path, {"threshold": 0.5, "frames": (1, 2)})
    journal.start(7)
    first, second = FrameReport(1, 2, 3, {"tree": 1}), FrameReport(2, 1, 1, {"car": 1})
    journal.plan(first)
    journal.add(first)
    journal.plan(second)
    journal.add(FrameReport(3, failure="no"))
    with path.open("a") as file:
        file.write('{"frame": 2, "do')  # cut off
    again = Journal(path, {"threshold": 0.5, "frames": [1, 2]})
    again.start(99)
    assert (again.group, again.done, again.planned) == (7, {1: first}, {1: first, 2: second})
    again.add(second)
    assert Journal(path, {"threshold": 0.5, "frames": [1, 2]}).done == {1: first, 2: second}
    with pytest.raises(AnnotateError, match=r"another setting of threshold \(0.5\)"):
        Journal(path, {"threshold": None, "frames": [1, 2]})
    again.close()
    assert not path.exists()


def test_a_full_disk_does_not_destroy_a_journal_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.jsonl"
    Journal(path, {}).start(7)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"frame"')

    def fail(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fail)
    monkeypatch.setattr(Path, "write_bytes", fail)
    Journal(path, {}).start(8)
    assert path.read_bytes() == whole


def test_a_journal_with_more_settings_than_the_command(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    Journal(path, {"threshold": None, "overlap": 3, "tiles": None}).start(7)
    with pytest.raises(AnnotateError, match=r"another setting of overlap \(3\)"):
        Journal(path, {"threshold": None})
    with pytest.raises(AnnotateError, match=r"another setting of colour \(none\)"):
        Journal(path, {"colour": 1, "threshold": None, "overlap": 3})
    assert Journal(path, {"overlap": 3}).group == 7, "one that is none says nothing"


def test_a_damaged_journal(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    for text in (
        "nonsense\n",
        '{"settings": {}}\n',
        '{"settings": {}, "group": 1}\n{"a": 1}\n',
        '{"settings": {}, "group": 1}\n"a"\n',
        '{"settings": [1], "group": 1}\n',
        '{"settings": null, "group": 1}\n',
        '{"settings": 5, "group": 1}\n',
    ):
        path.write_text(text)
        with pytest.raises(AnnotateError, match="damaged"):
            Journal(path, {})


def test_names_of_journals() -> None:
    assert journal_name("http://a.b:80", "job", 3) == "http-a.b-80-job-3.jsonl"


def test_retries_wait_longer_each_time() -> None:
    waits: list[float] = []
    outcomes: list[object] = [TransientError("a"), TransientError("b"), "done"]

    def act() -> object:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    assert Retry(4, 0.5, waits.append).call(act) == "done"
    assert waits == [0.5, 1.0]
    outcomes[:] = [TransientError("a"), TransientError("last")]
    with pytest.raises(TransientError, match="last"):
        Retry(2, 0.5, waits.append).call(act)


def test_arguments() -> None:
    assert frame_ranges("5,0-2,1") == (0, 1, 2, 5)
    assert len(frame_ranges("1-1000000")) == 1_000_000
    assert label_pair("a b=c=d") == ("a b", "c=d")
    assert score("0.5") == 0.5
    for read, texts in (
        (frame_ranges, ["", "a", "1-", "-1", "1-b", "3-1", "0-1000000", f"0-{10**17}"]),
        (frame_ranges, ["9" * 5000, "0-" + "9" * 5000]),
        (label_pair, ["a", "=b", "a="]),
        (score, ["0", "1.1", "x", "nan"]),
    ):
        for text in texts:
            with pytest.raises(argparse.ArgumentTypeError):
                read(text)


class Slow(Function):
    """A function that gives one answer after the other."""

    name = "the slow function"
    classes = ("tree",)

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = answers
        self.requests: list[tuple[int, Mapping[str, Any]]] = []

    def send(self, frame: int, prompts: Mapping[str, Any]) -> bytes:
        self.requests.append((frame, prompts))
        return json.dumps(self.answers[len(self.requests) - 1]).encode()


def test_a_request_is_sent_again_as_long_as_the_work_goes_on() -> None:
    """Nothing is searched until all is read under the clicks, and yet the work goes on."""
    answers = [
        PluginAnswer("m", coverage=c, progress=p)
        for c, p in ((0, 0.1), (0, 0.2), (0.3, 0.7), (1, 1))
    ]
    slow, clicks = Slow(*(answer.body() for answer in answers)), [Click(1, 2, 0)]
    assert slow.detect(5, clicks, 0.3) == answers[-1]
    assert slow.requests == [(5, plugin_prompts(clicks, 0.3))] * 4


def test_of_a_function_without_progress_the_coverage_counts() -> None:
    answers = [{"c3det": 1, "boxes": [], "coverage": share} for share in (0.2, 0.7, 1.0)]
    slow = Slow(*answers)
    assert slow.detect(5, [], None).coverage == 1.0
    assert len(slow.requests) == 3


def test_a_function_without_either_gets_one_request() -> None:
    slow = Slow(PluginAnswer("m").body())
    assert slow.detect(5, [], None) == PluginAnswer("m")
    assert len(slow.requests) == 1


def test_a_function_that_comes_no_further_fails_the_frame() -> None:
    slow = Slow(*(PluginAnswer("m", coverage=0.0, progress=p).body() for p in (0.2, 0.4, 0.4)))
    with pytest.raises(FrameError, match="does 40% of the work for this picture and no more"):
        slow.detect(5, [], None)
    assert len(slow.requests) == 3


def test_a_function_of_before_exemplars_says_so() -> None:
    example = Path(__file__).parents[1] / "protocol" / "error-exemplars-function-of-before.json"
    function = Slow(json.loads(example.read_text(encoding="utf-8"))["answer"])
    with pytest.raises(FrameError, match="this function speaks version 1 of the protocol"):
        function.exemplars(0, [Click(1, 2, 0)], [])


def test_pillow_takes_every_picture_that_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    target: Any = SimpleNamespace(labels=[])
    Overlay(tmp_path / "drawn", target, map_labels([label(1, "tree")], (), []))
    assert Image.MAX_IMAGE_PIXELS == MAX_PIXELS == 1_000_000_000

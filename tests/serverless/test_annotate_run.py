"""The helper for whole jobs against the emulator, whatever version of cvat-sdk is installed.

The predictor behind the emulator's function sees in every picture a "0" at (10, 10, 14, 16) and at
(30, 20, 36, 24), a "tree" at (0, 0, 60, 40), and a box of 4 x 4 around each click.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from c3det.clicks import Click
from c3det.exemplars import Exemplars
from serverless.annotate.__main__ import main
from serverless.annotate.errors import AnnotateError, Retry
from serverless.annotate.journal import FrameReport, Journal
from serverless.nuclio_worker import HttpAnswer, NuclioWorker
from tests.emulator.functions import Function
from tests.emulator.server import Emulator, hosted_functions
from tests.emulator.store import Task
from tests.serverless.fakes import CLASSES, FakePredictor, encoded_picture, make_context

cvat_sdk = pytest.importorskip("cvat_sdk", reason="cvat-sdk is missing: pip install '.[cvat]'")

SERVICE = make_context().user_data
SCORE = {"name": "score", "input_type": "number", "values": ["0", "1", "0.01"]}
LABELS = ["tree", {"name": "0", "attributes": [SCORE]}, "cat"]


@pytest.fixture(scope="module")
def functions() -> Iterator[list[Function]]:
    with hosted_functions(SERVICE) as hosted:
        yield hosted


@pytest.fixture
def listed(tmp_path: Path) -> tuple[str, str]:
    """The option that tells the helper the classes of the fake, asked at its own address."""
    file = tmp_path / "function.yaml"
    spec = json.dumps([{"name": name} for name in CLASSES])
    file.write_text(f"metadata:\n  annotations:\n    spec: '{spec}'\n")
    return "--function-yaml", str(file)


@pytest.fixture
def unlabelled(tmp_path: Path) -> tuple[str, str]:
    """The same of an open function, which lists no classes."""
    file = tmp_path / "function.yaml"
    file.write_text("metadata:\n  annotations:\n    spec: '[]'\n")
    return "--function-yaml", str(file)


OLD_SDK = "C3DET_TEST_CVAT_SDK" in os.environ
# A server is asked by an SDK of its time or later.
EVERY_SERVER = pytest.mark.parametrize(
    "profile", ["2.15"] if OLD_SDK else ["2.15", "2026"], indirect=True
)


@pytest.fixture
def profile(request: pytest.FixtureRequest) -> str:
    return getattr(request, "param", "2.15" if OLD_SDK else "2026")


@pytest.fixture
def emulator(functions: list[Function], profile: str) -> Iterator[Emulator]:
    emulator = Emulator(functions, profile, credentials=("ann", "secret"))
    with emulator.running():
        yield emulator


@pytest.fixture
def task(emulator: Emulator) -> Task:
    """Frame 0 with a point of "0" and one of "cat", frame 1 with a tree drawn, frame 2 empty."""
    pictures = [(f"{i}.png", encoded_picture(value=i)) for i in range(3)]
    task = emulator.store.add_task("three", LABELS, pictures)
    place(emulator, task, 0, "0", "points", [50, 30])
    place(emulator, task, 0, "cat", "points", [5, 5])
    place(emulator, task, 1, "tree", "rectangle", [0, 0, 60, 40])
    return task


def place(
    emulator: Emulator,
    task: Task,
    frame: int,
    label: str,
    kind: str,
    points: list[float],
    **more: Any,
) -> None:
    shape = {"frame": frame, "type": kind, "points": points, **more}
    shape["label_id"] = task.label_named(label)["id"]
    emulator.store.change_task(task, "create", {"shapes": [shape]})


def shapes(emulator: Emulator, task: Task, **fields: Any) -> list[dict[str, Any]]:
    """The task's shapes with the given fields."""
    found = emulator.store.task_annotations(task)["shapes"]
    return [s for s in found if all(s[key] == value for key, value in fields.items())]


def ours(emulator: Emulator, task: Task) -> list[tuple[int, str, list[float]]]:
    """Frame, label and points of what the helper wrote."""
    names = {label["id"]: label["name"] for label in task.labels}
    written = shapes(emulator, task, source="semi-auto")
    return sorted((s["frame"], names[s["label_id"]], s["points"]) for s in written)


EXPECTED = [
    (0, "0", [10.0, 10.0, 14.0, 16.0]),
    (0, "0", [30.0, 20.0, 36.0, 24.0]),
    (0, "0", [48.0, 28.0, 52.0, 32.0]),
    (0, "tree", [0.0, 0.0, 60.0, 40.0]),
    (1, "0", [10.0, 10.0, 14.0, 16.0]),
    (1, "0", [30.0, 20.0, 36.0, 24.0]),
]


class Command:
    """Calls the command and keeps what it prints."""

    def __init__(self, emulator: Emulator, task: Task, capsys: Any) -> None:
        self.emulator = emulator
        self.task = task
        self.waits: list[float] = []
        self._capsys = capsys
        self.out = ""
        self.err = ""

    def __call__(self, *arguments: str, where: str = "job", user: str | None = "ann") -> int:
        number = self.task.jobs[0].id if where == "job" else self.task.id
        line = [self.emulator.url, f"--{where}", str(number), *arguments]
        if user is not None:
            line += ["--user", user]
        with pytest.raises(SystemExit) as ended:
            main(line, Retry(4, 0.001, self.waits.append))
        captured = self._capsys.readouterr()
        self.out, self.err = captured.out, captured.err
        return ended.value.code

    @property
    def asked(self) -> list[int]:
        """Numbers of the clicks of each request that reached the function."""
        return [len(call["pos_points"]) for call in self.emulator.functions.calls]


@pytest.fixture
def annotate(
    emulator: Emulator, task: Task, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> Command:
    for name in [name for name in os.environ if name.startswith(("C3DET_WEIGHTS", "CVAT_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("C3DET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CVAT_PASSWORD", "secret")
    return Command(emulator, task, capsys)


def journals(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache" / "annotate").glob("*"))


def test_the_sdk_is_the_one_that_is_meant() -> None:
    from cvat_sdk.version import VERSION

    expected = os.environ.get("C3DET_TEST_CVAT_SDK")
    assert expected is None or expected == VERSION


@EVERY_SERVER
@pytest.mark.parametrize("where", ["job", "task"])
def test_what_it_writes_and_says(
    annotate: Command, emulator: Emulator, task: Task, where: str, tmp_path: Path
) -> None:
    assert annotate(where=where) == 0
    assert ours(emulator, task) == EXPECTED
    (spec,) = task.label_named("0")["attributes"]
    for shape in shapes(emulator, task, source="semi-auto"):
        assert (shape["type"], shape["group"], shape["rotation"]) == ("rectangle", 1, 0)
        assert (shape["occluded"], shape["z_order"]) == (False, 0)
        if shape["points"] == EXPECTED[0][2]:
            assert shape["attributes"] == [{"spec_id": spec["id"], "value": "0.9"}]
    lines = [line.split() for line in annotate.out.splitlines()]
    # frame, picture, clicks, found, written, no label, drawn, replaced
    assert ["0", "0.png", "1", "4", "4", "0", "0", "0"] in lines
    assert ["1", "1.png", "1", "4", "2", "0", "2", "0"] in lines
    assert "frames: 3 (2 done, 0 failed, 1 without clicks, not asked about)" in annotate.out
    assert "rectangles written: 6 (0 5, tree 1), source semi-auto, group 1" in annotate.out
    assert "boxes left out whose object has a rectangle: 2" in annotate.out
    assert "points shapes of label cat not used" in annotate.out
    assert annotate.asked == [1, 1]
    assert len(shapes(emulator, task, type="points")) == 2
    assert journals(tmp_path) == []


def test_uploaded_points_are_clicks_and_the_summary_names_what_is_not_used(
    annotate: Command, emulator: Emulator, task: Task
) -> None:
    place(emulator, task, 2, "0", "points", [50, 30], source="file")
    place(emulator, task, 2, "tree", "points", [5, 5, 6, 6], source="auto")
    place(emulator, task, 1, "cat", "polygon", [5, 5, 6, 6, 5, 6], source="file")
    assert annotate() == 0
    assert {row[0] for row in ours(emulator, task)} == {0, 1, 2}
    assert "frames: 3 (3 done, 0 failed, 0 without clicks" in annotate.out
    for line in (
        "points shapes of label tree not used, whose source is auto: no person placed them: 1",
        "polygon shapes of label cat not used, which are neither points nor rectangles: 1",
        "points shapes of label cat not used, which is no class of the function (tree, 0, 1): 1",
    ):
        assert line in annotate.out.splitlines()


def test_the_last_line_says_to_reload_where_something_was_changed(annotate: Command) -> None:
    reload = "Reload the tabs of CVAT that were open before"
    assert annotate("--dry-run") == 0
    assert reload not in annotate.out
    assert annotate() == 0
    assert annotate.out.splitlines()[-1].startswith(reload)
    assert annotate() == 0
    assert reload not in annotate.out, "nothing was left to write"
    assert annotate("--existing", "overwrite") == 0
    assert annotate.out.splitlines()[-1].startswith(reload)


def test_a_second_run_writes_nothing_twice(
    annotate: Command, emulator: Emulator, task: Task
) -> None:
    annotate()
    assert annotate() == 0
    assert ours(emulator, task) == EXPECTED
    assert "rectangles written: 0, source semi-auto, group 2" in annotate.out


def test_overwriting_replaces_what_a_person_corrected(
    annotate: Command, emulator: Emulator, task: Task
) -> None:
    """CVAT keeps source and group of a rectangle whose edges someone drags."""
    annotate()
    first = shapes(emulator, task, source="semi-auto")[0]
    corrected = {**first, "points": [11, 11, 15, 17]}
    emulator.store.change_task(task, "update", {"shapes": [corrected]})
    assert annotate() == 0
    assert shapes(emulator, task, points=[11, 11, 15, 17]), "kept by default"
    assert annotate("--existing", "overwrite") == 0
    assert ours(emulator, task) == EXPECTED
    with pytest.raises(SystemExit):
        main(["--help"])
    helped = " ".join(annotate._capsys.readouterr().out.split())
    assert "overwrite replaces those, too, that a person has corrected" in helped


def test_overwriting_replaces_what_no_person_drew(
    annotate: Command, emulator: Emulator, task: Task
) -> None:
    annotate()
    before = {shape["id"] for shape in shapes(emulator, task, source="semi-auto")}
    place(emulator, task, 2, "0", "rectangle", [1, 1, 2, 2], source="auto")
    place(emulator, task, 0, "cat", "rectangle", [1, 1, 2, 2], source="auto")
    place(emulator, task, 0, "0", "rectangle", [90, 90, 94, 94], source="semi-auto")
    assert annotate("--existing", "overwrite") == 0
    after = shapes(emulator, task, source="semi-auto")
    assert not before & {shape["id"] for shape in after}
    (accepted,) = [shape for shape in after if not shape["group"]]
    assert accepted["points"] == [90, 90, 94, 94], "a proposal that a person accepted stays"
    after.remove(accepted)
    assert len(after) == len(EXPECTED)
    assert {shape["group"] for shape in after} == {2}
    assert len(shapes(emulator, task, source="auto")) == 2, "frame 2 has no clicks, cat no class"
    assert len(shapes(emulator, task, source="manual")) == 3
    assert "rectangles of earlier runs removed: 6" in annotate.out


@EVERY_SERVER
def test_removing_points(annotate: Command, emulator: Emulator, task: Task) -> None:
    assert annotate("--remove-points") == 0
    assert "points shapes removed that were used as clicks: 1" in annotate.out
    (left,) = shapes(emulator, task, type="points")
    assert left["label_id"] == task.label_named("cat")["id"]
    assert len(shapes(emulator, task, source="manual", type="rectangle")) == 1


def test_a_dry_run_writes_nothing_and_draws(
    annotate: Command, emulator: Emulator, task: Task, tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    options = ["--dry-run", "--remove-points", "--existing", "overwrite"]
    assert annotate(*options, "--pictures", str(folder)) == 0
    assert ours(emulator, task) == []
    assert len(shapes(emulator, task)) == 3
    assert "rectangles to write: 6" in annotate.out
    assert "points shapes to remove that were used as clicks: 1" in annotate.out
    assert "nothing was written or removed" in annotate.out
    assert journals(tmp_path) == []
    assert sorted(path.name for path in folder.iterdir()) == [
        "frame-000000.png",
        "frame-000001.png",
    ]
    label = task.label_named("tree")
    colour = tuple(bytes.fromhex(label["color"][1:]))
    with Image.open(folder / "frame-000000.png") as image:
        scale = image.width // 60
        assert image.size == (60 * scale, 40 * scale)
        assert image.getpixel((20 * scale, 40 * scale - 1)) == colour or (
            image.getpixel((0, 20 * scale)) == colour
        ), "the box of the tree is the edge of the picture"


def test_only_these_frames(annotate: Command, emulator: Emulator, task: Task) -> None:
    assert annotate("--frames", "1-2") == 0
    assert ours(emulator, task) == [row for row in EXPECTED if row[0] == 1]
    assert "frames: 2 (1 done, 0 failed, 1 without clicks" in annotate.out
    assert annotate("--frames", "2", "--without-clicks") == 0
    assert Counter(row[0] for row in ours(emulator, task)) == {1: 2, 2: 3}
    assert annotate("--frames", "2-3") == 2
    assert "no frame 3, its frames are 0 to 2" in annotate.err


@EVERY_SERVER
def test_deleted_frames_and_jobs(annotate: Command, emulator: Emulator) -> None:
    pictures = [(f"{i}.png", encoded_picture(value=i)) for i in range(4)]
    other = emulator.store.add_task("o", ["0"], pictures, segment_size=2, deleted_frames=[2])
    for frame in range(4):
        place(emulator, other, frame, "0", "points", [50, 30])
    annotate.task = other
    assert annotate(where="job") == 0
    assert {row[0] for row in ours(emulator, other)} == {0, 1}
    assert "boxes left out for whose class the task has no label: 2" in annotate.out
    assert annotate(where="task") == 0
    assert {row[0] for row in ours(emulator, other)} == {0, 1, 3}


def test_a_job_of_some_frames(annotate: Command, emulator: Emulator, task: Task) -> None:
    task.jobs[0].included_frames = [1, 2]
    assert annotate() == 0
    assert {row[0] for row in ours(emulator, task)} == {1}


def test_shapes_in_overlapping_jobs_are_removed_job_by_job(
    annotate: Command, emulator: Emulator
) -> None:
    pictures = [(f"{i}.png", encoded_picture(value=i)) for i in range(3)]
    other = emulator.store.add_task("o", ["0"], pictures, segment_size=2, overlap=1)
    place(emulator, other, 1, "0", "points", [50, 30])
    annotate.task = other
    assert annotate("--remove-points", where="task") == 2
    assert "share 1 frames" in annotate.err
    assert annotate(where="task") == 0
    assert len(ours(emulator, other)) == 3
    assert all(len(job.shapes) == 4 for job in other.jobs)
    assert annotate("--existing", "overwrite", "--remove-points", where="job") == 0
    assert [len(job.shapes) for job in other.jobs] == [3, 4]


def test_the_threshold_reaches_the_function(annotate: Command, emulator: Emulator) -> None:
    annotate("--threshold", "0.25", "--dry-run")
    assert {call["threshold"] for call in emulator.functions.calls} == {0.25}


def test_labels_of_other_names(annotate: Command, emulator: Emulator, task: Task) -> None:
    assert annotate("--label", "cat=1", "--frames", "0") == 0
    names = [row[1] for row in ours(emulator, task)]
    assert Counter(names) == {"0": 3, "tree": 1, "cat": 1}
    assert emulator.functions.calls[0]["neg_points"] == [[-1, 1], [1, 1], [2, 1]]


@pytest.fixture
def open_function(emulator: Emulator) -> Iterator[Function]:
    """A function that takes any label, in the place of the others of the server."""
    with hosted_functions(make_context(classes=()).user_data) as (function,):
        emulator.functions.functions = {function.id: function}
        yield function


OPEN_EXPECTED = [
    (0, "0", [0.0, 0.0, 60.0, 40.0]),
    (0, "0", [10.0, 10.0, 14.0, 16.0]),
    (0, "0", [30.0, 20.0, 36.0, 24.0]),
    (0, "0", [48.0, 28.0, 52.0, 32.0]),
    (0, "cat", [3.0, 3.0, 7.0, 7.0]),
    (1, "tree", [10.0, 10.0, 14.0, 16.0]),
    (1, "tree", [30.0, 20.0, 36.0, 24.0]),
]
"""All is of the label that is clicked first, but what is under clicks of others."""


@EVERY_SERVER
def test_an_open_function_takes_the_labels_of_the_task(
    annotate: Command, emulator: Emulator, task: Task, open_function: Function
) -> None:
    assert annotate() == 0
    assert ours(emulator, task) == OPEN_EXPECTED
    asked = [call["neg_points"] for call in emulator.functions.calls]
    assert asked == [[[-1, 1], [1, 1], [2, 1]], [[-1, 1], [0, 1]]], "positions in the task's list"
    assert "not used" not in annotate.out
    assert "for whose class the task has no label: 0" in annotate.out


def test_an_open_function_at_its_own_address_and_in_process(
    annotate: Command,
    emulator: Emulator,
    task: Task,
    open_function: Function,
    unlabelled: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pictures = ["--pictures", str(tmp_path / "pictures")]
    assert annotate("--url", open_function.url, *unlabelled, *pictures) == 0
    assert ours(emulator, task) == OPEN_EXPECTED
    for shape in shapes(emulator, task, source="semi-auto"):
        emulator.store.change_task(task, "delete", {"shapes": [shape]})
    monkeypatch.setattr("c3det.predictor.load", lambda weights, device: FakePredictor(()))
    assert annotate("--model") == 0
    assert ours(emulator, task) == OPEN_EXPECTED
    assert emulator.functions.calls == []


def test_an_open_function_finds_nothing_without_clicks(
    annotate: Command, emulator: Emulator, task: Task, open_function: Function
) -> None:
    assert annotate("--without-clicks") == 2
    assert "takes any label and finds none without clicks" in annotate.err
    assert ours(emulator, task) == []


@pytest.fixture
def labelled_task(emulator: Emulator, task: Task) -> Task:
    """Frame 0 has a point of "0" and one of "cat", frame 1 a tree and a proposal accepted."""
    place(emulator, task, 1, "tree", "rectangle", [30, 20, 36, 24], source="semi-auto")
    return task


FROM_FRAMES = [
    (2, "tree", [0.0, 0.0, 60.0, 40.0]),
    (2, "tree", [10.0, 10.0, 14.0, 16.0]),
    (2, "tree", [30.0, 20.0, 36.0, 24.0]),
]
"""On frame 2; what people labelled is left as it is."""


@EVERY_SERVER
def test_frames_that_people_labelled_show_what_is_looked_for_in_the_others(
    annotate: Command, emulator: Emulator, labelled_task: Task, open_function: Function
) -> None:
    assert annotate("--exemplars-from-frames", "0-1") == 0
    written = [row for row in ours(emulator, labelled_task) if row[0] != 1]
    assert [row[0] for row in written] == [2, 2, 2]
    assert (
        "exemplars: 4 (0 1, cat 1, tree 2), 4 of them go with each question"
        in annotate.out.splitlines()
    )
    assert "frames: 1 (1 done, 0 failed, 0 without clicks" in annotate.out
    first, second, third = emulator.functions.calls
    assert first["pos_points"] == [[50, 30], [5, 5]]
    assert first["neg_points"] == [[-1, 2], [1, 0], [1, 1], [2, 1]]
    assert second["pos_points"] == [[0, 0], [60, 40], [30, 20], [36, 24]]
    assert second["neg_points"] == [[-1, 2], [1, 2], [0, 1], [0, 1]]
    # A vector of two numbers has four bytes, one pair.
    assert third["pos_points"] == []
    assert third["neg_points"][:3] == [[-1, 2], [2, 4], [0, 4]]
    assert third["neg_points"][3::3] == [[1, 1], [2, 1], [0, 1], [0, 1]]
    assert third["neg_points"][4::3] == [[4, 4], [4, 4], [60, 40], [6, 4]]


def test_exemplars_are_saved_for_the_next_task_and_the_review_says_where_to_look(
    annotate: Command,
    emulator: Emulator,
    labelled_task: Task,
    open_function: Function,
    tmp_path: Path,
) -> None:
    saved, review = tmp_path / "e.safetensors", tmp_path / "review.csv"
    arguments = ["--exemplars-from-frames", "1", "--save-exemplars", str(saved)]
    pictures = ["--pictures", str(tmp_path / "out")]
    assert annotate(*arguments, "--dry-run", *pictures, "--review", str(review)) == 0
    assert [row[0] for row in ours(emulator, labelled_task)] == [1], "the accepted one"
    assert (tmp_path / "out" / "frame-000002.png").exists()
    lines = review.read_text().splitlines()
    assert lines[0] == "look,frame,picture,sureness,rectangles,why"
    # Scores of 0.9, 0.5 and 0.4 over a threshold of 0.3, and of 1 under clicks.
    assert lines[1:] == [
        "1,2,2.png,0.43,3,1 of 3 rectangles hardly reach the threshold",
        "2,0,0.png,0.66,5,1 of 5 rectangles hardly reach the threshold",
    ]

    pictures_of_next = [("a.png", encoded_picture(value=9)), ("b.png", encoded_picture(value=8))]
    following = emulator.store.add_task("next", ["0", "tree"], pictures_of_next)
    annotate.task = following
    assert annotate("--exemplars", str(saved)) == 0
    assert ours(emulator, following) == [
        (frame, "tree", points) for frame in (0, 1) for _, _, points in FROM_FRAMES
    ]
    assert annotate("--exemplars", str(saved)) == 0
    assert "rectangles written: 0" in annotate.out, "nothing twice"
    following = emulator.store.add_task("other", ["0"], pictures_of_next)
    annotate.task = following
    assert annotate("--exemplars", str(saved)) == 2
    assert "the exemplars are of tree, 0, cat, of which the task has no label (0)" in annotate.err


def test_a_run_with_exemplars_goes_on_after_a_break(
    annotate: Command,
    emulator: Emulator,
    labelled_task: Task,
    open_function: Function,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add = Journal.add

    def interrupt(journal: Journal, report: FrameReport) -> None:
        add(journal, report)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "add", interrupt)
        assert annotate("--exemplars-from-frames", "1") == 130
    assert annotate("--exemplars-from-frames", "0") == 2
    assert "another setting of exemplars-from-frames ([1])" in annotate.err
    assert annotate("--exemplars-from-frames", "1") == 0
    assert [row for row in ours(emulator, labelled_task) if row[0] == 2] == FROM_FRAMES
    assert len([row for row in ours(emulator, labelled_task) if row[0] == 0]) == 5
    # Exemplars of two boxes and frame 0, then the same exemplars again and frame 2.
    asked = [call["neg_points"][1] for call in emulator.functions.calls]
    assert asked == [[1, 2], [2, 2]] * 2


@pytest.mark.parametrize("where", ["url", "model"])
def test_exemplars_at_the_functions_own_address_and_in_process(
    annotate: Command,
    emulator: Emulator,
    labelled_task: Task,
    open_function: Function,
    unlabelled: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    monkeypatch.setattr("c3det.predictor.load", lambda weights, device: FakePredictor(()))
    who = ["--model"] if where == "model" else ["--url", open_function.url]
    arguments = [*who, *unlabelled, "--exemplars-from-frames", "0-1"]
    assert annotate(*arguments) == 0
    assert len([row for row in ours(emulator, labelled_task) if row[0] == 2]) == 3
    assert emulator.functions.calls == []


def test_exemplars_that_cannot_be_used_end_the_run_with_a_sentence(
    annotate: Command,
    emulator: Emulator,
    task: Task,
    open_function: Function,
    functions: list[Function],
    tmp_path: Path,
) -> None:
    saved = str(tmp_path / "e.safetensors")
    assert annotate("--save-exemplars", saved) == 2
    assert "there are no exemplars to save" in annotate.err
    assert annotate("--exemplars-from-frames", "2") == 2
    assert "neither points nor rectangles that people made on the frames 2" in annotate.err
    assert annotate("--exemplars-from-frames", "7") == 2
    assert "--exemplars-from-frames: job" in annotate.err
    assert annotate("--exemplars", saved) == 2
    assert "are missing: name a file that is there" in annotate.err
    Exemplars.none("ab" * 32, 2, ["tree"]).save(Path(saved))
    assert annotate("--exemplars", saved, "--exemplars-from-frames", "1") == 2
    assert "of the weights 000000000000 cannot be merged with those of abababababab" in annotate.err
    assert annotate("--review", "review.txt") == 2
    assert "ends neither with .csv nor with .md" in annotate.err
    other = FakePredictor(()).open(np.zeros((40, 60, 3), np.uint8))
    of_others = other.exemplars([Click(1, 1, 0)], ["tree"])
    replace(of_others, weights="ab" * 32).save(Path(saved))
    assert annotate("--exemplars", saved) == 2
    assert "are of other weights (their sha256 begins with abababababab)" in annotate.err
    assert ours(emulator, task) == []
    emulator.functions.functions = {one.id: one for one in functions}
    assert annotate("--exemplars", saved) == 2
    assert "knows its classes and takes no exemplars" in annotate.err


def test_a_function_with_classes_that_is_taken_for_an_open_one(
    annotate: Command,
    functions: list[Function],
    emulator: Emulator,
    task: Task,
    unlabelled: tuple[str, str],
) -> None:
    place(emulator, task, 0, "cat", "points", [40, 10])
    assert annotate("--url", functions[0].url, *unlabelled) == 2
    assert "has other classes than expected: its class 2 is '1'" in annotate.err
    assert "--function-yaml" in annotate.err


@EVERY_SERVER
def test_at_the_functions_own_address(
    annotate: Command,
    emulator: Emulator,
    task: Task,
    functions: list[Function],
    listed: tuple[str, str],
) -> None:
    assert annotate("--url", functions[0].url, *listed) == 0
    assert ours(emulator, task) == EXPECTED
    assert emulator.functions.calls == [], "not through CVAT"


def test_with_the_model_in_process(
    annotate: Command, emulator: Emulator, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("c3det.predictor.load", lambda weights, device: FakePredictor())
    assert annotate("--model") == 0
    assert ours(emulator, task) == EXPECTED
    assert emulator.functions.calls == []


@EVERY_SERVER
def test_a_function_that_fails_is_asked_again(
    annotate: Command, emulator: Emulator, task: Task
) -> None:
    emulator.faults.add(path="/lambda/functions/c3det$", method="POST", status=503, times=2)
    emulator.faults.add(path="/annotations", method="GET", status=500)
    emulator.faults.add(path="/lambda/functions/c3det$", method="POST", cut=True)
    assert annotate() == 0
    assert ours(emulator, task) == EXPECTED
    assert annotate.waits == [0.001, 0.001, 0.002, 0.004]


def test_a_function_that_refuses_says_why(
    annotate: Command,
    task: Task,
    functions: list[Function],
    listed: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(worker: NuclioWorker, body: bytes, content_type: str) -> HttpAnswer:
        return HttpAnswer(400, b"Error when parsing request\nat line 1")

    monkeypatch.setattr(NuclioWorker, "handle", refuse)
    monkeypatch.setattr("c3det.predictor.load", lambda weights, device: FakePredictor())
    assert annotate("--url", functions[0].url, *listed) == 1
    assert "frame 0 failed: status 400: Error when parsing request\n" in annotate.out
    assert annotate("--model") == 1
    assert "frame 0 failed: the model failed with status 400: Error when parsing" in annotate.out


def test_a_picture_that_cannot_be_drawn_is_a_note(
    annotate: Command, emulator: Emulator, task: Task, tmp_path: Path
) -> None:
    options = ["--pictures", str(tmp_path / "pictures")]
    emulator.faults.add(path="/data\\?.*number=0", status=400)
    assert annotate(*options) == 0
    assert ours(emulator, task) == EXPECTED
    assert "frame 0: its picture cannot be drawn: " in annotate.out
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["frame-000001.png"]


def test_a_refused_picture_fails_its_frame_alone(
    annotate: Command,
    emulator: Emulator,
    task: Task,
    functions: list[Function],
    listed: tuple[str, str],
) -> None:
    emulator.faults.add(path="/data\\?.*number=0", status=400)
    assert annotate("--url", functions[0].url, *listed) == 1
    assert ours(emulator, task) == [row for row in EXPECTED if row[0] != 0]
    assert "frame 0 failed: " in annotate.out
    assert "refuses its picture: 400" in annotate.out


@EVERY_SERVER
def test_a_lost_answer_does_not_write_twice(
    annotate: Command, emulator: Emulator, task: Task
) -> None:
    for fault in ({"cut": True}, {"status": 504}):
        emulator.faults.add(path="action=create", method="PATCH", processed=True, **fault)
    assert annotate() == 0
    assert ours(emulator, task) == EXPECTED


def test_a_refused_write_is_sent_again(annotate: Command, emulator: Emulator, task: Task) -> None:
    emulator.faults.add(path="action=create", method="PATCH", status=503, times=3)
    assert annotate() == 0
    assert ours(emulator, task) == EXPECTED


def test_what_a_late_server_wrote_twice_is_removed(
    annotate: Command, emulator: Emulator, task: Task
) -> None:
    late = "/lambda/functions/c3det$"  # when the next frame is asked about
    emulator.faults.add(path="action=create", method="PATCH", status=504, late=late)
    assert annotate() == 0
    assert ours(emulator, task) == EXPECTED
    assert "rectangles removed that the server had written twice: 4" in annotate.out


def test_a_frame_that_fails_leaves_the_others(
    annotate: Command, emulator: Emulator, task: Task, tmp_path: Path
) -> None:
    place(emulator, task, 2, "0", "points", [70, 10])
    assert annotate() == 1
    assert ours(emulator, task) == EXPECTED
    assert "frames: 3 (2 done, 1 failed, 0 without clicks" in annotate.out
    failure = "pos_points[0] is at (70, 10), outside the picture of 60 x 40 pixels"
    assert f"frame 2 failed: {failure}" in annotate.out
    assert journals(tmp_path) == [], "every frame was reached"
    (point,) = (s for s in shapes(emulator, task, type="points") if s["frame"] == 2)
    emulator.store.change_task(task, "update", {"shapes": [{**point, "points": [7, 10]}]})
    assert annotate() == 0
    assert [row for row in ours(emulator, task) if row[0] != 2] == EXPECTED, "nothing twice"
    assert {row[0] for row in ours(emulator, task)} == {0, 1, 2}


def test_a_frame_that_always_fails_keeps_no_other_from_new_clicks(
    annotate: Command, emulator: Emulator, task: Task
) -> None:
    place(emulator, task, 2, "0", "points", [70, 10])
    assert annotate() == 1
    place(emulator, task, 0, "0", "points", [20, 30])
    assert annotate() == 1
    assert "done already" not in annotate.out
    assert (0, "0", [18.0, 28.0, 22.0, 32.0]) in ours(emulator, task)


def test_a_review_that_cannot_be_written_is_known_before_the_run(
    annotate: Command, emulator: Emulator, task: Task, tmp_path: Path
) -> None:
    (tmp_path / "folder.csv").mkdir()
    for name, why in (("nowhere/look.csv", "No such file"), ("folder.csv", "Is a directory")):
        assert annotate("--review", str(tmp_path / name)) == 2
        assert f"{name} cannot be written: {why}" in annotate.err
    assert (annotate.asked, journals(tmp_path)) == ([], [])
    assert ours(emulator, task) == []


def test_a_run_that_fails_early_leaves_the_review_as_it_is(
    annotate: Command, tmp_path: Path
) -> None:
    old, new = tmp_path / "old.csv", tmp_path / "new.csv"
    old.write_text("of another run\n")
    missing = str(tmp_path / "absent.safetensors")
    for path in (old, new):
        assert annotate("--journal", str(tmp_path), "--review", str(path)) == 2
        assert annotate("--review", str(path), "--model", missing) == 2
    assert old.read_text() == "of another run\n"
    assert not new.exists()


def test_a_review_that_was_not_written_comes_with_the_same_command(
    annotate: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    review = tmp_path / "look.csv"

    def fail(path: Path, *arguments: object) -> None:
        raise AnnotateError(f"{path} cannot be written: No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("serverless.annotate.__main__.write_review", fail)
        assert annotate("--review", str(review)) == 2
    assert "look.csv cannot be written: No space left" in annotate.err
    assert "frames: 3 (2 done" in annotate.out
    assert "The same command goes on from here" in annotate.out
    asked = len(annotate.asked)
    assert annotate("--review", str(review)) == 0
    assert len(annotate.asked) == asked, "nothing is asked again"
    assert len(review.read_text().splitlines()) == 3
    assert journals(tmp_path) == []


@contextmanager
def broken_off(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs end after the first frame was written and before that is noted."""

    def interrupt(journal: Journal, report: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "add", interrupt)
        yield


def test_a_run_goes_on_after_a_break(
    annotate: Command, emulator: Emulator, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    with broken_off(monkeypatch):
        assert annotate("--remove-points") == 130
    assert "The same command goes on from here" in annotate.out
    assert ours(emulator, task) == EXPECTED[:4]
    assert annotate("--remove-points", "--threshold", "0.9") == 2
    assert "another setting of threshold (none)" in annotate.err
    assert annotate("--remove-points") == 0
    assert ours(emulator, task) == EXPECTED
    assert {s["group"] for s in shapes(emulator, task, source="semi-auto")} == {1}
    assert "rectangles written: 6 (0 5, tree 1)" in annotate.out


def test_doubles_of_a_run_that_broke_are_found(
    annotate: Command, emulator: Emulator, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    with broken_off(monkeypatch):
        annotate()
    late = [{**shape, "id": None} for shape in shapes(emulator, task, source="semi-auto")]
    emulator.store.change_task(task, "create", {"shapes": late})
    assert annotate() == 0
    assert ours(emulator, task) == EXPECTED
    assert "rectangles removed that the server had written twice: 4" in annotate.out


def test_a_break_between_writing_and_removing(
    annotate: Command, emulator: Emulator, task: Task
) -> None:
    annotate()
    emulator.faults.add(path="action=delete", method="PATCH", status=500, times=99)
    options = ["--existing", "overwrite", "--remove-points"]
    assert annotate(*options) == 2
    assert "does not remove shapes" in annotate.err
    emulator.faults.clear()
    asked = len(annotate.asked)
    assert annotate(*options) == 0
    assert len(annotate.asked) == asked + 1, "frame 0 was answered before the break"
    assert ours(emulator, task) == EXPECTED
    assert {s["group"] for s in shapes(emulator, task, source="semi-auto")} == {2}
    assert [s["label_id"] for s in shapes(emulator, task, type="points")] == [
        task.label_named("cat")["id"]
    ]
    assert "rectangles of earlier runs removed: 6" in annotate.out


def test_a_function_that_is_gone_ends_the_run(
    annotate: Command, emulator: Emulator, task: Task
) -> None:
    emulator.faults.add(path="/lambda/functions/c3det$", method="POST", status=503, times=999)
    assert annotate("--without-clicks") == 2
    assert "has not answered for 3 frames in a row" in annotate.err
    assert "1 not reached" in annotate.out
    emulator.faults.clear()
    assert annotate("--without-clicks") == 0
    assert Counter(row[0] for row in ours(emulator, task)) == {0: 4, 1: 2, 2: 3}


def test_groups_do_not_meet(annotate: Command, emulator: Emulator, task: Task) -> None:
    place(emulator, task, 2, "cat", "polygon", [1, 1, 2, 2, 1, 2], group=5)
    annotate()
    assert {s["group"] for s in shapes(emulator, task, source="semi-auto")} == {6}


def test_tracks_are_told_of(annotate: Command, emulator: Emulator, task: Task) -> None:
    track = {"frame": 0, "label_id": task.label_named("tree")["id"], "shapes": []}
    emulator.store.change_task(task, "create", {"tracks": [track]})
    annotate("--dry-run")
    assert "tracks left alone, neither clicks nor compared with: 1" in annotate.out


TREE = [0, 0, 60, 0, 60, 40, 0, 40]
"""The corners of the box of the tree, which hardly reaches the threshold, and of the picture."""


def issues(emulator: Emulator) -> list[tuple[int, int, str]]:
    """Job, frame and message of each issue; all are where the tree is."""
    assert all(sorted(one["position"]) == sorted(TREE) for one in emulator.issues)
    return [(one["job"], one["frame"], one["message"]) for one in emulator.issues]


NOT_SURE = "C3Det is not sure here (0.57): 1 of 4 rectangles hardly reach the threshold"


@EVERY_SERVER
def test_issues_say_where_to_look_and_why(
    annotate: Command, emulator: Emulator, task: Task
) -> None:
    assert annotate("--dry-run", "--issues", "5") == 0
    assert "issues to create: 1, unless they are there" in annotate.out
    assert emulator.issues == []
    assert annotate("--issues", "5") == 0
    assert "issues created: 1" in annotate.out
    assert issues(emulator) == [(task.jobs[0].id, 0, NOT_SURE)], "frame 1 leaves no doubt"
    assert annotate("--issues", "5", "--existing", "overwrite") == 0
    assert "issues created: 0" in annotate.out, "none twice"
    assert len(emulator.issues) == 1


def test_issues_are_of_the_job_of_their_frame_and_no_more_than_wanted(
    annotate: Command, emulator: Emulator
) -> None:
    pictures = [(f"{i}.png", encoded_picture(value=i)) for i in range(4)]
    other = emulator.store.add_task("o", LABELS, pictures, segment_size=2)
    for frame in (1, 3):
        place(emulator, other, frame, "0", "points", [50, 30])
    place(emulator, other, 2, "0", "points", [70, 10])
    annotate.task = other
    assert annotate("--issues", "2", where="task") == 1
    first, second = other.jobs
    outside = "pos_points[0] is at (70, 10), outside the picture of 60 x 40 pixels"
    assert issues(emulator) == [
        (second.id, 2, f"C3Det found nothing here: {outside}"),
        (first.id, 1, NOT_SURE),
    ]


def test_issues_in_a_job_of_ground_truth_and_on_frames_of_it_alone(
    annotate: Command, emulator: Emulator
) -> None:
    pictures = [(f"{i}.png", encoded_picture(value=i)) for i in range(4)]
    other = emulator.store.add_task("o", LABELS, pictures, segment_size=2)
    first, second = other.jobs
    second.type = "ground_truth"
    for frame in range(4):
        place(emulator, other, frame, "0", "points", [50, 30])
    annotate.task = other
    note = "; frames without a job of annotation, which take none: 2"
    assert annotate("--issues", "3", "--dry-run", where="task") == 0
    assert f"issues to create: 2, unless they are there{note}" in annotate.out.splitlines()
    assert annotate("--issues", "3", where="task") == 0
    assert f"issues created: 2{note}" in annotate.out.splitlines()
    assert [job for job, _, _ in issues(emulator)] == [first.id] * 2
    emulator.issues.clear()
    other.jobs.reverse()
    assert annotate("--issues", "1", "--existing", "overwrite") == 0
    assert "issues created: 1" in annotate.out.splitlines()
    assert issues(emulator) == [(second.id, 2, NOT_SURE)]


def test_a_lost_answer_or_a_break_makes_no_issue_twice(
    annotate: Command, emulator: Emulator, task: Task
) -> None:
    emulator.faults.add(path="/api/issues$", method="POST", processed=True, cut=True)
    assert annotate("--issues", "5") == 0
    assert len(emulator.issues) == 1
    emulator.issues.clear()
    for shape in shapes(emulator, task, source="semi-auto"):
        emulator.store.change_task(task, "delete", {"shapes": [shape]})
    emulator.faults.add(path="/api/issues$", method="POST", status=503, times=99)
    assert annotate("--issues", "5") == 2
    assert "does not take the issue on frame 0: 503" in annotate.err
    emulator.faults.clear()
    assert annotate("--issues", "5") == 0
    assert issues(emulator) == [(task.jobs[0].id, 0, NOT_SURE)]
    assert ours(emulator, task) == EXPECTED


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--function", "other"], "has no interactor 'other', it has c3det: name one"),
        (["--label", "dog=tree"], "the task has no label 'dog'"),
        (["--label", "cat=dog"], "the function has no class 'dog'"),
        (["--function-yaml", "absent.yaml", "--url", "http://x"], "absent.yaml is missing: name"),
        (["--url", "localhost:1"], "--url localhost:1: the address must have http:// or https://"),
        (["--url", "ftp://x/"], "--url ftp://x/: the address must have http:// or https://"),
        (["--url", "foo bar"], "--url foo bar: the address must have http:// or https://"),
        (["--url", "http://foo bar"], "--url http://foo bar is no address: write"),
        (["--url", "http://"], "--url http:// is no address: write http://HOST:PORT"),
        (["--model", "absent.safetensors"], "absent.safetensors"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_sentence(
    annotate: Command, arguments: list[str], sentence: str
) -> None:
    assert annotate(*arguments) == 2
    assert annotate.err.startswith("serverless.annotate: ")
    assert sentence in annotate.err
    assert annotate.err.count("\n") == 1
    assert "C3DET_WEIGHTS" not in os.environ


@EVERY_SERVER
def test_who_may_not_come_in(annotate: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert annotate(user=None) == 2
    assert "asks who you are: give --user" in annotate.err
    monkeypatch.setenv("CVAT_PASSWORD", "guess")
    assert annotate() == 2
    assert "name or password is wrong" in annotate.err


@EVERY_SERVER
def test_a_token_comes_in(
    annotate: Command, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CVAT_ACCESS_TOKEN", emulator._token)
    assert annotate("--dry-run", user=None) == 0


def test_the_detector_is_no_interactor(
    annotate: Command, functions: list[Function], emulator: Emulator, task: Task
) -> None:
    assert annotate("--function", "c3det-detector") == 2
    assert annotate("--url", functions[1].url) == 2
    assert "is another function: the answer is not of version 1 of the plugin" in annotate.err
    assert ours(emulator, task) == []


@pytest.mark.usefixtures("no_waiting")
def test_places_and_servers_that_are_not_there(annotate: Command, emulator: Emulator) -> None:
    annotate.task = Task(98, "", [], [], 0, 1, jobs=[])
    assert annotate(where="task") == 2
    assert f"there is no task 98 on {emulator.url}" in annotate.err
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}"
        for host, sentence in ((closed, "cannot be reached"), ("cvat.local", "http:// or https")):
            with pytest.raises(SystemExit) as ended:
                main([host, "--job", "1"], Retry(1))
            assert ended.value.code == 2
            assert sentence in annotate._capsys.readouterr().err


def test_files_that_cannot_be_written(annotate: Command, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for option in ("--journal", "--pictures"):
        assert annotate(option, str(file / "below")) == 2
        assert "cannot be" in annotate.err


def full_disk(*arguments: object, **options: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "full")


def test_a_disk_that_fills_up_loses_no_summary(
    annotate: Command, emulator: Emulator, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = Journal.add

    def second_fails(journal: Journal, report: FrameReport) -> None:
        (add if report.frame == 0 else full_disk)(journal, report)

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "add", second_fails)
        assert annotate() == 2
    assert "frames: 3 (2 done, 0 failed" in annotate.out
    assert "The same command goes on from here" in annotate.out
    assert annotate.err.splitlines()[-1].startswith(
        "serverless.annotate: full: no space left on device; make room"
    )
    assert annotate() == 0
    assert ours(emulator, task) == EXPECTED


def test_a_disk_too_full_for_pictures_loses_no_summary(
    annotate: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Image.Image, "save", full_disk)
        assert annotate("--dry-run", "--pictures", str(tmp_path / "pictures")) == 2
    assert "frames: 3 (0 done" in annotate.out
    assert "no space left on device" in annotate.err


def test_classes_that_are_not_the_functions(
    annotate: Command, functions: list[Function], tmp_path: Path
) -> None:
    file = tmp_path / "function.yaml"
    spec = json.dumps([{"name": "0"}, {"name": "tree"}])
    file.write_text(f"metadata:\n  annotations:\n    spec: '{spec}'\n")
    assert annotate("--url", functions[0].url, "--function-yaml", str(file)) == 2
    assert "has other classes than expected" in annotate.err

"""The journal of a run, on disk, so that the run can go on after a break.

The file holds one JSON object a line: first the settings of the run, then for each frame the report
of what is going to be done, and the same again when it is done. It is removed when every frame was
reached, those that failed too: the next run begins anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from c3det.commands import naming
from serverless.annotate.errors import AnnotateError, writing


@dataclass(frozen=True)
class FrameReport:
    """What was done on a frame.

    Attributes:
        clicks: Number of clicks in the request.
        boxes: Number of boxes that the function found.
        written: Rectangles written, by name of the label.
        unlabelled: Boxes left out because their class has no label in the task.
        drawn: Boxes left out because their object has a rectangle already.
        replaced: Rectangles of earlier runs that were removed.
        points_removed: Shapes of points, used as clicks, that were removed.
        notes: Short sentences of the function about its answer, and why the frame was not drawn.
        failure: Why the frame was not done; nothing was written then.
        sureness: 0 to 1, see `serverless.annotate.review`; ``None`` where the frame failed.
        doubts: Why it is below 1, in short phrases.
        least_sure: Corners of the least sure rectangle, x, y, x, y, ... in pixels, to a tenth;
            empty without rectangles.
    """

    frame: int
    clicks: int = 0
    boxes: int = 0
    written: Mapping[str, int] = field(default_factory=dict)
    unlabelled: int = 0
    drawn: int = 0
    replaced: int = 0
    points_removed: int = 0
    notes: list[str] = field(default_factory=list)
    failure: str | None = None
    sureness: float | None = None
    doubts: list[str] = field(default_factory=list)
    least_sure: list[float] = field(default_factory=list)


class Journal:
    """The journal of one run, in a file. A run goes on only with the same settings.

    Attributes:
        group: Number of the group of its rectangles; ``None`` before the start.
        planned: Reports of what was going to be done, by frame.
        done: Reports of the frames that are done.

    Raises:
        AnnotateError: The file is of a run with other settings, or damaged.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.group: int | None = None
        self.planned: dict[int, FrameReport] = {}
        self.done: dict[int, FrameReport] = {}
        self._settings = json.loads(json.dumps(settings))
        if not path.is_file():
            return
        # A line that was cut off by a break says nothing: its frame is looked at again.
        try:
            lines = path.read_text(encoding="utf-8").split("\n")[:-1]
            rows = [json.loads(line) for line in lines]
            if not rows:
                return
            before, self.group = dict(rows[0]["settings"]), int(rows[0]["group"])
            for row in rows[1:]:
                reports = self.done if row.pop("done") else self.planned
                reports[row["frame"]] = FrameReport(**row)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AnnotateError(
                f"{path}, the journal of an unfinished run, is damaged: remove it to start again"
            ) from error
        names = (*self._settings, *before)
        if changes := [name for name in names if before.get(name) != self._settings.get(name)]:
            changed = changes[0]
            value = "none" if before.get(changed) is None else before[changed]
            raise AnnotateError(
                f"{path} is of an unfinished run with another setting of {changed} ({value}): give "
                "the same to go on with it, or remove the file to start again"
            )

    def start(self, group: int) -> None:
        """Start a run whose rectangles get a group, unless one goes on."""
        with writing(self.path):
            if self.group is None:
                self.group = group
                self.path.parent.mkdir(parents=True, exist_ok=True)
                text = json.dumps({"settings": self._settings, "group": group}) + "\n"
                self.path.write_text(text, encoding="utf-8")
            else:  # a line that was cut off goes, in place: the disk may be full
                with self.path.open("r+b") as file:
                    file.truncate(file.read().rfind(b"\n") + 1)

    def plan(self, report: FrameReport) -> None:
        """Write what is going to be done on a frame."""
        self.planned[report.frame] = report
        self._append(report, done=False)

    def add(self, report: FrameReport) -> None:
        """Write that a frame is done; one that failed is not, and a run that goes on tries it."""
        self.done[report.frame] = report
        if report.failure is None:
            self._append(report, done=True)

    def _append(self, report: FrameReport, done: bool) -> None:
        with naming(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**asdict(report), "done": done}) + "\n")

    def close(self) -> None:
        """Remove the file: every frame was reached."""
        self.path.unlink(missing_ok=True)


def journal_name(host: str, kind: str, number: int) -> str:
    """Return a file name for the journal of a job or a task.

    ``journal_name("http://a.b:80", "job", 3)`` is ``http-a.b-80-job-3.jsonl``.
    """
    return f"{re.sub(r'[^A-Za-z0-9.]+', '-', host)}-{kind}-{number}.jsonl"

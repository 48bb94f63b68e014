"""A run over the frames of a job or a task: detect, choose, write, remove, report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from serverless.annotate.cvat import Label, Shape, Target
from serverless.annotate.errors import AnnotateError, FrameError, TransientError
from serverless.annotate.function import Function, checked_boxes
from serverless.annotate.journal import FrameReport, Journal
from serverless.annotate.overlap import Rectangle
from serverless.annotate.plan import (
    LabelMap,
    PlacedClick,
    SortedBoxes,
    Unused,
    is_machine_made,
    placed_clicks,
    sort_boxes,
    unused_shapes,
)
from serverless.annotate.review import frame_sureness, least_sure
from serverless.protocol import Box, CarriedExemplars

UNANSWERED_FRAMES = 3
"""After so many frames in a row without an answer the run ends."""

ERRORS_OF_ALL_FRAMES = ("other_weights", "unsupported")
"""Codes of errors that every frame would meet."""


@dataclass(frozen=True)
class RunOptions:
    """The options of a run.

    Attributes:
        frames: Numbers of the frames, in order.
        without_clicks: Whether objects are searched in frames that have no click too.
        exemplars: Of other frames; with them, objects are searched in all frames.
        threshold: Lowest score; ``None`` for the default of the weights.
        existing: Whether rectangles of earlier runs and of automatic annotation stay, or are
            replaced by the new ones, those that a person corrected too.
        remove_points: Whether points that were used as clicks are removed.
    """

    frames: tuple[int, ...]
    without_clicks: bool = False
    exemplars: CarriedExemplars | None = None
    threshold: float | None = None
    existing: Literal["keep", "overwrite"] = "keep"
    remove_points: bool = False


Draw = Callable[[int, Sequence[PlacedClick], SortedBoxes], object]
"""Draws a frame: its number, the clicks and the boxes found. A `FrameError` becomes a note."""


class Run:
    """One run; without a journal it is dry: nothing is written or removed.

    ``draw`` is called for each frame searched.

    Attributes:
        selected: Frames in which objects are searched.
        group: Number of the group of the run's rectangles.
        reports: Of the frames done, earlier parts of the run included.
        doubled: Rectangles that the server had written twice and that were removed again.
        tracks: Number of tracks of the target.
    """

    def __init__(
        self,
        target: Target,
        function: Function,
        labels: LabelMap,
        options: RunOptions,
        journal: Journal | None,
        draw: Draw | None = None,
    ) -> None:
        self._target = target
        self._function = function
        self._labels = labels
        self._options = options
        self._journal = journal
        self._draw = draw
        annotations = target.annotations()
        self.tracks = annotations.tracks
        self.group = annotations.last_group + 1
        if journal is not None:
            journal.start(self.group)
            self.group = journal.group or self.group
        self._shapes: dict[int, list[Shape]] = {}
        for shape in annotations.shapes:
            self._shapes.setdefault(shape.frame, []).append(shape)
        self._clicks = {
            frame: placed_clicks(self._shapes.get(frame, []), labels) for frame in options.frames
        }
        self.reports = {} if journal is None else dict(journal.done)
        self._planned = {} if journal is None else dict(journal.planned)
        self.selected = tuple(
            frame
            for frame in options.frames
            if options.without_clicks
            or options.exemplars is not None
            or self._clicks[frame]
            or frame in self._planned
        )
        self.doubled = 0
        # The server may have written, or may still write, what it did not confirm.
        self._look_for_doubles = bool(self._planned)

    @property
    def dry(self) -> bool:
        """Whether nothing is written or removed."""
        return self._journal is None

    @property
    def reports_in_order(self) -> list[FrameReport]:
        """Reports of the frames that were reached, by frame."""
        return [self.reports[frame] for frame in self.selected if frame in self.reports]

    @property
    def unused(self) -> Counter[Unused]:
        """Shapes on the frames of the run that are not used."""
        shapes = (s for frame in self._options.frames for s in self._shapes.get(frame, []))
        return unused_shapes(shapes, self._labels)

    @property
    def changed(self) -> bool:
        """Whether rectangles were written, or shapes removed."""
        reports = [report for report in self.reports.values() if report.failure is None]
        return not self.dry and any(
            report.written or report.replaced or report.points_removed for report in reports
        )

    def process(self) -> Iterable[FrameReport]:
        """Process the frames that are left, one after the other, and report each.

        Raises:
            AnnotateError: The run cannot go on. The journal has the frames that are done.
        """
        unanswered = 0
        for frame in self.selected:
            if frame in self.reports:
                continue
            try:
                report = self._process_frame(frame)
                unanswered = 0
            except FrameError as error:
                report = FrameReport(frame, len(self._clicks[frame]), failure=str(error))
                unanswered = 0
            except TransientError as error:
                unanswered += 1
                if unanswered == UNANSWERED_FRAMES:
                    raise AnnotateError(
                        f"{self._function.name} has not answered for {unanswered} frames in a "
                        f"row, the last time with: {error}"
                    ) from error
                report = FrameReport(frame, len(self._clicks[frame]), failure=f"no answer: {error}")
            self.reports[frame] = report
            if self._journal is not None:
                self._journal.add(report)
            yield report

    def _process_frame(self, frame: int) -> FrameReport:
        options, clicks = self._options, self._clicks[frame]
        shapes = self._shapes.get(frame, [])
        machine_made = [shape for shape in shapes if is_machine_made(shape, self._labels)]
        ours = [shape for shape in machine_made if shape.group == self.group]
        if options.existing == "overwrite":
            replaced = [shape for shape in machine_made if shape not in ours]
        else:
            replaced = []
        points = {placed.shape: None for placed in clicks if placed.shape.type == "points"}
        used = list(points) if options.remove_points else []
        planned = self._planned.get(frame)
        if planned is not None and (ours or not planned.written):
            report = planned  # it was written before a break, but not marked as done
        else:
            found, report = self._detect(frame, replaced, used)
            if self._journal is not None:
                self._journal.plan(report)
                self._write(frame, found.chosen)
        if self._journal is not None and (replaced or used):
            self._target.remove([*replaced, *used])
        return report

    def _detect(
        self, frame: int, replaced: Sequence[Shape], used: Sequence[Shape]
    ) -> tuple[SortedBoxes, FrameReport]:
        """Find the objects of a frame, and report what is going to be done.

        ``replaced`` and ``used`` are the rectangles and points that are going to be removed.
        """
        clicks, threshold = self._clicks[frame], self._options.threshold
        answer = self._function.detect(
            frame, [placed.click for placed in clicks], threshold, self._options.exemplars
        )
        if answer.error is not None and answer.error.code in ERRORS_OF_ALL_FRAMES:
            raise AnnotateError(f"{self._function.name}: {answer.error.message}")
        boxes = checked_boxes(answer, self._labels.classes, self._function.name)
        staying = [shape for shape in self._shapes.get(frame, []) if shape not in replaced]
        found = sort_boxes(boxes, clicks, staying, self._labels)
        notes = list(answer.notes)
        if self._draw is not None:
            try:
                self._draw(frame, clicks, found)
            except FrameError as error:
                notes.append(str(error))
        chosen = [box for box, _ in found.chosen]
        lowest = answer.threshold if threshold is None else threshold
        sureness, doubts = frame_sureness(chosen, len(boxes), lowest)
        report = FrameReport(
            frame,
            len(clicks),
            len(boxes),
            dict(Counter(label.name for _, label in found.chosen)),
            len(found.unlabelled),
            len(found.drawn),
            len(replaced),
            len(used),
            notes,
            sureness=sureness,
            doubts=doubts,
            least_sure=corners_of(least_sure(chosen, lowest)),
        )
        return found, report

    def _write(self, frame: int, chosen: Sequence[tuple[Box, Label]]) -> None:
        """Write the rectangles of a frame, once, though the server may answer late or never."""
        rows = [self._row(frame, box, label) for box, label in chosen]
        if not rows:
            return

        def is_written() -> bool:
            self._look_for_doubles = True
            return bool(self._written([frame]))

        try:
            self._target.server.retry.call_once(
                lambda: self._target.create(rows), is_written, unsure=frame in self._planned
            )
        except TransientError as error:
            raise AnnotateError(
                f"{self._target.server.host} does not take the rectangles of frame {frame}: {error}"
            ) from error

    def _row(self, frame: int, box: Box, label: Label) -> dict[str, Any]:
        attributes = []
        if label.score is not None:
            attributes = [{"spec_id": label.score.id, "value": label.score.value(box.score)}]
        return {
            "type": "rectangle",
            "frame": frame,
            "label_id": label.id,
            "points": list(box.points),
            "rotation": box.rotation % 360,
            "source": "semi-auto",
            "group": self.group,
            "z_order": 0,
            "occluded": False,
            "outside": False,
            "attributes": attributes,
            "elements": [],
        }

    def _written(self, frames: Sequence[int]) -> list[Shape]:
        """Return the rectangles of this run that are on the server now, on some frames."""
        wanted = set(frames)
        return [
            shape
            for shape in self._target.annotations().shapes
            if shape.frame in wanted
            and shape.group == self.group
            and is_machine_made(shape, self._labels)
        ]

    def remove_doubles(self) -> None:
        """Remove what the server wrote twice.

        A request without an answer was sent again where its rectangles were not there yet; the
        server may have written them later all the same.
        """
        if not self._look_for_doubles:
            return
        first: dict[tuple[Any, ...], Shape] = {}
        doubles = []
        for shape in self._written(self.selected):
            key = (shape.frame, shape.label_id, shape.points, shape.rotation)
            if first.setdefault(key, shape) is not shape:
                doubles.append(shape)
        self._target.remove(doubles)
        self.doubled = len(doubles)

    def finish(self) -> None:
        """Close the journal: every frame was reached."""
        if self._journal is not None:
            self._journal.close()


def corners_of(box: Box | None) -> list[float]:
    """Return the corners of a box after its rotation, x, y, x, y, ... to a tenth of a pixel."""
    if box is None:
        return []
    return Rectangle(box.points, box.rotation).corners().round(1).ravel().tolist()

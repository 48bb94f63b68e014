"""The report of a run, for people: a table, a summary, and pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from c3det.commands import naming, printable
from serverless.annotate.cvat import Target
from serverless.annotate.errors import FrameError, writing
from serverless.annotate.journal import FrameReport
from serverless.annotate.overlap import Rectangle
from serverless.annotate.plan import LabelMap, PlacedClick, SortedBoxes
from serverless.annotate.run import Run, RunOptions
from serverless.decoding import decode, limit_pixels
from serverless.protocol import Box, RequestError

COLUMNS = ("frame", "picture", "clicks", "found", "written", "no label", "drawn", "replaced")
GREY = "#9a9a9a"
MAX_PIXELS = 1_000_000_000
LEAST_SIDE = 1600
"""Pixels that the longer side of a picture of a frame has at least, to the nearest multiple."""


def table(reports: Iterable[FrameReport], target: Target, dry: bool) -> str:
    """Return a table, one line a frame.

    ``no label`` counts boxes of classes without a label in the task, ``drawn`` those of objects
    that have a rectangle already, ``replaced`` the rectangles of earlier runs that were removed.
    """
    heads = tuple("to write" if dry and head == "written" else head for head in COLUMNS)
    rows: list[Sequence[str]] = [heads]
    failures = {}
    for report in reports:
        name = printable(target.frame_names.get(report.frame, ""))
        if report.failure is not None:
            rows.append([str(report.frame), name, str(report.clicks), *["-"] * 5])
            failures[len(rows) - 1] = report.failure
            continue
        counts = (
            report.clicks,
            report.boxes,
            sum(report.written.values()),
            report.unlabelled,
            report.drawn,
            report.replaced,
        )
        rows.append([str(report.frame), name, *map(str, counts)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = []
    for index, row in enumerate(rows):
        cells = [
            cell.ljust(width) if column == 1 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join([*cells, failures.get(index, "")]).rstrip())
    return "\n".join(lines)


def summary(run: Run, target: Target, options: RunOptions) -> str:
    """Return all numbers of a run, or of what a dry one would do, in some lines."""
    reports = run.reports_in_order
    good = [report for report in reports if report.failure is None]
    failed = [report for report in reports if report.failure is not None]
    written: Counter[str] = Counter()
    for report in good:
        written.update(report.written)
    by_label = ", ".join(f"{name} {count}" for name, count in sorted(written.items()))
    frames = [f"{len(good)} done", f"{len(failed)} failed"]
    frames.append(f"{len(options.frames) - len(run.selected)} without clicks, not asked about")
    if len(reports) < len(run.selected):
        frames.append(f"{len(run.selected) - len(reports)} not reached")
    lines = [
        f"dry run of {target}, nothing was written or removed:" if run.dry else f"{target}:",
        f"frames: {len(options.frames)} ({', '.join(frames)})",
        f"rectangles {'to write' if run.dry else 'written'}: {written.total()}"
        + (f" ({by_label})" if by_label else "")
        + f", source semi-auto, group {run.group}",
        f"boxes left out whose object has a rectangle: {sum(r.drawn for r in good)}",
        f"boxes left out for whose class the task has no label: {sum(r.unlabelled for r in good)}",
    ]
    removed = "to remove" if run.dry else "removed"
    if options.existing == "overwrite":
        count = sum(report.replaced for report in good)
        lines.append(f"rectangles of earlier runs {removed}: {count}")
    if options.remove_points:
        count = sum(report.points_removed for report in good)
        lines.append(f"points shapes {removed} that were used as clicks: {count}")
    if run.doubled:
        lines.append(f"rectangles removed that the server had written twice: {run.doubled}")
    names = {label.id: label.name for label in target.labels}
    for (kind, label_id, reason), count in sorted(run.unused.items()):
        name = names.get(label_id, label_id)
        lines.append(f"{kind} shapes of label {name} not used, {reason}: {count}")
    if run.tracks:
        lines.append(f"tracks left alone, neither clicks nor compared with: {run.tracks}")
    lines += [f"frame {report.frame}: {note}" for report in good for note in report.notes]
    lines += [f"frame {report.frame} failed: {report.failure}" for report in failed]
    return "\n".join(lines)


class Overlay:
    """Draws what was found on each frame into a picture in a folder.

    Boxes that are written have the colour of their label, the others are grey; a click is a cross.
    Small pictures are enlarged, so that small objects can be seen.

    Raises:
        AnnotateError: The folder cannot be made.
    """

    def __init__(self, folder: Path, target: Target, labels: LabelMap) -> None:
        self._folder = folder
        self._target = target
        self._labels = labels
        self._colours = {label.id: label.color for label in target.labels}
        limit_pixels(MAX_PIXELS)
        with writing(folder, "made"):
            folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, frame: int, clicks: Sequence[PlacedClick], boxes: SortedBoxes) -> None:
        """Write ``frame-000012.png``.

        Raises:
            FrameError: The server refuses the picture of the frame, or it cannot be decoded.
            OSError: The picture cannot be written.
        """
        try:
            image = Image.fromarray(decode(self._target.picture(frame), MAX_PIXELS))
        except (FrameError, RequestError) as error:
            raise FrameError(f"its picture cannot be drawn: {error}") from error
        scale = max(1, round(LEAST_SIDE / max(image.size)))
        image = image.resize((image.width * scale, image.height * scale))
        draw = ImageDraw.Draw(image)
        for box in (*boxes.unlabelled, *boxes.drawn):
            _draw_box(draw, box, scale, GREY, self._labels.name_of(box))
        for box, label in boxes.chosen:
            _draw_box(draw, box, scale, label.color, label.name)
        for placed in clicks:
            x, y = placed.click.x * scale, placed.click.y * scale
            colour = self._colours[placed.shape.label_id]
            for width, colour_of_line in ((7, "white"), (3, colour)):
                draw.line((x - 9, y, x + 9, y), colour_of_line, width)
                draw.line((x, y - 9, x, y + 9), colour_of_line, width)
        path = self._folder / f"frame-{frame:06d}.png"
        with naming(path):
            image.save(path)


def _draw_box(draw: ImageDraw.ImageDraw, box: Box, scale: int, colour: str, name: str) -> None:
    corners = Rectangle(box.points, box.rotation).corners() * scale
    draw.polygon([(float(x), float(y)) for x, y in corners], outline=colour, width=2)
    left, top = corners.min(axis=0)
    text = f"{name} {box.score:.2f}"
    draw.text((float(left), float(top) - 12), text, "white", stroke_width=1, stroke_fill="black")

"""The order in which a person should look at the frames of a run: the least sure first.

The sureness of a rectangle is how far its score is above the threshold: 0 at the threshold, 1 at a
score of 1; where another label is nearly as likely, that times one minus the share of its score.
The sureness of a frame is the mean of its rectangles', and 0 without any, since objects may have
been missed.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from c3det.commands import printable
from serverless.annotate.errors import writing
from serverless.annotate.journal import FrameReport
from serverless.protocol import Box

FORMATS = (".csv", ".md")
COLUMNS = ("look", "frame", "picture", "sureness", "rectangles", "why")

WEAK = 0.25
"""Rectangles below this sureness are counted among the doubts."""


def frame_sureness(
    chosen: Sequence[Box], found: int, threshold: float | None
) -> tuple[float, list[str]]:
    """Return the sureness of a frame, 0 to 1, and in short phrases why it is below 1.

    Args:
        chosen: Boxes that become rectangles.
        found: How many were found, those included that have a rectangle already.
        threshold: Lowest score of a box; ``None``: 0.
    """
    if not chosen:
        if found:
            return 1.0, []
        return 0.0, ["nothing was found"]
    sure = [_sureness(box, threshold or 0.0) for box in chosen]
    doubts = []
    weak = sum(one < WEAK for box, one in zip(chosen, sure, strict=True) if box.rival is None)
    if weak:
        doubts.append(f"{weak} of {len(chosen)} rectangles hardly reach the threshold")
    rivals = sum(box.rival is not None for box in chosen)
    if rivals:
        doubts.append(f"{rivals} of {len(chosen)} may be of another label")
    return round(sum(sure) / len(sure), 4), doubts


def least_sure(chosen: Sequence[Box], threshold: float | None) -> Box | None:
    """Return the rectangle of a frame that a person should look at first, if it has any."""
    return min(chosen, key=lambda box: _sureness(box, threshold or 0.0), default=None)


def _sureness(box: Box, threshold: float) -> float:
    above = 1.0 if threshold >= 1 else (box.score - threshold) / (1 - threshold)
    other = 0.0 if box.rival is None else box.rival.score / max(box.score, box.rival.score, 1e-6)
    return min(max(above, 0.0), 1.0) * (1 - other)


def review_file(text: str) -> Path:
    """Read the name of the table's file, whose suffix gives its format."""
    path = Path(text)
    if path.suffix.lower() not in FORMATS:
        raise argparse.ArgumentTypeError(f"{text!r} ends neither with .csv nor with .md")
    return path


def in_order(reports: Iterable[FrameReport]) -> list[FrameReport]:
    """Return the reports of frames in the order of the review: failed ones, then the least sure."""
    return sorted(reports, key=lambda one: (one.failure is None, one.sureness or 0.0, one.frame))


def check_writable(path: Path) -> None:
    """Refuse the table's file where it cannot be written; what it holds stays.

    Raises:
        AnnotateError: It cannot be written.
    """
    is_new = not path.exists()
    with writing(path):
        path.open("a").close()
        if is_new:
            path.unlink()


def write_review(path: Path, reports: Iterable[FrameReport], names: Mapping[int, str]) -> None:
    """Write the table: a line a frame, failed ones first, then the least sure.

    Raises:
        AnnotateError: The file cannot be written.
    """
    rows = [
        (
            str(position),
            str(report.frame),
            printable(names.get(report.frame, "")),
            "" if report.failure is not None else f"{report.sureness or 0.0:.2f}",
            str(sum(report.written.values())),
            printable(
                "; ".join([f"failed: {report.failure}"] if report.failure else report.doubts)
            ),
        )
        for position, report in enumerate(in_order(reports), start=1)
    ]
    if path.suffix.lower() == ".csv":
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerows([COLUMNS, *rows])
        text = stream.getvalue()
    else:
        lines = [COLUMNS, ("---",) * len(COLUMNS), *(tuple(map(_in_table, row)) for row in rows)]
        text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    with writing(path):
        path.write_text(text, encoding="utf-8")


def _in_table(cell: str) -> str:
    return cell.replace("|", "\\|")

"""CVAT's issues (its review comments) on the frames that a person should look at first."""

from __future__ import annotations

from collections.abc import Iterable

from serverless.annotate.cvat import Target
from serverless.annotate.errors import AnnotateError, TransientError
from serverless.annotate.journal import FrameReport
from serverless.annotate.review import in_order


def frames_to_look_at(reports: Iterable[FrameReport], most: int) -> list[FrameReport]:
    """Return the first frames of the review's order, without those that leave no doubt."""
    doubtful = (one for one in in_order(reports) if one.failure is not None or one.doubts)
    return list(doubtful)[:most]


def create_issues(target: Target, reports: Iterable[FrameReport]) -> int:
    """Create an issue on each of some frames, where its least sure rectangle is; return how many.

    A frame that has an issue at the same place already, open or resolved, gets none: the same run
    may go on, or come again.

    Raises:
        AnnotateError: The server refuses one, or does not answer.
    """
    known = target.issues()
    created = 0
    for report in reports:
        position = report.least_sure or target.whole_picture(report.frame)
        if (report.frame, position) not in known:
            _create_once(target, report, position)
            created += 1
    return created


def _create_once(target: Target, report: FrameReport, position: list[float]) -> None:
    frame = report.frame
    try:
        target.server.retry.call_once(
            lambda: target.create_issue(frame, position, message_of(report)),
            lambda: (frame, position) in target.issues(),
        )
    except TransientError as error:
        raise AnnotateError(
            f"{target.server.host} does not take the issue on frame {frame}: {error}"
        ) from error


def message_of(report: FrameReport) -> str:
    """Return the text of the issue on a frame."""
    if report.failure is not None:
        return f"C3Det found nothing here: {report.failure}"
    return f"C3Det is not sure here ({report.sureness or 0.0:.2f}): {'; '.join(report.doubts)}"

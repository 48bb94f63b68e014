"""The exemplars of a run: of frames that people labelled, and of a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from c3det.clicks import Click, LabelledBox
from c3det.exemplars import Exemplars, ExemplarsError
from serverless.annotate.cvat import Place
from serverless.annotate.errors import AnnotateError, FrameError, TransientError
from serverless.annotate.function import ExemplarFunction, until_done
from serverless.annotate.plan import LabelMap, labelled
from serverless.exemplars import from_answer
from serverless.protocol import MOST_EXEMPLARS

MOST_OF_A_LABEL = 16
"""Exemplars of a label that go with each question, the most typical ones."""


def of_frames(
    function: ExemplarFunction,
    place: Place,
    labels: LabelMap,
    frames: Sequence[int],
    done: Callable[[], object] = lambda: None,
) -> Exemplars:
    """Return the exemplars of frames that people labelled.

    Args:
        function: That is asked.
        place: Where the frames are.
        labels: The labels, which the exemplars are named by.
        frames: Their numbers.
        done: Called after each frame.

    Raises:
        AnnotateError: The function has none to give, or the frames have no labels.
    """
    shapes = place.annotations().shapes
    found: Exemplars | None = None
    for frame in frames:
        clicks, boxes = labelled((one for one in shapes if one.frame == frame), labels)
        given: list[Click | LabelledBox] = [*clicks, *boxes]
        for start in range(0, len(given), MOST_EXEMPLARS):
            some = given[start : start + MOST_EXEMPLARS]
            own = _taken(function, frame, some, labels.classes)
            try:
                found = own if found is None else found.merged(own)
            except ExemplarsError as error:
                raise AnnotateError(f"the exemplars of frame {frame}: {error}") from error
        done()
    if found is None:
        told = ", ".join(map(str, frames))
        raise AnnotateError(
            f"{place.kind} {place.id} has neither points nor rectangles that people made on the "
            f"frames {told}: label them first, or name others with --exemplars-from-frames"
        )
    return found


def _taken(
    function: ExemplarFunction,
    frame: int,
    given: Sequence[Click | LabelledBox],
    names: Sequence[str],
) -> Exemplars:
    clicks = [one for one in given if isinstance(one, Click)]
    boxes = [one for one in given if isinstance(one, LabelledBox)]
    try:
        answer = until_done(function, lambda: function.exemplars(frame, clicks, boxes))
        return from_answer(answer, names, f"frame {frame}")
    except (FrameError, TransientError, ExemplarsError) as error:
        raise AnnotateError(
            f"{function.name} gives no exemplars of frame {frame}: {error}"
        ) from error


def load(path: Path) -> Exemplars:
    """Read the exemplars that an earlier run saved.

    Raises:
        AnnotateError: They cannot be read.
    """
    try:
        return Exemplars.load(path)
    except ExemplarsError as error:
        raise AnnotateError(str(error)) from error


def merged(one: Exemplars, other: Exemplars) -> Exemplars:
    """Those of both.

    Raises:
        AnnotateError: They are of different weights, or too many together.
    """
    try:
        return one.merged(other)
    except ExemplarsError as error:
        raise AnnotateError(str(error)) from error


def save(exemplars: Exemplars, path: Path) -> None:
    """Write them all, for the next task.

    Raises:
        AnnotateError: The file cannot be written.
    """
    try:
        exemplars.save(path)
    except OSError as error:
        raise AnnotateError(f"{path} cannot be written: {error.strerror}") from error


def asked_with(exemplars: Exemplars, labels: LabelMap) -> Exemplars:
    """Return those that go with each question: of the labels of the run, the most typical ones.

    Raises:
        AnnotateError: None is of a label of the run.
    """
    own = exemplars.numbered(labels.classes)
    if not own.positive.any():
        raise AnnotateError(
            f"the exemplars are of {', '.join(exemplars.names)}, of which the task has no label "
            f"({', '.join(labels.classes)}): give the task a label of the same name"
        )
    most = MOST_OF_A_LABEL
    while len(thin := own.thinned(most)) > MOST_EXEMPLARS and most > 1:
        most -= 1
    return thin


def told(exemplars: Exemplars, used: Exemplars) -> str:
    """Say what there is, and how many of it go with each question."""
    counts = Counter(exemplars.names[label] for label in exemplars.labels.tolist())
    by_label = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    return f"exemplars: {len(exemplars)} ({by_label}), {len(used)} of them go with each question"

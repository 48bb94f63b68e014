"""The exemplars of a run: of frames that people labelled, beside those of a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from c3det.clicks import Click, LabelledBox
from c3det.exemplars import Exemplars, ExemplarsError
from serverless.annotate.cvat import Target
from serverless.annotate.errors import AnnotateError, FrameError, TransientError
from serverless.annotate.function import Function
from serverless.annotate.plan import LabelMap, labelled
from serverless.exemplar_codec import from_answer
from serverless.protocol import MOST_EXEMPLARS

MOST_OF_A_LABEL = 16
"""Exemplars of a label that go with each request, the most typical ones."""


def exemplars_of_frames(
    function: Function,
    target: Target,
    labels: LabelMap,
    frames: Sequence[int],
    done: Callable[[], object] = lambda: None,
) -> Exemplars:
    """Return the exemplars of frames that people labelled; ``done`` is called after each frame.

    Raises:
        AnnotateError: The function has none to give, or the frames have no labels.
        ExemplarsError: They are too many together.
    """
    shapes = target.annotations().shapes
    parts = []
    for frame in frames:
        clicks, boxes = labelled((one for one in shapes if one.frame == frame), labels)
        given: list[Click | LabelledBox] = [*clicks, *boxes]
        for start in range(0, len(given), MOST_EXEMPLARS):
            some = given[start : start + MOST_EXEMPLARS]
            try:
                answer = function.exemplars(
                    frame,
                    [one for one in some if isinstance(one, Click)],
                    [one for one in some if isinstance(one, LabelledBox)],
                )
                parts.append(from_answer(answer, labels.classes, f"frame {frame}"))
            except (FrameError, TransientError, ExemplarsError) as error:
                raise AnnotateError(
                    f"{function.name} gives no exemplars of frame {frame}: {error}"
                ) from error
        done()
    if not parts:
        raise AnnotateError(
            f"{target.kind} {target.id} has neither points nor rectangles that people made on the "
            f"frames {', '.join(map(str, frames))}: label them first, or name others with "
            "--exemplars-from-frames"
        )
    found = parts[0]
    for part in parts[1:]:
        found = found.merged(part)
    return found


def exemplars_to_send(exemplars: Exemplars, labels: LabelMap) -> Exemplars:
    """Return those that go with each request: of the labels of the run, the most typical ones.

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


def counted(exemplars: Exemplars, sent: Exemplars) -> str:
    """Return a line with the number of exemplars by label, and of those in each request."""
    counts = Counter(exemplars.names[label] for label in exemplars.labels.tolist())
    by_label = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    return f"exemplars: {len(exemplars)} ({by_label}), {len(sent)} of them go with each question"

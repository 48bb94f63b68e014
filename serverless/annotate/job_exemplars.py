"""The exemplars of a run: of frames that people labelled, beside those of a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from c3det.clicks import Click, LabelledBox
from c3det.exemplars import MAX_EXEMPLARS, Exemplars, ExemplarsError
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
) -> Iterator[Exemplars]:
    """Yield the exemplars of frames that people labelled, some objects of a frame at a time.

    ``done`` is called after each frame.

    Raises:
        AnnotateError: The function has none to give, or the frames have no labels.
    """
    shapes = target.annotations().shapes
    are_there = False
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
                part = from_answer(answer, labels.classes, f"frame {frame}")
            except (FrameError, TransientError, ExemplarsError) as error:
                raise AnnotateError(
                    f"{function.name} gives no exemplars of frame {frame}: {error}"
                ) from error
            are_there = True
            yield part
        done()
    if not are_there:
        raise AnnotateError(
            f"{target.kind} {target.id} has neither points nor rectangles that people made on the "
            f"frames {', '.join(map(str, frames))}: label them first, or name others with "
            "--exemplars-from-frames"
        )


def gathered(parts: Iterable[Exemplars]) -> tuple[Exemplars, int]:
    """Return the exemplars of all parts, and how many less typical ones were left out.

    These are left out where more than `MAX_EXEMPLARS` would go together.

    Args:
        parts: At least one.

    Raises:
        ExemplarsError: They are of different weights.
    """
    found, left_out = None, 0
    for part in parts:
        if found is None:
            found = part
            continue
        if len(found) + len(part) > MAX_EXEMPLARS:
            before = len(found) + len(part)
            half = MAX_EXEMPLARS // 2
            found, part = (
                one.thinned(len(one), half) if len(one) > half else one for one in (found, part)
            )
            left_out += before - len(found) - len(part)
        found = found.merged(part)
    assert found is not None
    return found, left_out


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
    return own.thinned(MOST_OF_A_LABEL, MOST_EXEMPLARS)


def counted(exemplars: Exemplars, sent: Exemplars, left_out: int) -> str:
    """Return a line with the number of exemplars by label, and of those in each request.

    ``left_out`` is how many less typical ones were left out, see `gathered`.
    """
    counts = Counter(exemplars.names[label] for label in exemplars.labels.tolist())
    by_label = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    line = f"exemplars: {len(exemplars)} ({by_label}), {len(sent)} of them go with each question"
    if left_out:
        line += f"; {left_out} less typical ones were left out: at most {MAX_EXEMPLARS} go together"
    return line

"""How much faster a job is annotated with the plugin than by hand, with a simulated annotator.

The pictures of a job are annotated in their order until all is right, by one annotator who makes no
mistakes and does what takes the least time, as far as it can be known beforehand. What the plugin
offers (see its README), and what it takes:

- *Proposals.* On a new picture what is found with the exemplars of earlier ones is shown. It takes
  the seconds of the answer. Where pictures with them took `MAX_SLOWDOWN` times longer an object
  than those without, the earlier pictures are left out.
- *A click* on a missed object, or a right click on a box of nothing: an assisted interaction, and
  the seconds of the answer. How many errors of its class a click mends is not known beforehand. The
  annotator expects the same share as of late in this job, for each class, of objects and of boxes
  of nothing apart, and of classes without a click or exemplar yet; at first, the mean of
  `PRIOR_FIX_RATE` and of what clicks of other classes did. He clicks the largest object or box
  where that saves most, as long as it is expected to save more than it takes. A click that makes it
  worse is taken back.
- *A threshold*, for one label or for all that are shown: an assisted interaction. The boxes are
  there already, and as the slider moves he sees what it saves. It stays for the next pictures. To
  hide a label is the same, but for this picture only.
- *Accept and go on*: an assisted interaction, in which the picture is looked over.
- *A correction*: an interaction by hand. A missed object is drawn, a wrong box is deleted, one on
  an object of another class (IoU 0.5 or more) gets its digit, and a loose one of the class (IoU
  `LOOSE` or more) is pulled to the object. A box is right where its IoU with an object of its class
  is 0.5 or more, one box an object.
- Where it takes less to draw all objects than to accept and correct, nothing is accepted.

After each picture all boxes and negative clicks become exemplars; the most typical of each class
are kept.

The time is that of the paper's user study, `training.annotation_time`: 6.4 s an assisted
interaction and 5.6 s one by hand. So a click must mend two errors to pay, and a job cannot be more
than 0.88 times its objects a picture faster. Seconds of an answer are processor time, see
`training.open.encoded`; that of a picture's encoding is in its first answer. All by hand, each
object takes an interaction. The ratio is seconds by hand over seconds assisted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from c3det.boxes import box_area, intersection, iou
from c3det.clicks import LabelledBox
from c3det.detections import Detections
from c3det.exemplars import Exemplars
from training.annotation_time import Study
from training.clicks.sampling import is_of_nothing
from training.data.annotated import Annotated
from training.open.clicking import Clicked
from training.open.encoded import EncodedPicture
from training.open.transfer import thinned

STUDY = Study()

BY_HAND = STUDY.manual_interaction
ASSISTED = STUDY.assisted_interaction(0.0)
"""Seconds of an interaction."""

PRIOR_FIX_RATE = 0.5
"""Share of the errors of a class that the first click is expected to mend."""

MAX_SLOWDOWN = 1.2
"""So many times longer pictures with exemplars may take before the exemplars are left out."""

RIGHT = 0.5
LOOSE = 0.25
"""IoU with an object from which on a box is right, and is pulled to it rather than deleted."""

LEAST_SCORE = 0.05
"""Of a box that the plugin can show."""

THRESHOLDS = tuple(np.linspace(0.05, 0.95, 19).round(2).tolist())
HIDDEN = math.inf
"""Threshold of a label that is hidden."""


@dataclass(slots=True)
class Work:
    """What an annotator did.

    Attributes:
        objects: In the pictures.
        clicks: On missed objects.
        negative: On boxes of nothing.
        thresholds: That were moved.
        accepted: Pictures whose boxes were accepted.
        deleted: Wrong boxes.
        drawn: Missed objects.
        relabelled: Boxes of objects of another class.
        pulled: Loose boxes.
        waited: Seconds for the model.
        questions: That it waited for.
    """

    objects: int = 0
    clicks: int = 0
    negative: int = 0
    thresholds: int = 0
    accepted: int = 0
    deleted: int = 0
    drawn: int = 0
    relabelled: int = 0
    pulled: int = 0
    waited: float = 0.0
    questions: int = 0

    @property
    def by_hand(self) -> float:
        """Seconds without the model."""
        return self.objects * BY_HAND

    @property
    def spent(self) -> dict[str, float]:
        """Seconds with it, by what they were spent on."""
        assisted = ("clicks", "negative", "thresholds", "accepted")
        by_hand = ("deleted", "drawn", "relabelled", "pulled")
        return {
            **{name: getattr(self, name) * ASSISTED for name in assisted},
            **{name: getattr(self, name) * BY_HAND for name in by_hand},
            "waited": self.waited,
        }

    @property
    def assisted(self) -> float:
        """Seconds with it."""
        return sum(self.spent.values())

    def add(self, other: Work) -> None:
        """Count what was done in another picture."""
        for entry in fields(self):
            setattr(self, entry.name, getattr(self, entry.name) + getattr(other, entry.name))

    def to_json(self) -> dict[str, float | None]:
        """The counts, the seconds and their ratio."""
        return asdict(self) | {
            "waited": round(self.waited, 2),
            "by hand": round(self.by_hand, 1),
            "assisted": round(self.assisted, 1),
            "ratio": round(self.by_hand / self.assisted, 2) if self.assisted else None,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Corrections:
    """What is left to do by hand where some boxes are accepted.

    Attributes:
        right: Rows of boxes.
        relabelled: Row of a box and index of its object, each.
        pulled: Likewise.
        deleted: Rows of boxes.
        drawn: Indices of objects.
    """

    right: list[int]
    relabelled: list[tuple[int, int]]
    pulled: list[tuple[int, int]]
    deleted: list[int]
    drawn: list[int]

    def __len__(self) -> int:
        return len(self.relabelled) + len(self.pulled) + len(self.deleted) + len(self.drawn)


class BoxAssignment:
    """Boxes beside the objects of a picture, for any choice of the boxes.

    Args:
        picture: With its objects.
        found: The boxes.
    """

    def __init__(self, picture: Annotated, found: Detections) -> None:
        overlaps = iou(found.boxes[:, None], picture.boxes[None])
        counted = ~picture.ignored
        same = found.labels[:, None] == picture.labels
        self._counted = np.flatnonzero(counted).tolist()
        self._steps = [
            _best_first(overlaps, overlaps >= least, counted & kinds)
            for least, kinds in ((RIGHT, same), (RIGHT, ~same), (LOOSE, same))
        ]
        inside = intersection(found.boxes[:, None], picture.boxes[None])
        inside /= np.maximum(box_area(found.boxes), 1e-9)[:, None]
        self._ignored = ((inside >= RIGHT) & same & picture.ignored).any(1)

    def corrections(self, shown: NDArray[np.bool_]) -> Corrections:
        """What is left to do where the boxes of a mask are accepted.

        Pairs of a box and an object are made by falling IoU: right ones first, then those of
        another class, then loose ones.
        """
        free = dict.fromkeys(np.flatnonzero(shown).tolist())
        missed = dict.fromkeys(self._counted)
        found: list[list[tuple[int, int]]] = []
        for pairs in self._steps:
            found.append([])
            for row, index in pairs:
                if row in free and index in missed:
                    found[-1].append((row, index))
                    del free[row], missed[index]
        right, relabelled, pulled = found
        deleted = [row for row in free if not self._ignored[row]]
        return Corrections([row for row, _ in right], relabelled, pulled, deleted, list(missed))


def _best_first(
    overlaps: NDArray[np.floating], is_enough: NDArray[np.bool_], may_pair: NDArray[np.bool_]
) -> list[tuple[int, int]]:
    rows, indices = np.nonzero(is_enough & may_pair)
    order = np.argsort(-overlaps[rows, indices], kind="stable")
    return list(zip(rows[order].tolist(), indices[order].tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class CandidateClick:
    """A click that could be made.

    Attributes:
        label: Of it.
        positive: Whether it is on a missed object, or on a box of nothing.
        target: Index of the object, or row of the box.
        errors: Of the label and this kind.
        saving: Seconds that it is expected to save, less what it takes.
    """

    label: int
    positive: bool
    target: int
    errors: int
    saving: float


@dataclass(slots=True)
class Annotator:
    """Annotates the pictures of a job, see the module.

    Attributes:
        names: Of the labels.
        threshold: Score from which on boxes are shown, until a label's is moved.
        known: Exemplars of the pictures so far; at first none, of the weights.
        carries: Whether exemplars go from picture to picture.
        work: What was done.
        thresholds: Of the labels that have one of their own.
        mended: Share of the errors of a label that a click mends, of late; by label, sign, and
            whether there was a click or exemplar of the label before.
        pace: Seconds an object of the pictures with exemplars and of those without, of late.
        latency: Seconds of the last answer.
    """

    names: Sequence[str]
    threshold: float
    known: Exemplars
    carries: bool = True
    work: Work = field(default_factory=Work)
    thresholds: dict[int, float] = field(default_factory=dict)
    mended: dict[tuple[int, bool, bool], float] = field(default_factory=dict)
    pace: dict[bool, float] = field(default_factory=dict)
    latency: float = 0.0

    def annotate(self, encoded: EncodedPicture) -> Work:
        """Annotate the next picture until all is right; what was done in it."""
        uses_exemplars = bool(self.known.positive.any()) and (
            True not in self.pace
            or self.pace[True] <= MAX_SLOWDOWN * self.pace.get(False, math.inf)
        )
        page = _Page(self, encoded, self.known if uses_exemplars else None)
        page.run()
        self.work.add(page.work)
        if page.work.objects:
            seconds = page.work.assisted / page.work.objects
            self.pace[uses_exemplars] = (self.pace.get(uses_exemplars, seconds) + seconds) / 2
        self.thresholds |= {
            label: value for label, value in page.thresholds.items() if value != HIDDEN
        }
        if self.carries:
            self.known = thinned(self.known.merged(page.exemplars()))
        return page.work


class _Page:
    """A picture while it is annotated."""

    def __init__(
        self, annotator: Annotator, encoded: EncodedPicture, known: Exemplars | None
    ) -> None:
        self._annotator, self._encoded, self._picture = annotator, encoded, encoded.picture
        self._known = known
        self.work = Work(objects=int((~self._picture.ignored).sum()))
        self.thresholds = dict(annotator.thresholds)
        self._rng = np.random.default_rng(0)
        self._state = Clicked()
        self._tried: set[tuple[float, ...]] = set()  # boxes that were clicked, taken back or not
        self._found = Detections.none()
        if known is not None:
            self._found = self._ask(self._state)
        self._assignment = BoxAssignment(self._picture, self._found)

    def run(self) -> None:
        """Do what saves time, then accept and correct, or draw all."""
        while True:
            left = self._left()
            click = self._best_click(left)
            labels, threshold, saving = self._best_threshold(left)
            if max(saving, click.saving if click else 0.0) <= 0:
                break
            if click is None or saving >= click.saving:
                self.thresholds |= dict.fromkeys(labels, threshold)
                self.work.thresholds += 1
            else:
                self._click(click, left)
        shown = self._shown()
        if not shown.any() or ASSISTED + BY_HAND * len(left) > BY_HAND * self.work.objects:
            self._accepted = Detections.none()
            self.work.drawn = self.work.objects
            return
        self._accepted = self._found.take(np.array(left.right, np.int64))
        self.work.accepted = 1
        self.work.deleted, self.work.drawn = len(left.deleted), len(left.drawn)
        self.work.relabelled, self.work.pulled = len(left.relabelled), len(left.pulled)

    def exemplars(self) -> Exemplars:
        """All boxes as they were accepted or corrected, and the negative clicks."""
        picture = self._picture
        everything = np.ones(len(self._accepted), np.bool_)
        rest = BoxAssignment(picture, self._accepted).corrections(everything).drawn
        boxes = np.concatenate([self._accepted.boxes, picture.boxes[rest]])
        boxes = boxes.clip(0, [picture.width, picture.height] * 2)
        labels = np.concatenate([self._accepted.labels, picture.labels[rest]])
        kept = [
            LabelledBox(x1, y1, x2, y2, label)
            for (x1, y1, x2, y2), label in zip(boxes.tolist(), labels.tolist(), strict=True)
            if x1 < x2 and y1 < y2
        ]
        negative = [click for click in self._state.clicks if not click.positive]
        return self._encoded.exemplars(negative, self._annotator.names, kept)

    def _ask(self, state: Clicked) -> Detections:
        found, seconds = self._encoded.answer(state.clicks, self._known, LEAST_SCORE)
        self._annotator.latency = seconds
        self.work.waited += seconds + (0 if self.work.questions else self._encoded.encode_seconds)
        self.work.questions += 1
        return found

    def _is_shown(self, threshold: float | NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which boxes are shown from a threshold on; answers to clicks are, unless hidden."""
        answers = (self._found.clicks >= 0) & (threshold < HIDDEN)
        return (self._found.scores >= threshold) | answers

    def _shown(self) -> NDArray[np.bool_]:
        labels = self._found.labels.tolist()
        return self._is_shown(np.array([self._threshold(label) for label in labels], np.float64))

    def _threshold(self, label: int) -> float:
        return self.thresholds.get(label, self._annotator.threshold)

    def _left(self) -> Corrections:
        return self._assignment.corrections(self._shown())

    def _best_threshold(self, left: Corrections) -> tuple[list[int], float, float]:
        """The labels whose threshold is best moved, the threshold, and the seconds it saves."""
        best: tuple[list[int], float, float] = ([], 0.0, 0.0)
        shown, present = self._shown(), np.unique(self._found.labels).tolist()
        for labels in (present, *([label] for label in present)):
            others = shown & ~np.isin(self._found.labels, labels)
            for value in (*THRESHOLDS, HIDDEN):
                own = np.isin(self._found.labels, labels) & self._is_shown(value)
                moved = self._assignment.corrections(others | own)
                saving = (len(left) - len(moved)) * BY_HAND - ASSISTED
                if saving > best[2]:
                    best = (labels, value if own.any() else HIDDEN, saving)
        return best

    def _best_click(self, left: Corrections) -> CandidateClick | None:
        """The click that is expected to save most, if any saves something."""
        picture, found = self._picture, self._found
        missed = [*left.drawn, *(index for _, index in left.relabelled)]
        nothing = [row for row in left.deleted if is_of_nothing(picture, found.boxes[row])]
        best: CandidateClick | None = None
        for positive, targets, labels, boxes in (
            (True, missed, picture.labels, picture.boxes),
            (False, nothing, found.labels, found.boxes),
        ):
            for label in np.unique(labels[targets]).tolist() if targets else []:
                own = [one for one in targets if labels[one] == label]
                new = [one for one in own if tuple(boxes[one].tolist()) not in self._tried]
                if not new:
                    continue
                share = self._expected_share(label, positive)
                saved = max(1.0, share * len(own)) * BY_HAND
                saving = saved - ASSISTED - self._annotator.latency
                if saving > (best.saving if best else 0.0):
                    target = new[int(box_area(boxes[new]).argmax())]
                    best = CandidateClick(label, positive, target, len(own), saving)
        return best

    def _key(self, label: int, positive: bool) -> tuple[int, bool, bool]:
        """What the expectation of a click depends on, see `Annotator.mended`."""
        known = [] if self._known is None else self._known.labels[self._known.positive].tolist()
        clicked = [click.label for click in self._state.clicks if click.positive]
        return label, positive, label in {*known, *clicked}

    def _expected_share(self, label: int, positive: bool) -> float:
        """Of the errors of a label, the share that a click is expected to mend."""
        key, mended = self._key(label, positive), self._annotator.mended
        if key in mended:
            return mended[key]
        alike = [share for other, share in mended.items() if other[1:] == key[1:]]
        return float(np.mean([PRIOR_FIX_RATE, *alike]))

    def _click(self, click: CandidateClick, left: Corrections) -> None:
        key, state = self._key(click.label, click.positive), self._state.copy()
        expected = self._expected_share(click.label, click.positive)
        if click.positive:
            state.add(self._picture, click.target, self._rng)
            self.work.clicks += 1
        else:
            state.add_negative(self._found.boxes[click.target], click.label)
            self.work.negative += 1
        self._tried.add(tuple(state.boxes[-1].tolist()))
        before = self._state, self._found, self._assignment
        self._state, self._found = state, self._ask(state)
        self._assignment = BoxAssignment(self._picture, self._found)
        fewer = len(left) - len(self._left())
        if fewer < 0:
            self._state, self._found, self._assignment = before
        self._annotator.mended[key] = (expected + max(0, fewer) / click.errors) / 2

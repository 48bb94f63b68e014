"""Reconciles detections with clicks: every clicked object gets a box of the clicked class.

Several clicks may lie on one object, and one box may reach under clicks on its neighbours, so the
clicks are first grouped by object. The reference implementation does none of this: there, a click
on a missed object gives no box.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from c3det.boxes import (
    EDGE_WEIGHT,
    box_area,
    centredness,
    contains,
    intersection,
    iou,
    touching,
)
from c3det.clicks import Click, Size
from c3det.detections import Detections

SAME_OBJECT_IOU = 0.5
"""Least IoU of an answer and another box that are taken to be of one object."""

SAME_OBJECT_SHARE = 0.8
"""Least share of a box inside another one of its class for which the two, each chosen by a click,
are taken to be of an object and a part of it."""

OWN_PROPOSAL = 0.25
"""Least rank of a click's own proposal, relative to the best one under it, which another click has,
for the click to be on an object of its own."""

CENTRAL = 0.35
"""Least centredness of each of two clicks in the box that they share, where each chose a box."""

SHARED_FIT = 0.65
"""Least sum of the clicks' centredness in one box, relative to the sum in a box for each, for one
box to be enough.

With these constants and the closed weights of the time when they were set, of crowns that are
clicked twice, within the middle 60 % of their sides, 92 % have one box (74 % where clicks are
joined less); where all crowns are clicked once, 39 % have a right box (40 %).
"""

CLOSE = 0.6
"""Clicks without a proposal are taken to be on one object if they lie closer than this, in typical
sizes of their class."""

REACH = 0.1
"""How far outside of a box, in its sides, a click on its object may be."""

CHOSEN_PREFERENCE = 1000.0
"""Factor on the rank of the box that a click of a choice means: nothing else answers the click."""

OWN_CLASS_PREFERENCE = 3.0
"""Factor on the rank of boxes of the click's class.

On the shipped weights anything from 1.5 to 10 picks the clicked object equally often; a large
factor would let a neighbour answer near whose edge the click lies.
"""

BEST_BOXES = 15
"""If the card gives no typical size of a class, it is the median of so many of its best boxes."""

UNKNOWN_SIDE = 24.0
"""Of an object in pixels, if neither the card nor a box gives a size."""

Sizes = Sequence[tuple[float, float]] | Mapping[int, tuple[float, float]]
"""``(width, height)`` in pixels by label."""


def answer_clicks(
    candidates: Detections,
    clicks: Sequence[Click],
    *,
    score_threshold: float,
    typical_sizes: Sequence[tuple[float, float]],
    image_size: Size,
) -> Detections:
    """Answer every object under positive clicks by a box of their class that contains them.

    1. A negative click removes the boxes under it, whatever their class.
    2. A positive click is answered by the best proposal of any class and score under it,
       re-labelled, or failing that by a box of the typical size of its class around it. Proposals
       are ranked by their score times how central the click lies in them: it was aimed at one
       object, not at the neighbour whose box reaches under it. Those of the click's class come
       before others as good (`OWN_CLASS_PREFERENCE`). A click that means another box than the
       likeliest (`Click.choice`) is answered by that box, which has the score 1, and of the other
       boxes of its class that hold it those are not shown that lie in that box or around it: they
       are what it did not mean.
    3. Clicks on one object share its box. Two are on one object where their best proposal is the
       same, unless a good one is left in which the second lies more centrally; and where the best
       one that is left for the second is much the same as the first one's, or is of one object
       with it: the classes agree, and it is a part of the other, or a worse box around it, or the
       clicks lie in one of the two almost as centrally as each in its own. Where there is no
       proposal, clicks nearer than `CLOSE` of the typical size are on one object. Of clicks of
       several classes on one object the last one counts.
    4. An answer's score is 1. Other boxes of the same object give way to it.

    A box of typical size that would hold a negative click ends half-way to it. Only where a
    negative click lies on the very point of a positive one does a box with it inside remain.

    Args:
        candidates: Proposals of any score, after non-maximum suppression, none of them answers.
            What clicks of a choice mean has the score 1.
        clicks: In pixels of the picture.
        score_threshold: Below it, only answers are kept. It changes no answer.
        typical_sizes: ``(width, height)`` in pixels for each class. Where there are none, labels
            may be any, and the best proposals of a class give its size.
        image_size: ``(height, width)`` in pixels.

    Returns:
        The kept boxes; answers first, in the order of the last click of each. Those of no class
        (label -1) stay where there are no clicks; after clicks they answer, but are not shown.
    """
    points = np.array([(click.x, click.y) * 2 for click in clicks]).reshape(-1, 4)
    positive = np.array([click.positive for click in clicks], bool)
    left = np.ones(len(candidates), bool)
    for _, under in touching(points[~positive], candidates.boxes):
        left[under] = False
    candidates = candidates.take(left)
    sizes = typical_sizes or _sizes_of_best({click.label for click in clicks}, candidates)
    grouping = _Grouping(candidates, clicks, sizes, image_size)
    answers = grouping.answers()
    boxes = np.array([box for box, _ in answers], np.float32).reshape(-1, 4)
    last = [max(members) for _, members in answers]
    answer_of = np.full(len(clicks), -1, np.int64)
    for _, members in answers:
        answer_of[members] = max(members)
    shown = (candidates.scores >= score_threshold) & ~grouping.used
    if clicks:
        shown &= candidates.labels >= 0
    rest = candidates.take(shown)
    free = np.ones(len(rest), bool)
    for answer, other in touching(boxes, rest.boxes):
        same = iou(boxes[answer], rest.boxes[other]) >= SAME_OBJECT_IOU
        free[other[same]] = False
    for box, (_, members) in zip(boxes, answers, strict=True):
        if chosen := [clicks[index] for index in members if clicks[index].choice]:
            free &= ~_not_meant(rest, box, chosen)
    answered = Detections(
        boxes,
        np.ones(len(boxes), np.float32),
        np.array([clicks[index].label for index in last], np.int64),
        np.array(last, np.int64),
    )
    return replace(Detections.joined([answered, rest.take(free).by_score()]), answer_of=answer_of)


def _not_meant(
    others: Detections, box: NDArray[np.float32], clicks: Sequence[Click]
) -> NDArray[np.bool_]:
    """Which other boxes are not what clicks of a choice mean, as they mean ``box`` ``(4,)``."""
    smaller = np.minimum(box_area(others.boxes), box_area(box))
    nested = intersection(others.boxes, box) >= SAME_OBJECT_SHARE * smaller
    held = np.zeros(len(others), bool)
    for click in clicks:
        held |= contains(others.boxes, click.x, click.y) & (others.labels == click.label)
    return held & nested


def _sizes_of_best(labels: set[int], candidates: Detections) -> dict[int, tuple[float, float]]:
    """Typical sizes of labels: the median of the label's best boxes, or of the best of all."""
    sides = candidates.boxes[:, 2:] - candidates.boxes[:, :2]
    order = np.argsort(-candidates.scores, kind="stable")
    sizes = {}
    for label in labels:
        own = order[candidates.labels[order] == label]
        best = sides[(own if len(own) else order)[:BEST_BOXES]]
        width, height = np.median(best, 0).tolist() if len(best) else (UNKNOWN_SIDE,) * 2
        sizes[label] = (max(width, 1.0), max(height, 1.0))
    return sizes


class _Rectangle(NamedTuple):
    """A box in pixels, as plain numbers: arrays of one box are slow."""

    x1: float
    y1: float
    x2: float
    y2: float

    @property
    def area(self) -> float:
        """Square pixels."""
        return (self.x2 - self.x1) * (self.y2 - self.y1)

    def shared(self, other: _Rectangle) -> float:
        """Area of the intersection."""
        across = min(self.x2, other.x2) - max(self.x1, other.x1)
        down = min(self.y2, other.y2) - max(self.y1, other.y1)
        return max(across, 0.0) * max(down, 0.0)

    def holds(self, x: float, y: float) -> bool:
        """Whether a point lies in it, edges included."""
        return self.x1 <= x <= self.x2 and self.y1 <= y <= self.y2

    def centredness(self, x: float, y: float) -> float:
        """How central a point lies in it, as `centredness`; 0 outside."""
        across, down = (x - self.x1, self.x2 - x), (y - self.y1, self.y2 - y)
        if min(*across, *down) <= 0:
            return 0.0
        return math.sqrt(min(across) / max(across) * min(down) / max(down))

    @classmethod
    def around(cls, clicks: Sequence[Click], box: _Rectangle | None = None) -> _Rectangle:
        """The smallest box around some clicks and another box."""
        x, y = [click.x for click in clicks], [click.y for click in clicks]
        if box is not None:
            x, y = [*x, box.x1, box.x2], [*y, box.y1, box.y2]
        return cls(min(x), min(y), max(x), max(y))


class _Pair(NamedTuple):
    """A click and a proposal that it lies in.

    Attributes:
        click: Index of the click.
        proposal: Index of the proposal.
        rank: How well the proposal answers the click.
        centred: How central the click lies in it.
    """

    click: int
    proposal: int
    rank: float
    centred: float


@dataclass(slots=True)
class _ClickedObject:
    """Positive clicks on one object.

    Attributes:
        box: Of the proposal that the first of them chose, ``None`` where it had none.
        score: Of that proposal.
        clicks: Indices; the first is the one whose proposal is the best.
        chosen: The proposal that each of them would have for itself, where it has one.
    """

    box: _Rectangle | None = None
    score: float = 0.0
    clicks: list[int] = field(default_factory=list)
    chosen: dict[int, _Rectangle] = field(default_factory=dict)


class _Grouping:
    """Which positive clicks lie on one object, and its box.

    Args:
        candidates: Proposals, none of them under a negative click.
        clicks: All.
        typical_sizes: ``(width, height)`` in pixels by label.
        image_size: ``(height, width)`` in pixels.

    Attributes:
        used: bool ``(N,)``, the candidates that answer a click.
    """

    def __init__(
        self,
        candidates: Detections,
        clicks: Sequence[Click],
        typical_sizes: Sizes,
        image_size: Size,
    ) -> None:
        self._clicks = clicks
        self._sizes = typical_sizes
        self._image_size = image_size
        self._positive = [index for index, click in enumerate(clicks) if click.positive]
        self._negative = [click for click in clicks if not click.positive]
        self._objects: list[_ClickedObject] = []
        self._object_of: dict[int, _ClickedObject] = {}
        self._boxes: dict[int, _Rectangle] = {}
        self._near: dict[int, list[int]] = {index: [] for index in self._positive}
        self._under: dict[int, list[_Pair]] = {index: [] for index in self._positive}
        self._by_proposal: dict[int, _ClickedObject] = {}
        self.used = np.zeros(len(candidates), bool)
        for pair in self._pairs(candidates):
            if pair.click not in self._object_of:
                self._choose(pair, float(candidates.scores[pair.proposal]))
        self._join_objects()
        self.used[list(self._by_proposal)] = True
        self._group_the_rest()

    def _pairs(self, candidates: Detections) -> list[_Pair]:
        """Note what is near to each click; the proposals under clicks, the best pairs first."""
        if not self._positive:
            return []
        xy = np.array([(self._clicks[index].x, self._clicks[index].y) for index in self._positive])
        labels = np.array([self._clicks[index].label for index in self._positive])
        margin = (candidates.boxes[:, 2:] - candidates.boxes[:, :2]) * REACH
        grown = np.concatenate(
            [candidates.boxes[:, :2] - margin, candidates.boxes[:, 2:] + margin], 1
        )
        near = list(touching(np.concatenate([xy, xy], 1), grown))
        row, box = (np.concatenate(part) for part in zip(*near, strict=True))
        index = np.array(self._positive)[row]
        for click, proposal in zip(index.tolist(), box.tolist(), strict=True):
            self._near[click].append(proposal)
        x, y = xy[row].T
        boxes, scores = candidates.boxes[box], candidates.scores[box]
        inside = contains(boxes, x, y)
        centred = centredness(boxes, xy[row]).astype(np.float32)
        rank = scores * (EDGE_WEIGHT + centred)
        own = candidates.labels[box] == labels[row]
        rank = np.where(own, OWN_CLASS_PREFERENCE * rank, rank)
        chooses = np.array([self._clicks[index].choice > 0 for index in self._positive])
        rank = np.where(chooses[row] & own & (scores >= 1), CHOSEN_PREFERENCE * rank, rank)
        order = np.lexsort((box, index, -rank))
        order = order[inside[order] & (rank[order] > 0)]
        columns = (column[order].tolist() for column in (index, box, rank, centred))
        pairs = [_Pair(*values) for values in zip(*columns, strict=True)]
        for pair, corners in zip(pairs, boxes[order].tolist(), strict=True):
            self._under[pair.click].append(pair)
            self._boxes[pair.proposal] = _Rectangle(*corners)
        return pairs

    def _choose(self, pair: _Pair, score: float) -> None:
        """Give a click its best proposal that is left, or let it join others on their object."""
        click, proposal = pair.click, pair.proposal
        cluster = self._by_proposal.get(proposal)
        if cluster is not None:
            if not self._has_its_own(pair, cluster) and self._may_join(click, cluster):
                self._join(click, cluster, proposal)
            return
        for cluster in self._clusters(click):
            if self._is_same(click, cluster, proposal, score) and self._may_join(click, cluster):
                self._join(click, cluster, proposal)
                return
        self._objects.append(_ClickedObject(self._boxes[proposal], score))
        self._by_proposal[proposal] = self._objects[-1]
        self._join(click, self._objects[-1], proposal)

    def _clusters(self, click: int) -> Iterator[_ClickedObject]:
        """Objects in whose boxes, or almost, a click lies."""
        for proposal in self._near[click]:
            if proposal in self._by_proposal:
                yield self._by_proposal[proposal]

    def _has_its_own(self, best: _Pair, cluster: _ClickedObject) -> bool:
        """Whether a click whose best proposal is another object's lies better in a free one."""
        return any(
            other.proposal not in self._by_proposal
            and other.centred >= best.centred
            and other.rank >= OWN_PROPOSAL * best.rank
            and not self._is_same(best.click, cluster, other.proposal)
            for other in self._under[best.click]
        )

    def _is_same(
        self, click: int, cluster: _ClickedObject, proposal: int, score: float | None = None
    ) -> bool:
        """Whether a proposal under a click is of the object of other clicks.

        Args:
            click: Index of the click.
            cluster: The object.
            proposal: Under the click.
            score: Of the proposal, to take it also where it is a loose box around the object.
        """
        assert cluster.box is not None
        box = self._boxes[proposal]
        shared = cluster.box.shared(box)
        if shared >= SAME_OBJECT_IOU * (cluster.box.area + box.area - shared):
            return True
        if self._clicks[click].label != self._clicks[cluster.clicks[0]].label:
            return False
        part = shared >= SAME_OBJECT_SHARE * box.area
        whole = shared >= SAME_OBJECT_SHARE * cluster.box.area
        if part or (whole and score is not None and score <= cluster.score):
            return True
        return self._one_box_suffices(cluster.clicks, cluster.box, [click], box)

    def _one_box_suffices(
        self,
        first: Sequence[int],
        first_box: _Rectangle,
        second: Sequence[int],
        second_box: _Rectangle,
    ) -> bool:
        """Whether clicks that chose two boxes lie in one of them almost as well as in both.

        Three are on one object wherever they lie in both.
        """

        def centred(box: _Rectangle, indices: Sequence[int]) -> list[float]:
            return [box.centredness(self._clicks[i].x, self._clicks[i].y) for i in indices]

        apart = sum(centred(first_box, first)) + sum(centred(second_box, second))
        together = [centred(box, [*first, *second]) for box in (first_box, second_box)]
        if len(together[0]) > 2 and all(map(all, together)):
            return True
        return any(min(one) >= CENTRAL and sum(one) >= SHARED_FIT * apart for one in together)

    def _join_objects(self) -> None:
        """Make one of two objects whose clicks lie in the boxes of both, the better one."""
        for worse in reversed(self._objects[:]):
            clusters = (cluster for click in worse.clicks for cluster in self._clusters(click))
            for better in clusters:
                clicks = [*better.clicks, *worse.clicks]
                labels = {self._clicks[index].label for index in clicks}
                if better is worse or len(labels) > 1:
                    continue
                assert better.box is not None
                assert worse.box is not None
                if self._one_box_suffices(better.clicks, better.box, worse.clicks, worse.box):
                    better.clicks = clicks
                    better.chosen |= worse.chosen
                    for proposal, cluster in self._by_proposal.items():
                        if cluster is worse:
                            self._by_proposal[proposal] = better
                    self._objects.remove(worse)
                    break

    def _join(self, click: int, cluster: _ClickedObject, proposal: int | None = None) -> None:
        cluster.clicks.append(click)
        self._object_of[click] = cluster
        if proposal is not None:
            cluster.chosen[click] = self._boxes[proposal]

    def _may_join(self, click: int, cluster: _ClickedObject) -> bool:
        """Whether a box around an object and one more click would hold no negative click."""
        members = [self._clicks[index] for index in (*cluster.clicks, click)]
        return not self._holds_negative(_Rectangle.around(members, cluster.box))

    def _holds_negative(self, box: _Rectangle) -> bool:
        return any(box.holds(click.x, click.y) for click in self._negative)

    def _group_the_rest(self) -> None:
        """Let the clicks without a proposal join what is near, or make objects of them."""
        rest = [index for index in self._positive if index not in self._object_of]
        at = np.array([(self._clicks[i].x, self._clicks[i].y) for i in rest]).reshape(-1, 2)
        reach = CLOSE * np.array([self._sizes[self._clicks[i].label] for i in rest]).reshape(-1, 2)
        neighbours: dict[int, list[int]] = {index: [] for index in rest}
        for first, second in touching(
            np.concatenate([at, at], 1), np.concatenate([at - reach, at + reach], 1)
        ):
            for one, other in zip(first.tolist(), second.tolist(), strict=True):
                neighbours[rest[one]].append(rest[other])
        for index in rest:
            label = self._clicks[index].label
            near = [h for h in self._clusters(index) if self._clicks[h.clicks[0]].label == label]
            for other in neighbours[index]:
                cluster = self._object_of.get(other)
                if cluster is not None and cluster.box is None and self._is_close(index, cluster):
                    near.append(cluster)
            cluster = next((one for one in near if self._may_join(index, one)), None)
            if cluster is None:
                cluster = _ClickedObject()
                self._objects.append(cluster)
            self._join(index, cluster)

    def _is_close(self, index: int, cluster: _ClickedObject) -> bool:
        """Whether a click is within `CLOSE` of the typical size of all clicks of an object."""
        click = self._clicks[index]
        for member in cluster.clicks:
            other = self._clicks[member]
            sizes = self._sizes[click.label], self._sizes[other.label]
            width, height = (min(pair) for pair in zip(*sizes, strict=True))
            if abs(click.x - other.x) > CLOSE * width or abs(click.y - other.y) > CLOSE * height:
                return False
        return True

    def answers(self) -> list[tuple[_Rectangle, list[int]]]:
        """Of each object the box and its clicks, overruled ones included, by the last click."""
        found = []
        for one in sorted(self._objects, key=lambda one: max(one.clicks)):
            label = self._clicks[max(one.clicks)].label
            agreeing = [index for index in one.clicks if self._clicks[index].label == label]
            members = [self._clicks[index] for index in agreeing]
            boxes = [one.chosen[index] for index in agreeing if index in one.chosen]
            boxes += [one.box] if one.box is not None else []
            grown = (_Rectangle.around(members, box) for box in boxes)
            free = (box for box in grown if not self._holds_negative(box))
            box = next(free, None) or self._typical_box(_Rectangle.around(members), label)
            found.append((box, one.clicks))
        return found

    def _typical_box(self, inner: _Rectangle, label: int) -> _Rectangle:
        """A box of the typical size of a class, in the picture, about the middle of another one.

        Args:
            inner: Around the clicks.
            label: The class.
        """
        width, height = self._sizes[label]
        x, y = (inner.x1 + inner.x2) / 2, (inner.y1 + inner.y2) / 2
        x1, x2, y1, y2 = x - width / 2, x + width / 2, y - height / 2, y + height / 2
        for other in self._negative:
            across = max(inner.x1 - other.x, other.x - inner.x2)
            down = max(inner.y1 - other.y, other.y - inner.y2)
            if not _Rectangle(x1, y1, x2, y2).holds(other.x, other.y) or max(across, down) <= 0:
                continue
            if across >= down:
                x1, x2 = (x1, inner.x2 + across / 2) if other.x > x else (inner.x1 - across / 2, x2)
            else:
                y1, y2 = (y1, inner.y2 + down / 2) if other.y > y else (inner.y1 - down / 2, y2)
        height, width = self._image_size
        return _Rectangle(max(x1, 0.0), max(y1, 0.0), min(x2, width), min(y2, height))

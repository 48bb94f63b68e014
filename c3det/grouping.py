"""Groups positive clicks by object, and chooses the box of each object.

Several clicks may lie on one object, and one box may reach under clicks on its neighbours.
`c3det.answering.answer_clicks` says the rules.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from c3det.boxes import EDGE_WEIGHT, centredness, contains, touching
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

With these constants and the shipped weights, of objects of the test sets that are clicked twice,
within the middle 60 % of their sides, 92 % of trees and 94 % of the rendered ones have one box (74
and 83 % where clicks are joined less); where all objects are clicked once, 39 and 61 % have a right
box (40 and 62 %).
"""

CLOSE = 0.6
"""Clicks without a proposal are taken to be on one object if they lie closer than this, in typical
sizes of their class."""

REACH = 0.1
"""How far outside of a box, in its sides, a click on its object may be."""

OWN_CLASS_PREFERENCE = 3.0
"""Factor on the rank of boxes of the click's class.

On the shipped weights anything from 1.5 to 10 picks the clicked object equally often; a large
factor would let a neighbour answer near whose edge the click lies.
"""

Sizes = Sequence[tuple[float, float]] | Mapping[int, tuple[float, float]]
"""``(width, height)`` in pixels by label."""


class Box(NamedTuple):
    """A box in pixels, as plain numbers."""

    x1: float
    y1: float
    x2: float
    y2: float

    @property
    def area(self) -> float:
        """Square pixels."""
        return (self.x2 - self.x1) * (self.y2 - self.y1)

    def shared(self, other: Box) -> float:
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
    def around(cls, clicks: Sequence[Click], box: Box | None = None) -> Box:
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

    box: Box | None = None
    score: float = 0.0
    clicks: list[int] = field(default_factory=list)
    chosen: dict[int, Box] = field(default_factory=dict)


class ClickGrouping:
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
        self._boxes: dict[int, Box] = {}
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
        order = np.lexsort((box, index, -rank))
        order = order[inside[order] & (rank[order] > 0)]
        columns = (column[order].tolist() for column in (index, box, rank, centred))
        pairs = [_Pair(*values) for values in zip(*columns, strict=True)]
        for pair, corners in zip(pairs, boxes[order].tolist(), strict=True):
            self._under[pair.click].append(pair)
            self._boxes[pair.proposal] = Box(*corners)
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
        self, first: Sequence[int], first_box: Box, second: Sequence[int], second_box: Box
    ) -> bool:
        """Whether clicks that chose two boxes lie in one of them almost as well as in both.

        Three are on one object wherever they lie in both.
        """

        def centred(box: Box, indices: Sequence[int]) -> list[float]:
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
                    self._object_of |= dict.fromkeys(worse.clicks, better)
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
        return not self._holds_negative(Box.around(members, cluster.box))

    def _holds_negative(self, box: Box) -> bool:
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

    def answers(self) -> list[tuple[Box, list[int]]]:
        """Of each object the box and its clicks, overruled ones included, by the last click."""
        found = []
        for one in sorted(self._objects, key=lambda one: max(one.clicks)):
            label = self._clicks[max(one.clicks)].label
            agreeing = [index for index in one.clicks if self._clicks[index].label == label]
            members = [self._clicks[index] for index in agreeing]
            boxes = [one.chosen[index] for index in agreeing if index in one.chosen]
            boxes += [one.box] if one.box is not None else []
            grown = (Box.around(members, box) for box in boxes)
            free = (box for box in grown if not self._holds_negative(box))
            box = next(free, None) or self._typical_box(Box.around(members), label)
            found.append((box, one.clicks))
        return found

    def _typical_box(self, inner: Box, label: int) -> Box:
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
            if not Box(x1, y1, x2, y2).holds(other.x, other.y) or max(across, down) <= 0:
                continue
            if across >= down:
                x1, x2 = (x1, inner.x2 + across / 2) if other.x > x else (inner.x1 - across / 2, x2)
            else:
                y1, y2 = (y1, inner.y2 + down / 2) if other.y > y else (inner.y1 - down / 2, y2)
        height, width = self._image_size
        return Box(max(x1, 0.0), max(y1, 0.0), min(x2, width), min(y2, height))

"""Classifies candidate boxes: each is compared with the exemplars of all slots.

A few features say how similar a candidate is to a slot's exemplars and to those of the other slots.
A small network, the same for every slot, makes a logit of them. The slots compete with each other
and with "none of these". In a second round, confident candidates of the first round count as
exemplars, too. If two slots are exchanged, their logits are exchanged and nothing else changes.

The negative exemplars of a slot are a *rival* of it: they get a logit as if they were a slot, and
what this takes of the slot is no other slot's and nobody's. So a negative click lowers all that
looks more like it than like the slot's own exemplars, and takes nothing of the other slots.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from c3det.boxes import contains, log_sizes
from c3det.open.ridge import solve

_ABSENT = -1.0
"""The similarity to exemplars, if there are none."""

_BACKGROUND = 64
"""Candidates least similar to any exemplar, which the ridge regression takes for background."""

_PAIR_FEATURES = 18
"""Features of a candidate and a slot, see `Comparison.pair_features`."""

_RIVAL_BIAS = -1.5
"""Added to a rival's logit before training: an object is sooner of the slot than of its rival."""

REJECTED = 1.0
"""Added to a rival's logit in answers, set by hand: on 52 real test sets, trained kinds and others,
a negative click takes away more wrong boxes by it than right ones."""

NEAREST = (5.0, 10.0)
"""Weights of the embedding's and the layout's cosine in `Comparison.divided`, set by hand: on 21
test sets of several classes, of kinds that were not trained, AP rose by 2.6 after three clicks a
class."""

FOREIGN_WEIGHT = 0.5
"""Of an exemplar of another picture, beside one of this picture in the same slot: in the soft mean,
the ridge regressions, the mean size and the second round. The best cosine takes the best exemplar,
wherever it is from: less of it, by a margin, found less on the real test sets.
"""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Boxes to be classified.

    Attributes:
        boxes: ``(B, P, 4)``.
        scores: ``(B, P)`` logits of "an object that this box fits".
        embeddings: ``(B, P, E)`` of length 1.
        layouts: ``(B, P, L)`` of length 1.
        logit_shift: ``(B, P, S)``, by how much C3 and late fusion shift the logit at the box's
            centre.
        valid: bool ``(B, P)``.
    """

    boxes: Tensor
    scores: Tensor
    embeddings: Tensor
    layouts: Tensor
    logit_shift: Tensor
    valid: Tensor


@dataclass(frozen=True, slots=True)
class ExemplarBatch:
    """Clicked boxes of a batch, as tensors.

    Attributes:
        xy: ``(B, n, 2)`` the clicks, in pixels.
        boxes: ``(B, n, 4)``.
        embeddings: ``(B, n, E)`` of length 1.
        layouts: ``(B, n, L)`` of length 1.
        positive: bool ``(B, S, n)``, which are of each slot.
        negative: bool ``(B, S, n)``, which are negative ones of each slot.
        foreign: bool ``(B, n)``, which are of other pictures, ``None``: none of them. Their clicks
            lie nowhere, at -inf, and of their boxes only the sizes count.
    """

    xy: Tensor
    boxes: Tensor
    embeddings: Tensor
    layouts: Tensor
    positive: Tensor
    negative: Tensor
    foreign: Tensor | None = None

    def rivals(self) -> Tensor:
        """Slots that may have a rival, int64 ``(R,)``: those with negative exemplars.

        Not on a CPU it is all of them: to look would wait for the device.
        """
        if self.negative.device.type != "cpu":
            return torch.arange(self.negative.shape[1], device=self.negative.device)
        return self.negative.any(-1).any(0).nonzero()[:, 0]

    def members(self, rivals: Tensor) -> Tensor:
        """Which exemplars are of each slot and, after the slots, of rivals: ``(B, S + R, n)``."""
        return torch.cat([self.positive, self.negative.index_select(1, rivals)], 1)

    def weights(self, members: Tensor) -> Tensor:
        """How much each counts for each slot and rival of `members`, ``(B, S + R, n)``."""
        weight = members.to(self.embeddings.dtype)
        if self.foreign is None:
            return weight
        at_home = (members & ~self.foreign[:, None]).any(-1, keepdim=True)
        return torch.where(self.foreign[:, None] & at_home, FOREIGN_WEIGHT * weight, weight)


class Comparison(nn.Module):
    """The classifier, see the module."""

    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(2.3))
        self.ridge = nn.Parameter(torch.tensor(-1.0))
        self.layout_ridge = nn.Parameter(torch.tensor(-1.0))
        self.first = _network(_PAIR_FEATURES, hidden)
        self.second = _network(_PAIR_FEATURES + 6, hidden)
        self.none = _network(6, hidden)
        self.gain = nn.Parameter(torch.tensor(6.0))
        self.rival_bias = nn.Parameter(torch.tensor(_RIVAL_BIAS))
        self.nearest = nn.Parameter(torch.tensor([NEAREST]), requires_grad=False)

    def forward(self, candidates: Candidates, exemplars: ExemplarBatch) -> tuple[Tensor, Tensor]:
        """Logits of the first and of the second round, ``(B, P, S + 1)``; the last is "none"."""
        first, second, _ = self._compared(candidates, exemplars)
        return first, second

    def shares(self, candidates: Candidates, exemplars: ExemplarBatch) -> Tensor:
        """The probability that a candidate is of a slot, ``(B, P, S)``, see `divided`."""
        _, second, likeness = self._compared(candidates, exemplars, REJECTED)
        return self.divided(second, likeness)

    def divided(self, logits: Tensor, likeness: Tensor) -> Tensor:
        """What the slots have of a candidate.

        The logits decide how much is left for "none of these". The slots divide the rest by their
        logits and by the cosines with the most similar exemplar of each: on kinds that were not
        trained, the cosines tell some slots apart that the logits do not. A single slot has what
        its logit gives it.

        Args:
            logits: ``(B, P, S + 1)``, see `forward`.
            likeness: ``(B, P, S, 2)``, the cosines of the embedding and of the layout.

        Returns:
            ``(B, P, S)``.
        """
        claims = logits[..., :-1] + likeness @ self.nearest[0]
        some = logits.softmax(-1)[..., :-1].sum(-1, keepdim=True)
        return some * claims.softmax(-1)

    def _compared(
        self, candidates: Candidates, exemplars: ExemplarBatch, rejected: float = 0.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Both rounds, see `forward`, and the likeness that `divided` takes.

        Args:
            candidates: Of the batch.
            exemplars: Of the batch.
            rejected: Is added to the logits of rivals.
        """
        rivals, slots = exemplars.rivals(), exemplars.positive.shape[1]
        members = exemplars.members(rivals)
        pair_features = self.pair_features(candidates, exemplars, rivals)
        own, other = pair_features[..., 0], pair_features[..., 2]
        first = self.first(pair_features)[..., 0] + self.gain * (own - 0.5 * other - 0.5)
        absent = ~members.any(-1)
        first = first.masked_fill(absent[:, None], -1e4)
        none = self._none(candidates, pair_features[:, :, :slots])
        lowered = self._lowered(first, rivals, rejected)
        share = torch.cat([lowered, none], -1).softmax(-1)[..., :-1]
        share = share * (candidates.scores.sigmoid() * candidates.valid)[..., None]
        weight = exemplars.weights(members)
        again = [
            pair_features,
            first.clamp(-20, 20)[..., None] / 5,
            none.expand_as(first)[..., None] / 5,
        ]
        for known, given in (
            (candidates.embeddings, exemplars.embeddings),
            (candidates.layouts, exemplars.layouts),
        ):
            like = _prototype_similarity(known, share, given, weight)
            like = like.masked_fill(absent[:, None], _ABSENT)
            again += [like[..., None], _best_of_others(like, slots)[..., None]]
        second = first + self.second(torch.cat(again, -1))[..., 0]
        second = second.masked_fill(absent[:, None], -1e4)
        second = self._lowered(second, rivals, rejected)
        return (
            torch.cat([lowered[..., :slots], none], -1),
            torch.cat([second[..., :slots], none], -1),
            torch.stack([pair_features[:, :, :slots, one] for one in (0, 5)], -1),
        )

    def _lowered(self, logits: Tensor, rivals: Tensor, rejected: float = 0.0) -> Tensor:
        """Logits of slots and rivals ``(B, P, S + R)``, where each two have shared one claim.

        The claim of a slot is multiplied by its share of the softmax over the slot and its rival,
        and so is that of the rival. ``rejected`` is added to the logits of rivals.
        """
        slots = logits.shape[-1] - len(rivals)
        every, rival = logits[..., :slots], logits[..., slots:] + (self.rival_bias + rejected)
        own = every.index_select(-1, rivals)
        every = every.index_copy(-1, rivals, own - F.softplus(rival - own))
        return torch.cat([every, rival - F.softplus(own - rival)], -1)

    def _none(self, candidates: Candidates, pair_features: Tensor) -> Tensor:
        """The logit ``(B, P, 1)`` of "none of these"."""
        # Likeness and regression by embedding and by layout, and the logit shift.
        best = [pair_features[..., one].amax(-1) for one in (0, 3, 5, 7, 10)]
        return self.none(torch.stack([candidates.scores.clamp(-8, 8) / 4, *best], -1))

    def pair_features(
        self, candidates: Candidates, exemplars: ExemplarBatch, rivals: Tensor
    ) -> Tensor:
        """The features of each candidate and slot, and after the slots those of the rivals.

        0 to 2: cosine of the embedding with the slot's most similar exemplar, soft mean over its
        exemplars, best of the other slots'. 3, 4: ridge regression, own and best of the others. 5,
        6: of the layout, the best cosine with the slot's exemplars and with the other slots'. 7, 8:
        ridge regression of the layout. 9, 10: score, logit shift. 11 to 14: log ratios of width and
        height to the exemplars' mean, with and without sign. 15: how many exemplars. 16, 17:
        whether a click of the slot or another click lies inside.

        The exemplars of a rival are the slot's negative ones, and all slots are others to it; no
        rival is another to a slot. The logit shift of a rival is its slot's.

        Args:
            candidates: Of the batch.
            exemplars: Of the batch.
            rivals: See `ExemplarBatch.rivals`.

        Returns:
            ``(B, P, S + R, _PAIR_FEATURES)``.
        """
        slots, members = exemplars.positive.shape[1], exemplars.members(rivals)
        weight = exemplars.weights(members)
        count = members.sum(-1)
        cosine = candidates.embeddings @ exemplars.embeddings.transpose(1, 2)  # (B, P, n)
        layout_cosine = candidates.layouts @ exemplars.layouts.transpose(1, 2)
        own = _best(cosine, members)
        layout_own = _best(layout_cosine, members)
        ridge = _RidgeData.of(candidates, members, weight, cosine)
        regressed = ridge.regressed(
            candidates.embeddings, exemplars.embeddings, F.softplus(self.ridge)
        )
        layout_regressed = ridge.regressed(
            candidates.layouts, exemplars.layouts, F.softplus(self.layout_ridge)
        )
        # A slot without any exemplar is no other to the slots, nor better than "none of these".
        absent = ~members[:, None].any(-1)
        regressed, layout_regressed = (
            one.masked_fill(absent, _ABSENT) for one in (regressed, layout_regressed)
        )
        size = log_sizes(candidates.boxes)[:, :, None]
        total = weight.sum(-1, keepdim=True).clamp(min=FOREIGN_WEIGHT)
        mean_size = weight @ log_sizes(exemplars.boxes) / total
        ratio = (size - mean_size[:, None]).clamp(-3, 3)
        x, y = exemplars.xy[:, None].unbind(-1)
        inside = contains(candidates.boxes[:, :, None], x, y)  # (B, P, n)
        shift = candidates.logit_shift.clamp(-8, 8) / 4
        shift = shift.masked_fill(absent[..., :slots], -2.0)
        shape = own.shape
        return torch.stack(
            [
                own,
                self._soft(cosine, weight),
                _best_of_others(own, slots),
                regressed,
                _best_of_others(regressed, slots),
                layout_own,
                _best_of_others(layout_own, slots),
                layout_regressed,
                _best_of_others(layout_regressed, slots),
                (candidates.scores.clamp(-8, 8) / 4)[..., None].expand(shape),
                torch.cat([shift, shift.index_select(-1, rivals)], -1),
                ratio[..., 0],
                ratio[..., 1],
                ratio[..., 0].abs(),
                ratio[..., 1].abs(),
                count.clamp(min=1).log()[:, None].expand(shape),
                _any(inside, members),
                _any(inside, members.any(1, keepdim=True) & ~members),
            ],
            -1,
        )

    def _soft(self, cosine: Tensor, weight: Tensor) -> Tensor:
        """The soft mean of ``(B, P, n)`` by weights ``(B, S, n)``, 0 outside of the slot."""
        beta = self.temperature.exp()
        count = weight.sum(-1)
        # The mean of exponentials, as a product of matrices; cosines are at most 1.
        total = ((cosine - 1) * beta).exp() @ weight.transpose(1, 2)
        mean = total.clamp(min=1e-30) / count.clamp(min=FOREIGN_WEIGHT)[:, None]
        return (1 + mean.log() / beta).masked_fill((count == 0)[:, None], _ABSENT)


@dataclass(frozen=True, slots=True)
class _RidgeData:
    """The training set of the ridge regressions: exemplars, and candidates unlike any of them.

    Exemplars are 1 for their slot, or their rival, and 0 for others; those of one weigh together as
    much as those of another. The ground is 0 for all.

    Attributes:
        index: ``(B, g)`` of candidates.
        weight: ``(B, n + g)`` of the exemplars and of these.
        target: ``(B, n + g, S + R)``.
    """

    index: Tensor
    weight: Tensor
    target: Tensor

    @classmethod
    def of(
        cls, candidates: Candidates, members: Tensor, weights: Tensor, cosine: Tensor
    ) -> _RidgeData:
        """Choose the candidates with the least cosines ``(B, P, n)``.

        Args:
            candidates: Of the batch.
            members: See `ExemplarBatch.members`.
            weights: See `ExemplarBatch.weights`.
            cosine: Of the embeddings of candidates and exemplars.
        """
        best = cosine.detach().masked_fill(~members.any(1)[:, None], -1.0).amax(-1)
        best = best.masked_fill(~candidates.valid, 2.0)
        few = min(_BACKGROUND, best.shape[1])
        value, index = best.topk(few, 1, largest=False)
        target = members.transpose(1, 2).to(cosine.dtype)
        target = torch.cat([target, target.new_zeros(*index.shape, target.shape[-1])], 1)
        weight = (weights / weights.sum(-1, keepdim=True).clamp(min=FOREIGN_WEIGHT)).amax(1)
        on_ground = (value < 1.5).to(weight.dtype)
        on_ground = on_ground * (2.0 / on_ground.sum(1, keepdim=True).clamp(min=1))
        return cls(index, torch.cat([weight, on_ground], 1), target)

    def regressed(self, known: Tensor, given: Tensor, least: Tensor) -> Tensor:
        """Regress slots from vectors, in the dual form: there are fewer vectors than dimensions.

        Args:
            known: ``(B, P, E)`` of the candidates.
            given: ``(B, n, E)`` of the exemplars.
            least: The penalty.

        Returns:
            ``(B, P, S + R)``.
        """
        ground = known.gather(1, self.index[..., None].expand(-1, -1, known.shape[-1]))
        root = self.weight.sqrt()[..., None]
        inputs = torch.cat([given, ground], 1) * root
        identity = torch.eye(inputs.shape[1], device=inputs.device, dtype=inputs.dtype)
        gram = inputs @ inputs.transpose(1, 2) + least * identity
        solved = solve(gram, self.target * root)
        return known @ (inputs.transpose(1, 2) @ solved)


def _prototype_similarity(known: Tensor, share: Tensor, given: Tensor, weight: Tensor) -> Tensor:
    """Cosines ``(B, P, S)`` with the mean of a slot's exemplars and its likely candidates.

    Args:
        known: ``(B, P, E)`` of the candidates.
        share: ``(B, P, S)``, the probability that a candidate is of a slot.
        given: ``(B, n, E)`` of the exemplars.
        weight: ``(B, S, n)``, how much each counts for each slot.
    """
    total = share.transpose(1, 2) @ known + weight.to(known.dtype) @ given
    return known @ F.normalize(total, dim=2, eps=1e-6).transpose(1, 2)


def _network(inputs: int, hidden: int) -> nn.Sequential:
    network = nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, 1),
    )
    last = network[-1]
    assert isinstance(last, nn.Linear)
    nn.init.normal_(last.weight, std=0.01)
    nn.init.zeros_(last.bias)
    return network


def _best(cosine: Tensor, members: Tensor) -> Tensor:
    """The largest of ``(B, P, n)`` over the members of each slot, ``(B, P, S)``.

    Args:
        cosine: Nowhere below `_ABSENT`, but for rounding.
        members: ``(B, S, n)``. Each is of one slot at most.
    """
    slots = members.shape[1]
    slot = torch.where(members.any(1), members.to(torch.int8).argmax(1), slots)
    best = cosine.new_full((*cosine.shape[:2], slots + 1), _ABSENT)
    index = slot[:, None].expand_as(cosine)
    return best.scatter_reduce(2, index, cosine, "amax", include_self=False)[..., :slots]


def _best_of_others(values: Tensor, slots: int) -> Tensor:
    """For each of ``(B, P, S + R)`` the largest of the other slots; all are others to a rival."""
    own = values[..., :slots]
    if slots == 1:
        of_slots, best = torch.full_like(own, _ABSENT), own
    else:
        two = own.topk(2, -1)
        best, second = two.values[..., :1], two.values[..., 1:]
        mine = torch.arange(slots, device=values.device) == two.indices[..., :1]
        of_slots = torch.where(mine, second, best)
    return torch.cat([of_slots, best.expand_as(values[..., slots:])], -1)


def _any(inside: Tensor, members: Tensor) -> Tensor:
    """Whether a member ``(B, S, n)`` lies inside, float ``(B, P, S)``."""
    number = inside.to(torch.float32) @ members.transpose(1, 2).to(torch.float32)
    return (number > 0).to(torch.float32)

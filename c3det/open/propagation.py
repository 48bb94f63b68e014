"""Label propagation: candidates that look alike are scored alike.

A few exemplars say little of how a kind varies; a picture with hundreds of its objects says much.
So the score of each candidate is drawn to the mean score of those that look like it, exemplars
among them, whose slots are known. What is like an exemplar by chance has neighbours that are not,
and what is of its kind, but not like it, has neighbours that are. This is one step of label
propagation (Zhu and Ghahramani, CMU-CALD-02-107; for few-shot classification arXiv 1805.10002).

Its numbers were set by hand. Networks in its place, trained on kinds that the detector had not
seen, found less.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from c3det.boxes import pairwise_iou
from c3det.open.compare import ExemplarBatch

if TYPE_CHECKING:  # the detector imports this module
    from c3det.open.detector import Described

LIKENESS = (5.0, 15.0)
"""Factors of the embedding's and of the layout's cosine. A neighbour's weight is the exponential of
their sum."""

DRAWN = 2 / 3
"""Of a score, in the geometric mean, what is its neighbours'."""

SAME_PLACE = 0.3
"""IoU above which two boxes may be of one object: two candidates are no neighbours there."""

AT_ITS_PLACE = 0.05
"""What an exemplar weighs for candidates at its place, beside those elsewhere, times the square of
the probability that the candidate fits an object. With all of it, a badly chosen box is believed
against everything that looks like it. With nothing of it, what is the only one of its kind is not
believed although it was clicked."""


class Propagation(nn.Module):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.likeness = nn.Parameter(torch.tensor([LIKENESS]), requires_grad=False)
        self.drawn = nn.Parameter(torch.tensor([[DRAWN]]), requires_grad=False)

    def between(
        self,
        first: Described,
        second: Described | ExemplarBatch,
        at_its_place: Tensor | float = 0.0,
    ) -> Tensor:
        """The weights ``(B, P, Q)`` of the second as neighbours of the first.

        Args:
            first: P boxes.
            second: Q boxes.
            at_its_place: A factor on the weights of those that may be of one object.
        """
        of_embedding, of_layout = self.likeness[0]
        like = of_embedding * first.embeddings @ second.embeddings.transpose(1, 2)
        like = like + of_layout * first.layouts @ second.layouts.transpose(1, 2)
        same_place = pairwise_iou(first.boxes, second.boxes) > SAME_PLACE
        return like.exp() * torch.where(same_place, at_its_place, 1.0)

    def among(self, candidates: Described, known: Tensor) -> Tensor:
        """The weights ``(B, P, P)`` of candidates, given those of the first k, ``(B, k, k)``."""
        count = known.shape[1]
        rows = self.between(candidates.mapped(lambda one: one[:, count:]), candidates)
        above = torch.cat([known, rows[..., :count].transpose(1, 2)], 2)
        return torch.cat([above, rows], 1)

    def forward(
        self,
        scores: Tensor,
        weights: Tensor,
        candidates: Described,
        exemplars: ExemplarBatch | None = None,
    ) -> Tensor:
        """Draw scores to those of their neighbours.

        Args:
            scores: ``(B, P, S)`` of slots, 0 to 1; 0 for candidates that are not valid.
            weights: ``(B, P, P)`` of the candidates. Those that are not valid do not count.
            candidates: These.
            exemplars: Are neighbours, too. Positive ones have the score 1 in their slot and 0 in
                others; negative ones have 0 in their slot and count in no other.

        Returns:
            ``(B, P, S)``.
        """
        weights = weights * candidates.valid[:, None]
        total, weight = weights @ scores, weights.sum(2, keepdim=True)
        if exemplars is not None:
            believed = AT_ITS_PLACE * candidates.scores.sigmoid().square()[..., None]
            if exemplars.foreign is not None:  # they have no place in this picture
                believed = torch.where(exemplars.foreign[:, None], 1.0, believed)
            beside = self.between(candidates, exemplars, believed)
            positive = exemplars.positive.transpose(1, 2)
            counts = positive.any(2, keepdim=True) | exemplars.negative.transpose(1, 2)
            total = total + beside @ positive.to(beside.dtype)
            weight = weight + beside @ counts.to(beside.dtype)
        mean = torch.where(weight > 0, total / weight, scores)
        drawn = self.drawn[0]
        return scores ** (1 - drawn) * mean**drawn

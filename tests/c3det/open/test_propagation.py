"""Candidates that look alike are scored alike: weights, means and what exemplars add."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from c3det.boxes import pairwise_iou
from c3det.open.compare import ExemplarBatch
from c3det.open.detector import FIT, Described
from c3det.open.propagation import (
    AT_ITS_PLACE,
    DRAWN,
    LIKENESS,
    SAME_PLACE,
    Propagation,
)
from tests.c3det.open.small import first_as_exemplars, some_candidates

SLOTS = 3


@pytest.fixture
def candidates() -> Described:
    some = some_candidates(12, 40, SLOTS)
    fits = torch.zeros(1, 12, FIT)
    return Described(some.boxes, some.scores, some.embeddings, some.layouts, fits, some.valid)


@pytest.fixture
def exemplars(candidates: Described) -> ExemplarBatch:
    """One of each of two slots, a negative one of the first, and one of another picture."""
    positive = torch.zeros(1, SLOTS, 4, dtype=torch.bool)
    positive[0, [0, 1, 1], [0, 1, 3]] = True
    negative = torch.zeros_like(positive)
    negative[0, 0, 2] = True
    foreign = torch.tensor([[False, False, False, True]])
    return first_as_exemplars(candidates, positive, negative, foreign)


def scores_of(candidates: Described) -> Tensor:
    torch.manual_seed(2)
    scores = torch.rand(1, candidates.boxes.shape[1], SLOTS)
    scores[..., 2] = 0
    return scores


def weights_by_hand(one: Described, other: ExemplarBatch | Described) -> NDArray[np.float64]:
    embedding = (one.embeddings[0] @ other.embeddings[0].T).double().numpy()
    layout = (one.layouts[0] @ other.layouts[0].T).double().numpy()
    return np.exp(LIKENESS[0] * embedding + LIKENESS[1] * layout)


def test_what_may_be_one_object_is_no_neighbour(candidates: Described) -> None:
    weights = Propagation().between(candidates, candidates)[0].numpy()
    apart = pairwise_iou(candidates.boxes[0], candidates.boxes[0]).numpy() <= SAME_PLACE
    assert 12 < apart.sum() < 12 * 11  # some overlap
    assert (weights[~apart] == 0).all()
    wanted = weights_by_hand(candidates, candidates)[apart]
    assert np.allclose(weights[apart], wanted, rtol=1e-4)


@pytest.mark.parametrize("count", [0, 5, 12])
def test_weights_of_the_first_candidates_can_be_known_before(
    candidates: Described, count: int
) -> None:
    network = Propagation()
    whole = network.between(candidates, candidates)
    assert torch.allclose(network.among(candidates, whole[:, :count, :count]), whole, rtol=1e-5)


def test_a_score_is_drawn_to_the_mean_of_its_neighbours(
    candidates: Described, exemplars: ExemplarBatch
) -> None:
    network, scores = Propagation(), scores_of(candidates)
    found = network(scores, network.between(candidates, candidates), candidates, exemplars)[0]
    boxes = candidates.boxes[0]
    apart = (pairwise_iou(boxes, boxes) <= SAME_PLACE).numpy()
    weights = weights_by_hand(candidates, candidates) * apart
    at_its_place = (pairwise_iou(boxes, boxes[:4]) > SAME_PLACE).numpy()
    at_its_place[:, 3] = False  # it lies in another picture
    sure = candidates.scores[0].sigmoid().double().numpy()[:, None]
    near = weights_by_hand(candidates, exemplars)
    near = np.where(at_its_place, AT_ITS_PLACE * sure**2, 1.0) * near
    known = {0: {0: 1, 1: 0, 2: 0, 3: 0}, 1: {0: 0, 1: 1, 3: 1}, 2: {0: 0, 1: 0, 3: 0}}
    for slot, values in known.items():
        own = scores[0, :, slot].double().numpy()
        for row in range(12):
            total = weights[row] @ own + sum(near[row, one] * of for one, of in values.items())
            mean = total / (weights[row].sum() + sum(near[row, one] for one in values))
            wanted = own[row] ** (1 - DRAWN) * mean**DRAWN
            assert float(found[row, slot]) == pytest.approx(wanted, rel=1e-4)
    assert (found[:, 2] == 0).all()


def test_a_negative_exemplar_lowers_its_slot_alone(
    candidates: Described, exemplars: ExemplarBatch
) -> None:
    network, scores = Propagation(), scores_of(candidates)
    weights = network.between(candidates, candidates)
    without = replace(exemplars, negative=torch.zeros_like(exemplars.negative))
    before = network(scores, weights, candidates, without)
    after = network(scores, weights, candidates, exemplars)
    assert torch.equal(after[..., 1:], before[..., 1:])
    assert (after[..., 0] <= before[..., 0]).all()
    assert (after[..., 0] < before[..., 0] - 1e-3).any()


def test_what_has_no_neighbour_keeps_its_score(candidates: Described) -> None:
    network, scores = Propagation(), scores_of(candidates)
    weights = network.between(candidates, candidates)
    weights[:, 4] = 0
    found = network(scores, weights, candidates)
    assert torch.allclose(found[:, 4], scores[:, 4], rtol=1e-5)
    assert not torch.allclose(found, scores, rtol=1e-2)


def test_what_is_not_valid_does_not_count(candidates: Described, exemplars: ExemplarBatch) -> None:
    network, scores = Propagation(), scores_of(candidates)
    valid = torch.arange(12)[None] < 9
    some = replace(candidates, valid=valid)
    found = network(scores * valid[..., None], network.between(some, some), some, exemplars)
    first = candidates.mapped(lambda one: one[:, :9])
    wanted = network(scores[:, :9], network.between(first, first), first, exemplars)
    assert torch.allclose(found[:, :9], wanted, rtol=1e-5)
    assert (found[:, 9:] == 0).all()


def test_left_out_it_changes_nothing(candidates: Described, exemplars: ExemplarBatch) -> None:
    network, scores = Propagation(), scores_of(candidates)
    network.drawn.data.zero_()
    found = network(scores, network.between(candidates, candidates), candidates, exemplars)
    assert torch.equal(found, scores)


def test_exchanged_slots_exchange_their_scores(
    candidates: Described, exemplars: ExemplarBatch
) -> None:
    order = [1, 2, 0]
    network, scores = Propagation(), scores_of(candidates)
    weights = network.between(candidates, candidates)
    exchanged = replace(
        exemplars, positive=exemplars.positive[:, order], negative=exemplars.negative[:, order]
    )
    before = network(scores, weights, candidates, exemplars)
    after = network(scores[..., order], weights, candidates, exchanged)
    assert torch.allclose(after, before[..., order], rtol=1e-5)


def test_one_of_a_kind_is_found_through_another(candidates: Described) -> None:
    """It is raised above what was as sure, and looks like nothing that is."""
    far = torch.arange(12.0)[None, :, None] * 100
    looks = torch.eye(12)[None]
    looks[0, 1] = looks[0, 0]
    apart = replace(
        candidates,
        boxes=torch.cat([far, far, far + 10, far + 10], 2),
        embeddings=looks,
        layouts=looks,
    )
    network = Propagation()
    scores = torch.full((1, 12, 1), 0.02)
    scores[0, :3, 0] = torch.tensor([0.9, 0.3, 0.3])
    found = network(scores, network.between(apart, apart), apart)[0, :, 0]
    assert found[:2].min() > 2 * found[2]


def test_what_was_clicked_is_believed_if_it_is_the_only_one_of_its_kind(
    candidates: Described, exemplars: ExemplarBatch
) -> None:
    sure = replace(candidates, scores=torch.full((1, 12), 2.0))
    network, scores = Propagation(), torch.full((1, 12, SLOTS), 0.1)
    weights = network.between(sure, sure)
    found = network(scores, weights, sure, exemplars)[0]
    assert float(found[0, 0]) > 0.4
    assert float(found[1, 1]) > 0.4
    unlike = (weights_by_hand(sure, exemplars) < np.exp(10)).all(1)
    assert unlike.any()
    assert float(found[torch.from_numpy(unlike)].max()) < 0.35

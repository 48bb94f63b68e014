"""Whole boxes compared with whole clicked boxes: the numbers, the regression, the slots."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from c3det.open.compare import (
    FOREIGN_WEIGHT,
    Candidates,
    Comparison,
    ExemplarBatch,
    _RidgeData,
)

SLOTS = 3


def unit(*shape: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(*shape), dim=-1)


@pytest.fixture
def comparison() -> Comparison:
    torch.manual_seed(0)
    network = Comparison()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += torch.randn_like(parameter) * 0.1
    return network


@pytest.fixture
def candidates() -> Candidates:
    torch.manual_seed(1)
    corner = torch.rand(1, 9, 2) * 80
    boxes = torch.cat([corner, corner + 10 + torch.rand(1, 9, 2) * 10], 2)
    return Candidates(
        boxes,
        torch.randn(1, 9),
        unit(1, 9, 4),
        unit(1, 9, 6),
        torch.randn(1, 9, SLOTS),
        torch.ones(1, 9, dtype=torch.bool),
    )


@pytest.fixture
def exemplars(candidates: Candidates) -> ExemplarBatch:
    """Of slot 0 the first two boxes, of slot 1 the third; the fourth is a negative one of it."""
    boxes = candidates.boxes[:, :4]
    positive = torch.zeros(1, SLOTS, 4, dtype=torch.bool)
    positive[0, 0, :2] = positive[0, 1, 2] = True
    negative = torch.zeros_like(positive)
    negative[0, 1, 3] = True
    return ExemplarBatch(
        (boxes[..., :2] + boxes[..., 2:]) / 2,
        boxes,
        candidates.embeddings[:, :4],
        candidates.layouts[:, :4],
        positive,
        negative,
    )


def test_the_numbers_of_a_candidate_are_its_likeness_to_the_exemplars(
    comparison: Comparison, candidates: Candidates, exemplars: ExemplarBatch
) -> None:
    features = comparison.pair_features(candidates, exemplars)[0, 6].detach().numpy()
    for own, other, negative, known in (
        (0, 2, 3, candidates.embeddings),
        (6, 7, 8, candidates.layouts),
    ):
        likeness = (known[0, :4] @ known[0, 6]).numpy()
        first, second = likeness[:2].max(), likeness[2]
        assert np.allclose(features[:, own], [first, second, -1], atol=1e-6)
        assert np.allclose(features[:, other], [second, first, max(first, second)], atol=1e-6)
        assert np.allclose(features[:, negative], [-1, likeness[3], -1], atol=1e-6)
    assert np.allclose(features[:, 17], [np.log(2), 0, 0], atol=1e-6)
    assert features[:, 18].tolist() == [0, 1, 0]


def test_a_clicked_box_is_like_itself_and_holds_its_click(
    comparison: Comparison, candidates: Candidates, exemplars: ExemplarBatch
) -> None:
    features = comparison.pair_features(candidates, exemplars)[0].detach()
    assert torch.allclose(features[[0, 1, 2], [0, 0, 1], 0], torch.ones(3))
    assert torch.allclose(features[[0, 1, 2], [0, 0, 1], 6], torch.ones(3))
    assert features[0, 0, 19:].tolist()[::2] == [1, 0]
    assert features[3, 1, 21] == 1


def test_the_regression_is_ridge_regression(
    candidates: Candidates, exemplars: ExemplarBatch
) -> None:
    cosine = candidates.embeddings @ exemplars.embeddings.transpose(1, 2)
    ground = _RidgeData.of(candidates, exemplars, cosine)
    found = ground.regressed(candidates.embeddings, exemplars.embeddings, torch.tensor(0.3))
    # The same, in the primal form.
    known = candidates.embeddings[0].double().numpy()
    inputs = np.concatenate([known[:4], known[ground.index[0].numpy()]])
    weight = np.array([0.5, 0.5, 1, 0.5] + [2 / 9] * 9)
    target = np.zeros((13, SLOTS))
    target[[0, 1, 2], [0, 0, 1]] = 1
    gram = inputs.T @ (inputs * weight[:, None]) + 0.3 * np.eye(4)
    solved = np.linalg.solve(gram, (inputs * weight[:, None]).T @ target)
    assert np.allclose(found[0].numpy(), known @ solved, atol=1e-5)


def test_exchanging_two_slots_exchanges_their_logits(
    comparison: Comparison, candidates: Candidates, exemplars: ExemplarBatch
) -> None:
    order = [1, 0, 2]
    exchanged = comparison(
        replace(candidates, logit_shift=candidates.logit_shift[..., order]),
        replace(
            exemplars,
            positive=exemplars.positive[:, order],
            negative=exemplars.negative[:, order],
        ),
    )
    for before, after in zip(comparison(candidates, exemplars), exchanged, strict=True):
        assert torch.allclose(before[..., [*order, 3]], after, atol=1e-5)


def test_a_slot_without_exemplars_claims_nothing(
    comparison: Comparison, candidates: Candidates, exemplars: ExemplarBatch
) -> None:
    for logits in comparison(candidates, exemplars):
        share = logits.softmax(-1)
        assert (share[..., 2] == 0).all()
        assert (share[..., [0, 1, 3]] > 0).all()


def test_nothing_foreign_is_what_was_before(
    comparison: Comparison, candidates: Candidates, exemplars: ExemplarBatch
) -> None:
    none = replace(exemplars, foreign=torch.zeros(1, 4, dtype=torch.bool))
    for before, after in zip(
        comparison(candidates, exemplars), comparison(candidates, none), strict=True
    ):
        assert torch.equal(before, after)


def test_foreign_exemplars_count_less_beside_those_of_the_picture(
    comparison: Comparison, candidates: Candidates, exemplars: ExemplarBatch
) -> None:
    """Slot 0 has one of each, slot 1 a foreign one alone, whose negative one is foreign, too."""
    mixed = replace(exemplars, foreign=torch.tensor([[False, True, True, True]]))
    features = comparison.pair_features(candidates, mixed)[0, 6].detach()
    plain = comparison.pair_features(candidates, exemplars)[0, 6].detach()
    like = (candidates.embeddings[0, :4] @ candidates.embeddings[0, 6]).numpy()
    assert features[0, 0].item() == pytest.approx(max(like[0], like[1]))
    beta = comparison.temperature.exp().item()
    total = np.exp((like[0] - 1) * beta) + FOREIGN_WEIGHT * np.exp((like[1] - 1) * beta)
    soft = 1 + np.log(total / (1 + FOREIGN_WEIGHT)) / beta
    assert features[0, 1].item() == pytest.approx(soft, abs=1e-5)
    sizes = (candidates.boxes[0, :, 2:] - candidates.boxes[0, :, :2]).log()
    mean = (sizes[0] + FOREIGN_WEIGHT * sizes[1]) / (1 + FOREIGN_WEIGHT)
    assert torch.allclose(features[0, 13:15], sizes[6] - mean, atol=1e-5)
    # Where nothing of this picture is beside them, they count as if they were of it.
    assert torch.equal(features[1, [0, 1, 3, 6, 8]], plain[1, [0, 1, 3, 6, 8]])
    cosine = candidates.embeddings @ mixed.embeddings.transpose(1, 2)
    weight = _RidgeData.of(candidates, mixed, cosine).weight[0, :4]
    share = 1 / (1 + FOREIGN_WEIGHT)
    assert torch.allclose(weight, torch.tensor([share, 1 - share, 1, 0.5]))

"""Whole boxes compared with whole clicked boxes: the numbers, the regression, the slots."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from c3det.open.compare import (
    FOREIGN_WEIGHT,
    Candidates,
    Comparison,
    ExemplarBatch,
    _best,
    _best_of_others,
    _RidgeData,
)
from tests.c3det.open.small import first_as_exemplars, some_candidates

SLOTS = 3


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
    return some_candidates(9, 80, SLOTS)


@pytest.fixture
def exemplars(candidates: Candidates) -> ExemplarBatch:
    """Of slot 0 the first two boxes, of slot 1 the third; the fourth is a negative one of it."""
    positive = torch.zeros(1, SLOTS, 4, dtype=torch.bool)
    positive[0, 0, :2] = positive[0, 1, 2] = True
    negative = torch.zeros_like(positive)
    negative[0, 1, 3] = True
    return first_as_exemplars(candidates, positive, negative)


def test_the_numbers_of_a_candidate_are_its_likeness_to_the_exemplars(
    comparison: Comparison, candidates: Candidates, exemplars: ExemplarBatch
) -> None:
    rivals = exemplars.rivals()
    assert rivals.tolist() == [1]
    features = comparison.pair_features(candidates, exemplars, rivals)[0, 6].detach().numpy()
    # Of the slots, and of the rival of slot 1.
    for own, other, known in ((0, 2, candidates.embeddings), (5, 6, candidates.layouts)):
        likeness = (known[0, :4] @ known[0, 6]).numpy()
        first, second = likeness[:2].max(), likeness[2]
        either = max(first, second)
        assert np.allclose(features[:, own], [first, second, -1, likeness[3]], atol=1e-6)
        assert np.allclose(features[:, other], [second, first, either, either], atol=1e-6)
    assert np.allclose(features[:, 15], [np.log(2), 0, 0, 0], atol=1e-6)
    assert features[3, 10] == features[1, 10]
    assert features[0, 10] != features[1, 10]


def test_a_clicked_box_is_like_itself_and_holds_its_click(
    comparison: Comparison, candidates: Candidates, exemplars: ExemplarBatch
) -> None:
    features = comparison.pair_features(candidates, exemplars, exemplars.rivals())[0].detach()
    for likeness in (0, 5):
        assert torch.allclose(features[[0, 1, 2, 3], [0, 0, 1, 3], likeness], torch.ones(4))
    boxes, xy = candidates.boxes[0], exemplars.xy[0]
    inside = ((boxes[:, None, :2] <= xy) & (xy <= boxes[:, None, 2:])).all(-1).numpy()
    clicks = [[0, 1], [2], [], [3]]  # of the slots, and of the rival
    for row, own in enumerate(clicks):
        other = sorted({0, 1, 2, 3} - set(own))
        assert (features[:, row, 16].numpy() == inside[:, own].any(1)).all()
        assert (features[:, row, 17].numpy() == inside[:, other].any(1)).all()
    assert inside[[0, 1, 2, 3], [0, 1, 2, 3]].all()


def ridge_data(candidates: Candidates, exemplars: ExemplarBatch) -> _RidgeData:
    members = exemplars.members(exemplars.rivals())
    cosine = candidates.embeddings @ exemplars.embeddings.transpose(1, 2)
    return _RidgeData.of(candidates, members, exemplars.weights(members), cosine)


def test_the_regression_is_ridge_regression(
    candidates: Candidates, exemplars: ExemplarBatch
) -> None:
    ground = ridge_data(candidates, exemplars)
    found = ground.regressed(candidates.embeddings, exemplars.embeddings, torch.tensor(0.3))
    # The same, in the primal form.
    known = candidates.embeddings[0].double().numpy()
    inputs = np.concatenate([known[:4], known[ground.index[0].numpy()]])
    weight = np.array([0.5, 0.5, 1, 1] + [2 / 9] * 9)
    target = np.zeros((13, SLOTS + 1))
    target[[0, 1, 2, 3], [0, 0, 1, 3]] = 1
    gram = inputs.T @ (inputs * weight[:, None]) + 0.3 * np.eye(4)
    solved = np.linalg.solve(gram, (inputs * weight[:, None]).T @ target)
    assert np.allclose(found[0].numpy(), known @ solved, atol=1e-5)


def test_the_ground_is_what_is_least_like_any_exemplar() -> None:
    """Of 70 candidates the 64; the fourth exemplar stands for nothing."""
    candidates = some_candidates(70, 200, SLOTS)
    positive = torch.zeros(1, SLOTS, 4, dtype=torch.bool)
    positive[0, 0, :3] = True
    exemplars = first_as_exemplars(candidates, positive, torch.zeros_like(positive))
    chosen = ridge_data(candidates, exemplars).index[0]
    likest = (candidates.embeddings[0] @ exemplars.embeddings[0, :3].T).amax(1)
    assert sorted(chosen.tolist()) == sorted(likest.argsort()[:64].tolist())


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


def likeness_of(
    comparison: Comparison, candidates: Candidates, exemplars: ExemplarBatch
) -> torch.Tensor:
    slots = exemplars.positive.shape[1]
    return comparison.pair_features(candidates, exemplars, exemplars.rivals())[:, :, :slots, [0, 5]]


def test_slots_divide_by_the_most_similar_exemplar_what_none_leaves(
    comparison: Comparison, candidates: Candidates, exemplars: ExemplarBatch
) -> None:
    logits = torch.tensor([0.0, 0.0, -1e4, 0.0]).expand(1, 9, SLOTS + 1)  # slot 2 has no exemplar
    shares = comparison.divided(logits, likeness_of(comparison, candidates, exemplars))
    assert shares.sum(-1).flatten().tolist() == pytest.approx([2 / 3] * 9)
    assert shares[..., 2].max() < 1e-6

    def likeness(row: int, slot: list[int]) -> float:
        embedding = candidates.embeddings[0, row] @ exemplars.embeddings[0, slot].T
        layout = candidates.layouts[0, row] @ exemplars.layouts[0, slot].T
        of_embedding, of_layout = comparison.nearest[0].tolist()
        return float(of_embedding * embedding.max() + of_layout * layout.max())

    for row in range(9):
        ahead = np.exp(likeness(row, [0, 1]) - likeness(row, [2]))
        assert shares[0, row, 0].item() == pytest.approx(2 / 3 * ahead / (1 + ahead), abs=1e-5)


def test_a_single_slot_has_what_its_logit_gives_it(
    comparison: Comparison, candidates: Candidates, exemplars: ExemplarBatch
) -> None:
    one = replace(exemplars, positive=exemplars.positive[:, :1], negative=exemplars.negative[:, :1])
    logits = torch.randn(1, 9, 2)
    alone = replace(candidates, logit_shift=candidates.logit_shift[..., :1])
    shares = comparison.divided(logits, likeness_of(comparison, alone, one))
    assert torch.allclose(shares, logits.softmax(-1)[..., :1])


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
    rivals = exemplars.rivals()
    features = comparison.pair_features(candidates, mixed, rivals)[0, 6].detach()
    plain = comparison.pair_features(candidates, exemplars, rivals)[0, 6].detach()
    like = (candidates.embeddings[0, :4] @ candidates.embeddings[0, 6]).numpy()
    assert features[0, 0].item() == pytest.approx(max(like[0], like[1]))
    beta = comparison.temperature.exp().item()
    total = np.exp((like[0] - 1) * beta) + FOREIGN_WEIGHT * np.exp((like[1] - 1) * beta)
    soft = 1 + np.log(total / (1 + FOREIGN_WEIGHT)) / beta
    assert features[0, 1].item() == pytest.approx(soft, abs=1e-5)
    sizes = (candidates.boxes[0, :, 2:] - candidates.boxes[0, :, :2]).log()
    mean = (sizes[0] + FOREIGN_WEIGHT * sizes[1]) / (1 + FOREIGN_WEIGHT)
    assert torch.allclose(features[0, 11:13], sizes[6] - mean, atol=1e-5)
    # Where nothing of this picture is beside them, they count as if they were of it.
    assert torch.equal(features[[1, 3]][:, [0, 1, 5]], plain[[1, 3]][:, [0, 1, 5]])
    weight = ridge_data(candidates, mixed).weight[0, :4]
    share = 1 / (1 + FOREIGN_WEIGHT)
    assert torch.allclose(weight, torch.tensor([share, 1 - share, 1, 1]))


def test_the_best_of_the_members() -> None:
    cosine = torch.tensor([[[0.5, -0.3, 0.2, 0.9], [-1.0, 0.1, 0.4, 0.9]]])
    members = torch.zeros(1, 3, 4, dtype=torch.bool)
    members[0, 0, [0, 1]] = members[0, 2, 2] = True  # the last is of no slot
    wanted = torch.tensor([[[0.5, -1, 0.2], [0.1, -1, 0.4]]])
    assert torch.equal(_best(cosine, members), wanted)


class Largest(TorchDispatchMode):
    """How many numbers the largest tensor has that is made."""

    numbers = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **kwargs or {})
        if isinstance(made, torch.Tensor):
            self.numbers = max(self.numbers, made.numel())
        return made


def test_no_tensor_is_as_large_as_candidates_times_slots_times_exemplars(
    comparison: Comparison,
) -> None:
    count = 100
    candidates = some_candidates(120, 80, count)
    positive = torch.eye(count, dtype=torch.bool)[None]
    exemplars = first_as_exemplars(candidates, positive, torch.zeros_like(positive))
    with torch.inference_mode(), Largest() as largest:
        comparison(candidates, exemplars)
    # Of each pair of a candidate and a slot, what the networks make of it.
    assert largest.numbers <= len(candidates.scores[0]) * count * 64


def test_the_best_of_the_others() -> None:
    values = torch.tensor([[[0.3, 0.9, 0.5, 0.1, 0.2]]])  # three slots, two rivals
    best = _best_of_others(values, 3)
    assert torch.equal(best, torch.tensor([[[0.9, 0.5, 0.9, 0.9, 0.9]]]))
    alone = _best_of_others(values[..., 2:4], 1)
    assert torch.equal(alone, torch.tensor([[[-1.0, 0.5]]]))


def test_a_slot_shares_its_claim_with_its_rival_and_no_other_does(
    comparison: Comparison,
) -> None:
    with torch.no_grad():
        comparison.rival_bias.fill_(0.5)
    logits = torch.tensor([[[1.0, 2.0, 0.7]]])  # two slots, and the rival of the second
    lowered = comparison._lowered(logits, torch.tensor([1])).exp()[0, 0].detach().numpy()
    claims = np.exp([1.0, 2.0, 0.7 + 0.5])
    share = claims[1] / (claims[1] + claims[2])
    assert np.allclose(lowered, [claims[0], claims[1] * share, claims[2] * (1 - share)], rtol=1e-5)


def test_a_negative_exemplar_lowers_what_is_like_it_in_its_slot_alone(
    candidates: Candidates, exemplars: ExemplarBatch
) -> None:
    """Untrained, where likeness alone decides; the ninth box looks as the negative one does."""
    network = Comparison()
    twins = replace(
        candidates,
        embeddings=torch.cat([candidates.embeddings[:, :8], candidates.embeddings[:, 3:4]], 1),
        layouts=torch.cat([candidates.layouts[:, :8], candidates.layouts[:, 3:4]], 1),
    )
    with torch.no_grad():
        for part in (network.first, network.second, network.none):
            for parameter in part[-1].parameters():
                parameter.zero_()
        without = replace(exemplars, negative=torch.zeros_like(exemplars.negative))
        before = network(twins, without)[1][0]
        after = network(twins, exemplars)[1][0]
    fall = (before - after)[:, 1]
    like = twins.embeddings[0] @ twins.embeddings[0, [2, 3]].T
    # The first slot and "none of these" are what they were.
    assert torch.equal(after[:, [0, 3]], before[:, [0, 3]])
    assert fall[8] == fall.max()
    assert fall[2] < 0.1 < fall[8]
    closer = like[:, 1] > like[:, 0]
    assert fall[closer].min() > 0


def test_in_answers_a_negative_exemplar_takes_more_of_its_slot_than_in_training(
    comparison: Comparison, candidates: Candidates, exemplars: ExemplarBatch
) -> None:
    def in_training(given: ExemplarBatch) -> torch.Tensor:
        _, second, likeness = comparison._compared(candidates, given)
        return comparison.divided(second, likeness)

    without = replace(exemplars, negative=torch.zeros_like(exemplars.negative))
    assert torch.equal(comparison.shares(candidates, without), in_training(without))
    less, more = comparison.shares(candidates, exemplars)[0], in_training(exemplars)[0]
    assert (less[:, 1] < more[:, 1]).all()


def test_on_other_devices_every_slot_has_a_rival_and_the_answer_is_the_same(
    comparison: Comparison,
    candidates: Candidates,
    exemplars: ExemplarBatch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = comparison(candidates, exemplars)
    monkeypatch.setattr(ExemplarBatch, "rivals", lambda self: torch.arange(SLOTS))
    for before, after in zip(wanted, comparison(candidates, exemplars), strict=True):
        assert torch.allclose(before.softmax(-1), after.softmax(-1), atol=1e-6)


def test_padding_changes_nothing(
    comparison: Comparison, candidates: Candidates, exemplars: ExemplarBatch
) -> None:
    """Slots and exemplars of nothing, and candidates that are not valid."""
    exemplars = replace(
        exemplars, positive=exemplars.positive[:, :2], negative=exemplars.negative[:, :2]
    )
    candidates = replace(candidates, logit_shift=candidates.logit_shift[..., :2])
    pad = torch.nn.functional.pad
    padded = Candidates(
        *(
            pad(one, (0, 0, 0, 3)) if one.dim() == 3 else pad(one, (0, 3))
            for one in (
                candidates.boxes,
                candidates.scores,
                candidates.embeddings,
                candidates.layouts,
            )
        ),
        pad(candidates.logit_shift, (0, 2, 0, 3), value=9.0),
        pad(candidates.valid, (0, 3)),
    )
    with_padding = ExemplarBatch(
        *(
            pad(one, (0, 0, 0, 2))
            for one in (exemplars.xy, exemplars.boxes, exemplars.embeddings, exemplars.layouts)
        ),
        *(pad(one, (0, 2, 0, 2)) for one in (exemplars.positive, exemplars.negative)),
    )
    order = [0, 1, 4]
    for wanted, got in zip(
        comparison(candidates, exemplars), comparison(padded, with_padding), strict=True
    ):
        assert torch.allclose(got[:, :9, order].softmax(-1), wanted.softmax(-1), atol=1e-5)
        shares = comparison.divided(wanted, likeness_of(comparison, candidates, exemplars))
        likeness = likeness_of(comparison, padded, with_padding)
        found = comparison.divided(got, likeness)[:, :9]
        assert torch.allclose(found[..., :2], shares, atol=1e-5)
        assert (found[..., 2:] == 0).all()

"""What the open model is trained to do, by numbers that can be checked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from training.open.losses import (
    CHOICE_SHARPNESS,
    ComparisonTargets,
    assign,
    choice_loss,
    comparison_loss,
    contrastive,
    gathered,
    match,
    quality_focal,
    region_loss,
)

NO_BOXES = torch.zeros(1, 1, 4)
SIZES = [(16, 16), (8, 8), (4, 4)]
"""Of the levels of a picture of 64 px."""


def objects(*boxes: tuple[float, float, float, float]) -> torch.Tensor:
    return torch.tensor([boxes], dtype=torch.float32)


def test_the_middle_of_a_box_predicts_it_at_its_level() -> None:
    boxes = objects((8, 8, 24, 24), (0, 0, 60, 60))
    fine, middle, coarse = assign(boxes, torch.ones(1, 2, dtype=torch.bool), NO_BOXES, SIZES)
    # The small one: cells of 4 px whose centres are within 0.35 * 8 px of (16, 16).
    assert (fine[0][0] == 0).nonzero().tolist() == [[3, 3], [3, 4], [4, 3], [4, 4]]
    assert (fine[0] == 1).sum() == 0
    # The large one: within 0.35 * 30 px of (30, 30), centres at 20, 28, 36 and 8, 24, 40.
    assert (middle[0][0] == 1).nonzero().tolist() == [
        [row, column] for row in (2, 3, 4) for column in (2, 3, 4)
    ]
    assert (coarse[0][0] == 1).nonzero().tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]


def test_a_ring_around_the_middle_is_neither_object_nor_ground() -> None:
    boxes = objects((8, 8, 24, 24), (40, 40, 56, 56))
    (index, skip), *_ = assign(boxes, torch.ones(1, 2, dtype=torch.bool), NO_BOXES, SIZES)
    # Centres within 0.85 * 8 px, 10 to 22: columns 2 to 5; the middle itself is not skipped.
    assert skip[0, 3].nonzero()[:, 0].tolist() == [2, 5]
    assert not skip[index >= 0].any()


def test_of_two_objects_the_smaller_has_the_cell() -> None:
    boxes = objects((0, 0, 30, 30), (12, 12, 20, 20))
    (index, _), *_ = assign(boxes, torch.ones(1, 2, dtype=torch.bool), NO_BOXES, SIZES)
    assert index[0, 3, 3] == 1
    assert index[0, 4, 4] == 1
    assert index[0, 2, 3] == 0


def test_what_is_ignored_is_no_ground_and_padding_no_object() -> None:
    (index, skip), *_ = assign(
        objects((8, 8, 24, 24)),
        torch.zeros(1, 1, dtype=torch.bool),
        objects((40, 40, 60, 60), (0, 0, 0, 0)),
        SIZES,
    )
    assert (index < 0).all()
    assert skip[0].nonzero().tolist() == [[r, c] for r in range(10, 15) for c in range(10, 15)]


def test_quality_focal_loss() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0]])
    positive = torch.tensor([[True, False, False]])
    quality = torch.tensor([[1.0, 1.0, 1.0]])
    ignored = torch.tensor([[False, False, True]])
    # Positive: ln 2 * 0.5^2; ground: 0.75 * ln 2 * 0.5^2; the ignored one nothing.
    wanted = math.log(2) * 0.25 * 1.75
    assert float(quality_focal(logits, positive, quality, ignored)) == pytest.approx(wanted)
    # A positive that is as sure as it is good costs nothing.
    exact = torch.logit(torch.tensor([[0.7]]))
    true = torch.ones(1, 1, dtype=torch.bool)
    loss = quality_focal(exact, true, torch.tensor([[0.7]]), ~true)
    assert float(loss) == pytest.approx(0, abs=1e-6)


def test_gathered_takes_rows_and_padding_as_the_first() -> None:
    boxes = objects((0, 0, 1, 1), (2, 2, 3, 3))
    assert gathered(boxes, torch.tensor([[1, -1]])).tolist() == [[[2, 2, 3, 3], [0, 0, 1, 1]]]


def test_a_box_in_something_ignored_is_odd() -> None:
    boxes = objects((0, 0, 10, 10), (40, 40, 50, 50))
    best, index, odd = match(
        boxes,
        objects((0, 0, 10, 8)),
        torch.ones(1, 1, dtype=torch.bool),
        objects((40, 40, 50, 52)),
    )
    assert best.tolist() == [[pytest.approx(0.8), 0]]
    assert index[0, 0] == 0
    assert odd.tolist() == [[False, True]]


def test_scores_of_regions_learn_the_iou() -> None:
    truth = objects((0, 0, 10, 10))
    before = objects((0, 0, 10, 8), (30, 30, 40, 40))
    one = torch.ones(1, 1, dtype=torch.bool)
    used = torch.ones(1, 2, dtype=torch.bool)

    def loss(first: float, second: float) -> float:
        logits = torch.tensor([[first, second]])
        return float(region_loss(before, logits, before, used, truth, one, NO_BOXES)[0])

    best = float(torch.logit(torch.tensor(0.8)))
    assert loss(best, -9) < min(loss(best - 1, -9), loss(best + 1, -9), loss(best, 0))
    place = region_loss(before, torch.zeros(1, 2), before, used, truth, one, NO_BOXES)[1]
    assert float(place) == pytest.approx(1 - 0.8)  # of the box that fits, by GIoU


def test_the_box_of_the_clicked_object_is_to_be_chosen() -> None:
    objects = torch.tensor([[[0.0, 0, 20, 20], [10, 0, 50, 20], [0, 0, 0, 0]]])
    is_object = torch.tensor([[True, True, False]])
    boxes = torch.tensor([[[0.0, 0, 20, 19], [10, 0, 48, 20], [12, 4, 40, 20]]])
    xy = torch.tensor([[[28.0, 10], [80, 80]]])  # the second click is on nothing
    used = torch.ones(1, 2, dtype=torch.bool)

    def loss(rows: list[float]) -> float:
        logits = torch.tensor([[rows, rows]])
        return float(choice_loss(logits, boxes, xy, used, objects, is_object))

    nothing, padding = -math.inf, torch.zeros(1, 2, dtype=torch.bool)
    assert loss([nothing, 5, 0]) < loss([nothing, 0, 0]) < loss([nothing, 0, 5])
    # The target is soft: by an IoU of 0.95 and of 0.56.
    share = 1 / (1 + math.exp(CHOICE_SHARPNESS * (0.56 - 0.95)))
    wanted = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert loss([nothing, math.log(share / (1 - share)), 0]) == pytest.approx(wanted, rel=1e-4)
    # Where no box fits, and without clicks, nothing is learned.
    assert loss([nothing, nothing, nothing]) == 0
    logits = torch.zeros(1, 2, 3)
    assert choice_loss(logits, boxes, xy, padding, objects, is_object) == 0


def test_contrast_is_lower_where_classes_are_apart() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    apart = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    mixed = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]])
    assert float(contrastive(apart, labels)) < 0.01 < float(contrastive(mixed, labels))
    # All alike: the share of the one other of its class among three others.
    alike = torch.tensor([[1.0, 0]] * 4)
    assert float(contrastive(alike, labels)) == pytest.approx(math.log(3))


def test_rows_without_a_class_do_not_count_in_the_contrast() -> None:
    labels = torch.tensor([0, 0, 1, -1, -1])
    rows = torch.nn.functional.normalize(torch.rand(5, 3, generator=torch.manual_seed(0)), dim=1)
    assert float(contrastive(rows, labels)) == pytest.approx(
        float(contrastive(rows[:3], labels[:3]))
    )


def test_user_input_enforcing_loss_is_the_mean_over_clicked_boxes() -> None:
    logits = torch.zeros(1, 3, 3)  # two slots and "none": ln 3 each
    logits[0, 1, 0] = 5
    target = torch.tensor([[0, 1, 2]])
    weight = torch.tensor([[1.0, 0.0, 1.0]])
    clicked = torch.tensor([[True, True, False]])
    own = math.log(3)
    wrong = math.log(math.exp(5) + 2)  # the clicked box that is taken for the other slot
    nobody = torch.zeros(1, 3, dtype=torch.bool)
    targets = ComparisonTargets(target, weight, clicked, nobody)
    plain = comparison_loss(logits, targets, 0.0, 1.0)
    enforced = comparison_loss(logits, targets, 1.0, 1.0)
    assert float(plain) == pytest.approx(own, rel=1e-5)
    assert float(enforced - plain) == pytest.approx((own + wrong) / 2, rel=1e-5)
    targets = ComparisonTargets(target, weight, nobody, nobody)
    assert float(comparison_loss(logits, targets, 1.0, 1.0)) == pytest.approx(own)
    # What negative clicks tell apart is added in the same way.
    targets = ComparisonTargets(target, weight, nobody, clicked)
    contested = comparison_loss(logits, targets, 1.0, 2.0)
    assert float(contested - plain) == pytest.approx(own + wrong, rel=1e-5)

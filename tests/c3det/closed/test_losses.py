"""The user-input enforcing loss."""

from __future__ import annotations

import math
import random

import pytest
import torch

from c3det.clicks import Click
from c3det.closed.losses import Target, UserInputEnforcing, clicked_boxes, enforcing_loss
from tests.c3det import twins

BOXES = torch.tensor([[0.0, 0, 10, 10], [8, 0, 20, 10], [30, 30, 40, 40]])
LABELS = torch.tensor([0, 1, 2])


def meets(
    clicks: list[Click], target: Target = "assigned", radius: float = 0.0
) -> list[int | None]:
    """The class to enforce on each of the three boxes."""
    settings = UserInputEnforcing(target=target, radius=radius)
    inside, wanted = clicked_boxes(BOXES, LABELS, clicks, settings)
    assert inside.dtype == torch.bool
    assert wanted.dtype == torch.int64
    return [
        label if hit else None for hit, label in zip(inside.tolist(), wanted.tolist(), strict=True)
    ]


def test_a_box_meets_the_clicks_inside_it() -> None:
    assert meets([Click(5, 5, 0)]) == [0, None, None]
    assert meets([Click(9, 5, 0)]) == [0, 1, None]
    assert meets([Click(5, 5, 0), Click(35, 31, 2)]) == [0, None, 2]
    assert meets([Click(25, 25, 0)]) == [None, None, None]


def test_the_class_of_a_wrong_click() -> None:
    """The second box was assigned to an object of class 1; the annotator says 4."""
    assert meets([Click(15, 5, 4)], "assigned") == [None, 1, None]
    assert meets([Click(15, 5, 4)], "clicked") == [None, 4, None]


def test_of_several_clicks_the_one_nearest_to_the_centre_gives_the_class() -> None:
    clicks = [Click(9, 5, 3), Click(13, 5, 4)]
    assert meets(clicks, "clicked") == [3, 4, None]
    assert meets(clicks[::-1], "clicked") == [3, 4, None]


def test_radius_is_half_the_side_of_a_square() -> None:
    assert meets([Click(42, 42, 2)], radius=1) == [None, None, None]
    assert meets([Click(42, 42, 2)], radius=2) == [None, None, 2]
    assert meets([Click(28, 35, 2)], radius=2) == [None, None, 2]
    assert meets([Click(40, 30, 2)], radius=0) == [None, None, 2]


def test_negative_clicks_are_not_met() -> None:
    assert meets([Click(5, 5, 0, positive=False)]) == [None, None, None]
    assert meets([Click(5, 5, 3, positive=False), Click(2, 2, 4)], "clicked") == [4, None, None]


def test_no_clicks_and_no_boxes() -> None:
    assert meets([]) == [None, None, None]
    inside, labels = clicked_boxes(
        torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), [Click(0, 0, 0)], UserInputEnforcing()
    )
    assert inside.shape == labels.shape == (0,)


@pytest.mark.parametrize("target", ["assigned", "clicked"])
@pytest.mark.parametrize("radius", [0.0, 1.0, 5.0])
def test_clicked_boxes_equal_their_twin(target: Target, radius: float) -> None:
    draw = random.Random(0)
    corners = torch.tensor([[draw.uniform(0, 90), draw.uniform(0, 90)] for _ in range(60)])
    sides = torch.tensor([[draw.uniform(0, 20), draw.uniform(0, 20)] for _ in range(60)])
    boxes = torch.cat([corners, corners + sides], 1)
    labels = torch.tensor([draw.randrange(5) for _ in range(60)])
    clicks = [
        Click(draw.uniform(0, 100), draw.uniform(0, 100), draw.randrange(5), draw.random() < 0.8)
        for _ in range(25)
    ]
    inside, wanted = clicked_boxes(
        boxes, labels, clicks, UserInputEnforcing(target=target, radius=radius)
    )
    for box, label, hit, got in zip(
        boxes.tolist(), labels.tolist(), inside.tolist(), wanted.tolist(), strict=True
    ):
        slow = twins.clicked_box(box, label, clicks, target, radius)
        assert hit == (slow is not None)
        if hit:
            assert got == slow


def test_sigmoid_by_hand() -> None:
    """-log s(0) for the class, -log(1 - s(log 3)) = log 4 for the other; s(log 3) = 3/4."""
    logits = torch.tensor([[0.0, math.log(3)]])
    loss = enforcing_loss(logits, torch.tensor([0]), sigmoid=True, weight=1.0)
    assert loss.item() == pytest.approx(math.log(2) + math.log(4))
    loss = enforcing_loss(logits, torch.tensor([1]), sigmoid=True, weight=1.0)
    assert loss.item() == pytest.approx(math.log(2) + math.log(4 / 3))


def test_softmax_by_hand() -> None:
    """Softmax of (0, 0, log 2) is (1/4, 1/4, 1/2), the last being the background."""
    logits = torch.tensor([[0.0, 0.0, math.log(2)], [math.log(6), 0.0, 0.0]])
    loss = enforcing_loss(logits[:1], torch.tensor([1]), sigmoid=False, weight=1.0)
    assert loss.item() == pytest.approx(math.log(4))
    loss = enforcing_loss(logits, torch.tensor([1, 0]), sigmoid=False, weight=3.0)
    assert loss.item() == pytest.approx(3 * (math.log(4) + math.log(8 / 6)) / 2)


@pytest.mark.parametrize("sigmoid", [True, False])
def test_loss_equals_its_twin(sigmoid: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(9, 5, generator=draw, dtype=torch.float64)
    targets = torch.randint(0, 4, (9,), generator=draw)
    got = enforcing_loss(logits, targets, sigmoid=sigmoid, weight=0.7)
    wanted = twins.enforcing_loss(logits, targets.tolist(), sigmoid, 0.7)
    assert got.item() == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("sigmoid", [True, False])
def test_no_clicked_box_gives_0_with_a_gradient_of_0(sigmoid: bool) -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    nobody = torch.zeros(4, dtype=torch.bool)
    targets = torch.zeros(4, dtype=torch.int64)
    loss = enforcing_loss(logits[nobody], targets[nobody], sigmoid=sigmoid, weight=1.0)
    assert loss.item() == 0
    loss.backward()
    assert logits.grad.count_nonzero() == 0


@pytest.mark.parametrize("sigmoid", [True, False])
def test_enforcing_pulls_the_score_of_the_target_up(sigmoid: bool) -> None:
    logits = torch.zeros(1, 3, requires_grad=True)
    enforcing_loss(logits, torch.tensor([1]), sigmoid=sigmoid, weight=1.0).backward()
    assert logits.grad[0].sign().tolist() == [1, -1, 1]

"""Box arithmetic, by numbers that can be checked by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from c3det.boxes import (
    box_area,
    centredness,
    contains,
    giou,
    intersection,
    iou,
    nested_in_better,
    non_maximum_suppression,
    pairwise_iou,
    suppression_in_rounds,
    touching,
    weighted_boxes_fusion,
)
from c3det.open.detector import apply_deltas


def encode_deltas(boxes: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The other way round: what `apply_deltas` needs to turn boxes into targets."""
    size = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1.0)
    wanted = (targets[..., 2:] - targets[..., :2]).clamp(min=1.0)
    shift = (targets[..., :2] + targets[..., 2:] - boxes[..., :2] - boxes[..., 2:]) / (2 * size)
    return torch.cat([shift / 0.1, (wanted / size).log() / 0.2], -1)


def greedy(boxes: torch.Tensor, threshold: float) -> list[bool]:
    """Suppression one box at a time."""
    kept: list[int] = []
    for index, box in enumerate(boxes):
        if all(float(iou(box, boxes[other])) <= threshold for other in kept):
            kept.append(index)
    return [index in kept for index in range(len(boxes))]


def test_iou_and_giou() -> None:
    first = torch.tensor([0.0, 0, 10, 10])
    second = torch.tensor([5.0, 0, 15, 10])
    assert float(iou(first, second)) == pytest.approx(50 / 150)
    assert float(giou(first, second)) == pytest.approx(50 / 150)  # the hull is the union
    apart = torch.tensor([20.0, 0, 30, 10])
    assert float(iou(first, apart)) == 0
    assert float(giou(first, apart)) == pytest.approx(-100 / 300)


def test_pairs() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10]])
    assert pairwise_iou(boxes, boxes).tolist() == [
        [1.0, pytest.approx(1 / 3)],
        [pytest.approx(1 / 3), 1.0],
    ]


@pytest.mark.parametrize("seed", range(5))
def test_suppression_is_the_greedy_one(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    corner = torch.rand(60, 2, generator=draw) * 40
    boxes = torch.cat([corner, corner + 5 + torch.rand(60, 2, generator=draw) * 20], 1)
    assert non_maximum_suppression(boxes, 0.3).tolist() == greedy(boxes, 0.3)
    # Of a batch each row by itself.
    both = torch.stack([boxes, boxes.flip(0)])
    assert non_maximum_suppression(both, 0.3)[1].tolist() == greedy(boxes.flip(0), 0.3)


def test_a_chain_keeps_every_second_box() -> None:
    boxes = torch.tensor([[10.0 * i, 0, 10.0 * i + 20, 10] for i in range(6)])
    assert non_maximum_suppression(boxes, 0.3).tolist() == [True, False] * 3


def test_no_boxes() -> None:
    assert non_maximum_suppression(torch.zeros(0, 4), 0.5).shape == (0,)


def test_deltas_lead_from_a_box_to_its_target() -> None:
    boxes = torch.tensor([[10.0, 10, 30, 20], [0, 0, 8, 8]])
    targets = torch.tensor([[12.0, 9, 34, 21], [1, 1, 7, 10]])
    assert torch.allclose(apply_deltas(boxes, encode_deltas(boxes, targets)), targets, atol=1e-4)
    # A tenth of the width to the right, the width by e^0.2.
    moved = apply_deltas(torch.tensor([0.0, 0, 10, 10]), torch.tensor([1.0, 0, 1, 0]))
    assert moved.tolist() == pytest.approx([6 - 5 * 1.2214, 0, 6 + 5 * 1.2214, 10], abs=1e-3)


def test_boxes_in_better_ones_of_their_slot() -> None:
    boxes = torch.tensor(
        [
            [0.0, 0, 10, 10],
            [2, 2, 6, 6],  # in the first
            [2, 2, 6, 6.5],  # in the first, of another slot
            [-20, -20, 40, 40],  # holds the first
            [8, 0, 18, 10],  # a neighbour, of another slot than the box around both
            [16, 0, 26, 10],  # and its neighbour, of the same slot: they share a fifth
        ]
    )
    slots = torch.tensor([0, 0, 1, 0, 2, 2])
    assert nested_in_better(boxes, slots, 0.8).tolist() == [False, True, False, True, False, False]
    assert nested_in_better(boxes[:0], slots[:0], 0.8).tolist() == []


SIDE = 64
A, B = [10, 10, 20, 20], [40, 10, 50, 20]


def test_arrays_and_tensors_by_hand() -> None:
    boxes = np.array([A, B, [10, 10, 15, 20]], np.float32)
    points = np.array([[15, 15], [10, 15], [12, 15]], np.float32)
    for boxes_, points_ in ((boxes, points), (torch.from_numpy(boxes), torch.from_numpy(points))):
        assert contains(boxes_, 10, 20).tolist() == [True, False, True]
        assert contains(boxes_, 20.1, 15).tolist() == [False, False, False]
        assert iou(boxes_[0], boxes_).tolist() == [1, 0, 0.5]
        assert box_area(boxes_).tolist() == [100, 100, 50]
        assert intersection(boxes_[0], boxes_).tolist() == [100, 0, 50]
        assert centredness(boxes_[:1], points_).tolist() == [1, 0, pytest.approx(0.5)]
        # 2 of 3 pixels across, in the middle of the height.
        assert float(centredness(boxes_[2], points_[2])) == pytest.approx((2 / 3) ** 0.5)
    flat = np.array([[5, 5, 5, 9]], np.float32)
    assert centredness(flat, np.array([[5, 7]])).tolist() == [0]
    assert iou(flat, flat).tolist() == [0]


quarters = st.integers(0, 4 * SIDE).map(lambda n: n / 4)
boxes = st.tuples(quarters, quarters, quarters, quarters).map(
    lambda c: [min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3])]
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(boxes, max_size=12), st.lists(boxes, max_size=12))
def test_touching_boxes_are_those_of_the_obvious_comparison(
    first: list[list[float]], second: list[list[float]]
) -> None:
    wanted = {
        (i, j)
        for i, a in enumerate(first)
        for j, b in enumerate(second)
        if a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]
    }
    arrays = (np.array(some, np.float32).reshape(-1, 4) for some in (first, second))
    got = [
        pair
        for one, other in touching(*arrays)
        for pair in zip(one.tolist(), other.tolist(), strict=True)
    ]
    assert len(got) == len(set(got))
    assert set(got) == wanted


def test_many_boxes_touch_in_portions() -> None:
    at = 10 * np.arange(600.0)
    points, around = np.stack([at, at, at, at], 1), np.stack([at - 1, at - 1, at + 1, at + 1], 1)
    portions = list(touching(points, around))
    assert len(portions) > 1
    for side in (0, 1):
        assert np.concatenate([pair[side] for pair in portions]).tolist() == list(range(600))


def test_fusion_is_the_weighted_mean_of_the_surest_box_of_each_detector() -> None:
    one = torch.tensor([[0.0, 0, 10, 10], [40, 40, 50, 50]])
    # The second of them is the same object as the first, and less sure.
    other = torch.tensor([[1.0, 0, 11, 10], [0.0, 1, 10, 11]])
    boxes, scores = weighted_boxes_fusion(
        [one, other, torch.zeros(0, 4)],
        [torch.tensor([0.6, 0.8]), torch.tensor([0.3, 0.1]), torch.zeros(0)],
        0.5,
    )
    assert scores.tolist() == pytest.approx([0.9 / 3, 0.8 / 3])
    assert boxes.tolist()[0] == pytest.approx([1 / 3, 0, 31 / 3, 10], abs=1e-5)
    assert boxes.tolist()[1] == [40, 40, 50, 50]


def test_detectors_that_look_for_some_objects_only_add() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [40, 40, 50, 50]])
    some = boxes[1:]
    _, scores = weighted_boxes_fusion(
        [boxes, boxes, some, some],
        [torch.tensor([0.6, 0.8]), torch.tensor([0.2, 0.4]), *[torch.tensor([0.9])] * 2],
        0.5,
        voters=2,
    )
    assert scores.tolist() == pytest.approx([1, 0.4])


def test_fusion_of_one_detector_is_suppression() -> None:
    draw = torch.Generator().manual_seed(0)
    corner = torch.rand(60, 2, generator=draw) * 60
    boxes = torch.cat([corner, corner + 5 + torch.rand(60, 2, generator=draw) * 20], 1)
    scores = torch.rand(60, generator=draw).sort(descending=True).values
    kept = non_maximum_suppression(boxes, 0.5)
    found, found_scores = weighted_boxes_fusion([boxes], [scores], 0.5)
    assert torch.allclose(found, boxes[kept], atol=1e-4)
    assert torch.equal(found_scores, scores[kept])


def test_suppression_in_rounds_says_whether_they_were_enough() -> None:
    """Of a row of boxes each overlaps the next: every round settles one more."""
    left = torch.arange(7.0) * 4
    boxes = torch.stack([left, torch.zeros(7), left + 10, torch.full((7,), 10.0)], 1)
    wanted = non_maximum_suppression(boxes, 0.3)
    assert wanted.tolist() == [True, False] * 3 + [True]
    enough = []
    for rounds in range(1, 10):
        kept, settled = suppression_in_rounds(boxes, 0.3, rounds)
        enough.append(bool(settled))
        if settled:
            assert torch.equal(kept, wanted)
    assert enough == [False] * 6 + [True] * 3

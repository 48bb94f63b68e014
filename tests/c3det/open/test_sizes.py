"""A slot's boxes get the sizes that people gave, from pairs of a model's and a person's box."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from c3det.open.sizes import LEAST_PAIRS, SHIFT_RIDGE, SLOPE_RIDGE, SizeCorrection

BOXES = torch.tensor([[10.0, 20, 30, 60], [0, 0, 8, 4.1], [7, 7, 7.3, 9]])


def fitted(model: NDArray[np.float64], person: NDArray[np.float64]) -> SizeCorrection:
    """Of one slot, from widths and heights ``(n, 2)``."""
    ratios = torch.tensor(model / person, dtype=torch.float32)
    members = torch.ones(1, len(model), dtype=torch.bool)
    return SizeCorrection.fit(ratios, torch.tensor(person, dtype=torch.float32), members)


def twin(model: NDArray[np.float64], person: NDArray[np.float64], side: float) -> float:
    """A corrected width: slope and shift by the normal equations of the ridge regression."""
    x, y = np.log(model[:, 0]), np.log(person[:, 0] / model[:, 0])
    # The mean of the x lies at 0, so that slope and shift do not depend on each other.
    inputs = np.stack([x - x.mean(), np.ones(len(x))], 1)
    ridge = np.diag([SLOPE_RIDGE, SHIFT_RIDGE])
    slope, shift = np.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ y)
    return side * math.exp(shift + slope * (math.log(side) - x.mean()))


def test_a_constant_factor_by_hand() -> None:
    """Six pairs, each twice as large: two pairs of no change beside them leave 2 ** (6 / 8)."""
    model = np.full((6, 2), 20.0)
    (box,) = fitted(model, 2 * model)(BOXES[:1], torch.tensor([0])).tolist()
    factor = 2 ** (6 / 8)
    wanted = [20 - 10 * factor, 40 - 20 * factor, 20 + 10 * factor, 40 + 20 * factor]
    assert box == pytest.approx(wanted)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(LEAST_PAIRS, 30))
def test_equals_its_twin(seed: int, count: int) -> None:
    draw = np.random.default_rng(seed)
    model = draw.uniform(3, 90, (count, 2))
    person = model * draw.uniform(0.5, 2, (count, 2))
    got = fitted(model, person)(BOXES[:1], torch.tensor([0]))[0]
    assert float(got[2] - got[0]) == pytest.approx(twin(model, person, 20), rel=1e-4)
    swapped = twin(model[:, ::-1], person[:, ::-1], 40)
    assert float(got[3] - got[1]) == pytest.approx(swapped, rel=1e-4)
    assert ((got[:2] + got[2:]) / 2).tolist() == pytest.approx([20, 40])


def test_slots_without_enough_pairs_keep_their_boxes_to_the_bit() -> None:
    """Slot 0 has pairs, slot 1 one too few, slot 2 members whose proposal is unknown."""
    count = LEAST_PAIRS
    sizes = torch.full((3 * count - 1, 2), 30.0)
    ratios = torch.cat([torch.full((2 * count - 1, 2), 0.5), torch.zeros(count, 2)])
    members = torch.zeros(3, len(sizes), dtype=torch.bool)
    members[0, :count], members[1, count : 2 * count - 1] = True, True
    members[2, 2 * count - 1 :] = True
    corrected = SizeCorrection.fit(ratios, sizes, members)
    for slot in (1, 2):
        assert torch.equal(corrected(BOXES, torch.full((3,), slot)), BOXES)
    first = corrected(BOXES, torch.tensor([0, 1, 2]))
    assert torch.equal(first[1:], BOXES[1:])
    assert float(first[0, 2] - first[0, 0]) == pytest.approx(20 * 2 ** (count / (count + 2)))


def test_no_members_change_nothing() -> None:
    empty = torch.zeros(0, 2)
    corrected = SizeCorrection.fit(empty, empty, torch.zeros(2, 0, dtype=torch.bool))
    assert torch.equal(corrected(BOXES, torch.tensor([0, 1, 0])), BOXES)

"""Clicks drawn as Gaussians."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch

from c3det.clicks import Click
from c3det.closed.heatmaps import click_heatmaps, gaussian
from tests.c3det import twins


def random_clicks(number: int, num_classes: int, height: int, width: int) -> list[Click]:
    draw = random.Random(number)
    return [
        Click(draw.uniform(0, width), draw.uniform(0, height), draw.randrange(num_classes))
        for _ in range(number)
    ]


@pytest.mark.parametrize(("sigma", "peak"), [(1.0, 0.7788), (3.0, 0.9726)])
def test_peak_of_a_click_at_whole_numbers(sigma: float, peak: float) -> None:
    (maps,) = click_heatmaps([[Click(5, 3, 0)]], 1, (8, 12), sigma=sigma)
    assert maps.max().item() == pytest.approx(math.exp(-0.25 / sigma**2))
    assert maps.max().item() == pytest.approx(peak, abs=1e-4)
    assert (maps[0] == maps.max()).nonzero().tolist() == [[2, 4], [2, 5], [3, 4], [3, 5]]


def test_a_click_at_the_centre_of_a_pixel_peaks_at_1() -> None:
    (maps,) = click_heatmaps([[Click(5.5, 3.5, 0)]], 1, (8, 12), sigma=1)
    assert maps[0, 3, 5] == 1
    assert maps[0, 3, 7].item() == pytest.approx(math.exp(-2))
    assert maps[0, 5, 7].item() == pytest.approx(math.exp(-4))


@pytest.mark.parametrize(
    ("number", "num_classes", "size", "sigma"),
    [
        (1, 1, (9, 14), 1.0),
        (12, 3, (13, 17), 1.0),
        (40, 2, (8, 11), 3.0),
        (5, 4, (3, 2), 3.0),
        (7, 3, (10, 10), 0.5),
    ],
)
def test_equals_its_twin(
    number: int, num_classes: int, size: tuple[int, int], sigma: float
) -> None:
    clicks = [random_clicks(number, num_classes, *size), [], [Click(0, size[0], 0)]]
    maps = click_heatmaps(clicks, num_classes, size, sigma=sigma)
    wanted = twins.heatmaps(clicks, num_classes, size, sigma)
    torch.testing.assert_close(maps.double(), wanted, rtol=1e-6, atol=1e-7)


def test_far_from_the_origin_the_tail_is_exact() -> None:
    click = Click(2000.3, 0.5, 0)
    (maps,) = click_heatmaps([[click]], 1, (1, 2010), sigma=1, dtype=torch.float64)
    assert maps[0, 0, 2005].item() == pytest.approx(math.exp(-(5.2**2) / 2), rel=1e-9)


def test_clicks_of_a_class_merge_by_the_maximum_and_classes_stay_apart() -> None:
    left, right, other = Click(2, 3, 0), Click(7, 3, 0), Click(5, 5, 2)
    (both,) = click_heatmaps([[left, right, other]], 3, (9, 10), sigma=3)
    singles = [click_heatmaps([[c]], 3, (9, 10), sigma=3)[0] for c in (left, right, other)]
    assert torch.equal(both[0], torch.maximum(singles[0][0], singles[1][0]))
    assert torch.equal(both[2], singles[2][2])
    assert both[1].count_nonzero() == 0


def test_order_changes_nothing() -> None:
    clicks = random_clicks(70, 3, 20, 30)
    once = click_heatmaps([clicks], 3, (20, 30), sigma=2)
    assert torch.equal(once, click_heatmaps([clicks[::-1]], 3, (20, 30), sigma=2))


def test_padding_changes_nothing_and_is_0() -> None:
    clicks = [[Click(10, 4, 0)], [Click(4, 6, 1)], []]
    sizes = [(5, 11), (9, 6), (3, 3)]
    batch = click_heatmaps(clicks, 2, (12, 16), sigma=3, image_size=sizes)
    wanted = twins.heatmaps(clicks, 2, (12, 16), 3, sizes)
    torch.testing.assert_close(batch.double(), wanted, rtol=1e-6, atol=1e-7)
    for maps, of_picture, (height, width) in zip(batch, clicks, sizes, strict=True):
        alone = click_heatmaps([of_picture], 2, (height, width), sigma=3)[0]
        assert torch.equal(maps[:, :height, :width], alone)
        assert maps[:, height:].count_nonzero() == 0
        assert maps[:, :, width:].count_nonzero() == 0


def test_one_size_serves_a_whole_batch() -> None:
    clicks = [[Click(3, 3, 0)], [Click(1, 1, 0)]]
    one = click_heatmaps(clicks, 1, (8, 8), sigma=3, image_size=(5, 6))
    each = click_heatmaps(clicks, 1, (8, 8), sigma=3, image_size=[(5, 6), (5, 6)])
    assert torch.equal(one, each)
    assert one[:, :, 5:].count_nonzero() == 0


def test_a_flip_flips() -> None:
    clicks = random_clicks(9, 2, 10, 16)
    maps = click_heatmaps([clicks], 2, (10, 16), sigma=2)
    mirrored = [Click(16 - c.x, c.y, c.label) for c in clicks]
    flipped = click_heatmaps([mirrored], 2, (10, 16), sigma=2)
    torch.testing.assert_close(flipped, maps.flip(-1))
    upside_down = [Click(c.x, 10 - c.y, c.label) for c in clicks]
    flipped = click_heatmaps([upside_down], 2, (10, 16), sigma=2)
    torch.testing.assert_close(flipped, maps.flip(-2))


def test_no_clicks_give_zeros() -> None:
    assert click_heatmaps([[], []], 3, (4, 5), sigma=1).tolist() == torch.zeros(2, 3, 4, 5).tolist()
    assert click_heatmaps([], 3, (4, 5), sigma=1).shape == (0, 3, 4, 5)


def test_a_thousand_clicks() -> None:
    clicks = random_clicks(1000, 1, 24, 24)
    (maps,) = click_heatmaps([clicks], 1, (24, 24), sigma=1)
    singles = torch.stack([click_heatmaps([[c]], 1, (24, 24), sigma=1)[0] for c in clicks])
    assert torch.equal(maps, singles.amax(0))


def test_two_hundred_classes() -> None:
    clicks = [Click(label % 20 + 0.5, label // 20 + 0.5, label) for label in range(200)]
    (maps,) = click_heatmaps([clicks], 200, (10, 20), sigma=0.5)
    assert torch.equal(maps.flatten(1).argmax(1), torch.arange(200))
    assert maps.amax((1, 2)).tolist() == [1.0] * 200


def test_negative_clicks_are_not_drawn() -> None:
    positive, negative = Click(3, 3, 0), Click(5, 5, 0, positive=False)
    both = click_heatmaps([[positive, negative]], 1, (8, 8), sigma=1)
    assert torch.equal(both, click_heatmaps([[positive]], 1, (8, 8), sigma=1))


def test_type_of_the_maps() -> None:
    clicks = [[Click(3.5, 3.5, 0)]]
    assert click_heatmaps(clicks, 1, (8, 8), sigma=1).dtype == torch.float32
    half = click_heatmaps(clicks, 1, (8, 8), sigma=1, dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert half.max() == 1


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan])
def test_sigma_must_be_above_0(sigma: float) -> None:
    with pytest.raises(ValueError, match="sigma must be above 0"):
        gaussian(np.zeros(1), np.zeros(1), sigma)
    with pytest.raises(ValueError, match="sigma must be above 0"):
        click_heatmaps([[Click(0, 0, 0)]], 1, (2, 2), sigma=sigma)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="click 0 has label 2, but there are 2 classes"):
        click_heatmaps([[Click(0, 0, 2)]], 2, (4, 4), sigma=1)
    with pytest.raises(ValueError, match="1 picture sizes for a batch of 2"):
        click_heatmaps([[], []], 2, (4, 4), sigma=1, image_size=[(4, 4)])

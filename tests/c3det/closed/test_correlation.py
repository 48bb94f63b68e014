"""C3 against its slow twin, and what can be checked by hand."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from c3det.clicks import Click
from c3det.closed.correlation import Sampling, class_correlations, click_templates
from c3det.closed.heatmaps import click_xy
from tests.c3det import twins

SAMPLINGS: tuple[Sampling, ...] = ("gaussian-nearest", "bilinear")
STRIDES = (4, 8, 16, 32, 64)


def levels_of(
    size: tuple[int, int],
    channels: int,
    batch: int = 1,
    strides: Sequence[int] = STRIDES,
    dtype: torch.dtype = torch.float32,
) -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [
        torch.randn(batch, channels, size[0] // s, size[1] // s, generator=draw, dtype=dtype)
        for s in strides
    ]


def random_clicks(number: int, num_classes: int, size: tuple[int, int]) -> list[Click]:
    draw = random.Random(number)
    height, width = size
    return [
        Click(draw.uniform(0, width), draw.uniform(0, height), draw.randrange(num_classes))
        for _ in range(number)
    ]


def border_clicks(size: tuple[int, int]) -> list[Click]:
    height, width = size
    return [
        Click(0, 0, 0),
        Click(width, height, 0),
        Click(width - 0.5, 0.25, 1),
        Click(0, height / 2, 1),
        Click(width / 2 + 0.3, height / 2 - 0.7, 2),
        Click(64, 128, 2),
        Click(67, 131, 3),
    ]


def relative_difference(got: Tensor, wanted: Tensor) -> float:
    """Of a level, against the largest value that its twin has in it."""
    return ((got - wanted).abs().max() / wanted.abs().max()).item()


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize(
    ("size", "channels"), [((256, 256), 32), ((192, 320), 48), ((1024, 1024), 4)]
)
def test_equals_its_twin_on_five_levels(
    sampling: Sampling, size: tuple[int, int], channels: int
) -> None:
    features = levels_of(size, channels)
    clicks = border_clicks(size)
    got = class_correlations(features, [clicks], 5, size, sampling)
    wanted = twins.class_correlations(features, [clicks], 5, [size], size, sampling)
    assert len(got) == len(wanted) == 5
    for ours, slow in zip(got, wanted, strict=True):
        assert slow[0, :4].abs().amax((1, 2)).min() > 0
        assert relative_difference(ours, slow) < 1e-5
        assert ours[0, 4].count_nonzero() == 0


def test_equals_its_twin_cell_by_cell() -> None:
    """In double precision no cell is left out, however small its value."""
    size = (256, 256)
    features = [level.abs() for level in levels_of(size, 8, dtype=torch.float64)]
    clicks = border_clicks(size) + random_clicks(5, 4, size)
    got = class_correlations(features, [clicks], 4, size, "gaussian-nearest")
    wanted = twins.class_correlations(features, [clicks], 4, [size], size, "gaussian-nearest")
    for ours, slow in zip(got, wanted, strict=True):
        torch.testing.assert_close(ours, slow, rtol=1e-9, atol=0)


@pytest.mark.parametrize("size", [(250, 301), (97, 130)])
def test_equals_its_twin_where_cells_are_no_whole_number_of_pixels(size: tuple[int, int]) -> None:
    features = levels_of(size, 8, strides=(4, 8, 16, 32))
    clicks = random_clicks(6, 3, size)
    got = class_correlations(features, [clicks], 3, size, "gaussian-nearest")
    wanted = twins.class_correlations(features, [clicks], 3, [size], size, "gaussian-nearest")
    for ours, slow in zip(got, wanted, strict=True):
        assert relative_difference(ours, slow) < 1e-5


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_padded_batch_equals_its_twin(sampling: Sampling) -> None:
    input_size, sizes = (128, 192), [(97, 130), (128, 31), (60, 192)]
    features = levels_of(input_size, 8, batch=3, strides=(4, 16))
    clicks = [random_clicks(4, 2, size) for size in sizes]
    got = class_correlations(features, clicks, 2, sizes, sampling, input_size=input_size)
    wanted = twins.class_correlations(features, clicks, 2, sizes, input_size, sampling)
    for ours, slow in zip(got, wanted, strict=True):
        assert relative_difference(ours, slow) < 1e-5


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_constant_feature_map(sampling: Sampling) -> None:
    v = torch.tensor([1.0, -2.0, 3.0])
    feature = v[:, None, None].expand(3, 16, 16)
    xy = click_xy([Click(21.7, 40, 0), Click(64, 0, 0)])
    templates = click_templates(
        feature, xy, sampling, covered_size=(64, 64), image_size=(64, 64), sigma=3
    )
    torch.testing.assert_close(templates, v.expand(2, 3), rtol=1e-5, atol=0)
    (level,) = class_correlations([feature[None]], [[Click(21.7, 40, 1)]], 2, (64, 64), sampling)
    torch.testing.assert_close(level[0, 1], torch.full((16, 16), 14.0), rtol=1e-5, atol=0)
    assert level[0, 0].count_nonzero() == 0


def test_bilinear_template_by_hand() -> None:
    feature = torch.tensor([[[0.0, 4.0], [8.0, 12.0]]])
    points = [(4, 4), (12, 4), (8, 4), (8, 8), (6, 4), (0, 0), (16, 16)]
    xy = np.array(points, np.float64)
    templates = click_templates(feature, xy, "bilinear", covered_size=(16, 16), image_size=(16, 16))
    assert templates[:, 0].tolist() == [0, 4, 2, 6, 1, 0, 12]


def test_gaussian_nearest_template_by_hand() -> None:
    """At stride 4 the pixels 0, 4, 8, ... are read; a click on the centre of pixel 8 sees it most.

    Its neighbours 4 and 12 are 4 px away: weights exp(-16/18) = 0.4111 against 1.
    """
    feature = torch.zeros(1, 4, 4)
    feature[0, 2, 2] = 1.0
    xy = np.array([[8.5, 8.5]])
    template = click_templates(
        feature, xy, "gaussian-nearest", covered_size=(16, 16), image_size=(16, 16)
    )
    along = 1 + 2 * 0.4111123 + 0.0285655
    assert template.item() == pytest.approx(1 / along**2, rel=1e-5)


@pytest.mark.parametrize(("stride", "vanish"), [(32, 0.11), (64, 0.76)])
def test_share_of_templates_that_nearest_resizing_loses(stride: int, vanish: float) -> None:
    """The known fault of the reference, which the parity mode must have and bilinear must not."""
    feature = torch.ones(1, 1024 // stride, 1024 // stride)
    xy = np.random.default_rng(0).uniform(0, 1024, (4000, 2))
    covered = dict(covered_size=(1024, 1024), image_size=(1024, 1024))
    nearest = click_templates(feature, xy, "gaussian-nearest", **covered)
    assert (nearest < 0.5).double().mean().item() == pytest.approx(vanish, abs=0.03)
    bilinear = click_templates(feature, xy, "bilinear", **covered)
    torch.testing.assert_close(bilinear, torch.ones_like(bilinear))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_two_clicks_of_a_class_are_the_maximum_and_two_classes_two_channels(
    sampling: Sampling,
) -> None:
    size = (64, 64)
    features = levels_of(size, 16, strides=(4, 8))
    a, b = (11.0, 50.0), (40.5, 7.25)
    one_class = class_correlations(features, [[Click(*a, 1), Click(*b, 1)]], 4, size, sampling)
    apart = class_correlations(features, [[Click(*a, 0), Click(*b, 2)]], 4, size, sampling)
    alone = [class_correlations(features, [[Click(*p, 1)]], 4, size, sampling) for p in (a, b)]
    for both, two, first, second in zip(one_class, apart, *alone, strict=True):
        torch.testing.assert_close(both[0, 1], torch.maximum(first[0, 1], second[0, 1]))
        torch.testing.assert_close(two[0, 0], first[0, 1])
        torch.testing.assert_close(two[0, 2], second[0, 1])
        assert both[0, [0, 2, 3]].count_nonzero() == 0
        assert two[0, [1, 3]].count_nonzero() == 0


def test_maximum_of_negative_correlations_stays_negative() -> None:
    feature = torch.zeros(1, 1, 1, 3)
    feature[0, 0, 0] = torch.tensor([1.0, -1.0, -2.0])
    (level,) = class_correlations([feature], [[Click(2, 2, 0)]], 1, (4, 12), "bilinear")
    assert level[0, 0, 0].tolist() == [1, -1, -2]


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_order_and_negative_clicks_change_nothing(sampling: Sampling) -> None:
    size = (64, 96)
    features = levels_of(size, 8, strides=(4, 16))
    clicks = random_clicks(9, 2, size)
    wanted = class_correlations(features, [clicks], 2, size, sampling)
    mixed = [Click(5, 5, 0, positive=False), *clicks[::-1], Click(9, 9, 1, positive=False)]
    got = class_correlations(features, [mixed], 2, size, sampling)
    for ours, plain in zip(got, wanted, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_padding_changes_nothing(sampling: Sampling) -> None:
    size = (64, 96)
    features = levels_of(size, 8, strides=(4, 16))
    clicks = [random_clicks(9, 2, size)]
    wanted = class_correlations(features, clicks, 2, size, sampling)
    padded = [
        torch.nn.functional.pad(f, (0, 128 // s, 0, 64 // s), value=9)
        for f, s in zip(features, (4, 16), strict=True)
    ]
    got = class_correlations(padded, clicks, 2, [size], sampling, input_size=(128, 224))
    for ours, plain in zip(got, wanted, strict=True):
        height, width = plain.shape[-2:]
        torch.testing.assert_close(ours[..., :height, :width], plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_correlation_peaks_under_each_click_of_seven_pictures(
    sampling: Sampling,
) -> None:
    sizes = [(33, 41), (100, 70), (65, 127), (50, 50), (127, 97), (90, 33), (47, 121)]
    assert all(side % 32 for size in sizes for side in size)
    input_size = (128, 128)
    features = levels_of(input_size, 64, batch=7, strides=(4, 8))
    clicks = [
        [Click(0.3 * w, 0.4 * h, 0), Click(0.8 * w, 0.9 * h, 1), Click(w - 3, 2.5, 2)]
        for h, w in sizes
    ]
    levels = class_correlations(
        features,
        clicks,
        3,
        sizes,
        sampling,
        scale="cosine",
        input_size=input_size,
    )
    for level, stride in zip(levels, (4, 8), strict=True):
        for of_picture, maps in zip(clicks, level, strict=True):
            for click in of_picture:
                row, column = divmod(maps[click.label].argmax().item(), maps.shape[-1])
                assert abs((column + 0.5) * stride - click.x) <= stride
                assert abs((row + 0.5) * stride - click.y) <= stride


def test_a_flip_flips() -> None:
    size = (64, 96)
    features = levels_of(size, 8, strides=(4, 16))
    clicks = random_clicks(7, 3, size)
    wanted = class_correlations(features, [clicks], 3, size, "bilinear")
    mirrored = [Click(size[1] - c.x, c.y, c.label) for c in clicks]
    got = class_correlations([f.flip(-1) for f in features], [mirrored], 3, size, "bilinear")
    for ours, plain in zip(got, wanted, strict=True):
        torch.testing.assert_close(ours.flip(-1), plain, rtol=1e-4, atol=1e-4)


def test_scale_by_channels_divides() -> None:
    size = (32, 32)
    features = levels_of(size, 16, strides=(4, 8))
    clicks = [random_clicks(4, 2, size)]
    raw = class_correlations(features, clicks, 2, size, "bilinear")
    scaled = class_correlations(features, clicks, 2, size, "bilinear", scale="channels")
    for plain, ours in zip(raw, scaled, strict=True):
        torch.testing.assert_close(ours, plain / 16)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_cosine_lies_within_1_and_forgets_lengths(sampling: Sampling) -> None:
    size = (32, 32)
    features = levels_of(size, 16, strides=(4, 8))
    clicks = [random_clicks(6, 2, size)]
    cosine = class_correlations(features, clicks, 2, size, sampling, scale="cosine")
    longer = class_correlations(
        [f * 7 for f in features], clicks, 2, size, sampling, scale="cosine"
    )
    for ours, other in zip(cosine, longer, strict=True):
        assert ours.abs().max() <= 1 + 1e-6
        torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-5)
    centre = [[Click(10, 14, 0)]]
    (level,) = class_correlations(features[:1], centre, 1, size, "bilinear", scale="cosine")
    assert level[0, 0, 3, 2].item() == pytest.approx(1, abs=1e-6)


def test_more_than_twenty_clicks_and_more_than_five_pictures() -> None:
    size = (64, 64)
    features = levels_of(size, 8, batch=6, strides=(8,))
    clicks = [random_clicks(number, 2, size) for number in (0, 1, 21, 64, 65, 150)]
    (got,) = class_correlations(features, clicks, 2, size, "bilinear")
    (wanted,) = twins.class_correlations(features, clicks, 2, [size] * 6, size, "bilinear")
    assert relative_difference(got, wanted) < 1e-5
    assert got[0].count_nonzero() == 0


@pytest.mark.parametrize("num_classes", [1, 200])
def test_number_of_classes(num_classes: int) -> None:
    features = levels_of((32, 32), 4, strides=(8,))
    clicks = [[Click(9, 9, num_classes - 1)]]
    (level,) = class_correlations(features, clicks, num_classes, (32, 32), "bilinear")
    assert level.shape == (1, num_classes, 4, 4)
    assert level.abs().amax((0, 2, 3)).nonzero()[:, 0].tolist() == [num_classes - 1]


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_gradients_flow_through_template_and_level(sampling: Sampling) -> None:
    feature = levels_of((16, 16), 2, strides=(4,), dtype=torch.float64)[0].requires_grad_()
    clicks = [[Click(5.2, 9, 0), Click(12, 3, 1)]]

    def correlate(level: Tensor) -> Tensor:
        return class_correlations([level], clicks, 2, (16, 16), sampling)[0]

    assert torch.autograd.gradcheck(correlate, (feature,))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_bfloat16_stays_close(sampling: Sampling) -> None:
    size = (512, 512)
    features = levels_of(size, 32, strides=(4, 8))
    clicks = [random_clicks(8, 3, size)]
    wanted = class_correlations(features, clicks, 3, size, sampling)
    halved = class_correlations([f.bfloat16() for f in features], clicks, 3, size, sampling)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = class_correlations(features, clicks, 3, size, sampling)
    for plain, half, auto in zip(wanted, halved, mixed, strict=True):
        assert half.dtype == torch.bfloat16
        assert relative_difference(half.float(), plain) < 0.02
        assert relative_difference(auto.float(), plain) < 0.02


def test_wrong_arguments_are_named() -> None:
    feature = torch.zeros(2, 1, 4, 4)
    with pytest.raises(ValueError, match=r"sampling must be one of .* not 'nearest'"):
        class_correlations([feature], [[], []], 1, (16, 16), "nearest")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"scale must be one of .* not 'sum'"):
        class_correlations(
            [feature],
            [[], []],
            1,
            (16, 16),
            "bilinear",
            scale="sum",  # type: ignore[arg-type]
        )
    with pytest.raises(ValueError, match="clicks of 1 pictures for features of 2"):
        class_correlations([feature], [[]], 1, (16, 16), "bilinear")
    with pytest.raises(ValueError, match="3 picture sizes for a batch of 2"):
        class_correlations([feature], [[], []], 1, [(16, 16)] * 3, "bilinear")
    with pytest.raises(ValueError, match="click 0 has label 1, but there are 1 classes"):
        class_correlations([feature], [[], [Click(1, 1, 1)]], 1, (16, 16), "bilinear")
    with pytest.raises(ValueError, match="sigma must be above 0"):
        class_correlations(
            [feature], [[Click(1, 1, 0)], []], 1, (16, 16), "gaussian-nearest", sigma=0
        )


@pytest.mark.parametrize("at_once", [1, 700, 1 << 20])
def test_many_clicks_are_compared_in_parts(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(0)
    clicks = [Click(draw.uniform(0, 64), draw.uniform(0, 64), i % 3) for i in range(100)]
    feature = torch.randn(1, 5, 16, 16, generator=torch.Generator().manual_seed(0))
    single = [
        class_correlations([feature], [[click]], 4, (64, 64), "bilinear")[0] for click in clicks
    ]
    monkeypatch.setattr("c3det.closed.correlation._PRODUCTS_AT_ONCE", at_once)
    (found,) = class_correlations([feature], [clicks], 4, (64, 64), "bilinear")
    for label in range(3):
        of_label = torch.stack([one[0, label] for one in single[label::3]])
        torch.testing.assert_close(found[0, label], of_label.amax(0))
    assert (found[0, 3] == 0).all()

"""How clicks enter the detector."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from c3det.clicks import Click
from c3det.closed.fusion import (
    ClickBatch,
    ClickBranch,
    ClickFusion,
    CorrelationSettings,
    widen_first_convolution,
)
from c3det.closed.heatmaps import click_heatmaps

CLICKS = ClickBatch([[Click(5, 5, 0), Click(20, 9, 2)], []], [(32, 24), (20, 32)], (32, 32))
NO_CLICKS = ClickBatch([[], []], CLICKS.image_sizes, CLICKS.input_size)


class Pyramid(nn.Module):
    """A backbone of strides 4 and 8; its neck is the identity."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, channels, 4, stride=4, bias=False)
        self.second = nn.Conv2d(channels, channels, 2, stride=2, bias=False)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        first = self.first(x)
        return first, self.second(first)


def levels() -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(2, 6, side, side, generator=draw) for side in (8, 4)]


def branch() -> ClickBranch:
    return ClickBranch(Pyramid(3, 5), nn.Identity(), 3, sigma=2.0)


def fusion(kind: str) -> ClickFusion:
    torch.manual_seed(0)
    return ClickFusion(
        6,
        3,
        branch() if "late" in kind else None,
        5 if "late" in kind else 0,
        CorrelationSettings() if "correlation" in kind else None,
    )


KINDS = ("late", "correlation", "late and correlation")


def test_click_batch_draws_at_full_size() -> None:
    maps = CLICKS.heatmaps(3, 2.0, torch.zeros(1, dtype=torch.bfloat16))
    assert maps.shape == (2, 3, 32, 32)
    assert maps.dtype == torch.bfloat16
    wanted = click_heatmaps(
        CLICKS.clicks, 3, (32, 32), sigma=2.0, image_size=CLICKS.image_sizes, dtype=torch.bfloat16
    )
    assert torch.equal(maps, wanted)
    assert maps[0, :, :, 24:].count_nonzero() == 0


def test_branch_gives_its_levels_from_the_heatmaps() -> None:
    late = branch()
    got = late(CLICKS, torch.zeros(1))
    maps = click_heatmaps(CLICKS.clicks, 3, (32, 32), sigma=2.0, image_size=CLICKS.image_sizes)
    assert [tuple(level.shape) for level in got] == [(2, 5, 8, 8), (2, 5, 4, 4)]
    for level, wanted in zip(got, late.backbone(maps), strict=True):
        assert torch.equal(level, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_starts_as_the_identity_on_the_picture(kind: str) -> None:
    joined = fusion(kind)(levels(), NO_CLICKS)
    assert len(joined) == 2
    for got, wanted in zip(joined, levels(), strict=True):
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_clicks_change_their_picture_only(kind: str) -> None:
    for got, wanted in zip(fusion(kind)(levels(), CLICKS), levels(), strict=True):
        assert got.shape == wanted.shape
        assert not torch.allclose(got[0], wanted[0])
        torch.testing.assert_close(got[1], wanted[1])


def test_join_is_one_convolution_over_picture_correlation_and_branch() -> None:
    """Weights of one channel of each part, so that the result can be named."""
    joining = fusion("late and correlation")
    assert joining.join.weight.shape == (6, 6 + 3 + 5, 1, 1)
    with torch.no_grad():
        joining.join.weight.zero_()
        joining.join.weight[0, 2] = 1  # channel 2 of the picture
        joining.join.weight[1, 6 + 1] = 1  # the correlation of class 1, which has no clicks
        joining.join.weight[2, 6 + 2] = 1  # of class 2
        joining.join.weight[3, 6 + 3 + 4] = 1  # channel 4 of the branch
    late = joining.branch(CLICKS, levels()[0])
    for got, picture, from_branch in zip(joining(levels(), CLICKS), levels(), late, strict=True):
        torch.testing.assert_close(got[:, 0], picture[:, 2])
        assert got[:, 1].count_nonzero() == 0
        assert got[0, 2].count_nonzero() > 0
        assert got[1, 2].count_nonzero() == 0
        torch.testing.assert_close(got[:, 3], from_branch[:, 4])


def test_gradients_reach_every_part() -> None:
    joining = fusion("late and correlation")
    inputs = [level.requires_grad_() for level in levels()]
    sum(level.square().sum() for level in joining(inputs, CLICKS)).backward()
    for parameter in joining.parameters():
        assert parameter.grad.abs().sum() > 0
    assert joining.join.weight.grad.abs().sum((0, 2, 3)).count_nonzero() == 6 + 2 + 5
    for level in inputs:
        assert level.grad.abs().sum() > 0


def test_autocast_runs() -> None:
    joining = fusion("late and correlation")
    with torch.autocast("cpu", torch.bfloat16):
        mixed = joining(levels(), CLICKS)
    for got, wanted in zip(mixed, joining(levels(), CLICKS), strict=True):
        torch.testing.assert_close(got.float(), wanted, rtol=0.05, atol=0.1)


def test_nothing_to_join_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a late-fusion branch, a correlation, or both"):
        ClickFusion(6, 3)


def test_widened_convolution_starts_blind_to_the_new_channels() -> None:
    plain = Pyramid(3, 4)
    picture, maps = torch.randn(1, 3, 8, 8), torch.rand(1, 2, 8, 8)
    wanted = plain(picture)
    widen_first_convolution(plain, 2)
    assert plain.first.in_channels == 5
    for got, before in zip(plain(torch.cat([picture, maps], 1)), wanted, strict=True):
        torch.testing.assert_close(got, before)
    plain(torch.cat([picture, maps], 1))[1].sum().backward()
    assert plain.first.weight.grad[:, 3:].abs().sum() > 0


def test_widened_convolution_loads_weights_of_either_width() -> None:
    old = Pyramid(3, 4)
    widened = Pyramid(3, 4)
    widen_first_convolution(widened, 2)
    with torch.no_grad():
        widened.first.weight.fill_(7)
    saved = old.state_dict()
    widened.load_state_dict(saved)
    assert torch.equal(widened.first.weight[:, :3], old.first.weight)
    assert widened.first.weight[:, 3:].count_nonzero() == 0
    assert saved["first.weight"].shape[1] == 3

    with torch.no_grad():
        widened.first.weight[:, 3:] = 5
    again = Pyramid(3, 4)
    widen_first_convolution(again, 2)
    again.load_state_dict(widened.state_dict())
    assert torch.equal(again.first.weight, widened.first.weight)


def test_gain_multiplies_the_correlation() -> None:
    plain = ClickFusion(6, 3, correlation=CorrelationSettings(gain=1.0))
    louder = ClickFusion(6, 3, correlation=CorrelationSettings(gain=4.0))
    louder.load_state_dict(plain.state_dict())
    image_part = ClickFusion(6, 3, correlation=CorrelationSettings(gain=0.0))
    image_part.load_state_dict(plain.state_dict())
    for one, four, none in zip(
        plain(levels(), CLICKS), louder(levels(), CLICKS), image_part(levels(), CLICKS), strict=True
    ):
        torch.testing.assert_close(four - none, 4 * (one - none))


@pytest.mark.parametrize("stop_gradient", [False, True])
def test_the_correlation_pulls_at_the_features_unless_stopped(stop_gradient: bool) -> None:
    module = ClickFusion(6, 3, correlation=CorrelationSettings(stop_gradient=stop_gradient))
    with torch.no_grad():
        module.join.weight[:, :6] = 0  # only the way through the correlation is left
    pictures = [level.requires_grad_() for level in levels()]
    sum(level.sum() for level in module(pictures, CLICKS)).backward()
    assert all((level.grad.abs().sum() == 0) == stop_gradient for level in pictures)
    assert module.join.weight.grad[:, 6:].abs().sum() > 0


def test_the_projection_starts_as_the_identity_and_learns_where_the_features_may_not() -> None:
    settings = {"scale": "cosine", "stop_gradient": True}
    plain = ClickFusion(6, 3, correlation=CorrelationSettings(**settings))
    projected = ClickFusion(6, 3, correlation=CorrelationSettings(**settings, projection=True))
    projected.load_state_dict(plain.state_dict(), strict=False)
    pictures = [level.requires_grad_() for level in levels()]
    results = projected(pictures, CLICKS)
    for own, other in zip(results, plain(levels(), CLICKS), strict=True):
        torch.testing.assert_close(own, other)

    with torch.no_grad():
        projected.join.weight[:, :6] = 0
    sum((level**2).sum() for level in projected(pictures, CLICKS)).backward()
    assert all(level.grad.abs().sum() == 0 for level in pictures)
    assert projected.projection.weight.grad.abs().sum() > 0


def test_what_is_compared_is_the_projection() -> None:
    """A projection of 0 leaves nothing to correlate."""
    module = ClickFusion(6, 3, correlation=CorrelationSettings(projection=True))
    with torch.no_grad():
        module.projection.weight.zero_()
    for own, none in zip(module(levels(), CLICKS), module(levels(), NO_CLICKS), strict=True):
        assert torch.equal(own, none)

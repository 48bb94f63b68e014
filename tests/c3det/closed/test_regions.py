"""RoIAlign: our reader of regions against mmcv's operator, and by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from mmcv.ops import roi_align as mmcv_roi_align

from c3det.closed.regions import read_regions, roi_align


def random_boxes(count: int, side: float, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=draw) * side * 1.2 - side * 0.1
    return torch.cat([corners, corners + torch.rand(count, 2, generator=draw) ** 3 * side], 1)


@pytest.mark.parametrize("sampling_ratio", [0, 1, 2])
@pytest.mark.parametrize("channels_last", [False, True])
def test_is_what_mmcv_computes(sampling_ratio: int, channels_last: bool) -> None:
    torch.manual_seed(0)
    level = torch.randn(1, 5, 24, 33)
    if channels_last:
        level = level.contiguous(memory_format=torch.channels_last)
    boxes = torch.cat([random_boxes(200, 140, 1), torch.tensor([[8.0, 8, 8, 8], [9, 9, 20, 9]])])
    got = roi_align(level, boxes, stride=4, output=7, sampling_ratio=sampling_ratio)
    rois = torch.cat([torch.zeros(len(boxes), 1), boxes], 1)
    wanted = mmcv_roi_align(level.contiguous(), rois, 7, 1 / 4, sampling_ratio, "avg", True)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_by_hand() -> None:
    # Cell (row, column) of a ramp holds its column; the middles of the bins lie on 1 and 3.
    level = torch.arange(4.0).expand(1, 1, 4, 4).contiguous()
    boxes = torch.tensor([[4.0, 0, 20, 16]]) - torch.tensor([2.0, 0, 2, 0])
    got = roi_align(level, boxes, stride=4, output=2, sampling_ratio=1)
    assert got[0, 0].tolist() == [[1, 3], [1, 3]]


def test_no_boxes() -> None:
    got = roi_align(torch.ones(1, 3, 4, 4), torch.zeros(0, 4), stride=4, output=7, sampling_ratio=0)
    assert got.shape == (0, 3, 7, 7)


STRIDES = (4, 8, 16)


def on_cpu(levels: list[torch.Tensor], rois: torch.Tensor, of_level: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return read_regions(levels, rois, of_level, strides=STRIDES, output=7, sampling_ratio=2)


def in_training(
    levels: list[torch.Tensor], rois: torch.Tensor, of_level: torch.Tensor
) -> torch.Tensor:
    levels = [level.detach().requires_grad_() for level in levels]
    found = read_regions(levels, rois, of_level, strides=STRIDES, output=7, sampling_ratio=2)
    found.sum().backward()
    assert all(level.grad is not None and level.grad.any() for level in levels)
    return found.detach()


def on_gpu(levels: list[torch.Tensor], rois: torch.Tensor, of_level: torch.Tensor) -> torch.Tensor:
    """The same calls as on a GPU, where one is there on it."""
    there = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("c3det.closed.regions._on_cpu", lambda level: False)
        return read_regions(
            [level.to(there) for level in levels],
            rois.to(there),
            of_level.to(there),
            strides=STRIDES,
            output=7,
            sampling_ratio=2,
        ).cpu()


WAYS = [on_cpu, in_training, on_gpu]


def two_pictures(side: int) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """Levels of two pictures, and 90 regions in their last 200 pixels."""
    draw = torch.Generator().manual_seed(0)
    levels = [torch.randn(2, 6, side // s, side // s, generator=draw) for s in STRIDES]
    boxes = random_boxes(90, 200, 2) + side - 200
    of_picture = torch.arange(90) % 2
    rois = torch.cat([of_picture[:, None].float(), boxes], 1)
    return levels, rois, torch.arange(90) % 3


def wanted_of(
    levels: list[torch.Tensor], rois: torch.Tensor, of_level: torch.Tensor
) -> torch.Tensor:
    """mmcv's operator in float32 on contiguous levels, region by region."""
    rows = [
        mmcv_roi_align(
            levels[number].contiguous(), roi[None], 7, 1 / STRIDES[number], 2, "avg", True
        )
        for roi, number in zip(rois, of_level.tolist(), strict=True)
    ]
    return torch.cat(rows)


def relative(got: torch.Tensor, wanted: torch.Tensor) -> float:
    return ((got - wanted).norm() / wanted.norm()).item()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "channels_last"]
)
def test_levels_of_any_memory_format(
    way: Callable[..., torch.Tensor], memory_format: torch.memory_format
) -> None:
    levels, rois, of_level = two_pictures(256)
    wanted = wanted_of(levels, rois, of_level)
    levels = [level.contiguous(memory_format=memory_format) for level in levels]
    assert relative(way(levels, rois, of_level), wanted) < 1e-5


def test_mmcv_itself_reads_channels_last_as_if_it_were_contiguous() -> None:
    """The fault that our reader is there for; where mmcv has mended it, this fails."""
    levels, rois, _ = two_pictures(256)
    right, wrong = (
        mmcv_roi_align(level, rois, 7, 1 / 4, 2, "avg", True)
        for level in (levels[0], levels[0].contiguous(memory_format=torch.channels_last))
    )
    assert relative(wrong, right) > 0.5


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 1e-3), (torch.bfloat16, 5e-3)])
def test_coordinates_stay_in_float32_where_levels_are_in_half_precision(
    way: Callable[..., torch.Tensor], dtype: torch.dtype, tolerance: float
) -> None:
    """From 800 to 1000 px, where float16 has steps of half a pixel, and bfloat16 of four."""
    levels, rois, of_level = two_pictures(1008)
    wanted = wanted_of(levels, rois, of_level)
    halved = [level.to(dtype) for level in levels]
    got = way(halved, rois, of_level)
    assert got.dtype == torch.float32
    assert relative(got, wanted) < tolerance
    rounded = wanted_of(levels, rois.to(dtype).float(), of_level)
    assert relative(rounded, wanted) > 0.05, "rounded coordinates would show"


@pytest.mark.parametrize("way", [on_cpu, on_gpu])
def test_no_regions(way: Callable[..., torch.Tensor]) -> None:
    levels, _, _ = two_pictures(64)
    none = torch.zeros(0, dtype=torch.long)
    assert way(levels, torch.zeros(0, 5), none).shape == (0, 6, 7, 7)

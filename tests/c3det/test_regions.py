"""RoIAlign by rows of a table, against mmcv's operator and by hand."""

from __future__ import annotations

import pytest
import torch
from mmcv.ops import roi_align as mmcv_roi_align

from c3det.regions import roi_align


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

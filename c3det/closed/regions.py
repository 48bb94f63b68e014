"""RoIAlign (Mask R-CNN, arXiv 1703.06870): the one place in which regions of levels are read.

mmcv's operator takes the memory of a level for a contiguous ``(B, C, h, w)`` whatever its strides,
and computes coordinates in the type of the level, which in half precision is off by pixels. Nobody
else calls it: here it gets contiguous levels and everything in float32.

On a CPU it reads regions and samples one by one on one core. Without a gradient, `roi_align` takes
its place there: each bin is a weighted sum of rows of a table of cells, which torch computes on
all cores.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.ops import roi_align as mmcv_roi_align
from torch import Tensor

_NOWHERE = -1e5
"""A coordinate in pixels so far outside every picture that no sample there reads a cell."""


def read_regions(
    levels: Sequence[Tensor],
    rois: Tensor,
    of_level: Tensor,
    *,
    strides: Sequence[float],
    output: int,
    sampling_ratio: int,
) -> Tensor:
    """Read each region from its level, see `roi_align`: ``(n, C, output, output)`` float32.

    Args:
        levels: ``(B, C, h, w)`` each, of any type and memory format.
        rois: ``(n, 5)``: index of the picture, xyxy in pixels.
        of_level: ``(n,)`` int64, index of the level that a region is read from.
        strides: Pixels a cell, for each level.
        output: Bins along each side.
        sampling_ratio: Samples along each side of a bin; 0: as many as it covers cells.
    """
    levels = [level.float() for level in levels]
    rois = rois.float()
    if len(rois) == 0:  # which the operator does not take; in training, all levels stay in play
        empty = levels[0].new_zeros(0, levels[0].shape[1], output, output)
        return empty + torch.stack([level.sum() for level in levels]).sum() * 0
    if _on_cpu(levels[0]):
        return _read_on_cpu(levels, rois, of_level, strides, output, sampling_ratio)
    # Without a choice of the regions of a level, whose number the CPU would have to wait for.
    nowhere = rois.new_full((4,), _NOWHERE)
    total = None
    for number, (level, stride) in enumerate(zip(levels, strides, strict=True)):
        boxes = torch.where((of_level == number)[:, None], rois[:, 1:], nowhere)
        placed = torch.cat([rois[:, :1], boxes], 1)
        found = _operator(level, placed, stride, output, sampling_ratio)
        total = found if total is None else total + found
    assert total is not None
    return total


def _on_cpu(level: Tensor) -> bool:
    return level.device.type == "cpu"


def _operator(
    level: Tensor, rois: Tensor, stride: float, output: int, sampling_ratio: int
) -> Tensor:
    return mmcv_roi_align(level.contiguous(), rois, output, 1 / stride, sampling_ratio, "avg", True)


def _read_on_cpu(
    levels: Sequence[Tensor],
    rois: Tensor,
    of_level: Tensor,
    strides: Sequence[float],
    output: int,
    sampling_ratio: int,
) -> Tensor:
    learns = torch.is_grad_enabled() and any(level.requires_grad for level in levels)
    result = levels[0].new_zeros(len(rois), levels[0].shape[1], output, output)
    for number, (level, stride) in enumerate(zip(levels, strides, strict=True)):
        if learns:
            chosen = (of_level == number).nonzero()[:, 0]
            found = _operator(level, rois[chosen], stride, output, sampling_ratio)
            result = result.index_copy(0, chosen, found)
            continue
        for index in range(len(level)):
            chosen = ((of_level == number) & (rois[:, 0] == index)).nonzero()[:, 0]
            result[chosen] = roi_align(
                level[index : index + 1],
                rois[chosen, 1:],
                stride=stride,
                output=output,
                sampling_ratio=sampling_ratio,
            )
    return result


def roi_align(
    level: Tensor, boxes: Tensor, *, stride: float, output: int, sampling_ratio: int
) -> Tensor:
    """As ``mmcv.ops.roi_align`` with ``aligned=True`` and the mean of the samples.

    Args:
        level: ``(1, C, h, w)`` in any memory format.
        boxes: ``(n, 4)`` xyxy in pixels.
        stride: Pixels a cell.
        output: Bins along each side.
        sampling_ratio: See `read_regions`; it is rounded up.

    Returns:
        ``(n, C, output, output)``.
    """
    _, channels, height, width = level.shape
    table = level[0].permute(1, 2, 0).reshape(height * width, channels)
    first = boxes[:, :2] / stride - 0.5
    sides = (boxes[:, 2:] - boxes[:, :2]) / stride
    if sampling_ratio > 0:
        grids = torch.full_like(sides, sampling_ratio, dtype=torch.long)
    else:
        grids = (sides / output).ceil().long()
    result = level.new_zeros(len(boxes), channels, output, output)
    for grid in grids.unique(dim=0):
        chosen = (grids == grid).all(1).nonzero()[:, 0]
        if not int(grid.min()):  # a box without area
            continue
        cells, weights = zip(
            *(
                _along(first[chosen, axis], sides[chosen, axis], side, output, int(grid[axis]))
                for axis, side in ((0, width), (1, height))
            ),
            strict=True,
        )
        rows = cells[1][:, :, None, :, None] * width + cells[0][:, None, :, None, :]
        shares = weights[1][:, :, None, :, None] * weights[0][:, None, :, None, :]
        bags = len(chosen) * output**2
        pooled = F.embedding_bag(
            rows.reshape(bags, -1), table, mode="sum", per_sample_weights=shares.reshape(bags, -1)
        )
        result[chosen] = pooled.view(-1, output, output, channels).permute(0, 3, 1, 2)
    return result


def _along(
    first: Tensor, side: Tensor, cells: int, bins: int, samples: int
) -> tuple[Tensor, Tensor]:
    """Along one axis, the cells that each bin reads and their shares, ``(n, bins, reads)``."""
    steps = (torch.arange(bins * samples, device=side.device) + 0.5) / samples
    at = first[:, None] + side[:, None] / bins * steps
    inside = (at >= -1) & (at <= cells)
    at = at.clamp(0, cells - 1)
    low = at.floor()
    share = at - low
    both = torch.stack([low, (low + 1).clamp(max=cells - 1)], -1).long()
    weights = torch.stack([1 - share, share], -1) * inside[..., None] / samples
    shape = (len(first), bins, 2 * samples)
    return both.view(shape), weights.view(shape)

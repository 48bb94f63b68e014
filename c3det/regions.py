"""RoIAlign (Mask R-CNN, arXiv 1703.06870) on a CPU, many regions at once.

mmcv's operator goes over regions and samples one by one on one core. Here each bin is a weighted
sum of rows of a table of cells, which torch computes on all cores.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def roi_align(
    level: Tensor, boxes: Tensor, *, stride: float, output: int, sampling_ratio: int
) -> Tensor:
    """As ``mmcv.ops.roi_align`` with ``aligned=True`` and the mean of the samples.

    Args:
        level: ``(1, C, h, w)``; fastest in the memory format ``channels_last``.
        boxes: ``(n, 4)`` xyxy in pixels.
        stride: Pixels a cell.
        output: Bins along each side.
        sampling_ratio: Samples along each side of a bin; 0: as many as it covers cells, rounded up.

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

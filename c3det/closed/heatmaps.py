"""Heatmaps of clicks: Gaussians, computed only where they are not negligible.

A Gaussian of two dimensions is the product of two of one dimension, so a click costs ``h + w``
exponentials on a patch of ``h x w`` cells. They are taken in double precision: at x = 2000 the step
of a float32 would move the tail of a narrow Gaussian by more than 1e-4 of its value. And they are
taken on the CPU, for all clicks at once: on a GPU the calls would cost more than the work.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from c3det.clicks import Click, Size, check_labels
from c3det.devices import moved

Doubles = NDArray[np.float64]
Cells = NDArray[np.int64]

REACH = 7.0
"""Standard deviations beyond which a Gaussian counts as 0; it is 2e-11 there."""

_CELLS_AT_ONCE = 1 << 22


def _check_sigma(sigma: float) -> None:
    if not sigma > 0:
        raise ValueError(f"sigma must be above 0, it is {sigma}")


def gaussian(positions: Doubles, centres: Doubles, sigma: float) -> Doubles:
    """Unnormalised 1-D Gaussians ``exp(-(p - c)^2 / (2 sigma^2))``, ``(n, m)``.

    Positions are ``(m,)`` or ``(n, m)``, centres ``(n,)``; these and ``sigma > 0`` are in pixels.
    """
    _check_sigma(sigma)
    return np.exp((positions - centres[:, None]) ** 2 * (-0.5 / sigma**2))


def support(centres: Doubles, cells: int, stride: float, sigma: float) -> Cells:
    """The cells ``(n, m)`` along one axis that Gaussians of these centres reach."""
    _check_sigma(sigma)
    count = min(math.ceil(2 * REACH * sigma / stride) + 1, cells)
    first = np.rint(centres / stride - count / 2).astype(np.int64).clip(0, cells - count)
    return first[:, None] + np.arange(count)


def sizes_per_picture(size: Size | Sequence[Size], batch: int) -> list[Size]:
    """Repeat one ``(height, width)`` for a batch, or check that there is one for each picture."""
    if isinstance(size[0], int):
        return [size] * batch  # type: ignore[list-item]
    if len(size) != batch:
        raise ValueError(f"{len(size)} picture sizes for a batch of {batch}")
    return list(size)  # type: ignore[arg-type]


def click_xy(clicks: Sequence[Click]) -> Doubles:
    """Coordinates of clicks, ``(n, 2)``, pixels."""
    return np.array([(click.x, click.y) for click in clicks], np.float64).reshape(-1, 2)


def click_heatmaps(
    clicks: Sequence[Sequence[Click]],
    num_classes: int,
    map_size: Size,
    *,
    sigma: float,
    image_size: Size | Sequence[Size] | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """One channel a class, each click a Gaussian of height 1, merged by the maximum.

    Section 4.1 of C3Det (arXiv 2203.15266). A cell is a pixel, and has the value at its centre, so
    that a click at whole numbers peaks at ``exp(-0.25 / sigma^2)``.

    Args:
        clicks: For each picture its clicks. Negative clicks are not drawn.
        num_classes: Number of channels.
        map_size: ``(height, width)`` of the maps in pixels.
        sigma: Standard deviation in pixels.
        image_size: Size of the pictures in pixels, one for all or one for each. The maps are 0 in
            cells whose centres lie beyond it, that is, in the padding. ``None``: no padding.
        device: Where the maps are drawn.
        dtype: Type of the maps.

    Returns:
        ``(len(clicks), num_classes, *map_size)``, values in [0, 1].

    Raises:
        ValueError: A label of ``num_classes`` or above, or a sigma that is not above 0.
    """
    patches, patch = click_patches(
        clicks, num_classes, map_size, sigma=sigma, image_size=image_size
    )
    size = (len(clicks), num_classes, *map_size)
    return draw_patches(moved(torch.from_numpy(patches), device), patch, size, dtype)


def click_patches(
    clicks: Sequence[Sequence[Click]],
    num_classes: int,
    map_size: Size,
    *,
    sigma: float,
    image_size: Size | Sequence[Size] | None = None,
) -> tuple[Doubles, Size]:
    """The patches of `click_heatmaps` that clicks reach, for `draw_patches`.

    Returns:
        ``(n, 1 + rows + columns)`` for all positive clicks: the index of a patch's first cell in
        the flat maps, and its Gaussian along both axes; and ``(rows, columns)``, the same for all.
        A row of zeros draws nothing.
    """
    height, width = map_size
    sizes = None if image_size is None else sizes_per_picture(image_size, len(clicks))
    drawn = []
    for index, of_picture in enumerate(clicks):
        check_labels(of_picture, num_classes)
        drawn += [(index, click) for click in of_picture if click.positive]
    xy = click_xy([click for _, click in drawn])
    rows, along_y = _along(xy[:, 1], height, sigma)
    columns, along_x = _along(xy[:, 0], width, sigma)
    if sizes is not None:
        ends = np.array([sizes[index] for index, _ in drawn], np.float64).reshape(-1, 2, 1)
        along_y = along_y * (rows + 0.5 < ends[:, 0])
        along_x = along_x * (columns + 0.5 < ends[:, 1])
    channels = np.array([index * num_classes + click.label for index, click in drawn], np.int64)
    corners = (channels * height + rows[:, 0]) * width + columns[:, 0]
    patches = np.concatenate([corners[:, None], along_y, along_x], 1)
    return patches, (rows.shape[1], columns.shape[1])


def draw_patches(
    patches: Tensor, patch: Size, size: tuple[int, int, int, int], dtype: torch.dtype
) -> Tensor:
    """Maps of a size ``(B, K, h, w)`` from `click_patches`, on the device of the patches."""
    maps = torch.zeros(size, device=patches.device, dtype=dtype)
    flat = maps.view(-1)
    down, right = (torch.arange(side, device=patches.device) for side in patch)
    steps = down[:, None] * size[3] + right
    for some in patches.split(max(_CELLS_AT_ONCE // (patch[0] * patch[1]), 1)):
        corner, along_y, along_x = some.split([1, *patch], 1)
        values = along_y.to(dtype)[:, :, None] * along_x.to(dtype)[:, None, :]
        cells = corner.long()[:, :, None] + steps
        flat.scatter_reduce_(0, cells.flatten(), values.flatten(), "amax")
    return maps


def _along(centres: Doubles, cells: int, sigma: float) -> tuple[Cells, Doubles]:
    """The cells ``(n, m)`` along one axis that clicks reach, and their Gaussians there."""
    near = support(centres, cells, 1.0, sigma)
    return near, gaussian(near.astype(np.float64) + 0.5, centres, sigma)

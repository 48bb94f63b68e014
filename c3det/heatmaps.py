"""Clicks drawn as Gaussians, where they are read and nowhere else.

A Gaussian of two dimensions is the product of two of one dimension, so a click costs ``h + w``
exponentials on a map of ``h x w`` cells. They are taken in double precision: at x = 2000 the step
of a float32 would move the tail of a narrow Gaussian by more than 1e-4 of its value.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from c3det.clicks import Click, check_labels

Size = tuple[int, int]
"""``(height, width)``."""

_CLICKS_AT_ONCE = 32


def gaussian(positions: Tensor, centres: Tensor, sigma: float) -> Tensor:
    """Unnormalised 1-D Gaussians ``exp(-(p - c)^2 / (2 sigma^2))``.

    Args:
        positions: ``(m,)`` float64, pixels.
        centres: ``(n,)`` float64, pixels.
        sigma: Standard deviation in pixels, above 0.

    Returns:
        ``(n, m)`` float64, 1 where a position is a centre.
    """
    if not sigma > 0:
        raise ValueError(f"sigma must be above 0, it is {sigma}")
    return torch.exp((positions - centres[:, None]) ** 2 * (-0.5 / sigma**2))


def cell_centres(count: int, stride: float, device: torch.device | None = None) -> Tensor:
    """Centres of the cells of a feature map along one axis, ``(count,)`` float64, pixels."""
    return (torch.arange(count, dtype=torch.float64, device=device) + 0.5) * stride


def sizes_per_picture(size: Size | Sequence[Size], batch: int) -> list[Size]:
    """Repeat one ``(height, width)`` for a batch, or check that there is one for each picture."""
    if isinstance(size[0], int):
        return [size] * batch  # type: ignore[list-item]
    if len(size) != batch:
        raise ValueError(f"{len(size)} picture sizes for a batch of {batch}")
    return list(size)  # type: ignore[arg-type]


def positive_by_label(clicks: Sequence[Click]) -> dict[int, list[Click]]:
    """The positive clicks of each class that has any."""
    groups: dict[int, list[Click]] = {}
    for click in clicks:
        if click.positive:
            groups.setdefault(click.label, []).append(click)
    return groups


def click_xy(clicks: Sequence[Click], device: torch.device | None = None) -> Tensor:
    """Coordinates of clicks, ``(n, 2)`` float64, pixels."""
    points = [(click.x, click.y) for click in clicks]
    return torch.tensor(points, dtype=torch.float64, device=device).reshape(-1, 2)


def click_heatmaps(
    clicks: Sequence[Sequence[Click]],
    num_classes: int,
    map_size: Size,
    *,
    sigma: float,
    stride: float = 1.0,
    image_size: Size | Sequence[Size] | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """One channel a class, each click a Gaussian of height 1, merged by the maximum.

    Section 4.1 of C3Det (arXiv 2203.15266). The values are those of a map drawn over the whole
    picture and read at the centres of the cells, so that a click at whole numbers peaks at
    ``exp(-0.25 / sigma^2)`` with stride 1.

    Args:
        clicks: For each picture its clicks. Negative clicks are not drawn.
        num_classes: Number of channels.
        map_size: ``(height, width)`` of the maps in cells.
        sigma: Standard deviation in pixels of the picture.
        stride: Side of a cell in pixels.
        image_size: Size of the pictures in pixels, one for all or one for each. The maps are 0 in
            cells whose centres lie beyond it, that is, in the padding. ``None``: no padding.
        device: Where the maps are drawn.
        dtype: Type of the maps.

    Returns:
        ``(len(clicks), num_classes, *map_size)``, values in [0, 1].

    Raises:
        ValueError: A label of ``num_classes`` or above, or a sigma that is not above 0.
    """
    device = torch.device(device) if device is not None else None
    height, width = map_size
    xs, ys = cell_centres(width, stride, device), cell_centres(height, stride, device)
    sizes = None if image_size is None else sizes_per_picture(image_size, len(clicks))
    maps = torch.zeros(len(clicks), num_classes, height, width, device=device, dtype=dtype)
    for index, of_picture in enumerate(clicks):
        check_labels(of_picture, num_classes)
        for label, group in positive_by_label(of_picture).items():
            for start in range(0, len(group), _CLICKS_AT_ONCE):
                xy = click_xy(group[start : start + _CLICKS_AT_ONCE], device)
                along_x, along_y = gaussian(xs, xy[:, 0], sigma), gaussian(ys, xy[:, 1], sigma)
                if sizes is not None:
                    along_y = along_y * (ys < sizes[index][0])
                    along_x = along_x * (xs < sizes[index][1])
                drawn = (along_y.to(dtype)[:, :, None] * along_x.to(dtype)[:, None, :]).amax(0)
                maps[index, label] = torch.maximum(maps[index, label], drawn)
    return maps

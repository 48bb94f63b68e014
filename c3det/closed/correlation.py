"""Class-wise collated correlation (C3): how similar each cell is to the clicked ones of a class.

C3Det, arXiv 2203.15266, section 4.1.3: a click's template is the feature under it (equation 1), its
correlation with every cell of the same level is a dot product (equation 2), and of the clicks of
one class the maximum is kept (equation 3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from c3det.clicks import Click, Size, check_labels
from c3det.closed.heatmaps import Cells, Doubles, click_xy, gaussian, sizes_per_picture, support
from c3det.devices import moved

Sampling = Literal["gaussian-nearest", "bilinear"]
Scale = Literal["none", "channels", "cosine"]

_PRODUCTS_AT_ONCE = 1 << 24
_EPSILON = 1e-8


def _nearest_along(
    centres: Doubles, cells: int, covered: int, valid: int, sigma: float
) -> tuple[Cells, Doubles, Doubles]:
    """Along one axis: the cells that ``"gaussian-nearest"`` reads, their weights, and their sums.

    Gaussians are taken at the one pixel of each cell that nearest resizing keeps. The sums ``(n,)``
    are over all cells.
    """
    # torch resizes with a scale in float32.
    pixel = np.floor(np.arange(cells, dtype=np.float32) * np.float32(covered / cells))
    along = gaussian(pixel.astype(np.float64) + 0.5, centres, sigma) * (pixel < valid)
    near = support(centres, cells, covered / cells, sigma)
    return near, np.take_along_axis(along, near, 1), along.sum(1)


def _bilinear_along(
    centres: Doubles, cells: int, covered: int, valid: int
) -> tuple[Cells, Doubles]:
    """The same of ``"bilinear"``; no template mixes in a cell of the padding alone."""
    stride = covered / cells
    at = (centres / stride - 0.5).clip(0, math.ceil(valid / stride) - 1)
    low = np.floor(at).clip(max=cells - 1)
    near = np.stack([low, (low + 1).clip(max=cells - 1)], 1).astype(np.int64)
    return near, np.stack([1 - (at - low), at - low], 1)


def click_templates(
    feature: Tensor,
    xy: Doubles,
    sampling: Sampling,
    *,
    covered_size: Size,
    image_size: Size,
    sigma: float = 3.0,
) -> Tensor:
    """The feature of one level under each click (C3Det, equation 1).

    Args:
        feature: ``(C, h, w)``, one level of one picture.
        xy: ``(n, 2)``, clicks in pixels.
        sampling: ``"gaussian-nearest"``: the mean of the feature under a Gaussian that was drawn at
            full size and brought to the level by nearest resizing, divided by its sum + 1e-8, as
            the reference does it. Where no sampled pixel lies near the click (11 % of the clicks at
            stride 32, 76 % at 64) the template vanishes. ``"bilinear"``: the feature at the click,
            interpolated between the centres of the cells.
        covered_size: ``(height, width)`` in pixels that the level covers, padding included.
        image_size: ``(height, width)`` of the picture in pixels, without padding, which no template
            reads.
        sigma: Of ``"gaussian-nearest"``, in pixels.

    Returns:
        ``(n, C)`` of the feature's type.
    """
    reads, sides = template_reads(
        xy,
        (feature.shape[1], feature.shape[2]),
        sampling,
        covered_size=covered_size,
        image_size=image_size,
        sigma=sigma,
    )
    return read_templates(feature, moved(torch.from_numpy(reads), feature.device), sides)


def template_reads(
    xy: Doubles,
    size: Size,
    sampling: Sampling,
    *,
    covered_size: Size,
    image_size: Size,
    sigma: float,
) -> tuple[Doubles, Size]:
    """Where and with which shares `click_templates` reads a level of a size, on the CPU.

    Returns:
        ``(n, 2 * (rows + columns))``: the rows of cells and their shares, the columns and theirs;
        and ``(rows, columns)``, the same for all. A row of zeros reads a template of zeros.
    """
    parts: list[Cells | Doubles] = []
    total: Doubles = np.ones(len(xy))
    for axis, cells in ((1, size[0]), (0, size[1])):
        centres, covered, valid = xy[:, axis], covered_size[1 - axis], image_size[1 - axis]
        if sampling == "gaussian-nearest":
            near, shares, along = _nearest_along(centres, cells, covered, valid, sigma)
            total = total * along
        else:
            near, shares = _bilinear_along(centres, cells, covered, valid)
        parts += [near, shares]
    if sampling == "gaussian-nearest":
        parts[1] = parts[1] / (total + _EPSILON)[:, None]
    return np.concatenate(parts, 1), (parts[0].shape[1], parts[2].shape[1])


def read_templates(feature: Tensor, reads: Tensor, sides: Size) -> Tensor:
    """Templates ``(n, C)`` from a level ``(C, h, w)``, as `template_reads` says, on its device."""
    rows, down, columns, along = reads.split([sides[0], sides[0], sides[1], sides[1]], 1)
    # Shares in half precision would move a template by a fraction of a pixel.
    precise = torch.promote_types(feature.dtype, torch.float32)
    patches = feature[:, rows.long()[:, :, None], columns.long()[:, None, :]].to(precise)
    shares = (down[:, :, None] * along[:, None, :]).to(precise)
    return (patches * shares).sum((2, 3)).T.to(feature.dtype)


def comparable(level: Tensor, scale: Scale) -> Tensor:
    """A level ``(B, C, h, w)`` as its cells are compared: of length 1 for ``"cosine"``."""
    return F.normalize(level, dim=1) if scale == "cosine" else level


def scaled_templates(templates: Tensor, scale: Scale) -> Tensor:
    """Templates ``(n, C)`` of a `comparable` level, such that their products are of the scale."""
    if scale == "channels":
        return templates / templates.shape[1]
    return F.normalize(templates, dim=1) if scale == "cosine" else templates


def best_by_label(templates: Tensor, labels: Tensor, num_classes: int, cells: Tensor) -> Tensor:
    """The largest product of any of a label's templates with each cell (equations 2 and 3).

    Templates are ``(n, C)``, labels ``(n,)`` int64 on their device, and cells ``(C, cells)``.
    Returns ``(K, cells)``, 0 where a label has no template.
    """
    parts = []
    for some in cells.split(max(_PRODUCTS_AT_ONCE // max(len(labels), 1), 1), 1):
        products = templates @ some
        none = products.new_zeros(num_classes, some.shape[1])
        rows = labels[:, None].expand_as(products)
        parts.append(none.scatter_reduce(0, rows, products, "amax", include_self=False))
    return torch.cat(parts, 1) if len(parts) > 1 else parts[0]


def class_correlations(
    features: Sequence[Tensor],
    clicks: Sequence[Sequence[Click]],
    num_classes: int,
    image_size: Size | Sequence[Size],
    sampling: Sampling,
    *,
    sigma: float = 3.0,
    scale: Scale = "none",
    input_size: Size | None = None,
) -> tuple[Tensor, ...]:
    """Correlate the feature under each click with its whole level; keep the best of each class.

    Args:
        features: One ``(B, C, h, w)`` tensor a level, of a picture padded at the right and bottom.
        clicks: For each of the B pictures its clicks, any number of them. Negative ones are not
            used.
        num_classes: K.
        image_size: ``(height, width)`` of the pictures in pixels: one pair for all, or one for each
            picture of a padded batch. (The reference takes the first picture's for the whole batch,
            and so puts the clicks of the others in the wrong place.)
        sampling: How a template is read, see `click_templates`.
        sigma: Of the sampling ``"gaussian-nearest"``, in pixels.
        scale: ``"none"``: the raw dot product of the paper; ``"channels"``: divided by C;
            ``"cosine"``: of features normalised to length 1, values in [-1, 1].
        input_size: ``(height, width)`` in pixels that the levels cover, padding included. ``None``:
            the one pair of ``image_size``, without padding.

    Returns:
        One ``(B, K, h, w)`` tensor a level. A class without clicks is exactly 0.

    Raises:
        ValueError: A label of ``num_classes`` or above, an unknown ``sampling`` or ``scale``, or
            as many clicks or sizes as there are not pictures.
    """
    if sampling not in get_args(Sampling):
        raise ValueError(f"sampling must be one of {get_args(Sampling)}, not {sampling!r}")
    if scale not in get_args(Scale):
        raise ValueError(f"scale must be one of {get_args(Scale)}, not {scale!r}")
    batch = features[0].shape[0]
    if len(clicks) != batch:
        raise ValueError(f"clicks of {len(clicks)} pictures for features of {batch}")
    sizes = sizes_per_picture(image_size, batch)
    for of_picture in clicks:
        check_labels(of_picture, num_classes)
    if input_size is None:
        if not isinstance(image_size[0], int):
            raise ValueError("input_size is missing, which pictures of several sizes need")
        input_size = sizes[0]

    maps = []
    for level in features:
        height, width = level.shape[-2:]
        level = comparable(level, scale)
        # Unbound and stacked once: in training, each index into a batch and each write into a map
        # would cost a gradient of the size of the whole.
        collated = []
        for picture, of_picture, size in zip(level.unbind(), clicks, sizes, strict=True):
            positive = [click for click in of_picture if click.positive]
            if positive:
                templates = click_templates(
                    picture,
                    click_xy(positive),
                    sampling,
                    covered_size=input_size,
                    image_size=size,
                    sigma=sigma,
                )
                labels = moved(torch.tensor([click.label for click in positive]), level.device)
                best = best_by_label(
                    scaled_templates(templates, scale), labels, num_classes, picture.flatten(1)
                )
            else:
                best = level.new_zeros(num_classes, height * width)
            collated.append(best.view(num_classes, height, width))
        maps.append(torch.stack(collated))
    return tuple(maps)

"""Class-wise collated correlation (C3): each click looks for its look-alikes.

C3Det, arXiv 2203.15266, section 4.1.3: a click's template is the feature under it (equation 1), its
correlation with every cell of the same level is a dot product (equation 2), and of the clicks of
one class the maximum is kept (equation 3).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from c3det.clicks import Click, check_labels
from c3det.heatmaps import Size, click_xy, gaussian, positive_by_label, sizes_per_picture

Sampling = Literal["gaussian-nearest", "bilinear"]
Scale = Literal["none", "channels", "cosine"]

_CLICKS_AT_ONCE = 64
_EPSILON = 1e-8
_REACH = 7.0
"""Deviations from its centre at which a Gaussian is read no further: it is 2e-11 there."""


def covering_stride(level_size: Size, image_sizes: Sequence[Size]) -> int:
    """The smallest power of two with which a level covers every picture of its batch."""
    need = max(max(height / level_size[0], width / level_size[1]) for height, width in image_sizes)
    return 2 ** max(0, math.ceil(math.log2(need)))


def _nearest_weights(
    centres: Tensor, cells: int, covered: int, valid: int, sigma: float, device: torch.device
) -> Tensor:
    """Gaussians ``(n, cells)`` at the one pixel of each cell that nearest resizing keeps."""
    scale = torch.tensor(covered / cells, dtype=torch.float32, device=device)
    pixel = (torch.arange(cells, dtype=torch.float32, device=device) * scale).floor().double()
    return gaussian(pixel + 0.5, centres, sigma) * (pixel < valid)


def _support(centres: Tensor, cells: int, stride: float, sigma: float) -> Tensor:
    """The cells ``(n, m)`` along one axis in which Gaussians of these centres are not nothing."""
    count = min(math.ceil(2 * _REACH * sigma / stride) + 1, cells)
    first = (centres / stride - count / 2).round().long().clamp(0, cells - count)
    return first[:, None] + torch.arange(count, device=first.device)


def click_templates(
    feature: Tensor,
    xy: Tensor,
    sampling: Sampling,
    *,
    covered_size: Size,
    image_size: Size,
    sigma: float = 3.0,
) -> Tensor:
    """The feature of one level under each click (C3Det, equation 1).

    Args:
        feature: ``(C, h, w)``, one level of one picture.
        xy: ``(n, 2)`` float64, clicks in pixels.
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
    _, height, width = feature.shape
    if sampling == "gaussian-nearest":
        shares, near = [], []
        total = xy.new_tensor(1.0)
        for axis, count in ((1, height), (0, width)):
            covered, valid, centres = covered_size[1 - axis], image_size[1 - axis], xy[:, axis]
            along = _nearest_weights(centres, count, covered, valid, sigma, xy.device)
            total = total * along.sum(1)
            cells = _support(centres, count, covered / count, sigma)
            shares.append(along.gather(1, cells))
            near.append(cells)
        shares[0] = shares[0] / (total + _EPSILON)[:, None]
        patches = feature[:, near[0][:, :, None], near[1][:, None, :]]
        return torch.einsum("cnyx,ny,nx->nc", patches, *(w.to(feature.dtype) for w in shares))
    stride = xy.new_tensor([covered_size[1] / width, covered_size[0] / height])
    cells = (xy.new_tensor([image_size[1], image_size[0]]) / stride).ceil()
    # No template mixes in a cell of the padding alone.
    position = (xy / stride).minimum(cells - 0.5)
    grid = position / xy.new_tensor([width, height]) * 2 - 1
    # A grid in bfloat16 would be off by pixels.
    precise = torch.promote_types(feature.dtype, torch.float32)
    sampled = F.grid_sample(
        feature[None].to(precise),
        grid[None, None].to(precise),
        padding_mode="border",
        align_corners=False,
    )
    return sampled[0, :, 0].T.to(feature.dtype)


def comparable(level: Tensor, scale: Scale) -> Tensor:
    """A level ``(B, C, h, w)`` as its cells are compared: of length 1 for ``"cosine"``."""
    return F.normalize(level, dim=1) if scale == "cosine" else level


def scaled_templates(templates: Tensor, scale: Scale) -> Tensor:
    """Templates ``(n, C)`` of a `comparable` level, such that their products are of the scale."""
    if scale == "channels":
        return templates / templates.shape[1]
    return F.normalize(templates, dim=1) if scale == "cosine" else templates


def best_by_label(templates: Tensor, labels: Sequence[int], cells: Tensor) -> dict[int, Tensor]:
    """The largest product of any of a label's templates with each cell (equations 2 and 3).

    Args:
        templates: ``(n, C)``.
        labels: Of the templates; those of one label follow each other.
        cells: ``(C, cells)``.

    Returns:
        ``(cells,)`` by label.
    """
    best: dict[int, Tensor] = {}
    for start in range(0, len(labels), _CLICKS_AT_ONCE):
        some = labels[start : start + _CLICKS_AT_ONCE]
        products = templates[start : start + _CLICKS_AT_ONCE] @ cells
        counts = Counter(some)
        for label, part in zip(counts, products.split(list(counts.values())), strict=True):
            largest = part.amax(0)
            best[label] = torch.maximum(best[label], largest) if label in best else largest
    return best


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
            the one pair of ``image_size``, or, with a pair for each picture, the smallest power of
            two a cell that covers them all.

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
    if input_size is None and isinstance(image_size[0], int):
        input_size = sizes[0]

    maps = []
    for level in features:
        height, width = level.shape[-2:]
        covered = input_size
        if covered is None:
            stride = covering_stride((height, width), sizes)
            covered = (height * stride, width * stride)
        level = comparable(level, scale)
        nowhere = level.new_zeros(height * width)
        # Taken apart and put together once: in training, each index into a batch and each part
        # written into a map would cost a gradient of the size of the whole.
        collated = []
        for picture, of_picture, size in zip(level.unbind(), clicks, sizes, strict=True):
            best = dict.fromkeys(range(num_classes), nowhere)
            groups = positive_by_label(of_picture)
            if groups:
                templates = click_templates(
                    picture,
                    click_xy([click for group in groups.values() for click in group], level.device),
                    sampling,
                    covered_size=covered,
                    image_size=size,
                    sigma=sigma,
                )
                labels = [label for label, group in groups.items() for _ in group]
                best |= best_by_label(
                    scaled_templates(templates, scale), labels, picture.flatten(1)
                )
            collated.append(torch.stack(list(best.values())).view(-1, height, width))
        maps.append(torch.stack(collated))
    return tuple(maps)

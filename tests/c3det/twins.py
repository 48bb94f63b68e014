"""Slow, obvious twins of what `c3det` computes fast. They share its types of values and no
other code with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from c3det.clicks import Click
from c3det.detections import Detections
from c3det.tiles import TileArea

Size = tuple[int, int]


def heatmaps(
    clicks: Sequence[Sequence[Click]],
    num_classes: int,
    map_size: Size,
    sigma: float,
    image_sizes: Sequence[Size] | None = None,
) -> Tensor:
    """Go over every cell of every map, and there over every click."""
    height, width = map_size
    maps = torch.zeros(len(clicks), num_classes, height, width, dtype=torch.float64)
    for b, of_picture in enumerate(clicks):
        for row in range(height):
            for column in range(width):
                x, y = column + 0.5, row + 0.5
                if image_sizes is not None and (y >= image_sizes[b][0] or x >= image_sizes[b][1]):
                    continue
                for click in of_picture:
                    if click.positive:
                        squared = (x - click.x) ** 2 + (y - click.y) ** 2
                        value = math.exp(-squared / (2 * sigma**2))
                        if value > maps[b, click.label, row, column]:
                            maps[b, click.label, row, column] = value
    return maps


def full_size_map(click: Click, input_size: Size, image_size: Size, sigma: float) -> Tensor:
    """One click drawn on every pixel of a padded picture, 0 in the padding, float64."""
    rows = torch.arange(input_size[0], dtype=torch.float64)[:, None].expand(input_size)
    columns = torch.arange(input_size[1], dtype=torch.float64)[None].expand(input_size)
    squared = (columns + 0.5 - click.x) ** 2 + (rows + 0.5 - click.y) ** 2
    drawn = torch.exp(-squared / (2 * sigma**2))
    drawn[image_size[0] :] = 0
    drawn[:, image_size[1] :] = 0
    return drawn


def bilinear(feature: Tensor, x: float, y: float, stride: float, image_size: Size) -> Tensor:
    """A level ``(C, h, w)`` at a point, between the centres of the four nearest cells.

    Cells of the padding alone do not count.
    """
    height, width = (math.ceil(side / stride) for side in image_size)
    column = min(max(x / stride - 0.5, 0.0), width - 1.0)
    row = min(max(y / stride - 0.5, 0.0), height - 1.0)
    left, top = math.floor(column), math.floor(row)
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    along, down = column - left, row - top
    upper = feature[:, top, left] * (1 - along) + feature[:, top, right] * along
    lower = feature[:, bottom, left] * (1 - along) + feature[:, bottom, right] * along
    return upper * (1 - down) + lower * down


def class_correlations(
    features: Sequence[Tensor],
    clicks: Sequence[Sequence[Click]],
    num_classes: int,
    image_sizes: Sequence[Size],
    input_size: Size,
    sampling: str,
    sigma: float = 3.0,
) -> list[Tensor]:
    """C3 as the paper writes it: full-size maps, templates, correlations, the maximum."""
    levels = []
    for level in features:
        level = level.double()
        batch, channels, height, width = level.shape
        collated = torch.zeros(batch, num_classes, height, width, dtype=torch.float64)
        for b, of_picture in enumerate(clicks):
            for label in range(num_classes):
                correlations = []
                for click in of_picture:
                    if not click.positive or click.label != label:
                        continue
                    if sampling == "gaussian-nearest":
                        drawn = full_size_map(click, input_size, image_sizes[b], sigma)
                        weights = F.interpolate(drawn[None, None], size=(height, width))[0, 0]
                        weights = weights / (weights.sum() + 1e-8)
                        template = (level[b] * weights).sum((1, 2))
                    else:
                        stride = input_size[1] / width
                        template = bilinear(level[b], click.x, click.y, stride, image_sizes[b])
                    kernel = template.view(1, channels, 1, 1)
                    correlations.append(F.conv2d(level[b][None], kernel)[0, 0])
                if correlations:
                    collated[b, label] = torch.stack(correlations).max(0).values
        levels.append(collated)
    return levels


def clicked_box(
    box: Sequence[float], label: int, clicks: Sequence[Click], target: str, radius: float
) -> int | None:
    """The class to enforce on one box, or ``None`` where no positive click meets it."""
    x1, y1, x2, y2 = box
    best, nearest = None, math.inf
    for click in clicks:
        meets = (
            click.x + radius >= x1
            and click.x - radius <= x2
            and click.y + radius >= y1
            and click.y - radius <= y2
        )
        if not (click.positive and meets):
            continue
        distance = math.hypot(click.x - (x1 + x2) / 2, click.y - (y1 + y2) / 2)
        if distance < nearest:
            best, nearest = click.label, distance
    return best if best is None or target == "clicked" else label


def enforcing_loss(logits: Tensor, targets: Sequence[int], sigmoid: bool, weight: float) -> float:
    """Cross-entropy from its definition, box by box and class by class."""
    total = 0.0
    for row, target in zip(logits.tolist(), targets, strict=True):
        if sigmoid:
            for label, logit in enumerate(row):
                probability = 1 / (1 + math.exp(-logit))
                total -= math.log(probability if label == target else 1 - probability)
        else:
            total -= math.log(math.exp(row[target]) / sum(math.exp(logit) for logit in row))
    return weight * total / len(targets)


def merged_tiles(parts: Sequence[tuple[TileArea, Detections]], image_size: Size) -> Detections:
    """Go over all boxes, those that a tile's edge may have cut last, and else the best first.

    Each is compared with all that stayed before it.
    """
    edges = (0, 0, image_size[1], image_size[0])
    boxes, scores, labels, tiles, cut = [], [], [], [], []
    for tile, (area, found) in enumerate(parts):
        for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
            near = [abs(box[side] - area.box[side]) < 2 for side in range(4)]
            cut.append(any(n and area.box[i] != edges[i] for i, n in enumerate(near)))
            boxes.append(box)
            scores.append(score)
            labels.append(label)
            tiles.append(tile)
    corners = np.array(boxes, np.float64).reshape(-1, 4)
    order = sorted(range(len(boxes)), key=lambda i: (cut[i], -scores[i]))
    kept: list[int] = []
    for i in order:
        others = corners[kept]
        across = np.minimum(corners[i, 2], others[:, 2]) - np.maximum(corners[i, 0], others[:, 0])
        down = np.minimum(corners[i, 3], others[:, 3]) - np.maximum(corners[i, 1], others[:, 1])
        shared = across.clip(0) * down.clip(0)
        own = (corners[i, 2] - corners[i, 0]) * (corners[i, 3] - corners[i, 1])
        theirs = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
        same = shared >= 0.5 * np.maximum(own + theirs - shared, 1e-9)
        if cut[i]:
            same |= shared >= 0.5 * max(own, 1e-9)
        rivals = [tiles[k] != tiles[i] and labels[k] == labels[i] for k in kept]
        if not (same & np.array(rivals, bool)).any():
            kept.append(i)
    kept.sort()  # tile by tile, so that equal scores stay in that order
    kept.sort(key=lambda i: -scores[i])
    return Detections(
        np.array([boxes[i] for i in kept], np.float32).reshape(-1, 4),
        np.array([scores[i] for i in kept], np.float32),
        np.array([labels[i] for i in kept], np.int64),
        np.full(len(kept), -1, np.int64),
    )

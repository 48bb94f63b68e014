"""A detector taken apart, so that a click costs what it changes and nothing else. Exact.

What does not depend on the clicks is computed once a picture: the picture's levels and, because the
1x1 convolution that joins the clicks and the first convolution of the heads are linear up to the
first ReLU, the picture's part of both. Then, of the clicks' parts,

- the correlation adds K channels, which reach the heads through kernels composed of both
  convolutions, K channels wide;
- late fusion changes only in the windows that its receptive field lets a click reach, so that a
  click that comes, moves or goes has those windows computed again (`c3det.windows`).

The rest is what a click cannot do without: the heads behind their first convolution.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.profiler import record_function

from c3det.clicks import Click
from c3det.correlation import best_by_label, click_templates, comparable, scaled_templates
from c3det.fusion import ClickBatch
from c3det.heatmaps import Size, click_heatmaps, click_xy
from c3det.memory import held_bytes
from c3det.mmdet_adapter import ClickDetector, ClickedFeatures
from c3det.windows import INPUT, Convolution, Copy, MaxPool, Network, Sum, Window, area, hull

PARTS = ("late fusion", "correlation", "first convolutions", "proposals", "regions")
"""Of a click, as `torch.profiler` names them; a one-stage detector has no regions."""

NOTHING = 1e-8
"""Where a drawn click is lower than this, it is taken to be 0."""


@dataclass(slots=True, eq=False)
class Tile:
    """All that is known of one picture, or of one tile of a large one. For one thread at a time.

    Attributes:
        image_size: ``(height, width)`` in pixels.
        input_size: The same with padding.
        values: Of the network, with the clicks of ``drawn``.
        compared: The levels that the correlation compares; none without a correlation.
        drawn: The clicks that late fusion has seen, in pixels of the tile.
        shared: Indices of ``values`` that are not this tile's own.
        packed: Whether it has to be unpacked before it is used.
    """

    image_size: Size
    input_size: Size
    values: list[Tensor]
    compared: tuple[Tensor, ...] = ()
    drawn: frozenset[Click] = frozenset()
    shared: frozenset[int] = frozenset()
    packed: bool = False

    def pack(self) -> None:
        """Keep this tile's own tensors in half precision, but for those that it cannot hold."""
        self._convert(torch.float16)
        self.packed = True

    def unpack(self) -> None:
        """Bring them back to the precision that they are computed with."""
        self._convert(torch.float32)
        self.packed = False

    def _convert(self, dtype: torch.dtype) -> None:
        done: dict[int, Tensor] = {}

        def converted(tensor: Tensor) -> Tensor:
            if id(tensor) not in done:  # one tensor may stand in several places
                other = tensor.to(dtype)
                done[id(tensor)] = other if bool(other.isfinite().all()) else tensor
            return done[id(tensor)]

        self.compared = tuple(converted(level) for level in self.compared)
        self.values = [
            value if index in self.shared else converted(value)
            for index, value in enumerate(self.values)
        ]

    @property
    def nbytes(self) -> int:
        """Memory of the tensors that are this tile's own."""
        own = (value for index, value in enumerate(self.values) if index not in self.shared)
        return held_bytes((*own, *self.compared))

    def borrowed(self) -> list[Tensor]:
        """The tensors that are not."""
        return [self.values[index] for index in self.shared]


class IncrementalDetector:
    """The parts of a detector, for pictures one at a time.

    Args:
        detector: In evaluation mode. Its weights must not change any more.
        precision: Of the backbone and the neck of the picture (autocast); all else is computed in
            float32. ``None``: they too.

    Raises:
        ValueError: Its late-fusion branch is not a ResNet of basic blocks with an FPN.
    """

    def __init__(self, detector: ClickDetector, precision: torch.dtype | None = None) -> None:
        self._detector = detector
        self._precision = precision
        with torch.inference_mode():
            self._build(detector)
        self._blank: tuple[Size, list[Tensor]] | None = None
        self._lock = threading.Lock()

    def _build(self, detector: ClickDetector) -> None:
        values: list[Sum | None] = [None] * cast(int, detector.neck.num_outs)
        levels = range(len(values))
        fusion = detector.click_fusion
        self._joined = list(levels)
        self._correlation = fusion.correlation if fusion is not None else None
        self._branch = fusion.branch if fusion is not None else None
        self._picture_weight: Tensor | None = None
        if fusion is not None:
            parts = [fusion.join.out_channels]
            parts.append(fusion.num_classes if self._correlation is not None else 0)
            parts.append(fusion.join.in_channels - sum(parts))
            picture, correlation, late = fusion.join.weight.split(parts, 1)
            bias = fusion.join.bias
            self._picture_weight = picture
            from_clicks: list[Convolution | None] = [None] * len(levels)
            if self._branch is not None:
                outs = _resnet(values, self._branch.backbone)
                from_clicks = list(_fpn(values, self._branch.neck, outs, late, bias))
                bias = None
            self._joined = []
            for level, clicks in zip(levels, from_clicks, strict=True):
                own = Convolution(level, picture, bias)
                values.append(Sum((own, clicks) if clicks is not None else (own,)))
                self._joined.append(len(values) - 1)
        self._late = range(len(levels), self._joined[0])
        self._first: list[list[int]] = []
        self._from_correlation: list[Tensor] = []
        for convolution in detector.first_convolutions():
            self._first.append([])
            for index in self._joined:
                values.append(Sum((_convolution(index, convolution),)))
                self._first[-1].append(len(values) - 1)
        if self._correlation is not None:
            onto_joined = correlation * self._correlation.gain
            self._from_correlation = [onto_joined] + [
                torch.einsum("fcij,ck->fkij", convolution.weight, onto_joined[:, :, 0, 0])
                for convolution in detector.first_convolutions()
            ]
        self._network = Network(values)

    def encode(self, images: Tensor, image_size: Size) -> Tile:
        """Compute everything that does not depend on clicks.

        Args:
            images: ``(1, 3, H, W)``, normalised and padded.
            image_size: ``(height, width)`` in pixels, without the padding.
        """
        input_size = (images.shape[-2], images.shape[-1])
        half = torch.autocast(
            images.device.type, self._precision, enabled=self._precision is not None
        )
        with half:
            levels = [level.float() for level in self._detector.encode(images)]
        if self._detector.early_sigma is not None:
            return Tile(image_size, input_size, list(levels))
        given = dict(enumerate(levels))
        if self._branch is not None:
            blank = self._without_clicks(levels, input_size)
            given |= {index: blank[index] for index in self._late}
            for index, level in zip(self._joined, levels, strict=True):
                given[index] = F.conv2d(level, cast(Tensor, self._picture_weight)) + blank[index]
        values = self._network.compute(self._nothing_drawn, input_size, given)
        for index in range(self._joined[0], len(values)):
            values[index] = values[index].contiguous(memory_format=torch.channels_last)
        compared: tuple[Tensor, ...] = ()
        fusion = self._detector.click_fusion
        if self._correlation is not None and fusion is not None:
            scale = self._correlation.scale
            compared = tuple(comparable(level, scale) for level in fusion.compared(levels))
        return Tile(image_size, input_size, values, compared, shared=frozenset(self._late))

    def _without_clicks(self, levels: Sequence[Tensor], input_size: Size) -> list[Tensor]:
        """The values of late fusion that sees no click, those of the last size kept."""
        with self._lock:
            if self._blank is None or self._blank[0] != input_size:
                given = {index: torch.zeros_like(level) for index, level in enumerate(levels)}
                # The heads are not late fusion's; what they would see of it is not asked for.
                for head in self._first:
                    given |= dict.fromkeys(head, levels[0][:, :, :0, :0].clone())
                draw = partial(self._draw, [], input_size)
                values = self._network.compute(draw, input_size, given)
                used, nothing = {*self._late, *self._joined}, levels[0].new_empty(0)
                self._blank = (
                    input_size,
                    [value if index in used else nothing for index, value in enumerate(values)],
                )
            return self._blank[1]

    def kept_without_clicks(self, input_size: Size) -> list[Tensor]:
        """The values of late fusion without clicks that are kept for tiles of a size, if any."""
        with self._lock:
            kept = self._blank
        return list(kept[1]) if kept is not None and kept[0] == input_size else []

    def place(self, tile: Tile, clicks: Sequence[Click]) -> None:
        """Let late fusion see some clicks, in place of those that it has seen.

        Where this fails half-way, the tile is of no more use.

        Args:
            tile: Is changed.
            clicks: In pixels of the tile; those that do not reach it are left out.
        """
        reach = {click: self._window(click, tile.image_size) for click in clicks if click.positive}
        wanted = frozenset(click for click, window in reach.items() if area(window) > 0)
        changed = wanted ^ tile.drawn
        if self._branch is not None and changed:
            if tile.shared:
                for index in tile.shared:
                    tile.values[index] = tile.values[index].clone()
                tile.shared = frozenset()
            reached = [self._window(click, tile.image_size) for click in changed]
            network, values, size = self._network, tile.values, tile.input_size
            steps = [network.windows(values, size, window) for window in reached]
            at_once = network.windows(values, size, hull(reached))
            if sum(map(network.cost, steps)) > network.cost(at_once):
                steps = [at_once]
            draw = partial(self._draw, list(wanted), tile.image_size)
            with record_function("late fusion"):
                for step in steps:
                    network.update(values, draw, size, step)
        tile.drawn = wanted

    def _window(self, click: Click, image_size: Size) -> Window:
        """The pixels of a picture in which a click is drawn; none where it does not reach it."""
        radius = self._sigma * math.sqrt(-2 * math.log(NOTHING))
        rows, columns = (
            (max(math.floor(at - radius), 0), min(math.ceil(at + radius), side))
            for at, side in zip((click.y, click.x), image_size, strict=True)
        )
        return (rows[0], max(rows)), (columns[0], max(columns))

    @property
    def _sigma(self) -> float:
        if self._branch is not None:
            return self._branch.sigma
        return self._detector.early_sigma or 0.0

    def _draw(self, clicks: Sequence[Click], image_size: Size, window: Window) -> Tensor:
        """The heatmaps of clicks in a window."""
        (top, bottom), (left, right) = window
        seen = [
            replace(click, x=click.x - left, y=click.y - top)
            for click in clicks
            if self._reaches(click, image_size, window)
        ]
        weight = next(self._detector.parameters())
        return click_heatmaps(
            [seen],
            self._detector.num_classes,
            (bottom - top, right - left),
            sigma=self._sigma,
            image_size=(image_size[0] - top, image_size[1] - left),
            device=weight.device,
            dtype=weight.dtype,
        )

    def _reaches(self, click: Click, image_size: Size, window: Window) -> bool:
        return all(
            first < end_of and first_of < end
            for (first, end), (first_of, end_of) in zip(
                self._window(click, image_size), window, strict=True
            )
        )

    def _nothing_drawn(self, window: Window) -> Tensor:
        raise AssertionError("late fusion was given, so that nothing reads the heatmaps")

    def templates(self, tile: Tile, clicks: Sequence[Click]) -> tuple[Tensor, ...]:
        """What the correlation looks for: the features under clicks, ``(n, C)`` a level.

        Args:
            tile: Which holds the clicks.
            clicks: In pixels of the tile.
        """
        settings = self._correlation
        if settings is None:
            return ()
        return tuple(
            scaled_templates(
                click_templates(
                    level[0],
                    click_xy(clicks, level.device),
                    settings.sampling,
                    covered_size=tile.input_size,
                    image_size=tile.image_size,
                    sigma=settings.sigma,
                ),
                settings.scale,
            )
            for level in tile.compared
        )

    def detect(
        self, tile: Tile, templates: Sequence[Tensor], labels: Sequence[int]
    ) -> InstanceData:
        """Boxes in pixels of the tile, their scores and labels.

        Args:
            tile: With the clicks `place`d.
            templates: As `templates` returns them, of any tile of the same picture.
            labels: Of the templates; those of one label follow each other.
        """
        if self._detector.early_sigma is not None:
            batch = ClickBatch([list(tile.drawn)], [tile.image_size], tile.input_size)
            (found,) = self._detector.detect(ClickedFeatures(tuple(tile.values), batch))
            return found
        maps: list[Tensor] = []
        chosen = list(dict.fromkeys(labels))
        if self._correlation is not None and chosen:
            with record_function("correlation"):
                for level, of_level in zip(tile.compared, templates, strict=True):
                    best = best_by_label(of_level, labels, level[0].flatten(1))
                    rows = torch.stack([best[label] for label in chosen])
                    maps.append(rows.view(1, len(chosen), *level.shape[-2:]))

        def with_correlation(indices: Sequence[int], part: int, padding: int) -> list[Tensor]:
            levels = [tile.values[index] for index in indices]
            if not maps:
                return levels
            weight = self._from_correlation[part][:, chosen].flatten(1)
            return [
                _added(level, weight, few, padding) for few, level in zip(maps, levels, strict=True)
            ]

        with record_function("first convolutions"):
            first = [
                [F.relu(level) for level in with_correlation(indices, number, 1)]
                for number, indices in enumerate(self._first, start=1)
            ]
        return self._detector.detect_joined(
            first,
            lambda: with_correlation(self._joined, 0, 0),
            tile.image_size,
            tile.input_size,
        )


def _added(level: Tensor, weight: Tensor, few: Tensor, padding: int) -> Tensor:
    """A level and the convolution of few channels with a kernel of side ``2 * padding + 1``.

    As a product of matrices: torch's convolution is slow where the channels are few.

    Args:
        level: ``(1, C, h, w)``, best in the memory format ``channels_last``.
        weight: ``(C, k * side**2)``.
        few: ``(1, k, h, w)``.
        padding: 0 or more.
    """
    _, channels, height, width = level.shape
    columns = F.unfold(few, 2 * padding + 1, padding=padding)[0]
    rows = level[0].permute(1, 2, 0).reshape(-1, channels)
    total = torch.addmm(rows, columns.T, weight.T)
    return total.view(1, height, width, channels).permute(0, 3, 1, 2)


def _convolution(source: int, module: nn.Conv2d) -> Convolution:
    return Convolution(source, module.weight, module.bias, module.stride[0], int(module.padding[0]))


def _normalised(source: int, module: nn.Conv2d, norm: nn.Module) -> Convolution:
    """A convolution and the BatchNorm behind it, in one."""
    batch_norm = cast(nn.BatchNorm2d, norm)
    variance, mean = cast(Tensor, batch_norm.running_var), cast(Tensor, batch_norm.running_mean)
    scale = batch_norm.weight / torch.sqrt(variance + batch_norm.eps)
    return replace(
        _convolution(source, module),
        weight=module.weight * scale[:, None, None, None],
        bias=batch_norm.bias - mean * scale,
    )


def _resnet(values: list[Sum | None], resnet: Any) -> list[int]:
    """Append the values of a ResNet of basic blocks that reads the input; those of its outputs."""

    def append(value: Sum) -> int:
        values.append(value)
        return len(values) - 1

    if getattr(resnet, "deep_stem", True) or getattr(resnet, "avg_down", True):
        raise ValueError("the backbone of the late-fusion branch must be a plain ResNet")
    x = append(Sum((_normalised(INPUT, resnet.conv1, resnet.norm1),), relu=True))
    pool = resnet.maxpool
    x = append(Sum((MaxPool(x, pool.kernel_size, pool.stride, pool.padding),)))
    outs = []
    for number, name in enumerate(resnet.res_layers):
        for block in getattr(resnet, name):
            if hasattr(block, "conv3"):
                raise ValueError("the ResNet of the late-fusion branch must be of basic blocks")
            middle = append(Sum((_normalised(x, block.conv1, block.norm1),), relu=True))
            shortcut = Copy(x) if block.downsample is None else _normalised(x, *block.downsample)
            end = _normalised(middle, block.conv2, block.norm2)
            x = append(Sum((end, shortcut), relu=True))
        if number in resnet.out_indices:
            outs.append(x)
    return outs


def _fpn(
    values: list[Sum | None], fpn: Any, inputs: Sequence[int], late: Tensor, bias: Tensor | None
) -> list[Convolution]:
    """Append the values inside an FPN; its outputs through a 1x1 convolution ``late``."""

    def through(source: int, module: nn.Conv2d) -> Convolution:
        plain = _convolution(source, module)
        weight = torch.einsum("oc,cikl->oikl", late[:, :, 0, 0], plain.weight)
        total = late[:, :, 0, 0] @ cast(Tensor, plain.bias)
        return replace(plain, weight=weight, bias=total if bias is None else total + bias)

    used = inputs[fpn.start_level :]
    merged: list[int] = []
    for source, lateral in zip(reversed(used), reversed(fpn.lateral_convs), strict=True):
        own = _convolution(source, lateral.conv)
        values.append(Sum((own, Copy(merged[-1])) if merged else (own,)))
        merged.append(len(values) - 1)
    merged.reverse()
    outs = [through(s, m.conv) for s, m in zip(merged, fpn.fpn_convs, strict=False)]
    extra = [module.conv for module in fpn.fpn_convs[len(merged) :]]
    if not extra:
        while len(outs) < fpn.num_outs:  # every second cell of the level below
            outs.append(replace(outs[-1], stride=2 * outs[-1].stride))
    elif fpn.add_extra_convs == "on_input" and not fpn.relu_before_extra_convs:
        source = inputs[-1]
        for number, module in enumerate(extra, start=1):
            outs.append(through(source, module))
            if number < len(extra):
                values.append(Sum((_convolution(source, module),)))
                source = len(values) - 1
    else:
        raise ValueError("the FPN of the late-fusion branch must add levels on its input")
    return outs

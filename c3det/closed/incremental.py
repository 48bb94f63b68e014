"""The exact fast path of the closed model: a click computes only what it changes.

What does not depend on the clicks is computed once a picture: the feature levels and, because the
1x1 convolution that joins the clicks and the first convolution of the heads are linear up to the
first ReLU, the picture's term of both. Of the clicks' terms,

- the correlation adds K channels, which reach the heads through kernels composed of both
  convolutions, K channels wide;
- late fusion changes only inside the receptive fields of the clicks. If a click is added, moved or
  removed, those windows are computed again (`c3det.closed.windows`).

The heads behind their first convolution are computed for every click.

On a GPU windows would cost more than they save: each has its own shape, for which cuDNN plans its
convolutions anew, and the number of calls takes the time, not what they compute. There late fusion
and the heads are computed whole, always in the same shapes, as CUDA graphs (`c3det.graphs`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData
from torch import Tensor

from c3det.clicks import Click, Size
from c3det.closed.correlation import (
    best_by_label,
    comparable,
    read_templates,
    scaled_templates,
    template_reads,
)
from c3det.closed.fusion import ClickBatch, ClickFusion
from c3det.closed.heatmaps import click_heatmaps, click_patches, click_xy, draw_patches
from c3det.closed.late_fusion import append_fpn, append_resnet, convolution
from c3det.closed.mmdet_adapter import ClickDetector, ClickedFeatures
from c3det.closed.windows import Convolution, Copy, Network, Sum, Window, area, hull
from c3det.devices import late_fusion_precision, moved
from c3det.graphs import Recorded, Work
from c3det.memory import halved, held_bytes

RECORDED_CLICKS = 64
"""Fewer clicks are padded to this number on a GPU, so that shapes do not change."""

NEGLIGIBLE = 1e-8
"""Where the Gaussian of a click is lower than this, it counts as 0."""


@dataclass(slots=True, eq=False)
class ClosedTile:
    """What the closed model keeps of one tile, or of a picture that is one tile.

    Attributes:
        image_size: ``(height, width)`` in pixels.
        input_size: The same with padding.
        values: Of the network, with the clicks of ``drawn``; where it is computed whole, only the
            picture's term of the levels.
        compared: The levels that the correlation compares; none without a correlation.
        drawn: The clicks that late fusion was computed with, in pixels of the tile.
        joined: Where the network is computed whole, the levels with the clicks of ``drawn``;
            before the first `IncrementalDetector.draw_clicks`, none.
        shared: Indices of ``values`` that are not this tile's own.
        packed: Whether it has to be unpacked before it is used.
    """

    image_size: Size
    input_size: Size
    values: list[Tensor]
    compared: tuple[Tensor, ...] = ()
    drawn: frozenset[Click] = frozenset()
    joined: tuple[Tensor, ...] = ()
    shared: frozenset[int] = frozenset()
    packed: bool = False

    def pack(self) -> None:
        """Keep this tile's own tensors in half precision, but for those that it cannot hold."""
        self._convert(halved)
        self.packed = True

    def unpack(self) -> None:
        """Bring them back to the precision that they are computed with."""
        self._convert(Tensor.float)
        self.packed = False

    def _convert(self, conversion: Callable[[Tensor], Tensor]) -> None:
        done: dict[int, Tensor] = {}

        def converted(tensor: Tensor) -> Tensor:
            if id(tensor) not in done:  # one tensor may stand in several places
                done[id(tensor)] = conversion(tensor)
            return done[id(tensor)]

        self.compared = tuple(converted(level) for level in self.compared)
        self.joined = tuple(converted(level) for level in self.joined)
        self.values = [
            value if index in self.shared else converted(value)
            for index, value in enumerate(self.values)
        ]

    @property
    def nbytes(self) -> int:
        """Memory of the tensors that are this tile's own."""
        own = (value for index, value in enumerate(self.values) if index not in self.shared)
        return held_bytes((*own, *self.compared, *self.joined))

    def borrowed(self) -> list[Tensor]:
        """The tensors that are not, and that other tiles may hold, too."""
        return [self.values[index] for index in self.shared]


class IncrementalDetector:
    """A detector that computes tiles, and what clicks change in them.

    The detector is in evaluation mode, and its weights must not change any more. With ``windows``
    late fusion is computed again in windows, rather than whole.

    Raises:
        ValueError: Its late-fusion branch is not a ResNet of basic blocks with an FPN.
    """

    def __init__(self, detector: ClickDetector, *, windows: bool = True) -> None:
        self._detector = detector
        self._in_windows = windows
        self.device = next(detector.parameters()).device
        with torch.inference_mode():
            self._build(detector)
        self._recorded_fusion = Recorded(self._late_fusion)
        self._recorded_heads = Recorded(self._heads)
        self._recorded_templates = Recorded(self._templates)
        self._blank: tuple[Size, list[Tensor]] | None = None

    def _build(self, detector: ClickDetector) -> None:
        """Make the network of all values: levels, late fusion, joined levels, first convolutions.

        Levels are given. Computed whole, the network ends with the joined levels.
        """
        values: list[Sum | None] = [None] * cast(int, detector.neck.num_outs)
        levels = range(len(values))
        fusion = detector.click_fusion
        if fusion is not None and type(fusion) is not ClickFusion:
            raise ValueError(f"the fusion must be a ClickFusion, not a {type(fusion).__name__}")
        self._joined = list(levels)
        self._correlation = fusion.correlation if fusion is not None else None
        self._branch = fusion.branch if fusion is not None else None
        self._picture_weight: Tensor | None = None
        self._picture_bias: Tensor | None = None
        if fusion is not None:
            widths = [fusion.join.out_channels]
            widths.append(fusion.num_classes if self._correlation is not None else 0)
            widths.append(fusion.join.in_channels - sum(widths))
            picture, correlation, late = fusion.join.weight.split(widths, 1)
            bias = fusion.join.bias
            self._picture_weight = picture
            from_clicks: list[Convolution | None] = [None] * len(levels)
            if self._branch is not None:
                outs = append_resnet(values, self._branch.backbone)
                from_clicks = list(append_fpn(values, self._branch.neck, outs, late, bias))
                bias = None
            self._joined = []
            self._picture_bias = bias
            for level, clicks in zip(levels, from_clicks, strict=True):
                # Computed whole, the levels are the picture's term of the joined ones.
                own = Convolution(level, picture, bias) if self._in_windows else Copy(level)
                values.append(Sum((own, clicks) if clicks is not None else (own,)))
                self._joined.append(len(values) - 1)
        self._late = range(len(levels), self._joined[0])
        self._first: list[list[int]] = []
        self._from_correlation: list[Tensor] = []
        if self._in_windows:
            for module in detector.first_convolutions():
                self._first.append([])
                for index in self._joined:
                    values.append(Sum((convolution(index, module),)))
                    self._first[-1].append(len(values) - 1)
        if self._correlation is not None:
            onto_joined = correlation * self._correlation.gain
            self._from_correlation = [onto_joined]
            if self._in_windows:
                self._from_correlation += [
                    torch.einsum("fcij,ck->fkij", module.weight, onto_joined[:, :, 0, 0])
                    for module in detector.first_convolutions()
                ]
        self._network = Network(values)

    def encode(self, images: Tensor, image_size: Size) -> ClosedTile:
        """Compute everything that does not depend on clicks.

        Args:
            images: ``(1, 3, H, W)``, normalised and padded.
            image_size: ``(height, width)`` in pixels, without the padding.
        """
        input_size = (images.shape[-2], images.shape[-1])
        levels = self._detector.encode(images)
        if self._detector.early_sigma is not None:
            return ClosedTile(image_size, input_size, list(levels))
        compared: tuple[Tensor, ...] = ()
        fusion = self._detector.click_fusion
        if self._correlation is not None and fusion is not None:
            scale = self._correlation.scale
            compared = tuple(comparable(level, scale) for level in fusion.compared(levels))
        if not self._in_windows:
            if self._picture_weight is not None:
                weight, bias = self._picture_weight, self._picture_bias
                levels = tuple(F.conv2d(level, weight, bias) for level in levels)
            return ClosedTile(image_size, input_size, list(levels), compared)
        given = dict(enumerate(levels))
        if self._branch is not None:
            blank = self._without_clicks(levels, input_size)
            given |= {index: blank[index] for index in self._late}
            for index, level in zip(self._joined, levels, strict=True):
                given[index] = F.conv2d(level, cast(Tensor, self._picture_weight)) + blank[index]
        values = self._network.compute(self._nothing_drawn, input_size, given)
        for index in range(self._joined[0], len(values)):
            values[index] = values[index].contiguous(memory_format=torch.channels_last)
        return ClosedTile(image_size, input_size, values, compared, shared=frozenset(self._late))

    def _without_clicks(self, levels: Sequence[Tensor], input_size: Size) -> list[Tensor]:
        """The values of late fusion without clicks; those of the last size are kept."""
        if self._blank is None or self._blank[0] != input_size:
            given = {index: torch.zeros_like(level) for index, level in enumerate(levels)}
            # The heads do not belong to late fusion: empty values stand in for theirs.
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
        kept = self._blank
        return list(kept[1]) if kept is not None and kept[0] == input_size else []

    def draw_clicks(self, tile: ClosedTile, clicks: Sequence[Click]) -> None:
        """Compute late fusion of a tile with some clicks, in place of those of the last call.

        Clicks are in pixels of the tile; those that do not reach it are left out. If this fails
        half-way, the tile is of no more use.
        """
        reach = {click: self._window(click, tile.image_size) for click in clicks if click.positive}
        wanted = frozenset(click for click, window in reach.items() if area(window) > 0)
        changed = wanted ^ tile.drawn
        if not self._in_windows:
            if changed or not tile.joined:
                self._join_whole(tile, wanted)
        elif self._branch is not None and changed:
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
            for step in steps:
                network.update(values, draw, size, step)
        tile.drawn = wanted

    def _join_whole(self, tile: ClosedTile, clicks: frozenset[Click]) -> None:
        if self._branch is None:
            tile.joined = tuple(tile.values)
            return
        tile.joined = ()  # the memory is used again
        patches, patch = click_patches(
            [list(clicks)],
            self._detector.num_classes,
            tile.input_size,
            sigma=self._sigma,
            image_size=tile.image_size,
        )
        missing = max(RECORDED_CLICKS - len(patches), 0)
        filled = np.concatenate([patches, np.zeros((missing, patches.shape[1]))])
        given = moved(torch.from_numpy(filled), self.device)
        fuse = self._recorded_fusion if len(filled) == RECORDED_CLICKS else self._late_fusion
        found = fuse((tile.input_size, patch), given, *tile.values)
        tile.joined = tuple(level.clone() for level in found)

    def _late_fusion(
        self, key: tuple[Size, Size], patches: Tensor, *levels: Tensor
    ) -> list[Tensor]:
        """The levels with late fusion.

        Args:
            key: The padded size of the tile, and that of the patches.
            patches: Of `c3det.closed.heatmaps.click_patches`.
            levels: The picture's term of the levels.
        """
        input_size, patch = key
        classes = self._detector.num_classes
        maps = draw_patches(patches, patch, (1, classes, *input_size), torch.float32)

        def draw(window: Window) -> Tensor:
            (top, bottom), (left, right) = window
            return maps[:, :, top:bottom, left:right]

        with late_fusion_precision(self.device):
            values = self._network.compute(draw, input_size, dict(enumerate(levels)))
        return [values[index] for index in self._joined]

    def _window(self, click: Click, image_size: Size) -> Window:
        """The pixels of a picture in which a click is drawn; none where it does not reach it."""
        radius = self._sigma * math.sqrt(-2 * math.log(NEGLIGIBLE))
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
        near = [
            replace(click, x=click.x - left, y=click.y - top)
            for click in clicks
            if self._reaches(click, image_size, window)
        ]
        return click_heatmaps(
            [near],
            self._detector.num_classes,
            (bottom - top, right - left),
            sigma=self._sigma,
            image_size=(image_size[0] - top, image_size[1] - left),
            device=self.device,
        )

    def _reaches(self, click: Click, image_size: Size, window: Window) -> bool:
        return all(
            first < end_of and first_of < end
            for (first, end), (first_of, end_of) in zip(
                self._window(click, image_size), window, strict=True
            )
        )

    def _nothing_drawn(self, window: Window) -> Tensor:
        raise AssertionError("late fusion is given, so nothing reads the heatmaps")

    def templates(self, tile: ClosedTile, clicks: Sequence[Click]) -> tuple[Tensor, ...]:
        """The features under clicks, ``(n, C)`` a level; clicks are in pixels of the tile."""
        settings = self._correlation
        if settings is None:
            return ()
        xy, count, all_reads, sides = click_xy(clicks), len(clicks), [], []
        for level in tile.compared:
            reads, side = template_reads(
                xy,
                (level.shape[2], level.shape[3]),
                settings.sampling,
                covered_size=tile.input_size,
                image_size=tile.image_size,
                sigma=settings.sigma,
            )
            all_reads.append(reads)
            sides.append(side)
        together = np.concatenate(all_reads, 1)
        read: Work = self._templates
        if not self._in_windows and count <= RECORDED_CLICKS:
            read = self._recorded_templates
            together = np.pad(together, ((0, RECORDED_CLICKS - count), (0, 0)))
        given = moved(torch.from_numpy(together), self.device)
        found = read(tuple(sides), given, *tile.compared)
        return tuple(level[:count].clone() for level in found)

    def _templates(self, sides: Sequence[Size], reads: Tensor, *compared: Tensor) -> list[Tensor]:
        """Templates ``(n, C)`` a level, from the reads of `template_reads` for all levels."""
        assert self._correlation is not None
        scale, found = self._correlation.scale, []
        of_levels = reads.split([2 * sum(side) for side in sides], 1)
        for level, own, side in zip(compared, of_levels, sides, strict=True):
            found.append(scaled_templates(read_templates(level[0], own, side), scale))
        return found

    def detect(
        self, tile: ClosedTile, templates: Sequence[Tensor], labels: Sequence[int]
    ) -> InstanceData:
        """Boxes in pixels of the tile, their scores and labels, after `draw_clicks`.

        The templates are as `templates` returns them, of any tile of the same picture; ``labels``
        are theirs.
        """
        if self._detector.early_sigma is not None:
            batch = ClickBatch([list(tile.drawn)], [tile.image_size], tile.input_size)
            (found,) = self._detector.detect(ClickedFeatures(tuple(tile.values), batch))
            return found
        if not self._in_windows:
            return self._detect_whole(tile, templates, labels)
        chosen = list(dict.fromkeys(labels))
        rows = [chosen.index(label) for label in labels]
        maps = self._correlations(tile, templates, rows, len(chosen))

        def with_correlation(indices: Sequence[int], kernel: int, padding: int) -> list[Tensor]:
            levels = [tile.values[index] for index in indices]
            if not maps:
                return levels
            weight = self._from_correlation[kernel][:, chosen].flatten(1)
            return [
                _added(level, weight, few, padding) for few, level in zip(maps, levels, strict=True)
            ]

        first = [
            [F.relu(level) for level in with_correlation(indices, number, 1)]
            for number, indices in enumerate(self._first, start=1)
        ]
        limits = self._limits(tile.image_size)
        return self._detector.choose(
            self._detector.propose([level for levels in first for level in levels], limits),
            lambda: with_correlation(self._joined, 0, 0),
            tile.image_size,
            limits,
        )

    def _limits(self, image_size: Size) -> Tensor:
        height, width = image_size
        return moved(torch.tensor([width, height, width, height], dtype=torch.float32), self.device)

    def _detect_whole(
        self, tile: ClosedTile, templates: Sequence[Tensor], labels: Sequence[int]
    ) -> InstanceData:
        missing = max(RECORDED_CLICKS - len(labels), 0)
        # Those that fill up are of a class that is thrown away.
        classes = [*labels, *[self._detector.num_classes] * missing]
        rows = moved(torch.tensor(classes), self.device)
        filled = [F.pad(of_level, (0, 0, 0, missing)) for of_level in templates]
        if self._correlation is not None and not labels:
            filled = [level.new_zeros(missing, level.shape[1]) for level in tile.compared]
        limits = self._limits(tile.image_size)
        heads = self._recorded_heads if len(rows) == RECORDED_CLICKS else self._heads
        found = heads(tile.input_size, limits, rows, *tile.joined, *tile.compared, *filled)
        count = len(tile.joined)
        return self._detector.choose(found[count:], lambda: found[:count], tile.image_size, limits)

    def _heads(self, key: Size, limits: Tensor, rows: Tensor, *tensors: Tensor) -> list[Tensor]:
        """The joined levels with correlation, and what the heads propose there.

        Args:
            key: The padded size of the tile.
            limits: See `ClickDetector.propose`.
            rows: ``(n,)`` int64, classes of the templates; K where there is none.
            tensors: The joined levels, those that are compared, and the templates ``(n, C)`` of
                each level; the latter two only with a correlation.
        """
        count = len(self._joined)
        joined, compared = tensors[:count], tensors[count:][:count]
        templates = tensors[2 * count :]
        if self._correlation is not None:
            weight = self._from_correlation[0].flatten(1)
            classes = weight.shape[1]
            joined = tuple(
                torch.addmm(
                    level[0].flatten(1),
                    weight,
                    best_by_label(those, rows, classes + 1, cells[0].flatten(1))[:classes],
                ).view_as(level)
                for level, cells, those in zip(joined, compared, templates, strict=True)
            )
        first = [
            F.relu(module(level))
            for module in self._detector.first_convolutions()
            for level in joined
        ]
        return [*joined, *self._detector.propose(first, limits)]

    def _correlations(
        self, tile: ClosedTile, templates: Sequence[Tensor], rows: Sequence[int], count: int
    ) -> list[Tensor]:
        """The best correlation of each row, ``(1, count, h, w)`` a level; none without clicks."""
        if self._correlation is None or not rows:
            return []
        maps = []
        of_rows = moved(torch.tensor(rows), tile.compared[0].device)
        for level, of_level in zip(tile.compared, templates, strict=True):
            best = best_by_label(of_level, of_rows, count, level[0].flatten(1))
            maps.append(best.view(1, count, *level.shape[-2:]))
        return maps


def _added(level: Tensor, weight: Tensor, few: Tensor, padding: int) -> Tensor:
    """A level ``(1, C, h, w)`` and the convolution of few channels ``(1, k, h, w)`` with a kernel.

    The kernel ``(C, k * side**2)`` has the side ``2 * padding + 1``. As a product of matrices:
    torch's convolution is slow where the channels are few. The level is best in ``channels_last``.
    """
    _, channels, height, width = level.shape
    columns = F.unfold(few, 2 * padding + 1, padding=padding)[0]
    rows = level[0].permute(1, 2, 0).reshape(-1, channels)
    total = torch.addmm(rows, columns.T, weight.T)
    return total.view(1, height, width, channels).permute(0, 3, 1, 2)

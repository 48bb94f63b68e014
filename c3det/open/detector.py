"""The network of the open model: a class is whatever was clicked for it.

Terms
    A *slot* is a class that clicks define. A call has any number of slots, and the weights are the
    same for each. A *proposal* is a box of any object, found without clicks (class-agnostic). An
    *exemplar* is a proposal that was clicked, positive or negative.

Steps
    1. Once a picture: MobileNetV2 and an FPN (`OpenDetector.encode`), dense class-agnostic boxes,
       and from the best of them proposals with a refined box, a score and an embedding each
       (`propose`, `describe`).
    2. For each slot, C3Det (arXiv 2203.15266) on dense maps: the class-wise collated correlation
       (equations 1 to 3, on every level) of the features under its clicks, that of the other slots'
       clicks and of its negative ones, a ridge regression of the slot on the same features, and
       late fusion of the clicks' heatmaps, shift the logits of "any object"; boxes of another size
       than the exemplars' lose. From these click-conditioned logits (`conditioned_logits`) come
       further candidates, where class-agnostic proposals are weak.
    3. Whole boxes are compared with whole clicked boxes, slots against each other and against
       "none of these" (`c3det.open.compare`), and candidates that look alike are scored alike
       (`c3det.open.propagation`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from c3det.boxes import (
    EDGE_WEIGHT,
    centredness,
    contains,
    log_sizes,
    non_maximum_suppression,
)
from c3det.open.compare import Comparison
from c3det.open.mobilenet import CHANNELS, MobileNetV2
from c3det.open.propagation import Propagation
from c3det.open.ridge import solve
from c3det.rgb import IMAGENET_MEAN, IMAGENET_STD

STRIDES = (4, 8, 16)
"""Of the levels on which boxes are predicted."""

REGION_STRIDES = (2, 4, 8)
"""Of the maps from which boxes are described."""

PAD = 32
"""Both sides of the input are multiples of this, in pixels."""

BINS = 7
"""Samples along each side of a box from which it is described."""

LAYOUT_BINS = 4
LAYOUT = sum(CHANNELS[1:3]) * LAYOUT_BINS**2
"""Samples along each side of a box's layout, and its numbers: what lies where in it."""

CELL = 48
"""Numbers of a cell that C3 correlates, on each level."""

GROUND_CELLS, SAMPLED_CELLS = 256, 1024
"""Cells least like any click, which the ridge regression takes for background, and of how many of a
level, evenly spaced, they are chosen."""

CLICK_MAPS = 5 * len(STRIDES) + 3
"""Of a slot: correlations and regressions of each level, with its own and the other slots' clicks,
correlations with its negative ones, and three heatmaps."""

LEVEL_LIMITS = (27.0, 62.0)
"""Longest sides, in pixels, from which on a box belongs to the second and to the third level."""

MOST_MISFIT = 1.5
"""Squared log ratio of sizes above which a box does not fit the exemplars any less."""

FIT = 32
"""Numbers of a box from which is told how well it fits what was clicked."""

CLICKED_BOXES = len(STRIDES)
"""Dense boxes at a click: one of each level."""

SUPPRESSION_IOU = 0.65
"""From which on of two dense boxes the better one stays."""

MEAN, STD = IMAGENET_MEAN, IMAGENET_STD
"""With which pictures are normalised, for RGB in 0..255."""

CLICK_SIGMA = 4.0
"""Of the clicks drawn for late fusion, in pixels."""


@dataclass(frozen=True, slots=True)
class PaddedClicks:
    """Clicks of a batch, padded to one number.

    Attributes:
        xy: float32 ``(B, n, 2)``, pixels of the input.
        slots: int64 ``(B, n)``, -1 for padding.
        positive: bool ``(B, n)``.
    """

    xy: Tensor
    slots: Tensor
    positive: Tensor

    def members(self, num_slots: int) -> tuple[Tensor, Tensor]:
        """Which clicks are of each slot: bool ``(B, S, n)`` of positive and of negative ones."""
        own = self.slots[:, None] == torch.arange(num_slots, device=self.slots.device)[:, None]
        return own & self.positive[:, None], own & ~self.positive[:, None]


@dataclass(frozen=True, slots=True)
class OpenFeatures:
    """All of a batch that does not depend on clicks.

    Attributes:
        scores: One ``(B, h, w)`` tensor a level, logits of "any object".
        boxes: One ``(B, h, w, 4)`` tensor a level, xyxy in pixels of the input.
        embeddings: One ``(B, CELL, h, w)`` tensor a level, each cell of length 1: what C3
            correlates.
        context: ``(B, C, h, w)`` at stride 8, a few channels for the click-conditioned logits.
        regions: Maps ``(B, C, h, w)`` from which boxes are described, of `REGION_STRIDES`.
        early: Of the strides 4 and 8, maps ``(B, C, h, w)`` from which layouts are sampled.
    """

    scores: tuple[Tensor, ...]
    boxes: tuple[Tensor, ...]
    embeddings: tuple[Tensor, ...]
    context: Tensor
    regions: tuple[Tensor, ...]
    early: tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Described:
    """Boxes and what is known of each.

    Attributes:
        boxes: ``(B, P, 4)`` xyxy in pixels of the input, refined.
        scores: ``(B, P)`` logits of "an object that this box fits".
        embeddings: ``(B, P, E)`` of length 1: what the object is, wherever its parts lie.
        layouts: ``(B, P, L)`` of length 1: the features of early layers at `LAYOUT_BINS` places
            along each side, which separate letters and symbols that the embeddings do not.
        fits: ``(B, P, FIT)``, what is known of how well the box fits, for `ExemplarChoice`.
        valid: bool ``(B, P)``, false for padding.
    """

    boxes: Tensor
    scores: Tensor
    embeddings: Tensor
    layouts: Tensor
    fits: Tensor
    valid: Tensor

    def mapped(self, function: Callable[[Tensor], Tensor]) -> Described:
        """A function of each of the tensors."""
        return Described(*(function(getattr(self, entry.name)) for entry in fields(self)))


def join(first: Described, second: Described) -> Described:
    """The boxes of both, side by side."""
    return Described(
        *(
            torch.cat([getattr(first, entry.name), getattr(second, entry.name)], 1)
            for entry in fields(first)
        )
    )


def _rows(boxes: Tensor, index: Tensor) -> Tensor:
    """Those of boxes ``(B, n, 4)`` at indices ``(B, k)``."""
    return boxes.gather(1, index[..., None].expand(-1, -1, 4))


def _unit(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


_in_four_rounds = partial(non_maximum_suppression, rounds=4)


class Neck(nn.Module):
    """FPN (arXiv 1612.03144) of the strides 4, 8 and 16; stride 2 adds detail to stride 4."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in CHANNELS[1:])
        self.detail = _unit(CHANNELS[0], channels, 3, 2)
        self.smooth = nn.ModuleList(_unit(channels, channels) for _ in range(3))

    def forward(self, levels: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """Strides 2 to 32 -> strides 4, 8, 16."""
        lateral = [layer(level) for layer, level in zip(self.lateral, levels[1:], strict=True)]
        lateral[0] = lateral[0] + self.detail(levels[0])
        outs = [lateral[3]]
        for level, smooth in zip(reversed(lateral[:3]), self.smooth, strict=True):
            outs.append(smooth(level + F.interpolate(outs[-1], scale_factor=2.0, mode="nearest")))
        return outs[3], outs[2], outs[1]


class OpenDetector(nn.Module):
    """The network, see the module.

    Args:
        channels: Of the neck.
        embedding: Numbers that describe a box.
    """

    def __init__(self, channels: int = 96, embedding: int = 128) -> None:
        super().__init__()
        self.backbone = MobileNetV2()
        self.neck = Neck(channels)
        self.tower = nn.Sequential(_unit(channels, 64), _unit(64, 64))
        self.dense = nn.Conv2d(64, 5, 1)
        self.level_scale = nn.Parameter(torch.zeros(len(STRIDES)))
        self.cell_embedding = nn.Conv2d(channels, CELL, 1)
        self.context = nn.Conv2d(channels, 16, 1)
        self.region_fine = nn.Conv2d(channels, 48, 1)
        self.region_coarse = nn.Conv2d(channels, 24, 1)
        self.region = _unit(48 + 24 + CHANNELS[1] + 4 * CHANNELS[0], 96)
        self.region_hidden = nn.Linear(96 * BINS**2 + 2, 256)
        self.region_norm = nn.LayerNorm(256)
        self.region_out = nn.Linear(256, 5)
        self.region_embedding = nn.Linear(256, embedding)
        self.region_fit = nn.Linear(256, FIT)
        self.early_norms = nn.ModuleList(nn.BatchNorm2d(c, affine=False) for c in CHANNELS[1:3])
        self.raise_hidden = nn.Sequential(
            nn.Conv2d(CLICK_MAPS + len(STRIDES) + 16, 32, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.raise_out = nn.Conv2d(32, len(STRIDES), 1)
        self.cell_ridge = nn.Parameter(torch.full((len(STRIDES),), -2.25))
        self.size_weight = nn.Parameter(torch.full((len(STRIDES),), 3.0))
        self.choice = ExemplarChoice()
        self.comparison = Comparison()
        self.propagation = Propagation()
        nn.init.normal_(self.dense.weight, std=0.01)
        assert self.dense.bias is not None
        nn.init.constant_(self.dense.bias[:1], -4.0)
        nn.init.constant_(self.dense.bias[1:], 1.0)
        nn.init.normal_(self.region_out.weight, std=0.01)
        assert self.region_out.bias is not None
        nn.init.zeros_(self.region_out.bias)
        nn.init.normal_(self.raise_out.weight, std=0.01)
        assert self.raise_out.bias is not None
        nn.init.zeros_(self.raise_out.bias)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def encode(self, images: Tensor) -> OpenFeatures:
        """Compute all that does not depend on clicks.

        Args:
            images: float ``(B, 3, H, W)``, RGB in 0..255, both sides multiples of ``PAD``.
        """
        raw = self.backbone((images - self.mean) / self.std)
        levels = self.neck(raw)
        scores, boxes = [], []
        for number, (stride, level) in enumerate(zip(STRIDES, levels, strict=True)):
            out = self.dense(self.tower(level)).float()
            scores.append(out[:, 0])
            sides = (out[:, 1:] + self.level_scale[number]).clamp(-3, 4).exp() * stride
            boxes.append(_around_cells(sides.permute(0, 2, 3, 1), stride))
        return OpenFeatures(
            tuple(scores),
            tuple(boxes),
            tuple(F.normalize(self.cell_embedding(level).float(), dim=1) for level in levels),
            self.context(levels[1]),
            (
                raw[0],
                torch.cat([self.region_fine(levels[0]), raw[1]], 1),
                self.region_coarse(levels[1]),
            ),
            # Without a gradient: trained, they separated unseen kinds less well.
            (self.early_norms[0](raw[1].detach()), self.early_norms[1](raw[2].detach())),
        )

    def propose(
        self,
        scores: tuple[Tensor, ...],
        boxes: tuple[Tensor, ...],
        count: int,
        kept: int,
        suppress: Callable[[Tensor, float], Tensor] = _in_four_rounds,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The best dense boxes: local maxima of their level, after non-maximum suppression.

        Args:
            scores: One ``(B, h, w)`` tensor a level.
            boxes: One ``(B, h, w, 4)`` tensor a level.
            count: Boxes that enter the suppression.
            kept: Boxes that are returned at most.
            suppress: See `non_maximum_suppression`.

        Returns:
            Boxes ``(B, k, 4)``, logits ``(B, k)`` and indices ``(B, k)`` of their cells, which are
            counted over all levels, row by row; by falling logit. A suppressed box that fills up
            has the logit -inf.
        """
        flat = []
        for score in scores:
            peak = F.max_pool2d(score[:, None], 3, 1, 1)[:, 0] <= score
            flat.append(score.masked_fill(~peak, -torch.inf).flatten(1))
        everything = torch.cat(flat, 1)
        best, cells = everything.topk(min(count, everything.shape[1]), 1)
        chosen = _rows(torch.cat([level.flatten(1, 2) for level in boxes], 1), cells)
        stays = suppress(chosen.detach(), SUPPRESSION_IOU) & best.isfinite()
        best = best.masked_fill(~stays, -torch.inf)
        best, index = best.topk(min(kept, best.shape[1]), 1)
        return _rows(chosen, index), best, cells.gather(1, index)

    def describe(self, features: OpenFeatures, boxes: Tensor, valid: Tensor) -> Described:
        """Refine boxes, score and embed them.

        Args:
            features: Of the batch.
            boxes: ``(B, P, 4)`` xyxy in pixels of the input.
            valid: bool ``(B, P)``.
        """
        hidden = self._hidden(features, boxes)
        refined, scores = self._refined(hidden, boxes)
        return Described(
            refined,
            scores,
            self._embedded(hidden, boxes),
            self.layouts(features, refined.detach()),
            self._fits(hidden, boxes),
            valid,
        )

    def describe_as_given(
        self, features: OpenFeatures, boxes: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The embeddings, layouts and fits, see `Described`, of boxes that stay as they are.

        Args:
            features: Of the batch.
            boxes: ``(B, P, 4)`` xyxy in pixels of the input.
        """
        hidden = self._hidden(features, boxes)
        layouts = self.layouts(features, boxes)
        return self._embedded(hidden, boxes), layouts, self._fits(hidden, boxes)

    def refine(self, features: OpenFeatures, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """The refined boxes ``(B, P, 4)`` and the logits ``(B, P)`` of `describe` alone."""
        return self._refined(self._hidden(features, boxes), boxes)

    def _refined(self, hidden: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        out = self.region_out(hidden).float().view(*boxes.shape[:2], 5)
        return apply_deltas(boxes, out[..., 1:]), out[..., 0]

    def _embedded(self, hidden: Tensor, boxes: Tensor) -> Tensor:
        embeddings = F.normalize(self.region_embedding(hidden).float(), dim=1)
        return embeddings.view(*boxes.shape[:2], embeddings.shape[1])

    def _fits(self, hidden: Tensor, boxes: Tensor) -> Tensor:
        return self.region_fit(hidden).float().view(*boxes.shape[:2], FIT)

    def _hidden(self, features: OpenFeatures, boxes: Tensor) -> Tensor:
        """What is read in boxes ``(B, P, 4)``, ``(B * P, C)``."""
        places = _places(boxes, features, BINS)
        # The finest level is sampled twice as densely, and folded into more channels.
        dense = _places(boxes, features, 2 * BINS)
        pooled = torch.cat(
            [
                _folded(_sampled(level, dense)) if s == 2 else _sampled(level, places)
                for s, level in zip(REGION_STRIDES, features.regions, strict=True)
            ],
            1,
        )
        hidden = self.region(pooled).flatten(1)
        size = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1.0).log().flatten(0, 1) - 3.0
        hidden = torch.cat([hidden, size.to(hidden.dtype)], 1)
        return F.relu(self.region_norm(self.region_hidden(hidden)))

    def layouts(self, features: OpenFeatures, boxes: Tensor) -> Tensor:
        """What lies where in boxes.

        Args:
            features: Of the batch.
            boxes: ``(B, P, 4)`` xyxy in pixels of the input.

        Returns:
            ``(B, P, L)`` of length 1.
        """
        places = _places(boxes, features, LAYOUT_BINS)
        parts = [_sampled(level, places) for level in features.early]
        found = torch.cat(parts, 1).view(*boxes.shape[:2], LAYOUT)
        return F.normalize(found, dim=2)

    def boxes_at(self, features: OpenFeatures, xy: Tensor) -> Tensor:
        """The dense boxes at each point, one of each level.

        Args:
            features: Of the batch.
            xy: ``(B, n, 2)`` in pixels of the input.

        Returns:
            ``(B, n * CLICKED_BOXES, 4)``, point after point.
        """
        boxes = []
        for stride, box in zip(STRIDES, features.boxes, strict=True):
            height, width = box.shape[1:3]
            cell = (xy / stride).long()
            column, row = cell[..., 0].clamp(0, width - 1), cell[..., 1].clamp(0, height - 1)
            boxes.append(_rows(box.flatten(1, 2), row * width + column))
        return torch.stack(boxes, 2).flatten(1, 2)

    def templates(self, features: OpenFeatures, xy: Tensor) -> Tensor:
        """What C3 correlates (equation 1): the cells under clicks ``(B, n, 2)``, of each level.

        Returns:
            ``(B, n, levels, CELL)`` of length 1.
        """
        found = []
        for stride, level in zip(STRIDES, features.embeddings, strict=True):
            height, width = level.shape[-2:]
            grid = _on_grid(xy, height * stride, width * stride)[:, None]
            cells = F.grid_sample(level, grid, align_corners=False, padding_mode="border")
            found.append(F.normalize(cells[:, :, 0].transpose(1, 2), dim=2))
        return torch.stack(found, 2)

    def conditioned_logits(
        self,
        features: OpenFeatures,
        clicks: PaddedClicks,
        templates: Tensor,
        sizes: SlotSizes,
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Logits of "an object of this slot", dense: those of "any object", shifted by the clicks.

        Args:
            features: Of the batch.
            clicks: In pixels of the input.
            templates: ``(B, n, levels, CELL)``, see `templates`.
            sizes: Of S slots.

        Returns:
            One ``(B, S, h, w)`` tensor a level, and by how much the clicks shift them,
            ``(B, S, levels, h, w)`` at stride 8; what the size of a box takes off is not in it.
        """
        num_slots = sizes.mean.shape[1]
        positive, negative = clicks.members(num_slots)
        every = (clicks.slots >= 0) & clicks.positive
        others = every[:, None] & ~positive
        # Pooled before they are collated: a class's maximum is that of its clicks' maxima.
        alike = correlations(features, templates)
        near = click_heatmaps(clicks.xy, *features.context.shape[-2:])[:, :, None]
        collated = [
            torch.cat([_collated(alike, members, -1.0), _collated(near, members, 0.0)], 2)
            for members in (positive, others, negative)
        ]
        with torch.autocast(templates.device.type, enabled=False):
            regressed = self.regressions(features, templates, positive, negative)
        regressed = regressed.masked_fill(~sizes.known[..., None, None, None], 0.0)
        others_regressed = best_of_others(regressed.clamp(min=0).transpose(0, 1), 0.0)
        stacked = torch.cat(
            [
                torch.stack(collated, 3).flatten(2, 3),
                regressed,
                others_regressed.transpose(0, 1),
            ],
            2,
        ).flatten(0, 1)
        about = torch.cat([any_object_maps(features), features.context], 1)
        about = about[:, None].expand(-1, num_slots, -1, -1, -1).flatten(0, 1)
        hidden = self.raise_hidden(torch.cat([stacked.to(about.dtype), about], 1))
        shift = self.raise_out(hidden).float()
        shift = shift.view(-1, num_slots, len(STRIDES), *shift.shape[-2:])
        weights = F.softplus(self.size_weight)
        misfits = map(sizes.misfit, features.boxes)
        levels = tuple(
            score[:, None] + at_level(shift[:, :, level], level) - weights[level] * misfit
            for level, (score, misfit) in enumerate(zip(features.scores, misfits, strict=True))
        )
        return levels, shift

    def regressions(
        self, features: OpenFeatures, templates: Tensor, positive: Tensor, negative: Tensor
    ) -> Tensor:
        """Ridge regressions of slots on the cells of each level, in closed form.

        The clicks of a slot are 1 for it and 0 for the others, and weigh together as much as those
        of another; negative clicks and cells unlike any click are 0 for all.

        Args:
            features: Of the batch.
            templates: ``(B, n, levels, CELL)``, see `templates`.
            positive: bool ``(B, S, n)``.
            negative: bool ``(B, S, n)``.

        Returns:
            ``(B, S, levels, h, w)`` at stride 8.
        """
        used = (positive | negative).any(1)
        counted = positive.to(templates.dtype)
        weight = (counted / counted.sum(-1, keepdim=True).clamp(min=1)).amax(1)
        weight = weight + 0.5 * negative.any(1)
        grams, wanted = [], []
        for level, cells in enumerate(features.embeddings):
            flat, given = cells.flatten(2), templates[:, :, level]
            ground = flat[..., :: max(1, flat.shape[2] // SAMPLED_CELLS)]
            like = (given @ ground).detach().masked_fill(~used[..., None], -1.0).amax(1)
            index = like.topk(min(GROUND_CELLS, like.shape[1]), 1, largest=False).indices
            ground = ground.gather(2, index[:, None].expand(-1, flat.shape[1], -1))
            inputs = torch.cat([given.transpose(1, 2), ground], 2)
            on_ground = weight.new_full(index.shape, 2.0 / index.shape[1])
            weighted = inputs * torch.cat([weight, on_ground], 1)[:, None]
            identity = torch.eye(flat.shape[1], device=flat.device)
            gram = weighted @ inputs.transpose(1, 2) + F.softplus(self.cell_ridge[level]) * identity
            grams.append(gram)
            wanted.append(weighted[..., : given.shape[1]] @ counted.transpose(1, 2))
        solved = solve(torch.stack(grams), torch.stack(wanted))
        found = []
        for level, cells in enumerate(features.embeddings):
            maps = solved[level].transpose(1, 2) @ cells.flatten(2)
            found.append(_at_stride_8(maps.unflatten(2, cells.shape[-2:]), level))
        return torch.stack(found, 2)


class ExemplarChoice(nn.Module):
    """Which box is the object under a click: score, centredness, and a correction that is learned.

    Args:
        hidden: Units of the correction's one hidden layer.
    """

    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        self.box = nn.Linear(FIT + 3, hidden)
        self.place = nn.Linear(2, hidden, bias=False)
        self.out = nn.Linear(hidden, 1)
        nn.init.zeros_(self.out.weight)
        assert self.out.bias is not None
        nn.init.zeros_(self.out.bias)

    def forward(self, described: Described, xy: Tensor) -> Tensor:
        """The logits ``(B, n, P)``, -inf for boxes that do not hold the click.

        Args:
            described: Boxes, of which embeddings and layouts are not read. The last are those of
                `OpenDetector.boxes_at` the clicks; each may stand in for its own click, wherever
                its edges are.
            xy: ``(B, n, 2)`` in pixels of the input.
        """
        boxes, known = described.boxes.detach()[:, None], described.scores.detach()
        points = xy[:, :, None]
        size = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1.0)
        rank = known.sigmoid()[:, None] * (EDGE_WEIGHT + centredness(boxes, points))
        away = ((points * 2 - boxes[..., :2] - boxes[..., 2:]) / size).abs().clamp(max=1.0)
        scores = known.clamp(-8, 8)[..., None] / 4
        about = torch.cat([described.fits, scores, size[:, 0].log() - 3.0], -1)
        hidden = F.relu(self.box(about)[:, None] + self.place(away))
        usable = contains(boxes, xy[..., :1], xy[..., 1:]) & described.valid[:, None]
        count = xy.shape[1]
        own = torch.eye(count, dtype=torch.bool, device=xy.device)
        usable[..., -count * CLICKED_BOXES :] |= own.repeat_interleave(CLICKED_BOXES, 1)
        logits = rank.clamp(min=1e-6).log() + self.out(hidden)[..., 0]
        return logits.masked_fill(~usable, -torch.inf)


@dataclass(frozen=True, slots=True)
class SlotSizes:
    """How large the exemplars of slots are.

    Attributes:
        mean: ``(B, S, 2)``, of the logs of their widths and heights in pixels.
        spread: ``(B, S, 2)``, the deviation of these.
        known: bool ``(B, S)``, false where a slot has no exemplar.
    """

    mean: Tensor
    spread: Tensor
    known: Tensor

    @classmethod
    def of(cls, boxes: Tensor, positive: Tensor) -> SlotSizes:
        """Of boxes ``(B, n, 4)``, and which are positive ones of each slot, bool ``(B, S, n)``."""
        sizes = log_sizes(boxes)
        share = positive.to(sizes.dtype) / positive.sum(-1, keepdim=True).clamp(min=1)
        mean = share @ sizes
        variance = (share @ sizes**2 - mean**2).clamp(min=0)
        return cls(mean, variance.sqrt(), positive.any(-1))

    def misfit(self, boxes: Tensor) -> Tensor:
        """How little dense boxes ``(B, h, w, 4)`` fit each slot: ``(B, S, h, w)``.

        The squared log ratio to the mean, beyond the spread, of both sides together; at most
        `MOST_MISFIT`.
        """
        sizes = log_sizes(boxes)
        total = boxes.new_zeros(())
        for side in range(2):
            away = (sizes[:, None, ..., side] - self.mean[..., side, None, None]).abs()
            total = total + (away - self.spread[..., side, None, None]).clamp(min=0) ** 2
        return total.clamp(max=MOST_MISFIT) * self.known[..., None, None]


def correlations(features: OpenFeatures, templates: Tensor) -> Tensor:
    """C3's correlations (C3Det, equation 1) with each template, on each level.

    Args:
        features: Of the batch.
        templates: ``(B, n, levels, CELL)``.

    Returns:
        ``(B, n, levels, h, w)`` at stride 8.
    """
    maps = []
    for level, cells in enumerate(features.embeddings):
        found = (templates[:, :, level] @ cells.flatten(2)).unflatten(2, cells.shape[-2:])
        maps.append(_at_stride_8(found, level))
    return torch.stack(maps, 2)


def best_of_others(maps: Tensor, empty: float) -> Tensor:
    """For each of maps ``(S, ...)``, nowhere below ``empty``, the largest of the others."""
    if len(maps) == 1:
        return torch.full_like(maps, empty)
    best, which = maps.max(0, keepdim=True)
    second = maps.scatter(0, which, empty).amax(0, keepdim=True)
    return best.expand_as(maps).scatter(0, which, second)


def any_object_maps(features: OpenFeatures) -> Tensor:
    """The logits of "any object" of each level, at stride 8: ``(B, levels, h, w)``."""
    maps = [_at_stride_8(one[:, None], level) for level, one in enumerate(features.scores)]
    return torch.cat(maps, 1).clamp(-8, 8).to(features.context.dtype)


def _at_stride_8(maps: Tensor, level: int) -> Tensor:
    """Maps ``(B, n, h, w)`` of a level, at stride 8: the largest, or repeated."""
    if level == 0:
        return F.max_pool2d(maps, 2)
    return maps if level == 1 else F.interpolate(maps, scale_factor=2.0, mode="nearest")


def at_level(maps: Tensor, level: int) -> Tensor:
    """Maps ``(B, n, h, w)`` at stride 8, as large as a level: repeated, or the mean."""
    if level == 0:
        return F.interpolate(maps, scale_factor=2.0, mode="nearest")
    return maps if level == 1 else F.avg_pool2d(maps, 2)


def apply_deltas(boxes: Tensor, deltas: Tensor) -> Tensor:
    """Boxes moved and resized by deltas ``(..., 4)``, as in Faster R-CNN (arXiv 1506.01497).

    The deltas are of centre and log size relative to the box, with deviations 0.1 and 0.2.
    """
    size = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1.0)
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2 + deltas[..., :2].clamp(-8, 8) * 0.1 * size
    half = size * (deltas[..., 2:].clamp(-5, 5) * 0.2).exp() / 2
    return torch.cat([centre - half, centre + half], -1)


def sampled_at(shift: Tensor, boxes: Tensor) -> Tensor:
    """By how much the logits of boxes are shifted: at their centre, on the level of their size.

    Args:
        shift: ``(B, S, levels, h, w)`` at stride 8, see `OpenDetector.conditioned_logits`.
        boxes: ``(B, P, 4)`` in pixels of the input.

    Returns:
        ``(B, P, S)``.
    """
    height, width = shift.shape[-2:]
    grid = _on_grid((boxes[..., :2] + boxes[..., 2:]) / 2, height * 8, width * 8)[:, None]
    found = F.grid_sample(shift.flatten(1, 2), grid, align_corners=False, padding_mode="border")
    every = found[:, :, 0].transpose(1, 2).unflatten(2, shift.shape[1:3])
    longest = (boxes[..., 2:] - boxes[..., :2]).amax(-1)
    level = sum((longest >= limit).long() for limit in LEVEL_LIMITS)
    assert isinstance(level, Tensor)
    return every.gather(3, level[..., None, None].expand(-1, -1, every.shape[2], 1))[..., 0]


def _on_grid(xy: Tensor, height: int, width: int) -> Tensor:
    """Places ``(..., 2)`` in pixels, as `torch.nn.functional.grid_sample` takes them."""
    return torch.stack([xy[..., 0] / width, xy[..., 1] / height], -1) * 2 - 1


def _around_cells(sides: Tensor, stride: int) -> Tensor:
    """Boxes whose sides lie at distances ``(B, h, w, 4)`` from the centres of cells."""
    _, height, width, _ = sides.shape
    x = (torch.arange(width, device=sides.device, dtype=sides.dtype) + 0.5) * stride
    y = (torch.arange(height, device=sides.device, dtype=sides.dtype) + 0.5) * stride
    centre = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1)
    return torch.cat([centre - sides[..., :2], centre + sides[..., 2:]], -1)


def _places(boxes: Tensor, features: OpenFeatures, bins: int) -> Tensor:
    """Where boxes ``(B, P, 4)``, a little enlarged, are sampled: ``(B, P, bins, bins, 2)``.

    As `torch.nn.functional.grid_sample` counts, -1 to 1, so that they are those of all levels.
    """
    height, width = (side * STRIDES[0] for side in features.scores[0].shape[-2:])
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    half = (boxes[..., 2:] - boxes[..., :2]).clamp(min=4.0) / 2 * 1.15
    step = (torch.arange(bins, device=boxes.device, dtype=boxes.dtype) + 0.5) / bins * 2 - 1
    x = (centre[..., :1] + half[..., :1] * step) / width * 2 - 1
    y = (centre[..., 1:] + half[..., 1:] * step) / height * 2 - 1
    x, y = x[:, :, None, :].expand(-1, -1, bins, -1), y[:, :, :, None].expand(-1, -1, -1, bins)
    return torch.stack([x, y], -1)


def _sampled(level: Tensor, places: Tensor) -> Tensor:
    """Samples ``(B * P, C, bins, bins)`` of a level at places, see `_places`."""
    batch, count, bins = places.shape[:3]
    # In float32: a grid in half precision would be off by pixels.
    found = F.grid_sample(
        level.float(), places.flatten(2, 3), align_corners=False, padding_mode="border"
    )
    return found.transpose(1, 2).reshape(batch * count, level.shape[1], bins, bins)


def _folded(samples: Tensor) -> Tensor:
    """``(n, C, 2k, 2k)`` -> ``(n, 4C, k, k)``, as `torch.nn.functional.pixel_unshuffle`."""
    # Which does not take n = 0.
    count, channels, side = samples.shape[:3]
    parts = samples.view(count, channels, side // 2, 2, side // 2, 2)
    return parts.permute(0, 1, 3, 5, 2, 4).flatten(1, 3)


def click_heatmaps(xy: Tensor, height: int, width: int) -> Tensor:
    """Heatmaps of clicks for late fusion, at stride 8.

    Gaussians at stride 4, of which the largest of each 2 x 2 cells is taken.

    Args:
        xy: ``(..., 2)`` in pixels of the input.
        height: Cells of the result.
        width: Likewise.

    Returns:
        ``(..., height, width)``.
    """
    profiles = []
    for axis, cells in ((1, height), (0, width)):
        centres = (torch.arange(2 * cells, device=xy.device, dtype=xy.dtype) + 0.5) * 4
        profile = torch.exp(-((centres - xy[..., axis, None]) ** 2) / (2 * CLICK_SIGMA**2))
        profiles.append(profile.unflatten(-1, (-1, 2)).amax(-1))
    # The maximum of a product of two positive profiles is the product of their maxima.
    down, along = profiles
    return down[..., :, None] * along[..., None, :]


def _collated(maps: Tensor, members: Tensor, empty: float) -> Tensor:
    """The maximum of maps ``(B, n, C, h, w)`` over the clicks of each slot (C3Det, equation 3)."""
    slots = [
        maps.masked_fill(~members[:, slot, :, None, None, None], empty).amax(1)
        for slot in range(members.shape[1])
    ]
    return torch.stack(slots, 1)

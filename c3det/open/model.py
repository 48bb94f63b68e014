"""The open model behind pictures: what is dear once a picture, what is left after every click.

A click costs what it changes. Of a tile are kept: the features, the described proposals, the part
of the raising maps that no click changes, the correlation with each template, and the description
of every candidate that clicks have raised. The template of a click is its exemplar, the cell that
C3 correlates, and the box that stands in where no proposal holds the click; all in places relative
to the click, so that it serves in every tile. That of an exemplar of another picture has no box
that stands in, its click lies nowhere (at -inf, where no heatmap and no box reaches it), and of its
box only the size counts.

Slots and clicks are put into one order first, by where they are, and exemplars of other pictures by
what they are, so that other labels or another order give the very same boxes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from c3det.boxes import nested_in_better, non_maximum_suppression, pairwise_iou
from c3det.clicks import Click, Size
from c3det.detections import Detections
from c3det.devices import use_float32
from c3det.exemplars import Example
from c3det.memory import held_bytes
from c3det.model import Outline, Template, clicks_that_count
from c3det.open.architecture import OpenArchitecture
from c3det.open.compare import Candidates, Exemplars
from c3det.open.detector import (
    LAYOUT,
    PAD,
    Described,
    Features,
    OpenDetector,
    boxes_of,
    choose_exemplars,
    click_profiles,
    sampled_at,
)
from c3det.open.folding import folded
from c3det.open.outlines import STRIDE, outlines
from c3det.weights import Card, WeightsError, load_tensors

PROPOSALS = 600
"""Class-agnostic boxes that are described, of one tile."""

ENTERING = 1500
"""Dense boxes from which these are chosen."""

LEAST_PROPOSAL = -7.0
"""Logit from which on a dense box is a proposal."""

RAISED = 160
"""Boxes that clicks raise, at most."""

ENTERING_RAISED = 500
LEAST_RAISED = -4.0

SAME_BOX = 0.65
"""IoU with a proposal from which on a box is no further candidate."""

LEAST_SCORE = 0.01
"""Boxes below it are not returned."""

CLICKED_SCORE = 0.011
"""Of an exemplar that the model takes for less, so that its click has a box to choose."""

OVERLAP = 0.5
"""IoU from which on of two boxes of any slots the better one stays."""

NESTED = 0.8
"""Share of a box that lies in a better one of its slot, from which on it is likely to be a part of
that object, and a box that holds it likely to be of several."""

LESS = 0.5
"""How far such a box is believed: on 22 test sets AP rose by 0.7, and F1 by 1."""

ANY_OBJECT = -1
"""Label of boxes that are found without clicks."""

NOWHERE = (-math.inf, -math.inf)
"""Where the click of an exemplar of another picture lies."""

KEPT_CORRELATIONS = 256
KEPT_CANDIDATES = 2048
"""Of one tile."""

SLOTS_AT_ONCE = 4
"""Raised together on a CPU: few enough for what lies between the convolutions to stay in its cache,
and so many that handing work to other cores, which may be busy, is not what takes the time."""

_AT_ONCE = 64
"""Boxes under clicks that are described, or correlations that are computed, together."""


@dataclass(slots=True, eq=False)
class OpenTile:
    """All that is known of one tile, see the module.

    Attributes:
        image_size: ``(height, width)`` in pixels, without padding.
        features: Of the tile, a batch of one.
        proposals: Class-agnostic boxes.
        raising: ``(1, C, h, w)``, the part of the raising's first convolution that no click
            changes.
        correlations: With the last templates, ``(h, w)`` at stride 8, by the identity of the
            template, which is held beside it.
        collated: Of each slot, the largest correlations and heatmaps of its clicks, ``(2, h, w)``
            at stride 8, by the identities of their templates, which are held beside them.
        cells: Rows of ``raised``, by the cells of their dense boxes.
        raised: Candidates that clicks have raised; ``None``: none yet.
        packed: Whether the features are in half precision.
    """

    image_size: Size
    features: Features
    proposals: Described
    raising: Tensor
    correlations: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    collated: dict[tuple[int, ...], tuple[tuple[Tensor, ...], Tensor]] = field(default_factory=dict)
    cells: dict[int, int] = field(default_factory=dict)
    raised: Described | None = None
    packed: bool = False

    def pack(self) -> None:
        """See `c3det.model.Tile.pack`; boxes, scores and embeddings stay as they are."""
        self.correlations, self.collated, self.cells, self.raised = {}, {}, {}, None
        self._convert(torch.float16)
        self.packed = True

    def unpack(self) -> None:
        """See `c3det.model.Tile.unpack`."""
        self._convert(torch.float32)
        self.packed = False

    def _convert(self, dtype: torch.dtype) -> None:
        def converted(tensor: Tensor) -> Tensor:
            other = tensor.to(dtype)
            return other if bool(other.isfinite().all()) else tensor

        features = self.features
        self.features = replace(
            features,
            embedding=converted(features.embedding),
            context=converted(features.context),
            regions=tuple((stride, converted(level)) for stride, level in features.regions),
            early=(converted(features.early[0]), converted(features.early[1])),
        )
        self.raising = converted(self.raising)
        self.proposals = replace(self.proposals, layouts=converted(self.proposals.layouts))

    @property
    def nbytes(self) -> int:
        """Memory of the tensors of this tile."""
        features = self.features
        described = [self.proposals, *([self.raised] if self.raised is not None else [])]
        return held_bytes(
            (
                *features.scores,
                *features.boxes,
                features.embedding,
                features.context,
                *(level for _, level in features.regions),
                *features.early,
                self.raising,
                *(getattr(one, entry.name) for one in described for entry in fields(one)),
                *(found for _, found in self.correlations.values()),
                *(found for _, found in self.collated.values()),
            )
        )

    def borrowed(self) -> list[Tensor]:
        """None."""
        return []


class OpenModel:
    """An open detector behind `c3det.model.Model`.

    Args:
        network: Is copied, for evaluation; its weights must not change any more.

    Attributes:
        network: The copy, see `c3det.open.folding`.
        device: Where it runs.
        numbers: Of an exemplar: its embedding, its layout, and the cell that C3 correlates.
    """

    counts_negative = True

    def __init__(self, network: OpenDetector) -> None:
        self.network = folded(network)
        torch.nn.utils.convert_conv2d_weight_memory_format(self.network, torch.channels_last)
        self.device = self.network.mean.device
        self._widths = (self.network.region_embedding.out_features, LAYOUT)
        self.numbers = sum(self._widths) + self.network.cell_embedding.out_channels
        first = self.network.raise_hidden[0]
        assert isinstance(first, torch.nn.Conv2d)
        # The first convolution is linear: its click maps and the picture's are taken apart.
        clicked = first.in_channels - 1 - self.network.context.out_channels
        self._of_clicks = first.weight[:, :clicked].contiguous(memory_format=torch.channels_last)
        self._of_picture = first.weight[:, clicked:].contiguous()
        self._bias = first.bias

    def encode(self, image: NDArray[np.uint8]) -> OpenTile:
        """See `c3det.model.Model.encode`."""
        height, width = image.shape[:2]
        network = self.network
        pixels = torch.from_numpy(np.array(image)).to(self.device).permute(2, 0, 1)[None].float()
        mean = network.mean.expand(-1, -1, 1, 1)
        padded = F.pad(pixels - mean, (0, -width % PAD, 0, -height % PAD)) + mean
        features = network.encode(padded.contiguous(memory_format=torch.channels_last))
        boxes, logits = network.propose(
            features.scores, features.boxes, ENTERING, PROPOSALS, rounds=0
        )
        valid = logits > LEAST_PROPOSAL
        count = max(int(valid.sum()), 1)  # they come by falling score
        proposals = network.describe(features, boxes[:, :count], valid[:, :count])
        any_object = F.max_pool2d(features.scores[0][:, None], 2).clamp(-8, 8)
        about = torch.cat([any_object.to(features.context.dtype), features.context], 1)
        raising = F.conv2d(about, self._of_picture, self._bias, padding=1)
        raising = raising.contiguous(memory_format=torch.channels_last)
        return OpenTile((height, width), features, proposals, raising)

    def templates(self, tile: OpenTile, clicks: Sequence[Click]) -> list[Template]:
        """See `c3det.model.Model.templates`.

        Returns:
            For each click: the cell that C3 correlates; the exemplar's box, embedding and layout;
            box, refined box, logit, embedding and layout of the box that stands in where no
            proposal will do.
        """
        found: list[Template] = []
        for start in range(0, len(clicks), _AT_ONCE):
            some = clicks[start : start + _AT_ONCE]
            xy = torch.tensor([[(click.x, click.y) for click in some]], dtype=torch.float32)
            found += self._templates(tile, xy.to(self.device))
        return found

    def _templates(self, tile: OpenTile, xy: Tensor) -> list[Template]:
        network, count = self.network, xy.shape[1]
        dense = network.boxes_at(tile.features, xy)
        at = network.describe(tile.features, dense, torch.ones_like(xy[..., 0], dtype=torch.bool))
        cells = network.templates(tile.features, xy)
        # Each click chooses for itself, whatever else is clicked.
        proposals = Described(
            *(
                getattr(tile.proposals, entry.name).expand(
                    count, *getattr(tile.proposals, entry.name).shape[1:]
                )
                for entry in fields(Described)
            )
        )
        own = Described(*(getattr(at, entry.name).transpose(0, 1) for entry in fields(Described)))
        choice = join(proposals, own)
        each = torch.arange(count, device=xy.device)
        chosen = choose_exemplars(choice, xy.transpose(0, 1))[:, 0]
        origin = xy[0].repeat(1, 2)
        exemplars = torch.cat(
            [
                choice.boxes[each, chosen] - origin,
                choice.embeddings[each, chosen],
                choice.layouts[each, chosen],
            ],
            1,
        )
        stand_ins = torch.cat(
            [
                dense[0] - origin,
                at.boxes[0] - origin,
                at.scores[0][:, None],
                at.embeddings[0],
                at.layouts[0],
            ],
            1,
        )
        return [
            (cells[0, row].clone(), exemplars[row].clone(), stand_ins[row].clone())
            for row in range(count)
        ]

    def templates_of_boxes(self, tile: OpenTile, boxes: NDArray[np.float32]) -> list[Template]:
        """See `c3det.model.ExemplarModel.templates_of_boxes`."""
        corners = torch.from_numpy(boxes).to(self.device)[None]
        network = self.network
        valid = torch.ones_like(corners[..., 0], dtype=torch.bool)
        at = network.describe(tile.features, corners, valid)
        xy = (corners[..., :2] + corners[..., 2:]) / 2
        cells = network.templates(tile.features, xy)
        box = (corners - xy.repeat(1, 1, 2))[0]
        layouts = network.layouts(tile.features, corners)[0]
        exemplars = torch.cat([box, at.embeddings[0], layouts], 1)
        return [(cells[0, row].clone(), exemplars[row].clone()) for row in range(len(boxes))]

    def described(self, template: Template) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `c3det.model.ExemplarModel.described`."""
        cell, exemplar = template[:2]
        return torch.cat([exemplar[4:], cell]).cpu().numpy(), exemplar[:4].cpu().numpy()

    def template_of(self, example: Example) -> Template:
        """See `c3det.model.ExemplarModel.template_of`.

        Returns:
            The cell that C3 correlates; the exemplar's box, embedding and layout.
        """
        vector = torch.from_numpy(example.vector).to(self.device)
        half = vector.new_tensor([example.width, example.height]) / 2
        embedding, layout, cell = vector.split([*self._widths, self.numbers - sum(self._widths)])
        # Half precision has changed their lengths a little.
        embedding, layout, cell = (F.normalize(one, dim=0) for one in (embedding, layout, cell))
        return cell, torch.cat([-half, half, embedding, layout])

    def detect(
        self,
        tile: OpenTile,
        templates: Sequence[Template],
        clicks: Sequence[Click],
        examples: Sequence[tuple[Example, Template]] = (),
    ) -> Detections:
        """See `c3det.model.ExemplarModel.detect`."""
        if not clicks and not examples:
            scores = tile.proposals.scores[0].sigmoid() * tile.proposals.valid[0]
            return self._found(tile, tile.proposals.boxes[0], scores[:, None], [ANY_OBJECT])
        given, names = self._given(templates, clicks, examples)
        change = self._change(tile, given)
        candidates = self._candidates(tile, given, change)
        origin = given.xy.repeat(1, 2)
        boxes, embeddings, layouts = torch.stack(
            [template[1] for template in given.templates]
        ).split([4, *self._widths], 1)
        boxes = torch.where(origin.isfinite(), boxes + origin, boxes)
        _, logits = self.network.comparison(
            Candidates(
                candidates.boxes,
                candidates.scores,
                candidates.embeddings,
                candidates.layouts,
                sampled_at(change, candidates.boxes, 8),
                candidates.valid,
            ),
            Exemplars(
                given.xy[None],
                boxes[None],
                embeddings[None],
                layouts[None],
                given.positive[None],
                given.negative[None],
                ~given.xy.isfinite().all(1)[None] if examples else None,
            ),
        )
        share = logits.softmax(-1)[0, :, :-1]
        scores = share * candidates.scores[0].sigmoid().sqrt()[:, None]
        scores = scores * candidates.valid[0][:, None]
        tile.correlations = dict(list(tile.correlations.items())[-KEPT_CORRELATIONS:])
        # What was clicked is an object of its slot, however little the model believes it.
        clicked = given.positive.any(0) & self._inside(tile, given.xy)
        boxes = torch.cat([candidates.boxes[0], boxes[clicked]])
        of_clicked = given.positive.T[clicked].to(scores.dtype) * CLICKED_SCORE
        return self._found(tile, boxes, torch.cat([scores, of_clicked]), names)

    def _given(
        self,
        templates: Sequence[Template],
        clicks: Sequence[Click],
        examples: Sequence[tuple[Example, Template]],
    ) -> tuple[_Given, list[int]]:
        """Clicks and exemplars in one order, and the labels of the slots."""
        names = _in_order(clicks, [example for example, _ in examples])
        slot_of = {name: slot for slot, name in enumerate(names)}
        here = sorted(
            zip(clicks, templates, strict=True),
            key=lambda one: (slot_of[one[0].label], not one[0].positive, one[0].y, one[0].x),
        )
        elsewhere = sorted(
            examples, key=lambda one: (slot_of[one[0].label], not one[0].positive, _look(one[0]))
        )
        both: list[Click | Example] = [one for one, _ in here]
        both += [one for one, _ in elsewhere]
        slots = torch.tensor([slot_of[one.label] for one in both])
        positive = torch.tensor([one.positive for one in both])
        xy = [(click.x, click.y) for click, _ in here] + [NOWHERE] * len(elsewhere)
        own = slots == torch.arange(len(names))[:, None]
        given = _Given(
            torch.tensor(xy, dtype=torch.float32).to(self.device),
            [template for _, template in (*here, *elsewhere)],
            (own & positive).to(self.device),
            (own & ~positive).to(self.device),
        )
        return given, names

    def _change(self, tile: OpenTile, given: _Given) -> Tensor:
        """By how much slots raise "any object", ``(1, S, h, w)`` at stride 8.

        As `OpenDetector.raised`, but that correlations are kept.
        """
        self._correlate(tile, given.templates)
        positive, negative = self._collated(tile, given).unbind(0)
        liked_by, near_to = positive.unbind(1)
        disliked_by, far_from = negative.unbind(1)
        stacked = torch.stack(
            [
                liked_by,
                _best_of_others(liked_by, -1.0),
                disliked_by,
                near_to,
                _best_of_others(near_to, 0.0),
                far_from,
            ],
            1,
        )
        stacked = stacked.contiguous(memory_format=torch.channels_last)
        together = SLOTS_AT_ONCE if self.device.type == "cpu" else len(stacked)
        return torch.cat([self._raised(tile, some) for some in stacked.split(together)])[None]

    def _raised(self, tile: OpenTile, maps: Tensor) -> Tensor:
        """What comes of maps ``(n, 6, h, w)`` of clicks, ``(n, h, w)``."""
        network = self.network
        hidden = F.conv2d(maps, self._of_clicks, padding=1).add_(tile.raising).relu_()
        for layer in list(network.raise_hidden)[2:]:
            hidden = layer(hidden)
        out = network.raise_out
        assert out.bias is not None
        # A 1x1 convolution to one channel, which torch is slow at.
        return (hidden.permute(0, 2, 3, 1) @ out.weight.flatten() + out.bias).float()

    def _collated(self, tile: OpenTile, given: _Given) -> Tensor:
        """The largest correlations with the clicks of each slot, and their heatmaps' maxima.

        Of slots whose clicks are as before, those from memory.

        Returns:
            ``(2, S, 2, h, w)`` at stride 8, of the positive and of the negative clicks; -1 for the
            correlation and 0 for the heatmap where there is none.
        """
        height, width = tile.raising.shape[-2:]
        kept: dict[tuple[int, ...], tuple[tuple[Tensor, ...], Tensor]] = {}
        collated = []
        for row in torch.cat([given.positive, given.negative]).cpu().numpy():
            chosen = np.flatnonzero(row).tolist()
            cells = tuple(given.templates[one][0] for one in chosen)
            key = tuple(map(id, cells))
            if key not in kept:
                kept[key] = tile.collated.get(key) or (cells, self._maxima(tile, given, chosen))
            collated.append(kept[key][1])
        tile.collated = kept
        return torch.stack(collated).view(2, -1, 2, height, width)

    def _maxima(self, tile: OpenTile, given: _Given, chosen: Sequence[int]) -> Tensor:
        """Of some clicks, ``(2, h, w)``."""
        height, width = tile.raising.shape[-2:]
        liked = tile.raising.new_full((height, width), -1.0)
        near = tile.raising.new_zeros(height, width)
        for one in chosen:
            down, along = click_profiles(given.xy[one], height * 2, width * 2)
            # Of factors that are not negative, the maximum is the product of the maxima.
            down, along = down.view(-1, 2).amax(1), along.view(-1, 2).amax(1)
            liked = torch.maximum(liked, tile.correlations[id(given.templates[one][0])][1])
            near = torch.maximum(near, down[:, None] * along)
        return torch.stack([liked, near])

    def _correlate(self, tile: OpenTile, templates: Sequence[Template]) -> None:
        """C3's correlation with each template (C3Det, equation 1), pooled to stride 8."""
        cells = [template[0] for template in templates]
        found = {
            id(cell): tile.correlations[id(cell)] for cell in cells if id(cell) in tile.correlations
        }
        new = [cell for cell in dict.fromkeys(cells) if id(cell) not in found]
        embedding = tile.features.embedding
        height, width = embedding.shape[-2:]
        for start in range(0, len(new), _AT_ONCE):
            some = torch.stack(new[start : start + _AT_ONCE])
            maps = F.max_pool2d((some @ embedding[0].flatten(1)).view(-1, 1, height, width), 2)
            for cell, one in zip(new[start : start + _AT_ONCE], maps, strict=True):
                found[id(cell)] = (cell, one[0].clone())
        tile.correlations = found

    def _candidates(self, tile: OpenTile, given: _Given, change: Tensor) -> Described:
        """The proposals, the boxes that the clicks raise, and those that stand in at clicks."""
        network, features = self.network, tile.features
        best = change.amax(1)
        fine = F.interpolate(best[:, None], scale_factor=2.0, mode="nearest")[:, 0]
        coarse = F.avg_pool2d(change, 2).amax(1)
        scores = tuple(
            score + raised
            for score, raised in zip(features.scores, (fine, best, coarse), strict=True)
        )
        cells, logits = network.peaks(scores, features.boxes, ENTERING_RAISED, RAISED, rounds=0)
        dense = boxes_of(features.boxes, cells)
        kept = self._is_new(tile, dense[0]) & (logits[0] > LEAST_RAISED)
        result = join(tile.proposals, self._described(tile, dense[:, kept], cells[0, kept]))
        here = given.xy.isfinite().all(1)
        stand_ins = [template[2] for template in given.templates if len(template) > 2]
        if not stand_ins:
            return result
        xy = given.xy[here]
        dense, boxes, stand_in_scores, embeddings, layouts = torch.stack(stand_ins).split(
            [4, 4, 1, *self._widths], 1
        )
        origin = xy.repeat(1, 2)
        used = self._inside(tile, xy) & self._is_new(tile, dense + origin)
        boxes = (boxes + origin)[used]
        at = Described(
            boxes[None],
            stand_in_scores[used, 0][None],
            embeddings[used][None],
            layouts[used][None],
            torch.ones_like(boxes[None, :, 0], dtype=torch.bool),
        )
        return join(result, at)

    def _inside(self, tile: OpenTile, xy: Tensor) -> Tensor:
        """Which of places ``(n, 2)`` lie in a tile."""
        height, width = tile.image_size
        return ((xy >= 0) & (xy <= xy.new_tensor([width, height]))).all(1)

    def _is_new(self, tile: OpenTile, boxes: Tensor) -> Tensor:
        """Which of boxes ``(n, 4)`` are not much the same as a proposal."""
        return pairwise_iou(boxes, tile.proposals.boxes[0]).amax(1) < SAME_BOX

    def _described(self, tile: OpenTile, boxes: Tensor, cells: Tensor) -> Described:
        """The description of dense boxes ``(1, n, 4)``, those of known cells from memory."""
        wanted = cells.tolist()
        if len(tile.cells) > KEPT_CANDIDATES:
            tile.cells, tile.raised = {}, None
        new = [place for place, cell in enumerate(wanted) if cell not in tile.cells]
        if new or tile.raised is None:
            valid = torch.ones(1, len(new), dtype=torch.bool, device=self.device)
            found = self.network.describe(tile.features, boxes[:, new], valid)
            before = len(tile.cells)
            tile.cells |= {wanted[place]: before + row for row, place in enumerate(new)}
            tile.raised = found if tile.raised is None else join(tile.raised, found)
        rows = torch.tensor([tile.cells[cell] for cell in wanted], dtype=torch.long)
        rows = rows.to(self.device)
        return Described(
            *(getattr(tile.raised, entry.name)[:, rows] for entry in fields(Described))
        )

    def _found(
        self, tile: OpenTile, boxes: Tensor, scores: Tensor, labels: Sequence[int]
    ) -> Detections:
        """The boxes ``(P, 4)``, each of the slot of its best score ``(P, S)``, by falling score."""
        height, width = tile.image_size
        limit = boxes.new_tensor([width, height, width, height])
        boxes = torch.minimum(boxes.clamp(min=0), limit)
        best, slot = scores.max(1)
        kept = (best > LEAST_SCORE) & ((boxes[:, 2:] - boxes[:, :2]).amin(1) > 1)
        boxes, best, slot = boxes[kept], best[kept], slot[kept]
        order = best.argsort(descending=True, stable=True)
        boxes, best, slot = boxes[order], best[order], slot[order]
        stays = non_maximum_suppression(boxes, OVERLAP)
        boxes, best, slot, scores = (
            boxes[stays],
            best[stays],
            slot[stays],
            scores[kept][order][stays],
        )
        names = np.array(labels, np.int64)
        if labels != [ANY_OBJECT]:
            believed = torch.where(nested_in_better(boxes, slot, NESTED), LESS, 1.0)
            best, scores = best * believed, scores * believed[:, None]
            order = best.argsort(descending=True, stable=True)
            boxes, best, slot, scores = boxes[order], best[order], slot[order], scores[order]
        found = Detections(
            boxes.cpu().numpy(),
            best.cpu().numpy(),
            names[slot.cpu().numpy()],
            np.full(len(boxes), -1, np.int64),
        )
        if len(labels) < 2:
            return found
        second, rival = scores.scatter(1, slot[:, None], -1.0).max(1)
        return replace(found, rivals=names[rival.cpu().numpy()], rival_scores=second.cpu().numpy())

    def outlines(
        self, tile: OpenTile, boxes: NDArray[np.float32], wanted: Sequence[int]
    ) -> list[Outline | None]:
        """See `c3det.model.Model.outlines` and `c3det.open.outlines`."""
        height, width = (-(-side // STRIDE) for side in tile.image_size)  # without padding
        cells = tile.features.embedding[0, :, :height, :width].float().cpu().numpy()
        return outlines(cells, boxes, wanted)

    def kept_for(self, tile: OpenTile) -> list[Tensor]:
        """Nothing."""
        return []

    def encode_whole(self, image: NDArray[np.uint8]) -> OpenTile:
        """See `c3det.model.Model.encode_whole`: the picture as one tile."""
        return self.encode(image)

    def detect_whole(
        self, features: OpenTile, clicks: Sequence[Click], examples: Sequence[Example] = ()
    ) -> Detections:
        """See `c3det.model.ExemplarModel.detect_whole`."""
        tile = replace(features, correlations={}, collated={}, cells={}, raised=None)
        if not clicks and not examples:
            return self.detect(tile, [], [])
        # In an order that labels do not change.
        used = sorted(
            clicks_that_count(clicks, beside=examples), key=lambda click: (click.y, click.x)
        )
        known = clicks_that_count(examples, beside=clicks)
        if not used and not known:
            return Detections.none()
        foreign = [(example, self.template_of(example)) for example in known]
        return self.detect(tile, self.templates(tile, used), used, foreign)


@dataclass(frozen=True, slots=True, eq=False)
class _Given:
    """Clicks of slots, in their order, and exemplars of other pictures after them.

    Attributes:
        xy: ``(n, 2)`` in pixels of the tile; `NOWHERE` for an exemplar of another picture.
        templates: Of each.
        positive: bool ``(S, n)``, which are of each slot.
        negative: bool ``(S, n)``, which are negative ones of each slot.
    """

    xy: Tensor
    templates: list[Template]
    positive: Tensor
    negative: Tensor


def join(first: Described, second: Described) -> Described:
    """The boxes of both, side by side."""
    return Described(
        torch.cat([first.boxes, second.boxes], 1),
        torch.cat([first.scores, second.scores], 1),
        torch.cat([first.embeddings, second.embeddings], 1),
        torch.cat([first.layouts, second.layouts], 1),
        torch.cat([first.valid, second.valid], 1),
    )


def _best_of_others(maps: Tensor, empty: float) -> Tensor:
    """For each of maps ``(S, h, w)``, nowhere below ``empty``, the largest of the others."""
    if len(maps) == 1:
        return torch.full_like(maps, empty)
    best, which = maps.max(0, keepdim=True)
    second = maps.scatter(0, which, empty).amax(0, keepdim=True)
    return best.expand_as(maps).scatter(0, which, second)


def _in_order(clicks: Sequence[Click], examples: Sequence[Example]) -> list[int]:
    """The labels that have positive clicks or exemplars, by where these are or what they are."""
    places: dict[int, list[tuple[float, float]]] = {}
    looks: dict[int, list[_Look]] = {}
    for click in clicks:
        if click.positive:
            places.setdefault(click.label, []).append((click.y, click.x))
    for example in examples:
        if example.positive:
            looks.setdefault(example.label, []).append(_look(example))
    return sorted(
        places.keys() | looks.keys(),
        key=lambda label: (sorted(places.get(label, [])), sorted(looks.get(label, []))),
    )


_Look = tuple[bytes, float, float]


def _look(example: Example) -> _Look:
    """All of an exemplar but its label and sign."""
    return example.numbers, example.width, example.height


def load_model(path: Path, card: Card, device: torch.device) -> OpenModel:
    """The model of a card, on a device, see `c3det.predictor.load`."""
    tensors = load_tensors(path, card)
    assert isinstance(card.architecture, OpenArchitecture)
    network = OpenDetector(card.architecture.channels, card.architecture.embedding)
    if not fill(network, tensors):
        raise WeightsError(
            f"the tensors of {path} do not fit the architecture in their card: export the weights "
            "again with python -m training.open.export"
        )
    use_float32(device)
    return OpenModel(network.to(device))


def fill(network: OpenDetector, tensors: dict[str, Tensor]) -> bool:
    """Put tensors of any precision into a network; whether they are all that it needs."""
    state = {name: tensor.float() for name, tensor in tensors.items()}
    try:
        missing, unexpected = network.load_state_dict(state, strict=False)
    except RuntimeError:
        return False
    # Counts of batches that only training looks at are not kept.
    return not unexpected and all(name.endswith("num_batches_tracked") for name in missing)

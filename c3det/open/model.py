"""The open model: what is computed once a picture, and what is left after every click.

Of a tile are kept (`c3det.open.tile`): the features, the described proposals, the term of the
click-conditioned logits that no click changes, the correlation with each template, and the
description of every click-conditioned candidate.

The template of a click is ``(cells, exemplar, logit)``:

- the cells that C3 correlates, ``(levels, CELL)``;
- the exemplar: its box, embedding and layout, and the ratios of `c3det.open.sizes`;
- the logit of "an object that this box fits", ``(1,)``: the box is a candidate, too, where no
  proposal is the same.

Boxes are relative to the click, so that a template serves in every tile. The template of an
exemplar of another picture is ``(cells, exemplar)``; of its box only the size counts. The ratios
are those of an exemplar that was made from a person's box: width and height of the model's proposal
there, over the person's; 0 where there is none, and under a click.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from c3det.boxes import (
    contains,
    nested_in_better,
    non_maximum_suppression,
    pairwise_iou,
    suppression_in_rounds,
    weighted_boxes_fusion,
)
from c3det.clicks import Click
from c3det.detections import Detections
from c3det.devices import moved, other_scales_precision, use_float32
from c3det.exemplars import Exemplar
from c3det.graphs import HeldInputs, Recorded
from c3det.model import Outline, Template
from c3det.open.architecture import OpenArchitecture
from c3det.open.compare import Candidates, ExemplarBatch
from c3det.open.detector import (
    CELL,
    CLICK_MAPS,
    CLICKED_BOXES,
    FIT,
    LAYOUT,
    PAD,
    STRIDES,
    Described,
    OpenDetector,
    OpenFeatures,
    SlotSizes,
    any_object_maps,
    at_level,
    best_of_others,
    click_heatmaps,
    correlations,
    join,
    sampled_at,
)
from c3det.open.folding import folded
from c3det.open.outlines import STRIDE, outlines
from c3det.open.sizes import SizeCorrection
from c3det.open.slots import PADDING, SlotInputs, by_slot
from c3det.open.tile import OpenTile
from c3det.queries import NO_CLICKS, Query
from c3det.weights import Card, WeightsError, load_tensors

PROPOSALS, DENSE_PROPOSALS, PROPOSAL_LOGIT = 600, 1500, -7.0
"""Most class-agnostic proposals of a tile, the dense boxes from which they are chosen, and their
least logit."""

CONDITIONED, DENSE_CONDITIONED, CONDITIONED_LOGIT = 256, 1000, -5.0
"""The same of the click-conditioned candidates."""

SCALES: Mapping[float, float] = {2**0.5: 0.0, 0.5: 0.0, 0.25: 64.0}
"""Scales at which a tile is searched for proposals, beside its own, and the least longest side of
the boxes that count there, in pixels of the tile: at a quarter of its size no small one is seen."""

SAME_PROPOSAL = 0.55
"""IoU from which on two boxes, of one scale or of two, are one proposal."""

_LEAST_PROBABILITY = 1e-6
"""Of a proposal, so that its logit is finite."""

SAME_BOX = 0.65
"""IoU with a proposal from which on a box is not another candidate."""

OPTIONS, SAME_OPTION, LEAST_LIKELY = 24, 0.7, 4.0
"""What a click can mean: so many of the likeliest boxes under it at most, those of them of which no
likelier one has so large an IoU, and whose logit is at most so much below that of the likeliest. Of
100 clicks 79 mean the first box, 9 the second, 3 the third and 1 the fourth (39 sets of trained
kinds); 83, 9, 3 and 1 (13 sets kept aside)."""

LEAST_SCORE = 0.01
"""Boxes below it are not returned."""

CLICKED_SCORE = 0.011
"""Least score of the exemplar under a click, so that the click has a box to choose."""

OVERLAP = 0.5
"""IoU from which on of two boxes of any slots the better one stays."""

NESTED_SHARE, NESTED_FACTOR = 0.8, 0.5
"""A box of which so large a share lies in a better one of its slot is likely to be a part of that
object, and a box that holds a better one likely to be of several objects. Their scores get the
factor: on 22 test sets AP rose by 0.7, and F1 by 1."""

SAME_OBJECT, PROPOSAL_SCORE = 0.3, 0.05
"""Least IoU and score of the proposal that is taken for the object in a person's box."""

RATIO_UNIT = 0.1
"""Of the ratios in an exemplar's vector, so that they are no larger than its other numbers."""

ANY_OBJECT = -1
"""Label of boxes that are found without clicks."""

KEPT_CORRELATIONS, KEPT_CANDIDATES = 256, 2048
"""Correlations of the last query and described candidates that are kept of one tile."""

SLOTS_AT_ONCE = 4
"""Raised together on a CPU: few enough for the maps between the convolutions to stay in its cache,
and enough that handing work to other cores does not take the time."""

PADDED_CLICKS, PADDED_SLOTS = (16, 64, 256), (1, 4, 16, 64)
"""Where shapes are fixed, clicks and slots are padded to one of these or a multiple of the last."""

ROUNDS = 8
"""Of non-maximum suppression, where shapes are fixed; if they are not enough, it starts anew."""

_AT_ONCE = 64
"""Clicks whose boxes are described together, and templates that are correlated together."""


class OpenModel:
    """An open detector behind `c3det.model.Model`.

    Args:
        network: Is copied, for evaluation; its weights must not change any more.
        scales: As `SCALES`. A picture is searched once at each, which takes time in proportion to
            its pixels there; a click takes no longer.

    Attributes:
        network: The copy, see `c3det.open.folding`.
        scales: The same.
        device: Where it runs.
        fixed_shapes: Whether a click is computed with shapes that depend on the tile's size alone
            and some steps of the numbers of clicks and slots, so that CUDA graphs can hold it. It
            is not on a CPU, where more is kept from one click to the next, and little is padded.
        numbers: Length of an exemplar's vector: its embedding, its layout, its ratios, and the cell
            that C3 correlates.
    """

    counts_negative = True

    def __init__(self, network: OpenDetector, scales: Mapping[float, float] = SCALES) -> None:
        self.network, self.scales = folded(network), scales
        torch.nn.utils.convert_conv2d_weight_memory_format(self.network, torch.channels_last)
        self.device = self.network.mean.device
        use_float32(self.device)
        self._widths = (self.network.region_embedding.out_features, LAYOUT, 2)
        self.numbers = sum(self._widths) + len(STRIDES) * CELL
        first = self.network.raise_hidden[0]
        assert isinstance(first, torch.nn.Conv2d)
        # The first convolution is linear: the maps of clicks and of the picture have a term each.
        self._of_clicks = first.weight[:, :CLICK_MAPS].contiguous(memory_format=torch.channels_last)
        self._of_picture = first.weight[:, CLICK_MAPS:].contiguous()
        self._bias = first.bias
        self.fixed_shapes = self.device.type != "cpu"
        # Both take a tile last, which is large.
        held = HeldInputs()
        self._recorded_templates = Recorded(self._templates_at_once, held)
        self._recorded_answer = Recorded(self._answer_at_once, held)
        self._nothing: Template = tuple(
            torch.zeros(shape, device=self.device)
            for shape in ((len(STRIDES), CELL), (4 + sum(self._widths),), (1,))
        )

    def encode(self, image: NDArray[np.uint8]) -> OpenTile:
        """See `c3det.model.Model.encode`."""
        height, width = image.shape[:2]
        pixels = torch.from_numpy(np.array(image)).to(self.device).permute(2, 0, 1)[None].float()
        features, boxes, scores = self._search(pixels)
        proposals = self._proposals(features, pixels, boxes, scores)
        about = torch.cat([any_object_maps(features), features.context], 1)
        picture_term = F.conv2d(about, self._of_picture, self._bias, padding=1)
        picture_term = picture_term.contiguous(memory_format=torch.channels_last)
        extent = moved(torch.tensor([width, height] * 2, dtype=torch.float32), self.device)
        alike = self.network.propagation.between(proposals, proposals)
        return OpenTile((height, width), extent, features, proposals, alike, picture_term)

    def _search(self, pixels: Tensor) -> tuple[OpenFeatures, Tensor, Tensor]:
        """Features of pixels ``(1, 3, H, W)``, and boxes of any object.

        Returns:
            The features, boxes ``(n, 4)`` and their scores ``(n,)``.
        """
        height, width = pixels.shape[-2:]
        network = self.network
        padded = F.pad(pixels - network.mean, (0, -width % PAD, 0, -height % PAD)) + network.mean
        features = network.encode(padded.contiguous(memory_format=torch.channels_last))
        boxes, logits, _ = network.propose(
            features.scores, features.boxes, DENSE_PROPOSALS, PROPOSALS, non_maximum_suppression
        )
        count = max(int((logits > PROPOSAL_LOGIT).sum()), 1)  # they come by falling score
        refined, logits = network.refine(features, boxes[:, :count])
        return features, refined[0], logits[0].sigmoid()

    def _proposals(
        self, features: OpenFeatures, pixels: Tensor, boxes: Tensor, scores: Tensor
    ) -> Described:
        """Join the boxes ``(n, 4)`` that were found in pixels with those of the other scales.

        All are described by the features of the tile's own scale, as the exemplars are.
        """
        height, width = pixels.shape[-2:]
        every_box, every_score = [boxes], [scores]
        for scale, least in self.scales.items():
            rows, columns = (max(1, round(side * scale)) for side in (height, width))
            resized = F.interpolate(pixels, (rows, columns), mode="bilinear", antialias=True)
            with other_scales_precision(self.device):
                _, found, found_scores = self._search(resized)
            found = found * found.new_tensor([width / columns, height / rows] * 2)
            if least:
                counts = (found[:, 2:] - found[:, :2]).amax(1) >= least
                found, found_scores = found[counts], found_scores[counts]
            every_box.append(found)
            every_score.append(found_scores)
        voters = 1 + sum(not least for least in self.scales.values())
        fused, score = weighted_boxes_fusion(every_box, every_score, SAME_PROPOSAL, voters)
        fused, score = fused[None, :PROPOSALS], score[None, :PROPOSALS]
        valid = torch.ones_like(score, dtype=torch.bool)
        if self.fixed_shapes:
            lacking = PROPOSALS - score.shape[1]
            fused = F.pad(fused, (0, 0, 0, lacking))
            score, valid = (F.pad(one, (0, lacking)) for one in (score, valid))
        described = self.network.describe_as_given(features, fused)
        return Described(fused, score.logit(_LEAST_PROBABILITY), *described, valid)

    def templates(self, tile: OpenTile, clicks: Sequence[Click]) -> list[Template]:
        """See `c3det.model.Model.templates`, and the module for what they hold."""
        found: list[Template] = []
        for start in range(0, len(clicks), _AT_ONCE):
            rows = [(one.x, one.y, one.choice) for one in clicks[start : start + _AT_ONCE]]
            count = len(rows)
            if self.fixed_shapes:
                rows += rows[-1:] * (_padded(count, PADDED_CLICKS) - count)
            places = moved(torch.tensor([rows], dtype=torch.float32), self.device)
            parts = self._recorded_templates(None, places, *tile.tensors)
            found += [tuple(part[row].clone() for part in parts) for row in range(count)]
        return found

    def _templates_at_once(self, _: None, places: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The three parts of the templates of n clicks, see `c3det.graphs.Recorded`.

        Args:
            places: ``(1, n, 3)``, ``(x, y, choice)`` in pixels of the tile.
            tensors: Of a tile, see `c3det.open.tile`.
        """
        network, count, tile = self.network, places.shape[1], OpenTile.of(tensors)
        xy = places[..., :2]
        refined, logits = network.refine(tile.features, network.boxes_at(tile.features, xy))
        # As proposals are: which of two boxes alike is chosen must not matter.
        described = network.describe_as_given(tile.features, refined)
        at = Described(refined, logits, *described, torch.ones_like(logits, dtype=torch.bool))
        proposals, own = tile.proposals, tile.proposals.boxes.shape[1]
        # Each click chooses for itself among the proposals and its own boxes.
        for_all = _without_looks(proposals).mapped(lambda one: one.expand(count, *one.shape[1:]))
        of_click = _without_looks(at).mapped(lambda one: one[0].unflatten(0, (count, -1)))
        options = join(for_all, of_click)
        logits_of = network.choice(options, xy.transpose(0, 1))[:, 0]
        chosen = _options(options.boxes, logits_of, xy[0], places[0, :, 2])
        number = torch.arange(count, device=xy.device)
        rows = chosen + torch.where(chosen < own, 0, number * CLICKED_BOXES)
        every = join(proposals, at).mapped(lambda one: one[0, rows])
        cells = network.templates(tile.features, xy)[0]
        origin = xy[0].repeat(1, 2)
        exemplars = torch.cat(
            [every.boxes - origin, every.embeddings, every.layouts, xy.new_zeros(count, 2)], 1
        )
        return cells, exemplars, every.scores[:, None]

    def templates_of_boxes(self, tile: OpenTile, boxes: NDArray[np.float32]) -> list[Template]:
        """See `c3det.model.ExemplarModel.templates_of_boxes`."""
        network, found = self.network, list[Template]()
        for corners in moved(torch.from_numpy(boxes), self.device)[None].split(_AT_ONCE, 1):
            embeddings, layouts, _ = network.describe_as_given(tile.features, corners)
            xy = (corners[..., :2] + corners[..., 2:]) / 2
            cells = network.templates(tile.features, xy)[0]
            box = (corners - xy.repeat(1, 1, 2))[0]
            ratios = self._ratios(tile, corners[0])
            exemplars = torch.cat([box, embeddings[0], layouts[0], ratios], 1)
            found += [(cells[row].clone(), exemplars[row].clone()) for row in range(len(cells))]
        return found

    def _ratios(self, tile: OpenTile, boxes: Tensor) -> Tensor:
        """Of the best proposals for people's boxes ``(n, 4)``, see the module: ``(n, 2)``."""
        usable = tile.proposals.scores[0].sigmoid() > PROPOSAL_SCORE
        proposals = self._clipped(tile, tile.proposals.boxes[0])
        boxes = self._clipped(tile, boxes)  # what lies outside the tile is in neither
        overlap, best = (pairwise_iou(boxes, proposals) * usable).max(1)
        proposed = proposals[best]
        ratios = (proposed[:, 2:] - proposed[:, :2]) / (boxes[:, 2:] - boxes[:, :2])
        return torch.where((overlap >= SAME_OBJECT)[:, None], ratios * RATIO_UNIT, 0.0)

    def described(self, template: Template) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `c3det.model.ExemplarModel.described`."""
        cells, exemplar = template[:2]
        box, vector = np.split(torch.cat([exemplar, cells.flatten()]).cpu().numpy(), [4])
        return vector, box

    def templates_of(self, exemplars: Sequence[Exemplar]) -> list[Template]:
        """See `c3det.model.ExemplarModel.templates_of`."""
        if not exemplars:
            return []
        rows = [np.append([one.width, one.height], one.vector) for one in exemplars]
        numbers = moved(torch.from_numpy(np.array(rows, np.float32)), self.device)
        sizes, embeddings, layouts, ratios, cells = numbers.split(
            [2, *self._widths, self.numbers - sum(self._widths)], 1
        )
        # Half precision has changed their lengths a little.
        cells = F.normalize(cells.unflatten(1, (len(STRIDES), CELL)), dim=2)
        embeddings, layouts = (F.normalize(one, dim=1) for one in (embeddings, layouts))
        found = torch.cat([-sizes / 2, sizes / 2, embeddings, layouts, ratios], 1)
        return [(cells[row].clone(), found[row].clone()) for row in range(len(exemplars))]

    def detect(
        self,
        tile: OpenTile,
        templates: Sequence[Template],
        clicks: Sequence[Click],
        exemplars: Sequence[tuple[Exemplar, Template]] = (),
    ) -> Detections:
        """See `c3det.model.ExemplarModel.detect`."""
        if not clicks and not exemplars:
            proposals = tile.proposals
            known = proposals.scores.sigmoid() * proposals.valid
            scores = self.network.propagation(known[..., None], tile.alike, proposals)[0]
            answer = self._ranked(tile, proposals.boxes[0], scores, _Suppression(0), nests=False)
            return _detections(answer.cpu(), [ANY_OBJECT])
        rows, ordered, labels = by_slot(templates, clicks, exemplars)
        if self.fixed_shapes:
            return _detections(self._padded_answer(tile, rows, ordered, len(labels)), labels)
        given = self._inputs(rows, ordered, len(labels))
        cells = [template[0] for template in ordered]
        self._correlate(tile, cells)
        shift = self._click_logit_shift(tile, given, self._collated(tile, given, cells))
        answer = self._answer(tile, given, shift, _Suppression(0))
        tile.correlations = dict(list(tile.correlations.items())[-KEPT_CORRELATIONS:])
        return _detections(answer, labels)

    def _inputs(
        self, rows: Sequence[tuple[float, ...]], templates: Sequence[Template], slots: int
    ) -> SlotInputs:
        """What `by_slot` has sorted, on the device."""
        places = moved(torch.tensor(rows, dtype=torch.float32), self.device)
        return SlotInputs.of(places, *self._stacked(templates), slots)

    def _stacked(self, templates: Sequence[Template]) -> tuple[Tensor, Tensor, Tensor]:
        """The three parts of templates; the logit of an exemplar of another picture is 0."""
        logits = [template[2] if len(template) > 2 else self._nothing[2] for template in templates]
        return (
            torch.stack([template[0] for template in templates]),
            torch.stack([template[1] for template in templates]),
            torch.cat(logits),
        )

    def _padded_answer(
        self,
        tile: OpenTile,
        rows: list[tuple[float, ...]],
        templates: list[Template],
        slots: int,
    ) -> Tensor:
        """See `_answer`: computed with as many clicks and slots as there are often.

        So the shapes are few, and the work can be recorded. It waits for the device but once, for
        the answer.
        """
        lacking = _padded(len(rows), PADDED_CLICKS) - len(rows)
        places = torch.tensor([*rows, *[PADDING] * lacking], dtype=torch.float32)
        parts = self._stacked([*templates, *[self._nothing] * lacking])
        inputs = (moved(places, self.device), *parts, *tile.tensors)
        padded = _padded(slots, PADDED_SLOTS)
        answer = self._recorded_answer((padded, ROUNDS), *inputs)[0].cpu()
        if not answer[-1, 1]:  # boxes overlap in long chains
            answer = self._answer_at_once((padded, 0), *inputs)[0].cpu()
        return answer

    def _answer_at_once(
        self,
        key: tuple[int, int],
        places: Tensor,
        cells: Tensor,
        exemplars: Tensor,
        logits: Tensor,
        *tensors: Tensor,
    ) -> tuple[Tensor]:
        """The work of `_padded_answer`, see `c3det.graphs.Recorded`.

        Args:
            key: The numbers of slots and of rounds, see `_Suppression`.
            places: The rows of `by_slot`.
            cells: Of the templates, as the next two; see `SlotInputs`.
            exemplars: Likewise.
            logits: Likewise.
            tensors: Of the tile.
        """
        slots, rounds = key
        given = SlotInputs.of(places, cells, exemplars, logits, slots)
        tile = OpenTile.of(tensors)
        shift = self._click_logit_shift(tile, given, _collated_at_once(tile, given))
        return (self._answer(tile, given, shift, _Suppression(rounds)),)

    def _answer(
        self, tile: OpenTile, given: SlotInputs, shift: Tensor, suppression: _Suppression
    ) -> Tensor:
        """The answer to some clicks, given by how much they shift logits; see `_ranked`."""
        boxes, embeddings, layouts, ratios = given.exemplars.split([4, *self._widths], 1)
        sizes = boxes[:, 2:] - boxes[:, :2]
        corrected = SizeCorrection.fit(ratios / RATIO_UNIT, sizes, given.positive)
        boxes = torch.where(given.foreign[:, None], boxes, boxes + given.xy.repeat(1, 2))
        at_clicks = Described(
            boxes[None],
            given.logits[None],
            embeddings[None],
            layouts[None],
            boxes.new_zeros(1, len(boxes), FIT),
            (self._inside(tile, given.xy) & self._is_new(tile, boxes))[None],
        )
        candidates = self._candidates(tile, given, at_clicks, shift, suppression)
        compared = Candidates(
            candidates.boxes,
            candidates.scores,
            candidates.embeddings,
            candidates.layouts,
            sampled_at(shift, candidates.boxes),
            candidates.valid,
        )
        batch = ExemplarBatch(
            given.xy[None],
            boxes[None],
            embeddings[None],
            layouts[None],
            given.positive[None],
            given.negative[None],
            given.foreign[None],
        )
        share = self.network.comparison.shares(compared, batch)
        usable = candidates.scores.sigmoid().sqrt() * candidates.valid
        propagation = self.network.propagation
        alike = propagation.among(candidates, tile.alike)
        scores = propagation(share * usable[..., None], alike, candidates, batch)[0]
        # A clicked box is of its slot, however low the model scores it. One that is not the
        # likeliest was asked for, and `c3det.answering` answers with it.
        clicked = given.positive & self._inside(tile, given.xy)
        boxes = torch.cat([candidates.boxes[0], boxes])
        least = given.chosen.to(scores.dtype).clamp(min=CLICKED_SCORE)
        scores = torch.cat([scores, clicked.T * least[:, None]])
        # Padding comes after what was clicked, and is nothing's rival.
        scores = scores.masked_fill(~given.positive.any(1), -1.0)
        return self._ranked(tile, boxes, scores, suppression, corrected)

    def _click_logit_shift(self, tile: OpenTile, given: SlotInputs, collated: Tensor) -> Tensor:
        """By how much the clicks of each slot shift the logits of "any object", at stride 8.

        ``(1, S, levels, h, w)``, as `OpenDetector.conditioned_logits` computes it.
        """
        positive, negative = collated.unbind(0)
        others = torch.cat(
            [best_of_others(positive[:, :-1], -1.0), best_of_others(positive[:, -1:], 0.0)], 1
        )
        regressed = self.network.regressions(
            tile.features, given.cells[None], given.positive[None], given.negative[None]
        )[0]
        others_regressed = best_of_others(regressed.clamp(min=0), 0.0)
        stacked = torch.cat(
            [
                torch.stack([positive, others, negative], 2).flatten(1, 2),
                regressed,
                others_regressed,
            ],
            1,
        )
        stacked = stacked.contiguous(memory_format=torch.channels_last)
        together = SLOTS_AT_ONCE if self.device.type == "cpu" else len(stacked)
        return torch.cat([self._shift_of(tile, some) for some in stacked.split(together)])[None]

    def _shift_of(self, tile: OpenTile, maps: Tensor) -> Tensor:
        """The logit shift ``(n, levels, h, w)`` of n slots from their maps ``(n, C, h, w)``."""
        network = self.network
        hidden = F.conv2d(maps, self._of_clicks, padding=1).add_(tile.picture_term).relu_()
        for layer in list(network.raise_hidden)[2:]:
            hidden = layer(hidden)
        out = network.raise_out
        assert out.bias is not None
        # A 1x1 convolution to few channels, for which torch's own is slow.
        shift = hidden.permute(0, 2, 3, 1) @ out.weight[..., 0, 0].T + out.bias
        return shift.permute(0, 3, 1, 2).float()

    def _collated(self, tile: OpenTile, given: SlotInputs, cells: Sequence[Tensor]) -> Tensor:
        """See `_collated_at_once`. Those of slots whose clicks are as before are kept."""
        height, width = tile.picture_term.shape[-2:]
        kept: dict[tuple[int, ...], tuple[tuple[Tensor, ...], Tensor]] = {}
        collated = []
        for row in torch.cat([given.positive, given.negative]).numpy():
            chosen = np.flatnonzero(row).tolist()
            of_slot = tuple(cells[one] for one in chosen)
            key = tuple(map(id, of_slot))
            if key not in kept:
                kept[key] = tile.collated.get(key) or (
                    of_slot,
                    _maxima(tile, of_slot, given.xy[chosen]),
                )
            collated.append(kept[key][1])
        tile.collated = kept
        return torch.stack(collated).view(2, -1, len(STRIDES) + 1, height, width)

    def _correlate(self, tile: OpenTile, cells: Sequence[Tensor]) -> None:
        """C3's correlations with the cells of each template, all levels at stride 8; are kept."""
        found = {
            id(cell): tile.correlations[id(cell)] for cell in cells if id(cell) in tile.correlations
        }
        new = [cell for cell in dict.fromkeys(cells) if id(cell) not in found]
        for start in range(0, len(new), _AT_ONCE):
            some = new[start : start + _AT_ONCE]
            maps = correlations(tile.features, torch.stack(some)[None])[0]
            for cell, one in zip(some, maps, strict=True):
                found[id(cell)] = (cell, one.clone())
        tile.correlations = found

    def _candidates(
        self,
        tile: OpenTile,
        given: SlotInputs,
        at_clicks: Described,
        shift: Tensor,
        suppression: _Suppression,
    ) -> Described:
        """The proposals, the click-conditioned boxes, and the exemplars of this picture.

        On a CPU, without those that are not valid: to compare them takes time.
        """
        network, features = self.network, tile.features
        weights = F.softplus(network.size_weight)
        sizes = SlotSizes.of(at_clicks.boxes, given.positive[None])
        if self.fixed_shapes:
            shift = shift.masked_fill(~sizes.known[..., None, None, None], -torch.inf)
        scores = tuple(
            score + (at_level(shift[:, :, level], level) - weights[level] * misfit).amax(1)
            for level, (score, misfit) in enumerate(
                zip(features.scores, map(sizes.misfit, features.boxes), strict=True)
            )
        )
        dense, logits, cells = network.propose(
            scores, features.boxes, DENSE_CONDITIONED, CONDITIONED, suppression
        )
        kept = self._is_new(tile, dense[0]) & (logits[0] > CONDITIONED_LOGIT)
        if self.fixed_shapes:
            conditioned = network.describe(features, dense, kept[None])
        else:
            conditioned = self._describe_cells(tile, dense[:, kept], cells[0, kept])
            used = at_clicks.valid[0]
            at_clicks = at_clicks.mapped(lambda one: one[:, used])
        return join(join(tile.proposals, conditioned), at_clicks)

    def _inside(self, tile: OpenTile, xy: Tensor) -> Tensor:
        """Which of places ``(n, 2)`` lie in a tile."""
        return ((xy >= 0) & (xy <= tile.extent[:2])).all(1)

    def _is_new(self, tile: OpenTile, boxes: Tensor) -> Tensor:
        """Which of boxes ``(n, 4)`` are not much the same as a proposal."""
        return pairwise_iou(boxes, tile.proposals.boxes[0]).amax(1) < SAME_BOX

    def _describe_cells(self, tile: OpenTile, boxes: Tensor, cells: Tensor) -> Described:
        """Describe dense boxes ``(1, n, 4)``; descriptions of cells are kept."""
        wanted = cells.tolist()
        if len(tile.cells) > KEPT_CANDIDATES:
            tile.cells, tile.conditioned = {}, None
        new = [place for place, cell in enumerate(wanted) if cell not in tile.cells]
        if new or tile.conditioned is None:
            valid = torch.ones(1, len(new), dtype=torch.bool, device=self.device)
            found = self.network.describe(tile.features, boxes[:, new], valid)
            before = len(tile.cells)
            tile.cells |= {wanted[place]: before + row for row, place in enumerate(new)}
            tile.conditioned = found if tile.conditioned is None else join(tile.conditioned, found)
        rows = torch.tensor([tile.cells[cell] for cell in wanted], dtype=torch.long)
        rows = rows.to(self.device)
        return tile.conditioned.mapped(lambda one: one[:, rows])

    def _clipped(self, tile: OpenTile, boxes: Tensor) -> Tensor:
        """Boxes ``(n, 4)``, as far as they lie in a tile."""
        return torch.minimum(boxes.clamp(min=0), tile.extent)

    def _ranked(
        self,
        tile: OpenTile,
        boxes: Tensor,
        scores: Tensor,
        suppression: _Suppression,
        corrected: SizeCorrection | None = None,
        nests: bool = True,
    ) -> Tensor:
        """The boxes ``(P, 4)``, each of the slot of its best score ``(P, S)``, by falling score.

        Sizes are corrected last: which boxes are found, and their scores, do not depend on it.

        Returns:
            ``(n + 1, 8)``: ``(x1, y1, x2, y2, score, slot, second best slot, its score)`` of each
            box. The last row begins with how many of them are boxes of the answer, which come
            first, and whether the suppression has come to its end.
        """
        boxes = self._clipped(tile, boxes)
        best, slot = scores.max(1)
        usable = (best > LEAST_SCORE) & ((boxes[:, 2:] - boxes[:, :2]).amin(1) > 1)
        # Only on a CPU it pays to drop what does not count any more.
        if not self.fixed_shapes:
            best, slot, boxes, scores = best[usable], slot[usable], boxes[usable], scores[usable]
            usable = torch.ones_like(best, dtype=torch.bool)
        order = best.masked_fill(~usable, -1.0).argsort(descending=True, stable=True)
        boxes, slot, scores, usable = boxes[order], slot[order], scores[order], usable[order]
        stays = suppression(boxes, OVERLAP) & usable
        if not self.fixed_shapes:
            boxes, slot, scores, stays = boxes[stays], slot[stays], scores[stays], stays[stays]
        if nests:
            nested = nested_in_better(boxes, torch.where(stays, slot, -1), NESTED_SHARE)
            scores = scores * torch.where(nested, NESTED_FACTOR, 1.0)[:, None]
        order = scores.amax(1).masked_fill(~stays, -1.0).argsort(descending=True, stable=True)
        boxes, slot, scores = boxes[order], slot[order], scores[order]
        if corrected is not None:
            boxes = self._clipped(tile, corrected(boxes, slot))
        second, rival = scores.scatter(1, slot[:, None], -2.0).max(1)
        columns = (scores.amax(1), slot, rival, second)
        rows = torch.cat([boxes, *(column.to(boxes.dtype)[:, None] for column in columns)], 1)
        last = F.pad(torch.stack([stays.sum(), suppression.settled(boxes.device)]), (0, 6))
        return torch.cat([rows, last.to(rows.dtype)[None]])

    def outlines(
        self, tile: OpenTile, boxes: NDArray[np.float32], wanted: Sequence[int]
    ) -> list[Outline | None]:
        """See `c3det.model.Model.outlines` and `c3det.open.outlines`."""
        height, width = (-(-side // STRIDE) for side in tile.image_size)  # without padding
        cells = tile.features.embeddings[0][0, :, :height, :width].float().cpu().numpy()
        return outlines(cells, boxes, wanted)

    def shared_by(self, tiles: Sequence[OpenTile]) -> list[Tensor]:
        """Nothing."""
        return []

    def encode_whole(self, image: NDArray[np.uint8]) -> OpenTile:
        """See `c3det.model.Model.encode_whole`: the picture as one tile."""
        return self.encode(image)

    def detect_whole(
        self, features: OpenTile, clicks: Sequence[Click], exemplars: Sequence[Exemplar] = ()
    ) -> Detections:
        """See `c3det.model.ExemplarModel.detect_whole`."""
        tile = replace(features, correlations={}, collated={}, cells={}, conditioned=None)
        if not clicks and not exemplars:
            return self.detect(tile, [], [])
        query = Query.of(clicks, exemplars, counts_negative=self.counts_negative)
        if query == NO_CLICKS:
            return Detections.none()
        # The order does not depend on labels.
        here = sorted(query.clicks, key=lambda click: (click.y, click.x))
        elsewhere = zip(query.exemplars, self.templates_of(query.exemplars), strict=True)
        return self.detect(tile, self.templates(tile, here), here, list(elsewhere))


class _Suppression:
    """Non-maximum suppression in some rounds, that remembers whether these were enough.

    Args:
        rounds: 0: as many as it takes, which waits for the device.
    """

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds
        self._settled: list[Tensor] = []

    def __call__(self, boxes: Tensor, threshold: float) -> Tensor:
        """See `c3det.boxes.non_maximum_suppression`."""
        if not self._rounds:
            return non_maximum_suppression(boxes, threshold)
        kept, settled = suppression_in_rounds(boxes, threshold, self._rounds)
        self._settled.append(settled)
        return kept

    def settled(self, device: torch.device) -> Tensor:
        """Whether all suppressions so far were greedy, bool ``()``."""
        return torch.stack([torch.ones((), dtype=torch.bool, device=device), *self._settled]).all()


def _options(boxes: Tensor, logits: Tensor, xy: Tensor, choices: Tensor) -> Tensor:
    """Which box each of n clicks means.

    Args:
        boxes: ``(n, P, 4)``, those that each may mean.
        logits: ``(n, P)``, see `c3det.open.detector.ExemplarChoice`.
        xy: ``(n, 2)``, the clicks.
        choices: ``(n,)``, see `c3det.clicks.Click`.

    Returns:
        int64 ``(n,)``, indices of boxes.
    """
    best, index = logits.topk(min(OPTIONS, logits.shape[1]), 1)
    some = boxes.gather(1, index[..., None].expand(-1, -1, 4))
    # Only the likeliest may lie beside its click.
    usable = (best >= best[:, :1] - LEAST_LIKELY) & contains(some, xy[:, :1], xy[:, 1:])
    usable |= torch.arange(best.shape[1], device=best.device) == 0
    usable &= non_maximum_suppression(some, SAME_OPTION, ROUNDS)
    number = usable.cumsum(1) - 1
    wanted = choices.long() % usable.sum(1)
    place = (usable & (number == wanted[:, None])).int().argmax(1, keepdim=True)
    return index.gather(1, place)[:, 0]


def _padded(count: int, sizes: Sequence[int]) -> int:
    """The least of some sizes that a count fits into; beyond the last, a multiple of it."""
    last = sizes[-1]
    return next((size for size in sizes if count <= size), -(-count // last) * last)


def _maxima(tile: OpenTile, cells: Sequence[Tensor], xy: Tensor) -> Tensor:
    """The maxima of kept correlations and heatmaps over some clicks, ``(levels + 1, h, w)``."""
    height, width = tile.picture_term.shape[-2:]
    found = tile.picture_term.new_full((len(STRIDES) + 1, height, width), -1.0)
    for cell in cells:
        torch.maximum(found[:-1], tile.correlations[id(cell)][1], out=found[:-1])
    found[-1] = click_heatmaps(xy, height, width).amax(0) if cells else 0.0
    return found


def _collated_at_once(tile: OpenTile, given: SlotInputs) -> Tensor:
    """The maxima of correlations and heatmaps over the clicks of each slot (equation 3).

    Returns:
        ``(2, S, levels + 1, h, w)`` at stride 8, of the positive and of the negative clicks: the
        correlations, -1 where there is none, and the heatmap, 0 where there is none.
    """
    height, width = tile.picture_term.shape[-2:]
    rows = torch.cat([given.positive, given.negative])
    shape = (len(rows) + 1, len(STRIDES) + 1, height, width)
    found = tile.picture_term.new_full(shape, -1.0)
    found[:, -1].zero_()
    # What is of no slot goes to a row that is left out.
    row = torch.where(rows.any(0), rows.to(torch.int8).argmax(0), len(rows))
    for start in range(0, len(row), PADDED_CLICKS[-1]):
        some = slice(start, start + PADDED_CLICKS[-1])
        maps = torch.cat(
            [
                correlations(tile.features, given.cells[None, some])[0],
                click_heatmaps(given.xy[some], height, width)[:, None],
            ],
            1,
        )
        found.scatter_reduce_(0, row[some, None, None, None].expand_as(maps), maps, "amax")
    return found[:-1].unflatten(0, (2, -1))


def _detections(answer: Tensor, labels: Sequence[int]) -> Detections:
    """Of an answer, see `OpenModel._ranked`, on the CPU, to slots of some labels."""
    rows = answer.numpy()
    boxes, scores, slot, rival, second = np.split(rows[: int(rows[-1, 0])], [4, 5, 6, 7], 1)
    label_of = np.array(labels, np.int64)
    found = Detections.unanswered(
        np.ascontiguousarray(boxes), scores[:, 0].copy(), label_of[slot[:, 0].astype(np.int64)]
    )
    if len(labels) < 2:
        return found
    rivals = label_of[rival[:, 0].astype(np.int64)]
    return replace(found, rivals=rivals, rival_scores=second[:, 0].copy())


def _without_looks(described: Described) -> Described:
    """The same without embeddings and layouts, which take most of the memory."""
    nothing = described.boxes[..., :0]
    return replace(described, embeddings=nothing, layouts=nothing)


def load_network(path: Path, card: Card) -> OpenDetector:
    """The network of weights and their card, for evaluation.

    Raises:
        WeightsError: The card is of a closed model, or the tensors do not fit it.
    """
    if not isinstance(card.architecture, OpenArchitecture):
        raise WeightsError(f"the weights {path} are of the closed model: choose the open model's")
    network = OpenDetector(card.architecture.channels, card.architecture.embedding)
    if not fill(network, load_tensors(path, card)):
        raise WeightsError(
            f"the tensors of {path} do not fit the architecture in their card: export the weights "
            "again with python -m training.open.export"
        )
    return network.eval()


def load_model(path: Path, card: Card, device: torch.device) -> OpenModel:
    """The model of a card, on a device, see `c3det.predictor.load`."""
    return OpenModel(load_network(path, card).to(device))


def fill(network: OpenDetector, tensors: dict[str, Tensor]) -> bool:
    """Load tensors of any precision into a network; return whether they fit it."""
    state = {name: tensor.float() for name, tensor in tensors.items()}
    try:
        missing, unexpected = network.load_state_dict(state, strict=False)
    except RuntimeError:
        return False
    # Counts of batches that only training looks at are not kept.
    return not unexpected and all(name.endswith("num_batches_tracked") for name in missing)

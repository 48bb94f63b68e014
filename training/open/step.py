"""One step of training: an episode in, losses out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from c3det.boxes import giou, iou, pairwise_iou
from c3det.open.compare import Candidates, ExemplarBatch
from c3det.open.detector import (
    CLICKED_BOXES,
    Described,
    OpenDetector,
    OpenFeatures,
    PaddedClicks,
    SlotSizes,
    join,
    sampled_at,
)
from training.open.episodes import SLOTS, Episode
from training.open.losses import (
    ComparisonTargets,
    assign,
    choice_loss,
    comparison_loss,
    contrastive,
    gathered,
    match,
    quality_focal,
    region_loss,
)
from training.options import option

PROPOSALS = 160
CONDITIONED = 96
JITTERED = 40
UNKNOWN = -3.0
"""Logit of "any object" where nothing is known."""

HARD = 6
"""Clicks on the model's own worst errors, half of them negative."""


@dataclass(frozen=True, slots=True)
class StepSettings:
    """What a step does; options of the command line, by their names."""

    hard: float = option(0.5, "share of the pictures with clicks on the model's worst errors")
    enforce: float = option(0.5, "weight of UEL")
    unsure: float = option(
        0.5, "share of the pictures in which it is less sure what an object is, as of unknown kinds"
    )
    reject: float = option(0.5, "weight of what negative clicks tell apart")


def augmented(images: Tensor, support: Tensor) -> Tensor:
    """Pictures uint8 ``(B, h, w, 3)`` as float ``(B, 3, h, w)``, of other light and colours.

    Both pictures of a pair have the same order of colours, which may be what tells classes apart.

    Args:
        images: Of an episode.
        support: See `Episode`.
    """
    x = images.permute(0, 3, 1, 2).float()
    light = torch.rand(len(x), 3, 1, 1, device=x.device)
    x = (x - 128) * (0.6 + 0.7 * light[:, :1]) + 128 + (light[:, 1:2] - 0.5) * 50
    order = torch.rand(len(x), 3, device=x.device).argsort(1)
    keep = torch.rand(len(x), 1, device=x.device) < 0.75
    order = torch.where(keep, torch.arange(3, device=x.device), order)
    order = torch.where(support[:, None] >= 0, order[support.clamp(min=0)], order)
    return x.gather(1, order[..., None, None].expand_as(x)).clamp(0, 255)


def jittered(boxes: Tensor, spread: float) -> Tensor:
    """Boxes moved and resized a little."""
    size = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1)
    noise = torch.randn_like(boxes) * spread
    return boxes + noise * torch.cat([size, size], -1)


def _exemplars(
    described: Described, index: Tensor, clicks: PaddedClicks, support: Tensor
) -> ExemplarBatch:
    """The exemplars of each picture, and after them those of its support picture.

    Args:
        described: The boxes that may be exemplars.
        index: ``(B, n)``, which box is that of each of the picture's own clicks.
        clicks: As `_with_support` returns them: the first half are the picture's own.
        support: See `Episode`.
    """
    positive, negative = clicks.members(SLOTS)
    return ExemplarBatch(
        clicks.xy,
        _and_support(gathered(described.boxes.detach(), index), support),
        _and_support(gathered(described.embeddings, index), support),
        _and_support(gathered(described.layouts, index), support),
        positive,
        negative,
        ~clicks.xy.isfinite().all(-1),
    )


def _and_support(values: Tensor, support: Tensor) -> Tensor:
    """Values ``(B, n, ...)`` and those of the support picture after them, ``(B, 2 * n, ...)``."""
    return torch.cat([values, values.index_select(0, support.clamp(min=0))], 1)


def _with_support(clicks: PaddedClicks, support: Tensor) -> PaddedClicks:
    """The same, and after them those of the support picture, which lie nowhere in this one."""
    slots = _and_support(clicks.slots, support)
    count = clicks.slots.shape[1]
    slots[:, count:].masked_fill_(support[:, None] < 0, -1)
    nowhere = torch.full_like(clicks.xy, -torch.inf)
    return PaddedClicks(
        torch.cat([clicks.xy, nowhere], 1), slots, _and_support(clicks.positive, support)
    )


def _hard_clicks(
    shares: Tensor, candidates: Described, episode: Episode, clicked: Tensor, share: float
) -> PaddedClicks:
    """Clicks on the worst errors: the least sure objects of slots, and the surest wrong boxes.

    Args:
        shares: ``(B, P, S)``, the share of each slot in each candidate.
        candidates: The compared boxes.
        episode: Of the batch.
        clicked: bool ``(B, M)``, objects that are clicked already.
        share: Of pictures that get such clicks.
    """
    device = shares.device
    overlap = pairwise_iou(candidates.boxes, episode.boxes)
    overlap = overlap * candidates.valid[..., None]
    fits = overlap >= 0.5
    wanted = episode.slots.clamp(min=0)
    # (B, P, M): each candidate's share of the slot of each object.
    of_slot = shares.gather(2, wanted[:, None].expand(-1, shares.shape[1], -1))
    found = (of_slot * fits).amax(1)
    open_objects = (episode.slots >= 0) & ~clicked
    missing = (1 - found + 0.2 * torch.rand_like(found)).masked_fill(~open_objects, -1.0)
    few = HARD // 2
    value, index = missing.topk(few, 1)
    use = torch.rand(len(shares), 1, device=device) < share
    many = torch.arange(few, device=device) < torch.randint(
        1, few + 1, (len(shares), 1), device=device
    )
    ok = (value > 0) & use & many
    box = gathered(episode.boxes, index)
    spread = (torch.rand_like(box[..., :2]) - 0.5) * 0.4
    xy = (box[..., :2] + box[..., 2:]) / 2 + spread * (box[..., 2:] - box[..., :2])
    slots = torch.where(ok, episode.slots.gather(1, index), -1)
    # Negative: a candidate that fits no object of the slot that it is inferred to be of.
    same = (
        fits[..., None] & (episode.slots[:, None, :, None] == torch.arange(SLOTS, device=device))
    ).any(2)
    wrong = (shares * candidates.scores.sigmoid()[..., None]).masked_fill(same, 0)
    odd = pairwise_iou(candidates.boxes, episode.ignored).amax(-1) > 0.1
    wrong = wrong.masked_fill((odd | ~candidates.valid)[..., None], 0)
    level, place = wrong.flatten(1).topk(few, 1)
    bad = torch.div(place, SLOTS, rounding_mode="floor")
    negative_ok = (level > 0.15) & (torch.rand(len(shares), 1, device=device) < share) & many
    negative_box = gathered(candidates.boxes, bad)
    negative_xy = (negative_box[..., :2] + negative_box[..., 2:]) / 2
    return PaddedClicks(
        torch.cat([xy, negative_xy], 1).clamp(0, episode.images.shape[1] - 1.0),
        torch.cat([slots, torch.where(negative_ok, place % SLOTS, -1)], 1),
        torch.cat([torch.ones_like(ok), torch.zeros_like(negative_ok)], 1),
    )


@dataclass(frozen=True, slots=True)
class _UnderClicks:
    """What is under the clicks of a batch.

    Attributes:
        dense: ``(B, n * CLICKED_BOXES, 4)``, the dense boxes at the clicks.
        at_clicks: The same boxes, described.
        everything: The proposals and these.
        choice: Logits of all of them, see `c3det.open.detector.ExemplarChoice`.
        known: The clicks, and those of the support pictures.
        exemplars: The chosen boxes, and those of the support pictures.
    """

    dense: Tensor
    at_clicks: Described
    everything: Described
    choice: Tensor
    known: PaddedClicks
    exemplars: ExemplarBatch


def _under_clicks(
    model: OpenDetector,
    features: OpenFeatures,
    proposals: Described,
    clicks: PaddedClicks,
    support: Tensor,
    autocast: torch.autocast,
) -> _UnderClicks:
    dense = model.boxes_at(features, clicks.xy).detach()
    used = (clicks.slots >= 0).repeat_interleave(CLICKED_BOXES, 1)
    with autocast:
        at_clicks = model.describe(features, dense, used)
    everything = join(proposals, at_clicks)
    choice = model.choice(everything, clicks.xy)
    known = _with_support(clicks, support)
    exemplars = _exemplars(everything, choice.argmax(-1), known, support)
    return _UnderClicks(dense, at_clicks, everything, choice, known, exemplars)


def run(
    model: OpenDetector,
    episode: Episode,
    settings: StepSettings,
    amp: bool,
    *,
    one_set: bool = False,
) -> dict[str, Tensor]:
    """Losses of an episode, by name; their sum is what is trained.

    Args:
        model: Is trained.
        episode: On its device.
        settings: Of the step.
        amp: Whether convolutions are computed in bfloat16.
        one_set: Whether a number of a class means the same in all pictures of the episode.
    """
    device = episode.boxes.device
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=amp)
    is_object = episode.kinds >= 0
    with autocast:
        features = model.encode(
            augmented(episode.images, episode.support).contiguous(memory_format=torch.channels_last)
        )
    sizes = [(s.shape[-2], s.shape[-1]) for s in features.scores]
    assigned = assign(episode.boxes, is_object, episode.ignored, sizes)
    losses = _dense_losses(features, episode, assigned)
    with torch.no_grad():
        proposed, logits, _ = model.propose(features.scores, features.boxes, 320, PROPOSALS)
        shuffled = torch.rand_like(episode.boxes[..., 0]).masked_fill(~is_object, -1)
        value, index = shuffled.topk(JITTERED, 1)
        extra = jittered(gathered(episode.boxes, index), 0.12)
        before = torch.cat([proposed, extra], 1)
        valid = torch.cat([logits > -8.0, value >= 0], 1)
        first = PaddedClicks(episode.click_xy, episode.click_slots, episode.positive)
    with autocast:
        described = model.describe(features, before, valid)
    score, where = region_loss(
        before, described.scores, described.boxes, valid, episode.boxes, is_object, episode.ignored
    )
    losses["region score"], losses["region box"] = 0.5 * score, where
    pool = Described(
        described.boxes[:, :PROPOSALS],
        described.scores[:, :PROPOSALS],
        described.embeddings[:, :PROPOSALS],
        described.layouts[:, :PROPOSALS],
        described.fits[:, :PROPOSALS],
        valid[:, :PROPOSALS],
    )
    # Contrast on the jittered boxes of objects, whose classes are known.
    kinds = episode.kinds.gather(1, index)
    if not one_set:
        number = torch.arange(len(index), device=device)
        number = torch.where(episode.support >= 0, episode.support, number)
        kinds = kinds + 1000 * number[:, None]
    kinds = torch.where(value >= 0, kinds, -1)
    losses["contrast"] = 0.3 * contrastive(
        described.embeddings[:, PROPOSALS:].flatten(0, 1), kinds.flatten()
    )
    clicks = first
    if settings.hard:
        with torch.no_grad():
            clicks = _with_hard_clicks(model, features, pool, first, episode, settings, autocast)
    under = _under_clicks(model, features, pool, clicks, episode.support, autocast)
    at_clicks = under.at_clicks
    score, where = region_loss(
        under.dense,
        at_clicks.scores,
        at_clicks.boxes,
        at_clicks.valid,
        episode.boxes,
        is_object,
        episode.ignored,
    )
    losses["clicked score"], losses["clicked box"] = 0.25 * score, 0.5 * where
    losses["choice"] = 0.3 * choice_loss(
        under.choice,
        under.everything.boxes.detach(),
        clicks.xy,
        clicks.slots >= 0,
        episode.boxes,
        is_object,
    )
    known, exemplars = under.known, under.exemplars
    sure = torch.rand(len(is_object), device=device)
    sure = torch.where(torch.rand_like(sure) < settings.unsure, sure, 1.0)
    unsure = replace(
        features, scores=tuple(_less_sure(one, sure[:, None, None]) for one in features.scores)
    )
    # In float32: in bfloat16 even a single exemplar would have a spread of up to 0.35.
    slot_sizes = SlotSizes.of(exemplars.boxes, exemplars.positive)
    with autocast:
        cells = _and_support(model.templates(features, clicks.xy), episode.support)
        levels, shift = model.conditioned_logits(unsure, known, cells, slot_sizes)
    losses["conditioned"] = _conditioned_loss(features, levels, episode, assigned, exemplars)
    with torch.no_grad():
        active = exemplars.positive.any(-1)
        best = tuple(level.masked_fill(~active[..., None, None], -20.0).amax(1) for level in levels)
        more, more_logits, _ = model.propose(best, features.boxes, 160, CONDITIONED)
    with autocast:
        further = model.describe(features, more, more_logits > -6.0)
    candidates = join(pool, further)
    compared = Candidates(
        candidates.boxes.detach(),
        _less_sure(candidates.scores.detach(), sure[:, None]),
        candidates.embeddings,
        candidates.layouts,
        sampled_at(shift, candidates.boxes.detach()),
        candidates.valid,
    )
    one, two = model.comparison(compared, exemplars)
    targets = _targets(candidates, exemplars, episode, is_object)
    losses["first round"] = 0.5 * comparison_loss(one, targets, settings.enforce, settings.reject)
    losses["second round"] = comparison_loss(two, targets, settings.enforce, settings.reject)
    return losses


def _with_hard_clicks(
    model: OpenDetector,
    features: OpenFeatures,
    pool: Described,
    clicks: PaddedClicks,
    episode: Episode,
    settings: StepSettings,
    autocast: torch.autocast,
) -> PaddedClicks:
    exemplars = _under_clicks(model, features, pool, clicks, episode.support, autocast).exemplars
    compared = Candidates(
        pool.boxes,
        pool.scores,
        pool.embeddings,
        pool.layouts,
        pool.scores.new_zeros(*pool.scores.shape, SLOTS),
        pool.valid,
    )
    shares = model.comparison(compared, exemplars)[1].softmax(-1)[..., :-1]
    numbers = torch.arange(episode.kinds.shape[1], device=episode.kinds.device)
    clicked = (episode.clicked[:, :, None] == numbers).any(1)
    hard = _hard_clicks(shares, pool, episode, clicked, settings.hard)
    return PaddedClicks(
        torch.cat([clicks.xy, hard.xy], 1),
        torch.cat([clicks.slots, hard.slots], 1),
        torch.cat([clicks.positive, hard.positive], 1),
    )


def _less_sure(logits: Tensor, sure: Tensor) -> Tensor:
    """Logits of "any object", drawn to `UNKNOWN`: as they are for 1, the same for all for 0.

    A network that knows an object anyway would not learn what clicks tell.
    """
    return UNKNOWN + sure * (logits - UNKNOWN)


def _dense_losses(
    features: OpenFeatures, episode: Episode, assigned: list[tuple[Tensor, Tensor]]
) -> dict[str, Tensor]:
    scores, places, counts = [], [], []
    for (index, skip), logits, boxes in zip(assigned, features.scores, features.boxes, strict=True):
        positive = index >= 0
        wanted = gathered(episode.boxes, index)
        quality = 0.3 + 0.7 * iou(boxes.detach(), wanted)
        scores.append(quality_focal(logits, positive, quality, skip))
        places.append(((1 - giou(boxes, wanted)) * positive).sum())
        counts.append(positive.sum())
    total = torch.stack(counts).sum().clamp(min=1)
    return {
        "object": torch.stack(scores).sum() / total,
        "object box": torch.stack(places).sum() / total,
    }


def _conditioned_loss(
    features: OpenFeatures,
    levels: tuple[Tensor, ...],
    episode: Episode,
    assigned: list[tuple[Tensor, Tensor]],
    exemplars: ExemplarBatch,
) -> Tensor:
    """Of each clicked slot: its objects are positive, everything else is ground."""
    active = exemplars.positive.any(-1)
    totals, counts = [], []
    numbers = torch.arange(SLOTS, device=episode.boxes.device)
    for (index, skip), level, boxes in zip(assigned, levels, features.boxes, strict=True):
        slot = episode.slots.gather(1, index.clamp(min=0).flatten(1)).view_as(index)
        slot = torch.where(index >= 0, slot, -1)
        positive = slot[:, None] == numbers[:, None, None]
        quality = (0.3 + 0.7 * iou(boxes.detach(), gathered(episode.boxes, index)))[:, None]
        ignored = skip[:, None] | ~active[..., None, None]
        totals.append(quality_focal(level, positive, quality.expand_as(level), ignored))
        counts.append((positive & ~ignored).sum())
    return torch.stack(totals).sum() / torch.stack(counts).sum().clamp(min=1)


def _targets(
    candidates: Described, exemplars: ExemplarBatch, episode: Episode, is_object: Tensor
) -> ComparisonTargets:
    """What the comparison should say of each candidate."""
    overlap, index, odd = match(
        candidates.boxes.detach(), episode.boxes, is_object, episode.ignored
    )
    slot = episode.slots.gather(1, index)
    active = exemplars.positive.any(-1)
    known = (slot >= 0) & active.gather(1, slot.clamp(min=0))
    fit = overlap >= 0.5
    target = torch.where(fit & known, slot, SLOTS)
    used = candidates.valid & ~odd & (fit | (overlap < 0.4))
    used &= active.any(1)[:, None]
    positive = used & fit & known
    other = used & fit & ~known
    ground = used & ~fit
    count = positive.sum().clamp(min=1)
    weight = positive.float()
    weight = weight + other * (0.7 * count / other.sum().clamp(min=1)).clamp(max=1.0)
    weight = weight + ground * (0.5 * count / ground.sum().clamp(min=1)).clamp(max=1.0)
    xy = exemplars.xy
    inside = (
        (candidates.boxes[:, :, None, :2] <= xy[:, None])
        & (xy[:, None] <= candidates.boxes[:, :, None, 2:])
    ).all(-1)
    mine = exemplars.positive.any(1)[:, None] & inside
    # The class of the object under each negative click of this picture, its look-alikes, and the
    # objects of the slot, which must stay.
    under, of, _ = match(exemplars.boxes, episode.boxes, is_object, episode.ignored)
    rejected = exemplars.negative & (xy.isfinite().all(-1) & (under >= 0.5))[:, None]
    same = episode.kinds.gather(1, index)[..., None] == episode.kinds.gather(1, of)[:, None]
    wrong = target[..., None] != torch.arange(SLOTS, device=target.device)
    alike = ((same.float() @ rejected.transpose(1, 2).float() > 0) & wrong).any(-1)
    has_rejected = rejected.any(-1).gather(1, target.clamp(max=SLOTS - 1)) & positive
    contested = has_rejected | (used & fit & alike)
    return ComparisonTargets(target, weight, positive & mine.any(-1), contested)

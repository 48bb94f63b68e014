"""The open model on whole pictures: encode once, then clicks in, boxes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from c3det.clicks import Click
from c3det.open.boxes import non_maximum_suppression, pairwise_iou
from c3det.open.compare import Candidates, Exemplars
from c3det.open.detector import (
    PAD,
    Clicks,
    Described,
    Features,
    OpenDetector,
    choose_exemplars,
    sampled_at,
)

PROPOSALS = 600
RAISED = 160


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """All of a picture that does not depend on clicks.

    Attributes:
        features: Of the picture, a batch of one.
        proposals: Class-agnostic boxes.
        image_size: ``(height, width)`` in pixels.
    """

    features: Features
    proposals: Described
    image_size: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Boxes by falling score.

    Attributes:
        boxes: float32 ``(n, 4)``.
        scores: float32 ``(n,)``.
        labels: int64 ``(n,)``, -1 for any object.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]

    @classmethod
    def none(cls) -> Found:
        """No boxes."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


class OpenPredictor:
    """A loaded open model.

    Args:
        model: In evaluation mode.
    """

    def __init__(self, model: OpenDetector) -> None:
        self.model = model.eval()

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> OpenPredictor:
        """Read weights."""
        model = OpenDetector()
        state = {name: value.float() for name, value in load_file(path).items()}
        model.load_state_dict(state, strict=False)
        return cls(model.to(device).to(memory_format=torch.channels_last))

    @torch.inference_mode()
    def encode(self, image: NDArray[np.uint8]) -> EncodedPicture:
        """Compute what does not depend on clicks, of a uint8 ``(H, W, 3)`` picture, RGB."""
        height, width = image.shape[:2]
        device = self.model.mean.device
        pixels = torch.from_numpy(np.array(image)).to(device).permute(2, 0, 1)[None].float()
        mean = self.model.mean.expand(-1, -1, 1, 1)
        padded = F.pad(pixels - mean, (0, -width % PAD, 0, -height % PAD)) + mean
        features = self.model.encode(padded.contiguous(memory_format=torch.channels_last))
        boxes, logits = self.model.propose(
            features.scores, features.boxes, 1500, PROPOSALS, rounds=0
        )
        proposals = self.model.describe(features, boxes, logits > -7.0)
        return EncodedPicture(features, proposals, (height, width))

    @torch.inference_mode()
    def any_object(self, picture: EncodedPicture) -> Found:
        """Class-agnostic boxes."""
        scores = picture.proposals.scores[0].sigmoid() * picture.proposals.valid[0]
        return self._found(
            picture, picture.proposals.boxes[0], scores[:, None], torch.zeros(1).long() - 1
        )

    @torch.inference_mode()
    def detect(self, picture: EncodedPicture, clicks: Sequence[Click]) -> Found:
        """Boxes of all slots that have positive clicks; the labels of the clicks name the slots.

        Slots and clicks are put in one order first, by where they are, so that other names or
        another order give the very same boxes.
        """
        names = _in_order(clicks)
        if not names:
            return Found.none()
        given = self._clicks(clicks, names)
        model, features = self.model, picture.features
        at = model.describe(features, model.boxes_at(features, given.xy), given.slots >= 0)
        everything = join(picture.proposals, at)
        index = choose_exemplars(everything, given.xy)[0]
        positive, negative = given.members(len(names))
        exemplars = Exemplars(
            given.xy,
            everything.boxes[:, index],
            everything.embeddings[:, index],
            positive,
            negative,
        )
        templates = model.templates(features, given.xy)
        levels, change = model.raised(features, given, templates, len(names))
        best = tuple(level.amax(1) for level in levels)
        more, logits = model.propose(best, features.boxes, 500, RAISED, rounds=0)
        more = torch.cat([more, at.boxes], 1)
        usable = torch.cat([logits > -4.0, given.slots >= 0], 1)
        new = pairwise_iou(more[0], picture.proposals.boxes[0]).amax(1) < 0.65
        kept = (new & usable[0]).nonzero()[:, 0]
        further = model.describe(features, more[:, kept], usable[:, kept])
        candidates = join(picture.proposals, further)
        _, logits = model.comparison(
            Candidates(
                candidates.boxes,
                candidates.scores,
                candidates.embeddings,
                sampled_at(change, candidates.boxes, 8),
                candidates.valid,
            ),
            exemplars,
        )
        share = logits.softmax(-1)[0, :, :-1]
        scores = share * candidates.scores[0].sigmoid().sqrt()[:, None]
        scores = scores * candidates.valid[0][:, None]
        return self._found(picture, candidates.boxes[0], scores, torch.tensor(names))

    def _clicks(self, clicks: Sequence[Click], names: Sequence[int]) -> Clicks:
        """The clicks of named slots, in one order, as tensors."""
        slots = {name: slot for slot, name in enumerate(names)}
        used = sorted(
            (slots[click.label], not click.positive, click.y, click.x)
            for click in clicks
            if click.label in slots
        )
        device = self.model.mean.device
        xy = torch.tensor([[(x, y) for _, _, y, x in used]], dtype=torch.float32)
        return Clicks(
            xy.to(device),
            torch.tensor([[slot for slot, *_ in used]]).to(device),
            torch.tensor([[not negative for _, negative, *_ in used]]).to(device),
        )

    def _found(
        self, picture: EncodedPicture, boxes: Tensor, scores: Tensor, labels: Tensor
    ) -> Found:
        height, width = picture.image_size
        limit = boxes.new_tensor([width, height, width, height])
        boxes = torch.minimum(boxes.clamp(min=0), limit)
        best, slot = scores.max(1)
        kept = (best > 0.01) & ((boxes[:, 2:] - boxes[:, :2]).amin(1) > 1)
        boxes, best, slot = boxes[kept], best[kept], slot[kept]
        order = best.argsort(descending=True, stable=True)
        boxes, best, slot = boxes[order], best[order], slot[order]
        stays = non_maximum_suppression(boxes, 0.5)
        return Found(
            boxes[stays].cpu().numpy(),
            best[stays].cpu().numpy(),
            labels.to(slot.device)[slot[stays]].cpu().numpy(),
        )


def join(first: Described, second: Described) -> Described:
    """The boxes of both, side by side."""
    return Described(
        torch.cat([first.boxes, second.boxes], 1),
        torch.cat([first.scores, second.scores], 1),
        torch.cat([first.embeddings, second.embeddings], 1),
        torch.cat([first.valid, second.valid], 1),
    )


def _in_order(clicks: Sequence[Click]) -> list[int]:
    """The labels that have positive clicks, by where these are."""
    places: dict[int, list[tuple[float, float]]] = {}
    for click in clicks:
        if click.positive:
            places.setdefault(click.label, []).append((click.y, click.x))
    return sorted(places, key=lambda label: sorted(places[label]))

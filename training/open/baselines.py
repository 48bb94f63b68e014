"""What the open model is compared with: template matching, and ImageNet's features untrained.

Both get more than the model: the box of each clicked object.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from c3det.boxes import non_maximum_suppression
from c3det.clicks import Click
from c3det.detections import Detections
from c3det.open.detector import MEAN, PAD, STD
from c3det.open.mobilenet import STRIDES, MobileNetV2
from c3det.predictor import Predictor
from training.weights_files import read_tensors

LEAST_LIKENESS = 0.3
"""Correlation below which template matching finds nothing."""

MOST_FOUND = 1500
"""Places of one template, and boxes that enter the suppression."""

BINS = 5
SHARPNESS = 20.0
"""Factor on cosines before slots compete in a softmax."""


class PictureDetector(Protocol):
    """A method that has read a picture, and finds objects in it."""

    def any_object(self) -> Detections | None:
        """Boxes without clicks by falling score, None for a method that has none."""

    def detect(self, clicks: Sequence[Click], clicked: NDArray[np.float32]) -> Detections:
        """Boxes given clicks.

        Args:
            clicks: Labels are slots.
            clicked: float32 ``(n, 4)``, the boxes of what they are on; of a negative click on the
                ground a small box there.
        """

    def answers(self, clicks: Sequence[Click]) -> NDArray[np.float32] | None:
        """The boxes ``(n, 4)`` that answer positive clicks, None for a method that has none."""


class Method(Protocol):
    """Something that is evaluated."""

    def read(self, image: NDArray[np.uint8]) -> PictureDetector:
        """Begin with a picture, uint8 ``(H, W, 3)``."""


class _OpenPicture:
    def __init__(self, predictor: Predictor, image: NDArray[np.uint8]) -> None:
        self._predictor, self._features = predictor, predictor.encode(image)

    def any_object(self) -> Detections:
        return self._predictor.detect(self._features, [], 0.0, answer_clicks=False)

    def detect(self, clicks: Sequence[Click], clicked: NDArray[np.float32]) -> Detections:
        if not clicks:
            return Detections.none()
        return self._predictor.detect(self._features, clicks, 0.0, answer_clicks=False)

    def answers(self, clicks: Sequence[Click]) -> NDArray[np.float32]:
        found = self._predictor.detect(self._features, clicks)
        rows = (found.clicks == found.answer_of[:, None]).argmax(1)
        return found.boxes[rows]


class OpenMethod:
    """The open model."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def read(self, image: NDArray[np.uint8]) -> PictureDetector:
        """See `Method`."""
        return _OpenPicture(self._predictor, image)


class _TemplatePicture:
    def __init__(self, image: NDArray[np.uint8]) -> None:
        self._image = np.ascontiguousarray(image)
        self._found: dict[tuple[float, ...], tuple[NDArray[np.float32], NDArray[np.float32]]] = {}

    def any_object(self) -> None:
        return None

    def answers(self, clicks: Sequence[Click]) -> None:
        return None

    def detect(self, clicks: Sequence[Click], clicked: NDArray[np.float32]) -> Detections:
        boxes: list[NDArray[np.float32]] = [np.zeros((0, 4), np.float32)]
        scores: list[NDArray[np.float32]] = [np.zeros(0, np.float32)]
        labels: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
        for click, box in zip(clicks, clicked, strict=True):
            if click.positive:
                key = tuple(box.tolist())
                if key not in self._found:
                    self._found[key] = self._matches(box)
                boxes.append(self._found[key][0])
                scores.append(self._found[key][1])
                labels.append(np.full(len(scores[-1]), click.label, np.int64))
        return best_of(np.concatenate(boxes), np.concatenate(scores), np.concatenate(labels))

    def _matches(self, box: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Boxes and scores of the places that look like a box."""
        height, width = self._image.shape[:2]
        x1, y1 = np.floor(box[:2]).astype(int).clip(0)
        x2, y2 = np.minimum(np.ceil(box[2:]).astype(int), (width, height))
        x2, y2 = max(x2, x1 + 2), max(y2, y1 + 2)
        template = self._image[y1:y2, x1:x2]
        like = cv2.matchTemplate(self._image, template, cv2.TM_CCOEFF_NORMED)
        like = np.nan_to_num(like, posinf=0, neginf=0)
        peak = (like >= cv2.dilate(like, np.ones((3, 3), np.uint8))) & (like > LEAST_LIKENESS)
        rows, columns = np.nonzero(peak)
        scores = like[rows, columns].astype(np.float32)
        order = np.argsort(-scores, kind="stable")[:MOST_FOUND]
        corner = np.stack([columns, rows], 1)[order].astype(np.float32)
        size = np.array([x2 - x1, y2 - y1], np.float32)
        boxes = np.concatenate([corner, corner + size], 1)
        return boxes, scores[order]


class TemplateMatching:
    """Normalised correlation of the picture with the pixels of each clicked box (OpenCV)."""

    def read(self, image: NDArray[np.uint8]) -> PictureDetector:
        """See `Method`."""
        return _TemplatePicture(image)


class _NeighbourPicture:
    def __init__(self, proposals: Detections, levels: Sequence[Tensor]) -> None:
        self._proposals, self._levels = proposals, levels
        self._described = self._describe(proposals.boxes)

    def any_object(self) -> Detections:
        return self._proposals

    def answers(self, clicks: Sequence[Click]) -> None:
        return None

    def detect(self, clicks: Sequence[Click], clicked: NDArray[np.float32]) -> Detections:
        slots = sorted({click.label for click in clicks if click.positive})
        if not slots or not len(self._proposals.boxes):
            return Detections.none()
        cosine = (self._described @ self._describe(clicked).T).numpy()
        own = np.stack(
            [
                cosine[:, [click.label == slot and click.positive for click in clicks]].max(1)
                for slot in slots
            ],
            1,
        )
        share = np.exp(SHARPNESS * (own - own.max(1, keepdims=True)))
        share /= share.sum(1, keepdims=True)
        scores = np.sqrt(self._proposals.scores)[:, None] * share * own.clip(0) ** 2
        best = scores.argmax(1)
        labels = np.array(slots, np.int64)[best]
        return best_of(self._proposals.boxes, scores.max(1).astype(np.float32), labels)

    @torch.inference_mode()
    def _describe(self, boxes: NDArray[np.float32]) -> Tensor:
        """``(n, C)`` of length 1: means of each level's cells in a grid of ``BINS`` x ``BINS``."""
        given = torch.from_numpy(boxes)
        step = (torch.arange(BINS) + 0.5) / BINS
        levels = []
        for stride, level in zip(STRIDES[1:4], self._levels, strict=True):
            height, width = level.shape[-2:]
            x = given[:, :1] + (given[:, 2:3] - given[:, :1]) * step
            y = given[:, 1:2] + (given[:, 3:] - given[:, 1:2]) * step
            grid = torch.stack(
                [
                    (x / (width * stride) * 2 - 1)[:, None, :].expand(-1, BINS, -1),
                    (y / (height * stride) * 2 - 1)[:, :, None].expand(-1, -1, BINS),
                ],
                -1,
            )
            found = F.grid_sample(
                level, grid.flatten(0, 1)[None], align_corners=False, padding_mode="border"
            )
            # (1, C, n * BINS, BINS) -> (n, C * BINS * BINS)
            found = found[0].view(len(level[0]), len(given), -1).transpose(0, 1).flatten(1)
            levels.append(F.normalize(found, dim=1))
        return F.normalize(torch.cat(levels, 1), dim=1)


class NearestNeighbour:
    """The open model's proposals, compared by ImageNet's MobileNetV2 that was trained no further.

    Args:
        predictor: Whose proposals are compared.
        backbone: File of ImageNet's weights, see `training.open.make_pool`.
    """

    def __init__(self, predictor: Predictor, backbone: Path) -> None:
        self._predictor = predictor
        self._network = MobileNetV2().eval()
        state = {name: value.float() for name, value in read_tensors(backbone).items()}
        self._network.load_state_dict(state, strict=False)

    @torch.inference_mode()
    def read(self, image: NDArray[np.uint8]) -> PictureDetector:
        """See `Method`."""
        proposals = OpenMethod(self._predictor).read(image).any_object()
        assert proposals is not None
        height, width = image.shape[:2]
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
        pixels = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        padded = F.pad(pixels, (0, -width % PAD, 0, -height % PAD))
        return _NeighbourPicture(proposals, self._network(padded)[1:4])


def best_of(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], labels: NDArray[np.int64]
) -> Detections:
    """The boxes that no better one overlaps by more than 0.5, whatever the labels."""
    order = np.argsort(-scores, kind="stable")[:MOST_FOUND]
    boxes, scores, labels = boxes[order], scores[order], labels[order]
    if len(boxes):
        stays = non_maximum_suppression(torch.from_numpy(boxes), 0.5).numpy()
        boxes, scores, labels = boxes[stays], scores[stays], labels[stays]
    return Detections(boxes, scores, labels, np.full(len(boxes), -1, np.int64))

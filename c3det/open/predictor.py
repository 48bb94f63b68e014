"""The open model on whole pictures, for its evaluation: encode once, then clicks in, boxes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from c3det.clicks import Click
from c3det.detections import Detections
from c3det.open.detector import OpenDetector
from c3det.open.model import OpenModel, fill
from c3det.open.tile import OpenTile

EncodedPicture = OpenTile
"""All of a picture that does not depend on clicks."""


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
    """Weights without a card, as training writes them.

    Args:
        model: In evaluation mode; it is copied.
    """

    def __init__(self, model: OpenDetector) -> None:
        self._model = OpenModel(model)

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> OpenPredictor:
        """Read weights.

        Raises:
            ValueError: They are not those of an open detector.
        """
        model = OpenDetector()
        if not fill(model, load_file(path)):
            raise ValueError(f"{path} does not hold the weights of an open detector")
        return cls(model.to(device))

    @torch.inference_mode()
    def encode(self, image: NDArray[np.uint8]) -> EncodedPicture:
        """Compute what does not depend on clicks, of a uint8 ``(H, W, 3)`` picture, RGB."""
        return self._model.encode_whole(image)

    @torch.inference_mode()
    def any_object(self, picture: EncodedPicture) -> Found:
        """Class-agnostic boxes."""
        return _as_found(self._model.detect_whole(picture, []))

    @torch.inference_mode()
    def detect(self, picture: EncodedPicture, clicks: Sequence[Click]) -> Found:
        """Boxes of all slots that have positive clicks; the labels of the clicks name the slots."""
        return _as_found(self._model.detect_whole(picture, clicks) if clicks else Detections.none())


def _as_found(detections: Detections) -> Found:
    return Found(detections.boxes, detections.scores, detections.labels)

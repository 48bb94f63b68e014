"""Pictures that are computed whole, at the first question about them."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    from c3det.answering import Detections
    from c3det.clicks import Click
    from c3det.predictor import ImageFeatures, Predictor
    from c3det.weights import Card


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found.

    Attributes:
        detections: The boxes.
        coverage: Share of the picture's area that was searched with the clicks.
        seconds: How long each stage took.
    """

    detections: Detections
    coverage: float
    seconds: Mapping[str, float]


class WholePicture:
    """A picture and, after the first question, its features.

    Args:
        predictor: Computes them.
        image: uint8 ``(H, W, 3)``, RGB.
    """

    def __init__(self, predictor: Predictor, image: NDArray[np.uint8]) -> None:
        self.image_size = (image.shape[0], image.shape[1])
        self._predictor = predictor
        self._image = image
        self._features: ImageFeatures | None = None
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Memory held now."""
        features = self._features
        return self._image.nbytes + (0 if features is None else features.nbytes)

    def detect(
        self,
        clicks: Sequence[Click],
        score_threshold: float | None = None,
        *,
        deadline: float | None = None,
    ) -> Answer:
        """Find all objects; the deadline is not heeded, for a picture is computed whole."""
        started = time.perf_counter()
        with self._lock:
            if self._features is None:
                self._features = self._predictor.encode(self._image)
            features = self._features
        encoded = time.perf_counter()
        detections = self._predictor.detect(features, clicks, score_threshold)
        seconds = {"encode": encoded - started, "detect": time.perf_counter() - encoded}
        return Answer(detections, 1.0, seconds)

    def trim(self, max_bytes: int) -> None:
        """Forget the features where more than ``max_bytes`` are held."""
        with self._lock:
            if self.nbytes > max_bytes:
                self._features = None


class WholePictures:
    """A predictor whose pictures are `WholePicture`.

    Args:
        predictor: Computes them.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels."""
        return self._predictor.classes

    @property
    def card(self) -> Card:
        """Of the weights."""
        return self._predictor.card

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return self._predictor.device

    def open(self, image: NDArray[np.uint8]) -> WholePicture:
        """Take a picture; nothing is computed yet."""
        return WholePicture(self._predictor, image)

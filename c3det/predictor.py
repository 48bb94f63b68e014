"""Encode a picture once, detect after every click."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from c3det.answering import answer_clicks as reconcile
from c3det.clicks import Click
from c3det.detections import Detections
from c3det.exemplars import Exemplars
from c3det.model import Features, Model
from c3det.open import model as open_model
from c3det.open.architecture import OpenArchitecture
from c3det.picture import Picture, SearchResult
from c3det.queries import check_clicks, exemplar_model
from c3det.weights import Card, WeightsError, read_card

__all__ = ["Detections", "Picture", "Predictor", "SearchResult", "load"]

TILE_SIDE = 1280
"""Largest side of a tile in pixels: patches of 1024 px, as the paper has them, are one tile."""

TILE_OVERLAP = 200
"""Of neighbouring tiles in pixels, the gap of DOTA's patches. Larger objects may be cut."""


WARM_SIDES = (256, 512, 768, 1024, TILE_SIDE)
"""Of the square pictures that a GPU is warmed up with, in pixels."""

WARM_CLICKS = (0, 1, 4, 20)
"""How many clicks are made in each."""


class Predictor:
    """A loaded model and the card of its weights. It keeps nothing between calls.

    There are two ways to use it, with the same detections. `encode` and `detect` compute all that
    depends on the clicks with every call, for evaluation. `open` returns a `Picture` that keeps
    what it computed, so that a click takes little time, and that may be of any size.
    """

    def __init__(self, model: Model[Any], card: Card) -> None:
        self.model = model
        self.card = card

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return self.model.device

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels; empty where any label will do."""
        return self.card.classes

    @torch.inference_mode()
    def encode(self, image: NDArray[np.uint8]) -> Features:
        """Compute everything that does not depend on clicks, of a uint8 ``(H, W, 3)`` RGB picture.

        Raises:
            ValueError: Another type or shape, or an empty picture.
        """
        _check_image(image)
        features: Features = self.model.encode_whole(image)
        return features

    def open(self, image: NDArray[np.uint8], max_bytes: int = 1 << 30) -> Picture:
        """Return a picture for `Picture.detect`; nothing is computed yet.

        Args:
            image: uint8 ``(H, W, 3)``, RGB. Not to be written to any more.
            max_bytes: Memory for all that is known of it, see `Picture`.

        Raises:
            c3det.tiles.TileLimitError: It is so long that it takes too many tiles.
            ValueError: Another type or shape, or an empty picture.
        """
        _check_image(image)
        return Picture(
            self.model,
            self.card,
            image,
            side=TILE_SIDE,
            overlap=TILE_OVERLAP,
            max_bytes=max_bytes,
        )

    def warm_up(self) -> None:
        """Detect objects in noise, so that the first click is as fast as any other.

        On a GPU, kernels are loaded when they are first called, convolutions planned and clicks
        recorded (`c3det.graphs`) for each size of picture: this is done for `WARM_SIDES`. The first
        clicks in a picture of another size still pay for that.
        """
        draw = np.random.default_rng(0)
        for side in (64,) if self.device.type == "cpu" else WARM_SIDES:
            image = draw.integers(0, 256, (side, side, 3), np.uint8)
            for _ in range(2):  # the second time is recorded
                picture = self.open(image)
                for count in WARM_CLICKS:
                    picture.detect(
                        [
                            Click(float(x), float(y), number % (len(self.classes) or 4))
                            for number, (x, y) in enumerate(draw.uniform(0, side, (count, 2)))
                        ]
                    )

    @torch.inference_mode()
    def detect(
        self,
        features: Features,
        clicks: Sequence[Click],
        score_threshold: float | None = None,
        answer_clicks: bool = True,
        exemplars: Exemplars | None = None,
    ) -> Detections:
        """Find all objects of all classes, given some clicks.

        Args:
            features: Of the picture, by `encode`.
            clicks: Any number, in pixels of the picture, in any order.
            score_threshold: Lowest score of a box that answers no click; ``None``: the card's. The
                closed detector itself proposes nothing below its ``test_cfg``'s, 0.02 as shipped.
            answer_clicks: Whether to reconcile the boxes with the clicks, see
                `c3det.answering.answer_clicks`. Without it this is the output of the model alone.
            exemplars: Of other pictures, see `Picture.detect`.

        Raises:
            ValueError: A click lies outside the picture or has an unknown label, or the threshold
                is not between 0 and 1.
            ExemplarsError: See `Picture.detect`.
        """
        if score_threshold is None:
            score_threshold = self.card.score_threshold
        check_clicks(clicks, score_threshold, len(self.classes), features.image_size)
        if exemplars is None:
            candidates = self.model.detect_whole(features, clicks)
        else:
            model = exemplar_model(self.model, self.card, exemplars)
            candidates = model.detect_whole(features, clicks, list(exemplars))
        candidates = candidates.by_score()
        if not answer_clicks:
            return candidates.take(candidates.scores >= score_threshold)
        return reconcile(
            candidates,
            clicks,
            score_threshold=score_threshold,
            typical_sizes=self.card.typical_sizes,
            image_size=features.image_size,
        )


def _check_image(image: NDArray[np.uint8]) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(
            "image must be a uint8 array of shape (H, W, 3) that is not empty, "
            f"not {image.dtype} {image.shape}"
        )


def load(weights: str | Path, device: str | torch.device = "cpu") -> Predictor:
    """Load a ``.safetensors`` file, with its card beside it, onto a torch device.

    Raises:
        WeightsError: They cannot be used; one sentence that says what to do.
    """
    path, torch_device = Path(weights), torch.device(device)
    card = read_card(path)
    if isinstance(card.architecture, OpenArchitecture):
        return Predictor(open_model.load_model(path, card, torch_device), card)
    # mmdet and mmcv are imported only for weights that need them.
    try:
        from c3det.closed import model as closed
    except ModuleNotFoundError as error:
        raise WeightsError(
            f"the weights {path} are of the closed model, which needs {error.name}, and that "
            "is missing: install the project with its extra closed, or choose weights of the "
            "open model"
        ) from error
    return Predictor(closed.load_model(path, card, torch_device), card)

"""Encode a picture once, detect after every click."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from c3det import answering
from c3det.answering import Detections
from c3det.clicks import Click
from c3det.devices import use_float32
from c3det.fusion import ClickBatch
from c3det.heatmaps import Size
from c3det.incremental import IncrementalDetector, Tile
from c3det.mmdet_adapter import ClickDetector, ClickedFeatures, build_detector
from c3det.picture import Answer, Picture, check_question
from c3det.weights import Card, WeightsError, load_tensors, read_card

__all__ = ["Answer", "Detections", "ImageFeatures", "Picture", "Predictor", "load"]

TILE_SIDE = 1280
"""Largest side of a tile in pixels: patches of 1024 px, as the paper has them, are one tile."""

TILE_OVERLAP = 200
"""Of neighbouring tiles in pixels, the gap of DOTA's patches. Larger objects may be cut."""


WARM_SIDES = (TILE_SIDE, 1024, 768, 512, 256)
"""Of the square pictures that a GPU is warmed up with, in pixels; the largest takes the memory."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageFeatures:
    """All of a picture that does not depend on clicks. Not to be written to.

    Attributes:
        levels: ``(1, C, h, w)`` tensors on the model's device.
        image_size: ``(height, width)`` of the picture in pixels.
        input_size: The same with padding.
    """

    levels: tuple[Tensor, ...]
    image_size: Size
    input_size: Size

    @property
    def nbytes(self) -> int:
        """Memory that the levels take."""
        return sum(level.nbytes for level in self.levels)


class Predictor:
    """A loaded detector. It keeps nothing between calls and serves several threads.

    Two ways to ask it, with the same answers: `encode` and `detect` compute everything that depends
    on the clicks with every call, for evaluation; `open` returns a picture that remembers, for
    answers at the speed of a click, and for pictures of any size.

    Args:
        detector: In evaluation mode, on ``device``.
        card: Of its weights.
        device: Where it runs.
    """

    def __init__(self, detector: ClickDetector, card: Card, device: torch.device) -> None:
        self._detector = detector
        self._incremental = IncrementalDetector(detector, windows=device.type == "cpu")
        self.card = card
        self.device = device

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels."""
        return self.card.classes

    @torch.inference_mode()
    def encode(self, image: NDArray[np.uint8]) -> ImageFeatures:
        """Compute everything that does not depend on clicks.

        Args:
            image: uint8 ``(H, W, 3)``, RGB.

        Raises:
            ValueError: Another type or shape, or an empty picture.
        """
        batch = self._batch(image)
        return ImageFeatures(
            self._detector.encode(batch),
            (image.shape[0], image.shape[1]),
            (batch.shape[-2], batch.shape[-1]),
        )

    def open(self, image: NDArray[np.uint8], max_bytes: int = 1 << 30) -> Picture:
        """Return a picture to ask about; nothing is computed yet.

        Args:
            image: uint8 ``(H, W, 3)``, RGB. Not to be written to any more.
            max_bytes: Memory for all that is known of it, see `Picture`.

        Raises:
            c3det.tiles.TileLimitError: It is so long that it takes too many tiles.
            ValueError: Another type or shape, or an empty picture.
        """
        _check_image(image)
        return Picture(
            self._incremental,
            self.card,
            self._tile,
            image,
            side=TILE_SIDE,
            overlap=TILE_OVERLAP,
            max_bytes=max_bytes,
        )

    def warm_up(self) -> None:
        """Answer some questions about noise, so that the first click is as fast as any other.

        On a GPU, kernels are loaded when they are first called, and convolutions planned for each
        size of picture: this is done for `WARM_SIDES`. The first click in a picture of another size
        still pays for the plans.
        """
        draw = np.random.default_rng(0)
        for side in (64,) if self.device.type == "cpu" else WARM_SIDES:
            picture = self.open(draw.integers(0, 256, (side, side, 3), np.uint8))
            for count in (0, 1, 20):
                picture.detect(
                    [
                        Click(float(x), float(y), number % len(self.classes))
                        for number, (x, y) in enumerate(draw.uniform(0, side, (count, 2)))
                    ]
                )

    def _tile(self, image: NDArray[np.uint8]) -> Tile:
        return self._incremental.encode(self._batch(image), (image.shape[0], image.shape[1]))

    def _batch(self, image: NDArray[np.uint8]) -> Tensor:
        """Normalised and padded, ``(1, 3, H, W)``."""
        _check_image(image)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        return self._detector.data_preprocessor({"inputs": [pixels]})["inputs"].contiguous()

    @torch.inference_mode()
    def detect(
        self,
        features: ImageFeatures,
        clicks: Sequence[Click],
        score_threshold: float | None = None,
        answer_clicks: bool = True,
    ) -> Detections:
        """Find all objects of all classes, given some clicks.

        Args:
            features: Of the picture.
            clicks: Any number, in pixels of the picture, in any order.
            score_threshold: Lowest score of a box that answers no click; ``None``: the card's. The
                detector itself proposes nothing below its ``test_cfg``'s, 0.02 as shipped.
            answer_clicks: Whether to reconcile the boxes with the clicks, see
                `c3det.answering.answer_clicks`. Without it this is the output of the model alone.

        Raises:
            ValueError: A click lies outside the picture or has an unknown label, or the threshold
                is not between 0 and 1.
        """
        threshold = self.card.score_threshold if score_threshold is None else score_threshold
        check_question(clicks, threshold, len(self.classes), features.image_size)
        batch = ClickBatch([clicks], [features.image_size], features.input_size)
        (found,) = self._detector.detect(ClickedFeatures(features.levels, batch))
        candidates = Detections(
            found.bboxes.float().cpu().numpy(),
            found.scores.float().cpu().numpy(),
            found.labels.cpu().numpy(),
            np.full(len(found), -1, np.int64),
        )
        candidates = candidates.take(np.argsort(-candidates.scores, kind="stable"))
        if not answer_clicks:
            return candidates.take(candidates.scores >= threshold)
        return answering.answer_clicks(
            candidates,
            clicks,
            score_threshold=threshold,
            typical_sizes=self.card.typical_sizes,
            image_size=features.image_size,
        )


def _check_image(image: NDArray[np.uint8]) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(
            "image must be a uint8 array of shape (H, W, 3) that is not empty, "
            f"not {image.dtype} {image.shape}"
        )


def restore(path: Path, card: Card) -> ClickDetector:
    """Build the detector of a card and put its tensors into it.

    Args:
        path: The ``.safetensors`` file.
        card: Of it.

    Raises:
        WeightsError: The tensors cannot be read, are not those of the card, or hold no numbers.
    """
    tensors = load_tensors(path, card)
    for name, value in tensors.items():
        if value.is_complex() or not torch.isfinite(value).all():
            raise WeightsError(
                f"the tensors of {path} are no finite numbers in {name}: train and export the "
                "weights again"
            )
    detector = build_detector(
        card.architecture.config(len(card.classes)), card.architecture.normalization
    )
    try:
        detector.load_state_dict(tensors)
    except RuntimeError as error:
        raise WeightsError(
            f"the tensors of {path} do not fit the architecture in their card: export the weights "
            "again with python -m training.export"
        ) from error
    return detector


def load(weights: str | Path, device: str | torch.device = "cpu") -> Predictor:
    """Load weights and their card.

    Args:
        weights: The ``.safetensors`` file; its card lies beside it.
        device: A torch device, such as ``"cpu"`` or ``"cuda:0"``.

    Raises:
        WeightsError: They cannot be used; one sentence that says what to do.
    """
    path = Path(weights)
    card = read_card(path)
    detector = restore(path, card)
    place = torch.device(device)
    use_float32(place)
    detector.to(place).eval()
    detector.keep_anchors_on(place)
    return Predictor(detector, card, place)

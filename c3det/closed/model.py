"""The closed model: the paper's detectors, with the classes that they were trained on.

It needs mmdet and mmcv, so it is imported only for weights of such a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.structures import InstanceData
from numpy.typing import NDArray
from torch import Tensor

from c3det.clicks import Click, Size
from c3det.closed.fusion import ClickBatch
from c3det.closed.incremental import ClosedTile, IncrementalDetector
from c3det.closed.mmdet_adapter import ClickDetector, ClickedFeatures, build_detector
from c3det.detections import Detections
from c3det.devices import use_float32
from c3det.model import Model, Outline, Template
from c3det.weights import Card, WeightsError, load_tensors


@dataclass(frozen=True, slots=True, eq=False)
class ClosedFeatures:
    """All of a picture that does not depend on clicks. Not to be written to.

    Attributes:
        levels: ``(1, C, h, w)`` tensors on the model's device.
        image_size: ``(height, width)`` of the picture in pixels.
        input_size: The same with padding.
    """

    levels: tuple[Tensor, ...]
    image_size: Size
    input_size: Size


class ClosedModel:
    """A detector in evaluation mode behind `c3det.model.Model`.

    Attributes:
        detector: Computes whole pictures.
        incremental: Computes tiles, and what a click changes in them.
    """

    counts_negative = False

    def __init__(self, detector: ClickDetector, device: torch.device) -> None:
        self.detector = detector
        self.incremental = IncrementalDetector(detector, windows=device.type == "cpu")
        self.device = device

    def batch(self, image: NDArray[np.uint8]) -> Tensor:
        """A picture normalised and padded, ``(1, 3, H, W)``."""
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        return self.detector.data_preprocessor({"inputs": [pixels]})["inputs"].contiguous()

    def encode(self, image: NDArray[np.uint8]) -> ClosedTile:
        """See `c3det.model.Model.encode`."""
        return self.incremental.encode(self.batch(image), (image.shape[0], image.shape[1]))

    def templates(self, tile: ClosedTile, clicks: Sequence[Click]) -> list[Template]:
        """See `c3det.model.Model.templates`; one ``(C,)`` tensor a level."""
        found = self.incremental.templates(tile, clicks)
        return [tuple(level[row].clone() for level in found) for row in range(len(clicks))]

    def detect(
        self, tile: ClosedTile, templates: Sequence[Template], clicks: Sequence[Click]
    ) -> Detections:
        """See `c3det.model.Model.detect`; late fusion is computed again where clicks changed."""
        levels = [torch.stack(rows) for rows in zip(*templates, strict=True)]
        self.incremental.draw_clicks(tile, clicks)
        return _detections(self.incremental.detect(tile, levels, [click.label for click in clicks]))

    def outlines(
        self, tile: ClosedTile, boxes: NDArray[np.float32], wanted: Sequence[int]
    ) -> list[Outline | None]:
        """See `c3det.model.Model.outlines`: none."""
        return [None] * len(wanted)

    def shared_by(self, tiles: Sequence[ClosedTile]) -> list[Tensor]:
        """Late fusion without clicks."""
        kept = self.incremental.kept_without_clicks(tiles[0].input_size) if tiles else []
        return [*kept, *(value for tile in tiles for value in tile.borrowed())]

    def encode_whole(self, image: NDArray[np.uint8]) -> ClosedFeatures:
        """See `c3det.model.Model.encode_whole`."""
        batch = self.batch(image)
        return ClosedFeatures(
            self.detector.encode(batch),
            (image.shape[0], image.shape[1]),
            (batch.shape[-2], batch.shape[-1]),
        )

    def detect_whole(self, features: ClosedFeatures, clicks: Sequence[Click]) -> Detections:
        """See `c3det.model.Model.detect_whole`; all that depends on the clicks is computed."""
        batch = ClickBatch([clicks], [features.image_size], features.input_size)
        (found,) = self.detector.detect(ClickedFeatures(features.levels, batch))
        return _detections(found)


def _detections(found: InstanceData) -> Detections:
    return Detections.unanswered(
        found.bboxes.float().cpu().numpy(),
        found.scores.float().cpu().numpy(),
        found.labels.cpu().numpy(),
    )


def closed_model(model: Model[Any], card: Card) -> ClosedModel:
    """A loaded model, typed as a closed one; a ``TypeError`` where it is another one."""
    if not isinstance(model, ClosedModel):
        raise TypeError(f"{card.name} is not a closed model, only one of these serves")
    return model


def load_model(path: Path, card: Card, device: torch.device) -> ClosedModel:
    """The model of a card, on a device, see `c3det.predictor.load`."""
    tensors = load_tensors(path, card)
    architecture = card.closed_architecture
    detector = build_detector(architecture.config(len(card.classes)), architecture.normalization)
    try:
        detector.load_state_dict(tensors)
    except RuntimeError as error:
        raise WeightsError(
            f"the tensors of {path} do not fit the architecture in their card: export the weights "
            "again with python -m training.export"
        ) from error
    use_float32(device)
    detector.to(device).eval()
    detector.keep_anchors_on(device)
    return ClosedModel(detector, device)

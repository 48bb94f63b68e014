"""Pictures, clicks and weights that are made for a measurement."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from c3det.clicks import Click

CLASSES = (
    "plane",
    "bridge",
    "small-vehicle",
    "large-vehicle",
    "ship",
    "storage-tank",
    "swimming-pool",
    "helicopter",
)


def random_weights(folder: Path) -> Path:
    """Write weights of the preset ``paper`` that were never trained."""
    from mmengine.logging import MMLogger

    from c3det.closed.architecture import Architecture
    from c3det.closed.mmdet_adapter import build_detector
    from c3det.weights import Card, save

    MMLogger.get_current_instance().setLevel("WARNING")
    torch.manual_seed(0)
    architecture = Architecture("paper")
    detector = build_detector(architecture.config(len(CLASSES)), architecture.normalization)
    detector.init_weights()
    card = Card(
        name="paper, random weights",
        classes=CLASSES,
        architecture=architecture,
        score_threshold=0.05,
        typical_sizes=((20.0, 20.0),) * len(CLASSES),
        training={},
        results={},
        licence={},
    )
    path = folder / "paper.safetensors"
    save(path, detector.state_dict(), card)
    return path


def photo(side: int, seed: int = 0) -> NDArray[np.uint8]:
    """A picture of the texture of a photograph: noise of all scales."""
    draw = np.random.default_rng(seed)
    total = np.zeros((side, side, 3))
    cells = 4
    while cells <= side:
        coarse = draw.normal(size=(cells, cells, 3)) * side / cells
        large = Image.fromarray(coarse[:, :, 0].astype(np.float32)).resize((side, side))
        total += np.asarray(large)[:, :, None] + draw.normal(size=3)
        cells *= 2
    low, high = total.min(), total.max()
    return ((total - low) / (high - low) * 255).astype(np.uint8)


def scattered(count: int, side: int, num_classes: int, seed: int = 0) -> list[Click]:
    """Clicks all over a picture, of all classes in turn."""
    draw = np.random.default_rng(seed)
    return [
        Click(float(x), float(y), number % num_classes)
        for number, (x, y) in enumerate(draw.uniform(0, side, (count, 2)))
    ]


def picture_file(image: NDArray[np.uint8], file_format: str = "PNG") -> bytes:
    """The file of a picture."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, file_format)
    return file.getvalue()

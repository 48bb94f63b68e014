"""The data sets of training and validation: pictures with their clicks, in mmdet's form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from numpy.typing import NDArray
from torch.utils.data import Dataset

from c3det.clicks import Click
from training.clicks.sampling import ClickStrategy
from training.data.annotated import Annotated
from training.data.sets import PictureSet


def vary_light(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change contrast by up to a fifth and each channel's brightness by up to 12 of 255."""
    gain = rng.uniform(0.8, 1.2)
    shift = rng.uniform(-12, 12, 3)
    mean = image.mean(axis=(0, 1))
    varied = (image - mean) * gain + mean + shift
    return np.clip(np.rint(varied), 0, 255).astype(np.uint8)


def pack(picture: Annotated, clicks: Sequence[Click]) -> dict[str, Any]:
    """Bring a picture into the form that mmdet's detectors take.

    Objects to be ignored travel apart from the others, as ``ignored_instances``: they give no loss.

    Returns:
        ``inputs``, uint8 (3, H, W), and ``data_samples``.
    """
    sample = DetDataSample(
        metainfo=dict(
            img_shape=(picture.height, picture.width),
            ori_shape=(picture.height, picture.width),
            scale_factor=(1.0, 1.0),
            clicks=tuple(clicks),
        )
    )
    boxes, labels = torch.from_numpy(picture.boxes), torch.from_numpy(picture.labels)
    ignored = torch.from_numpy(picture.ignored)
    sample.gt_instances = InstanceData(bboxes=boxes[~ignored], labels=labels[~ignored])
    sample.ignored_instances = InstanceData(bboxes=boxes[ignored], labels=labels[ignored])
    return dict(inputs=torch.from_numpy(picture.image).permute(2, 0, 1), data_samples=sample)


def unpack(inputs: torch.Tensor, sample: DetDataSample) -> Annotated:
    """The picture that `pack` was given, the objects to be ignored behind the others."""
    counted, ignored = sample.gt_instances, sample.ignored_instances
    return Annotated(
        name="training",
        image=inputs.permute(1, 2, 0).cpu().numpy(),
        boxes=torch.cat([counted.bboxes, ignored.bboxes]).cpu().numpy(),
        labels=torch.cat([counted.labels, ignored.labels]).cpu().numpy(),
        ignored=np.arange(len(counted) + len(ignored)) >= len(counted),
    )


class TrainingData(Dataset):
    """Random crops with clicks; item ``i`` depends on the seed and ``i`` alone.

    Args:
        pictures: The set to draw from.
        length: Number of items.
        seed: Of pictures and clicks.
        size: Side of a crop in pixels.
        clicks: Draws the clicks, after all augmentation.
    """

    def __init__(
        self, pictures: PictureSet, length: int, seed: int, size: int, clicks: ClickStrategy
    ) -> None:
        self.pictures = pictures
        self.length = length
        self.seed = seed
        self.size = size
        self.clicks = clicks

    def __len__(self) -> int:
        return self.length

    def picture(self, index: int, rng: np.random.Generator) -> Annotated:
        """The augmented crop of an item, without its clicks."""
        picture = self.pictures.train_crop(self.size, rng)
        return replace(picture, image=vary_light(picture.image, rng))

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, index])
        picture = self.picture(index, rng)
        item = pack(picture, self.clicks.sample(picture, rng))
        item["data_samples"].set_metainfo(dict(index=index))
        return item


class ValidationData(Dataset):
    """The same pictures after each of some numbers of clicks, always the same clicks.

    Args:
        pictures: To validate on.
        counts: Numbers of clicks.
        clicks: For each picture as many as the largest number, or as it has objects.
    """

    def __init__(
        self,
        pictures: Sequence[Annotated],
        counts: Sequence[int],
        clicks: Sequence[Sequence[Click]],
    ) -> None:
        self.pictures = tuple(pictures)
        self.counts = tuple(counts)
        self.clicks = tuple(clicks)

    def __len__(self) -> int:
        return len(self.pictures) * len(self.counts)

    def __getitem__(self, index: int) -> dict[str, Any]:
        round_, number = divmod(index, len(self.pictures))
        item = pack(self.pictures[number], self.clicks[number][: self.counts[round_]])
        item["data_samples"].set_metainfo(dict(picture=number, clicks_given=self.counts[round_]))
        return item

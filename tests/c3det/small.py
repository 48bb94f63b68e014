"""The shipped configurations, shrunk until a test can afford them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from torch import nn

from c3det.clicks import Click
from c3det.closed.architecture import Architecture, Fusion, architecture
from c3det.closed.mmdet_adapter import build_detector
from c3det.closed.presets import Preset, Stages, normalization
from c3det.predictor import Predictor, load
from c3det.weights import Card, save

CHANNELS = 8
NUM_CLASSES = 3
SIDE = 128


def shrunk(
    preset: Preset, stages: Stages = "one-stage", fusion: Fusion = "c3det", **options: Any
) -> dict[str, Any]:
    """A shipped config with few channels, shallow backbones, and boxes of every score."""
    return shrink(architecture(preset, NUM_CLASSES, stages=stages, fusion=fusion, **options))


def shrink(config: dict[str, Any]) -> dict[str, Any]:
    """The same config, shrunk; a shrunk one stays as it is."""
    parts = [config, *([config["clicks"]["late"]] if (config["clicks"] or {}).get("late") else [])]
    for part in parts:
        backbone, neck = part["backbone"], part["neck"]
        if backbone["type"] == "ResNet":
            backbone.update(depth=18, stem_channels=4, base_channels=4)
            neck["in_channels"] = [4 * 2**stage for stage in range(backbone["num_stages"])]
        else:
            backbone["widen_factor"] = 0.25
            neck["in_channels"] = [8, 8, 24]
        neck["out_channels"] = CHANNELS
    heads = [config[name] for name in ("bbox_head", "rpn_head") if name in config]
    if "roi_head" in config:
        heads.append(config["roi_head"]["bbox_head"])
        config["roi_head"]["bbox_head"]["fc_out_channels"] = 16
        config["roi_head"]["bbox_roi_extractor"]["out_channels"] = CHANNELS
        config["train_cfg"]["rpn_proposal"].update(nms_pre=50, max_per_img=50)
        config["test_cfg"]["rpn"].update(nms_pre=50, max_per_img=50)
        config["test_cfg"]["rcnn"].update(score_thr=0.0, max_per_img=30)
    else:
        config["test_cfg"].update(score_thr=0.0, nms_pre=50, max_per_img=30)
    for head in heads:
        head["in_channels"] = CHANNELS
        if "feat_channels" in head:
            head["feat_channels"] = CHANNELS
    return config


@contextmanager
def small_detectors(
    change: Callable[[dict[str, Any]], dict[str, Any]] = shrink,
) -> Iterator[None]:
    """Let cards and runs of any `Architecture` mean shrunk detectors: no card can ask for one."""
    whole = Architecture.config
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Architecture, "config", lambda self, num_classes: change(whole(self, num_classes))
        )
        yield


def build(preset: Preset, config: dict[str, Any], seed: int = 0) -> nn.Module:
    """A detector whose random weights see the clicks."""
    MMLogger.get_current_instance().setLevel("WARNING")  # not every initialised tensor
    torch.manual_seed(seed)
    detector = build_detector(config, normalization(preset))
    detector.init_weights()
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter += torch.randn_like(parameter) * 0.05
    return detector.eval()


def saved(
    folder: Path,
    preset: Preset = "starter",
    stages: Stages = "two-stage",
    fusion: Fusion = "c3det",
    options: Mapping[str, Any] = MappingProxyType({}),
    device: str = "cpu",
) -> Predictor:
    """A predictor from a file in a folder, with random weights that see the clicks."""
    architecture = Architecture(preset, stages, fusion, **options)
    card = Card(
        name="shrunk",
        classes=("a", "b", "c"),
        architecture=architecture,
        score_threshold=0.1,
        typical_sizes=((20.0, 24.0), (8.0, 12.0), (6.0, 10.0)),
        training={},
        results={},
        licence={},
    )
    path = folder / "w.safetensors"
    with small_detectors():
        save(path, build(preset, architecture.config(NUM_CLASSES)).state_dict(), card)
        return load(path, device)


def training_batch(clicks: list[list[Click]]) -> tuple[torch.Tensor, list[DetDataSample]]:
    """Two padded pictures of 128 x 128 and 100 x 120 px with two objects each."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, SIDE, SIDE, generator=draw)
    samples = []
    for size, of_picture in zip([(SIDE, SIDE), (100, 120)], clicks, strict=True):
        sample = DetDataSample(
            metainfo=dict(
                img_shape=size,
                batch_input_shape=(SIDE, SIDE),
                pad_shape=(SIDE, SIDE),
                scale_factor=(1.0, 1.0),
                clicks=of_picture,
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[10.0, 10, 26, 26], [50, 40, 90, 88]]), labels=torch.tensor([0, 2])
        )
        samples.append(sample)
    return images, samples

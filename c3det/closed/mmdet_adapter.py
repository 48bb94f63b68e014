"""mmdet's detectors with clicks: a thin layer over the plain modules of `c3det`.

`ClickRetinaNet` (one-stage) and `ClickFasterRCNN` (two-stage) take a further argument ``clicks``,
which says how clicks enter. Their heads (`c3det.closed.mmdet_heads`) take ``uel``, which says
whether the loss enforces them. Without either they are mmdet's own detectors. Clicks are given as
``data_sample.metainfo["clicks"]``, a sequence of `Click` in pixels of the detector's input.

``clicks`` is a dict with any of
    ``early``: ``dict(sigma)``, heatmaps as further input channels of the backbone;
    ``late``: ``dict(backbone, neck, sigma)``, a `ClickBranch` of mmdet modules;
    ``correlation``: the fields of `CorrelationSettings`.
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from mmcv.ops.nms import NMSop
from mmdet.models.backbones import MobileNetV2
from mmdet.models.detectors import FasterRCNN, RetinaNet
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor, nn

import c3det.closed.mmdet_heads  # noqa: F401 (registers the heads with mmdet)
from c3det.clicks import Size
from c3det.closed.fusion import (
    ClickBatch,
    ClickBranch,
    ClickFusion,
    CorrelationSettings,
    widen_first_convolution,
)
from c3det.graphs import Recorded


@dataclass(frozen=True, slots=True)
class ClickedFeatures:
    """What mmdet's ``extract_feat`` is given in place of the pictures.

    The features are what `encode` returned; the clicks are those of the batch.
    """

    features: tuple[Tensor, ...]
    clicks: ClickBatch


class ClickDetector(nn.Module):
    """Mixin of an mmdet detector: fuses the clicks of the data samples into its features.

    `c3det.closed.incremental` calls `first_convolutions`, `propose` and `choose` in place of
    mmdet's ``predict``.
    """

    backbone: nn.Module
    neck: nn.Module
    data_preprocessor: nn.Module
    # mmdet's own, without annotations.
    bbox_head: Any
    rpn_head: Any
    roi_head: Any

    def __init__(
        self, *args: Any, clicks: Mapping[str, Any] | None = None, num_classes: int, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        settings = dict(clicks or {})
        early, late = settings.pop("early", None), settings.pop("late", None)
        correlation = settings.pop("correlation", None)
        if settings:
            raise ValueError(f"unknown settings of clicks: {sorted(settings)}")
        self.num_classes = num_classes
        for head in self._heads():
            head.register_forward_hook(_in_float32)
        self.early_sigma: float | None = None
        if early is not None:
            self.early_sigma = early["sigma"]
            widen_first_convolution(self.backbone, num_classes)
        self.click_fusion: ClickFusion | None = None
        if late is not None or correlation is not None:
            branch = None
            if late is not None:
                branch = ClickBranch(
                    MODELS.build(late["backbone"]),
                    MODELS.build(late["neck"]),
                    num_classes,
                    late["sigma"],
                )
            self.click_fusion = ClickFusion(
                cast(int, self.neck.out_channels),
                num_classes,
                branch,
                late["neck"]["out_channels"] if late is not None else 0,
                CorrelationSettings(**correlation) if correlation is not None else None,
            )

    def _heads(self) -> list[Any]:
        if hasattr(self, "roi_head"):
            return [self.rpn_head, self.roi_head.bbox_head]
        return [self.bbox_head]

    def keep_anchors_on(self, device: torch.device) -> None:
        """Move the base anchors to a device; mmdet would copy them there with every call."""
        for head in self._heads():
            generator = getattr(head, "prior_generator", None)
            if generator is not None:
                generator.base_anchors = [one.to(device) for one in generator.base_anchors]

    def init_weights(self) -> None:
        """Initialise as mmdet does, the late-fusion branch included."""
        super().init_weights()  # type: ignore[misc]
        if self.click_fusion is not None and self.click_fusion.branch is not None:
            for part in self.click_fusion.branch.children():
                cast(BaseModule, part).init_weights()

    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        """All that does not depend on the clicks, of ``(B, 3, H, W)``, normalised and padded.

        These are the levels of the neck; with early fusion, where nothing is independent of the
        clicks, the pictures themselves.
        """
        if self.early_sigma is not None:
            return (images,)
        return tuple(self.neck(self.backbone(images)))

    def extract_feat(self, batch_inputs: ClickedFeatures) -> tuple[Tensor, ...]:
        """Fuse the clicks: the levels that the heads read."""
        features, clicks = batch_inputs.features, batch_inputs.clicks
        if self.early_sigma is not None:
            heatmaps = clicks.heatmaps(self.num_classes, self.early_sigma, features[0])
            return tuple(self.neck(self.backbone(torch.cat([features[0], heatmaps], 1))))
        if self.click_fusion is not None:
            return self.click_fusion(features, clicks)
        return features

    def _clicked(self, images: Tensor, samples: Sequence[DetDataSample]) -> ClickedFeatures:
        clicks = ClickBatch(
            [sample.metainfo.get("clicks", ()) for sample in samples],
            [tuple(sample.img_shape[:2]) for sample in samples],
            (images.shape[-2], images.shape[-1]),
        )
        return ClickedFeatures(self.encode(images), clicks)

    def loss(self, batch_inputs: Tensor, batch_data_samples: Sequence[DetDataSample]) -> Any:
        """As mmdet's, with the clicks of the data samples."""
        clicked = self._clicked(batch_inputs, batch_data_samples)
        return super().loss(clicked, batch_data_samples)  # type: ignore[misc]

    def predict(
        self,
        batch_inputs: Tensor,
        batch_data_samples: Sequence[DetDataSample],
        rescale: bool = True,
    ) -> Any:
        """As mmdet's, with the clicks of the data samples."""
        clicked = self._clicked(batch_inputs, batch_data_samples)
        return super().predict(clicked, batch_data_samples, rescale=rescale)  # type: ignore[misc]

    def _forward(self, batch_inputs: Tensor, batch_data_samples: Sequence[DetDataSample]) -> Any:
        clicked = self._clicked(batch_inputs, batch_data_samples)
        return super()._forward(clicked, batch_data_samples)  # type: ignore[misc]

    def detect(self, clicked: ClickedFeatures) -> list[InstanceData]:
        """Boxes in pixels of the input, their scores and labels, one `InstanceData` a picture."""
        samples = [
            DetDataSample(metainfo=_frame(size, clicked.clicks.input_size))
            for size in clicked.clicks.image_sizes
        ]
        found = super().predict(clicked, samples, rescale=False)  # type: ignore[misc]
        return [sample.pred_instances for sample in found]

    @abstractmethod
    def first_convolutions(self) -> tuple[nn.Conv2d, ...]:
        """The convolutions of the heads that read the fused levels, each followed by a ReLU."""

    @abstractmethod
    def propose(self, first: Sequence[Tensor], limits: Tensor) -> tuple[Tensor, ...]:
        """All that the heads compute of one picture in fixed shapes and without waiting.

        Args:
            first: Of all levels the results of the first of `first_convolutions`, after the ReLU,
                then those of the second.
            limits: ``(4,)``, the picture's width, height, width, height in pixels.

        Returns:
            For `choose`.
        """

    @abstractmethod
    def choose(
        self,
        proposed: Sequence[Tensor],
        joined: Callable[[], Sequence[Tensor]],
        image_size: Size,
        limits: Tensor,
    ) -> InstanceData:
        """The boxes in pixels of the picture, with scores and labels.

        Args:
            proposed: What `propose` returned.
            joined: Returns the fused levels, where the detector reads them once more.
            image_size: ``(height, width)`` in pixels, without padding.
            limits: As for `propose`.
        """


def _in_float32(module: nn.Module, inputs: Any, outputs: Any) -> Any:
    """The output of a head in float32, also in mixed precision.

    Boxes are decoded from it, and mmdet decodes in its type: float16 has steps of half a pixel
    from 512 px on.
    """
    if isinstance(outputs, Tensor):
        return outputs.float()
    return type(outputs)(_in_float32(module, inputs, output) for output in outputs)


def _frame(image_size: Size, input_size: Size) -> dict[str, Any]:
    """The meta information of a picture that mmdet reads."""
    return dict(
        img_shape=image_size,
        batch_input_shape=input_size,
        pad_shape=input_size,
        scale_factor=(1.0, 1.0),
    )


@MODELS.register_module()
class ClickRetinaNet(ClickDetector, RetinaNet):
    """RetinaNet (arXiv 1708.02002) that takes clicks. Its head is a `ClickRetinaHead`."""

    def first_convolutions(self) -> tuple[nn.Conv2d, ...]:
        """Of the two towers of the head."""
        return self.bbox_head.cls_convs[0].conv, self.bbox_head.reg_convs[0].conv

    def propose(self, first: Sequence[Tensor], limits: Tensor) -> tuple[Tensor, ...]:
        """See `ClickDetector.propose`."""
        head = self.bbox_head
        outputs: list[Tensor] = []
        half = len(first) // 2
        for levels, tower, last in (
            (first[:half], head.cls_convs, head.retina_cls),
            (first[half:], head.reg_convs, head.retina_reg),
        ):
            for convolution in list(tower)[1:]:
                levels = [convolution(level) for level in levels]
            outputs += [last(level) for level in levels]
        return tuple(outputs)

    def choose(
        self,
        proposed: Sequence[Tensor],
        joined: Callable[[], Sequence[Tensor]],
        image_size: Size,
        limits: Tensor,
    ) -> InstanceData:
        """See `ClickDetector.choose`."""
        half = len(proposed) // 2
        (found,) = self.bbox_head.predict_by_feat(
            list(proposed[:half]),
            list(proposed[half:]),
            batch_img_metas=[_frame(image_size, image_size)],
            rescale=False,
        )
        return found


@MODELS.register_module()
class ClickFasterRCNN(ClickDetector, FasterRCNN):
    """Faster R-CNN (arXiv 1506.01497) that takes clicks. Its RoI head is a `ClickRoIHead`."""

    def first_convolutions(self) -> tuple[nn.Conv2d, ...]:
        """Of the region proposal network."""
        return (self.rpn_head.rpn_conv,)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read = Recorded(self._read_regions)

    def propose(self, first: Sequence[Tensor], limits: Tensor) -> tuple[Tensor, ...]:
        """See `ClickDetector.propose`: boxes ``(m, 4)``, scores ``(m,)``, boxes by level apart.

        As mmdet's head, but that boxes without area are still there, with a score of -1.
        """
        head, settings = self.rpn_head, self.rpn_head.test_cfg
        boxes, scores, levels = [], [], []
        sizes = [(level.shape[-2], level.shape[-1]) for level in first]
        priors = head.prior_generator.grid_priors(sizes, device=first[0].device)
        for number, (level, anchors) in enumerate(zip(first, priors, strict=True)):
            of_level = head.rpn_cls(level)[0].permute(1, 2, 0).flatten().sigmoid()
            deltas = head.rpn_reg(level)[0].permute(1, 2, 0).reshape(-1, 4)
            if len(of_level) > settings.nms_pre > 0:
                of_level, order = of_level.sort(descending=True)
                of_level, order = of_level[: settings.nms_pre], order[: settings.nms_pre]
                deltas, anchors = deltas[order], anchors[order]
            boxes.append(_decoded(anchors, deltas, head.bbox_coder, limits))
            scores.append(of_level)
            levels.append(torch.full_like(of_level, number))
        every = torch.cat(boxes)
        least = max(settings.min_bbox_size, 0)
        real = ((every[:, 2:] - every[:, :2]) > least).all(1)
        # Moved such that those of different levels do not overlap: one suppression for all.
        apart = every + (torch.cat(levels) * (every.max() + 1))[:, None]
        return every, torch.cat(scores).masked_fill(~real, -1), apart

    def choose(
        self,
        proposed: Sequence[Tensor],
        joined: Callable[[], Sequence[Tensor]],
        image_size: Size,
        limits: Tensor,
    ) -> InstanceData:
        """See `ClickDetector.choose`: as mmdet's, in fixed shapes wherever that is possible."""
        boxes, scores, apart = proposed
        of_proposals, settings = self.rpn_head.test_cfg, self.roi_head.test_cfg
        kept = NMSop.apply(apart, scores, of_proposals.nms.iou_threshold, 0, 0.0, 0)
        kept = kept[: of_proposals.max_per_img]
        count = of_proposals.max_per_img if boxes.is_cuda else len(kept)
        # Boxes without area have a score of -1, and what fills up gets it.
        regions = F.pad(
            torch.cat([boxes, scores[:, None]], 1)[kept], (0, 0, 0, count - len(kept)), value=-1
        )
        levels = joined()[: self.roi_head.bbox_roi_extractor.num_inputs]
        found, apart = self._read(None, regions, limits, *levels)
        chosen = (found[:, 4] > settings.score_thr).nonzero()[:, 0]
        found = found[chosen]
        if len(chosen) > 0:
            kept = NMSop.apply(
                apart[chosen], found[:, 4].contiguous(), settings.nms.iou_threshold, 0, 0.0, 0
            )
            found = found[kept[: settings.max_per_img]]
        return InstanceData(bboxes=found[:, :4], scores=found[:, 4], labels=found[:, 5].long())

    def _read_regions(
        self, key: None, regions: Tensor, limits: Tensor, *levels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Boxes of each class in each region.

        Args:
            key: None.
            regions: ``(r, 5)``, xyxy and a score; below 0 it is only there to fill up.
            limits: As for `propose`.
            levels: That regions are read from.

        Returns:
            ``(r * K, 6)``, xyxy, score and label, and ``(r * K, 4)``, the boxes by label apart.
        """
        head, classes = self.roi_head.bbox_head, self.num_classes
        corners = regions[:, :4]
        logits, deltas = head(self.roi_head.bbox_roi_extractor(levels, F.pad(corners, (1, 0))))
        scores = F.softmax(logits, 1)[:, :-1] * (regions[:, 4:] >= 0)
        if head.reg_class_agnostic:
            boxes = _decoded(corners, deltas, head.bbox_coder, limits)
            boxes = boxes.repeat_interleave(classes, 0)
        else:
            repeated = corners.repeat_interleave(classes, 0)
            boxes = _decoded(repeated, deltas.reshape(-1, 4), head.bbox_coder, limits)
        labels = torch.arange(classes, device=boxes.device).repeat(len(regions))[:, None]
        found = torch.cat([boxes, scores.reshape(-1, 1), labels.to(boxes.dtype)], 1)
        return found, boxes + labels * (boxes.max() + 1)


def _decoded(boxes: Tensor, deltas: Tensor, coder: Any, limits: Tensor) -> Tensor:
    """As mmdet's ``DeltaXYWHBBoxCoder``, without a number that the CPU has to bring.

    Boxes and deltas are ``(n, 4)``; ``limits`` ``(4,)`` are the largest coordinates.
    """
    x, y, wide, high = (
        delta * std + mean
        for delta, std, mean in zip(deltas.unbind(1), coder.stds, coder.means, strict=True)
    )
    largest = -math.log(16 / 1000)  # mmdet's clip of the growth
    middle, size = (boxes[:, :2] + boxes[:, 2:]) * 0.5, boxes[:, 2:] - boxes[:, :2]
    middle = middle + size * torch.stack([x, y], 1)
    size = size * torch.stack([wide, high], 1).clamp(-largest, largest).exp()
    corners = torch.cat([middle - size * 0.5, middle + size * 0.5], 1)
    return corners.clamp(min=0).minimum(limits)


@MODELS.register_module()
class TruncatedMobileNetV2(MobileNetV2):
    """mmdet's MobileNetV2 (arXiv 1801.04381) without the stages after the last one that is used."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        unused = self.layers[max(self.out_indices) + 1 :]
        del self.layers[max(self.out_indices) + 1 :]
        for name in unused:
            delattr(self, name)


def build_detector(
    architecture: Mapping[str, Any], normalization: Mapping[str, Any]
) -> ClickDetector:
    """Build a detector from its config.

    Args:
        architecture: An mmdet config dict without ``data_preprocessor``, made by
            `c3det.closed.architecture`: never one from a file.
        normalization: ``mean`` and ``std`` a channel of RGB in 0..255, and ``pad_size_divisor`` in
            pixels, the multiple of which both sides are padded to.

    Raises:
        ValueError: A ``type`` is no name of the registry. mmengine imports any other, and calls it.
    """
    _check_types(architecture)
    config = ConfigDict(copy.deepcopy(dict(architecture)))
    config["data_preprocessor"] = dict(type="DetDataPreprocessor", **normalization)
    with MODELS.switch_scope_and_registry("mmdet"):
        return MODELS.build(config)


def _check_types(config: Any) -> None:
    if isinstance(config, Mapping):
        if "type" in config and not str(config["type"]).isidentifier():
            raise ValueError(f"{config['type']!r} is no name of mmdet's registry")
        config = list(config.values())
    if isinstance(config, list | tuple):
        for one in config:
            _check_types(one)

"""The thin layer that puts the plain modules of `c3det` into mmdet's detectors.

`ClickRetinaNet` (one-stage) and `ClickFasterRCNN` (two-stage) take a further argument ``clicks``,
which says how clicks enter, and their heads ``uel``, which says whether the loss enforces them.
Without either they are mmdet's own detectors. Clicks travel as ``data_sample.metainfo["clicks"]``,
a sequence of `Click` in pixels of the picture as the detector gets it.

``clicks`` is a dict with any of
    ``early``: ``dict(sigma)``, heatmaps as further input channels of the backbone;
    ``late``: ``dict(backbone, neck, sigma)``, a `ClickBranch` of mmdet modules;
    ``correlation``: the fields of `Correlation`.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from mmdet.models.backbones import MobileNetV2
from mmdet.models.dense_heads import RetinaHead
from mmdet.models.detectors import FasterRCNN, RetinaNet
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.utils import images_to_levels, multi_apply
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.config import ConfigDict
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.profiler import record_function

from c3det.fusion import ClickBatch, ClickBranch, ClickFusion, Correlation, widen_first_convolution
from c3det.heatmaps import Size
from c3det.losses import (
    UserInputEnforcing,
    clicked_boxes,
    enforcing_loss,
    mean_over_processes,
)
from c3det.regions import roi_align


@dataclass(frozen=True, slots=True)
class ClickedFeatures:
    """What mmdet's ``extract_feat`` is given in place of the pictures.

    Attributes:
        features: What `encode` returned: all that does not depend on the clicks.
        clicks: The clicks of the batch.
    """

    features: tuple[Tensor, ...]
    clicks: ClickBatch


class ClickDetector(nn.Module):
    """Mixed into an mmdet detector: fuses the clicks of the data samples into its features."""

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
                Correlation(**correlation) if correlation is not None else None,
            )

    def init_weights(self) -> None:
        """Initialise as mmdet does, the late-fusion branch included."""
        super().init_weights()  # type: ignore[misc]
        if self.click_fusion is not None and self.click_fusion.branch is not None:
            for part in self.click_fusion.branch.children():
                cast(BaseModule, part).init_weights()

    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        """All that does not depend on the clicks.

        Args:
            images: ``(B, 3, H, W)``, normalised and padded.

        Returns:
            The levels of the neck; with early fusion, where nothing is independent of the clicks,
            the pictures themselves.
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
        """Boxes in pixels of the input, their scores and labels, one `InstanceData` a picture.

        Calls with the same detector may run side by side in several threads: nothing is kept.
        """
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
    def detect_joined(
        self,
        first: Sequence[Sequence[Tensor]],
        joined: Callable[[], Sequence[Tensor]],
        image_size: Size,
        input_size: Size,
    ) -> InstanceData:
        """As `detect`, for one picture whose features the caller has fused.

        Args:
            first: For each of `first_convolutions` its result of each level, after the ReLU.
            joined: Returns the fused levels, where the detector reads them once more.
            image_size: ``(height, width)`` in pixels, without padding.
            input_size: The same with padding.
        """


def _frame(image_size: Size, input_size: Size) -> dict[str, Any]:
    """What mmdet wants to know of a picture."""
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

    def detect_joined(
        self,
        first: Sequence[Sequence[Tensor]],
        joined: Callable[[], Sequence[Tensor]],
        image_size: Size,
        input_size: Size,
    ) -> InstanceData:
        """See `ClickDetector.detect_joined`."""
        head = self.bbox_head
        with record_function("proposals"):
            outputs = []
            for levels, tower, last in (
                (first[0], head.cls_convs, head.retina_cls),
                (first[1], head.reg_convs, head.retina_reg),
            ):
                for convolution in list(tower)[1:]:
                    levels = [convolution(level) for level in levels]
                outputs.append([last(level) for level in levels])
            (found,) = head.predict_by_feat(
                *outputs, batch_img_metas=[_frame(image_size, input_size)], rescale=False
            )
        return found


@MODELS.register_module()
class ClickFasterRCNN(ClickDetector, FasterRCNN):
    """Faster R-CNN (arXiv 1506.01497) that takes clicks. Its RoI head is a `ClickRoIHead`."""

    def first_convolutions(self) -> tuple[nn.Conv2d, ...]:
        """Of the region proposal network."""
        return (self.rpn_head.rpn_conv,)

    def detect_joined(
        self,
        first: Sequence[Sequence[Tensor]],
        joined: Callable[[], Sequence[Tensor]],
        image_size: Size,
        input_size: Size,
    ) -> InstanceData:
        """See `ClickDetector.detect_joined`."""
        frame = [_frame(image_size, input_size)]
        head = self.rpn_head
        with record_function("proposals"):
            proposals = head.predict_by_feat(
                [head.rpn_cls(level) for level in first[0]],
                [head.rpn_reg(level) for level in first[0]],
                batch_img_metas=frame,
                rescale=False,
            )
        with record_function("regions"):
            (found,) = self._detect_regions(joined(), proposals[0], frame)
        return found

    def _detect_regions(
        self, levels: Sequence[Tensor], proposals: InstanceData, frame: list[dict[str, Any]]
    ) -> list[InstanceData]:
        """As mmdet's ``predict_bbox``, with the regions read by `c3det.regions` on a CPU."""
        head = self.roi_head
        extractor = head.bbox_roi_extractor
        levels = levels[: extractor.num_inputs]
        if levels[0].device.type != "cpu" or len(proposals) == 0:
            return head.predict_bbox(levels, frame, [proposals], head.test_cfg, rescale=False)
        rois = bbox2roi([proposals.bboxes])
        of_level = extractor.map_roi_levels(rois, len(levels))
        side = head.bbox_head.roi_feat_size[0]
        features = levels[0].new_empty(len(rois), levels[0].shape[1], side, side)
        for number, level in enumerate(levels):
            chosen = (of_level == number).nonzero()[:, 0]
            features[chosen] = roi_align(
                level,
                rois[chosen, 1:],
                stride=extractor.featmap_strides[number],
                output=side,
                sampling_ratio=extractor.roi_layers[number].sampling_ratio,
            )
        scores, deltas = head.bbox_head(features)
        return head.bbox_head.predict_by_feat(
            (rois,), (scores,), (deltas,), batch_img_metas=frame, rcnn_test_cfg=head.test_cfg
        )


@MODELS.register_module()
class ClickRetinaHead(RetinaHead):
    """RetinaNet's head with the user-input enforcing loss.

    Args:
        uel: The fields of `UserInputEnforcing`, or ``None`` to leave the loss out.
    """

    def __init__(self, *args: Any, uel: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.uel = UserInputEnforcing(**uel) if uel is not None else None

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict[str, Any]],
        batch_gt_instances_ignore: list[InstanceData] | None = None,
    ) -> dict[str, Any]:
        """mmdet's losses and ``loss_uel``, from targets that are assigned once."""
        sizes = [level.shape[-2:] for level in cls_scores]
        anchors, valid = self.get_anchors(sizes, batch_img_metas, device=cls_scores[0].device)
        labels, label_weights, box_targets, box_weights, average = self.get_targets(
            anchors,
            valid,
            batch_gt_instances,
            batch_img_metas,
            batch_gt_instances_ignore=batch_gt_instances_ignore,
        )
        # Of all processes, so that several train as one with the same pictures would.
        average = mean_over_processes(torch.tensor(float(average), device=cls_scores[0].device))
        counts = [len(level) for level in anchors[0]]
        per_picture = [torch.cat(levels) for levels in anchors]
        losses_cls, losses_bbox = multi_apply(
            self.loss_by_feat_single,
            cls_scores,
            bbox_preds,
            images_to_levels(per_picture, counts),
            labels,
            label_weights,
            box_targets,
            box_weights,
            avg_factor=average,
        )
        losses = dict(loss_cls=losses_cls, loss_bbox=losses_bbox)
        if self.uel is not None:
            losses["loss_uel"] = self._enforcing_loss(
                self.uel, cls_scores, bbox_preds, per_picture, torch.cat(labels, 1), batch_img_metas
            )
        return losses

    def _enforcing_loss(
        self,
        uel: UserInputEnforcing,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        anchors: list[Tensor],
        labels: Tensor,
        batch_img_metas: list[dict[str, Any]],
    ) -> Tensor:
        logits = _flat(cls_scores, self.cls_out_channels)
        deltas = _flat(bbox_preds, self.bbox_coder.encode_size)
        chosen, targets = [], []
        for index, meta in enumerate(batch_img_metas):
            positive = (labels[index] < self.num_classes).nonzero()[:, 0]
            boxes = self.bbox_coder.decode(anchors[index][positive], deltas[index][positive])
            meets, wanted = clicked_boxes(
                boxes, labels[index][positive], meta.get("clicks", ()), uel
            )
            chosen.append(logits[index][positive[meets]])
            targets.append(wanted[meets])
        return enforcing_loss(
            torch.cat(chosen),
            torch.cat(targets),
            sigmoid=self.use_sigmoid_cls,
            weight=uel.weight,
        )


def _flat(levels: list[Tensor], channels: int) -> Tensor:
    """``(B, A * channels, h, w)`` a level -> ``(B, anchors of all levels, channels)``."""
    rows = [level.permute(0, 2, 3, 1).reshape(level.shape[0], -1, channels) for level in levels]
    return torch.cat(rows, 1)


@MODELS.register_module()
class ClickRoIHead(StandardRoIHead):
    """Faster R-CNN's RoI head with the user-input enforcing loss.

    Args:
        uel: The fields of `UserInputEnforcing`, or ``None`` to leave the loss out.
    """

    def __init__(self, *args: Any, uel: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.uel = UserInputEnforcing(**uel) if uel is not None else None

    def loss(
        self,
        x: tuple[Tensor, ...],
        rpn_results_list: list[InstanceData],
        batch_data_samples: list[DetDataSample],
    ) -> dict[str, Any]:
        """mmdet's losses and ``loss_uel``."""
        sampled = []
        for index, (proposals, sample) in enumerate(
            zip(rpn_results_list, batch_data_samples, strict=True)
        ):
            proposals.priors = proposals.pop("bboxes")
            assigned = self.bbox_assigner.assign(
                proposals, sample.gt_instances, sample.get("ignored_instances")
            )
            sampled.append(
                self.bbox_sampler.sample(
                    assigned,
                    proposals,
                    sample.gt_instances,
                    feats=[level[index][None] for level in x],
                )
            )
        results = self.bbox_loss(x, sampled)
        losses = dict(results["loss_bbox"])
        if self.uel is not None:
            losses["loss_uel"] = self._enforcing_loss(
                self.uel, results, sampled, batch_data_samples
            )
        return losses

    def _enforcing_loss(
        self,
        uel: UserInputEnforcing,
        results: dict[str, Tensor],
        sampled: list[Any],
        batch_data_samples: list[DetDataSample],
    ) -> Tensor:
        counts = [len(result.priors) for result in sampled]
        head = self.bbox_head
        chosen, targets = [], []
        for logits, deltas, result, sample in zip(
            results["cls_score"].split(counts),
            results["bbox_pred"].split(counts),
            sampled,
            batch_data_samples,
            strict=True,
        ):
            # mmdet puts the positive samples of a picture first.
            labels = result.pos_gt_labels
            count = len(labels)
            columns = 1 if head.reg_class_agnostic else head.num_classes
            deltas = deltas[:count].view(count, columns, head.bbox_coder.encode_size)
            column = torch.zeros_like(labels) if head.reg_class_agnostic else labels
            deltas = deltas[torch.arange(count, device=labels.device), column]
            boxes = head.bbox_coder.decode(result.pos_priors, deltas)
            meets, wanted = clicked_boxes(boxes, labels, sample.metainfo.get("clicks", ()), uel)
            chosen.append(logits[:count][meets])
            targets.append(wanted[meets])
        return enforcing_loss(
            torch.cat(chosen), torch.cat(targets), sigmoid=False, weight=uel.weight
        )


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
        architecture: An mmdet config dict without ``data_preprocessor``, made by `c3det.configs`:
            never one from a file.
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

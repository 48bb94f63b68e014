"""mmdet's heads with the user-input enforcing loss (UEL, `c3det.closed.losses`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmdet.models.dense_heads import RetinaHead
from mmdet.models.roi_heads import SingleRoIExtractor, StandardRoIHead
from mmdet.models.utils import images_to_levels, multi_apply
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from c3det.closed.losses import (
    UserInputEnforcing,
    clicked_boxes,
    enforcing_loss,
    mean_over_processes,
)
from c3det.closed.regions import read_regions


class _Enforcing:
    """Mixin of an mmdet head.

    Args:
        args: Of the head.
        uel: The fields of `UserInputEnforcing`, or ``None`` to leave the loss out.
        kwargs: Of the head.
    """

    def __init__(self, *args: Any, uel: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.uel = UserInputEnforcing(**uel) if uel is not None else None


@MODELS.register_module()
class ClickRetinaHead(_Enforcing, RetinaHead):
    """RetinaNet's head with the user-input enforcing loss, see `_Enforcing`."""

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


class RegionExtractor(SingleRoIExtractor):
    """mmdet's choice of a level for each region; the regions are read by `c3det.closed.regions`."""

    def forward(self, feats: Sequence[Tensor], rois: Tensor) -> Tensor:
        """As mmdet's, in float32.

        Args:
            feats: ``(B, C, h, w)`` a level.
            rois: ``(n, 5)``: index of the picture, xyxy in pixels.
        """
        rois = rois.float()
        layer = self.roi_layers[0]
        return read_regions(
            feats,
            rois,
            self.map_roi_levels(rois, len(feats)),
            strides=self.featmap_strides,
            output=layer.output_size[0],
            sampling_ratio=layer.sampling_ratio,
        )


@MODELS.register_module()
class ClickRoIHead(_Enforcing, StandardRoIHead):
    """Faster R-CNN's RoI head with the user-input enforcing loss, see `_Enforcing`."""

    def init_bbox_head(self, bbox_roi_extractor: Mapping[str, Any], bbox_head: Any) -> None:
        """As mmdet's, with our reader of regions in place of its ``SingleRoIExtractor``."""
        super().init_bbox_head(bbox_roi_extractor, bbox_head)
        settings = {key: value for key, value in bbox_roi_extractor.items() if key != "type"}
        self.bbox_roi_extractor = RegionExtractor(**settings)

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

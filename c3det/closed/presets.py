"""The numbers of the presets, as terms of mmdet configs.

Cards name a preset, so the numbers of a released preset never change; other numbers are a preset of
another name. `c3det.closed.architecture.Architecture` describes the presets in words.
"""

from __future__ import annotations

from typing import Any, Literal

from c3det.rgb import IMAGENET_MEAN, IMAGENET_STD

Preset = Literal["paper", "starter"]
Stages = Literal["one-stage", "two-stage"]


def normalization(preset: Preset) -> dict[str, Any]:
    """ImageNet's mean and deviation for RGB, and the coarsest stride as the multiple to pad to."""
    return dict(
        mean=list(IMAGENET_MEAN),
        std=list(IMAGENET_STD),
        pad_size_divisor={"paper": 128, "starter": 16}[preset],
    )


CLICK_SIGMA: dict[str, float] = {"paper": 1.0, "starter": 4.0}
"""Of the drawn clicks, in pixels."""

CORRELATION: dict[str, dict[str, Any]] = {
    "paper": dict(sampling="gaussian-nearest", sigma=3.0, scale="none"),
    "starter": dict(
        sampling="bilinear", scale="cosine", gain=10.0, stop_gradient=True, projection=True
    ),
}


UEL_WEIGHT: dict[str, float] = {"paper": 1.0, "starter": 0.1}


def _paper_parts(num_classes: int, stages: Stages) -> tuple[dict, dict, dict]:
    def neck(channels: list[int]) -> dict[str, Any]:
        extra = dict(start_level=1, add_extra_convs="on_input") if stages == "one-stage" else {}
        return dict(type="FPN", in_channels=channels, out_channels=256, num_outs=5, **extra)

    backbone = dict(
        type="ResNet",
        depth=50,
        num_stages=4,
        out_indices=[0, 1, 2, 3],
        frozen_stages=1,
        norm_cfg=dict(type="BN", requires_grad=True),
        norm_eval=True,
    )
    click_backbone = dict(
        type="ResNet",
        depth=18,
        in_channels=num_classes,
        num_stages=4,
        out_indices=[0, 1, 2, 3],
        norm_cfg=dict(type="BN", requires_grad=True),
        norm_eval=True,
    )
    branch = dict(backbone=click_backbone, neck=neck([64, 128, 256, 512]))
    return backbone, neck([256, 512, 1024, 2048]), branch


def _starter_parts(num_classes: int, stages: Stages) -> tuple[dict, dict, dict]:
    backbone = dict(
        type="TruncatedMobileNetV2", out_indices=[1, 2, 4], frozen_stages=1, norm_eval=True
    )
    neck = dict(type="FPN", in_channels=[24, 32, 96], out_channels=64, num_outs=3)
    click_backbone = dict(
        type="ResNet",
        depth=18,
        in_channels=num_classes,
        stem_channels=16,
        base_channels=16,
        num_stages=3,
        strides=[1, 2, 2],
        dilations=[1, 1, 1],
        out_indices=[0, 1, 2],
        norm_cfg=dict(type="BN", requires_grad=True),
        norm_eval=True,
    )
    click_neck = dict(type="FPN", in_channels=[16, 32, 64], out_channels=32, num_outs=3)
    return backbone, neck, dict(backbone=click_backbone, neck=click_neck)


PARTS = {"paper": _paper_parts, "starter": _starter_parts}
"""Backbone, neck and late-fusion branch, from K and the stages."""


def _one_stage(preset: Preset, num_classes: int, uel: dict[str, Any] | None) -> dict[str, Any]:
    paper = preset == "paper"
    channels = 256 if paper else 64
    anchors = (
        dict(octave_base_scale=4, scales_per_octave=3, ratios=[0.5, 1.0, 2.0])
        if paper
        else dict(octave_base_scale=2, scales_per_octave=2, ratios=[1.0])
    )
    return dict(
        type="ClickRetinaNet",
        bbox_head=dict(
            type="ClickRetinaHead",
            num_classes=num_classes,
            in_channels=channels,
            feat_channels=channels,
            stacked_convs=4 if paper else 2,
            anchor_generator=dict(
                type="AnchorGenerator",
                strides=[8, 16, 32, 64, 128] if paper else [4, 8, 16],
                **anchors,
            ),
            bbox_coder=_coder([1.0, 1.0, 1.0, 1.0]),
            loss_cls=dict(
                type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0
            ),
            **_box_loss(preset),
            uel=uel,
        ),
        train_cfg=dict(
            assigner=_assigner(0.5, 0.4, 0.0) if paper else _assigner(0.4, 0.3, 0.0),
            sampler=dict(type="PseudoSampler"),
            allowed_border=-1,
            pos_weight=-1,
            debug=False,
        ),
        test_cfg=dict(
            nms_pre=2000, min_bbox_size=0, score_thr=0.02, nms=_nms(0.5), max_per_img=1000
        ),
    )


def _two_stage(preset: Preset, num_classes: int, uel: dict[str, Any] | None) -> dict[str, Any]:
    paper = preset == "paper"
    channels = 256 if paper else 64
    strides = [4, 8, 16, 32, 64] if paper else [4, 8, 16]
    scales = [8.0] if paper else [2.0, 2.83]
    proposals = dict(
        nms_pre=2000 if paper else 500,
        max_per_img=2000 if paper else 500,
        nms=_nms(0.7),
        min_bbox_size=0,
    )
    return dict(
        type="ClickFasterRCNN",
        rpn_head=dict(
            type="RPNHead",
            in_channels=channels,
            feat_channels=channels,
            anchor_generator=dict(
                type="AnchorGenerator",
                scales=scales,
                ratios=[0.5, 1.0, 2.0] if paper else [1.0],
                strides=strides,
            ),
            bbox_coder=_coder([1.0, 1.0, 1.0, 1.0]),
            loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=1.0),
            loss_bbox=dict(type="L1Loss", loss_weight=1.0),
        ),
        roi_head=dict(
            type="ClickRoIHead",
            bbox_roi_extractor=dict(
                type="SingleRoIExtractor",
                roi_layer=dict(type="RoIAlign", output_size=7, sampling_ratio=2 if paper else 0),
                out_channels=channels,
                featmap_strides=strides[:4],
                finest_scale=56 if paper else 24,
            ),
            bbox_head=dict(
                type="Shared2FCBBoxHead",
                in_channels=channels,
                fc_out_channels=1024 if paper else 256,
                roi_feat_size=7,
                num_classes=num_classes,
                bbox_coder=_coder([0.1, 0.1, 0.2, 0.2]),
                reg_class_agnostic=not paper,
                loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
                **_box_loss(preset),
            ),
            uel=uel,
        ),
        train_cfg=dict(
            rpn=dict(
                assigner=_assigner(0.7, 0.3, 0.3) if paper else _assigner(0.5, 0.3, 0.2),
                sampler=_sampler(256, 0.5, False),
                allowed_border=-1,
                pos_weight=-1,
                debug=False,
            ),
            rpn_proposal=proposals,
            rcnn=dict(
                assigner=_assigner(0.5, 0.5, 0.5, low_quality=False),
                sampler=_sampler(512 if paper else 128, 0.25, True),
                pos_weight=-1,
                debug=False,
            ),
        ),
        test_cfg=dict(
            rpn=dict(
                # The paper keeps 2000 of each patch; a click would wait for half a second more.
                proposals,
                nms_pre=1000,
                max_per_img=1000 if paper else 600,
            ),
            rcnn=dict(score_thr=0.02, nms=_nms(0.5), max_per_img=2000 if paper else 1000),
        ),
    )


HEADS = {"one-stage": _one_stage, "two-stage": _two_stage}
"""Type, heads, assignment and selection, from a preset, K and the fields of the UEL."""


def _box_loss(preset: Preset) -> dict[str, Any]:
    if preset == "paper":
        return dict(loss_bbox=dict(type="L1Loss", loss_weight=1.0))
    return dict(reg_decoded_bbox=True, loss_bbox=dict(type="GIoULoss", loss_weight=2.0))


def _coder(stds: list[float]) -> dict[str, Any]:
    return dict(type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4, target_stds=stds)


def _assigner(
    positive: float, negative: float, minimum: float, low_quality: bool = True
) -> dict[str, Any]:
    return dict(
        type="MaxIoUAssigner",
        pos_iou_thr=positive,
        neg_iou_thr=negative,
        min_pos_iou=minimum,
        match_low_quality=low_quality,
        # What lies by half in an object to be ignored is neither object nor background.
        ignore_iof_thr=0.5,
    )


def _sampler(count: int, positive: float, add_objects: bool) -> dict[str, Any]:
    return dict(
        type="RandomSampler",
        num=count,
        pos_fraction=positive,
        neg_pos_ub=-1,
        add_gt_as_proposals=add_objects,
    )


def _nms(threshold: float) -> dict[str, Any]:
    return dict(type="nms", iou_threshold=threshold)

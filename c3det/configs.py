"""The two shipped configurations, each one-stage or two-stage, with or without clicks.

A variant is an `Architecture`: plain data that the card of the weights carries. From it
`Architecture.config` makes the mmdet config that `c3det.mmdet_adapter.build_detector` builds. No
config comes from a file. Cards name a preset, so the numbers of a released preset never change;
other numbers are a preset of another name.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from c3det.correlation import Sampling, Scale
from c3det.fields import (
    check_bool,
    check_choice,
    check_fields,
    check_number,
    check_object,
    short_name,
)
from c3det.losses import Target
from c3det.pictures import IMAGENET_MEAN, IMAGENET_STD

Preset = Literal["paper", "starter"]
Stages = Literal["one-stage", "two-stage"]
Fusion = Literal["plain", "early", "late", "c3det"]

MAX_CLASSES = 2000
"""Detectors grow with their classes; LVIS, the largest set of boxes, has 1203."""

Numbers = tuple[float, float]
"""The least and the largest value of a number."""

Allowed = Numbers | type[bool] | tuple[str, ...]
"""What a value may be: a number in these bounds, a truth value, or one of these words."""

_SIGMA: Numbers = (0.1, 100.0)

_CORRELATION_VALUES: dict[str, Allowed] = {
    "sampling": get_args(Sampling),
    "sigma": _SIGMA,
    "scale": get_args(Scale),
    "gain": (0.001, 1000.0),
    "stop_gradient": bool,
    "projection": bool,
}
"""What the fields of `c3det.fusion.CorrelationSettings` may be."""

_UEL_VALUES: dict[str, Allowed] = {
    "weight": (0.0, 1000.0),
    "target": get_args(Target),
    "radius": (0.0, 1000.0),
}
"""What the fields of `c3det.losses.UserInputEnforcing` may be."""


def normalization(preset: Preset) -> dict[str, Any]:
    """ImageNet's mean and deviation for RGB, and the coarsest stride as the multiple to pad to."""
    return dict(
        mean=list(IMAGENET_MEAN),
        std=list(IMAGENET_STD),
        pad_size_divisor={"paper": 128, "starter": 16}[preset],
    )


@dataclass(frozen=True, slots=True)
class Architecture:
    """A detector but for its classes: all that a card or a run says about how it is built.

    Arguments that are left out get the preset's values, so equal architectures build equal
    detectors. Each value is checked, because it may come from a file.

    Attributes:
        preset: ``"paper"``: ResNet-50 and FPN, 256 channels, strides 4 to 64 (two-stage) or 8 to
            128 (one-stage), the published settings, for pictures of 1024 px. ``"starter"``:
            MobileNetV2, 64 channels, strides 4, 8 and 16, anchors for objects of 6 to 60 px, small
            enough to train on a CPU.
        stages: ``"one-stage"`` (RetinaNet) or ``"two-stage"`` (Faster R-CNN).
        fusion: ``"plain"``: no clicks; ``"early"``: heatmaps as input channels; ``"late"``: late
            fusion alone; ``"c3det"``: late fusion and correlation.
        uel: Whether the loss enforces the clicks; ``None``: with ``"c3det"`` only. Or fields of
            `c3det.losses.UserInputEnforcing`, each in place of the preset's. Then the fields, or
            ``False``.
        correlation: Fields of `c3det.fusion.CorrelationSettings`, each in place of the preset's;
            ``None`` without correlation.
        late: ``False`` leaves late fusion out of ``"c3det"``.
        sigma: Of the clicks drawn for early and late fusion, 0.1 to 100 px; ``None``: the preset's,
            and then where nothing is drawn.

    Raises:
        ValueError: A field has a value that it cannot have; the message names it.
    """

    preset: Preset
    stages: Stages = "two-stage"
    fusion: Fusion = "c3det"
    uel: bool | Mapping[str, Any] | None = None
    correlation: Mapping[str, Any] | None = None
    late: bool | None = None
    sigma: float | None = None

    def __post_init__(self) -> None:
        _check("preset", self.preset, get_args(Preset))
        _check("stages", self.stages, get_args(Stages))
        _check("fusion", self.fusion, get_args(Fusion))
        resolved = {
            "late": self._late(),
            "sigma": self._sigma(self._late() or self.fusion == "early"),
            "correlation": self._correlation(),
            "uel": self._uel(),
        }
        for name, value in resolved.items():
            object.__setattr__(self, name, value)

    def _late(self) -> bool:
        late = self.fusion in ("late", "c3det")
        if self.late is None:
            return late
        _check("late", self.late, bool)
        if self.late != late and self.fusion != "c3det":
            raise ValueError(f"late cannot be {str(self.late).lower()} for fusion {self.fusion!r}")
        return self.late

    def _sigma(self, drawn: bool) -> float | None:
        if self.sigma is None:
            return _CLICK_SIGMA[self.preset] if drawn else None
        if not drawn:
            raise ValueError("sigma must be null where no clicks are drawn")
        return float(_check("sigma", self.sigma, _SIGMA))

    def _correlation(self) -> dict[str, Any] | None:
        if self.fusion == "c3det":
            chosen = {} if self.correlation is None else self.correlation
            return _CORRELATION[self.preset] | _checked("correlation", chosen, _CORRELATION_VALUES)
        if self.correlation is not None:
            raise ValueError(f"correlation must be null for fusion {self.fusion!r}")
        return None

    def _uel(self) -> dict[str, Any] | bool:
        if self.uel is False or (self.uel is None and self.fusion != "c3det"):
            return False
        chosen = {} if self.uel is None or self.uel is True else self.uel
        default = dict(weight=_UEL_WEIGHT[self.preset], target="assigned")
        return default | _checked("uel", chosen, _UEL_VALUES)

    @classmethod
    def read(cls, content: object) -> Architecture:
        """Make one from what a card or a run has written: `asdict` of another.

        Raises:
            ValueError: It is anything else; the message names the field.
        """
        content = check_fields("architecture", content, {field.name for field in fields(cls)})
        try:
            found = cls(**content)
        except ValueError as error:
            raise ValueError(f"architecture.{error}") from None
        for name, value in asdict(found).items():
            # In writing, no value is left to the preset.
            if not _same(value, content[name]):
                raise ValueError(
                    f"architecture.{name} must be {reprlib.repr(value)}, "
                    f"not {reprlib.repr(content[name])}"
                )
        return found

    @property
    def normalization(self) -> dict[str, Any]:
        """How pictures are normalised, see `normalization`."""
        return normalization(self.preset)

    def config(self, num_classes: int) -> dict[str, Any]:
        """The detector's mmdet config.

        Args:
            num_classes: K, 1 to `MAX_CLASSES`.

        Raises:
            ValueError: Another number of classes.
        """
        if not 1 <= num_classes <= MAX_CLASSES:
            raise ValueError(f"a detector has 1 to {MAX_CLASSES} classes, not {num_classes}")
        backbone, neck, branch = _PARTS[self.preset](num_classes, self.stages)
        clicks: dict[str, Any] = {}
        if self.fusion == "early":
            clicks["early"] = dict(sigma=self.sigma)
            # The widened stem starts blind to the clicks, so it has to be trained.
            backbone["frozen_stages"] = -1
        if self.late:
            clicks["late"] = branch | dict(sigma=self.sigma)
        if self.correlation is not None:
            clicks["correlation"] = dict(self.correlation)
        heads = _one_stage if self.stages == "one-stage" else _two_stage
        uel = dict(self.uel) if isinstance(self.uel, Mapping) else None
        return dict(
            backbone=backbone,
            neck=neck,
            num_classes=num_classes,
            clicks=clicks or None,
            **heads(self.preset, num_classes, uel),
        )


def architecture(preset: Preset, num_classes: int, **options: Any) -> dict[str, Any]:
    """The mmdet config of an `Architecture` with these options, for a number of classes."""
    return Architecture(preset, **options).config(num_classes)


def _check(name: str, value: Any, allowed: Allowed) -> Any:
    """The value if it is allowed, a number as a float."""
    if allowed is bool:
        return check_bool(name, value)
    assert isinstance(allowed, tuple)
    if isinstance(allowed[0], str):
        return check_choice(name, value, allowed)
    return check_number(name, value, *allowed)


def _checked(name: str, chosen: Any, values: Mapping[str, Allowed]) -> dict[str, Any]:
    chosen = check_object(name, chosen)
    unknown = sorted(map(str, chosen.keys() - values.keys()))
    if unknown:
        raise ValueError(
            f"{name}.{short_name(unknown[0])} is unknown, there are {', '.join(values)}"
        )
    return {key: _check(f"{name}.{key}", value, values[key]) for key, value in chosen.items()}


def _same(first: Any, second: Any) -> bool:
    """Whether two values are the same in JSON, where 1 is 1.0 and true is not 1."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_same(first[k], second[k]) for k in first)
    return isinstance(first, bool) == isinstance(second, bool) and first == second


_CLICK_SIGMA: dict[str, float] = {"paper": 1.0, "starter": 4.0}

_CORRELATION: dict[str, dict[str, Any]] = {
    "paper": dict(sampling="gaussian-nearest", sigma=3.0, scale="none"),
    "starter": dict(
        sampling="bilinear", scale="cosine", gain=10.0, stop_gradient=True, projection=True
    ),
}


_UEL_WEIGHT: dict[str, float] = {"paper": 1.0, "starter": 0.1}


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


_PARTS = {"paper": _paper_parts, "starter": _starter_parts}


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

"""What a click costs where everything is computed again: the shape of the authors' released code.

At each click the picture goes through its backbone, twenty maps of full size are drawn in double
precision, each is brought to each level by nearest resizing, the template is a sum over the whole
level, and its correlation a convolution. None of this is used to serve.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.models.roi_heads import SingleRoIExtractor
from mmdet.structures.bbox import bbox2roi
from mmengine.structures import InstanceData
from torch import Tensor

from c3det.clicks import Click, Size
from c3det.closed.correlation import Scale, comparable, scaled_templates
from c3det.closed.mmdet_adapter import ClickDetector

CLICKS_DRAWN = 20
"""The released code draws as many maps, whatever the number of clicks."""

PROPOSALS = 2000
"""What it keeps of the region proposals when it detects."""


def drawn_at_full_size(click: Click, image_size: Size, sigma: float) -> Tensor:
    """A click drawn on every pixel, ``(height, width)`` float64, on torch's default device."""
    rows = torch.arange(image_size[0], dtype=torch.float64)[:, None] + 0.5 - click.y
    columns = torch.arange(image_size[1], dtype=torch.float64)[None] + 0.5 - click.x
    return torch.exp(-(rows**2 + columns**2) / (2 * sigma**2))


def correlations(
    levels: Sequence[Tensor],
    clicks: Sequence[Click],
    num_classes: int,
    image_size: Size,
    sigma: float = 3.0,
    scale: Scale = "none",
) -> list[Tensor]:
    """C3 as the released code computes it, for one picture.

    Args:
        levels: ``(1, C, h, w)`` each.
        clicks: In pixels, at least one.
        num_classes: K.
        image_size: ``(height, width)`` in pixels.
        sigma: Of the drawn clicks in pixels.
        scale: See `c3det.closed.correlation.class_correlations`.

    Returns:
        ``(1, K, h, w)`` each.
    """
    repeated = [clicks[number % len(clicks)] for number in range(CLICKS_DRAWN)]
    with levels[0].device:
        drawn = [drawn_at_full_size(click, image_size, sigma) for click in repeated]
    maps = []
    for level in levels:
        level = comparable(level, scale)
        collated = level.new_zeros(1, num_classes, *level.shape[-2:])
        collated_labels: set[int] = set()
        for click, at_full_size in zip(clicks, drawn, strict=False):
            weights = F.interpolate(at_full_size[None, None], size=level.shape[-2:])[0, 0]
            weights = (weights / (weights.sum() + 1e-8)).to(level.dtype)
            template = (level[0] * weights).sum((1, 2))[None]
            kernel = scaled_templates(template, scale).view(1, -1, 1, 1)
            found = F.conv2d(level, kernel)[:, 0]
            if click.label in collated_labels:
                found = torch.maximum(collated[:, click.label], found)
            collated[:, click.label] = found
            collated_labels.add(click.label)
        maps.append(collated)
    return maps


@torch.inference_mode()
def detect(detector: ClickDetector, images: Tensor, clicks: Sequence[Click]) -> InstanceData:
    """One click of a C3Det detector with late fusion, with nothing kept from the last one.

    Args:
        detector: In evaluation mode, of two stages.
        images: ``(1, 3, H, W)``, normalised, without padding.
        clicks: In pixels, at least one and at most `CLICKS_DRAWN`.
    """
    size = (images.shape[-2], images.shape[-1])
    fusion = detector.click_fusion
    if fusion is None or fusion.branch is None or fusion.correlation is None:
        raise ValueError("the reference needs a C3Det detector with late fusion")
    levels = detector.encode(images)
    settings = fusion.correlation
    found = correlations(
        fusion.compared(levels),
        clicks,
        detector.num_classes,
        size,
        settings.sigma,
        settings.scale,
    )
    with images.device:
        heatmaps = torch.zeros(1, detector.num_classes, *size, dtype=torch.float64)
        for number in range(CLICKS_DRAWN):
            click = clicks[number % len(clicks)]
            drawn = drawn_at_full_size(click, size, fusion.branch.sigma)
            heatmaps[0, click.label] = torch.maximum(heatmaps[0, click.label], drawn)
    late = fusion.branch.neck(fusion.branch.backbone(heatmaps.float()))
    joined = [
        fusion.join(torch.cat([level, c3 * settings.gain, clicked], 1))
        for level, c3, clicked in zip(levels, found, late, strict=True)
    ]
    frame = dict(img_shape=size, batch_input_shape=size, pad_shape=size, scale_factor=(1.0, 1.0))
    more = dict(detector.rpn_head.test_cfg, nms_pre=PROPOSALS, max_per_img=PROPOSALS)
    proposals = detector.rpn_head.predict_by_feat(
        *detector.rpn_head(joined),
        batch_img_metas=[frame],
        cfg=type(detector.rpn_head.test_cfg)(more),
        rescale=False,
    )
    head = detector.roi_head
    extractor = head.bbox_roi_extractor
    rois = bbox2roi([proposals[0].bboxes])
    contiguous = tuple(level.contiguous() for level in joined[: extractor.num_inputs])
    # mmdet's own extractor and mmcv's own operator, as the released code has them.
    regions = SingleRoIExtractor.forward(extractor, contiguous, rois)
    scores, deltas = head.bbox_head(regions)
    return head.bbox_head.predict_by_feat(
        (rois,), (scores,), (deltas,), batch_img_metas=[frame], rcnn_test_cfg=head.test_cfg
    )[0]

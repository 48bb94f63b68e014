"""The modules of the late-fusion branch as values of a `c3det.closed.windows.Network`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from c3det.closed.windows import INPUT, Convolution, Copy, MaxPool, Sum


def convolution(source: int, module: nn.Conv2d) -> Convolution:
    """A convolution of the value ``source``."""
    return Convolution(source, module.weight, module.bias, module.stride[0], int(module.padding[0]))


def _normalised(source: int, module: nn.Conv2d, norm: nn.Module) -> Convolution:
    """A convolution and the BatchNorm behind it, in one."""
    batch_norm = cast(nn.BatchNorm2d, norm)
    variance, mean = cast(Tensor, batch_norm.running_var), cast(Tensor, batch_norm.running_mean)
    scale = batch_norm.weight / torch.sqrt(variance + batch_norm.eps)
    return replace(
        convolution(source, module),
        weight=module.weight * scale[:, None, None, None],
        bias=batch_norm.bias - mean * scale,
    )


def append_resnet(values: list[Sum | None], resnet: Any) -> list[int]:
    """Append the values of a ResNet of basic blocks that reads the input; those of its outputs."""

    def append(value: Sum) -> int:
        values.append(value)
        return len(values) - 1

    if getattr(resnet, "deep_stem", True) or getattr(resnet, "avg_down", True):
        raise ValueError("the backbone of the late-fusion branch must be a plain ResNet")
    x = append(Sum((_normalised(INPUT, resnet.conv1, resnet.norm1),), relu=True))
    pool = resnet.maxpool
    x = append(Sum((MaxPool(x, pool.kernel_size, pool.stride, pool.padding),)))
    outs = []
    for number, name in enumerate(resnet.res_layers):
        for block in getattr(resnet, name):
            if hasattr(block, "conv3"):
                raise ValueError("the ResNet of the late-fusion branch must be of basic blocks")
            middle = append(Sum((_normalised(x, block.conv1, block.norm1),), relu=True))
            shortcut = Copy(x) if block.downsample is None else _normalised(x, *block.downsample)
            end = _normalised(middle, block.conv2, block.norm2)
            x = append(Sum((end, shortcut), relu=True))
        if number in resnet.out_indices:
            outs.append(x)
    return outs


def append_fpn(
    values: list[Sum | None], fpn: Any, inputs: Sequence[int], late: Tensor, bias: Tensor | None
) -> list[Convolution]:
    """Append the values inside an FPN; its outputs through a 1x1 convolution ``late``."""

    def through(source: int, module: nn.Conv2d) -> Convolution:
        plain = convolution(source, module)
        weight = torch.einsum("oc,cikl->oikl", late[:, :, 0, 0], plain.weight)
        total = late[:, :, 0, 0] @ cast(Tensor, plain.bias)
        return replace(plain, weight=weight, bias=total if bias is None else total + bias)

    used = inputs[fpn.start_level :]
    merged: list[int] = []
    for source, lateral in zip(reversed(used), reversed(fpn.lateral_convs), strict=True):
        own = convolution(source, lateral.conv)
        values.append(Sum((own, Copy(merged[-1])) if merged else (own,)))
        merged.append(len(values) - 1)
    merged.reverse()
    outs = [through(s, m.conv) for s, m in zip(merged, fpn.fpn_convs, strict=False)]
    extra = [module.conv for module in fpn.fpn_convs[len(merged) :]]
    if not extra:
        while len(outs) < fpn.num_outs:  # every second cell of the level below
            outs.append(replace(outs[-1], stride=2 * outs[-1].stride))
    elif fpn.add_extra_convs == "on_input" and not fpn.relu_before_extra_convs:
        source = inputs[-1]
        for number, module in enumerate(extra, start=1):
            outs.append(through(source, module))
            if number < len(extra):
                values.append(Sum((convolution(source, module),)))
                source = len(values) - 1
    else:
        raise ValueError("the FPN of the late-fusion branch must add levels on its input")
    return outs

"""BatchNorm folded into the convolutions before it; the answers stay, but for rounding."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def folded(network: ModuleT) -> ModuleT:
    """A copy for evaluation in which no BatchNorm is left that follows a convolution.

    Args:
        network: Its convolutions with BatchNorm stand in `torch.nn.Sequential`, one after the
            other.
    """
    result = copy.deepcopy(network).eval()
    for module in result.modules():
        if isinstance(module, nn.Sequential):
            _fold(module)
    for parameter in result.parameters():
        parameter.requires_grad_(False)
    return result


def _fold(layers: nn.Sequential) -> None:
    for number in range(len(layers) - 1):
        first, second = layers[number], layers[number + 1]
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
            layers[number] = fuse_conv_bn_eval(first, second)
            layers[number + 1] = nn.Identity()

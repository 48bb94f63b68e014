"""MobileNetV2 (arXiv 1801.04381) in plain PyTorch, with torchvision's names of its tensors."""

from __future__ import annotations

from torch import Tensor, nn

_STAGES = (
    # expansion, channels, blocks, stride
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
)

OUTPUTS = {1: 16, 3: 24, 6: 32, 13: 96, 16: 160}
"""The blocks whose results are returned, and their channels; the strides are 2, 4, 8, 16, 32."""

CHANNELS = tuple(OUTPUTS.values())
STRIDES = (2, 4, 8, 16, 32)


def _unit(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """Expand, convolve each channel by itself, project; added to the input where both fit."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers = [_unit(inputs, hidden, 1)] if expansion != 1 else []
        layers += [
            _unit(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, h, w)`` -> ``(B, outputs, h / stride, w / stride)``."""
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    """The layers up to stride 32; the last, widest ones are left out."""

    def __init__(self) -> None:
        super().__init__()
        layers = [_unit(3, 32, 3, 2)]
        inputs = 32
        for expansion, channels, blocks, stride in _STAGES:
            for number in range(blocks):
                layers.append(
                    InvertedResidual(inputs, channels, stride if number == 0 else 1, expansion)
                )
                inputs = channels
        self.features = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Levels of the strides 2, 4, 8, 16 and 32.

        Args:
            images: ``(B, 3, H, W)``, normalised as ImageNet's, both sides multiples of 32.
        """
        levels = []
        x = images
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in OUTPUTS:
                levels.append(x)
        return tuple(levels)

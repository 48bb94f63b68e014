"""How clicks enter the closed model: late fusion, correlation, and the convolution that joins them.

C3Det, arXiv 2203.15266, section 4.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from c3det.clicks import Click, Size
from c3det.closed.correlation import Sampling, Scale, class_correlations
from c3det.closed.heatmaps import click_heatmaps
from c3det.devices import late_fusion_precision


@dataclass(frozen=True, slots=True)
class ClickBatch:
    """The clicks of each picture of a batch and the frame in which their coordinates lie.

    Attributes:
        image_sizes: For each picture its ``(height, width)`` in pixels, without padding.
        input_size: ``(height, width)`` of the padded batch in pixels.
    """

    clicks: Sequence[Sequence[Click]]
    image_sizes: Sequence[Size]
    input_size: Size

    def heatmaps(self, num_classes: int, sigma: float, like: Tensor) -> Tensor:
        """Maps at full size, ``(B, num_classes, *input_size)``, on the device of ``like``."""
        return click_heatmaps(
            self.clicks,
            num_classes,
            self.input_size,
            sigma=sigma,
            image_size=self.image_sizes,
            device=like.device,
            dtype=like.dtype,
        )


@dataclass(frozen=True, slots=True)
class CorrelationSettings:
    """The settings of C3, see `c3det.closed.correlation.class_correlations`.

    Attributes:
        sampling: How a template is read.
        sigma: Of the sampling ``"gaussian-nearest"``, in pixels.
        scale: Of the correlation.
        gain: Factor on the correlation. Cosines of objects of one class and of another differ by
            little beside the picture's features, so that they need one.
        stop_gradient: Whether the correlation leaves the picture's features as they are: in
            training, each clicked cell is otherwise pulled by every cell of its level. The paper
            lets the gradient pass.
        projection: Whether the features pass a learned 3x3 convolution before they are compared,
            which is the identity before training. The paper compares the features as they are.
    """

    sampling: Sampling = "bilinear"
    sigma: float = 3.0
    scale: Scale = "none"
    gain: float = 1.0
    stop_gradient: bool = False
    projection: bool = False


class ClickBranch(nn.Module):
    """Late fusion (C3Det, section 4.1.2): heatmaps through a small backbone and FPN of their own.

    Args:
        backbone: ``(B, num_classes, H, W) -> levels``.
        neck: Levels -> one tensor for each level of the picture's features, of the same sizes.
        num_classes: Channels of the heatmaps.
        sigma: Of the drawn clicks, in pixels. The paper's is 1.
    """

    def __init__(
        self, backbone: nn.Module, neck: nn.Module, num_classes: int, sigma: float = 1.0
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.num_classes = num_classes
        self.sigma = sigma

    def forward(self, batch: ClickBatch, like: Tensor) -> tuple[Tensor, ...]:
        """Feature levels of the clicks of a batch, on the device and of the type of ``like``."""
        heatmaps = batch.heatmaps(self.num_classes, self.sigma, like)
        if self.training:
            return tuple(self.neck(self.backbone(heatmaps)))
        with late_fusion_precision(like.device):
            levels = self.neck(self.backbone(heatmaps))
        return tuple(level.to(like.dtype) for level in levels)


class ClickFusion(nn.Module):
    """One 1x1 convolution, shared by all levels, over picture, correlation and click features.

    ``concat(F_I, F_C3, F_LF) -> channels``. It starts as the identity on the picture's features
    plus small weights for the rest, so that a detector does not first have to find its picture
    again.

    Args:
        channels: Of the picture's features, and of the result.
        num_classes: K, the channels of the correlation.
        branch: Late fusion, or ``None`` to leave it out.
        branch_channels: Channels of the branch's features.
        correlation: C3, or ``None`` to leave it out.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        branch: ClickBranch | None = None,
        branch_channels: int = 0,
        correlation: CorrelationSettings | None = None,
    ) -> None:
        super().__init__()
        if branch is None and correlation is None:
            raise ValueError("a click fusion needs a late-fusion branch, a correlation, or both")
        self.num_classes = num_classes
        self.branch = branch
        self.correlation = correlation
        self.projection: nn.Conv2d | None = None
        if correlation is not None and correlation.projection:
            self.projection = nn.Conv2d(channels, channels, 3, padding=1)
            nn.init.dirac_(self.projection.weight)
            nn.init.zeros_(cast(Tensor, self.projection.bias))
        joined = channels
        joined += num_classes if correlation is not None else 0
        joined += branch_channels if branch is not None else 0
        self.join = nn.Conv2d(joined, channels, 1)
        nn.init.normal_(self.join.weight, std=0.05)
        nn.init.zeros_(cast(Tensor, self.join.bias))
        with torch.no_grad():
            self.join.weight[:, :channels] = torch.eye(channels)[:, :, None, None]

    @torch.no_grad()
    def reset_to_identity(self) -> None:
        """Make the module the identity on the picture's features, whatever the clicks."""
        self.join.weight[:, self.join.out_channels :] = 0
        nn.init.zeros_(cast(Tensor, self.join.bias))

    def compared(self, levels: Sequence[Tensor]) -> Sequence[Tensor]:
        """What the correlation compares, of the same shapes as the levels."""
        if self.correlation is not None and self.correlation.stop_gradient:
            levels = [level.detach() for level in levels]
        if self.projection is not None:
            levels = [self.projection(level) for level in levels]
        return levels

    def forward(self, levels: Sequence[Tensor], batch: ClickBatch) -> tuple[Tensor, ...]:
        """Join the clicks of a batch to its levels; shapes stay as they are."""
        inputs: list[Sequence[Tensor]] = [levels]
        if self.correlation is not None:
            settings = self.correlation
            maps = class_correlations(
                self.compared(levels),
                batch.clicks,
                self.num_classes,
                batch.image_sizes,
                settings.sampling,
                sigma=settings.sigma,
                scale=settings.scale,
                input_size=batch.input_size,
            )
            inputs.append([level * settings.gain for level in maps])
        if self.branch is not None:
            inputs.append(self.branch(batch, levels[0]))
        return tuple(self.join(torch.cat(level, 1)) for level in zip(*inputs, strict=True))


def widen_first_convolution(module: nn.Module, extra: int) -> None:
    """Let the first convolution of a backbone take ``extra`` further input channels (early fusion).

    The new weights are 0, and weights saved before the widening still load, with 0 for the rest.
    """
    first = next(m for m in module.modules() if isinstance(m, nn.Conv2d))
    plain = first.in_channels
    new = torch.zeros(first.out_channels, extra, *first.kernel_size)
    first.weight = nn.Parameter(torch.cat([first.weight.detach(), new], 1))
    first.in_channels = plain + extra

    def pad(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
        key = prefix + "weight"
        if key in state and state[key].shape[1] == plain:
            state[key] = torch.cat([state[key], new.to(state[key])], 1)

    first.register_load_state_dict_pre_hook(pad)

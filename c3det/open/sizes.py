"""Sizes of the job: a slot's boxes are corrected by the boxes that people gave.

How tightly people draw their boxes differs from job to job, and the model does not know it. An
exemplar that was made from a person's box says how large the model's own proposal was there. From
such pairs of each slot a line is fitted, from the log of the model's width to the log of the
person's, and likewise for the height, as a ridge regression of their difference: a slope and a
shift, both drawn to 0. The slot's boxes then get the size that the line says, and keep their
centres.

Measured with the shipped weights on 36 real test sets, the boxes of one to three pictures as
exemplars for the others: AP50 rises by 0.9 on the mean, by 1.1 on the 13 sets on which it was first
tried. It rises by 8 for the crowns of city trees, and falls by 5 for colonies of bacteria, of which
there are two pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LEAST_PAIRS = 4
"""Of a slot; with fewer, its boxes stay as they are."""

SLOPE_RIDGE = 0.5
"""Penalty on the square of the slope, in squares of log pixels."""

SHIFT_RIDGE = 2.0
"""Penalty on the square of the shift, in pairs: so many more in which both sizes are the same."""


@dataclass(frozen=True, slots=True, eq=False)
class SizeCorrection:
    """By how much the boxes of each slot are to be larger, as a line in their log size.

    Attributes:
        mean: ``(S, 2)``, the mean log of the model's width and height in the pairs.
        shift: ``(S, 2)``, what is added to a log size there.
        slope: ``(S, 2)``, and how much more for each unit of log size above.
    """

    mean: Tensor
    shift: Tensor
    slope: Tensor

    @classmethod
    def fit(cls, ratios: Tensor, sizes: Tensor, members: Tensor) -> SizeCorrection:
        """Fit the lines of all slots.

        Args:
            ratios: ``(n, 2)``, the model's width and height over the person's; 0: unknown.
            sizes: ``(n, 2)``, the person's width and height in pixels.
            members: bool ``(S, n)``, which are of each slot.
        """
        known = (ratios > 0).all(1)
        weight = (members & known).to(sizes.dtype)
        count = weight.sum(1, keepdim=True)
        difference = -torch.where(known[:, None], ratios, 1.0).log()
        log_size = sizes.clamp(min=1.0).log() - difference
        mean = weight @ log_size / count.clamp(min=1)
        away = (log_size - mean[:, None]) * weight[..., None]
        slope = (away * difference).sum(1) / (away.square().sum(1) + SLOPE_RIDGE)
        shift = weight @ difference / (count + SHIFT_RIDGE)
        enough = count >= LEAST_PAIRS
        return cls(mean, torch.where(enough, shift, 0.0), torch.where(enough, slope, 0.0))

    def __call__(self, boxes: Tensor, slots: Tensor) -> Tensor:
        """Boxes ``(n, 4)`` of slots ``(n,)`` in their corrected sizes; their centres stay.

        Those of a slot without a line stay as they are, to the bit.
        """
        size = boxes[:, 2:] - boxes[:, :2]
        change = self.slope[slots] * (size.clamp(min=1.0).log() - self.mean[slots])
        grown = (size * torch.expm1(self.shift[slots] + change)) / 2
        return boxes + torch.cat([-grown, grown], 1)

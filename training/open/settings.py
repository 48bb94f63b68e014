"""Settings of a training run, declared once: fields here, options of the command line."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from training.options import option

COMPONENTS: dict[str, tuple[tuple[str, slice], ...]] = {
    # Whatever it is multiplied with, a weight of zero leaves it out, in use as in training.
    "correlation": (
        ("raise_hidden.0.weight", slice(0, 9)),
        ("raise_hidden.0.weight", slice(12, 18)),
    ),
    "heatmaps": (("raise_hidden.0.weight", slice(9, 12)),),
    "late-fusion": (("raise_out.weight", slice(None)),),
    "layouts": (
        ("comparison.first.0.weight", slice(5, 9)),
        ("comparison.second.0.weight", slice(5, 9)),
        ("comparison.second.0.weight", slice(22, 24)),
        ("comparison.none.0.weight", slice(3, 5)),
        ("comparison.nearest", slice(1, 2)),
        ("propagation.likeness", slice(1, 2)),
    ),
    "propagation": (("propagation.drawn", slice(None)),),
}
"""Weights that are held at zero where a component of the model is left out: names, and inputs of
the layer. UEL is left out by ``--enforce 0``, clicks on the worst errors by ``--hard 0``."""


@dataclass(frozen=True, slots=True)
class OpenTrainingSettings:
    """How a run is trained; with the prepared folder, all that decides its weights.

    Each is an option of the command line, by its name, and explained there.

    Raises:
        ValueError: A number is out of its range.
    """

    minutes: float = option(60.0, "how long the run takes in all; the schedule follows the clock")
    steps: int = option(0, "so many steps instead, whatever time they take; 0: by the clock")
    batch: int = option(16, "pictures of a step")
    side: int = option(256, "of a picture in pixels, a multiple of 32")
    rate: float = option(1e-3, "highest learning rate of AdamW, falling as a cosine")
    warm_up: int = option(300, "steps in which it rises")
    backbone_rate: float = option(0.4, "factor on it for the backbone")
    decay: float = option(1e-3, "weight decay of AdamW")
    average: float = option(0.998, "decay of the moving average of the weights")
    real: float = option(0.5, "share of the pictures that are windows of real ones")
    bfloat16: bool = option(True, "convolutions in bfloat16; slow on processors without it")
    reuse: int = option(1, "steps made of a batch on average, if drawing is slower than training")
    fold: int = option(-1, "leave out the real sets of the kinds of this fold; -1: of none")
    without: str = option("", "names of more real sets to leave out, joined by commas")
    leave_out: str = option("", f"a component to measure what it brings: {', '.join(COMPONENTS)}")
    start: str = option("", "file of weights to start from; without it, from ImageNet's backbone")
    seed: int = option(0, "of all that is random")

    def __post_init__(self) -> None:
        for name in ("batch", "side", "reuse", "warm_up"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, it is {getattr(self, name)}")
        if self.side % 32:
            raise ValueError(f"side must be a multiple of 32, it is {self.side}")
        if self.steps < 0 or self.minutes <= 0:
            raise ValueError("minutes must be more than 0, and steps not less")
        if self.leave_out and self.leave_out not in COMPONENTS:
            raise ValueError(
                f"leave_out must be one of {', '.join(COMPONENTS)}, not {self.leave_out!r}"
            )
        if not 0 <= self.real <= 1:
            raise ValueError(f"real must be between 0 and 1, it is {self.real}")

    def share(self, step: int, seconds: float) -> float:
        """How much of the run is done, 1 at its end."""
        return step / self.steps if self.steps else seconds / (60 * self.minutes)

    def rate_at(self, step: int, share: float) -> float:
        """The learning rate of a step."""
        warm = min(1.0, (step + 1) / self.warm_up)
        return self.rate * warm * (0.5 * (1 + math.cos(math.pi * min(1.0, share))) + 0.005)

    def left_out(self, pool: Path) -> frozenset[str]:
        """Names of the real sets of a prepared folder that are not trained on.

        Raises:
            ValueError: There is no such fold or set.
        """
        sets = json.loads((pool / "manifest.json").read_text(encoding="utf-8"))["real"]
        names = frozenset(name.strip() for name in self.without.split(",")) - {""}
        if names - set(sets):
            raise ValueError(f"{pool} holds no real set {', '.join(sorted(names - set(sets)))}")
        of_fold = {name for name, one in sets.items() if one["fold"] == self.fold}
        if self.fold >= 0 and not of_fold:
            raise ValueError(f"there is no real set of fold {self.fold} in {pool}")
        return names | of_fold

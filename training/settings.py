"""How a run of the closed model is trained."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import MISSING, dataclass
from typing import Any, Literal

from c3det.closed.architecture import Fusion
from c3det.closed.presets import Preset, Stages
from c3det.commands import at_least, positive
from training.data.sets import FewObjects, PictureSet, load_sets
from training.options import option

Precision = Literal["float32", "float16", "bfloat16"]
Launcher = Literal["none", "pytorch", "slurm"]


def _uel(text: str) -> bool | dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, bool | dict):
        raise argparse.ArgumentTypeError("true, false or a JSON object is needed")
    return value


@dataclass(frozen=True, kw_only=True)
class ArchitectureSettings:
    """Which detector is trained, see `c3det.closed.architecture.architecture`."""

    preset: Preset | None = option(None, "by default starter")
    stages: Stages | None = option(None, "by default two-stage")
    fusion: Fusion | None = option(None, "by default c3det")
    late: bool | None = option(None, "whether C3Det has late fusion, too; by default it has")
    correlation: dict[str, Any] | None = option(
        None, "fields in place of the preset's", parse=json.loads, metavar="JSON"
    )
    uel: bool | dict[str, Any] | None = option(
        None, "true, false, or fields in place of the preset's", parse=_uel, metavar="JSON"
    )
    sigma: float | None = option(None, "of the drawn clicks, in pixels")


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """With the architecture, all that decides the weights; each field is an option.

    The BatchNorm statistics of all backbones are frozen always, since batches are small. In mixed
    precision, boxes and the reading of regions stay in float32.

    Raises:
        ValueError: A number is out of its range, or two settings do not go together.
    """

    sets: tuple[str, ...] = option(
        MISSING,
        "composite, trees, a real set, or a folder with train.json, each with its share; joined",
        name="set",
        metavar="SET[=SHARE]",
    )
    iterations: int = option(2000, "steps of the optimiser")
    batch: int = option(8, "pictures of one process in a forward pass")
    accumulate: int = option(1, "forward passes a step, whose gradients are averaged")
    seed: int = option(0, "of the initial weights, the pictures, the clicks and all other chance")
    size: int = option(256, "side of a crop, in pixels; with the preset paper 1024")
    learning_rate: float = option(
        1.5e-3, "of AdamW, after the warm-up, falling as a cosine", parse=positive
    )
    trunk_rate: float | None = option(
        None, "factor for backbone and neck, 0 freezes them; by default 1, with --start 0.2"
    )
    head_rate: float | None = option(None, "factor for the heads, likewise")
    clicks: str = option("mixed", "click strategy, see training.clicks.sampling")
    balance: float = option(0.5, "of a folder: share of crops that are drawn class by class")
    rotate: bool = option(True, "of a folder: mirror crops and rotate them by quarters")
    objects: int | None = option(None, "train on no more than about so many objects")
    precision: Precision = option("float32", "mixed precision of the forward pass; float16: GPU")
    start: str | None = option(
        None, "folder of a finished run to add clicks to; without, from ImageNet", metavar="RUN"
    )
    weights: str | None = option(None, ".safetensors file to fine-tune, also to other classes")
    backbone: str | None = option(None, "file of ImageNet weights for the preset paper")
    validate_every: int = option(0, "steps between two validations; 0: none", metavar="STEPS")
    validation_pictures: int = option(12, "how many pictures are validated on")
    patience: int = option(0, "stop after so many validations without a better AP; 0: never")

    def __post_init__(self) -> None:
        for name in ("iterations", "batch", "accumulate", "size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, it is {getattr(self, name)}")
        if self.start and self.weights:
            raise ValueError("a run starts from another run or from weights, not from both")
        if self.patience and not self.validate_every:
            raise ValueError("stopping early needs validations: set how often they are made")
        for name in ("trunk_rate", "head_rate"):
            if getattr(self, name) is None:
                # A finished detector is disturbed less by clicks that are added to it.
                object.__setattr__(self, name, 0.2 if self.start else 1.0)

    @property
    def passes(self) -> int:
        """Forward passes of one process, which mmengine counts as iterations."""
        return self.iterations * self.accumulate

    def load_pictures(self) -> PictureSet:
        """Load what the run trains on."""
        pictures = load_sets(self.sets, balance=self.balance, rotate=self.rotate)
        if self.objects is not None:
            return FewObjects(pictures, self.objects, self.size)
        return pictures


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """With what a run is trained, which does not change its weights; each field is an option."""

    checkpoint_every: int = option(
        200, "steps between two checkpoints; a killed run loses no more", metavar="STEPS"
    )
    workers: int = option(0, "processes that load pictures, for each process", parse=at_least(0))
    threads: int | None = option(None, "of torch; by default its own choice", parse=at_least(1))
    launcher: Launcher | None = option(
        None, "who started the processes; by default torchrun if it did"
    )

    def __post_init__(self) -> None:
        if self.launcher is None:
            launcher = "pytorch" if "TORCHELASTIC_RUN_ID" in os.environ else "none"
            object.__setattr__(self, "launcher", launcher)

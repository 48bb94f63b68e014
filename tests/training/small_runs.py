"""Runs small enough for tests: three classes of coloured squares, and a shrunk starter detector.

Also a program: ``torchrun ... small_runs.py OUT FOLDER`` trains both detectors for one step.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from mmdet.models.task_modules.samplers import RandomSampler
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import ValLoop
from PIL import Image

import training.initialization
from c3det.closed.architecture import Architecture
from c3det.closed.presets import Stages
from tests.c3det.small import shrink, small_detectors
from training import hooks
from training.data.annotated import Index, Record
from training.data.index import write_index
from training.runner import build_runner
from training.settings import RunSettings, TrainingSettings

CLASSES = ("red", "green", "blue")
SIDE = 96


def write_folder(folder: Path, pictures: int = 3) -> Path:
    """A folder of `training.data.sets.FolderSet`: squares of 16 px on grey, all splits alike."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "val", "test"):
        records = []
        for number in range(pictures):
            rng = np.random.default_rng([len(split), number])
            image = np.full((SIDE, SIDE, 3), 120, np.uint8)
            boxes, labels = [], []
            for row in range(2):
                for column in range(3):
                    x, y = 8 + 30 * column + int(rng.integers(8)), 16 + 40 * row
                    label = int(rng.integers(3))
                    image[y : y + 16, x : x + 16] = 40
                    image[y : y + 16, x : x + 16, label] = 230
                    boxes.append([x, y, x + 16, y + 16])
                    labels.append(label)
            path = folder / f"{split}-{number}.png"
            Image.fromarray(image).save(path)
            records.append(
                Record(
                    path.stem,
                    path,
                    SIDE,
                    SIDE,
                    np.array(boxes, np.float32),
                    np.array(labels, np.int64),
                )
            )
        write_index(Index(CLASSES, tuple(records)), folder / f"{split}.json")
    return folder


def small(config: dict[str, Any]) -> dict[str, Any]:
    """A config as the runs here train it, for `small_detectors`."""
    config = shrink(config)
    if "rcnn" in config["train_cfg"]:
        # So few that the sampler always finds enough.
        config["train_cfg"]["rcnn"]["sampler"]["num"] = 16
    return config


def settings(folder: Path, **changes: Any) -> TrainingSettings:
    """Six steps of two pictures."""
    usual: dict[str, Any] = dict(sets=(str(folder),), iterations=6, batch=2, size=64, seed=3)
    return TrainingSettings(**{**usual, **changes})


def run(out: Path, how: TrainingSettings, kill: str = "", **options: Any) -> None:
    """Train in this process; ``kill`` names a moment of `KILLS`."""
    torch.set_num_threads(1)
    # The shrunk backbone fits no ImageNet weights.
    training.initialization.imagenet_mobilenet = lambda backbone: None
    stages = options.pop("stages", "two-stage")
    with small_detectors(small):
        runner = build_runner(
            out,
            Architecture("starter", stages),
            how,
            RunSettings(**{"checkpoint_every": 2, **options}),
        )
    if kill:
        KILLS[kill]()
    runner.register_hook(NoteLosses(out))
    runner.train()


class NoteLosses(Hook):
    """Writes the losses of the last step of this process."""

    def __init__(self, out: Path) -> None:
        self.path = out / f"losses-{get_rank()}.json"

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self.path.write_text(
            json.dumps({name: float(one.detach()) for name, one in outputs.items()})
        )


def die(*_: Any, **__: Any) -> None:
    """End as a process does that the system kills: nothing is tidied up."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_while_writing() -> None:
    """Of the checkpoint after eight forward passes, half is on disk."""

    def half(self: Any, obj: bytes, filepath: str | Path) -> None:
        path = Path(filepath)
        if path.name == "iter_8.pth":
            path.with_suffix(".part").write_bytes(obj[: len(obj) // 2])
            die()
        whole(self, obj, filepath)

    whole = hooks.AtomicBackend.put
    hooks.AtomicBackend.put = half  # type: ignore[method-assign]


def kill_in_a_step() -> None:
    """The third forward pass has seen its pictures but nothing is learnt from them yet."""
    whole, calls = OptimWrapper.update_params, [0]

    def killing(self: Any, loss: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        calls[0] += 1
        if calls[0] == 3:
            die()
        whole(self, loss, *args, **kwargs)

    OptimWrapper.update_params = killing


def kill_before_validation() -> None:
    """The validation after eight forward passes is about to begin."""
    whole = ValLoop.run

    def killing(self: Any) -> Any:
        if self.runner.iter == 8:
            die()
        return whole(self)

    ValLoop.run = killing


KILLS = {
    "while writing": kill_while_writing,
    "in a step": kill_in_a_step,
    "before validation": kill_before_validation,
}


def in_process(target: Callable[..., None], *args: Any, **kwargs: Any) -> int | None:
    """Call a function in a process of its own; what it exits with."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=target, args=args, kwargs=kwargs)
    process.start()
    process.join()
    return process.exitcode


def one_step(out: Path, folder: Path, stages: Stages, batch: int, launcher: str) -> None:
    """Train for one step, whose random choices do not depend on the process."""
    RandomSampler.random_choice = lambda self, gallery, number: gallery[:number]
    run(
        out,
        settings(folder, iterations=1, batch=batch),
        stages=stages,
        launcher=launcher,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    for each in get_args(Stages):
        one_step(given.out / each, given.folder, each, batch=2, launcher="pytorch")

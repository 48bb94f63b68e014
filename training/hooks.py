"""Hooks of a training run: exact resumption, and clicks on the model's errors."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS, OPTIM_WRAPPERS
from mmengine.runner import Runner
from torch import Tensor, nn

from c3det.clicks import Click
from c3det.closed.fusion import ClickBatch
from c3det.closed.mmdet_adapter import ClickDetector, ClickedFeatures
from c3det.detections import Detections
from training.clicks.sampling import ClickStrategy
from training.clicks.sequences import ClickSequence
from training.dataset import unpack
from training.validation import SHOWN_SCORE, to_detections


@register_backend("atomic")
class AtomicBackend(LocalBackend):
    """Files that are complete or absent, whenever the process is killed."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write under another name, then rename."""
        path = Path(filepath)
        unfinished = path.with_suffix(".part")
        with unfinished.open("wb") as file:
            file.write(obj)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)


@HOOKS.register_module()
class BoundaryCheckpointHook(CheckpointHook):
    """Saves between two steps, when the validation that follows a step is over.

    mmengine's saves after the step and before the validation, so that a run killed in between goes
    on without that validation, and with it without what early stopping had to learn from it.
    """

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        """Nothing yet."""

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Save if it is time."""
        if batch_idx > 0 and batch_idx % self.interval == 0:
            self._save_unless_done(runner)

    def after_train(self, runner: Runner) -> None:
        """Save the end of the run."""
        self._save_unless_done(runner)

    def _save_unless_done(self, runner: Runner) -> None:
        path = Path(runner.work_dir) / self.filename_tmpl.format(runner.iter)
        if not path.is_file():
            self._save_checkpoint_with_step(
                runner, runner.iter, dict(epoch=runner.epoch, iter=runner.iter)
            )


@HOOKS.register_module()
class ResumedEarlyStoppingHook(EarlyStoppingHook):
    """Early stopping whose best score and patience are kept in the checkpoints."""

    _KEY = "early_stopping"

    def before_train(self, runner: Runner) -> None:
        """Read what the checkpoint holds."""
        if self._KEY in runner.message_hub.runtime_info:
            best, waited, stopped = runner.message_hub.get_info(self._KEY)
            self.best_score, self.wait_count = best, waited
            runner.train_loop.stop_training = stopped

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Decide, and save it for the next checkpoint."""
        super().after_val_epoch(runner, metrics)
        runner.message_hub.update_info(
            self._KEY, (self.best_score, self.wait_count, runner.train_loop.stop_training)
        )


@HOOKS.register_module()
class SeedStepsHook(Hook):
    """Makes the randomness of a step depend on the seed, the step and the process alone.

    A resumed run therefore draws what an uninterrupted one would have drawn.

    Args:
        seed: Of the run.
    """

    priority = "VERY_HIGH"

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed every generator that the step may draw from."""
        state = np.random.SeedSequence([self.seed, batch_idx, get_rank()]).generate_state(1)
        value = int(state[0])
        torch.manual_seed(value)
        np.random.seed(value)  # noqa: NPY002
        random.seed(value)


ROUNDS = 3
"""Rounds in which the clicks on errors are drawn before a training step."""


@HOOKS.register_module()
class ErrorClicksHook(Hook):
    """Draws the clicks of a step anew, on the errors of the model as it is.

    As in RITM (arXiv 2102.06583) this is done in rounds: the clicks of the second one are on the
    errors that are left after those of the first.

    Args:
        clicks: Draws them.
        seed: Of the run.
    """

    def __init__(self, clicks: ClickStrategy, seed: int) -> None:
        self.clicks = clicks
        self.seed = seed

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Replace the clicks of the batch."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        inputs, samples = data_batch["inputs"], data_batch["data_samples"]
        pictures = [unpack(*item) for item in zip(inputs, samples, strict=True)]
        rngs = [np.random.default_rng([self.seed, sample.index, 1]) for sample in samples]
        numbers = [self.clicks.draw_number(*item) for item in zip(pictures, rngs, strict=True)]
        drawn = [ClickSequence()] * len(pictures)
        for round_ in range(1, ROUNDS + 1 if any(numbers) else 1):
            found = detect(model, inputs, [sequence.clicks for sequence in drawn])
            drawn = [
                self.clicks.grow(
                    picture, old, math.ceil(number * round_ / ROUNDS) - len(old), rng, detections
                )
                for picture, old, number, rng, detections in zip(
                    pictures, drawn, numbers, rngs, found, strict=True
                )
            ]
        for sample, sequence in zip(samples, drawn, strict=True):
            sample.set_metainfo(dict(clicks=sequence.clicks))


@torch.no_grad()
def detect(
    model: ClickDetector, inputs: Sequence[Tensor], clicks: Sequence[Sequence[Click]]
) -> list[Detections]:
    """What a detector in training finds, from `SHOWN_SCORE` on; it stays in training mode."""
    model.eval()
    batch = model.data_preprocessor({"inputs": list(inputs)})["inputs"]
    sizes = [(int(one.shape[-2]), int(one.shape[-1])) for one in inputs]
    given = ClickBatch(clicks, sizes, (batch.shape[-2], batch.shape[-1]))
    found = model.detect(ClickedFeatures(model.encode(batch), given))
    model.train()
    everything = [to_detections(one.bboxes, one.scores, one.labels) for one in found]
    return [one.take(one.scores >= SHOWN_SCORE) for one in everything]


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Mixed precision in bfloat16, on any device; its range needs no scaling of the loss."""

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass in bfloat16 where torch deems it safe."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield

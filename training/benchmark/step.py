"""What clicks cost in training.

Time and memory of a training step (forward, backward, optimiser) of each way in which clicks enter,
and their ratio to the plain detector's. The detectors are trained alternately, step by step; the
time is the median. On a CPU it is the processor's time in all threads, which other programs do not
lengthen, and the memory is the largest resident set of a process that trains nothing else, less
what it had when the libraries were loaded. On a GPU it is the time by the clock, and what torch
allocated at most.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper

from c3det.clicks import Click
from c3det.closed.architecture import Fusion, architecture
from c3det.closed.mmdet_adapter import build_detector
from c3det.closed.presets import Preset, Stages, normalization
from c3det.commands import at_least
from training.benchmark.process import alone, memory
from training.data.annotated import Annotated
from training.dataset import pack
from training.options import add_options, option, read_options

CLASSES = 8
OBJECTS = 40
CLICKS = 10


@dataclass(frozen=True)
class BenchmarkSettings:
    """The options of this benchmark."""

    preset: Preset = option("starter", "of the detectors")
    stages: tuple[Stages, ...] = option(("one-stage", "two-stage"), "of the detectors")
    batch: int = option(8, "pictures of a step", parse=at_least(1))
    size: int = option(256, "side of a picture in pixels", parse=at_least(32))
    steps: int = option(10, "that are timed", parse=at_least(1))
    threads: int | None = option(None, "of torch; by default its own choice", parse=at_least(1))


def batch(pictures: int, size: int) -> dict[str, Any]:
    """Pictures of noise with `OBJECTS` boxes of 16 px each, `CLICKS` of which are clicked."""
    rng = np.random.default_rng(0)
    items = []
    for number in range(pictures):
        corners = rng.uniform(0, size - 16, (OBJECTS, 2)).astype(np.float32)
        labels = rng.integers(0, CLASSES, OBJECTS)
        picture = Annotated(
            str(number),
            rng.integers(0, 256, (size, size, 3), np.uint8),
            np.concatenate([corners, corners + 16], 1),
            labels,
        )
        clicks = [
            Click(float(x) + 8, float(y) + 8, int(label))
            for (x, y), label in zip(corners[:CLICKS], labels[:CLICKS], strict=True)
        ]
        items.append(pack(picture, clicks))
    return pseudo_collate(items)


def stepper(
    preset: Preset, stages: Stages, fusion: Fusion, data: dict[str, Any]
) -> Callable[[], None]:
    """Build a detector and its optimiser; calling the result trains it for one step."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    model: Any = build_detector(
        architecture(preset, CLASSES, stages=stages, fusion=fusion), normalization(preset)
    )
    model.to(device).train()
    optimiser = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=1e-5))

    def step() -> None:
        model.train_step(data, optim_wrapper=optimiser)
        if device == "cuda":
            torch.cuda.synchronize()

    return step


def times(
    preset: Preset, stages: Stages, fusions: Sequence[Fusion], pictures: int, size: int, steps: int
) -> dict[str, float]:
    """Median seconds of a step, by way of fusion."""
    data = batch(pictures, size)
    run = {fusion: stepper(preset, stages, fusion, data) for fusion in fusions}
    seconds: dict[str, list[float]] = {fusion: [] for fusion in fusions}
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    for number in range(steps + 1):
        for fusion, step in run.items():
            start = clock()
            step()
            if number > 0:  # the first one allocates
                seconds[fusion].append(clock() - start)
    return {fusion: float(np.median(values)) for fusion, values in seconds.items()}


def peak_memory(
    preset: Preset, stages: Stages, fusion: Fusion, pictures: int, size: int, threads: int
) -> float:
    """MiB that two steps take at most, of a process that trains nothing else."""
    torch.set_num_threads(threads)
    data = batch(pictures, size)
    before = memory(peak=False)
    step = stepper(preset, stages, fusion, data)
    step()
    step()
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return memory(peak=True) - before


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add_options(parser, BenchmarkSettings)


def run(given: argparse.Namespace) -> None:
    """Measure and print."""
    settings = read_options(given, BenchmarkSettings)
    preset, pictures, size = settings.preset, settings.batch, settings.size
    threads = settings.threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    fusions: tuple[Fusion, ...] = ("plain", "late", "c3det")
    device = "GPU" if torch.cuda.is_available() else "CPU"
    print(
        f"{preset}, {pictures} pictures of {size} px, {CLICKS} clicks each, {threads} threads, "
        f"{device}"
    )
    for stages in settings.stages:
        seconds = times(preset, stages, fusions, pictures, size, settings.steps)
        mebibytes = {
            fusion: alone(peak_memory, preset, stages, fusion, pictures, size, threads)
            for fusion in fusions
        }
        for fusion in fusions:
            print(
                f"{stages:>10} {fusion:>6}: {1000 * seconds[fusion]:7.0f} ms a step "
                f"({seconds[fusion] / seconds['plain']:.2f} x plain), {mebibytes[fusion]:6.0f} MiB "
                f"({mebibytes[fusion] / mebibytes['plain']:.2f} x)"
            )

"""What clicks cost in training: ``python -m training.step_benchmark``.

Time and memory of a training step (forward, backward, optimiser) of each way in which clicks enter,
and their ratio to the plain detector's. The detectors take turns step by step; the time is the
median. On a CPU it is the processor's time in all threads, which other programs do not lengthen,
and the memory is the largest resident set of a process that trains nothing else, less what it had
when the libraries were loaded. On a GPU it is the time by the clock, and what torch allocated at
most.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper

from c3det.clicks import Click
from c3det.commands import at_least, command
from c3det.configs import Fusion, Preset, Stages, architecture, normalization
from c3det.mmdet_adapter import build_detector
from training.data.index import Annotated
from training.dataset import pack

CLASSES = 8
OBJECTS = 40
CLICKS = 10


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


def memory(
    preset: Preset, stages: Stages, fusion: Fusion, pictures: int, size: int, threads: int
) -> float:
    """Megabytes that two steps take at most."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return float(pool.apply(_memory_here, (preset, stages, fusion, pictures, size, threads)))


def _memory_here(
    preset: Preset, stages: Stages, fusion: Fusion, pictures: int, size: int, threads: int
) -> float:
    torch.set_num_threads(threads)
    data = batch(pictures, size)
    before = _resident("VmRSS")
    step = stepper(preset, stages, fusion, data)
    step()
    step()
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return _resident("VmHWM") - before


def _resident(field: str) -> float:
    """Megabytes of this process that are (``VmRSS``) or were at most (``VmHWM``) in memory."""
    # Not getrusage: its maximum counts what the process that started this one had.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/self/status has no {field}")


@command("python -m training.step_benchmark")
def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m training.step_benchmark",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--preset", choices=get_args(Preset), default="starter")
    parser.add_argument("--stages", nargs="+", choices=get_args(Stages), default=get_args(Stages))
    parser.add_argument("--batch", type=at_least(1), default=8)
    parser.add_argument(
        "--size", type=at_least(32), default=256, help="side of a picture in pixels"
    )
    parser.add_argument(
        "--steps", type=at_least(1), default=10, help="that are timed (%(default)s)"
    )
    parser.add_argument("--threads", type=at_least(1), default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    fusions: tuple[Fusion, ...] = ("plain", "late", "c3det")
    results: dict[str, Any] = {}
    for stages in given.stages:
        seconds = times(given.preset, stages, fusions, given.batch, given.size, given.steps)
        results[stages] = {
            fusion: dict(
                seconds=round(seconds[fusion], 4),
                time_ratio=round(seconds[fusion] / seconds["plain"], 3),
                megabytes=round(
                    memory(given.preset, stages, fusion, given.batch, given.size, given.threads)
                ),
            )
            for fusion in fusions
        }
        for one in results[stages].values():
            one["memory_ratio"] = round(one["megabytes"] / results[stages]["plain"]["megabytes"], 3)
    if given.json:
        print(json.dumps(results, indent=1))
        return
    print(
        f"{given.preset}, {given.batch} pictures of {given.size} px, {CLICKS} clicks each, "
        f"{given.threads} threads, {'GPU' if torch.cuda.is_available() else 'CPU'}"
    )
    for stages, rows in results.items():
        for fusion, one in rows.items():
            print(
                f"{stages:>10} {fusion:>6}: {1000 * one['seconds']:7.0f} ms a step "
                f"({one['time_ratio']:.2f} x plain), {one['megabytes']:6.0f} MB "
                f"({one['memory_ratio']:.2f} x)"
            )


if __name__ == "__main__":
    main()

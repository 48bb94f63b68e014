"""The parts of the benchmark, each of which runs in a process of its own."""

from __future__ import annotations

import json
import logging
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nuclio_sdk
import torch

from c3det.clicks import Click
from c3det.closed.correlation import class_correlations
from c3det.closed.model import closed_model
from c3det.devices import use_float32, wait_for
from c3det.memory import keep_freed_memory
from c3det.predictor import load
from serverless.bench import reference
from serverless.bench.made_input import CLASSES, photo, picture_file, scattered
from serverless.bench.memory import forget_peak, resident_bytes
from serverless.deployment import FUNCTION
from serverless.nuclio_worker import NuclioWorker
from serverless.protocol import PluginAnswer, PluginRequest
from serverless.settings import ServingSettings

OPEN_LABELS = 4
"""Of clicks for an open model, where nothing else is said."""

LABELS_AND_CLICKS = ((1, 6), (4, 12), (16, 60))
"""Of the requests of `several_labels`: how many labels, and how many clicks on all together."""

FURTHER_CLICKS = 5
"""The last ones, which it measures."""

MIB = 1 << 20
MEMORY = 4 << 30
"""For the features of one picture: tiles of ``paper`` at 2048 px need it, the rest far less."""


def wait() -> None:
    """Wait for the GPU, if this process uses one."""
    if torch.cuda.is_initialized():
        wait_for(torch.device("cuda"))


def seconds(work: Callable[[], Any]) -> float:
    """How long something takes, on a GPU until it is done there."""
    wait()
    started = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - started


class Peak:
    """By how much memory rises: that of the GPU if this process uses one, else the resident one."""

    def __init__(self) -> None:
        self._on_gpu = torch.cuda.is_initialized()
        if self._on_gpu:
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
        else:
            forget_peak()
            self._before = resident_bytes()

    @property
    def mib(self) -> float:
        """The rise until now."""
        peak = torch.cuda.max_memory_allocated() if self._on_gpu else resident_bytes(peak=True)
        return (peak - self._before) / MIB


def time_and_memory(work: Callable[[], Any]) -> dict[str, float]:
    """Seconds, and by how many MiB memory rose in between."""
    peak = Peak()
    took = seconds(work)
    return dict(seconds=took, peak_mib=peak.mib)


def one_size(weights: Path, side: int, clicks: int, device: str = "cpu") -> dict[str, Any]:
    """Reference, cold and warm on one size of picture; the reference with memory as it comes."""
    predictor = load(weights, device)
    model = closed_model(predictor.model, predictor.card)
    scattered_clicks = scattered(clicks, side, len(predictor.classes))
    image = photo(side)
    batch = model.batch(image)
    # The first call of each kind also pays for threads and buffers: not measured.
    reference.detect(model.detector, batch[:, :, :256, :256], [Click(20, 20, 0)])
    counts = sorted({1, clicks})
    again = {
        str(number): time_and_memory(
            lambda number=number: reference.detect(  # type: ignore[misc]
                model.detector, batch, scattered_clicks[:number]
            )
        )
        for number in counts
    }
    keep_freed_memory()
    predictor.open(photo(256)).detect([Click(20, 20, 0)])
    first_of_size = time_and_memory(
        lambda: predictor.open(image, MEMORY).detect(scattered_clicks[:1])
    )
    picture = predictor.open(photo(side, seed=1), MEMORY)
    cold = time_and_memory(lambda: picture.detect(scattered_clicks[:1]))
    rise = Peak()
    warm = [
        seconds(lambda number=number: picture.detect(scattered_clicks[:number]))  # type: ignore[misc]
        for number in range(2, clicks + 1)
    ]
    peak = rise.mib
    undone = seconds(lambda: picture.detect(scattered_clicks[: clicks - 1]))
    median = statistics.median(warm)
    reference_median = statistics.median(one["seconds"] for one in again.values())
    return dict(
        model=predictor.card.name,
        side=side,
        reference=again,
        first_of_its_size=first_of_size,
        cold=cold,
        warm=dict(median=median, lowest=min(warm), highest=max(warm), peak_mib=peak),
        undone=undone,
        held_mib=picture.nbytes / MIB,
        reference_over_warm=reference_median / median,
        reference_over_cold=reference_median / cold["seconds"],
        cold_over_warm=cold["seconds"] / median,
    )


def correlation_alone(side: int, clicks: int, device: str = "cpu") -> dict[str, Any]:
    """C3 on random features of the preset ``paper``, against its slow twin, memory as it comes."""
    torch.manual_seed(0)
    use_float32(torch.device(device))
    levels = [torch.randn(1, 256, side // s, side // s).to(device) for s in (4, 8, 16, 32, 64)]
    chosen = scattered(clicks, side, len(CLASSES))

    @torch.inference_mode()
    def fast() -> tuple[torch.Tensor, ...]:
        return class_correlations(
            levels, [chosen], len(CLASSES), (side, side), "gaussian-nearest", sigma=3.0
        )

    @torch.inference_mode()
    def slow() -> list[torch.Tensor]:
        return reference.correlations(levels, chosen, len(CLASSES), (side, side))

    slow()
    slow_seconds = statistics.median(seconds(slow) for _ in range(3))
    keep_freed_memory()
    fast()
    fast_seconds = statistics.median(seconds(fast) for _ in range(15))
    apart = max(
        float((a - b).abs().max() / b.abs().max()) for a, b in zip(fast(), slow(), strict=True)
    )
    return dict(
        side=side,
        clicks=clicks,
        slow=slow_seconds,
        fast=fast_seconds,
        slow_over_fast=slow_seconds / fast_seconds,
        largest_relative_difference=apart,
    )


def start_worker(weights: Path, device: str = "cpu") -> NuclioWorker:
    """The function, as Nuclio would start it."""
    logger = nuclio_sdk.Logger(logging.CRITICAL, name="serverless.bench")
    worker = NuclioWorker.load(FUNCTION, logger)
    worker.start(ServingSettings.from_environment(os.environ, weights=weights, device=device))
    return worker


def request(picture: bytes, clicks: Sequence[Click]) -> bytes:
    """The body of what CVAT's plugin sends."""
    return json.dumps(PluginRequest(picture, tuple(clicks)).body()).encode()


def timed_answer(worker: NuclioWorker, body: bytes) -> tuple[float, PluginAnswer]:
    """Seconds and the answer of a request, which must succeed."""
    started = time.perf_counter()
    response = worker.post(body)
    took = time.perf_counter() - started
    if response.status != 200:
        raise RuntimeError(f"status {response.status}: {response.body[:500]!r}")
    answer = PluginAnswer.read(json.loads(response.body))
    if answer.error is not None:
        raise RuntimeError(answer.error.message)
    return took, answer


def whole_request(
    weights: Path, side: int, clicks: int, device: str = "cpu", pictures: int = 3
) -> dict[str, Any]:
    """Through the handler: the first pictures of a worker, then warm clicks and their overhead."""
    started = time.perf_counter()
    worker = start_worker(weights, device)
    start = time.perf_counter() - started
    images = [picture_file(photo(side, seed)) for seed in range(pictures)]
    chosen = scattered(clicks, side, 8)
    cold = [timed_answer(worker, request(image, chosen[:1])) for image in images]
    totals, shares = [], []
    for number in range(2, clicks + 1):
        took, answer = timed_answer(worker, request(images[-1], chosen[:number]))
        model = (answer.timings_ms["encode"] + answer.timings_ms["detect"]) / 1000
        totals.append(took)
        shares.append((took - model) / took)
    if worker.context.user_data.device_lock is not None:  # for the next worker of this process
        worker.context.user_data.device_lock.close()
    return dict(
        model=answer.model,
        side=side,
        body_mib=len(request(images[-1], chosen)) / MIB,
        start=start,
        cold=[took for took, _ in cold],
        cold_timings_ms=[dict(one.timings_ms) for _, one in (cold[0], cold[-1])],
        warm_median=statistics.median(totals),
        warm_highest=max(totals),
        timings_ms=dict(answer.timings_ms),
        overhead_share_median=statistics.median(shares),
    )


def several_labels(weights: Path, side: int, device: str = "cpu") -> dict[str, Any]:
    """The open model: a new picture, then further clicks, of some labels with some clicks."""
    keep_freed_memory()
    predictor = load(weights, device)
    predictor.open(photo(256)).detect(scattered(4, 256, 2))
    picture = predictor.open(photo(side), MEMORY)
    first = time_and_memory(lambda: picture.detect([Click(side / 2, side / 2, 0)]))
    further = []
    for labels, clicks in LABELS_AND_CLICKS:
        chosen = scattered(clicks, side, labels, seed=labels)
        requests = [chosen[:number] for number in range(clicks - FURTHER_CLICKS, clicks + 1)]
        picture.detect(requests[0])
        took = [
            seconds(lambda some=some: picture.detect(some))  # type: ignore[misc]
            for some in requests[1:]
        ]
        further.append(
            dict(labels=labels, clicks=clicks, median=statistics.median(took), highest=max(took))
        )
    return dict(
        model=predictor.card.name,
        side=side,
        first=first,
        further=further,
        held_mib=picture.nbytes / MIB,
    )


def large_picture(
    weights: Path, side: int, clicks: int, budget: float, device: str = "cpu"
) -> dict[str, Any]:
    """A picture of many tiles: calls until all of it is searched, then a further click."""
    keep_freed_memory()
    predictor = load(weights, device)
    chosen = scattered(clicks, side, len(predictor.classes) or OPEN_LABELS)
    picture = predictor.open(photo(side))
    forget_peak()
    calls = []
    for given in (chosen[:-1], chosen):
        coverage = 0.0
        while coverage < 1:
            started = time.perf_counter()
            answer = picture.detect(given, deadline=time.monotonic() + budget)
            coverage = answer.coverage
            calls.append(
                dict(
                    clicks=len(given),
                    seconds=time.perf_counter() - started,
                    encode_seconds=answer.seconds["encode"],
                    coverage=coverage,
                )
            )
    return dict(
        model=predictor.card.name,
        side=side,
        budget=budget,
        calls=calls,
        held_mib=picture.nbytes / MIB,
        peak_mib=resident_bytes(peak=True) / MIB,
    )

"""Does the function's memory, or its latency, grow over a long time of requests?

The local runtime gets requests of the plugin form over HTTP at a steady rate. Each picture comes
again and again with one click more, up to ``MOST_CLICKS``, then with one. Memory and latency are
*flat* if, from the first third of the time in which all pictures are known to the last third, the
median of the memory rose by at most ``MEMORY_RISE``, that of the latency by at most
``LATENCY_RISE``.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from serverless.bench.made_input import photo, picture_file, scattered
from serverless.bench.memory import resident_bytes
from serverless.protocol import AnswerError, PluginAnswer, PluginRequest
from serverless.settings import CVAT_SECONDS

MOST_CLICKS = 20
MEMORY_RISE = 0.05
LATENCY_RISE = 0.10
LEAST_REQUESTS = 30


class SoakError(Exception):
    """The runtime does not start or does not answer; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One request: when it was sent, in seconds since the start, and how long the answer took.

    ``rss_bytes`` is the runtime's resident memory after it, ``hit`` whether the picture was known,
    and ``error`` why there were no boxes.
    """

    sent_s: float
    latency_s: float
    rss_bytes: int
    hit: bool
    error: str | None


def first_and_last_third(values: Sequence[float]) -> tuple[float, float]:
    """The medians of the first and of the last third of at least three values."""
    thirds = np.array_split(np.array(values), 3)
    return float(np.median(thirds[0])), float(np.median(thirds[2]))


@contextmanager
def local_runtime(weights: Path, device: str) -> Iterator[tuple[str, int]]:
    """Run ``serverless.local`` on a free port; yield ``host:port`` and the process number.

    Raises:
        SoakError: It does not start.
    """
    command = [sys.executable, "-m", "serverless.local", "--port", "0", "--weights", str(weights)]
    variables = {**os.environ, "C3DET_DEVICE": device}
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command, env=variables, stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if found := re.search(r"http://\S+", line):
                    yield urlsplit(found[0]).netloc, process.pid
                    return
            log.seek(0)
            raise SoakError(f"the runtime did not start: {log.read().strip()[-500:]}")
        finally:
            process.terminate()
            try:
                process.wait(CVAT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def picture_and_clicks(number: int, pictures: int) -> tuple[int, int]:
    """Return which picture a request is about, and how many clicks it has.

    The pictures do not all have few clicks at the same time.
    """
    cycle, picture = divmod(number, pictures)
    return picture, (cycle + picture * MOST_CLICKS // pictures) % MOST_CLICKS + 1


def send_requests(
    address: str, pid: int, pictures: int, side: int, rate: float, seconds: float
) -> list[Sample]:
    """Send requests for ``seconds``, at ``rate`` a second or as fast as answers come.

    Raises:
        SoakError: The runtime does not answer.
    """
    files = [picture_file(photo(side, seed), "JPEG") for seed in range(pictures)]
    clicks = [scattered(MOST_CLICKS, side, 1, seed) for seed in range(pictures)]
    samples: list[Sample] = []
    connection = http.client.HTTPConnection(address, timeout=CVAT_SECONDS)
    headers = {"Content-Type": "application/json"}
    start = time.monotonic()
    while (now := time.monotonic() - start) < seconds:
        picture, count = picture_and_clicks(len(samples), pictures)
        time.sleep(max(0.0, len(samples) / rate - now))
        sent = time.monotonic()
        try:
            request = PluginRequest(files[picture], tuple(clicks[picture][:count]))
            connection.request("POST", "/", json.dumps(request.body()).encode(), headers)
            response = connection.getresponse()
            status, body = response.status, response.read()
            answer = PluginAnswer.read(json.loads(body)) if status == 200 else None
        except (OSError, ValueError, AnswerError, http.client.HTTPException) as error:
            raise SoakError(
                f"request {len(samples)} was not answered ({type(error).__name__}: {error})"
            ) from error
        latency = time.monotonic() - sent
        failed = f"status {status}" if answer is None else None
        if answer is not None and answer.error is not None:
            failed = answer.error.message
        hit = answer is not None and answer.cache == "hit"
        samples.append(Sample(sent - start, latency, resident_bytes(pid), hit, failed))
    connection.close()
    return samples


def percentiles(samples: Sequence[Sample]) -> dict[str, float]:
    """Return how many requests there were and percentiles of their latency, in milliseconds."""
    if not samples:
        return {"requests": 0}
    latencies = np.array([sample.latency_s for sample in samples]) * 1000
    p50, p95, longest = np.percentile(latencies, (50, 95, 100)).round(1).tolist()
    return {"requests": len(samples), "p50_ms": p50, "p95_ms": p95, "max_ms": longest}


def summarise(samples: Sequence[Sample], pictures: int) -> dict[str, Any]:
    """Return the verdict over the requests, in the order in which they were sent.

    After ``pictures`` of them all pictures are known.

    Raises:
        SoakError: There are too few.
    """
    steady = samples[pictures:]
    if len(steady) < LEAST_REQUESTS:
        raise SoakError(
            f"only {len(samples)} requests were answered, at least {pictures + LEAST_REQUESTS} are "
            "needed: let it run longer"
        )
    memory = first_and_last_third([sample.rss_bytes / 1e6 for sample in steady])
    latency = first_and_last_third([sample.latency_s * 1000 for sample in steady])
    return {
        "requests": len(samples),
        "errors": sum(sample.error is not None for sample in samples),
        "first_error": next((sample.error for sample in samples if sample.error), None),
        "requests_per_second": round((len(samples) - 1) / samples[-1].sent_s, 2),
        "known_pictures": percentiles([sample for sample in steady if sample.hit]),
        "new_pictures": percentiles([sample for sample in samples if not sample.hit]),
        "memory_mb": dict(zip(("first", "last"), memory, strict=True)),
        "latency_ms": dict(zip(("first", "last"), latency, strict=True)),
        "memory_flat": memory[1] <= (1 + MEMORY_RISE) * memory[0],
        "latency_flat": latency[1] <= (1 + LATENCY_RISE) * latency[0],
    }


def soak(
    weights: Path,
    seconds: float,
    device: str = "cpu",
    *,
    rate: float = 2.0,
    pictures: int = 10,
    side: int = 512,
) -> dict[str, Any]:
    """Send requests to a local runtime for some seconds, ``rate`` a second.

    The pictures are squares of ``side`` pixels.

    Raises:
        SoakError: The runtime does not start or does not answer, or the time is too short.
    """
    with local_runtime(weights, device) as (address, pid):
        samples = send_requests(address, pid, pictures, side, rate, seconds)
    run = dict(seconds=seconds, rate=rate, pictures=pictures, side=side)
    return {"run": run, **summarise(samples, pictures)}


def is_good(verdict: dict[str, Any]) -> bool:
    """Tell whether no request was refused, and memory and latency are flat."""
    return not verdict["errors"] and verdict["memory_flat"] and verdict["latency_flat"]


def lines(verdict: dict[str, Any]) -> list[str]:
    """The verdict in words."""
    text = [f"{kind} pictures: {verdict[f'{kind}_pictures']}" for kind in ("known", "new")]
    for name, unit in (("memory", "MB"), ("latency", "ms")):
        trend = verdict[f"{name}_{unit.lower()}"]
        flat = "flat" if verdict[f"{name}_flat"] else "NOT flat"
        text.append(
            f"{name}: {trend['first']:.0f} {unit} in the first third, {trend['last']:.0f} {unit} "
            f"in the last: {flat}"
        )
    if verdict["errors"]:
        text.append(f"{verdict['errors']} requests were refused, first: {verdict['first_error']}")
    return text

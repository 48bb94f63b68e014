"""Ask the function for a long time, and tell whether its memory and its latency stay flat.

``python -m serverless.soak --seconds 3600`` starts the local runtime on this machine, sends it
requests of the plugin form over HTTP at a steady rate, and stops it. Each picture comes again and
again with one click more, up to ``MOST_CLICKS``, then with one. Every request is noted: when it was
sent, how long its answer took, and the resident memory of the runtime after it (Linux).

Flat means: from the first third of the time in which all pictures are known to the last third, the
median of the memory rose by at most ``MEMORY_RISE``, that of the latency by at most
``LATENCY_RISE``.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image, ImageDraw

from c3det.clicks import Click
from c3det.commands import at_least, command, positive
from serverless.protocol import AnswerError, PluginAnswer, PluginRequest

MOST_CLICKS = 20
MEMORY_RISE = 0.05
LATENCY_RISE = 0.10
TIMEOUT_S = 120
"""As long as CVAT waits."""
SLICES = 10


class SoakError(Exception):
    """The runtime did not start or does not answer; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One request.

    Attributes:
        sent_s: When it was sent, in seconds since the start.
        latency_s: How long the answer took.
        rss_bytes: Resident memory of the runtime after it.
        picture: Number of the picture.
        clicks: How many clicks it had.
        hit: Whether the function knew the picture.
        error: Why there were no boxes, ``None`` if there were.
    """

    sent_s: float
    latency_s: float
    rss_bytes: int
    picture: int
    clicks: int
    hit: bool
    error: str | None


@dataclass(frozen=True, slots=True)
class Trend:
    """How a value changed over time.

    Attributes:
        first: Its median in the first third.
        last: Its median in the last third.
        slope_per_hour: Of the line of least squares.
    """

    first: float
    last: float
    slope_per_hour: float

    @classmethod
    def of(cls, times_s: Sequence[float], values: Sequence[float]) -> Trend:
        """Fit a trend to at least three values over rising times."""
        times, all_values = np.array(times_s), np.array(values)
        thirds = np.array_split(all_values, 3)
        slope = np.polyfit(times - times[0], all_values, 1)[0] * 3600
        return cls(float(np.median(thirds[0])), float(np.median(thirds[2])), float(slope))

    @property
    def rise(self) -> float:
        """Share of the first median by which the last one is larger."""
        return self.last / self.first - 1


def make_picture(seed: int, size: int) -> bytes:
    """Return a JPEG of ``size`` x ``size`` pixels, discs on uneven ground."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(60, 140, (max(size // 32, 1), max(size // 32, 1), 3), np.uint8)
    image = Image.fromarray(ground).resize((size, size), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for x, y, radius in rng.integers((0, 0, 4), (size, size, 20), (60, 3)):
        colour = tuple(int(value) for value in rng.integers(0, 256, 3))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=90)
    return stream.getvalue()


@contextmanager
def local_runtime(weights: str | None) -> Iterator[tuple[str, int]]:
    """Run ``serverless.local`` on a free port of this machine.

    Yields:
        Its address, ``host:port``, and its process number.

    Raises:
        SoakError: It does not start.
    """
    command = [sys.executable, "-m", "serverless.local", "--port", "0"]
    if weights is not None:
        command += ["--weights", weights]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
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
                process.wait(TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def soak(
    address: str, pid: int, pictures: Sequence[bytes], size: int, rate: float, seconds: float
) -> list[Sample]:
    """Ask for ``seconds`` at ``rate`` requests a second, or as fast as answers come.

    Raises:
        SoakError: The runtime does not answer.
    """
    rng = np.random.default_rng(0)
    clicks = [
        [Click(x, y, 0) for x, y in rng.uniform(0, size, (MOST_CLICKS, 2)).round(1).tolist()]
        for _ in pictures
    ]
    samples: list[Sample] = []
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT_S)
    headers = {"Content-Type": "application/json"}
    start = time.monotonic()
    while (now := time.monotonic() - start) < seconds:
        turn, picture = divmod(len(samples), len(pictures))
        # The pictures do not all have few clicks at the same time.
        count = (turn + picture * MOST_CLICKS // len(pictures)) % MOST_CLICKS + 1
        time.sleep(max(0.0, len(samples) / rate - now))
        sent = time.monotonic()
        try:
            request = PluginRequest(pictures[picture], tuple(clicks[picture][:count]))
            connection.request("POST", "/", json.dumps(request.body()).encode(), headers)
            response = connection.getresponse()
            status, told = response.status, response.read()
            answer = PluginAnswer.read(json.loads(told)) if status == 200 else None
        except (OSError, ValueError, AnswerError, http.client.HTTPException) as error:
            raise SoakError(
                f"request {len(samples)} was not answered ({type(error).__name__}: {error})"
            ) from error
        latency = time.monotonic() - sent
        if answer is None:
            failed: str | None = f"status {status}"
        else:
            failed = None if answer.error is None else answer.error.message
        samples.append(
            Sample(
                round(sent - start, 3),
                round(latency, 4),
                resident_bytes(pid),
                picture,
                count,
                answer is not None and answer.cache == "hit",
                failed,
            )
        )
    connection.close()
    return samples


def percentiles(samples: Sequence[Sample]) -> dict[str, float]:
    """Return how many requests there were and percentiles of their latency, in milliseconds."""
    if not samples:
        return {"requests": 0}
    latencies = np.array([sample.latency_s for sample in samples]) * 1000
    values = np.percentile(latencies, (50, 95, 99, 100))
    names = ("p50_ms", "p95_ms", "p99_ms", "max_ms")
    return {
        "requests": len(samples),
        **{name: round(float(v), 1) for name, v in zip(names, values, strict=True)},
    }


def summarise(samples: Sequence[Sample], pictures: int) -> dict[str, Any]:
    """Return the verdict over the requests.

    Args:
        samples: In the order in which they were sent.
        pictures: How many there are; from then on all are known.

    Raises:
        SoakError: There are too few.
    """
    steady = samples[pictures:]
    if len(steady) < 3 * SLICES:
        raise SoakError(
            f"only {len(samples)} requests were answered, at least {pictures + 3 * SLICES} are "
            "needed: let it run longer, or ask about fewer pictures"
        )
    times = [sample.sent_s for sample in steady]
    memory = Trend.of(times, [sample.rss_bytes / 1e6 for sample in steady])
    latency = Trend.of(times, [sample.latency_s * 1000 for sample in steady])
    return {
        "requests": len(samples),
        "errors": sum(sample.error is not None for sample in samples),
        "first_error": next((sample.error for sample in samples if sample.error), None),
        "requests_per_second": round((len(samples) - 1) / samples[-1].sent_s, 2),
        "known_pictures": percentiles([sample for sample in steady if sample.hit]),
        "new_pictures": percentiles([sample for sample in samples if not sample.hit]),
        "memory_mb": asdict(memory),
        "latency_ms": asdict(latency),
        "memory_flat": memory.rise <= MEMORY_RISE,
        "latency_flat": latency.rise <= LATENCY_RISE,
    }


def table(samples: Sequence[Sample]) -> str:
    """Return the requests over time, in ``SLICES`` lines."""
    lines = [f"{'until':>8} {'requests':>9} {'p50':>9} {'p95':>9} {'memory':>10}"]
    for part in np.array_split(np.arange(len(samples)), SLICES):
        some = [samples[index] for index in part]
        told = percentiles(some)
        lines.append(
            f"{some[-1].sent_s:6.0f} s {len(some):9d} {told['p50_ms']:6.0f} ms "
            f"{told['p95_ms']:6.0f} ms {some[-1].rss_bytes / 1e6:7.0f} MB"
        )
    return "\n".join(lines)


@command("serverless.soak")
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; it fails where something is not flat or a request was refused."""
    parser = argparse.ArgumentParser(
        prog="python -m serverless.soak",
        description="Ask the function for a long time; tell whether memory and latency stay flat.",
    )
    parser.add_argument("--seconds", type=positive, default=180, help="how long (%(default)s)")
    parser.add_argument("--rate", type=positive, default=2, help="requests a second (%(default)s)")
    parser.add_argument("--pictures", type=at_least(1), default=10, help="how many (%(default)s)")
    parser.add_argument(
        "--size", type=at_least(1), default=1024, help="their side, px (%(default)s)"
    )
    parser.add_argument("--weights", help="a .safetensors file instead of the shipped one")
    parser.add_argument("--out", type=Path, help="JSON file for every request and the verdict")
    options = parser.parse_args(arguments)
    if options.out is not None:  # what cannot be written is better known before the hour
        options.out.parent.mkdir(parents=True, exist_ok=True)
    pictures = [make_picture(seed, options.size) for seed in range(options.pictures)]
    try:
        with local_runtime(options.weights) as (address, pid):
            samples = soak(address, pid, pictures, options.size, options.rate, options.seconds)
        summary = summarise(samples, options.pictures)
    except SoakError as error:
        sys.exit(f"serverless.soak: {error}")
    print(table(samples))
    for name in ("known_pictures", "new_pictures"):
        print(f"{name.replace('_', ' ')}: {summary[name]}")
    for name, unit in (("memory", "MB"), ("latency", "ms")):
        trend = summary[f"{name}_{unit.lower()}"]
        verdict = "flat" if summary[f"{name}_flat"] else "NOT flat"
        print(
            f"{name}: {trend['first']:.0f} {unit} in the first third, {trend['last']:.0f} {unit} "
            f"in the last, {trend['slope_per_hour']:+.1f} {unit} an hour: {verdict}"
        )
    if summary["errors"]:
        print(f"{summary['errors']} requests were refused, first: {summary['first_error']}")
    if options.out is not None:
        settings = {
            name: getattr(options, name) for name in ("seconds", "rate", "pictures", "size")
        }
        content = {
            "settings": {**settings, "processors": len(os.sched_getaffinity(0))},
            "summary": summary,
            "samples": [asdict(sample) for sample in samples],
        }
        options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if summary["errors"] or not (summary["memory_flat"] and summary["latency_flat"]):
        sys.exit(1)


if __name__ == "__main__":
    main()

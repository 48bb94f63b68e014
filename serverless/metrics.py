"""Counts and times of a worker's requests, in the text format 0.0.4 of Prometheus."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from serverless.cache import CacheStats
from serverless.observations import Observation

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
SHARES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)


class Histogram:
    """How many values are at most each bound.

    Args:
        bounds: Rising; values above the last one are counted too.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        at = next((i for i, bound in enumerate(self._bounds) if value <= bound), len(self._bounds))
        self._counts[at] += 1
        self._sum += value

    def samples(self, name: str, labels: Mapping[str, str]) -> Iterator[str]:
        """Yield the lines of the histogram."""
        count = 0
        for bound, more in zip((*self._bounds, float("inf")), self._counts, strict=True):
            count += more
            le = "+Inf" if bound == float("inf") else f"{bound:g}"
            yield sample(f"{name}_bucket", {**labels, "le": le}, count)
        yield sample(f"{name}_sum", labels, self._sum)
        yield sample(f"{name}_count", labels, count)


class Metrics:
    """What a worker did since it started. Safe from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, str]] = Counter()
        self._seconds: dict[str, Histogram] = {}
        self._coverage = Histogram(SHARES)

    def observe(self, seen: Observation) -> None:
        """Count a request that was answered."""
        error = seen.error.code if seen.error is not None else ""
        with self._lock:
            self._requests[seen.form.value, str(seen.status), error] += 1
            if seen.error is not None:
                return
            for stage, seconds in seen.seconds.items():
                self._seconds.setdefault(stage, Histogram(SECONDS)).observe(seconds)
            if seen.coverage is not None:
                self._coverage.observe(seen.coverage)

    def text(self, cache: CacheStats) -> str:
        """Return everything as Prometheus reads it.

        Args:
            cache: Of the worker's pictures.
        """
        with self._lock:
            requests = [
                sample("c3det_requests_total", {"form": form, "status": status, "error": error}, n)
                for (form, status, error), n in sorted(self._requests.items())
            ]
            seconds = [
                line
                for stage, histogram in self._seconds.items()
                for line in histogram.samples("c3det_stage_seconds", {"stage": stage})
            ]
            coverage = list(self._coverage.samples("c3det_coverage_ratio", {}))
        pictures = [
            sample("c3det_cache_uses_total", {"result": "hit"}, cache.hits),
            sample("c3det_cache_uses_total", {"result": "miss"}, cache.misses),
        ]
        dropped = [
            sample("c3det_cache_dropped_total", {"why": "room"}, cache.evictions),
            sample("c3det_cache_dropped_total", {"why": "age"}, cache.expired),
        ]
        families = (
            ("c3det_requests_total", "counter", "Requests by form, status and error", requests),
            ("c3det_stage_seconds", "histogram", "Time of each stage of an answer", seconds),
            ("c3det_coverage_ratio", "histogram", "Share of the picture searched", coverage),
            ("c3det_cache_uses_total", "counter", "Questions about pictures", pictures),
            ("c3det_cache_dropped_total", "counter", "Pictures forgotten, by reason", dropped),
            (
                "c3det_cache_failures_total",
                "counter",
                "Pictures that could not be opened",
                [sample("c3det_cache_failures_total", {}, cache.failures)],
            ),
            gauge("c3det_cache_entries", "Pictures known now", cache.entries),
            gauge("c3det_cache_bytes", "Memory that they take", cache.bytes),
        )
        return "".join(
            f"# HELP {name} {about}.\n# TYPE {name} {kind}\n{''.join(lines)}"
            for name, kind, about, lines in families
        )


def gauge(name: str, about: str, value: float) -> tuple[str, str, str, Iterable[str]]:
    """Return a family of one value."""
    return name, "gauge", about, [sample(name, {}, value)]


def sample(name: str, labels: Mapping[str, str], value: float) -> str:
    """Return one line; the values of the labels hold no quotes, backslashes or line breaks."""
    inside = ",".join(f'{key}="{text}"' for key, text in labels.items())
    return f"{name}{{{inside}}} {value!r}\n" if inside else f"{name} {value!r}\n"

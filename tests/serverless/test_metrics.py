"""The metrics, as Prometheus reads them."""

from __future__ import annotations

import re

from serverless.cache import CacheStats
from serverless.main import detector_handler, handler
from serverless.metrics import CONTENT_TYPE, Histogram, Metrics
from serverless.observations import Observation
from serverless.protocol import Form, RequestError
from tests.serverless.fakes import base64_picture, event, make_context

# The grammar of the text format 0.0.4, without timestamps and escapes.
SAMPLE = re.compile(
    r'(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>(?:[a-zA-Z_]\w*="[^"\\\n]*",?)*)\})? (?P<value>\S+)'
)


def read(text: str) -> dict[str, float]:
    """The samples of an exposition; every family must be described once and stand together."""
    assert text.endswith("\n")
    samples: dict[str, float] = {}
    kinds: dict[str, str] = {}
    current = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            current = line.split(" ")[2]
            assert current not in kinds
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == current
            kinds[name] = kind
        else:
            found = SAMPLE.fullmatch(line)
            assert found, line
            suffixes = ("_bucket", "_sum", "_count") if kinds[current] == "histogram" else ("",)
            assert found["name"] in [current + suffix for suffix in suffixes]
            key = found["name"] + (f"{{{found['labels']}}}" if found["labels"] else "")
            assert key not in samples
            samples[key] = float(found["value"])
    return samples


def test_buckets_are_cumulative() -> None:
    histogram = Histogram((1, 5))
    for value in (0.5, 1, 3, 7):
        histogram.observe(value)
    assert list(histogram.samples("x", {"stage": "a"})) == [
        'x_bucket{stage="a",le="1"} 2\n',
        'x_bucket{stage="a",le="5"} 3\n',
        'x_bucket{stage="a",le="+Inf"} 4\n',
        'x_sum{stage="a"} 11.5\n',
        'x_count{stage="a"} 4\n',
    ]


def test_before_the_first_request_everything_is_there() -> None:
    samples = read(Metrics().text(CacheStats()))
    assert samples["c3det_cache_bytes"] == 0
    assert samples["c3det_coverage_ratio_count"] == 0


def test_a_request_is_counted_by_form_status_and_error() -> None:
    metrics = Metrics()
    metrics.observe(Observation(Form.PLUGIN, {"encode": 0.3}, coverage=0.5))
    metrics.observe(Observation(Form.PLUGIN, {"encode": 0.02}, coverage=1.0))
    refused = RequestError("invalid", "No.", "image")
    metrics.observe(Observation(Form.DETECTOR, status=400, error=refused))
    samples = read(metrics.text(CacheStats(3, 2, 1, 5, 6, 7, 800)))
    assert {key: value for key, value in samples.items() if "requests" in key} == {
        'c3det_requests_total{form="plugin",status="200",error=""}': 2,
        'c3det_requests_total{form="detector",status="400",error="invalid"}': 1,
    }
    assert samples['c3det_stage_seconds_bucket{stage="encode",le="0.025"}'] == 1
    assert samples['c3det_stage_seconds_bucket{stage="encode",le="0.5"}'] == 2
    assert samples['c3det_stage_seconds_sum{stage="encode"}'] == 0.32
    assert samples['c3det_coverage_ratio_bucket{le="0.5"}'] == 1
    assert samples["c3det_coverage_ratio_sum"] == 1.5
    assert samples['c3det_cache_uses_total{result="hit"}'] == 3
    assert samples['c3det_cache_uses_total{result="miss"}'] == 2
    assert samples["c3det_cache_failures_total"] == 1
    assert samples['c3det_cache_dropped_total{why="room"}'] == 5
    assert samples['c3det_cache_dropped_total{why="age"}'] == 6
    assert samples["c3det_cache_entries"] == 7
    assert samples["c3det_cache_bytes"] == 800


def test_the_handlers_count() -> None:
    context = make_context()
    plugin = {"image": base64_picture(), "pos_points": [], "neg_points": [[-1, 1]]}
    for payload in (plugin, plugin, {**plugin, "threshold": 7}, {"pos_points": []}):
        handler(context, event(payload))
    detector_handler(context, event(plugin))
    context.user_data.predictor.fault = KeyError("x")
    detector_handler(context, event(plugin))
    service = context.user_data
    samples = read(service.metrics.text(service.cache.stats()))
    assert {key: value for key, value in samples.items() if "requests" in key} == {
        'c3det_requests_total{form="plugin",status="200",error=""}': 2,
        'c3det_requests_total{form="plugin",status="200",error="invalid"}': 1,
        'c3det_requests_total{form="built-in",status="400",error="missing"}': 1,
        'c3det_requests_total{form="detector",status="200",error=""}': 1,
        'c3det_requests_total{form="detector",status="500",error="internal"}': 1,
    }
    assert samples['c3det_stage_seconds_count{stage="detect"}'] == 3
    assert samples['c3det_cache_uses_total{result="hit"}'] == 3
    assert samples["c3det_cache_entries"] == 0, "a fault empties the cache"


def test_the_content_type_names_the_version() -> None:
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")

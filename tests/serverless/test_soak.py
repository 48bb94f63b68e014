"""The soak: its arithmetic on numbers made by hand, and one short run over HTTP."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serverless.bench.made_input import photo, picture_file
from serverless.bench.soak import (
    Sample,
    SoakError,
    first_and_last_third,
    is_good,
    lines,
    percentiles,
    picture_and_clicks,
    soak,
    summarise,
)
from serverless.settings import OPEN_WEIGHTS, STARTER_WEIGHTS


def sample(
    sent_s: float,
    latency_s: float = 0.1,
    rss: float = 1e9,
    hit: bool = True,
    error: str | None = None,
) -> Sample:
    return Sample(sent_s, latency_s, int(rss), hit, error)


def test_thirds_of_nine_values() -> None:
    assert first_and_last_third(range(100, 109)) == (101, 107)


def test_percentiles() -> None:
    summary = percentiles([sample(i, latency_s=i / 1000) for i in range(101)])
    assert summary == {"requests": 101, "p50_ms": 50, "p95_ms": 95, "max_ms": 100}
    assert percentiles([]) == {"requests": 0}


def test_memory_that_grows_is_not_flat() -> None:
    flat = [sample(i, hit=i >= 2) for i in range(62)]
    summary = summarise(flat, 2)
    assert (summary["memory_flat"], summary["latency_flat"], summary["errors"]) == (True, True, 0)
    assert summary["requests_per_second"] == 1
    assert summary["new_pictures"]["requests"] == 2
    assert summary["known_pictures"]["requests"] == 60
    # 0.2 % more with each request: 8 % from the middle of the first third to that of the last.
    growing = [sample(i, rss=1e9 + 2e6 * i) for i in range(62)]
    summary = summarise(growing, 2)
    assert (summary["memory_flat"], summary["latency_flat"]) == (False, True)
    slower = [sample(i, latency_s=0.1 + i / 1000) for i in range(62)]
    assert not summarise(slower, 2)["latency_flat"]


def test_the_first_error_is_told() -> None:
    samples = [sample(i, error="No." if i in (40, 50) else None) for i in range(62)]
    summary = summarise(samples, 2)
    assert (summary["errors"], summary["first_error"]) == (2, "No.")


def test_too_few_requests() -> None:
    with pytest.raises(SoakError, match="at least 32 are needed"):
        summarise([sample(i) for i in range(31)], 2)


def test_the_verdict_in_words() -> None:
    verdict = summarise([sample(i, latency_s=0.25, rss=5e8, hit=i >= 2) for i in range(40)], 2)
    text = lines(verdict)
    assert text[-2].startswith("memory: 500 MB in the first third, 500 MB in the last")
    assert text[-1].endswith(": flat")
    assert is_good(verdict)
    assert not is_good({**verdict, "errors": 1})
    assert not is_good({**verdict, "latency_flat": False})


def test_each_picture_comes_again_with_one_click_more() -> None:
    requests = [picture_and_clicks(number, 2) for number in range(42)]
    assert requests[:4] == [(0, 1), (1, 11), (0, 2), (1, 12)]
    assert requests[38:42] == [(0, 20), (1, 10), (0, 1), (1, 11)]


def test_pictures_differ_and_are_the_same_each_time() -> None:
    assert np.array_equal(photo(64, 0), photo(64, 0))
    assert not np.array_equal(photo(64, 0), photo(64, 1))
    with Image.open(io.BytesIO(picture_file(photo(50), "JPEG"))) as image:
        assert (image.size, image.format) == ((50, 50), "JPEG")


@pytest.mark.skipif(sys.platform != "linux", reason="the resident memory is read as on Linux")
@pytest.mark.parametrize("weights", [OPEN_WEIGHTS, STARTER_WEIGHTS], ids=["open", "closed"])
def test_a_short_run_with_the_shipped_weights(weights: Path) -> None:
    verdict = soak(weights, 12, rate=8, pictures=2, side=48)
    assert verdict["requests"] >= 32
    assert verdict["errors"] == 0
    assert verdict["new_pictures"]["requests"] == 2
    assert verdict["known_pictures"]["requests"] == verdict["requests"] - 2
    assert verdict["memory_mb"]["first"] > 100
    assert json.dumps(verdict, allow_nan=False)


def test_a_runtime_that_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(SoakError, match=r"the runtime did not start: .*absent"):
        soak(tmp_path / "absent.safetensors", 1)

"""The soak: its arithmetic on numbers made by hand, and one short run over HTTP."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from serverless.settings import OPEN_WEIGHTS, STARTER_WEIGHTS
from serverless.soak import (
    Sample,
    SoakError,
    Trend,
    main,
    make_picture,
    percentiles,
    summarise,
    table,
)


def sample(
    sent_s: float,
    latency_s: float = 0.1,
    rss: float = 1e9,
    hit: bool = True,
    error: str | None = None,
) -> Sample:
    return Sample(sent_s, latency_s, int(rss), 0, 1, hit, error)


def test_a_trend_of_nine_values() -> None:
    # One more every ten seconds: 360 more an hour.
    trend = Trend.of(range(0, 90, 10), range(100, 109))
    assert (trend.first, trend.last) == (101, 107)
    assert trend.slope_per_hour == pytest.approx(360)
    assert trend.rise == pytest.approx(6 / 101)


def test_percentiles() -> None:
    told = percentiles([sample(i, latency_s=i / 1000) for i in range(101)])
    assert told == {"requests": 101, "p50_ms": 50, "p95_ms": 95, "p99_ms": 99, "max_ms": 100}
    assert percentiles([]) == {"requests": 0}


def test_memory_that_grows_is_not_flat() -> None:
    flat = [sample(i, hit=i >= 2) for i in range(62)]
    told = summarise(flat, 2)
    assert (told["memory_flat"], told["latency_flat"], told["errors"]) == (True, True, 0)
    assert told["requests_per_second"] == 1
    assert told["new_pictures"]["requests"] == 2
    assert told["known_pictures"]["requests"] == 60
    # 0.2 % more with each request: 8 % from the middle of the first third to that of the last.
    growing = [sample(i, rss=1e9 + 2e6 * i) for i in range(62)]
    told = summarise(growing, 2)
    assert (told["memory_flat"], told["latency_flat"]) == (False, True)
    assert told["memory_mb"]["slope_per_hour"] == pytest.approx(2 * 3600)
    slower = [sample(i, latency_s=0.1 + i / 1000) for i in range(62)]
    assert not summarise(slower, 2)["latency_flat"]


def test_the_first_error_is_told() -> None:
    samples = [sample(i, error="No." if i in (40, 50) else None) for i in range(62)]
    told = summarise(samples, 2)
    assert (told["errors"], told["first_error"]) == (2, "No.")


def test_too_few_requests() -> None:
    with pytest.raises(SoakError, match="at least 32 are needed"):
        summarise([sample(i) for i in range(31)], 2)


def test_the_table_has_ten_lines() -> None:
    lines = table([sample(i, latency_s=0.25, rss=5e8) for i in range(40)]).splitlines()
    assert len(lines) == 11
    assert lines[1].split() == ["3", "s", "4", "250", "ms", "250", "ms", "500", "MB"]


def test_pictures_differ_and_are_the_same_each_time() -> None:
    assert make_picture(0, 64) == make_picture(0, 64)
    assert make_picture(0, 64) != make_picture(1, 64)
    with Image.open(io.BytesIO(make_picture(0, 50))) as image:
        assert (image.size, image.format) == ((50, 50), "JPEG")


@pytest.mark.skipif(sys.platform != "linux", reason="the resident memory is read as on Linux")
@pytest.mark.parametrize("weights", [OPEN_WEIGHTS, STARTER_WEIGHTS], ids=["open", "closed"])
def test_a_short_run_with_the_shipped_weights(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "soak.json"
    options = ["--seconds", "12", "--rate", "8", "--pictures", "2", "--size", "48"]
    # On a busy machine so short a run need not be flat.
    with contextlib.suppress(SystemExit):
        main([*options, "--out", str(out), "--weights", str(weights)])
    written = json.loads(out.read_text())
    samples = written["samples"]
    assert len(samples) >= 32
    assert written["summary"]["errors"] == 0
    assert [s["hit"] for s in samples] == [False, False] + [True] * (len(samples) - 2)
    assert [s["picture"] for s in samples[:4]] == [0, 1, 0, 1]
    assert [s["clicks"] for s in samples[:4]] == [1, 11, 2, 12]
    assert all(s["rss_bytes"] > 1e8 for s in samples)
    assert "memory:" in capsys.readouterr().out


def test_a_runtime_that_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--seconds", "1", "--weights", str(tmp_path / "absent.safetensors")])
    assert "the runtime did not start" in str(ended.value.code)
    assert "absent" in str(ended.value.code)

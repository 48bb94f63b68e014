"""The small parts of a worker: the cache of features, the settings, the limit on processors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from serverless.cache import FeatureCache, picture_key
from serverless.processors import processor_limit
from serverless.settings import STARTER_WEIGHTS, Settings
from tests.serverless.fakes import FakeFeatures


def features(nbytes: int) -> FakeFeatures:
    return FakeFeatures((1, 1), nbytes)


def test_cache_drops_what_was_used_longest_ago() -> None:
    cache = FeatureCache(300)
    entries = {key: features(100) for key in (b"a", b"b", b"c", b"d")}
    for key in (b"a", b"b", b"c"):
        cache.put(key, entries[key])
    assert cache.get(b"a") is entries[b"a"]
    cache.put(b"d", entries[b"d"])
    assert cache.get(b"b") is None
    assert [cache.get(key) for key in (b"a", b"c", b"d")] == [
        entries[key] for key in (b"a", b"c", b"d")
    ]


def test_cache_keeps_the_newest_however_large() -> None:
    cache = FeatureCache(50)
    cache.put(b"a", features(40))
    cache.put(b"b", features(1000))
    assert cache.get(b"a") is None
    assert cache.get(b"b") is not None
    cache.put(b"c", features(10))
    assert cache.get(b"b") is None
    assert cache.get(b"c") is not None


def test_cache_counts_an_entry_once() -> None:
    cache = FeatureCache(100)
    cache.put(b"a", features(50))
    cache.put(b"b", features(50))
    cache.put(b"b", features(50))
    assert cache.get(b"a") is not None


def test_cache_can_be_cleared() -> None:
    cache = FeatureCache(100)
    cache.put(b"a", features(50))
    cache.clear()
    assert cache.get(b"a") is None


def test_pictures_differ_by_their_bytes() -> None:
    assert picture_key(b"a") == picture_key(b"a")
    assert picture_key(b"a") != picture_key(b"b")


def test_settings_by_default() -> None:
    assert Settings.from_environment({}) == Settings(
        weights=STARTER_WEIGHTS,
        device="cpu",
        max_pixels=16_000_000,
        max_clicks=1000,
        full_mask_max_pixels=2_000_000,
        cache_bytes=512 * 1024 * 1024,
    )
    assert STARTER_WEIGHTS.is_absolute()


def test_settings_from_the_environment() -> None:
    environment = {
        "C3DET_WEIGHTS": "mine.safetensors",
        "C3DET_DEVICE": "cuda:0",
        "C3DET_MAX_PIXELS": "10",
        "C3DET_MAX_CLICKS": " 20 ",
        "C3DET_FULL_MASK_MAX_PIXELS": "0",
        "C3DET_CACHE_BYTES": "",
    }
    assert Settings.from_environment(environment) == Settings(
        Path("mine.safetensors"), "cuda:0", 10, 20, 0, 512 * 1024 * 1024
    )


@pytest.mark.parametrize("value", ["0", "-5", "1.5", "1e6", "many", "²"])
def test_settings_that_are_not_whole_numbers(value: str) -> None:
    with pytest.raises(ValueError, match="C3DET_MAX_PIXELS"):
        Settings.from_environment({"C3DET_MAX_PIXELS": value})


@pytest.fixture
def eight_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


@pytest.mark.usefixtures("eight_processors")
@pytest.mark.parametrize(
    ("cpu_max", "limit"),
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("250000 100000\n", 2),
        ("50000 100000\n", 1),
        ("1600000 100000\n", 8),
        ("nonsense\n", 8),
    ],
)
def test_processor_limit_of_cgroup_v2(tmp_path: Path, cpu_max: str, limit: int) -> None:
    (tmp_path / "cpu.max").write_text(cpu_max)
    assert processor_limit(tmp_path) == limit


@pytest.mark.usefixtures("eight_processors")
@pytest.mark.parametrize(("quota", "limit"), [("-1\n", 8), ("300000\n", 3)])
def test_processor_limit_of_cgroup_v1(tmp_path: Path, quota: str, limit: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert processor_limit(tmp_path) == limit


@pytest.mark.usefixtures("eight_processors")
def test_processor_limit_without_a_quota(tmp_path: Path) -> None:
    assert processor_limit(tmp_path) == 8

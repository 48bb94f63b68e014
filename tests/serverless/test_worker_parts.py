"""The small parts of a worker: the settings, the limit on CPUs."""

from __future__ import annotations

import io
import logging
import os
import sys
from pathlib import Path

import pytest

from serverless.cpu_limit import cpu_limit, limit_threads
from serverless.service import quieten_wrapper
from serverless.settings import OPEN_WEIGHTS, ServingSettings


def test_settings_by_default() -> None:
    assert ServingSettings.from_environment({}) == ServingSettings(
        weights=OPEN_WEIGHTS,
        device="cpu",
        max_pixels=50_000_000,
        max_clicks=1000,
        full_mask_max_pixels=2_000_000,
        cache_bytes=1024**3,
        cache_seconds=1800,
        time_budget_seconds=60,
        class_name=None,
    )
    assert OPEN_WEIGHTS.is_absolute()


def test_settings_that_do_not_come_from_the_environment() -> None:
    settings = ServingSettings.from_environment({"C3DET_DEVICE": "cuda"}, device="cpu")
    assert settings == ServingSettings.from_environment({})


def test_settings_from_the_environment() -> None:
    environment = {
        "C3DET_WEIGHTS": "mine.safetensors",
        "C3DET_DEVICE": "cuda:0",
        "C3DET_MAX_PIXELS": "10",
        "C3DET_MAX_CLICKS": " 20 ",
        "C3DET_FULL_MASK_MAX_PIXELS": "0",
        "C3DET_CACHE_BYTES": "",
        "C3DET_CACHE_SECONDS": "0",
        "C3DET_TIME_BUDGET_SECONDS": "119",
        "C3DET_CLASS": " ship ",
    }
    assert ServingSettings.from_environment(environment) == ServingSettings(
        Path("mine.safetensors"), "cuda:0", 10, 20, 0, 1024**3, 0, 119, "ship"
    )


@pytest.mark.parametrize("value", ["0", "-5", "1.5", "1e6", "many", "²", "1" * 5000])
def test_settings_that_are_not_whole_numbers(value: str) -> None:
    with pytest.raises(ValueError, match="C3DET_MAX_PIXELS"):
        ServingSettings.from_environment({"C3DET_MAX_PIXELS": value})


@pytest.mark.parametrize("value", ["0", "120", "1000000"])
def test_the_time_budget_ends_before_cvat_gives_up(value: str) -> None:
    with pytest.raises(ValueError, match=r"C3DET_TIME_BUDGET_SECONDS must be .* from 1 to 119"):
        ServingSettings.from_environment({"C3DET_TIME_BUDGET_SECONDS": value})


@pytest.fixture
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


@pytest.mark.usefixtures("eight_cpus")
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
def test_cpu_limit_of_cgroup_v2(tmp_path: Path, cpu_max: str, limit: int) -> None:
    (tmp_path / "cpu.max").write_text(cpu_max)
    assert cpu_limit(tmp_path, tmp_path / "absent") == limit


@pytest.mark.usefixtures("eight_cpus")
@pytest.mark.parametrize(("quota", "limit"), [("-1\n", 8), ("300000\n", 3)])
def test_cpu_limit_of_cgroup_v1(tmp_path: Path, quota: str, limit: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert cpu_limit(tmp_path, tmp_path / "absent") == limit


@pytest.mark.usefixtures("eight_cpus")
def test_cpu_limit_without_a_quota(tmp_path: Path) -> None:
    assert cpu_limit(tmp_path, tmp_path / "absent") == 8


@pytest.mark.usefixtures("eight_cpus")
def test_the_least_quota_of_nested_groups_counts(tmp_path: Path) -> None:
    membership = tmp_path / "membership"
    membership.write_text("0::/pods/pod/container\n")
    for group, cpu_max in (
        ("pods", "700000 100000"),
        ("pods/pod", "300000 100000"),
        ("pods/pod/container", "max 100000"),
        ("pods/other", "100000 100000"),
    ):
        (tmp_path / group).mkdir(parents=True, exist_ok=True)
        (tmp_path / group / "cpu.max").write_text(cpu_max)
    assert cpu_limit(tmp_path, membership) == 3


@pytest.mark.usefixtures("eight_cpus")
def test_nested_groups_of_cgroup_v1(tmp_path: Path) -> None:
    membership = tmp_path / "membership"
    membership.write_text("5:memory:/other\n4:cpu,cpuacct:/docker/abc\n")
    # The last is a group of the memory controller alone, whatever stands in a folder of its name.
    for group, quota in (("docker", "200000"), ("docker/abc", "400000"), ("other", "100000")):
        folder = tmp_path / "cpu" / group
        folder.mkdir(parents=True)
        (folder / "cpu.cfs_quota_us").write_text(quota)
        (folder / "cpu.cfs_period_us").write_text("100000")
    assert cpu_limit(tmp_path, membership) == 2


@pytest.mark.usefixtures("eight_cpus")
def test_a_path_of_the_host_leaves_the_root(tmp_path: Path) -> None:
    membership = tmp_path / "membership"
    membership.write_text("0::/../../system.slice/docker-1.scope\n")
    (tmp_path / "cpu.max").write_text("200000 100000")
    assert cpu_limit(tmp_path, membership) == 2


def test_a_cpuset_limits_the_cpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5}, raising=False)
    (tmp_path / "cpu.max").write_text("400000 100000")
    assert cpu_limit(tmp_path, tmp_path / "absent") == 1


@pytest.mark.parametrize(("chosen", "limit", "threads"), [(8, 3, 3), (2, 3, 2)])
def test_threads_follow_the_limit(
    monkeypatch: pytest.MonkeyPatch, chosen: int, limit: int, threads: int
) -> None:
    pytest.importorskip("cv2", reason="OpenCV is missing")
    set_to: list[tuple[str, int]] = []
    monkeypatch.setattr("torch.get_num_threads", lambda: chosen)
    monkeypatch.setattr("torch.set_num_threads", lambda count: set_to.append(("torch", count)))
    monkeypatch.setattr("cv2.setNumThreads", lambda count: set_to.append(("cv2", count)))
    monkeypatch.setattr("serverless.cpu_limit.cpu_limit", lambda: limit)
    assert limit_threads() == threads
    assert set_to == [("torch", threads), ("cv2", threads)]
    set_to.clear()
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert limit_threads() == threads
    assert set_to == [("torch", threads)], "the open model has no OpenCV"


def test_debug_lines_of_nuclios_wrapper_do_not_reach_the_answers() -> None:
    socket = io.StringIO()
    logger, handler = logging.getLogger("nuclio_sdk"), logging.StreamHandler(socket)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        quieten_wrapper()
        logger.debug("draining")
        logger.info("answered")
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    assert socket.getvalue() == "answered\n"

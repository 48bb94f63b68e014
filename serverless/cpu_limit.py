"""How many CPUs this container may use; torch counts those of the whole machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

CGROUP = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def cpu_limit(cgroup: Path = CGROUP, membership: Path = MEMBERSHIP) -> int:
    """Return the number of CPUs that this process may keep busy, at least 1.

    The smaller of the CPUs that it may be scheduled on (which a cpuset limits) and the least CPU
    quota of its control group and of those above it, rounded down; both versions of control groups
    are read.
    """
    if hasattr(os, "sched_getaffinity"):
        available = len(os.sched_getaffinity(0))
    else:
        available = os.cpu_count() or 1
    quotas = [
        quota
        for group in _groups(cgroup, membership)
        for read in (_quota_v2, _quota_v1)
        if (quota := _quota(read, group)) is not None
    ]
    return max(1, min([available, *(int(quota) for quota in quotas)]))


def limit_threads() -> int:
    """Limit the threads of torch and OpenCV to the container's CPUs; return torch's number.

    A smaller number from the environment, such as ``OMP_NUM_THREADS``, stays. OpenCV is installed
    with the closed model alone.
    """
    import torch

    limit = min(torch.get_num_threads(), cpu_limit())
    torch.set_num_threads(limit)
    with suppress(ModuleNotFoundError):
        import cv2

        cv2.setNumThreads(limit)
    return limit


def _groups(cgroup: Path, membership: Path) -> Iterator[Path]:
    """Yield the folders of the process's control group and of all above it.

    In a container the file may have the path on the host, which is not there; the root always is.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        lines = []
    for line in ["0::/", *lines]:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            mount = cgroup
        elif "cpu" in controllers.split(","):
            mount = cgroup / "cpu"
        else:
            continue
        relative = PurePosixPath(path.lstrip("/"))
        yield from (mount / parent for parent in (relative, *relative.parents))
    yield cgroup / "cpu"


def _quota(read: Callable[[Path], tuple[int, int]], group: Path) -> float | None:
    """Return the CPU quota of a group in CPUs, ``None`` where there is none."""
    try:
        quota, period = read(group)
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 and period > 0 else None


def _quota_v2(group: Path) -> tuple[int, int]:
    quota, period = (group / "cpu.max").read_text().split()
    return int(quota), int(period)


def _quota_v1(group: Path) -> tuple[int, int]:
    quota = (group / "cpu.cfs_quota_us").read_text()
    period = (group / "cpu.cfs_period_us").read_text()
    return int(quota), int(period)

"""How many processors this container may use; torch counts those of the whole machine."""

from __future__ import annotations

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def processor_limit(cgroup: Path = CGROUP) -> int:
    """Return the number of processors that this process may keep busy, at least 1.

    The smaller of the processors it may be scheduled on and the CPU quota of its control group,
    rounded down; both versions of control groups are read.

    Args:
        cgroup: The root of the control group file system, as the container sees it.
    """
    if hasattr(os, "sched_getaffinity"):
        available = len(os.sched_getaffinity(0))
    else:
        available = os.cpu_count() or 1
    quota = _quota(cgroup)
    return available if quota is None else max(1, min(available, int(quota)))


def _quota(cgroup: Path) -> float | None:
    """Return the CPU quota in processors, ``None`` where there is none."""
    for read in (_quota_v2, _quota_v1):
        try:
            quota, period = read(cgroup)
        except (OSError, ValueError):
            continue
        if quota > 0 and period > 0:
            return quota / period
    return None


def _quota_v2(cgroup: Path) -> tuple[int, int]:
    quota, period = (cgroup / "cpu.max").read_text().split()
    return int(quota), int(period)


def _quota_v1(cgroup: Path) -> tuple[int, int]:
    quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text()
    period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text()
    return int(quota), int(period)

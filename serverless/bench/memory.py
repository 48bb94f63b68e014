"""The resident memory of a process, as Linux counts it."""

from __future__ import annotations

from pathlib import Path


def resident_bytes(pid: int | None = None, peak: bool = False) -> int:
    """Return the resident memory of a process now, or at most since `forget_peak`.

    Args:
        pid: Of the process; ``None``: this one.
        peak: Whether at most.
    """
    name = "VmHWM" if peak else "VmRSS"
    path = Path("/proc") / ("self" if pid is None else str(pid)) / "status"
    for line in path.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"{path} has no {name}")


def forget_peak() -> None:
    """Let the peak of this process's memory be counted from now on."""
    Path("/proc/self/clear_refs").write_text("5")

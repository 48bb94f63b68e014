"""Work that is measured in a process of its own, so that its memory is that of nothing else."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")


def alone(work: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def memory(*, peak: bool) -> float:
    """Memory of this process in MiB, now or at most so far; NaN where Linux does not say.

    ``resource.getrusage`` would include the process that started this one.
    """
    field = "VmHWM:" if peak else "VmRSS:"
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.is_file() else ():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    return float("nan")

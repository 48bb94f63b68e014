"""What goes wrong on the way to a server, on demand."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass
class Fault:
    """What happens to the next requests that fit.

    Attributes:
        path: Regular expression, found somewhere in the path with its query.
        method: HTTP method; every method where it is empty.
        times: How many requests it meets.
        delay_s: Wait before anything else.
        status: Answer this instead of the real answer.
        cut: Close the connection instead of answering.
        processed: Whether a request that gets no real answer is processed all the same, before it
            is answered. A client cannot see the difference.
        late: Process it only when a later request comes whose path fits this regular expression,
            before that one: a server that was slower than the proxy in front of it.
    """

    path: str = "."
    method: str = ""
    times: int = 1
    delay_s: float = 0
    status: int | None = None
    cut: bool = False
    processed: bool = False
    late: str = ""

    def fits(self, method: str, path: str) -> bool:
        return self.method in ("", method) and re.search(self.path, path) is not None


class Faults:
    """The faults that still wait for their requests, in order. Safe from several threads."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._late: list[tuple[str, Callable[[], object]]] = []
        self._lock = threading.Lock()

    def add(self, **fault: Any) -> None:
        """Add a fault; an unknown key is a ``TypeError``."""
        with self._lock:
            self._waiting.append(Fault(**fault))

    def clear(self) -> None:
        with self._lock:
            self._waiting.clear()

    def postpone(self, path: str, process: Callable[[], object]) -> None:
        """Keep a request until one comes whose path fits."""
        with self._lock:
            self._late.append((path, process))

    def process_late(self, path: str) -> None:
        """Process the requests that were kept until this one."""
        with self._lock:
            due = [process for late, process in self._late if re.search(late, path)]
            self._late = [(late, p) for late, p in self._late if p not in due]
        for process in due:
            process()

    def take(self, method: str, path: str) -> Fault | None:
        """Return the first fault that fits, used once more."""
        with self._lock:
            for fault in self._waiting:
                if fault.fits(method, path):
                    fault.times -= 1
                    if fault.times <= 0:
                        self._waiting.remove(fault)
                    return fault
        return None


def parse_fault(text: str) -> Mapping[str, Any]:
    """Read ``key=value,key=value``, as in ``path=/lambda/,status=500,times=2``."""
    kinds = {"times": int, "status": int, "delay_s": float}
    flags = ("cut", "processed")
    fault: dict[str, Any] = {}
    for pair in text.split(","):
        key, _, value = pair.partition("=")
        fault[key] = value != "0" if key in flags else kinds.get(key, str)(value)
    Fault(**fault)
    return fault

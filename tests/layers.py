"""The layers of the tests: ``browser``, ``slow``, and all others, which are fast.

A test that asks for the fixture ``browser`` is of the layer of that name. The slow tests stand in
``tests/slow.txt``, which ``make slow-tests`` writes from measured times; until then a new test is
fast. ``make test-fast``, ``make test-slow`` and ``make test-browser`` run one layer each.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RECORD = Path(__file__).with_name("slow.txt")
SLOW_S = 0.25
"""From so many seconds of a processor on, for all its parameters together, a test is slow."""


def test_name(node_id: str) -> str:
    """Return a test's file, class and function, without its parameters."""
    return node_id.partition("[")[0]


def read_slow(text: str) -> dict[str, float]:
    """Return the seconds of the slow tests, by name, from lines ``SECONDS NAME``."""
    lines = (line.split(maxsplit=1) for line in text.splitlines())
    return {name: float(seconds) for seconds, name in lines}


def merge_slow(
    recorded: dict[str, float], measured: dict[str, float], files: set[str]
) -> dict[str, float]:
    """Return the slow tests after a run.

    Args:
        recorded: The seconds of the slow tests so far, by name.
        measured: The seconds of the tests that ran, by name.
        files: The test files that exist; tests of others are forgotten.
    """
    kept = {
        name: seconds
        for name, seconds in recorded.items()
        if name not in measured and name.partition("::")[0] in files
    }
    slow = {name: seconds for name, seconds in measured.items() if seconds >= SLOW_S}
    return {**kept, **slow}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record-slow", action="store_true", help="write the slow ones of this run to slow.txt"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--record-slow"):
        config.pluginmanager.register(Recorder())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests with their layer."""
    slow = read_slow(RECORD.read_text(encoding="utf-8"))
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)
        elif test_name(item.nodeid) in slow:
            item.add_marker(pytest.mark.slow)


class Recorder:
    """Measures the tests of a run, set-up and processes that they wait for included."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        # Of the processor, not of the clock: a busy machine makes no test slow.
        started = sum(os.times()[:4])
        try:
            return (yield)
        finally:
            self._seconds[test_name(item.nodeid)] += sum(os.times()[:4]) - started

    def pytest_sessionfinish(self) -> None:
        recorded = read_slow(RECORD.read_text(encoding="utf-8"))
        files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
        slow = merge_slow(recorded, self._seconds, files)
        lines = (f"{slow[name]:.1f} {name}\n" for name in sorted(slow))
        RECORD.write_text("".join(lines), encoding="utf-8")

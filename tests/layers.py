"""The layers of the tests: ``browser``, ``slow``, and all others, which are fast.

A test that asks for the fixture ``browser`` is of the layer of that name. The slow tests stand in
``tests/slow.txt``, which ``make slow-tests`` writes from measured times; until then a new test is
fast. ``make test-fast``, ``make test-slow`` and ``make test-browser`` run one layer each.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path

import psutil
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
        if config.getoption("numprocesses", None):
            raise pytest.UsageError("--record-slow measures in one process: leave -n out")
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
    """Measures the tests of a run, with what they share and the processes that they wait for.

    What a fixture of a module or of the session took counts in equal parts for all tests that use
    it: each of them pays for it where it runs alone.
    """

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._fixtures: dict[str, set[str]] = {}
        """The names of the fixtures that a test uses, by the name of the test."""
        self._shared: defaultdict[tuple[str, str], float] = defaultdict(float)
        """The seconds of a shared fixture, by where it may be used and its name."""
        self._of_fixtures = 0.0
        """The seconds of shared fixtures so far."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        name = test_name(item.nodeid)
        self._fixtures.setdefault(name, set()).update(getattr(item, "fixturenames", ()))
        started = processor_seconds() - self._of_fixtures
        try:
            return (yield)
        finally:
            self._seconds[name] += processor_seconds() - self._of_fixtures - started

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[object]
    ) -> Generator[None, object, object]:
        if fixturedef.scope == "function":
            return (yield)
        started = processor_seconds()
        try:
            return (yield)
        finally:
            spent = processor_seconds() - started
            self._shared[fixturedef.baseid, fixturedef.argname] += spent
            self._of_fixtures += spent

    def measured(self) -> dict[str, float]:
        """Return the seconds of the tests that ran, by name."""
        seconds = dict(self._seconds)
        for (place, fixture), spent in self._shared.items():
            users = [
                name
                for name, fixtures in self._fixtures.items()
                if fixture in fixtures and name.startswith(place)
            ]
            for name in users:
                seconds[name] += spent / len(users)
        return seconds

    def pytest_sessionfinish(self) -> None:
        recorded = read_slow(RECORD.read_text(encoding="utf-8"))
        files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
        slow = merge_slow(recorded, self.measured(), files)
        lines = (f"{slow[name]:.1f} {name}\n" for name in sorted(slow))
        RECORD.write_text("".join(lines), encoding="utf-8")


def processor_seconds() -> float:
    """Return what this process, and those that it has or had, took of a processor so far.

    Not of the clock: a busy machine makes no test slow.
    """
    this = psutil.Process()
    total = 0.0
    for process in (this, *this.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total

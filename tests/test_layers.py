"""Which layer a test is of, and what a run that measures them writes down."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import layers

SLOW = "tests/a/test_a.py::test_slow"


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "slow.txt"
    path.write_text(f"3.5 {SLOW}\n2.0 tests/a/test_browser.py::test_page\n")
    monkeypatch.setattr(layers, "RECORD", path)
    return path


def marks_of(name: str, *fixtures: str) -> list[str]:
    """The marks that a test gets."""
    marks: list[str] = []
    item = SimpleNamespace(
        nodeid=name, fixturenames=fixtures, add_marker=lambda mark: marks.append(mark.name)
    )
    layers.pytest_collection_modifyitems([item])  # type: ignore[list-item]
    return marks


@pytest.mark.usefixtures("record")
def test_each_test_is_of_one_layer() -> None:
    assert marks_of("tests/a/test_a.py::test_new") == []
    assert marks_of(SLOW) == marks_of(f"{SLOW}[open]") == ["slow"]
    assert marks_of("tests/a/test_browser.py::test_page", "browser") == ["browser"]


def test_a_run_replaces_what_it_measured_and_forgets_files_that_are_gone() -> None:
    recorded = {"a.py::was_slow": 2.0, "a.py::slow": 3.0, "b.py::slow": 4.0, "gone.py::slow": 5.0}
    limit = layers.SLOW_S
    measured = {"a.py::was_slow": 0.9 * limit, "a.py::slow": 3.5, "a.py::new": limit}
    assert layers.merge_slow(recorded, measured, {"a.py", "b.py"}) == {
        "a.py::slow": 3.5,
        "a.py::new": limit,
        "b.py::slow": 4.0,
    }


def test_what_tests_share_counts_in_equal_parts(
    record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 0.0
    monkeypatch.setattr(layers, "processor_seconds", lambda: clock)
    recorder = layers.Recorder()

    def takes(hook: Any, argument: object, *steps: Callable[[], None] | float) -> None:
        nonlocal clock
        measuring = hook(argument)
        next(measuring)
        for step in steps:
            if callable(step):
                step()
            else:
                clock += step
        with pytest.raises(StopIteration):
            measuring.send(None)

    def set_up(name: str, scope: str, seconds: float) -> Callable[[], None]:
        fixture = SimpleNamespace(argname=name, baseid="tests/a/test_a.py", scope=scope)
        return lambda: takes(recorder.pytest_fixture_setup, fixture, seconds)

    def run(name: str, fixtures: list[str], *steps: Callable[[], None] | float) -> None:
        item = SimpleNamespace(nodeid=name, fixturenames=fixtures)
        takes(recorder.pytest_runtest_protocol, item, *steps)

    run(f"{SLOW}[open]", ["trained"], set_up("trained", "module", 6.0), 0.25)
    run(f"{SLOW}[closed]", ["trained", "own"], set_up("own", "function", 1.0), 0.25)
    run("tests/a/test_a.py::test_too", ["trained"])
    run("tests/a/test_a.py::test_fast", ["own"], set_up("own", "function", 0.125))
    run("tests/a/test_b.py::test_other", ["trained"], 0.125)
    monkeypatch.setattr(Path, "rglob", lambda *_: iter([layers.ROOT / "tests/a/test_a.py"]))
    recorder.pytest_sessionfinish()
    assert record.read_text() == f"4.5 {SLOW}\n3.0 tests/a/test_a.py::test_too\n"


def test_processes_count_while_they_run_and_after() -> None:
    before = layers.processor_seconds()
    burn = "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        running = layers.processor_seconds() - before
        process.communicate(b"\n")
    assert 0.2 <= running + 0.02  # counted in hundredths
    assert running <= layers.processor_seconds() - before + 0.001  # sums of fractions


def test_seconds_are_not_recorded_by_several_processes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "2", "--record-slow", "tests/test_layers.py"],
        cwd=layers.ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--record-slow measures in one process: leave -n out" in done.stderr

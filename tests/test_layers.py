"""Which layer a test is of, and what a run that measures them writes down."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

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


def test_the_time_of_processes_that_a_test_waits_for_counts(
    record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # User, system, and the same of processes that were waited for.
    times = iter([(1.0, 1.0, 0.0, 0.0, 9.0), (1.5, 1.0, 2.0, 0.25, 99.0)])
    monkeypatch.setattr(layers.os, "times", lambda: next(times))
    recorder = layers.Recorder()
    measuring = recorder.pytest_runtest_protocol(SimpleNamespace(nodeid=f"{SLOW}[open]"))  # type: ignore[arg-type]
    next(measuring)
    with pytest.raises(StopIteration):
        measuring.send(None)
    monkeypatch.setattr(Path, "rglob", lambda *_: iter([layers.ROOT / "tests/a/test_a.py"]))
    recorder.pytest_sessionfinish()
    assert record.read_text() == f"2.8 {SLOW}\n"

"""nuclio_processor.py with wrappers that do not start; Nuclio's own is not here."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ENDS = "import sys; sys.exit('no model')\n"
SILENT = """
import os, socket, sys, time
from pathlib import Path

Path(__file__).with_name("pid").write_text(str(os.getpid()))
connections = []
for name in ("--event-socket-path", "--control-socket-path"):
    connections.append(socket.socket(socket.AF_UNIX))
    connections[-1].connect(sys.argv[sys.argv.index(name) + 1])
time.sleep(60)
"""


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The program, with something in the place of msgpack, which comes with Nuclio's wrapper."""
    monkeypatch.setitem(sys.modules, "msgpack", ModuleType("msgpack"))
    yield importlib.import_module("deploy.nuclio_processor")
    del sys.modules["deploy.nuclio_processor"]


def folder_of(path: Path, wrapper: str) -> Path:
    trigger = {"kind": "http", "attributes": {"maxRequestBodySize": 1}}
    spec = {"handler": "a:b", "triggers": {"http": trigger}}
    (path / "function.yaml").write_text(yaml.safe_dump({"spec": spec}))
    (path / "_nuclio_wrapper.py").write_text(wrapper)
    return path


def test_a_worker_that_ends_while_it_starts_is_reported(
    processor: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = processor.Report()
    processor.observe(folder_of(tmp_path, ENDS), b"", report)
    assert report.wrong == 1
    assert capsys.readouterr().out == "WRONG an answer: the worker is gone\n"


def test_a_worker_that_does_not_start_is_reported_and_killed(
    processor: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(processor, "START_S", 0.2)
    report = processor.Report()
    processor.observe(folder_of(tmp_path, SILENT), b"", report)
    assert report.wrong == 1
    assert capsys.readouterr().out.startswith("WRONG an answer: ")
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)

"""What is downloaded before the tests, with a pip that writes down how it is called."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests import downloads
from tests.serverless import old_sdk
from training.data.sources import SOURCES

ARCHIVES = [name for name, source in SOURCES.items() if source.registry == "pypi"]


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was fetched and installed."""
    calls: list[str] = []

    def run(command: list[str], check: bool) -> None:
        calls.append(command[-5])
        Path(command[command.index("--target") + 1]).mkdir(parents=True)

    monkeypatch.setenv("C3DET_CACHE", str(tmp_path))
    monkeypatch.setattr(downloads, "fetch", calls.append)
    monkeypatch.setattr(old_sdk.subprocess, "run", run)
    return calls


def test_what_is_there_is_not_installed_again(calls: list[str]) -> None:
    assert ARCHIVES
    downloads.main()
    assert calls == [*ARCHIVES, f"cvat-sdk=={old_sdk.VERSION}"]
    calls.clear()
    downloads.main()
    assert calls == ARCHIVES


@pytest.mark.usefixtures("calls")
def test_a_failure_of_pip_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(command: list[str], check: bool) -> None:
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(old_sdk.subprocess, "run", fail)
    with pytest.raises(SystemExit) as ended:
        downloads.main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"tests.downloads: pip could not install cvat-sdk {old_sdk.VERSION}"
    assert not old_sdk.is_installed()

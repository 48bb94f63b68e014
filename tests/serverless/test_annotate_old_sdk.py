"""The helper for whole jobs with the cvat-sdk of CVAT 2.15's time.

The environment has the newest one. `tests.downloads` has put the old one into a folder of the
cache, and the tests of the helper run again in a process that finds it first.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.downloads import OLD_CVAT_SDK, old_cvat_sdk

ROOT = Path(__file__).resolve().parents[2]


def test_the_same_with_the_old_sdk() -> None:
    if not (old_cvat_sdk() / "installed").is_file():
        pytest.skip(f"cvat-sdk {OLD_CVAT_SDK} is missing: make downloads fetches it")
    module = Path(__file__).with_name("test_annotate_run.py")
    pytest_command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    result = subprocess.run(
        [*pytest_command, str(module), "-k", "not in_process"],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(old_cvat_sdk()),
            "C3DET_TEST_CVAT_SDK": OLD_CVAT_SDK,
        },
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-1000:]
    assert " passed" in result.stdout
    assert "skipped" not in result.stdout

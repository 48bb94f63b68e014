"""The helper for whole jobs with the cvat-sdk of CVAT 2.15's time.

The environment has the newest one. The tests of the helper run again in a process that finds the
old one first.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serverless import old_sdk

ROOT = Path(__file__).resolve().parents[2]


def test_the_same_with_the_old_sdk() -> None:
    if not old_sdk.is_installed():
        pytest.skip(f"cvat-sdk {old_sdk.VERSION} is not installed: {old_sdk.INSTALL}")
    module = Path(__file__).with_name("test_annotate_run.py")
    pytest_command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    variables = {"PYTHONPATH": str(old_sdk.folder()), "C3DET_TEST_CVAT_SDK": old_sdk.VERSION}
    result = subprocess.run(
        [*pytest_command, str(module), "-k", "not in_process"],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-1000:]
    assert " passed" in result.stdout
    assert "skipped" not in result.stdout

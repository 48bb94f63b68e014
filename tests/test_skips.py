"""Where the closed model is not installed, its tests say so and are skipped; on CI they fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Python runs it at its start: the packages are not to be found, as if they were not installed.
HIDE = """
import sys
from importlib.machinery import PathFinder

class Hidden(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] in {"mmcv", "mmdet", "mmengine"}
        return None if hidden else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hidden
"""

TESTS = {
    "test_module.py": "import mmdet\ndef test_it(): assert mmdet\n",
    "test_inside.py": "def test_it():\n    import mmcv.ops\n",
    "test_weights.py": """
from pathlib import Path
import pytest

@pytest.mark.parametrize("weights", [Path("open.safetensors"), Path("starter.safetensors")])
def test_it(weights):
    assert weights.name == "open.safetensors"
""",
}


@pytest.mark.parametrize("options", [[], ["-n", "1"]], ids=["in process", "in a worker"])
@pytest.mark.parametrize("ci", ["", "true"], ids=["anywhere", "CI"])
def test_tests_of_the_closed_model_are_skipped_loudly(
    ci: str, options: list[str], tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(HIDE)
    for name, text in TESTS.items():
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-rsf", "-p", "tests.conftest", "--rootdir=."]
    done = subprocess.run(
        [*command, *options],
        cwd=tmp_path,
        env={**os.environ, "CI": ci, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    if ci:
        assert "CI is set, and there a skipped test is a failure" in done.stdout, done.stdout
        assert done.returncode != 0
    else:
        assert "1 passed, 3 skipped" in done.stdout, done.stdout
        assert done.stdout.count("install the extra closed") == 3
        assert done.returncode == 0

"""What make sets up and which torch it takes, with a Python that writes down what it is asked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = "numpy==2\ntorch==2.13.0\nuv==1.0\n"

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is missing")

PYTHON = """#!/bin/bash
case "$*" in
    "-c "*) echo /the/python ;;
    "- "*) exec REAL "$@" ;;
    *" torch==2.13.0+cpu") echo pip cpu >>"$CALLS"; exit HAS_CPU ;;
    *--target*" uv")
        echo pip uv >>"$CALLS"
        while [ "$1" != --target ]; do shift; done
        mkdir -p "$2/bin"
        printf '#!/bin/bash\\necho "uv $*" >>"$CALLS"\\nexit UV_HAS_CPU\\n' >"$2/bin/uv"
        chmod +x "$2/bin/uv" ;;
    *" torch") echo pip torch >>"$CALLS" ;;
    *) exit 9 ;;
esac
"""
TOOLS = ("bash", "chmod", "mkdir", "mktemp", "rm", "sed")


def install_torch(
    folder: Path, *, pip: bool = False, uv: bool = False, installed: str = "1.0", **programs: str
) -> tuple[list[str], str]:
    """Run the script; return what it called and its standard error.

    Args:
        folder: To work in.
        pip: Whether pip finds the CPU build.
        uv: Whether uv does.
        installed: The version of torch that is there.
        programs: Further ones, with what they print.
    """
    fills = {"REAL": sys.executable, "HAS_CPU": int(not pip), "UV_HAS_CPU": int(not uv)}
    python = re.sub(r"\b(REAL|(UV_)?HAS_CPU)\b", lambda found: str(fills[found[0]]), PYTHON)
    programs = {"python": python, "uname": "#!/bin/bash\necho Linux\n", **programs}
    binaries = folder / "bin"
    binaries.mkdir()
    for name, script in programs.items():
        (binaries / name).write_text(script)
        (binaries / name).chmod(0o755)
    for tool in TOOLS:
        (binaries / tool).symlink_to(shutil.which(tool))
    (folder / "constraints.txt").write_text(CONSTRAINTS)
    torch = folder / "site" / "torch.dist-info"
    torch.mkdir(parents=True)
    (torch / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {installed}\n")
    calls = folder / "calls"
    done = subprocess.run(
        ["bash", ROOT / "deploy/install_torch.sh", "python", folder / "constraints.txt"],
        env={
            "PATH": str(binaries),
            "CALLS": str(calls),
            "TMPDIR": str(folder),
            "PYTHONPATH": str(torch.parent),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert not [*folder.glob("tmp.*")], "what it needed for a while is gone"
    return calls.read_text().splitlines(), done.stderr


def test_the_cpu_build_that_pip_finds_is_taken(tmp_path: Path) -> None:
    assert install_torch(tmp_path, pip=True) == (["pip cpu", "pip torch"], "")


def test_else_uv_finds_the_cpu_build(tmp_path: Path) -> None:
    calls, stderr = install_torch(tmp_path, uv=True)
    assert [call.partition(" pip ")[0] for call in calls] == [
        "pip cpu",
        "pip uv",
        "uv",
        "pip torch",
    ]
    assert "--python /the/python " in calls[2]
    assert "--no-deps --torch-backend cpu" in calls[2]
    assert f"--constraint {tmp_path / 'constraints.txt'} torch" in calls[2]
    assert stderr == ""


def test_without_a_cpu_build_pip_chooses_and_says_so(tmp_path: Path) -> None:
    calls, stderr = install_torch(tmp_path)
    assert [call.partition(" pip ")[0] for call in calls] == [
        "pip cpu",
        "pip uv",
        "uv",
        "pip torch",
    ]
    (sentence,) = stderr.splitlines()
    assert "PIP_EXTRA_INDEX_URL" in sentence


@pytest.mark.parametrize("build", ["2.13.0", "2.13.0+cu130"])
def test_a_torch_that_is_there_stays(tmp_path: Path, build: str) -> None:
    assert install_torch(tmp_path, installed=build) == (["pip torch"], "")


def test_where_there_is_a_gpu_pip_chooses(tmp_path: Path) -> None:
    assert install_torch(tmp_path, **{"nvidia-smi": "#!/bin/bash\n"}) == (["pip torch"], "")


def test_another_system_has_no_cuda_build(tmp_path: Path) -> None:
    assert install_torch(tmp_path, uname="#!/bin/bash\necho Darwin\n") == (["pip torch"], "")


@pytest.mark.parametrize(
    ("target", "commands"),
    [
        ("demo", ["bash deploy/setup.sh base"]),
        ("unit", ["bash deploy/setup.sh base", "bash deploy/setup.sh"]),
    ],
)
@pytest.mark.skipif(shutil.which("make") is None, reason="make is missing")
def test_the_demo_sets_up_nothing_but_the_base(target: str, commands: list[str]) -> None:
    shown = subprocess.run(
        ["make", "-n", "-B", "--no-print-directory", target],
        cwd=ROOT,
        env={**os.environ, "MAKEFLAGS": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = shown.stdout.splitlines()
    assert [line for line in lines if line.startswith("bash deploy/setup.sh")] == commands


def set_up(folder: Path) -> Path:
    """Make a checkout with nothing but the Makefile, and an environment that is ready."""
    for done in (".venv/.ready-base", ".venv/.ready"):
        (folder / done).parent.mkdir(parents=True, exist_ok=True)
        (folder / done).touch()
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "deploy").mkdir()
    scripts = ("deploy/setup.sh", "deploy/install_torch.sh")
    for needed in ("pyproject.toml", "constraints.txt", *scripts):
        (folder / needed).touch()
        os.utime(folder / needed, (0, 0))
    return folder


@pytest.mark.skipif(
    None in (shutil.which("make"), shutil.which("node"), shutil.which("npm")),
    reason="make, node or npm is missing",
)
def test_make_quotes_the_folder_of_the_project(tmp_path: Path) -> None:
    folder = set_up(tmp_path / "my checkout")
    modules = folder / "deploy/cvat-ui-plugin/node_modules"
    modules.mkdir(parents=True)
    (modules / ".package-lock.json").touch()
    (modules.parent / "package-lock.json").touch()
    os.utime(modules.parent / "package-lock.json", (0, 0))
    python = folder / ".venv/bin/python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    shown = subprocess.run(
        ["make", "-n", "--no-print-directory", "test-browser"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    script = f"npm() {{ printf '%s\\n' \"${{PYTHON:-}}\"; }}\n{shown.stdout}"
    ran = subprocess.run(
        ["bash", "-ec", script],
        cwd=folder,
        env={**os.environ, "PYTHON": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines()[-1] == f"{folder}/.venv/bin/python"


LAYERS = """
one two three:
	@echo ran $@
broken:
	@exit 3
"""


@pytest.mark.skipif(shutil.which("make") is None, reason="make is missing")
def test_make_test_runs_the_layers_and_says_how_long_each_took(tmp_path: Path) -> None:
    folder = set_up(tmp_path / "checkout")
    (folder / "layers.mk").write_text(LAYERS)

    def run(*layers: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", "--no-print-directory", "test", f"LAYERS={' '.join(layers)}"],
            cwd=folder,
            env={**os.environ, "MAKEFLAGS": "", "MAKEFILES": "layers.mk"},
            capture_output=True,
            text=True,
            check=False,
        )

    passed = run("one", "two")
    assert passed.returncode == 0, passed.stderr
    assert [line for line in passed.stdout.splitlines() if "ran" in line] == ["ran one", "ran two"]
    table = passed.stdout.partition("== Passed\n")[2]
    assert re.fullmatch(r"one +\d+ s\ntwo +\d+ s\n", table)
    failed = run("one", "broken", "three")
    assert failed.returncode != 0
    assert "ran three" not in failed.stdout
    assert "== Passed" not in failed.stdout

"""deploy.sh, with a docker and a nuctl of the test's own that write down how they are called."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.write_function import base_function, compose

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = "quay.io/nuclio/dashboard:1.13.0-amd64"
TOOLS = [
    "basename",
    "bash",
    "cat",
    "cp",
    "dirname",
    "grep",
    "head",
    "ls",
    "mktemp",
    "rm",
    "sed",
]
FILES = [
    "LICENSE",
    "NOTICE",
    "function.yaml",
    "constraints.txt",
    "c3det/clicks.py",
    "deploy/deploy.sh",
    "deploy/install_torch.sh",
    "deploy/nuclio_fields.py",
    "deploy/write_function.py",
    "deploy/function-gpu.yaml",
    "deploy/closed/detector.yaml",
    "deploy/closed/interactor.yaml",
    "deploy/closed/interactor-gpu.yaml",
    "serverless/main.py",
    *(
        f"serverless/weights/{name}{suffix}"
        for name in ("open", "starter")
        for suffix in (".json", ".safetensors")
    ),
]

# What each program does with its arguments; a case that is left out fails.
DOCKER = """
case "$*" in
    info | "network inspect cvat_cvat") ;;
    "image inspect cvat.c3det.closed" | "image inspect cvat.c3det.closed:latest-gpu") ;;
    "ps --format {{.Image}}") echo cvat/server:v2.15.0; echo DASHBOARD ;;
    "info --format {{json .Runtimes}}") echo '{"nvidia":{},"runc":{}}' ;;
    *) exit 1 ;;
esac
""".replace("DASHBOARD", DASHBOARD)
NUCTL = """
case "$*" in
    version) echo 'Client version:'; echo '"Label: 1.13.0, Git commit: 1, OS: linux"' ;;
    "get project cvat --platform local" | "get function --platform local") ;;
    deploy*) while [ "$1" != --path ]; do shift; done; cp -r "$2" "$RECORDS/folder" ;;
    *) exit 1 ;;
esac
"""

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is missing")


@dataclass
class Machine:
    """A copy of the project's files, and the programs that deploy.sh finds beside it.

    Attributes:
        project: The copy.
        programs: The folder of ``docker`` and ``nuctl``.
        records: Where they write what they were asked.
    """

    project: Path
    programs: Path
    records: Path

    def install(self, name: str, script: str) -> None:
        path = self.programs / name
        record = 'for each; do printf "%s\\n" "$each"; done >>"$RECORDS/$(basename "$0")"\n'
        path.write_text(f'#!/bin/bash\n{record}echo >>"$RECORDS/$(basename "$0")"\n{script}')
        path.chmod(0o755)

    def change(self, name: str, old: str, new: str) -> None:
        """Replace a piece of ``docker`` or ``nuctl``."""
        script = {"docker": DOCKER, "nuctl": NUCTL}[name]
        assert old in script
        self.install(name, script.replace(old, new))

    def deploy(self, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [shutil.which("bash"), str(self.project / "deploy" / "deploy.sh"), *options],
            env={"PATH": str(self.programs), "RECORDS": str(self.records)},
            capture_output=True,
            text=True,
            check=False,
        )

    def calls(self, name: str) -> list[list[str]]:
        """The arguments of each call of a program."""
        path = self.records / name
        if not path.is_file():
            return []
        return [call.splitlines() for call in path.read_text().split("\n\n") if call]

    def deployments(self) -> list[list[str]]:
        return [call for call in self.calls("nuctl") if call[0] == "deploy"]

    def deployed(self) -> dict[str, Any]:
        """The configuration that nuctl was given."""
        text = (self.records / "folder" / "function.yaml").read_text(encoding="utf-8")
        return yaml.safe_load(text)

    def in_image(self) -> set[str]:
        """The files in the folder that nuctl was given."""
        folder = self.records / "folder"
        return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path / "c3det", tmp_path / "programs", tmp_path / "records")
    machine.programs.mkdir()
    machine.records.mkdir()
    for file in FILES:
        target = machine.project / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / file, target)
    machine.install("docker", DOCKER)
    machine.install("nuctl", NUCTL)
    machine.install("python3", f'exec {sys.executable} "$@"')
    for tool in TOOLS:
        (machine.programs / tool).symlink_to(shutil.which(tool))
    return machine


def problems(result: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in result.stderr.splitlines() if line.startswith("deploy: ")]


SHIPPED = {file for file in FILES if file.startswith("serverless/weights/")}
IN_IMAGE = {
    *("LICENSE", "NOTICE", "constraints.txt", "function.yaml", "c3det/clicks.py"),
    *("deploy/install_torch.sh", "serverless/main.py"),
    *SHIPPED,
}


@pytest.mark.parametrize("gpu", [False, True], ids=["CPU", "GPU"])
@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
def test_the_interactor_is_deployed_with_what_its_image_needs(
    machine: Machine, closed: bool, gpu: bool
) -> None:
    """Not with what ``make`` and people leave in the folder."""
    for other in (".git/config", "tests/test_a.py", "runs/a.pth", "serverless/__pycache__/a.pyc"):
        (machine.project / other).parent.mkdir(parents=True, exist_ok=True)
        (machine.project / other).write_text("x")
    (machine.project / ".venv").mkdir()
    (machine.project / ".venv" / "lib64").symlink_to(machine.records)
    result = machine.deploy(*(["--closed"] if closed else []), *(["--gpu"] if gpu else []))
    assert (result.returncode, result.stderr) == (0, "")
    (call,) = machine.deployments()
    options = dict(zip(call[1::2], call[2::2], strict=True))
    assert options["--file"] == f"{options['--path']}/function.yaml"
    assert options["--project-name"] == "cvat"
    assert options["--platform"] == "local"
    assert json.loads(options["--platform-config"]) == {"attributes": {"network": "cvat_cvat"}}
    assert machine.deployed() == compose(base_function(closed=closed, gpu=gpu))
    assert machine.in_image() == IN_IMAGE
    assert not Path(options["--path"]).exists(), "it was temporary"


@pytest.mark.parametrize("gpu", [False, True], ids=["CPU", "GPU"])
def test_the_detector_is_deployed_with_nothing_but_its_file(machine: Machine, gpu: bool) -> None:
    options = ["--closed", "--detector", *(["--gpu"] if gpu else [])]
    assert machine.deploy(*options).returncode == 0
    assert machine.in_image() == {"function.yaml"}
    assert machine.deployed() == compose(base_function(closed=True, detector=True, gpu=gpu))


@pytest.mark.parametrize("detector", [False, True], ids=["interactor", "detector"])
@pytest.mark.parametrize("place", ["runs", "serverless/weights"])
def test_weights_of_the_folder_come_with_the_image(
    machine: Machine, place: str, detector: bool
) -> None:
    folder = machine.project / place
    folder.mkdir(exist_ok=True)
    for suffix in (".json", ".safetensors"):
        shipped = machine.project / "serverless" / "weights" / f"starter{suffix}"
        shutil.copy2(shipped, folder / f"mine{suffix}")
    options = ["--closed", *(["--detector"] if detector else [])]
    assert machine.deploy(*options, "--weights", str(folder / "mine.safetensors")).returncode == 0
    (path,) = (e["value"] for e in machine.deployed()["spec"]["env"] if "WEIGHTS" in e["name"])
    assert path == f"/opt/nuclio/{place}/mine.safetensors"
    own = {f"{place}/mine.json", f"{place}/mine.safetensors"}
    assert machine.in_image() == own | ({"function.yaml"} if detector else IN_IMAGE)


def test_weights_from_elsewhere_are_not_copied(machine: Machine, tmp_path: Path) -> None:
    for suffix in (".json", ".safetensors"):
        shipped = machine.project / "serverless" / "weights" / f"starter{suffix}"
        shutil.copy2(shipped, tmp_path / f"mine{suffix}")
    weights = str(tmp_path / "mine.safetensors")
    assert machine.deploy("--closed", "--weights", weights).returncode == 0
    assert machine.in_image() == IN_IMAGE


def test_options_reach_the_function(machine: Machine) -> None:
    overlay = machine.project.parent / "settings with space.yaml"
    overlay.write_text('spec: {env: [{name: C3DET_CACHE_BYTES, value: "5"}]}')
    result = machine.deploy(
        "--closed", "--class", "tree", "--name", "trees", "--overlay", str(overlay)
    )
    assert result.returncode == 0
    function = machine.deployed()
    assert function["metadata"]["name"] == "trees"
    assert {"name": "C3DET_CLASS", "value": "tree"} in function["spec"]["env"]
    assert {"name": "C3DET_CACHE_BYTES", "value": "5"} in function["spec"]["env"]


def test_a_dry_run_prints_and_does_nothing(machine: Machine) -> None:
    result = machine.deploy("--dry-run", "--name", "trial")
    assert result.returncode == 0
    assert "name: trial" in result.stdout
    assert "+ nuctl deploy --project-name cvat" in result.stdout
    assert machine.deployments() == []


def test_a_dry_run_reports_what_is_missing_and_fails(machine: Machine) -> None:
    (machine.programs / "nuctl").unlink()
    result = machine.deploy("--dry-run")
    assert result.returncode == 1
    assert len(problems(result)) == 1
    assert "+ nuctl deploy" in result.stdout


def refused(machine: Machine, *options: str) -> str:
    """The one sentence with which a deployment is refused."""
    result = machine.deploy(*options)
    assert result.returncode == 1
    (sentence,) = problems(result)
    assert machine.deployments() == []
    return sentence


@pytest.mark.parametrize(
    ("program", "old", "new", "sentence"),
    [
        ("docker", "info |", "other |", "Docker engine does not answer"),
        ("docker", '| "network inspect cvat_cvat"', "", "no Docker network cvat_cvat"),
        ("docker", f"echo {DASHBOARD}", ":", "dashboard does not run"),
        ("nuctl", "Label: 1.13.0", "Label: 1.12.0", "version 1.12.0 and Nuclio's dashboard 1.13.0"),
        ("nuctl", '"get project cvat --platform local" |', "", "no project cvat"),
    ],
)
def test_what_is_missing_is_reported_in_a_sentence(
    machine: Machine, program: str, old: str, new: str, sentence: str
) -> None:
    machine.change(program, old, new)
    assert sentence in refused(machine)


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        ("docker", "docker is missing"),
        ("nuctl", "nuctl is missing: install the release of Nuclio's dashboard"),
        ("python3", "Python 3.9 or later with PyYAML is missing"),
    ],
)
def test_a_program_that_is_not_installed(machine: Machine, program: str, sentence: str) -> None:
    (machine.programs / program).unlink()
    assert sentence in refused(machine)


@pytest.mark.parametrize(
    ("old", "options", "sentence"),
    [
        ('"nvidia":{},', ["--gpu"], "NVIDIA runtime"),
        ('"image inspect cvat.c3det.closed" |', ["--closed", "--detector"], "cvat.c3det.closed:"),
    ],
    ids=["GPU", "detector"],
)
def test_only_those_who_need_it_miss_it(
    machine: Machine, old: str, options: list[str], sentence: str
) -> None:
    machine.change("docker", old, "")
    assert sentence in refused(machine, *options)
    assert machine.deploy().returncode == 0


def test_the_open_model_has_no_detector(machine: Machine) -> None:
    assert "add --closed" in refused(machine, "--detector")


def test_damaged_weights_are_found(machine: Machine) -> None:
    with (machine.project / "serverless" / "weights" / "open.safetensors").open("ab") as weights:
        weights.write(b"x")
    assert "sha256" in refused(machine)


def test_everything_missing_is_reported_at_once(machine: Machine) -> None:
    machine.install("docker", "exit 1")
    for dry in ([], ["--dry-run"]):
        for detector in ([], ["--detector"]):
            result = machine.deploy("--closed", "--class", "zebra", "--name", "Z", *detector, *dry)
            assert result.returncode == 1
            assert len(problems(result)) == len(result.stderr.splitlines()) == 3
    assert machine.deployments() == []


@pytest.mark.parametrize("options", [["--wights"], ["--name"], ["extra"]])
def test_wrong_options(machine: Machine, options: list[str]) -> None:
    result = machine.deploy(*options)
    assert result.returncode == 2
    assert problems(result)
    assert machine.calls("nuctl") == []


def test_help(machine: Machine) -> None:
    result = machine.deploy("--help")
    assert result.returncode == 0
    assert "--weights FILE" in result.stdout


def test_the_script_is_executable() -> None:
    assert os.access(ROOT / "deploy" / "deploy.sh", os.X_OK)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is missing")
@pytest.mark.parametrize(
    "script", ["deploy.sh", "install_torch.sh", "setup.sh", "cvat-ui-plugin/build.sh"]
)
def test_shellcheck_finds_nothing(script: str) -> None:
    path = ROOT / "deploy" / script
    found = subprocess.run(["shellcheck", str(path)], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this folder is no clone")
def test_a_clone_with_crlf_is_the_same(tmp_path: Path) -> None:
    clone = ["git", "-c", "core.autocrlf=true", "clone", "--quiet", str(ROOT), str(tmp_path / "a")]
    subprocess.run(clone, check=True)
    scripts = ("deploy/deploy.sh", "deploy/setup.sh", "deploy/cvat-ui-plugin/build.sh", ".ci/run")
    for script in (*scripts, "Makefile", "serverless/weights/starter.safetensors"):
        assert (tmp_path / "a" / script).read_bytes() == (ROOT / script).read_bytes(), script

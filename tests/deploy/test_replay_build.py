"""The parts of replay_build.py that need no root directory of their own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.replay_build import (
    BASES,
    COMPILER,
    ReplayError,
    Root,
    directives,
    follow,
    machine_environment,
    nuclio_requirements,
    refuse_links_to_folders,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path / "root", {"PATH": "/bin"})


@pytest.mark.parametrize(
    ("path", "runs", "packages"),
    [("function.yaml", 2, ()), ("deploy/closed/interactor.yaml", 4, COMPILER)],
    ids=["open", "closed"],
)
def test_it_knows_what_the_function_file_asks_for(
    path: str, runs: int, packages: tuple[str, ...], tmp_path: Path, root: Root
) -> None:
    function = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
    assert BASES[function["spec"]["build"]["baseImage"]] == ("bookworm", packages)
    listed = directives(function)
    assert sorted(kind for kind, _ in listed) == ["COPY", "ENV", *["RUN"] * runs]
    handler = tmp_path / "handler"
    (handler / "deploy").mkdir(parents=True)
    (handler / "constraints.txt").write_text("torch==1\n")
    (handler / "deploy" / "install_torch.sh").write_text("true\n")
    root.path.mkdir()
    for kind, value in listed:
        if kind != "RUN":
            follow(root, kind, value, handler)
    assert (root.path / "constraints.txt").read_text() == "torch==1\n"
    assert (root.path / "install_torch.sh").read_text() == "true\n"
    assert root.environment == {"PATH": "/bin", "PIP_NO_CACHE_DIR": "1"}


def test_a_directive_of_another_kind_is_refused(tmp_path: Path, root: Root) -> None:
    with pytest.raises(ReplayError, match="'USER'"):
        follow(root, "USER", "nobody", tmp_path)


def test_a_folder_is_copied_as_docker_does(tmp_path: Path, root: Root) -> None:
    (tmp_path / "handler" / "inner").mkdir(parents=True)
    (tmp_path / "handler" / "inner" / "file").write_text("x")
    (root.path / "opt" / "nuclio").mkdir(parents=True)
    (root.path / "opt" / "nuclio" / "wrapper.py").write_text("y")
    root.copy(tmp_path / "handler", "/opt/nuclio")
    assert sorted(path.name for path in (root.path / "opt" / "nuclio").rglob("*")) == [
        "file",
        "inner",
        "wrapper.py",
    ]


def test_links_to_folders_fail_and_links_to_files_do_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    refuse_links_to_folders(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "other").symlink_to("folder")
    with pytest.raises(ReplayError, match="other"):
        refuse_links_to_folders(tmp_path)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this folder is no clone")
def test_the_project_has_no_link_to_a_folder() -> None:
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-s"], capture_output=True, text=True, check=True
    ).stdout
    links = [line.split("\t")[1] for line in listed.splitlines() if line.startswith("120000")]
    assert [link for link in links if (ROOT / link).is_dir()] == []


def test_nuclios_own_requirements(tmp_path: Path) -> None:
    folder = tmp_path / "pkg" / "processor" / "runtime" / "python" / "py" / "requirements"
    folder.mkdir(parents=True)
    (folder / "common.txt").write_text("mock==2\nnuclio-sdk==0.5\npip==23\n")
    (folder / "python3_11.txt").write_text("-r common.txt\nmsgpack==1\n")
    assert nuclio_requirements(tmp_path, "python:3.11") == [
        "nuclio-sdk==0.5",
        "pip==23",
        "msgpack==1",
    ]


def test_of_this_machine_only_what_pip_and_certificates_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PIP_CERT", "/certificates")
    monkeypatch.setenv("CVAT_PASSWORD", "secret")
    environment = machine_environment()
    assert environment["PIP_CERT"] == "/certificates"
    assert "CVAT_PASSWORD" not in environment

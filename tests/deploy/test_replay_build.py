"""The parts of replay_build.py that need no root directory of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.replay_build import (
    BASES,
    COMPILER,
    ReplayError,
    Root,
    directives,
    follow,
    machine_environment,
    nuclio_requirements,
)
from deploy.write_function import base_function, compose, write_folder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path / "root", {"PATH": "/bin"})


@pytest.mark.parametrize(
    ("closed", "runs", "packages"),
    [(False, 2, ()), (True, 4, COMPILER)],
    ids=["open", "closed"],
)
def test_it_knows_what_the_function_file_asks_for(
    closed: bool, runs: int, packages: tuple[str, ...], tmp_path: Path, root: Root
) -> None:
    function = compose(base_function(closed=closed))
    assert BASES[function["spec"]["build"]["baseImage"]] == ("bookworm", packages)
    listed = directives(function)
    assert sorted(kind for kind, _ in listed) == ["COPY", "ENV", *["RUN"] * runs]
    handler = tmp_path / "handler"
    write_folder(handler, function)
    root.path.mkdir()
    for kind, value in listed:
        if kind != "RUN":
            follow(root, kind, value, handler)
    for name in ("constraints.txt", "deploy/install_torch.sh"):
        assert (root.path / Path(name).name).read_bytes() == (ROOT / name).read_bytes()
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

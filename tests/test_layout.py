"""The walls between the packages, and the one place of the versions."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FUNCTIONS = [
    ROOT / "function.yaml",
    ROOT / "deploy" / "function-gpu.yaml",
    *sorted((ROOT / "deploy" / "closed").glob("*.yaml")),
]

TRAINING_ONLY = {"matplotlib", "pycocotools", "pyvips", "scipy", "shapely"}
# The helper for whole jobs uses these; the images of the functions have neither.
CVAT_CLIENT = {"cvat_sdk", "tqdm"}
FORBIDDEN = {
    "c3det": {"serverless", "training", "nuclio_sdk", *TRAINING_ONLY, *CVAT_CLIENT},
    "serverless": {"training", *TRAINING_ONLY},
    "training": {"serverless", "nuclio_sdk"},
}

# "name==1.2", "name~=1.2" and "name===1.2", but not the "==" of a comparison in a script.
PIN = re.compile(r"[A-Za-z][\w.-]*(?:\[[\w,-]+\])?(?:===?|~=)\d[\w.+!*]*")


def imported_packages(source: str) -> set[str]:
    """The top-level packages that ``source`` imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def pins(text: str) -> list[str]:
    """Requirements of one exact version in ``text``, comments left out."""
    return PIN.findall(re.sub(r"(^|\s)#.*", "", text))


def text_files(folder: Path) -> list[Path]:
    """The files below a folder that hold text, without the packages of npm."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "node_modules"]
        found += [Path(parent, name) for name in names]
    return [path for path in found if b"\0" not in path.read_bytes()]


def constraint_lines() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def direct_dependencies() -> list[str]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return re.findall(r'^\s+"([A-Za-z][\w-]*)[<>=~]=?[^"]*",', text, flags=re.MULTILINE)


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_imported_packages_sees_every_form() -> None:
    source = "import a.b\nfrom c.d import e\nfrom . import f\ndef g():\n    import h as i\n"
    assert imported_packages(source) == {"a", "c", "h"}


def test_pins_sees_exact_versions_only() -> None:
    text = 'pip install a==1.0 "b[x]===2" c~=3.1 d>=4 e\n[[ $x == 1 ]]  # f==5\nif g == 6:\n'
    assert pins(text) == ["a==1.0", "b[x]===2", "c~=3.1"]


@pytest.mark.parametrize("package", FORBIDDEN)
def test_package_keeps_to_its_side(package: str) -> None:
    modules = sorted((ROOT / package).rglob("*.py"))
    assert modules
    crossings = {
        str(module.relative_to(ROOT)): crossing
        for module in modules
        if (crossing := imported_packages(module.read_text(encoding="utf-8")) & FORBIDDEN[package])
    }
    assert crossings == {}


@pytest.mark.parametrize("package", ["data", "clicks", "evaluation"])
def test_packages_of_training_know_nothing_of_its_runs(package: str) -> None:
    """They import each other, but none of the modules above them, which train and command."""
    modules = sorted((ROOT / "training" / package).rglob("*.py"))
    assert modules
    crossings = {
        str(module.relative_to(ROOT)): name
        for module in modules
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        for name in [f"{node.module}.{alias.name}" for alias in node.names]
        if name.startswith("training.")
        and name.split(".")[1] not in {"data", "clicks", "evaluation", "options", "annotation_time"}
    }
    assert crossings == {}


def test_only_the_helper_for_whole_jobs_talks_to_cvat() -> None:
    helper = ROOT / "serverless" / "annotate"
    modules = [path for path in (ROOT / "serverless").rglob("*.py") if helper not in path.parents]
    assert modules
    crossings = {
        str(module.relative_to(ROOT)): crossing
        for module in modules
        if (crossing := imported_packages(module.read_text(encoding="utf-8")) & CVAT_CLIENT)
    }
    assert crossings == {}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_package_and_subpackages_are_regular(package: str) -> None:
    folders = {module.parent for module in (ROOT / package).rglob("*.py")}
    assert [str(f.relative_to(ROOT)) for f in folders if not (f / "__init__.py").is_file()] == []


def test_constraints_are_exact() -> None:
    lines = constraint_lines()
    assert [line for line in lines if not re.match(r"[\w.-]+==[\w.+]+( *;.*)?$", line)] == []


def test_every_direct_dependency_is_pinned() -> None:
    dependencies = direct_dependencies()
    assert {"torch", "onedl-mmcv", "pytest"} <= set(dependencies)
    pinned = {normalised(line.partition("==")[0]) for line in constraint_lines()}
    assert [name for name in dependencies if normalised(name) not in pinned] == []


def test_versions_are_pinned_in_constraints_only() -> None:
    files = [
        ROOT / "pyproject.toml",
        ROOT / "Makefile",
        ROOT / ".ci" / "run",
        *FUNCTIONS,
        *ROOT.glob("*requirements*.txt"),
        *text_files(ROOT / "deploy"),
        *text_files(ROOT / "tools"),
    ]
    found = {str(path.relative_to(ROOT)): pins(path.read_text(encoding="utf-8")) for path in files}
    assert {name: listed for name, listed in found.items() if listed} == {}


def test_functions_install_with_the_constraints() -> None:
    assert len(FUNCTIONS) == 5
    for path in FUNCTIONS:
        text = path.read_text(encoding="utf-8")
        installs = re.findall(r"(?:pip3? install|install_torch.sh python)[^\n]*", text)
        assert installs or "baseImage: cvat.c3det" in text, path
        assert [line for line in installs if "constraints.txt" not in line] == []

"""The walls between the packages, what they import, and the one place of the versions."""

from __future__ import annotations

import ast
import os
import re
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
FUNCTIONS = [
    ROOT / "function.yaml",
    ROOT / "deploy" / "function-gpu.yaml",
    *sorted((ROOT / "deploy" / "closed").glob("*.yaml")),
]

TRAINING_ONLY = {"matplotlib", "pycocotools", "pyvips"}
# The helper for whole jobs uses these; the images of the functions lack them.
CVAT_CLIENT = {"cvat_sdk", "shapely", "tqdm", "urllib3"}
FORBIDDEN = {
    "c3det": {"serverless", "training", "nuclio_sdk", *TRAINING_ONLY, *CVAT_CLIENT},
    "serverless": {"training", *TRAINING_ONLY},
    "training": {"serverless", "nuclio_sdk"},
}

OF_PACKAGE = {
    # Modules that are not named as what pip installs.
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "mmcv": "onedl-mmcv",
    "mmdet": "onedl-mmdetection",
    "mmengine": "onedl-mmengine",
    "yaml": "pyyaml",
}
OF_NUCLIO = {"msgpack"}
"""Comes with Nuclio's wrapper, for the program that plays its processor."""

# The lists of pyproject.toml that may be used where; `dependencies` are needed everywhere.
EXTRAS = {
    "c3det": ["closed"],
    "serverless": ["closed", "cvat"],
    "training": ["closed", "cvat", "train"],
    "deploy": [],
    "tests": ["closed", "cvat", "train", "dev"],
}
RUN_AS_PROGRAMS = {
    "mypy",
    "pytest-xdist",
    "pyvips-binary",
    "ruff",
    "types-pyyaml",
    "types-tqdm",
}
"""Declared, but imported nowhere: tools, libraries of others, and types."""

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


def declared(name: str) -> set[str]:
    """The packages of a list of pyproject.toml: ``dependencies`` or an extra."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (block,) = re.findall(rf"^{name} = \[(.*?)^\]", text, flags=re.MULTILINE | re.DOTALL)
    return set(map(normalised, re.findall(r'^ +"([\w.-]+)', block, flags=re.MULTILINE)))


def direct_dependencies() -> set[str]:
    return declared("dependencies").union(*map(declared, EXTRAS["tests"]))


def requirements(package: str) -> set[str]:
    """What pip installs for the modules that a package of the project imports."""
    own = {*EXTRAS, *sys.stdlib_module_names}
    names = set()
    for path in (ROOT / package).rglob("*.py"):
        if "node_modules" not in path.parts and "tests" not in path.relative_to(ROOT).parts[1:]:
            names |= imported_packages(path.read_text(encoding="utf-8"))
    return {normalised(OF_PACKAGE.get(name, name)) for name in names - own}


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


@pytest.mark.parametrize("package", EXTRAS)
def test_what_is_imported_is_declared(package: str) -> None:
    allowed = declared("dependencies").union(*map(declared, EXTRAS[package]))
    assert requirements(package) - allowed - OF_NUCLIO == set()


def test_what_is_declared_is_imported() -> None:
    imported = set().union(*map(requirements, EXTRAS))
    assert direct_dependencies() - imported == RUN_AS_PROGRAMS


def test_constraints_are_exact() -> None:
    lines = constraint_lines()
    assert [line for line in lines if not re.match(r"[\w.-]+==[\w.+]+( *;.*)?$", line)] == []


def test_every_direct_dependency_is_pinned() -> None:
    dependencies = direct_dependencies()
    assert {"torch", "onedl-mmcv", "pytest"} <= dependencies
    pinned = {normalised(line.partition("==")[0]) for line in constraint_lines()}
    assert [name for name in dependencies if normalised(name) not in pinned] == []


def pinned_here() -> dict[str, str]:
    """The version of each package for the Python that runs."""
    found = map(Requirement, constraint_lines())
    return {
        normalised(one.name): str(one.specifier).removeprefix("==")
        for one in found
        if one.marker is None or one.marker.evaluate()
    }


def test_what_is_installed_is_what_is_pinned() -> None:
    pinned = pinned_here()
    versions = {normalised(each.name): each.version for each in distributions()}
    assert {"torch", "numpy", "pytest"} <= pinned.keys() & versions.keys()
    differing = {
        name: f"{versions[name]}, not {version}"
        for name, version in pinned.items()
        if name in versions and versions[name].partition("+")[0] != version
    }
    assert differing == {}


def test_everything_that_is_needed_is_pinned() -> None:
    needs: dict[str, set[str]] = {}
    for each in distributions():
        found = map(Requirement, each.requires or [])
        needs[normalised(each.name)] = {
            normalised(one.name)
            for one in found
            if one.marker is None or one.marker.evaluate({"extra": ""})
        }
    needed, todo = set(), direct_dependencies()
    while todo - needed:
        needed |= todo
        todo = set().union(*(needs.get(name, set()) for name in todo))
    # torch pins its own.
    unpinned = {name for name in needed if not name.startswith(("cuda-", "nvidia-", "triton"))}
    assert unpinned - pinned_here().keys() == set()


def test_versions_are_pinned_in_constraints_only() -> None:
    files = [
        ROOT / "pyproject.toml",
        ROOT / "Makefile",
        ROOT / ".ci" / "run",
        *FUNCTIONS,
        *ROOT.glob("*requirements*.txt"),
        *text_files(ROOT / "deploy"),
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

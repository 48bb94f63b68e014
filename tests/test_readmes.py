"""What the READMEs name is there: files, headings, commands with their options, and variables."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


def _pages() -> list[Path]:
    if not (ROOT / ".git").exists():
        found = ROOT.rglob("*.md")
        return [path for path in found if not {".venv", "node_modules", "runs"} & {*path.parts}]
    listed = ["git", "-C", str(ROOT), "ls-files", "*.md"]
    shown = subprocess.run(listed, capture_output=True, text=True, check=True).stdout
    return [ROOT / line for line in shown.splitlines()]


PAGES = _pages()
SCRIPTS = ("deploy/deploy.sh", "deploy/cvat-ui-plugin/build.sh", "deploy/write_function.py")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    lost = []
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert lost == []


@pages
def test_files_of_the_project_are_there(page: Path) -> None:
    """Pieces of inline code that are a path, from the root of the project or from the page."""
    path = r"`((?:c3det|serverless|training|deploy|tests)/[\w./-]+)`"
    named = re.findall(path, page.read_text(encoding="utf-8"))
    places = (ROOT, page.parent)
    assert [name for name in named if not any((one / name).exists() for one in places)] == []


def commands(text: str) -> list[list[str]]:
    """The words of each command on a page, from its blocks of shell and its inline code.

    Variables that are set before a command are left out.
    """
    blocks = re.findall(r"^```sh\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines += [code.replace("\n", " ") for code in re.findall(r"`([^`]+)`", prose)]
    found = []
    for line in lines:
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # inline code that is no command
            continue
        while words and re.match(r"[A-Z_\d]+=", words[0]):
            words.pop(0)
        while "&&" in words:
            found.append(words[: words.index("&&")])
            words = words[words.index("&&") + 1 :]
        found.append(words)
    return [words for words in found if words]


def options(words: list[str]) -> set[str]:
    return {word.partition("=")[0] for word in words if re.match(r"--\w", word)}


@cache
def targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))


def is_module(words: list[str]) -> bool:
    return "-m" in words and words[0].endswith(("python", "torchrun"))


def test_commands_sees_blocks_and_inline_code() -> None:
    block = "```sh\nA=1 python -m a.b --c \\\n    --d=5  # e\nnpm run x && npm y\n```\n"
    text = f"Do `make\ndemo`.\n\n{block}"
    assert commands(text) == [
        ["python", "-m", "a.b", "--c", "--d=5"],
        ["npm", "run", "x"],
        ["npm", "y"],
        ["make", "demo"],
    ]


@pages
def test_programs_and_targets_exist(page: Path) -> None:
    scripts = json.loads((ROOT / "deploy/cvat-ui-plugin/package.json").read_text())["scripts"]
    wrong = []
    for words in commands(page.read_text(encoding="utf-8")):
        if words[0] == "make" and len(words) > 1:
            known = words[1] in targets()
        elif words[:2] == ["npm", "run"]:
            known = words[2] in scripts
        elif is_module(words):
            name = words[words.index("-m") + 1]
            known = importlib.util.find_spec(name) is not None
        elif words[0] in SCRIPTS:
            script = (ROOT / words[0]).read_text(encoding="utf-8")
            known = all(option in script for option in options(words))
        else:
            continue
        if not known:
            wrong.append(" ".join(words))
    assert wrong == []


CALLED: dict[tuple[str, str], set[str]] = {}
"""The options that the pages give each module, by module and subcommand."""

for _page in PAGES:
    for _words in commands(_page.read_text(encoding="utf-8")):
        if is_module(_words) and "..." not in _words:
            _name, *_rest = _words[_words.index("-m") + 1 :]
            _sub = _rest[0] if _rest and re.fullmatch(r"[a-z][a-z-]*", _rest[0]) else ""
            CALLED.setdefault((_name, _sub), set()).update(options(_rest))


@pytest.mark.parametrize(("name", "sub"), sorted(CALLED))
def test_options_are_those_of_the_command(
    name: str, sub: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if importlib.util.find_spec(name).submodule_search_locations is not None:  # type: ignore[union-attr]
        name += ".__main__"
    if not name.startswith(("serverless.", "tests.", "training.")):
        pytest.fail(f"{name} is no command of this project")
    monkeypatch.setattr(sys, "argv", [name, *filter(None, [sub]), "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(name).main()
    assert ended.value.code == 0
    known = set(re.findall(r"--[\w-]+", capsys.readouterr().out))
    assert CALLED[name.removesuffix(".__main__"), sub] - known == set()


def test_variables_are_those_of_the_code() -> None:
    code = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("c3det", "serverless", "training", "tests")
        for path in (ROOT / folder).rglob("*.py")
    )
    settings = (ROOT / "serverless" / "settings.py").read_text(encoding="utf-8")
    written = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = set(re.findall(r"\bC3DET_[A-Z_]+\b", written))
    assert named - set(re.findall(r"\bC3DET_[A-Z_]+\b", code)) == set()
    wanted = set(re.findall(r'"(C3DET_\w+)"', settings))
    assert wanted
    assert wanted - named == set()


def test_the_files_of_deploy_are_named() -> None:
    deploy = ROOT / "deploy"
    named = set(re.findall(r"`([^`\s]+)`", (deploy / "README.md").read_text(encoding="utf-8")))
    visible = {path.name for path in deploy.iterdir() if not path.name.startswith(("__", "."))}
    assert visible - {"README.md"} - {name.strip("/") for name in named} == set()


@pytest.mark.parametrize("path", ["function.yaml", "deploy/function-gpu.yaml"])
def test_the_limits_of_the_function_files_are_on_their_page(path: str) -> None:
    page = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")
    limits = page.partition("## Limits")[2].partition("\n## ")[0]
    spec = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))["spec"]
    (trigger,) = spec["triggers"].values()
    wait_ms = trigger["workerAvailabilityTimeoutMilliseconds"]
    for value in (
        f"{trigger['attributes']['maxRequestBodySize'] // 1024**2} MiB",
        f"{wait_ms // 1000} s",
        spec["eventTimeout"].replace("s", " s"),
        f"{spec['readinessTimeoutSeconds']} s",
    ):
        assert value in limits

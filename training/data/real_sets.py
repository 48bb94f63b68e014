"""Real pictures with boxes of many small objects, of kinds from blood cells to boats.

`real_sets.yaml` names for each set the public repository and commit, the files, the licence with
the place where it is stated, the attribution, how the prepared set is made of it, and checksums. A
prepared set is a folder with pictures and ``annotations.json`` (COCO), below the folder that
``$C3DET_DATA`` names or in the cache. Where a set has a recipe (`training.data.preparing`), the
command of this module fetches the repository and prepares the set. The other sets were prepared by
programs that are not part of this project; of them it fetches the *raw* files.

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
from training.data.annotated import Annotated, Index, Record
from training.data.preparing import Recipe, prepare
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
        annotations_sha256: Of the prepared ``annotations.json``.
        pictures_sha256: Of the sha256 sums of the prepared pictures, by name; with a recipe those
            of the repository's files.
        prepared: What was done to the files; empty where a recipe says it.
        recipe: How to do it.
        earlier_sha256: Of the ``annotations.json`` that the set had before there was a recipe: the
            same pictures, and the same boxes to a tenth of a pixel.
        scene: Regular expression that finds in a file's name what it was cut from; pictures of one
            scene are never on both sides of the split. Empty: each is a scene of its own.
        test_pictures: Regular expression of names that are always tested on; empty: by number.
        test_only: Its licence does not allow to train on it.
        kept_aside: Nothing is trained on it, though its licence allows that: it tells how weights
            that are trained on all other sets do on kinds and looks that they never saw.
        to_know: What is odd about it, such as objects without boxes.
    """

    name: str
    kind: str
    repository: str
    commit: str
    paths: str
    licence: str
    licence_stated: str
    attribution: str
    annotations_sha256: str
    pictures_sha256: str
    prepared: str = ""
    recipe: Recipe | None = None
    earlier_sha256: str = ""
    scene: str = ""
    test_pictures: str = ""
    test_only: bool = False
    kept_aside: bool = False
    to_know: str = ""

    @property
    def trains(self) -> bool:
        """Whether some of its pictures are trained on."""
        return not (self.test_only or self.kept_aside)

    def is_trained(self, names: list[str]) -> dict[str, bool]:
        """Which of all pictures of the set are trained on, the others being tested on.

        Args:
            names: Of the files of all pictures of the set, in any order.
        """
        if not self.trains:
            return dict.fromkeys(names, False)
        if self.test_pictures:
            return {name: not re.match(self.test_pictures, name) for name in names}
        scenes = {name: self.scene_of(name) for name in names}
        numbers = {scene: number for number, scene in enumerate(sorted(set(scenes.values())))}
        return {name: TRAINED[numbers[scenes[name]] % len(TRAINED)] for name in names}

    def scene_of(self, name: str) -> str:
        """The scene of a picture, by name."""
        found = re.match(self.scene, name) if self.scene else None
        return found.group() if found else name


@cache
def _registry() -> dict[str, Any]:
    path = Path(__file__).with_name("real_sets.yaml")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@cache
def real_sets() -> dict[str, RealSet]:
    """All sets of the registry, by name."""
    return {name: _real_set(name, row) for name, row in _registry()["sets"].items()}


def _real_set(name: str, row: dict[str, Any]) -> RealSet:
    recipe = row.get("recipe")
    return RealSet(name=name, **{**row, "recipe": recipe and Recipe(**recipe)})


def folds() -> dict[str, int]:
    """For each kind that is tested on, the fold in which no set of it is trained on."""
    return dict(_registry()["kinds"])


def _one(name: str) -> RealSet:
    if name not in real_sets():
        raise SourceError(f"there is no real set {name!r}, only {', '.join(sorted(real_sets()))}")
    return real_sets()[name]


def locate(name: str) -> Path:
    """The folder of a prepared set, below ``$C3DET_DATA`` or in the cache.

    Raises:
        SourceError: There is no such set, no such folder, or another ``annotations.json`` in it.
    """
    one = _one(name)
    configured = os.environ.get("C3DET_DATA")
    folders = [Path(configured) / name] if configured else []
    folders += [_in_cache(one)] if one.recipe else []
    for folder in folders:
        path = folder / "annotations.json"
        if path.is_file():
            found = hashlib.sha256(path.read_bytes()).hexdigest()
            if found not in (one.annotations_sha256, one.earlier_sha256):
                raise SourceError(
                    f"{path} has sha256 {found}, but {one.annotations_sha256} is pinned in the "
                    "registry"
                )
            return folder
    command = f"python -m training.data.real_sets {name}"
    if one.recipe:
        raise SourceError(f"the real set {name} is not prepared: {command}")
    if configured:
        raise SourceError(f"the real set {name} is not in {configured}: {path} is missing")
    raise SourceError(
        "set C3DET_DATA to the folder that holds the real sets, each in a folder of its own; the "
        f"raw files of {name} come with: {command}"
    )


def _in_cache(one: RealSet) -> Path:
    return cache_directory() / "real_sets" / f"{one.name}-{one.annotations_sha256[:12]}"


def read(name: str, *, trained: bool) -> Index:
    """The pictures of one side of a set's split that have objects, by name.

    Args:
        name: Of a set.
        trained: Those that are trained on, or those that are tested on.

    Returns:
        Their boxes and where their pixels are; a picture is named ``"<set>/<file>"``.

    Raises:
        SourceError: See `locate`.
    """
    folder = locate(name)
    content = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
    label = {category["id"]: number for number, category in enumerate(content["categories"])}
    objects: dict[int, list[dict[str, Any]]] = {}
    for annotation in content["annotations"]:
        objects.setdefault(annotation["image_id"], []).append(annotation)
    sides = real_sets()[name].is_trained([image["file_name"] for image in content["images"]])
    records = []
    for image in sorted(content["images"], key=lambda one: str(one["file_name"])):
        mine = objects.get(image["id"], [])
        if sides[image["file_name"]] != trained or not mine:
            continue
        boxes = np.array([one["bbox"] for one in mine], np.float32)
        boxes[:, 2:] += boxes[:, :2]
        records.append(
            Record(
                name=f"{name}/{image['file_name']}",
                path=folder / image["file_name"],
                width=image["width"],
                height=image["height"],
                boxes=boxes,
                labels=np.array([label[one["category_id"]] for one in mine], np.int64),
                ignored=np.array([bool(one.get("iscrowd", 0)) for one in mine]),
            )
        )
    return Index(tuple(category["name"] for category in content["categories"]), tuple(records))


def load(name: str, *, trained: bool) -> tuple[list[str], list[Annotated]]:
    """The names of the classes, and the pictures that `read` finds."""
    index = read(name, trained=trained)
    return list(index.classes), [record.load() for record in index.records]


def download(name: str) -> Path:
    """Fetch the repository of a set at its commit into the cache, by git.

    Raises:
        SourceError: There is no such set, or git fails.
    """
    one = _one(name)
    target = cache_directory() / "repositories" / f"{name}-{one.commit[:12]}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=target.parent) as folder:
        work = Path(folder) / "repository"
        fetched = [f"/{path}" for path in one.recipe.fetched] if one.recipe else []
        # Only the files that are checked out are fetched, if the server can do that.
        steps = (
            ["remote", "add", "origin", one.repository],
            *([["sparse-checkout", "set", "--no-cone", *fetched]] if fetched else []),
            ["fetch", "--depth", "1", "--filter=blob:none", "origin", one.commit],
            ["checkout", "--quiet", one.commit],
        )
        commands = [["git", "init", "--quiet", str(work)]]
        commands += [["git", "-C", str(work), *step] for step in steps]
        for command in commands:
            status = subprocess.run(command, check=False).returncode
            if status != 0:
                raise SourceError(
                    f"git could not fetch {one.repository} at {one.commit} (exit status {status}); "
                    "its own message is above"
                )
        work.rename(target)
    return target


def make(name: str) -> Path:
    """Fetch and prepare a set that has a recipe; its folder in the cache.

    Raises:
        SourceError: There is no such set, git fails, the recipe does not fit the files, or what
            comes of it is not what is pinned.
    """
    one = _one(name)
    assert one.recipe is not None
    target = _in_cache(one)
    if target.is_dir():
        return target
    repository = download(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=target.parent) as folder:
        try:
            made = prepare(one.recipe, repository, Path(folder) / "set", one.scene_of)
        except ValueError as error:
            raise SourceError(f"the recipe of {name} does not fit its files: {error}") from error
        found = (made.annotations_sha256, made.pictures_sha256)
        if found != (one.annotations_sha256, one.pictures_sha256):
            raise SourceError(
                f"{name} as prepared has annotations_sha256 {found[0]} and pictures_sha256 "
                f"{found[1]}, but others are pinned in the registry"
            )
        (Path(folder) / "set").rename(target)
    return target


@command("training.data.real_sets")
def main() -> None:
    """Fetch repositories, and prepare sets: ``python -m training.data.real_sets NAME ...``."""
    with_recipe = sorted(name for name, one in real_sets().items() if one.recipe)
    parser = argparse.ArgumentParser(description="Fetch real sets and prepare them.")
    parser.add_argument(
        "names",
        nargs="*",
        default=with_recipe,
        metavar="NAME",
        help="real sets (default: all that have a recipe)",
    )
    for name in parser.parse_args().names:
        one = _one(name)
        if one.recipe:
            print(f"{name}: {make(name)}")
        else:
            print(f"{name}: {download(name)}\n  files: {one.paths}\n  to do: {one.prepared}")


if __name__ == "__main__":
    main()

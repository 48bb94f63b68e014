"""Writing a set to train on: what is sound in a reading, split in three.

The result is a folder as `training.data.splits` describes it.
"""

from __future__ import annotations

import filecmp
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from c3det.commands import naming, printable
from training.data.annotated import Index, first_repeated
from training.data.picture_files import MAX_NAME, SUFFIXES, temporary_path
from training.data.readers.reading import Defect, Reading, listing, plural, print_defects
from training.data.readers.text import is_text
from training.data.splits import (
    SPLIT_FILE,
    describe,
    split_as_given,
    split_by_file,
    split_by_name,
    write_splits,
)


def paths_below(folder: Path, names: Sequence[str]) -> list[Path]:
    """Turn names of pictures into paths that stay inside a folder.

    A component of a name that is too long for a file system is shortened; a checksum keeps it
    unique.

    Raises:
        ValueError: Two names give one path, or a name gives none.
    """
    paths = []
    for name in names:
        components = [one for one in PurePosixPath(name).parts if one not in ("..", "/")]
        if not components:
            raise ValueError(f"{name!r} cannot be the name of a file")
        paths.append(folder.joinpath(*map(_shortened, components)))
    if repeated := first_repeated(map(str, paths)):
        raise ValueError(f"two pictures would be written to {repeated}")
    return paths


def _shortened(name: str) -> str:
    encoded = os.fsencode(name)
    if len(encoded) <= MAX_NAME:
        return name
    checksum = hashlib.sha256(encoded).hexdigest()[:16]
    start, end = (
        piece.decode("utf-8", "ignore") for piece in (encoded[: MAX_NAME - 70], encoded[-50:])
    )
    return f"{start}~{checksum}~{end}"


def copy_pictures(index: Index, folder: Path) -> Index:
    """Copy the pictures of an index into a folder, each under its name, with the file's suffix.

    A copy that has the bytes of its original stays as it is.

    Returns:
        The index with the new paths.

    Raises:
        ValueError: Two pictures would take one path.
        OSError: A picture cannot be written.
    """
    # CVAT calls the frames of a video by names without one.
    suffixes = (
        "" if PurePosixPath(r.name).suffix.lower() in SUFFIXES else r.path.suffix
        for r in index.records
    )
    names = [f"{r.name}{suffix}" for r, suffix in zip(index.records, suffixes, strict=True)]
    targets = paths_below(folder, names)
    for record, target in zip(index.records, targets, strict=True):
        is_file = target.is_file() and not target.is_symlink()
        if is_file and filecmp.cmp(target, record.path, shallow=False):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_path(target)
        with naming(target):
            shutil.copyfile(record.path, temporary)
        temporary.replace(target)
    pairs = zip(index.records, targets, strict=True)
    return replace(index, records=tuple(replace(one, path=path) for one, path in pairs))


def leave_out_unnamed(reading: Reading) -> Reading:
    """Leave out the pictures whose names no JSON file can hold, each a defect."""
    named, defects = [], list(reading.defects)
    for record in reading.index.records:
        if is_text(record.name):
            named.append(record)
        else:
            name = printable(record.name)
            sentence = f"the name {name} is not UTF-8: rename the picture; it is left out"
            defects.append(Defect(record.path, 1, "name not UTF-8", sentence))
    index = replace(reading.index, records=tuple(named))
    return replace(reading, index=index, defects=tuple(defects))


def write_set(
    reading: Reading,
    out: Path,
    *,
    strict: bool,
    keep: Sequence[str] | None = None,
    split: Path | None = None,
    copy: bool = False,
) -> None:
    """Print the defects of a data set and write what is sound.

    Args:
        reading: The data set.
        out: Folder of the result, see `training.data.splits`; copied pictures come into ``images``.
        strict: Refuse a data set with defects.
        keep: Classes to keep, in their new order; ``None``: all.
        split: A ``split.json`` to split by, instead of the split that the data set comes with or
            of the names' hashes.
        copy: Copy the pictures into the folder; otherwise they stay where they are.

    Raises:
        ValueError: No object is left, a defect is refused, or a class or the file is not as needed.
        OSError: Something cannot be written.
    """
    reading = leave_out_unnamed(reading)
    print_defects(reading)
    if strict and reading.defects:
        raise ValueError(f"{reading.count()}, and --strict allows none")
    index = reading.index if keep is None else reading.index.keep_classes(keep)
    if not index.records:
        raise ValueError("no picture is left, the defects above say why")
    if all(record.ignored.all() for record in index.records):
        raise ValueError(_nothing_to_learn(reading, index))
    if copy:
        index = copy_pictures(index, out / "images")
    splits = _split(index, reading.splits, split)
    write_splits(splits, out)
    print(f"{describe(splits)}\nwritten to {out}")
    for name, of_split in splits.items():
        if all(record.ignored.all() for record in of_split.records):
            lacks = "holds no object" if of_split.records else "is empty"
            print(
                f"warning: {name} {lacks}; with few pictures choose yourself: edit "
                f"{out / SPLIT_FILE} and give it back with --split"
            )


def _nothing_to_learn(reading: Reading, index: Index) -> str:
    """Say what was looked for and what was found instead of an object."""
    pictures = plural(len(index.records), "picture", "pictures")
    classes = listing(index.classes) or "any class"
    sought = f"no object is left in {pictures}: sought were boxes of {classes}"
    others = sum(len(record.labels) for record in reading.index.records)
    ignored = sum(len(record.labels) for record in index.records)
    clicks = sum(len(record.clicks) for record in index.records)
    kinds = Counter(defect.kind for defect in reading.defects).most_common(3)
    found = [f"{ignored} x difficult or crowd, which trains nothing"] if ignored else []
    found += [f"{others - ignored} x object of another class"] if others > ignored else []
    found += [plural(clicks, "point", "points")] if clicks else []
    found += [f"{count} x {kind} (see above)" for kind, count in kinds]
    return f"{sought}; found {'instead: ' + ', '.join(found) if found else 'was nothing'}"


def _split(index: Index, given: Mapping[str, str], path: Path | None) -> dict[str, Index]:
    """Split by a file, or else as the data set comes, or else by the names' hashes."""
    if path is not None:
        return split_by_file(index, path)
    splits = split_as_given(index, given)
    if splits is not None:
        print("note: the split is the one that the files have")
        return splits
    if given:
        print(
            "note: the files do not split all pictures into train and others; they are split by "
            "the names' hashes"
        )
    return split_by_name(index)

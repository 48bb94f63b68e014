"""Train, validation and test: which picture goes where, and the folder that holds all three.

The folder has ``train.json``, ``val.json`` and ``test.json`` (see `training.data.index`) and
``split.json``, the names of the pictures of each, which can be given back to split alike again.
Where an annotator's clicks are known, ``<split>.clicks.json`` holds them for
``python -m training.evaluate --sets <folder> --seeds 1 --replay <folder>/test.clicks.json ...``.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from c3det.clicks import Click
from c3det.commands import naming
from training.clicks.sequences import BACKGROUND, ClickSequence, save_sequences
from training.data.annotated import Index, Record, first_repeated
from training.data.index import write_index

SPLITS = ("train", "val", "test")
SHARES = (0.7, 0.1, 0.2)
"""Of the pictures, in the order of ``SPLITS``."""

SPLIT_FILE = "split.json"


def split_of(name: str) -> str:
    """Return the split of a picture: a matter of its name alone.

    The first 64 bits of the name's SHA-256 are a uniform number between 0 and 1; it is compared
    with the running sums of ``SHARES``. Pictures that join or leave a set move no other one.
    """
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
    bound = 0.0
    for split, share in zip(SPLITS, SHARES, strict=True):
        bound += share
        if number < bound:
            return split
    return SPLITS[-1]


def split_by_name(index: Index) -> dict[str, Index]:
    """Split an index by `split_of`."""
    return _split(index, {record.name: split_of(record.name) for record in index.records})


def split_by_file(index: Index, path: Path) -> dict[str, Index]:
    """Split an index as a ``split.json`` says; its pictures that the index lacks are skipped.

    Raises:
        ValueError: The file is missing or broken, or does not say where a picture goes.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))  # an editor may add the mark
        named = [(name, split) for split in SPLITS for name in content[split]]
        # A list may have a name in other Unicode letters than the set: an umlaut as two or as one.
        by_letters: dict[str, list[str]] = {}
        for name, split in named:
            by_letters.setdefault(unicodedata.normalize("NFC", name), []).append(split)
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file") from None
    except (ValueError, RecursionError, LookupError, TypeError) as error:
        raise ValueError(
            f"{path} must be JSON with the lists {', '.join(SPLITS)}: {error!r}"
        ) from error
    if repeated := first_repeated(name for name, _ in named):
        raise ValueError(f"{path} has the picture {repeated!r} twice")
    where = dict(named)
    for record in index.records:
        found = by_letters.get(unicodedata.normalize("NFC", record.name), [])
        if record.name not in where and len(found) == 1:
            where[record.name] = found[0]
    missing = [record.name for record in index.records if record.name not in where]
    if missing:
        raise ValueError(
            f"{path} does not say where {len(missing)} of the pictures go, such as {missing[0]}"
        )
    return _split(index, where)


def split_as_given(index: Index, given: Mapping[str, str]) -> dict[str, Index] | None:
    """Split an index as the files that it was read from do.

    Args:
        index: The pictures.
        given: The split by the name of the picture.

    Returns:
        ``None`` where that is no split to train with: a picture has none, all have the same one,
        or none is to train on.
    """
    named = {given.get(record.name) for record in index.records}
    if None in named or "train" not in named or len(named) < 2:
        return None
    return _split(index, given)


def _split(index: Index, where: Mapping[str, str]) -> dict[str, Index]:
    return {
        split: Index(
            index.classes,
            tuple(record for record in index.records if where[record.name] == split),
        )
        for split in SPLITS
    }


def write_splits(
    splits: Mapping[str, Index], folder: Path, whole: Mapping[str, Index] | None = None
) -> None:
    """Write the indices of a folder, which picture is in which, and annotators' clicks.

    Args:
        splits: By the names of ``SPLITS``.
        folder: Is made if need be. Clicks of an earlier set in it are removed.
        whole: The pictures that were split, where ``splits`` has tiles of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = {
        split: [record.name for record in index.records]
        for split, index in (whole or splits).items()
    }
    text = json.dumps(names, indent=1, ensure_ascii=False) + "\n"
    with naming(folder / SPLIT_FILE):
        (folder / SPLIT_FILE).write_text(text, encoding="utf-8")
    for split, index in splits.items():
        write_index(index, folder / f"{split}.json")
        clicks = folder / f"{split}.clicks.json"
        clicks.unlink(missing_ok=True)
        if any(record.clicks for record in index.records):
            # Evaluation knows clicks by set, seed and picture.
            prefix = f"{folder.resolve().name}/seed 0"
            sequences = {f"{prefix}/{record.name}": on_objects(record) for record in index.records}
            save_sequences(clicks, sequences)


def describe(splits: dict[str, Index]) -> str:
    """Count pictures and objects of every class, one row a split."""
    classes = next(iter(splits.values())).classes
    rows = [("", "pictures", "ignored", *classes)]
    for split, index in splits.items():
        counted = np.zeros(len(classes), np.int64)
        for record in index.records:
            counted += np.bincount(record.labels[~record.ignored], minlength=len(classes))
        ignored = sum(int(record.ignored.sum()) for record in index.records)
        rows.append((split, str(len(index.records)), str(ignored), *map(str, counted)))
    wide = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(f"{c:>{w}}" for c, w in zip(row, wide, strict=True)) for row in rows)


def on_objects(record: Record) -> ClickSequence:
    """Tell which object each click of an annotator is on.

    It is the smallest one whose box holds the click, of the click's class and not ignored. A click
    in none, and a negative one, is on the background.
    """
    return ClickSequence(record.clicks, tuple(_object_at(record, click) for click in record.clicks))


def _object_at(record: Record, click: Click) -> int:
    x1, y1, x2, y2 = record.boxes.T
    holds = (x1 <= click.x) & (click.x < x2) & (y1 <= click.y) & (click.y < y2)
    found = np.flatnonzero(holds & (record.labels == click.label) & ~record.ignored)
    if not click.positive or len(found) == 0:
        return BACKGROUND
    areas = (x2 - x1) * (y2 - y1)
    return int(found[np.argmin(areas[found])])

"""Make a set to train on: ``python -m training.data.convert coco labels.json --out set``.

Formats: COCO JSON, "CVAT for images 1.1", a running CVAT, Pascal VOC and DOTA. Every defect of the
data is printed as ``file:line: sentence``, then counted; what is sound is converted. The result is
a folder as `training.data.splits` describes it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

import numpy as np

from c3det.commands import ask_password, command, naming, printable
from training.data.index import Index, first_repeated
from training.data.pictures import MAX_NAME, part_of
from training.data.readers.coco import read_coco
from training.data.readers.cvat_server import ServerError, connect, download
from training.data.readers.cvat_xml import read_cvat_xml
from training.data.readers.defects import Defect, Reading, defect_table, merge
from training.data.readers.dota import CLASSES, read_dota
from training.data.readers.voc import read_voc
from training.data.splits import split_by_file, split_by_name, write_splits

Placing = Literal["reference", "link", "copy"]

_BLOCK = 1 << 20
"""Bytes of two files that are compared at a time."""


def paths_below(folder: Path, names: Sequence[str]) -> list[Path]:
    """Turn names of pictures into paths that stay inside a folder.

    A part of a name that is too long for a file system is shortened; a checksum keeps it unique.

    Raises:
        ValueError: Two names give one path, or a name gives none.
    """
    paths = []
    for name in names:
        parts = [part for part in PurePosixPath(name).parts if part not in ("..", "/")]
        if not parts:
            raise ValueError(f"{name!r} cannot be the name of a file")
        paths.append(folder.joinpath(*map(_shortened, parts)))
    if repeated := first_repeated(map(str, paths)):
        raise ValueError(f"two pictures would be written to {repeated}")
    return paths


def _shortened(name: str) -> str:
    encoded = os.fsencode(name)
    if len(encoded) <= MAX_NAME:
        return name
    checksum = hashlib.sha256(encoded).hexdigest()[:16]
    start, end = (
        part.decode("utf-8", "ignore") for part in (encoded[: MAX_NAME - 70], encoded[-50:])
    )
    return f"{start}~{checksum}~{end}"


def place_pictures(index: Index, folder: Path, placing: Placing) -> Index:
    """Bring the pictures of an index into a folder.

    Args:
        index: The pictures where they are.
        folder: Receives them, each under its name.
        placing: ``"reference"`` leaves them where they are, ``"link"`` makes symbolic links and
            ``"copy"`` copies. What is there already stays: a link that leads to the original, a
            copy with the bytes of the original.

    Returns:
        The index with the new paths.

    Raises:
        ValueError: Two pictures would take one path.
        OSError: A picture cannot be written.
    """
    if placing == "reference":
        return index
    targets = paths_below(folder, [record.name for record in index.records])
    for record, target in zip(index.records, targets, strict=True):
        source = record.path.resolve()
        if placing == "link":
            there = target.is_symlink() and target.readlink() == source
        else:
            there = not target.is_symlink() and _same_bytes(target, source)
        if there or (source == target.resolve() and not target.is_symlink()):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        part = part_of(target)
        part.unlink(missing_ok=True)
        with naming(target):
            if placing == "link":
                part.symlink_to(source)
            else:
                shutil.copyfile(record.path, part)
        part.replace(target)
    return replace(
        index,
        records=tuple(
            replace(record, path=target)
            for record, target in zip(index.records, targets, strict=True)
        ),
    )


def _same_bytes(one: Path, other: Path) -> bool:
    if not one.is_file() or one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as a, other.open("rb") as b:
        while (block := a.read(_BLOCK)) == b.read(_BLOCK):
            if not block:
                return True
    return False


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


def print_defects(reading: Reading) -> None:
    """Print every defect to standard error, then their count by kind."""
    for defect in reading.defects:
        print(defect, file=sys.stderr)
    if reading.defects:
        print(f"{_count(reading)}\n{defect_table(reading.defects)}")
    else:
        print("no defects")


def _count(reading: Reading) -> str:
    count = len(reading.defects)
    return f"{count} defect" if count == 1 else f"{count} defects"


def leave_out_unnamed(reading: Reading) -> Reading:
    """Leave out the pictures whose names no JSON file can hold, each a defect."""
    named, defects = [], list(reading.defects)
    for record in reading.index.records:
        if any("\ud800" <= letter <= "\udfff" for letter in record.name):
            sentence = (
                f"the name {printable(record.name)} is not UTF-8: rename the picture; it is left "
                "out"
            )
            defects.append(Defect(record.path, 1, "name not UTF-8", sentence))
        else:
            named.append(record)
    return Reading(replace(reading.index, records=tuple(named)), tuple(defects))


def finish(
    reading: Reading,
    out: Path,
    *,
    strict: bool,
    keep: Sequence[str] | None = None,
    split: Path | None = None,
    placing: Placing = "reference",
) -> dict[str, Index]:
    """Report the defects of a data set and write what is sound.

    Args:
        reading: The data set.
        out: Folder of the result, see `training.data.splits`; placed pictures come into ``images``.
        strict: Refuse a data set with defects.
        keep: Classes to keep, in their new order; ``None``: all.
        split: A ``split.json`` to split by instead of the names' hashes.
        placing: See `place_pictures`.

    Returns:
        What was written.

    Raises:
        ValueError: Nothing is left, a defect is refused, or a class or the file is not as needed.
        OSError: Something cannot be written.
    """
    reading = leave_out_unnamed(reading)
    print_defects(reading)
    if strict and reading.defects:
        raise ValueError(f"{_count(reading)}, and --strict allows none")
    index = reading.index if keep is None else reading.index.keep_classes(keep)
    if not index.records:
        raise ValueError("no picture is left, the defects above say why")
    if not index.classes:
        raise ValueError("there is no class")
    index = place_pictures(index, out / "images", placing)
    splits = split_by_name(index) if split is None else split_by_file(index, split)
    write_splits(splits, out)
    print(f"{describe(splits)}\nwritten to {out}")
    for name, part in splits.items():
        if not part.records:
            print(
                f"warning: {name} is empty; with few pictures choose yourself: edit "
                f"{out / 'split.json'} and give it back with --split"
            )
    return splits


def read(arguments: argparse.Namespace) -> Reading:
    """Read what the command line names."""
    readings = []
    for source in arguments.source:
        options: dict[str, Any] = {"images": arguments.images}
        if arguments.format == "cvat-server":
            readings.append(_read_server(source, arguments))
        elif arguments.format == "coco":
            readings.append(read_coco(Path(source), **options))
        elif arguments.format == "cvat":
            readings.append(read_cvat_xml(Path(source), **options))
        elif arguments.format == "voc":
            readings.append(read_voc(Path(source), classes=arguments.classes, **options))
        else:
            version, labels = arguments.version, arguments.labels
            readings.append(read_dota(Path(source), version=version, labels=labels, **options))
    return readings[0] if len(readings) == 1 else merge(readings)


def _read_server(source: str, arguments: argparse.Namespace) -> Reading:
    kind, _, number = source.partition(":")
    if kind not in ("task", "project") or not number.isdecimal():
        raise ValueError(f"{source!r} is neither task:<id> nor project:<id>")
    token, login = os.environ.get("CVAT_ACCESS_TOKEN"), None
    if arguments.user:
        token, login = None, (arguments.user, ask_password(arguments.user))
    elif not token:
        raise ValueError("set CVAT_ACCESS_TOKEN, or name a --user")
    folder = arguments.out / "cvat" / f"{kind}-{number}"
    print(f"{arguments.host} exports {kind} {number} ...", flush=True)
    with connect(arguments.host, token=token, login=login) as client:
        path = download(client, kind, int(number), folder)  # type: ignore[arg-type]  # checked
    return read_cvat_xml(path)


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every command which makes a set has."""
    parser.add_argument("--out", type=Path, required=True, help="folder of the result")
    parser.add_argument(
        "--split", type=Path, help="split.json to split by (default: 70/10/20 by names' hash)"
    )
    parser.add_argument("--strict", action="store_true", help="refuse data with any defect")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.data.convert",
        description="Make a set to train on from annotations, and report their defects.",
    )
    formats = parser.add_subparsers(dest="format", required=True, metavar="FORMAT")

    def add(name: str, summary: str, source: str) -> argparse.ArgumentParser:
        one = formats.add_parser(name, help=summary, description=summary)
        one.add_argument("source", nargs="+", help=source)
        add_output_options(one)
        one.add_argument("--keep", type=_names, help="classes to keep, comma-separated, in order")
        one.add_argument(
            "--pictures",
            choices=get_args(Placing),
            default="reference",
            help="leave pictures where they are, link or copy them (%(default)s)",
        )
        images = "folder of the pictures (default: where the format has them)"
        one.add_argument("--images", type=Path, help=images)
        return one

    add("coco", "COCO JSON", "JSON files")
    add("cvat", "CVAT for images 1.1", "XML files")
    server = add("cvat-server", "a running CVAT", "task:<id> or project:<id>")
    server.add_argument("--host", required=True, help="address, such as http://localhost:8080")
    server.add_argument(
        "--user", help="log in by password; by default CVAT_ACCESS_TOKEN holds an access token"
    )
    voc = add("voc", "Pascal VOC", "XML files or folders of them")
    voc.add_argument("--classes", type=_names, help="the classes that there are, comma-separated")
    dota = add("dota", "DOTA", "folders with images and labelTxt")
    dota.add_argument("--version", choices=tuple(CLASSES), default="2.0", help="%(default)s")
    dota.add_argument("--labels", type=Path, help="folder of the text files")
    return parser


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


@command("training.data.convert")
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    arguments = _parser().parse_args(argv)
    try:
        finish(
            read(arguments),
            arguments.out,
            strict=arguments.strict,
            keep=arguments.keep,
            split=arguments.split,
            placing=arguments.pictures,
        )
    except (ValueError, ServerError) as error:
        print(f"training.data.convert: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()

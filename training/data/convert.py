"""Make a set to train on: ``python -m training.data.convert coco labels.json --out set``.

Formats: COCO JSON, "CVAT for images 1.1" and "CVAT for video 1.1", a running CVAT, Pascal VOC, DOTA
and YOLO; a zip, such as CVAT's exports, is unpacked into the result. Every defect of the data is
printed as ``file:line: sentence``, then counted; what is sound is converted. The result is a folder
as `training.data.splits` describes it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

import numpy as np

from c3det.commands import ask_password, command, naming, printable
from training.data.index import Index, first_repeated
from training.data.pictures import MAX_NAME, part_of
from training.data.readers.coco import read_coco
from training.data.readers.cvat_server import Kind, ServerError, connect, download
from training.data.readers.cvat_xml import read_cvat_xml
from training.data.readers.defects import Defect, Reading, defect_table, merge
from training.data.readers.dota import CLASSES, read_dota
from training.data.readers.folders import counted, listing, unpack
from training.data.readers.voc import read_voc
from training.data.readers.yolo import read_yolo
from training.data.splits import (
    SPLIT_FILE,
    SPLITS,
    split_as_given,
    split_by_file,
    split_by_name,
    write_splits,
)

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
    """Print every defect to standard error, then their count by kind and what else is to know."""
    for defect in reading.defects:
        print(defect, file=sys.stderr)
    if reading.defects:
        print(f"{_count(reading)}\n{defect_table(reading.defects)}")
    else:
        print("no defects")
    notes = list(reading.notes)
    if reading.unlisted:
        names = listing([str(path) for path in reading.unlisted])
        pictures = counted(len(reading.unlisted), "picture is", "pictures are")
        notes.append(f"{pictures} not in the files and passed over: {names}")
    for note in notes:
        print(f"note: {printable(note)}")


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
    return replace(
        reading,
        index=replace(reading.index, records=tuple(named)),
        defects=tuple(defects),
    )


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
        split: A ``split.json`` to split by, instead of the split that the data set comes with or
            of the names' hashes.
        placing: See `place_pictures`.

    Returns:
        What was written.

    Raises:
        ValueError: No object is left, a defect is refused, or a class or the file is not as needed.
        OSError: Something cannot be written.
    """
    reading = leave_out_unnamed(reading)
    print_defects(reading)
    if strict and reading.defects:
        raise ValueError(f"{_count(reading)}, and --strict allows none")
    index = reading.index if keep is None else reading.index.keep_classes(keep)
    if not index.records:
        raise ValueError("no picture is left, the defects above say why")
    if all(record.ignored.all() for record in index.records):
        raise ValueError(_nothing_to_learn(reading, index))
    index = place_pictures(index, out / "images", placing)
    splits = _split(index, reading.splits, split)
    write_splits(splits, out)
    print(f"{describe(splits)}\nwritten to {out}")
    for name, part in splits.items():
        if all(record.ignored.all() for record in part.records):
            print(
                f"warning: {name} {'holds no object' if part.records else 'is empty'}; with few "
                f"pictures choose yourself: edit {out / 'split.json'} and give it back with --split"
            )
    return splits


def _nothing_to_learn(reading: Reading, index: Index) -> str:
    """Say what was looked for and what was found instead of an object."""
    pictures = counted(len(index.records), "picture", "pictures")
    classes = listing(index.classes) or "any class"
    sought = f"no object is left in {pictures}: sought were boxes of {classes}"
    others = sum(len(record.labels) for record in reading.index.records)
    ignored = sum(len(record.labels) for record in index.records)
    clicks = sum(len(record.clicks) for record in index.records)
    kinds = Counter(defect.kind for defect in reading.defects).most_common(3)
    found = [f"{ignored} x difficult or crowd, which trains nothing"] if ignored else []
    found += [f"{others - ignored} x object of another class"] if others > ignored else []
    found += [counted(clicks, "point", "points")] if clicks else []
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


def read(arguments: argparse.Namespace) -> Reading:
    """Read what the command line names."""
    if arguments.format == "cvat-server":
        readings = [_read_server(source, arguments) for source in arguments.source]
    else:
        readings = []
        for number, source in enumerate(map(Path, arguments.source)):
            _check_kept(source, arguments.out, arguments.format)
            path, defects = _unpacked(source, arguments.out / UNPACKED / f"{number}-{source.stem}")
            reading = READERS[arguments.format](path, arguments)
            readings.append(replace(reading, defects=(*defects, *reading.defects)))
    return readings[0] if len(readings) == 1 else merge(readings)


def _check_kept(source: Path, out: Path, kind: str) -> None:
    """Check that the result would not take the place of what it is made from, nor be read itself.

    Raises:
        ValueError: It would.
    """
    results = {(out / name).resolve() for name in (SPLIT_FILE, *(f"{s}.json" for s in SPLITS))}
    inside = kind == "coco" and source.is_dir() and not (source / "annotations").is_dir()
    if source.resolve() in results or (inside and source.resolve() == out.resolve()):
        raise ValueError(f"the result would lie among {source}: choose another folder for --out")


UNPACKED = "unpacked"
"""Folder of the result that receives what zips hold."""

_INNER = {"images", "annotations", "jpegimages", "labels", "labeltxt", "annfiles", "train", "val"}
"""Names of folders, in lower case, that a data set has inside."""

READERS: dict[str, Callable[[Path, argparse.Namespace], Reading]] = {
    "coco": lambda path, given: read_coco(path, given.images),
    "cvat": lambda path, given: read_cvat_xml(path, given.images),
    "voc": lambda path, given: read_voc(path, given.images, given.classes, given.origin),
    "dota": lambda path, given: read_dota(
        path, given.images, given.version, given.labels, given.classes
    ),
    "yolo": lambda path, given: read_yolo(path, given.images, given.classes),
}
"""Readers of files by the name of their format, each with the options that it has."""


def _unpacked(source: Path, folder: Path) -> tuple[Path, list[Defect]]:
    """Return the folder of a zip, unpacked, and its defects; other sources stay as they are."""
    if source.is_file() and (source.suffix.lower() == ".zip" or zipfile.is_zipfile(source)):
        defects = unpack(source, folder)
        while (inner := _only_folder(folder)) is not None:
            folder = inner
        return folder, defects
    return source, []


def _only_folder(folder: Path) -> Path | None:
    """The folder that many programs put everything into, named like the archive, if there is one.

    Files of the system are not counted.
    """
    there = [path for path in folder.iterdir() if path.name[0] != "." and path.name != "__MACOSX"]
    if len(there) != 1 or not there[0].is_dir() or there[0].name.lower() in _INNER:
        return None
    return there[0]


def _read_server(source: str, arguments: argparse.Namespace) -> Reading:
    kind, _, number = source.partition(":")
    if kind not in get_args(Kind) or not number.isdecimal():
        raise ValueError(f"{source!r} is none of job:<id>, task:<id> and project:<id>")
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
    add_formats(parser, _add_own_options)
    return parser


def _add_own_options(parser: argparse.ArgumentParser) -> None:
    add_output_options(parser)
    parser.add_argument("--keep", type=_names, help="classes to keep, comma-separated, in order")
    parser.add_argument(
        "--pictures",
        choices=get_args(Placing),
        default="reference",
        help="leave pictures where they are, link or copy them (%(default)s)",
    )


def add_formats(
    parser: argparse.ArgumentParser, add_options: Callable[[argparse.ArgumentParser], None]
) -> None:
    """Add a command for each format, with the options that `read` needs.

    Args:
        parser: Of the program.
        add_options: Adds to each the program's own, ``--out`` among them.
    """
    formats = parser.add_subparsers(dest="format", required=True, metavar="FORMAT")

    def add(name: str, summary: str, source: str) -> argparse.ArgumentParser:
        one = formats.add_parser(name, help=summary, description=summary)
        one.add_argument("source", nargs="+", help=source)
        add_options(one)
        images = "folder of the pictures (default: where the format has them)"
        one.add_argument("--images", type=Path, help=images)
        return one

    add("coco", "COCO JSON", "JSON files, folders of them or CVAT's zips")
    add("cvat", "CVAT for images 1.1, CVAT for video 1.1", "XML files, folders or CVAT's zips")
    server = add("cvat-server", "a running CVAT", "job:<id>, task:<id> or project:<id>")
    server.add_argument("--host", required=True, help="address, such as http://localhost:8080")
    server.add_argument(
        "--user", help="log in by password; by default CVAT_ACCESS_TOKEN holds an access token"
    )
    voc = add("voc", "Pascal VOC", "XML files, folders of them or zips")
    voc.add_argument(
        "--origin",
        type=int,
        choices=(0, 1),
        help="1: pixels are counted from 1, the last included; 0: continuous coordinates, from 0, "
        "as CVAT writes them (default: by what the files show)",
    )
    dota = add("dota", "DOTA, and own classes in its format", "folders with images and labelTxt")
    dota.add_argument(
        "--version", choices=tuple(CLASSES), help="the classes are DOTA's of this one"
    )
    dota.add_argument("--labels", type=Path, help="folder of the text files")
    yolo = add(
        "yolo",
        "YOLO and YOLO-OBB, Ultralytics' or CVAT's",
        "data.yaml, obj.data, folders with one of them, or zips",
    )
    for one in (voc, dota, yolo):
        one.add_argument(
            "--classes", type=_names, help="the classes that there are, comma-separated, in order"
        )


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

"""The formats that data is read from, as a table, and reading what a command line names.

A new format is a reader in `training.data.readers` and a row of `FORMATS`. A reader takes the path
of a source and the options of its row as keywords, and returns a
`training.data.readers.reading.Reading`. It never stops at a defect of the data: it leaves out what
cannot be used, reports it and goes on.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from training.data.readers.archives import unpacked
from training.data.readers.coco import read_coco
from training.data.readers.csv_table import read_csv
from training.data.readers.cvat_server import read_cvat_server
from training.data.readers.cvat_xml import read_cvat_xml
from training.data.readers.dota import CLASSES, read_dota
from training.data.readers.reading import Reading, distinct, merge
from training.data.readers.voc import read_voc
from training.data.readers.yolo import read_yolo
from training.data.splits import SPLIT_FILE, SPLITS

UNPACKED = "unpacked"
"""Folder of the result that receives the content of zips."""

DOWNLOADED = "cvat"
"""Folder of the result that receives what a server exports."""


@dataclass(frozen=True)
class Format:
    """A row of the table.

    Attributes:
        title: The format's name, for people.
        source: What a source is, by which a person recognises the format.
        read: The reader; it takes a source and the options as keywords.
        options: Names of the reader's options, keys of `OPTIONS`.
        is_remote: A source is no path but the address of something on a server; the reader takes
            a folder to download it into as its second argument.
    """

    title: str
    source: str
    read: Callable[..., Reading]
    options: tuple[str, ...] = ("images",)
    is_remote: bool = False


FORMATS = {
    "coco": Format("COCO JSON", "JSON files, folders of them or CVAT's zips", read_coco),
    "csv": Format(
        "CSV, one box a line",
        "tables with the columns picture, x1, y1, x2, y2, class or alike",
        read_csv,
        ("images", "classes", "columns"),
    ),
    "cvat": Format(
        "CVAT for images 1.1, CVAT for video 1.1",
        "XML files, folders or CVAT's zips",
        read_cvat_xml,
    ),
    "cvat-server": Format(
        "a running CVAT",
        "job:<id>, task:<id> or project:<id>",
        read_cvat_server,
        ("host", "user"),
        is_remote=True,
    ),
    "voc": Format(
        "Pascal VOC",
        "XML files, folders of them or zips",
        read_voc,
        ("images", "classes", "origin"),
    ),
    "dota": Format(
        "DOTA, and own classes in its format",
        "folders with images and labelTxt",
        read_dota,
        ("images", "classes", "version", "labels"),
    ),
    "yolo": Format(
        "YOLO and YOLO-OBB, Ultralytics' or CVAT's",
        "data.yaml, obj.data, folders with one of them, or zips",
        read_yolo,
        ("images", "classes"),
    ),
}
"""By the name on the command line."""


def names(text: str) -> list[str]:
    """Read a comma-separated list of the command line."""
    return [name.strip() for name in text.split(",") if name.strip()]


def column_names(text: str) -> list[str]:
    """Read a comma-separated list of the command line in which a name may be left out."""
    return [name.strip() for name in text.split(",")]


OPTIONS: dict[str, dict[str, Any]] = {
    "images": {
        "type": Path,
        "help": "folder of the pictures (default: where the format has them)",
    },
    "classes": {
        "type": names,
        "help": "the classes that there are, comma-separated, in order",
    },
    "columns": {
        "type": column_names,
        "help": "names of the columns, comma-separated, where the first line does not have them; "
        "one without a name is skipped",
    },
    "origin": {
        "type": int,
        "choices": (0, 1),
        "help": "1: pixels are counted from 1, the last included; 0: continuous coordinates, "
        "from 0, as CVAT and labelImg write them (default: by what the files show)",
    },
    "version": {"choices": tuple(CLASSES), "help": "the classes are DOTA's of this one"},
    "labels": {"type": Path, "help": "folder of the text files"},
    "host": {"required": True, "help": "address, such as http://localhost:8080"},
    "user": {"help": "log in by password; by default CVAT_ACCESS_TOKEN holds an access token"},
}
"""The command line's arguments of the readers' options."""


def add_formats(
    parser: argparse.ArgumentParser, add_options: Callable[[argparse.ArgumentParser], None]
) -> None:
    """Add a command for each format, with the options that `read` needs.

    Args:
        parser: Of the program.
        add_options: Adds to each the program's own, ``--out`` among them.
    """
    commands = parser.add_subparsers(dest="format", required=True, metavar="FORMAT")
    for name, row in FORMATS.items():
        one = commands.add_parser(name, help=row.title, description=row.title)
        one.add_argument("source", nargs="+", help=row.source)
        add_options(one)
        for option in row.options:
            one.add_argument(f"--{option}", **OPTIONS[option])


def read(arguments: argparse.Namespace) -> Reading:
    """Read what the command line names.

    Args:
        arguments: ``format``, ``source``, ``out`` and the format's options. What is unpacked or
            downloaded is put below ``out``.

    Raises:
        ValueError: A source cannot be meant, or the result would replace it.
        training.data.readers.cvat_server.ServerError: A server does not give what is asked for.
    """
    row = FORMATS[arguments.format]
    options = {name: getattr(arguments, name) for name in row.options}
    readings = []
    for number, source in enumerate(arguments.source):
        if row.is_remote:
            readings.append(row.read(source, arguments.out / DOWNLOADED, **options))
            continue
        path = Path(source)
        _check_kept(path, arguments.out, arguments.format)
        path, defects = unpacked(path, arguments.out / UNPACKED / f"{number}-{path.stem}")
        reading = row.read(path, **options)
        readings.append(replace(reading, defects=(*defects, *reading.defects)))
    names = [re.sub(r"\W+", "-", Path(source).absolute().stem) for source in arguments.source]
    return readings[0] if len(readings) == 1 else merge(readings, distinct(names))


def _check_kept(source: Path, out: Path, kind: str) -> None:
    """Check that the result would not replace its source, nor be read itself.

    Raises:
        ValueError: It would.
    """
    results = {(out / name).resolve() for name in (SPLIT_FILE, *(f"{s}.json" for s in SPLITS))}
    inside = kind == "coco" and source.is_dir() and not (source / "annotations").is_dir()
    if source.resolve() in results or (inside and source.resolve() == out.resolve()):
        raise ValueError(f"the result would lie among {source}: choose another folder for --out")

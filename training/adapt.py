"""Learn from what was accepted: fit the open model to a job of which some pictures are done.

    python -m training.adapt cvat task.zip --frames 0-9 --out mine.safetensors
    python -m training.adapt coco labels.json --out mine.safetensors
    python -m training.adapt cvat-server job:7 --host URL --user NAME --out mine.safetensors

Done is a picture with a box, of those that ``--frames`` names; one without any says nothing, as
nobody may have looked at it. In a done picture all objects must have their boxes, of every class:
what has none is learned as ground. Some done pictures are kept aside, see `training.open.adapt`;
what was gained on them is printed and stands in the card. Weights that gained nothing are not
written, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from c3det.commands import command, printable
from c3det.weights import Card
from training.data.annotated import Annotated, Index, Record
from training.data.formats import add_formats, read
from training.data.readers.cvat_server import ServerError
from training.data.readers.reading import print_defects
from training.open.adapt import AdaptSettings, FitResult, fit
from training.open.export import write
from training.open.splitting import Split, split_pictures
from training.open.weights import load_with_card
from training.options import add_options, command_parser, input_errors, read_options
from training.weights_files import without_folders

PROJECT = Path(__file__).resolve().parents[1]
WEIGHTS = PROJECT / "serverless" / "weights" / "open.safetensors"

MOST_PIXELS = 200_000_000
"""Of all pictures that are held in memory, 3 bytes each."""


def done(index: Index, frames: frozenset[int] | None) -> list[Record]:
    """The pictures that count.

    Args:
        index: All of them.
        frames: Places in the index; ``None``: any.

    Raises:
        ValueError: There is no such place, or no picture with a box.
    """
    if frames is not None and max(frames) >= len(index.records):
        raise ValueError(
            f"--frames names {max(frames)}, but the last of the pictures, counted from 0, is "
            f"{len(index.records) - 1}"
        )
    chosen = [
        record
        for place, record in enumerate(index.records)
        if (frames is None or place in frames) and not record.ignored.all()
    ]
    if not chosen:
        raise ValueError(
            f"no picture is done: of {len(index.records)} none"
            + (" that --frames names" if frames is not None else "")
            + " has a box"
        )
    return chosen


def load(records: Sequence[Record]) -> list[Annotated]:
    """Read pictures, evenly spread ones where all would take too much memory.

    Raises:
        training.data.picture_files.PictureError: One cannot be read.
    """
    pixels = sum(record.width * record.height for record in records)
    count = max(1, int(len(records) * min(1.0, MOST_PIXELS / pixels)))
    places = np.unique(np.linspace(0, len(records) - 1, count).round().astype(int))
    if len(places) < len(records):
        print(
            f"note: {len(places)} of {len(records)} done pictures are used: more would take too "
            "much memory"
        )
    return [records[place].load() for place in places.tolist()]


def adapted_card(
    start: Card, name: str, source: dict[str, Any], split: Split, fitted: FitResult
) -> Card:
    """The card of fitted weights; ``source`` tells of the pictures, their number among others."""
    about = {
        "adapted from": {"name": start.name, "sha256": start.sha256, "training": start.training},
        "adapted on": source
        | {
            "kept aside to choose the step": [one.name for one in split.validation],
            "kept aside to tell the gain": [one.name for one in split.test],
        },
        "steps": fitted.steps,
        "seconds": round(fitted.seconds, 1),
    }
    results = {
        "adapt": {
            "measure": "AP (IoU 0.5) in percent on the pictures kept aside to tell the gain",
            "before": asdict(fitted.before),
            "after": asdict(fitted.after),
        }
    }
    return replace(
        start,
        name=name,
        training=without_folders(about),
        results=results,
        licence=start.licence | {"pictures adapted on": "not known: see adapted on in training"},
        limits=(*start.limits, "Adapted to the pictures of one job: it may find others worse."),
    )


def frames(text: str) -> frozenset[int]:
    """Read places such as ``0-9,12``."""
    found: set[int] = set()
    for entry in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", entry)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first:
            raise argparse.ArgumentTypeError(f"must be such as 0-9,12, not {text!r}")
        found.update(range(first, last + 1))
    return frozenset(found)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument(
        "--weights", type=Path, default=WEIGHTS, help="to start from (default: the shipped ones)"
    )
    parser.add_argument("--name", help="of the weights; by default the file's")
    parser.add_argument(
        "--frames",
        type=frames,
        help="pictures that are done, such as 0-9,12, counted from 0 in the order of the source "
        "(default: all that have a box)",
    )
    add_options(parser, AdaptSettings)


@command("python -m training.adapt")
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = command_parser("training.adapt", __doc__)
    add_formats(parser, _add_options)
    given = parser.parse_args(arguments)
    with input_errors(parser):
        try:
            status = adapt(given)
        except ServerError as error:
            raise ValueError(str(error)) from error
    if status:
        sys.exit(status)


def adapt(given: argparse.Namespace) -> int:
    """Do what the command line asks for.

    Returns:
        The exit status: 1 where nothing was gained.

    Raises:
        ValueError: What was given cannot be used; `WeightsError` and `ServerError` likewise.
    """
    out: Path = given.out
    if out.suffix != ".safetensors":
        raise ValueError(f"--out must end in .safetensors, not {out}")
    if out.resolve() == given.weights.resolve():
        raise ValueError(f"{out} would be overwritten, which it starts from: name another --out")
    network, start = load_with_card(given.weights)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".adapt-", dir=out.parent) as folder:
        reading = read(argparse.Namespace(**{**vars(given), "out": Path(folder)}))
        print_defects(reading)
        records = done(reading.index, given.frames)
        pictures = load(records)
    total = len(reading.index.records)
    print(f"{len(records)} of {total} pictures are done")
    split = split_pictures(pictures)
    fitted = fit(
        network, split, read_options(given, AdaptSettings), lambda line: print(line, flush=True)
    )
    chose = "" if split.is_independent else ", which chose the step too"
    print(f"on what was kept aside{chose}:")
    print(f"before: {fitted.before.summary()}\nafter:  {fitted.after.summary()}")
    if not fitted.gained:
        print(
            "python -m training.adapt: nothing was gained on the pictures kept aside, so that "
            f"{out} is not written: finish more pictures, or give it more --minutes",
            file=sys.stderr,
        )
        return 1
    source = {
        "source": [printable(one) for one in given.source],
        "format": given.format,
        "pictures": len(pictures),
        "classes": list(reading.index.classes),
    }
    card = write(
        fitted.network, out, adapted_card(start, given.name or out.stem, source, split, fitted)
    )
    print(f"{out}: adapted from {start.name}, sha256 {card.sha256}")
    print(f"to deploy it beside the default: deploy/deploy.sh --weights {shlex.quote(str(out))}")
    return 0


if __name__ == "__main__":
    main()

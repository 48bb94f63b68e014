"""Tiny-DOTA, the paper's set: ``python -m training.data.tiny_dota DOTA/train DOTA/val --out set``.

Train and validation part of DOTA-v2.0 are joined, cut down to the 8 classes of small objects, and
split 70/10/20 by the hash of the *whole* picture's name (`training.data.splits`), so that no two
splits share a place; then they are cut into patches of 1024 with a gap of 200. The paper's own
split depends on the order in which a file system lists a directory, and was never published.

All pictures stay, also those without an object of these classes. Difficult objects are ignored.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from c3det.commands import command
from training.data.readers.dota import CLASSES, TINY_CLASSES, read_dota
from training.data.readers.reading import merge
from training.data.tiles import add_tiling_options, tile_splits, tiling_of
from training.data.writer import add_output_options, write_set

WHOLE_FOLDER = "whole"


@command("training.data.tiny_dota")
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m training.data.tiny_dota", description="Make the Tiny-DOTA set out of DOTA."
    )
    parser.add_argument("source", nargs="+", type=Path, help="folders with images and labelTxt")
    parser.add_argument("--version", choices=tuple(CLASSES), default="2.0", help="%(default)s")
    add_output_options(parser)
    add_tiling_options(parser)
    arguments = parser.parse_args(argv)
    try:
        tiling = tiling_of(arguments)
        readings = [read_dota(source, version=arguments.version) for source in arguments.source]
        splits = write_set(
            merge(readings),
            arguments.out / WHOLE_FOLDER,
            strict=arguments.strict,
            keep=TINY_CLASSES,
            split=arguments.split,
        )
        all_read = tile_splits(splits, arguments.out, tiling, arguments.processes)
    except ValueError as error:
        print(f"training.data.tiny_dota: {error}", file=sys.stderr)
        sys.exit(2)
    if not all_read:
        sys.exit(1)


if __name__ == "__main__":
    main()

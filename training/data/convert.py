"""Make a set to train on: ``python -m training.data.convert coco labels.json --out set``.

The formats are those of `training.data.formats`; a zip, such as CVAT's exports, is unpacked into
the result. Every defect of the data is printed as ``file:line: sentence``, in JSON files with the
entry instead of the line, then counted; what is sound is converted. The result is a folder as
`training.data.splits` describes it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from c3det.commands import command
from training.data.formats import add_formats, names, read
from training.data.readers.cvat_server import ServerError
from training.data.writer import write_set


def _add_own_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder of the result")
    parser.add_argument(
        "--split", type=Path, help="split.json to split by (default: 70/10/20 by names' hash)"
    )
    parser.add_argument("--strict", action="store_true", help="refuse data with any defect")
    parser.add_argument("--keep", type=names, help="classes to keep, comma-separated, in order")
    parser.add_argument(
        "--pictures",
        choices=("reference", "copy"),
        default="reference",
        help="leave pictures where they are, or copy them (%(default)s)",
    )


@command("training.data.convert")
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m training.data.convert",
        description="Make a set to train on from annotations, and report their defects.",
    )
    add_formats(parser, _add_own_options)
    arguments = parser.parse_args(argv)
    try:
        write_set(
            read(arguments),
            arguments.out,
            strict=arguments.strict,
            keep=arguments.keep,
            split=arguments.split,
            copy=arguments.pictures == "copy",
        )
    except (ValueError, ServerError) as error:
        print(f"training.data.convert: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()

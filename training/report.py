"""Lay out reports again: ``python -m training.report training/results/variants.json``.

Page and figure are made of each JSON file and written beside it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from c3det.commands import command
from training.evaluation.reporting import StudyReport


@command("python -m training.report")
def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(
        prog="python -m training.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("reports", type=Path, nargs="+", metavar="JSON")
    given = parser.parse_args(arguments)
    try:
        for path in given.reports:
            StudyReport.read(path).write(path)
    except ValueError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()

"""What training costs: ``python -m training.benchmark step``, or ``data``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from c3det.commands import command
from training.benchmark import data, step

PARTS = {"step": step, "data": data}


@command("python -m training.benchmark")
def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(prog="python -m training.benchmark", description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    for name, part in PARTS.items():
        part.add_arguments(
            parts.add_parser(
                name,
                description=part.__doc__,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
        )
    given = parser.parse_args(arguments)
    PARTS[given.part].run(given)


if __name__ == "__main__":
    main()

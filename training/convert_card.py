"""Write the card of older weights anew: ``python -m training.convert_card W.safetensors``.

Cards of format 1 hold a whole mmdet config, which can name code, so no program loads them. Here the
config is only compared: with those that `c3det.configs` makes. If one is equal, the new card names
it; else the first field that differs is told, and nothing is written. The tensors stay as they are.
"""

from __future__ import annotations

import argparse
import reprlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from c3det.closed import restore
from c3det.commands import command
from c3det.configs import Architecture
from c3det.weights import (
    FORMAT_VERSION,
    Card,
    WeightsError,
    card_path,
    read_json,
    save_card,
    signed,
)

FORMER_VERSION = 1


def convert(weights: Path) -> Card:
    """Put a new card in the place of one of format 1, once the weights load with it.

    Args:
        weights: The ``.safetensors`` file, with its card beside it.

    Raises:
        OSError: The card cannot be written.
        WeightsError: The card is not one of format 1, its architecture is none of ours, a field has
            a value that it cannot have, or the tensors are not those of the card.
    """
    path = card_path(weights)
    content = read_json(weights)
    version = content.get("format_version")
    if isinstance(version, bool) or version != FORMER_VERSION:
        raise WeightsError(
            f"the card {path} has format_version {reprlib.repr(version)}: only cards of "
            f"{FORMER_VERSION} are converted"
        )
    classes = content.get("classes")
    try:
        architecture = Architecture.of_config(
            content.pop("architecture", None),
            content.pop("normalization", None),
            len(classes) if isinstance(classes, list) else 0,
        )
    except ValueError as error:
        raise WeightsError(
            f"the card {path} is of no detector that this program makes ({error}): export the "
            "weights again with python -m training.export"
        ) from error
    content |= dict(architecture=asdict(architecture), format_version=FORMAT_VERSION)
    content["tensors"] = content.pop("sha256", None)
    card = signed(content, path)
    restore(weights, card)
    return save_card(weights, card)


@command("python -m training.convert_card")
def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and convert."""
    parser = argparse.ArgumentParser(
        prog="python -m training.convert_card",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("weights", type=Path, help="the .safetensors file, its card beside it")
    given = parser.parse_args(arguments)
    try:
        card = convert(given.weights)
    except (OSError, WeightsError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    architecture = card.closed_architecture
    print(
        f"{card_path(given.weights)}: preset {architecture.preset}, "
        f"{architecture.stages}, {architecture.fusion}, identity {card.identity}"
    )


if __name__ == "__main__":
    main()

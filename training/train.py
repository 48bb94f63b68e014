"""Train a closed model: ``python -m training.train --set composite trees --out runs/c3det``.

Killed at any moment and started again with the same command it goes on from the last checkpoint
with the same pictures, clicks and random choices as if never stopped, and on a CPU ends with the
same weights to the last bit.

With ``torchrun --nproc-per-node 8 -m training.train ...`` each process takes a GPU and its share of
every step; on several nodes torchrun gets their number and a meeting point, or Slurm starts the
processes (``srun``) and ``--launcher slurm`` reads its variables.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from c3det.closed.architecture import Architecture
from c3det.commands import command
from c3det.weights import read_card
from training.data.picture_files import PictureError
from training.options import (
    add_options,
    command_parser,
    given_options,
    input_errors,
    read_options,
)
from training.runner import build_runner
from training.settings import ArchitectureSettings, RunSettings, TrainingSettings


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = command_parser("training.train", __doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    detector = parser.add_argument_group("the detector (with --weights it is theirs)")
    add_options(detector, ArchitectureSettings)
    add_options(parser.add_argument_group("how it is trained"), TrainingSettings)
    add_options(parser.add_argument_group("with what"), RunSettings)
    return parser


def chosen_architecture(given: argparse.Namespace) -> Architecture:
    """The detector that a command line chooses.

    Raises:
        ValueError: It chooses weights and an architecture, or a field of the architecture has a
            value that it cannot have.
        c3det.weights.WeightsError: The weights cannot be read.
    """
    chosen = {
        name: value
        for name, value in asdict(read_options(given, ArchitectureSettings)).items()
        if value is not None
    }
    if given.weights is None:
        return Architecture(**{"preset": "starter", **chosen})
    if names := given_options(given, ArchitectureSettings):
        raise ValueError(f"the detector comes with the weights, so {names[0]} cannot be chosen")
    return read_card(Path(given.weights)).closed_architecture


@command("python -m training.train")
def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and train."""
    parser = argument_parser()
    given = parser.parse_args(arguments)
    with input_errors(parser):
        architecture = chosen_architecture(given)
        if given.size is None and architecture.preset == "paper":
            given.size = 1024
        settings, run = read_options(given, TrainingSettings), read_options(given, RunSettings)
        if run.threads is not None:
            torch.set_num_threads(run.threads)
        runner = build_runner(given.out, architecture, settings, run)
    try:
        runner.train()
    except PictureError as error:
        # One of a worker process comes with its traceback, and its own sentence at the end.
        message = str(error).rpartition(f"{PictureError.__name__}: ")[2].strip()
        parser.exit(2, f"{parser.prog}: {message}\n")


if __name__ == "__main__":
    main()

"""Train detectors that differ in one thing and measure what it is worth.

``python -m training.compare --study variants --set composite --out runs/compare`` trains the
paper's variants, each two-stage and one-stage, with one schedule, the same seeds and the same
clicks; ``--study ablations`` changes one setting of C3Det a row; ``--study data`` fine-tunes
finished weights on ever fewer objects.

Unless ``--plain-iterations`` is 0, the rows of one seed share a detector without clicks, and each
goes on from it for equally long, the plain one too; otherwise each starts from ImageNet weights.

Killed at any moment and started again with the same command it goes on: a run from its last
checkpoint, and what is done is not done again. In the folder lie ``<study>.json``, its page and its
figure, and ``weights/`` with the weights and cards of all rows. Studies in one folder, one after
the other, share what they have in common: the detectors without clicks, and the row C3Det.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

from c3det.commands import command
from training.compare.planning import ComparisonSettings, Experiment
from training.compare.reporting import collect
from training.compare.running import run_all
from training.options import add_options, command_parser, input_errors, read_options


@command("python -m training.compare")
def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, and train, measure and write."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = command_parser("training.compare", __doc__)
    add_options(parser, ComparisonSettings)
    given = parser.parse_args(arguments)
    with input_errors(parser):
        settings = read_options(given, ComparisonSettings)
        experiment = Experiment(settings, settings.study_rows())
        run_all(experiment)
        report = collect(experiment, f"{parser.prog} {shlex.join(arguments)}")
    print(report.page(f"{settings.study}.png"))
    report.write(settings.out / f"{settings.study}.json")


if __name__ == "__main__":
    main()

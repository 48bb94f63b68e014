"""Lay out pages and figures of studies again, and the figures of the project's README.

    python -m training.report

makes page and figure of each JSON file of ``training/results`` again, and the table between the two
marks in ``README.md``; with names of JSON files, only theirs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from c3det.commands import command
from training.evaluation.reporting import Report, StudyReport
from training.open.jobs_report import JobsReport
from training.open.reporting import OpenReport
from training.options import command_parser, input_errors

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "training" / "results"
MARKS = "<!-- by python -m training.report -->\n", "<!-- until here -->\n"
"""Around the figures in the README."""

REPORTS: dict[str, type[Report]] = {
    "panels": StudyReport,
    "study": JobsReport,
    "sets": OpenReport,
}
"""What a JSON file is the report of, by the first of these keys that it has."""

_GROUPS = {"single-class": "one class", "multi-class": "several classes"}


def read_report(path: Path) -> Report:
    """Read the JSON file of a study.

    Raises:
        ValueError: It is not the JSON file of a study.
    """
    content = _read(path)
    kinds = (kind for key, kind in REPORTS.items() if key in content)
    return next(kinds, StudyReport).read(path)


def headline(results: Path = RESULTS) -> str:
    """The figures of the README: means of the open model's studies, in Markdown."""
    studies = {
        "kinds never trained": _read(results / "unseen.json"),
        "kept aside": _read(results / "kept-aside.json"),
        "kinds trained, other pictures": _read(results / "open.json"),
    }
    counts = [str(number) for number in studies["kinds never trained"]["counts"]]
    lines = [
        f"| clicks a class | {' | '.join(counts)} |",
        f"| --- |{' ---: |' * len(counts)}",
    ]
    for title, content in studies.items():
        (means, *_) = content["means"].values()
        for group, name in _GROUPS.items():
            row = [means[group]["random"][count]["unclicked"]["AP"] for count in counts]
            cells = " | ".join("" if value is None else f"{value:.1f}" for value in row)
            lines.append(f"| {title}: {means[group]['sets']} sets of {name} | {cells} |")
    times = {
        (study, group): f"{one['economy']['carried']:.1f}"
        for study in ("jobs", "jobs-unseen")
        for group, one in _read(results / f"{study}.json")["means"].items()
    }
    lines += [
        "",
        "AP (IoU 0.5, in percent) of the objects that nobody clicked, the mean over real sets",
        "([never trained](training/results/unseen.md), [trained](training/results/open.md)). Sets",
        "[kept aside](training/results/kept-aside.md) were gathered after the training: kinds or",
        "looks that the shipped weights never saw, with complete labels. A",
        "simulated annotator who corrects until all is right is "
        f"{times['jobs-unseen', 'single-class']} ([never",
        f"trained](training/results/jobs-unseen.md)) to {times['jobs', 'single-class']} times "
        "([trained](training/results/jobs.md)) as fast",
        f"as by hand with one class, {times['jobs-unseen', 'multi-class']} to "
        f"{times['jobs', 'multi-class']} times with several.",
        *_adapting(results),
    ]
    return "\n".join(lines) + "\n"


def _adapting(results: Path) -> list[str]:
    """Lines on what adapting brings, the mean over sets of one class."""
    content = _read(results / "adapt.json")
    means = content["means"]["single-class"]
    gains = [
        f"{one['before']['carried']:.1f} to {one['after']['carried']:.1f} after {number}"
        for number, one in means["adapt"].items()
    ]
    return [
        "A minute of `training.adapt` on accepted pictures of a kind never trained takes AP in",
        f"the next ones from {', '.join(gains)} pictures",
        f"(mean of the {means['adapted sets']} sets of one class that have so many, one core,",
        "[by set](training/results/adapt.md)).",
    ]


def with_figures(readme: str, figures: str) -> str:
    """The README with other figures between the marks.

    Raises:
        ValueError: A mark is missing.
    """
    first, last = MARKS
    before, found, rest = readme.partition(first)
    _, end, after = rest.partition(last)
    if not (found and end):
        raise ValueError(f"README.md: the marks {first.strip()} and {last.strip()} are missing")
    return f"{before}{first}\n{figures}\n{last}{after}"


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


@command("python -m training.report")
def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and write."""
    parser = command_parser("training.report", __doc__)
    parser.add_argument("studies", type=Path, nargs="*", metavar="JSON")
    given = parser.parse_args(arguments)
    with input_errors(parser):
        for path in given.studies or sorted(RESULTS.glob("*.json")):
            read_report(path).write(path)
        if not given.studies:
            readme = ROOT / "README.md"
            text = with_figures(readme.read_text(encoding="utf-8"), headline())
            readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

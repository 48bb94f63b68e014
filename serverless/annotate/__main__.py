"""Let a function box all objects of a job or a task on a CVAT server.

The clicks are the points that people placed or uploaded, with their labels, and the centres of the
rectangles that people drew. A function that takes any label is asked with those of the task, and
finds them in the frames that have clicks, or, with exemplars of frames that people labelled or of a
file, in all others. What is written are rectangles of source semi-auto, in one group a run. A run
that was broken off goes on when the same command is given again.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from c3det.commands import ask_password, cache_directory, command
from serverless.annotate.cvat import Kind, Place, Server
from serverless.annotate.errors import AnnotateError, Retry
from serverless.annotate.function import (
    FunctionAtAddress,
    FunctionInProcess,
    FunctionOfCvat,
    function_classes,
)
from serverless.annotate.journal import FrameReport, Journal, journal_name
from serverless.annotate.plan import map_labels
from serverless.annotate.report import Overlay, summary, table
from serverless.annotate.review import review_file, write_review
from serverless.annotate.run import Options, Run
from serverless.local import FUNCTION

if TYPE_CHECKING:
    from serverless.annotate.function import ExemplarFunction
    from serverless.annotate.plan import LabelMap
    from serverless.protocol import CarriedExemplars

SHIPPED = "shipped"

RELOAD = "Reload the tabs of CVAT that were open before: they still show what was there before."


def frame_ranges(text: str) -> tuple[int, ...]:
    """Read ``0-3,7`` as 0, 1, 2, 3, 7."""
    frames: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        found = range(0)
        if match:
            found = range(int(match[1]), int(match[2] or match[1]) + 1)
        if not found:
            raise argparse.ArgumentTypeError(f"{part!r} is neither a frame nor a range like 0-9")
        frames.update(found)
    return tuple(sorted(frames))


def label_pair(text: str) -> tuple[str, str]:
    """Read ``LABEL=CLASS``."""
    label, equals, name = text.partition("=")
    if not (label and equals and name):
        raise argparse.ArgumentTypeError(f"{text!r} is not LABEL=CLASS")
    return label, name


def score(text: str) -> float:
    """Read a threshold; CVAT does not pass a threshold of 0 on."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and up to 1")
    return value


def table_file(text: str) -> Path:
    """Read the name of the file for ``--review``."""
    try:
        return review_file(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m serverless.annotate",
        description=(__doc__ or "").partition("\n")[2].strip(),
    )
    parser.add_argument("host", help="address of the CVAT server, with http:// or https://")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--job", type=int, metavar="ID")
    which.add_argument("--task", type=int, metavar="ID")
    login = parser.add_argument_group("login")
    login.add_argument(
        "--user",
        metavar="NAME",
        help="with the password in CVAT_PASSWORD, or asked for; without --user the token in "
        "CVAT_ACCESS_TOKEN",
    )
    login.add_argument("--org", metavar="SLUG", help="organization to work in")
    login.add_argument(
        "--insecure", action="store_true", help="do not check the server's certificate"
    )
    model = parser.add_argument_group("who finds the objects").add_mutually_exclusive_group()
    model.add_argument(
        "--function",
        default="c3det",
        metavar="NAME",
        help="a function of the server (default: %(default)s)",
    )
    model.add_argument("--url", help="a function at its own address")
    model.add_argument(
        "--model",
        nargs="?",
        const=SHIPPED,
        metavar="WEIGHTS",
        help="the model in this process, with the shipped weights or others",
    )
    parser.add_argument(
        "--function-yaml",
        type=Path,
        default=FUNCTION,
        metavar="FILE",
        help="of the function at --url: it tells the classes (%(default)s)",
    )
    work = parser.add_argument_group("what it does")
    work.add_argument(
        "--label",
        action="append",
        default=[],
        type=label_pair,
        metavar="LABEL=CLASS",
        help="a label of the task that the function knows by another name, or, where the function "
        "takes any label, whose clicks are for boxes of another one; may be repeated",
    )
    work.add_argument("--frames", type=frame_ranges, metavar="0-9,12", help="only these frames")
    work.add_argument(
        "--without-clicks",
        action="store_true",
        help="also ask about frames that have no click (a function with classes)",
    )
    work.add_argument(
        "--exemplars-from-frames",
        type=frame_ranges,
        metavar="0-4",
        help="frames that people labelled, with points or rectangles: what they show is looked for "
        "in all other frames, and they are left as they are (a function that takes any label)",
    )
    work.add_argument(
        "--exemplars",
        type=Path,
        metavar="FILE",
        help="exemplars that an earlier run saved, likewise, beside those of frames",
    )
    work.add_argument(
        "--save-exemplars",
        type=Path,
        metavar="FILE",
        help="save the exemplars of this run (.safetensors), for the next task",
    )
    work.add_argument("--threshold", type=score, help="lowest score (default: that of the weights)")
    work.add_argument(
        "--existing",
        choices=("keep", "overwrite"),
        default="keep",
        help="what becomes of rectangles of earlier runs and of automatic annotation, of the "
        "function's labels, on the frames asked about; what people drew or accepted stays "
        "(%(default)s)",
    )
    work.add_argument(
        "--remove-points", action="store_true", help="remove the points that were used as clicks"
    )
    work.add_argument("--dry-run", action="store_true", help="write nothing, tell what would be")
    work.add_argument(
        "--pictures", type=Path, metavar="FOLDER", help="draw what was found on each frame"
    )
    work.add_argument(
        "--review",
        type=table_file,
        metavar="FILE",
        help="write the order in which a person should look at the frames, the least sure first, "
        "with why (.csv or .md)",
    )
    work.add_argument(
        "--journal",
        type=Path,
        metavar="FILE",
        help="where a run notes what is done, so that it can go on (default: in the cache)",
    )
    return parser


def connect(options: argparse.Namespace, retry: Retry) -> Server:
    """Log in."""
    if not options.host.startswith(("http://", "https://")):
        raise AnnotateError(f"{options.host}: begin the address with http:// or https://")
    server = Server(options.host, retry, verify=not options.insecure)
    if options.user is not None:
        server.log_in(options.user, ask_password(options.user, f" at {options.host}"))
    elif token := os.environ.get("CVAT_ACCESS_TOKEN"):
        server.use_token(token)
    if options.org is not None:
        server.use_organization(options.org)
    return server


def make_function(options: argparse.Namespace, place: Place, retry: Retry) -> ExemplarFunction:
    """Return who finds the objects."""
    if options.model is not None:
        weights = None if options.model == SHIPPED else Path(options.model)
        return FunctionInProcess(FUNCTION, place.picture, weights)
    if options.url is not None:
        classes = function_classes(options.function_yaml)
        return FunctionAtAddress(options.url, classes, place.picture, retry)
    return FunctionOfCvat(place, options.function)


def chosen_frames(
    place: Place, wanted: tuple[int, ...] | None, option: str = "--frames"
) -> tuple[int, ...]:
    """Return the frames that an option names, ``None``: all.

    Raises:
        AnnotateError: A wanted frame is not there.
    """
    if wanted is None:
        return place.frames
    if absent := sorted(set(wanted) - set(place.frames)):
        raise AnnotateError(
            f"{option}: {place.kind} {place.id} has no frame {absent[0]}"
            + (f", its frames are {place.frames[0]} to {place.frames[-1]}" if place.frames else "")
        )
    return wanted


def exemplars_of(
    options: argparse.Namespace, place: Place, function: ExemplarFunction, labels: LabelMap
) -> CarriedExemplars | None:
    """Gather the exemplars of a run, say what they are, and save them where that is wanted.

    Raises:
        AnnotateError: There are none, or the function takes none.
    """
    frames, file = options.exemplars_from_frames, options.exemplars
    if frames is None and file is None:
        if options.save_exemplars is not None:
            raise AnnotateError(
                "--save-exemplars: there are no exemplars to save: say which frames show them with "
                "--exemplars-from-frames"
            )
        return None
    if function.classes:
        raise AnnotateError(
            f"{function.name} knows its classes and takes no exemplars: name a function that takes "
            "any label"
        )
    from serverless.annotate import exemplars
    from serverless.exemplars import carried

    known = None if file is None else exemplars.load(file)
    if frames is not None:
        bar = tqdm(total=len(frames), unit="frame", desc="exemplars", disable=None, leave=False)
        with bar:
            own = exemplars.of_frames(function, place, labels, frames, bar.update)
        known = own if known is None else exemplars.merged(own, known)
    assert known is not None
    used = exemplars.asked_with(known, labels)
    print(exemplars.told(known, used))
    if options.save_exemplars is not None:
        exemplars.save(known, options.save_exemplars)
    return carried(used)


def annotate(options: argparse.Namespace, retry: Retry) -> int:
    """Do a run and print what it did.

    Returns:
        The exit status: 0, or 1 if a frame failed.
    """
    server = connect(options, retry)
    kind: Kind = "job" if options.job is not None else "task"
    number = options.job if options.job is not None else options.task
    place = Place(server, kind, number)
    function = make_function(options, place, retry)
    labels = map_labels(place.labels, function.classes, options.label)
    shown = options.exemplars_from_frames
    if shown is not None:
        chosen_frames(place, shown, "--exemplars-from-frames")
    from_others = shown is not None or options.exemplars is not None
    if options.without_clicks and not function.classes and not from_others:
        raise AnnotateError(
            f"--without-clicks: {function.name} takes any label and finds none without clicks"
        )
    what = Options(
        frames=tuple(f for f in chosen_frames(place, options.frames) if f not in (shown or ())),
        without_clicks=options.without_clicks,
        threshold=options.threshold,
        existing=options.existing,
        remove_points=options.remove_points,
    )
    if place.overlap and (what.existing == "overwrite" or what.remove_points):
        raise AnnotateError(
            f"the jobs of task {place.id} share {place.overlap} frames, of whose shapes CVAT shows "
            "one copy and keeps two: shapes can be removed job by job only, with --job"
        )
    journal = None
    if not options.dry_run:
        path = options.journal or (
            cache_directory() / "annotate" / journal_name(server.host, kind, number)
        )
        settings = {
            "place": str(place),
            "function": function.name,
            "labels": options.label,
            "frames": options.frames,
            "exemplars-from-frames": shown,
            "exemplars": None if options.exemplars is None else str(options.exemplars),
            "without-clicks": what.without_clicks,
            "threshold": what.threshold,
            "existing": what.existing,
            "remove-points": what.remove_points,
        }
        journal = Journal(path, settings)
    what = replace(what, exemplars=exemplars_of(options, place, function, labels))
    pictures = Overlay(options.pictures, place, labels) if options.pictures else lambda seen: None
    run = Run(place, function, labels, what, journal, pictures)
    if journal is not None and run.reports:
        print(f"{len(run.reports)} frames are done already: going on with {journal.path}")
    fault = None
    try:
        bar = tqdm(total=len(run.asked), initial=len(run.reports), unit="frame", disable=None)
        with bar:
            for _ in run.frames():
                bar.update()
        run.remove_doubles()
        run.finish()
    except (AnnotateError, OSError, KeyboardInterrupt) as caught:
        fault = caught
    reports: list[FrameReport] = [run.reports[f] for f in run.asked if f in run.reports]
    print(table(reports, place, run.dry))
    print()
    print(summary(run, place, what))
    if options.review is not None:
        write_review(options.review, reports, place.frame_names)
    if fault is not None and journal is not None:
        print(f"The same command goes on from here; what is done is noted in {journal.path}.")
    if run.changed:
        print(RELOAD)
    if fault is not None:
        raise fault
    return 1 if any(report.failure is not None for report in reports) else 0


@command("serverless.annotate")
def main(arguments: Sequence[str] | None = None, retry: Retry | None = None) -> None:
    """Run the command."""
    options = make_parser().parse_args(arguments)
    try:
        status = annotate(options, retry or Retry())
    except AnnotateError as error:
        print(f"serverless.annotate: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(status)


if __name__ == "__main__":
    main()

"""Find all objects of a job or a task on a CVAT server, and write them as rectangles.

The clicks are the points that people placed or uploaded, with their labels, and the centres of the
rectangles that people drew. A function that takes any label gets the labels of the task, and finds
objects in the frames that have clicks, or, with exemplars of frames that people labelled or of a
file, in all others. The rectangles have the source semi-auto, and one group a run. A run that was
interrupted goes on when the same command is given again. Frames that failed are tried by the next
run: --frames names them alone.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from tqdm import tqdm

from c3det.commands import ask_password, at_least, cache_directory, command, naming
from c3det.exemplars import Exemplars, ExemplarsError
from serverless.annotate.cvat import Kind, Server, Target
from serverless.annotate.errors import AnnotateError, Retry
from serverless.annotate.function import (
    Function,
    FunctionAtAddress,
    FunctionInProcess,
    FunctionOfCvat,
)
from serverless.annotate.issues import create_issues, frames_to_look_at
from serverless.annotate.job_exemplars import (
    counted,
    exemplars_of_frames,
    exemplars_to_send,
    gathered,
)
from serverless.annotate.journal import Journal, journal_name
from serverless.annotate.plan import LabelMap, map_labels
from serverless.annotate.report import Overlay, summary, table
from serverless.annotate.review import check_writable, review_file, write_review
from serverless.annotate.run import Run, RunOptions
from serverless.deployment import FUNCTION
from serverless.exemplar_codec import to_request
from serverless.protocol import CarriedExemplars

SHIPPED = "shipped"

MOST_FRAMES = 1_000_000
"""In one range of an option."""

RELOAD = "Reload the tabs of CVAT that were open before: they show the old annotations."


def frame_ranges(text: str) -> tuple[int, ...]:
    """Read ``0-3,7`` as 0, 1, 2, 3, 7; a range has at most `MOST_FRAMES`."""
    frames: set[int] = set()
    for item in text.split(","):
        match = re.fullmatch(r"(\d{1,18})(?:-(\d{1,18}))?", item)
        found = range(int(match[1]), int(match[2] or match[1]) + 1) if match else range(0)
        if not found:
            raise argparse.ArgumentTypeError(f"{item!r} is neither a frame nor a range like 0-9")
        if found[-1] - found[0] >= MOST_FRAMES:
            raise argparse.ArgumentTypeError(
                f"{item!r} is more than {MOST_FRAMES} frames: name those that are there"
            )
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
        help="of the function at --url: it lists the classes (%(default)s)",
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
        help="search frames that have no click too (a function with classes)",
    )
    work.add_argument(
        "--exemplars-from-frames",
        type=frame_ranges,
        metavar="0-4",
        help="frames that people labelled, with points or rectangles: objects like these are "
        "searched in all other frames; these stay as they are (a function that takes any label)",
    )
    work.add_argument(
        "--exemplars",
        type=Path,
        metavar="FILE",
        help="exemplars that an earlier run saved, alone or beside those of frames",
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
        help="whether rectangles of earlier runs and of automatic annotation, of the function's "
        "labels, stay on the frames searched (%(default)s); overwrite replaces those, too, that a "
        "person has corrected, which CVAT does not tell apart; what people drew, or accepted in "
        "the plugin, always stays",
    )
    work.add_argument(
        "--remove-points", action="store_true", help="remove the points that were used as clicks"
    )
    work.add_argument("--dry-run", action="store_true", help="write nothing, report what would be")
    work.add_argument(
        "--pictures", type=Path, metavar="FOLDER", help="draw the objects found on each frame"
    )
    work.add_argument(
        "--review",
        type=review_file,
        metavar="FILE",
        help="write the order in which a person should look at the frames, the least sure first, "
        "with why (.csv or .md)",
    )
    work.add_argument(
        "--issues",
        type=at_least(1),
        metavar="COUNT",
        help="create CVAT's issues (review comments) on so many frames, the least sure first, with "
        "why; never two at one place",
    )
    work.add_argument(
        "--journal",
        type=Path,
        metavar="FILE",
        help="where a run writes what is done, so that it can go on (default: in the cache)",
    )
    return parser


def connect(options: argparse.Namespace, retry: Retry) -> Server:
    """Log in."""
    if not options.host.startswith(("http://", "https://")):
        raise AnnotateError(f"{options.host}: the address must have http:// or https:// in front")
    server = Server(options.host, retry, verify=not options.insecure)
    if options.user is not None:
        server.log_in(options.user, ask_password(options.user, f" at {options.host}"))
    elif token := os.environ.get("CVAT_ACCESS_TOKEN"):
        server.use_token(token)
    if options.org is not None:
        server.use_organization(options.org)
    return server


def make_function(options: argparse.Namespace, target: Target, retry: Retry) -> Function:
    """Return the function that finds the objects."""
    if options.model is not None:
        weights = None if options.model == SHIPPED else Path(options.model)
        return FunctionInProcess(target.picture, weights)
    if options.url is not None:
        return FunctionAtAddress(options.url, options.function_yaml, target.picture, retry)
    return FunctionOfCvat(target, options.function)


def check_frames(target: Target, option: str, wanted: Sequence[int]) -> None:
    """Refuse frames of an option that are not there."""
    if absent := sorted(set(wanted) - set(target.frames)):
        raise AnnotateError(
            f"{option}: {target.kind} {target.id} has no frame {absent[0]}"
            + (
                f", its frames are {target.frames[0]} to {target.frames[-1]}"
                if target.frames
                else ""
            )
        )


def check_options(options: argparse.Namespace, target: Target, function: Function) -> None:
    """Refuse options that do not go together, or not with the target and the function."""
    shown, with_exemplars = options.exemplars_from_frames, uses_exemplars(options)
    check_frames(target, "--exemplars-from-frames", shown or ())
    check_frames(target, "--frames", options.frames or ())
    if options.without_clicks and not function.classes and not with_exemplars:
        raise AnnotateError(
            f"--without-clicks: {function.name} takes any label and finds none without clicks"
        )
    if options.save_exemplars is not None and not with_exemplars:
        raise AnnotateError(
            "--save-exemplars: there are no exemplars to save: say which frames show them with "
            "--exemplars-from-frames"
        )
    if with_exemplars and function.classes:
        raise AnnotateError(
            f"{function.name} knows its classes and takes no exemplars: name a function that takes "
            "any label"
        )
    if target.overlap and (options.existing == "overwrite" or options.remove_points):
        raise AnnotateError(
            f"the jobs of task {target.id} share {target.overlap} frames, of whose shapes CVAT "
            "shows one copy and keeps two: shapes can be removed job by job only, with --job"
        )


def uses_exemplars(options: argparse.Namespace) -> bool:
    """Tell whether the run has exemplars."""
    return options.exemplars_from_frames is not None or options.exemplars is not None


def make_journal(options: argparse.Namespace, target: Target, function: Function) -> Journal:
    """Return the journal of the run; it goes on with a run of the same settings."""
    name = journal_name(target.server.host, target.kind, target.id)
    settings: dict[str, Any] = {
        "place": str(target),
        "function": function.name,
        "labels": options.label,
        "frames": options.frames,
        "exemplars-from-frames": options.exemplars_from_frames,
        "exemplars": None if options.exemplars is None else str(options.exemplars),
        "without-clicks": options.without_clicks,
        "threshold": options.threshold,
        "existing": options.existing,
        "remove-points": options.remove_points,
    }
    return Journal(options.journal or cache_directory() / "annotate" / name, settings)


def make_exemplars(
    options: argparse.Namespace, target: Target, function: Function, labels: LabelMap
) -> CarriedExemplars | None:
    """Return the exemplars that go with each request; print their number, and save them all.

    Raises:
        AnnotateError: There are none in the frames, or the function gives none.
        ExemplarsError: The file cannot be read, or is of other weights.
    """
    if not uses_exemplars(options):
        return None
    frames = options.exemplars_from_frames
    known = [] if options.exemplars is None else [Exemplars.load(options.exemplars)]
    if frames is None:
        found, left_out = gathered(known)
    else:
        bar = tqdm(total=len(frames), unit="frame", desc="exemplars", disable=None, leave=False)
        with bar:
            own = exemplars_of_frames(function, target, labels, frames, bar.update)
            found, left_out = gathered(chain(own, known))
    sent = exemplars_to_send(found, labels)
    print(counted(found, sent, left_out))
    if options.save_exemplars is not None:
        with naming(options.save_exemplars):
            found.save(options.save_exemplars)
    return to_request(sent)


def issues_line(most: int, target: Target, run: Run) -> str:
    """Create the issues of a run, if it is not dry, and return a line with their number."""
    reports = [one for one in run.reports_in_order if target.job_of(one.frame) is not None]
    frames = frames_to_look_at(reports, most)
    left_out = len(run.reports_in_order) - len(reports)
    note = f"; frames without a job of annotation, which take none: {left_out}" if left_out else ""
    if run.dry:
        return f"issues to create: {len(frames)}, unless they are there{note}"
    return f"issues created: {create_issues(target, frames)}{note}"


def annotate(options: argparse.Namespace, retry: Retry) -> int:
    """Do a run and print its report; return the exit status, 1 if a frame failed."""
    server = connect(options, retry)
    kind: Kind = "job" if options.job is not None else "task"
    target = Target(server, kind, options.job if options.job is not None else options.task)
    function = make_function(options, target, retry)
    labels = map_labels(target.labels, function.classes, options.label)
    check_options(options, target, function)
    if options.review is not None:
        check_writable(options.review)
    journal = None if options.dry_run else make_journal(options, target, function)
    frames = target.frames if options.frames is None else options.frames
    shown = options.exemplars_from_frames or ()
    run_options = RunOptions(
        frames=tuple(frame for frame in frames if frame not in shown),
        without_clicks=options.without_clicks,
        exemplars=make_exemplars(options, target, function, labels),
        threshold=options.threshold,
        existing=options.existing,
        remove_points=options.remove_points,
    )
    draw = Overlay(options.pictures, target, labels) if options.pictures else None
    run = Run(target, function, labels, run_options, journal, draw)
    if journal is not None and run.reports:
        print(f"{len(run.reports)} frames are done already: going on with {journal.path}")
    fault = None
    try:
        bar = tqdm(total=len(run.selected), initial=len(run.reports), unit="frame", disable=None)
        with bar:
            for _ in run.process():
                bar.update()
        run.remove_doubles()
        if options.issues is not None:
            print(issues_line(options.issues, target, run))
    except (AnnotateError, OSError, KeyboardInterrupt) as caught:
        fault = caught
    reports = run.reports_in_order
    print(table(reports, target, run.dry))
    print()
    print(summary(run, target, run_options))
    try:
        if options.review is not None:
            write_review(options.review, reports, target.frame_names)
        if fault is None:  # the last step: until then the same command goes on
            run.finish()
    except (AnnotateError, OSError) as caught:
        fault = fault or caught
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
    except (AnnotateError, ExemplarsError) as error:
        print(f"serverless.annotate: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(status)


if __name__ == "__main__":
    main()

"""Train detectors that differ in one thing and measure what it is worth.

``python -m training.compare --study variants --set composite --out runs/compare`` trains the
paper's variants, each two-stage and one-stage, with one schedule, the same seeds and the same
clicks; ``--study ablations`` changes one setting of C3Det a row; ``--study data`` fine-tunes
finished weights on ever fewer objects.

Unless ``--plain-iterations`` is 0, the rows of one seed share a detector without clicks, and each
goes on from it for equally long, the plain one too; otherwise each starts from ImageNet weights.

Killed at any moment and started again with the same command it goes on: a run from its last
checkpoint, and what is done is not done again. In the folder lie ``<study>.json``, the table
``<study>.md`` and the plots ``<study>-<set>-<stages>.png`` that are made from it, and ``weights/``
with the weights and cards of all rows. Studies in one folder, one after the other, share what they
have in common: the detectors without clicks, and the row C3Det.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from c3det.commands import at_least, command, positive
from c3det.configs import Stages
from c3det.weights import WeightsError, read_card, save_card
from training.data.sets import split_spec
from training.evaluation.measures import interval
from training.evaluation.measuring import METRICS, PARTS, percent, percents
from training.evaluation.protocol import CLICKS
from training.evaluation.reporting import TITLES, card_results, draw_curve

Study = Literal["variants", "ablations", "data"]

BASE = "C3Det"
"""The row from which the differences of the others are told."""

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": dict(fusion="plain"),
    "early fusion": dict(fusion="early", uel=False),
    "late fusion": dict(fusion="late", uel=False),
    "late fusion + UEL": dict(fusion="late", uel=True),
    "C3 only": dict(fusion="c3det", late=False),
    "C3Det without UEL": dict(fusion="c3det", uel=False),
    BASE: dict(fusion="c3det"),
}
"""Arguments of `c3det.configs.architecture`. "C3 only" has the UEL, as in the paper's ablation."""

ABLATIONS: dict[str, dict[str, Any]] = {
    BASE: VARIANTS[BASE],
    **{f"sigma of late fusion {sigma} px": dict(sigma=sigma) for sigma in (1.0, 2.0, 8.0)},
    **{
        f"sampling gaussian-nearest, sigma {sigma} px": dict(
            correlation=dict(sampling="gaussian-nearest", sigma=sigma)
        )
        for sigma in (1.0, 3.0, 6.0)
    },
    **{
        f"scale {scale}, gain {gain}": dict(correlation=dict(scale=scale, gain=gain))
        for scale, gain in (
            ("none", 1.0),
            ("channels", 1.0),
            ("cosine", 1.0),
            ("cosine", 3.0),
            ("cosine", 30.0),
        )
    },
    "without projection": dict(correlation=dict(projection=False)),
    "gradient through the correlation": dict(correlation=dict(stop_gradient=False)),
    "UEL's class the clicked one": dict(uel=dict(target="clicked")),
    "without UEL": dict(uel=False),
    **{f"UEL's weight {weight}": dict(uel=dict(weight=weight)) for weight in (0.03, 0.3, 1.0)},
}
"""What differs from the starter's C3Det, whose settings are the row of that name."""

PASTED = "clicks pasted in"
"""The control: the plain detector, told of no click, with the clicks pasted into its output."""


@dataclass(frozen=True)
class Row:
    """What is trained, once a seed.

    Attributes:
        name: Of the row.
        stages: One-stage or two-stage.
        architecture: Arguments of `c3det.configs.architecture`, but for the stages.
        training: Further arguments of `training.train`.
        start: Whether it goes on from the shared plain detector of its stages and seed.
    """

    name: str
    stages: Stages
    architecture: Mapping[str, Any]
    training: tuple[str, ...] = ()
    start: bool = True

    def key(self, seed: int) -> str:
        """Name of the row's files."""
        name = re.sub(r"[^a-z0-9.]+", "-", self.name.lower()).strip("-")
        return f"{name}-{self.stages}-seed{seed}"


def plain(stages: Stages) -> Row:
    """The detector without clicks from which the rows start."""
    return Row("shared start", stages, VARIANTS["plain"], start=False)


def architecture_arguments(row: Row) -> list[str]:
    """The row's architecture as arguments of `training.train`."""
    arguments = ["--stages", row.stages]
    for name, value in row.architecture.items():
        if name == "late":
            arguments.append("--late" if value else "--no-late")
        elif isinstance(value, bool | Mapping):
            arguments += [f"--{name}", json.dumps(value)]
        else:
            arguments += [f"--{name}", str(value)]
    return arguments


@dataclass(frozen=True)
class Comparison:
    """What is compared, and how.

    Attributes:
        out: Folder of everything.
        study: Name of the files of results.
        rows: What is trained.
        sets: Specs of the sets to train on, see `training.data.sets.load_sets`.
        test_sets: Names of the sets to measure on.
        seeds: Of training; each row is trained once a seed.
        plain_iterations: Steps of the shared plain detector; 0: there is none.
        iterations: Steps of each row.
        training: Arguments of `training.train` that all rows share.
        continued: Further ones of the rows that start from the shared detector.
        click_seeds: Number of seeds of the clicks that are evaluated.
        counts: Numbers of clicks.
        pictures: Only the first ones of each test set; ``None``: all.
        jobs: Processes at a time, each with one thread.
    """

    out: Path
    study: Study
    rows: tuple[Row, ...]
    sets: tuple[str, ...]
    test_sets: tuple[str, ...]
    seeds: tuple[int, ...]
    plain_iterations: int
    iterations: int
    training: tuple[str, ...]
    continued: tuple[str, ...]
    click_seeds: int
    counts: tuple[int, ...]
    pictures: int | None
    jobs: int

    def train_command(self, row: Row, seed: int) -> list[str]:
        """The command that trains a row."""
        starts = row.start and self.plain_iterations > 0
        iterations = self.plain_iterations if row == plain(row.stages) else self.iterations
        command = ["training.train", "--out", str(self.run(row, seed))]
        for spec in self.sets:
            command += ["--set", spec]
        if "--weights" not in row.training:
            command += architecture_arguments(row)
        command += [*self.training, *row.training]
        command += ["--iterations", str(iterations), "--seed", str(seed)]
        if starts:
            command += ["--start", str(self.run(plain(row.stages), seed)), *self.continued]
        return [*command, "--threads", "1"]

    def run(self, row: Row, seed: int) -> Path:
        """Folder of a row's training."""
        return self.out / "runs" / row.key(seed)

    def weights(self, row: Row, seed: int) -> Path:
        """File of a row's weights."""
        return self.out / "weights" / f"{row.key(seed)}.safetensors"

    def measured(self, row: Row, seed: int) -> Path:
        """File of what `training.evaluate` says of a row."""
        return self.out / "measured" / f"{row.key(seed)}.json"

    def evaluate_command(self, row: Row, seed: int) -> list[str]:
        """The command that measures a row; the clicks depend on its seeds and the set alone."""
        weights = f"{row.key(seed)}={self.weights(row, seed)}"
        command = ["training.evaluate", "--weights", weights]
        measured = self.measured(row, seed)
        command += ["--out", str(measured), "--samples", str(measured.with_suffix(".npz"))]
        command += ["--sets", *self.test_sets]
        command += ["--seeds", str(self.click_seeds), "--clicks", *map(str, self.counts)]
        command += ["--bootstrap", "200"]
        if self.pictures is not None:
            command += ["--pictures", str(self.pictures)]
        if row.architecture.get("fusion") != "plain":
            command += ["--passthrough"]
        return command


def run_all(comparison: Comparison) -> None:
    """Train, export and measure whatever is not done yet.

    Raises:
        RuntimeError: A command failed; the message names its log. Or another process, perhaps what
            a killed one left behind, is still at work in the folder.
        ValueError: Something in the folder was made by another command.
    """
    comparison.out.mkdir(parents=True, exist_ok=True)
    with (comparison.out / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"another process is still at work in {comparison.out}") from None
        work = partial(_one_row, comparison, lock.fileno())
        stages = dict.fromkeys(row.stages for row in comparison.rows if row.start)
        if comparison.plain_iterations > 0:
            shared = [(plain(each), seed) for seed in comparison.seeds for each in stages]
            _in_parallel(comparison.jobs, shared, partial(_train, comparison, lock.fileno()))
        rows = [(row, seed) for seed in comparison.seeds for row in comparison.rows]
        _in_parallel(comparison.jobs, rows, work)


def _in_parallel(
    jobs: int, rows: Iterable[tuple[Row, int]], work: Callable[[Row, int], None]
) -> None:
    with ThreadPoolExecutor(jobs) as pool:
        done = [pool.submit(work, *row) for row in rows]
        try:
            for one in done:
                one.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _train(comparison: Comparison, lock: int, row: Row, seed: int) -> None:
    run = comparison.run(row, seed)
    _once(comparison.train_command(row, seed), run / "done", run / "train.log", lock)


def _one_row(comparison: Comparison, lock: int, row: Row, seed: int) -> None:
    _train(comparison, lock, row, seed)
    run, weights = comparison.run(row, seed), comparison.weights(row, seed)
    command = ["training.export", "--run", str(run), "--out", str(weights)]
    _once([*command, "--name", row.key(seed)], run / "exported", run / "export.log", lock)
    measured = comparison.measured(row, seed)
    done, log = measured.with_suffix(".done"), measured.with_suffix(".log")
    if _once(comparison.evaluate_command(row, seed), done, log, lock):
        results = json.loads(measured.read_text())
        save_card(weights, replace(read_card(weights), results=card_results(results)))


def _once(command: Sequence[str], done: Path, log: Path, lock: int) -> bool:
    """Run a module with one thread, unless it ran before; what it prints goes to a log.

    Args:
        command: The module and its arguments.
        done: Is written at the end, with the command.
        log: Is appended to.
        lock: File descriptor that the process holds open, so that the lock outlives its parent.

    Returns:
        Whether it had to run.
    """
    text = "python -m " + shlex.join(command)
    if done.is_file():
        if done.read_text().strip() != text:
            raise ValueError(
                f"{done} was made by another command: take another folder, or delete "
                f"{done.parent} to have it made again"
            )
        return False
    done.parent.mkdir(parents=True, exist_ok=True)
    print(text, flush=True)
    with log.open("ab") as file:
        found = subprocess.run(
            [sys.executable, "-m", *command],
            stdout=file,
            stderr=file,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            pass_fds=(lock,),
        )
    if found.returncode != 0:
        lines = log.read_text(errors="replace").strip().splitlines()
        raise RuntimeError(f"{command[0]} failed, see {log}: {lines[-1] if lines else ''}")
    part = done.with_suffix(".part")
    part.write_text(text + "\n")
    part.replace(done)
    return True


def collect(comparison: Comparison) -> dict[str, Any]:
    """Bring what was measured of all rows together.

    Returns:
        Fit for JSON. ``rows``: each with its name, its stages, its command, ``sha256`` of its
        weights by seed and ``ap``: by set, part and metric the ``clicks`` and the ``area``, with
        the ``mean`` over the training seeds, each of the ``runs``, and the values of all the click
        ``seeds`` of all runs; and ``minus_base``, the differences in ``ap50`` from the row `BASE`
        of the same stages, if there is one, likewise by set, part and number of clicks, with
        their 95 % ``interval`` by a bootstrap over the pictures, the weights taken as they are.
        The control is a row of its own.

    Raises:
        ValueError: Two rows were measured with other clicks.
    """
    rows, sets, machine = [], None, None
    _same_clicks(comparison)
    for row in comparison.rows:
        measured = [
            json.loads(comparison.measured(row, seed).read_text()) for seed in comparison.seeds
        ]
        sets, machine = measured[0]["sets"], measured[0]["machine"]
        models = [next(iter(results["models"].values())) for results in measured]
        about = dict(
            stages=row.stages,
            command="python -m " + shlex.join(comparison.train_command(row, comparison.seeds[0])),
            sha256=[model["sha256"] for model in models],
        )
        base = next(
            (one for one in comparison.rows if (one.name, one.stages) == (BASE, row.stages)), None
        )
        modes = {row.name: "served"}
        if row.architecture.get("fusion") == "plain":
            modes[PASTED] = "passthrough"
        for name, mode in modes.items():
            differences = _minus(comparison, row, mode, base) if base else None
            rows.append(
                dict(name=name, **about, ap=_together(models, mode), minus_base=differences)
            )
    return dict(
        training_sets=list(comparison.sets),
        plain_iterations=comparison.plain_iterations * any(row.start for row in comparison.rows),
        iterations=comparison.iterations,
        training_seeds=list(comparison.seeds),
        click_seeds=comparison.click_seeds,
        clicks=list(comparison.counts),
        machine=machine,
        sets=sets,
        rows=rows,
    )


def _same_clicks(comparison: Comparison) -> None:
    contents = {
        comparison.measured(row, seed).with_suffix(".clicks.json").read_bytes()
        for row in comparison.rows
        for seed in comparison.seeds
    }
    if len(contents) > 1:
        raise ValueError(
            f"the rows in {comparison.out / 'measured'} were measured with other clicks: delete "
            "that folder and start again"
        )


def _together(models: Sequence[Mapping[str, Any]], mode: str) -> dict[str, Any]:
    """Join the curves of a row's seeds."""
    first = models[0]["sets"]
    return {
        test_set: {
            part: {
                metric: _joined([model["sets"][test_set][mode][part][metric] for model in models])
                for metric in METRICS
            }
            for part in PARTS
        }
        for test_set in first
    }


def _minus(comparison: Comparison, row: Row, mode: str, base: Row) -> dict[str, Any]:
    """Subtract a row's samples from another's, resample by resample."""
    own, other = _samples(comparison, row, mode), _samples(comparison, base, "served")
    content: dict[str, Any] = {}
    for (test_set, part), samples in own.items():
        points = {}
        differences = samples - other[test_set, part]
        for number, difference in zip(comparison.counts, differences, strict=True):
            points[str(number)] = dict(
                mean=percent(difference[0]), interval=percents(interval(difference[1:]))
            )
        content.setdefault(test_set, {})[part] = points
    return content


def _samples(
    comparison: Comparison, row: Row, mode: str
) -> dict[tuple[str, str], NDArray[np.float64]]:
    """By set and part float64 (numbers of clicks, 1 + resamples), means over the seeds."""
    found: dict[tuple[str, str], list[NDArray[np.float64]]] = {}
    for seed in comparison.seeds:
        with np.load(comparison.measured(row, seed).with_suffix(".npz")) as arrays:
            for key in arrays.files:
                test_set, _, of_mode, part = key.rsplit("/", 3)
                if of_mode == mode:
                    found.setdefault((test_set, part), []).append(arrays[key])
    return {key: np.mean(values, axis=0) for key, values in found.items()}


def _joined(curves: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return dict(
        clicks={
            number: _point([curve["clicks"][number] for curve in curves])
            for number in curves[0]["clicks"]
        },
        area=_point([curve["area"] for curve in curves]),
    )


def _point(points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    runs = [point["mean"] for point in points]
    known = [mean for mean in runs if mean is not None]
    return dict(
        mean=round(float(np.mean(known)), 3) if known else None,
        runs=runs,
        seeds=[value for point in points for value in point["seeds"] if value is not None],
    )


def markdown(results: Mapping[str, Any], metric: str = "ap50") -> str:
    """Lay results out as tables: one a set, kind of detector and part, a line a row."""
    counts = [str(number) for number in results["clicks"]]
    lines = [
        f"{TITLES[metric]}, percent, as served, after so many clicks and as the area under the "
        f"curve; means of {len(results['training_seeds'])} training and {results['click_seeds']} "
        f"click seeds. Trained on {', '.join(results['training_sets'])}: "
        + (
            f"{results['plain_iterations']} steps without clicks, shared, then "
            if results["plain_iterations"]
            else ""
        )
        + f"{results['iterations']} steps a row."
    ]
    for test_set, about in results["sets"].items():
        for stages in dict.fromkeys(row["stages"] for row in results["rows"]):
            for part in PARTS:
                heading = f"{test_set} ({about['pictures']} pictures, {stages}): {part}"
                lines += ["", f"| {heading} | {' | '.join(counts)} | area |"]
                lines.append("| --- |" + " ---: |" * (len(counts) + 1))
                for row in results["rows"]:
                    if row["stages"] == stages:
                        curve = row["ap"][test_set][part][metric]
                        points = [*(curve["clicks"][number] for number in counts), curve["area"]]
                        cells = " | ".join(_cell(point["mean"]) for point in points)
                        lines.append(f"| {row['name']} | {cells} |")
                lines += _table_of_differences(results, test_set, stages, part)
    return "\n".join(lines) + "\n"


def _table_of_differences(
    results: Mapping[str, Any], test_set: str, stages: str, part: str
) -> list[str]:
    """The differences from the row `BASE`, or nothing where there is no other row or no base."""
    counts = [str(number) for number in results["clicks"]]
    lines = [
        f"| {row['name']} | {' | '.join(_difference(points[number]) for number in counts)} |"
        for row in results["rows"]
        if row["stages"] == stages and row["minus_base"] and row["name"] != BASE
        for points in [row["minus_base"][test_set][part]]
    ]
    if not lines:
        return []
    heading = f"{test_set}, {stages}, {part}: difference from {BASE}, 95 % interval"
    return [
        "",
        f"| {heading} | {' | '.join(counts)} |",
        "| --- |" + " ---: |" * len(counts),
        *lines,
    ]


def _difference(point: Mapping[str, Any]) -> str:
    if point["mean"] is None:
        return "-"
    low, high = point["interval"]
    return f"{point['mean']:+.1f} ({low:+.1f} to {high:+.1f})"


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def plot(results: Mapping[str, Any], test_set: str, stages: str, path: Path) -> None:
    """Draw the curves of all rows: the mean, and the range over all seeds."""
    rows = [row for row in results["rows"] if row["stages"] == stages]
    figure = Figure(figsize=(6 * len(PARTS), 6), layout="constrained")
    panels = figure.subplots(1, len(PARTS), sharey=True)
    for axes, part in zip(panels, PARTS, strict=True):
        for number, row in enumerate(rows):
            curve = row["ap"][test_set][part]["ap50"]["clicks"]
            style = "--" if row["name"] == PASTED else "-"
            draw_curve(axes, curve, row["name"], f"C{number % 10}", style)
        axes.set_title(f"{test_set}, {stages}, {part}")
        axes.set_xlabel("clicks")
        axes.set_ylabel(f"{TITLES['ap50']}, %")
        axes.grid(alpha=0.3)
    panels[0].legend(fontsize="small")
    figure.savefig(path, dpi=120)


def write(comparison: Comparison) -> str:
    """Write results, table and plots of what was measured.

    Returns:
        The table.
    """
    results = collect(comparison)
    text = json.dumps(results, indent=1, allow_nan=False)
    (comparison.out / f"{comparison.study}.json").write_text(text + "\n")
    table = markdown(results)
    (comparison.out / f"{comparison.study}.md").write_text(table)
    for test_set in results["sets"]:
        for stages in dict.fromkeys(row.stages for row in comparison.rows):
            file = f"{comparison.study}-{test_set}-{stages}.png"
            plot(results, test_set, stages, comparison.out / file)
    return table


def study_rows(
    study: Study, stages: Sequence[Stages], objects: Sequence[int], weights: Path | None
) -> tuple[Row, ...]:
    """The rows of a study.

    Raises:
        ValueError: The study of data lacks the weights to fine-tune.
        c3det.weights.WeightsError: They cannot be read.
    """
    if study == "data":
        if weights is None:
            raise ValueError("the study of data fine-tunes finished weights: name them")
        read_card(weights)
        starts = {"fine-tuned": ("--weights", str(weights)), "from ImageNet": ()}
        amounts = {f"{number} objects": ("--objects", str(number)) for number in objects}
        return tuple(
            Row(f"{amount}, {start}", "two-stage", {}, (*begun, *counted), start=False)
            for amount, counted in {**amounts, "all objects": ()}.items()
            for start, begun in starts.items()
        )
    table = VARIANTS if study == "variants" else ABLATIONS
    return tuple(Row(name, each, fields) for each in stages for name, fields in table.items())


@command("python -m training.compare")
def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, and train, measure and write."""
    parser = argparse.ArgumentParser(
        prog="python -m training.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder of everything")
    add("--set", dest="sets", action="append", required=True, metavar="SET[=PART]")
    add("--test-sets", nargs="+", metavar="SET", help="by default those trained on")
    add("--study", choices=get_args(Study), default="variants")
    add("--rows", nargs="+", metavar="NAME", help="only these rows of the study")
    add("--stages", nargs="+", choices=get_args(Stages), default=["two-stage", "one-stage"])
    add("--seeds", type=at_least(1), default=1, help="of training, for each row (%(default)s)")
    add("--plain-iterations", type=int, default=1400, help="shared first phase; 0: from ImageNet")
    add("--iterations", type=int, default=450, help="of each row (%(default)s)")
    add("--batch", type=int, default=8)
    add("--size", type=int, default=256, help="side of a crop in pixels")
    add("--learning-rate", type=positive, default=1.5e-3)
    add("--trunk-rate", type=float, default=0.2, help="after the first phase (%(default)s)")
    add("--head-rate", type=float, default=0.2, help="after the first phase (%(default)s)")
    add("--clicks-trained", default="mixed", metavar="STRATEGY", help="see training.train")
    add("--objects", type=int, nargs="+", default=[25, 100, 400], help="of the study of data")
    add("--weights", type=Path, help="to fine-tune, in the study of data")
    add("--click-seeds", type=at_least(1), default=3, help="of the evaluation (%(default)s)")
    add("--clicks", type=int, nargs="+", default=CLICKS, metavar="N")
    add("--pictures", type=int, help="only the first ones of each test set")
    add("--jobs", type=at_least(1), default=1, help="processes at a time, one thread each")
    given = parser.parse_args(arguments)
    try:
        rows = study_rows(given.study, given.stages, given.objects, given.weights)
        if given.rows:
            unknown = set(given.rows) - {row.name for row in rows}
            if unknown:
                names = ", ".join(dict.fromkeys(row.name for row in rows))
                raise ValueError(f"there is no row {sorted(unknown)[0]!r}, only {names}")
            rows = tuple(row for row in rows if row.name in given.rows)
        comparison = Comparison(
            out=given.out,
            study=given.study,
            rows=rows,
            sets=tuple(given.sets),
            test_sets=tuple(given.test_sets or [split_spec(spec)[0] for spec in given.sets]),
            seeds=tuple(range(given.seeds)),
            plain_iterations=given.plain_iterations,
            iterations=given.iterations,
            training=(
                *("--batch", str(given.batch), "--size", str(given.size)),
                *("--learning-rate", str(given.learning_rate), "--clicks", given.clicks_trained),
            ),
            continued=(
                *("--trunk-rate", str(given.trunk_rate), "--head-rate", str(given.head_rate)),
            ),
            click_seeds=given.click_seeds,
            counts=tuple(sorted(set(given.clicks))),
            pictures=given.pictures,
            jobs=given.jobs,
        )
        run_all(comparison)
        print(write(comparison))
    except (ValueError, RuntimeError, WeightsError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()

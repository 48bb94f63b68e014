"""Runs the commands of an experiment, each once, whatever is interrupted."""

from __future__ import annotations

import fcntl
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from c3det.commands import CommandError
from training.compare.planning import Experiment, Row


def run_all(experiment: Experiment) -> None:
    """Train, export and evaluate whatever is not done yet.

    Raises:
        CommandError: A command failed; the message names its log. Or another process, perhaps what
            a killed one left behind, is still at work in the folder.
        ValueError: Something in the folder was made by another command.
    """
    out, jobs = experiment.settings.out, experiment.settings.jobs
    out.mkdir(parents=True, exist_ok=True)
    with (out / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(f"another process is still at work in {out}") from None
        seeds = experiment.seeds
        train, work = (partial(one, experiment, lock.fileno()) for one in (_train, _one_row))
        _in_parallel(jobs, [(row, seed) for seed in seeds for row in experiment.shared], train)
        _in_parallel(jobs, [(row, seed) for seed in seeds for row in experiment.rows], work)


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


def _train(experiment: Experiment, lock: int, row: Row, seed: int) -> None:
    run = experiment.run(row, seed)
    _once(experiment.train_command(row, seed), run / "done", run / "train.log", lock)


def _one_row(experiment: Experiment, lock: int, row: Row, seed: int) -> None:
    _train(experiment, lock, row, seed)
    run = experiment.run(row, seed)
    _once(experiment.export_command(row, seed), run / "exported", run / "export.log", lock)
    done, log = (experiment.evaluation(row, seed, suffix) for suffix in (".done", ".log"))
    _once(experiment.evaluate_command(row, seed), done, log, lock)


def _once(command: Sequence[str], done: Path, log: Path, lock: int) -> None:
    """Run a module with one thread, unless it ran before; what it prints goes to a log.

    Args:
        command: The module and its arguments.
        done: Is written at the end, with the command.
        log: Is appended to.
        lock: File descriptor that the process holds open, so that the lock outlives its parent.
    """
    text = "python -m " + shlex.join(command)
    if done.is_file():
        if done.read_text().strip() != text:
            raise ValueError(
                f"{done} was made by another command: take another folder, or delete "
                f"{done.parent} to have it made again"
            )
        return
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
        raise CommandError(f"{command[0]} failed, see {log}: {lines[-1] if lines else ''}")
    unfinished = done.with_suffix(".part")
    unfinished.write_text(text + "\n")
    unfinished.replace(done)

"""What a click costs: ``python -m serverless.bench --out bench.json``, ``--device cuda`` on a GPU.

In one run, so that the ratios mean something on a shared machine: the pipeline in the shape of the
authors' released code, which computes everything again (`serverless.bench.reference`), and this
project's, cold (a picture never seen) and warm (a further click). Random weights of the preset
``paper``, with the classes of Tiny-DOTA, and the shipped weights of the closed model; beside them
the open model, with clicks of several labels. Then the correlation alone, the whole request through
the handler with JSON and base64, a large picture, and whether memory and latency stay flat
(``--parts soak --seconds 3600``; the exit status is 1 if they do not).
Each part runs in a process of its own, or, with ``--one-process``, in this one, which is quicker
where CUDA is slow to start; peaks of memory are then those of all parts so far.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from c3det.commands import at_least, command, positive
from serverless.bench import parts
from serverless.bench.made_input import random_weights
from serverless.bench.soak import SoakError, is_good, lines, soak
from serverless.cpu_limit import limit_threads
from serverless.settings import OPEN_WEIGHTS, STARTER_WEIGHTS

PARTS = ("requests", "sizes", "open", "correlation", "large", "soak")

SIDE = 1024
"""Of pictures, in pixels, where not several sizes are measured."""

LARGE_SIDE = 4000
BUDGET_S = 60.0
"""Of the large picture: its side in pixels, and how long a call may take."""


def alone(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Run a part in a process of its own."""
    announce(work, arguments)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, limit_threads) as pool:
        return pool.submit(work, *arguments).result()


def here(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Run a part in this process."""
    announce(work, arguments)
    return work(*arguments)


def announce(work: Callable[..., dict[str, Any]], arguments: Sequence[Any]) -> None:
    """Print what is measured next."""
    print(f"{work.__name__} {' '.join(map(str, arguments))}", flush=True)


def clicks_on(side: int, clicks: int) -> int:
    """Number of clicks on a picture: on the larger ones, which take long, a quarter or less."""
    return clicks if side <= 1024 else max(clicks * 1024**2 // side**2, 3)


def tables(results: Mapping[str, Any]) -> str:
    """The results in Markdown."""
    text = [f"On {results['machine']['device']}, torch {results['machine']['torch']}.", ""]
    if results["sizes"]:
        text += [
            "| weights | side | reference, first and last click, s | cold, s | warm, s | "
            "highest warm, s | reference / warm | cold / warm | "
            "peak of reference / cold / warm, MiB |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
    for row in results["sizes"]:
        again = list(row["reference"].values())
        text.append(
            f"| {row['model']} | {row['side']} | "
            f"{' / '.join(format(one['seconds'], '.3f') for one in again)} | "
            f"{row['cold']['seconds']:.3f} | {row['warm']['median']:.4f} | "
            f"{row['warm']['highest']:.4f} | "
            f"{row['reference_over_warm']:.1f} | {row['cold_over_warm']:.1f} | "
            f"{max(one['peak_mib'] for one in again):.0f} / {row['cold']['peak_mib']:.0f} / "
            f"{row['warm']['peak_mib']:.0f} |"
        )
    text.append("")
    for row in results["open"]:
        further = "; ".join(
            f"{one['labels']} labels, {one['clicks']} clicks: {one['median']:.3f} s (highest "
            f"{one['highest']:.3f})"
            for one in row["further"]
        )
        text.append(
            f"Open model, {row['model']}, {row['side']} px: first click "
            f"{row['first']['seconds']:.3f} s, a further one with {further}; holds "
            f"{row['held_mib']:.0f} MiB."
        )
    for part in ("correlation", "requests", "large"):
        text += [f"{part}: {json.dumps(row)}" for row in results[part]]
    for verdict in results["soak"]:
        text += lines(verdict)
    return "\n".join(text)


@command("serverless.bench")
def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print tables, write JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m serverless.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--out", type=Path, help="file of the results, JSON")
    add("--device", default="cpu", help="where the models run, as torch names it (%(default)s)")
    add("--parts", nargs="+", choices=PARTS, default=PARTS, help="what is measured (all)")
    add("--one-process", action="store_true", help="no process of its own for each part")
    add("--pictures", type=at_least(1), default=3, help="first ones of a worker (%(default)s)")
    add("--sizes", type=at_least(1), nargs="+", default=[512, 1024, 2048], metavar="PX")
    add("--clicks", type=at_least(2), default=20, help="on a picture (%(default)s)")
    add("--seconds", type=positive, default=180.0, help="of the soak (%(default)s)")
    given = parser.parse_args(arguments)
    try:
        on_gpu = torch.device(given.device).type == "cuda"
    except RuntimeError:
        known = "name 'cpu' or 'cuda'"
        parser.exit(2, f"{parser.prog}: --device {given.device} is none of torch: {known}\n")
    if on_gpu and not torch.cuda.is_available():
        parser.exit(2, f"{parser.prog}: torch finds no GPU here: leave out --device\n")
    run = here if given.one_process else alone
    device, clicks = given.device, given.clicks
    if given.out:  # what cannot be written is better known before the measurements
        given.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        paper, starter = random_weights(Path(folder)), STARTER_WEIGHTS
        both = (starter, paper)
        # The requests go first: what the first ones pay for, nothing has paid for yet.
        todo: dict[str, Callable[[], list[dict[str, Any]]]] = dict(
            requests=lambda: [
                run(parts.whole_request, each, SIDE, clicks, device, given.pictures)
                for each in (OPEN_WEIGHTS, *both)
            ],
            sizes=lambda: [
                run(parts.one_size, weights, size, clicks_on(size, clicks), device)
                for weights in both
                for size in given.sizes
            ],
            open=lambda: [
                run(parts.several_labels, OPEN_WEIGHTS, size, device) for size in given.sizes
            ],
            correlation=lambda: [run(parts.correlation_alone, SIDE, clicks, device)],
            large=lambda: [
                run(parts.large_picture, each, LARGE_SIDE, clicks, BUDGET_S, device)
                for each in (OPEN_WEIGHTS, starter)
            ],
            soak=lambda: [run(soak, OPEN_WEIGHTS, given.seconds, device)],
        )
        threads = limit_threads()
        try:
            results: dict[str, Any] = {
                part: measure() if part in given.parts else [] for part, measure in todo.items()
            }
        except SoakError as error:
            sys.exit(f"serverless.bench: {error}")
    results["machine"] = dict(
        device=torch.cuda.get_device_name(device) if on_gpu else device,
        processor=platform.processor() or platform.machine(),
        threads=threads,
        torch=torch.__version__,
    )
    print(tables(results))  # it took long: whatever happens to the file
    if given.out:
        given.out.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")
    if not all(map(is_good, results["soak"])):
        sys.exit(1)


if __name__ == "__main__":
    main()

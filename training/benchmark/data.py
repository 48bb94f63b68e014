"""What reading and tiling a data set cost.

Pictures of aerial texture with objects of random place, size and angle are written as DOTA has
them, each in a temporary folder. Every row of the table is a process of its own, on one core: how
long it took by the clock and on the processor, and how much memory it needed at its peak, above
what it needed when all was imported.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyvips

from c3det.commands import CommandError
from training.benchmark.process import alone, memory
from training.data.picture_files import PictureError, read_picture
from training.data.readers.dota import CLASSES, read_dota
from training.data.readers.objects import rotated
from training.data.tiles import Tiling, tile_index

CASES = ((4000, 5000, "png"), (20_000, 5000, "png"), (20_000, 5000, "jpg"), (20_000, 5000, "tif"))
"""Side in pixels, number of objects, format of the picture."""


def make_data(folder: Path, side: int, objects: int, suffix: str) -> None:
    """Write one picture and its labels.

    Args:
        folder: Receives ``images`` and ``labelTxt``.
        side: Of the picture.
        objects: How many there are, 8 to 60 pixels large.
        suffix: ``png``, ``jpg`` or ``tif`` (strips, deflate).

    Raises:
        CommandError: The picture cannot be written.
    """
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 200, (side // 40 + 2, side // 40 + 2, 3), dtype=np.uint8)
    texture = pyvips.Image.new_from_array(coarse).resize(40, kernel="linear").crop(0, 0, side, side)
    tiles = -(-side // 2000)
    noise = pyvips.Image.gaussnoise(2000, 2000, mean=0, sigma=6, seed=0).replicate(tiles, tiles)
    noise = noise.crop(0, 0, side, side)
    picture = (texture + noise).cast("uchar").copy(interpretation="srgb")
    (folder / "images").mkdir(parents=True)
    (folder / "labelTxt").mkdir()
    options: dict[str, dict[str, Any]] = {
        "png": {"compression": 1},
        "jpg": {"Q": 90},
        "tif": {"compression": "deflate"},
    }
    path = folder / "images" / f"P0000.{suffix}"
    try:
        picture.write_to_file(str(path), **options[suffix])
    except pyvips.Error as error:
        raise CommandError(f"{path} cannot be written: {' '.join(str(error).split())}") from error
    lines = ["imagesource:GoogleEarth", "gsd:0.2"]
    for x, y, width, height, degrees, label in zip(
        *rng.uniform(50, side - 50, (2, objects)),
        *rng.uniform(8, 60, (2, objects)),
        rng.uniform(0, 360, objects),
        rng.integers(0, len(CLASSES["2.0"]), objects),
        strict=True,
    ):
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        corners = (f"{value:.1f}" for corner in rotated(box, degrees) for value in corner)
        lines.append(f"{' '.join(corners)} {CLASSES['2.0'][label]} 0")
    (folder / "labelTxt" / "P0000.txt").write_text("\n".join(lines) + "\n")


def read_and_validate(folder: Path) -> str:
    """Read the data set and compare the picture with its labels."""
    reading = read_dota(folder)
    (record,) = reading.index.records
    return f"{len(record.boxes)} objects, {len(reading.defects)} defects"


def tile(folder: Path) -> str:
    """Cut the picture into tiles."""
    tiled = tile_index(read_dota(folder).index, folder / "tiles", Tiling())
    kept = sum(int((~record.ignored).sum()) for record in tiled.records)
    ignored = sum(int(record.ignored.sum()) for record in tiled.records)
    return f"{len(tiled.records)} tiles, {kept} objects, {ignored} ignored"


def tile_again(folder: Path) -> str:
    """Start again when all is done."""
    return tile(folder)


def decode_whole(folder: Path) -> str:
    """Read the picture at once, to compare."""
    (path,) = (folder / "images").iterdir()
    try:
        return f"{read_picture(path).nbytes / 2**20:.0f} MiB of pixels"
    except PictureError:
        return "refused: too large to be read at once"


def measure(step: Callable[[Path], str], folder: Path) -> tuple[float, float, float, str]:
    """Take a step.

    Returns:
        Seconds by the clock, seconds on the processor, MiB above the memory at its start, and what
        the step says.
    """
    before, clock, processor = memory(peak=True), time.perf_counter(), time.process_time()
    text = step(folder)
    seconds = time.perf_counter() - clock, time.process_time() - processor
    return *seconds, memory(peak=True) - before, text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--quick", action="store_true", help="only the picture of 4000 pixels")


def run(given: argparse.Namespace) -> None:
    """Measure and print."""
    print(f"{'picture':<12}{'step':<20}{'seconds':>8}{'of CPU':>8}{'MiB':>6}  result", flush=True)
    for side, objects, suffix in CASES[:1] if given.quick else CASES:
        with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
            folder = Path(name)
            make_data(folder, side, objects, suffix)
            for step in (read_and_validate, tile, tile_again, decode_whole):
                clock, processor, mebibytes, text = alone(measure, step, folder)
                what = f"{f'{side} {suffix}':<12}{step.__name__.replace('_', ' '):<20}"
                print(f"{what}{clock:>8.2f}{processor:>8.2f}{mebibytes:>6.0f}  {text}", flush=True)

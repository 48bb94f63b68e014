"""Cut a set of large pictures into tiles: ``python -m training.data.tiles set --out set-tiles``.

Tiles overlap, and those at the right and at the bottom are shifted inward, as in DOTA_devkit: all
have the full size unless the picture is smaller. An object cut by a tile's edge stays an object of
the tile where enough of its area is inside, and is ignored there otherwise.

Pictures are cut in several processes, each reading its picture in bands
(`training.data.picture_files`), so that a process needs memory for about two rows of tiles. A
picture that cannot be read is named and left out, and the exit status is 1. A killed run goes on
when started again: a tile is written under another name and renamed, and a tile that was cut from
its picture as it is now, by the checksum of its file, is not cut again.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from tqdm import tqdm

from c3det.commands import command, printable
from training.data.annotated import Index, Record
from training.data.index import read_index
from training.data.picture_files import PictureError, on_disk, read_bands, source_of, write_png
from training.data.readers.reading import plural
from training.data.splits import SPLITS, describe, write_splits
from training.data.writer import paths_below

ROUNDING = 1e-6
"""An object of which exactly the required part is inside must count, whatever was rounded."""


class Window(NamedTuple):
    """A tile's place in its picture, in pixels."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Tiling:
    """How pictures are cut.

    Attributes:
        size: Side of a tile in pixels.
        gap: Pixels by which neighbouring tiles overlap; more where they are shifted inward.
        keep_inside: Part of an object's area that must be inside a tile for the object to count
            there.

    Raises:
        ValueError: A value is out of range.
    """

    size: int = 1024
    gap: int = 200
    keep_inside: float = 0.7

    def __post_init__(self) -> None:
        if not 0 <= self.gap < self.size:
            raise ValueError(f"the gap must be from 0 to below the size {self.size}: {self.gap}")
        if not 0 < self.keep_inside <= 1:
            raise ValueError(f"the part to keep must be above 0, at most 1: {self.keep_inside}")

    def windows(self, width: int, height: int) -> list[Window]:
        """Return the tiles of a picture, row by row."""
        xs, ys = self._starts(width), self._starts(height)
        wide, high = min(self.size, width), min(self.size, height)
        return [Window(x, y, wide, high) for y in ys for x in xs]

    def _starts(self, length: int) -> list[int]:
        last = max(length - self.size, 0)
        return [*range(0, last, self.size - self.gap), last]


def parts_inside(
    boxes: NDArray[np.float32], corners: NDArray[np.float32] | None, window: Window
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return how much of each object is inside a window, and where.

    Args:
        boxes: float32 (N, 4), xyxy.
        corners: float32 (N, 4, 2); where given, the object is the quadrilateral, as far as it is in
            the box, which ends at the edge of the picture.
        window: The window.

    Returns:
        Which part of its area is inside, float64 (N,), 0 to 1, and the box around that part,
        float32 (N, 4), which has no area where nothing is inside.
    """
    x, y, width, height = window
    low, high = np.array([x, y], np.float32), np.array([x + width, y + height], np.float32)
    whole = ((boxes[:, :2] >= low) & (boxes[:, 2:] <= high)).all(axis=1)
    apart = ((boxes[:, :2] >= high) | (boxes[:, 2:] <= low)).any(axis=1)
    fractions: NDArray[np.float64] = np.where(whole, 1.0, 0.0)
    parts = np.clip(boxes, np.tile(low, 2), np.tile(high, 2))
    cut = np.flatnonzero(~whole & ~apart)
    shapes = shapely.box(*boxes[cut].T)
    if corners is not None:
        # Corners in a wrong order make a polygon that crosses itself, which has no area as such.
        polygons = shapely.make_valid(shapely.polygons(corners[cut]))
        shapes = shapely.intersection(polygons, shapes)
    areas = shapely.area(shapes)
    inside = shapely.intersection(shapes, shapely.box(*low, *high))
    fractions[cut] = np.divide(shapely.area(inside), areas, out=np.zeros(len(cut)), where=areas > 0)
    if corners is not None:
        hulls = np.where(fractions[cut, None] > 0, shapely.bounds(inside), 0)
        parts[cut] = hulls.clip(np.tile(parts[cut, :2], 2), np.tile(parts[cut, 2:], 2))
    return fractions, parts


def cut_record(record: Record, window: Window, keep_inside: float, path: Path) -> Record:
    """Return the record of a tile.

    An object of which less than ``keep_inside`` is inside is ignored. Boxes are cut at the edge of
    the tile, around what is inside of the quadrilateral where there are corners; these are moved,
    not cut. Of objects that are one and the same in the tile, one
    stays, one that is not ignored if there is any.

    The tile is named as by `training.data.annotated.crop`.

    Args:
        record: The picture.
        window: The tile.
        keep_inside: See `Tiling`.
        path: Of the tile.
    """
    x, y, width, height = window
    shift = np.array([x, y], np.float32)
    inside, parts = parts_inside(record.boxes, record.corners, window)
    boxes = parts - np.tile(shift, 2)
    stays = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(axis=1)
    ignored = record.ignored | (inside < keep_inside - ROUNDING)
    corners = None if record.corners is None else record.corners[stays]
    if corners is None:
        stays &= _first_of_twins(boxes, record.labels, ignored)
    else:
        corners = corners - shift
    clicks = (replace(click, x=click.x - x, y=click.y - y) for click in record.clicks)
    return Record(
        name=tile_name(record, window),
        path=path,
        width=width,
        height=height,
        boxes=boxes[stays],
        labels=record.labels[stays],
        ignored=ignored[stays],
        corners=corners,
        clicks=tuple(c for c in clicks if 0 <= c.x < width and 0 <= c.y < height),
    )


def _first_of_twins(
    boxes: NDArray[np.float32], labels: NDArray[np.int64], ignored: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which objects are not the same as another one that goes before: counted, then ignored."""
    order = np.argsort(ignored, kind="stable")
    rows = np.column_stack([boxes, labels])[order]
    _, first = np.unique(rows, axis=0, return_index=True)
    is_first = np.zeros(len(boxes), np.bool_)
    is_first[order[first]] = True
    return is_first


def tile_name(record: Record, window: Window) -> str:
    """Name a tile."""
    return f"{record.name}@{window.x},{window.y},{window.width}x{window.height}"


def tile_index(
    index: Index,
    images: Path,
    tiling: Tiling,
    processes: int = 1,
    progress: str | None = None,
    failed: list[PictureError] | None = None,
) -> Index:
    """Cut all pictures of an index, or those that a killed run has left.

    Args:
        index: The pictures.
        images: Folder of the tiles, PNG.
        tiling: How to cut.
        processes: How many cut at once, each another picture.
        progress: Text beside the bar that counts tiles, on a terminal; ``None``: no bar.
        failed: Receives, for each picture that cannot be read, why; the index lacks its tiles.

    Returns:
        The index of the tiles, picture by picture and row by row.

    Raises:
        training.data.picture_files.PictureError: A picture cannot be read, or not in bands and is
            too large, or is not as wide as the index says, and ``failed`` is ``None``. The tiles
            of the others are written.
        ValueError: Two tiles would have one path.
        OSError: A tile cannot be written, or a process was killed.
    """
    windows = [
        (record, window)
        for record in index.records
        for window in tiling.windows(record.width, record.height)
    ]
    paths = paths_below(images, [f"{tile_name(*one)}.png" for one in windows])
    tiles: dict[str, list[Record]] = {record.name: [] for record in index.records}
    sources: dict[str, str] = {}
    jobs: dict[str, _Job] = {}
    for (record, window), path in zip(windows, paths, strict=True):
        tiles[record.name].append(cut_record(record, window, tiling.keep_inside, path))
        # Where no tile is there, the process that cuts them takes the checksum.
        if record.name not in sources and path.exists():
            sources[record.name] = _checksum(record.path)
        source = sources.get(record.name, "")
        if not source or source_of(path) != source:
            job = _Job(record.name, record.path, record.width, source, [])
            jobs.setdefault(record.name, job).tiles.append((window, path))
    for folder in {path.parent for job in jobs.values() for _, path in job.tiles}:
        folder.mkdir(parents=True, exist_ok=True)
    total = sum(len(job.tiles) for job in jobs.values())
    with tqdm(total=total, desc=progress, unit="tile", disable=None if progress else True) as bar:
        broken: dict[str, PictureError] = {}
        if processes == 1:
            for job in jobs.values():
                try:
                    _cut(job, bar)
                except PictureError as error:
                    broken[job.name] = error
        elif jobs:
            broken = _cut_in_processes(list(jobs.values()), processes, bar)
    in_order = [broken[record.name] for record in index.records if record.name in broken]
    if failed is not None:
        failed += in_order
    elif in_order:
        raise in_order[0]
    return Index(
        index.classes,
        tuple(tile for name, of in tiles.items() if name not in broken for tile in of),
    )


class _Job(NamedTuple):
    """The tiles of one picture that are still to be cut; ``source`` is its checksum, if known."""

    name: str
    picture: Path
    width: int
    source: str
    tiles: list[tuple[Window, Path]]


def _checksum(picture: Path) -> str:
    """A checksum of a picture's file; empty where that cannot be read."""
    found = hashlib.blake2b(digest_size=16)
    try:
        if not on_disk(picture).is_file():  # reading a pipe waits
            return ""
        with on_disk(picture).open("rb") as file:
            while block := file.read(1 << 20):
                found.update(block)
    except OSError:
        return ""
    return found.hexdigest()


def _cut(job: _Job, bar: tqdm | None = None) -> None:
    """Write the tiles of one picture, all or, where it cannot be read, none.

    Raises:
        training.data.picture_files.PictureError: See `tile_index`.
    """
    rows = sorted({(window.y, window.y + window.height) for window, _ in job.tiles})
    source = job.source or _checksum(job.picture)
    try:
        for (top, _), band in zip(rows, read_bands(job.picture, rows), strict=True):
            if band.shape[1] != job.width:
                raise PictureError(
                    f"{job.picture} is {band.shape[1]} pixels wide, but {job.width} in the index"
                )
            for window, path in job.tiles:
                if window.y == top:
                    write_png(path, band[:, window.x : window.x + window.width], source)
                    if bar is not None:
                        bar.update()
    except PictureError:
        for _, path in job.tiles:
            path.unlink(missing_ok=True)
        raise


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # at Ctrl+C the parent ends, and this with it
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the one that started it has been killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _cut_in_processes(jobs: Sequence[_Job], processes: int, bar: tqdm) -> dict[str, PictureError]:
    """Cut pictures in worker processes, the largest first; the bar moves on picture by picture.

    Returns:
        Why a picture cannot be read, by its name.
    """
    broken: dict[str, PictureError] = {}
    # A forked process would share libvips' threads, which do not survive a fork.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(min(processes, len(jobs)), context, _start_worker) as pool:
        try:
            try:
                largest_first = sorted(jobs, key=lambda job: -len(job.tiles))
                futures = {pool.submit(_cut, job): job for job in largest_first}
                # The pool watches the workers that were there when it last woke: wake it, or one
                # that the last job started, killed while it holds the queue, is waited for forever.
                pool.submit(int)
            except (OSError, ValueError) as error:
                # A pool that breaks closes the pipes that a worker needs while it is started.
                raise BrokenProcessPool(str(error)) from error
            for future in as_completed(futures):
                try:
                    future.result()
                except PictureError as error:
                    broken[futures[future].name] = error
                bar.update(len(futures[future].tiles))
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            # A worker that was being started when the pool broke would be waited for forever.
            for child in set(multiprocessing.active_children()) - others:
                child.kill()
            if isinstance(error, BrokenProcessPool):
                raise ChildProcessError(
                    "a process was killed, perhaps for lack of memory: start again, to go on, with "
                    f"fewer than {processes} --processes"
                ) from error
            raise
    return broken


def tile_splits(splits: dict[str, Index], out: Path, tiling: Tiling, processes: int) -> bool:
    """Cut the pictures of all splits into a folder as `training.data.splits` describes it.

    The indices are written when all tiles are there. Pictures that cannot be read are left out, and
    named at the end.

    Returns:
        Whether all pictures could be read.

    Raises:
        ValueError: None could.
        OSError: Something cannot be written.
    """
    failed: list[PictureError] = []
    tiled = {
        split: tile_index(index, out / "images", tiling, processes, split, failed)
        for split, index in splits.items()
    }
    for error in failed:
        print(f"{printable(str(error))}; the picture is left out", file=sys.stderr)
    if failed and not any(index.records for index in tiled.values()):
        raise ValueError("no picture can be read, see the sentences above")
    write_splits(tiled, out, whole=splits)
    print(f"{describe(tiled)}\nwritten to {out}")
    if failed:
        lacking = plural(len(failed), "picture", "pictures")
        print(f"without {lacking} that cannot be read, named above", file=sys.stderr)
    return not failed


@command("training.data.tiles")
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m training.data.tiles", description="Cut a set of large pictures into tiles."
    )
    tiling = Tiling()
    parser.add_argument("folder", type=Path, help="what training.data.convert made")
    parser.add_argument("--out", type=Path, required=True, help="folder of the result")
    parser.add_argument("--size", type=int, default=tiling.size, help="side in px (%(default)s)")
    parser.add_argument("--gap", type=int, default=tiling.gap, help="overlap in px (%(default)s)")
    parser.add_argument(
        "--keep-inside",
        type=float,
        default=tiling.keep_inside,
        help="part of a cut object that makes it count (%(default)s), otherwise it is ignored",
    )
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, help="pictures at once (%(default)s)"
    )
    arguments = parser.parse_args(argv)
    try:
        if arguments.processes < 1:
            raise ValueError(f"at least one process is needed, not {arguments.processes}")
        tiling = Tiling(arguments.size, arguments.gap, arguments.keep_inside)
        files = {split: arguments.folder / f"{split}.json" for split in SPLITS}
        splits = {split: read_index(path) for split, path in files.items() if path.is_file()}
        if not splits:
            raise ValueError(f"{arguments.folder} has none of {', '.join(map(str, files))}")
        if arguments.out.resolve() == arguments.folder.resolve():
            raise ValueError("--out must be another folder than the one that is cut")
        all_read = tile_splits(splits, arguments.out, tiling, arguments.processes)
    except ValueError as error:
        print(f"training.data.tiles: {error}", file=sys.stderr)
        sys.exit(2)
    if not all_read:
        sys.exit(1)


if __name__ == "__main__":
    main()

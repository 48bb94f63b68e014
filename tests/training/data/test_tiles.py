from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pyvips
from PIL import Image

from c3det.clicks import Click
from training.data import convert, tiles
from training.data.annotated import Annotated, Index, Record, crop
from training.data.index import read_index, write_index
from training.data.splits import SPLITS, split_of, write_splits
from training.data.tiles import Tiling, Window, cut_record, parts_inside, tile_index

ROOT = Path(__file__).parents[3]


def record(path: Path, width: int, height: int, boxes: list[list[float]], **more: object) -> Record:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    one = Record(path.name, path, width, height, array, np.zeros(len(boxes), np.int64))
    return replace(one, **more)  # type: ignore[arg-type]


def noise(path: Path, width: int, height: int, seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def devkit_starts(length: int, size: int, gap: int) -> list[int]:
    """DOTA_devkit's loop over one axis, the slow twin."""
    starts, left = [], 0
    while left < length:
        if left + size >= length:
            starts.append(max(length - size, 0))
            break
        starts.append(left)
        left += size - gap
    return starts


@pytest.mark.parametrize("length", [1, 99, 100, 101, 180, 181, 260, 999])
def test_windows_are_those_of_dotas_own_tool(length: int) -> None:
    tiling = Tiling(size=100, gap=20)
    windows = tiling.windows(length, 50)
    assert [window.x for window in windows] == devkit_starts(length, 100, 20)
    assert {(w.y, w.width, w.height) for w in windows} == {(0, min(length, 100), 50)}


def test_windows_by_hand() -> None:
    assert Tiling().windows(4000, 1024) == [
        Window(x, 0, 1024, 1024) for x in (0, 824, 1648, 2472, 2976)
    ]
    assert Tiling(100, 50).windows(150, 130) == [
        Window(0, 0, 100, 100),
        Window(50, 0, 100, 100),
        Window(0, 30, 100, 100),
        Window(50, 30, 100, 100),
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gap": 1024}, "the gap must be from 0 to below the size 1024: 1024"),
        ({"gap": -1}, "the gap must be"),
        ({"keep_inside": 0}, "the part to keep must be above 0, at most 1: 0"),
    ],
)
def test_impossible_tilings_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tiling(**changes)


def test_parts_inside_by_hand() -> None:
    window = Window(10, 10, 20, 20)
    boxes = np.array(
        [[12, 12, 14, 14], [0, 0, 10, 10], [5, 12, 15, 14], [25, 25, 35, 35], [0, 0, 40, 40]],
        np.float32,
    )
    areas, parts = parts_inside(boxes, None, window)
    assert areas.tolist() == [1, 0, 0.5, 0.25, 0.25]
    assert parts.tolist() == [
        [12, 12, 14, 14],
        [10, 10, 10, 10],
        [10, 12, 15, 14],
        [25, 25, 30, 30],
        [10, 10, 30, 30],
    ]
    # A diamond about the middle of the left edge: half is inside. About a corner: a quarter.
    corners = np.array(
        [
            [[10, 15], [15, 20], [10, 25], [5, 20]],
            [[10, 5], [15, 10], [10, 15], [5, 10]],
            # A right triangle, its last corner twice: 3/4 of it are right of the edge.
            [[0, 12], [20, 12], [20, 22], [20, 22]],
        ],
        np.float32,
    )
    hulls = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    areas, parts = parts_inside(hulls, corners, window)
    np.testing.assert_allclose(areas, [0.5, 0.25, 0.75])
    assert parts.tolist() == [[10, 15, 15, 25], [10, 10, 15, 15], [10, 12, 20, 22]]


def test_what_is_outside_of_the_picture_does_not_count() -> None:
    # Half of the square is left of the picture; of the other half, 5 wide, 4 are in the tile.
    corners = np.array([[[-5, 0], [5, 0], [5, 10], [-5, 10]]], np.float32)
    box = np.array([[0, 0, 5, 10]], np.float32)
    np.testing.assert_allclose(parts_inside(box, corners, Window(1, 0, 20, 20))[0], [0.8])
    # A diamond that has its left tip, but no area, in the box.
    tip = np.array([[[5, 5], [9, 1], [9, 9], [9, 5]]], np.float32)
    assert parts_inside(np.array([[0, 0, 5, 10]], np.float32), tip, Window(1, 0, 2, 2))[0] == [0]


def test_exactly_the_limit_counts() -> None:
    # A square of 10 turned by 45 degrees: left of a line 10 * sqrt(0.15) from its right tip, 0.85.
    half = 50**0.5
    right = 50 + half - 10 * 0.15**0.5
    corners = np.array([[[50, 50 - half], [50 + half, 50], [50, 50 + half], [50 - half, 50]]])
    corners[..., 0] += 100 - right
    box = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).astype(np.float32)
    one = record(Path("a.png"), 200, 100, box.tolist(), corners=corners.astype(np.float32))
    window = Window(0, 0, 100, 100)
    for limit, ignored in [(0.8499, False), (0.85, False), (0.8501, True)]:
        assert cut_record(one, window, limit, Path("t")).ignored.tolist() == [ignored]


def test_corners_in_a_wrong_order_have_an_area() -> None:
    # Two triangles that touch at (10, 20): the right one is inside.
    crossing = np.array([[[5, 15], [15, 25], [15, 15], [5, 25]]], np.float32)
    hull = np.array([[5, 15, 15, 25]], np.float32)
    np.testing.assert_allclose(parts_inside(hull, crossing, Window(10, 10, 20, 20))[0], [0.5])


def test_the_box_of_a_cut_oriented_object_is_around_what_is_inside() -> None:
    # A diamond of which a quarter of the width is right of the edge, and one whose hull alone is.
    corners = np.array(
        [[[40, 10], [60, 30], [40, 50], [20, 30]], [[30, 60], [60, 90], [30, 120], [0, 90]]],
        np.float32,
    )
    boxes = [[20, 10, 60, 50], [0, 60, 60, 120]]
    one = record(Path("a.png"), 200, 200, boxes, corners=corners)
    tile = cut_record(one, Window(50, 0, 70, 75), 0.1, Path("t"))
    assert tile.boxes.tolist() == [[0, 20, 10, 40]]
    assert tile.corners is not None
    assert tile.corners.tolist() == [[[-10, 10], [10, 30], [-10, 50], [-30, 30]]]


def test_cut_objects_count_from_the_limit_on_and_are_ignored_below() -> None:
    one = record(
        Path("a.png"),
        100,
        100,
        [[43, 0, 53, 10], [44, 0, 54, 10], [60, 0, 70, 10], [10, 10, 20, 20], [30, 30, 45, 40]],
        ignored=np.array([False, False, False, True, False]),
        clicks=(Click(10, 10, 0), Click(50, 10, 0), Click(49.5, 49.5, 0)),
    )
    tile = cut_record(one, Window(0, 0, 50, 50), 0.7, Path("tile.png"))
    assert tile.boxes.tolist() == [
        [43, 0, 50, 10],
        [44, 0, 50, 10],
        [10, 10, 20, 20],
        [30, 30, 45, 40],
    ]
    assert tile.ignored.tolist() == [False, True, True, False]
    assert tile.clicks == (Click(10, 10, 0), Click(49.5, 49.5, 0))
    assert (tile.name, tile.width, tile.height) == ("a.png@0,0,50x50", 50, 50)


def test_objects_that_are_the_same_in_a_tile_are_one(tmp_path: Path) -> None:
    path = noise(tmp_path / "a.png", 100, 50)
    boxes = [[40, 0, 80, 10], [40, 0, 52, 10], [40, 0, 53, 10], [40, 0, 51, 10], [5, 5, 9, 9]]
    one = record(path, 100, 50, boxes, labels=np.array([0, 0, 0, 1, 1]))
    index = Index(("ship", "plane"), (one,))
    tiles = tile_index(index, tmp_path / "tiles", Tiling(50, 0))
    left = tiles.records[0]
    assert left.boxes.tolist() == [[40, 0, 50, 10], [40, 0, 50, 10], [5, 5, 9, 9]]
    assert (left.labels.tolist(), left.ignored.tolist()) == ([0, 1, 1], [False] * 3)
    write_index(tiles, tmp_path / "tiles.json")
    assert len(read_index(tmp_path / "tiles.json").records) == 2


def test_tile_is_named_and_moved_as_a_crop() -> None:
    corners = np.array([[[20, 30], [30, 20], [40, 30], [30, 40]]], np.float32)
    one = record(Path("a.png"), 100, 80, [[20, 20, 40, 40]], corners=corners)
    tile = cut_record(one, Window(10, 15, 50, 40), 0.7, Path("tile.png"))
    image = np.zeros((80, 100, 3), np.uint8)
    window = crop(Annotated("a.png", image, one.boxes, one.labels, corners=corners), 10, 15, 50, 40)
    assert tile.name == window.name
    np.testing.assert_array_equal(tile.boxes, window.boxes)
    assert tile.corners is not None
    np.testing.assert_array_equal(tile.corners, window.corners)


@pytest.mark.parametrize("processes", [1, 2])
def test_tiles_hold_their_part_of_the_picture(tmp_path: Path, processes: int) -> None:
    records = []
    for number, (width, height) in enumerate([(150, 130), (60, 40)]):
        path = noise(tmp_path / f"{number}.png", width, height, number)
        records.append(record(path, width, height, [[0, 0, 9, 9], [90, 90, 99, 99]][: 2 - number]))
    index = Index(("car",), tuple(records))
    tiled = tile_index(index, tmp_path / "tiles", Tiling(100, 50), processes)
    assert [one.name for one in tiled.records] == [
        "0.png@0,0,100x100",
        "0.png@50,0,100x100",
        "0.png@0,30,100x100",
        "0.png@50,30,100x100",
        "1.png@0,0,60x40",
    ]
    assert [one.boxes.tolist() for one in tiled.records] == [
        [[0, 0, 9, 9], [90, 90, 99, 99]],
        [[40, 90, 49, 99]],
        [[90, 60, 99, 69]],
        [[40, 60, 49, 69]],
        [[0, 0, 9, 9]],
    ]
    for one in tiled.records:
        name, _, window = one.name.partition("@")
        x, y = map(int, window.split(",")[:2])
        whole = np.asarray(Image.open(tmp_path / name))
        np.testing.assert_array_equal(
            one.load().image, whole[y : y + one.height, x : x + one.width]
        )
    assert not list((tmp_path / "tiles").glob(".*"))


def test_tiles_that_exist_are_not_cut_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = noise(tmp_path / "a.png", 150, 130)
    index = Index(("car",), (record(path, 150, 130, []),))
    cut = []
    read = tiles.read_bands

    def spying(picture: Path, rows: list[tuple[int, int]]) -> Iterator[np.ndarray]:
        cut.append(rows)
        return read(picture, rows)

    monkeypatch.setattr(tiles, "read_bands", spying)
    tiled = tile_index(index, tmp_path / "tiles", Tiling(100, 50))
    before = {one.path: one.path.stat().st_mtime_ns for one in tiled.records}
    tiled.records[2].path.unlink()
    # What a killed run leaves of a tile.
    (tmp_path / "tiles" / f".{tiled.records[2].path.name}.part").write_bytes(b"half")
    tile_index(index, tmp_path / "tiles", Tiling(100, 50))
    assert cut == [[(0, 100), (30, 130)], [(30, 130)]]
    after = {one.path: one.path.stat().st_mtime_ns for one in tiled.records}
    assert [path for path in before if after[path] != before[path]] == [tiled.records[2].path]
    assert not list((tmp_path / "tiles").glob(".*"))
    # A new picture under the old name is cut anew.
    noise(path, 150, 130, seed=1)
    os.utime(path, (time.time() + 10, time.time() + 10))
    tile_index(index, tmp_path / "tiles", Tiling(100, 50))
    assert cut[2:] == [[(0, 100), (30, 130)]]


def a_set(folder: Path, pictures: int, side: int) -> None:
    folder.mkdir()
    records = [
        record(noise(folder / f"{n}.png", side, side, n), side, side, [[1, 1, 9, 9]])
        for n in range(pictures)
    ]
    splits = {split: Index(("car",), ()) for split in SPLITS}
    splits["train"] = Index(("car",), tuple(records))
    write_splits(splits, folder)


def test_killed_run_goes_on(tmp_path: Path) -> None:
    a_set(tmp_path / "set", pictures=6, side=700)
    command = [sys.executable, "-m", "training.data.tiles", str(tmp_path / "set"), "--size", "200"]
    command += ["--gap", "100", "--processes", "2", "--out"]
    environment = {**os.environ, "PYTHONPATH": ".", "OMP_NUM_THREADS": "1"}
    images = tmp_path / "killed" / "images"
    with subprocess.Popen(
        [*command, str(tmp_path / "killed")], cwd=ROOT, env=environment, stdout=subprocess.PIPE
    ) as process:
        while len(list(images.glob("[0-9]*.png"))) < 20:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.stdout is not None
        process.stdout.read()  # until the workers have ended, too
    left = {path: path.stat().st_mtime_ns for path in images.glob("[0-9]*.png")}
    assert 20 <= len(left) < 6 * 36
    assert not (tmp_path / "killed" / "train.json").exists()

    for out in ("killed", "whole"):
        subprocess.run([*command, str(tmp_path / out)], cwd=ROOT, env=environment, check=True)
    assert {path: path.stat().st_mtime_ns for path in left} == left
    found = [
        {
            str(path.relative_to(tmp_path / out)): path.read_bytes()
            for path in (tmp_path / out).rglob("*")
            if path.is_file()
        }
        for out in ("killed", "whole")
    ]
    assert len(found[0]) == 6 * 36 + 4
    assert found[0] == found[1]


def test_command_cuts_all_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_set(tmp_path / "set", pictures=2, side=150)
    command = [str(tmp_path / "set"), "--out", str(tmp_path / "out"), "--size", "100"]
    tiles.main([*command, "--gap", "50", "--keep-inside", "0.5", "--processes", "1"])
    assert len(read_index(tmp_path / "out" / "train.json").records) == 8
    assert read_index(tmp_path / "out" / "val.json").records == ()
    # The split is that of the whole pictures, to be given back.
    assert json.loads((tmp_path / "out" / "split.json").read_text()) == {
        "train": ["0.png", "1.png"],
        "val": [],
        "test": [],
    }
    assert capsys.readouterr().out.splitlines()[1].split() == ["train", "8", "0", "2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gap", "2000"], "the gap must be from 0 to below the size 1024: 2000"),
        (["--processes", "0"], "at least one process is needed, not 0"),
        (["--out", "set"], "--out must be another folder than the one that is cut"),
    ],
)
def test_one_sentence_for_bad_arguments(
    tmp_path: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    a_set(Path("set"), pictures=1, side=20)
    with pytest.raises(SystemExit) as exit_info:
        tiles.main(["set", "--out", "out", *arguments])
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == f"training.data.tiles: {message}\n"


def test_killed_process_is_one_sentence(tmp_path: Path) -> None:
    records = [
        record(noise(tmp_path / f"{n}.png", 1200, 1200, n), 1200, 1200, []) for n in range(2)
    ]

    def kill() -> None:
        deadline = time.monotonic() + 60
        while not (children := multiprocessing.active_children()):
            if time.monotonic() > deadline:
                return
            time.sleep(0.01)
        children[0].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(OSError, match=r"^a process was killed, .* fewer than 2 --processes$"):
        tile_index(Index(("car",), tuple(records)), tmp_path / "tiles", Tiling(40, 20), 2)
    killer.join()


def test_two_tiles_of_one_path_are_refused(tmp_path: Path) -> None:
    one = record(noise(tmp_path / "a.png", 20, 20), 20, 20, [])
    index = Index(("car",), (one, replace(one, name="../a.png")))
    with pytest.raises(ValueError, match=r"two pictures would be written to .*a.png@0,0,20x20.png"):
        tile_index(index, tmp_path / "tiles", Tiling())


def test_picture_of_another_width_is_named(tmp_path: Path) -> None:
    one = replace(record(noise(tmp_path / "a.png", 20, 20), 20, 20, []), width=19)
    with pytest.raises(ValueError, match=r"a.png is 20 pixels wide, but 19 in the index"):
        tile_index(Index(("car",), (one,)), tmp_path / "tiles", Tiling())


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_broken_picture_is_named_and_stops_no_other(
    tmp_path: Path, processes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    a_set(tmp_path / "set", pictures=4, side=50)
    (tmp_path / "set" / "1.png").write_bytes(b"broken")
    whole = (tmp_path / "set" / "2.png").read_bytes()
    (tmp_path / "set" / "2.png").write_bytes(whole[: len(whole) // 2])
    command = [str(tmp_path / "set"), "--out", str(tmp_path / "out"), "--processes", processes]
    command += ["--size", "20", "--gap", "0"]
    with pytest.raises(SystemExit) as exit_info:
        tiles.main(command)
    assert exit_info.value.code == 1
    first, second, last = capsys.readouterr().err.splitlines()
    assert first.startswith(f"{tmp_path}/set/1.png: this is no picture in one of")
    assert second.startswith(f"{tmp_path}/set/2.png: the picture is cut off or broken")
    assert last == "without 2 pictures that cannot be read, named above"
    names = {one.name.partition("@")[0] for one in read_index(tmp_path / "out/train.json").records}
    assert names == {"0.png", "3.png"}
    # Of the half picture no tile is left that a second run would take for done.
    assert {path.name[0] for path in (tmp_path / "out" / "images").iterdir()} == {"0", "3"}
    (tmp_path / "set" / "2.png").write_bytes(whole)
    noise(tmp_path / "set" / "1.png", 50, 50, 1)
    tiles.main(command)
    assert len(read_index(tmp_path / "out" / "train.json").records) == 4 * 9


def test_a_set_of_nothing_but_broken_pictures_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_set(tmp_path / "set", pictures=1, side=50)
    (tmp_path / "set" / "0.png").write_bytes(b"broken")
    with pytest.raises(SystemExit) as exit_info:
        tiles.main([str(tmp_path / "set"), "--out", str(tmp_path / "out"), "--processes", "1"])
    assert exit_info.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == "training.data.tiles: no picture can be read, see the sentences above"
    assert not (tmp_path / "out" / "train.json").exists()


@pytest.mark.parametrize("age", [-10, 0, 10])
def test_a_picture_that_was_replaced_is_cut_anew(age: int, tmp_path: Path) -> None:
    """As an archive or rsync puts it there: of the same size, and perhaps of the same time."""
    path = noise(tmp_path / "a.bmp", 60, 60)
    stamp = path.stat().st_mtime_ns
    index = Index(("car",), (record(path, 60, 60, []),))
    (tile,) = tile_index(index, tmp_path / "tiles", Tiling(100, 0)).records
    noise(path, 60, 60, seed=1)
    os.utime(path, ns=(stamp + age * 10**9, stamp + age * 10**9))
    tile_index(index, tmp_path / "tiles", Tiling(100, 0))
    np.testing.assert_array_equal(tile.load().image, np.asarray(Image.open(path)))


def test_a_picture_that_was_only_touched_is_not_cut_again(tmp_path: Path) -> None:
    path = noise(tmp_path / "a.bmp", 60, 60)
    index = Index(("car",), (record(path, 60, 60, []),))
    (tile,) = tile_index(index, tmp_path / "tiles", Tiling(100, 0)).records
    before = tile.path.stat().st_mtime_ns
    os.utime(path, (1000, 1000))
    tile_index(index, tmp_path / "tiles", Tiling(100, 0))
    assert tile.path.stat().st_mtime_ns == before


LONG = "\u9065\u611f\u5f71\u50cf" * 20 + ".jpg"


@pytest.mark.parametrize(
    "name",
    [LONG, "x" * 251 + ".png", "\u00fc" * 125 + ".png", "a[1].png", "-a =.png ", "line\nbreak.png"],
    ids=ascii,
)
def test_pictures_of_any_name_are_cut(name: str, tmp_path: Path) -> None:
    assert len(os.fsencode(name)) <= 255
    path = tmp_path / name
    noise(tmp_path / "plain.png", 60, 60).rename(path)
    twin = tmp_path / f"{name[:-10]}@{name[-9:]}"  # of nearly the same name
    noise(tmp_path / "plain.png", 60, 60, 1).rename(twin)
    records = tuple(record(one, 60, 60, [[1, 1, 9, 9]]) for one in (path, twin))
    tiled = tile_index(Index(("car",), records), tmp_path / "tiles", Tiling(40, 20))
    write_index(tiled, tmp_path / "tiles.json")
    found = read_index(tmp_path / "tiles.json").records
    assert [one.name for one in found[:2]] == [f"{name}@0,0,40x40", f"{name}@20,0,40x40"]
    for one in (found[0], found[4]):
        assert len(os.fsencode(one.path.name)) <= 255
        whole = np.asarray(Image.open(path if one is found[0] else twin))
        np.testing.assert_array_equal(one.load().image, whole[:40, :40])
    before = [one.path.stat().st_mtime_ns for one in found]
    tile_index(Index(("car",), records), tmp_path / "tiles", Tiling(40, 20))
    assert [one.path.stat().st_mtime_ns for one in found] == before


# Not resource.getrusage: its maximum includes the process that forked this one.
MEASURE = """
import sys
from pathlib import Path
import numpy as np
from training.data.annotated import Index, Record
from training.data.tiles import Tiling, tile_index
path, width, height, size = Path(sys.argv[1]), *map(int, sys.argv[2:])
record = Record("a", path, width, height, np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
def peak():
    (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x)
    return int(line.split()[1])
before = peak()
tile_index(Index(("car",), (record,)), path.parent / "tiles", Tiling(size, 0))
print((peak() - before) // 1024)
"""


def growth(path: Path, width: int, height: int, size: int, **options: object) -> int:
    """MiB by which cutting a picture of one colour increases the memory of a process."""
    colour = pyvips.Image.black(width, height, bands=3).linear([1] * 3, [10, 90, 170])
    colour.cast("uchar").copy(interpretation="srgb").write_to_file(str(path), **options)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path), str(width), str(height), str(size)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/status").is_file(), reason="no /proc, which tells the peak of memory"
)


@needs_proc
def test_memory_is_bounded_on_a_picture_of_20000_pixels(tmp_path: Path) -> None:
    # All pixels are 1144 MiB, a row of tiles is 59 MiB.
    grown = growth(tmp_path / "strips.tif", 20_000, 20_000, 1024, compression="deflate")
    assert 59 < grown < 400
    assert len(list((tmp_path / "tiles").iterdir())) == 20 * 20


@needs_proc
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("tiles.tif", {"compression": "deflate", "tile": True}),
        ("rows.png", {"compression": 1}),
        ("blocks.jpg", {}),
    ],
)
def test_height_costs_no_memory(tmp_path: Path, name: str, options: dict[str, object]) -> None:
    # All pixels are 229 MiB, a row of tiles is 6 MiB.
    grown = growth(tmp_path / name, 2000, 40_000, 1024, **options)
    assert 6 < grown < 100


TINY_CLASSES = (
    "plane",
    "bridge",
    "small-vehicle",
    "large-vehicle",
    "ship",
    "storage-tank",
    "swimming-pool",
    "helicopter",
)


def make_tiny_dota(parts: list[str], out: Path, *more: str) -> None:
    """DOTA, converted with the classes of small objects and tiled."""
    whole, keep = str(out.with_suffix(".whole")), ",".join(TINY_CLASSES)
    convert.main(["dota", *parts, "--version", "2.0", "--keep", keep, "--out", whole, *more])
    tiles.main([whole, "--out", str(out), "--size", "100", "--gap", "20", "--processes", "1"])


@pytest.fixture
def dota(tmp_path: Path) -> list[str]:
    """Two parts of five pictures of 180 x 100, each with a ship, a difficult plane and a harbor."""
    parts = []
    for part in range(2):
        folder = tmp_path / f"part{part}"
        (folder / "images").mkdir(parents=True)
        (folder / "labelTxt").mkdir()
        for number in range(part * 5, part * 5 + 5):
            pixels = np.full((100, 180, 3), number, np.uint8)
            Image.fromarray(pixels).save(folder / "images" / f"P{number:04}.png")
            (folder / "labelTxt" / f"P{number:04}.txt").write_text(
                "imagesource:GoogleEarth\ngsd:0.2\n"
                "10 20 30 20 30 40 10 40 ship 0\n"
                "120 20 140 20 140 40 120 40 plane 1\n"
                "10 50 30 50 30 90 10 90 harbor 0\n"
            )
        parts.append(str(folder))
    return parts


def test_the_set_of_the_paper(
    tmp_path: Path, dota: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tiny"
    make_tiny_dota(dota, out, "--strict")
    names: dict[str, set[str]] = {}
    for split in SPLITS:
        index = read_index(out / f"{split}.json")
        assert index.classes == TINY_CLASSES
        names[split] = {record.name.partition("@")[0] for record in index.records}
        for record in index.records:
            name, _, window = record.name.partition("@")
            assert split_of(name) == split
            left = window == "0,0,100x100"
            assert left or window == "80,0,100x100"
            # The ship in the left tile, the plane in the right one.
            assert record.labels.tolist() == [4 if left else 0]
            assert record.boxes.tolist() == [[10, 20, 30, 40] if left else [40, 20, 60, 40]]
            assert record.ignored.tolist() == [not left]
            assert record.corners is not None
            assert record.load().image[0, 0, 0] == int(name[1:5])
        assert len(index.records) == 2 * len(names[split])
    assert sorted(set().union(*names.values())) == [f"P{number:04}.png" for number in range(10)]
    whole = {
        split: set(part) for split, part in json.loads((out / "split.json").read_text()).items()
    }
    assert whole == names
    assert "no defects" in capsys.readouterr().out


def test_split_of_an_earlier_run_is_taken_up(tmp_path: Path, dota: list[str]) -> None:
    split = {
        "train": [f"P{number:04}.png" for number in range(8)],
        "val": ["P0008.png"],
        "test": ["P0009.png"],
    }
    (tmp_path / "split.json").write_text(json.dumps(split))
    out = tmp_path / "tiny"
    make_tiny_dota(dota, out, "--split", str(tmp_path / "split.json"))
    assert json.loads((out / "split.json").read_text()) == split
    tests = [record.name for record in read_index(out / "test.json").records]
    assert tests == ["P0009.png@0,0,100x100", "P0009.png@80,0,100x100"]
    again = tmp_path / "again"
    make_tiny_dota(dota, again, "--split", str(out / "split.json"))
    for name in (*(f"{split}.json" for split in SPLITS), "split.json"):
        assert (again / name).read_bytes() == (out / name).read_bytes()

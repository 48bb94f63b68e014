"""Exemplars as values: merged, thinned, numbered, shown, saved, and refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from c3det.exemplars import (
    MAX_EXEMPLARS,
    THUMBNAIL,
    Exemplars,
    ExemplarsError,
    thumbnail,
)

WEIGHTS = "ab" * 32


def made(*rows: tuple[int, bool, list[float]], **fields: Any) -> Exemplars:
    """Exemplars of 20 x 10 pixels from (label, sign, vector); each thumbnail has its own grey."""
    count = len(rows)
    values: dict[str, Any] = {
        "weights": WEIGHTS,
        "names": ("nut", "bolt"),
        "labels": np.array([label for label, _, _ in rows], np.int64),
        "positive": np.array([positive for _, positive, _ in rows], np.bool_),
        "vectors": np.array([vector for _, _, vector in rows], np.float16),
        "sizes": np.tile(np.array([20, 10], np.float32), (count, 1)),
        "thumbnails": np.stack(
            [np.full((THUMBNAIL, THUMBNAIL, 3), 10 * row % 250, np.uint8) for row in range(count)]
        ),
        "sources": tuple(f"frame {row}" for row in range(count)),
    }
    return Exemplars(**(values | fields))


@pytest.fixture
def three() -> Exemplars:
    return made((0, True, [1, 0]), (1, True, [0, 1]), (1, False, [0.5, 0.5]))


def assert_equal(one: Exemplars, other: Exemplars) -> None:
    assert list(one) == list(other)
    assert (one.weights, one.names, one.sources) == (other.weights, other.names, other.sources)
    assert np.array_equal(one.thumbnails, other.thumbnails)


def test_saved_ones_come_back(tmp_path: Path, three: Exemplars) -> None:
    path = tmp_path / "e.safetensors"
    three.save(path)
    assert_equal(Exemplars.load(path), three)
    none = Exemplars.none(WEIGHTS, 2, ["nut"])
    none.save(path)
    assert_equal(Exemplars.load(path), none)
    with pytest.raises(OSError, match="No such file"):
        three.save(tmp_path / "nowhere" / "e.safetensors")


def test_an_exemplar_is_small(tmp_path: Path) -> None:
    """576 numbers in half precision, and a thumbnail of 32 x 32 pixels."""
    rows = [(0, True, np.ones(576).tolist())] * 10
    exemplars = made(*rows)
    assert exemplars.nbytes == 10 * (8 + 1 + 2 * 576 + 2 * 4 + 3 * 32 * 32)
    exemplars.save(tmp_path / "e.safetensors")
    assert (tmp_path / "e.safetensors").stat().st_size < exemplars.nbytes + 1500


def test_merged_ones_are_there_once_and_keep_their_names(three: Exemplars) -> None:
    other = made(
        (0, True, [0, 1]),  # the second of the first three
        (1, True, [0, 1]),  # of another label
        (0, True, [1, 1]),
        names=("bolt", "washer"),
    )
    both = three.merged(other)
    assert both.names == ("nut", "bolt", "washer")
    assert both.labels.tolist() == [0, 1, 1, 2, 1]
    assert both.vectors.tolist() == [[1, 0], [0, 1], [0.5, 0.5], [0, 1], [1, 1]]
    assert both.sources == ("frame 0", "frame 1", "frame 2", "frame 1", "frame 2")
    assert_equal(both.merged(both), both)
    assert_equal(three.merged(three), three)
    # Another size is another exemplar.
    assert len(three.merged(replace(three, sizes=three.sizes + 1))) == 6


def test_other_weights_are_not_merged(three: Exemplars) -> None:
    with pytest.raises(ExemplarsError, match="of the weights abababababab cannot be merged with"):
        three.merged(replace(three, weights="cd" * 32))
    with pytest.raises(ExemplarsError, match="cannot be merged"):
        three.merged(made((0, True, [1, 0, 0])))


def test_too_many_are_not_merged() -> None:
    half = made(*((0, True, [row, 1.0]) for row in range(MAX_EXEMPLARS // 2 + 1)))
    other = replace(half, sizes=half.sizes + 1)
    with pytest.raises(ExemplarsError, match="these would be 4098 exemplars, and at most 4096"):
        half.merged(other)


def test_labels_are_numbered_as_the_caller_has_them(three: Exemplars) -> None:
    numbered = three.numbered(["screw", "bolt"])
    assert numbered.names == ("screw", "bolt")
    assert numbered.labels.tolist() == [1, 1]
    assert numbered.sources == ("frame 1", "frame 2")
    assert three.numbered(["bolt", "nut"]).labels.tolist() == [1, 0, 0]
    assert len(Exemplars.none(WEIGHTS, 2).numbered(["a"])) == 0


def test_one_source_is_dropped(three: Exemplars) -> None:
    assert three.without("frame 1").sources == ("frame 0", "frame 2")
    assert three.without("frame 9").sources == three.sources


def test_the_most_typical_ones_stay() -> None:
    """Looks at these angles have their mean at 42.3 degrees."""
    angles = np.radians([100, 0, 10, 20, 90])
    looks = np.stack([np.cos(angles), np.sin(angles)], 1)
    # However long they are.
    every = made(*((0, True, (3 * look).tolist()) for look in looks), (1, True, [1, 1]))
    for count, sources in (
        (1, ("frame 3", "frame 5")),
        (2, ("frame 2", "frame 3", "frame 5")),
        (4, ("frame 1", "frame 2", "frame 3", "frame 4", "frame 5")),
    ):
        assert every.thinned(count).sources == sources
    assert_equal(every.thinned(5), every)
    assert len(made((0, True, [0, 0]), (0, True, [1, 0])).thinned(1)) == 1
    with pytest.raises(ValueError, match="at least 1 exemplar of each label must stay, not 0"):
        every.thinned(0)


def test_of_the_negative_ones_the_same_share_stays() -> None:
    rows = [(0, row < 8, [1.0, row / 10]) for row in range(14)]
    thin = made(*rows, (1, False, [1, 1])).thinned(4)
    assert (thin.labels == 0).all()
    assert thin.positive.sum() == 4
    assert (~thin.positive).sum() == 3  # half of six
    assert (~made(*rows).thinned(3).positive).sum() == 3  # three eighths of six, rounded up
    # With more than five of both kinds together, two of each stay, not three; one of each at least.
    assert_equal(made(*rows).thinned(8, most=5), made(*rows).thinned(2))
    assert_equal(made(*rows).thinned(8, most=1), made(*rows).thinned(1))
    assert_equal(made(*rows).thinned(3, most=99), made(*rows).thinned(3))
    # All of the few positive ones stay, and no more negative ones than the count.
    few = made(*((0, row < 2, [1.0, row / 10]) for row in range(14))).thinned(3)
    assert few.positive.sum() == 2
    assert (~few.positive).sum() == 3


def test_the_strip_has_a_row_for_each_label(three: Exemplars) -> None:
    strip = three.strip()
    side = THUMBNAIL + 4
    assert strip.shape == (2 * side, 2 * side, 3)
    assert (strip[2:34, 2:34] == 0).all()
    assert (strip[2:34, side:] == 255).all()  # a nut alone
    assert (strip[side + 2 : side + 34, 2:34] == 10).all()
    assert (strip[side + 2 : side + 34, side + 2 : side + 34] == 20).all()
    green, red = strip[side, 0], strip[side, side]
    assert green[1] > green[0]
    assert red[0] > red[1]
    assert Exemplars.none(WEIGHTS, 2).strip().size


def test_a_thumbnail_shows_the_box_and_a_little_around_it() -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    image[80:120, 100:140] = (200, 100, 50)
    shown = thumbnail(image, (100, 80, 140, 120))
    assert shown.shape == (32, 32, 3)
    assert shown[16, 16].tolist() == [200, 100, 50]
    assert shown[16, 1].tolist() == [0, 0, 0]
    # 40 of 52 pixels are 24.6 of 32.
    assert int((shown[16, :, 0] > 100).sum()) == pytest.approx(24.6, abs=1)
    # Of a large one, which is reduced first, the same share.
    image[20:180, 50:210] = (200, 100, 50)
    large = thumbnail(image, (50, 20, 210, 180))
    assert int((large[16, :, 0] > 100).sum()) == pytest.approx(24.6, abs=1)
    image[:40, :40] = (50, 100, 200)
    corner = thumbnail(image, (0, 0, 40, 40))
    assert corner[16, 16].tolist() == [50, 100, 200]
    assert corner[1, 1].tolist() == [0, 0, 0]
    assert thumbnail(image, (-9, -9, -8, -8)).sum() == 0
    assert thumbnail(image, (290, 190, 300, 200)).shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weights": "ab"}, "weights must be 64 hexadecimal digits, not 'ab'"),
        ({"names": ("nut", "nut")}, "classes must differ"),
        ({"names": ("nut",)}, "labels must be from 0 to 0, one for each name"),
        ({"labels": np.array([0, -1, 0])}, "labels must be from 0 to 1"),
        ({"labels": np.array([0, 1])}, r"labels must be int64 \(3,\), not int64 \(2,\)"),
        ({"positive": np.array([0, 1, 1])}, r"positive must be bool \(3,\), not int64"),
        ({"vectors": np.zeros((3, 0), np.float16)}, "vectors must have 1 to 4096 numbers each"),
        ({"vectors": np.full((3, 2), np.nan, np.float16)}, "vectors must be finite numbers"),
        ({"sizes": np.zeros((3, 2), np.float32)}, "sizes must be numbers from 0.1 to 100000"),
        ({"sizes": np.full((3, 2), np.nan, np.float32)}, "sizes must be numbers from 0.1"),
        ({"thumbnails": np.zeros((3, 8, 8, 3), np.uint8)}, r"thumbnails must be uint8 \(3, 32"),
        ({"sources": ("a", "b", "c" * 201)}, r"sources\[2\] must be a text of at most 200"),
    ],
)
def test_values_that_exemplars_cannot_have(
    three: Exemplars, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ExemplarsError, match=message):
        replace(three, **fields)


def test_files_that_cannot_be_read(tmp_path: Path, three: Exemplars) -> None:
    path = tmp_path / "e.safetensors"
    with pytest.raises(ExemplarsError, match="are missing: name a file that is there"):
        Exemplars.load(path)
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(ExemplarsError, match=r"cannot be read \(.*copy the file again"):
        Exemplars.load(path)
    with path.open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(ExemplarsError, match="have more than 64 MiB"):
        Exemplars.load(path)
    three.save(path)
    arrays = load_file(path)
    good = {
        "format_version": "1",
        "kind": "exemplars",
        "weights": WEIGHTS,
        "names": '["nut", "bolt"]',
        "sources": '["", "", ""]',
    }
    for change, message in (
        ({"kind": "weights"}, "it holds something else"),
        ({"format_version": "2"}, "its format_version is '2', and this program reads 1"),
        ({"names": "nut"}, "names must be a list of texts"),
        ({"names": "[" * 100_000}, "names must be a list of texts"),
        ({"sources": "[1, 2, 3]"}, "sources must be a list of texts"),
        ({"sources": json.dumps([""] * 4)}, r"labels must be int64 \(4,\)"),
        ({"weights": "x"}, "weights must be 64 hexadecimal digits"),
    ):
        save_file(arrays, path, good | change)
        with pytest.raises(ExemplarsError, match=message):
            Exemplars.load(path)
    save_file({**arrays, "more": arrays["sizes"]}, path, good)
    with pytest.raises(ExemplarsError, match="it holds something else"):
        Exemplars.load(path)
    save_file(arrays, path, good)
    assert len(Exemplars.load(path)) == 3


def test_whatever_is_in_a_file_is_refused_or_exemplars(tmp_path: Path, three: Exemplars) -> None:
    path = tmp_path / "e.safetensors"
    three.save(path)
    good = path.read_bytes()
    kinds = st.sampled_from([b"F16", b"U8", b"BOOL", b"I64", b"F32"])
    others = st.sampled_from([b"BF16", b"F8_E4M3", b"U32", b"C64", b"X"])
    # Most changes in the header and the vectors, which lie first.
    places = st.one_of(
        st.integers(0, 8 + int.from_bytes(good[:8], "little")), st.integers(0, len(good) - 1)
    )
    files = st.one_of(
        st.builds(lambda old, new: good.replace(b'"%s"' % old, b'"%s"' % new), kinds, others),
        st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=4).map(
            lambda changes: changed(good, changes)
        ),
        st.integers(0, len(good) - 1).map(lambda end: good[:end]),
    )
    results: list[bool] = []

    @settings(max_examples=300, deadline=None)
    @given(files)
    def check(content: bytes) -> None:
        path.write_bytes(content)
        try:
            found = Exemplars.load(path)
        except ExemplarsError:
            results.append(False)
            return
        results.append(True)
        assert found.vectors.shape == (3, 2)
        assert np.isfinite(found.vectors).all()

    check()
    assert 0 < sum(results) < len(results)


def changed(content: bytes, changes: Sequence[tuple[int, int]]) -> bytes:
    new = bytearray(content)
    for place, value in changes:
        new[place] = value
    return bytes(new)

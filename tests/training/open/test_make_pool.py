"""What is put into the prepared folder."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.ttLib.tables._g_l_y_f import Glyph
from PIL import Image

from training.data.annotated import Annotated
from training.data.sources import SourceError
from training.open.kinds import CELL
from training.open.make_pool import (
    MEDIAN,
    SET_BYTES,
    fitted,
    icons_of,
    letters_of,
    main,
    sheet,
    trained_sets,
    write_set,
)


def a_font(path: Path, names: dict[int, str]) -> Path:
    glyphs = [".notdef", *names.values()]
    builder = FontBuilder(1000)
    builder.setupGlyphOrder(glyphs)
    builder.setupCharacterMap(names)
    builder.setupGlyf(dict.fromkeys(glyphs, Glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (500, 0)))
    builder.setupHorizontalHeader()
    builder.setupNameTable({})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


def test_no_digits_of_any_script(tmp_path: Path) -> None:
    letters = {ord("a"): "a", ord("7"): "seven", 0x0665: "arabic5", 0x4E09: "three", 0x0416: "zhe"}
    path = a_font(tmp_path / "letters.ttf", letters)
    assert sorted(letters_of(path, random.Random(0))) == ["a", "\u0416"]
    icons = {0xF001: "bell", 0xF002: "dice-five", 0xF003: "clock-24", 0xF004: "bell-outline"}
    path = a_font(tmp_path / "icons.ttf", icons)
    assert icons_of(path) == ["\uf001", "\uf004"]


def test_fitted() -> None:
    image = Image.new("L", (200, 100))
    image.paste(255, (60, 20, 140, 60))  # 80 x 40
    cell = fitted(image)
    assert cell is not None
    assert cell.size == (CELL, CELL)
    assert cell.getbbox() == (0, CELL // 4, CELL, 3 * CELL // 4)
    image.paste(255, (0, 50, 200, 52))
    assert fitted(Image.new("L", (10, 10))) is None
    line = Image.new("L", (200, 100))
    line.paste(255, (0, 50, 200, 52))
    assert fitted(line) is None


def test_sheet() -> None:
    cells = [Image.new("L", (CELL, CELL), number) for number in range(102)]
    made = np.asarray(sheet(cells, "L"))
    assert made.shape == (2 * CELL, 100 * CELL)
    assert (made[CELL:, CELL : 2 * CELL] == 101).all()


def test_sets_that_are_not_there_are_said_or_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("C3DET_DATA", str(tmp_path))
    monkeypatch.setenv("C3DET_CACHE", str(tmp_path / "cache"))
    with pytest.raises(SourceError, match="the real set aerial_maritime is not in"):
        trained_sets(available=False)
    assert trained_sets(available=True) == []
    said = capsys.readouterr().out
    assert "left out: the real set apples is not prepared: python -m training.data.real_" in said
    assert "aerial_cars" not in said


def test_wrong_input_gives_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("C3DET_DATA", str(tmp_path / "none"))
    monkeypatch.setenv("C3DET_CACHE", str(tmp_path / "cache"))
    for out, message in (
        (tmp_path, "exists already; name a new folder"),
        (tmp_path / "pool", "the real set aerial_maritime is not in"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["--out", str(out)])
        assert stopped.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("python -m training.open.make_pool: ")
        assert message in line
    assert not (tmp_path / "pool").exists()


def test_real_pictures_are_made_smaller_with_their_boxes(tmp_path: Path) -> None:
    side = 4 * MEDIAN
    picture = Annotated(
        "a",
        np.full((300, 400, 3), 77, np.uint8),
        np.array([[0, 0, side, 40], [8, 16, 8 + side, 26], [0, 0, 400, 300]], np.float32),
        np.array([2, 5, 0]),
        np.array([False, False, True]),
    )
    assert write_set(tmp_path, "toy", [picture]) == 1
    (record,) = json.loads((tmp_path / "real/toy/boxes.json").read_text())
    assert Image.open(tmp_path / "real/toy" / record["name"]).size == (100, 75)
    assert record["boxes"] == [[0, 0, MEDIAN, 10, 2], [2, 4, 2 + MEDIAN, 6.5, 5]]
    assert record["ignored"] == [[0, 0, 100, 75]]


def test_small_ones_stay(tmp_path: Path) -> None:
    picture = Annotated(
        "a",
        np.zeros((30, 40, 3), np.uint8),
        np.array([[1, 2, 11, 9]], np.float32),
        np.array([0]),
    )
    write_set(tmp_path, "toy", [picture])
    (record,) = json.loads((tmp_path / "real/toy/boxes.json").read_text())
    assert record["boxes"] == [[1, 2, 11, 9, 0]]


def test_a_large_set_is_thinned_out(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    box = np.array([[10, 10, 30, 30]], np.float32)
    count = 20
    pictures = [Annotated(str(n), noise, box + n, np.array([0])) for n in range(count)]
    written = write_set(tmp_path, "toy", pictures)
    folder = tmp_path / "real/toy"
    records = json.loads((folder / "boxes.json").read_text())
    assert 2 <= written == len(records) < count
    assert sum(path.stat().st_size for path in folder.glob("*.webp")) <= SET_BYTES
    assert [record["boxes"][0][0] for record in records[:: written - 1]] == [10, 29]

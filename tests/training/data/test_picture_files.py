from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import pyvips
from PIL import Image

from training.data import pictures
from training.data.pictures import (
    PictureError,
    check_whole,
    picture_size,
    read_bands,
    read_picture,
)

PIXELS = np.random.default_rng(0).integers(0, 256, (70, 50, 3), dtype=np.uint8)
ROWS = [(0, 20), (13, 33), (33, 40), (50, 70)]
TURN_RIGHT = 6
"""EXIF orientation of a picture that is shown turned clockwise by a quarter."""


def by_vips(path: Path, pixels: np.ndarray = PIXELS, **options: object) -> None:
    pyvips.Image.new_from_array(pixels).write_to_file(str(path), **options)


def with_exif(path: Path, orientation: int) -> None:
    image = Image.fromarray(PIXELS)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)


STREAMED: dict[str, Callable[[Path], None]] = {
    "rgb.png": by_vips,
    "rgba.png": lambda path: Image.fromarray(np.dstack([PIXELS, PIXELS[..., 0]])).save(path),
    "grey.png": lambda path: Image.fromarray(PIXELS[..., 0]).save(path),
    "grey-alpha.png": lambda path: Image.fromarray(PIXELS[..., :2], "LA").save(path),
    "palette.png": lambda path: Image.fromarray(PIXELS).quantize(16).save(path),
    "rgb.jpg": by_vips,
    "grey.jpg": lambda path: Image.fromarray(PIXELS[..., 0]).save(path),
    "strips.tif": lambda path: by_vips(path, compression="deflate"),
    "tiles.tif": lambda path: by_vips(path, tile=True, tile_width=16, tile_height=16),
    "lzw.tif": lambda path: by_vips(path, compression="lzw", predictor="horizontal"),
    "jpeg.tif": lambda path: by_vips(path, compression="jpeg", tile=True),
}
WHOLE: dict[str, Callable[[Path], None]] = {
    "it is interlaced": lambda path: by_vips(path, interlace=True),
    "it is a progressive JPEG": lambda path: by_vips(path, interlace=True),
    "it is rotated by its EXIF or XMP data": lambda path: with_exif(path, TURN_RIGHT),
    "it is not 8-bit grey or RGB": lambda path: Image.fromarray(
        PIXELS[..., 0].astype(np.uint16) * 200
    ).save(path),
    "its format is not PNG, JPEG or TIFF": lambda path: Image.fromarray(PIXELS).save(path),
}
SUFFIX = {"it is a progressive JPEG": "jpg", "its format is not PNG, JPEG or TIFF": "bmp"}


@pytest.mark.parametrize("name", STREAMED)
def test_bands_are_the_rows_of_the_whole_picture(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    STREAMED[name](path)
    image, reason = pictures._stream(path)
    assert (image is not None, reason) == (True, "")
    whole = read_picture(path)
    assert picture_size(path) == whole.shape[:2] == (70, 50)
    bands = list(read_bands(path, ROWS))
    for (top, bottom), band in zip(ROWS, bands, strict=True):
        # Two decoders of a JPEG may round differently.
        difference = np.abs(band.astype(int) - whole[top:bottom])
        assert difference.max() <= (2 if "jpg" in name or "jpeg" in name else 0)
    if "jp" not in name and "grey" not in name and "palette" not in name:
        np.testing.assert_array_equal(whole, PIXELS)


@pytest.mark.parametrize("reason", WHOLE)
def test_what_cannot_be_streamed_is_read_whole_or_refused(
    reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a.{SUFFIX.get(reason, 'png')}"
    WHOLE[reason](path)
    whole = read_picture(path)
    height = len(whole)
    assert picture_size(path) == whole.shape[:2]
    rows = [(0, 20), (13, height)]
    for (top, bottom), band in zip(rows, read_bands(path, rows), strict=True):
        np.testing.assert_array_equal(band, whole[top:bottom])
    monkeypatch.setattr(pictures, "WHOLE_PIXELS", 70 * 50 - 1)
    with pytest.raises(PictureError, match=f"{path}: .* pixels, and {reason}, which can only be"):
        next(read_bands(path, rows))
    with pytest.raises(PictureError, match=f"{path}: .* pixels are more than the 3499"):
        read_picture(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_exif_rotation_is_applied(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    with_exif(path, TURN_RIGHT)
    assert picture_size(path) == (50, 70)
    turned = np.rot90(PIXELS, -1)
    if suffix != "jpg":
        np.testing.assert_array_equal(read_picture(path), turned)
    assert read_picture(path).shape == turned.shape


def test_streamed_picture_may_be_larger_than_what_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_vips(tmp_path / "a.png")
    monkeypatch.setattr(pictures, "WHOLE_PIXELS", 10)
    (band,) = read_bands(tmp_path / "a.png", [(60, 70)])
    np.testing.assert_array_equal(band, PIXELS[60:])


def test_bands_taller_than_a_strip(tmp_path: Path) -> None:
    tall = np.arange(700 * 3 * 3, dtype=np.uint16).astype(np.uint8).reshape(700, 3, 3)
    by_vips(tmp_path / "a.png", tall)
    rows = [(0, 300), (200, 600), (100 + 500, 700)]
    for (top, bottom), band in zip(rows, read_bands(tmp_path / "a.png", rows), strict=True):
        np.testing.assert_array_equal(band, tall[top:bottom])


def test_no_rows_outside_of_the_picture(tmp_path: Path) -> None:
    by_vips(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"no rows 60 to 71 in a picture 70 rows high"):
        next(read_bands(tmp_path / "a.png", [(60, 71)]))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_broken_pictures_are_named(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(1).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    by_vips(path, noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(PictureError, match=f"^{path}: "):
        read_picture(path)
    with pytest.raises(PictureError, match=f"^{path}: "):
        list(read_bands(path, [(0, 200), (200, 400)]))


def test_missing_file_and_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(PictureError, match=r"a.png: this is no picture in one of JPEG, PNG, TIFF"):
        picture_size(tmp_path / "a.png")
    with pytest.raises(PictureError, match=r"b.png: there is no such file"):
        read_picture(tmp_path / "b.png")


def test_limit_of_pillow_is_left_as_it_was(tmp_path: Path) -> None:
    before = Image.MAX_IMAGE_PIXELS
    by_vips(tmp_path / "a.png")
    picture_size(tmp_path / "a.png")
    with pytest.raises(PictureError):
        picture_size(tmp_path / "b.png")
    assert Image.MAX_IMAGE_PIXELS == before is not None


def test_size_of_a_png_is_known_from_its_header(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    by_vips(path)
    path.write_bytes(path.read_bytes()[:2000])
    assert picture_size(path) == (70, 50)


def test_exif_behind_the_pixels_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with_exif(path, TURN_RIGHT)
    content = path.read_bytes()
    start = content.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4], "big")
    chunk, rest = content[start:end], content[:start] + content[end:]
    path.write_bytes(rest[:-12] + chunk + rest[-12:])  # before IEND
    assert picture_size(path) == read_picture(path).shape[:2] == (50, 70)
    assert next(read_bands(path, [(0, 50)])).shape == (50, 70, 3)


@pytest.mark.parametrize(
    ("suffix", "limit"),
    [
        *((suffix, 10**6) for suffix in ("png", "jpg", "tif", "bmp", "gif", "webp", "ppm")),
        ("png", 1000),
        ("jpg", 1000),
    ],
)
def test_cut_picture_is_found(
    suffix: str, limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(PIXELS).save(path)
    monkeypatch.setattr(pictures, "WHOLE_PIXELS", limit)
    check_whole(path)
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(PictureError, match=f"{path}: "):
        check_whole(path)

"""Headers of pictures in memory; training's tests have the table of formats."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from c3det.rgb import Header, read_header, read_pixels

# Two rows of three pixels.
PIXELS = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)


def opened(file_format: str, orientation: int | None = None, **options: object) -> Image.Image:
    if orientation is not None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, file_format, **options)
    return Image.open(io.BytesIO(stream.getvalue()))


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize(
    ("stated", "orientation", "width", "height"),
    [(None, 1, 3, 2), (0, 1, 3, 2), (1, 1, 3, 2), (3, 3, 3, 2), (6, 6, 2, 3), (9, 1, 3, 2)],
)
def test_size_and_orientation_are_those_of_the_pixels(
    file_format: str, stated: int | None, orientation: int, width: int, height: int
) -> None:
    image = opened(file_format, stated)
    header = read_header(image)
    assert (header.orientation, header.width, header.height) == (orientation, width, height)
    assert header.format == file_format
    assert read_pixels(image).shape == (height, width, 3)


def test_exif_behind_the_pixels_of_a_png_counts() -> None:
    with opened("PNG", 6) as image:
        content = image.fp.getvalue()  # type: ignore[attr-defined]
    start = content.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4], "big")
    moved = content[:start] + content[end:-12] + content[start:end] + content[-12:]
    image = Image.open(io.BytesIO(moved))
    assert read_header(image).orientation == 6
    np.testing.assert_array_equal(read_pixels(image), np.rot90(PIXELS, -1))


def test_how_the_pixels_are_stored() -> None:
    assert read_header(opened("PNG")) == Header(3, 2, 1, "PNG", "RGB")
    assert read_header(opened("BMP")).samples == "BGR"
    assert read_header(opened("JPEG", progressive=True)).codec == "progressive"
    tiff = read_header(opened("TIFF", compression="zstd"))
    assert (tiff.codec, tiff.colours, tiff.planar) == ("zstd", 2, False)
    frames = {"save_all": True, "append_images": [Image.new("RGB", (3, 2), "red")]}
    assert read_header(opened("PNG", **frames)).animated
    assert read_header(opened("MPO", **frames)).format == "JPEG"

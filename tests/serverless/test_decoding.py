from __future__ import annotations

import contextlib
import io
import struct
import zlib
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image

from serverless.decoding import decode, limit_pixels
from serverless.protocol import RequestError

# Two rows of three pixels.
GREY = np.array([[0, 51, 102], [153, 204, 255]], np.uint8)
COLOUR = np.stack([GREY, 255 - GREY, GREY // 2], axis=2)


def encoded(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def grey3(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[:, :, None], 3, axis=2)


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "PPM"])
def test_colour(file_format: str) -> None:
    image = decode(encoded(Image.fromarray(COLOUR), file_format), 6)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.flags.writeable
    np.testing.assert_array_equal(image, COLOUR)


def test_lossless_webp() -> None:
    picture = encoded(Image.fromarray(COLOUR), "WEBP", lossless=True)
    np.testing.assert_array_equal(decode(picture, 6), COLOUR)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg(mode: str) -> None:
    picture = encoded(Image.new("RGB", (16, 8), (200, 200, 200)).convert(mode), "JPEG")
    image = decode(picture, 128)
    assert image.shape == (8, 16, 3)
    np.testing.assert_allclose(image, 200, atol=3)


def test_grey() -> None:
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(GREY)), 6), grey3(GREY))


def test_black_and_white() -> None:
    image = decode(encoded(Image.fromarray(GREY > 127)), 6)
    np.testing.assert_array_equal(image, grey3(np.where(GREY > 127, 255, 0).astype(np.uint8)))


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_16_bit_grey_of_the_full_range(file_format: str) -> None:
    deep = GREY.astype(np.uint16) * 257
    np.testing.assert_array_equal(
        decode(encoded(Image.fromarray(deep), file_format), 6), grey3(GREY)
    )


def test_12_bit_values_in_a_16_bit_file_are_stretched() -> None:
    deep = np.array([[100, 1100], [2100, 4100]], np.uint16)
    image = decode(encoded(Image.fromarray(deep)), 4)
    # (value - 100) * 255 / 4000 = 0, 63.75, 127.5, 255
    np.testing.assert_array_equal(image[..., 0], [[0, 64], [128, 255]])


def test_big_endian_16_bit_tiff() -> None:
    data = struct.pack(">4H", 0, 257, 514, 65535)
    entries = [
        (256, 3, 1, 2 << 16),
        (257, 3, 1, 2 << 16),
        (258, 3, 1, 16 << 16),
        (259, 3, 1, 1 << 16),
        (262, 3, 1, 1 << 16),
        (273, 4, 1, 8),
        (278, 3, 1, 2 << 16),
        (279, 4, 1, len(data)),
    ]
    directory = struct.pack(">H", len(entries))
    directory += b"".join(struct.pack(">HHII", *entry) for entry in entries)
    picture = struct.pack(">2sHI", b"MM", 42, 8 + len(data)) + data + directory + bytes(4)
    np.testing.assert_array_equal(decode(picture, 4)[..., 0], [[0, 1], [2, 255]])


def test_floats_and_32_bits_are_stretched() -> None:
    values = np.array([[-1, 0], [1, 3]])
    for dtype in (np.float32, np.int32):
        image = decode(encoded(Image.fromarray(values.astype(dtype)), "TIFF"), 4)
        np.testing.assert_array_equal(image[..., 0], [[0, 64], [128, 255]])


def test_floats_that_are_not_numbers() -> None:
    values = np.array([[np.nan, 0], [np.inf, 2]], np.float32)
    image = decode(encoded(Image.fromarray(values), "TIFF"), 4)
    np.testing.assert_array_equal(image[..., 0], [[0, 0], [255, 255]])
    nothing = np.full((2, 2), np.nan, np.float32)
    assert not decode(encoded(Image.fromarray(nothing), "TIFF"), 4).any()


def test_one_value_alone_is_black() -> None:
    assert not decode(encoded(Image.fromarray(np.full((2, 2), 700, np.uint16))), 4).any()


def png(colour_type: int, depth: int, width: int, rows: list[bytes]) -> bytes:
    """A PNG of kinds that Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def test_of_16_bit_colour_the_upper_bits_are_kept() -> None:
    picture = png(2, 16, 2, [struct.pack(">6H", 0x12FF, 0x3400, 0x56FF, 0, 0xFFFF, 0x0100)])
    np.testing.assert_array_equal(decode(picture, 2), [[[0x12, 0x34, 0x56], [0, 255, 1]]])


def test_transparency_is_dropped() -> None:
    alpha = np.array([[0, 128, 255], [0, 128, 255]], np.uint8)
    rgba = Image.fromarray(np.dstack([COLOUR, alpha]), "RGBA")
    np.testing.assert_array_equal(decode(encoded(rgba), 6), COLOUR)
    grey_alpha = Image.fromarray(np.dstack([GREY, alpha]), "LA")
    np.testing.assert_array_equal(decode(encoded(grey_alpha), 6), grey3(GREY))


@pytest.mark.parametrize("transparency", [None, 0, bytes([0, 128])])
def test_palette(transparency: object) -> None:
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8))
    image.putpalette([10, 20, 30, 40, 50, 60])
    options = {} if transparency is None else {"transparency": transparency}
    np.testing.assert_array_equal(
        decode(encoded(image, **options), 4),
        [[[10, 20, 30], [40, 50, 60]], [[40, 50, 60], [10, 20, 30]]],
    )


def test_cmyk_tiff() -> None:
    picture = encoded(Image.new("CMYK", (2, 1), (255, 0, 0, 0)), "TIFF")
    np.testing.assert_array_equal(decode(picture, 2), [[[0, 255, 255], [0, 255, 255]]])


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, COLOUR),
        (2, COLOUR[:, ::-1]),
        (3, COLOUR[::-1, ::-1]),
        (6, np.rot90(COLOUR, -1)),
        (8, np.rot90(COLOUR)),
    ],
)
def test_exif_rotation_is_applied(orientation: int, expected: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    for file_format in ("PNG", "TIFF"):
        picture = encoded(Image.fromarray(COLOUR), file_format, exif=exif)
        np.testing.assert_array_equal(decode(picture, 6), expected)


def test_exif_rotation_of_16_bit_grey() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = encoded(Image.fromarray(GREY.astype(np.uint16) * 257), exif=exif)
    np.testing.assert_array_equal(decode(picture, 6), grey3(np.rot90(GREY, -1)))


def test_of_several_pictures_the_first_counts() -> None:
    frames = [Image.new("L", (3, 2), value) for value in (10, 20)]
    for file_format in ("GIF", "TIFF", "PNG"):
        picture = encoded(frames[0], file_format, save_all=True, append_images=frames[1:])
        np.testing.assert_array_equal(decode(picture, 6), 10)


@pytest.mark.parametrize(
    "picture",
    [b"", b"not a picture", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg/>"],
)
def test_not_a_picture(picture: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        decode(picture, 100)
    assert (caught.value.code, caught.value.field) == ("undecodable", "image")
    assert "BytesIO" not in caught.value.message


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF"])
def test_pictures_that_are_cut_off(file_format: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    picture = encoded(Image.fromarray(noise), file_format)
    for length in (len(picture) // 4, len(picture) // 2, len(picture) * 3 // 4):
        with pytest.raises(RequestError) as caught:
            decode(picture[:length], 4096)
        assert (caught.value.code, caught.value.field) == ("undecodable", "image")


@settings(max_examples=200)
@given(
    st.sampled_from(["PNG", "JPEG", "TIFF", "GIF"]),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 255),
)
def test_a_damaged_byte_is_refused_or_decoded_but_never_raises_otherwise(
    file_format: str, place: float, value: int
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    damaged = bytearray(encoded(Image.fromarray(noise), file_format))
    damaged[int(place * len(damaged))] = value
    with contextlib.suppress(RequestError):
        assert decode(bytes(damaged), 10_000).ndim == 3


def test_the_size_is_checked_before_the_pixels_are_read() -> None:
    assert decode(encoded(Image.new("L", (10, 10))), 100).shape == (10, 10, 3)
    with pytest.raises(RequestError) as caught:
        decode(encoded(Image.new("L", (11, 10))), 100)
    assert (caught.value.code, caught.value.field) == ("too_large", "image")
    assert "11 x 10" in caught.value.message


def header_only(side: int) -> bytes:
    """A PNG that claims to be a square of colours."""
    data = png(2, 8, side, [b""])
    data = data[:20] + struct.pack(">I", side) + data[24:]
    return data[:29] + struct.pack(">I", zlib.crc32(data[12:29])) + data[33:]


@pytest.mark.parametrize("side", [5000, 60_000])
def test_a_bomb_is_refused_by_its_header(side: int) -> None:
    with pytest.raises(RequestError) as caught:
        decode(header_only(side), 16_000_000)
    assert (caught.value.code, caught.value.field) == ("too_large", "image")


@pytest.mark.parametrize(
    ("max_pixels", "code"),
    [(500_000_000, "undecodable"), (300_000_000, "too_large"), (100_000_000, "too_large")],
)
def test_pillows_limit_follows_the_setting(max_pixels: int, code: str) -> None:
    limit_pixels(max_pixels)
    assert Image.MAX_IMAGE_PIXELS == max_pixels
    # 400 megapixels are more than Pillow takes unasked; the first setting lets them pass.
    with pytest.raises(RequestError) as caught:
        decode(header_only(20_000), max_pixels)
    assert caught.value.code == code


def test_lack_of_memory_is_not_blamed_on_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "convert", fail)
    with pytest.raises(MemoryError):
        decode(encoded(Image.fromarray(COLOUR)), 6)

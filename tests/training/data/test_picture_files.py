from __future__ import annotations

import io
import os
import struct
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import pyvips
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from c3det.rgb import read_header
from serverless.decoding import decode
from training.data import picture_files as pictures
from training.data.picture_files import (
    PictureError,
    check_whole,
    on_disk,
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


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every picture is taken for a very large one, which libvips reads."""
    monkeypatch.setattr(pictures, "WHOLE_PIXELS", 100)


@pytest.mark.usefixtures("streamed")
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
@pytest.mark.parametrize("largest", [pictures.WHOLE_PIXELS, 100])
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_broken_pictures_are_named(
    suffix: str, largest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "WHOLE_PIXELS", largest)
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


def test_what_the_machine_lacks_is_not_blamed_on_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(PictureError, match=rf"^{tmp_path}/a.png: is a directory$"):
        read_picture(tmp_path / "a.png")
    by_vips(tmp_path / "b.png")

    def fail(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "convert", fail)
    with pytest.raises(MemoryError):
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


def ramp(mode: str, width: int = 50, height: int = 70) -> Image.Image:
    """A picture with all kinds of values in each channel."""
    pixels = np.random.default_rng(2).integers(0, 256, (height, width, 4), dtype=np.uint8)
    if mode in ("I;16", "I", "F"):
        deep = pixels[..., 0].astype(np.int32) * 257
        dtype = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        return Image.fromarray(deep.astype(dtype))
    if mode == "LAB":
        return Image.merge("LAB", [Image.fromarray(pixels[..., i]) for i in range(3)])
    if mode in ("RGBa", "La"):
        return Image.fromarray(pixels, "RGBA").convert(mode[:-1] + "A").convert(mode)
    image = Image.fromarray(pixels, "RGBA")
    return image if mode == "RGBA" else image.convert("RGB").convert(mode)


def saved(image: Image.Image, file_format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
    'syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
    'tiff:Orientation="{}"/></rdf:RDF></x:xmpmeta>'
)
SHOWN: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


def oriented(file_format: str, by: str, orientation: int) -> bytes:
    image = Image.fromarray(PIXELS)
    options: dict[str, object] = {"lossless": True} if file_format == "WEBP" else {}
    xmp = XMP.format(orientation).encode()
    if by == "EXIF":
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    elif file_format == "TIFF":
        options["tiffinfo"] = {700: xmp}
    elif file_format == "PNG":
        from PIL.PngImagePlugin import PngInfo

        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode())  # type: ignore[attr-defined]
    else:
        options["xmp"] = xmp
    return saved(image, file_format, **options)


CODECS = (None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma", "group4")
MODES = ("1", "L", "LA", "La", "P", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB")
DEEP = ("I;16", "I", "F")


def tiff_table() -> dict[str, bytes]:
    """TIFFs of all codecs, colour spaces and depths that Pillow writes."""
    table = {}
    for codec in CODECS:
        for mode in (*MODES, *DEEP):
            image = ramp(mode)
            try:
                table[f"TIFF {codec} {mode}"] = saved(image, "TIFF", compression=codec)
            except (OSError, KeyError):
                continue
    return table


def other_table() -> dict[str, bytes]:
    """PNG, JPEG, WebP and TIFF as others write them."""
    table: dict[str, bytes] = {}
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        table[f"PNG {mode}"] = saved(ramp(mode), "PNG")
    for bits in (1, 2, 4):
        table[f"PNG P of {bits} bits"] = saved(ramp("RGB").quantize(2**bits), "PNG", bits=bits)
    grey = pyvips.Image.new_from_array(np.asarray(ramp("L")))
    for bits in (1, 2, 4):
        table[f"grey PNG of {bits} bits"] = grey.pngsave_buffer(bitdepth=bits)
        table[f"grey TIFF of {bits} bits"] = grey.tiffsave_buffer(bitdepth=bits)
    deep = (pyvips.Image.new_from_array(np.asarray(ramp("RGB"))) * 257).cast("ushort")
    table["interlaced PNG"] = pyvips.Image.new_from_array(PIXELS).pngsave_buffer(interlace=True)
    table["rotated PNG"] = oriented("PNG", "EXIF", TURN_RIGHT)
    table["BMP"] = saved(ramp("RGB"), "BMP")
    table["PNG of 16 bits a colour"] = deep.copy(interpretation="rgb16").pngsave_buffer()
    table["PNG P with transparency"] = saved(ramp("P"), "PNG", transparency=bytes(range(99)))
    table["PNG RGB with a transparent colour"] = saved(ramp("RGB"), "PNG", transparency=(1, 2, 3))
    frames = [ramp("RGB"), ramp("RGB").transpose(Image.Transpose.ROTATE_180)]
    for name in ("PNG", "WEBP", "TIFF", "GIF", "MPO"):
        table[f"{name} of two"] = saved(frames[0], name, save_all=True, append_images=frames[1:])
    for mode in ("L", "RGB", "CMYK", "YCbCr"):
        for options in ({}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}):
            table[f"JPEG {mode} {options}"] = saved(ramp(mode), "JPEG", **options)
    table["JPEG of RGB"] = saved(ramp("RGB"), "JPEG", keep_rgb=True)
    table["WebP"] = saved(ramp("RGB"), "WEBP", lossless=True)
    table["JPEG 2000"] = saved(ramp("RGB"), "JPEG2000")
    vips = pyvips.Image.new_from_array(np.asarray(ramp("RGB")))
    grey = vips[0].copy(interpretation="b-w")
    for options in (
        dict(tile=True, tile_width=16, tile_height=32),
        dict(tile=True, compression="deflate", predictor="horizontal"),
        dict(tile=True, compression="jpeg", Q=90),
        dict(compression="lzw", predictor="horizontal"),
        dict(bigtiff=True),
        dict(tile=True, pyramid=True, tile_width=16, tile_height=16),
    ):
        table[f"libvips' TIFF {options}"] = vips.tiffsave_buffer(**options)
        table[f"libvips' grey TIFF {options}"] = grey.tiffsave_buffer(**options)
    table["libvips' TIFF, white is 0"] = grey.tiffsave_buffer(miniswhite=True)
    table["libvips' TIFF of 1 bit"] = grey.tiffsave_buffer(bitdepth=1)
    table["libvips' TIFF of 16 bits"] = (vips * 257).cast("ushort").tiffsave_buffer()
    table["libvips' grey TIFF of floats"] = grey.cast("float").tiffsave_buffer()
    straight, premultiplied = (struct.pack("<HHIHH", 338, 3, 1, kind, 0) for kind in (2, 1))
    table["premultiplied TIFF"] = saved(ramp("RGBA"), "TIFF").replace(straight, premultiplied)
    return table


def planar(tiled: bool) -> bytes:
    """A TIFF whose channels are in planes of their own, as GDAL's INTERLEAVE=BAND writes them."""
    data = np.asarray(ramp("RGB", 64, 64)).transpose(2, 0, 1).tobytes()
    size = 64 * 64
    directory = ImageFileDirectory_v2()
    directory[256] = directory[257] = 64
    directory[258], directory[259], directory[262], directory[277] = (8, 8, 8), 1, 2, 3
    directory[284] = 2
    if tiled:
        directory[322] = directory[323] = 64
        first, offsets, counts = 0, 324, 325
    else:
        directory[278] = 64
        first, offsets, counts = 0, 273, 279
    for _ in range(2):  # the first time tells how long the directory is
        directory[offsets] = tuple(first + size * plane for plane in range(3))
        directory[counts] = (size, size, size)
        stream = io.BytesIO()
        directory.save(stream)
        first = len(stream.getvalue()) if tiled else 0
    return stream.getvalue() + data


TABLE = {
    **tiff_table(),
    **other_table(),
    "planar TIFF in strips": planar(tiled=False),
    "planar TIFF in tiles": planar(tiled=True),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TABLE)
def test_both_decoders_and_the_function_see_one_picture(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.picture"
    path.write_bytes(TABLE[name])
    whole = read_picture(path)
    assert picture_size(path) == whole.shape[:2]
    np.testing.assert_array_equal(decode(TABLE[name], 10_000), whole)
    check_whole(path)
    assert whole.any()
    height = len(whole)
    rows = [(0, 20), (10, 33), (33, 40), (45, height)]
    for (top, bottom), band in zip(rows, read_bands(path, rows), strict=True):
        np.testing.assert_array_equal(band, whole[top:bottom])
    monkeypatch.setattr(pictures, "WHOLE_PIXELS", 100)
    with Image.open(path) as image:
        reason = pictures._why_not_streamed(read_header(image))
    if reason:
        with pytest.raises(PictureError, match="which can only be read whole"):
            next(read_bands(path, rows))
        return
    check_whole(path)
    for (top, bottom), band in zip(rows, read_bands(path, rows), strict=True):
        difference = np.abs(band.astype(int) - whole[top:bottom]).max()
        assert difference <= (2 if "JPEG" in name or "jpeg" in name or "MPO" in name else 0)


@pytest.mark.usefixtures("streamed")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("interlaced PNG", "it is interlaced"),
        ("JPEG RGB {'progressive': True}", "it is a progressive JPEG"),
        ("rotated PNG", "it is rotated by its EXIF or XMP data"),
        ("PNG I;16", "it is not 8-bit grey or RGB"),
        ("BMP", "its format is not PNG, JPEG or TIFF"),
        ("TIFF zstd RGB", "it is compressed with zstd"),
        ("TIFF lzma RGB", "it is compressed with lzma"),
        ("TIFF group4 1", "it is compressed with group4"),
        ("TIFF None CMYK", "it is not 8-bit grey or RGB"),
        ("TIFF None LAB", "it is not 8-bit grey or RGB"),
        ("TIFF None YCbCr", "it is not 8-bit grey or RGB"),
        ("premultiplied TIFF", "it is not 8-bit grey or RGB"),
        ("planar TIFF in tiles", "its channels are stored in separate planes"),
        ("JPEG CMYK {}", "it is not 8-bit grey or RGB"),
        ("PNG of two", "it is an animation"),
        ("WebP", "its format is not PNG, JPEG or TIFF"),
        ("TIFF tiff_lzw RGB", ""),
        ("TIFF jpeg RGB", ""),
        ("PNG P of 4 bits", ""),
        ("JPEG RGB {}", ""),
    ],
)
def test_what_is_left_to_libvips(name: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.picture"
    path.write_bytes(TABLE[name])
    with pytest.raises(PictureError, match=f"^{path}: .* pixels are more than the 100 that are"):
        read_picture(path)
    if reason:
        for read in (check_whole, lambda path: next(read_bands(path, [(0, 9)]))):
            with pytest.raises(PictureError, match=f"^{path}: .*{reason}, which can only be read"):
                read(path)
    else:
        check_whole(path)
        assert next(read_bands(path, [(0, 9)])).any()


@pytest.mark.parametrize("orientation", SHOWN)
@pytest.mark.parametrize("by", ["EXIF", "XMP"])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_all_readers_turn_alike(
    file_format: str, by: str, orientation: int, tmp_path: Path
) -> None:
    path = tmp_path / "a.picture"
    path.write_bytes(oriented(file_format, by, orientation))
    expected = SHOWN[orientation](PIXELS)
    with Image.open(path) as image:
        header = read_header(image)
    assert (header.orientation, header.height, header.width) == (orientation, *expected.shape[:2])
    assert picture_size(path) == expected.shape[:2]
    whole = read_picture(path)
    check_whole(path)
    if file_format == "JPEG":
        plain = tmp_path / "plain.jpg"
        Image.fromarray(PIXELS).save(plain)
        expected = SHOWN[orientation](read_picture(plain))
    np.testing.assert_array_equal(whole, expected)
    np.testing.assert_array_equal(decode(path.read_bytes(), 10_000), expected)
    (band,) = read_bands(path, [(3, 41)])
    np.testing.assert_array_equal(band, expected[3:41])


@pytest.mark.usefixtures("streamed")
def test_a_codec_that_libvips_lacks_is_no_black_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if someone had put ZSTD among what libvips reads like Pillow.
    monkeypatch.setitem(pictures._STREAMED_COLOURS, "zstd", (0, 1, 2, 3))
    path = tmp_path / "a.tif"
    path.write_bytes(TABLE["TIFF zstd RGB"])
    with pytest.raises(PictureError, match=r"a.tif: .*: libvips cannot read it"):
        next(read_bands(path, [(0, 70)]))
    # Pillow reads it where it is not too large for that.
    monkeypatch.setattr(pictures, "STREAMED_PIXELS", 100)
    monkeypatch.setattr(pictures, "WHOLE_PIXELS", 10_000)
    (band,) = read_bands(path, [(0, 70)])
    np.testing.assert_array_equal(band, read_picture(path))


def flat(path: Path, side: int) -> None:
    """A picture with something in its last corner that compresses to little."""
    image = Image.new("1" if path.suffix == ".tif" else "L", (side, side), 1)
    image.paste(0, (side - 9, side - 9, side, side))
    options = {".tif": {"compression": "tiff_lzw"}, ".png": {"compress_level": 1}, ".jpg": {}}
    image.save(path, **options[path.suffix])


@pytest.mark.parametrize("side", [4500, 14_200], ids=["20 megapixels", "200 megapixels"])
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_cut_off_files_of_any_size_are_found(suffix: str, side: int, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    flat(path, side)
    check_whole(path)
    content = path.read_bytes()
    for part in (0.2, 0.9):
        path.write_bytes(content[: int(len(content) * part)])
        for read in (check_whole, lambda path: list(read_bands(path, [(0, 9), (side - 9, side)]))):
            with pytest.raises(PictureError, match=f"^{path}: the picture is cut off or broken"):
                read(path)


@pytest.mark.parametrize("size", [(100, 6), (3, 100), (1, 1)])
def test_a_narrow_jpeg_is_whole(size: tuple[int, int], tmp_path: Path) -> None:
    Image.new("RGB", size).save(tmp_path / "a.jpg")
    check_whole(tmp_path / "a.jpg")


def test_a_tiff_that_ends_before_its_pixels_is_cut_off(tmp_path: Path) -> None:
    # Pillow writes the directory first where nothing is compressed.
    path = tmp_path / "a.tif"
    path.write_bytes(TABLE["TIFF None RGB"][:-1])
    length = len(TABLE["TIFF None RGB"])
    told = f"^{path}: the picture is cut off or broken: it has {length - 1} bytes of {length}$"
    for read in (check_whole, read_picture, lambda path: next(read_bands(path, [(0, 9)]))):
        with pytest.raises(PictureError, match=told):
            read(path)


def test_a_kind_that_pillow_cannot_read_is_refused_by_all(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(pyvips.Image.new_from_array(PIXELS).cast("float").tiffsave_buffer())
    for read in (picture_size, check_whole, read_picture, lambda path: next(read_bands(path, []))):
        with pytest.raises(PictureError, match=f"^{path}: .* or a TIFF of a kind that cannot be"):
            read(path)


NAMES = [
    "a[1].png",
    "a[n=2,page=1].tif",
    " leading and trailing .png ",
    "-rf.png",
    "year=2024.png",
    "line\nbreak.png",
    "\"quotes' `$HOME`.png",
    "%s%20&?#;.png",
    "\u9065\u611f" * 40 + ".png",
    os.fsdecode(b"M\xfcnchen.png"),
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_of_all_kinds(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / name
    by_vips(tmp_path / "plain.png")
    (tmp_path / "plain.png").rename(path)
    np.testing.assert_array_equal(read_picture(path), PIXELS)
    monkeypatch.setattr(pictures, "WHOLE_PIXELS", 100)
    (band,) = read_bands(path, [(0, 70)])
    np.testing.assert_array_equal(band, PIXELS)


def test_a_name_in_other_unicode_letters_is_found(tmp_path: Path) -> None:
    composed = "K\u00f6ln/S\u00fcd.png"
    stored = tmp_path / unicodedata.normalize("NFD", composed)
    stored.parent.mkdir()
    by_vips(stored)
    assert on_disk(tmp_path / composed) == stored
    np.testing.assert_array_equal(read_picture(tmp_path / composed), PIXELS)
    np.testing.assert_array_equal(next(read_bands(tmp_path / composed, [(0, 70)])), PIXELS)
    absent = tmp_path / "K\u00f6ln" / "n\u00f6.png"
    assert on_disk(absent) == absent
    # Two that fit: nobody can know which.
    for form in ("NFD", "NFC"):
        by_vips(tmp_path / (unicodedata.normalize(form, "\u1e69") + ".png"))
    third = tmp_path / "s\u0307\u0323.png"
    assert on_disk(third) == third


@pytest.mark.parametrize("read", [picture_size, check_whole, read_picture])
def test_a_pipe_is_not_waited_for(read: Callable[[Path], object], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(PictureError, match=r"a\.png: this is no file$"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize("codec", ["deflate", "lzw"])
def test_a_broken_strip_or_tile_is_found_wherever_it_is(
    codec: str, tiled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    by_vips(path, compression=codec, tile=tiled, tile_width=32, tile_height=16)
    sound = path.read_bytes()
    with Image.open(path) as opened:
        tags = opened.tag_v2  # type: ignore[attr-defined]
        offsets, counts = (324, 325) if tiled else (273, 279)
        pieces = list(zip(tags[offsets], tags[counts], strict=True))
    assert len(pieces) > 1 or not tiled
    for offset, count in pieces:
        broken = bytearray(sound)
        broken[offset + count // 3 : offset + 2 * count // 3] = b"\xff" * (count // 3)
        path.write_bytes(broken)
        for largest in (pictures.WHOLE_PIXELS, 1000):
            with monkeypatch.context() as limited:
                limited.setattr(pictures, "WHOLE_PIXELS", largest)
                for read in (check_whole, lambda path: list(read_bands(path, ROWS))):
                    with pytest.raises(PictureError, match=r"a.tif: the picture is cut off or bro"):
                        read(path)

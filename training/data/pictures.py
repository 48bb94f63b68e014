"""Pictures on disk: their size, their pixels, and horizontal bands of very large ones.

A picture looks here as it does in the function and in CVAT (see ``c3det.pictures``): width, height
and all coordinates are those of the turned picture.

Reading in bands, libvips streams the file from top to bottom, so that memory grows with the width
of a picture and the height of a band, not with the height of the picture. Two decoders must not
make two pictures of one file, so this is done only where both are known to give the same pixels:
PNG, JPEG and TIFF (strips or tiles) of up to 8 bits, grey, RGB or with a palette, with or without
transparency, a TIFF without compression or with LZW, Deflate, PackBits or JPEG. It is not done for
interlaced PNG and progressive JPEG, pictures with a rotation, other compressions, depths and colour
spaces, separate planes, nor for the other formats. These are read whole, by Pillow, and refused
above ``WHOLE_PIXELS``.
"""

from __future__ import annotations

import hashlib
import io
import os
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from c3det.commands import naming, sentence
from c3det.pictures import FORMATS, Header, read_header, read_pixels

if TYPE_CHECKING:
    import pyvips

WHOLE_PIXELS = 100_000_000
"""Largest picture that is read whole; decoding one takes about 0.8 GB."""

SUFFIXES = frozenset(
    suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS
)
"""File name suffixes, in lower case, that are taken for pictures."""

_SAMPLE_PIXELS = 4_000_000
"""Largest strip or tile of a TIFF that both decoders read on trial."""

_STRIP = 256
"""Rows that libvips is asked for at once."""

_SOURCE = "c3det:source"
"""Keyword of a text in a PNG."""


@lru_cache(maxsize=1)
def _libvips() -> ModuleType:
    """Return pyvips, loaded at its first use: who reads whole pictures alone need not have it."""
    # Read by libvips when it is first imported. One file is decoded by one thread anyway; more of
    # them only cost memory.
    os.environ.setdefault("VIPS_CONCURRENCY", "1")
    import pyvips

    pyvips.cache_set_max(0)  # no picture is read twice, and the cache would hold bands
    return pyvips


_DARK = 8
"""Up to this value a picture may be black to another decoder."""


MAX_NAME = 255
"""Bytes that the name of a file may have; all usual file systems take as many."""


class PictureError(ValueError):
    """A file is missing, no picture, broken, or too large; the message names it."""


def picture_size(path: Path) -> tuple[int, int]:
    """Return height and width in pixels, from the header alone.

    Raises:
        PictureError: The file is missing or no picture in one of ``c3det.pictures.FORMATS``.
    """
    header = _header(path)
    return header.height, header.width


def check_whole(path: Path) -> None:
    """Check that nothing of a picture is missing, at less expense than that of reading it.

    PNG is checked by its checksums, JPEG is decoded at an eighth of its size.

    Raises:
        PictureError: The file is missing, no picture or broken, or it cannot be read in bands and
            has more than ``WHOLE_PIXELS``.
    """
    with _opened(path) as image:
        header = read_header(image)
        pixels = header.height * header.width
        if pixels > WHOLE_PIXELS and (reason := _stream(path)[1]):
            raise _too_large(path, header, reason)
        _check_pieces(path, image)
        if header.format == "PNG":
            image.verify()
            return
        if pixels <= WHOLE_PIXELS:
            if header.format == "JPEG":
                image.draft(None, (image.width // 8, image.height // 8))
            image.load()
            return
    tops = range(0, header.height, _STRIP)
    for _ in read_bands(path, [(top, min(top + _STRIP, header.height)) for top in tops]):
        pass


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read a whole picture.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        PictureError: The file is missing, no picture, broken, or has more than ``WHOLE_PIXELS``.
    """
    with _opened(path) as image:
        header = read_header(image)
        height, width = header.height, header.width
        if height * width > WHOLE_PIXELS:
            raise PictureError(
                f"{path}: {width} x {height} pixels are more than the {WHOLE_PIXELS} that are "
                "read at once: cut it into tiles (python -m training.data.tiles)"
            )
        _check_pieces(path, image)
        return read_pixels(image)


def read_bands(path: Path, rows: Sequence[tuple[int, int]]) -> Iterator[NDArray[np.uint8]]:
    """Read bands of rows over the whole width of a picture, from top to bottom.

    Args:
        path: The picture.
        rows: For each band its first row and the row behind its last one. Both increase from one
            band to the next; bands may overlap.

    Yields:
        uint8 (rows, W, 3), RGB, one array a band.

    Raises:
        PictureError: The file is missing, no picture or broken, or it cannot be read in bands (see
            the module) and has more than ``WHOLE_PIXELS``.
    """
    header = _header(path)
    for top, bottom in rows:
        if not 0 <= top < bottom <= header.height:
            raise ValueError(
                f"{path}: no rows {top} to {bottom} in a picture {header.height} rows high"
            )
    image, reason = _stream(path)
    done, dark = 0, True
    if image is not None:
        try:
            for band in _stream_bands(image, rows):
                dark = dark and not band.any()
                yield band
                done += 1
        except _libvips().Error as error:
            reason = f"{_UNREAD} ({_cause(error)})"
    if done < len(rows):
        if header.height * header.width > WHOLE_PIXELS:
            raise _too_large(path, header, reason)
        # Whether a picture is broken is for Pillow to say, as in the function.
        whole = read_picture(path)
        for top, bottom in rows[done:]:
            yield whole[top:bottom]
    elif dark and rows and not _is_dark(path, rows):
        raise PictureError(
            f"{path}: libvips reads it as black, and it is not: rewrite it as PNG or JPEG"
        )


def part_of(path: Path) -> Path:
    """Return the name under which a file is written before it is whole."""
    name = f".{path.name}.part"
    if len(os.fsencode(name)) > MAX_NAME:
        name = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()}.part"
    return path.with_name(name)


def on_disk(path: Path) -> Path:
    """Return the path of a file whose name is written with other Unicode letters on disk.

    macOS and some archives write an umlaut as a letter and a mark (NFD), annotations as one letter
    (NFC). Where there is no file of the exact name, and exactly one of the same letters, it is that
    one; else it is ``path``.
    """
    if str(path).isascii():
        return path
    try:
        if path.exists() or path == path.parent:
            return path
        folder = on_disk(path.parent)
        names = _names_by_letters(folder, folder.stat().st_mtime_ns)
    except (OSError, ValueError):
        return path
    found = names.get(unicodedata.normalize("NFC", path.name), [])
    return folder / found[0] if len(found) == 1 else path


@lru_cache(maxsize=8)
def _names_by_letters(folder: Path, changed: int) -> dict[str, list[str]]:
    """The names in a folder, as it was when it was changed last, by their composed letters."""
    names: dict[str, list[str]] = {}
    for name in os.listdir(folder):
        names.setdefault(unicodedata.normalize("NFC", name), []).append(name)
    return names


def write_png(path: Path, pixels: NDArray[np.uint8], source: str = "") -> None:
    """Write a picture; the file is complete or absent.

    Args:
        path: Of the file; its folder exists.
        pixels: uint8 (H, W, 3), RGB.
        source: A text that tells what the picture was made from, for `source_of`.

    Raises:
        OSError: The file cannot be written.
    """
    part, vips = part_of(path), _libvips()
    image = vips.Image.new_from_array(np.ascontiguousarray(pixels)).copy()
    image.set_type(vips.GValue.gstr_type, f"png-comment-0-{_SOURCE}", source)
    # Weak compression: a stronger one saves a tenth of the space and takes twice the time.
    content = image.pngsave_buffer(compression=1)
    with naming(path):
        part.write_bytes(content)
        part.replace(path)


def source_of(path: Path) -> str | None:
    """Return the text that `write_png` was given; ``None`` where there is no such picture."""
    try:
        with _opened(path) as image:
            return image.info.get(_SOURCE)
    except PictureError:
        return None


def _stream_bands(
    image: pyvips.Image, rows: Sequence[tuple[int, int]]
) -> Iterator[NDArray[np.uint8]]:
    """Read the bands of a picture that libvips streams; rows shared by two bands are kept."""
    # One region for all rows: libvips drops the rows that it has decoded too far when a pipeline
    # ends, and cannot go back for them.
    vips = _libvips()
    region = vips.Region.new(image)
    before, before_bottom = np.zeros((0, image.width, 3), np.uint8), 0
    for top, bottom in rows:
        band = np.empty((bottom - top, image.width, 3), np.uint8)
        shared = max(0, before_bottom - top)
        band[:shared] = before[len(before) - shared :]
        for start in range(top + shared, bottom, _STRIP):
            count = min(_STRIP, bottom - start)
            vips.vips_lib.vips_error_clear()
            strip = region.fetch(0, start, image.width, count)
            # Of a tile that cannot be decoded libvips only says so, and gives zeros.
            if told := vips.ffi.string(vips.vips_lib.vips_error_buffer()):
                raise vips.Error(told.decode("utf-8", "replace"))
            pixels = np.frombuffer(strip, np.uint8).reshape(count, image.width, image.bands)
            # Grey is repeated by broadcasting; a second or fourth channel is transparency.
            band[start - top : start - top + count] = pixels[..., : 3 if image.bands > 2 else 1]
        before, before_bottom = band, bottom
        yield band


_STREAMED_SAMPLES = {
    "PNG": ("1", "L", "L;2", "L;4", "LA", "P", "P;1", "P;2", "P;4", "RGB", "RGBA"),
    "JPEG": ("L", "RGB"),
    "TIFF": ("1", "1;I", "L", "L;I", "LA", "P", "RGB", "RGBA", "RGBX"),
}
"""By format, how values may be stored, as Pillow names it, that libvips reads like Pillow."""

_STREAMED_COLOURS = {
    "raw": (0, 1, 2, 3),
    "tiff_lzw": (0, 1, 2, 3),
    "tiff_adobe_deflate": (0, 1, 2, 3),
    "tiff_deflate": (0, 1, 2, 3),
    "packbits": (0, 1, 2, 3),
    "jpeg": (1, 2, 6),
}
"""By compression of a TIFF, which PhotometricInterpretation libvips reads like Pillow."""


def _why_whole(header: Header) -> str:
    """Say why a picture is not left to libvips; empty where it is."""
    if header.format not in _STREAMED_SAMPLES:
        return "its format is not PNG, JPEG or TIFF"
    if header.codec == "interlaced":
        return "it is interlaced"
    if header.codec == "progressive":
        return "it is a progressive JPEG"
    if header.orientation != 1:
        return "it is rotated by its EXIF or XMP data"
    if header.animated:
        return "it is an animation"
    if header.planar:
        return "its channels are stored in separate planes"
    if header.samples not in _STREAMED_SAMPLES[header.format]:
        return "it is not 8-bit grey or RGB"
    if header.format == "TIFF":
        colours = _STREAMED_COLOURS.get(header.codec)
        if colours is None:
            return f"it is compressed with {header.codec.removeprefix('tiff_')}"
        if header.colours not in colours:
            return "it is not 8-bit grey or RGB"
    return ""


def _stream(path: Path) -> tuple[pyvips.Image | None, str]:
    """Open a picture for streaming, or say why it is not streamed."""
    with _opened(path) as opened:
        header = read_header(opened)
        if reason := _why_whole(header):
            return None, reason
        _check_pieces(path, opened)
        sample = _sample(opened) if header.format == "TIFF" else None
    vips = _libvips()
    try:
        # By a source: in a name, libvips takes brackets for options and wants UTF-8.
        with on_disk(path).open("rb") as file:
            source = vips.Source.new_from_descriptor(file.fileno())
        image = vips.Image.new_from_source(source, "", **_STREAMING)
    except vips.Error as error:
        return None, f"{_UNREAD} ({_cause(error)})"
    if (image.width, image.height) != (header.width, header.height) or image.format != "uchar":
        return None, "libvips takes it for another picture"
    try:
        if sample is not None and not _is_read_alike(sample):
            return None, "libvips reads other pixels than Pillow"
    except MemoryError:
        raise
    except Exception as error:  # as in `_opened`
        return None, f"Pillow cannot read it ({error})"
    return image, ""


_UNREAD = "libvips cannot read it"
_STREAMING = {"access": "sequential", "fail_on": "error"}

_WIDTH, _HEIGHT = ExifTags.Base.ImageWidth, ExifTags.Base.ImageLength
_ROWS = ExifTags.Base.RowsPerStrip
_OFFSETS, _COUNTS = ExifTags.Base.StripOffsets, ExifTags.Base.StripByteCounts
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS = 322, 323, 324, 325
# Bits, compression, colours, order of bits, samples, predictor, palette, extra samples, sample
# format, JPEG's tables, subsampling, reference black and white.
_CODING = (258, 259, 262, 266, 277, 317, 320, 338, 339, 347, 530, 532)


def _pieces(image: Image.Image) -> list[tuple[int, int]]:
    """Offset and length in bytes of the strips or tiles of a TIFF, or of nothing."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    tiled = _TILE_OFFSETS in tags
    offsets = tags.get(_TILE_OFFSETS if tiled else _OFFSETS, ())
    counts = tags.get(_TILE_COUNTS if tiled else _COUNTS, ())
    return list(zip_longest(offsets, counts[: len(offsets)], fillvalue=0))


def _check_pieces(path: Path, image: Image.Image) -> None:
    """Check that the file of a TIFF is as long as it says.

    Raises:
        PictureError: It is not.
    """
    if image.format != "TIFF":
        return
    pieces = _pieces(image)
    if not pieces:
        raise PictureError(
            f"{path}: the picture is cut off or broken: it does not tell where its pixels are"
        )
    end = max(offset + count for offset, count in pieces)
    if end > (length := on_disk(path).stat().st_size):
        raise PictureError(
            f"{path}: the picture is cut off or broken: it has {length} bytes of {end}"
        )


def _sample(image: Image.Image) -> bytes | None:
    """Make a small TIFF out of the strip or tile that holds most; ``None`` where that is large."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    pieces = _pieces(image)
    if not pieces:
        return None
    number = max(range(len(pieces)), key=lambda one: pieces[one][1])
    offset, count = pieces[number]
    if _TILE_OFFSETS in tags:
        width, height = tags[_TILE_WIDTH], tags[_TILE_HEIGHT]
    else:
        rows = min(tags.get(_ROWS, tags[_HEIGHT]), tags[_HEIGHT])
        width, height = tags[_WIDTH], min(rows, tags[_HEIGHT] - number * rows)
    if height < 1 or width * height > _SAMPLE_PIXELS:
        return None
    directory = ImageFileDirectory_v2()
    for tag in _CODING:
        if tag in tags:
            directory.tagtype[tag] = tags.tagtype[tag]
            directory[tag] = tags[tag]
    directory[_WIDTH], directory[_HEIGHT], directory[_ROWS] = width, height, height
    directory[_OFFSETS], directory[_COUNTS] = 0, count  # counted from the end of the directory
    small = io.BytesIO()
    directory.save(small)
    image.fp.seek(offset)  # type: ignore[attr-defined]
    small.write(image.fp.read(count))  # type: ignore[attr-defined]
    return small.getvalue()


def _is_read_alike(picture: bytes) -> bool:
    """Whether both decoders make the same of a picture, but for the rounding of a JPEG."""
    with Image.open(io.BytesIO(picture), formats=FORMATS) as image:
        ours = read_pixels(image)
    vips = _libvips()
    try:
        theirs = vips.Image.new_from_buffer(picture, "", **_STREAMING)
        (band,) = _stream_bands(theirs, [(0, theirs.height)])
    except vips.Error:
        return False
    return band.shape == ours.shape and int(np.abs(band.astype(np.int16) - ours).max()) <= 2


def _is_dark(path: Path, rows: Sequence[tuple[int, int]]) -> bool:
    """Whether rows that libvips reads as black are black to Pillow, as far as it can read them."""
    with _opened(path) as image:
        height, pixels = image.height, image.height * image.width
        if image.format in ("JPEG", "MPO"):
            image.draft(None, (image.width // 8, height // 8))
        elif pixels > WHOLE_PIXELS:
            return True
        found = read_pixels(image)
    scale = height / len(found)
    # Of a reduced picture, a row at the edge holds what stands beside the rows asked for.
    inner = [found[round(top / scale) + 1 : round(bottom / scale) - 1] for top, bottom in rows]
    return all(int(one.max(initial=0)) <= _DARK for one in inner)


def _header(path: Path) -> Header:
    with _opened(path) as image:
        return read_header(image)


def _too_large(path: Path, header: Header, reason: str) -> PictureError:
    if reason.startswith((_UNREAD, "Pillow cannot read it")):
        return PictureError(f"{path}: the picture is cut off or broken: {reason}")
    return PictureError(
        f"{path}: {header.width} x {header.height} pixels, and {reason}, which can only be read "
        f"whole, up to {WHOLE_PIXELS} pixels: rewrite it as TIFF with Deflate or as PNG without "
        "interlacing"
    )


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture by Pillow, of any size, and turn every error of reading it into ours."""
    limit = Image.MAX_IMAGE_PIXELS
    path = on_disk(path)
    try:
        # Pillow's limit guards servers against hostile files; here `WHOLE_PIXELS` is the limit.
        Image.MAX_IMAGE_PIXELS = None
        if path.exists() and not (path.is_file() or path.is_dir()):  # reading a pipe waits
            raise PictureError(f"{path}: this is no file")
        with Image.open(path, formats=FORMATS) as image:
            yield image
    except PictureError:
        raise
    except FileNotFoundError:
        raise PictureError(f"{path}: there is no such file") from None
    except UnidentifiedImageError:
        if _begins_as_tiff(path):
            raise PictureError(
                f"{path}: the picture is cut off or broken, or a TIFF of a kind that cannot be read"
            ) from None
        raise PictureError(f"{path}: this is no picture in one of {', '.join(FORMATS)}") from None
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers meet a broken file with exceptions of any kind
        if isinstance(error, OSError) and error.filename is not None:  # the file, not what is in it
            raise PictureError(sentence(error)) from error
        raise PictureError(f"{path}: the picture is cut off or broken: {error}") from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _begins_as_tiff(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _cause(error: pyvips.Error) -> str:
    """What libvips says, on one line."""
    return " ".join(str(error).split())

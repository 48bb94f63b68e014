"""Pictures on disk: their size, their pixels, and horizontal bands of very large ones.

A picture looks here as it does in the function and in CVAT (see ``c3det.rgb``): width, height
and all coordinates are those of the picture after the rotation that its EXIF or XMP data state.

Pillow reads pictures whole. Of those above ``STREAMED_PIXELS`` libvips reads bands from top to
bottom, so that memory grows with the width of the picture and the height of a band, not with the
height of the picture. It is only given what it is known to read like Pillow: PNG, JPEG and TIFF
(strips or tiles) of up to 8 bits, grey, RGB or with a palette, with or without transparency, a TIFF
without compression or with LZW, Deflate, PackBits or JPEG; no interlaced PNG, no progressive JPEG,
no rotation, no separate planes. Others are refused above ``WHOLE_PIXELS``.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from c3det.commands import naming, sentence
from c3det.rgb import FORMATS, Header, read_header, read_pixels

WHOLE_PIXELS = 100_000_000
"""Largest picture that is read whole; decoding one takes about 0.8 GB."""

STREAMED_PIXELS = 16_000_000
"""Largest picture of which bands are not worth streaming; reading one takes about 0.15 GB."""

SUFFIXES = frozenset(
    suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS
)
"""File name suffixes, in lower case, that are taken for pictures."""

MAX_NAME = 255
"""Bytes that the name of a file may have; all usual file systems take as many."""

_STRIP = 256
"""Rows that libvips is asked for at once."""

_SOURCE = "c3det:source"
"""Keyword of a text in a PNG."""


class PictureError(ValueError):
    """A file is missing, no picture, broken, or too large; the message names it."""


def picture_size(path: Path) -> tuple[int, int]:
    """Return height and width in pixels, from the header alone.

    Raises:
        PictureError: The file is missing or no picture in one of ``c3det.rgb.FORMATS``.
    """
    with _opened(path) as image:
        header = read_header(image)
    return header.height, header.width


def check_whole(path: Path) -> None:
    """Check that nothing of a picture is missing, at less expense than that of reading it.

    PNG is checked by its checksums, JPEG is decoded at an eighth of its size.

    Raises:
        PictureError: The file is missing, no picture, broken or too large to be read.
    """
    with _opened(path) as image:
        header = _checked_header(path, image)
        if header.format == "PNG":
            image.verify()
        elif not _is_large(header):
            if header.format == "JPEG":
                image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))
            image.load()
        else:
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
        if _is_large(header):
            raise PictureError(
                f"{path}: {header.width} x {header.height} pixels are more than the {WHOLE_PIXELS} "
                "that are read at once: cut it into tiles (python -m training.data.tiles)"
            )
        _checked_header(path, image)
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
        PictureError: The file is missing, no picture, broken or too large to be read.
    """
    with _opened(path) as image:
        header = _checked_header(path, image)
    for top, bottom in rows:
        if not 0 <= top < bottom <= header.height:
            raise ValueError(
                f"{path}: no rows {top} to {bottom} in a picture {header.height} rows high"
            )
    done = 0
    large = header.height * header.width > min(STREAMED_PIXELS, WHOLE_PIXELS)
    if large and not _why_not_streamed(header):
        try:
            for band in _stream_bands(path, header, rows):
                yield band
                done += 1
        except PictureError:
            # Whether a picture is broken is for Pillow to say, as in the function.
            if _is_large(header):
                raise
    if done < len(rows):
        whole = read_picture(path)
        for top, bottom in rows[done:]:
            yield whole[top:bottom]


def temporary_path(path: Path) -> Path:
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
    temporary, vips = temporary_path(path), _libvips()
    # By libvips, which is four times as fast as Pillow at this.
    image = vips.Image.new_from_array(np.ascontiguousarray(pixels)).copy()
    image.set_type(vips.GValue.gstr_type, f"png-comment-0-{_SOURCE}", source)
    # Weak compression: a stronger one saves a tenth of the space and takes twice the time.
    content = image.pngsave_buffer(compression=1)
    with naming(path):
        temporary.write_bytes(content)
        temporary.replace(path)


def source_of(path: Path) -> str | None:
    """Return the text that `write_png` was given; ``None`` where there is no such picture."""
    try:
        with _opened(path) as image:
            return image.info.get(_SOURCE)
    except PictureError:
        return None


@lru_cache(maxsize=1)
def _libvips() -> ModuleType:
    """Return pyvips, loaded at its first use: only large pictures and their tiles need it."""
    # Read by libvips when it is first imported. One file is decoded by one thread anyway; more of
    # them only cost memory.
    os.environ.setdefault("VIPS_CONCURRENCY", "1")
    import pyvips

    pyvips.cache_set_max(0)  # no picture is read twice, and the cache would hold bands
    return pyvips


def _stream_bands(
    path: Path, header: Header, rows: Sequence[tuple[int, int]]
) -> Iterator[NDArray[np.uint8]]:
    """Read the bands of a picture by libvips; rows shared by two bands are kept."""
    vips = _libvips()
    try:
        # By a source: in a name, libvips takes brackets for options and wants UTF-8.
        with on_disk(path).open("rb") as file:
            source = vips.Source.new_from_descriptor(file.fileno())
        image = vips.Image.new_from_source(source, "", access="sequential", fail_on="error")
        if (image.width, image.height) != (header.width, header.height) or image.format != "uchar":
            raise vips.Error("libvips takes it for another picture")
        # One region for all rows: libvips drops the rows that it has decoded too far when a
        # pipeline ends, and cannot go back for them.
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
                # A tile that cannot be decoded is given as zeros, and is only reported here.
                if message := vips.ffi.string(vips.vips_lib.vips_error_buffer()):
                    raise vips.Error(message.decode("utf-8", "replace"))
                pixels = np.frombuffer(strip, np.uint8).reshape(count, image.width, image.bands)
                # Grey is repeated by broadcasting; a second or fourth channel is transparency.
                band[start - top : start - top + count] = pixels[..., : 3 if image.bands > 2 else 1]
            before, before_bottom = band, bottom
            yield band
    except vips.Error as error:
        cause = " ".join(str(error).split())
        raise PictureError(
            f"{path}: the picture is cut off or broken: libvips cannot read it ({cause})"
        ) from error


_STREAMED_SAMPLES = {
    "PNG": ("1", "L", "L;2", "L;4", "LA", "P", "P;1", "P;2", "P;4", "RGB", "RGBA"),
    "JPEG": ("L", "RGB"),
    "TIFF": ("1", "1;I", "L", "L;I", "LA", "P", "RGB", "RGBA", "RGBX"),
}
"""By format, how values may be stored, as Pillow names it, that libvips reads like Pillow."""

_LOSSLESS = ("raw", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits")
_STREAMED_COLOURS = {**dict.fromkeys(_LOSSLESS, (0, 1, 2, 3)), "jpeg": (1, 2, 6)}
"""By compression of a TIFF, which PhotometricInterpretation libvips reads like Pillow."""


def _why_not_streamed(header: Header) -> str:
    """Say why libvips is not given a picture; empty where it is."""
    samples = _STREAMED_SAMPLES.get(header.format)
    colours = _STREAMED_COLOURS.get(header.codec) if header.format == "TIFF" else (header.colours,)
    reasons = {
        "its format is not PNG, JPEG or TIFF": samples is None,
        "it is interlaced": header.codec == "interlaced",
        "it is a progressive JPEG": header.codec == "progressive",
        "it is rotated by its EXIF or XMP data": header.orientation != 1,
        "it is an animation": header.animated,
        "its channels are stored in separate planes": header.planar,
        "it is not 8-bit grey or RGB": header.samples not in (samples or ())
        or header.colours not in (colours or (header.colours,)),
        f"it is compressed with {header.codec.removeprefix('tiff_')}": colours is None,
    }
    return next((reason for reason, applies in reasons.items() if applies), "")


def _is_large(header: Header) -> bool:
    return header.height * header.width > WHOLE_PIXELS


def _checked_header(path: Path, image: Image.Image) -> Header:
    """Return the header of a picture that can be read, as far as that is known without decoding.

    Raises:
        PictureError: The picture is too large, or the file of a TIFF is shorter than it says.
    """
    header = read_header(image)
    if _is_large(header) and (reason := _why_not_streamed(header)):
        raise PictureError(
            f"{path}: {header.width} x {header.height} pixels, and {reason}, which can only be "
            f"read whole, up to {WHOLE_PIXELS} pixels: rewrite it as TIFF with Deflate or as PNG "
            "without interlacing"
        )
    if header.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        offsets, counts = (tags.get(tag, ()) for tag in (_TILES if _TILES[0] in tags else _STRIPS))
        if not offsets:
            raise PictureError(
                f"{path}: the picture is cut off or broken: it does not say where its pixels are"
            )
        end = max(map(sum, zip_longest(offsets, counts[: len(offsets)], fillvalue=0)))
        if end > (length := on_disk(path).stat().st_size):
            raise PictureError(
                f"{path}: the picture is cut off or broken: it has {length} bytes of {end}"
            )
    return header


_STRIPS, _TILES = (273, 279), (324, 325)
"""Tags of a TIFF: offsets and lengths in bytes of its strips or tiles."""


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

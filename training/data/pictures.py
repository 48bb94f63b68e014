"""Pictures on disk: their size, their pixels, and horizontal bands of very large ones.

A picture looks here as it does in the function and in CVAT (see ``c3det.pictures``), and a rotation
in its EXIF data is applied: width, height and all coordinates are those of the turned picture.

Reading in bands, libvips streams the file from top to bottom, so that memory grows with the width
of a picture and the height of a band, not with the height of the picture. That works for PNG, JPEG
and TIFF (strips or tiles) of 8 bits, grey or RGB, with or without transparency. It does not work
for interlaced PNG and progressive JPEG, pictures with an EXIF rotation, of other depths and colour
spaces, nor for the other formats. These are read whole, and refused above ``WHOLE_PIXELS``.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from c3det.pictures import FORMATS, to_rgb

# Read by libvips when it is first imported. One file is decoded by one thread anyway; more of them
# only cost memory.
os.environ.setdefault("VIPS_CONCURRENCY", "1")

import pyvips

pyvips.cache_set_max(0)  # no picture is read twice, and the cache would hold bands

WHOLE_PIXELS = 100_000_000
"""Largest picture that is read whole; decoding one takes about 0.8 GB."""

SUFFIXES = frozenset(
    suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS
)
"""File name suffixes, in lower case, that are taken for pictures."""

_STRIP = 256
"""Rows that libvips is asked for at once."""


class PictureError(ValueError):
    """A file is missing, no picture, broken, or too large; the message names it."""


def picture_size(path: Path) -> tuple[int, int]:
    """Return height and width in pixels, from the header alone.

    Raises:
        PictureError: The file is missing or no picture in one of ``c3det.pictures.FORMATS``.
    """
    with _opened(path) as image:
        return _shown_size(image)


def check_whole(path: Path) -> None:
    """Check that nothing of a picture is missing, at less expense than that of reading it.

    PNG is checked by its checksums, JPEG is decoded at an eighth of its size.

    Raises:
        PictureError: The file is missing, no picture or broken, or it cannot be read in bands and
            has more than ``WHOLE_PIXELS``.
    """
    with _opened(path) as image:
        height, width = image.height, image.width
        if image.format == "PNG":
            image.verify()
            return
        if height * width <= WHOLE_PIXELS:
            if image.format == "JPEG":
                image.draft(None, (width // 8, height // 8))
            image.load()
            return
    rows = [(top, min(top + _STRIP, height)) for top in range(0, height, _STRIP)]
    for _ in read_bands(path, rows):
        pass


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read a whole picture.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        PictureError: The file is missing, no picture, broken, or has more than ``WHOLE_PIXELS``.
    """
    with _opened(path) as image:
        height, width = _shown_size(image)
        if height * width > WHOLE_PIXELS:
            raise PictureError(
                f"{path}: {width} x {height} pixels are more than the {WHOLE_PIXELS} that are "
                "read at once: cut it into tiles (python -m training.data.tiles)"
            )
        return to_rgb(ImageOps.exif_transpose(image))


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
    height, width = picture_size(path)
    for top, bottom in rows:
        if not 0 <= top < bottom <= height:
            raise ValueError(f"{path}: no rows {top} to {bottom} in a picture {height} rows high")
    image, reason = _stream(path)
    if image is None:
        if height * width > WHOLE_PIXELS:
            raise PictureError(
                f"{path}: {width} x {height} pixels, and {reason}, which can only be read whole, "
                f"up to {WHOLE_PIXELS} pixels: rewrite it as TIFF or as PNG without interlacing"
            )
        whole = read_picture(path)
        for top, bottom in rows:
            yield whole[top:bottom]
        return
    try:
        yield from _stream_bands(image, rows)
    except pyvips.Error as error:
        raise PictureError(f"{path}: the picture is cut off or broken: {_cause(error)}") from None


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write a picture; the file is complete or absent.

    Args:
        path: Of the file; its folder exists.
        pixels: uint8 (H, W, 3), RGB.

    Raises:
        OSError: The file cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    image = pyvips.Image.new_from_array(np.ascontiguousarray(pixels))
    # Weak compression: a stronger one saves a tenth of the space and takes twice the time.
    content = image.pngsave_buffer(compression=1)
    part.write_bytes(content)
    part.replace(path)


def _stream_bands(
    image: pyvips.Image, rows: Sequence[tuple[int, int]]
) -> Iterator[NDArray[np.uint8]]:
    """Read the bands of a picture that libvips streams; rows shared by two bands are kept."""
    # One region for all rows: libvips drops the rows that it has decoded too far when a pipeline
    # ends, and cannot go back for them.
    region = pyvips.Region.new(image)
    before, before_bottom = np.zeros((0, image.width, 3), np.uint8), 0
    for top, bottom in rows:
        band = np.empty((bottom - top, image.width, 3), np.uint8)
        shared = max(0, before_bottom - top)
        band[:shared] = before[len(before) - shared :]
        for start in range(top + shared, bottom, _STRIP):
            count = min(_STRIP, bottom - start)
            strip = region.fetch(0, start, image.width, count)
            pixels = np.frombuffer(strip, np.uint8).reshape(count, image.width, image.bands)
            # Grey is repeated by broadcasting; a second or fourth channel is transparency.
            band[start - top : start - top + count] = pixels[..., : 3 if image.bands > 2 else 1]
        before, before_bottom = band, bottom
        yield band


def _stream(path: Path) -> tuple[pyvips.Image | None, str]:
    """Open a picture for streaming, or say why it cannot be streamed."""
    try:
        image = pyvips.Image.new_from_file(str(path), access="sequential", fail_on="truncated")
    except pyvips.Error:
        return None, "its format is not PNG, JPEG or TIFF"
    loader = image.get("vips-loader")
    if loader not in ("pngload", "jpegload", "tiffload"):
        return None, "its format is not PNG, JPEG or TIFF"
    if image.get_typeof("interlaced") and image.get("interlaced"):
        return None, "it is a progressive JPEG" if loader == "jpegload" else "it is interlaced"
    if image.get_typeof("orientation") and image.get("orientation") != 1:
        return None, "it is rotated by its EXIF data"
    if loader == "pngload" and _exif_behind_pixels(path):
        return None, "it has EXIF data behind its pixels"
    if image.format != "uchar" or image.interpretation not in ("srgb", "b-w"):
        return None, "it is not 8-bit grey or RGB"
    return image, ""


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture by Pillow, of any size, and turn every error of reading it into ours."""
    limit = Image.MAX_IMAGE_PIXELS
    try:
        # Pillow's limit guards servers against hostile files; here `WHOLE_PIXELS` is the limit.
        Image.MAX_IMAGE_PIXELS = None
        with Image.open(path, formats=FORMATS) as image:
            yield image
    except PictureError:
        raise
    except FileNotFoundError:
        raise PictureError(f"{path}: there is no such file") from None
    except UnidentifiedImageError:
        raise PictureError(f"{path}: this is no picture in one of {', '.join(FORMATS)}") from None
    except Exception as error:  # Pillow's readers meet a broken file with exceptions of any kind
        raise PictureError(f"{path}: the picture is cut off or broken: {error}") from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _shown_size(image: Image.Image) -> tuple[int, int]:
    """Height and width after the rotation of the EXIF data."""
    # Pillow's TIFF reader reports the turned size by itself.
    turned = image.format != "TIFF" and _exif(image).get(ExifTags.Base.Orientation, 1) >= 5
    return (image.width, image.height) if turned else (image.height, image.width)


def _exif(image: Image.Image) -> Image.Exif:
    """The EXIF data, without decoding the picture if that can be."""
    if image.format == "PNG" and not _exif_behind_pixels(Path(image.filename)):  # type: ignore[attr-defined]
        # Its own method decodes the whole picture, in case that something stands behind.
        return Image.Image.getexif(image)
    return image.getexif()


def _exif_behind_pixels(path: Path) -> bool:
    """Whether a PNG has EXIF data, or text of which Pillow makes some, behind its pixels."""
    pixels = False
    with path.open("rb", buffering=0) as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            start = file.tell()
            pixels |= kind == b"IDAT"
            if pixels and kind == b"eXIf":
                return True
            if pixels and kind in (b"tEXt", b"zTXt", b"iTXt"):
                keyword = file.read(min(length, 80)).partition(b"\0")[0]
                if keyword in (b"Raw profile type exif", b"XML:com.adobe.xmp"):
                    return True
            file.seek(start + length + 4)
    return False


def _cause(error: pyvips.Error) -> str:
    """What libvips says, on one line."""
    return " ".join(str(error).split())

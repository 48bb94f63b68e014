"""Pictures become RGB arrays as CVAT shows them, for training and serving alike.

- A rotation in the EXIF data, or in XMP where EXIF has none, is applied.
- Of an animation or a file of several pictures the first one counts.
- Transparency is dropped: the colours under it are kept.
- A grey picture deeper than 8 bits is stretched from its darkest to its brightest value (a 12-bit
  picture in a 16-bit file would be black otherwise); of a deep colour picture the upper 8 bits of
  each channel are kept.

Each choice is the one that CVAT makes when it prepares a frame for display.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "JPEG2000", "PPM")
"""What is read, by Pillow's names."""

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
"""Of RGB in 0..255, with which both models normalise pictures."""

_WIDTH, _HEIGHT = ExifTags.Base.ImageWidth, ExifTags.Base.ImageLength
_COLOURS, _PLANES = (
    ExifTags.Base.PhotometricInterpretation,
    ExifTags.Base.PlanarConfiguration,
)

_BAND = 256
"""Rows that are stretched at a time."""


@dataclass(frozen=True)
class Header:
    """The header of a picture file, read before any pixel is decoded.

    Attributes:
        width: Of the picture as it is shown, turned, in pixels.
        height: Likewise.
        orientation: How it is turned, 1 to 8 as in EXIF; 1 is not at all.
        format: By Pillow's name; that of a JPEG with more pictures behind it is JPEG, too.
        samples: How the values of a pixel are stored, by Pillow's raw mode, such as ``"RGB;16B"``.
        codec: Compression of a TIFF by Pillow's name; ``"interlaced"`` or ``"progressive"`` where a
            PNG or a JPEG is that; otherwise empty.
        colours: What the values of a TIFF mean: its tag PhotometricInterpretation; otherwise -1.
        planar: Whether each channel is stored by itself.
        animated: Whether a PNG holds an animation.
    """

    width: int
    height: int
    orientation: int
    format: str
    samples: str
    codec: str = ""
    colours: int = -1
    planar: bool = False
    animated: bool = False


def read_header(image: Image.Image) -> Header:
    """Return the header of a picture that Pillow has opened, and not yet decoded.

    All readers of pictures take size, orientation and coding from here, whoever decodes the pixels.

    Raises:
        Exception: Of any kind, where a broken file misleads Pillow.
    """
    found = _exif(image).get(ExifTags.Base.Orientation, 1)
    orientation = found if found in range(1, 9) else 1
    width, height = image.size
    codec, colours, planar = "", -1, False
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        # Pillow's size of a TIFF is already turned by its EXIF data, but not by XMP.
        width, height = tags[_WIDTH], tags[_HEIGHT]
        codec, colours = image.info["compression"], tags.get(_COLOURS, 0)
        planar = tags.get(_PLANES, 1) != 1
    elif image.info.get("interlace"):
        codec = "interlaced"
    elif image.info.get("progressive"):
        codec = "progressive"
    if orientation >= 5:
        width, height = height, width
    tiles = getattr(image, "tile", None)
    tile = tiles[0].args if tiles else image.mode
    samples = tile if isinstance(tile, str) else (tile or (image.mode,))[0]
    file_format = "JPEG" if image.format == "MPO" else image.format or ""
    animated = file_format == "PNG" and getattr(image, "is_animated", False)
    return Header(
        width, height, orientation, file_format, str(samples), codec, colours, planar, animated
    )


def read_pixels(image: Image.Image) -> NDArray[np.uint8]:
    """Decode a picture that Pillow has opened to uint8 (H, W, 3) RGB, as its `Header` says.

    Raises:
        Exception: Of any kind, where the file is broken.
    """
    ImageOps.exif_transpose(image, in_place=True)
    return to_rgb(image)


def _exif(image: Image.Image) -> Image.Exif:
    """The EXIF data, with the orientation of XMP; the picture is decoded only if necessary."""
    file: IO[bytes] | None = getattr(image, "fp", None)
    if image.format == "PNG" and file is not None and not _exif_behind_pixels(file):
        # Pillow's own method for PNG decodes the whole picture, to find EXIF data behind it.
        return Image.Image.getexif(image)
    return image.getexif()


def _exif_behind_pixels(file: IO[bytes]) -> bool:
    """Whether a PNG has EXIF data, or text of which Pillow makes some, behind its pixels."""
    before, pixels = file.tell(), False
    try:
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
    finally:
        file.seek(before)


def to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels of a decoded picture of any Pillow mode as uint8 (H, W, 3), RGB."""
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        grey = _stretch(np.asarray(image))
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("La", "RGBa") or (image.mode == "P" and "transparency" in image.info):
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


def _stretch(values: np.ndarray) -> NDArray[np.uint8]:
    """Map the darkest finite value to 0 and the brightest to 255; one value alone to 0."""
    # In bands: whole, a large picture would take a hundred bytes a pixel on the way.
    bands = [values[top : top + _BAND] for top in range(0, len(values), _BAND)]
    spans = [
        (float(finite.min()), float(finite.max()))
        for band in bands
        if (finite := band[np.isfinite(band)]).size
    ]
    if not spans:
        return np.zeros(values.shape, np.uint8)
    low, high = min(low for low, _ in spans), max(high for _, high in spans)
    factor = 255 / (high - low) if high > low else 0
    stretched = [
        np.round(
            (np.nan_to_num(band.astype(np.float64), nan=low, posinf=high, neginf=low) - low)
            * factor
        ).astype(np.uint8)
        for band in bands
    ]
    return np.concatenate(stretched)

"""Encoded pictures become arrays that look as CVAT shows them.

The model should see what the annotator sees, in the same coordinates, so each choice here is the
one that CVAT makes when it prepares a frame for display:

- a rotation in the EXIF data is applied;
- transparency is dropped: the colours under it are kept;
- a grey picture deeper than 8 bits is stretched from its darkest to its brightest value (a 12-bit
  picture in a 16-bit file would be black otherwise); of a deep colour picture the upper 8 bits of
  each channel are kept;
- of an animation or a file of several pictures, the first one counts.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from serverless.requests import RequestError

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "JPEG2000", "PPM")


def decode(picture: bytes, max_pixels: int) -> np.ndarray:
    """Decode a picture.

    Args:
        picture: The bytes of a file in one of ``FORMATS``.
        max_pixels: Largest picture that is decoded. The size is read from the header, before any
            pixel is.

    Returns:
        ``uint8`` array of shape ``(height, width, 3)``, RGB.

    Raises:
        RequestError: The bytes are not a picture, are cut off or broken, or the picture is too
            large; the field is ``image``.
    """
    try:
        with Image.open(io.BytesIO(picture), formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise RequestError(
                    "too_large",
                    f"the picture has {width} x {height} pixels, at most {max_pixels} fit",
                    "image",
                )
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise RequestError(
            "undecodable", f"image is not a picture in one of {', '.join(FORMATS)}", "image"
        ) from None
    except Image.DecompressionBombError:
        raise RequestError(
            "too_large", f"the picture has more than the {max_pixels} pixels that fit", "image"
        ) from None
    except (RequestError, MemoryError):
        raise
    except Exception:  # Pillow's readers meet a broken file with exceptions of any kind
        raise RequestError(
            "undecodable", "the picture in image is cut off or broken", "image"
        ) from None


def _to_rgb(image: Image.Image) -> np.ndarray:
    """Return the pixels of a decoded picture of any Pillow mode as ``uint8`` RGB."""
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        grey = _stretch(np.asarray(image))
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("La", "RGBa") or (image.mode == "P" and "transparency" in image.info):
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


def _stretch(values: np.ndarray) -> np.ndarray:
    """Map the darkest finite value to 0 and the brightest to 255; one value alone to 0."""
    values = values.astype(np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(values.shape, np.uint8)
    low, high = values[finite].min(), values[finite].max()
    scaled = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) * (
        255 / (high - low) if high > low else 0
    )
    return np.round(scaled).astype(np.uint8)

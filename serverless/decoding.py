"""Encoded pictures become arrays, with the limits of a server.

The pixels are those that CVAT shows the annotator: `c3det.rgb` reads them.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from c3det.rgb import FORMATS, read_pixels
from serverless.protocol import RequestError


def limit_pixels(max_pixels: int) -> None:
    """Set Pillow's own limit, which holds wherever it opens a picture in this process.

    Above it Pillow warns, and above twice as many pixels it refuses.
    """
    Image.MAX_IMAGE_PIXELS = max_pixels
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `decode` refuses these


def decode(picture: bytes, max_pixels: int) -> np.ndarray:
    """Decode a picture.

    Args:
        picture: The bytes of a file in one of `c3det.rgb.FORMATS`.
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
            return read_pixels(image)
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

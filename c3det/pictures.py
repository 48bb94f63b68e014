"""Decoded pictures become RGB arrays as CVAT shows them, for training and serving alike.

- Transparency is dropped: the colours under it are kept.
- A grey picture deeper than 8 bits is stretched from its darkest to its brightest value (a 12-bit
  picture in a 16-bit file would be black otherwise); of a deep colour picture the upper 8 bits of
  each channel are kept.

Each choice is the one that CVAT makes when it prepares a frame for display.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "JPEG2000", "PPM")
"""What is read, by Pillow's names."""

_BAND = 256
"""Rows that are stretched at a time."""


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

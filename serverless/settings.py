"""What the environment decides, read once when the function starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

STARTER_WEIGHTS = Path(__file__).resolve().parent / "weights" / "starter.safetensors"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one worker.

    Attributes:
        weights: File of the weights (``C3DET_WEIGHTS``; default: the starter weights).
        device: Where the model runs, as torch names it (``C3DET_DEVICE``).
        max_pixels: Largest picture that is accepted, in pixels (``C3DET_MAX_PIXELS``).
        max_clicks: Most clicks that a request may hold (``C3DET_MAX_CLICKS``).
        full_mask_max_pixels: Largest picture, in pixels, for which the built-in answer carries a
            mask of the whole picture; above it the mask is a crop with ``bounds``
            (``C3DET_FULL_MASK_MAX_PIXELS``).
        cache_bytes: Memory for the features of the last pictures (``C3DET_CACHE_BYTES``).
    """

    weights: Path
    device: str
    max_pixels: int
    max_clicks: int
    full_mask_max_pixels: int
    cache_bytes: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read the settings; a variable that is absent or empty leaves the default.

        Raises:
            ValueError: A limit is not a whole number, or is too small; the message names the
                variable.
        """

        def whole(name: str, default: int, least: int) -> int:
            text = environment.get(name, "").strip()
            if not text:
                return default
            if not text.isascii() or not text.isdigit() or int(text) < least:
                raise ValueError(
                    f"{name} must be a whole number of at least {least}, it is {text!r}"
                )
            return int(text)

        return cls(
            weights=Path(environment.get("C3DET_WEIGHTS") or STARTER_WEIGHTS),
            device=environment.get("C3DET_DEVICE") or "cpu",
            max_pixels=whole("C3DET_MAX_PIXELS", default=16_000_000, least=1),
            max_clicks=whole("C3DET_MAX_CLICKS", default=1000, least=1),
            full_mask_max_pixels=whole("C3DET_FULL_MASK_MAX_PIXELS", default=2_000_000, least=0),
            cache_bytes=whole("C3DET_CACHE_BYTES", default=512 * 1024 * 1024, least=0),
        )

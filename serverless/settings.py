"""The settings of a worker, read from the environment when it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

CVAT_SECONDS = 120
"""How long CVAT waits for an answer, the wait for a free worker included."""

MOST_PIXELS = 1_000_000_000
"""Above it a square picture takes more than `c3det.tiles.MAX_TILES` tiles."""

WEIGHTS = Path(__file__).resolve().parent / "weights"
OPEN_WEIGHTS = WEIGHTS / "open.safetensors"
STARTER_WEIGHTS = WEIGHTS / "starter.safetensors"
"""Shipped: the open model's, which are the default, and the closed one's."""


@dataclass(frozen=True, slots=True)
class ServingSettings:
    """The settings of one worker.

    Attributes:
        weights: File of the weights (``C3DET_WEIGHTS``; default: the open model's).
        device: Where the model runs, as torch names it (``C3DET_DEVICE``).
        max_pixels: Largest picture that is accepted, in pixels (``C3DET_MAX_PIXELS``). Whatever
            is set, a square picture of so many takes no more than `c3det.tiles.MAX_TILES` tiles.
        max_clicks: Most clicks that a request may hold (``C3DET_MAX_CLICKS``).
        full_mask_max_pixels: Largest picture, in pixels, for which the built-in answer carries a
            mask of the whole picture; above it the mask is a crop with ``bounds``
            (``C3DET_FULL_MASK_MAX_PIXELS``).
        cache_bytes: Memory for the features of the last pictures (``C3DET_CACHE_BYTES``).
        cache_seconds: How long a picture is kept that no request needs (``C3DET_CACHE_SECONDS``).
        time_budget_seconds: How long a request may take (``C3DET_TIME_BUDGET_SECONDS``). If the
            work is not done by then, ``progress`` in the answer is below 1, or, where the caller
            does not ask again, the answer is an error. CVAT gives up after `CVAT_SECONDS`.
        class_name: The class of clicks that come without one (``C3DET_CLASS``), ``None`` to infer
            it from what the model sees under them; always ``None`` for an open model.
    """

    weights: Path
    device: str
    max_pixels: int
    max_clicks: int
    full_mask_max_pixels: int
    cache_bytes: int
    cache_seconds: int
    time_budget_seconds: int
    class_name: str | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], **instead: Any) -> ServingSettings:
        """Read the settings; a variable that is absent or empty leaves the default.

        Args:
            environment: Its variables.
            instead: Settings that do not come from it, by their names.

        Raises:
            ValueError: A limit is not a whole number, or is out of its range; the message names the
                variable.
        """

        def whole(name: str, default: int, least: int, most: int | None = None) -> int:
            text = environment.get(name, "").strip()
            if not text:
                return default
            value = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1
            if value < least or (most is not None and value > most):
                span = f"of at least {least}" if most is None else f"from {least} to {most}"
                raise ValueError(f"{name} must be a whole number {span}, it is {text!r}")
            return value

        settings = cls(
            weights=Path(environment.get("C3DET_WEIGHTS") or OPEN_WEIGHTS),
            device=environment.get("C3DET_DEVICE") or "cpu",
            max_pixels=whole("C3DET_MAX_PIXELS", default=50_000_000, least=1, most=MOST_PIXELS),
            max_clicks=whole("C3DET_MAX_CLICKS", default=1000, least=1),
            full_mask_max_pixels=whole("C3DET_FULL_MASK_MAX_PIXELS", default=2_000_000, least=0),
            cache_bytes=whole("C3DET_CACHE_BYTES", default=1024**3, least=0),
            cache_seconds=whole("C3DET_CACHE_SECONDS", default=1800, least=0),
            time_budget_seconds=whole(
                "C3DET_TIME_BUDGET_SECONDS", default=60, least=1, most=CVAT_SECONDS - 1
            ),
            class_name=environment.get("C3DET_CLASS", "").strip() or None,
        )
        return replace(settings, **instead)

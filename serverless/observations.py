"""What is noted of one request while it is answered, for its answer, the log and the metrics."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from serverless.protocol import Form, RequestError

STAGES = ("read", "decode", "encode", "detect", "answer")
"""What is timed: reading the body, decoding the picture, computing what no click changes, finding
objects, writing boxes. A stage that a request did not need took no time."""


@dataclass
class Observation:
    """One request. It holds nothing of the picture but its size.

    Attributes:
        form: Of the request, and so of its answer.
        seconds: How long each stage took.
        image_size: ``(height, width)`` of the picture, ``None`` where that was not reached.
        cache: ``hit`` where the picture was known, ``miss`` where not, ``None`` where that was not
            reached.
        clicks: How many clicks came.
        objects: How many objects were found.
        coverage: Share of the picture's area that was searched with these clicks.
        progress: Share of the work for these clicks that is done; it grows with every request.
        notes: What people should know of the answer, in short sentences.
        status: Of the answer over HTTP.
        error: Why there are no objects.
        started: When it began, by `time.monotonic`.
    """

    form: Form
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    image_size: tuple[int, int] | None = None
    cache: str | None = None
    clicks: int | None = None
    objects: int | None = None
    coverage: float | None = None
    progress: float | None = None
    notes: tuple[str, ...] = ()
    status: int = 200
    error: RequestError | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def timings_ms(self) -> dict[str, float]:
        """Milliseconds by stage, to a tenth."""
        return {stage: round(seconds * 1000, 1) for stage, seconds in self.seconds.items()}

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add to ``stage`` how long the block took."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - started

    def add(self, seconds: Mapping[str, float]) -> None:
        """Note what one question to the model took."""
        for stage, more in seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + more

    def log_fields(self) -> dict[str, Any]:
        """Return the fields of the request's line in the log."""
        fields: dict[str, Any] = {
            "form": self.form.value,
            "cache": self.cache,
            "clicks": self.clicks,
            "objects": self.objects,
            "coverage": self.coverage,
            "progress": self.progress,
            "timings_ms": self.timings_ms,
        }
        if self.image_size is not None:
            height, width = self.image_size
            fields["picture"] = f"{width}x{height}"
        if self.error is not None:
            fields["code"] = self.error.code
            fields["field"] = self.error.field
            fields["reason"] = self.error.message
        return fields

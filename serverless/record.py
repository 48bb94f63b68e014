"""What is recorded of one request while it is answered, for its answer and its line in the log."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from serverless.protocol import Form, RequestError

if TYPE_CHECKING:
    from c3det.predictor import SearchResult

STAGES = ("read", "decode", "encode", "detect", "answer")
"""What is timed: reading the body, decoding the picture, computing what no click changes, finding
objects, writing boxes. A stage that a request did not need took no time."""


@dataclass
class RequestRecord:
    """The record of one request. Of the picture it holds no more than the size.

    Attributes:
        form: Of the request, and so of its answer.
        deadline: Value of `time.monotonic` by which to answer.
        seconds: How long each stage took.
        image_size: ``(height, width)`` of the picture, ``None`` where it was not decoded.
        cache: ``hit`` where the picture was known, ``miss`` where not, ``None`` where the cache was
            not asked.
        clicks: Number of clicks.
        objects: Number of objects found.
        coverage: Share of the picture's area that was searched with these clicks.
        progress: Share of the work for these clicks that is done; it grows with every request.
        notes: What people should know of the answer, in short sentences.
        error: Why there are no objects.
    """

    form: Form
    deadline: float | None = None
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    image_size: tuple[int, int] | None = None
    cache: str | None = None
    clicks: int | None = None
    objects: int | None = None
    coverage: float | None = None
    progress: float | None = None
    notes: tuple[str, ...] = ()
    error: RequestError | None = None

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

    def add_seconds(self, seconds: Mapping[str, float]) -> None:
        """Add how long the stages of one call of the model took."""
        for stage, more in seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + more

    def add_search(self, found: SearchResult) -> None:
        """Add how long a search with the request's clicks took, and how far it came."""
        self.add_seconds(found.seconds)
        self.coverage, self.progress = found.coverage, found.progress

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

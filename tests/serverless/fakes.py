"""A predictor with boxes that a person can count, and pictures to send."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from nuclio_sdk import Context, Event
from PIL import Image

from c3det.clicks import Click, LabelledBox
from c3det.detections import Detections
from serverless.main import handler
from serverless.nuclio_worker import NuclioWorker, Trigger
from serverless.service import Service
from serverless.settings import ServingSettings

if TYPE_CHECKING:
    from c3det.exemplars import Exemplars

CLASSES = ("tree", "0", "1")
WEIGHTS = "00" * 32

PLUGIN_KEYS = {
    "c3det",
    "boxes",
    "error",
    "model",
    "threshold",
    "timings_ms",
    "cache",
    "coverage",
    "progress",
    "notes",
}
"""Of every answer of the plugin form."""


def detections(
    *rows: tuple[Sequence[float], float, int, int], answer_of: Sequence[int] | None = None
) -> Detections:
    """Detections from rows of (box, score, label, click), each click answered by a box of its own.

    Args:
        rows: In their order.
        answer_of: Where that is not so, which click's box answers each click.
    """
    boxes, scores, labels, clicks = zip(*rows, strict=True) if rows else ((), (), (), ())
    if answer_of is None:
        answer_of = [
            click if click in clicks else -1 for click in range(max(clicks, default=-1) + 1)
        ]
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(labels, np.int64),
        np.array(clicks, np.int64),
        np.array(answer_of, np.int64),
    )


@dataclass(frozen=True)
class FakeAnswer:
    detections: Detections
    coverage: float
    progress: float
    under_clicks: bool
    seconds: dict[str, float]


class FakePicture:
    """A picture of a ``FakePredictor``; it grows from 100 to 200 bytes when it is first asked."""

    def __init__(self, predictor: FakePredictor, image_size: tuple[int, int]) -> None:
        self.image_size = image_size
        self.nbytes = 100
        self._predictor = predictor

    def detect(
        self,
        clicks: Sequence[Click],
        score_threshold: float | None = None,
        *,
        exemplars: Exemplars | None = None,
        deadline: float | None = None,
    ) -> FakeAnswer:
        predictor = self._predictor
        labels = [] if exemplars is None else exemplars.labels[exemplars.positive].tolist()
        if predictor.fault is not None:
            raise predictor.fault
        seconds = {"detect": 0.002}
        if self.nbytes == 100:
            self.nbytes = 200
            predictor.encoded.append(self.image_size)
            seconds["encode"] = 0.001
        predictor.detected.append((list(clicks), score_threshold))
        predictor.deadlines.append(deadline)
        share = predictor.coverage
        detected = found(clicks) if predictor.classes else found_by_open(clicks, labels)
        return FakeAnswer(detected, share, share, predictor.under_clicks, seconds)

    def exemplars(
        self,
        clicks: Sequence[Click],
        names: Sequence[str],
        *,
        boxes: Sequence[LabelledBox] = (),
        source: str = "",
        deadline: float | None = None,
    ) -> Exemplars:
        """A click is of a box of 4 x 4; the numbers say where they are."""
        from c3det.exemplars import Exemplars

        at = [*((c.x, c.y) for c in clicks), *(box.middle for box in boxes)]
        sizes = [*((4, 4) for _ in clicks), *((b.x2 - b.x1, b.y2 - b.y1) for b in boxes)]
        given = [*clicks, *boxes]
        none = Exemplars.none(WEIGHTS, 2, names)
        return replace(
            none,
            labels=np.array([one.label for one in given], np.int64),
            positive=np.array([one.positive for one in given], np.bool_),
            vectors=np.array(at, np.float16).reshape(-1, 2),
            sizes=np.array(sizes, np.float32).reshape(-1, 2),
            thumbnails=np.zeros((len(given), *none.thumbnails.shape[1:]), np.uint8),
            sources=(source,) * len(given),
        )

    def detect_at(
        self, points: Sequence[tuple[float, float]], *, deadline: float | None = None
    ) -> FakeAnswer:
        self._predictor.looked_at.append(list(points))
        self._predictor.deadlines.append(deadline)
        return FakeAnswer(found([]), 1, 1, True, {})

    def outlines(self, detections: Detections, wanted: Sequence[int]) -> list[np.ndarray | None]:
        outline = self._predictor.outline
        return [
            None if outline is None else detections.boxes[row, :2].astype(np.float64) + outline
            for row in wanted
        ]

    def trim(self, max_bytes: int) -> None:
        if max_bytes < self.nbytes:
            self.nbytes = 100


@dataclass
class FakePredictor:
    """Sees two "0" and a "tree" in every picture, and a box of 4 x 4 around a positive click.

    Without classes it is open, see `found_by_open`.
    """

    classes: tuple[str, ...] = CLASSES
    card: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(
            name="fake", sha256="00", tensors=WEIGHTS, score_threshold=0.3
        )
    )
    coverage: float = 1.0
    under_clicks: bool = True
    looked_at: list[list[tuple[float, float]]] = field(default_factory=list)
    opened: list[tuple[int, ...]] = field(default_factory=list)
    encoded: list[tuple[int, ...]] = field(default_factory=list)
    detected: list[tuple[list[Click], float | None]] = field(default_factory=list)
    deadlines: list[float | None] = field(default_factory=list)
    fault: Exception | None = None
    outline: np.ndarray | None = None
    """Of each object that is asked about, from the corner of its box."""
    warm: bool = False

    def __post_init__(self) -> None:
        self.card.classes = self.classes

    def warm_up(self) -> None:
        self.warm = True

    def open(self, image: np.ndarray, max_bytes: int = 0) -> FakePicture:
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.flags.c_contiguous
        assert image.flags.writeable
        self.opened.append(image.shape)
        return FakePicture(self, image.shape[:2])


def found(clicks: Sequence[Click]) -> Detections:
    """What a ``FakePredictor`` finds."""
    rows = [
        ((10.0, 10.0, 14.0, 16.0), 0.9, 1, -1),
        ((30.0, 20.0, 36.0, 24.0), 0.5, 1, -1),
        ((0.0, 0.0, 60.0, 40.0), 0.4, 0, -1),
    ]
    answer_of = [-1] * len(clicks)
    for index, click in enumerate(clicks):
        inside = [
            row
            for row in rows
            if row[0][0] <= click.x <= row[0][2] and row[0][1] <= click.y <= row[0][3]
        ]
        if not click.positive:
            rows = [row for row in rows if row not in inside or row[3] >= 0]
            continue
        own = next((row for row in inside if row[2] == click.label and row[3] >= 0), None)
        if own is None:
            x, y = click.x, click.y
            rows.append(((x - 2, y - 2, x + 2, y + 2), 1.0, click.label, index))
        else:
            rows[rows.index(own)] = (*own[:3], index)
            answer_of = [index if answer == own[3] else answer for answer in answer_of]
        answer_of[index] = index
    return detections(*sorted(rows, key=lambda row: -row[1]), answer_of=answer_of)


def found_by_open(clicks: Sequence[Click], examples: Sequence[int] = ()) -> Detections:
    """What a ``FakePredictor`` without classes finds: the same, all of the first label clicked.

    Where none is, of the first of the labels of exemplars.
    """
    labels = [*(click.label for click in clicks if click.positive), *examples]
    known = found([replace(click, label=2) for click in clicks])
    shown = np.array([not clicks or len(labels) > 0 for _ in known.clicks], bool)
    of = [clicks[index].label if index >= 0 else (labels or [-1])[0] for index in known.clicks]
    return replace(known, labels=np.array(of, np.int64)).take(shown)


class Log:
    """The part of Nuclio's logger that the function uses."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def info_with(self, message: str, **fields: Any) -> None:
        self.lines.append(("info", message, fields))

    def warn_with(self, message: str, **fields: Any) -> None:
        self.lines.append(("warn", message, fields))

    def error_with(self, message: str, **fields: Any) -> None:
        self.lines.append(("error", message, fields))


def context_of(predictor: Any, **settings: Any) -> Context:
    """The context of a worker that has started with a predictor, and with some settings."""
    service = Service.create(predictor, ServingSettings.from_environment({}, **settings))
    return NuclioWorker(handler, Trigger(), Log(), service).context


def make_context(classes: tuple[str, ...] = CLASSES, **settings: Any) -> Context:
    """The same with a ``FakePredictor`` of these classes; none: it is open."""
    return context_of(FakePredictor(classes), **settings)


def event(payload: object) -> Event:
    """The event of a JSON request, as Nuclio parses it; round trip included."""
    return Event(body=json.loads(json.dumps(payload)), content_type="application/json")


def encoded_picture(
    width: int = 60, height: int = 40, value: int = 0, file_format: str = "PNG"
) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), (value, value, value)).save(stream, file_format)
    return stream.getvalue()


def base64_picture(width: int = 60, height: int = 40, value: int = 0) -> str:
    return base64.b64encode(encoded_picture(width, height, value)).decode()

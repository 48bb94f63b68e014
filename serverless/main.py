"""The function: payload -> clicks -> picture -> detections -> answer.

Nuclio calls ``init_context`` once when a worker starts, and for each request ``handler`` where the
function serves as an interactor, ``detector_handler`` where it serves as a detector. A request
never raises: an exception would put its traceback into the answer.
"""

from __future__ import annotations

import gc
import json
import logging
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from nuclio_sdk import Context, Event, Response

from c3det.tiles import TileLimitError
from serverless import deployment, faults
from serverless.answers import boxes_of, built_in_answer, error_answer, notes, plugin_answer
from serverless.believed import believed_class
from serverless.cache import PictureCache, PictureKey
from serverless.metrics import Metrics
from serverless.observations import Observation
from serverless.pictures import decode, limit_pixels
from serverless.processors import limit_threads
from serverless.protocol import (
    AnyRequest,
    DetectorAnswer,
    ExemplarsRequest,
    Form,
    Point,
    RequestError,
    check_inside,
    check_weights,
    form_of,
    parse_body,
    read_built_in_request,
    read_detector_request,
    read_exemplars_request,
    read_plugin_request,
)
from serverless.settings import Settings

if TYPE_CHECKING:
    from c3det.answering import Detections
    from c3det.clicks import Click
    from c3det.exemplars import Exemplars
    from c3det.model import Outline
    from c3det.predictor import Answer, Picture, Predictor

BELIEF_THRESHOLD = 0.05
"""Lowest score of a box that has a say in the class of a click that comes without one."""

TRACEBACK_CALLS = 40
"""How many calls of a traceback are logged, the last ones: Nuclio wants short lines."""


@dataclass(frozen=True, slots=True)
class Service:
    """What a worker keeps between requests, as ``context.user_data``.

    Attributes:
        predictor: The model.
        settings: Limits and places.
        cache: The last pictures.
        metrics: Counts and times of the requests.
        device_lock: Keeps other workers from the GPU; ``None`` on a CPU.
    """

    predictor: Predictor
    settings: Settings
    cache: PictureCache[Picture]
    metrics: Metrics
    device_lock: IO[str] | None

    @classmethod
    def create(
        cls, predictor: Predictor, settings: Settings, device_lock: IO[str] | None = None
    ) -> Service:
        """Return the service of a model that has seen nothing yet."""
        cache = PictureCache[Any](settings.cache_bytes, settings.cache_seconds)
        return cls(predictor, settings, cache, Metrics(), device_lock)


def init_context(context: Context) -> None:
    """Start a worker whose classes CVAT reads from the function's description.

    Raises:
        ValueError: A setting is wrong, the device is not there or has a worker already, or CVAT is
            told other classes than those of the weights.
        c3det.weights.WeightsError: The weights are missing, damaged or of an unknown format.
    """
    start(context, deployment.DESCRIPTIONS)


def init_with_any_classes(context: Context) -> None:
    """Start a worker that CVAT does not call, so that nothing tells its classes but the weights.

    Raises:
        ValueError: A setting is wrong, or the device is not there or has a worker already.
        c3det.weights.WeightsError: The weights are missing, damaged or of an unknown format.
    """
    start(context, ())


def start(context: Context, descriptions: Sequence[Path]) -> None:
    """Load the model and warm it up, so that a fault shows now and the first click is fast."""
    from c3det.memory import keep_freed_memory
    from c3det.predictor import load

    settings = Settings.from_environment(os.environ)
    deployment.check_device(settings.device)
    name = deployment.gpu_name(settings.device)
    device_lock = None if name is None else deployment.hold_gpu(name)
    threads = limit_threads()
    keep_freed_memory()
    limit_pixels(settings.max_pixels)
    predictor = load(settings.weights, settings.device)
    deployment.check_classes(predictor.classes, descriptions)
    deployment.check_class(settings.class_name, predictor.classes)
    predictor.warm_up()
    # What stays for good is not to be looked through again: Python took 0.2 s for it at times.
    gc.collect()
    gc.freeze()
    context.user_data = Service.create(predictor, settings, device_lock)
    context.platform.set_termination_callback(lambda: end(context))
    quieten_wrapper()
    context.logger.info_with(
        "ready", model=predictor.card.name, device=settings.device, threads=threads
    )


def quieten_wrapper() -> None:
    """Let Nuclio's wrapper tell no details: told to stop, it would write them into an answer.

    Log lines and answers share a socket, and an answer over 200 KB takes several writes.
    """
    for handler in logging.getLogger("nuclio_sdk").handlers:
        handler.setLevel(logging.INFO)


def end(context: Context) -> None:
    """End the worker; Nuclio calls this after the running request when it stops the container."""
    stats = context.user_data.cache.stats()
    context.logger.info_with("ending", cache_hits=stats.hits, cache_misses=stats.misses)
    sys.exit(0)


def handler(context: Context, event: Event) -> Response:
    """Answer one request to the interactor, whatever it holds."""
    return respond(context, event, Form.BUILT_IN, form_of)


def detector_handler(context: Context, event: Event) -> Response:
    """Answer one request to the detector, whatever it holds."""
    return respond(context, event, Form.DETECTOR, lambda payload: Form.DETECTOR)


def respond(
    context: Context,
    event: Event,
    form: Form,
    form_of_payload: Callable[[Mapping[str, Any]], Form],
) -> Response:
    """Answer one request, whatever it holds, with JSON and one line in the log.

    Args:
        context: Of the worker.
        event: The request.
        form: Form of the answer to a body that cannot be read.
        form_of_payload: Tells the form of one that can.
    """
    service: Service = context.user_data
    seen = Observation(form)
    level, message = context.logger.info_with, "answered"
    trace = {}
    try:
        with seen.timed("read"):
            payload = parse_body(event.body)
        seen.form = form_of_payload(payload)
        body = ANSWERS[seen.form](service, payload, seen)
        with seen.timed("answer"):
            response = json_response(context, 200, body)
    except RequestError as refused:
        level, message = context.logger.warn_with, "refused"
        seen.error = refused
    except Exception as fault:  # the edge: whatever it is, it is answered
        level, message = context.logger.error_with, "failed"
        service.cache.clear()
        trace["traceback"] = traceback.format_exc(-TRACEBACK_CALLS)
        if faults.is_device_broken(fault, service.settings.device):
            context.logger.error_with("device broken: the process ends", **trace)
            os._exit(1)  # any code but 0, so that Nuclio starts the function anew
        seen.error = faults.told(fault)
    if trace:  # now that the fault holds no tensors any more
        faults.release_memory(service.settings.device)
    if seen.error is not None:
        seen.status, told = error_answer(seen, service.predictor.card.name)
        response = json_response(context, seen.status, told)
    service.metrics.observe(seen)
    level(message, model=service.predictor.card.name, **seen.log_fields(), **trace)
    return response


def answer_plugin(
    service: Service, payload: Mapping[str, Any], seen: Observation
) -> dict[str, Any]:
    """Clicks with classes in, boxes of all classes out.

    Of an open model the classes are the caller's labels. Without a click or an exemplar it finds
    objects of no class.
    """
    predictor, settings = service.predictor, service.settings
    exemplars = None
    with seen.timed("read"):
        request = read_plugin_request(payload, predictor.classes, settings.max_clicks)
        if request.exemplars is not None:
            from serverless.exemplars import from_request

            check_weights(request.exemplars, predictor.card.tensors, predictor.card.name)
            exemplars = from_request(request.exemplars, predictor.card.tensors)
    with opened(service, request, seen) as question:
        answer = question.with_clicks(request.clicks, request.threshold, exemplars)
    with seen.timed("answer"):
        boxes = boxes_of(answer.detections, predictor.classes, request.clicks)
        seen.notes = notes(answer.detections, predictor.classes, request.clicks)
    seen.objects = len(boxes)
    card = predictor.card
    return plugin_answer(boxes, card.name, seen, card.score_threshold).body()


def answer_exemplars(
    service: Service, payload: Mapping[str, Any], seen: Observation
) -> dict[str, Any]:
    """Clicks and boxes with classes in, what an open model takes under them out."""
    from serverless.exemplars import exemplars_answer

    predictor, settings = service.predictor, service.settings
    with seen.timed("read"):
        request = read_exemplars_request(payload, predictor.classes, settings.max_clicks)
    with opened(service, request, seen) as question:
        exemplars = question.exemplars_of(request)
    with seen.timed("answer"):
        answer = exemplars_answer(exemplars, predictor.card, seen).body()
    seen.objects = len(answer["exemplars"])
    return answer


def answer_built_in(
    service: Service, payload: Mapping[str, Any], seen: Observation
) -> dict[str, Any]:
    """Clicks without classes in, masks of all objects of the class under them out.

    To an open model they are the clicks of one label.

    CVAT cannot ask on, so where the time budget ends before the tiles under the clicks are
    searched, the answer is an error; objects in other tiles may be missing, and come with the next
    click.
    """
    predictor, settings = service.predictor, service.settings
    with seen.timed("read"):
        request = read_built_in_request(payload, settings.max_clicks)
    with opened(service, request, seen) as question:
        if not predictor.classes:
            label = 0
        elif settings.class_name is not None:
            label = predictor.classes.index(settings.class_name)
        else:
            unprompted = question.without_clicks_at(request.positive)
            believable = unprompted.take(unprompted.scores >= BELIEF_THRESHOLD)
            label = believed_class(believable, request.positive, len(predictor.classes))
        answer = question.with_clicks(request.clicks(label), request.threshold)
        if not answer.under_clicks:
            raise unfinished(settings, "the objects under the clicks were found", "click again")
        with seen.timed("answer"):
            told = built_in_answer(
                answer.detections,
                request,
                label,
                question.picture.image_size,
                settings.full_mask_max_pixels,
                question.outlines_of(answer.detections, label),
            )
    seen.objects = len(told.shapes)
    return told.body()


def answer_detector(
    service: Service, payload: Mapping[str, Any], seen: Observation
) -> list[dict[str, Any]]:
    """No clicks in, rectangles of all classes out: those of the whole picture, or an error."""
    predictor = service.predictor
    if not predictor.classes:
        raise RequestError(
            "unsupported",
            f"the weights {predictor.card.name} take any label and know no classes to detect "
            "without clicks: serve the detector with weights that have classes",
            None,
        )
    with seen.timed("read"):
        request = read_detector_request(payload)
    with opened(service, request, seen) as question:
        answer = question.with_clicks((), request.threshold)
    if answer.coverage < 1:
        searched = f"more than {math.floor(answer.coverage * 100)} % of the picture was searched"
        raise unfinished(service.settings, searched, "ask again")
    with seen.timed("answer"):
        boxes = boxes_of(answer.detections, predictor.classes)
    seen.objects = len(boxes)
    return DetectorAnswer(boxes).body()


ANSWERS: dict[Form, Callable[[Service, Mapping[str, Any], Observation], Any]] = {
    Form.PLUGIN: answer_plugin,
    Form.EXEMPLARS: answer_exemplars,
    Form.BUILT_IN: answer_built_in,
    Form.DETECTOR: answer_detector,
}
"""The body of the answer to a request of each form."""


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """A request's picture, to be asked about within the time budget.

    Attributes:
        picture: That is asked about.
        deadline: Of the request, by `time.monotonic`.
        seen: Notes what it takes.
    """

    picture: Picture
    deadline: float
    seen: Observation

    def with_clicks(
        self, clicks: Sequence[Click], threshold: float | None, exemplars: Exemplars | None = None
    ) -> Answer:
        """What is found with clicks, down to a score, ``None`` for the default of the weights.

        Raises:
            RequestError: The exemplars are none of the model's.
        """
        if exemplars is None:
            answer = self.picture.detect(clicks, threshold, deadline=self.deadline)
        else:
            from c3det.exemplars import ExemplarsError

            try:
                answer = self.picture.detect(
                    clicks, threshold, exemplars=exemplars, deadline=self.deadline
                )
            except ExemplarsError as error:
                raise RequestError("invalid", f"in neg_points: {error}", "neg_points") from None
        self.seen.add(answer.seconds)
        self.seen.coverage, self.seen.progress = answer.coverage, answer.progress
        return answer

    def exemplars_of(self, request: ExemplarsRequest) -> Exemplars | None:
        """What the model takes under clicks and boxes; ``None`` where there is no time for all."""
        from serverless.exemplars import LABELS

        with self.seen.timed("detect"):
            exemplars = self.picture.exemplars(
                request.clicks, LABELS, boxes=request.boxes, deadline=self.deadline
            )
        self.seen.progress = (
            1.0 if exemplars is not None else self.picture.read_share(request.clicks, request.boxes)
        )
        return exemplars

    def outlines_of(self, detections: Detections, label: int) -> dict[int, Outline]:
        """Outlines of the objects of a class that have one, by their rows."""
        rows = [row for row, other in enumerate(detections.labels) if other == label]
        found = self.picture.outlines(detections, rows)
        return {
            row: outline for row, outline in zip(rows, found, strict=True) if outline is not None
        }

    def without_clicks_at(self, points: Sequence[Point]) -> Detections:
        """What is seen without clicks in the tiles under some points, of any score."""
        answer = self.picture.detect_at(points, deadline=self.deadline)
        self.seen.add(answer.seconds)
        return answer.detections


@contextmanager
def opened(service: Service, request: AnyRequest, seen: Observation) -> Iterator[OpenQuestion]:
    """Give the request's picture, known from before or not.

    Raises:
        RequestError: It is no picture, it is too large, or a point lies outside.
    """
    predictor, settings = service.predictor, service.settings
    seen.clicks = sum(map(len, request.points.values()))
    deadline = seen.started + settings.time_budget_seconds
    with seen.timed("read"):
        key = PictureKey.of(request.picture, predictor.card.sha256, settings.device)

    def open_picture() -> Picture:
        with seen.timed("decode"):
            image = decode(request.picture, settings.max_pixels)
            try:
                return predictor.open(image, settings.cache_bytes)
            except TileLimitError as error:
                raise RequestError("too_large", str(error), "image") from None

    with service.cache.use(key, open_picture) as (picture, known):
        seen.cache = "hit" if known else "miss"
        seen.image_size = picture.image_size
        check_inside(request, picture.image_size)
        yield OpenQuestion(picture, deadline, seen)


def unfinished(settings: Settings, wanted: str, again: str) -> RequestError:
    """Return the error of an answer that the time budget cut, where the caller cannot ask on."""
    return RequestError(
        "unfinished",
        f"the time budget of {settings.time_budget_seconds} s ended before {wanted}: {again} to go "
        "on from there, or raise C3DET_TIME_BUDGET_SECONDS",
        None,
    )


def json_response(
    context: Context, status: int, body: Mapping[str, Any] | list[dict[str, Any]]
) -> Response:
    """Return a body as Nuclio sends it on unchanged."""
    return context.Response(
        body=json.dumps(body, allow_nan=False, separators=(",", ":")),
        content_type="application/json",
        status_code=status,
    )

"""The function: payload -> clicks -> picture -> detections -> answer.

Nuclio calls ``init_context`` once when a worker starts, and for each request ``handler`` where the
function serves as an interactor, ``detector_handler`` where it serves as a detector. The way of a
request: `respond` reads the payload and its form; one of the four functions ``answer_...`` reads
the clicks, opens the picture (`open_picture`), detects objects in it and makes the answer. A
request never raises: an exception would put its traceback into the answer.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nuclio_sdk import Context, Event, Response

from c3det.tiles import TileLimitError
from serverless import deployment, faults
from serverless.decoding import decode
from serverless.inferred_class import inferred_class
from serverless.protocol import (
    AnyRequest,
    Box,
    Form,
    PluginAnswer,
    RequestError,
    check_inside,
    check_weights,
    detector_body,
    form_of,
    parse_body,
    read_built_in_request,
    read_detector_request,
    read_exemplars_request,
    read_plugin_request,
)
from serverless.record import RequestRecord
from serverless.service import Service, start
from serverless.settings import ServingSettings
from serverless.shapes import boxes_of, built_in_answer, notes_on_clicks

if TYPE_CHECKING:
    from c3det.detections import Detections
    from c3det.model import Outline
    from c3det.predictor import Picture

LEAST_SCORE_FOR_A_CLASS = 0.05
"""Lowest score of the boxes from which the class of clicks without one is inferred."""

TRACEBACK_CALLS = 40
"""How many calls of a traceback are logged, the last ones: Nuclio wants short lines."""


def init_context(context: Context) -> None:
    """Start a worker by the environment and the function's description, see `service.start`."""
    settings = ServingSettings.from_environment(os.environ)
    deployment.check_time_budget(settings.time_budget_seconds, deployment.PROCESSOR_CONFIG)
    start(context, settings, deployment.DESCRIPTIONS)


def handler(context: Context, event: Event) -> Response:
    """Answer one request to the interactor, whatever it holds."""
    return respond(context, event, Form.BUILT_IN)


def detector_handler(context: Context, event: Event) -> Response:
    """Answer one request to the detector, whatever it holds."""
    return respond(context, event, Form.DETECTOR)


def respond(context: Context, event: Event, form: Form) -> Response:
    """Answer one request, whatever it holds, with JSON and one line in the log.

    ``form`` is ``DETECTOR``, or ``BUILT_IN`` for the interactor. A payload to the interactor may be
    of another form; a body that cannot be read gets an answer of this one.
    """
    service: Service = context.user_data
    name = service.predictor.card.name
    record = RequestRecord(form, time.monotonic() + service.settings.time_budget_seconds)
    log, message = context.logger.info_with, "answered"
    trace = {}
    try:
        with record.timed("read"):
            payload = parse_body(event.body)
        if form is Form.BUILT_IN:
            record.form = form_of(payload)
        body = ANSWERS[record.form](service, payload, record)
        with record.timed("answer"):
            response = json_response(context, 200, body)
    except RequestError as error:
        log, message = context.logger.warn_with, "refused"
        record.error = error
    except Exception as fault:  # whatever it is, the caller gets an answer
        log, message = context.logger.error_with, "failed"
        service.cache.clear()
        trace["traceback"] = traceback.format_exc(-TRACEBACK_CALLS)
        if faults.is_device_broken(fault, service.settings.device):
            context.logger.error_with("device broken: the process ends", **trace)
            os._exit(1)  # any code but 0, so that Nuclio starts the function again
        record.error = faults.request_error(fault)
    if trace:  # now that the fault holds no tensors any more
        faults.release_memory(service.settings.device)
    if record.error is not None:
        response = json_response(context, *error_answer(record, record.error, name))
    log(message, model=name, **record.log_fields(), **trace)
    return response


def answer_plugin(
    service: Service, payload: Mapping[str, Any], record: RequestRecord
) -> dict[str, Any]:
    """Clicks with classes in, boxes of all classes out.

    Of an open model the classes are the caller's labels. Without a click or an exemplar it finds
    objects of no class.
    """
    from c3det.exemplars import ExemplarsError, OtherWeightsError
    from serverless.exemplar_codec import from_request

    predictor, card = service.predictor, service.predictor.card
    with record.timed("read"):
        request = read_plugin_request(payload, predictor.classes, service.settings.max_clicks)
        exemplars = None
        if request.exemplars is not None:
            check_weights(request.exemplars, card.tensors, card.name)
            exemplars = from_request(request.exemplars, card.tensors)
    with open_picture(service, request, record) as picture:
        try:
            found = picture.detect(
                request.clicks, request.threshold, exemplars=exemplars, deadline=record.deadline
            )
        except ExemplarsError as error:
            code = "other_weights" if isinstance(error, OtherWeightsError) else "invalid"
            raise RequestError(code, f"in neg_points: {error}", "neg_points") from None
    record.add_search(found)
    with record.timed("answer"):
        boxes = boxes_of(found.detections, predictor.classes, request.clicks)
        record.notes = notes_on_clicks(found.detections, predictor.classes, request.clicks)
    record.objects = len(boxes)
    return plugin_answer(record, card.name, boxes, card.score_threshold).body()


def answer_exemplars(
    service: Service, payload: Mapping[str, Any], record: RequestRecord
) -> dict[str, Any]:
    """Clicks and boxes with classes in, their exemplars out; none while the work is not done."""
    from serverless.exemplar_codec import LABELS, to_answer

    predictor = service.predictor
    with record.timed("read"):
        request = read_exemplars_request(payload, predictor.classes, service.settings.max_clicks)
    with open_picture(service, request, record) as picture, record.timed("detect"):
        exemplars = picture.exemplars(
            request.clicks, LABELS, boxes=request.boxes, deadline=record.deadline
        )
        record.progress = 1.0
        if exemplars is None:
            record.progress = picture.exemplars_progress(request.clicks, request.boxes)
    with record.timed("answer"):
        answer = to_answer(exemplars, predictor.card, record)
    record.objects = len(answer.exemplars)
    return answer.body()


def answer_built_in(
    service: Service, payload: Mapping[str, Any], record: RequestRecord
) -> dict[str, Any]:
    """Clicks without classes in, masks of all objects of the class under them out.

    To an open model they are the clicks of one label.

    CVAT does not send a request again, so where the time budget ends before the tiles under the
    clicks are searched, the answer is an error; objects in other tiles may be missing, and come
    with the next click.
    """
    predictor, settings = service.predictor, service.settings
    with record.timed("read"):
        request = read_built_in_request(payload, settings.max_clicks)
    with open_picture(service, request, record) as picture:
        if not predictor.classes:
            label = 0
        elif settings.class_name is not None:
            label = predictor.classes.index(settings.class_name)
        else:
            without_clicks = picture.detect_at(request.positive, deadline=record.deadline)
            record.add_seconds(without_clicks.seconds)
            boxes = without_clicks.detections
            boxes = boxes.take(boxes.scores >= LEAST_SCORE_FOR_A_CLASS)
            label = inferred_class(boxes, request.positive, len(predictor.classes))
        found = picture.detect(request.clicks(label), request.threshold, deadline=record.deadline)
        record.add_search(found)
        if not found.under_clicks:
            raise unfinished(settings, "the objects under the clicks were found", "click again")
        with record.timed("answer"):
            answer = built_in_answer(
                found.detections,
                request,
                label,
                picture.image_size,
                settings.full_mask_max_pixels,
                outlines_of(picture, found.detections, label),
            )
    record.objects = len(answer.shapes)
    return answer.body()


def answer_detector(
    service: Service, payload: Mapping[str, Any], record: RequestRecord
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
    with record.timed("read"):
        request = read_detector_request(payload)
    with open_picture(service, request, record) as picture:
        found = picture.detect((), request.threshold, deadline=record.deadline)
    record.add_search(found)
    if found.coverage < 1:
        searched = f"more than {math.floor(found.coverage * 100)} % of the picture was searched"
        raise unfinished(service.settings, searched, "ask again")
    with record.timed("answer"):
        boxes = boxes_of(found.detections, predictor.classes)
    record.objects = len(boxes)
    return detector_body(boxes)


ANSWERS: dict[Form, Callable[[Service, Mapping[str, Any], RequestRecord], Any]] = {
    Form.PLUGIN: answer_plugin,
    Form.EXEMPLARS: answer_exemplars,
    Form.BUILT_IN: answer_built_in,
    Form.DETECTOR: answer_detector,
}
"""What makes the body of the answer to a request of each form."""


@contextmanager
def open_picture(service: Service, request: AnyRequest, record: RequestRecord) -> Iterator[Picture]:
    """Give the request's picture, from the cache or decoded now.

    Raises:
        RequestError: It is no picture, it is too large, or a point lies outside.
    """
    settings = service.settings
    record.clicks = sum(map(len, request.points.values()))
    with record.timed("read"):
        key = hashlib.sha256(request.picture).hexdigest()

    def decode_and_open() -> Picture:
        with record.timed("decode"):
            image = decode(request.picture, settings.max_pixels)
            try:
                return service.predictor.open(image, settings.cache_bytes)
            except TileLimitError as error:
                raise RequestError("too_large", str(error), "image") from None

    with service.cache.use(key, decode_and_open) as (picture, known):
        record.cache = "hit" if known else "miss"
        record.image_size = picture.image_size
        check_inside(request, picture.image_size)
        yield picture


def outlines_of(picture: Picture, detections: Detections, label: int) -> dict[int, Outline]:
    """Outlines of the objects of a class that have one, by their rows."""
    rows = [row for row, other in enumerate(detections.labels) if other == label]
    outlines = picture.outlines(detections, rows)
    return {row: one for row, one in zip(rows, outlines, strict=True) if one is not None}


def unfinished(settings: ServingSettings, wanted: str, again: str) -> RequestError:
    """Return the error of an answer that the time budget cut, where CVAT does not send it again.

    Without a cache a further request begins anew.
    """
    helps = "raise C3DET_TIME_BUDGET_SECONDS"
    if settings.cache_bytes:
        helps = f"{again} to go on from there, or {helps}"
    return RequestError(
        "unfinished",
        f"the time budget of {settings.time_budget_seconds} s ended before {wanted}: {helps}",
        None,
    )


def plugin_answer(
    record: RequestRecord, name: str, boxes: tuple[Box, ...] = (), threshold: float | None = None
) -> PluginAnswer:
    """Return an answer of the plugin form; without boxes and threshold where it is an error."""
    return PluginAnswer(
        name,
        boxes,
        record.error,
        threshold,
        record.timings_ms,
        record.cache,
        record.coverage,
        record.progress,
        record.notes,
    )


def error_answer(
    record: RequestRecord, error: RequestError, name: str
) -> tuple[int, dict[str, Any]]:
    """Return the HTTP status and the body of an error, in the form of the request."""
    if record.form in (Form.PLUGIN, Form.EXEMPLARS):
        return 200, plugin_answer(record, name).body()
    return error.status, {"error": error.to_json()}


def json_response(
    context: Context, status: int, body: Mapping[str, Any] | list[dict[str, Any]]
) -> Response:
    """Return a body as Nuclio sends it on unchanged."""
    return context.Response(
        body=json.dumps(body, allow_nan=False, separators=(",", ":")),
        content_type="application/json",
        status_code=status,
    )

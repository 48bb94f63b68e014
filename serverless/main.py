"""The function: payload -> clicks -> features -> detections -> answer.

Nuclio calls ``init_context`` once when a worker starts, and for each request ``handler`` where the
function serves as an interactor, ``detector_handler`` where it serves as a detector. A request
never raises: an exception would put its traceback into the answer.
"""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from nuclio_sdk import Context, Event, Response

from serverless.answers import (
    built_in_answer,
    detector_answer,
    error_answer,
    plugin_answer,
    plugin_boxes,
)
from serverless.believed import believed_class
from serverless.cache import FeatureCache, picture_key
from serverless.pictures import decode
from serverless.processors import processor_limit
from serverless.requests import (
    AnyRequest,
    Form,
    RequestError,
    check_inside,
    form_of,
    parse_body,
    read_built_in_request,
    read_detector_request,
    read_plugin_request,
)
from serverless.settings import Settings

if TYPE_CHECKING:
    from c3det.predictor import ImageFeatures, Predictor

STAGES = ("decode", "encode", "detect", "answer")
"""What is timed; a stage that a request did not need took 0 ms."""

BELIEF_THRESHOLD = 0.05
"""Lowest score of a box that has a say in the class of a click that comes without one."""


@dataclass(frozen=True, slots=True)
class Service:
    """What a worker keeps between requests, as ``context.user_data``.

    Attributes:
        predictor: The model.
        settings: Limits and places.
        cache: Features of the last pictures.
    """

    predictor: Predictor
    settings: Settings
    cache: FeatureCache


def init_context(context: Context) -> None:
    """Load the model and run it once, so that a fault shows now and the first click is fast.

    Raises:
        ValueError: A setting is wrong, or the device is not there.
        c3det.weights.WeightsError: The weights are missing, damaged or of an unknown format.
    """
    import torch

    from c3det.predictor import load

    settings = Settings.from_environment(os.environ)
    if settings.device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"C3DET_DEVICE is {settings.device!r}, but torch finds no GPU here: give the container "
            "one, or set C3DET_DEVICE to 'cpu'"
        )
    torch.set_num_threads(min(torch.get_num_threads(), processor_limit()))
    predictor = load(settings.weights, settings.device)
    predictor.detect(predictor.encode(np.zeros((64, 64, 3), np.uint8)), [])
    context.user_data = Service(predictor, settings, FeatureCache(settings.cache_bytes))
    context.logger.info_with(
        "ready",
        model=predictor.card.name,
        device=settings.device,
        threads=torch.get_num_threads(),
    )


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
    timings_ms = dict.fromkeys(STAGES, 0.0)
    try:
        payload = parse_body(event.body)
        form = form_of_payload(payload)
        objects, answer = ANSWERS[form](service, payload, timings_ms)
        response = json_response(context, 200, answer)
        context.logger.info_with(
            "answered", form=form.value, objects=objects, timings_ms=timings_ms
        )
        return response
    except RequestError as caught:
        error = caught
        context.logger.warn_with(
            "refused",
            form=form.value,
            code=error.code,
            field=error.field,
            reason=error.message,
            timings_ms=timings_ms,
        )
    except Exception as fault:  # the edge: whatever it is, it is answered
        context.logger.error_with("failed", form=form.value, traceback=traceback.format_exc())
        error = fault_error(fault)
        service.cache.clear()
    return json_response(
        context, *error_answer(form, error, service.predictor.card.name, timings_ms)
    )


def answer_plugin(
    service: Service, payload: Mapping[str, Any], timings_ms: dict[str, float]
) -> tuple[int, dict[str, Any]]:
    """Clicks with classes in, boxes of all classes out; how many, and the answer's body."""
    predictor, settings = service.predictor, service.settings
    request = read_plugin_request(payload, predictor.classes, settings.max_clicks)
    features = encode(service, request, timings_ms)
    with timed(timings_ms, "detect"):
        detections = predictor.detect(features, request.clicks, request.threshold)
    with timed(timings_ms, "answer"):
        boxes = plugin_boxes(detections, predictor.classes)
    return len(boxes), plugin_answer(boxes, predictor.card.name, timings_ms)


def answer_built_in(
    service: Service, payload: Mapping[str, Any], timings_ms: dict[str, float]
) -> tuple[int, dict[str, Any]]:
    """Clicks without classes in, masks of all objects of the class under them out."""
    predictor, settings = service.predictor, service.settings
    request = read_built_in_request(payload, settings.max_clicks)
    features = encode(service, request, timings_ms)
    with timed(timings_ms, "detect"):
        unprompted = predictor.detect(features, [], BELIEF_THRESHOLD)
        label = believed_class(unprompted, request.positive, len(predictor.classes))
        detections = predictor.detect(features, request.clicks(label), request.threshold)
    with timed(timings_ms, "answer"):
        answer = built_in_answer(
            detections, request, label, features.image_size, settings.full_mask_max_pixels
        )
    return len(answer["shapes"]), answer


def answer_detector(
    service: Service, payload: Mapping[str, Any], timings_ms: dict[str, float]
) -> tuple[int, list[dict[str, Any]]]:
    """No clicks in, rectangles of all classes out."""
    predictor = service.predictor
    request = read_detector_request(payload)
    features = encode(service, request, timings_ms)
    with timed(timings_ms, "detect"):
        detections = predictor.detect(features, [], request.threshold)
    with timed(timings_ms, "answer"):
        boxes = detector_answer(plugin_boxes(detections, predictor.classes))
    return len(boxes), boxes


ANSWERS: dict[Form, Callable[[Service, Mapping[str, Any], dict[str, float]], tuple[int, Any]]] = {
    Form.PLUGIN: answer_plugin,
    Form.BUILT_IN: answer_built_in,
    Form.DETECTOR: answer_detector,
}
"""How many objects a request of each form finds, and the body of its answer."""


def encode(service: Service, request: AnyRequest, timings_ms: dict[str, float]) -> ImageFeatures:
    """Return the features of the picture, from the cache where it was seen before."""
    key = picture_key(request.picture)
    features = service.cache.get(key)
    if features is not None:
        check_inside(request, features.image_size)
        return features
    with timed(timings_ms, "decode"):
        image = decode(request.picture, service.settings.max_pixels)
    check_inside(request, (image.shape[0], image.shape[1]))
    with timed(timings_ms, "encode"):
        features = service.predictor.encode(image)
    service.cache.put(key, features)
    return features


def fault_error(fault: Exception) -> RequestError:
    """Return what the caller is told of a fault of the function; its log has the details.

    After a CUDA error every further answer of this process would be wrong or fail, so the process
    ends, with a code that makes Nuclio start it anew.
    """
    text = str(fault)
    if "CUDA error" in text:
        os._exit(1)
    if isinstance(fault, MemoryError) or "out of memory" in text or "allocate memory" in text:
        return RequestError(
            "out_of_memory", "the picture needs more memory than the function has", "image"
        )
    return RequestError("internal", "the function failed, its log tells why", None)


def json_response(
    context: Context, status: int, body: Mapping[str, Any] | list[dict[str, Any]]
) -> Response:
    """Return a body as Nuclio sends it on unchanged."""
    return context.Response(
        body=json.dumps(body, allow_nan=False, separators=(",", ":")),
        content_type="application/json",
        status_code=status,
    )


@contextmanager
def timed(timings_ms: dict[str, float], stage: str) -> Iterator[None]:
    """Note under ``stage`` how many milliseconds the block took."""
    started = time.perf_counter()
    try:
        yield
    finally:
        timings_ms[stage] = round((time.perf_counter() - started) * 1000, 1)

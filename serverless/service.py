"""The life of a worker: what it keeps between requests, its start and its end."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from nuclio_sdk import Context

from serverless import deployment
from serverless.cache import PictureCache
from serverless.cpu_limit import limit_threads
from serverless.decoding import limit_pixels
from serverless.settings import ServingSettings

if TYPE_CHECKING:
    from c3det.predictor import Picture, Predictor


@dataclass(frozen=True, slots=True)
class Service:
    """What a worker keeps between requests, as ``context.user_data``.

    Attributes:
        predictor: The model.
        settings: Limits and places.
        cache: The last pictures.
        device_lock: Keeps other workers from the GPU; ``None`` on a CPU.
    """

    predictor: Predictor
    settings: ServingSettings
    cache: PictureCache[Picture]
    device_lock: IO[str] | None

    @classmethod
    def create(
        cls,
        predictor: Predictor,
        settings: ServingSettings,
        device_lock: IO[str] | None = None,
    ) -> Service:
        """Return the service of a model, without pictures."""
        cache = PictureCache[Any](settings.cache_bytes, settings.cache_seconds)
        return cls(predictor, settings, cache, device_lock)


def start(context: Context, settings: ServingSettings, descriptions: Sequence[Path] = ()) -> None:
    """Load the model and warm it up, so that a fault shows now and the first click is fast.

    ``context.user_data`` becomes a `Service`. The weights' classes must be those of the first of
    ``descriptions`` that is there, see `deployment.check_classes`; without any they may be others.

    Raises:
        ValueError: A setting is wrong, the device is not there or has a worker already, or the
            description lists other classes than the weights.
        c3det.weights.WeightsError: The weights are missing, damaged or of an unknown format.
    """
    from c3det.memory import keep_freed_memory
    from c3det.predictor import load

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
    # The collector need not look through what stays for good: at times that took 0.2 s.
    gc.collect()
    gc.freeze()
    context.user_data = Service.create(predictor, settings, device_lock)
    context.platform.set_termination_callback(lambda: end(context))
    quieten_wrapper()
    context.logger.info_with(
        "ready", model=predictor.card.name, device=settings.device, threads=threads
    )


def quieten_wrapper() -> None:
    """Keep the debug lines of Nuclio's wrapper out of the socket that answers take.

    At SIGTERM it writes some. An answer over 200 KB takes several writes, and a line between two of
    them would break it.
    """
    for handler in logging.getLogger("nuclio_sdk").handlers:
        handler.setLevel(logging.INFO)


def end(context: Context) -> None:
    """End the worker; Nuclio calls this after the running request when it stops the container."""
    cache = context.user_data.cache
    context.logger.info_with("ending", cache_hits=cache.hits, cache_misses=cache.misses)
    sys.exit(0)

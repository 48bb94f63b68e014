"""One Nuclio worker in this process: the one way to call the function without Nuclio.

The local runtime, the helper for whole jobs, the benchmark and the tests use it. Nuclio itself is a
Go program that starts the function in a container. This module follows its rules with nuclio-sdk's
own ``Context``, ``Event`` and ``Response``:

* the body is parsed only if the content type is exactly ``application/json``; a body that does not
  parse stays bytes;
* a worker handles one event at a time; a call that waits longer than the trigger's
  ``workerAvailabilityTimeoutMilliseconds`` is answered 503 with an empty body;
* a body over the trigger's ``maxRequestBodySize`` is answered 400;
* an exception in the handler, ``SystemExit`` included, is answered 500 with the traceback.

Of a request only the body and its content type reach the handler, which reads nothing else.
"""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nuclio_sdk
import yaml
from nuclio_sdk.json_encoder import Encoder

from serverless import main
from serverless.service import Service, end, start
from serverless.settings import ServingSettings

HANDLERS = {
    f"serverless.main:{handler.__name__}": handler
    for handler in (main.handler, main.detector_handler)
}
DEFAULT_MAX_BODY_BYTES = 4 * 1024 * 1024
DEFAULT_WAIT_S = 10.0

Handler = Callable[[nuclio_sdk.Context, nuclio_sdk.Event], Any]


class FunctionError(Exception):
    """The function cannot be served; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class Trigger:
    """The limits of a function's HTTP trigger: of a body, and of the wait for the worker."""

    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES
    wait_s: float = DEFAULT_WAIT_S


@dataclass(frozen=True)
class HttpAnswer:
    """The HTTP status, body and type of an answer."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"


TOO_LARGE = HttpAnswer(400, b"Error when parsing request")
"""The answer to a body that is over the limit, or whose length is none."""


class NuclioWorker:
    """Calls ``handler(context, event)`` the way one of Nuclio's workers does.

    ``service`` is what the handler works with; `start` loads it where there is none.
    """

    def __init__(
        self,
        handler: Handler,
        trigger: Trigger,
        logger: nuclio_sdk.Logger,
        service: Service | None = None,
    ) -> None:
        self.trigger = trigger
        self._handler = handler
        trigger_info = nuclio_sdk.TriggerInfo("http", "local")
        self.context = nuclio_sdk.Context(
            logger, nuclio_sdk.Platform("local"), worker_id=0, trigger=trigger_info
        )
        self.context.user_data = service
        self._free = threading.Semaphore(1)
        self._encode = Encoder().encode

    @classmethod
    def load(cls, function_yaml: Path, logger: nuclio_sdk.Logger) -> NuclioWorker:
        """Return a worker of the function that a ``function.yaml`` describes.

        Raises:
            FunctionError: The file is missing, has not exactly one HTTP trigger, or names a handler
                that is none of this project's.
        """
        try:
            spec = yaml.safe_load(function_yaml.read_text(encoding="utf-8"))["spec"]
        except FileNotFoundError:
            raise FunctionError(
                f"{function_yaml} is missing: start from the project's folder"
            ) from None
        triggers = [t for t in spec["triggers"].values() if t["kind"] == "http"]
        if len(triggers) != 1:
            raise FunctionError(
                f"{function_yaml} needs one trigger of kind http, it has {len(triggers)}"
            )
        if spec["handler"] not in HANDLERS:
            raise FunctionError(
                f"the handler {spec['handler']!r} is none of this project: take the function.yaml "
                "that comes with it"
            )
        attributes = triggers[0].get("attributes", {})
        wait_ms = triggers[0].get("workerAvailabilityTimeoutMilliseconds")
        trigger = Trigger(
            attributes.get("maxRequestBodySize", DEFAULT_MAX_BODY_BYTES),
            DEFAULT_WAIT_S if wait_ms is None else wait_ms / 1000,
        )
        return cls(HANDLERS[spec["handler"]], trigger, logger)

    def start(self, settings: ServingSettings | None = None) -> None:
        """Load the model; what this raises stops Nuclio's container.

        Args:
            settings: Of the worker. ``None``: as in Nuclio's container, the environment decides,
                and the weights must have the classes of the function's description.

        Raises:
            ValueError: See `serverless.main.init_context`.
            c3det.weights.WeightsError: Likewise.
        """
        if settings is None:
            main.init_context(self.context)
        else:
            start(self.context, settings)

    def handle(self, body: bytes, content_type: str) -> HttpAnswer:
        """Answer the body of a request. Safe to call from several threads."""
        if len(body) > self.trigger.max_body_bytes:
            return TOO_LARGE
        if not self._free.acquire(timeout=self.trigger.wait_s):
            return HttpAnswer(503)
        try:
            return self._call(body, content_type)
        finally:
            self._free.release()

    def post(self, body: bytes) -> HttpAnswer:
        """Answer a request of JSON."""
        return self.handle(body, "application/json")

    def stop(self) -> None:
        """Wait for the running call and end the function, as Nuclio does at SIGTERM.

        From then on calls are answered as if the worker were busy.

        Raises:
            SystemExit: The function ends its process.
        """
        self._free.acquire()
        end(self.context)

    def _call(self, body: bytes, content_type: str) -> HttpAnswer:
        content: Any = body
        if content_type == "application/json":
            with suppress(Exception):  # as nuclio-sdk does
                content = json.loads(body.decode())
        event = nuclio_sdk.Event(content, content_type, self.context.trigger, size=len(body))
        try:
            output = self._handler(self.context, event)
            response = nuclio_sdk.Response.from_entrypoint_output(self._encode, output)
        except (Exception, SystemExit) as error:  # Nuclio answers both the same way
            text = f'Exception caught in handler - "{error}": {traceback.format_exc()}'
            self.context.logger.error(text)
            return HttpAnswer(500, text.encode())
        return HttpAnswer(
            response["status_code"], response["body"].encode(), response["content_type"]
        )

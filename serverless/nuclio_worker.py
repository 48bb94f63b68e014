"""One Nuclio worker in this process: what Nuclio does between an HTTP request and a handler.

Nuclio's processor is a Go program that starts the function in a container. This module follows
its rules with nuclio-sdk's own ``Context``, ``Event`` and ``Response``, so that the function can be
called without it:

* the body is parsed only if the content type is exactly ``application/json``; a body that does not
  parse stays bytes;
* a worker handles one event at a time; a call that waits longer than the trigger's
  ``workerAvailabilityTimeoutMilliseconds`` is answered 503 with an empty body;
* a body over the trigger's ``maxRequestBodySize`` is answered 400;
* an exception in the handler, ``SystemExit`` included, is answered 500 with the traceback.
"""

from __future__ import annotations

import importlib
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nuclio_sdk
import yaml
from nuclio_sdk.event import EventDeserializerKinds
from nuclio_sdk.json_encoder import Encoder

DEFAULT_MAX_BODY_BYTES = 4 * 1024 * 1024
DEFAULT_WAIT_MS = 10_000


class FunctionError(Exception):
    """The function cannot be served; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class FunctionSettings:
    """What Nuclio reads from ``function.yaml`` to call the function.

    Attributes:
        handler: ``package.module:function``.
        max_body_bytes: Size of the largest request body, in bytes.
        wait_s: Longest time that a call waits for the worker, in seconds.
    """

    handler: str
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES
    wait_s: float = DEFAULT_WAIT_MS / 1000

    @classmethod
    def read(cls, path: Path) -> FunctionSettings:
        """Read the settings from a ``function.yaml``.

        Raises:
            FunctionError: The file is missing, or has not exactly one HTTP trigger.
        """
        try:
            spec = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]
        except FileNotFoundError:
            raise FunctionError(f"{path} is missing: start from the project's folder") from None
        triggers = [t for t in spec["triggers"].values() if t["kind"] == "http"]
        if len(triggers) != 1:
            raise FunctionError(f"{path} needs one trigger of kind http, it has {len(triggers)}")
        attributes = triggers[0].get("attributes", {})
        wait_ms = triggers[0].get("workerAvailabilityTimeoutMilliseconds", DEFAULT_WAIT_MS)
        return cls(
            handler=spec["handler"],
            max_body_bytes=attributes.get("maxRequestBodySize", DEFAULT_MAX_BODY_BYTES),
            wait_s=wait_ms / 1000,
        )


@dataclass(frozen=True)
class Request:
    """An HTTP request as it arrived.

    Attributes:
        method: Such as ``POST``.
        path: Path of the URL, without the query.
        fields: Arguments of the query.
        headers: Header names as they were sent, with their values.
        body: The bytes of the body.
    """

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def content_type(self) -> str:
        """The value of the header, or an empty string."""
        return next((v for k, v in self.headers.items() if k.lower() == "content-type"), "")


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: status code, body, and the headers that the handler set."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


class NuclioWorker:
    """Calls a function's handler the way one of Nuclio's workers does.

    Args:
        handler: The function's entry point, ``handler(context, event)``.
        init_context: Called once by :meth:`start`; ``None`` if the function has none.
        settings: Limits of the trigger.
        logger: Given to the handler as ``context.logger``.
    """

    def __init__(
        self,
        handler: Callable[[nuclio_sdk.Context, nuclio_sdk.Event], Any],
        init_context: Callable[[nuclio_sdk.Context], None] | None,
        settings: FunctionSettings,
        logger: nuclio_sdk.Logger,
    ) -> None:
        self.settings = settings
        self._handler = handler
        self._init_context = init_context
        self._trigger = {"kind": "http", "name": "local"}
        self.context = nuclio_sdk.Context(
            logger,
            nuclio_sdk.Platform("local"),
            worker_id=0,
            trigger=nuclio_sdk.TriggerInfo(**self._trigger),
        )
        self._free = threading.Semaphore(1)
        self._encode = Encoder().encode

    @classmethod
    def load(
        cls, settings: FunctionSettings, logger: nuclio_sdk.Logger, init: str = "init_context"
    ) -> NuclioWorker:
        """Import the handler that the settings name.

        Args:
            settings: Of the function.
            logger: Given to the handler.
            init: What starts the function, in the module of the handler.

        Raises:
            FunctionError: It is not one of this package: a function.yaml of somebody else could
                name any module.
        """
        module_name, _, function = settings.handler.partition(":")
        if module_name.partition(".")[0] != __package__:
            raise FunctionError(
                f"the handler {settings.handler!r} is none of this project: take the function.yaml "
                "that comes with it"
            )
        module = importlib.import_module(module_name)
        return cls(getattr(module, function), getattr(module, init, None), settings, logger)

    def start(self) -> None:
        """Run the function's ``init_context``; what it raises stops Nuclio's container."""
        if self._init_context is not None:
            self._init_context(self.context)

    def handle(self, request: Request) -> Answer:
        """Answer a request. Safe to call from several threads."""
        if not self._free.acquire(timeout=self.settings.wait_s):
            return Answer(503)
        try:
            return self._call(request)
        finally:
            self._free.release()

    def stop(self) -> None:
        """Wait for the running call and tell the function to end, as Nuclio does at SIGTERM.

        From then on calls are answered as if the worker were busy.

        Raises:
            SystemExit: The function ends its process.
        """
        self._free.acquire()
        self.context.platform._on_signal()

    def _call(self, request: Request) -> Answer:
        try:
            output = self._handler(self.context, self._event(request))
            response = nuclio_sdk.Response.from_entrypoint_output(self._encode, output)
        except BaseException as error:  # Nuclio answers SystemExit the same way
            text = f'Exception caught in handler - "{error}": {traceback.format_exc()}'
            self.context.logger.error(text)
            return Answer(500, text.encode())
        return Answer(
            response["status_code"],
            response["body"].encode(),
            response["content_type"],
            {k: v for k, v in response["headers"].items() if isinstance(v, str)},
        )

    def _event(self, request: Request) -> nuclio_sdk.Event:
        message = {
            "body": request.body,
            "content_type": request.content_type,
            "trigger": self._trigger,
            "fields": dict(request.fields),
            "headers": dict(request.headers),
            "id": str(uuid.uuid4()),
            "method": request.method,
            "path": request.path,
            "size": len(request.body),
            "timestamp": time.time(),
            "url": request.path,
            "shard_id": -1,
            "num_shards": -1,
            "type": "",
            "type_version": "",
            "version": "",
        }
        return nuclio_sdk.Event.deserialize(message, kind=EventDeserializerKinds.msgpack)

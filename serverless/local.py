"""Serve the function and a page to try it on, without Nuclio, CVAT or docker.

``python -m serverless.local`` starts the function that ``function.yaml`` describes and answers:

========================  =====================================================================
``POST`` any path         the handler, by Nuclio's rules (see `serverless.nuclio_worker`)
``GET /``                 the page, from ``serverless/page``
``GET /model``            the model's name, classes and default threshold, and the body limit
``GET /samples``          a list of the sample pictures, ``[{"name": ...}, ...]``
``GET /samples/<name>``   one of them
========================  =====================================================================

Nuclio itself passes requests of every method to the handler; here, ``GET`` belongs to the page.
Requests for a name that is neither ``localhost``, an IP address nor ``--host``, and those of other
sites' pages, are answered 403: they may come from a page that someone looks at in the same browser.
SIGTERM ends it after the running requests.
"""

from __future__ import annotations

import argparse
import errno
import json
import mimetypes
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import unquote, urlsplit

import nuclio_sdk
from nuclio_sdk.logger import HumanReadableFormatter

from c3det.commands import CommandError, cache_directory, command, printable, sentence
from serverless.deployment import FUNCTION
from serverless.nuclio_worker import TOO_LARGE, FunctionError, HttpAnswer, NuclioWorker
from serverless.settings import ServingSettings

PAGE = Path(__file__).parent / "page"
PAGE_SUFFIXES = {".html", ".css", ".js", ".svg"}
PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
# The page needs nothing from elsewhere, and the browser holds it to that.
CONTENT_SECURITY_POLICY = "default-src 'self'; img-src 'self' blob: data:"
FORBIDDEN = HttpAnswer(
    403,
    b"this is not a page of this server: open it as localhost or by its IP address, or start it "
    b"with --host and the name that you use\n",
)
"""The answer to requests that a page of another site may have sent."""


def samples_directory() -> Path:
    """Return the folder that ``python -m training.data.samples`` fills, which need not exist."""
    return cache_directory() / "samples"


class LocalServer(ThreadingHTTPServer):
    """The runtime's HTTP server; it listens from construction on, with port 0 on a free one.

    ``pictures`` is the folder of the sample pictures, which need not exist.

    Raises:
        FunctionError: The address cannot be listened on.
    """

    daemon_threads = True

    def __init__(
        self, address: tuple[str, int], worker: NuclioWorker, pictures: Path | None
    ) -> None:
        self.name = address[0].lower()
        self.worker = worker
        self.pictures = pictures
        self.model: dict[str, Any] = {}
        self._answering = 0
        self._answered = threading.Condition()
        try:
            super().__init__(address, _Connection)
        except (OSError, OverflowError) as error:
            where = f"{address[0]}:{address[1]}"
            if getattr(error, "errno", None) == errno.EADDRINUSE:
                raise FunctionError(
                    f"{where} is in use by another program: stop it, or choose another --port"
                ) from error
            raise FunctionError(f"cannot listen on {where}: {error}") from error

    @property
    def url(self) -> str:
        """Address of the page."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong with a connection, unless the client hung up."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Mark a request as running until its answer is written."""
        with self._answered:
            self._answering += 1
        try:
            yield
        finally:
            with self._answered:
                self._answering -= 1
                self._answered.notify_all()

    def drain(self) -> None:
        """Wait until no request is running."""
        with self._answered:
            self._answered.wait_for(lambda: self._answering == 0)

    def get(self, path: str) -> HttpAnswer:
        """Answer a GET request.

        Files are looked up by name among those that a folder lists, so no path leads out of it.
        """
        if path == "/model":
            return _json(self.model)
        try:
            if path == "/samples":
                return _json([{"name": name} for name in _files(self.pictures, PICTURE_SUFFIXES)])
            if path.startswith("/samples/"):
                file = _files(self.pictures, PICTURE_SUFFIXES).get(path.removeprefix("/samples/"))
            else:
                name = "index.html" if path == "/" else path.removeprefix("/")
                file = _files(PAGE, PAGE_SUFFIXES).get(name)
            if file is None:
                return HttpAnswer(404, f"there is nothing at {printable(path)}\n".encode())
            content_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
            return HttpAnswer(200, file.read_bytes(), content_type)
        except OSError as error:
            return HttpAnswer(500, f"{sentence(error)}\n".encode())


class _Connection(BaseHTTPRequestHandler):
    """Reads the requests of one connection and writes the answers."""

    server: LocalServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body go out at once, though written one by one
    timeout = 60

    def do_GET(self) -> None:
        if self._is_known_host():
            self._write(self.server.get(unquote(urlsplit(self.path).path)))
        else:
            self._write(FORBIDDEN)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        worker = self.server.worker
        if "Transfer-Encoding" in self.headers:
            self.close_connection = True
            self._write(HttpAnswer(411, b"send the body with a Content-Length"))
            return
        length = self._length()
        if length is None or length > worker.trigger.max_body_bytes:
            self._refuse(TOO_LARGE)
            return
        if not (self._is_known_host() and self._is_own_origin()):
            self._refuse(FORBIDDEN)
            return
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        with self.server.answering():
            self._write(worker.handle(body, self.headers.get("Content-Type", "")))

    do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_POST

    def _length(self) -> int | None:
        """Return the bytes of the body, ``None`` where the header is no number of them."""
        text = self.headers.get("Content-Length", "0")
        return int(text) if text.isdecimal() and len(text) < 19 else None

    def _is_known_host(self) -> bool:
        """Tell whether the request is for a name that no other site can have.

        A page of another site may let its own name lead to this machine (DNS rebinding), and would
        then read what it likes.
        """
        try:
            name = urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
            if name in ("localhost", self.server.name):
                return True
            ip_address(name)
        except ValueError:
            return False
        return True

    def _is_own_origin(self) -> bool:
        """Tell whether the request comes from no page or from one of this server."""
        origin = self.headers.get("Origin")
        return origin is None or origin.partition("://")[2] == self.headers.get("Host")

    def _refuse(self, answer: HttpAnswer) -> None:
        """Refuse a request whose body was not read."""
        self.close_connection = True
        length = self._length() or 0
        # Else a client that is still sending sees a reset instead of the answer.
        while length > 0 and (chunk := self.rfile.read(min(length, 1 << 16))):
            length -= len(chunk)
        self._write(answer)

    def _write(self, answer: HttpAnswer) -> None:
        headers = {
            "Content-Type": answer.content_type,
            "Content-Length": str(len(answer.body)),
            "Cache-Control": "no-cache",
            "Content-Security-Policy": CONTENT_SECURITY_POLICY,
            "X-Content-Type-Options": "nosniff",
        }
        if self.close_connection:
            headers["Connection"] = "close"
        self.send_response(answer.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log the requests that were refused; the handler logs the others."""
        if self.command != "GET" and int(code) >= 400:
            self.server.worker.context.logger.warn(f"{self.requestline}: {int(code)}")

    def log_message(self, format: str, *args: Any) -> None:
        self.server.worker.context.logger.debug(format % args)


def _files(folder: Path | None, suffixes: set[str]) -> dict[str, Path]:
    """Return the files of a folder that have one of the suffixes, sorted, by printable names.

    A browser can ask for any of these names: what is not UTF-8 is escaped.
    """
    if folder is None or not folder.is_dir():
        return {}
    files = (p for p in folder.iterdir() if p.suffix.lower() in suffixes and p.is_file())
    return {printable(path.name): path for path in sorted(files)}


def _json(value: Any) -> HttpAnswer:
    return HttpAnswer(200, json.dumps(value).encode(), "application/json")


def describe_model(worker: NuclioWorker) -> dict[str, Any]:
    """Return what the page needs to know of the model, the answer to ``GET /model``."""
    card = worker.context.user_data.predictor.card
    return {
        "name": card.name,
        "classes": list(card.classes),
        "threshold": card.score_threshold,
        "max_body_bytes": worker.trigger.max_body_bytes,
    }


@command("serverless.local")
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the local runtime until it is interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m serverless.local",
        description="Serve the function and a page to try it on, without Nuclio, CVAT or docker.",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address or name to listen on (%(default)s)"
    )
    parser.add_argument("--port", type=int, default=8080, help="port (%(default)s); 0: a free one")
    parser.add_argument(
        "--weights", type=Path, help="a .safetensors file instead of the shipped one"
    )
    parser.add_argument(
        "--pictures",
        type=Path,
        help="folder of the sample pictures (default: samples in $C3DET_CACHE or ~/.cache/c3det)",
    )
    options = parser.parse_args(arguments)
    logger = nuclio_sdk.Logger("INFO", name="serverless.local")
    logger.set_handler("default", sys.stderr, HumanReadableFormatter())
    signal.signal(signal.SIGTERM, _interrupt)
    pictures = options.pictures
    if pictures is None:
        try:
            pictures = samples_directory()
        except CommandError as error:
            print(f"serverless.local: the page will lack sample pictures: {error}", file=sys.stderr)
    try:
        _serve(options.host, options.port, pictures, logger, options.weights)
    except FunctionError as error:
        sys.exit(f"serverless.local: {error}")
    except KeyboardInterrupt:
        print()


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Leave as at Ctrl+C."""
    raise KeyboardInterrupt


def _serve(
    host: str, port: int, pictures: Path | None, logger: nuclio_sdk.Logger, weights: Path | None
) -> None:
    worker = NuclioWorker.load(FUNCTION, logger)
    with LocalServer((host, port), worker, pictures) as server:
        print("Loading the model ...", flush=True)
        from c3det.weights import WeightsError

        settings = None
        try:
            if weights is not None:  # which need not have the classes of the description
                settings = ServingSettings.from_environment(os.environ, weights=weights)
            worker.start(settings)
        except (WeightsError, ValueError) as error:
            raise FunctionError(str(error)) from error
        server.model = describe_model(worker)
        print(f"Open {server.url} in a browser. Ctrl+C stops the runtime.", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
            server.drain()
            worker.stop()


if __name__ == "__main__":
    main()

"""Run the function in Nuclio's own Python wrapper, with this program as Nuclio's processor.

Nuclio's processor is a Go program that takes HTTP requests and sends them, as msgpack over a
socket, to the process in which its Python wrapper runs the handler. This program does the same with
the requests of CVAT and its plugin, large and broken ones too, and prints a line for each answer.
``replay_build.py`` runs it in a fresh root directory. It needs msgpack, and a folder with the
project and Nuclio's ``_nuclio_wrapper.py``::

    python deploy/nuclio_processor.py /opt/nuclio picture.jpg
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    import msgpack
except ImportError:
    sys.exit("nuclio_processor: msgpack is missing: install the requirements of Nuclio's wrapper")
import yaml

MIB = 1024 * 1024
JSON = "application/json"
START_S = 300
CALL_S = 120


class WorkerGoneError(Exception):
    """The worker has closed its socket."""


@dataclass
class Response:
    """The answer to one event, and its seconds from the first byte sent to the last received."""

    status: int
    content_type: str
    body: str
    seconds: float

    @property
    def json(self) -> Any:
        """The parsed body; a constant that JSON has not, such as NaN, is an error."""

        def refuse(constant: str) -> None:
            raise ValueError(f"{constant} is not JSON")

        return json.loads(self.body, parse_constant=refuse)


class Worker:
    """A process of Nuclio's wrapper with the function in it, and the sockets to it.

    ``folder`` has the project and ``_nuclio_wrapper.py``; a handler is ``package.module:function``.

    Raises:
        WorkerGoneError: The process ended while it started.
        TimeoutError: It did not start in time.
    """

    def __init__(self, folder: Path, handler: str) -> None:
        self._sockets = tempfile.TemporaryDirectory()
        listeners = [self._listen(name) for name in ("event", "control")]
        # As Nuclio has it: the function's folder before any other.
        path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
        started = time.monotonic()
        self.process = subprocess.Popen(
            [
                *("python3", "-u", str(folder / "_nuclio_wrapper.py"), "--handler", handler),
                *("--event-socket-path", f"{self._sockets.name}/event"),
                *("--control-socket-path", f"{self._sockets.name}/control"),
                *("--platform-kind", "local", "--namespace", "nuclio", "--worker-id", "0"),
                *("--trigger-kind", "http", "--trigger-name", "http", "--decode-event-strings"),
            ],
            env={**os.environ, "PYTHONPATH": path},
        )
        try:
            self._events, self._control = [self._accept(listener) for listener in listeners]
            self._events.settimeout(START_S)
            self._lines = self._events.makefile("rb")
            self._read_until("s")
        except BaseException:
            self._end()
            raise
        self.start_s = time.monotonic() - started
        self._events.settimeout(CALL_S)

    def call(self, body: bytes, content_type: str = JSON) -> Response:
        """Send an event and wait for its answer.

        Raises:
            WorkerGoneError: The process ended before it came.
            ValueError: It is no answer: something was written into it.
            TimeoutError: None came within the time that CVAT waits.
        """
        event = {
            "body": body,
            "content_type": content_type,
            "trigger": {"kind": "http", "name": "http"},
            "headers": {"Content-Type": content_type},
            "method": "POST",
            "path": "/",
            "size": len(body),
            "timestamp": int(time.time()),
            "shard_id": 0,
            "num_shards": 1,
            **{"fields": {}, "id": "1", "url": "/", "type": "", "type_version": "", "version": ""},
        }
        packed = msgpack.packb(event)
        sent = time.monotonic()
        self._events.sendall(struct.pack(">I", len(packed)) + packed)
        text = self._read_until("r")
        took, content = time.monotonic() - sent, json.loads(text)
        return Response(content["status_code"], content["content_type"], content["body"], took)

    def close(self) -> None:
        """Kill the process and close its sockets."""
        self._end()
        self._lines.close()
        self._events.close()
        self._control.close()

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._sockets.cleanup()

    def _listen(self, name: str) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{self._sockets.name}/{name}")
        listener.listen()
        return listener

    def _accept(self, listener: socket.socket) -> socket.socket:
        """Wait for the process to connect."""
        listener.settimeout(1)
        with listener:
            while True:
                try:
                    return listener.accept()[0]
                except TimeoutError:
                    if self.process.poll() is not None:
                        raise WorkerGoneError("the worker is gone") from None

    def _read_until(self, kind: str) -> str:
        """Read packets up to one of a kind, a letter, and return what follows it."""
        for line in self._lines:
            if chr(line[0]) == kind:
                return line[1:].decode()
        raise WorkerGoneError("the worker is gone")


def request(picture: bytes, **fields: Any) -> bytes:
    """The body of a request with a picture's file in it."""
    payload = {
        "image": base64.b64encode(picture).decode(),
        "pos_points": [[300.0, 200.0]],
        "neg_points": [],
        "obj_bbox": None,
        **fields,
    }
    return json.dumps(payload).encode()


def padded(picture: bytes, body_bytes: int) -> bytes:
    """A request of a wanted size: the picture's file, with zeros after its end."""
    free = body_bytes - len(request(b""))
    return request(picture + bytes(free // 4 * 3 - len(picture)))


def memory_mib(process: int) -> int:
    """The largest memory that a process has held, in MiB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def plugin_request(picture: bytes) -> bytes:
    """The body of a request of CVAT's plugin: its click is one on the first label."""
    return request(picture, neg_points=[[-1, 1], [0, 1]])


class Report:
    """Prints each observation, and counts the wrong ones."""

    def __init__(self) -> None:
        self.wrong = 0

    def line(self, name: str, good: bool, details: str) -> None:
        """Print one observation."""
        self.wrong += not good
        print(f"{'ok   ' if good else 'WRONG'} {name}: {details}", flush=True)

    def response(self, name: str, response: Response, status: int) -> None:
        """Print a response, which must be JSON of that status, without a traceback."""
        good = response.status == status and response.content_type == JSON
        try:
            content = str(sorted(response.json))
        except ValueError as error:
            good, content = False, f"no JSON: {error}"
        size = f"{len(response.body)} characters"
        details = f"{response.status}, {response.seconds:.2f} s, {size}, {content}"
        self.line(name, good and "Traceback" not in response.body, details)


def requests(worker: Worker, report: Report, limit: int, picture: bytes) -> None:
    """Good, broken and large requests, one after another."""
    report.line("start, model loaded", True, f"{worker.start_s:.1f} s")
    report.line("memory after it", True, f"{memory_mib(worker.process.pid)} MiB")
    plugin = plugin_request(picture)
    first = worker.call(plugin)
    report.response("the plugin's request, first on this picture", first, 200)
    boxes = first.json.get("boxes", [])
    report.line("boxes in it", bool(boxes), f"{len(boxes)}")
    report.response("the same again", worker.call(plugin), 200)
    report.response("CVAT's own request", worker.call(request(picture)), 200)
    charset = worker.call(plugin, "application/json; charset=utf-8")
    report.response("content type with a charset", charset, 200)
    for what, body in (
        ("no JSON", b"{"),
        ("a list", b"[]"),
        ("an empty body", b""),
        ("no base64", json.dumps({"image": "?", "pos_points": [[1, 1]]}).encode()),
        ("no picture", request(b"no picture")),
    ):
        report.response(what, worker.call(body), 400)
    for body_bytes in (32 * MIB, limit):
        large = worker.call(padded(picture, body_bytes))
        report.response(f"a body of {body_bytes / MIB:.0f} MiB", large, 200)
        report.line("memory, at most", True, f"{memory_mib(worker.process.pid)} MiB")
    same = worker.call(plugin).json["boxes"] == boxes
    report.line("then the first request again", same, "the first answer" if same else "another")


def observe(folder: Path, picture: bytes, report: Report) -> None:
    """Start a worker and send the requests."""
    function = yaml.safe_load((folder / "function.yaml").read_text(encoding="utf-8"))
    (trigger,) = function["spec"]["triggers"].values()
    try:
        with closing(Worker(folder, function["spec"]["handler"])) as worker:
            requests(worker, report, trigger["attributes"]["maxRequestBodySize"], picture)
    except (WorkerGoneError, ValueError, TimeoutError) as error:
        report.line("an answer", False, str(error) or "none came")


def main() -> int:
    """Run all requests; the exit code is 1 if an observation was wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="the project and Nuclio's _nuclio_wrapper.py")
    parser.add_argument("picture", type=Path, help="picture of at least 301 x 201 pixels")
    arguments = parser.parse_args()
    report = Report()
    try:
        observe(arguments.folder, arguments.picture.read_bytes(), report)
    except OSError as error:
        print(f"nuclio_processor: {error}", file=sys.stderr)
        return 2
    return int(report.wrong > 0)


if __name__ == "__main__":
    sys.exit(main())

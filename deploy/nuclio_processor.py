"""Run the function in Nuclio's own Python wrapper, with this program as Nuclio's processor.

Nuclio's processor is a Go program that takes HTTP requests and sends them, as msgpack over a
socket, to the process in which its Python wrapper runs the handler. This program does the same with
the requests of CVAT and its plugin, large and broken ones too; it drains, ends, kills and restarts
the worker, and prints a line for each observation. ``replay_build.py`` runs it in a fresh root
directory. It needs msgpack, and a folder with the project and Nuclio's ``_nuclio_wrapper.py``::

    python deploy/nuclio_processor.py /opt/nuclio picture.jpg
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
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


class GarbledError(Exception):
    """What the worker sent is not an answer: something was written into it."""


@dataclass
class Response:
    """The answer to one event.

    Attributes:
        status: HTTP status.
        content_type: Of the body.
        body: Its text.
        seconds: From the first byte sent to the last received.
    """

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

    Args:
        folder: The project, with ``_nuclio_wrapper.py`` in it.
        handler: ``package.module:function``.
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
        connections = [self._accept(listener) for listener in listeners]
        self._events, self._control = connections
        self._events.settimeout(START_S)
        self._lines = self._events.makefile("rb")
        self._sent = started
        while self._read()[0] != "s":
            pass
        self.start_s = time.monotonic() - started
        self._events.settimeout(CALL_S)

    def call(self, body: bytes, content_type: str = JSON) -> Response:
        """Send an event and wait for its answer."""
        self.send(body, content_type)
        return self.receive()

    def send(self, body: bytes, content_type: str = JSON) -> None:
        """Send an event."""
        event = {
            "body": body,
            "content_type": content_type,
            "trigger": {"kind": "http", "name": "http"},
            "fields": {},
            "headers": {"Content-Type": content_type},
            "id": "1",
            "method": "POST",
            "path": "/",
            "size": len(body),
            "timestamp": int(time.time()),
            "url": "/",
            "shard_id": 0,
            "num_shards": 1,
            "type": "",
            "type_version": "",
            "version": "",
        }
        packed = msgpack.packb(event)
        self._sent = time.monotonic()
        self._events.sendall(struct.pack(">I", len(packed)) + packed)

    def receive(self) -> Response:
        """Wait for the answer to the event that was sent last.

        Raises:
            WorkerGoneError: The process ended before it came.
            GarbledError: It cannot be read.
            TimeoutError: None came within the time that CVAT waits.
        """
        while True:
            kind, text = self._read()
            if kind == "r":
                try:
                    content = json.loads(text)
                except ValueError:
                    raise GarbledError("something was written into the answer") from None
                return Response(
                    content["status_code"],
                    content["content_type"],
                    content["body"],
                    time.monotonic() - self._sent,
                )

    def is_silent(self, seconds: float) -> bool:
        """Return whether no answer comes within some seconds."""
        self._events.settimeout(seconds)
        try:
            self.receive()
        except TimeoutError:
            # A file on a socket refuses to go on after a timeout.
            self._lines = self._events.makefile("rb")
            return True
        finally:
            self._events.settimeout(CALL_S)
        return False

    def close(self) -> None:
        """Kill the process and close its sockets."""
        self.process.kill()
        self.process.wait()
        self._lines.close()
        self._events.close()
        self._control.close()
        self._sockets.cleanup()

    def _listen(self, name: str) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{self._sockets.name}/{name}")
        listener.listen()
        return listener

    def _accept(self, listener: socket.socket) -> socket.socket:
        """Wait for the process to connect.

        Raises:
            WorkerGoneError: It ended first.
        """
        listener.settimeout(1)
        with listener:
            while True:
                try:
                    return listener.accept()[0]
                except TimeoutError:
                    if self.process.poll() is not None:
                        raise WorkerGoneError("the worker is gone") from None

    def _read(self) -> tuple[str, str]:
        """Read one packet: its kind and the rest."""
        line = self._lines.readline()
        if not line:
            raise WorkerGoneError("the worker is gone")
        return chr(line[0]), line[1:].decode()


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


def drain(worker: Worker, report: Report, picture: bytes, body: bytes) -> None:
    """Drain during a call, as Nuclio does before it hands a worker other work, and go on."""
    worker.call(body)
    worker.send(body)
    time.sleep(0.1)
    worker.process.send_signal(signal.SIGUSR2)
    report.response("drained during a call", worker.receive(), 200)
    time.sleep(1)
    worker.send(body)
    report.line("a call while drained", worker.is_silent(15), "no answer, as Nuclio has it")
    worker.process.send_signal(signal.SIGCONT)
    time.sleep(1)
    report.response("a call after the worker goes on", worker.call(plugin_request(picture)), 200)


def end(worker: Worker, report: Report, picture: bytes) -> None:
    """Ask the worker to end during a call, as Nuclio does when a container is stopped."""
    worker.send(plugin_request(picture))
    time.sleep(0.1)
    worker.process.send_signal(signal.SIGUSR1)
    report.response("ended during a call", worker.receive(), 200)
    try:
        code = f"the process ended with code {worker.process.wait(5)}"
    except subprocess.TimeoutExpired:
        code = "the process waits to be killed, as Nuclio then does"
    report.line("after it", True, code)


def kill(worker: Worker, report: Report, picture: bytes) -> None:
    """Kill the worker during a call."""
    worker.send(plugin_request(picture))
    time.sleep(0.1)
    worker.process.kill()
    try:
        worker.receive()
        report.line("killed during a call", False, "an answer came")
    except WorkerGoneError:
        report.line("killed during a call", True, "the socket closed, no answer")


def observe(folder: Path, picture: bytes, report: Report) -> None:
    """Run all scenarios, each with a worker of its own."""
    function = yaml.safe_load((folder / "function.yaml").read_text(encoding="utf-8"))
    (trigger,) = function["spec"]["triggers"].values()
    limit = trigger["attributes"]["maxRequestBodySize"]
    scenarios: dict[str, Callable[[Worker], None]] = {
        "requests": lambda worker: requests(worker, report, limit, picture),
        "drain, small answer": lambda worker: drain(
            worker, report, picture, plugin_request(picture)
        ),
        "drain, large answer": lambda worker: drain(worker, report, picture, request(picture)),
        "end": lambda worker: end(worker, report, picture),
        "kill": lambda worker: kill(worker, report, picture),
    }
    for name, scenario in scenarios.items():
        print(f"-- {name}", flush=True)
        worker = Worker(folder, function["spec"]["handler"])
        try:
            scenario(worker)
        except (WorkerGoneError, GarbledError) as error:
            report.line(name, False, str(error))
        except TimeoutError:
            report.line(name, False, "no answer came")
        finally:
            worker.close()


def main() -> int:
    """Run all scenarios; the exit code is 1 if an observation was wrong."""
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

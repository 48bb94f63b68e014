"""The HTTP side of CVAT: its REST API for one task's work, and its calls of functions.

Beside CVAT's paths:

=================================  ===============================================================
``POST /emulator/tasks``           a new task: ``{"name", "labels", "pictures": [{"name", "path"} or
                                   {"name", "data": base64}], "segment_size"?, "overlap"?}``
``POST, DELETE /emulator/faults``  what goes wrong next, see `tests.emulator.faults.Fault`
``GET /emulator/calls``            what the functions received
``GET /emulator/requests``         the requests so far: ``[{"method", "path", "status"}]``
``GET`` other paths                files of the static folder, if there is one
=================================  ===============================================================
"""

from __future__ import annotations

import base64
import json
import mimetypes
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import nuclio_sdk

from serverless.deployment import FUNCTION
from serverless.local import LocalServer
from serverless.nuclio_worker import NuclioWorker
from serverless.service import Service
from serverless.settings import ServingSettings
from tests.emulator.faults import Fault, Faults
from tests.emulator.functions import PROFILES, CallError, Function, LambdaManager, Profile
from tests.emulator.store import CHUNK_SIZE, Frame, InvalidError, Job, Store, Task, chunk

DETECTOR = FUNCTION.parent / "deploy" / "closed" / "detector.yaml"
DATE = "2026-01-01T00:00:00Z"
OWNER = {"url": "", "id": 1, "username": "annotator", "first_name": "", "last_name": ""}
USER = {
    **OWNER,
    "email": "annotator@example.org",
    "groups": ["user"],
    "is_staff": False,
    "is_superuser": False,
    "is_active": True,
    "last_login": DATE,
    "date_joined": DATE,
}


class NotFoundError(Exception):
    """There is no such task or job."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; a body that is not bytes is sent as JSON."""

    status: int
    body: Any = None
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()

    def encoded(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return b"" if self.status == 204 else json.dumps(self.body).encode()


@dataclass(frozen=True)
class Request:
    """An HTTP request.

    Attributes:
        method: Such as ``POST``.
        path: Without the query.
        query: The last value of each argument.
        headers: As they were sent; lookup ignores case.
        data: The body, parsed as JSON; ``{}`` where it is empty.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Any
    data: Any


class Emulator(ThreadingHTTPServer):
    """The server; it listens from construction on.

    Args:
        functions: The deployed ones.
        profile: ``2.15``, ``2026`` or ``2.80``, or a profile of one's own.
        address: Host and port; port 0 takes a free one.
        credentials: Name and password without which nobody gets in; ``None`` lets everybody in.
        static: Folder of the files at the other paths.
    """

    daemon_threads = True

    def __init__(
        self,
        functions: list[Function],
        profile: str | Profile = "2.15",
        address: tuple[str, int] = ("127.0.0.1", 0),
        credentials: tuple[str, str] | None = None,
        static: Path | None = None,
    ) -> None:
        self.profile = PROFILES[profile] if isinstance(profile, str) else profile
        self.store = Store()
        self.functions = LambdaManager(functions, self.store, self.profile)
        self.faults = Faults()
        self.requests: list[dict[str, Any]] = []
        self.issues: list[dict[str, Any]] = []
        self._credentials = credentials
        self._token = secrets.token_hex(20)
        self._static = static
        self._routes = self._make_routes()
        super().__init__(address, _Connection)

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"

    @contextmanager
    def running(self) -> Iterator[Emulator]:
        """Answer requests in a thread."""
        thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            thread.join()
            self.server_close()

    def answer(self, request: Request) -> Answer:
        """Answer a request as CVAT does."""
        if request.path.startswith("/api/") and (refused := self._refused(request)):
            return refused
        for method, pattern, respond in self._routes:
            match = re.fullmatch(pattern + "/?", request.path)
            if match and method == request.method:
                try:
                    return respond(request, *match.groups())
                except CallError as error:
                    return Answer(error.status, error.body)
                except InvalidError as error:
                    return Answer(400, error.args[0])
                except NotFoundError:
                    return Answer(404, {"detail": "Not found."})
        if request.method == "GET" and self._static is not None:
            return self._file(request.path)
        return Answer(404, {"detail": "Not found."})

    def _refused(self, request: Request) -> Answer | None:
        if self._credentials is None or request.path in ("/api/server/about", "/api/auth/login"):
            return None
        authorization = request.headers.get("Authorization", "")
        if authorization in (f"Token {self._token}", f"Bearer {self._token}"):
            return None
        cookies = SimpleCookie(request.headers.get("Cookie", ""))
        session = cookies.get("sessionid")
        if session is None or session.value != self._token:
            return Answer(401, {"detail": "Authentication credentials were not provided."})
        safe = request.method in ("GET", "HEAD", "OPTIONS")
        if not safe and request.headers.get("X-CSRFToken") != f"csrf{self._token}":
            return Answer(403, {"detail": "CSRF Failed: CSRF token missing."})
        return None

    def _make_routes(self) -> list[tuple[str, str, Callable[..., Answer]]]:
        place = r"/api/(jobs|tasks)/(\d+)"
        return [
            ("GET", "/api/server/about", self._about),
            ("POST", "/api/auth/login", self._login),
            ("POST", "/api/auth/logout", lambda request: Answer(200, {"detail": "Logged out."})),
            ("GET", "/api/users/self", lambda request: Answer(200, USER)),
            ("GET", "/api/(jobs|tasks)", self._list),
            ("GET", "/api/labels", self._labels),
            ("GET", "/api/issues", self._list_issues),
            ("POST", "/api/issues", self._new_issue),
            ("GET", place, self._show),
            ("GET", f"{place}/data/meta", self._meta),
            ("GET", f"{place}/data", self._data),
            ("GET", f"{place}/annotations", self._annotations),
            ("PUT", f"{place}/annotations", self._change),
            ("PATCH", f"{place}/annotations", self._change),
            ("DELETE", f"{place}/annotations", self._clear),
            ("GET", "/api/lambda/functions", self._list_functions),
            ("GET", "/api/lambda/functions/([^/]+)", self._show_function),
            ("POST", "/api/lambda/functions/([^/]+)", self._call_function),
            ("POST", "/emulator/tasks", self._new_task),
            ("POST", "/emulator/faults", self._new_fault),
            ("DELETE", "/emulator/faults", self._no_faults),
            ("GET", "/emulator/calls", lambda request: Answer(200, self.functions.calls)),
            ("GET", "/emulator/requests", lambda request: Answer(200, self.requests)),
        ]

    def _about(self, request: Request) -> Answer:
        about = {
            "name": "Computer Vision Annotation Tool",
            "description": "An emulator for tests",
            "version": self.profile.version,
        }
        if self.profile.name != "2.15":
            about |= {"logo_url": "", "subtitle": ""}
        return Answer(200, about)

    def _login(self, request: Request) -> Answer:
        given = (request.data.get("username"), request.data.get("password"))
        if self._credentials is not None and given != self._credentials:
            error = "Unable to log in with provided credentials."
            return Answer(400, {"non_field_errors": [error]})
        cookies = (f"sessionid={self._token}; Path=/", f"csrftoken=csrf{self._token}; Path=/")
        headers = tuple(("Set-Cookie", cookie) for cookie in cookies)
        return Answer(200, {"key": self._token}, headers=headers)

    def _place(self, kind: str, number: str) -> Task | Job:
        places: Mapping[int, Task | Job] = self.store.jobs if kind == "jobs" else self.store.tasks
        if int(number) not in places:
            raise NotFoundError
        return places[int(number)]

    def _list(self, request: Request, kind: str) -> Answer:
        with self.store.lock:
            if kind == "tasks":
                return _page(request, [self._task(task) for task in self.store.tasks.values()])
            task_id = request.query.get("task_id")
            jobs = [
                self._job(job)
                for job in self.store.jobs.values()
                if task_id is None or job.task.id == int(task_id)
            ]
        return _page(request, jobs)

    def _labels(self, request: Request) -> Answer:
        if "job_id" in request.query:
            place = self._place("jobs", request.query["job_id"])
        else:
            place = self._place("tasks", request.query.get("task_id", "0"))
        return _page(request, _task_of(place).labels)

    def _list_issues(self, request: Request) -> Answer:
        with self.store.lock:
            issues = [
                {name: value for name, value in issue.items() if name != "message"}
                for issue in self.issues
                if request.query.get("job_id") in (None, str(issue["job"]))
                and request.query.get("task_id")
                in (None, str(self.store.jobs[issue["job"]].task.id))
            ]
        return _page(request, issues)

    def _new_issue(self, request: Request) -> Answer:
        data = request.data
        missing = [name for name in ("job", "frame", "position", "message") if name not in data]
        if missing:
            return Answer(400, {name: ["This field is required."] for name in missing})
        if not data["message"]:
            return Answer(400, {"message": ["This field may not be blank."]})
        if not data["position"]:
            return Answer(400, {"position": ["This list may not be empty."]})
        with self.store.lock:
            if data["job"] not in self.store.jobs:
                invalid = f'Invalid pk "{data["job"]}" - object does not exist.'
                return Answer(400, {"job": [invalid]})
            number = len(self.issues) + 1
            issue = {
                "id": number,
                "frame": data["frame"],
                "position": [float(value) for value in data["position"]],
                "job": data["job"],
                "owner": USER,
                "assignee": None,
                "created_date": DATE,
                "updated_date": None,
                "resolved": False,
                "comments": {"count": 1, "url": f"{self.url}/api/comments?issue_id={number}"},
                "message": data["message"],  # of the first comment; lists of issues lack it
            }
            self.issues.append(issue)
        return Answer(201, {name: issue[name] for name in issue if name != "message"})

    def _show(self, request: Request, kind: str, number: str) -> Answer:
        place = self._place(kind, number)
        return Answer(200, self._job(place) if isinstance(place, Job) else self._task(place))

    def _task(self, task: Task) -> dict[str, Any]:
        return {
            "url": f"{self.url}/api/tasks/{task.id}",
            "id": task.id,
            "name": task.name,
            "project_id": None,
            "mode": "annotation",
            "owner": OWNER,
            "assignee": None,
            "bug_tracker": "",
            "created_date": DATE,
            "updated_date": DATE,
            "overlap": task.overlap,
            "segment_size": task.segment_size,
            "status": "annotation",
            "data_chunk_size": CHUNK_SIZE,
            "data_compressed_chunk_type": "imageset",
            "data_original_chunk_type": "imageset",
            "guide_id": None,
            "size": len(task.frames),
            "image_quality": 70,
            "data": task.id,
            "dimension": "2d",
            "subset": "",
            "organization": None,
            "target_storage": None,
            "source_storage": None,
            "jobs": {
                "count": len(task.jobs),
                "completed": 0,
                "validation": 0,
                "url": f"{self.url}/api/jobs?task_id={task.id}",
            },
            "labels": {"url": f"{self.url}/api/labels?task_id={task.id}"},
        }

    def _job(self, job: Job) -> dict[str, Any]:
        return {
            "url": f"{self.url}/api/jobs/{job.id}",
            "id": job.id,
            "task_id": job.task.id,
            "project_id": None,
            "assignee": None,
            "guide_id": None,
            "dimension": "2d",
            "bug_tracker": None,
            "status": "annotation",
            "stage": "annotation",
            "state": "new",
            "type": job.type,
            "mode": "annotation",
            "frame_count": job.stop - job.start + 1,
            "start_frame": job.start,
            "stop_frame": job.stop,
            "data_chunk_size": CHUNK_SIZE,
            "data_compressed_chunk_type": "imageset",
            "created_date": DATE,
            "updated_date": _date_after(job.changes),
            "issues": {"count": 0, "url": f"{self.url}/api/issues?job_id={job.id}"},
            "labels": {"url": f"{self.url}/api/labels?job_id={job.id}"},
            "organization": None,
            "target_storage": None,
            "source_storage": None,
        }

    def _meta(self, request: Request, kind: str, number: str) -> Answer:
        place = self._place(kind, number)
        task = _task_of(place)
        start, stop = _range(place)
        frames = [
            {
                "width": frame.width,
                "height": frame.height,
                "name": frame.name,
                "related_files": 0,
                "has_related_context": False,
            }
            for frame in task.frames[start : stop + 1]
        ]
        meta = {
            "chunk_size": CHUNK_SIZE,
            "size": len(frames),
            "image_quality": 70,
            "start_frame": start,
            "stop_frame": stop,
            "frame_filter": "",
            "frames": frames,
            "deleted_frames": [n for n in task.deleted_frames if start <= n <= stop],
            "included_frames": getattr(place, "included_frames", None),
        }
        if self.profile.name != "2.15":
            meta |= {
                "chunks_updated_date": DATE,
                "chapters": None,
                "storage": "local",
                "cloud_storage_id": None,
            }
        return Answer(200, meta)

    def _data(self, request: Request, kind: str, number: str) -> Answer:
        place = self._place(kind, number)
        task = _task_of(place)
        quality = request.query.get("quality", "compressed")
        wanted = request.query.get("type")
        if wanted not in ("frame", "chunk", "preview"):
            return Answer(400, ["Data type not specified or has wrong value"])
        if "number" not in request.query:
            return Answer(400, ["Number is not specified"])
        if quality not in ("original", "compressed"):
            return Answer(400, ["Wrong quality value"])

        def encode(frame: Frame) -> bytes:
            return frame.data if quality == "original" else frame.compressed()

        index = int(request.query["number"])
        start, stop = _range(place)
        if wanted == "chunk":
            if not start // CHUNK_SIZE <= index <= stop // CHUNK_SIZE:
                return Answer(400, f"The chunk number should be in  the [{start}, {stop}] range")
            return Answer(200, chunk(task, index, encode), "application/zip")
        if not start <= index <= stop:
            return Answer(400, "The frame number doesn't belong to the job")
        frame = task.frames[index]
        content_type = frame.content_type if quality == "original" else "image/jpeg"
        return Answer(200, encode(frame), content_type)

    def _annotations(self, request: Request, kind: str, number: str) -> Answer:
        place = self._place(kind, number)
        if isinstance(place, Job):
            return Answer(200, {"version": 0, **self.store.job_annotations(place)})
        return Answer(200, {"version": 0, **self.store.task_annotations(place)})

    def _change(self, request: Request, kind: str, number: str) -> Answer:
        place = self._place(kind, number)
        action = "put" if request.method == "PUT" else request.query.get("action", "")
        change = self.store.change_job if isinstance(place, Job) else self.store.change_task
        return Answer(200, {"version": 0, **change(place, action, request.data)})

    def _clear(self, request: Request, kind: str, number: str) -> Answer:
        place = self._place(kind, number)
        for job in [place] if isinstance(place, Job) else place.jobs:
            self.store.clear_job(job)
        return Answer(204)

    def _list_functions(self, request: Request) -> Answer:
        return Answer(200, self.functions.listing())

    def _show_function(self, request: Request, name: str) -> Answer:
        return Answer(200, self.functions.get(name).to_dict(self.profile))

    def _call_function(self, request: Request, name: str) -> Answer:
        return Answer(200, self.functions.call(name, request.data))

    def _new_task(self, request: Request) -> Answer:
        given = dict(request.data)
        given["pictures"] = [
            (
                picture["name"],
                base64.b64decode(picture["data"])
                if "data" in picture
                else Path(picture["path"]).read_bytes(),
            )
            for picture in given["pictures"]
        ]
        task = self.store.add_task(**given)
        return Answer(201, {**self._task(task), "job_ids": [job.id for job in task.jobs]})

    def _new_fault(self, request: Request) -> Answer:
        self.faults.add(**request.data)
        return Answer(201, request.data)

    def _no_faults(self, request: Request) -> Answer:
        self.faults.clear()
        return Answer(204)

    def _file(self, path: str) -> Answer:
        folder = self._static.resolve()
        file = (folder / path.lstrip("/")).resolve()
        if file.is_dir():
            file /= "index.html"
        if not (file.is_file() and file.is_relative_to(folder)):
            return Answer(404, {"detail": "Not found."})
        content_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        return Answer(200, file.read_bytes(), content_type)


class _Connection(BaseHTTPRequestHandler):
    """Reads the requests of one connection, lets faults happen, and writes the answers."""

    server: Emulator
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body go out at once, though written one by one
    timeout = 60

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(length)
        url = urlsplit(self.path)
        fault = Fault()
        if not url.path.startswith("/emulator/"):
            fault = self.server.faults.take(self.command, self.path) or fault
        self.server.faults.process_late(self.path)
        time.sleep(fault.delay_s)
        try:
            data = json.loads(body) if body else {}
        except ValueError:
            self._write(Answer(400, {"detail": "JSON parse error"}))
            return
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        request = Request(self.command, unquote(url.path), query, self.headers, data)

        def answer() -> Answer:
            return self.server.answer(request)

        if fault.late:
            self.server.faults.postpone(fault.late, answer)
        elif fault.processed:
            answer()
        if fault.cut:
            self._note(0)
            self.close_connection = True
        elif fault.status is not None:
            self._write(Answer(fault.status, {"detail": "A fault of the emulator."}))
        else:
            self._write(answer())

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def do_OPTIONS(self) -> None:
        self._write(Answer(204))

    def _write(self, answer: Answer) -> None:
        self._note(answer.status)
        body = answer.encoded()
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(body)))
        origin = self.headers.get("Origin")
        if origin is not None:
            wanted = self.headers.get("Access-Control-Request-Headers", "Content-Type")
            self.send_header("Access-Control-Allow-Origin", origin)
            self.send_header("Access-Control-Allow-Credentials", "true")
            self.send_header("Access-Control-Allow-Headers", wanted)
            self.send_header("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
        self.end_headers()
        self.wfile.write(body)

    def _note(self, status: int) -> None:
        note = {"method": self.command, "path": self.path, "status": status}
        self.server.requests.append(note)

    def log_message(self, format: str, *args: Any) -> None:
        """The list of requests is the log."""


def _date_after(changes: int) -> str:
    """The date of so many changes, one a second."""
    return (datetime.fromisoformat(DATE[:-1]) + timedelta(seconds=changes)).isoformat() + "Z"


def _task_of(place: Task | Job) -> Task:
    return place.task if isinstance(place, Job) else place


def _range(place: Task | Job) -> tuple[int, int]:
    """First and last frame."""
    if isinstance(place, Job):
        return place.start, place.stop
    return 0, len(place.frames) - 1


def _page(request: Request, items: list[dict[str, Any]]) -> Answer:
    """One page of a list; a page holds 10 items unless the request says otherwise."""
    page = int(request.query.get("page", "1"))
    size = int(request.query.get("page_size", "10"))
    start = (page - 1) * size
    if start and start >= len(items):
        return Answer(404, {"detail": "Invalid page."})
    more = start + size < len(items)
    return Answer(
        200,
        {
            "count": len(items),
            "next": f"http://emulator{request.path}?page={page + 1}" if more else None,
            "previous": None,
            "results": items[start : start + size],
        },
    )


@contextmanager
def hosted_functions(service: Service | None = None) -> Iterator[list[Function]]:
    """The interactor and the detector of this project, each behind `serverless.local`'s server.

    Their `spec` has the classes of the predictor. An open one has none, and there is no detector.

    Args:
        service: What their handlers use; ``None`` loads the model, once for both.
    """
    logger = nuclio_sdk.Logger("ERROR", name="tests.emulator")
    functions = []
    with ExitStack() as stack:
        for path in (FUNCTION, DETECTOR):
            if service is not None and not service.predictor.classes and path == DETECTOR:
                break
            worker = NuclioWorker.load(path, logger)
            if service is None:
                worker.start(ServingSettings.from_environment(os.environ))
                service = worker.context.user_data
            worker.context.user_data = service
            server = stack.enter_context(LocalServer(("127.0.0.1", 0), worker, Path("no pictures")))
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            labels = [
                {"id": index, "name": name, "type": "rectangle"}
                for index, name in enumerate(service.predictor.classes)
            ]
            function = Function.read(path, server.url)
            annotations = {**function.annotations, "spec": json.dumps(labels)}
            functions.append(replace(function, annotations=annotations))
        yield functions

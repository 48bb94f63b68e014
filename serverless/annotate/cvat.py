"""A job or a task on a CVAT server: its labels, frames, annotations and pictures.

cvat-sdk makes the connection. Its models are not used: those of version 2.80 refuse answers of a
2.15 server, in which fields are missing that came later, and JSON is the same for all versions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import urllib3
from cvat_sdk.api_client.exceptions import ApiException
from cvat_sdk.core.client import Client, Config
from cvat_sdk.core.exceptions import CvatSdkException

from serverless.annotate.errors import AnnotateError, FrameError, Retry, TransientError

TIMEOUT_S = 180
"""Longest wait for an answer; CVAT itself waits 120 s for a function."""

Kind = Literal["job", "task"]


class RefusedError(Exception):
    """The server answered with a status from 400 to 499; ``text`` is the first line of the body."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status
        self.text = text


@dataclass(frozen=True)
class ScoreAttribute:
    """A label's attribute that takes the score.

    ``limits`` are the lowest value, the highest and the step of numbers; ``None`` for text.
    """

    id: int
    limits: tuple[float, float, float] | None

    @classmethod
    def find(cls, attributes: Sequence[Mapping[str, Any]]) -> ScoreAttribute | None:
        """Return the first attribute called score or confidence that takes numbers or text."""
        for attribute in attributes:
            if attribute["name"].lower() not in ("score", "confidence"):
                continue
            if attribute["input_type"] == "text":
                return cls(attribute["id"], None)
            if attribute["input_type"] == "number":
                low, high, step = (float(value) for value in attribute["values"])
                return cls(attribute["id"], (low, high, step))
        return None

    def value(self, score: float) -> str:
        """Return a score (0 to 1) as the attribute takes it, in percent where it goes beyond 1."""
        if self.limits is None:
            return f"{score:.2f}"
        low, high, step = self.limits
        value = score * 100 if high > 1 else score
        if step > 0:
            value = low + round((value - low) / step) * step
        return f"{min(max(value, low), high):.6g}"


@dataclass(frozen=True)
class Label:
    """A label of a task; its ``color`` is such as ``#33ddff``."""

    id: int
    name: str
    color: str
    score: ScoreAttribute | None
    takes_rectangles: bool


@dataclass(frozen=True)
class Shape:
    """A shape on a frame, as CVAT keeps it.

    Attributes:
        id: 0 for one that is not on the server yet.
        type: Such as ``points`` or ``rectangle``.
        points: x, y, x, y, ... in pixels; of a rectangle the two corners before its rotation.
        rotation: Degrees, clockwise about the centre.
        source: ``manual`` for what people made.
        group: 0 for none.
    """

    id: int
    frame: int
    type: str
    label_id: int
    points: tuple[float, ...]
    rotation: float
    source: str
    group: int

    @classmethod
    def read(cls, shape: Mapping[str, Any]) -> Shape:
        """Read a shape of an answer."""
        return cls(
            id=shape["id"],
            frame=shape["frame"],
            type=shape["type"],
            label_id=shape["label_id"],
            points=tuple(shape["points"]),
            rotation=shape.get("rotation") or 0.0,
            source=shape.get("source") or "manual",
            group=shape.get("group") or 0,
        )


@dataclass(frozen=True)
class Annotations:
    """The annotations of a job or a task: shapes outside of tracks, and the number of tracks.

    ``last_group`` is the highest number of a group.
    """

    shapes: tuple[Shape, ...]
    last_group: int
    tracks: int


class Server:
    """A connection to a CVAT server.

    The address has ``http://`` or ``https://``. ``retry`` is for requests that may be sent again,
    ``verify`` whether the server's certificate is checked.
    """

    def __init__(self, host: str, retry: Retry, verify: bool = True) -> None:
        self.host = host.rstrip("/")
        self.retry = retry
        config = Config(verify_ssl=verify)
        try:
            self._client = Client(self.host, config=config, check_server_version=False)
        except CvatSdkException as error:
            raise AnnotateError(str(error)) from error

    def log_in(self, name: str, password: str) -> None:
        """Log in with a password.

        Raises:
            AnnotateError: The server cannot be reached, or refuses.
        """
        try:
            self._client.login((name, password))
        except ApiException as error:
            if error.status == 400:
                raise AnnotateError(
                    f"{self.host} does not let {name} in: name or password is wrong"
                ) from error
            raise AnnotateError(
                f"the login at {self.host} failed: {error.status} {error.reason}"
            ) from error
        except urllib3.exceptions.HTTPError as error:
            raise AnnotateError(f"{self.host} cannot be reached: {_reason(error)}") from error

    def use_token(self, token: str) -> None:
        """Send a personal access token with each request."""
        self._client.api_client.set_default_header("Authorization", f"Bearer {token}")

    def use_organization(self, slug: str) -> None:
        """Work in an organization."""
        self._client.organization_slug = slug

    def send(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> bytes:
        """Send one request and return the body of the answer.

        Raises:
            TransientError: No answer, or a status from 500 on.
            RefusedError: A status from 400 on, save those that end the run.
            AnnotateError: The server does not know the user, or the user may not do this.
        """
        try:
            _, response = self._client.api_client.call_api(
                path,
                method,
                query_params=list((query or {}).items()),
                body=body,
                _parse_response=False,
                _request_timeout=TIMEOUT_S,
            )
            return response.data
        except ApiException as error:
            text = first_line(error.body)
            if error.status >= 500 or error.status == 429:
                raise TransientError(f"{error.status} {text}") from error
            if error.status == 401:
                raise AnnotateError(
                    f"{self.host} asks who you are: give --user, or a token in CVAT_ACCESS_TOKEN"
                ) from error
            if error.status == 403:
                raise AnnotateError(
                    f"{self.host} does not allow {method} {path}: {text}"
                ) from error
            raise RefusedError(error.status, text) from error
        except urllib3.exceptions.HTTPError as error:
            raise TransientError(_reason(error)) from error

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> bytes:
        """Send a GET request, several times if need be.

        Raises:
            RefusedError: See `send`.
            AnnotateError: It got no answer.
        """
        try:
            return self.retry.call(lambda: self.send("GET", path, query))
        except TransientError as error:
            raise AnnotateError(f"{self.host} does not answer GET {path}: {error}") from error

    def get_json(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """Send a GET request, several times if need be, and parse the answer.

        Raises:
            AnnotateError: It got no good answer.
        """
        try:
            return json.loads(self.get(path, query))
        except RefusedError as error:
            raise AnnotateError(f"{self.host} refuses GET {path}: {error}") from error
        except ValueError as error:
            raise AnnotateError(
                f"{self.host}{path} does not answer with JSON: is it a CVAT server?"
            ) from error

    def get_list(self, path: str, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Fetch all pages of a list."""
        items: list[dict[str, Any]] = []
        page = 0
        while True:
            page += 1
            answer = self.get_json(path, {**query, "page": page, "page_size": 100})
            items += answer["results"]
            if not answer["next"]:
                return items


class Target:
    """A job or a task of a server.

    Attributes:
        name: Of the task.
        labels: Of the task.
        frames: Numbers of its frames, without deleted ones.
        frame_names: File names by frame; empty for a video.
        jobs: First and last frame of each job of annotation, by its id; of a job, of itself alone,
            whatever its type.
        overlap: Frames that neighbouring jobs of a task share; 0 for a job.

    Raises:
        AnnotateError: It is not there.
    """

    def __init__(self, server: Server, kind: Kind, number: int) -> None:
        self.server = server
        self.kind = kind
        self.id = number
        self._path = f"/api/{kind}s/{number}"
        try:
            about = json.loads(server.retry.call(lambda: server.send("GET", self._path)))
        except RefusedError as error:
            raise AnnotateError(f"there is no {kind} {number} on {server.host}: {error}") from error
        except TransientError as error:
            raise AnnotateError(f"{server.host} cannot be reached: {error}") from error
        except ValueError as error:
            raise AnnotateError(f"{server.host} does not answer as a CVAT server does") from error
        task = about if kind == "task" else server.get_json(f"/api/tasks/{about['task_id']}")
        self.name: str = task["name"]
        self.overlap: int = (task["overlap"] or 0) if kind == "task" else 0
        self.labels = tuple(
            Label(
                id=label["id"],
                name=label["name"],
                color=label.get("color") or "#ffffff",
                score=ScoreAttribute.find(label["attributes"]),
                takes_rectangles=label.get("type", "any") in ("any", "rectangle"),
            )
            for label in server.get_list("/api/labels", {f"{kind}_id": number})
            if not label.get("parent_id")
        )
        meta = server.get_json(f"{self._path}/data/meta")
        start = about["start_frame"] if kind == "job" else 0
        stop = about["stop_frame"] if kind == "job" else about["size"] - 1
        included = set(meta.get("included_frames") or range(start, stop + 1))
        deleted = set(meta.get("deleted_frames") or ())
        self.frames = tuple(n for n in range(start, stop + 1) if n in included and n not in deleted)
        described = meta.get("frames") or ()
        self.frame_names: dict[int, str] = {}
        self._sizes: dict[int, tuple[int, int]] = {}
        if len(described) == stop - start + 1:
            by_frame = dict(enumerate(described, start=start))
            self.frame_names = {number: frame["name"] for number, frame in by_frame.items()}
            self._sizes = {n: (frame["width"], frame["height"]) for n, frame in by_frame.items()}
        elif described:  # those of a video are all alike
            size = (described[0]["width"], described[0]["height"])
            self._sizes = dict.fromkeys(self.frames, size)
        jobs = [about] if kind == "job" else server.get_list("/api/jobs", {"task_id": number})
        self.jobs = {
            job["id"]: (job["start_frame"], job["stop_frame"])
            for job in jobs
            if kind == "job" or job.get("type", "annotation") == "annotation"
        }

    def __str__(self) -> str:
        return f"{self.kind} {self.id} ({self.name}) on {self.server.host}"

    def annotations(self) -> Annotations:
        """Fetch the annotations as they are now."""
        found = self.server.get_json(f"{self._path}/annotations")
        grouped = (*found["shapes"], *found["tracks"], *found["tags"])
        return Annotations(
            tuple(Shape.read(shape) for shape in found["shapes"]),
            max((item.get("group") or 0 for item in grouped), default=0),
            len(found["tracks"]),
        )

    def picture(self, frame: int) -> bytes:
        """Fetch the stored file of a frame.

        Raises:
            FrameError: The server refuses it. Servers of 2.15 refuse some frames of tasks with a
                start frame or a step (cvat-ai/cvat issue 7269).
        """
        query = {"type": "frame", "number": frame, "quality": "original"}
        try:
            return self.server.get(f"{self._path}/data", query)
        except RefusedError as error:
            raise FrameError(f"{self.server.host} refuses its picture: {error}") from error

    def whole_picture(self, frame: int) -> list[float]:
        """Return the corners of a frame, x, y, x, y, ... in pixels."""
        width, height = self._sizes.get(frame, (1, 1))
        return [float(value) for value in (0, 0, width, 0, width, height, 0, height)]

    def issues(self) -> list[tuple[int, list[float]]]:
        """Fetch frame and polygon of all issues, open and resolved ones."""
        found = self.server.get_list("/api/issues", {f"{self.kind}_id": self.id})
        return [(one["frame"], [round(value, 1) for value in one["position"]]) for one in found]

    def job_of(self, frame: int) -> int | None:
        """Return the job that a frame is in; ``None`` for one of a ground truth alone."""
        found = (id for id, (start, stop) in self.jobs.items() if start <= frame <= stop)
        return next(found, None)

    def create_issue(self, frame: int, position: Sequence[float], message: str) -> None:
        """Create an issue on a frame, with a polygon ``x, y, x, y, ...`` in pixels and one comment.

        The frame is in a job, see `job_of`.

        Raises:
            TransientError: It may or may not have been created.
            AnnotateError: The server refuses it.
        """
        body = {
            "job": self.job_of(frame),
            "frame": frame,
            "position": list(position),
            "message": message,
        }
        try:
            self.server.send("POST", "/api/issues", body=body)
        except RefusedError as error:
            raise AnnotateError(f"{self} refuses an issue on frame {frame}: {error}") from error

    def create(self, shapes: Sequence[Mapping[str, Any]]) -> None:
        """Add shapes, all of them or none.

        This sends one request: whether a request that got no answer was carried out, only a look
        at the annotations tells.

        Raises:
            TransientError: It may or may not have been carried out.
            AnnotateError: The server refuses it.
        """
        self._change("create", shapes)

    def remove(self, shapes: Sequence[Shape]) -> None:
        """Remove shapes; those that are gone already do not matter.

        Raises:
            AnnotateError: The server refuses it, or does not answer.
        """
        rows = [
            {
                "id": shape.id,
                "frame": shape.frame,
                "label_id": shape.label_id,
                "type": shape.type,
                "points": shape.points,
            }
            for shape in shapes
        ]
        try:
            self.server.retry.call(lambda: self._change("delete", rows))
        except TransientError as error:
            raise AnnotateError(f"{self.server.host} does not remove shapes: {error}") from error

    def _change(self, action: str, shapes: Sequence[Mapping[str, Any]]) -> None:
        if not shapes:
            return
        body = {"shapes": list(shapes), "tags": [], "tracks": []}
        try:
            self.server.send("PATCH", f"{self._path}/annotations", {"action": action}, body)
        except RefusedError as error:
            raise AnnotateError(f"{self} refuses to {action} shapes: {error}") from error


def first_line(text: str | None) -> str:
    """Return the first line of an answer's body, cut to 200 characters."""
    line = (text or "").strip().partition("\n")[0].strip('"')
    return line if len(line) <= 200 else f"{line[:200]} ..."


def _reason(error: urllib3.exceptions.HTTPError) -> str:
    """The innermost of the errors that urllib3 puts into one another."""
    return first_line(str(getattr(error, "reason", None) or error))

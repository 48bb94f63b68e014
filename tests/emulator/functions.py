"""What CVAT's lambda manager does between a client and a Nuclio function.

Three profiles: ``2.15`` follows ``lambda_manager/views.py`` of CVAT 2.15, ``2026`` that of 2025
with the region of interest of 2026 (``lambda_manager/utils.py``), ``2.80`` the servers and pages
from 2.70 to 2.80, as far as it is known what they send and accept. The function is called over
HTTP, as CVAT's invocation method ``direct`` does.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import urllib3
import yaml
from PIL import Image

from tests.emulator.store import Job, Store, Task


@dataclass(frozen=True)
class Profile:
    """What differs between the servers.

    Attributes:
        name: ``2.15``, ``2026`` or ``2.80``.
        version: What the server says of itself.
        regions: Whether it knows the region of interest, and with it checks the points.
        skips_bad_functions: Whether a function whose description is wrong is left out of the list;
            otherwise the list fails.
        empty_box: Whether its page sends ``[]`` where a click comes without a box; otherwise
            nothing, which arrives as null.
        checks_masks: Whether its page fails on masks without attributes and drops those that are
            thinner than `THINNEST_MASK`.
        timeout_s: How long it waits for a function.
    """

    name: str
    version: str
    regions: bool
    skips_bad_functions: bool
    empty_box: bool
    checks_masks: bool
    timeout_s: float = 120


THINNEST_MASK = 3
"""Pixels of a mask's shorter side from which its contour is one for the pages of 2.7x to 2.8x."""

PROFILES = {
    "2.15": Profile("2.15", "2.15.0", False, False, False, False),
    "2026": Profile("2026", "2.69.0", True, True, False, False),
    "2.80": Profile("2.80", "2.80.0", True, True, True, True),
}


class CallError(Exception):
    """A call that CVAT answers with an error: its status, and the text that is all of the body."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body


@dataclass(frozen=True)
class Function:
    """A deployed function, as CVAT reads it from its ``function.yaml``.

    Attributes:
        id: Name in Nuclio.
        kind: ``interactor`` or ``detector``.
        annotations: Of its metadata.
        description: Of its spec.
        url: Where it answers.
    """

    id: str
    kind: str
    annotations: Mapping[str, str]
    description: str
    url: str

    @classmethod
    def read(cls, path: Path, url: str) -> Function:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        annotations = config["metadata"]["annotations"]
        return cls(
            config["metadata"]["name"],
            annotations["type"],
            annotations,
            config["spec"]["description"],
            url,
        )

    @property
    def labels(self) -> list[dict[str, Any]]:
        spec = json.loads(self.annotations.get("spec") or "[]")
        if len({label["name"] for label in spec}) != len(spec):
            raise CallError(404, f"{self.id} lambda function has non-unique labels")
        return [
            {"name": label["name"], "type": label.get("type", "unknown"), "attributes": []}
            for label in spec
        ]

    def to_dict(self, profile: Profile) -> dict[str, Any]:
        """What the list of functions says of it."""
        annotations = self.annotations
        described = {
            "id": self.id,
            "kind": self.kind,
            "labels_v2": self.labels,
            "description": self.description,
            "name": annotations.get("name", self.id),
            "version": int(annotations.get("version", "1")),
        }
        if self.kind == "interactor":
            described |= {
                "min_pos_points": int(annotations.get("min_pos_points", 1)),
                "min_neg_points": int(annotations.get("min_neg_points", -1)),
                "startswith_box": bool(annotations.get("startswith_box", False)),
                "help_message": annotations.get("help_message", ""),
                "animated_gif": annotations.get("animated_gif", ""),
            }
            if profile.name != "2.15":
                optional = bool(annotations.get("startswith_box_optional", False))
                described["startswith_box_optional"] = optional
        return described


class LambdaManager:
    """Calls functions for the frames of a store's tasks.

    Args:
        functions: The deployed ones.
        store: Where the frames are.
        profile: Of the server.
    """

    def __init__(self, functions: list[Function], store: Store, profile: Profile) -> None:
        self.functions = {function.id: function for function in functions}
        self.store = store
        self.profile = profile
        self.calls: list[dict[str, Any]] = []
        """What the functions received: the payloads, with the picture's size for the picture."""
        self._http = urllib3.PoolManager(retries=False)

    def listing(self) -> list[dict[str, Any]]:
        """``GET /api/lambda/functions``."""
        described = []
        for function in self.functions.values():
            try:
                described.append(function.to_dict(self.profile))
            except (CallError, ValueError):
                if not self.profile.skips_bad_functions:
                    raise
        return described

    def get(self, function_id: str) -> Function:
        if function_id not in self.functions:
            url = f"http://nuclio:8070/api/functions/{function_id}"
            raise CallError(404, f"404 Client Error: Not Found for url: {url}")
        return self.functions[function_id]

    def call(self, function_id: str, data: Mapping[str, Any]) -> Any:
        """``POST /api/lambda/functions/{id}``."""
        task, job = self._place(function_id, data)
        return self.invoke(self.get(function_id), task, job, data)

    def _place(self, function_id: str, data: Mapping[str, Any]) -> tuple[Task, Job | None]:
        job = None
        try:
            if data.get("job") is not None:
                job = self.store.jobs[data["job"]]
                task = job.task
            else:
                task = self.store.tasks[data["task"]]
        except KeyError as error:
            raise CallError(
                400, f"`{function_id}` lambda function was run with wrong arguments ({error})"
            ) from error
        if job is not None and data.get("task", task.id) != task.id:
            raise CallError(400, "Job task id does not match task id")
        return task, job

    def invoke(
        self, function: Function, task: Task, job: Job | None, data: Mapping[str, Any]
    ) -> Any:
        """Build the function's payload, call it, and change its answer as CVAT does."""
        data = {key: value for key, value in data.items() if value is not None}

        def mandatory(name: str) -> Any:
            if name not in data:
                raise CallError(
                    400,
                    f"`{function.id}` lambda function was called without mandatory argument: "
                    f"{name}",
                )
            return data[name]

        payload: dict[str, Any] = {}
        if data.get("threshold"):
            payload["threshold"] = data["threshold"]
        mapping = _mapping(function, task, data.get("mapping", {}))
        if job is not None and "frame" in data and not job.holds(data["frame"]):
            raise CallError(400, "The frame is outside the job range")
        frame = mandatory("frame")
        if not (isinstance(frame, int) and 0 <= frame < len(task.frames)):
            raise CallError(400, "Incorrect requested frame number")
        region = _region(data.get("roi")) if self.profile.regions else None
        picture = self._picture(task, frame, data, region)
        payload["image"] = base64.b64encode(picture).decode()
        if function.kind == "interactor":
            payload |= self._prompts(function, data, mandatory, region)
        answer = self._post(function, payload)
        if function.kind == "detector":
            return _translated_labels(answer, mapping, region)
        return _to_full_picture(answer, task.frames[frame].data, region, self.profile)

    def _prompts(
        self, function: Function, data: Mapping[str, Any], mandatory: Any, region: Any
    ) -> dict[str, Any]:
        positive, negative = mandatory("pos_points"), mandatory("neg_points")
        if not self.profile.regions:
            box = positive[0:2] if bool(function.annotations.get("startswith_box")) else None
            points = positive[2:] if box is not None else positive
            return {"pos_points": points, "neg_points": negative, "obj_bbox": box}
        dx, dy = (-region[0], -region[1]) if region else (0, 0)
        return {
            "pos_points": _shifted_pairs(positive, dx, dy),
            "neg_points": _shifted_pairs(negative, dx, dy),
            "obj_bbox": _shifted_pairs(
                data.get("obj_bbox", [] if self.profile.empty_box else None), dx, dy
            ),
        }

    def _picture(self, task: Task, frame: int, data: Mapping[str, Any], region: Any) -> bytes:
        stored = task.frames[frame]
        if self.profile.name == "2.15":
            quality = data.get("quality", "original")
            if quality not in ("original", "compressed"):
                raise CallError(400, f"lambda function was run with wrong arguments ({quality})")
            return stored.compressed() if quality == "compressed" else stored.data
        if region is None:
            return stored.data
        if region[2] > stored.width or region[3] > stored.height:
            raise CallError(400, "ROI is outside the image")
        stream = io.BytesIO()
        with Image.open(io.BytesIO(stored.data)) as image:
            image.crop(region).save(stream, image.format)
        return stream.getvalue()

    def _post(self, function: Function, payload: dict[str, Any]) -> Any:
        note = {**payload, "image": len(payload["image"]), "function": function.id}
        self.calls.append(note)
        try:
            answer = self._http.request(
                "POST",
                function.url,
                body=json.dumps(payload).encode(),
                headers={"Content-Type": "application/json"},
                timeout=self.profile.timeout_s,
            )
        except urllib3.exceptions.ReadTimeoutError as error:
            raise CallError(504, str(error)) from error
        except urllib3.exceptions.HTTPError as error:
            raise CallError(503, str(error)) from error
        if answer.status >= 400:
            kind = "Client" if answer.status < 500 else "Server"
            reason = HTTPStatus(answer.status).phrase
            raise CallError(
                answer.status, f"{answer.status} {kind} Error: {reason} for url: {function.url}"
            )
        try:
            return json.loads(answer.data)
        except ValueError as error:
            raise CallError(500, str(error)) from error


def _mapping(
    function: Function, task: Task, wanted: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """The task's label for each of the function's; by name where the client says nothing."""
    labels = {label["name"]: label for label in function.labels}
    ours = {label["name"]: label for label in task.labels}

    def compatible(theirs: Mapping[str, Any], label: Mapping[str, Any]) -> bool:
        kinds = {theirs["type"], label["type"]}
        return len(kinds) == 1 or label["type"] == "any" or theirs["type"] == "unknown"

    if not wanted:
        return {
            n: ours[n] for n, label in labels.items() if n in ours and compatible(label, ours[n])
        }
    for name, entry in wanted.items():
        if name not in labels:
            raise CallError(400, f'Invalid mapping. Unknown model label "{name}"')
        if entry["name"] not in ours:
            raise CallError(400, f'Invalid mapping. Unknown db label "{entry["name"]}"')
        if not compatible(labels[name], ours[entry["name"]]):
            raise CallError(
                400,
                f'Invalid mapping. Model label "{name}" and database label "{entry["name"]}" are '
                "not compatible",
            )
    return {name: ours[entry["name"]] for name, entry in wanted.items()}


def _region(roi: Any) -> tuple[int, int, int, int] | None:
    """A region of interest, ``[left, top, right, bottom]``, right and bottom outside it."""
    if roi is None:
        return None
    if not (isinstance(roi, list) and len(roi) == 4 and all(type(v) is int for v in roi)):
        raise CallError(400, "ROI must contain four integer coordinates: [xtl, ytl, xbr, ybr]")
    left, top, right, bottom = roi
    if min(roi) < 0:
        raise CallError(400, "ROI coordinates must be non-negative")
    if right <= left or bottom <= top:
        raise CallError(400, "ROI size must be positive")
    return left, top, right, bottom


def _shifted_pairs(points: Any, dx: int, dy: int) -> list[list[float]] | None:
    """Prompt points, each built anew as a pair: anything else does not pass."""
    if points is None:
        return None
    try:
        return [[x + dx, y + dy] for x, y in points]
    except (TypeError, ValueError) as error:
        raise CallError(400, ["Interactor prompt points must contain point pairs"]) from error


def _to_full_picture(answer: Any, picture: bytes, region: Any, profile: Profile) -> Any:
    """An interactor's answer, with masks moved from the region and other shapes left out.

    The filter of shapes belongs to the 2026 client's core, ahead of its plugins. It stands here so
    that a client without that core sees what plugins see.
    """
    if not profile.regions or not isinstance(answer, dict):
        return answer
    if region is not None:
        left, top, right, bottom = region
        if "mask" in answer:
            with Image.open(io.BytesIO(picture)) as image:
                width, height = image.size
            full = np.zeros((height, width), int)
            try:
                full[top:bottom, left:right] = answer["mask"]
            except ValueError as error:  # a mask that was cut to its bounds
                raise CallError(500, str(error)) from error
            answer["mask"] = full.tolist()
        for shape in answer.get("shapes", []):
            _shift_shape(shape, left, top)
    if isinstance(answer.get("shapes"), list):
        masks = [shape for shape in answer["shapes"] if shape.get("type") == "mask"]
        answer["shapes"] = [mask for mask in masks if not profile.checks_masks or _is_seen(mask)]
    return answer


def _is_seen(mask: Mapping[str, Any]) -> bool:
    """Whether the page of 2.7x to 2.8x shows a mask; one without attributes breaks it."""
    if not isinstance(mask.get("attributes"), list):
        raise CallError(500, "Cannot read properties of undefined (reading 'find')")
    left, top, right, bottom = mask["points"][-4:]
    return min(right - left, bottom - top) + 1 >= THINNEST_MASK


def _shift_shape(shape: dict[str, Any], dx: int, dy: int) -> None:
    """Move a shape; of a mask's run lengths only the bounds behind them are coordinates."""
    points = shape["points"]
    runs = points[:-4] if shape["type"] == "mask" else []
    rest = points[len(runs) :]
    shape["points"] = runs + [v + (dx if i % 2 == 0 else dy) for i, v in enumerate(rest)]


def _translated_labels(
    answer: Any, mapping: Mapping[str, Mapping[str, Any]], region: Any
) -> list[dict[str, Any]]:
    """A detector's answer in the task's labels, without the shapes that have none there."""
    shapes = []
    for item in answer:
        if item["label"] in mapping:
            shape = {**item, "label": mapping[item["label"]]["name"], "attributes": []}
            if region is not None:
                _shift_shape(shape, region[0], region[1])
            shapes.append(shape)
    return shapes

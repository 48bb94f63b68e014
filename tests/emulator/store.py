"""What a CVAT server keeps: tasks with frames and labels, jobs with annotations.

The rules are those of CVAT 2.15's ``dataset_manager/task.py`` and ``engine/serializers.py``. Not
here: projects, organisations, permissions, videos, skeletons, and the interpolation of tracks. A
task merges the copies of a shape in overlapping jobs where they are equal; CVAT also merges those
that are nearly so.
"""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

CHUNK_SIZE = 36
SHAPE_TYPES = ("rectangle", "polygon", "polyline", "points", "ellipse", "cuboid", "mask")
COLOURS = ("#ff355e", "#66ff66", "#50bfe6", "#ffcc33", "#ff6eff", "#fd5b78", "#16d0cb", "#ff9933")
KINDS = ("tags", "shapes", "tracks")

Annotations = dict[str, list[dict[str, Any]]]


class InvalidError(Exception):
    """What CVAT refuses with status 400; the argument is the body of its answer."""


@dataclass(frozen=True)
class Frame:
    """One stored picture: the bytes of its file, as they were uploaded."""

    name: str
    data: bytes
    width: int
    height: int

    @classmethod
    def of(cls, name: str, data: bytes) -> Frame:
        with Image.open(io.BytesIO(data)) as image:
            return cls(name, data, *image.size)

    @property
    def content_type(self) -> str:
        with Image.open(io.BytesIO(self.data)) as image:
            return image.get_format_mimetype() or "application/octet-stream"

    def compressed(self) -> bytes:
        """The frame as CVAT prepares it for display: a JPEG of quality 70."""
        stream = io.BytesIO()
        with Image.open(io.BytesIO(self.data)) as image:
            image.convert("RGB").save(stream, "JPEG", quality=70)
        return stream.getvalue()


@dataclass
class Job:
    """A range of a task's frames, or some of them, with its annotations, by id.

    ``changes`` counts the requests that changed them.
    """

    id: int
    task: Task
    start: int
    stop: int
    included_frames: list[int] | None = None
    type: str = "annotation"
    tags: dict[int, dict[str, Any]] = field(default_factory=dict)
    shapes: dict[int, dict[str, Any]] = field(default_factory=dict)
    tracks: dict[int, dict[str, Any]] = field(default_factory=dict)
    changes: int = 0

    def holds(self, frame: int) -> bool:
        return self.start <= frame <= self.stop


@dataclass
class Task:
    """Frames, labels (as the REST API shows them) and jobs."""

    id: int
    name: str
    frames: list[Frame]
    labels: list[dict[str, Any]]
    overlap: int
    segment_size: int
    deleted_frames: list[int] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)

    def label_named(self, name: str) -> dict[str, Any]:
        return next(label for label in self.labels if label["name"] == name)


class Store:
    """All tasks of one server. Safe from several threads."""

    def __init__(self) -> None:
        self.tasks: dict[int, Task] = {}
        self.jobs: dict[int, Job] = {}
        self.lock = threading.RLock()
        self._last_id = 0

    def _new_id(self) -> int:
        """Ids are never used twice, whatever they are of, so that one taken for another shows."""
        self._last_id += 1
        return self._last_id

    def add_task(
        self,
        name: str,
        labels: Sequence[str | Mapping[str, Any]],
        pictures: Iterable[tuple[str, bytes]],
        segment_size: int = 0,
        overlap: int = 0,
        deleted_frames: Sequence[int] = (),
    ) -> Task:
        """Create a task with its jobs.

        Args:
            name: Of the task.
            labels: Names, or ``{"name", "type"?, "color"?, "attributes"?: [{"name", "input_type"?,
                "values"?, "default_value"?, "mutable"?}]}``.
            pictures: Name and bytes of each frame's file.
            segment_size: Frames a job; 0 for one job.
            overlap: Frames that neighbouring jobs share.
            deleted_frames: Frames that were deleted.
        """
        with self.lock:
            frames = [Frame.of(*picture) for picture in pictures]
            segment_size = segment_size or len(frames)
            task = Task(
                self._new_id(), name, frames, [], overlap, segment_size, list(deleted_frames)
            )
            for label in labels:
                task.labels.append(self._label(task, label))
            for start in range(0, max(1, len(frames) - overlap), segment_size - overlap):
                stop = min(start + segment_size, len(frames)) - 1
                job = Job(self._new_id(), task, start, stop)
                task.jobs.append(job)
                self.jobs[job.id] = job
            self.tasks[task.id] = task
            return task

    def _label(self, task: Task, label: str | Mapping[str, Any]) -> dict[str, Any]:
        given = {"name": label} if isinstance(label, str) else dict(label)
        attributes = [
            {
                "id": self._new_id(),
                "name": attribute["name"],
                "mutable": attribute.get("mutable", False),
                "input_type": attribute.get("input_type", "text"),
                "default_value": attribute.get("default_value", ""),
                "values": attribute.get("values", []),
            }
            for attribute in given.get("attributes", [])
        ]
        return {
            "id": self._new_id(),
            "name": given["name"],
            "color": given.get("color", COLOURS[len(task.labels) % len(COLOURS)]),
            "type": given.get("type", "any"),
            "attributes": attributes,
            "sublabels": [],
            "has_parent": False,
            "task_id": task.id,
            "parent_id": None,
        }

    def job_annotations(self, job: Job) -> Annotations:
        """What ``GET /api/jobs/{id}/annotations`` answers."""
        with self.lock:
            found = {
                kind: sorted(getattr(job, kind).values(), key=lambda item: item["frame"])
                for kind in KINDS
            }
            return {kind: [_with_defaults(job.task, i) for i in found[kind]] for kind in KINDS}

    def task_annotations(self, task: Task) -> Annotations:
        """What ``GET /api/tasks/{id}/annotations`` answers."""
        merged: Annotations = {kind: [] for kind in KINDS}
        for job in task.jobs:
            for kind, items in self.job_annotations(job).items():
                known = [_without_ids(item) for item in merged[kind]]
                merged[kind] += [item for item in items if _without_ids(item) not in known]
        return merged

    def change_job(self, job: Job, action: str, data: Mapping[str, Any]) -> Annotations:
        """``PATCH ?action=create|update|delete`` or, with the action ``put``, ``PUT``."""
        if action not in ("create", "update", "delete", "put"):
            raise InvalidError(["Please specify a correct 'action' for the request"])
        checked = {
            kind: [_checked(job.task, kind, item) for item in data.get(kind, [])] for kind in KINDS
        }
        with self.lock:
            job.changes += 1
            if action == "put":
                self.clear_job(job)
            for kind in KINDS:
                kept = getattr(job, kind)
                if action in ("update", "delete"):
                    for item in checked[kind]:
                        kept.pop(item["id"], None)
                if action == "delete":
                    for item in checked[kind]:
                        item.pop("elements", None)
                    continue
                for item in checked[kind]:
                    item["id"] = (action == "update" and item["id"]) or self._new_id()
                    if kind == "tracks":
                        item["shapes"] = [{**s, "id": self._new_id()} for s in item["shapes"]]
                    kept[item["id"]] = item
        return checked

    def change_task(self, task: Task, action: str, data: Mapping[str, Any]) -> Annotations:
        """The same for a task: each of its jobs gets what lies on its frames."""
        merged: Annotations = {kind: [] for kind in KINDS}
        with self.lock:
            for job in task.jobs:
                of_job = {
                    kind: [dict(i) for i in data.get(kind, []) if job.holds(i.get("frame", 0))]
                    for kind in KINDS
                }
                for kind, items in self.change_job(job, action, of_job).items():
                    merged[kind] += items
        return merged

    def clear_job(self, job: Job) -> None:
        with self.lock:
            job.changes += 1
            for kind in KINDS:
                getattr(job, kind).clear()


def chunk(task: Task, number: int, encode: Callable[[Frame], bytes]) -> bytes:
    """One chunk of a task's frames: a zip of pictures, named by their place in it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        frames = task.frames[number * CHUNK_SIZE : (number + 1) * CHUNK_SIZE]
        for index, frame in enumerate(frames):
            archive.writestr(f"{index:06d}.jpeg", encode(frame))
    return stream.getvalue()


def _checked(task: Task, kind: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """An annotation as CVAT's serializers read it, defaults included."""
    label_id, frame = item.get("label_id"), item.get("frame")
    if not isinstance(frame, int) or frame < 0:
        raise InvalidError({kind: [{"frame": ["A valid integer is required."]}]})
    label = next((label for label in task.labels if label["id"] == label_id), None)
    if label is None:
        raise InvalidError([f"label_id `{label_id}` is invalid"])
    known = {attribute["id"] for attribute in label["attributes"]}
    attributes = [
        {"spec_id": attribute["spec_id"], "value": str(attribute["value"])}
        for attribute in item.get("attributes", [])
    ]
    for attribute in attributes:
        if attribute["spec_id"] not in known:
            raise InvalidError([f"spec_id `{attribute['spec_id']}` is invalid"])
    checked = {
        "id": item.get("id"),
        "frame": frame,
        "label_id": label_id,
        "group": item.get("group"),
        "source": item.get("source", "manual"),
        "attributes": attributes,
    }
    if kind == "tracks":
        shapes = [{"rotation": 0, **shape} for shape in item.get("shapes", [])]
        return {**checked, "shapes": shapes, "elements": []}
    if kind == "tags":
        return checked
    points, rotation = item.get("points", []), item.get("rotation", 0)
    if item.get("type") not in SHAPE_TYPES:
        raise InvalidError({kind: [{"type": [f'"{item.get("type")}" is not a valid choice.']}]})
    if wrong := [i for i, value in enumerate(points) if type(value) not in (int, float)]:
        reason = "[ErrorDetail(string='Value must be a float or an integer', code='invalid')]"
        raise InvalidError({kind: [{"points": {str(i): reason for i in wrong}}]})
    if not 0 <= rotation <= 360:
        raise InvalidError({kind: [{"rotation": ["Ensure this value is between 0 and 360."]}]})
    return {
        **checked,
        "type": item["type"],
        "occluded": bool(item.get("occluded", False)),
        "outside": bool(item.get("outside", False)),
        "z_order": item.get("z_order", 0),
        "rotation": rotation,
        "points": points,
        "elements": [],
    }


def _with_defaults(task: Task, item: Mapping[str, Any]) -> dict[str, Any]:
    """An annotation with the default values of the attributes that it does not set."""
    label = next(label for label in task.labels if label["id"] == item["label_id"])
    given = {attribute["spec_id"] for attribute in item["attributes"]}
    defaults = [
        {"spec_id": attribute["id"], "value": attribute["default_value"]}
        for attribute in label["attributes"]
        if attribute["id"] not in given
    ]
    return {**item, "attributes": [*item["attributes"], *defaults]}


def _without_ids(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key != "id"}

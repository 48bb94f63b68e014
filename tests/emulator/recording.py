"""Requests whose answers of a real CVAT are kept, for the emulator to be compared with.

``python -m tests.emulator.recording http://localhost:8080 NAME:PASSWORD recorded/cvat-2.15.json``
makes a task of two grey pictures on a CVAT server, sends the requests of `STEPS` for it, writes the
answers down and deletes the task. ``test_recorded.py`` sends the same requests to the emulator.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from c3det.clicks import Click
from serverless.protocol import plugin_prompts
from tests.serverless.fakes import encoded_picture

LABELS: list[dict[str, Any]] = [
    {"name": "tree", "attributes": []},
    {
        "name": "car",
        "attributes": [
            {
                "name": "kind",
                "mutable": False,
                "input_type": "select",
                "default_value": "van",
                "values": ["van", "bus"],
            }
        ],
    },
]
SEGMENT_SIZE = 1

Ids = dict[str, int]
Headers = Mapping[str, str]


@dataclass(frozen=True)
class Step:
    """One request.

    Attributes:
        name: Of its answer in the recording.
        method: HTTP method.
        path: With its query; ``{task}`` and the like stand for ids.
        body: Makes the body, from the ids of the task, its first job, its first label and the first
            shape that was created.
        anonymous: Sent without a login.
    """

    name: str
    method: str
    path: str
    body: Callable[[Ids], Any] | None = None
    anonymous: bool = False


def _shape(ids: Ids, **changes: Any) -> dict[str, Any]:
    return {
        "type": "rectangle",
        "frame": 0,
        "label_id": ids["label"],
        "points": [1.5, 2, 8, 9],
        "rotation": 30,
        "occluded": False,
        "z_order": 0,
        "source": "semi-auto",
        "attributes": [],
        **changes,
    }


def _shapes(**changes: Any) -> Callable[[Ids], Any]:
    return lambda ids: {"version": 0, "tags": [], "tracks": [], "shapes": [_shape(ids, **changes)]}


def _with_id(ids: Ids) -> Any:
    return {"version": 0, "tags": [], "tracks": [], "shapes": [_shape(ids, id=ids["shape"])]}


def _call(**changes: Any) -> Callable[[Ids], Any]:
    prompts = plugin_prompts([Click(4, 5, 0)])
    return lambda ids: {"task": ids["task"], "job": ids["job"], "frame": 0, **prompts, **changes}


def _everything(ids: Ids) -> Any:
    track = {
        "frame": 0,
        "label_id": ids["label"],
        "group": 0,
        "source": "manual",
        "attributes": [],
        "shapes": [
            {
                "type": "rectangle",
                "frame": 0,
                "points": [1, 1, 5, 5],
                "occluded": False,
                "outside": False,
                "z_order": 0,
                "attributes": [],
            }
        ],
    }
    tag = {"frame": 0, "label_id": ids["label"], "group": 0, "source": "manual", "attributes": []}
    attributed = {"label_id": ids["second label"], "points": [1, 1, 3, 3], "type": "points"}
    shapes = [_shape(ids), _shape(ids, **attributed)]
    return {"version": 0, "tags": [tag], "tracks": [track], "shapes": shapes}


STEPS = (
    Step("about", "GET", "/api/server/about", anonymous=True),
    Step("nobody logged in", "GET", "/api/jobs", anonymous=True),
    Step(
        "wrong password",
        "POST",
        "/api/auth/login",
        lambda ids: {"username": "nobody", "password": "wrong"},
        anonymous=True,
    ),
    Step("user", "GET", "/api/users/self"),
    Step("tasks", "GET", "/api/tasks"),
    Step("jobs", "GET", "/api/jobs?task_id={task}"),
    Step("labels of a job", "GET", "/api/labels?job_id={job}"),
    Step("labels of a task", "GET", "/api/labels?task_id={task}&page_size=1"),
    Step("no such page", "GET", "/api/labels?task_id={task}&page=9"),
    Step("task", "GET", "/api/tasks/{task}"),
    Step("job", "GET", "/api/jobs/{job}"),
    Step("no such job", "GET", "/api/jobs/999999"),
    Step("pictures of a job", "GET", "/api/jobs/{job}/data/meta"),
    Step("pictures of a task", "GET", "/api/tasks/{task}/data/meta"),
    Step("picture", "GET", "/api/jobs/{job}/data?type=frame&number=0&quality=original"),
    Step("picture for display", "GET", "/api/jobs/{job}/data?type=frame&number=0"),
    Step("chunk", "GET", "/api/jobs/{job}/data?type=chunk&number=0&quality=compressed"),
    Step("picture of another job", "GET", "/api/jobs/{job}/data?type=frame&number=1"),
    Step("no type of data", "GET", "/api/jobs/{job}/data?number=0"),
    Step("create", "PATCH", "/api/jobs/{job}/annotations?action=create", _shapes()),
    Step("created", "GET", "/api/jobs/{job}/annotations"),
    Step("update", "PATCH", "/api/jobs/{job}/annotations?action=update", _with_id),
    Step("replace all", "PUT", "/api/jobs/{job}/annotations", _everything),
    Step("replaced", "GET", "/api/jobs/{job}/annotations"),
    Step("of the task", "GET", "/api/tasks/{task}/annotations"),
    Step("delete", "PATCH", "/api/jobs/{job}/annotations?action=delete", _with_id),
    Step("no action", "PATCH", "/api/jobs/{job}/annotations", _shapes()),
    Step(
        "no such label",
        "PATCH",
        "/api/jobs/{job}/annotations?action=create",
        _shapes(label_id=999_999),
    ),
    Step(
        "no such type",
        "PATCH",
        "/api/jobs/{job}/annotations?action=create",
        _shapes(type="box"),
    ),
    Step(
        "points of text",
        "PATCH",
        "/api/jobs/{job}/annotations?action=create",
        _shapes(points=["a", "b"]),
    ),
    Step("clear", "DELETE", "/api/jobs/{job}/annotations"),
    Step("functions", "GET", "/api/lambda/functions"),
    Step("function", "GET", "/api/lambda/functions/c3det"),
    Step("no such function", "GET", "/api/lambda/functions/none"),
    Step("call", "POST", "/api/lambda/functions/c3det", _call()),
    Step("call without clicks", "POST", "/api/lambda/functions/c3det", _call(pos_points=None)),
    Step("call for no frame", "POST", "/api/lambda/functions/c3det", _call(frame=7)),
    Step("call for no task", "POST", "/api/lambda/functions/c3det", lambda ids: {"frame": 0}),
    Step("log out", "POST", "/api/auth/logout", lambda ids: {}),
)


class Client:
    """Sends JSON to a server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._http = urllib3.PoolManager(retries=False, timeout=120)
        self.login: Headers = {}

    def log_in(self, name: str, password: str) -> None:
        self.login = {}
        answer = self.send("POST", "/api/auth/login", {"username": name, "password": password})
        self.login = {"Authorization": f"Token {answer['body']['key']}"}

    def send(self, method: str, path: str, body: Any = None, **options: Any) -> dict[str, Any]:
        """Return the answer: ``{"status", "type", "body"}``; only bodies of JSON are kept."""
        headers = {**self.login, "Accept": "application/vnd.cvat+json, */*"}
        if options.get("anonymous"):
            headers.pop("Authorization", None)
        if body is not None:
            headers["Content-Type"] = "application/json"
            options["body"] = json.dumps(body).encode()
        options.pop("anonymous", None)
        answer = self._http.request(method, self._url + path, headers=headers, **options)
        kind = answer.headers.get("Content-Type", "").partition(";")[0]
        is_json = kind.endswith("json") and answer.data
        return {
            "status": answer.status,
            "type": "application/json" if is_json else kind,
            "body": json.loads(answer.data) if is_json else None,
        }


def play(client: Client, ids: Ids) -> dict[str, dict[str, Any]]:
    """Send all requests, and return their answers by the names of the steps."""
    answers = {}
    for step in STEPS:
        body = None if step.body is None else step.body(ids)
        path = step.path.format(**ids)
        answer = client.send(step.method, path, body, anonymous=step.anonymous)
        answers[step.name] = answer
        if step.name == "create":
            ids["shape"] = answer["body"]["shapes"][0]["id"]
    return answers


def make_task(client: Client) -> Ids:
    """Make the task on a real CVAT, and wait for its pictures."""
    labels = {"name": "recorded", "labels": LABELS, "segment_size": SEGMENT_SIZE}
    task = client.send("POST", "/api/tasks", labels)["body"]["id"]
    fields: dict[str, Any] = {
        "image_quality": "70",
        "use_cache": "true",
        **{
            f"client_files[{i}]": (f"{i}.png", encoded_picture(16, 10), "image/png")
            for i in range(2)
        },
    }
    client.send("POST", f"/api/tasks/{task}/data", fields=fields)
    deadline = time.monotonic() + 120
    while not (jobs := client.send("GET", f"/api/jobs?task_id={task}")["body"]["results"]):
        if time.monotonic() > deadline:
            raise TimeoutError("The task has no jobs after 120 s: are CVAT's workers running?")
        time.sleep(1)
    labels = client.send("GET", f"/api/labels?task_id={task}")["body"]["results"]
    first, second = sorted(labels, key=lambda label: label["name"] != "tree")
    job = min(jobs, key=lambda one: one["start_frame"])["id"]
    return {"task": task, "job": job, "label": first["id"], "second label": second["id"]}


def main(arguments: Sequence[str] | None = None) -> None:
    """Record the answers of a server."""
    parser = argparse.ArgumentParser(description="Record the answers of a CVAT server.")
    parser.add_argument("url", help="of the server")
    parser.add_argument("login", metavar="NAME:PASSWORD")
    parser.add_argument("out", type=Path, help="JSON file")
    given = parser.parse_args(arguments)
    client = Client(given.url)
    client.log_in(*given.login.split(":", 1))
    ids = make_task(client)
    answers = play(client, ids)
    client.log_in(*given.login.split(":", 1))
    client.send("DELETE", f"/api/tasks/{ids['task']}")
    given.out.write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

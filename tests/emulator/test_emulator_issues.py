"""The issues of the emulator: CVAT's review comments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.emulator.server import Emulator
from tests.emulator.test_emulator_rest import make_task, request

SQUARE = [1, 2, 3, 2, 3, 4, 1, 4]


def test_issues_are_listed_by_job_and_by_task(start: Callable[..., Emulator]) -> None:
    emulator = start()
    task, other = (make_task(emulator.store, segment_size=3) for _ in range(2))
    for job, frame in ((task.jobs[0], 1), (task.jobs[1], 4), (other.jobs[0], 0)):
        body = {"job": job.id, "frame": frame, "position": SQUARE, "message": "Look."}
        status, issue = request(emulator, "POST", "/api/issues", body)
        assert status == 201
        assert (issue["job"], issue["frame"], issue["position"]) == (job.id, frame, SQUARE)
        assert not issue["resolved"]
        assert "message" not in issue, "it is the first of the comments"
    for query, frames in (
        (f"job_id={task.jobs[1].id}", [4]),
        (f"task_id={task.id}", [1, 4]),
        ("page=1", [1, 4, 0]),
    ):
        status, found = request(emulator, "GET", f"/api/issues?{query}")
        assert status == 200
        assert [issue["frame"] for issue in found["results"]] == frames


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"job": None}, "job"),
        ({"job": 99}, "job"),
        ({"frame": None}, "frame"),
        ({"message": ""}, "message"),
        ({"position": []}, "position"),
    ],
)
def test_what_is_no_issue(
    start: Callable[..., Emulator], change: dict[str, Any], field: str
) -> None:
    emulator = start()
    task = make_task(emulator.store)
    body = {"job": task.jobs[0].id, "frame": 0, "position": SQUARE, "message": "Look.", **change}
    given = {name: value for name, value in body.items() if value is not None}
    status, errors = request(emulator, "POST", "/api/issues", given)
    assert (status, list(errors)) == (400, [field])
    assert emulator.issues == []

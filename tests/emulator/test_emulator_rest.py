"""The REST side of the emulator: annotations, data, login, faults, and the process."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import urllib3
from PIL import Image

from c3det.clicks import Click
from serverless.protocol import plugin_prompts
from serverless.settings import OPEN_WEIGHTS, STARTER_WEIGHTS
from tests.emulator.faults import parse_fault
from tests.emulator.server import Emulator
from tests.emulator.store import InvalidError, Store
from tests.serverless.fakes import encoded_picture

ROOT = Path(__file__).resolve().parents[2]
HTTP = urllib3.PoolManager(retries=False, timeout=20)


def request(
    emulator: Emulator, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, Any]:
    """Status and body, parsed if it is JSON."""
    answer = HTTP.request(
        method,
        emulator.url + path,
        body=None if body is None else json.dumps(body).encode(),
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )
    if answer.headers.get("Content-Type") == "application/json" and answer.data:
        return answer.status, json.loads(answer.data)
    return answer.status, answer.data


def make_task(store: Store, **options: Any) -> Any:
    pictures = [(f"{i}.png", encoded_picture(value=i)) for i in range(5)]
    score = {"name": "score", "input_type": "number", "values": ["0", "1", "0.01"]}
    labels = ["tree", {"name": "0", "attributes": [{**score, "default_value": "0"}]}]
    return store.add_task("five", labels, pictures, **options)


def shape(task: Any, frame: int = 0, label: str = "tree", **changes: Any) -> dict[str, Any]:
    label_id = task.label_named(label)["id"]
    points = [1, 2, 3, 4.5]
    return {"frame": frame, "label_id": label_id, "type": "rectangle", "points": points, **changes}


def test_segments_and_overlap() -> None:
    store = Store()

    def ranges(**options: Any) -> list[tuple[int, int]]:
        return [(job.start, job.stop) for job in make_task(store, **options).jobs]

    assert ranges() == [(0, 4)]
    assert ranges(segment_size=2) == [(0, 1), (2, 3), (4, 4)]
    assert ranges(segment_size=3, overlap=1) == [(0, 2), (2, 4)]


def test_created_shapes_come_back_with_ids_and_defaults(start: Callable[..., Emulator]) -> None:
    emulator = start()
    task = make_task(emulator.store)
    place = f"/api/jobs/{task.jobs[0].id}/annotations"
    made = shape(task, 1, "0", rotation=30, group=4, source="semi-auto")
    status, created = request(emulator, "PATCH", f"{place}?action=create", {"shapes": [made]})
    assert status == 200
    (kept,) = request(emulator, "GET", place)[1]["shapes"]
    (attribute,) = task.label_named("0")["attributes"]
    assert kept == {
        **made,
        "id": created["shapes"][0]["id"],
        "occluded": False,
        "outside": False,
        "z_order": 0,
        "elements": [],
        "attributes": [{"spec_id": attribute["id"], "value": "0"}],
    }


def test_update_delete_put_and_clear(start: Callable[..., Emulator]) -> None:
    emulator = start()
    task = make_task(emulator.store)
    place = f"/api/jobs/{task.jobs[0].id}/annotations"

    def change(method: str, action: str, *shapes: dict[str, Any]) -> list[dict[str, Any]]:
        query = f"?action={action}" if action else ""
        assert request(emulator, method, place + query, {"shapes": list(shapes)})[0] == 200
        return request(emulator, "GET", place)[1]["shapes"]

    first, second = change("PATCH", "create", shape(task, 0), shape(task, 1))
    updated = change("PATCH", "update", {**second, "group": 9})
    assert [(s["id"], s["group"]) for s in updated] == [(first["id"], None), (second["id"], 9)]
    gone = {**first, "id": 10_000}
    assert [s["id"] for s in change("PATCH", "delete", first, gone)] == [second["id"]]
    (new,) = change("PUT", "", shape(task, 3))
    assert new["frame"] == 3
    assert request(emulator, "DELETE", place) == (204, b"")
    assert request(emulator, "GET", place)[1]["shapes"] == []
    assert request(emulator, "PATCH", place, {"shapes": []})[0] == 400


@pytest.mark.parametrize(
    "wrong",
    [
        {"label_id": 999},
        {"frame": -1},
        {"frame": None},
        {"type": "box"},
        {"rotation": 361},
        {"points": [1, "2"]},
        {"attributes": [{"spec_id": 999, "value": "1"}]},
    ],
)
def test_what_cvat_refuses(wrong: dict[str, Any]) -> None:
    store = Store()
    task = make_task(store)
    with pytest.raises(InvalidError):
        store.change_job(task.jobs[0], "create", {"shapes": [shape(task), shape(task, **wrong)]})
    assert store.job_annotations(task.jobs[0])["shapes"] == []


def test_a_task_spreads_shapes_over_its_jobs_and_merges_them() -> None:
    store = Store()
    task = make_task(store, segment_size=3, overlap=1)
    store.change_task(task, "create", {"shapes": [shape(task, frame) for frame in range(5)]})
    frames = [[s["frame"] for s in store.job_annotations(job)["shapes"]] for job in task.jobs]
    assert frames == [[0, 1, 2], [2, 3, 4]]
    assert [s["frame"] for s in store.task_annotations(task)["shapes"]] == [0, 1, 2, 3, 4]


def test_frames_chunks_and_meta(start: Callable[..., Emulator]) -> None:
    emulator = start()
    task = make_task(emulator.store, segment_size=3, deleted_frames=[1, 4])
    first, second = task.jobs
    place = f"/api/jobs/{second.id}/data"
    meta = request(emulator, "GET", f"{place}/meta")[1]
    assert [frame["name"] for frame in meta["frames"]] == ["3.png", "4.png"]
    assert (meta["deleted_frames"], meta["size"]) == ([4], 2)
    query = "?type=frame&number=3&quality="
    assert request(emulator, "GET", f"{place}{query}original")[1] == encoded_picture(value=3)
    compressed = request(emulator, "GET", f"{place}{query}compressed")[1]
    assert Image.open(io.BytesIO(compressed)).format == "JPEG"
    assert request(emulator, "GET", f"{place}?type=frame&number=0")[0] == 400
    assert request(emulator, "GET", f"/api/jobs/{first.id}/data?type=frame&number=0")[0] == 200
    whole = request(emulator, "GET", f"/api/tasks/{task.id}/data?type=chunk&number=0")[1]
    names = [f"{i:06d}.jpeg" for i in range(5)]
    assert zipfile.ZipFile(io.BytesIO(whole)).namelist() == names


def test_lists_have_pages(start: Callable[..., Emulator]) -> None:
    emulator = start()
    task = emulator.store.add_task("t", [str(i) for i in range(12)], [("a", encoded_picture())])
    page = request(emulator, "GET", f"/api/labels?task_id={task.id}")[1]
    assert (page["count"], len(page["results"]), page["next"] is None) == (12, 10, False)
    page = request(emulator, "GET", f"/api/labels?job_id={task.jobs[0].id}&page=2")[1]
    assert ([label["name"] for label in page["results"]], page["next"]) == (["10", "11"], None)
    assert request(emulator, "GET", "/api/labels?job_id=999")[0] == 404
    assert request(emulator, "GET", "/api/jobs/999")[0] == 404


def test_nobody_gets_in_without_the_password(start: Callable[..., Emulator]) -> None:
    emulator = start(credentials=("ann", "secret"))
    assert request(emulator, "GET", "/api/server/about")[0] == 200
    assert request(emulator, "GET", "/api/jobs")[0] == 401
    wrong = {"username": "ann", "password": "guess"}
    assert request(emulator, "POST", "/api/auth/login", wrong)[0] == 400
    right = {"username": "ann", "password": "secret"}
    key = request(emulator, "POST", "/api/auth/login", right)[1]["key"]
    for kind in ("Token", "Bearer"):
        assert request(emulator, "GET", "/api/jobs", Authorization=f"{kind} {key}")[0] == 200
    session = {"Cookie": f"sessionid={key}"}
    assert request(emulator, "GET", "/api/jobs", **session)[0] == 200
    assert request(emulator, "POST", "/api/auth/logout", **session)[0] == 403
    session["X_CSRFToken"] = f"csrf{key}"
    assert request(emulator, "POST", "/api/auth/logout", **session)[0] == 200


def test_faults(start: Callable[..., Emulator]) -> None:
    emulator = start()
    task = make_task(emulator.store)
    place = f"/api/jobs/{task.jobs[0].id}/annotations"
    made = {"shapes": [shape(task)]}

    def count() -> int:
        return len(request(emulator, "GET", place)[1]["shapes"])

    emulator.faults.add(path="annotations", method="PATCH", status=502, times=2)
    statuses = [request(emulator, "PATCH", f"{place}?action=create", made)[0] for _ in range(3)]
    assert (statuses, count()) == ([502, 502, 200], 1)
    emulator.faults.add(method="PATCH", cut=True, processed=True)
    with pytest.raises(urllib3.exceptions.ProtocolError):
        request(emulator, "PATCH", f"{place}?action=create", made)
    assert count() == 2
    emulator.faults.add(method="PATCH", status=504, late="about")
    assert request(emulator, "PATCH", f"{place}?action=create", made)[0] == 504
    assert count() == 2
    request(emulator, "GET", "/api/server/about")
    assert count() == 3
    request(emulator, "POST", "/emulator/faults", {"path": "annotations", "delay_s": 0.2})
    began = time.monotonic()
    count()
    assert time.monotonic() - began >= 0.2
    request(emulator, "POST", "/emulator/faults", {"status": 500})
    assert request(emulator, "DELETE", "/emulator/faults")[0] == 204
    assert count() == 3
    with pytest.raises(TypeError):
        emulator.faults.add(colour="red")


def test_a_fault_on_the_command_line() -> None:
    assert parse_fault("path=/lambda/,status=500,times=2,delay_s=0.5,cut=0") == {
        "path": "/lambda/",
        "status": 500,
        "times": 2,
        "delay_s": 0.5,
        "cut": False,
    }


def test_static_files_and_other_origins(start: Callable[..., Emulator], tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text("<p>page</p>")
    (tmp_path / "secret.txt").write_text("secret")
    emulator = start(static=site)
    assert request(emulator, "GET", "/") == (200, b"<p>page</p>")
    for path in ("/../secret.txt", "/%2e%2e/secret.txt", "/none.js"):
        assert request(emulator, "GET", path)[0] == 404
    answer = HTTP.request(
        "OPTIONS",
        f"{emulator.url}/api/jobs",
        headers={"Origin": "http://a.b", "Access-Control-Request-Headers": "X-CSRFToken"},
    )
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == "http://a.b"
    assert answer.headers["Access-Control-Allow-Headers"] == "X-CSRFToken"


@pytest.mark.parametrize("weights", [OPEN_WEIGHTS, STARTER_WEIGHTS], ids=["open", "closed"])
def test_the_process_with_a_shipped_model(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded_picture(64, 64))
    command = [sys.executable, "-m", "tests.emulator", "--profile", "2026", "--with-parent"]
    command += ["--weights", str(weights)]
    process = subprocess.Popen(
        [*command, "--pictures", str(tmp_path), "--fault", "path=/api/jobs,status=500"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    is_open = weights == OPEN_WEIGHTS
    try:
        ready = json.loads(process.stdout.readline())
        url = ready["url"]
        assert ready["functions"] == (["c3det"] if is_open else ["c3det", "c3det-detector"])
        assert HTTP.request("GET", f"{url}/api/jobs").status == 500
        picture = {"name": "b.png", "data": base64.b64encode(encoded_picture()).decode()}
        task = {"name": "b", "labels": ["tree"], "pictures": [picture]}
        made = HTTP.request("POST", f"{url}/emulator/tasks", body=json.dumps(task).encode())
        assert json.loads(made.data)["job_ids"] == [json.loads(made.data)["id"] + 2]
        prompts = plugin_prompts([Click(20, 20, 0)])
        body = {"task": ready["task"], "frame": 0, **prompts}
        call = f"{url}/api/lambda/functions/c3det"
        answer = json.loads(HTTP.request("POST", call, body=json.dumps(body).encode()).data)
        assert answer["error"] is None
        (clicked,) = (box for box in answer["boxes"] if box["click"] == 0)
        assert (clicked["label"], clicked["class"]) == (None if is_open else "tree", 0)
        x1, y1, x2, y2 = clicked["points"]
        assert x1 <= 20 <= x2
        assert y1 <= 20 <= y2
    finally:
        process.stdin.close()
        assert process.wait(timeout=30) == 0
        process.stdout.close()

from __future__ import annotations

import importlib.util
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image

from training.data.readers.cvat_server import ServerError, connect, download
from training.data.readers.cvat_xml import read_cvat_xml

XML = """<annotations><meta><task><labels><label><name>ship</name></label></labels></task></meta>
<image id="0" name="sea.png" width="30" height="20">
<box label="ship" xtl="1" ytl="2" xbr="5" ybr="7"/>
</image></annotations>
"""

needs_sdk = pytest.mark.skipif(
    importlib.util.find_spec("cvat_sdk") is None,
    reason="cvat-sdk is not installed (the extra cvat of this project)",
)


def exported(**files: str) -> bytes:
    """A zip as CVAT makes it, with one picture."""
    picture = io.BytesIO()
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(picture, "PNG")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("images/sea.png", picture.getvalue())
        for name, content in files.items():
            zipped.writestr(name.replace("__", "."), content)
    return archive.getvalue()


class FakeClient:
    """As much of cvat-sdk's client as is used; only task 3, project 4 and job 5 exist."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.asked: list[dict[str, Any]] = []
        self.tasks = SimpleNamespace(retrieve=lambda number: self.source("task", number, 3))
        self.jobs = SimpleNamespace(retrieve=lambda number: self.source("job", number, 5))
        self.projects = SimpleNamespace(retrieve=lambda number: self.source("project", number, 4))

    def source(self, kind: str, number: int, existing: int) -> SimpleNamespace:
        if number != existing:
            raise LookupError(f"no {kind}\n{number}")
        return SimpleNamespace(export_dataset=self.export)

    def export(self, format_name: str, filename: Path, **options: Any) -> None:
        self.asked.append({"format": format_name, **options})
        filename.write_bytes(self.content)


@pytest.mark.parametrize(("kind", "number"), [("task", 3), ("project", 4), ("job", 5)])
def test_export_is_unpacked_and_read(tmp_path: Path, kind: Any, number: int) -> None:
    client = FakeClient(exported(annotations__xml=XML))
    path = download(client, kind, number, tmp_path / "data" / "set")
    assert client.asked == [{"format": "CVAT for images 1.1", "include_images": True}]
    reading = read_cvat_xml(path)
    assert reading.defects == ()
    assert reading.index.records[0].path == tmp_path / "data" / "set" / "images" / "sea.png"
    assert reading.index.records[0].boxes.tolist() == [[1, 2, 5, 7]]


def test_new_export_replaces_the_old_one_and_a_failed_one_does_not(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    download(FakeClient(exported(annotations__xml=XML, old__txt="")), "task", 3, folder)
    assert (folder / "old.txt").is_file()
    for content, message in [
        (b"no zip", "the export of task 3 is broken: File is not a zip file"),
        (exported(), "the export of task 3 holds no annotations.xml"),
    ]:
        with pytest.raises(ServerError, match=message):
            download(FakeClient(content), "task", 3, folder)
        assert (folder / "old.txt").is_file()
    with pytest.raises(ServerError, match="task 8 cannot be exported: no task 8"):
        download(FakeClient(b""), "task", 8, folder)
    download(FakeClient(exported(annotations__xml=XML)), "task", 3, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["annotations.xml", "images"]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_export_that_went_to_a_cloud_storage_is_told(tmp_path: Path) -> None:
    client = FakeClient(b"")
    client.source = lambda *ids: SimpleNamespace(  # type: ignore[method-assign]
        export_dataset=lambda *args, **options: None
    )
    with pytest.raises(ServerError, match=r"^task 3 was exported to the cloud storage"):
        download(client, "task", 3, tmp_path / "set")


class CvatHandler(BaseHTTPRequestHandler):
    """The answers of a CVAT server that the SDK needs to export task 3."""

    requests: list[tuple[str, str]]

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.requests.append(("GET", url.path))
        if url.path == "/api/server/about":
            about = dict(name="CVAT", description="", version="2.80.0", logo_url="", subtitle="")
            self.answer(200, about)
        elif self.headers.get("Authorization") != "Bearer secret":
            self.answer(401, {"detail": "Authentication credentials were not provided."})
        elif url.path == "/api/tasks/3":
            labels = {"url": self.address("/api/labels?task_id=3")}
            jobs = {"count": 1, "completed": 0, "validation": 0, "url": self.address("/api/jobs")}
            task = {"id": 3, "name": "sea", "labels": labels, "jobs": jobs, "target_storage": None}
            self.answer(200, task)
        elif url.path == "/api/requests/rq1":
            self.answer(
                200,
                {
                    "id": "rq1",
                    "status": "finished",
                    "message": "",
                    "created_date": "2026-01-01T00:00:00Z",
                    "operation": {"type": "export:dataset", "target": "task"},
                    "result_url": self.address("/api/tasks/3/dataset/download?rq_id=rq1"),
                },
            )
        elif url.path == "/api/tasks/3/dataset/download":
            self.answer(200, exported(annotations__xml=XML))
        else:
            self.answer(404, {"detail": "Not found."})

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        self.requests.append(("POST", url.path))
        query = parse_qs(url.query)
        assert query["format"] == ["CVAT for images 1.1"]
        assert query["save_images"] == ["True"]
        self.answer(202, {"rq_id": "rq1"})

    def address(self, path: str) -> str:
        return f"http://{self.headers['Host']}{path}"

    def answer(self, status: int, content: object) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        kind = "application/zip" if isinstance(content, bytes) else "application/json"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """A server on this machine: its address and the requests that it got."""
    handler = type("Handler", (CvatHandler,), {"requests": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}", handler.requests  # type: ignore[attr-defined]
        httpd.shutdown()
        thread.join()


@needs_sdk
def test_real_sdk_fetches_a_task(tmp_path: Path, server: tuple[str, list[tuple[str, str]]]) -> None:
    address, requests = server
    with connect(address, token="secret") as client:
        path = download(client, "task", 3, tmp_path / "set")
    assert read_cvat_xml(path).defects == ()
    assert requests == [
        ("GET", "/api/server/about"),
        ("GET", "/api/tasks/3"),
        ("POST", "/api/tasks/3/dataset/export"),
        ("GET", "/api/requests/rq1"),
        ("GET", "/api/tasks/3/dataset/download"),
    ]


@needs_sdk
def test_refusals_of_the_server_are_one_line(
    tmp_path: Path, server: tuple[str, list[tuple[str, str]]]
) -> None:
    with connect(server[0], token="secret") as client, pytest.raises(ServerError) as missing:
        download(client, "task", 9, tmp_path / "set")
    assert str(missing.value) == "task 9 cannot be exported: 404 Not Found"
    with connect(server[0], token="wrong") as client, pytest.raises(ServerError) as refused:
        download(client, "task", 3, tmp_path / "set")
    assert str(refused.value) == "task 3 cannot be exported: 401 Unauthorized"
    assert list(tmp_path.iterdir()) == []


@needs_sdk
def test_host_that_is_no_address_is_named() -> None:
    with pytest.raises(ServerError, match=r"^ftp://nowhere: no session: "):
        connect("ftp://nowhere", token="secret")

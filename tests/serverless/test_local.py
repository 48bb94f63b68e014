from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nuclio_sdk
import pytest
from nuclio_sdk import Context, Event

from serverless.deployment import FUNCTION
from serverless.local import PAGE, LocalServer, samples_directory
from serverless.nuclio_worker import FunctionError, HttpAnswer, NuclioWorker, Trigger
from serverless.settings import OPEN_WEIGHTS
from tests.serverless.fakes import base64_picture

ROOT = Path(__file__).resolve().parents[2]
JSON = {"Content-Type": "application/json"}
Handler = Callable[[Context, Event], Any]


@contextmanager
def running(
    handler: Handler, pictures: Path | None = Path("absent"), **limits: Any
) -> Iterator[LocalServer]:
    logger = nuclio_sdk.Logger("ERROR", name="test_local")
    worker = NuclioWorker(handler, Trigger(**limits), logger)
    with LocalServer(("127.0.0.1", 0), worker, pictures) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def call(
    server: LocalServer,
    method: str = "POST",
    path: str = "/",
    body: bytes = b"",
    headers: dict[str, str] | None = None,
) -> tuple[int, str, bytes]:
    """Return status, content type and body; the path goes out as it is, dots and all."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=20)
    try:
        connection.request(method, path, body or None, headers or {})
        response = connection.getresponse()
        return response.status, response.headers["Content-Type"], response.read()
    finally:
        connection.close()


def describe_body(context: Context, event: Event) -> Any:
    return context.Response(body=f"{type(event.body).__name__} {event.body}", status_code=201)


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("application/json", b'{"a": 1}', "dict {'a': 1}"),
        ("application/json", b"[1, 2]", "list [1, 2]"),
        ("application/json", b"{broken", "bytes b'{broken'"),
        ("application/json; charset=utf-8", b'{"a": 1}', "bytes b'{\"a\": 1}'"),
        ("text/plain", b'{"a": 1}', "bytes b'{\"a\": 1}'"),
        (None, b"{}", "bytes b'{}'"),
    ],
)
def test_content_type_decides_type_of_body(
    content_type: str | None, body: bytes, expected: str
) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    with running(describe_body) as server:
        assert call(server, body=body, headers=headers)[::2] == (201, expected.encode())


@pytest.mark.parametrize("error", [ZeroDivisionError("by zero"), SystemExit("leaving")])
def test_exception_is_500_with_traceback(error: BaseException) -> None:
    def handler(context: Context, event: Event) -> Any:
        raise error

    with running(handler) as server:
        status, content_type, body = call(server)
        assert (status, content_type) == (500, "text/plain; charset=utf-8")
        assert body.startswith(f'Exception caught in handler - "{error}": Traceback'.encode())
        assert call(server)[0] == 500, "the runtime outlives it"


def test_ctrl_c_is_no_answer() -> None:
    def handler(context: Context, event: Event) -> Any:
        raise KeyboardInterrupt

    worker = NuclioWorker(handler, Trigger(), nuclio_sdk.Logger("ERROR", name="test_local"))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            worker.post(b"{}")


def test_body_limit() -> None:
    with running(lambda context, event: str(len(event.body)), max_body_bytes=1000) as server:
        assert call(server, body=b"x" * 1000)[::2] == (200, b"1000")
        assert call(server, body=b"x" * 1001)[::2] == (400, b"Error when parsing request")
        # Longer than what the buffers of the two sockets hold.
        assert call(server, body=b"x" * 20_000_000)[0] == 400
        for length in ("-1", "many", "1" * 5000):
            assert call(server, headers={"Content-Length": length})[0] == 400


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(("localhost", 200), ("LOCALHOST:8000", 200), ("10.1.2.3:80", 200), ("[::1]:80", 200)),
        *(("127.0.0.1", 200), ("evil.example", 403), ("evil.example:8000", 403), ("", 403)),
        *(("localhost.evil.example", 403), ("127.0.0.1.evil.example", 403), ("[", 403)),
    ],
)
def test_a_name_that_leads_here_from_elsewhere_is_refused(
    pictures: Path, host: str, status: int
) -> None:
    with running(describe_body, pictures) as server:
        for path in ("/", "/model", "/samples/a.jpg"):
            found, _, body = call(server, "GET", path, headers={"Host": host})
            assert found == status
            assert (b"localhost" in body) == (status == 403)
        assert call(server, body=b"x", headers={"Host": host})[0] == {200: 201, 403: 403}[status]


def test_the_name_of_the_option_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(describe_body) as server:
        monkeypatch.setattr(server, "name", "box.example")
        assert call(server, "GET", headers={"Host": "Box.example:8000"})[0] == 200
    worker = NuclioWorker(describe_body, Trigger(), nuclio_sdk.Logger("ERROR", name="test_local"))
    with LocalServer(("LocalHost", 0), worker, None) as server:
        assert server.name == "localhost"


def test_pages_of_other_sites_cannot_ask() -> None:
    with running(describe_body) as server:
        own = f"http://127.0.0.1:{server.server_address[1]}"
        assert call(server, headers={"Origin": own})[0] == 201
        for origin in ("http://evil.example", "http://127.0.0.1:1", "null", f"{own}.evil", ""):
            for method in ("POST", "PUT", "OPTIONS"):
                assert call(server, method, body=b"x", headers={"Origin": origin})[0] == 403
        # Longer than what the buffers of the two sockets hold.
        assert call(server, body=b"x" * 2_000_000, headers={"Origin": "null"})[0] == 403


def test_the_worker_itself_has_the_body_limit() -> None:
    logger = nuclio_sdk.Logger("ERROR", name="test_local")
    worker = NuclioWorker(lambda context, event: "taken", Trigger(max_body_bytes=4), logger)
    assert worker.post(b"1234").body == b"taken"
    assert worker.post(b"12345") == HttpAnswer(400, b"Error when parsing request")


def test_body_of_unknown_length_is_refused() -> None:
    with running(describe_body) as server:
        assert call(server, headers={"Transfer-Encoding": "chunked"})[0] == 411


def test_one_event_at_a_time() -> None:
    inside, most = 0, 0

    def handler(context: Context, event: Event) -> Any:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.1)
        inside -= 1
        return "done"

    with running(handler) as server:
        answers: list[tuple[int, str, bytes]] = []
        threads = [threading.Thread(target=lambda: answers.append(call(server))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [answer[::2] for answer in answers] == [(200, b"done")] * 3
    assert most == 1


def test_call_that_waits_too_long_is_503_with_empty_body() -> None:
    first_is_in, second_is_answered = threading.Event(), threading.Event()

    def handler(context: Context, event: Event) -> Any:
        first_is_in.set()
        second_is_answered.wait(20)
        return "done"

    with running(handler, wait_s=0.05) as server:
        first: list[tuple[int, str, bytes]] = []
        thread = threading.Thread(target=lambda: first.append(call(server)))
        thread.start()
        assert first_is_in.wait(20)
        assert call(server)[::2] == (503, b"")
        second_is_answered.set()
        thread.join()
    assert first[0][::2] == (200, b"done")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "samples"
    folder.mkdir()
    (folder / "b c.png").write_bytes(b"picture b")
    (folder / "a.jpg").write_bytes(b"picture a")
    (folder / "notes.txt").write_text("no picture")
    (folder / "folder.png").mkdir()
    (tmp_path / "secret.png").write_bytes(b"secret")
    return folder


def test_samples_are_the_pictures_of_the_folder(pictures: Path) -> None:
    with running(describe_body, pictures) as server:
        assert json.loads(call(server, "GET", "/samples")[2]) == [
            {"name": "a.jpg"},
            {"name": "b c.png"},
        ]
        assert call(server, "GET", "/samples/a.jpg") == (200, "image/jpeg", b"picture a")
        assert call(server, "GET", "/samples/b%20c.png") == (200, "image/png", b"picture b")
        assert call(server, "GET", "/samples/notes.txt")[0] == 404


@pytest.mark.parametrize(
    "name",
    [
        *(
            "\u9065\u611f.png",
            "x" * 251 + ".png",
            "-rf.png",
            " a .png",
            "100%?#&;+.png",
            "a'\"`.png",
        ),
        *("line\nbreak.png", "year=2024.png", os.fsdecode(b"M\xfcnchen.png"), "U\u0308.png"),
    ],
    ids=ascii,
)
def test_a_browser_can_ask_for_samples_of_any_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"picture")
    with running(describe_body, tmp_path) as server:
        (listed,) = json.loads(call(server, "GET", "/samples")[2])
        # As encodeURIComponent in the page does; it takes no half characters.
        path = quote(listed["name"].encode("utf-8"), safe="!'()*")
        assert call(server, "GET", f"/samples/{path}") == (200, "image/png", b"picture")


def test_a_sample_that_cannot_be_read_is_told(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    with running(describe_body, pictures) as server:
        monkeypatch.setattr(Path, "read_bytes", fail)
        status, _, body = call(server, "GET", "/samples/a.jpg")
    assert status == 500
    assert body.decode() == f"{pictures}/a.jpg: permission denied\n"


def test_no_folder_means_no_samples() -> None:
    for folder in (Path("absent"), None):
        with running(describe_body, folder) as server:
            assert call(server, "GET", "/samples")[::2] == (200, b"[]")


@pytest.mark.parametrize(
    "path",
    [
        "/samples/../secret.png",
        "/samples/%2e%2e/secret.png",
        "/samples/..%2fsecret.png",
        "/samples//etc/passwd",
        "/../local.py",
        "/..%2flocal.py",
        "/%2e%2e/main.py",
        "//etc/passwd",
        "/samples/",
        "/samples/%00",
        "/nothing.html",
    ],
)
def test_no_path_leads_out(pictures: Path, path: str) -> None:
    with running(describe_body, pictures) as server:
        assert call(server, "GET", path)[0] == 404


def test_page_loads_nothing_from_elsewhere() -> None:
    with running(describe_body) as server:
        status, content_type, body = call(server, "GET", "/")
        assert (status, content_type) == (200, "text/html")
        assert body == (PAGE / "index.html").read_bytes()
        assert call(server, "GET", "/app.js")[0] == 200
    for file in (*PAGE.glob("*.html"), *PAGE.glob("*.css"), *PAGE.glob("*.js")):
        assert "://" not in file.read_text(encoding="utf-8"), file.name


def test_draining_waits_until_the_answer_is_written() -> None:
    inside, go = threading.Event(), threading.Event()

    def handler(context: Context, event: Event) -> Any:
        inside.set()
        go.wait(20)
        return "done"

    with running(handler) as server:
        answers: list[tuple[int, str, bytes]] = []
        caller = threading.Thread(target=lambda: answers.append(call(server)))
        caller.start()
        assert inside.wait(20)
        drained = threading.Event()
        drain = threading.Thread(target=lambda: (server.drain(), drained.set()))
        drain.start()
        assert not drained.wait(0.1)
        go.set()
        assert drained.wait(20)
        drain.join()
        caller.join()
    assert answers[0][::2] == (200, b"done")


def test_head_has_no_body() -> None:
    with running(describe_body) as server:
        assert call(server, "HEAD", "/")[::2] == (200, b"")


def test_busy_port_is_told_in_one_sentence() -> None:
    with running(describe_body) as server, pytest.raises(FunctionError, match="in use") as caught:
        LocalServer(server.server_address[:2], server.worker, Path("absent"))
    assert "--port" in str(caught.value)


def loaded(tmp_path: Path, spec: str) -> NuclioWorker:
    """The worker of a ``function.yaml`` with this spec."""
    file = tmp_path / "function.yaml"
    file.write_text(f"spec: {spec}")
    return NuclioWorker.load(file, nuclio_sdk.Logger("ERROR", name="test_local"))


def test_limits_come_from_function_yaml(tmp_path: Path) -> None:
    handler = "handler: 'serverless.main:detector_handler'"
    limits = "workerAvailabilityTimeoutMilliseconds: 2500, attributes: {maxRequestBodySize: 99}"
    worker = loaded(tmp_path, f"{{{handler}, triggers: {{x: {{kind: http, {limits}}}}}}}")
    assert worker.trigger == Trigger(99, 2.5)
    worker = loaded(tmp_path, f"{{{handler}, triggers: {{x: {{kind: http}}}}}}")
    assert worker.trigger == Trigger(4 * 1024 * 1024, 10)
    with pytest.raises(FunctionError, match="one trigger of kind http"):
        loaded(tmp_path, f"{{{handler}, triggers: {{}}}}")
    with pytest.raises(FunctionError, match="missing"):
        NuclioWorker.load(tmp_path / "absent.yaml", nuclio_sdk.Logger("ERROR", name="test_local"))


@pytest.mark.parametrize("handler", ["os:system", "serverlessly.x:y", "antigravity:fly", ""])
def test_a_handler_of_another_project_is_not_imported(handler: str, tmp_path: Path) -> None:
    with pytest.raises(FunctionError, match="is none of this project"):
        loaded(tmp_path, f"{{handler: '{handler}', triggers: {{x: {{kind: http}}}}}}")
    assert "antigravity" not in sys.modules


def test_shipped_function_can_be_served() -> None:
    worker = NuclioWorker.load(FUNCTION, nuclio_sdk.Logger("ERROR", name="test_local"))
    assert worker.trigger.max_body_bytes >= 32 * 1024 * 1024


def test_samples_lie_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("C3DET_CACHE", "/somewhere")
    assert samples_directory() == Path("/somewhere/samples")


def run_local(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serverless.local", *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_command_with_missing_weights_fails_with_one_sentence(tmp_path: Path) -> None:
    result = run_local("--port", "0", "--weights", str(tmp_path / "absent.safetensors"))
    assert result.returncode == 1
    assert result.stderr.startswith("serverless.local: ")
    assert "absent.safetensors" in result.stderr
    assert "Traceback" not in result.stderr


def test_command_on_a_busy_port_fails_with_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = run_local("--port", str(taken.getsockname()[1]))
    assert result.returncode == 1
    assert "is in use by another program" in result.stderr
    assert "Traceback" not in result.stderr


def test_sigterm_ends_the_command_after_the_running_request() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "serverless.local", "--port", "0", "--weights", str(OPEN_WEIGHTS)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        port = next(
            int(line.split(":")[2].split("/")[0]) for line in process.stdout if "http://" in line
        )
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        # Large enough that the signal comes while the function works.
        picture = base64_picture(900, 900)
        body = json.dumps({"image": picture, "pos_points": [], "neg_points": [[-1, 1]]}).encode()
        connection.putrequest("POST", "/")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        time.sleep(0.1)
        process.terminate()
        answer = json.loads(connection.getresponse().read())
        _, log = process.communicate(timeout=60)
    finally:
        process.kill()
    assert answer["error"] is None
    assert process.returncode == 0
    assert "ending" in log
    assert "Traceback" not in log

"""A running CVAT: the pictures and annotations of a job, task or project, fetched through its SDK.

The server itself writes "CVAT for images 1.1" with the pictures, and
`training.data.readers.cvat_xml` reads it. The SDK is the extra ``cvat`` of this project; take the
release that goes with the server.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from c3det.commands import ask_password
from training.data.readers.archives import ArchiveError, unpack
from training.data.readers.cvat_xml import read_cvat_xml
from training.data.readers.reading import Reading

if TYPE_CHECKING:
    from cvat_sdk import Client

EXPORT_FORMAT = "CVAT for images 1.1"

Kind = Literal["job", "task", "project"]


class ServerError(RuntimeError):
    """The server cannot be reached, or does not give what it is asked for."""


def read_cvat_server(source: str, folder: Path, host: str, user: str | None = None) -> Reading:
    """Download a job, task or project, and read it.

    Args:
        source: ``job:<id>``, ``task:<id>`` or ``project:<id>``.
        folder: Receives the download, in a folder of its own.
        host: See `connect`.
        user: Logs in by password; without one, ``CVAT_ACCESS_TOKEN`` holds a token.

    Raises:
        ValueError: The source is none of the three, or there is no token.
        ServerError: See `connect` and `download`.
    """
    kind, _, number = source.partition(":")
    if kind not in get_args(Kind) or not number.isdecimal():
        raise ValueError(f"{source!r} is none of job:<id>, task:<id> and project:<id>")
    token, login = os.environ.get("CVAT_ACCESS_TOKEN"), None
    if user:
        token, login = None, (user, ask_password(user))
    elif not token:
        raise ValueError("set CVAT_ACCESS_TOKEN, or name a --user")
    print(f"{host} exports {kind} {number} ...", flush=True)
    with connect(host, token=token, login=login) as client:
        path = download(
            client,
            kind,  # type: ignore[arg-type]  # checked
            int(number),
            folder / f"{kind}-{number}",
        )
    return read_cvat_xml(path)


def connect(host: str, *, token: str | None = None, login: tuple[str, str] | None = None) -> Client:
    """Open a session.

    Args:
        host: Address of the server, such as ``https://app.cvat.ai`` or ``http://localhost:8080``.
        token: A personal access token; servers before 2025 have none.
        login: Name and password of a user, instead of a token.

    Raises:
        ServerError: The SDK is not installed, the server cannot be reached, or it refuses.
    """
    try:
        from cvat_sdk import make_client
    except ImportError:
        raise ServerError(
            "cvat-sdk is not installed: pip install -c constraints.txt -e '.[cvat]'"
        ) from None
    try:
        return make_client(host, credentials=login, access_token=token)
    except (
        Exception
    ) as error:  # urllib3's, the SDK's and the generated client's have no common base
        raise ServerError(f"{host}: no session: {_cause(error)}") from error


def download(client: Any, kind: Kind, number: int, folder: Path) -> Path:
    """Fetch a job, a task or a project.

    Args:
        client: A session of cvat-sdk.
        kind: What is fetched.
        number: Its id.
        folder: Receives ``annotations.xml`` and ``images``. It is complete or absent: what it held
            before is replaced once the new content is there.

    Returns:
        The XML file.

    Raises:
        ServerError: There is no such job, task or project, the export fails, or it goes to a cloud
            storage instead.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        archive = Path(temporary) / "export.zip"
        try:
            repository = {"job": client.jobs, "task": client.tasks, "project": client.projects}[
                kind
            ]
            source = repository.retrieve(number)
            source.export_dataset(EXPORT_FORMAT, archive, include_images=True)
        except Exception as error:  # as in `connect`
            raise ServerError(f"{kind} {number} cannot be exported: {_cause(error)}") from error
        if not archive.is_file():
            raise ServerError(
                f"{kind} {number} was exported to the cloud storage that it is configured for: "
                "fetch annotations.xml and the pictures from there, and read them as cvat"
            )
        unpacked = Path(temporary) / "unpacked"
        try:
            broken = unpack(archive, unpacked)
        except ArchiveError as error:
            raise ServerError(f"the export of {kind} {number} is broken: {error.cause}") from error
        if broken:
            raise ServerError(f"the export of {kind} {number} is broken: {broken[0].sentence}")
        if not (unpacked / "annotations.xml").is_file():
            raise ServerError(f"the export of {kind} {number} holds no annotations.xml")
        shutil.rmtree(folder, ignore_errors=True)
        unpacked.replace(folder)
    return folder / "annotations.xml"


def _cause(error: Exception) -> str:
    """What an error of the SDK says, on one line: the generated client's take up several."""
    status = getattr(error, "status", None)
    reason = getattr(error, "reason", None)
    text = f"{status} {reason}" if status else str(error) or type(error).__name__
    return " ".join(text.split())[:300]

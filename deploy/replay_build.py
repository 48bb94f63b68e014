"""Build the function's image content without a container engine, in a fresh root directory.

Makes a minimal Debian with debootstrap, runs the ``preCopy`` directives of ``function.yaml`` there
(with ``--closed`` those of ``deploy/closed/interactor.yaml``), copies what ``deploy.sh`` gives to
Nuclio, and calls the handler in Nuclio's own Python wrapper by ``nuclio_processor.py``. It needs
root, debootstrap, PyYAML, a checkout of github.com/nuclio/nuclio, 8 GB of disk, and some minutes on
two cores; the closed model takes 20, most of them for mmcv::

    git clone --depth 1 https://github.com/nuclio/nuclio ../nuclio
    sudo -E python3 deploy/replay_build.py ../nuclio ../c3det-root picture.jpg

What differs from the real build: Debian 12 with its own Python 3.11 replaces Python's image; there
are no image layers, no limits of a container and no processor of Nuclio. Settings of pip come from
this machine: variables ``PIP_*`` and those that name certificates are passed on, and ``--mount``
shows a file or folder inside, such as /etc/pip.conf. Started again with the same root directory, it
continues with the first directive that has not succeeded.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where it runs as a program

from deploy.write_function import FunctionError, base_function, compose, write_folder

COMPILER = ("build-essential", "python3-dev")
BASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "python:3.11-slim-bookworm": ("bookworm", ()),
    "python:3.11-bookworm": ("bookworm", COMPILER),
}
"""What stands in for a base image: a suite of Debian, and packages beside Python and pip."""

PASSED_ON = (
    "PIP_",
    "SSL_CERT_",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "http_proxy",
    "https_proxy",
)
PROCESSOR = "nuclio_processor.py"


class ReplayError(Exception):
    """The replay cannot go on; the message is one sentence."""


class Root:
    """A root directory in which commands run; ``ENV`` directives extend the environment."""

    def __init__(self, path: Path, environment: dict[str, str]) -> None:
        self.path = path
        self.environment = environment

    def inside(self, path: str) -> Path:
        """Return where an absolute path of the root lies on this machine."""
        return self.path / path.lstrip("/")

    def run(self, command: str) -> None:
        """Run a shell command as a ``RUN`` directive does."""
        arguments = ["chroot", str(self.path), "/bin/sh", "-c", command]
        code = subprocess.run(arguments, env=self.environment, check=False).returncode
        if code:
            raise ReplayError(f"the command ended with code {code}: {command}")

    def copy(self, source: Path, target: str) -> None:
        """Copy a file, or what a folder holds, as a ``COPY`` directive does."""
        if source.is_dir():
            shutil.copytree(source, self.inside(target), dirs_exist_ok=True)
        else:
            self.inside(target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, self.inside(target))


def machine_environment() -> dict[str, str]:
    """The environment of a container, with this machine's settings of pip and certificates."""
    passed_on = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        **passed_on,
    }


def debian_mirror(suite: str) -> str:
    """The mirror of a suite that apt uses on this machine."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Identifier: Packages"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for line in listed.splitlines():
        address, _, codename = line.partition(" ")
        if codename == suite:
            return address
    raise ReplayError(f"apt has no source of Debian's {suite} here: name one with --mirror")


@contextmanager
def mounted(source: Path, target: Path, *options: str) -> Iterator[None]:
    """Show a file or folder of this machine at another place while the context lasts."""
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    subprocess.run(["mount", "--bind", str(source), str(target)], check=True)
    try:
        if options:
            remount = ["mount", "-o", ",".join(("remount", "bind", *options)), str(target)]
            subprocess.run(remount, check=True)
        yield
    finally:
        # Lazily: a process that is still ending may keep it busy.
        subprocess.run(["umount", "--lazy", str(target)], check=True)


def base_image(root: Root, suite: str, packages: Sequence[str], mirror: str) -> None:
    """Make the stand-in for the base image: Debian with one Python, pip and some packages."""
    subprocess.run(["debootstrap", "--variant=minbase", suite, str(root.path), mirror], check=True)
    root.run(
        "apt-get update && apt-get install -y --no-install-recommends ca-certificates python3 "
        f"python3-pip python-is-python3 {' '.join(packages)} && apt-get clean"
    )
    # The Python of the real image is not Debian's, and pip may install into it.
    root.run("rm -f /usr/lib/python3*/EXTERNALLY-MANAGED")


def check_python(root: Root, runtime: str) -> None:
    """Raise unless ``python`` and ``python3`` are the interpreter that the runtime names."""
    version = runtime.removeprefix("python:")
    for name in ("python", "python3"):
        root.run(
            f'{name} -c \'import sys; sys.exit("%d.%d" % sys.version_info[:2] != "{version}")\''
        )


def directives(function: dict[str, Any]) -> list[tuple[str, str]]:
    """The ``preCopy`` directives of a function, as pairs of kind and value."""
    return [
        (each["kind"], each["value"]) for each in function["spec"]["build"]["directives"]["preCopy"]
    ]


def follow(root: Root, kind: str, value: str, handler: Path) -> None:
    """Run one directive: its kind is ``RUN``, ``COPY`` or ``ENV``, its value as in a Dockerfile.

    ``handler`` is the folder that Nuclio puts into the build's context.
    """
    if kind == "RUN":
        root.run(value)
    elif kind == "COPY":
        *sources, target = value.split()
        for source in sources:
            root.copy(handler.parent / source, target)
    elif kind == "ENV":
        for setting in shlex.split(value):
            name, _, content = setting.partition("=")
            root.environment[name] = content
    else:
        raise ReplayError(f"the replay knows no directive of kind {kind!r}")


def nuclio_requirements(nuclio: Path, runtime: str) -> list[str]:
    """What Nuclio's build installs beside the function, with the versions of its checkout."""
    folder = nuclio / "pkg" / "processor" / "runtime" / "python" / "py" / "requirements"
    files = ("common.txt", f"python{runtime.removeprefix('python:').replace('.', '_')}.txt")
    lines = [line for name in files for line in (folder / name).read_text().split()]
    return [line for line in lines if line.startswith(("nuclio-sdk=", "msgpack=", "pip="))]


def replay(arguments: argparse.Namespace) -> None:
    """Build, lay out, start and call; see the module."""
    wrapper = arguments.nuclio / "pkg" / "processor" / "runtime" / "python" / "py"
    if not wrapper.is_dir():
        raise ReplayError(f"{arguments.nuclio}: not a checkout of github.com/nuclio/nuclio")
    if not arguments.picture.is_file():
        raise ReplayError(f"{arguments.picture}: not a file")
    function = compose(base_function(closed=arguments.closed))
    spec = function["spec"]
    suite, packages = BASES[spec["build"]["baseImage"]]
    root = Root(arguments.root.resolve(), machine_environment())
    handler = root.inside("/build/handler")
    progress = root.inside("/build/done.json")
    done: list[str] = json.loads(progress.read_text()) if progress.is_file() else []

    def step(name: str, action: Any, *values: Any) -> None:
        """Run an action that has not succeeded before, and print its seconds."""
        if name in done:
            return
        print(f"== {name}", flush=True)
        started = time.monotonic()
        action(*values)
        print(f"== {time.monotonic() - started:.0f} s", flush=True)
        done.append(name)
        progress.parent.mkdir(exist_ok=True)
        progress.write_text(json.dumps(done))

    root.path.mkdir(parents=True, exist_ok=True)
    with ExitStack() as mounts:
        mirror = arguments.mirror or debian_mirror(suite)
        step("base image", base_image, root, suite, packages, mirror)
        check_python(root, spec["runtime"])
        for path in arguments.mount:
            mounts.enter_context(mounted(path, root.inside(str(path)), "ro"))
        mounts.enter_context(mounted(Path("/proc"), root.inside("/proc")))
        mounts.enter_context(mounted(Path("/etc/resolv.conf"), root.inside("/etc/resolv.conf")))
        shutil.rmtree(handler, ignore_errors=True)
        write_folder(handler, function)
        for kind, value in directives(function):
            if kind == "RUN":
                step(f"{kind} {value}", follow, root, kind, value, handler)
            else:
                follow(root, kind, value, handler)
        shutil.rmtree(root.inside("/opt/nuclio"), ignore_errors=True)
        root.copy(wrapper, "/opt/nuclio")
        root.copy(handler, "/opt/nuclio")
        requirements = " ".join(nuclio_requirements(arguments.nuclio, spec["runtime"]))
        step(f"Nuclio's own: {requirements}", root.run, f"python -m pip install {requirements}")
        root.copy(Path(__file__).with_name(PROCESSOR), f"/build/{PROCESSOR}")
        root.copy(arguments.picture, "/build/picture")
        for variable in spec["env"]:
            root.environment[variable["name"]] = variable["value"]
        root.run(f"cd / && python3 /build/{PROCESSOR} /opt/nuclio /build/picture")


def main() -> int:
    """Replay the build; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("nuclio", type=Path, help="checkout of github.com/nuclio/nuclio")
    parser.add_argument("root", type=Path, help="the root directory, new or to be continued")
    parser.add_argument("picture", type=Path, help="picture to send to the function")
    parser.add_argument("--closed", action="store_true", help="the image of the closed model")
    parser.add_argument("--mirror", help="Debian mirror (default: the one that apt uses here)")
    parser.add_argument(
        "--mount",
        type=Path,
        action="append",
        default=[],
        help="shown inside, read-only; repeatable",
    )
    try:
        replay(parser.parse_args())
    except (ReplayError, FunctionError, OSError, subprocess.CalledProcessError) as error:
        print(f"replay: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

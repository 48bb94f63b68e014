"""The emulator as a process: ``python -m tests.emulator --port 8090 --profile 2026``.

It prints one line of JSON when it is ready: its address, its functions, and the task and job of the
pictures, if it was given some. It ends with the standard input of its parent (``--with-parent``) or
by a signal.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext, redirect_stdout
from pathlib import Path

from serverless.deployment import FUNCTION
from serverless.local import PICTURE_SUFFIXES
from tests.emulator.faults import parse_fault
from tests.emulator.functions import PROFILES, Function
from tests.emulator.server import Emulator, hosted_functions


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the emulator until it is interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.emulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port; 0, the default: a free one")
    parser.add_argument("--profile", choices=PROFILES, default="2.15", help="(%(default)s)")
    parser.add_argument(
        "--function",
        action="append",
        default=[],
        metavar="[DESCRIPTION=]URL",
        help="address of a running interactor, such as that of python -m serverless.local, and the "
        "file that describes it (default: the root's function.yaml); may be given several times; "
        "without it the model is loaded here",
    )
    parser.add_argument("--weights", help="a .safetensors file instead of the shipped one")
    parser.add_argument("--pictures", type=Path, help="folder: each picture is a frame of a task")
    parser.add_argument("--labels", default="tree,0,1", help="of that task (%(default)s)")
    parser.add_argument("--login", metavar="NAME:PASSWORD", help="let nobody else in")
    parser.add_argument("--static", type=Path, help="folder of files to serve beside the API")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        type=parse_fault,
        metavar="path=REGEX,status=500,times=2",
        help="what goes wrong; see tests.emulator.faults.Fault for the keys",
    )
    parser.add_argument(
        "--with-parent", action="store_true", help="end when the standard input is closed"
    )
    options = parser.parse_args(arguments)
    if options.weights is not None:
        os.environ["C3DET_WEIGHTS"] = options.weights
    if options.function:
        hosted = nullcontext([running_function(text) for text in options.function])
    else:
        hosted = hosted_functions()
    login = None
    if options.login is not None:
        name, _, password = options.login.partition(":")
        login = (name, password)
    with ExitStack() as stack:
        with redirect_stdout(sys.stderr):  # some libraries print while they are imported
            functions = stack.enter_context(hosted)
        address = (options.host, options.port)
        emulator = stack.enter_context(
            Emulator(functions, options.profile, address, login, options.static)
        )
        ready = {"url": emulator.url, "functions": [function.id for function in functions]}
        if options.pictures is not None:
            pictures = [
                (path.name, path.read_bytes())
                for path in sorted(options.pictures.iterdir())
                if path.suffix.lower() in PICTURE_SUFFIXES
            ]
            task = emulator.store.add_task("pictures", options.labels.split(","), pictures)
            ready |= {"task": task.id, "job": task.jobs[0].id}
        for fault in options.fault:
            emulator.faults.add(**fault)
        if options.with_parent:
            threading.Thread(
                target=lambda: (sys.stdin.read(), emulator.shutdown()), daemon=True
            ).start()
        print(json.dumps(ready), flush=True)
        try:
            emulator.serve_forever()
        except KeyboardInterrupt:
            print()
    # Threads of open connections may still hold objects of torch, which an orderly end of the
    # interpreter would take away from under them.
    sys.stdout.flush()
    os._exit(0)


def running_function(text: str) -> Function:
    """The function of ``[DESCRIPTION=]URL``."""
    path, _, url = text.rpartition("=")
    return Function.read(Path(path) if path else FUNCTION, url)


if __name__ == "__main__":
    main()

"""What all commands share: errors of the system as one sentence, the cache folder, and passwords.

On a full disk, a missing file or a closed terminal a command prints one sentence that names the
file, and exits with 2. Tracebacks are for faults in the code.
"""

from __future__ import annotations

import argparse
import errno
import functools
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from getpass import getpass
from pathlib import Path
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

INTERRUPTED = 128 + 2
"""Exit status after Ctrl+C, as shells have it."""

READER_GONE = 128 + 13
"""Exit status after a closed pipe, as shells have it."""

_ADVICE = {
    errno.ENOSPC: "make room and run the same command again",
    errno.EDQUOT: "make room and run the same command again",
    errno.EFBIG: "the limit of a file's size is reached; raise it and run the same command again",
    errno.EROFS: "choose a folder that can be written",
}


_FULL = os.strerror(errno.ENOSPC)
_DISK_FULL = (_FULL, "PytorchStreamWriter failed", "StorageFull")
"""How libraries in other languages report ENOSPC."""


class CommandError(RuntimeError):
    """A command cannot go on; the message is one sentence that says what to do."""


_SYSTEM_ERRORS = (CommandError, OSError, EOFError, UnicodeError, MemoryError, RecursionError)
"""Not caught by commands themselves. Only content of files is nested too deeply to recurse."""


def command(
    name: str,
) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Decorate the ``main`` of a command: errors of the system become a sentence."""

    def decorate(main: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        @functools.wraps(main)
        def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            _open_streams()
            for stream in (sys.stdout, sys.stderr):
                # Names of files and classes may have letters that a terminal cannot show.
                if hasattr(stream, "reconfigure"):
                    stream.reconfigure(errors="backslashreplace")
            try:
                try:
                    return main(*args, **kwargs)
                finally:
                    # Else a full disk or a closed pipe is met when Python has ended already.
                    sys.stdout.flush()
            except KeyboardInterrupt:
                sys.exit(INTERRUPTED)
            except BrokenPipeError:
                _give_up_output()
                sys.exit(READER_GONE)
            except _SYSTEM_ERRORS as error:
                _give_up_output()
                _print_error(f"{name}: {sentence(error)}")
                sys.exit(2)
            except Exception as error:
                if not any(words in str(error) for words in _DISK_FULL):
                    raise
                _give_up_output()
                _print_error(f"{name}: {sentence(OSError(errno.ENOSPC, _FULL))}")
                sys.exit(2)

        return run

    return decorate


def sentence(error: BaseException) -> str:
    """One sentence for an error of the system, with its file if the error names one."""
    if isinstance(error, OSError) and error.strerror is not None:
        what = error.strerror[:1].lower() + error.strerror[1:]
        if error.filename is not None:
            what = f"{printable(os.fsdecode(error.filename))}: {what}"
        return "; ".join(filter(None, (what, _ADVICE.get(error.errno or 0))))
    if isinstance(error, EOFError):
        return "nobody is here to be asked: the input has ended"
    if isinstance(error, RecursionError):
        return "what was read is nested too deeply"
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if isinstance(error, UnicodeEncodeError):
        return (
            f"{printable(error.object[:300])} cannot be written as {error.encoding}: rename the "
            "file or folder, or choose a UTF-8 locale"
        )
    if isinstance(error, UnicodeDecodeError):
        return f"what was read is not {error.encoding} text: {error.reason}"
    return printable(str(error))


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let errors of the system name a file; those of a write on a full disk do not."""
    try:
        yield
    except OSError as error:
        # Of a copy that fails Python names the source.
        if error.errno is not None and (error.filename is None or error.errno in _ADVICE):
            error.filename = str(path)
        raise


def printable(text: str) -> str:
    """Return a text on one line, fit for any file: what is no UTF-8, or controls, is escaped."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(
        letter if letter.isprintable() or letter == " " else repr(letter)[1:-1] for letter in text
    )


def at_least(least: int) -> Callable[[str], int]:
    """Return a parser of whole numbers for the command line."""

    def parse(text: str) -> int:
        number = int(text) if text.isdecimal() else -1
        if number < least:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least}, not {text!r}")
        return number

    return parse


def positive(text: str) -> float:
    """Read a number above 0 of the command line."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return number


def cache_directory() -> Path:
    """Return ``$C3DET_CACHE`` or ``~/.cache/c3det``, which need not exist, for what is kept.

    Raises:
        CommandError: The user has no home folder, and ``C3DET_CACHE`` is not set.
    """
    if configured := os.environ.get("C3DET_CACHE"):
        return Path(configured)
    try:
        return Path.home() / ".cache" / "c3det"
    except RuntimeError:
        raise CommandError(
            "this user has no home folder: set C3DET_CACHE to a folder that can be written"
        ) from None


def ask_password(user: str, where: str = "") -> str:
    """Return the password of a user of CVAT: ``$CVAT_PASSWORD``, or what a person types.

    Raises:
        CommandError: Nobody is there to be asked.
    """
    if password := os.environ.get("CVAT_PASSWORD"):
        return password
    if sys.stdin is None or not sys.stdin.isatty():
        raise CommandError(f"set CVAT_PASSWORD, the password of {user}: nobody is here to be asked")
    return getpass(f"Password of {user}{where}: ")


def _open_streams() -> None:
    """Let the streams that a shell has closed lead nowhere.

    Else a file that is opened later takes the place of one, and what libraries in C print is
    written into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
        if getattr(sys, name) is None:
            nothing = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(nothing, "r" if number == 0 else "w", encoding="utf-8"))


def _print_error(text: str) -> None:
    """Print to standard error, which may be full or gone itself."""
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def _give_up_output() -> None:
    """Throw away what cannot be printed, so that Python does not try again when it ends."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)

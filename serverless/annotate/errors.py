"""The errors of a run, and sending requests again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")


class AnnotateError(Exception):
    """The run cannot go on; the message is one sentence that says what to do."""


class FrameError(Exception):
    """One frame cannot be done; the message says why."""


class TransientError(Exception):
    """A request failed in a way that may pass: a status from 500 on, or no answer."""


@contextmanager
def writing(path: Path, done: str = "written") -> Iterator[None]:
    """Turn a failure to write a file into an `AnnotateError`: ``... cannot be written: ...``."""
    try:
        yield
    except OSError as error:
        raise AnnotateError(f"{path} cannot be {done}: {error.strerror}") from error


@dataclass(frozen=True)
class Retry:
    """How often a request is sent again; each pause, from ``wait_s``, is twice the last one."""

    attempts: int = 5
    wait_s: float = 1.0
    sleep: Callable[[float], None] = time.sleep

    def call(self, action: Callable[[], Result]) -> Result:
        """Return what ``action`` returns, at the latest at the last attempt.

        Raises:
            TransientError: Of the last attempt.
        """
        for attempt in range(self.attempts - 1):
            try:
                return action()
            except TransientError:
                self.sleep(self.wait_s * 2**attempt)
        return action()

    def call_once(
        self, action: Callable[[], None], is_done: Callable[[], bool], unsure: bool = False
    ) -> None:
        """Do something once, though the server may answer late or never.

        Before it is sent again, and at first if it is unsure, ``is_done`` tells whether an earlier
        request was carried out after all.

        Raises:
            TransientError: Of the last attempt.
        """

        def attempt() -> None:
            nonlocal unsure
            if not (unsure and is_done()):
                unsure = True
                action()

        self.call(attempt)

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.emulator.functions import Function
from tests.emulator.server import Emulator, hosted_functions
from tests.serverless.fakes import make_context


@pytest.fixture(scope="module")
def functions() -> Iterator[list[Function]]:
    """Both functions of the project, with a predictor whose boxes can be counted."""
    with hosted_functions(make_context().user_data) as hosted:
        yield hosted


@pytest.fixture
def start(functions: list[Function]) -> Iterator[Callable[..., Emulator]]:
    """Starts emulators; they end with the test."""
    with ExitStack() as stack:

        def start(profile: Any = "2.15", **options: Any) -> Emulator:
            emulator = Emulator(functions, profile, **options)
            return stack.enter_context(emulator.running())

        yield start

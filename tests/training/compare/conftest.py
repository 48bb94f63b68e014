from __future__ import annotations

import pytest

from tests.training.compare.fake_commands import Commands
from training.compare import running


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    stand_in = Commands()
    monkeypatch.setattr(running.subprocess, "run", stand_in)
    return stand_in

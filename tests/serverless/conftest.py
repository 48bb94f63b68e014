from __future__ import annotations

import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def _pillows_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undoes what a worker that a test starts sets for its whole process."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from serverless.whole_pictures import WholePictures

IMAGE = np.zeros((4, 5, 3), np.uint8)


class Encoder:
    """Features of 7 bytes; holds calls back until ``go`` is set."""

    def __init__(self) -> None:
        self.calls = 0
        self.begun = threading.Event()
        self.go = threading.Event()
        self.fault: Exception | None = None

    def encode(self, image: np.ndarray) -> Any:
        self.calls += 1
        self.begun.set()
        assert self.go.wait(20)
        if self.fault is not None:
            raise self.fault
        return SimpleNamespace(nbytes=7)

    def detect(self, features: Any, clicks: Any, threshold: float | None) -> Any:
        return (features.nbytes, list(clicks), threshold)


def test_a_picture_is_encoded_at_the_first_question_and_once() -> None:
    encoder = Encoder()
    picture = WholePictures(encoder).open(IMAGE)
    assert (picture.image_size, picture.nbytes, encoder.calls) == ((4, 5), 60, 0)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(picture.detect, ["a"], 0.5)
        assert encoder.begun.wait(20)
        second = pool.submit(picture.detect, ["b"])
        encoder.go.set()
        assert first.result(20).detections == (7, ["a"], 0.5)
        assert second.result(20).detections == (7, ["b"], None)
    assert (encoder.calls, picture.nbytes) == (1, 67)
    assert first.result().coverage == 1
    assert set(first.result().seconds) == {"encode", "detect"}


def test_trimming_forgets_the_features_where_it_must() -> None:
    encoder = Encoder()
    encoder.go.set()
    picture = WholePictures(encoder).open(IMAGE)
    picture.detect([])
    picture.trim(67)
    assert picture.nbytes == 67
    picture.trim(66)
    assert picture.nbytes == 60
    picture.detect([])
    assert encoder.calls == 2


def test_a_failure_leaves_nothing_behind() -> None:
    encoder = Encoder()
    encoder.go.set()
    encoder.fault = MemoryError()
    picture = WholePictures(encoder).open(IMAGE)
    with pytest.raises(MemoryError):
        picture.detect([])
    assert picture.nbytes == 60
    encoder.fault = None
    assert picture.detect([]).coverage == 1

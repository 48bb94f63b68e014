"""Clicks on the errors of the model that is being trained."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from c3det.boxes import contains
from c3det.clicks import Click
from c3det.detections import Detections
from training import hooks
from training.clicks.sampling import STRATEGIES
from training.data.annotated import Annotated
from training.dataset import pack

OBJECTS = 8


def picture(name: str) -> Annotated:
    """Eight objects of 10 x 10 in a row."""
    left = np.arange(OBJECTS, dtype=np.float32) * 16
    boxes = np.stack([left, left * 0, left + 10, left * 0 + 10], 1)
    return Annotated(name, np.zeros((16, 128, 3), np.uint8), boxes, np.zeros(OBJECTS, np.int64))


def test_clicks_follow_the_errors_that_the_clicks_before_have_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A model that finds what is clicked, and the object to the right of it, and no more."""
    asked: list[list[int]] = []

    def detect(model: Any, inputs: Any, clicks: list[tuple[Click, ...]]) -> list[Detections]:
        asked.append([len(of_picture) for of_picture in clicks])
        answers = []
        for of_picture in clicks:
            boxes = picture("").boxes
            here = np.zeros(OBJECTS, bool)
            for click in of_picture:
                here |= contains(boxes, click.x, click.y)
            here[1:] |= here[:-1].copy()
            number = int(here.sum())
            answers.append(
                Detections(
                    boxes[here],
                    np.ones(number, np.float32),
                    np.zeros(number, np.int64),
                    np.full(number, -1),
                )
            )
        return answers

    monkeypatch.setattr(hooks, "detect", detect)
    strategy = replace(STRATEGIES["errors"], zero_probability=0.0, max_clicks=3)
    items = [pack(picture(str(index)), []) for index in range(40)]
    for index, item in enumerate(items):
        item["data_samples"].set_metainfo(dict(index=index))
    batch = {key: [item[key] for item in items] for key in ("inputs", "data_samples")}
    hook = hooks.ErrorClicksHook(strategy, seed=0)
    hook.before_train_iter(SimpleNamespace(model=None), 0, batch)

    drawn = [sample.clicks for sample in batch["data_samples"]]
    assert {len(clicks) for clicks in drawn} == {0, 1, 2, 3}
    assert asked[0] == [0] * 40
    assert asked[1] == [min(1, len(clicks)) for clicks in drawn]
    assert asked[2] == [min(2, len(clicks)) for clicks in drawn]
    for clicks in drawn:
        places = [int(click.x // 16) for click in clicks]
        for earlier, later in pairwise(places):
            assert later not in (earlier, earlier + 1)

"""The emulator's answers against those of a real CVAT, which ``recording.py`` wrote down."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.emulator.recording import LABELS, SEGMENT_SIZE, STEPS, Client, play
from tests.emulator.server import Emulator, hosted_functions
from tests.serverless.fakes import encoded_picture, make_context

RECORDED = json.loads(
    (Path(__file__).parent / "recorded" / "cvat-2.15.json").read_text(encoding="utf-8")
)


@pytest.fixture(scope="module")
def answers() -> Iterator[dict[str, dict[str, Any]]]:
    """What the emulator answers; its function is open, as the recorded one was."""
    login = ("annotator", "secret")
    with (
        hosted_functions(make_context(classes=()).user_data) as functions,
        Emulator(functions, "2.15", credentials=login).running() as emulator,
    ):
        pictures = [(f"{i}.png", encoded_picture(16, 10)) for i in range(2)]
        task = emulator.store.add_task("recorded", LABELS, pictures, segment_size=SEGMENT_SIZE)
        client = Client(emulator.url)
        client.log_in(*login)
        first, second = (label["id"] for label in task.labels)
        ids = {"task": task.id, "job": task.jobs[0].id, "label": first, "second label": second}
        yield play(client, ids)


def test_everything_is_recorded() -> None:
    assert list(RECORDED) == [step.name for step in STEPS]


@pytest.mark.parametrize("name", RECORDED)
def test_answers_have_the_shape_of_the_recorded_ones(
    name: str, answers: dict[str, dict[str, Any]]
) -> None:
    recorded, answer = RECORDED[name], answers[name]
    assert (answer["status"], answer["type"]) == (recorded["status"], recorded["type"])
    assert differences(answer["body"], recorded["body"]) == []
    if recorded["status"] >= 400:
        assert without_urls(answer["body"]) == without_urls(recorded["body"])


def without_urls(body: Any) -> str:
    return re.sub(r"https?://[^\s\"]+", "URL", json.dumps(body))


def differences(ours: Any, theirs: Any, where: str = "") -> list[str]:
    """Where the keys or types of a value differ from those of a recorded one, and how."""
    if type_of(ours) != type_of(theirs):
        return [f"{where}: {type_of(ours)} instead of {type_of(theirs)}"]
    if isinstance(theirs, dict):
        keys = [f"{where}.{key}: not in both" for key in sorted(set(ours) ^ set(theirs))]
        both = [key for key in theirs if key in ours]
        return keys + [d for k in both for d in differences(ours[k], theirs[k], f"{where}.{k}")]
    if isinstance(theirs, list) and ours and theirs:
        return differences(ours[0], theirs[0], f"{where}[0]")
    return []


def type_of(value: Any) -> str:
    kinds: list[tuple[type | tuple[type, ...], str]] = [
        (bool, "boolean"),
        ((int, float), "number"),
        (str, "text"),
        (dict, "object"),
        (list, "list"),
    ]
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        ({"a": 1, "b": []}, {"a": 2.5, "b": [1]}, []),
        ({"a": 1}, {"a": "1"}, [".a: number instead of text"]),
        ({"a": [{"b": 1}]}, {"a": [{"c": 1}]}, [".a[0].b: not in both", ".a[0].c: not in both"]),
        (None, {}, [": null instead of object"]),
        (True, 1, [": boolean instead of number"]),
    ],
)
def test_differences(ours: Any, theirs: Any, found: list[str]) -> None:
    assert differences(ours, theirs) == found

"""Checkpoints and records of a run, whole, broken and hostile."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.logging import HistoryBuffer

from training.checkpoints import checkpoints, last_checkpoint, read_record


def checkpoint(**state: torch.Tensor) -> dict[str, Any]:
    return {"meta": {"iter": 10}, "state_dict": state, "message_hub": {"runtime_info": {}}}


def test_the_last_checkpoint_is_that_of_the_most_steps(tmp_path: Path) -> None:
    for number in (9, 100, 20):
        torch.save({**checkpoint(), "number": number}, tmp_path / f"iter_{number}.pth")
    (tmp_path / "iter_200.part").write_bytes(b"killed")
    (tmp_path / "best_AP_iter_300.pth").write_bytes(b"")
    assert [path.name for path in checkpoints(tmp_path)] == [
        "iter_9.pth",
        "iter_20.pth",
        "iter_100.pth",
    ]
    assert last_checkpoint(tmp_path)["number"] == 100


def test_a_run_without_checkpoint_and_no_run_say_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no checkpoint yet: train it first"):
        last_checkpoint(tmp_path)
    with pytest.raises(ValueError, match=r"there is no run .*nowhere"):
        last_checkpoint(tmp_path / "nowhere")


class Reduced:
    """Is unpickled as a call of a function."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("content", "named"),
    [
        (lambda folder: Reduced(os.system, f"touch {folder}/touched"), "posix.system"),
        (lambda folder: {"meta": Reduced(os.mkdir, f"{folder}/touched")}, "posix.mkdir"),
        (lambda folder: {"meta": [Reduced(getattr, HistoryBuffer, "__init__")]}, "getattr"),
        (
            lambda folder: {**checkpoint(), "meta": {"config": "import os", "iter": 1}},
            "meta.config",
        ),
    ],
    ids=["call", "in meta", "attribute", "config"],
)
def test_a_checkpoint_runs_nothing(
    content: Callable[[Path], Any], named: str, zipped: bool, tmp_path: Path
) -> None:
    path = tmp_path / "iter_1.pth"
    torch.save(content(tmp_path), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=rf"iter_1.pth holds .*{named}.* run code: take"):
        last_checkpoint(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["iter_1.pth"]


@pytest.mark.parametrize(
    "content",
    [
        [1],
        {},
        {**checkpoint(), "state_dict": [1]},
        {**checkpoint(), "state_dict": {"a": "b"}},
        {**checkpoint(), "meta": {}},
        {**checkpoint(), "meta": [1]},
        {**checkpoint(), "message_hub": 5},
    ],
)
def test_what_is_no_checkpoint_is_told(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "iter_1.pth")
    with pytest.raises(ValueError, match=r"iter_1.pth is no checkpoint of a run: take one of this"):
        last_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "content", [b"[]", b"5", b"{", b"", b"\xff", b"[" * 100_000, b'\xef\xbb\xbf{"a": 1']
)
def test_what_a_run_does_not_tell_of_itself_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "training.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"training.json is not what a run writes .*: train it"):
        read_record(tmp_path / "training.json")


@pytest.mark.parametrize("part", [0, 0.01, 0.1, 0.5])
def test_a_broken_checkpoint_is_named(part: float, tmp_path: Path) -> None:
    path = tmp_path / "iter_1.pth"
    torch.save(checkpoint(a=torch.zeros(20_000)), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(ValueError, match=r"iter_1.pth is not a whole checkpoint, delete it"):
        last_checkpoint(tmp_path)

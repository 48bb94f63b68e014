"""What a run keeps in its folder: checkpoints, read without running code, and records in JSON."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

from c3det.commands import naming


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run by rising number of steps; files that are written are complete."""
    found = [
        (int(number[1]), path)
        for path in run.glob("iter_*.pth")
        if (number := re.fullmatch(r"iter_(\d+)\.pth", path.name))
    ]
    return [path for _, path in sorted(found)]


def last_checkpoint(run: Path) -> dict[str, Any]:
    """Read what a run saved last.

    Raises:
        ValueError: There is no such run, it has no checkpoint yet, or the checkpoint is none, see
            `read_checkpoint`.
    """
    if not run.is_dir():
        raise ValueError(f"there is no run {run}")
    found = checkpoints(run)
    if not found:
        raise ValueError(f"{run} has no checkpoint yet: train it first, or let it go on")
    return read_checkpoint(found[-1])


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of a run, of which no more is unpickled than a run puts into it.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is broken, no checkpoint, or holds what could run code.
    """
    try:
        with torch.serialization.safe_globals(_OF_A_RUN):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a broken file is met with errors of any kind
        if isinstance(error, OSError) and error.filename is not None:  # the file, not what is in it
            raise
        foreign = re.search(r"GLOBAL (\S+)", str(error))
        if foreign:
            raise ValueError(
                f"{path} holds {foreign[1]}, which no run puts into a checkpoint and which may run "
                "code: take a checkpoint of this program"
            ) from error
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"{path} is not a whole checkpoint, delete it: {reason}") from error
    if not _is_checkpoint(content):
        raise ValueError(f"{path} is no checkpoint of a run: take one of this program")
    if "config" in content["meta"]:
        # mmengine would run it as a Python file when the run goes on; this program writes none.
        raise ValueError(f"{path} holds meta.config, which could run code: take another checkpoint")
    return content


def _is_checkpoint(content: object) -> bool:
    """Whether there are tensors, the number of steps, and what was logged."""
    if not isinstance(content, dict):
        return False
    meta, state, hub = (content.get(key) for key in ("meta", "state_dict", "message_hub"))
    return (
        isinstance(meta, dict)
        and isinstance(meta.get("iter"), int)
        and isinstance(state, dict)
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items())
        and isinstance(hub, dict)
        and isinstance(hub.get("runtime_info"), dict)
    )


def read_record(path: Path) -> dict[str, Any]:
    """Read a record of a run: its ``training.json`` or ``architecture.json``.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not what a run writes; the message names it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not what a run writes ({error}): train it anew") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not what a run writes (no JSON object): train it anew")
    return content


def write_record(out: Path, name: str, content: dict[str, Any]) -> None:
    """Write the record ``<name>.json`` of a run, or check that it started with the same one.

    Raises:
        ValueError: It started with another one; the message names what differs.
    """
    path = out / f"{name}.json"
    content = json.loads(json.dumps(content))
    if path.is_file() and checkpoints(out):
        before = read_record(path)
        keys = {**before, **content}.keys() - {"torch"}
        differ = sorted(key for key in keys if before.get(key) != content.get(key))
        if differ == ["settings"] and isinstance(before.get("settings"), dict):
            old, new = before["settings"], content["settings"]
            differ = [f"{k} {old.get(k)} -> {new.get(k)}" for k in new if old.get(k) != new[k]]
        if differ:
            raise ValueError(
                f"{out} was started with another {name} ({', '.join(differ)}): go on with the same "
                "command, or choose another folder"
            )
    unfinished = path.with_suffix(".part")
    with naming(path):
        unfinished.write_text(json.dumps(content, indent=1) + "\n")
    unfinished.replace(path)


def _statistic(owner: object, name: str) -> Any:
    """What mmengine's buffers of logged values name by ``getattr``, and nothing else."""
    if owner is not HistoryBuffer or name not in ("min", "max", "current", "mean"):
        raise pickle.UnpicklingError("GLOBAL builtins.getattr of something else")
    return getattr(owner, name)


_OF_A_RUN = [
    HistoryBuffer,
    (_statistic, "builtins.getattr"),
    # How numpy writes an array and a number.
    np.zeros(0).__reduce__()[0],
    np.float64(0).__reduce__()[0],
    np.ndarray,
    np.dtype,
    *(type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool")),
]
"""What a checkpoint holds besides tensors and plain values: the logged values, in numpy arrays."""

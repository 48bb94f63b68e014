"""Deployments that cannot work are refused when a worker starts, each with one sentence."""

from __future__ import annotations

import fcntl
import json
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import yaml

# What Nuclio deployed, with what nuctl or the dashboard changed; there in the container alone.
PROCESSOR_CONFIG = Path("/etc/nuclio/config/processor/processor.yaml")
FUNCTION = Path(__file__).resolve().parent.parent / "function.yaml"
DESCRIPTIONS = (PROCESSOR_CONFIG, FUNCTION)
"""Where the description of the deployed function lies, the best place first.

Nuclio copies the deployed folder to the root of the code. The ``function.yaml`` there is the
deployed one; in the project's folder it is the open model's.
"""


class DeploymentError(ValueError):
    """A deployment that cannot work; the message is one sentence that says what to do."""


def check_device(device: str) -> None:
    """Refuse a device that torch does not know or that is not there."""
    import torch

    try:
        wanted = torch.device(device)
    except RuntimeError:
        raise DeploymentError(
            f"C3DET_DEVICE is {device!r}, which is no device of torch: set it to 'cpu' or 'cuda'"
        ) from None
    if wanted.type != "cuda":
        return
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        raise DeploymentError(
            f"C3DET_DEVICE is {device!r}, but torch finds no GPU here: give the container one, or "
            "set C3DET_DEVICE to 'cpu'"
        )
    if (wanted.index or 0) >= count:
        raise DeploymentError(
            f"C3DET_DEVICE is {device!r}, but torch finds only {count} GPUs here: count them from "
            "cuda:0"
        )


def check_classes(classes: Sequence[str], descriptions: Sequence[Path]) -> None:
    """Refuse weights whose classes are not those of the function's description, in its order.

    The plugin counts classes as the description lists them, so every click would get a wrong class.
    Open weights have no classes, and their description lists none; a detector cannot have them.

    Args:
        classes: Names of the weights' classes; none: they are open.
        descriptions: Places of the function's description; the first that has labels counts.
            Where none exists there is nothing to compare.

    Raises:
        DeploymentError: They differ, or no description has labels, or the weights are open and
            the function is a detector.
    """
    paths = [path for path in descriptions if path.is_file()]
    if not paths:
        return
    described_in = {path: described_classes(path) for path in paths}
    path = next((path for path in paths if described_in[path] is not None), paths[-1])
    described = described_in[path] or []
    place = f"metadata.annotations.spec in {path}"
    if not classes and value_in(path, "metadata", "annotations", "type") == "detector":
        raise DeploymentError(
            f"{path} describes a detector, but the weights take any label and find nothing of a "
            "class without clicks: name weights that have classes in C3DET_WEIGHTS"
        )
    if described == list(classes):
        return
    if not classes:
        raise DeploymentError(
            f"the weights take any label and have no classes, but {place} has {len(described)}: "
            "write [] there, or name the weights of these classes in C3DET_WEIGHTS"
        )
    if not described:
        raise DeploymentError(
            f"the weights have {len(classes)} classes, but {place} has none, as for weights that "
            "take any label: write the weights' classes there, or name such weights in "
            "C3DET_WEIGHTS"
        )
    at = next(
        (i for i, (a, b) in enumerate(zip(described, classes, strict=False)) if a != b),
        min(len(described), len(classes)),
    )

    def name(names: Sequence[str]) -> str:
        return repr(names[at]) if at < len(names) else "missing"

    raise DeploymentError(
        f"the {len(classes)} classes of the weights are not the {len(described)} of {place}: class "
        f"{at} is {name(classes)} in the weights and {name(described)} there; write the weights' "
        "classes into it, or name other weights in C3DET_WEIGHTS"
    )


def described_classes(path: Path) -> list[str] | None:
    """Return the names of the labels in a function's description, ``None`` without labels."""
    spec = value_in(path, "metadata", "annotations", "spec")
    if spec is None:
        return None
    try:
        return [str(label["name"]) for label in json.loads(spec)]
    except (ValueError, LookupError, TypeError):
        raise DeploymentError(
            f"metadata.annotations.spec in {path} is not a JSON list of labels: write there one "
            "label with id, name and type for each class of the weights, or [] for weights that "
            "take any label"
        ) from None


def value_in(path: Path, *keys: str) -> Any:
    """Return the value below some keys of a function's description, ``None`` where it is not."""
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
        for key in keys:
            value = value[key]
        return value
    except (LookupError, TypeError):
        return None
    except (OSError, ValueError, yaml.YAMLError):
        raise DeploymentError(
            f"{path} is no readable YAML: deploy the function again from an unchanged folder"
        ) from None


def check_class(name: str | None, classes: Sequence[str]) -> None:
    """Refuse a class of the setting that the weights do not have."""
    if name is not None and not classes:
        raise DeploymentError(
            f"C3DET_CLASS is {name!r}, but the weights take any label and have no classes: leave "
            "C3DET_CLASS empty"
        )
    if name is not None and name not in classes:
        raise DeploymentError(
            f"C3DET_CLASS is {name!r}, which is no class of the weights: choose one of "
            f"{', '.join(classes)}"
        )


def check_time_budget(seconds: int, configuration: Path) -> None:
    """Refuse a time budget that Nuclio does not grant: it would end the calls, and the worker.

    Args:
        seconds: What a call may take.
        configuration: Of Nuclio's processor; where it is missing, nothing ends the calls.
    """
    if not configuration.is_file():
        return
    granted = str(value_in(configuration, "spec", "eventTimeout"))
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|ms|m|s)", granted)
    if not parts or granted != "".join(map("".join, parts)):
        return  # it is not there, or written in a way that Nuclio refuses
    if seconds >= sum(float(number) * UNITS[unit] for number, unit in parts):
        raise DeploymentError(
            f"C3DET_TIME_BUDGET_SECONDS is {seconds}, but Nuclio ends a call after its "
            f"eventTimeout of {granted}: set less, or raise spec.eventTimeout"
        )


UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
"""Seconds of the units of Go's durations."""


def gpu_name(device: str) -> str | None:
    """Return a name that is the same for all processes that use a GPU; ``None`` for a CPU."""
    import torch

    wanted = torch.device(device)
    if wanted.type != "cuda":
        return None
    index = wanted.index or 0
    # Processes may count their GPUs differently.
    return f"cuda-{torch.cuda.get_device_properties(index).uuid}"


def hold_gpu(name: str, folder: Path | None = None) -> IO[str]:
    """Take a GPU for this process, until the file that is returned is closed or the process ends.

    Args:
        name: Of the device, the same in all processes that use it.
        folder: Of the lock, common to these processes; the folder of temporary files by default.

    Raises:
        DeploymentError: Another worker has it.
    """
    path = (folder or Path(tempfile.gettempdir())) / f"c3det-{name}.lock"
    try:
        lock = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+")
    except OSError as error:
        raise DeploymentError(
            f"the lock {path} of the GPU cannot be opened ({error.strerror}): make it writable for "
            "the user of the function"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise DeploymentError(
            f"another worker runs on {name} already, and each would load a model of its own: set "
            "numWorkers to 1 in function.yaml"
        ) from None
    return lock

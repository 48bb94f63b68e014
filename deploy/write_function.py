"""Write the configuration of one function for Nuclio, from the project's own and a few wishes.

Several functions with different weights, or for one class each, stand side by side when each has a
name of its own. What is written differs from ``function.yaml``, or from the files of the closed
model in ``deploy/closed``, only in that::

    python3 deploy/write_function.py --closed --weights /srv/models/ships.safetensors --class ship

It checks the weights against their card first. What is wrong is told in one sentence each, and then
nothing is written. Only PyYAML is needed. ``deploy.sh`` calls it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parent.parent
INTERACTORS = {
    # By whether the model is the closed one, and whether it runs on a GPU.
    (False, False): "function.yaml",
    (False, True): "deploy/function-gpu.yaml",
    (True, False): "deploy/closed/interactor.yaml",
    (True, True): "deploy/closed/interactor-gpu.yaml",
}
DETECTOR = "deploy/closed/detector.yaml"
SHIPPED = {False: "open.safetensors", True: "starter.safetensors"}
"""The weights that come with the project, by whether the model is the closed one."""

IN_IMAGE = "/opt/nuclio"
"""Where Nuclio puts the project's folder."""

MOUNTED = "/opt/c3det-weights"
"""Where a folder of weights from outside the project is shown to the function."""

NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
"""Names of services on Kubernetes, stricter than those of containers."""

Config = dict[str, Any]


class FunctionError(Exception):
    """The function cannot be written; each argument is one sentence that says what to do."""


def read_function(path: str, project: Path = PROJECT) -> Config:
    """Read one of the project's function files."""
    return yaml.safe_load((project / path).read_text(encoding="utf-8"))


def base_function(
    *,
    closed: bool = False,
    detector: bool = False,
    gpu: bool = False,
    project: Path = PROJECT,
) -> Config:
    """Return the configuration to start from.

    The detector on a GPU is written nowhere: its image starts from the interactor's, and it runs as
    that one does.

    Args:
        closed: Whether of the closed model, not of the open one.
        detector: Whether the detector, not the interactor.
        gpu: Whether on a GPU.
        project: The project's folder.

    Raises:
        FunctionError: There is no such function.
    """
    if detector and not closed:
        raise FunctionError(
            "The open model has no classes that a detector could tell: add --closed, or leave "
            "--detector out."
        )
    interactor = read_function(INTERACTORS[closed, gpu], project)
    if not detector:
        return interactor
    function = read_function(DETECTOR, project)
    if gpu:
        spec, theirs = function["spec"], interactor["spec"]
        image, tag = theirs["build"]["image"].split(":")
        own = spec["build"]["image"]
        spec["build"] = {"image": f"{own}:{tag}", "baseImage": f"{image}:{tag}"}
        for key in ("runtime", "eventTimeout", "readinessTimeoutSeconds", "resources", "triggers"):
            spec[key] = theirs[key]
        device = next(each["value"] for each in theirs["env"] if each["name"] == "C3DET_DEVICE")
        set_variable(function, "C3DET_DEVICE", device)
    return function


def classes_of(weights: Path) -> list[str]:
    """Return the classes that weights know, by their card; the open model knows none.

    Raises:
        FunctionError: The file or its card is missing, they are not of each other, or the card was
            changed.
    """
    card_path = weights.with_suffix(".json")
    if weights.suffix != ".safetensors":
        raise FunctionError(
            f"The weights {weights} are not a .safetensors file: export them with "
            "python -m training.export."
        )
    problems = [
        f"The file {path} is missing: the weights and their card lie side by side."
        for path in (weights, card_path)
        if not path.is_file()
    ]
    if problems:
        raise FunctionError(*problems)
    try:
        card = json.loads(card_path.read_text(encoding="utf-8"))
        if card["format_version"] == 1:
            raise FunctionError(
                f"The card {card_path} has format_version 1: export the weights again with "
                "python -m training.export."
            )
        classes, expected = [str(name) for name in card["classes"]], card["tensors"]
        stated = card.pop("sha256")
        # As c3det.weights.digest, which needs torch, has it.
        text = json.dumps(card, sort_keys=True, separators=(",", ":"))
        if any(unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") for one in "".join(classes)):
            raise ValueError("a name is no text of one line")
    except (ValueError, KeyError, TypeError, RecursionError):
        raise FunctionError(
            f"The card {card_path} is not one of weights: copy it again from its source."
        ) from None
    found = hashlib.sha256(text.encode("ascii")).hexdigest()
    if found != stated:
        raise FunctionError(
            f"The card {card_path} was changed after it was written, its content has the sha256 "
            f"{found} and it says {stated}: copy both files again from the same source."
        )
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    if found != expected:
        raise FunctionError(
            f"The weights {weights} have the sha256 {found} and their card says {expected}: copy "
            "both files again from the same source."
        )
    return classes


def labels(classes: Sequence[str]) -> str:
    """The classes as CVAT reads them from the annotation ``spec``."""
    return json.dumps(
        [{"id": i, "name": name, "type": "rectangle"} for i, name in enumerate(classes)],
        ensure_ascii=False,
    )


def merge(function: Config, overlay: Mapping[str, Any]) -> None:
    """Put an overlay's keys into a configuration.

    Of two mappings the keys are merged, of two lists the items of the overlay come last, a variable
    of ``env`` replaces that of the same name, and anything else is replaced.
    """
    for key, value in overlay.items():
        if key == "env":
            for variable in value:
                set_variable({"spec": function}, variable["name"], variable["value"])
        elif isinstance(value, Mapping) and isinstance(function.get(key), dict):
            merge(function[key], value)
        elif isinstance(value, list) and isinstance(function.get(key), list):
            function[key] = function[key] + value
        else:
            function[key] = value


def read_overlay(path: Path, function: Config) -> Config:
    """Read an overlay, and check it against the configuration that it changes.

    Raises:
        FunctionError: It is no YAML, or a value is of another kind than it must be.
        OSError: It cannot be read.
    """
    try:
        overlay = yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise FunctionError(f"{path} is not UTF-8 text: save it as that.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise FunctionError(f"{path} is not YAML: {why}.") from None
    if overlay is None:
        return {}
    if problems := list(overlay_problems(overlay, function)):
        raise FunctionError(*(f"{path}: {problem}" for problem in problems))
    return overlay


def overlay_problems(overlay: Any, function: Any, key: str = "") -> Iterator[str]:
    """Tell what an overlay cannot change so, one sentence each; ``function`` is what is there."""
    name = key or "the overlay"
    if overlay is None:
        yield f"{name} is empty: give it a value, or leave it out."
    elif key == "spec.env":
        yield from _env_problems(overlay)
    elif key == "spec.volumes" and not isinstance(overlay, list):
        yield f"{name} is {_kind(overlay)}, not a list: begin each volume with a hyphen."
    elif key == "spec.volumes":
        for number, each in enumerate(overlay):
            found = [
                isinstance(each, dict)
                and isinstance(each.get(part), dict)
                and isinstance(each[part].get(field), str)
                for part, field in (("volume", "name"), ("volumeMount", "mountPath"))
            ]
            if not all(found):
                yield (
                    f"spec.volumes[{number}] is not a volume: write volume with its name, and "
                    "volumeMount with its mountPath."
                )
    elif isinstance(function, dict) or not key:
        if not isinstance(overlay, dict):
            yield f"{name} is {_kind(overlay)}: write keys with their values, such as spec:."
            return
        for each, value in overlay.items():
            below = f"{key}.{each}" if key else str(each)
            if isinstance(each, str):
                yield from overlay_problems(value, (function or {}).get(each, _UNKNOWN), below)
            else:
                yield f"{below} is {_kind(each)}, not the name of a key: write it in quotes."
    elif isinstance(function, list):
        if not isinstance(overlay, list):
            yield f"{name} is {_kind(overlay)}, not a list: begin each item with a hyphen."
    elif isinstance(function, str):
        if isinstance(overlay, (dict, list)):
            yield f"{name} is {_kind(overlay)}, not a text."
        elif not isinstance(overlay, str):
            yield f"{name} is {_kind(overlay)}, not a text: write {_quoted(overlay)}."
    elif isinstance(function, bool):
        if not isinstance(overlay, bool):
            yield f"{name} is {_kind(overlay)}: write true or false."
    elif isinstance(function, int) and (
        isinstance(overlay, bool) or not isinstance(overlay, (int, float))
    ):
        yield f"{name} is {_kind(overlay)}: write a number, without quotes."


_UNKNOWN = object()
"""What is there of a key that the function has not: any value does."""


_VARIABLE = '- {name: NAME, value: "VALUE"}'


def _env_problems(env: Any) -> Iterator[str]:
    if not isinstance(env, list):
        yield f"spec.env is {_kind(env)}, not a list: write {_VARIABLE} for each variable."
        return
    for number, each in enumerate(env):
        place = f"spec.env[{number}]"
        if not isinstance(each, dict) or not isinstance(each.get("name"), str) or not each["name"]:
            yield f"{place} has no name: write {_VARIABLE}."
        elif more := set(map(str, each)) - {"name", "value"}:
            yield f"{place}, {each['name']}: there is no {sorted(more)[0]}, only name and value."
        elif each.get("value") is None:
            yield f'{place}, {each["name"]}, has no value: write value: "", or leave it out.'
        elif isinstance(each["value"], (dict, list)):
            yield f"the value of {place}, {each['name']}, is {_kind(each['value'])}, not a text."
        elif not isinstance(each["value"], str):
            yield (
                f"the value of {place}, {each['name']}, is {_kind(each['value'])}, not a text: "
                f"write value: {_quoted(each['value'])}."
            )


def _kind(value: Any) -> str:
    kinds: list[tuple[type, str]] = [
        (bool, "true or false"),
        (int, "a number"),
        (float, "a number"),
        (str, "a text"),
        (dict, "a mapping"),
        (list, "a list"),
    ]
    return next((name for kind, name in kinds if isinstance(value, kind)), "a date or the like")


def _quoted(value: Any) -> str:
    return f'"{str(value).lower() if isinstance(value, bool) else value}"'


def set_variable(function: Config, name: str, value: str) -> None:
    """Set a variable of the function's environment.

    Raises:
        FunctionError: Nuclio cannot pass the value on.
    """
    if "'" in value:
        raise FunctionError(
            f"Nuclio cannot pass on {name}={value}, which has a single quote in it."
        )
    others = [each for each in function["spec"].get("env", []) if each["name"] != name]
    function["spec"]["env"] = [*others, {"name": name, "value": value}]


def place_weights(function: Config, weights: Path, project: Path = PROJECT) -> str:
    """Return the path of weights inside the container, and mount their folder where that is needed.

    Weights inside the project come with the image. Other weights are in the function's volume
    ``weights``, if an overlay has given it one, or else their folder on this machine becomes that.
    """
    weights = weights.resolve()
    volumes = function["spec"].setdefault("volumes", [])
    for each in volumes:
        if each["volume"]["name"] == "weights":
            return f"{each['volumeMount']['mountPath']}/{weights.name}"
    if weights.is_relative_to(project):
        return f"{IN_IMAGE}/{weights.relative_to(project).as_posix()}"
    volumes.append(
        {
            "volume": {"name": "weights", "hostPath": {"path": str(weights.parent)}},
            "volumeMount": {"name": "weights", "mountPath": MOUNTED, "readOnly": True},
        }
    )
    return f"{MOUNTED}/{weights.name}"


def slug(text: str) -> str:
    """Return a text with what a name cannot hold replaced by hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def compose(
    function: Config,
    weights: Path | None = None,
    name: str | None = None,
    class_name: str | None = None,
    overlays: Sequence[Mapping[str, Any]] = (),
    project: Path = PROJECT,
) -> Config:
    """Return the configuration of one function.

    Args:
        function: What `base_function` returned; it is changed.
        weights: Other weights than the shipped ones.
        name: Of the function; default: the base's, with the weights' name and the class.
        class_name: The one class of the answers to CVAT's own requests.
        overlays: Changes to the configuration, see `merge`.
        project: The project's folder.

    Raises:
        FunctionError: The weights, the class or the name cannot be used.
    """
    metadata = function["metadata"]
    annotations = metadata["annotations"]
    listed = [label["name"] for label in json.loads(annotations["spec"])]
    closed = bool(listed)
    classes = classes_of(weights or project / "serverless" / "weights" / SHIPPED[closed])
    problems = []
    if weights is not None and closed != bool(classes):
        problems.append(
            f"The weights {weights} are of the "
            + ("closed model: add --closed." if classes else "open model: leave --closed out.")
        )
    elif weights is None and listed != classes:
        problems.append(
            "The labels of the function file are not the classes of the shipped weights' card: "
            "write the card's classes there, in their order."
        )
    if class_name is not None:
        if not closed:
            problems.append("The open model has no classes: leave --class out, or add --closed.")
        elif annotations["type"] != "interactor":
            problems.append("The detector has no class of its own: it tells all its classes.")
        elif class_name not in classes:
            problems.append(
                f"The weights do not know the class {class_name!r}: they know {', '.join(classes)}."
            )
    wanted = [text for text in (weights and weights.stem, class_name) if text]
    chosen = name or "-".join([metadata["name"], *map(slug, wanted)])
    if not NAME.fullmatch(chosen):
        problems.append(
            f"The name {chosen!r} does not do: give --name one of lower-case letters, digits and "
            "hyphens that starts with a letter and ends with none of the hyphens, 63 at most."
        )
    if problems:
        raise FunctionError(*problems)
    metadata["name"] = chosen
    annotations["name"] = name or " ".join([annotations["name"], *wanted])
    annotations["spec"] = labels(classes)
    for overlay in overlays:
        merge(function, overlay)
    if weights is not None:
        set_variable(function, "C3DET_WEIGHTS", place_weights(function, weights, project))
    if class_name is not None:
        set_variable(function, "C3DET_CLASS", class_name)
    return function


def _system_error(error: OSError) -> str:
    return f"{error.filename or 'The output'}: {error.strerror or error}."


def main() -> int:
    """Print the configuration; the exit code is 1 when something is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--closed", action="store_true", help="the closed model, of the classes it was trained on"
    )
    parser.add_argument(
        "--detector", action="store_true", help="its detector, not the interactor (with --closed)"
    )
    parser.add_argument("--gpu", action="store_true", help="on a GPU")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="default: the shipped ones")
    parser.add_argument("--name", help="of the function (default: from weights and class)")
    parser.add_argument(
        "--class", dest="class_name", metavar="CLASS", help="of all answers to CVAT's own requests"
    )
    parser.add_argument(
        "--overlay", type=Path, metavar="FILE", action="append", default=[], help="repeatable"
    )
    arguments = parser.parse_args()
    try:
        base = base_function(
            closed=arguments.closed, detector=arguments.detector, gpu=arguments.gpu
        )
        overlays = [read_overlay(path, base) for path in arguments.overlay]
        function = compose(
            base,
            arguments.weights,
            arguments.name,
            arguments.class_name,
            overlays,
        )
        text = yaml.safe_dump(function, sort_keys=False, allow_unicode=True, width=100)
        sys.stdout.buffer.write(text.encode("utf-8"))  # whatever the terminal's encoding is
        sys.stdout.buffer.flush()
    except (FunctionError, OSError) as error:
        sentences = error.args if isinstance(error, FunctionError) else [_system_error(error)]
        for sentence in sentences:
            print(sentence, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Write the configuration of one function for Nuclio: the project's own, with other options.

The options are other weights, one class, another name and overlays::

    python3 deploy/write_function.py --closed --weights /srv/models/ships.safetensors --class ship

The weights are checked against their card first. Each problem is one sentence on the standard
error, and then nothing is written. With ``--out`` it writes the folder that Nuclio copies into the
image. Only PyYAML is needed. ``deploy.sh`` calls it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where it runs as a program

from deploy.nuclio_fields import problems

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

CODE = ("LICENSE", "NOTICE", "c3det", "constraints.txt", "deploy/install_torch.sh", "serverless")
"""What of the project an interactor's image has; Nuclio copies all of the folder it is given."""

IN_IMAGE = "/opt/nuclio"
"""Where Nuclio puts that folder."""

MOUNTED = "/opt/c3det-weights"
"""Where a folder of weights from outside the project is shown to the function."""

NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
"""Names of services on Kubernetes, stricter than those of containers."""

Config = dict[str, Any]


class FunctionError(Exception):
    """The function cannot be written; each argument is one sentence that says what to do."""


def read_function(path: str) -> Config:
    """Read one of the project's function files."""
    return yaml.safe_load((PROJECT / path).read_text(encoding="utf-8"))


def base_function(*, closed: bool = False, detector: bool = False, gpu: bool = False) -> Config:
    """Return the configuration to start from.

    The detector on a GPU has no file of its own: it takes image and resources of the interactor.
    Its calls may take as long as on a CPU.

    Raises:
        FunctionError: The open model has no detector.
    """
    if detector and not closed:
        raise FunctionError(
            "The open model has no classes, so it has no detector: add --closed, or leave "
            "--detector out."
        )
    interactor = read_function(INTERACTORS[closed, gpu])
    if not detector:
        return interactor
    function = read_function(DETECTOR)
    if gpu:
        spec, theirs = function["spec"], interactor["spec"]
        image, tag = theirs["build"]["image"].split(":")
        own = spec["build"]["image"]
        spec["build"] = {"image": f"{own}:{tag}", "baseImage": f"{image}:{tag}"}
        for key in ("runtime", "readinessTimeoutSeconds", "resources"):
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


def read_overlay(path: Path) -> Config:
    """Read an overlay, and check it against Nuclio's fields.

    Raises:
        FunctionError: It is no YAML, Nuclio does not know a key, or a value is of another kind than
            it must be.
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
    if found := list(problems(overlay, "the overlay")):
        raise FunctionError(*(f"{path}: {problem}" for problem in found))
    return overlay


def set_variable(function: Config, name: str, value: str) -> None:
    """Set a variable of the function's environment; Nuclio cannot pass a single quote on."""
    if "'" in value:
        raise FunctionError(
            f"Nuclio cannot pass on {name}={value}, which has a single quote in it."
        )
    others = [each for each in function["spec"].get("env", []) if each["name"] != name]
    function["spec"]["env"] = [*others, {"name": name, "value": value}]


def place_weights(function: Config, weights: Path) -> str:
    """Return the path of weights inside the container, and mount their folder where that is needed.

    Weights inside the project come with the image. Other weights are in the function's volume
    ``weights``, if an overlay has given it one, or else their folder on this machine becomes that.
    """
    weights = weights.resolve()
    volumes = function["spec"].setdefault("volumes", [])
    for each in volumes:
        if each["volume"]["name"] == "weights":
            return f"{each['volumeMount']['mountPath']}/{weights.name}"
    if weights.is_relative_to(PROJECT):
        return f"{IN_IMAGE}/{weights.relative_to(PROJECT).as_posix()}"
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
) -> Config:
    """Return the configuration of one function.

    Args:
        function: What `base_function` returned; it is changed.
        weights: Other weights than the shipped ones.
        name: Of the function; default: the base's, with the weights' name and the class.
        class_name: The one class of the answers to CVAT's own requests.
        overlays: Changes to the configuration, see `merge`.

    Raises:
        FunctionError: The weights, the class, the name or an overlay cannot be used.
    """
    metadata = function["metadata"]
    annotations = metadata["annotations"]
    listed = [label["name"] for label in json.loads(annotations["spec"])]
    closed = bool(listed)
    classes = classes_of(weights or PROJECT / "serverless" / "weights" / SHIPPED[closed])
    wrong = []
    if weights is not None and closed != bool(classes):
        wrong.append(
            f"The weights {weights} are of the "
            + ("closed model: add --closed." if classes else "open model: leave --closed out.")
        )
    elif weights is None and listed != classes:
        wrong.append(
            "The labels of the function file are not the classes of the shipped weights' card: "
            "write the card's classes there, in their order."
        )
    if class_name is not None:
        if not closed:
            wrong.append("The open model has no classes: leave --class out, or add --closed.")
        elif annotations["type"] != "interactor":
            wrong.append("The detector answers with all its classes: leave --class out.")
        elif class_name not in classes:
            wrong.append(
                f"The weights do not know the class {class_name!r}: they know {', '.join(classes)}."
            )
    distinct = [text for text in (weights and weights.stem, class_name) if text]
    chosen = name or "-".join([metadata["name"], *map(slug, distinct)])
    metadata["name"] = chosen
    annotations["name"] = name or " ".join([annotations["name"], *distinct])
    annotations["spec"] = json.dumps(
        [{"id": i, "name": each, "type": "rectangle"} for i, each in enumerate(classes)],
        ensure_ascii=False,
    )
    for overlay in overlays:
        merge(function, overlay)
    wrong += problems(function)
    if not NAME.fullmatch(str(metadata.get("name"))):
        wrong.append(
            f"The name {metadata.get('name')!r} does not do: give --name one of lower-case "
            "letters, digits and hyphens that starts with a letter and ends with none of the "
            "hyphens, 63 at most."
        )
    if wrong:
        raise FunctionError(*wrong)
    if weights is not None:
        set_variable(function, "C3DET_WEIGHTS", place_weights(function, weights))
    if class_name is not None:
        set_variable(function, "C3DET_CLASS", class_name)
    return function


def as_yaml(function: Config) -> str:
    """Return a configuration as the text of its file."""
    return yaml.safe_dump(function, sort_keys=False, allow_unicode=True, width=100)


def write_folder(folder: Path, function: Config, weights: Path | None = None) -> None:
    """Write what Nuclio copies into the image: the function.yaml, the code, and own weights.

    A detector's image has the code already: it starts from that of the interactor.

    Args:
        folder: New, or empty.
        function: What `compose` returned.
        weights: What `compose` was given; those from outside the project are not copied.

    Raises:
        FunctionError: The folder has something in it.
        OSError: It cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FunctionError(f"The folder {folder} is not empty: name a new one with --out.")
    (folder / "function.yaml").write_text(as_yaml(function), encoding="utf-8")
    is_detector = function["metadata"]["annotations"]["type"] == "detector"
    needed = [] if is_detector else [PROJECT / name for name in CODE]
    if weights is not None and weights.resolve().is_relative_to(PROJECT):
        needed += [weights.resolve(), weights.resolve().with_suffix(".json")]
    for path in needed:
        target = folder / path.relative_to(PROJECT)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(path, target)


def main() -> int:
    """Print or write the configuration; the exit code is 1 when something is wrong."""
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
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="a new folder for nuctl's --path: function.yaml and what its image needs",
    )
    arguments = parser.parse_args()
    try:
        base = base_function(
            closed=arguments.closed, detector=arguments.detector, gpu=arguments.gpu
        )
        overlays = [read_overlay(path) for path in arguments.overlay]
        function = compose(base, arguments.weights, arguments.name, arguments.class_name, overlays)
        if arguments.out is not None:
            write_folder(arguments.out, function, arguments.weights)
        else:  # in UTF-8, whatever the terminal's encoding is
            sys.stdout.buffer.write(as_yaml(function).encode("utf-8"))
            sys.stdout.buffer.flush()
    except FunctionError as error:
        print("\n".join(error.args), file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename or 'The output'}: {error.strerror or error}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

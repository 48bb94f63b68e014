"""Each function.yaml against Nuclio's fields, since Nuclio drops unknown keys without a word."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
INTERACTOR = ROOT / "function.yaml"
DETECTOR = ROOT / "serverless" / "detector" / "function.yaml"
CARD = ROOT / "serverless" / "weights" / "starter.json"
CVAT_TIMEOUT_S = 120


def whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def text(value: object) -> bool:
    return isinstance(value, str)


def flag(value: object) -> bool:
    return isinstance(value, bool)


def texts(value: object) -> bool:
    return isinstance(value, dict) and all(map(text, value)) and all(map(text, value.values()))


def mapping(value: object) -> bool:
    return isinstance(value, dict)


def sequence(value: object) -> bool:
    return isinstance(value, list)


Fields = dict[str, Callable[[object], bool]]

# The fields of Nuclio's structures of the same names.
CONFIG: Fields = {"metadata": mapping, "spec": mapping}
METADATA: Fields = {"name": text, "namespace": text, "labels": texts, "annotations": texts}
SPEC: Fields = {
    "description": text,
    "disable": flag,
    "handler": text,
    "runtime": text,
    "env": sequence,
    "resources": mapping,
    "minReplicas": whole,
    "maxReplicas": whole,
    "triggers": mapping,
    "volumes": sequence,
    "build": mapping,
    "runtimeAttributes": mapping,
    "loggerSinks": sequence,
    "platform": mapping,
    "readinessTimeoutSeconds": whole,
    "securityContext": mapping,
    "eventTimeout": text,
}
BUILD: Fields = {
    "image": text,
    "registry": text,
    "baseImage": text,
    "noBaseImagesPull": flag,
    "noCache": flag,
    "directives": mapping,
    "offline": flag,
    "buildTimeoutSeconds": whole,
    "args": texts,
    "flags": sequence,
}
DIRECTIVE: Fields = {"kind": text, "value": text}
VARIABLE: Fields = {"name": text, "value": text}
TRIGGER: Fields = {
    "kind": text,
    "name": text,
    "numWorkers": whole,
    "workerAvailabilityTimeoutMilliseconds": whole,
    "workerTerminationTimeout": text,
    "annotations": texts,
    "attributes": mapping,
}
HTTP_ATTRIBUTES: Fields = {
    "port": whole,
    "serviceType": text,
    "readBufferSize": whole,
    "maxRequestBodySize": whole,
    "reduceMemoryUsage": flag,
    "cors": mapping,
    "disablePortPublishing": flag,
}
PLATFORM: Fields = {"attributes": mapping}
PLATFORM_ATTRIBUTES: Fields = {"restartPolicy": mapping, "network": text}
RESTART_POLICY: Fields = {"name": text, "maximumRetryCount": whole}
# What CVAT reads of the annotations of a function of each type.
ANNOTATIONS = {
    "interactor": {
        "name",
        "type",
        "version",
        "spec",
        "min_pos_points",
        "min_neg_points",
        "help_message",
        "animated_gif",
    },
    "detector": {"name", "type", "spec"},
}


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=[INTERACTOR, DETECTOR], ids=["interactor", "detector"])
def config(request: pytest.FixtureRequest) -> dict[str, Any]:
    return read(request.param)


@pytest.fixture(scope="module")
def spec(config: dict[str, Any]) -> dict[str, Any]:
    return config["spec"]


@pytest.fixture(scope="module")
def annotations(config: dict[str, Any]) -> dict[str, Any]:
    return config["metadata"]["annotations"]


@pytest.fixture(scope="module")
def trigger(spec: dict[str, Any]) -> dict[str, Any]:
    (trigger,) = spec["triggers"].values()
    return trigger


def wrong(values: dict[str, Any], fields: Fields) -> list[str]:
    """The keys of ``values`` that Nuclio does not know or whose type it refuses."""
    return [key for key, value in values.items() if key not in fields or not fields[key](value)]


def test_wrong_finds_unknown_keys_and_types() -> None:
    values = {"kind": "http", "maxWorker": 1, "numWorkers": "1", "attributes": {}}
    assert wrong(values, TRIGGER) == ["maxWorker", "numWorkers"]


def test_every_key_is_nuclios(config: dict[str, Any], trigger: dict[str, Any]) -> None:
    spec = config["spec"]
    assert wrong(config, CONFIG) == []
    assert wrong(config["metadata"], METADATA) == []
    assert wrong(spec, SPEC) == []
    assert wrong(spec["build"], BUILD) == []
    assert set(spec["build"].get("directives", {})) <= {"preCopy", "postCopy"}
    for directives in spec["build"].get("directives", {}).values():
        assert [wrong(directive, DIRECTIVE) for directive in directives] == [[]] * len(directives)
    assert [wrong(variable, VARIABLE) for variable in spec["env"]] == [[]] * len(spec["env"])
    assert wrong(trigger, TRIGGER) == []
    assert wrong(trigger["attributes"], HTTP_ATTRIBUTES) == []
    assert wrong(spec["platform"], PLATFORM) == []
    assert wrong(spec["platform"]["attributes"], PLATFORM_ATTRIBUTES) == []
    assert wrong(spec["platform"]["attributes"]["restartPolicy"], RESTART_POLICY) == []


def test_handler_can_be_imported(spec: dict[str, Any]) -> None:
    module, _, function = spec["handler"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    assert callable(importlib.import_module(module).init_context)


def test_runtime_is_the_python_of_the_base_image(spec: dict[str, Any]) -> None:
    interactor = read(INTERACTOR)["spec"]
    base = spec["build"]["baseImage"]
    if base == interactor["build"]["image"]:
        base = interactor["build"]["baseImage"]
    assert spec["runtime"] in ("python:3.10", "python:3.11")
    assert re.fullmatch(re.escape(spec["runtime"]) + r"(-[a-z]+)?", base)


def test_one_worker_that_takes_large_pictures(trigger: dict[str, Any]) -> None:
    assert trigger["kind"] == "http"
    assert trigger["numWorkers"] == 1
    assert trigger["attributes"]["maxRequestBodySize"] >= 33_554_432


def test_timeouts_fit_into_cvats(spec: dict[str, Any], trigger: dict[str, Any]) -> None:
    event_timeout_s = int(re.fullmatch(r"(\d+)s", spec["eventTimeout"]).group(1))
    wait_s = trigger["workerAvailabilityTimeoutMilliseconds"] / 1000
    assert wait_s + event_timeout_s < CVAT_TIMEOUT_S
    assert spec["readinessTimeoutSeconds"] > 120


def test_the_function_comes_back_after_a_crash(spec: dict[str, Any]) -> None:
    assert spec["platform"]["attributes"]["restartPolicy"] == {"name": "always"}


def test_environment_has_no_single_quotes_and_known_names(spec: dict[str, Any]) -> None:
    settings = (ROOT / "serverless" / "settings.py").read_text(encoding="utf-8")
    for variable in spec["env"]:
        assert "'" not in variable["value"]
        assert f'"{variable["name"]}"' in settings


def test_annotations_are_those_that_cvat_reads(annotations: dict[str, Any]) -> None:
    assert annotations["name"]
    assert set(annotations) <= ANNOTATIONS[annotations["type"]]


def test_the_interactor_takes_left_and_right_clicks() -> None:
    annotations = read(INTERACTOR)["metadata"]["annotations"]
    assert annotations["type"] == "interactor"
    assert annotations["version"] == "2"
    assert annotations["min_pos_points"] == "1"
    assert annotations["min_neg_points"] == "0"
    assert annotations["help_message"]


def test_the_functions_have_names_of_their_own() -> None:
    interactor, detector = read(INTERACTOR), read(DETECTOR)
    assert detector["metadata"]["annotations"]["type"] == "detector"
    assert interactor["metadata"]["name"] != detector["metadata"]["name"]
    assert interactor["spec"]["build"]["image"] != detector["spec"]["build"]["image"]


def test_the_detector_is_built_from_the_image_of_the_interactor() -> None:
    interactor, detector = read(INTERACTOR), read(DETECTOR)
    assert detector["spec"]["build"]["baseImage"] == interactor["spec"]["build"]["image"]
    assert [path.name for path in DETECTOR.parent.iterdir()] == ["function.yaml"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is missing")
@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "en_US.UTF-8"])
def test_cvats_script_takes_the_interactor_first(tmp_path: Path, locale: str) -> None:
    """As the loop of CVAT's deploy_cpu.sh does, over the tracked function files."""
    for path in (DETECTOR, INTERACTOR):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.touch()
    loop = 'shopt -s globstar; for f in "$1"/**/function.yaml; do echo "$f"; done'
    listed = subprocess.run(
        ["bash", "-c", loop, "bash", str(tmp_path)],
        env={"LC_ALL": locale},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert listed == [str(tmp_path / path.relative_to(ROOT)) for path in (INTERACTOR, DETECTOR)]


def test_description_is_there(spec: dict[str, Any]) -> None:
    assert spec["description"]


def test_labels_are_what_cvat_2_15_can_read(annotations: dict[str, Any]) -> None:
    labels = json.loads(annotations["spec"])
    assert [set(label) for label in labels] == [{"id", "name", "type"}] * len(labels)
    assert {label["type"] for label in labels} == {"rectangle"}
    assert [label["id"] for label in labels] == list(range(len(labels)))
    assert len({label["name"] for label in labels}) == len(labels)
    assert all(isinstance(label["name"], str) for label in labels)


@pytest.mark.skipif(not CARD.is_file(), reason="serverless/weights/starter.json is missing")
def test_labels_are_the_classes_of_the_weights(annotations: dict[str, Any]) -> None:
    card = json.loads(CARD.read_text(encoding="utf-8"))
    assert [label["name"] for label in json.loads(annotations["spec"])] == card["classes"]


def test_copied_files_exist() -> None:
    spec = read(INTERACTOR)["spec"]
    copies = [
        directive["value"].split()
        for directive in spec["build"]["directives"]["preCopy"]
        if directive["kind"] == "COPY"
    ]
    assert copies
    for source, _ in copies:
        assert source.startswith("handler/"), "Nuclio puts the function's folder there"
        assert (ROOT / source.removeprefix("handler/")).is_file()


def test_mmcv_is_built_against_the_torch_that_is_there() -> None:
    spec = read(INTERACTOR)["spec"]
    installs = [
        directive["value"]
        for directive in spec["build"]["directives"]["preCopy"]
        if directive["value"].startswith("pip install")
    ]
    (mmcv,) = (index for index, install in enumerate(installs) if "onedl-mmcv" in install)
    assert "--no-build-isolation" in installs[mmcv]
    assert any(" torch " in install for install in installs[:mmcv])


def test_the_image_has_what_serving_needs() -> None:
    spec = read(INTERACTOR)["spec"]
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = project.partition("\ndependencies = [")[2].partition("]")[0]
    needed = set(re.findall(r'"([\w-]+)', listed)) - {"nuclio-sdk"}  # Nuclio brings its own
    assert "torch" in needed
    installed = {
        word
        for directive in spec["build"]["directives"]["preCopy"]
        if directive["value"].startswith("pip install")
        for word in directive["value"].split()
    }
    assert needed <= installed

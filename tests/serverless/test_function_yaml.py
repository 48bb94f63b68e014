"""Each function file against Nuclio's fields, since Nuclio drops unknown keys without a word."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.serverless.nuclio_fields import TRIGGER, wrong, wrong_in_function

ROOT = Path(__file__).resolve().parents[2]
INTERACTOR = ROOT / "function.yaml"
GPU_INTERACTOR = ROOT / "deploy" / "function-gpu.yaml"
DETECTOR = ROOT / "serverless" / "detector" / "function.yaml"
CARD = ROOT / "serverless" / "weights" / "starter.json"
CVAT_TIMEOUT_S = 120
TIME_BUDGET_S = 60  # C3DET_TIME_BUDGET_SECONDS, unless a function file sets it


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


@pytest.fixture(
    scope="module",
    params=[INTERACTOR, GPU_INTERACTOR, DETECTOR],
    ids=["interactor", "interactor on a GPU", "detector"],
)
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


def test_wrong_finds_unknown_keys_and_types() -> None:
    values = {"kind": "http", "maxWorker": 1, "numWorkers": "1", "attributes": {}}
    assert wrong(values, TRIGGER) == ["maxWorker", "numWorkers"]


def test_every_key_is_nuclios(config: dict[str, Any]) -> None:
    assert wrong_in_function(config) == []


def test_handler_can_be_imported(spec: dict[str, Any]) -> None:
    module, _, function = spec["handler"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    assert callable(importlib.import_module(module).init_context)


def python_of(base_image: str) -> str:
    """The runtime that a base image has the Python for."""
    if "ubuntu22.04" in base_image:
        return "python:3.10"
    return re.sub(r"-[a-z]+$", "", base_image)


def test_runtime_is_the_python_of_the_base_image(spec: dict[str, Any]) -> None:
    interactor = read(INTERACTOR)["spec"]
    base = spec["build"]["baseImage"]
    if base == interactor["build"]["image"]:
        base = interactor["build"]["baseImage"]
    assert spec["runtime"] in ("python:3.10", "python:3.11")
    assert spec["runtime"] == python_of(base)


def test_one_worker_that_takes_a_picture_of_64_mib(trigger: dict[str, Any]) -> None:
    assert trigger["kind"] == "http"
    assert trigger["numWorkers"] == 1
    base64_bytes = 64 * 1024 * 1024 * 4 / 3
    room_for_clicks = 1024 * 1024
    assert trigger["attributes"]["maxRequestBodySize"] >= base64_bytes + room_for_clicks


def test_timeouts_fit_into_cvats(spec: dict[str, Any], trigger: dict[str, Any]) -> None:
    event_timeout_s = int(re.fullmatch(r"(\d+)s", spec["eventTimeout"]).group(1))
    wait_s = trigger["workerAvailabilityTimeoutMilliseconds"] / 1000
    variables = {variable["name"]: variable["value"] for variable in spec["env"]}
    assert event_timeout_s > float(variables.get("C3DET_TIME_BUDGET_SECONDS", TIME_BUDGET_S))
    assert wait_s > 10, "Nuclio's default"
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


def installs_of(spec: dict[str, Any]) -> list[str]:
    """The commands of a function's build that install packages, in order."""
    return [
        directive["value"]
        for directive in spec["build"]["directives"]["preCopy"]
        if directive["value"].startswith("pip install")
    ]


@pytest.fixture(scope="module", params=[INTERACTOR, GPU_INTERACTOR], ids=["CPU", "GPU"])
def built(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The spec of a function whose image is built from a public one."""
    return read(request.param)["spec"]


def test_only_a_change_of_the_constraints_installs_anew(built: dict[str, Any]) -> None:
    copies = [
        directive["value"].split()
        for directive in built["build"]["directives"]["preCopy"]
        if directive["kind"] == "COPY"
    ]
    assert [source for source, _ in copies] == ["handler/constraints.txt"], "Nuclio's folder"
    assert (ROOT / "constraints.txt").is_file()


def test_mmcv_is_built_against_the_torch_that_is_there(built: dict[str, Any]) -> None:
    installs = installs_of(built)
    (mmcv,) = (index for index, install in enumerate(installs) if "onedl-mmcv" in install)
    assert "--no-build-isolation" in installs[mmcv]
    assert any(" torch " in install for install in installs[:mmcv])


def test_the_image_has_what_serving_needs(built: dict[str, Any]) -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = project.partition("\ndependencies = [")[2].partition("]")[0]
    needed = set(re.findall(r'"([\w-]+)', listed)) - {"nuclio-sdk"}  # Nuclio brings its own
    assert "torch" in needed
    assert needed <= {word for install in installs_of(built) for word in install.split()}


def test_the_gpu_function_compiles_the_operators_for_cuda() -> None:
    spec = read(GPU_INTERACTOR)["spec"]
    assert re.fullmatch(r"nvidia/cuda:13\.0\.\d-devel-ubuntu22\.04", spec["build"]["baseImage"])
    directives = [(each["kind"], each["value"]) for each in spec["build"]["directives"]["preCopy"]]
    (mmcv,) = (i for i, (_, value) in enumerate(directives) if "onedl-mmcv" in value)
    assert ("ENV", "FORCE_CUDA=1") in directives[:mmcv]
    assert any("TORCH_CUDA_ARCH_LIST=7.5;" in value for _, value in directives[:mmcv])


def test_the_gpu_function_asks_for_one_gpu_and_uses_it() -> None:
    function, cpu = read(GPU_INTERACTOR), read(INTERACTOR)
    spec = function["spec"]
    assert spec["resources"]["limits"] == {"nvidia.com/gpu": 1}
    assert {"name": "C3DET_DEVICE", "value": "cuda"} in spec["env"]
    assert function["metadata"] == cpu["metadata"], "one replaces the other"
    assert spec["build"]["image"] != cpu["spec"]["build"]["image"]


def test_cvats_scripts_find_no_function_of_their_own_in_deploy() -> None:
    assert [*(ROOT / "deploy").rglob("function.yaml")] == []
    assert [*ROOT.glob("function-gpu.yaml")] == []
    assert [*(ROOT / "serverless").rglob("function-gpu.yaml")] == []

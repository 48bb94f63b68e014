"""Each function file against Nuclio's fields, since Nuclio drops unknown keys without a word."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.nuclio_fields import problems
from deploy.write_function import base_function
from serverless.settings import CVAT_SECONDS, ServingSettings

ROOT = Path(__file__).resolve().parents[2]
OPEN = ROOT / "function.yaml"
GPU_OPEN = ROOT / "deploy" / "function-gpu.yaml"
CLOSED = ROOT / "deploy" / "closed" / "interactor.yaml"
GPU_CLOSED = CLOSED.with_name("interactor-gpu.yaml")
DETECTOR = CLOSED.with_name("detector.yaml")
CARD = ROOT / "serverless" / "weights" / "starter.json"

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
    params=[OPEN, GPU_OPEN, CLOSED, GPU_CLOSED, DETECTOR],
    ids=["open", "open on a GPU", "closed", "closed on a GPU", "detector"],
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


def test_every_key_is_nuclios(config: dict[str, Any]) -> None:
    assert list(problems(config)) == []


def test_handler_can_be_imported(spec: dict[str, Any]) -> None:
    module, _, function = spec["handler"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    assert callable(importlib.import_module(module).init_context)


def python_of(base_image: str) -> str:
    """The runtime that a base image has the Python for."""
    if "ubuntu22.04" in base_image:
        return "python:3.10"
    return re.sub(r"(-slim)?-[a-z]+$", "", base_image)


def test_runtime_is_the_python_of_the_base_image(spec: dict[str, Any]) -> None:
    interactor = read(CLOSED)["spec"]
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


@pytest.mark.parametrize("gpu", [False, True], ids=["CPU", "GPU"])
@pytest.mark.parametrize(
    "options",
    [{}, {"closed": True}, {"closed": True, "detector": True}],
    ids=["open", "closed", "detector"],
)
def test_timeouts_fit_into_cvats(options: dict[str, bool], gpu: bool) -> None:
    spec = base_function(gpu=gpu, **options)["spec"]
    (trigger,) = spec["triggers"].values()
    event_timeout_s = int(re.fullmatch(r"(\d+)s", spec["eventTimeout"]).group(1))
    wait_s = trigger["workerAvailabilityTimeoutMilliseconds"] / 1000
    variables = {variable["name"]: variable["value"] for variable in spec["env"]}
    settings = ServingSettings.from_environment(variables)
    assert event_timeout_s > settings.time_budget_seconds
    assert wait_s > 10, "Nuclio's default"
    assert wait_s + event_timeout_s < CVAT_SECONDS
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


@pytest.mark.parametrize("path", [OPEN, CLOSED], ids=["open", "closed"])
def test_the_interactor_takes_left_and_right_clicks(path: Path) -> None:
    annotations = read(path)["metadata"]["annotations"]
    assert annotations["type"] == "interactor"
    assert annotations["version"] == "2"
    assert annotations["min_pos_points"] == "1"
    assert annotations["min_neg_points"] == "0"
    assert annotations["help_message"]


def test_the_open_function_is_named_for_what_it_does() -> None:
    annotations = read(OPEN)["metadata"]["annotations"]
    assert annotations["name"] == "Find all like these (C3Det)"
    assert read(OPEN)["metadata"]["name"] == "c3det", "by which the plugin knows it"
    help_message = annotations["help_message"]
    assert help_message.startswith("Choose any label, click one or two of its objects")
    assert "right click" in help_message


def test_the_functions_have_names_of_their_own() -> None:
    functions = [read(path) for path in (OPEN, CLOSED, DETECTOR)]
    assert functions[2]["metadata"]["annotations"]["type"] == "detector"
    for names in (
        {each["metadata"]["name"] for each in functions},
        {each["metadata"]["annotations"]["name"] for each in functions},
        {each["spec"]["build"]["image"] for each in functions},
    ):
        assert len(names) == 3


def test_the_detector_is_built_from_the_image_of_the_closed_interactor() -> None:
    assert read(DETECTOR)["spec"]["build"]["baseImage"] == read(CLOSED)["spec"]["build"]["image"]


def test_cvats_scripts_find_the_open_function_alone() -> None:
    """They take every file of these names, and give Nuclio nothing but its folder."""
    for name, found in (("function.yaml", [OPEN]), ("function-gpu.yaml", [GPU_OPEN])):
        paths = [path for path in ROOT.rglob(name) if not {".venv", "node_modules"} & {*path.parts}]
        assert paths == found


def test_description_is_there(spec: dict[str, Any]) -> None:
    assert spec["description"]


def test_labels_are_what_cvat_2_15_can_read(annotations: dict[str, Any]) -> None:
    labels = json.loads(annotations["spec"])
    assert [set(label) for label in labels] == [{"id", "name", "type"}] * len(labels)
    assert {label["type"] for label in labels} <= {"rectangle"}
    assert [label["id"] for label in labels] == list(range(len(labels)))
    assert len({label["name"] for label in labels}) == len(labels)
    assert all(isinstance(label["name"], str) for label in labels)


def test_labels_are_the_classes_of_the_weights(
    config: dict[str, Any], annotations: dict[str, Any]
) -> None:
    closed = config["metadata"]["name"] != "c3det"
    wanted = json.loads(CARD.read_text(encoding="utf-8"))["classes"] if closed else []
    assert [label["name"] for label in json.loads(annotations["spec"])] == wanted


def directives_of(spec: dict[str, Any], kind: str) -> list[str]:
    """The values of a build's directives of a kind, in order."""
    listed = spec["build"]["directives"]["preCopy"]
    return [directive["value"] for directive in listed if directive["kind"] == kind]


def words(commands: list[str]) -> set[str]:
    return {word for command in commands for word in command.split()}


def listed_in_project(table: str) -> set[str]:
    """The packages that pyproject.toml lists under a name."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(rf"^{table} = \[(.*?)^\]", project, re.DOTALL | re.MULTILINE)[1]
    return set(re.findall(r'"([\w-]+)', listed))


BUILT = [OPEN, GPU_OPEN, CLOSED, GPU_CLOSED]
"""The functions whose images are built from public ones."""


@pytest.fixture(scope="module", params=BUILT, ids=["open", "open GPU", "closed", "closed GPU"])
def built(request: pytest.FixtureRequest) -> dict[str, Any]:
    return read(request.param)["spec"]


def test_only_a_change_of_the_constraints_installs_anew(built: dict[str, Any]) -> None:
    (copy,) = directives_of(built, "COPY")
    *sources, _ = copy.split()
    assert sources[0] == "handler/constraints.txt", "Nuclio's folder"
    assert sources[1:] in ([], ["handler/deploy/install_torch.sh"])
    assert all((ROOT / source.removeprefix("handler/")).is_file() for source in sources)


@pytest.mark.parametrize("path", [OPEN, CLOSED], ids=["open", "closed"])
def test_without_a_gpu_torch_is_the_cpu_build(path: Path) -> None:
    """Asked for before pip looks for it."""
    runs = directives_of(read(path)["spec"], "RUN")
    torch = runs.index("bash /install_torch.sh python /constraints.txt")
    assert not [run for run in runs[:torch] if run.startswith("pip install")]
    assert "torch" not in words(runs)


def test_the_image_has_what_serving_needs(built: dict[str, Any]) -> None:
    installs = words(directives_of(built, "RUN"))
    if "/install_torch.sh" in installs:
        installs.add("torch")
    needed = listed_in_project("dependencies") - {"nuclio-sdk"}  # Nuclio brings its own
    assert "torch" in needed
    assert needed <= installs
    of_closed = listed_in_project("closed")
    assert {"onedl-mmcv", "onedl-mmdetection", "onedl-mmengine"} <= of_closed
    assert of_closed & installs == (of_closed if "closed" in built["build"]["image"] else set())


@pytest.mark.parametrize("path", [OPEN, GPU_OPEN], ids=["CPU", "GPU"])
def test_the_open_model_needs_no_compiler(path: Path) -> None:
    spec = read(path)["spec"]
    assert spec["build"]["baseImage"] == "python:3.11-slim-bookworm"
    assert "apt-get" not in words(directives_of(spec, "RUN"))


@pytest.mark.parametrize("path", [CLOSED, GPU_CLOSED], ids=["CPU", "GPU"])
def test_mmcv_is_built_against_the_torch_that_is_there(path: Path) -> None:
    runs = directives_of(read(path)["spec"], "RUN")
    (mmcv,) = (index for index, run in enumerate(runs) if "onedl-mmcv" in run)
    assert "--no-build-isolation" in runs[mmcv]
    assert {"torch", "/install_torch.sh"} & words(runs[:mmcv])


def test_the_gpu_function_compiles_the_operators_for_cuda() -> None:
    spec = read(GPU_CLOSED)["spec"]
    assert re.fullmatch(r"nvidia/cuda:13\.0\.\d-devel-ubuntu22\.04", spec["build"]["baseImage"])
    directives = [(each["kind"], each["value"]) for each in spec["build"]["directives"]["preCopy"]]
    (mmcv,) = (i for i, (_, value) in enumerate(directives) if "onedl-mmcv" in value)
    assert ("ENV", "FORCE_CUDA=1") in directives[:mmcv]
    assert any("TORCH_CUDA_ARCH_LIST=7.5;" in value for _, value in directives[:mmcv])


def test_an_image_without_cuda_asks_for_the_driver() -> None:
    variables = words(directives_of(read(GPU_OPEN)["spec"], "ENV"))
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in variables
    assert "NVIDIA_VISIBLE_DEVICES=all" in variables


@pytest.mark.parametrize(
    ("gpu", "cpu"), [(GPU_OPEN, OPEN), (GPU_CLOSED, CLOSED)], ids=["open", "closed"]
)
def test_the_gpu_function_asks_for_one_gpu_and_uses_it(gpu: Path, cpu: Path) -> None:
    function, other = read(gpu), read(cpu)
    spec = function["spec"]
    assert spec["resources"]["limits"] == {"nvidia.com/gpu": 1}
    assert {"name": "C3DET_DEVICE", "value": "cuda"} in spec["env"]
    assert function["metadata"] == other["metadata"], "one replaces the other"
    assert spec["build"]["image"] == f"{other['spec']['build']['image']}:latest-gpu"

"""The function files that write_function.py makes, against the card and Nuclio's fields."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from c3det.weights import FORMAT_VERSION, digest
from deploy import write_function
from deploy.nuclio_fields import problems
from deploy.write_function import (
    FunctionError,
    base_function,
    compose,
    merge,
    read_overlay,
    set_variable,
    write_folder,
)

ROOT = Path(__file__).resolve().parents[2]
CARD = json.loads((ROOT / "serverless" / "weights" / "starter.json").read_text(encoding="utf-8"))
OVERLAYS = [
    ROOT / "deploy" / "kubernetes" / f"{name}.yaml" for name in ("gpu-node", "weights-volume")
]


def make_weights(folder: Path, *classes: str, name: str = "ships") -> Path:
    """A file in the place of weights, with the card of that file."""
    weights = folder / f"{name}.safetensors"
    weights.write_bytes(b"weights")
    card = {
        "classes": classes,
        "tensors": hashlib.sha256(b"weights").hexdigest(),
        "format_version": FORMAT_VERSION,
    }
    weights.with_suffix(".json").write_text(json.dumps({**card, "sha256": digest(card)}))
    return weights


def variables(function: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in function["spec"]["env"]}


def label_names(function: dict[str, Any]) -> list[str]:
    return [label["name"] for label in json.loads(function["metadata"]["annotations"]["spec"])]


def refusals(*arguments: Any, **keywords: Any) -> tuple[Any, ...]:
    with pytest.raises(FunctionError) as raised:
        compose(*arguments, **keywords)
    return raised.value.args


@pytest.mark.parametrize("gpu", [False, True], ids=["CPU", "GPU"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("c3det", {}),
        ("c3det-closed", {"closed": True}),
        ("c3det-detector", {"closed": True, "detector": True}),
    ],
)
def test_without_wishes_it_is_the_projects_own(
    name: str, options: dict[str, bool], gpu: bool
) -> None:
    function, own = (base_function(gpu=gpu, **options) for _ in range(2))
    compose(function)
    assert label_names(function) == (CARD["classes"] if options else [])
    assert function["metadata"]["name"] == name
    assert function["spec"] == own["spec"]
    assert list(problems(function)) == []


def test_the_detector_on_a_gpu_runs_as_the_interactor_there() -> None:
    detector, interactor = (
        base_function(closed=True, detector=True, gpu=True)["spec"],
        base_function(closed=True, gpu=True)["spec"],
    )
    assert detector["build"]["baseImage"] == interactor["build"]["image"]
    assert detector["build"]["image"] == "cvat.c3det.detector:latest-gpu"
    assert detector["handler"] == "serverless.main:detector_handler"
    assert detector["resources"] == {"limits": {"nvidia.com/gpu": 1}}
    assert {"name": "C3DET_DEVICE", "value": "cuda"} in detector["env"]
    assert [each["name"] for each in detector["env"]].count("C3DET_DEVICE") == 1


def test_weights_from_elsewhere_are_mounted(tmp_path: Path) -> None:
    function = compose(base_function(closed=True), make_weights(tmp_path, "ship", "buoy"))
    assert function["metadata"]["name"] == "c3det-closed-ships"
    assert function["metadata"]["annotations"]["name"] == "C3Det (trained classes) ships"
    assert label_names(function) == ["ship", "buoy"]
    (volume,) = function["spec"]["volumes"]
    assert volume["volume"] == {"name": "weights", "hostPath": {"path": str(tmp_path)}}
    assert volume["volumeMount"]["readOnly"] is True
    assert variables(function)["C3DET_WEIGHTS"] == "/opt/c3det-weights/ships.safetensors"
    assert volume["volumeMount"]["mountPath"] == "/opt/c3det-weights"
    assert list(problems(function)) == []


def test_weights_from_inside_the_project_come_with_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = base_function(closed=True)
    monkeypatch.setattr(write_function, "PROJECT", tmp_path)
    folder = tmp_path / "serverless" / "weights"
    folder.mkdir(parents=True)
    function = compose(own, make_weights(folder, "ship"))
    assert (
        variables(function)["C3DET_WEIGHTS"] == "/opt/nuclio/serverless/weights/ships.safetensors"
    )
    assert function["spec"]["volumes"] == []


def test_weights_in_a_volume_of_kubernetes(tmp_path: Path) -> None:
    overlays = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in OVERLAYS]
    weights = make_weights(tmp_path, "ship")
    function = compose(base_function(closed=True, gpu=True), weights, overlays=overlays)
    (volume,) = function["spec"]["volumes"]
    claim = yaml.safe_load((OVERLAYS[0].parent / "weights-claim.yaml").read_text(encoding="utf-8"))
    assert volume["volume"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    mounted = volume["volumeMount"]["mountPath"]
    assert variables(function)["C3DET_WEIGHTS"] == f"{mounted}/ships.safetensors"
    assert function["spec"]["resources"]["limits"] == {"nvidia.com/gpu": 1, "memory": "8Gi"}
    assert function["spec"]["minReplicas"] == function["spec"]["maxReplicas"] == 1
    assert list(problems(function)) == []


def test_functions_of_one_class_each_stand_side_by_side(tmp_path: Path) -> None:
    weights = make_weights(tmp_path, "small ship", "Buoy")
    functions = [
        compose(base_function(closed=True), weights, class_name=name)
        for name in ("small ship", "Buoy")
    ]
    assert [each["metadata"]["name"] for each in functions] == [
        "c3det-closed-ships-small-ship",
        "c3det-closed-ships-buoy",
    ]
    assert [variables(each)["C3DET_CLASS"] for each in functions] == ["small ship", "Buoy"]
    titles = [each["metadata"]["annotations"]["name"] for each in functions]
    assert titles == [f"C3Det (trained classes) ships {name}" for name in ("small ship", "Buoy")]
    # The plugin counts a click's class in the labels, so these stay all those of the weights.
    assert [label_names(each) for each in functions] == [["small ship", "Buoy"]] * 2
    assert [list(problems(each)) for each in functions] == [[], []]


def test_a_given_name_is_taken_as_it_is(tmp_path: Path) -> None:
    function = compose(base_function(closed=True), make_weights(tmp_path, "ship"), name="harbour")
    assert function["metadata"]["name"] == function["metadata"]["annotations"]["name"] == "harbour"


@pytest.mark.parametrize("name", ["Ships", "1ship", "ship-", "a" * 64, "a b", "a\n"])
def test_names_that_kubernetes_refuses(name: str) -> None:
    (sentence,) = refusals(base_function(closed=True), name=name)
    assert "--name" in sentence


def test_a_class_without_a_letter_or_digit_needs_a_name(tmp_path: Path) -> None:
    weights = make_weights(tmp_path, "船")
    assert "--name" in refusals(base_function(closed=True), weights, class_name="船")[0]
    named = compose(base_function(closed=True), weights, name="ships", class_name="船")
    assert variables(named)["C3DET_CLASS"] == "船"


def test_everything_wrong_is_reported_at_once(tmp_path: Path) -> None:
    weights = make_weights(tmp_path, "ship")
    message = refusals(base_function(closed=True), weights, name="A", class_name="car")
    assert len(message) == 2
    assert "'car'" in message[0]
    assert "ship" in message[0]
    assert "'A'" in message[1]


def test_the_open_model_has_neither_classes_nor_a_detector() -> None:
    (sentence,) = refusals(base_function(), class_name=CARD["classes"][0])
    assert "add --closed" in sentence
    with pytest.raises(FunctionError, match="add --closed, or leave --detector out"):
        base_function(detector=True)


def test_other_weights_of_the_open_model(tmp_path: Path) -> None:
    function = compose(base_function(gpu=True), make_weights(tmp_path, name="cells"))
    assert label_names(function) == []
    assert function["metadata"]["name"] == "c3det-cells"
    assert variables(function)["C3DET_WEIGHTS"] == "/opt/c3det-weights/cells.safetensors"
    assert list(problems(function)) == []


def test_weights_of_the_other_model_are_refused(tmp_path: Path) -> None:
    closed, opened = make_weights(tmp_path, "ship"), make_weights(tmp_path, name="cells")
    assert refusals(base_function(), closed) == (
        f"The weights {closed} are of the closed model: add --closed.",
    )
    assert refusals(base_function(closed=True), opened) == (
        f"The weights {opened} are of the open model: leave --closed out.",
    )


def test_the_detector_has_no_class() -> None:
    (sentence,) = refusals(base_function(closed=True, detector=True), class_name=CARD["classes"][0])
    assert "detector" in sentence


def test_labels_that_are_not_the_cards_are_reported() -> None:
    function = base_function(closed=True)
    function["metadata"]["annotations"]["spec"] = '[{"id": 0, "name": "tree", "type": "rectangle"}]'
    (sentence,) = refusals(function)
    assert "card" in sentence


def test_weights_without_card_or_with_anothers(tmp_path: Path) -> None:
    weights = make_weights(tmp_path, "ship")
    weights.write_bytes(b"other weights")
    assert "sha256" in refusals(base_function(closed=True), weights)[0]
    card = weights.with_suffix(".json")
    card.write_text(card.read_text().replace("ship", "car"))
    assert "was changed after it was written" in refusals(base_function(closed=True), weights)[0]
    card.write_text(json.dumps({"format_version": 1, "classes": ["ship"], "sha256": "0" * 64}))
    assert (
        "format_version 1: export the weights again"
        in refusals(base_function(closed=True), weights)[0]
    )
    card.write_text("[]")
    assert str(card) in refusals(base_function(closed=True), weights)[0]
    card.unlink()
    assert str(card) in refusals(base_function(closed=True), weights)[0]
    weights.unlink()
    assert len(refusals(base_function(closed=True), weights)) == 2
    assert ".safetensors" in refusals(base_function(closed=True), tmp_path / "ships.pth")[0]


@pytest.mark.parametrize("gpu", [False, True], ids=["CPU", "GPU"])
@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
def test_the_folder_has_what_its_directives_copy(tmp_path: Path, closed: bool, gpu: bool) -> None:
    function = compose(base_function(closed=closed, gpu=gpu))
    write_folder(tmp_path / "a" / "b", function)
    for directive in function["spec"]["build"]["directives"]["preCopy"]:
        if directive["kind"] == "COPY":
            *sources, _ = directive["value"].split()
            for source in sources:
                assert (tmp_path / "a" / "b" / source.removeprefix("handler/")).is_file()


def test_the_function_runs_from_the_folder_alone(tmp_path: Path) -> None:
    write_folder(tmp_path, compose(base_function()))
    code = "from serverless import deployment, settings; import serverless.main; " + (
        "print(deployment.FUNCTION, settings.OPEN_WEIGHTS.is_file(), settings.OPEN_WEIGHTS)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    weights = tmp_path / "serverless" / "weights" / "open.safetensors"
    assert ran.stdout.split() == [str(tmp_path / "function.yaml"), "True", str(weights)]


def test_a_folder_with_something_in_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old").touch()
    monkeypatch.setattr(sys, "argv", ["write_function.py", "--out", str(tmp_path)])
    assert write_function.main() == 1
    refused = f"The folder {tmp_path} is not empty: name a new one with --out.\n"
    assert capsys.readouterr() == ("", refused)
    monkeypatch.setattr(sys, "argv", ["write_function.py", "--out", str(tmp_path / "new")])
    assert write_function.main() == 0
    assert capsys.readouterr() == ("", "")
    text = (tmp_path / "new" / "function.yaml").read_text("utf-8")
    assert yaml.safe_load(text) == compose(base_function())


def test_merge() -> None:
    function = {"a": {"b": 1, "c": 2}, "list": [1], "env": [{"name": "X", "value": "1"}]}
    overlay = {
        "a": {"c": 3},
        "list": [2],
        "d": 4,
        "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "3"}],
    }
    merge(function, overlay)
    assert function == {
        "a": {"b": 1, "c": 3},
        "list": [1, 2],
        "d": 4,
        "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "3"}],
    }


def test_a_single_quote_is_refused() -> None:
    with pytest.raises(FunctionError, match="single quote"):
        set_variable({"spec": {}}, "C3DET_CLASS", "bird's nest")


def test_the_command_writes_yaml_and_prints_sentences(tmp_path: Path) -> None:
    program = [sys.executable, str(ROOT / "deploy" / "write_function.py")]
    written = subprocess.run([*program, "--gpu"], capture_output=True, text=True, check=True)
    assert yaml.safe_load(written.stdout) == compose(base_function(gpu=True))
    refused = subprocess.run(
        [*program, "--closed", "--class", "?"], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert len(refused.stderr.splitlines()) == 2
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ("spec:\n  env:\n  - {name: A, value: 4294967296}\n", 'a number, .*value: "4294967296"'),
        ("spec:\n  env:\n  - {name: A, value: true}\n", 'true or false, .*value: "true"'),
        ("spec:\n  env:\n  - {name: A}\n", r"spec.env\[0\], A, has no value"),
        ("spec:\n  env:\n  - {value: b}\n", r"spec.env\[0\] has no name"),
        ("spec:\n  env:\n  - a\n", r"spec.env\[0\] has no name"),
        ("spec:\n  env:\n    A: b\n", "spec.env is a mapping, not a list"),
        ("spec:\n  env:\n", "spec.env is empty"),
        ("spec:\n\tenv: []\n", "is not YAML: .*line 2"),
        ("- spec\n", "the overlay is a list"),
        ("spec\n", "the overlay is a text"),
        ("metadata: 5\n", "metadata is a number: write keys"),
        ("spec:\n  eventTimeout: 60\n", 'spec.eventTimeout is a number, not a text: write "60"'),
        ("spec:\n  volumes: [a]\n", r"spec.volumes\[0\] is not a volume"),
        ("spec:\n  volumes: a\n", "spec.volumes is a text, not a list"),
        ("1: a\n", "1 is a number, not the name of a key"),
        ("a: !!python/name:os.system x\n", "is not YAML"),
        (
            "spec: {maxReplica: 3}\n",
            "spec.maxReplica is unknown to Nuclio, .*: write maxReplicas, or",
        ),
        (
            "spec: {eventTimeOut: 30s}\n",
            "eventTimeOut is unknown to Nuclio, .*: write eventTimeout,",
        ),
        (
            "sepc: {}\n",
            "sepc is unknown to Nuclio, which would drop it: write spec, or leave it out",
        ),
        ("spec: {zzz: 1}\n", "spec.zzz is unknown to Nuclio, which would drop it: leave it out"),
        (
            "spec: {eventTimeout: 5 minutes}\n",
            'eventTimeout is a text: write a duration, such as "80s"',
        ),
        (
            "spec: {minReplicas: 1.5}\n",
            "minReplicas is a number with a fraction: write a whole number",
        ),
        ("spec: {minReplicas: true}\n", "minReplicas is true or false: write a whole number"),
        (
            "spec: {triggers: {http: {attributes: {maxRequestBodySize: 1.5}}}}\n",
            "spec.triggers.http.attributes.maxRequestBodySize is a number with a fraction: write a",
        ),
        ("spec: {triggers: {http: {maxWorker: 1}}}\n", "spec.triggers.http.maxWorker is unknown"),
        (
            "spec: {resources: {limits: {memory: [8]}}}\n",
            "limits.memory is a list: write a number or",
        ),
        (
            "spec: {tolerations: [{keys: a}]}\n",
            r"spec.tolerations\[0\].keys is unknown .*: write key,",
        ),
        ("spec: {affinity: 3}\n", "spec.affinity is a number: write keys with their values"),
        (
            "spec: {volumes: [{volume: {name: a, hostPaht: {}}, volumeMount: {mountPath: /a}}]}\n",
            r"spec.volumes\[0\].volume.hostPaht is unknown to Nuclio, .*: write hostPath, or",
        ),
    ],
)
def test_an_overlay_of_the_wrong_kind_is_one_sentence(
    overlay: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "overlay.yaml"
    path.write_text(overlay)
    monkeypatch.setattr(sys, "argv", ["write_function.py", "--overlay", str(path)])
    assert write_function.main() == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith(str(path))
    assert re.search(message, line), line


def test_an_overlay_of_what_nuclio_and_kubernetes_know(tmp_path: Path) -> None:
    path = tmp_path / "overlay.yaml"
    path.write_text(
        "spec:\n"
        "  eventTimeout: 1m20.5s\n"
        "  resources: {limits: {cpu: 1.5, memory: 8G, nvidia.com/gpu: 1}}\n"
        "  tolerations: [{key: a, tolerationSeconds: 3}]\n"
        "  affinity: {nodeAffinity: {}}\n"
        "  scaleToZero: {scaleResources: [{metricName: a, windowSize: 10m, threshold: 0}]}\n"
        "  volumes: [{volume: {name: a, secret: {secretName: b}}, volumeMount: {mountPath: /a}}]\n"
    )
    compose(base_function(), overlays=[read_overlay(path)])


@pytest.mark.parametrize("name", ["Bad Name", "ship-", ""])
def test_a_name_of_an_overlay_is_checked_too(name: str) -> None:
    overlay = {"metadata": {"name": name}}
    (sentence,) = refusals(base_function(), name="harbour", overlays=[overlay])
    assert sentence.startswith(f"The name {name!r} does not do: ")
    overlay["metadata"]["name"] = "port"
    assert (
        compose(base_function(), name="harbour", overlays=[overlay])["metadata"]["name"] == "port"
    )


def test_the_whole_configuration_is_checked_with_its_overlays() -> None:
    function = base_function()
    function["spec"]["numWorkers"] = 1
    overlay = {"spec": {"maxReplicas": "3"}}
    assert refusals(function, overlays=[overlay]) == (
        "spec.numWorkers is unknown to Nuclio, which would drop it: leave it out.",
        "spec.maxReplicas is a text: write a whole number, without quotes.",
    )


@pytest.mark.parametrize("content", ["", "# nothing\n", "---\n"])
def test_an_empty_overlay_changes_nothing(content: str, tmp_path: Path) -> None:
    path = tmp_path / "overlay.yaml"
    path.write_text(content)
    assert read_overlay(path) == {}


@pytest.mark.parametrize("name", ["gpu-node", "weights-volume"])
def test_the_projects_own_overlays_are_taken(name: str) -> None:
    assert read_overlay(ROOT / "deploy" / "kubernetes" / f"{name}.yaml")


@pytest.mark.parametrize("name", ["two\nlines", "half \ud800", "\u009b31m", "a\u2028b"])
def test_names_of_classes_that_no_label_can_have(name: str, tmp_path: Path) -> None:
    weights = make_weights(tmp_path, "ship", name)
    (message,) = refusals(base_function(closed=True), weights=weights)
    assert message.endswith("ships.json is not one of weights: copy it again from its source.")


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", "null", '{"a": ' + "9" * 5000 + "}"])
def test_a_card_that_is_none(content: str, tmp_path: Path) -> None:
    weights = make_weights(tmp_path, "ship")
    weights.with_suffix(".json").write_text(content)
    (message,) = refusals(base_function(closed=True), weights=weights)
    assert message.endswith("ships.json is not one of weights: copy it again from its source.")

"""Deployments that cannot work, each refused with one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from nuclio_sdk import Context

from serverless import deployment
from serverless.deployment import (
    DESCRIPTIONS,
    FUNCTION,
    DeploymentError,
    check_class,
    check_classes,
    check_device,
    check_time_budget,
    described_classes,
    gpu_name,
    hold_gpu,
)
from serverless.main import init_context
from serverless.service import start
from serverless.settings import OPEN_WEIGHTS, STARTER_WEIGHTS, ServingSettings
from tests.serverless.fakes import Log

ROOT = Path(__file__).resolve().parents[2]
CLOSED = ROOT / "deploy" / "closed"
STARTER_CLASSES = json.loads(STARTER_WEIGHTS.with_suffix(".json").read_text("utf-8"))["classes"]


def description(path: Path, *names: str, kind: str = "interactor") -> Path:
    labels = [{"id": i, "name": name, "type": "rectangle"} for i, name in enumerate(names)]
    annotations = {"name": "C3Det", "type": kind, "spec": json.dumps(labels)}
    path.write_text(yaml.safe_dump({"metadata": {"annotations": annotations}}))
    return path


def spec_of(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))["spec"]


def one_sentence(error: object) -> str:
    text = str(error)
    assert "\n" not in text
    assert "Traceback" not in text
    assert len(text) < 500
    return text


@pytest.mark.parametrize("path", sorted(CLOSED.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_closed_functions_have_the_classes_of_the_shipped_weights(path: Path) -> None:
    assert described_classes(path) == STARTER_CLASSES
    check_classes(STARTER_CLASSES, [path])
    weights = {each["name"]: each["value"] for each in spec_of(path)["env"]}["C3DET_WEIGHTS"]
    assert ROOT / Path(weights).relative_to("/opt/nuclio") == STARTER_WEIGHTS


def test_the_open_function_tells_no_classes_and_takes_the_default_weights() -> None:
    assert described_classes(FUNCTION) == []
    check_classes((), [FUNCTION])
    assert "C3DET_WEIGHTS" not in {each["name"] for each in spec_of(FUNCTION)["env"]}


def test_the_function_lies_beside_the_code() -> None:
    assert FUNCTION == ROOT / "function.yaml"
    assert DESCRIPTIONS[-1] == FUNCTION


@pytest.mark.parametrize(
    ("described", "difference"),
    [
        (("ship", "plane"), "class 0 is 'plane' in the weights and 'ship' there"),
        (("plane",), "class 1 is 'ship' in the weights and missing there"),
        (("plane", "ship", "car"), "class 2 is missing in the weights and 'car' there"),
    ],
)
def test_classes_that_differ(tmp_path: Path, described: tuple[str, ...], difference: str) -> None:
    path = description(tmp_path / "function.yaml", *described)
    with pytest.raises(DeploymentError) as caught:
        check_classes(("plane", "ship"), [path])
    text = one_sentence(caught.value)
    assert difference in text
    assert "function.yaml" in text


def test_what_was_deployed_counts_before_the_file_beside_the_code(tmp_path: Path) -> None:
    deployed = description(tmp_path / "processor.yaml", "plane")
    beside = description(tmp_path / "function.yaml", "ship")
    check_classes(["plane"], [deployed, beside])
    check_classes(["ship"], [tmp_path / "absent.yaml", beside])
    with pytest.raises(DeploymentError):
        check_classes(["ship"], [deployed, beside])


def test_without_a_description_there_is_nothing_to_compare(tmp_path: Path) -> None:
    check_classes(["plane"], [tmp_path / "absent.yaml"])


@pytest.mark.parametrize("text", ["", "metadata: {}", "metadata: {annotations: {}}", "- 1"])
def test_a_description_without_labels(tmp_path: Path, text: str) -> None:
    path = tmp_path / "processor.yaml"
    path.write_text(text)
    check_classes(["plane"], [path, description(tmp_path / "function.yaml", "plane")])
    with pytest.raises(DeploymentError, match=r"have 1 classes, but .* has none"):
        check_classes(["plane"], [path])
    check_classes([], [path])


def test_open_weights_and_a_description_with_classes(tmp_path: Path) -> None:
    path = description(tmp_path / "function.yaml", "plane", "ship")
    with pytest.raises(DeploymentError) as caught:
        check_classes((), [path])
    text = one_sentence(caught.value)
    assert "the weights take any label and have no classes" in text
    assert f"metadata.annotations.spec in {path} has 2: write [] there" in text
    assert "C3DET_WEIGHTS" in text


def test_weights_with_classes_and_a_description_of_an_open_function(tmp_path: Path) -> None:
    path = description(tmp_path / "function.yaml")
    check_classes((), [path])
    with pytest.raises(DeploymentError) as caught:
        check_classes(("plane", "ship"), [path])
    text = one_sentence(caught.value)
    assert "the weights have 2 classes" in text
    assert f"metadata.annotations.spec in {path} has none" in text
    assert "C3DET_WEIGHTS" in text


def test_a_detector_with_open_weights(tmp_path: Path) -> None:
    for names in ((), ("plane",)):
        path = description(tmp_path / "function.yaml", *names, kind="detector")
        with pytest.raises(DeploymentError, match="describes a detector, but the weights take any"):
            check_classes((), [path])
    check_classes(("plane",), [path])


@pytest.mark.parametrize("spec", ["x", "{", "1", "[1]", "[{}]"])
def test_labels_that_cannot_be_read(tmp_path: Path, spec: str) -> None:
    path = tmp_path / "function.yaml"
    path.write_text(yaml.safe_dump({"metadata": {"annotations": {"spec": spec}}}))
    with pytest.raises(DeploymentError, match=r"metadata\.annotations\.spec in .*function\.yaml"):
        check_classes(["plane"], [path])


def test_a_description_that_is_no_yaml(tmp_path: Path) -> None:
    path = tmp_path / "function.yaml"
    path.write_text("{")
    with pytest.raises(DeploymentError, match="no readable YAML"):
        check_classes(["plane"], [path])


def test_the_class_of_the_setting_must_be_one_of_the_weights() -> None:
    check_class(None, ["plane"])
    check_class("plane", ["plane"])
    with pytest.raises(DeploymentError, match="C3DET_CLASS is 'Plane'") as caught:
        check_class("Plane", ["plane", "ship"])
    assert "plane, ship" in one_sentence(caught.value)
    check_class(None, [])
    with pytest.raises(DeploymentError, match="the weights take any label") as caught:
        check_class("plane", [])
    assert "leave C3DET_CLASS empty" in one_sentence(caught.value)


@pytest.mark.parametrize(
    ("device", "there", "sentence"),
    [
        ("cuda", 0, "set C3DET_DEVICE to 'cpu'"),
        ("cuda:1", 1, "finds only 1 GPUs here"),
        ("gpu", 1, "which is no device of torch"),
    ],
)
def test_devices_that_are_not_there(
    monkeypatch: pytest.MonkeyPatch, device: str, there: int, sentence: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: there > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: there)
    with pytest.raises(DeploymentError, match=sentence) as caught:
        check_device(device)
    one_sentence(caught.value)


def test_devices_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    for device in ("cpu", "cuda", "cuda:1"):
        check_device(device)


def test_a_gpu_has_the_same_name_however_a_process_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "torch.cuda.get_device_properties", lambda index: SimpleNamespace(uuid=f"uuid-{index}")
    )
    assert [gpu_name(device) for device in ("cpu", "cuda", "cuda:0", "cuda:1")] == [
        None,
        "cuda-uuid-0",
        "cuda-uuid-0",
        "cuda-uuid-1",
    ]


HOLDER = """
import sys
from pathlib import Path
from serverless.deployment import DeploymentError, hold_gpu
try:
    lock = hold_gpu(sys.argv[1], Path(sys.argv[2]))
except DeploymentError as error:
    sys.exit(str(error))
print("held", flush=True)
sys.stdin.read()
"""


def worker(name: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, name, str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_workers_on_one_gpu(tmp_path: Path) -> None:
    first = worker("cuda-0", tmp_path)
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        refused = worker("cuda-0", tmp_path)
        _, message = refused.communicate(timeout=60)
        assert refused.returncode == 1
        assert "another worker runs on cuda-0 already" in message
        assert "numWorkers to 1" in one_sentence(message.strip())
        other = worker("cuda-1", tmp_path)
        assert other.communicate(timeout=60)[0] == "held\n"
    finally:
        first.kill()
        first.communicate(timeout=60)
    # A worker that was killed holds nothing any more.
    hold_gpu("cuda-0", tmp_path).close()


def test_a_lock_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match=r"the lock .* cannot be opened"):
        hold_gpu("cuda-0", tmp_path / "absent")


def test_a_worker_on_a_gpu_takes_its_lock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(deployment, "gpu_name", lambda device: "cuda-test")
    monkeypatch.setattr(deployment, "DESCRIPTIONS", ())
    first = Context(logger=Log())
    init_context(first)
    with pytest.raises(DeploymentError, match="another worker runs on cuda-test"):
        init_context(Context(logger=Log()))
    first.user_data.device_lock.close()


def test_start_refuses_classes_that_the_description_does_not_have(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = description(tmp_path / "function.yaml", *reversed(STARTER_CLASSES))
    monkeypatch.setattr(deployment, "DESCRIPTIONS", (path,))
    monkeypatch.setenv("C3DET_WEIGHTS", str(STARTER_WEIGHTS))
    said = f"class 0 is 'tree' in the weights and '{STARTER_CLASSES[-1]}' there"
    with pytest.raises(DeploymentError, match=said):
        init_context(Context(logger=Log()))
    context = Context(logger=Log())
    start(context, ServingSettings.from_environment({}, weights=STARTER_WEIGHTS))
    assert [line[1] for line in context.logger.lines] == ["ready"]


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (STARTER_WEIGHTS, "which is no class of the weights"),
        (OPEN_WEIGHTS, "but the weights take any label"),
    ],
    ids=["closed", "open"],
)
def test_start_refuses_a_class_that_the_weights_lack(
    monkeypatch: pytest.MonkeyPatch, weights: Path, said: str
) -> None:
    monkeypatch.setattr(deployment, "DESCRIPTIONS", ())
    monkeypatch.setenv("C3DET_WEIGHTS", str(weights))
    monkeypatch.setenv("C3DET_CLASS", "submarine")
    with pytest.raises(DeploymentError, match=f"C3DET_CLASS is 'submarine', {said}"):
        init_context(Context(logger=Log()))


def processor_config(path: Path, event_timeout: object) -> Path:
    path.write_text(yaml.safe_dump({"spec": {"eventTimeout": event_timeout}}))
    return path


@pytest.mark.parametrize("granted", ["60s", "1m", "30s", "0.5m29.5s", "59s999ms", "0s"])
def test_a_time_budget_that_nuclio_does_not_grant(tmp_path: Path, granted: str) -> None:
    path = processor_config(tmp_path / "processor.yaml", granted)
    with pytest.raises(DeploymentError, match="C3DET_TIME_BUDGET_SECONDS is 60") as caught:
        check_time_budget(60, path)
    assert f"its eventTimeout of {granted}: set less, or raise" in one_sentence(caught.value)


@pytest.mark.parametrize("granted", ["61s", "1m1s", "60.5s", "1h", None, "", "5 minutes", 3])
def test_a_time_budget_that_nuclio_grants_or_that_it_does_not_know(
    tmp_path: Path, granted: object
) -> None:
    check_time_budget(60, processor_config(tmp_path / "processor.yaml", granted))
    check_time_budget(60, tmp_path / "absent.yaml")


def test_start_refuses_a_time_budget_that_nuclio_does_not_grant(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = processor_config(tmp_path / "processor.yaml", "70s")
    monkeypatch.setattr(deployment, "PROCESSOR_CONFIG", path)
    monkeypatch.setenv("C3DET_TIME_BUDGET_SECONDS", "75")
    with pytest.raises(DeploymentError, match="C3DET_TIME_BUDGET_SECONDS is 75"):
        init_context(Context(logger=Log()))


def test_the_worker_ends_when_nuclio_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment, "DESCRIPTIONS", ())
    context = Context(logger=Log())
    init_context(context)
    with pytest.raises(SystemExit) as ended:
        context.platform._on_signal()
    assert ended.value.code == 0
    assert context.logger.lines[-1][1] == "ending"

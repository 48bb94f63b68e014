"""The benchmark's reference computes the same as what it is compared with; its parts run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from c3det.clicks import Click
from c3det.closed.architecture import Architecture
from c3det.closed.correlation import class_correlations
from c3det.closed.fusion import ClickBatch
from c3det.closed.mmdet_adapter import ClickedFeatures
from c3det.predictor import load
from c3det.weights import Card, save
from serverless.bench import parts, reference
from serverless.bench.__main__ import main, tables
from tests.c3det.open.small import saved as saved_open
from tests.c3det.small import NUM_CLASSES, build, shrunk, small_detectors

CLICKS = [Click(20, 30, 1), Click(100.5, 64, 0), Click(90, 14, 1)]


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    with small_detectors():
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    architecture = Architecture("paper")
    card = Card(
        name="shrunk",
        classes=("a", "b", "c"),
        architecture=architecture,
        score_threshold=0.1,
        typical_sizes=((8.0, 8.0),) * NUM_CLASSES,
        training={},
        results={},
        licence={},
    )
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save(path, build("paper", architecture.config(NUM_CLASSES)).state_dict(), card)
    return path


@pytest.mark.parametrize("scale", ["none", "channels", "cosine"])
def test_slow_correlation_is_the_fast_one(scale: str) -> None:
    torch.manual_seed(0)
    levels = [torch.randn(1, 5, side, side) for side in (32, 16, 8)]
    slow = reference.correlations(levels, CLICKS, 3, (128, 128), 3.0, scale)
    fast = class_correlations(
        levels, [CLICKS], 3, (128, 128), "gaussian-nearest", sigma=3.0, scale=scale
    )
    for a, b in zip(slow, fast, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
        assert b.any()


def test_reference_detects_what_the_detector_detects(weights: Path, device: str) -> None:
    predictor = load(weights, device)
    detector = predictor.model.detector
    image = torch.randn(1, 3, 128, 128).to(device)
    got = reference.detect(detector, image, CLICKS)
    detector.rpn_head.test_cfg.update(nms_pre=2000, max_per_img=2000)
    with torch.inference_mode():
        batch = ClickBatch([CLICKS], [(128, 128)], (128, 128))
        (wanted,) = detector.detect(ClickedFeatures(detector.encode(image), batch))
    torch.testing.assert_close(got.bboxes, wanted.bboxes, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(got.scores, wanted.scores, rtol=1e-4, atol=1e-5)
    assert torch.equal(got.labels, wanted.labels)


def test_reference_needs_clicks_that_enter_late(weights: Path) -> None:
    detector = build("starter", shrunk("starter", "two-stage", "plain"))
    with pytest.raises(ValueError, match="needs a C3Det detector with late fusion"):
        reference.detect(detector, torch.zeros(1, 3, 64, 64), CLICKS)


def test_parts_run_and_their_ratios_are_of_their_seconds(weights: Path, device: str) -> None:
    row = parts.one_size(weights, 128, 4, device)
    assert list(row["reference"]) == ["1", "4"]
    assert row["cold_over_warm"] == row["cold"]["seconds"] / row["warm"]["median"]
    assert 0 < row["warm"]["lowest"] <= row["warm"]["median"] <= row["warm"]["highest"]
    large = parts.large_picture(weights, 1400, 3, 0.0, device)
    assert [call["coverage"] for call in large["calls"]].count(1.0) == 2
    assert len(large["calls"]) > 2
    whole = parts.whole_request(weights, 64, 3, device, 2)
    assert len(whole["cold"]) == 2
    assert 0 < whole["warm_median"] <= whole["warm_highest"]
    json.dumps([row, large, whole], allow_nan=False)


def test_the_open_model_gets_clicks_of_several_labels(tmp_path: Path, device: str) -> None:
    weights = saved_open(tmp_path)
    row = parts.several_labels(weights, 128, device)
    assert [(one["labels"], one["clicks"]) for one in row["further"]] == [(1, 6), (4, 12), (16, 60)]
    assert all(0 < one["median"] <= one["highest"] for one in row["further"])
    assert row["held_mib"] > 1
    large = parts.large_picture(weights, 128, 3, 60.0, device)
    assert [(call["clicks"], call["coverage"]) for call in large["calls"]] == [(2, 1), (3, 1)]
    whole = parts.whole_request(weights, 64, 3, device, 1)
    assert whole["model"] == row["model"] == "untrained"
    results = {
        "machine": {"device": device, "torch": torch.__version__},
        **{"requests": [whole], "sizes": [], "open": [row], "correlation": []},
        **{"large": [large], "soak": []},
    }
    text = tables(json.loads(json.dumps(results, allow_nan=False)))
    assert "Open model, untrained, 128 px: first click" in text
    assert "16 labels, 60 clicks: " in text


def test_correlation_alone_is_compared_with_its_twin(device: str) -> None:
    row = parts.correlation_alone(128, 3, device)
    assert row["largest_relative_difference"] < 1e-5
    assert row["slow_over_fast"] == row["slow"] / row["fast"]


def test_a_device_that_torch_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--device", "foo"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "python -m serverless.bench: --device foo is none of torch: name 'cpu' or 'cuda'\n"
    )

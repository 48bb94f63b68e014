from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from c3det.clicks import Click
from c3det.configs import architecture, normalization
from c3det.fusion import ClickBatch
from c3det.mmdet_adapter import ClickedFeatures, build_detector
from c3det.predictor import load
from training.dataset import StarterDataset, vary_light
from training.export import export
from training.index import CLASSES
from training.train import last_checkpoint, start_from, train


class Killed(BaseException):
    """Stands for a signal: nothing in the runner catches it."""


def run(out: Path) -> None:
    train(
        out,
        architecture("starter", len(CLASSES), fusion="late"),
        iterations=3,
        batch=1,
        seed=7,
        learning_rate=1e-4,
        composite_probability=1.0,
        checkpoint_every=1,
    )


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """A run that was killed in its third step and started again; what the second start asked."""
    out = tmp_path_factory.mktemp("run")
    asked: list[int] = []
    item = StarterDataset.__getitem__

    def killing(self: StarterDataset, index: int) -> dict:
        if index == 2:
            raise Killed
        return item(self, index)

    def counting(self: StarterDataset, index: int) -> dict:
        asked.append(index)
        return item(self, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StarterDataset, "__getitem__", killing)
        with pytest.raises(Killed):
            run(out)
        killed_at = torch.load(
            (out / "last_checkpoint").read_text(), map_location="cpu", weights_only=False
        )["meta"]["iter"]
        assert killed_at == 2
        patch.setattr(StarterDataset, "__getitem__", counting)
        run(out)
    return out, asked


def test_a_killed_run_goes_on(resumed: tuple[Path, list[int]]) -> None:
    out, asked = resumed
    assert asked == [2]
    checkpoint = torch.load(out / "iter_3.pth", map_location="cpu", weights_only=False)
    assert checkpoint["meta"]["iter"] == 3


def test_export_of_a_run_loads_and_answers(resumed: tuple[Path, list[int]], tmp_path: Path) -> None:
    weights = tmp_path / "starter.safetensors"
    card = export(resumed[0], weights, name="late", score_threshold=0.25)
    assert card.classes == CLASSES
    assert card.score_threshold == 0.25
    assert card.training["iterations done"] == 3
    assert len(card.typical_sizes) == len(CLASSES)
    assert min(min(size) for size in card.typical_sizes) > 2

    predictor = load(weights)
    assert predictor.card == card
    checkpoint = torch.load(resumed[0] / "iter_3.pth", map_location="cpu", weights_only=False)
    state = predictor._detector.state_dict()
    assert state.keys() == checkpoint["state_dict"].keys()
    assert all(torch.equal(state[name], value) for name, value in checkpoint["state_dict"].items())
    features = predictor.encode(np.full((50, 70, 3), 90, np.uint8))
    assert predictor.detect(features, []).boxes.shape[1] == 4


def test_export_of_an_empty_run_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no checkpoint yet: train it first"):
        export(tmp_path, tmp_path / "w.safetensors", name="none", score_threshold=0.5)


def test_clicks_added_to_a_finished_run_start_without_influence(
    resumed: tuple[Path, list[int]],
) -> None:
    normal = normalization("starter")
    first = build_detector(architecture("starter", len(CLASSES), fusion="plain"), normal)
    state = last_checkpoint(resumed[0])["state_dict"]
    first.load_state_dict({k: v for k, v in state.items() if not k.startswith("click_fusion.")})
    out = resumed[0].parent / f"{resumed[0].name}-plain"
    out.mkdir()
    torch.save({"state_dict": first.state_dict()}, out / "first.pth")
    (out / "last_checkpoint").write_text(str(out / "first.pth"))

    second = build_detector(architecture("starter", len(CLASSES)), normal)
    start_from(second, out)
    image = torch.randn(1, 3, 64, 64)
    clicks = ClickBatch([[Click(30, 30, 2), Click(9, 50, 4)]], [(64, 64)], (64, 64))
    with torch.no_grad():
        levels = first.eval().encode(image)
        fused = second.eval().extract_feat(ClickedFeatures(second.encode(image), clicks))
    assert all(torch.equal(ours, plain) for ours, plain in zip(fused, levels, strict=True))
    frozen = {name.split(".")[0] for name, p in second.named_parameters() if not p.requires_grad}
    assert frozen == {"backbone", "neck"}


def test_a_run_of_another_detector_is_refused(resumed: tuple[Path, list[int]]) -> None:
    config = architecture("starter", len(CLASSES), stages="one-stage")
    other = build_detector(config, normalization("starter"))
    with pytest.raises(ValueError, match=r"trained another detector: .* differ"):
        start_from(other, resumed[0])


def test_items_depend_on_seed_and_index_alone() -> None:
    first, again, other = (StarterDataset(10, seed)[4] for seed in (3, 3, 4))
    assert torch.equal(first["inputs"], again["inputs"])
    assert first["data_samples"].clicks == again["data_samples"].clicks
    assert not torch.equal(first["inputs"], other["inputs"])


def test_clicks_of_an_item_lie_on_its_objects() -> None:
    dataset = StarterDataset(10, 0)
    seen = 0
    for index in range(10):
        sample = dataset[index]["data_samples"]
        boxes, labels = sample.gt_instances.bboxes, sample.gt_instances.labels
        for click in sample.clicks:
            inside = (
                (boxes[:, 0] <= click.x)
                & (click.x <= boxes[:, 2])
                & (boxes[:, 1] <= click.y)
                & (click.y <= boxes[:, 3])
            )
            assert (labels[inside] == click.label).any()
            seen += 1
    assert seen > 20


def test_light_varies_within_its_bounds() -> None:
    grey = np.full((4, 4, 3), 100, np.uint8)
    for seed in range(20):
        varied = vary_light(grey, np.random.default_rng(seed)).astype(int)
        assert abs(varied - 100).max() <= 12
        assert np.ptp(varied, axis=(0, 1)).max() == 0


def test_architecture_is_beside_the_checkpoints(resumed: tuple[Path, list[int]]) -> None:
    content = json.loads((resumed[0] / "architecture.json").read_text())
    assert content == json.loads(json.dumps(architecture("starter", len(CLASSES), fusion="late")))

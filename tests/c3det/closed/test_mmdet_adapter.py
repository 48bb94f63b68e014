"""Both presets, one-stage and two-stage, with every kind of clicks, shrunk."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from c3det.clicks import Click
from c3det.closed.architecture import Fusion
from c3det.closed.fusion import ClickBatch
from c3det.closed.losses import UserInputEnforcing
from c3det.closed.mmdet_adapter import ClickedFeatures, TruncatedMobileNetV2, build_detector
from c3det.closed.mmdet_heads import RegionExtractor
from c3det.closed.presets import Preset, Stages, normalization
from tests.c3det import twins
from tests.c3det.small import NUM_CLASSES, SIDE, build, shrunk, training_batch

PRESETS, STAGES, FUSIONS = get_args(Preset), get_args(Stages), get_args(Fusion)
CLICKS = [[Click(18, 18, 0), Click(70, 64, 2), Click(5, 99, 1, positive=False)], [Click(18, 19, 0)]]
NO_CLICKS: list[list[Click]] = [[], []]

each_preset_and_stages = pytest.mark.parametrize(
    ("preset", "stages"), list(product(PRESETS, STAGES))
)
each_variant = pytest.mark.parametrize(
    ("preset", "stages", "fusion"), list(product(PRESETS, STAGES, FUSIONS))
)


def losses_of(detector: nn.Module, clicks: list[list[Click]]) -> dict[str, Tensor]:
    """One training step's losses, levels summed, sampling seeded."""
    torch.manual_seed(1)
    losses = detector.loss(*training_batch(clicks))
    return {
        name: sum(value) if isinstance(value, (list, tuple)) else value
        for name, value in losses.items()
        if "loss" in name
    }


@torch.no_grad()
def found(detector: nn.Module, clicks: list[list[Click]]) -> list[tuple[Tensor, Tensor, Tensor]]:
    samples = detector.predict(*training_batch(clicks), rescale=False)
    instances = [sample.pred_instances for sample in samples]
    return [(picture.bboxes, picture.scores, picture.labels) for picture in instances]


def same(first: Any, second: Any) -> bool:
    return all(
        torch.equal(a, b)
        for one, other in zip(first, second, strict=True)
        for a, b in zip(one, other, strict=True)
    )


@each_variant
def test_trains_and_predicts_and_comes_back_from_disk(
    preset: Preset, stages: Stages, fusion: Fusion, tmp_path: Path
) -> None:
    config = shrunk(preset, stages, fusion)
    detector = build(preset, config).train()

    losses = losses_of(detector, CLICKS)
    assert ("loss_uel" in losses) == (fusion == "c3det")
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    for name, parameter in detector.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name

    detector.eval()
    pictures = found(detector, CLICKS)
    for (boxes, scores, labels), (height, width) in zip(
        pictures, [(SIDE, SIDE), (100, 120)], strict=True
    ):
        assert 0 < len(boxes) == len(scores) == len(labels) <= 30
        assert boxes.min() >= 0
        assert boxes[:, ::2].max() <= width
        assert boxes[:, 1::2].max() <= height
        assert 0 <= scores.min() <= scores.max() <= 1
        assert set(labels.tolist()) <= set(range(NUM_CLASSES))

    save_file(detector.state_dict(), tmp_path / "weights.safetensors")
    again = build(preset, json.loads(json.dumps(config)), seed=9)
    assert not same(found(again, CLICKS), pictures)
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert same(found(again, CLICKS), pictures)


@each_variant
def test_clicks_count_where_they_should(preset: Preset, stages: Stages, fusion: Fusion) -> None:
    detector = build(preset, shrunk(preset, stages, fusion))
    without, with_clicks = found(detector, NO_CLICKS), found(detector, CLICKS)
    assert same(without, with_clicks) == (fusion == "plain")
    if fusion != "plain":
        first_only = found(detector, [CLICKS[0], []])
        assert same(first_only[:1], with_clicks[:1])
        assert not same(first_only[1:], with_clicks[1:])


@each_variant
def test_gradients_reach_the_parts_that_read_clicks(
    preset: Preset, stages: Stages, fusion: Fusion
) -> None:
    detector = build(preset, shrunk(preset, stages, fusion)).train()
    sum(losses_of(detector, CLICKS).values()).backward()
    if fusion == "plain":
        assert detector.click_fusion is None
    elif fusion == "early":
        stem = next(m for m in detector.backbone.modules() if isinstance(m, nn.Conv2d))
        assert stem.in_channels == 3 + NUM_CLASSES
        assert (stem.weight.grad[:, 3:].abs().sum((0, 2, 3)) > 0).tolist() == [True, False, True]
    else:
        joined = detector.click_fusion.join.weight.grad.abs().sum((0, 2, 3))
        assert (joined > 0).all() if fusion == "late" else (joined > 0).sum() >= len(joined) - 1
        stem = detector.click_fusion.branch.backbone.conv1.weight
        assert (stem.grad.abs().sum((0, 2, 3)) > 0).tolist() == [True, False, True]


@each_preset_and_stages
def test_first_losses_are_small(preset: Preset, stages: Stages) -> None:
    torch.manual_seed(0)
    detector = build_detector(shrunk(preset, stages), normalization(preset))
    detector.init_weights()
    for clicks in (CLICKS, NO_CLICKS):
        losses = losses_of(detector.train(), clicks)
        assert all(0 <= loss.item() < 20 for loss in losses.values()), losses


@each_preset_and_stages
def test_without_clicks_the_enforcing_loss_is_0(preset: Preset, stages: Stages) -> None:
    detector = build(preset, shrunk(preset, stages)).train()
    only_negative = [[Click(18, 18, 0, positive=False)], []]
    assert losses_of(detector, NO_CLICKS)["loss_uel"] == 0
    assert losses_of(detector, only_negative)["loss_uel"] == 0
    assert losses_of(detector, CLICKS)["loss_uel"] > 0


@each_preset_and_stages
def test_a_picture_without_objects_trains(preset: Preset, stages: Stages) -> None:
    detector = build(preset, shrunk(preset, stages)).train()
    images, samples = training_batch(NO_CLICKS)
    for sample in samples:
        sample.gt_instances = sample.gt_instances[:0]
    losses = detector.loss(images, samples)
    assert losses["loss_uel"] == 0
    assert all(
        torch.isfinite(torch.as_tensor(sum(loss)))
        for loss in losses.values()
        if isinstance(loss, list)
    )
    assert all(torch.isfinite(loss) for loss in losses.values() if isinstance(loss, Tensor))


@pytest.mark.parametrize("stages", STAGES)
def test_enforcing_loss_is_there_only_if_wanted(stages: Stages) -> None:
    plain = build("starter", shrunk("starter", stages, "plain", uel=True)).train()
    assert losses_of(plain, CLICKS)["loss_uel"] > 0
    quiet = build("starter", shrunk("starter", stages, "c3det", uel=False)).train()
    assert "loss_uel" not in losses_of(quiet, CLICKS)


@pytest.mark.parametrize("stages", STAGES)
def test_enforcing_loss_is_weighted_and_leaves_the_others_alone(stages: Stages) -> None:
    """In the plain detector the clicks change nothing but the enforcing loss."""
    config = shrunk("starter", stages, "plain")
    head_of(config)["uel"] = dict(weight=1.0, target="assigned")
    losses = losses_of(build("starter", config).train(), CLICKS)
    head_of(config)["uel"] = dict(weight=2.5, target="assigned")
    heavier = losses_of(build("starter", config).train(), CLICKS)
    head_of(config)["uel"] = None
    without = losses_of(build("starter", config).train(), CLICKS)
    assert heavier["loss_uel"].item() == pytest.approx(2.5 * losses["loss_uel"].item())
    assert {name for name in losses if name not in without} == {"loss_uel"}
    for name, loss in without.items():
        assert loss.item() == pytest.approx(losses[name].item()), name
        assert loss.item() == pytest.approx(heavier[name].item()), name


@pytest.mark.parametrize("stages", STAGES)
def test_target_of_the_enforcing_loss(stages: Stages) -> None:
    """Right clicks give the same loss either way; clicks of a wrong class another one."""
    wrong = [[Click(18, 18, 1)], []]
    losses = {}
    for target in ("assigned", "clicked"):
        config = shrunk("starter", stages, "plain")
        head_of(config)["uel"] = dict(weight=1.0, target=target)
        detector = build("starter", config).train()
        right = losses_of(detector, [[Click(18, 18, 0)], []])["loss_uel"].item()
        losses[target] = right, losses_of(detector, wrong)["loss_uel"].item()
    assert losses["assigned"][0] == losses["assigned"][1]
    assert losses["assigned"][0] == pytest.approx(losses["clicked"][0])
    assert losses["clicked"][1] != pytest.approx(losses["assigned"][1])


def head_of(config: dict[str, Any]) -> dict[str, Any]:
    return config["roi_head" if "roi_head" in config else "bbox_head"]


def slow_enforcing_loss(
    rows: list[tuple[Tensor, Tensor, int, list[Click]]], config: dict[str, Any], sigmoid: bool
) -> float:
    """Of positive boxes as (logits, decoded box, label of its object, clicks of its picture)."""
    logits, wanted = [], []
    uel = UserInputEnforcing(**config)
    for of_box, box, label, clicks in rows:
        target = twins.clicked_box(box.tolist(), label, clicks, uel.target, uel.radius)
        if target is not None:
            logits.append(of_box)
            wanted.append(target)
    assert len(wanted) > 1
    return twins.enforcing_loss(torch.stack(logits), wanted, sigmoid, uel.weight)


WRONG_CLICKS = [[Click(18, 18, 1), Click(70, 64, 2)], [Click(60, 50, 0)]]
ENFORCING = {"weight": 1.5, "target": "clicked", "radius": 2.0}


def test_one_stage_enforcing_loss_equals_its_twin() -> None:
    config = shrunk("starter", "one-stage", "c3det")
    config["bbox_head"]["uel"] = ENFORCING
    detector = build("starter", config).train()
    head = detector.bbox_head
    images, samples = training_batch(WRONG_CLICKS)
    rows = []
    with torch.no_grad():
        scores, deltas = detector(images, samples, mode="tensor")
        anchors = head.prior_generator.grid_priors(
            [level.shape[-2:] for level in scores], device="cpu"
        )
        for index, sample in enumerate(samples):
            assigned = head.assigner.assign(
                InstanceData(priors=torch.cat(anchors)), sample.gt_instances
            )
            number = 0
            for at_scores, at_deltas, of_level in zip(scores, deltas, anchors, strict=True):
                _, _, height, width = at_scores.shape
                places = product(range(height), range(width), range(head.num_base_priors))
                for anchor, (y, x, which) in zip(of_level, places, strict=True):
                    if assigned.gt_inds[number] > 0:
                        logits = at_scores[index, :, y, x].view(-1, NUM_CLASSES)[which]
                        delta = at_deltas[index, :, y, x].view(-1, 4)[which]
                        box = head.bbox_coder.decode(anchor[None], delta[None])[0]
                        label = assigned.labels[number].item()
                        rows.append((logits, box, label, WRONG_CLICKS[index]))
                    number += 1
        got = detector.loss(images, samples)["loss_uel"].item()
    assert got == pytest.approx(slow_enforcing_loss(rows, ENFORCING, sigmoid=True), rel=1e-4)


@pytest.mark.parametrize("preset", PRESETS)
def test_two_stage_enforcing_loss_equals_its_twin(preset: Preset) -> None:
    """The two presets differ in having a box for each class, or one for all."""
    config = shrunk(preset, "two-stage", "c3det")
    config["roi_head"]["uel"] = ENFORCING
    detector = build(preset, config).train()
    head = detector.roi_head.bbox_head
    with torch.no_grad():
        head.fc_reg.bias += torch.linspace(-4, 4, len(head.fc_reg.bias))  # boxes far apart
    recorded: dict[str, Any] = {}
    detector.roi_head.bbox_roi_extractor.register_forward_hook(
        lambda _, inputs, __: recorded.update(rois=inputs[1])
    )
    head.register_forward_hook(
        lambda _, __, outputs: recorded.update(logits=outputs[0], deltas=outputs[1])
    )
    images, samples = training_batch(WRONG_CLICKS)
    with torch.no_grad():
        got = detector.loss(images, samples)["loss_uel"].item()
    rows = []
    for roi, logits, deltas in zip(
        recorded["rois"], recorded["logits"], recorded["deltas"], strict=True
    ):
        index = int(roi[0])
        objects = samples[index].gt_instances
        overlaps = bbox_overlaps(roi[None, 1:], objects.bboxes)[0]
        if overlaps.max() < 0.5:
            continue
        label = objects.labels[overlaps.argmax()].item()
        delta = deltas if head.reg_class_agnostic else deltas[4 * label : 4 * label + 4]
        box = head.bbox_coder.decode(roi[None, 1:], delta[None])[0]
        rows.append((logits, box, label, WRONG_CLICKS[index]))
    assert got == pytest.approx(slow_enforcing_loss(rows, ENFORCING, sigmoid=False), rel=1e-4)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_detect_on_encoded_features_is_predict(fusion: Fusion) -> None:
    detector = build("starter", shrunk("starter", "one-stage", fusion))
    images, _ = training_batch(CLICKS)
    sizes = [(SIDE, SIDE), (100, 120)]
    with torch.no_grad():
        features = detector.encode(images)
        got = detector.detect(ClickedFeatures(features, ClickBatch(CLICKS, sizes, (SIDE, SIDE))))
    got = [(picture.bboxes, picture.scores, picture.labels) for picture in got]
    assert same(got, found(detector, CLICKS))


def test_forward_gives_the_heads_outputs() -> None:
    detector = build("starter", shrunk("starter"))
    images, samples = training_batch(CLICKS)
    with torch.no_grad():
        scores, deltas = detector(images, samples, mode="tensor")
    assert [level.shape[-1] for level in scores] == [32, 16, 8]
    assert [level.shape[1] for level in deltas] == [8, 8, 8]


@each_preset_and_stages
def test_autocast_trains(preset: Preset, stages: Stages) -> None:
    detector = build(preset, shrunk(preset, stages)).train()
    wanted = losses_of(detector, CLICKS)
    with torch.autocast("cpu", torch.bfloat16):
        losses = losses_of(detector, CLICKS)
    sum(losses.values()).backward()
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(wanted[name].item(), rel=0.3, abs=0.1), name


@each_preset_and_stages
def test_boxes_stay_in_float32_in_mixed_precision(preset: Preset, stages: Stages) -> None:
    """bfloat16 has steps of 4 px at 1000 px: boxes that were in it all lie on them."""
    detector = build(preset, shrunk(preset, stages))
    images = torch.randn(1, 3, 64, 1024, generator=torch.Generator().manual_seed(0))
    clicks = ClickBatch([[Click(900, 30, 1)]], [(64, 1024)], (64, 1024))
    recorded = []
    if stages == "two-stage":
        extractor = detector.roi_head.bbox_roi_extractor
        extractor.register_forward_hook(lambda module, inputs, output: recorded.append(inputs[1]))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        (boxes,) = detector.detect(ClickedFeatures(detector.encode(images), clicks))
    recorded.append(boxes.bboxes)
    for found in recorded:
        assert found.dtype == torch.float32
        far = found[:, -2][(found[:, -2] > 600) & (found[:, -2] < 1024)]
        assert len(far) > 0
        assert (far.bfloat16().float() != far).float().mean() > 0.9


@pytest.mark.parametrize("preset", PRESETS)
def test_regions_are_read_by_our_reader_alone(
    preset: Preset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that levels of any memory format give the same boxes, in training and in evaluation."""
    detector = build(preset, shrunk(preset, "two-stage"))
    assert type(detector.roi_head.bbox_roi_extractor) is RegionExtractor
    for layer in detector.roi_head.bbox_roi_extractor.roi_layers:
        monkeypatch.setattr(layer, "forward", None)
    images, _ = training_batch(CLICKS)
    clicks = ClickBatch(CLICKS, [(SIDE, SIDE)] * 2, (SIDE, SIDE))
    losses_of(detector.train(), CLICKS)
    detector.eval()
    answers = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        detector.to(memory_format=memory_format)
        with torch.no_grad():
            levels = detector.encode(images.contiguous(memory_format=memory_format))
            answers.append(detector.detect(ClickedFeatures(levels, clicks)))
    for plain, other in zip(*answers, strict=True):
        assert len(plain) > 0
        torch.testing.assert_close(plain.bboxes, other.bboxes, rtol=1e-4, atol=1e-2)
        torch.testing.assert_close(plain.scores, other.scores, rtol=1e-3, atol=1e-4)


def test_early_fusion_takes_weights_of_the_plain_backbone() -> None:
    plain = build("starter", shrunk("starter", "one-stage", "plain"))
    early = build("starter", shrunk("starter", "one-stage", "early"), seed=5)
    early.load_state_dict(plain.state_dict())
    assert same(found(early, CLICKS), found(plain, CLICKS))


def test_truncated_mobilenet_ends_with_the_last_stage_it_gives() -> None:
    backbone = TruncatedMobileNetV2(out_indices=[1, 2, 4], widen_factor=0.25)
    assert [name for name, _ in backbone.named_children()] == [
        "conv1", "layer1", "layer2", "layer3", "layer4", "layer5"
    ]  # fmt: skip
    levels = backbone(torch.zeros(1, 3, 64, 64))
    assert [tuple(level.shape[1:]) for level in levels] == [(8, 16, 16), (8, 8, 8), (24, 4, 4)]


def test_unknown_settings_are_named() -> None:
    config = shrunk("starter")
    config["clicks"]["sooner"] = {}
    with pytest.raises(ValueError, match=r"unknown settings of clicks: \['sooner'\]"):
        build_detector(config, normalization("starter"))
    config = shrunk("starter")
    config["bbox_head"]["uel"] = {"factor": 2}
    with pytest.raises(TypeError, match="factor"):
        build_detector(config, normalization("starter"))


def test_building_leaves_the_config_alone() -> None:
    config = shrunk("starter", "two-stage")
    before = json.dumps(config)
    build_detector(config, normalization("starter"))
    assert json.dumps(config) == before


@pytest.mark.parametrize("place", ["backbone", "neck", "bbox_head", "clicks", "init_cfg"])
def test_only_names_of_the_registry_are_built(place: str, tmp_path: Path) -> None:
    """mmengine imports and calls any other: the last wall, since no config comes from a file."""
    config = shrunk("starter")
    config[place] = [{"type": "os.system", "command": f"touch {tmp_path}/touched"}]
    with pytest.raises(ValueError, match=r"'os\.system' is no name of mmdet's registry"):
        build_detector(config, normalization("starter"))
    assert not (tmp_path / "touched").exists()

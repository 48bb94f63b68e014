"""Cards of format 1, which held a whole mmdet config: ours become new ones, others are refused.

A former card is made here from a new one and the config that the former program wrote into it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from c3det.clicks import Click
from c3det.closed import ClosedModel
from c3det.configs import Architecture, Fusion, Preset, Stages, normalization
from c3det.mmdet_adapter import build_detector
from c3det.predictor import Predictor, load
from c3det.weights import WeightsError, card_path, load_tensors, read_card
from tests.c3det.test_predictor import picture, same
from training.compare import ABLATIONS, VARIANTS
from training.convert_card import convert, main

SHIPPED = Path(__file__).resolve().parents[2] / "serverless" / "weights" / "starter.safetensors"


def plain_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def former(card: dict[str, Any]) -> dict[str, Any]:
    """The content of a card as the former program wrote it."""
    architecture = Architecture.read(card["architecture"])
    return {
        **{name: value for name, value in card.items() if name != "tensors"},
        "architecture": plain_json(architecture.config(len(card["classes"]))),
        "normalization": architecture.normalization,
        "sha256": card["tensors"],
        "format_version": 1,
    }


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The shipped weights with a card of format 1."""
    weights = tmp_path / SHIPPED.name
    shutil.copy(SHIPPED, weights)
    content = former(json.loads(card_path(SHIPPED).read_text(encoding="utf-8")))
    card_path(weights).write_text(json.dumps(content), encoding="utf-8")
    return weights


def test_the_server_does_not_load_a_former_card(old: Path) -> None:
    with pytest.raises(WeightsError, match=r"convert it with python -m training\.convert_card"):
        load(old)


def test_the_shipped_card_comes_out_of_its_former_one(old: Path) -> None:
    before = old.read_bytes()
    card = convert(old)
    assert card == read_card(old) == read_card(SHIPPED)
    assert card_path(old).read_bytes() == card_path(SHIPPED).read_bytes()
    assert old.read_bytes() == before
    assert {path.name for path in old.parent.iterdir()} == {old.name, card_path(old).name}


def test_the_detections_are_those_of_the_former_config(old: Path) -> None:
    content = json.loads(card_path(old).read_text(encoding="utf-8"))
    card = convert(old)
    detector = build_detector(content["architecture"], content["normalization"]).eval()
    detector.load_state_dict(load_tensors(old, card))
    image, clicks = picture(96, 128), [Click(20, 30, 1), Click(100, 50, 5)]
    found = [
        one.detect(one.encode(image), clicks, 0.0)
        for one in (Predictor(ClosedModel(detector, torch.device("cpu")), card), load(old))
    ]
    assert len(found[0]) > 0
    assert same(*found)


@pytest.mark.parametrize("stages", get_args(Stages))
@pytest.mark.parametrize("preset", get_args(Preset))
@pytest.mark.parametrize(
    "options",
    [
        *VARIANTS.values(),
        *ABLATIONS.values(),
        *({"fusion": fusion} for fusion in get_args(Fusion)),
        {"fusion": "early", "sigma": 2.0},
        {"fusion": "plain", "uel": {"radius": 3.0}},
    ],
    ids=str,
)
def test_every_variant_is_found(preset: Preset, stages: Stages, options: dict[str, Any]) -> None:
    expected = Architecture(preset, stages, **options)
    config = plain_json(expected.config(4))
    assert Architecture.of_config(config, normalization(preset), 4) == expected


def change(content: Any, place: str, value: Any) -> None:
    *way, last = place.split(".")
    for name in way:
        content = content[int(name) if isinstance(content, list) else name]
    content[int(last) if isinstance(content, list) else last] = value


POISON = {"type": "os.system", "command": "touch touched"}


@pytest.mark.parametrize(
    ("place", "named"),
    [
        ("architecture.backbone", "architecture.backbone"),
        ("architecture.backbone.init_cfg", "architecture.backbone.init_cfg"),
        ("architecture.backbone.norm_cfg", "architecture.backbone.norm_cfg"),
        ("architecture.backbone.out_indices.1", r"architecture.backbone.out_indices\[1\]"),
        ("architecture.neck", "architecture.neck"),
        ("architecture.type", "architecture.bbox_head"),
        ("architecture.data_preprocessor", "architecture.data_preprocessor"),
        ("architecture.init_cfg", "architecture.init_cfg"),
        ("architecture.clicks", "uel must be|architecture.clicks"),
        ("architecture.clicks.late.backbone", "architecture.clicks.late.backbone"),
        ("architecture.clicks.late.sigma", "sigma must be a number"),
        ("architecture.clicks.correlation", "correlation.command is unknown"),
        ("architecture.rpn_head.loss_cls", "architecture.rpn_head.loss_cls"),
        ("architecture.rpn_head.anchor_generator", "architecture.rpn_head.anchor_generator"),
        ("architecture.roi_head.uel", "uel.command is unknown"),
        ("architecture.train_cfg.rcnn.sampler", "architecture.train_cfg.rcnn.sampler"),
        ("architecture.test_cfg.rcnn.nms", "architecture.test_cfg.rcnn.nms"),
        ("architecture", "architecture"),
        ("normalization", "normalization is that of no preset"),
        ("normalization.mean", "normalization is that of no preset"),
        ("results.type", "results.type is unknown"),
        ("licence.weights", "licence.weights.type is unknown"),
        ("classes.0", r"classes\[0\] must be a text"),
        ("pipeline", r"has unknown ones \['pipeline'\]"),
    ],
)
def test_a_poisoned_former_card_is_refused_and_stays(
    place: str, named: str, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(old.parent)
    content = json.loads(card_path(old).read_text(encoding="utf-8"))
    change(content, place, "ClickRetinaNet" if place == "architecture.type" else POISON)
    card_path(old).write_text(json.dumps(content), encoding="utf-8")
    before = card_path(old).read_bytes()
    with pytest.raises(WeightsError, match=named) as caught:
        convert(old)
    assert f"the card {card_path(old)} " in str(caught.value)
    assert "export the weights again with python -m training.export" in str(caught.value)
    assert card_path(old).read_bytes() == before
    assert {path.name for path in old.parent.iterdir()} == {old.name, card_path(old).name}


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        ("architecture.neck.out_channels", 65, "architecture.neck.out_channels is not what"),
        ("architecture.num_classes", 10**9, "architecture.num_classes is not what the preset"),
        ("architecture.neck.num_outs", 3.0, "architecture.neck.num_outs is not what"),
        ("architecture.backbone.norm_eval", 1, "architecture.backbone.norm_eval is not what"),
        ("normalization.pad_size_divisor", 128, "is not what the preset 'paper' has"),
        ("normalization.pad_size_divisor", 32, "normalization is that of no preset"),
        ("sha256", "0" * 64, "and their card says 0000"),
        ("format_version", 2, "has format_version 2: only cards of 1 are converted"),
        ("format_version", True, "has format_version True"),
    ],
)
def test_a_former_card_of_something_else_is_refused(
    place: str, value: Any, named: str, old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(card_path(old).read_text(encoding="utf-8"))
    change(content, place, value)
    card_path(old).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(SystemExit) as exit_:
        main([str(old)])
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert named in line


def test_the_command_converts(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(old)])
    assert "preset starter, two-stage, c3det" in capsys.readouterr().out
    assert load(old).card == read_card(SHIPPED)


def test_a_missing_card_is_told(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is missing: put it beside"):
        convert(tmp_path / "none.safetensors")

"""The shipped configurations as data."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, fields
from itertools import product
from typing import Any, get_args

import pytest

from c3det.closed.architecture import (
    _CORRELATION_VALUES,
    _UEL_VALUES,
    Architecture,
    Fusion,
    architecture,
)
from c3det.closed.fusion import CorrelationSettings
from c3det.closed.losses import UserInputEnforcing
from c3det.closed.presets import Preset, Stages, normalization

PRESETS, STAGES, FUSIONS = get_args(Preset), get_args(Stages), get_args(Fusion)


@pytest.mark.parametrize(("preset", "stages", "fusion"), list(product(PRESETS, STAGES, FUSIONS)))
def test_survives_json(preset: Preset, stages: Stages, fusion: Fusion) -> None:
    config = architecture(preset, 11, stages=stages, fusion=fusion)
    assert json.loads(json.dumps(config)) == config
    assert json.loads(json.dumps(normalization(preset))) == normalization(preset)


@pytest.mark.parametrize(
    ("fusion", "parts"),
    [
        ("plain", None),
        ("early", {"early"}),
        ("late", {"late"}),
        ("c3det", {"late", "correlation"}),
    ],
)
@pytest.mark.parametrize("preset", PRESETS)
def test_variants_differ_in_their_clicks(
    preset: Preset, fusion: Fusion, parts: set[str] | None
) -> None:
    clicks = architecture(preset, 3, fusion=fusion)["clicks"]
    assert clicks is None if parts is None else set(clicks) == parts


def head_uel(config: dict) -> dict | None:
    return config["roi_head" if "roi_head" in config else "bbox_head"]["uel"]


@pytest.mark.parametrize("stages", STAGES)
def test_c3det_alone_enforces_the_clicks_by_default(stages: Stages) -> None:
    for fusion in FUSIONS:
        enforced = head_uel(architecture("starter", 3, stages=stages, fusion=fusion)) is not None
        assert enforced == (fusion == "c3det")
    assert head_uel(architecture("starter", 3, stages=stages, uel=False)) is None
    late = architecture("starter", 3, stages=stages, fusion="late", uel=True)
    assert head_uel(late) == {"weight": 0.1, "target": "assigned"}
    paper = architecture("paper", 3, stages=stages)
    assert head_uel(paper) == {"weight": 1.0, "target": "assigned"}


def test_published_settings() -> None:
    config = architecture("paper", 8, stages="two-stage")
    assert config["backbone"]["depth"] == 50
    assert config["backbone"]["frozen_stages"] == 1
    assert config["neck"]["out_channels"] == 256
    assert config["rpn_head"]["anchor_generator"]["strides"] == [4, 8, 16, 32, 64]
    assert config["rpn_head"]["anchor_generator"]["scales"] == [8.0]
    assert config["rpn_head"]["anchor_generator"]["ratios"] == [0.5, 1.0, 2.0]
    assert config["clicks"]["late"]["backbone"]["depth"] == 18
    assert config["clicks"]["late"]["backbone"]["in_channels"] == 8
    assert config["clicks"]["late"]["sigma"] == 1.0
    assert config["clicks"]["correlation"] == {
        "sampling": "gaussian-nearest",
        "sigma": 3.0,
        "scale": "none",
    }


def test_early_fusion_trains_the_stem_that_reads_the_clicks() -> None:
    assert architecture("paper", 8, fusion="early")["backbone"]["frozen_stages"] == -1


def test_correlation_and_late_fusion_can_be_chosen() -> None:
    chosen = {"sampling": "bilinear", "scale": "channels"}
    clicks = architecture("paper", 3, correlation=chosen, late=False)["clicks"]
    assert clicks == {"correlation": {"sampling": "bilinear", "sigma": 3.0, "scale": "channels"}}


@pytest.mark.parametrize("stages", STAGES)
def test_the_enforcing_loss_can_be_chosen_field_by_field(stages: Stages) -> None:
    late = architecture("starter", 3, stages=stages, fusion="late", uel={"target": "clicked"})
    assert head_uel(late) == {"weight": 0.1, "target": "clicked"}


@pytest.mark.parametrize(("fusion", "part"), [("early", "early"), ("late", "late")])
def test_sigma_of_the_drawn_clicks_can_be_chosen(fusion: Fusion, part: str) -> None:
    preset = architecture("starter", 3, fusion=fusion)["clicks"][part]["sigma"]
    assert architecture("starter", 3, fusion=fusion, sigma=1.5)["clicks"][part]["sigma"] == 1.5
    assert preset != 1.5


def test_a_config_is_nobody_elses() -> None:
    shipped = architecture("starter", 3)["clicks"]["correlation"]["scale"]
    changed = architecture("starter", 3)
    changed["clicks"]["correlation"]["scale"] = "none"
    assert architecture("starter", 3)["clicks"]["correlation"]["scale"] == shipped != "none"


@pytest.mark.parametrize("name", ["preset", "stages", "fusion"])
def test_unknown_variant_is_named(name: str) -> None:
    arguments = {"preset": "starter", "num_classes": 3, name: "huge"}
    with pytest.raises(ValueError, match=rf"{name} must be one of .* not 'huge'"):
        architecture(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(("preset", "stages", "fusion"), list(product(PRESETS, STAGES, FUSIONS)))
def test_an_architecture_survives_json(preset: Preset, stages: Stages, fusion: Fusion) -> None:
    chosen = Architecture(preset, stages, fusion)
    content = json.loads(json.dumps(asdict(chosen)))
    assert Architecture.read(content) == chosen
    assert Architecture.read(content).config(5) == architecture(
        preset, 5, stages=stages, fusion=fusion
    )
    assert chosen.normalization == normalization(preset)


def test_an_architecture_says_what_the_preset_has() -> None:
    assert asdict(Architecture("starter", sigma=2)) == {
        "preset": "starter",
        "stages": "two-stage",
        "fusion": "c3det",
        "uel": {"weight": 0.1, "target": "assigned"},
        "correlation": {
            "sampling": "bilinear",
            "scale": "cosine",
            "gain": 10.0,
            "stop_gradient": True,
            "projection": True,
        },
        "late": True,
        "sigma": 2.0,
    }
    assert asdict(Architecture("paper", "one-stage", "plain")) == {
        "preset": "paper",
        "stages": "one-stage",
        "fusion": "plain",
        "uel": False,
        "correlation": None,
        "late": False,
        "sigma": None,
    }


def test_every_field_of_the_settings_has_its_values() -> None:
    assert list(_CORRELATION_VALUES) == [field.name for field in fields(CorrelationSettings)]
    assert list(_UEL_VALUES) == [field.name for field in fields(UserInputEnforcing)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": 0}, "sigma must be a number from 0.1 to 100, not 0"),
        ({"sigma": float("nan")}, "sigma must be a number from 0.1 to 100, not nan"),
        ({"sigma": True}, "sigma must be a number"),
        ({"sigma": 4.0, "fusion": "plain"}, "sigma must be null where no clicks are drawn"),
        ({"late": 1}, "late must be true or false, not 1"),
        ({"late": True, "fusion": "plain"}, "late cannot be true for fusion 'plain'"),
        ({"late": False, "fusion": "late"}, "late cannot be false for fusion 'late'"),
        ({"correlation": {"gain": "10"}}, "correlation.gain must be a number"),
        ({"correlation": {"scale": "dot"}}, "correlation.scale must be one of"),
        ({"correlation": {"type": "os.system"}}, "correlation.type is unknown"),
        ({"correlation": [1]}, "correlation must be an object"),
        ({"correlation": {}, "fusion": "late"}, "correlation must be null for fusion 'late'"),
        ({"uel": {"weight": -1}}, "uel.weight must be a number from 0 to 1000, not -1"),
        ({"uel": {"target": ["clicked"]}}, "uel.target must be one of"),
        ({"uel": {"radius": 10**400}}, "uel.radius must be a number"),
        ({"uel": 1}, "uel must be an object, not 1"),
    ],
)
def test_a_value_that_cannot_be_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Architecture("starter", **options)


@pytest.mark.parametrize("number", [0, -1, 2001, 10**9])
def test_a_number_of_classes_that_no_detector_has(number: int) -> None:
    with pytest.raises(ValueError, match=f"a detector has 1 to 2000 classes, not {number}"):
        Architecture("starter").config(number)

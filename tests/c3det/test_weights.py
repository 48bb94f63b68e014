"""Weights and cards on disk, and every way in which they can be wrong."""

from __future__ import annotations

import json
import os
import pickle
import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError

from c3det import weights as weights_module
from c3det.closed.architecture import Architecture
from c3det.predictor import load
from c3det.weights import (
    FORMAT_VERSION,
    Card,
    WeightsError,
    card_path,
    digest,
    load_tensors,
    read_card,
    save,
    save_card,
)
from tests.c3det.mutations import mutate

CARD = Card(
    name="test",
    classes=("tree", "Straße"),
    architecture=Architecture("starter", "one-stage", sigma=2.5),
    score_threshold=0.25,
    typical_sizes=((20.0, 30.5), (8.0, 9.0)),
    training={"steps": 5},
    results={"ap50": [0.5, 0.75]},
    licence={"weights": "CC0-1.0"},
    limits=("It has seen no tree in winter.", "It confuses streets."),
)
TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor([1, 2])}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "somewhere" / "small.safetensors"
    save(path, TENSORS, CARD)
    return path


def edit(weights: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(card_path(weights).read_text(encoding="utf-8"))
    change(content)
    card_path(weights).write_text(json.dumps(content), encoding="utf-8")


def sign(weights: Path) -> None:
    """Write the digest anew, as somebody does who means harm."""
    edit(weights, lambda card: card.update(sha256=digest(card)))


def load_anyway(weights: Path) -> None:
    load_tensors(weights, read_card(weights))


def message(weights: Path) -> str:
    """The error, which must be one line: what is wrong, a colon, what to do."""
    with pytest.raises(WeightsError) as caught:
        load_anyway(weights)
    text = str(caught.value)
    assert "\n" not in text
    assert ": " in text
    return text


def test_comes_back_as_it_was(weights: Path) -> None:
    card = read_card(weights)
    tensors_sha256 = sha256(weights.read_bytes()).hexdigest()
    content = json.loads(card_path(weights).read_text(encoding="utf-8"))
    assert card == replace(CARD, tensors=tensors_sha256, sha256=content["sha256"])
    tensors = load_tensors(weights, card)
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_views_of_one_tensor_are_saved_as_they_look(tmp_path: Path) -> None:
    whole = torch.arange(12.0).view(3, 4)
    path = tmp_path / "views.safetensors"
    card = save(path, {"transposed": whole.T, "column": whole[:, 1]}, CARD)
    tensors = load_tensors(path, card)
    assert torch.equal(tensors["transposed"], whole.T)
    assert torch.equal(tensors["column"], whole[:, 1])


def test_card_is_readable_json_beside_the_weights(weights: Path) -> None:
    assert card_path(weights) == weights.parent / "small.json"
    text = card_path(weights).read_text(encoding="utf-8")
    assert "Straße" in text
    assert text.endswith("}\n")
    assert json.loads(text)["format_version"] == FORMAT_VERSION


def test_card_is_frozen(weights: Path) -> None:
    card = read_card(weights)
    with pytest.raises(FrozenInstanceError):
        card.name = "other"  # type: ignore[misc]


def test_card_can_be_rewritten_alone(weights: Path) -> None:
    before = weights.read_bytes()
    save_card(weights, replace(read_card(weights), results={"ap50": [0.9]}))
    assert read_card(weights).results == {"ap50": [0.9]}
    load_anyway(weights)
    assert weights.read_bytes() == before


def test_not_a_number_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="JSON"):
        save(tmp_path / "w.safetensors", TENSORS, replace(CARD, results={"ap50": float("nan")}))


def test_missing_weights(weights: Path) -> None:
    weights.unlink()
    assert "are missing: put the file there" in message(weights)


def test_missing_card(weights: Path) -> None:
    card_path(weights).unlink()
    assert "small.json is missing: put it beside small.safetensors" in message(weights)


def test_a_checkpoint_of_another_kind(weights: Path) -> None:
    assert "not a .safetensors file: export" in message(weights.with_suffix(".pth"))


def test_a_changed_byte(weights: Path) -> None:
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    text = message(weights)
    assert sha256(content).hexdigest() in text
    assert "copy both files again from the same source" in text


def test_truncated(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes()[:-3])
    assert "sha256" in message(weights)


@pytest.mark.parametrize("keep", [0, 5, 40, -3])
def test_truncated_before_the_hash_was_taken(weights: Path, keep: int) -> None:
    content = weights.read_bytes()[:keep]
    weights.write_bytes(content)
    edit(weights, lambda card: card.update(tensors=sha256(content).hexdigest()))
    sign(weights)
    assert "not a safetensors file" in message(weights)


class Payload:
    """Raises when unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return pytest.fail, ("something was unpickled",)


def test_nothing_is_unpickled(weights: Path) -> None:
    content = pickle.dumps(Payload())
    weights.write_bytes(content)
    edit(weights, lambda card: card.update(tensors=sha256(content).hexdigest()))
    sign(weights)
    assert "not a safetensors file" in message(weights)


@pytest.mark.parametrize("version", [0, 1, FORMAT_VERSION + 1, "2", 2.0, True, [2], None])
def test_unknown_version(weights: Path, version: object) -> None:
    edit(weights, lambda card: card.update(format_version=version))
    text = message(weights)
    assert f"has format_version {version!r} and this program reads {FORMAT_VERSION}" in text
    assert "export the weights again, or install the version that wrote them" in text


def test_no_version(weights: Path) -> None:
    edit(weights, lambda card: card.pop("format_version"))
    assert "has format_version None" in message(weights)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "3", b"\xff\xfe\x00"])
def test_card_is_not_a_json_object(weights: Path, text: str | bytes) -> None:
    card_path(weights).write_bytes(text.encode() if isinstance(text, str) else text)
    assert "copy it again from its source" in message(weights)


def test_a_card_that_is_a_pipe_is_not_waited_for(weights: Path) -> None:
    card_path(weights).unlink()
    os.mkfifo(card_path(weights))
    assert "cannot be read as JSON (it is no file): copy it again" in message(weights)


def test_lacking_and_unknown_fields(weights: Path) -> None:
    edit(weights, lambda card: card.update(colour="red"))
    edit(weights, lambda card: card.pop("classes"))
    assert "lacks the fields ['classes'] and has unknown ones ['colour']" in message(weights)


def test_a_card_without_limits(weights: Path) -> None:
    edit(weights, lambda card: card.pop("limits"))
    sign(weights)
    assert read_card(weights).limits == ()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"name": ""}, "name must be a text of 1 to 200 characters, not ''"),
        ({"name": "two\nlines"}, "name must be a text of one line"),
        ({"name": "\u009b31m"}, "name must be a text of one line"),
        ({"classes": ["x", "a\u2028b"]}, "classes[1] must be a text of one line"),
        ({"score_threshold": "high"}, "score_threshold must be a number from 0 to 1, not 'high'"),
        ({"score_threshold": None}, "score_threshold must be a number"),
        ({"score_threshold": True}, "score_threshold must be a number"),
        ({"score_threshold": 1.5}, "score_threshold must be a number from 0 to 1, not 1.5"),
        ({"typical_sizes": 5}, "typical_sizes must be a list"),
        ({"typical_sizes": [[1], [2]]}, "typical_sizes[0] must be a width and a height"),
        ({"typical_sizes": [[1, 2], ["c", "d"]]}, "typical_sizes[1] must be a number"),
        ({"typical_sizes": [[1, 2], [-1, 2]]}, "typical_sizes[1] must be a number"),
        ({"typical_sizes": [[1, 2], [1e9, 2]]}, "typical_sizes[1] must be a number"),
        ({"classes": 7}, "classes must be a list, not 7"),
        ({"classes": []}, "classes must be 1 to 2000 names, they are 0"),
        ({"classes": ["x"] * 2001}, "classes must be 1 to 2000 names, they are 2001"),
        ({"classes": ["x", "x"]}, "classes must differ"),
        ({"classes": ["x", {"type": "y"}]}, "classes[1] must be a text"),
        ({"classes": ["x", "\ud800"]}, "classes[1] must be a text of one line"),
        ({"limits": "It cannot read."}, "limits must be a list"),
        ({"licence": {"weights": 5}}, "licence.weights must be a text"),
        ({"licence": []}, "licence must be an object"),
        ({"training": [1]}, "training must be an object"),
        ({"results": {"ap": [{"type": "os.system"}]}}, "results.ap[0].type is unknown"),
        ({"training": {"steps": 10**30}}, "training.steps must be a finite number"),
        ({"tensors": "../other"}, "tensors must be 64 hexadecimal digits"),
        ({"sha256": 5}, "sha256 must be 64 hexadecimal digits"),
        ({"architecture": None}, "architecture must be an object, not None"),
        ({"architecture": {}}, "architecture.correlation is missing"),
    ],
    ids=str,
)
def test_fields_that_cannot_be_used_are_named(
    weights: Path, wrong: dict[str, Any], named: str
) -> None:
    edit(weights, lambda card: card.update(wrong))
    for again in range(2):
        text = message(weights)
        assert f"has a field that cannot be used ({named}" in text, again
        if "sha256" not in wrong:
            sign(weights)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"preset": "huge"}, "architecture.preset must be one of"),
        ({"preset": {"type": "os.system"}}, "architecture.preset must be one of"),
        ({"stages": 1}, "architecture.stages must be one of"),
        ({"fusion": "plain"}, "architecture.late cannot be true for fusion"),
        ({"late": None}, "architecture.late must be True, not None"),
        ({"sigma": None}, "architecture.sigma must be 4.0, not None"),
        ({"sigma": 1e9}, "architecture.sigma must be a number from 0.1 to 100"),
        ({"uel": True}, "architecture.uel must be {"),
        ({"correlation": {"gain": 10.0}}, "architecture.correlation must be {"),
        ({"num_classes": 10**9}, "architecture.num_classes is unknown"),
        ({"backbone": {"type": "ResNet"}}, "architecture.backbone is unknown"),
        ({"back\nbone": 1}, "architecture.back\\nbone is unknown"),
    ],
    ids=str,
)
def test_an_architecture_that_is_none_is_named(
    weights: Path, wrong: dict[str, Any], named: str
) -> None:
    edit(weights, lambda card: card["architecture"].update(wrong))
    sign(weights)
    assert f"has a field that cannot be used ({named}" in message(weights)


@pytest.mark.parametrize(
    "place",
    [
        (),
        ("architecture",),
        ("architecture", "correlation"),
        ("architecture", "uel"),
        ("licence",),
        ("training",),
        ("results",),
    ],
    ids="-".join,
)
@pytest.mark.parametrize(
    "name",
    ["type", "backbone", "neck", "loss", "init_cfg", "data_preprocessor", "_scope_", "_delete_"],
)
def test_a_poisoned_card_runs_nothing(weights: Path, place: tuple[str, ...], name: str) -> None:
    """The card that ran a command before: a class of mmdet may be any function of Python."""
    touched = weights.parent / "touched"
    poison: Any = {"type": "os.system", "command": f"touch {touched}"}

    def put(card: dict[str, Any]) -> None:
        for key in place:
            card = card[key]
        card[name] = "os.system" if name == "type" else [{"of": poison}] if "_" in name else poison

    edit(weights, put)
    sign(weights)
    with pytest.raises(WeightsError) as caught:
        load(weights)
    assert name in str(caught.value)
    assert str(place[-1] if place else "") in str(caught.value)
    assert not touched.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"score_threshold": 0.3},
        {"name": "other"},
        {"classes": ["Straße", "tree"]},
        {"results": {}},
        {"limits": []},
        {"tensors": "0" * 64},
    ],
    ids=str,
)
def test_a_card_changed_by_hand(weights: Path, change: dict[str, Any]) -> None:
    edit(weights, lambda card: card.update(change))
    text = message(weights)
    assert "small.json was changed after it was written" in text
    assert "copy both files again from the same source" in text


def test_the_form_of_the_json_is_free(weights: Path) -> None:
    content = json.loads(card_path(weights).read_text(encoding="utf-8"))
    text = json.dumps(dict(reversed(content.items())), indent=7)
    card_path(weights).write_text(text, encoding="utf-8")
    load_anyway(weights)


def test_identity_is_of_what_answers_depend_on(weights: Path) -> None:
    card = read_card(weights)
    assert replace(card, results={}, name="n", training={}, limits=()).identity == card.identity
    others = [
        replace(card, score_threshold=0.3),
        replace(card, classes=("a", "b")),
        replace(card, typical_sizes=((1.0, 1.0),) * 2),
        replace(card, architecture=Architecture("starter", "one-stage")),
        replace(card, tensors="0" * 64),
    ]
    assert len({one.identity for one in [card, *others]}) == 6


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": [-Infinity]}', "-Infinity is no number"),
        ('{"a": {"b": 1, "b": 2}}', "the field 'b' stands there twice"),
        ("[" * 10**5, "recursion"),
        ('{"a": ' + "9" * 10**4 + "}", "digits"),
        (" " * ((16 << 20) + 1), "more than 16 MiB"),
    ],
    ids=["NaN", "Infinity", "twice", "deep", "long", "large"],
)
def test_json_that_no_card_is(weights: Path, text: str, reason: str) -> None:
    card_path(weights).write_text(text)
    got = message(weights)
    assert reason in got
    assert "copy it again from its source" in got


def test_remarks_hold_what_disks_and_people_write(tmp_path: Path) -> None:
    """A folder's name that is not UTF-8, as Python has it, and a licence of several lines."""
    training = {"settings": {"sets": ["caf\udce9", "日本"]}}
    path = tmp_path / "w.safetensors"
    card = save(path, TENSORS, replace(CARD, training=training, licence={"caf\udce9": "a\nb"}))
    assert read_card(path) == card
    assert (card.training, card.licence) == (training, {"caf\udce9": "a\nb"})
    assert "日本" in card_path(path).read_text(encoding="utf-8")


def test_a_card_that_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(WeightsError, match=r"score_threshold must be a number from 0 to 1"):
        save(path, TENSORS, replace(CARD, score_threshold=2.0))
    assert not card_path(path).exists()


@given(data=st.data())
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_is_in_a_card_is_refused_or_works(weights: Path, data: st.DataObject) -> None:
    """Anything anywhere, with a right digest: a sentence, or a card of a detector that exists."""
    content = json.loads(json.dumps(asdict(CARD)))
    content["tensors"] = sha256(weights.read_bytes()).hexdigest()
    for _ in range(data.draw(st.integers(1, 2))):
        mutate(data, content)
    try:
        content["sha256"] = digest(content)
    except ValueError:  # NaN and Infinity
        content["sha256"] = "0" * 64
    card_path(weights).write_text(json.dumps(content), encoding="utf-8")
    try:
        card = read_card(weights)
    except WeightsError as error:
        refused = str(error)
    else:
        refused = ""
        load_tensors(weights, card)
        config = card.architecture.config(len(card.classes))
        assert config["num_classes"] == len(card.classes) == len(card.typical_sizes)
        assert 0 <= card.score_threshold <= 1
    assert "\n" not in refused
    refused.encode()


def test_sizes_for_other_classes(weights: Path) -> None:
    edit(weights, lambda card: card.update(typical_sizes=[[1, 1]]))
    assert "has 1 typical_sizes for 2 classes" in message(weights)


def test_a_disk_that_is_full_is_an_error_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: File too large (os error 27)")

    monkeypatch.setattr(weights_module, "save_file", full)
    with pytest.raises(OSError, match=re.escape(os.strerror(27))) as caught:
        save(tmp_path / "w.safetensors", TENSORS, CARD)
    assert (caught.value.errno, caught.value.filename) == (27, str(tmp_path / "w.safetensors"))

"""Weights and cards on disk, and every way in which they can be wrong."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch

from c3det.weights import (
    FORMAT_VERSION,
    Card,
    WeightsError,
    card_path,
    load_tensors,
    read_card,
    save,
    save_card,
)

CARD = Card(
    name="test",
    classes=("tree", "Straße"),
    architecture={"type": "Nothing", "strides": [4, 8]},
    normalization={"mean": [1.0, 2.0, 3.0], "std": [1.0, 1.0, 1.0], "pad_size_divisor": 16},
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
    assert card == replace(CARD, sha256=sha256(weights.read_bytes()).hexdigest())
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
    with pytest.raises(ValueError, match="JSON"):
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
    edit(weights, lambda card: card.update(sha256=sha256(content).hexdigest()))
    assert "not a safetensors file" in message(weights)


class Payload:
    """Raises when unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return pytest.fail, ("something was unpickled",)


def test_nothing_is_unpickled(weights: Path) -> None:
    content = pickle.dumps(Payload())
    weights.write_bytes(content)
    edit(weights, lambda card: card.update(sha256=sha256(content).hexdigest()))
    assert "not a safetensors file" in message(weights)


@pytest.mark.parametrize("version", [0, FORMAT_VERSION + 1, "1", None])
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


def test_lacking_and_unknown_fields(weights: Path) -> None:
    edit(weights, lambda card: card.update(colour="red"))
    edit(weights, lambda card: card.pop("classes"))
    assert "lacks the fields ['classes'] and has unknown ones ['colour']" in message(weights)


def test_a_card_without_limits(weights: Path) -> None:
    edit(weights, lambda card: card.pop("limits"))
    assert read_card(weights).limits == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"score_threshold": "high"},
        {"score_threshold": None},
        {"typical_sizes": 5},
        {"typical_sizes": [[1], [2]]},
        {"typical_sizes": [["a", "b"], ["c", "d"]]},
        {"classes": 7},
        {"limits": "It cannot read."},
    ],
    ids=str,
)
def test_fields_of_a_wrong_type(weights: Path, wrong: dict[str, Any]) -> None:
    edit(weights, lambda card: card.update(wrong))
    assert "has a field of a wrong type" in message(weights)


def test_sizes_for_other_classes(weights: Path) -> None:
    edit(weights, lambda card: card.update(typical_sizes=[[1, 1]]))
    assert "has 1 typical_sizes for 2 classes" in message(weights)

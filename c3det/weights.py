"""Weights on disk: a ``.safetensors`` file and a JSON card of the same name beside it.

Nothing is ever unpickled. The card says what the tensors are, and carries their sha256.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load_file, save_file
from torch import Tensor

FORMAT_VERSION = 1


class WeightsError(Exception):
    """Weights that cannot be used; the message is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Card:
    """What is known about weights, the content of their JSON file.

    Attributes:
        name: Of these weights, for people and answers.
        classes: Names, in the order of the labels.
        architecture: A detector's config, see `c3det.configs.architecture`.
        normalization: ``mean``, ``std`` and ``pad_size_divisor``, see
            `c3det.mmdet_adapter.build_detector`.
        score_threshold: From which score on boxes are shown unless the caller says otherwise.
        typical_sizes: For each class the median ``(width, height)`` of its objects, in pixels.
        training: What the weights were trained on, and how.
        results: What was measured, with the command that measures it.
        licence: Of the weights and of the data they were trained on.
        limits: What the weights cannot do, a sentence each; a card need not have the field.
        sha256: Of the ``.safetensors`` file, in hexadecimal.
        format_version: Of the card.
    """

    name: str
    classes: tuple[str, ...]
    architecture: dict[str, Any]
    normalization: dict[str, Any]
    score_threshold: float
    typical_sizes: tuple[tuple[float, float], ...]
    training: dict[str, Any]
    results: dict[str, Any]
    licence: dict[str, str]
    limits: tuple[str, ...] = ()
    sha256: str = ""
    format_version: int = FORMAT_VERSION


def card_path(weights: Path) -> Path:
    """Where the card of a ``.safetensors`` file lies."""
    return weights.with_suffix(".json")


def save(weights: Path, tensors: Mapping[str, Tensor], card: Card) -> Card:
    """Write tensors and card.

    Args:
        weights: Path that ends in ``.safetensors``.
        tensors: The state of the detector.
        card: Its ``sha256`` is replaced.

    Returns:
        The card as written.
    """
    weights.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, weights)
    return save_card(weights, replace(card, sha256=_sha256(weights)))


def save_card(weights: Path, card: Card) -> Card:
    """Write the card of weights that are on disk already."""
    content = json.dumps(asdict(card), indent=1, ensure_ascii=False, allow_nan=False)
    card_path(weights).write_text(content + "\n", encoding="utf-8")
    return card


def read_card(weights: Path) -> Card:
    """Read and check the card of weights.

    Raises:
        WeightsError: There is none, or it is not one of this version.
    """
    path = card_path(weights)
    if weights.suffix != ".safetensors":
        raise WeightsError(
            f"the weights {weights} are not a .safetensors file: export them with "
            "python -m training.export"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(
            f"the card {path} is missing: put it beside {weights.name}, from where that file came"
        ) from None
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"the card {path} cannot be read as JSON ({error}): copy it again from its source"
        ) from error
    if not isinstance(content, dict):
        raise WeightsError(f"the card {path} is not a JSON object: copy it again from its source")
    version = content.get("format_version")
    if version != FORMAT_VERSION:
        raise WeightsError(
            f"the card {path} has format_version {version!r} and this program reads "
            f"{FORMAT_VERSION}: export the weights again, or install the version that wrote them"
        )
    known = {field.name for field in fields(Card)}
    missing = sorted(known - {"limits"} - content.keys())
    unknown = sorted(content.keys() - known)
    if missing or unknown:
        raise WeightsError(
            f"the card {path} lacks the fields {missing} and has unknown ones {unknown}: "
            "export the weights again with python -m training.export"
        )
    try:
        card = Card(
            **{
                **content,
                "classes": tuple(str(name) for name in content["classes"]),
                "score_threshold": float(content["score_threshold"]),
                "typical_sizes": tuple(
                    (float(width), float(height)) for width, height in content["typical_sizes"]
                ),
                "limits": _sentences(content.get("limits", [])),
            }
        )
    except (TypeError, ValueError) as error:
        raise WeightsError(
            f"the card {path} has a field of a wrong type ({error}): "
            "export the weights again with python -m training.export"
        ) from error
    if len(card.typical_sizes) != len(card.classes):
        raise WeightsError(
            f"the card {path} has {len(card.typical_sizes)} typical_sizes for "
            f"{len(card.classes)} classes: export the weights again with python -m training.export"
        )
    return card


def load_tensors(weights: Path, card: Card) -> dict[str, Tensor]:
    """Read the tensors that a card describes.

    Raises:
        WeightsError: The file is missing, is another one than the card's, or is broken.
    """
    if not weights.is_file():
        raise WeightsError(
            f"the weights {weights} are missing: put the file there, or name another one"
        )
    found = _sha256(weights)
    if found != card.sha256:
        raise WeightsError(
            f"the weights {weights} have the sha256 {found} and their card says "
            f"{card.sha256}: copy both files again from the same source"
        )
    try:
        return load_file(weights)
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(
            f"the weights {weights} are not a safetensors file ({error}): export them again with "
            "python -m training.export"
        ) from error


def _sentences(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(f"limits must be a list of sentences, it is {value!r}")
    return tuple(str(one) for one in value)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

"""Weights on disk: a ``.safetensors`` file and a JSON card of the same name beside it.

Nothing is ever unpickled, and nothing in a card names code: it says by a preset and by numbers
which of `c3det.configs`' detectors the tensors are of, or by numbers alone which open one
(`c3det.open.architecture`), whose card has no classes. All of a card is checked before anything is
built or any tensor is read, and a digest binds it to the tensors: it tells what was changed or
mixed up. It is no signature.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import reprlib
import unicodedata
from collections.abc import Mapping
from dataclasses import InitVar, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load_file, save_file
from torch import Tensor

from c3det.commands import naming
from c3det.configs import MAX_CLASSES, Architecture, printable
from c3det.open.architecture import OpenArchitecture

FORMAT_VERSION = 2

_MAX_BYTES = 16 << 20
_MAX_DEPTH = 64
_MAX_TEXT = 100_000
_MAX_NAME = 200
_SIZES = (0.1, 100_000.0)


class WeightsError(Exception):
    """Weights that cannot be used; the message is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Card:
    """What is known about weights, the content of their JSON file.

    Attributes:
        name: Of these weights, for people and answers.
        classes: Names, in the order of the labels; none for the open model.
        architecture: The detector that the tensors are of. Where a card is made it may be a config
            of `c3det.configs.architecture`, with its ``normalization``, which no card keeps.
        score_threshold: From which score on boxes are shown unless the caller says otherwise.
        typical_sizes: For each class the median ``(width, height)`` of its objects, in pixels.
        training: What the weights were trained on, and how; told to people, read by no program.
        results: What was measured, with the command that measures it; for people likewise.
        licence: Of the weights and of the data they were trained on.
        limits: What the weights cannot do, a sentence each; a card need not have the field.
        tensors: SHA-256 of the ``.safetensors`` file, in hexadecimal.
        sha256: Of the whole card but this field, see `digest`, and so of the tensors, too.
        format_version: Of the card.
    """

    name: str
    classes: tuple[str, ...]
    architecture: Architecture | OpenArchitecture
    score_threshold: float
    typical_sizes: tuple[tuple[float, float], ...]
    training: dict[str, Any]
    results: dict[str, Any]
    licence: dict[str, str]
    limits: tuple[str, ...] = ()
    tensors: str = ""
    sha256: str = ""
    format_version: int = FORMAT_VERSION
    normalization: InitVar[Mapping[str, Any] | None] = None

    def __post_init__(self, normalization: Mapping[str, Any] | None) -> None:
        given: object = self.architecture
        if not isinstance(given, Architecture | OpenArchitecture):
            found = Architecture.of_config(given, normalization, len(self.classes))
            object.__setattr__(self, "architecture", found)

    @property
    def closed_architecture(self) -> Architecture:
        """The architecture of a closed model.

        Raises:
            WeightsError: The weights are the open model's.
        """
        if isinstance(self.architecture, OpenArchitecture):
            raise WeightsError(
                f"the weights {self.name} are of the open model, which has no classes of its own: "
                "choose weights of a closed one"
            )
        return self.architecture

    @property
    def identity(self) -> str:
        """SHA-256 of all that answers depend on: the tensors, and what the card says of their use.

        It stays when results or remarks are written into the card, so results are known by it.
        """
        names = ("classes", "architecture", "score_threshold", "typical_sizes", "tensors")
        content = asdict(self)
        return digest({name: content[name] for name in names})


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of a card's fields but ``sha256``, as JSON without spaces and with sorted keys."""
    signed = {name: value for name, value in content.items() if name != "sha256"}
    text = json.dumps(signed, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def card_path(weights: Path) -> Path:
    """Where the card of a ``.safetensors`` file lies."""
    return weights.with_suffix(".json")


def save(weights: Path, tensors: Mapping[str, Tensor], card: Card) -> Card:
    """Write tensors and card.

    Args:
        weights: Path that ends in ``.safetensors``.
        tensors: The state of the detector.
        card: Its ``tensors`` and ``sha256`` are replaced.

    Returns:
        The card as written.

    Raises:
        OSError: A file cannot be written.
        WeightsError: A field of the card has a value that `read_card` refuses.
    """
    weights.parent.mkdir(parents=True, exist_ok=True)
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, weights)
    except safetensors.SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(weights)) from error
    return save_card(weights, replace(card, tensors=_sha256(weights)))


def save_card(weights: Path, card: Card) -> Card:
    """Write the card of weights that are on disk already.

    Returns:
        The card as written, with another ``sha256``.

    Raises:
        WeightsError: A field of the card has a value that `read_card` refuses.
    """
    path = card_path(weights)
    card = signed(asdict(card), path)
    text = json.dumps(asdict(card), indent=1, ensure_ascii=False)
    # In names of files that are not UTF-8 stands what JSON writes just as Python does.
    with naming(path):
        path.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    return card


def signed(content: Mapping[str, Any], path: Path) -> Card:
    """The card of some fields, with the digest that belongs to them.

    Args:
        content: The fields as JSON.
        path: Of the card, for the message.

    Raises:
        WeightsError: A field is unknown, is missing, or has a value that it cannot have.
    """
    try:
        content = json.loads(json.dumps({**content, "sha256": "0" * 64}, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise WeightsError(f"the card {path} cannot be written as JSON: {error}") from error
    card = _card(content, path)
    return replace(card, sha256=digest(asdict(card)))


def read_card(weights: Path) -> Card:
    """Read and check the card of weights.

    Raises:
        WeightsError: There is none, or it is not one of this version, or it was changed.
    """
    path = card_path(weights)
    content = read_json(weights)
    version = content.get("format_version")
    if version == 1 and not isinstance(version, bool):
        raise WeightsError(
            f"the card {path} has format_version 1, which could hold code, and this program reads "
            f"{FORMAT_VERSION}: export the weights again with python -m training.export"
        )
    if version != FORMAT_VERSION or not isinstance(version, int):
        raise WeightsError(
            f"the card {path} has format_version {reprlib.repr(version)} and this program reads "
            f"{FORMAT_VERSION}: export the weights again, or install the version that wrote them"
        )
    card = _card(content, path)
    found = digest(content)
    if found != card.sha256:
        raise WeightsError(
            f"the card {path} was changed after it was written, its content has the sha256 {found} "
            f"and it says {card.sha256}: copy both files again from the same source, or export the "
            "weights again with python -m training.export"
        )
    return card


def read_json(weights: Path) -> dict[str, Any]:
    """Read the JSON object of a card, of any version, unchecked but for its being one.

    Raises:
        WeightsError: There is none, or anything else.
    """
    path = card_path(weights)
    if weights.suffix != ".safetensors":
        raise WeightsError(
            f"the weights {weights} are not a .safetensors file: export them with "
            "python -m training.export"
        )
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise ValueError("it is no file")
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES >> 20} MiB")
        content = json.loads(
            text.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant
        )
    except FileNotFoundError:
        raise WeightsError(
            f"the card {path} is missing: put it beside {weights.name}, from where that file came"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"the card {path} cannot be read as JSON ({error}): copy it again from its source"
        ) from error
    if not isinstance(content, dict):
        raise WeightsError(f"the card {path} is not a JSON object: copy it again from its source")
    return content


def load_tensors(weights: Path, card: Card) -> dict[str, Tensor]:
    """Read the tensors that a card describes.

    Raises:
        WeightsError: The file is missing, is another one than the card's, is broken, or holds what
            is no finite number.
    """
    if not weights.is_file():
        raise WeightsError(
            f"the weights {weights} are missing: put the file there, or name another one"
        )
    found = _sha256(weights)
    if found != card.tensors:
        raise WeightsError(
            f"the weights {weights} have the sha256 {found} and their card says "
            f"{card.tensors}: copy both files again from the same source"
        )
    try:
        tensors = load_file(weights)
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(
            f"the weights {weights} are not a safetensors file ({error}): export them again with "
            "python -m training.export"
        ) from error
    for name, value in tensors.items():
        if value.is_complex() or not bool(value.isfinite().all()):
            raise WeightsError(
                f"the tensors of {weights} are no finite numbers in {name}: train and export the "
                "weights again"
            )
    return tensors


def _card(content: Mapping[str, Any], path: Path) -> Card:
    """Check the fields of a card of this version; the message names the one that is wrong."""
    known = {field.name for field in fields(Card)}
    missing = sorted(known - {"limits"} - content.keys())
    unknown = sorted(printable(name) for name in content.keys() - known)[:5]
    if missing or unknown:
        raise WeightsError(
            f"the card {path} lacks the fields {missing} and has unknown ones {unknown}: "
            "export the weights again with python -m training.export"
        )
    try:
        architecture = _architecture(content["architecture"])
        is_open = isinstance(architecture, OpenArchitecture)
        card = Card(
            name=_name("name", content["name"]),
            classes=_no_classes(content["classes"])
            if is_open
            else check_classes(content["classes"]),
            architecture=architecture,
            score_threshold=_number("score_threshold", content["score_threshold"], 0.0, 1.0),
            typical_sizes=_sizes(content["typical_sizes"]),
            training=_told("training", content["training"]),
            results=_told("results", content["results"]),
            licence=_licence(content["licence"]),
            limits=_sentences("limits", content.get("limits", [])),
            tensors=_hexadecimal("tensors", content["tensors"]),
            sha256=_hexadecimal("sha256", content["sha256"]),
        )
    except ValueError as error:
        raise WeightsError(
            f"the card {path} has a field that cannot be used ({str(error)[:400]}): "
            "export the weights again with python -m training.export"
        ) from error
    if len(card.typical_sizes) != len(card.classes):
        raise WeightsError(
            f"the card {path} has {len(card.typical_sizes)} typical_sizes for "
            f"{len(card.classes)} classes: export the weights again with python -m training.export"
        )
    return card


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON in which every name stands once."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twice[:60]!r} stands there twice")
    return content


def _text(name: str, value: Any, longest: int = _MAX_TEXT) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise ValueError(
            f"{name} must be a text of 1 to {longest} characters, not {reprlib.repr(value)}"
        )
    return value


def _name(name: str, value: Any) -> str:
    """A short text that can be sent and printed."""
    text = _text(name, value, _MAX_NAME)
    # Categories of Unicode: controls, which a terminal obeys, halves of characters, ends of lines.
    if any(unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") for one in text):
        raise ValueError(f"{name} must be a text of one line, not {reprlib.repr(value)}")
    return text


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{name} must be a list, not {reprlib.repr(value)}")
    return value


def check_classes(value: Any) -> tuple[str, ...]:
    """Return names of classes that a card can have.

    Args:
        value: Of any type, from a file.

    Raises:
        ValueError: They are no list of `MAX_CLASSES` or fewer short texts of one line that differ.
    """
    names = _list("classes", value)
    if not 1 <= len(names) <= MAX_CLASSES:
        raise ValueError(f"classes must be 1 to {MAX_CLASSES} names, they are {len(names)}")
    classes = tuple(_name(f"classes[{place}]", one) for place, one in enumerate(names))
    if len(set(classes)) < len(classes):
        raise ValueError("classes must differ")
    return classes


def _no_classes(value: Any) -> tuple[str, ...]:
    if _list("classes", value):
        raise ValueError("classes must be empty, the open model takes any label")
    return ()


def _architecture(value: Any) -> Architecture | OpenArchitecture:
    if isinstance(value, dict) and "model" in value:
        return OpenArchitecture.read(value)
    return Architecture.read(value)


def _number(name: str, value: Any, least: float, largest: float) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # NaN fails both comparisons.
    if not number or not least <= value <= largest:
        raise ValueError(
            f"{name} must be a number from {least:g} to {largest:g}, not {reprlib.repr(value)}"
        )
    return float(value)


def _sizes(value: Any) -> tuple[tuple[float, float], ...]:
    sizes = []
    for place, size in enumerate(_list("typical_sizes", value)):
        name = f"typical_sizes[{place}]"
        if len(_list(name, size)) != 2:
            raise ValueError(f"{name} must be a width and a height, not {reprlib.repr(size)}")
        width, height = (_number(name, side, *_SIZES) for side in size)
        sizes.append((width, height))
    return tuple(sizes)


def _sentences(name: str, value: Any) -> tuple[str, ...]:
    return tuple(_text(f"{name}[{place}]", one) for place, one in enumerate(_list(name, value)))


def _licence(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"licence must be an object, not {reprlib.repr(value)}")
    _plain("licence", value, 0)
    return {
        _text("licence", key): _text(f"licence.{printable(key)}", one) for key, one in value.items()
    }


def _told(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be an object, not {reprlib.repr(value)}")
    _plain(name, value, 0)
    return value


def _plain(name: str, value: Any, depth: int) -> None:
    """Refuse what no program of ours writes into the remarks of a card."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"{name} is nested more than {_MAX_DEPTH} times")
    if isinstance(value, dict):
        for key, one in value.items():
            if key == "type":
                raise ValueError(f"{name}.type is unknown, a card names no code")
            _plain(f"{name}.{printable(key)}", one, depth + 1)
    elif isinstance(value, list):
        for place, one in enumerate(value):
            _plain(f"{name}[{place}]", one, depth + 1)
    elif isinstance(value, str):
        if len(value) > _MAX_TEXT:
            raise ValueError(f"{name} must be a text of up to {_MAX_TEXT} characters")
    elif isinstance(value, int | float) and not (
        math.isfinite(value) if isinstance(value, float) else abs(value) < 1 << 63
    ):
        raise ValueError(f"{name} must be a finite number, not {reprlib.repr(value)}")


def _hexadecimal(name: str, value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise ValueError(f"{name} must be 64 hexadecimal digits, not {reprlib.repr(value)}")
    return value


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()

"""Weights on disk: a ``.safetensors`` file and a JSON card of the same name beside it.

Nothing is unpickled, and nothing in a card names code. A card of the closed model names a preset
and numbers (`c3det.closed.architecture`), one of the open model only numbers
(`c3det.open.architecture`), and no classes. A card is checked before anything is built or any
tensor is read. A digest binds it to the tensors, and shows that a file was changed or mixed up. It
is no signature.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import reprlib
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load_file, save_file
from torch import Tensor

from c3det.closed.architecture import MAX_CLASSES, Architecture
from c3det.commands import naming
from c3det.fields import check_list, check_number, check_object, short_name
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
        architecture: Of the model that the tensors are of.
        score_threshold: From which score on boxes are shown unless the caller says otherwise.
        typical_sizes: For each class the median ``(width, height)`` of its objects, in pixels.
        training: What the weights were trained on, and how; for people, no program reads it.
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

    @property
    def closed_architecture(self) -> Architecture:
        """The architecture, for what works with the closed model alone.

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


@contextmanager
def safetensors_os_errors(path: Path) -> Iterator[None]:
    """Raise what safetensors says of the operating system as `OSError` of a file."""
    try:
        yield
    except safetensors.SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def save(weights: Path, tensors: Mapping[str, Tensor], card: Card) -> Card:
    """Write the state of a detector to a ``.safetensors`` file, and its card beside it.

    Returns:
        The card as written; ``tensors`` and ``sha256`` are replaced.

    Raises:
        OSError: A file cannot be written.
        WeightsError: A field of the card has a value that `read_card` refuses.
    """
    weights.parent.mkdir(parents=True, exist_ok=True)
    with safetensors_os_errors(weights):
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, weights)
    return save_card(weights, replace(card, tensors=_sha256(weights)))


def save_card(weights: Path, card: Card) -> Card:
    """Write the card of weights that are on disk already.

    Returns:
        The card as written, with another ``sha256``.

    Raises:
        WeightsError: A field of the card has a value that `read_card` refuses.
    """
    path = card_path(weights)
    card = _signed(asdict(card), path)
    text = json.dumps(asdict(card), indent=1, ensure_ascii=False)
    # In names of files that are not UTF-8 stands what JSON writes just as Python does.
    with naming(path):
        path.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    return card


def _signed(content: Mapping[str, Any], path: Path) -> Card:
    """The card of some fields, with its digest."""
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
    content = _read_json(weights)
    version = content.get("format_version")
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


def _read_json(weights: Path) -> dict[str, Any]:
    """The JSON object of a card, of any version."""
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
    unknown = sorted(short_name(name) for name in content.keys() - known)[:5]
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
            score_threshold=check_number("score_threshold", content["score_threshold"], 0.0, 1.0),
            typical_sizes=_sizes(content["typical_sizes"]),
            training=_remarks("training", content["training"]),
            results=_remarks("results", content["results"]),
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


def check_classes(value: Any) -> tuple[str, ...]:
    """Return names of classes that a card can have, from a value of any type of a file.

    Raises:
        ValueError: They are no list of `MAX_CLASSES` or fewer short texts of one line that differ.
    """
    names = check_list("classes", value)
    if not 1 <= len(names) <= MAX_CLASSES:
        raise ValueError(f"classes must be 1 to {MAX_CLASSES} names, they are {len(names)}")
    classes = tuple(_name(f"classes[{place}]", one) for place, one in enumerate(names))
    if len(set(classes)) < len(classes):
        raise ValueError("classes must differ")
    return classes


def _no_classes(value: Any) -> tuple[str, ...]:
    if check_list("classes", value):
        raise ValueError("classes must be empty, the open model takes any label")
    return ()


def _architecture(value: Any) -> Architecture | OpenArchitecture:
    if isinstance(value, dict) and "model" in value:
        return OpenArchitecture.read(value)
    return Architecture.read(value)


def _sizes(value: Any) -> tuple[tuple[float, float], ...]:
    sizes = []
    for place, size in enumerate(check_list("typical_sizes", value)):
        name = f"typical_sizes[{place}]"
        if len(check_list(name, size)) != 2:
            raise ValueError(f"{name} must be a width and a height, not {reprlib.repr(size)}")
        width, height = (check_number(name, side, *_SIZES) for side in size)
        sizes.append((width, height))
    return tuple(sizes)


def _sentences(name: str, value: Any) -> tuple[str, ...]:
    return tuple(
        _text(f"{name}[{place}]", one) for place, one in enumerate(check_list(name, value))
    )


def _licence(value: Any) -> dict[str, str]:
    content = check_object("licence", value)
    _check_plain("licence", content, 0)
    return {
        _text("licence", key): _text(f"licence.{short_name(key)}", one)
        for key, one in content.items()
    }


def _remarks(name: str, value: Any) -> dict[str, Any]:
    content = check_object(name, value)
    _check_plain(name, content, 0)
    return dict(content)


def _check_plain(name: str, value: Any, depth: int) -> None:
    """Raise ``ValueError`` for remarks that no program of ours writes into a card."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"{name} is nested more than {_MAX_DEPTH} times")
    if isinstance(value, dict):
        for key, one in value.items():
            if key == "type":
                raise ValueError(f"{name}.type is unknown, a card names no code")
            _check_plain(f"{name}.{short_name(key)}", one, depth + 1)
    elif isinstance(value, list):
        for place, one in enumerate(value):
            _check_plain(f"{name}[{place}]", one, depth + 1)
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

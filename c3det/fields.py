"""Checks of values that come from files.

Each returns the value, or raises a ``ValueError`` whose message names the field.
"""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

T = TypeVar("T")


def short_name(name: object) -> str:
    """A name from a file, short and on one line, for a message."""
    return ascii(name)[1:-1][:60]


def check_bool(name: str, value: Any) -> bool:
    """A truth value."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, not {reprlib.repr(value)}")
    return value


def check_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """One of some words."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {choices}, not {reprlib.repr(value)}")
    return value


def check_number(name: str, value: Any, least: float, largest: float) -> float:
    """A number in these bounds, as a float."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # NaN fails both comparisons.
    if not number or not least <= value <= largest:
        raise ValueError(
            f"{name} must be a number from {least:g} to {largest:g}, not {reprlib.repr(value)}"
        )
    return float(value)


def check_whole_number(name: str, value: Any, least: int, largest: int) -> int:
    """A whole number in these bounds."""
    number = isinstance(value, int) and not isinstance(value, bool)
    if not number or not least <= value <= largest:
        raise ValueError(
            f"{name} must be a whole number from {least} to {largest}, not {reprlib.repr(value)}"
        )
    found: int = value
    return found


def check_list(name: str, value: Any) -> list[Any]:
    """A list."""
    if not isinstance(value, list):
        raise ValueError(f"{name} must be a list, not {reprlib.repr(value)}")
    return value


def check_object(name: str, value: Any) -> Mapping[str, Any]:
    """An object of JSON."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} must be an object, not {reprlib.repr(value)}")
    return value


def read_dataclass(name: str, cls: type[T], value: Any) -> T:
    """A dataclass from an object with its fields, no more and no fewer."""
    names = {field.name for field in fields(cls)}  # type: ignore[arg-type]
    content = check_fields(name, value, names)
    try:
        return cls(**content)
    except ValueError as error:
        raise ValueError(f"{name}.{error}") from None


def check_fields(name: str, value: Any, names: Collection[str]) -> Mapping[str, Any]:
    """An object with these fields, no more and no fewer."""
    content = check_object(name, value)
    unknown, missing = sorted(content.keys() - names), sorted(names - content.keys())
    if unknown:
        raise ValueError(f"{name}.{short_name(unknown[0])} is unknown")
    if missing:
        raise ValueError(f"{name}.{missing[0]} is missing")
    return content

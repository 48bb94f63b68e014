"""Settings that are declared once: a dataclass whose fields are options of the command line too.

@dataclass(frozen=True)
class TrainingSettings:
    batch: int = option(8, "pictures of a step", parse=at_least(1))
    rotate: bool = option(True, "rotate pictures by quarters")

add_options(parser, TrainingSettings)  # --batch, --rotate, --no-rotate
settings = read_options(parser.parse_args(), TrainingSettings)
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, Field, field, fields
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import torch

from c3det.weights import WeightsError

Settings = TypeVar("Settings")


def command_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of ``python -m <name>``, whose description keeps its line breaks."""
    return argparse.ArgumentParser(
        prog=f"python -m {name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


@contextmanager
def input_errors(parser: argparse.ArgumentParser) -> Iterator[None]:
    """End the command with one sentence and the status 2 where its input cannot be used."""
    try:
        yield
    except (ValueError, WeightsError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


def option(
    default: Any,
    text: str,
    *,
    name: str | None = None,
    parse: Callable[[str], Any] | None = None,
    metavar: str | None = None,
) -> Any:
    """A field of a dataclass that is an option of the command line.

    Args:
        default: Of the field; ``dataclasses.MISSING``: the option is required.
        text: The help. The default is added, unless it is ``None``, a truth value or empty.
        name: Of the option; by default the field's, ``learning_rate`` as ``--learning-rate``.
        parse: Reads a value or raises `argparse.ArgumentTypeError`, as `c3det.commands.positive`;
            by default the field's type does.
        metavar: Stands for a value in the help.
    """
    about = dict(help=text, name=name, parse=parse, metavar=metavar)
    return field(default=default, metadata=about)


def usable_device(text: str) -> str:
    """Read a device of the command line, one that is there: cpu, cuda, or cuda with a number."""
    found = re.fullmatch(r"cpu|cuda(?::(\d{1,3}))?", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"must be cpu, cuda, or such as cuda:1, not {text!r}")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if text != "cpu" and int(found[1] or 0) >= count:
        found_here = f"{count} GPU{'s' * (count > 1)}" if count else "no GPU"
        raise argparse.ArgumentTypeError(
            f"there is no {text}: PyTorch {torch.__version__} finds {found_here} here"
        )
    return text


def add_options(parser: argparse._ActionsContainer, settings: type[Any]) -> None:
    """Add an option for each field that `option` made; what is not given is ``None``.

    The type decides how it is read: a ``Literal`` gives the choices, ``X | None`` reads an ``X``, a
    ``bool`` is ``--name`` and ``--no-name``, a ``tuple[X, ...]`` takes one or more values.

    Args:
        parser: Or a group of one.
        settings: The dataclass.
    """
    for one, kind in _options(settings):
        about = one.metadata
        default: Any = one.default
        required = default is MISSING
        keywords: dict[str, Any] = dict(dest=one.name, required=required, help=about["help"])
        if not (required or default is None or isinstance(default, bool)):
            text = " ".join(map(str, default)) if get_origin(kind) is tuple else str(default)
            keywords["help"] += f" (default: {text})".replace("%", "%%") if text else ""
        if kind is bool and about["parse"] is None:
            keywords.update(action=argparse.BooleanOptionalAction, default=None)
        else:
            if get_origin(kind) is tuple:
                keywords.update(action="extend", nargs="+")
                kind = get_args(kind)[0]
            if get_origin(kind) is Literal:
                keywords["choices"] = get_args(kind)
            else:
                keywords.update(type=about["parse"] or kind, metavar=about["metavar"])
        parser.add_argument(_written(one), **keywords)


def read_options(given: argparse.Namespace, settings: type[Settings]) -> Settings:
    """Make the settings of what was given; the others have the defaults of the dataclass.

    Raises:
        ValueError: As the dataclass raises it.
    """
    values = {one.name: getattr(given, one.name) for one, _ in _options(settings)}
    return settings(
        **{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
            if value is not None
        }
    )


def given_options(given: argparse.Namespace, settings: type[Any]) -> list[str]:
    """The options of a dataclass that were given, as they are written on the command line."""
    return [_written(one) for one, _ in _options(settings) if getattr(given, one.name) is not None]


def _written(one: Field[Any]) -> str:
    return f"--{one.metadata['name'] or one.name.replace('_', '-')}"


def _options(settings: type[Any]) -> Iterator[tuple[Field[Any], Any]]:
    """The fields that are options, each with its type, without ``None``."""
    types = get_type_hints(settings)
    for one in fields(settings):
        if "help" in one.metadata:
            kind = types[one.name]
            others = [each for each in get_args(kind) if each is not NoneType]
            yield one, others[0] if NoneType in get_args(kind) else kind

"""Settings that are declared once, as a dataclass."""

from __future__ import annotations

import argparse
import json
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Literal

import pytest
import torch

from c3det.commands import positive
from c3det.weights import WeightsError
from training.options import (
    add_options,
    command_parser,
    given_options,
    input_errors,
    option,
    read_options,
    usable_device,
)


@dataclass(frozen=True)
class Kiln:
    """Every kind of option, and a field that is none."""

    bricks: tuple[str, ...] = option(MISSING, "kinds of bricks", name="brick", metavar="KIND")
    hours: int = option(8, "of burning")
    turns: tuple[int, ...] = option((1, 2), "of the grate, after so many hours")
    max_heat: float = option(900.5, "in degrees", parse=positive)
    fuel: Literal["wood", "coal"] = option("wood", "what is burnt")
    log: Path | None = option(None, "file to write to")
    open_door: bool = option(False, "leave it open")
    note: str = option("", "a remark")
    glaze: bool | dict[str, int] | None = option(None, "as JSON", parse=json.loads)
    built: int = 1400

    def __post_init__(self) -> None:
        if self.hours > 24:
            raise ValueError("hours must be at most 24")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="kiln")
    add_options(made.add_argument_group("how"), Kiln)
    return made


def read(*arguments: str) -> Kiln:
    return read_options(parser().parse_args(arguments), Kiln)


def test_what_is_not_given_has_the_default_of_its_field() -> None:
    assert read("--brick", "red") == Kiln(bricks=("red",))


def test_what_is_given_is_read_as_its_type() -> None:
    given = read(
        *("--brick", "red", "--brick", "white", "--hours", "3", "--turns", "4", "6"),
        *("--max-heat", "7", "--fuel", "coal", "--log", "a.txt", "--open-door", "--note", "hot"),
    )
    assert given == Kiln(("red", "white"), 3, (4, 6), 7.0, "coal", Path("a.txt"), True, "hot")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the following arguments are required: --brick"),
        (("--brick", "red", "--hours", "x"), "invalid int value: 'x'"),
        (("--brick", "red", "--max-heat", "0"), "must be a number above 0, not '0'"),
        (("--brick", "red", "--fuel", "gas"), "invalid choice: 'gas'"),
        (("--brick", "red", "--built", "3"), "unrecognized arguments: --built 3"),
    ],
)
def test_what_cannot_be_read_is_told(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        read(*arguments)
    assert message in capsys.readouterr().err


def test_the_dataclass_has_the_last_word() -> None:
    with pytest.raises(ValueError, match="hours must be at most 24"):
        read("--brick", "red", "--hours", "25")


def test_the_help_tells_the_defaults() -> None:
    text = " ".join(parser().format_help().split())
    assert "--brick KIND [KIND ...] kinds of bricks --hours" in text
    assert "of the grate, after so many hours (default: 1 2)" in text
    assert "--hours HOURS of burning (default: 8)" in text
    assert "--fuel {wood,coal} what is burnt (default: wood)" in text
    assert "--open-door, --no-open-door leave it open" in text
    assert "a remark (default" not in text


def test_a_parser_of_its_own_reads_a_truth_value_too() -> None:
    assert read("--brick", "red", "--glaze", "true").glaze is True
    assert read("--brick", "red", "--glaze", '{"coats": 2}').glaze == {"coats": 2}


def test_options_that_were_given_are_named_as_they_are_written() -> None:
    given = parser().parse_args(["--max-heat", "7", "--brick", "red", "--no-open-door"])
    assert given_options(given, Kiln) == ["--brick", "--max-heat", "--open-door"]


@pytest.mark.parametrize("error", [ValueError("too hot"), WeightsError("too hot")])
def test_wrong_input_ends_a_command(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    made = command_parser("kiln", "Burns bricks.\n\n    kiln --brick red")
    assert "Burns bricks.\n\n    kiln" in made.format_help()
    with pytest.raises(SystemExit) as stopped, input_errors(made):
        raise error
    assert (stopped.value.code, capsys.readouterr().err) == (2, "python -m kiln: too hot\n")


@pytest.mark.parametrize(
    ("gpus", "text", "message"),
    [
        (0, "cpu", ""),
        (0, "cuda", "there is no cuda: PyTorch .* finds no GPU here"),
        (1, "cuda", ""),
        (1, "cuda:0", ""),
        (1, "cuda:1", "there is no cuda:1: PyTorch .* finds 1 GPU here"),
        (2, "cuda:1", ""),
        (2, "cuda:x", "must be cpu, cuda, or such as cuda:1, not 'cuda:x'"),
        (2, "gpu", "must be cpu, cuda, or such as cuda:1, not 'gpu'"),
    ],
)
def test_a_device_has_to_be_there(
    gpus: int, text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    if not message:
        assert usable_device(text) == text
        return
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        usable_device(text)

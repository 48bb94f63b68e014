from __future__ import annotations

import argparse
import inspect
from pathlib import Path

import pytest

from training.data.formats import FORMATS, OPTIONS, add_formats


@pytest.mark.parametrize("name", FORMATS)
def test_a_reader_takes_the_options_of_its_row(name: str) -> None:
    row = FORMATS[name]
    parameters = list(inspect.signature(row.read).parameters)[2 if row.is_remote else 1 :]
    assert set(row.options) == {one for one in parameters if one != "open_pictures"}


def test_no_option_without_a_format() -> None:
    assert OPTIONS.keys() == {option for row in FORMATS.values() for option in row.options}


def test_a_command_line_has_the_options_of_its_format_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parser = argparse.ArgumentParser()
    add_formats(parser, lambda one: one.add_argument("--out", type=Path))
    given = parser.parse_args(["dota", "a", "b", "--labels", "c", "--classes", "ship, car"])
    assert (given.format, given.source, given.labels) == ("dota", ["a", "b"], Path("c"))
    assert given.classes == ["ship", "car"]
    given = parser.parse_args(["csv", "a", "--columns", "picture,,x1,", "--classes", "ship,,car"])
    assert (given.columns, given.classes) == (["picture", "", "x1", ""], ["ship", "car"])
    with pytest.raises(SystemExit):
        parser.parse_args(["coco", "a.json", "--labels", "c"])
    assert "unrecognized arguments: --labels c" in capsys.readouterr().err

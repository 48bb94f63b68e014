"""Values from files: what is refused is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from c3det.fields import (
    check_bool,
    check_choice,
    check_fields,
    check_list,
    check_number,
    check_object,
    check_whole_number,
    short_name,
)


def test_good_values_come_back() -> None:
    assert check_bool("x", False) is False
    assert check_choice("x", "a", ("a", "b")) == "a"
    assert check_number("x", 3, 0, 3) == 3.0
    assert check_whole_number("x", 3, 3, 4) == 3
    assert check_list("x", [1]) == [1]
    assert check_fields("x", {"a": 1}, {"a"}) == {"a": 1}


@pytest.mark.parametrize(
    ("check", "value", "message"),
    [
        (check_bool, 1, "x must be true or false, not 1"),
        (lambda n, v: check_choice(n, v, ("a", "b")), ["a"], "x must be one of .*, not "),
        (lambda n, v: check_number(n, v, 0, 1), True, "x must be a number from 0 to 1, not True"),
        (lambda n, v: check_number(n, v, 0, 1), float("nan"), "from 0 to 1, not nan"),
        (lambda n, v: check_whole_number(n, v, 0, 9), 2.0, "a whole number from 0 to 9, not 2.0"),
        (check_list, {}, "x must be a list"),
        (check_object, [], "x must be an object"),
        (lambda n, v: check_fields(n, v, {"a"}), {"a": 1, "b\n": 2}, r"x\.b\\n is unknown"),
        (lambda n, v: check_fields(n, v, {"a"}), {}, r"x\.a is missing"),
    ],
)
def test_bad_values_are_named(
    check: Callable[[str, Any], Any], value: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check("x", value)


def test_a_name_in_a_message_is_short_and_on_one_line() -> None:
    assert short_name("é\n" * 100) == "\\xe9\\n" * 10

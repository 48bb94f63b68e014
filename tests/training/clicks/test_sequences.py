"""Sequences of clicks: their states, and their way through a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from c3det.clicks import Click
from training.clicks.sequences import BACKGROUND, ClickSequence, load_sequences, save_sequences

CLICKS = tuple(Click(x + 0.5, 2.25, x % 2) for x in range(4))


def test_state_after_a_budget() -> None:
    sequence = ClickSequence(CLICKS, (3, 1, 0, 2))
    assert len(sequence.first(0)) == 0
    assert sequence.first(3) == ClickSequence(CLICKS[:3], (3, 1, 0))
    assert sequence.first(20) == sequence


def test_state_with_turns_of_a_shared_budget() -> None:
    # Clicks are made at the ranks 1, 4, 5 and 9, so after budgets of 2, 5, 6 and 10.
    sequence = ClickSequence(CLICKS, (3, 1, 0, 2), (1, 4, 5, 9))
    assert [len(sequence.first(n)) for n in (0, 1, 2, 4, 5, 6, 9, 10, 20)] == [
        0, 0, 1, 1, 2, 3, 3, 4, 4
    ]  # fmt: skip
    assert sequence.first(5).ranks == (1, 4)


def test_parts_must_fit() -> None:
    with pytest.raises(ValueError, match="4 clicks, 1 objects and 4 ranks do not go together"):
        ClickSequence(CLICKS, (1,))


def test_sequences_are_replayed(tmp_path: Path) -> None:
    sequences = {
        "a": ClickSequence(CLICKS, (3, 1, 0, 2)),
        "b": ClickSequence((Click(1.5, 2.5, 4, positive=False),), (BACKGROUND,)),
        "shared": ClickSequence(CLICKS, (3, 1, 0, 2), (1, 4, 5, 9)),
        "empty": ClickSequence(),
    }
    path = tmp_path / "clicks.json"
    save_sequences(path, sequences)
    assert load_sequences(path) == sequences


def test_files_without_turns_are_read(tmp_path: Path) -> None:
    path = tmp_path / "clicks.json"
    item = {"x": 1.5, "y": 2.5, "label": 4, "positive": True, "object": 7}
    path.write_text(json.dumps({"a": [item, {**item, "object": 8}]}))
    assert load_sequences(path)["a"].ranks == (0, 1)


@pytest.mark.parametrize(
    "content",
    [
        "no JSON",
        "[]",
        '{"a": [{"x": 1}]}',
        '{"a": 1}',
        '{"a": [{"x": 1, "y": 1, "label": 0, "positive": true, "object": 0, "rank": 2},'
        ' {"x": 1, "y": 1, "label": 0, "positive": true, "object": 1, "rank": 2}]}',
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "clicks.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"clicks\.json does not hold click sequences"):
        load_sequences(path)

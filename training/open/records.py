"""What is known of the training of weights: a run's ``run.json``, or their card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from c3det.weights import card_path, read_card

RECORD = "run.json"
"""What a run writes, beside its weights."""


def read_record(path: Path) -> dict[str, Any]:
    """The record of a run.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not what `training.open.train` writes.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record["trained on"]["real"], dict | list):
            raise TypeError("no sets are named")
        return dict(record)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is not what training.open.train writes ({error!r}): train anew"
        ) from error


def record_of(weights: Path) -> dict[str, Any]:
    """What weights say of their training: their card, or a run's record beside them.

    A card's ``licence`` goes along. Empty where there is neither.

    Raises:
        OSError: A file cannot be read.
        ValueError: The file beside them is not what `training.open.train` writes.
        c3det.weights.WeightsError: The card cannot be used.
    """
    if card_path(weights).is_file():
        card = read_card(weights)
        return card.training | {"licence": card.licence}
    record = weights.with_name(RECORD)
    return read_record(record) if record.is_file() else {}


def trained_sets(record: Mapping[str, Any]) -> frozenset[str]:
    """Names of the real sets that weights were trained on, and those of their origin.

    Args:
        record: See `record_of`.
    """
    before = trained_sets(record["origin"]) if "origin" in record else frozenset()
    if "trained on" not in record or not record["settings"]["real"]:
        return before
    return before | (frozenset(record["trained on"]["real"]) - frozenset(record["without"]))

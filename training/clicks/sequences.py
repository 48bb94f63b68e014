"""The clicks on one picture in their order: kept, given step by step, saved and replayed."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from c3det.clicks import Click
from c3det.commands import naming

BACKGROUND = -1
"""In `ClickSequence.objects`, of a click that lies on no object."""


@dataclass(frozen=True)
class ClickSequence:
    """Clicks on one picture; the state after a budget of ``n`` is what was made by then.

    Attributes:
        clicks: In order.
        objects: Index of the clicked object in ``Annotated.boxes``, one a click, or `BACKGROUND`.
        ranks: Of the clicks in the budget, rising: a click is made as soon as the budget is above
            its rank. By default 0, 1, 2, ...; where several patches share one budget, each has some
            of the ranks.
    """

    clicks: tuple[Click, ...] = ()
    objects: tuple[int, ...] = ()
    ranks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.clicks and not self.ranks:
            object.__setattr__(self, "ranks", tuple(range(len(self.clicks))))
        if not len(self.clicks) == len(self.objects) == len(self.ranks):
            raise ValueError(
                f"{len(self.clicks)} clicks, {len(self.objects)} objects and {len(self.ranks)} "
                "ranks do not go together"
            )

    def __len__(self) -> int:
        return len(self.clicks)

    def first(self, budget: int) -> ClickSequence:
        """Return the state after a budget, or the whole where there are fewer clicks."""
        number = bisect_left(self.ranks, budget)
        return ClickSequence(self.clicks[:number], self.objects[:number], self.ranks[:number])


def save_sequences(path: Path, sequences: Mapping[str, ClickSequence]) -> None:
    """Write the sequences of a run, by name of picture, as JSON.

    A sequence is a list of ``{"x", "y", "label", "positive", "object", "rank"}``.
    """
    content = {
        name: [
            {**asdict(click), "object": index, "rank": rank}
            for click, index, rank in zip(
                sequence.clicks, sequence.objects, sequence.ranks, strict=True
            )
        ]
        for name, sequence in sequences.items()
    }
    with naming(path):
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def load_sequences(path: Path) -> dict[str, ClickSequence]:
    """Read what `save_sequences` wrote; without ``"rank"``, a click's rank is its place.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is not such JSON; the message names the file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: _sequence(clicks) for name, clicks in content.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not hold click sequences: {error!r}") from error


def _sequence(content: list[dict[str, Any]]) -> ClickSequence:
    clicks = tuple(
        Click(float(item["x"]), float(item["y"]), int(item["label"]), bool(item["positive"]))
        for item in content
    )
    ranks = tuple(int(item.get("rank", place)) for place, item in enumerate(content))
    if list(ranks) != sorted(set(ranks)):
        raise ValueError(f"the ranks {ranks} do not rise")
    return ClickSequence(clicks, tuple(int(item["object"]) for item in content), ranks)

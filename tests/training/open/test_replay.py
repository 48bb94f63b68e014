"""Batches that are taken again: which, how often, and the same after a break."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice

import pytest
import torch

from tests.training.open.same_episodes import same
from training.open.episodes import Episode
from training.open.replay import KEPT, Replay

CPU = torch.device("cpu")


def numbered(first: int) -> Iterator[Episode]:
    """Batches of one picture whose left upper pixel tells the number, from one on."""
    number = first
    while True:
        images = torch.zeros(1, 8, 8, 3, dtype=torch.uint8)
        images[:, 0, 1] = number
        none = torch.full((1, 1), -1)
        boxes, clicks = torch.zeros(1, 1, 4), torch.zeros(1, 1, 2)
        yield Episode(
            images, boxes, none, none, boxes, none, clicks, none, none >= 0, torch.full((1,), -1)
        )
        number += 1


def taken(reuse: int, steps: int, first: int = 0) -> list[Episode]:
    replay = Replay(reuse, seed=5, step=first, device=CPU)
    batches = numbered(replay.first)
    return [replay.take(step, batches) for step in range(first, steps)]


def number(episode: Episode) -> int:
    return int(episode.images.max())


def test_each_step_takes_a_new_batch_if_none_is_reused() -> None:
    for episode, batch in zip(taken(1, 9), numbered(0), strict=False):
        assert same(episode, batch)
    replay = Replay(1, seed=5, step=7, device=CPU)
    assert replay.first == 7


def test_a_batch_is_taken_as_often_as_asked_for_on_average() -> None:
    found = taken(3, 720)
    for drawn, batch in enumerate(islice(numbered(0), 240)):
        assert same(found[3 * drawn], batch)
    for step, episode in enumerate(found):
        newest = step // 3
        assert newest - 2 * KEPT <= number(episode) <= newest
    times = Counter(map(number, found[:600]))
    assert min(times.values()) >= 1
    assert max(times.values()) > 4
    assert sum(times.values()) / len(times) == pytest.approx(3, abs=0.1)
    places = Counter(
        tuple((episode.images[0, ..., 0] > 0).nonzero()[0].tolist())
        for episode in found
        if number(episode) and not same(episode, next(numbered(number(episode))))
    )
    assert len(places) == 7  # the eighth way is the batch as it is


@pytest.mark.parametrize("reuse", [2, 3])
def test_after_a_break_the_same_is_taken(reuse: int) -> None:
    whole = taken(reuse, 80)
    for first in (0, 1, 2, 3, 4, 37, 38, 39, 60):
        again = taken(reuse, 80, first)
        assert all(map(same, again, whole[first:]))
        assert len(again) == 80 - first

"""Batches: clicks are where they should be, and batch n is always the same."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.open.same_episodes import same
from training.open.composites import Drawn
from training.open.episodes import (
    CLICKS,
    FARTHEST,
    SLOTS,
    Episode,
    Episodes,
    From,
    choose_clicks,
    click_point,
    collate,
)


def a_picture(kinds: list[int], owners: np.ndarray | None = None) -> Drawn:
    boxes = np.array([[10 * n, 0, 10 * n + 8, 20] for n in range(len(kinds))], np.float32)
    image = np.zeros((100, 100, 3), np.uint8)
    return Drawn(image, boxes, np.array(kinds, np.int64), owners)


def test_classes_go_to_slots() -> None:
    picture = a_picture([0, 0, 2, 2, 2, 5])
    wrong = total = 0
    unclicked = negatives = 0
    for seed in range(300):
        slot_of, clicks = choose_clicks(picture, np.random.default_rng(seed))
        slots = [slot_of.get(kind, -1) for kind in picture.kinds.tolist()]
        used = list(slot_of.values())
        assert slot_of.keys() <= {0, 2, 5}
        assert 1 <= len(used) == len(set(used))
        assert max(used) < SLOTS
        unclicked += len(used) < 3
        assert len(clicks) <= CLICKS
        positives = [click.number for click in clicks if click.positive]
        assert len(positives) == len(set(positives))
        for click in clicks:
            assert click.slot in used
            if click.positive:
                assert slots[click.number] >= 0
                wrong, total = wrong + (slots[click.number] != click.slot), total + 1
            else:
                assert slots[click.number] == -1
                negatives += 1
    assert 0 < wrong < 0.04 * total
    assert unclicked > 60
    assert negatives > 30


def test_what_was_clicked_in_another_picture_keeps_its_slot() -> None:
    picture = a_picture([0, 0, 2, 2, 7])
    counts = []
    for seed in range(300):
        slot_of, clicks = choose_clicks(picture, np.random.default_rng(seed), {2: 4, 0: 1, 9: 3})
        assert slot_of == {2: 4, 0: 1, 9: 3}
        positive = [click for click in clicks if click.positive]
        counts.append(len(positive))
        assert all(click.number < 4 and click.slot in (1, 3, 4) for click in positive)
        assert all(click.number == 4 for click in clicks if not click.positive)
    assert set(counts) == {0, 1, 2}
    assert 0.4 < np.mean(counts) < 0.8


def test_both_pictures_of_a_pair_have_the_same_slots() -> None:
    one = a_picture([0, 0, 2, 2, 7, 7])
    for seed in range(20):
        episode = collate([one, one], np.random.default_rng(seed), [-1, 0])
        assert torch.equal(episode.slots[0], episode.slots[1])


def test_clicks_lie_near_the_middle() -> None:
    picture = a_picture([0, 0])
    rng = np.random.default_rng(0)
    points = np.array([click_point(picture, 1, rng) for _ in range(500)])
    away = np.abs((points - (14, 10)) / (8, 20))
    assert away.max() <= FARTHEST + 1e-6
    assert 0.08 < away.mean() < 0.14


def test_no_click_on_what_covers_the_object() -> None:
    owners = np.zeros((100, 100), np.uint8)
    owners[:20, :8] = 1
    owners[:18, :8] = 2  # the other object covers all but two rows
    picture = a_picture([0, 0], owners)
    rng = np.random.default_rng(0)
    for _ in range(50):
        x, y = click_point(picture, 0, rng)
        assert owners[int(y), int(x)] == 1
        assert 18 <= y < 20


def test_batches_are_decided_by_their_number(pool: Path) -> None:
    first, second = (Episodes(pool, 2, 64, 0.5, seed=4) for _ in range(2))
    assert same(first[3], second[3])
    assert not same(first[3], first[4])
    assert not same(first[3], Episodes(pool, 2, 64, 0.5, seed=5)[3])
    assert list(islice(iter(From(7)), 3)) == [7, 8, 9]


def test_clicks_of_a_batch_lie_in_the_clicked_boxes(pool: Path) -> None:
    episode = Episodes(pool, 6, 96, 0.5)[0]
    assert episode.images.shape == (6, 96, 96, 3)
    clicks = 0
    for row in range(6):
        for column in range(CLICKS):
            number = int(episode.clicked[row, column])
            if number < 0:
                assert int(episode.click_slots[row, column]) == -1
                continue
            x, y = episode.click_xy[row, column].tolist()
            x1, y1, x2, y2 = episode.boxes[row, number].tolist()
            assert x1 <= x <= x2
            assert y1 <= y <= y2
            assert int(episode.kinds[row, number]) >= 0
            clicks += 1
    assert clicks >= 6


def test_only_composites_need_no_real_sets(pool: Path) -> None:
    assert Episodes(pool, 2, 64, 0.0, frozenset({"toy"}))[0].images.shape == (2, 64, 64, 3)


def painted(one: Episode, row: int) -> np.ndarray:
    """Boxes, ignored boxes and clicks of a picture as pixels, ``(side, side, n)``."""
    side = one.images.shape[1]
    boxes = torch.cat([one.boxes[row], one.ignored[row]]).int().tolist()
    out = np.zeros((side, side, len(boxes) + CLICKS), np.bool_)
    for number, (x1, y1, x2, y2) in enumerate(boxes):
        out[y1:y2, x1:x2, number] = True
    for number, (x, y) in enumerate(one.click_xy[row].int().tolist()):
        out[y, x, len(boxes) + number] = bool(one.clicked[row, number] >= 0)
    return out


@pytest.mark.parametrize("way", range(8))
def test_a_turned_batch_is_that_of_turned_pixels(way: int) -> None:
    rng = np.random.default_rng(8)
    image = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
    boxes = np.array([[0, 3, 9, 7], [20, 1, 32, 30], [5, 20, 6, 21]], np.float32)
    ignored = np.array([[1, 2, 4, 32]], np.float32)
    one = Drawn(image, boxes, np.array([4, 4, 9]), ignored=ignored)
    whole = collate([one, one], rng, [-1, 0])
    is_click = whole.clicked >= 0
    assert is_click.any()
    # In the middle of pixels, so that the pixel of a click is the same from all sides.
    episode = replace(whole, click_xy=(whole.click_xy.floor() + 0.5) * is_click[..., None])
    turned = episode.turned(way)

    def expected(pixels: np.ndarray) -> np.ndarray:
        pixels = np.fliplr(pixels) if way in (1, 3, 5, 7) else pixels
        pixels = np.flipud(pixels) if way in (2, 3, 6, 7) else pixels
        return pixels.swapaxes(0, 1) if way >= 4 else pixels

    for row in range(2):
        assert (turned.images[row].numpy() == expected(image)).all()
        assert (painted(turned, row) == expected(painted(episode, row))).all()
    for name in ("kinds", "slots", "clicked", "click_slots", "positive", "support"):
        assert torch.equal(getattr(turned, name), getattr(episode, name))
    assert (turned.boxes[turned.kinds < 0] == 0).all()
    assert (turned.ignored[:, 1:] == 0).all()
    assert (turned.click_xy[~is_click] == 0).all()
    assert (turned.click_xy[is_click] % 1 == 0.5).all()

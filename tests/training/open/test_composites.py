"""Composite pictures: what is drawn can be seen, and boxes and masks fit it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.open.composites import MOST_HIDDEN, Degradation, _Canvas, draw_pictures
from training.open.kinds import (
    FAMILIES,
    LARGEST,
    SMALLEST,
    STYLES,
    Kind,
    Pool,
    look_alike,
    make_kind,
    random_size,
)

PLAIN = Degradation(blur=0, noise=0, grey=False, negative=False, quality=0)


def a_kind(family: str = "box", colour: float = 255.0) -> Kind:
    drawing = np.full((64, 64, 4), colour, np.float32)
    drawing[..., 3] = 255
    return Kind(family, {}, [drawing], 10, 0, 0, 0, 0, 1.0)


def square(side: int, colour: float) -> np.ndarray:
    drawing = np.full((side, side, 4), colour, np.float32)
    drawing[..., 3] = 1
    return drawing


def canvas(grey: float = 100.0) -> _Canvas:
    made = _Canvas(np.full((64, 64, 3), grey, np.float32), PLAIN, np.random.default_rng(0))
    made._shadow = None
    made._allowed = 0.9
    return made


def test_boxes_and_masks_fit_what_is_drawn(pool: Path) -> None:
    drawings = Pool(pool)
    for seed in range(12):
        (one,) = draw_pictures(drawings, np.random.default_rng(seed), 128)
        assert one.image.shape == (128, 128, 3)
        assert one.owners is not None
        assert len(one.boxes) == len(one.kinds)
        for number, (x1, y1, x2, y2) in enumerate(one.boxes.astype(int), start=1):
            rows, columns = np.nonzero(one.owners == number)
            assert len(rows) > 0
            assert x1 <= columns.min() <= columns.max() < x2
            assert y1 <= rows.min() <= rows.max() < y2


def test_the_same_seed_draws_the_same(pool: Path) -> None:
    first, second = (draw_pictures(Pool(pool), np.random.default_rng(3), 96)[0] for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.boxes, second.boxes)


def test_two_pictures_of_the_same_classes(pool: Path) -> None:
    rng = np.random.default_rng(4)
    pairs = [draw_pictures(Pool(pool), rng, 128, 2) for _ in range(4)]
    assert all(not np.array_equal(one.image, other.image) for one, other in pairs)
    assert any(set(one.kinds) & set(other.kinds) for one, other in pairs)


def test_box_of_a_pasted_square() -> None:
    made = canvas()
    assert made.paste(square(10, 200), a_kind(), lambda: (20.0, 30.0)) == (15, 25, 25, 35)
    assert (made.owners[25:35, 15:25] == 1).all()
    assert (made.owners > 0).sum() == 100
    assert (made.image[25:35, 15:25] == 200).all()


def test_what_differs_by_less_than_can_be_seen_is_not_drawn() -> None:
    made = canvas(grey=100)
    assert made.paste(square(10, 111), a_kind(), lambda: (20.0, 30.0)) is None
    assert (made.image == 100).all()
    assert made.paste(square(10, 113), a_kind(), lambda: (20.0, 30.0)) is not None


def test_noise_asks_for_more_contrast() -> None:
    image = np.full((64, 64, 3), 100, np.float32)
    made = _Canvas(image, replace(PLAIN, noise=10), np.random.default_rng(0))
    assert made.paste(square(10, 123), a_kind(), lambda: (20.0, 30.0)) is None
    assert made.paste(square(10, 125), a_kind(), lambda: (20.0, 30.0)) is not None


def test_no_object_hides_another() -> None:
    made = canvas()
    assert made.paste(square(10, 200), a_kind(), lambda: (20.0, 30.0)) is not None
    hidden = int(MOST_HIDDEN * 10)  # columns of ten that may be covered
    assert made.paste(square(10, 20), a_kind(), lambda: (30.0 - hidden - 1, 30.0)) is None
    assert made.paste(square(10, 20), a_kind(), lambda: (30.0 - hidden, 30.0)) is not None
    assert (made.owners == 1).sum() == 100 - 10 * hidden


def test_a_relief_changes_the_ground_and_has_no_colour() -> None:
    made = canvas()
    assert made.paste(square(10, 168), a_kind("relief"), lambda: (20.0, 30.0)) is not None
    assert made.image[30, 20].tolist() == [140, 140, 140]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_families(pool: Path, family: str) -> None:
    drawings, rng = Pool(pool), np.random.default_rng(1)
    kinds = [make_kind(drawings, rng) for _ in range(120)]
    mine = next(kind for kind in kinds if kind.family == family)
    other = look_alike(mine, drawings, rng)
    assert other.family == family
    for kind in (mine, other):
        assert all(one.shape == (64, 64, 4) for one in kind.variants)
        assert all(0 <= one[..., 3].min() <= one[..., 3].max() <= 255 for one in kind.variants)
    same = [name for name in mine.traits if mine.traits[name] is other.traits.get(name)]
    assert len(same) >= len(mine.traits) - 4


def test_an_emoji_is_drawn_in_its_styles(pool: Path) -> None:
    drawings, rng = Pool(pool), np.random.default_rng(0)
    numbers = set()
    for _ in range(200):
        kind = make_kind(drawings, rng)
        if kind.family == "emoji":
            numbers.add(len(kind.variants))
            colours = {tuple(one[8, 20, :3].round().tolist()) for one in kind.variants}
            assert len(colours) == len(kind.variants)
    assert numbers == {1, STYLES}


def test_sizes_are_even(pool: Path) -> None:
    """Of what is drawn, in which there is less room for large objects."""
    drawings, rng = Pool(pool), np.random.default_rng(0)
    sizes = []
    for _ in range(150):
        boxes = draw_pictures(drawings, rng)[0].boxes
        sizes += (boxes[:, 2:] - boxes[:, :2]).max(1).tolist()
    octaves = np.histogram(sizes, [3, 4, 8, 16, 32, 64, 128])[0] / len(sizes)
    assert octaves[0] < 0.02
    assert octaves[1:5].min() > 0.12
    assert octaves[1:5].max() < 0.4
    assert octaves[5] > 0.04  # up to 80 px, a third of an octave, and what is turned
    made = [random_size(rng) for _ in range(1000)]
    assert SMALLEST <= min(made) < 6
    assert 70 < max(made) <= LARGEST

"""Composite pictures: what is drawn can be seen, and boxes and masks fit it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.open.composites import (
    MOST_HIDDEN,
    MOST_OBJECTS,
    Degradation,
    _Canvas,
    _placed,
    draw_pictures,
)
from training.open.kinds import (
    FAMILIES,
    LARGEST,
    SMALLEST,
    STYLES,
    Kind,
    Pool,
    inked,
    look_alike,
    make_kind,
    random_size,
)
from training.open.scenes import SCENES, Scene

PLAIN = Degradation(blur=0, noise=0, grey=False, negative=False, quality=0)


def a_kind(family: str = "box", colour: float = 255.0) -> Kind:
    drawing = np.full((64, 64, 4), colour, np.float32)
    drawing[..., 3] = 255
    return Kind(family, {}, [drawing], 10, 0, 0, 0, 0, 1.0)


def square(side: int, colour: float) -> np.ndarray:
    drawing = np.full((side, side, 4), colour, np.float32)
    drawing[..., 3] = 1
    return drawing


def canvas(grey: float = 100.0, degradation: Degradation = PLAIN) -> _Canvas:
    image = np.full((64, 64, 3), grey, np.float32)
    scene = Scene(1.0, overlap=(0.9,), shadow=0.0)
    return _Canvas(image, degradation, scene, 0.0, np.random.default_rng(0))


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


def test_both_pictures_of_a_pair_are_grey_or_negative_or_none_is(
    pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Degradation] = []
    apply = Degradation.apply

    def watched(self: Degradation, *given: Any) -> Any:
        drawn.append(self)
        return apply(self, *given)

    monkeypatch.setattr(Degradation, "apply", watched)
    drawings = Pool(pool)
    for seed in range(25):
        draw_pictures(drawings, np.random.default_rng(seed), 64, 2, most=8)
    looks = [(one.grey, one.negative) for one in drawn]
    assert looks[::2] == looks[1::2]
    assert len(set(looks)) > 2
    assert [one.blur for one in drawn[::2]] != [one.blur for one in drawn[1::2]]


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
    made = canvas(100, replace(PLAIN, noise=10))
    assert made.paste(square(10, 123), a_kind(), lambda: (20.0, 30.0)) is None
    assert made.paste(square(10, 125), a_kind(), lambda: (20.0, 30.0)) is not None


def test_no_object_hides_another() -> None:
    made = canvas()
    assert made.paste(square(10, 200), a_kind(), lambda: (20.0, 30.0)) is not None
    hidden = int(MOST_HIDDEN * 10)  # columns of ten that may be covered
    assert made.paste(square(10, 20), a_kind(), lambda: (30.0 - hidden - 1, 30.0)) is None
    assert made.paste(square(10, 20), a_kind(), lambda: (30.0 - hidden, 30.0)) is not None
    assert (made.owners == 1).sum() == 100 - 10 * hidden


def test_what_the_border_cuts_off() -> None:
    """An object of ten columns: four may be beyond the border, and its box ends there."""
    made = canvas()
    assert made.paste(square(10, 200), a_kind(), lambda: (0.0, 30.0)) is None
    assert made.paste(square(10, 200), a_kind(), lambda: (1.0, 30.0)) == (0, 25, 6, 35)
    assert made.paste(square(10, 200), a_kind(), lambda: (63.0, 60.0)) is None
    assert (made.owners > 0).sum() == 60


def test_what_is_of_the_stuff_of_the_ground() -> None:
    """It shows a piece of the ground from beside it, and what it adds is all that is seen of it."""
    made = canvas()
    made.image[:] = made._ground[:] = np.random.default_rng(0).uniform(0, 200, (64, 1, 1))
    before = made.image.copy()
    assert made.paste(square(10, 128), a_kind("crown"), lambda: (20.0, 30.0)) is None
    assert (made.image == before).all()
    assert made.paste(square(10, 228), a_kind("crown"), lambda: (20.0, 30.0)) == (15, 25, 25, 35)
    shown = made.image[25:35, 15, 0] - 100
    rows = [before[row : row + 10, 0, 0] for row in range(55)]
    assert any(np.allclose(shown, row, atol=1e-3) for row in rows)


def test_what_melts_into_its_ground_has_its_colour() -> None:
    made = canvas(grey=100)
    kind = replace(a_kind(), melt=0.5)
    assert made.paste(square(10, 120), kind, lambda: (20.0, 30.0)) is None
    assert made.paste(square(10, 180), kind, lambda: (20.0, 30.0)) is not None
    assert made.image[30, 20].tolist() == [140, 140, 140]


def test_leaves_hide_no_object() -> None:
    made = canvas(grey=100)
    assert made.paste(square(10, 200), a_kind(), lambda: (20.0, 30.0)) is not None
    leaf = np.full((20, 10), 255, np.uint8)
    green = np.array([0, 50, 0], np.float32)
    made.cover(leaf, 21, 20, green)  # four columns of ten
    assert (made.owners == 1).sum() == 100
    assert (made.image[..., 1] != 50).all()
    made.cover(leaf, 22, 20, green)  # three
    assert (made.owners == 1).sum() == 70
    assert (made.image[20:40, 22:32] == green).all()
    made.cover(leaf, -4, 20, green)
    assert (made.image[20:40, :6] == green).all()
    made.cover(leaf, 12, 20, green)  # it would hide seven of ten in all
    assert (made.owners == 1).sum() == 70


@pytest.mark.parametrize("family", ["ball", "crown", "crater"])
def test_the_light_of_a_picture(pool: Path, family: str) -> None:
    """A ball and a crown are bright towards it, and a crater is on its other side."""
    drawings, rng = Pool(pool), np.random.default_rng(0)
    for x, y in ((1, 0), (0, 1), (-1, 0), (0, -1)):
        bright = []
        for _ in range(8):
            kind = make_kind(drawings, rng, {family: 1.0})
            drawn = _placed(kind, rng, 40.0, float(np.arctan2(y, x)))
            down, across = np.mgrid[: len(drawn), : len(drawn)] - len(drawn) / 2
            grey, alpha = drawn[..., :3].mean(2), drawn[..., 3]
            side = np.sign(down * y + across * x)
            bright.append(((grey - grey[alpha > 0.5].mean()) * side * alpha).sum())
        assert (np.mean(bright) > 0) == (family != "crater")


def test_a_pen_of_so_many_pixels(pool: Path) -> None:
    rng = np.random.default_rng(0)
    kind = replace(make_kind(Pool(pool), rng, {"symbol": 1.0}), size=32.0)
    ink = np.array([10, 20, 30], np.float32)
    written = inked(kind, ink, rng, 2.0)
    assert written.traits["pen"] == 4.0  # of a drawing of 64 px
    assert written.traits["colour"] is ink


@pytest.mark.parametrize("number", range(len(SCENES)))
def test_scenes(pool: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.open.composites.random_scene", lambda _: SCENES[number])
    drawings, counts = Pool(pool), []
    for seed in range(8):
        (one,) = draw_pictures(drawings, np.random.default_rng(seed))
        counts.append(len(one.boxes))
        assert one.image.shape == (256, 256, 3)
        assert one.owners is not None
        assert one.owners.max() <= len(one.boxes) <= MOST_OBJECTS
        for object_number, (x1, y1, x2, y2) in enumerate(one.boxes.astype(int), start=1):
            rows, columns = np.nonzero(one.owners == object_number)
            assert 0 <= x1 <= columns.min() <= columns.max() < x2 <= 256
            assert 0 <= y1 <= rows.min() <= rows.max() < y2 <= 256
    assert np.median(counts) >= 4


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

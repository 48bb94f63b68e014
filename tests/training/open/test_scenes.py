"""Scenes: grounds, places, leaves and writing."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from training.open.kinds import FAMILIES, Pool
from training.open.scenes import SCENES, apart, dense, leaves, random_scene, terrain, writing


def test_all_scenes_are_drawn_and_most_pictures_are_of_none() -> None:
    rng = np.random.default_rng(0)
    drawn = [SCENES.index(random_scene(rng)) for _ in range(400)]
    assert set(drawn) == set(range(len(SCENES)))
    assert 0.5 < np.mean(np.array(drawn) == 0) < 0.75


def test_scenes_name_families() -> None:
    named = {name for scene in SCENES for name in scene.families or ()}
    assert named < set(FAMILIES)


@pytest.mark.parametrize("ground", sorted({scene.ground for scene in SCENES}, key=str))
def test_grounds(pool: Path, ground: object) -> None:
    assert callable(ground)
    for seed in range(6):
        image = ground(Pool(pool), np.random.default_rng(seed), 64, 0.5)
        assert image.shape == (64, 64, 3)
        assert image.dtype == np.float32
        assert np.isfinite(image).all()
        again = ground(Pool(pool), np.random.default_rng(seed), 64, 0.5)
        np.testing.assert_array_equal(image, again)


def test_hills_are_dark_where_they_rise_towards_the_light(pool: Path) -> None:
    """The same hills in the light of the other side are exchanged: dark is light."""
    found = 0
    for seed in range(12):
        right, left = (
            terrain(Pool(pool), np.random.default_rng(seed), 64, light) for light in (0, math.pi)
        )
        if not np.array_equal(right, left):  # neither a photograph nor paper
            total = right + left
            assert np.ptp(total[..., 0]) < 1e-2
            found += 1
    assert found >= 6


def test_no_place_is_tried_twice_before_all_are() -> None:
    for seed in range(4):  # all over, or around a place first
        place = dense(np.random.default_rng(seed), 100, 20.0)
        places = [place() for _ in range(500)]
        count = len(set(places))
        assert 25 <= count <= 64  # steps of 14 to 22 px
        assert len(set(places[:count])) == count
        assert places[count : 2 * count] == places[:count]


def test_room_between_places() -> None:
    place = apart(np.random.default_rng(0), 256, 30.0)
    places = np.array([place() for _ in range(9)])
    far = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    assert far[~np.eye(9, dtype=bool)].min() > 20


def test_leaves_have_about_one_colour() -> None:
    colour = np.array([20, 100, 40], np.float32)
    found = [one for seed in range(5) for one in leaves(np.random.default_rng(seed), 128, colour)]
    assert found
    for mask, (x, y), shade in found:
        assert mask.max() > 127
        assert -30 <= x < 128
        assert -30 <= y < 128
        assert ((0.5 * colour <= shade) & (shade <= 1.8 * colour)).all()


def test_writing_is_beside_boxes_and_joins_them() -> None:
    boxes = np.array([[10, 10, 30, 30], [90, 10, 110, 30], [10, 90, 30, 110]], np.float32)
    joined = 0
    for seed in range(10):
        mask = writing(boxes, np.random.default_rng(seed), 128)
        for x1, y1, x2, y2 in boxes.astype(int):
            assert not mask[y1:y2, x1:x2].any()
        joined += bool(mask[15:25, 35:85].any(0).all())
    assert joined >= 5
    assert not writing(boxes[:0], np.random.default_rng(2), 32).all()

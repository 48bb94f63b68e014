"""Windows of real pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.open.composites import Drawn
from training.open.windows import RealPicture, Scales, _turn, draw_windows, load_sets


def test_load_sets(pool: Path) -> None:
    ((name, (picture,)),) = load_sets(pool / "real").items()
    assert name == "toy"
    assert picture.image.shape == (96, 96, 3)
    assert picture.boxes[2].tolist() == [70, 60, 80, 76]
    assert picture.kinds.tolist() == [3, 3, 7, 7]
    with pytest.raises(ValueError, match=r"holds no real set$"):
        load_sets(pool / "real", frozenset({"toy"}))


def test_boxes_lie_on_their_objects() -> None:
    """A black picture whose objects are white: each box holds white, its surroundings none."""
    image = np.zeros((200, 200, 3), np.uint8)
    boxes = np.array([[20, 30, 40, 45], [100, 90, 112, 120], [150, 20, 170, 40]], np.float32)
    for x1, y1, x2, y2 in boxes.astype(int):
        image[y1:y2, x1:x2] = 255
    picture = RealPicture(image, boxes, np.array([4, 9, 4]), np.zeros((0, 4), np.float32))
    rng = np.random.default_rng(0)
    seen = 0
    for _ in range(20):
        (drawn,) = draw_windows({"toy": [picture]}, rng, 128)
        light = np.abs(drawn.image.astype(int) - np.median(drawn.image)).mean(2)
        for x1, y1, x2, y2 in drawn.boxes.round().astype(int):
            if min(x2 - x1, y2 - y1) < 10:
                continue
            inside = light[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2].mean()
            assert inside > 120
            seen += 1
        assert set(drawn.kinds.tolist()) <= {4, 9}
    assert seen > 20


def test_two_windows_are_of_one_set() -> None:
    sets = {}
    for name, kind in (("first", 3), ("second", 7)):
        boxes = np.array([[20, 30, 40, 45], [60, 50, 72, 70]], np.float32)
        image = np.full((128, 128, 3), 10 * kind, np.uint8)
        picture = RealPicture(image, boxes, np.full(2, kind), np.zeros((0, 4), np.float32))
        sets[name] = [picture]
    rng = np.random.default_rng(0)
    found = [draw_windows(sets, rng, 128, 2) for _ in range(20)]
    kinds = [{*one.kinds.tolist(), *other.kinds.tolist()} for one, other in found]
    assert {3} in kinds
    assert {7} in kinds
    assert {3, 7} not in kinds
    assert any(not np.array_equal(one.image, other.image) for one, other in found)


def test_eight_turns_move_boxes_with_the_picture() -> None:
    image = np.zeros((10, 10, 3), np.uint8)
    image[2:4, 1:6] = 255
    drawn = Drawn(image, np.array([[1, 2, 6, 4]], np.float32), np.zeros(1, np.int64))
    found = set()
    for seed in range(40):
        turned = _turn(np.random.default_rng(seed))(drawn)
        x1, y1, x2, y2 = turned.boxes[0].astype(int).tolist()
        assert (turned.image[y1:y2, x1:x2] == 255).all()
        assert (turned.image == 255).sum() == 30
        found.add((x1, y1, x2, y2))
    assert len(found) == 8


def test_no_objects_enough() -> None:
    picture = RealPicture(
        np.zeros((64, 64, 3), np.uint8),
        np.array([[1, 1, 9, 9]], np.float32),
        np.zeros(1, np.int64),
        np.zeros((0, 4), np.float32),
    )
    with pytest.raises(ValueError, match="no window of any real picture holds enough objects"):
        draw_windows({"toy": [picture]}, np.random.default_rng(0), 64)
    alone = Scales(None, (0.7, 1.4), objects=1)
    for seed in range(9):
        (drawn,) = draw_windows({"toy": [picture]}, np.random.default_rng(seed), 64, 1, alone)
        (side,) = (drawn.boxes[:, 2:] - drawn.boxes[:, :2]).max(1).tolist()
        assert 8 * 0.7 <= side <= 8 * 1.4, "the picture is shown about as it is"


def colourful(count: int = 40) -> RealPicture:
    image = np.zeros((200, 200, 3), np.uint8)
    image[...] = (200, 30, 60)
    corners = np.random.default_rng(0).uniform(0, 180, (count, 2))
    boxes = np.concatenate([corners, corners + 12], 1).astype(np.float32)
    return RealPicture(image, boxes, np.zeros(count, np.int64), np.zeros((0, 4), np.float32))


def test_both_windows_of_a_pair_are_grey_or_negative_or_none_is() -> None:
    looks = set()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        two = draw_windows({"toy": [colourful()]}, rng, 64, 2)
        middle = [one.image.reshape(-1, 3).astype(int).mean(0) for one in two]
        # Red is much more than green, unless all are grey; less where the picture is negative.
        found = [round(float(red - green) / 60) for red, green, _ in middle]
        assert np.sign(found[0]) == np.sign(found[1]), (seed, middle)
        looks.add(int(np.sign(found[0])))
    assert looks == {-1, 0, 1}


def test_a_single_window_is_what_the_first_of_a_pair_is() -> None:
    for seed in range(20):
        one, (first, _) = (
            draw_windows({"toy": [colourful()]}, np.random.default_rng(seed), 64, count)
            for count in (1, 2)
        )
        assert np.array_equal(one[0].image, first.image)

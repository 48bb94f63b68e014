"""The composite set."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from training.data import composite
from training.data.annotated import Annotated
from training.data.composite import CLASSES, DIGIT_LABELS, Composer, Glyphs, load_glyphs

TREE_LABEL = CLASSES.index("tree")


def ground(boxes: list[list[float]]) -> Annotated:
    return Annotated(
        name="grey",
        image=np.full((300, 300, 3), 120, np.uint8),
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.full(len(boxes), TREE_LABEL, np.int64),
    )


def bars() -> Glyphs:
    """One glyph a class: an upright bar 4 pixels wide and 20 high."""
    images = np.zeros((10, 28, 28), np.uint8)
    images[:, 4:24, 12:16] = 255
    return Glyphs(images, np.arange(10))


def plain(boxes: list[list[float]] | None = None, **changes: object) -> Composer:
    """Make a composer that varies nothing but the places of its digits."""
    settings: dict[str, object] = {
        "heights": (20.0, 20.0),
        "scales": (1.0, 1.0),
        "upright": 0.0,
        "rotation": 0.0,
        "shear": 0.0,
        "aspect": (1.0, 1.0),
        "contrast": (100.0, 100.0),
        "opacity": (1.0, 1.0),
        "blur": (0.0, 0.0),
    }
    return Composer(ground(boxes or []), bars(), **(settings | changes))  # type: ignore[arg-type]


def test_unvaried_bar_keeps_its_size_and_its_box_is_its_ink() -> None:
    picture = plain().compose("a", 200, np.random.default_rng(0))
    sides = picture.boxes[:, 2:] - picture.boxes[:, :2]
    # Resampled, a bar may lie half a pixel beside the grid.
    assert (np.abs(sides - [4, 20]) <= 1).all()
    ink = (picture.image != 120).any(axis=2)
    covered = np.zeros_like(ink)
    for x1, y1, x2, y2 in picture.boxes.astype(int):
        assert ink[y1:y2, x1:x2].all()
        covered[y1:y2, x1:x2] = True
    # Resampling may leave a faint rim of a pixel, which is below the threshold.
    luma = picture.image @ composite.LUMA
    assert np.abs(luma - 120)[~covered].max() < composite.INK_THRESHOLD * 100


def test_the_digits_of_a_picture_are_turned_alike() -> None:
    """A bar of 4 x 20 lies in a box that tells its angle, within a pixel on each side."""
    rng = np.random.default_rng(0)
    angles = []
    for _ in range(6):
        picture = plain(upright=90.0).compose("a", 200, rng)
        sides = picture.boxes[:, 2:] - picture.boxes[:, :2]
        assert np.ptp(sides, axis=0).max() <= 1
        width, height = sides.mean(axis=0)
        angle = math.atan2(width - 4, height - 4)  # exact for a line, near for a bar
        assert width == pytest.approx(20 * math.sin(angle) + 4 * math.cos(angle), abs=2)
        assert height == pytest.approx(20 * math.cos(angle) + 4 * math.sin(angle), abs=2)
        angles.append(math.degrees(angle))
    assert max(angles) - min(angles) > 30


def test_number_and_classes() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        picture = plain(density=(0.5, 0.5), classes=(3, 5)).compose("a", 100, rng)
        assert len(picture.labels) == 5
        assert 3 <= len(set(picture.labels.tolist())) <= 5
        assert set(picture.labels.tolist()) <= set(DIGIT_LABELS)


def test_digits_hardly_overlap() -> None:
    picture = plain(density=(4.0, 4.0)).compose("a", 100, np.random.default_rng(0))
    boxes = picture.boxes
    for i in range(len(boxes)):
        assert composite._overlap(boxes[i], np.delete(boxes, i, axis=0)) <= 0.1


def test_overlap_by_hand() -> None:
    box = np.array([0, 0, 10, 10], np.float32)
    others = np.array([[8, 8, 18, 18], [9, 0, 11, 10]], np.float32)
    # 2 x 2 of 100, and 1 x 10 of 20.
    assert composite._overlap(box, others) == pytest.approx(0.5)
    assert composite._overlap(box, others[:0]) == 0


def test_ink_that_would_not_show_is_not_pasted() -> None:
    picture = plain(contrast=(10.0, 10.0)).compose("a", 100, np.random.default_rng(0))
    assert len(picture.labels) == 0


def test_pool_bounds_the_glyphs_of_a_class() -> None:
    """Of 40 glyphs that differ in width, a picture shows as many as the pool holds."""
    images = np.zeros((400, 28, 28), np.uint8)
    for i in range(400):
        images[i, 4:24, 2 : 4 + i % 20] = 255
    glyphs = Glyphs(images, np.arange(400) // 40)
    template = plain(density=(1.0, 1.0), classes=(2, 2), pool_size=1)
    source = Composer(**(vars(template) | {"glyphs": glyphs}))
    picture = source.compose("a", 200, np.random.default_rng(0))
    widths = picture.boxes[:, 2] - picture.boxes[:, 0]
    for label in set(picture.labels.tolist()):
        assert len(set(widths[picture.labels == label].tolist())) == 1


def test_trees_of_the_background_are_kept() -> None:
    """A tree as large as the picture is neither cut by half nor covered by half."""
    picture = plain([[0, 0, 300, 300]]).compose("a", 300, np.random.default_rng(0))
    assert picture.labels[-1] == TREE_LABEL
    assert picture.boxes[-1].tolist() == [0, 0, 300, 300]
    assert (picture.labels[:-1] != TREE_LABEL).all()


def test_covered_trees_are_dropped() -> None:
    class Fixed(Composer):
        def _write(self, luma, ink, rng):  # type: ignore[no-untyped-def]
            box = np.array([[0, 0, 300, 160]], np.float32)
            return np.zeros(luma.shape, np.uint8), box, np.array([1])

    source = Fixed(**vars(plain([[0, 0, 300, 300]])))
    assert source.compose("a", 300, np.random.default_rng(0)).labels.tolist() == [1]


@pytest.fixture(scope="module")
def pictures() -> list[Annotated]:
    return composite.test_pictures(3)


def test_glyphs_are_split() -> None:
    train, test = load_glyphs("train"), load_glyphs("test")
    assert np.bincount(train.digits).tolist() == [400] * 10
    assert np.bincount(test.digits).tolist() == [100] * 10
    seen = {hashlib.sha256(image.tobytes()).digest() for image in train.images}
    assert not any(hashlib.sha256(image.tobytes()).digest() in seen for image in test.images)


def test_splits_have_their_own_place() -> None:
    names = {split: composite.composer(split).background.name for split in ("train", "test")}
    assert names["train"] != names["test"]


def test_test_pictures_are_always_the_same(pictures: list[Annotated]) -> None:
    again = composite.test_pictures(2)
    for first, second in zip(pictures[:2], again, strict=True):
        assert first.name == second.name
        assert (first.image == second.image).all()
        assert (first.boxes == second.boxes).all()
        assert (first.labels == second.labels).all()
    assert (pictures[0].image != pictures[1].image).any()


def test_test_pictures_are_in_order(pictures: list[Annotated]) -> None:
    assert len({picture.name for picture in pictures}) == 3
    for picture in pictures:
        assert picture.image.shape == (384, 384, 3)
        assert (picture.boxes >= 0).all()
        assert (picture.boxes <= 384).all()
        assert (picture.boxes[:, 2:] > picture.boxes[:, :2]).all()
        digits = np.isin(picture.labels, DIGIT_LABELS)
        assert 20 <= digits.sum() <= 60
        longer = (picture.boxes[:, 2:] - picture.boxes[:, :2]).max(axis=1)[digits]
        assert longer.min() >= 7
        # The diagonal of a digit of 24 pixels that is as wide as high.
        assert longer.max() <= 34

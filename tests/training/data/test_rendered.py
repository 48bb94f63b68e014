"""The rendered set: what is drawn, its boxes, and what the pictures of a split share."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from training.data import rendered
from training.data.annotated import Annotated
from training.data.readers.dota import TINY_CLASSES as CLASSES
from training.data.rendered import Location, Renderer
from training.data.rendering.canvas import Canvas, Placed, put
from training.data.rendering.layout import fill
from training.data.rendering.looks import Look
from training.data.rendering.scene import Ground, Scene
from training.data.rendering.shapes import Body, Frame, Part, centred
from training.data.rendering.style import (
    LOOKALIKES,
    OWNERS,
    SMALL_VEHICLE,
    STORAGE_TANK,
    TREE,
    UNIT,
    Style,
    draw_style,
)
from training.data.sets import RenderedSet

GREY = 120


def grey(side: int, crowns: list[list[float]] | None = None) -> Annotated:
    boxes = np.array(crowns or [], np.float32).reshape(-1, 4)
    image = np.full((side, side, 3), GREY, np.uint8)
    return Annotated("grey", image, boxes, np.zeros(len(boxes), np.int64))


def source(with_trees: bool = False, crowns: list[list[float]] | None = None) -> Renderer:
    location = Location("grey", sun=0.0, scales=(1.0, 1.0))
    return Renderer((location,), (grey(600, crowns),), with_trees)


def style(seed: int = 0, sun: float = 1.0) -> Style:
    return draw_style(sun, np.random.default_rng(seed))


def sharp(**changes: float) -> Style:
    """A style without shadow, blur and noise, but for the changes."""
    return replace(style(), **({"darkness": 0.0, "blur": 0.0, "grain": 0.0} | changes))  # type: ignore[arg-type]


def drawn(placed: Placed, size: int = 120) -> NDArray[np.bool_]:
    """Draw one body alone and return the pixels that it changes."""
    canvas = Canvas(np.zeros((size, size, 3), np.uint8), np.random.default_rng(0))
    parts = tuple(replace(part, colour=(255, 255, 255)) for part in placed.body.parts)
    white = replace(placed, body=replace(placed.body, parts=parts))
    image = canvas.render([white], sharp(), np.random.default_rng(0))
    return (image > 0).any(axis=2)


def looks(seed: int) -> list[tuple[int | None, Look]]:
    """The looks of one picture: of the classes with their label, of the look-alikes without."""
    own = style(seed)
    return [(label, look) for label, each in enumerate(own.looks) for look in each] + [
        (None, look) for each in own.lookalikes for look in each
    ]


@pytest.mark.parametrize("seed", range(12))
def test_boxes_are_as_tight_as_pixels_allow(seed: int) -> None:
    """No changed pixel lies beyond a box, and every side of it has one within a pixel."""
    rng = np.random.default_rng(seed)
    for label, look in looks(seed):
        frame = Frame(60 + rng.uniform(), 60 + rng.uniform(), rng.uniform(0, 7))
        placed = put(look.build(rng, (1.0, 0.0)), frame, label)
        mask = drawn(placed)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        x1, y1, x2, y2 = placed.box
        # PIL's polygons reach up to a quarter of a pixel further, and a pixel counts whole.
        outer = [
            math.floor(x1 - 0.3),
            math.floor(y1 - 0.3),
            math.ceil(x2 + 0.3),
            math.ceil(y2 + 0.3),
        ]
        assert (found[:2] >= outer[:2]).all(), look.kind
        assert (found[2:] <= outer[2:]).all(), look.kind
        assert np.abs(found - placed.box).max() <= 1.3, look.kind

        y, x = np.nonzero(mask)
        middles = np.stack([x + 0.5, y + 0.5], axis=1)
        away = np.array([placed.frame.x, placed.frame.y])
        cos, sin = math.cos(frame.heading), math.sin(frame.heading)
        own = (middles - away) @ np.array([[cos, -sin], [sin, cos]])
        corners = (placed.corners - away) @ np.array([[cos, -sin], [sin, cos]])
        low, high = corners.min(axis=0), corners.max(axis=0)
        # Half the diagonal of a pixel, and again a quarter.
        assert (own.min(axis=0) >= low - 1.0).all(), look.kind
        assert (own.max(axis=0) <= high + 1.0).all(), look.kind
        assert np.abs(own.min(axis=0) - low).max() <= 1.3, look.kind
        assert np.abs(own.max(axis=0) - high).max() <= 1.3, look.kind


def test_corners_by_hand() -> None:
    body = Body((Part(centred(20, 10), (255, 0, 0)),), height=0.0)
    placed = put(body, Frame(50, 40, math.pi / 2), label=0)
    # Ahead is down the picture, so front left is the lower right corner.
    assert np.allclose(placed.corners, [[55, 50], [45, 50], [45, 30], [55, 30]])
    assert placed.box == pytest.approx((45, 30, 55, 50))


def test_shadow_falls_away_from_the_sun() -> None:
    body = Body((Part(centred(10, 10), (255, 255, 255), casts=True),), height=12.0)
    for sun in (0.3, 2.0, 4.5):
        canvas = Canvas(np.full((100, 100, 3), 200, np.uint8), np.random.default_rng(0))
        look = replace(sharp(darkness=0.5), sun=sun, shadow=1.0)
        image = canvas.render([put(body, Frame(50, 50, 0.0), 0)], look, np.random.default_rng(0))
        y, x = np.nonzero(image[..., 1] < 150)
        towards = np.array([x.mean() + 0.5 - 50, y.mean() + 0.5 - 50])
        towards /= np.hypot(*towards)
        assert towards @ [math.cos(sun), math.sin(sun)] < -0.97


def test_sun_turns_with_the_background() -> None:
    """The side that the sun is on is bright; it must be so after every turn and mirror."""
    image = np.zeros((100, 100, 3), np.uint8)
    image[:, 50:] = 255
    bright = replace(grey(100), image=image)
    location = Location("bright", sun=0.0, scales=(1.0, 1.0))
    directions = set()
    for seed in range(30):
        ground, sun = Renderer((location,), (bright,))._ground(0, 100, np.random.default_rng(seed))
        y, x = np.nonzero(ground.image[..., 0])
        side = np.array([x.mean() - 49.5, y.mean() - 49.5])
        assert side @ [math.cos(sun), math.sin(sun)] > 0.8 * np.hypot(*side)
        directions.add((round(side[0]), round(side[1])))
    assert len(directions) == 4


@pytest.mark.parametrize("seed", range(40))
def test_look_alikes_of_a_picture_are_of_another_kind(seed: int) -> None:
    own = style(seed)
    for label in range(len(CLASSES)):
        kinds = {look.kind for look in own.looks[label]}
        others = {look.kind for look in own.lookalikes[label]}
        assert kinds
        assert others
        assert not kinds & others
        # All objects of the class have the paints of the picture.
        assert len({look.paints for look in own.looks[label] if look.kind != "tanker"}) <= 2


def test_kinds_are_ambiguous_across_pictures() -> None:
    """What is a vehicle, a tank, a pool in one picture is a look-alike in another one."""
    for name in (
        "small-vehicle",
        "large-vehicle",
        "ship",
        "storage-tank",
        "swimming-pool",
        "bridge",
    ):
        label = CLASSES.index(name)
        as_class, as_other = set(), set()
        for seed in range(60):
            own = style(seed)
            as_class |= {look.kind for look in own.looks[label]}
            as_other |= {look.kind for look in own.lookalikes[label]}
        assert as_class & as_other, name
        assert as_class == set(OWNERS[label].kinds)
        assert as_other == set(LOOKALIKES[label].kinds)


def test_kinds_are_mostly_shared() -> None:
    """In most pictures what a class looks like, or its look-alikes, the other could look like."""
    styles = [style(seed) for seed in range(200)]
    for label, (owner, twin) in enumerate(zip(OWNERS, LOOKALIKES, strict=True)):
        shared = owner.kinds.keys() & twin.kinds.keys()
        if not shared:
            continue
        told = sum(
            not shared & {look.kind for look in own.looks[label] + own.lookalikes[label]}
            for own in styles
        )
        assert told < 0.4 * len(styles), CLASSES[label]


def test_look_alikes_play_the_part_of_a_class() -> None:
    """Blue tanks, which are none, stand in grids as red tanks do, in about every other picture."""
    red, blue = (Look("cone", 14.0, 1.0, (paint,)) for paint in ((250, 0, 0), (0, 0, 250)))
    own = style(1)
    own = replace(
        own,
        looks=tuple((red,) if i == STORAGE_TANK else each for i, each in enumerate(own.looks)),
        lookalikes=tuple(
            (blue,) if i == STORAGE_TANK else each for i, each in enumerate(own.lookalikes)
        ),
    )
    with_lookalikes = 0
    for seed in range(24):
        rng = np.random.default_rng(seed)
        canvas = Canvas(np.full((300, 300, 3), GREY, np.uint8), rng)
        scene = Scene(canvas, own, frozenset({STORAGE_TANK}), rng)
        with scene.with_lookalikes(STORAGE_TANK):
            assert scene.looks(STORAGE_TANK) == (blue,)
        assert scene.looks(STORAGE_TANK) == (red,)
        fill(scene, 16)
        tanks = [item for item in scene.placed if item.body.parts[0].colour[1] == 0]
        assert all(
            (item.label == STORAGE_TANK) == (item.body.parts[0].colour[2] == 0) for item in tanks
        )
        assert sum(item.label is not None for item in tanks) >= 8
        with_lookalikes += sum(item.label is None for item in tanks) >= 8
    assert 6 <= with_lookalikes <= 18


def test_only_a_class_wears_its_paint() -> None:
    """Cars are red and their look-alikes blue: every red body is labelled, and no blue one."""
    own = style(3)
    red = Look("plain-box", 12.0, 0.45, ((250, 0, 0),))
    blue = Look("barred-box", 12.0, 0.45, ((0, 0, 250),))
    cars = [(red,) if i == SMALL_VEHICLE else each for i, each in enumerate(own.looks)]
    boxes = [(blue,) if i == SMALL_VEHICLE else each for i, each in enumerate(own.lookalikes)]
    own = replace(own, looks=tuple(cars), lookalikes=tuple(boxes))
    found = {"red": 0, "blue": 0}
    for seed in range(4):
        rng = np.random.default_rng(seed)
        canvas = Canvas(np.full((300, 300, 3), GREY, np.uint8), rng)
        scene = Scene(canvas, own, frozenset({SMALL_VEHICLE}), rng)
        fill(scene, 30)
        for item in scene.placed:
            colour = item.body.parts[0].colour
            is_red = colour[0] > 150 and colour[1:] == (0, 0)
            is_blue = colour[2] > 150 and colour[:2] == (0, 0)
            assert (item.label == SMALL_VEHICLE) == is_red
            assert not (is_blue and item.label is not None)
            found["red"] += is_red
            found["blue"] += is_blue
    assert found["red"] > 60
    assert found["blue"] > 4


@pytest.fixture(scope="module")
def pictures() -> list[Annotated]:
    return [source().render(f"{i}", 384, np.random.default_rng([1, i])) for i in range(16)]


def test_number_and_classes(pictures: list[Annotated]) -> None:
    counts = [len(picture.labels) for picture in pictures]
    assert 15 <= np.median(counts) <= 60
    assert max(counts) <= 80
    classes = [len(set(picture.labels.tolist())) for picture in pictures]
    assert max(classes) <= 6
    assert np.mean(classes) > 2
    assert {label for picture in pictures for label in picture.labels} == set(range(len(CLASSES)))


def test_sizes(pictures: list[Annotated]) -> None:
    for picture in pictures:
        assert picture.corners is not None
        sides = np.linalg.norm(picture.corners[:, :2] - picture.corners[:, 1:3], axis=2)
        longer = sides.max(axis=1)
        assert longer.min() >= 6
        assert longer.max() <= 60
    units = [style(seed).unit for seed in range(50)]
    assert min(units) >= UNIT[0]
    assert max(units) <= UNIT[1]


def test_corners_are_clockwise_rectangles_that_touch_the_box(pictures: list[Annotated]) -> None:
    for picture in pictures:
        assert picture.corners is not None
        first, second, third, fourth = picture.corners.transpose(1, 0, 2)
        assert np.allclose(first + third, second + fourth, atol=1e-3)
        assert np.allclose(((second - first) * (third - second)).sum(axis=1), 0, atol=1e-2)
        cross = np.linalg.det(np.stack([second - first, third - second], axis=1))
        assert (cross > 0).all()
        # The body lies in the rectangle, so its box lies in the rectangle's.
        hull = np.concatenate([picture.corners.min(axis=1), picture.corners.max(axis=1)], axis=1)
        assert (picture.boxes[:, :2] >= np.maximum(hull[:, :2], 0) - 0.01).all()
        assert (picture.boxes[:, 2:] <= np.minimum(hull[:, 2:], 384) + 0.01).all()


def test_objects_of_a_class_hardly_overlap(pictures: list[Annotated]) -> None:
    for picture in pictures:
        assert picture.corners is not None
        for label in set(picture.labels.tolist()):
            seen = np.zeros((384, 384), int)
            for corners in picture.corners[picture.labels == label]:
                layer = Image.new("1", (384, 384))
                ImageDraw.Draw(layer).polygon(corners.round().ravel().tolist(), fill=1)
                seen += np.asarray(layer)
            assert (seen > 1).sum() <= 0.12 * (seen > 0).sum(), (picture.name, CLASSES[label])


def test_tanks_of_two_sizes_do_not_overlap() -> None:
    own = style(1)
    looks = tuple(
        Look(kind, size, 1.0, ((200, 200, 200),)) for kind, size in (("cone", 14.0), ("dome", 40.0))
    )
    own = replace(
        own, looks=tuple(looks if i == STORAGE_TANK else each for i, each in enumerate(own.looks))
    )
    for seed in range(6):
        rng = np.random.default_rng(seed)
        canvas = Canvas(np.full((300, 300, 3), GREY, np.uint8), rng)
        scene = Scene(canvas, own, frozenset({STORAGE_TANK}), rng)
        fill(scene, 12)
        tanks = [item for item in scene.placed if item.label == STORAGE_TANK]
        assert len(tanks) > 1
        for i, one in enumerate(tanks):
            for other in tanks[:i]:
                apart = math.hypot(one.frame.x - other.frame.x, one.frame.y - other.frame.y)
                radii = sum((item.box[2] - item.box[0]) / 2 for item in (one, other))
                assert apart > radii


def test_cut_objects_are_ignored_when_little_is_left() -> None:
    boxes = [(-5, 0, 5, 10), (-2, 20, 8, 30), (40, 40, 50, 50), (60, 60, 70, 70)]
    corners = [centred(10, 10, (x1 + x2) / 2, (y1 + y2) / 2) for x1, y1, x2, y2 in boxes]
    image = np.zeros((55, 55, 3), np.uint8)
    picture = rendered._cut("a", image, boxes, corners, [0, 1, 2, 3])
    assert picture.boxes.tolist() == [[0, 0, 5, 10], [0, 20, 8, 30], [40, 40, 50, 50]]
    assert picture.labels.tolist() == [0, 1, 2]
    # Half, four fifths and all of them are in the picture; seven tenths are asked for.
    assert picture.ignored.tolist() == [True, False, False]
    assert picture.corners is not None
    assert picture.corners[0].min() == -5


def test_nothing_to_cut() -> None:
    picture = rendered._cut("a", np.zeros((9, 9, 3), np.uint8), [], [], [])
    assert picture.boxes.shape == (0, 4)
    assert picture.corners is not None
    assert picture.corners.shape == (0, 4, 2)


def test_trees_have_boxes_only_where_asked_for() -> None:
    """Crowns of 10 pixels all over the ground: those on free ground stay, none under a plot."""
    crowns = [[x, y, x + 10.0, y + 10.0] for x in range(0, 600, 20) for y in range(0, 600, 20)]
    without = source(False, crowns).render("a", 256, np.random.default_rng(2))
    with_trees = source(True, crowns).render("a", 256, np.random.default_rng(2))
    assert (without.image == with_trees.image).all()
    assert (without.labels != TREE).all()
    objects = with_trees.labels != TREE
    assert with_trees.boxes[objects].tolist() == without.boxes.tolist()
    # Crowns that are drawn are larger; those of the ground are 169 and more before any plot.
    found = with_trees.boxes[~objects]
    found = found[(found[:, 2:] - found[:, :2]).max(axis=1) < 10.01]
    assert 20 < len(found) < 150
    for x, y in (found[:, :2] + found[:, 2:]) / 2:
        left, top, right, bottom = without.boxes.T
        assert not ((left < x) & (x < right) & (top < y) & (y < bottom)).any()


def test_ground_by_hand() -> None:
    ground = Ground(100)
    middle = Frame(50, 50, 0.0)
    assert ground.free(middle, 40, 20)
    ground.take(middle, 40, 20)
    taken = ground.taken(100)
    assert taken.sum() == 40 * 20
    assert taken[40:60, 30:70].all()
    # Its long side ends at 70; turned by a quarter it is the short one, which ends at 60.
    assert not ground.free(Frame(75, 50, 0.0), 20, 4)
    assert ground.free(Frame(81, 50, 0.0), 20, 4)
    assert not ground.free(Frame(50, 65, math.pi / 2), 20, 4)
    assert ground.free(Frame(50, 71, math.pi / 2), 20, 4)
    # What lies beyond the picture is free.
    assert ground.free(Frame(-50, -50, 0.3), 20, 20)


def test_a_picture_depends_on_its_number_and_the_seed_alone() -> None:
    first = rendered.pictures("test", 2, 128)
    again = source_of_test().render("x", 128, np.random.default_rng([0, 1]))
    assert (first[1].image == again.image).all()
    assert (first[1].boxes == again.boxes).all()
    assert (first[1].labels == again.labels).all()
    assert first[1].corners is not None
    assert again.corners is not None
    assert (first[1].corners == again.corners).all()
    other = rendered.pictures("test", 1, 128, seed=1)[0]
    assert (other.image != first[0].image).any()
    assert first[0].name != first[1].name != other.name


def source_of_test() -> Renderer:
    return rendered.renderer("test")


def test_splits_share_no_location() -> None:
    files = [location.file for of_split in rendered.LOCATIONS.values() for location in of_split]
    assert len(files) == len(set(files))
    # Two tiles of Yellowstone are a kilometre wide each and begin 13 km apart.
    sites = {
        split: {location.file[:4] for location in locations if "YELL" not in location.file}
        for split, locations in rendered.LOCATIONS.items()
    }
    assert not sites["train"] & sites["val"]
    assert not (sites["train"] | sites["val"]) & sites["test"]


def test_set() -> None:
    own = RenderedSet()
    assert own.classes == own.counted == CLASSES
    crop = own.train_crop(96, np.random.default_rng(0))
    assert crop.image.shape == (96, 96, 3)
    same = own.train_crop(96, np.random.default_rng(0))
    assert (crop.image == same.image).all()
    shown = own.test_pictures(1)
    assert [picture.image.shape for picture in shown] == [(512, 512, 3)]
    assert [picture.name for picture in own.val_pictures(2)] == [
        "rendered-val-0-0",
        "rendered-val-0-1",
    ]
    with_trees = RenderedSet(with_trees=True)
    assert with_trees.classes == (*CLASSES, "tree")
    assert with_trees.counted == CLASSES

"""What stands on land: car parks, yards, aprons, tank farms, houses and roads.

A site takes a number of objects to aim at and tells whether there was room for it.
"""

from __future__ import annotations

import math

import numpy as np

from training.data.rendering.looks import Look
from training.data.rendering.scene import Scene
from training.data.rendering.shapes import Frame, Points, blend, centred, ellipse, line, shade
from training.data.rendering.style import (
    HELICOPTER,
    LARGE_VEHICLE,
    PLANE,
    SMALL_VEHICLE,
    STORAGE_TANK,
    SWIMMING_POOL,
)


def car_park(scene: Scene, number: int) -> bool:
    """Rows of cars in stalls, some of them empty."""
    look = scene.looks(SMALL_VEHICLE)[0]
    pitch = max(look.length * look.aspect * scene.rng.uniform(1.3, 1.6), 4.5)
    depth = look.length * scene.rng.uniform(1.15, 1.35)
    aisle = look.length * scene.rng.uniform(1.0, 1.5)
    filled = scene.rng.uniform(0.35, 0.95)
    rows = int(scene.rng.integers(1, 5))
    columns = max(3, min(14, math.ceil(number / filled / rows)))
    length = columns * pitch + 2 * aisle * 0.4
    pairs = (rows + 1) // 2
    width = rows * depth + pairs * aisle + 0.3 * aisle
    frame = scene.plot(length, width)
    if frame is None:
        return False
    scene.pave(frame, length, width)
    lines = scene.rng.uniform(0.25, 0.7) if scene.rng.uniform() < 0.7 else 0.0
    odd = scene.rng.uniform(0, 0.12)
    y = -width / 2 + 0.15 * aisle
    for row in range(rows):
        middle = y + depth / 2
        for column in range(columns):
            x = (column - (columns - 1) / 2) * pitch
            if lines:
                ends = ((x - pitch / 2, y), (x - pitch / 2, y + depth))
                scene.canvas.mark(frame.place(line(*ends, 0.7)), lines)
            if scene.rng.uniform() > filled:
                continue
            jitter = scene.rng.normal(0, 0.04 * look.length, 2)
            turn = math.pi / 2 + scene.flip()
            spot = frame.at(x + jitter[0] * 0.5, middle + jitter[1], turn)
            scene.add_either(SMALL_VEHICLE, spot, odd)
        y += depth + (aisle if row % 2 == 0 else 0.0)
    return True


def yard(scene: Scene, number: int) -> bool:
    """Lorries side by side, containers and boxes next to them, some cars."""
    look = scene.looks(LARGE_VEHICLE)[0]
    wide = look.length * look.aspect
    pitch = max(5.0, wide * scene.rng.uniform(1.35, 1.9))
    rows = int(scene.rng.integers(1, 3))
    filled = scene.rng.uniform(0.5, 0.95)
    columns = max(2, min(9, math.ceil(number / filled / rows)))
    deep = look.length * 1.2
    length, width = columns * pitch + pitch, rows * deep * 1.15 + 0.5 * look.length
    frame = scene.plot(length, width)
    if frame is None:
        return False
    scene.pave(frame, length, width, main=scene.rng.uniform() < 0.5)
    if scene.rng.uniform() < 0.6:
        _stain(scene, frame.at(*scene.rng.normal(0, 0.2, 2) * (length, width)), 0.3 * width, 5)
    odd = scene.rng.uniform(0.1, 0.45)
    ahead = scene.rng.integers(2) * math.pi
    for row in range(rows):
        y = (row - (rows - 1) / 2) * deep * 1.15 - 0.2 * look.length
        for column in range(columns):
            if scene.rng.uniform() > filled:
                continue
            x = (column - (columns - 1) / 2) * pitch
            turn = math.pi / 2 + ahead + scene.rng.normal(0, 0.03)
            spot = frame.at(x, y + scene.rng.normal(0, 0.04 * look.length), turn)
            scene.add_either(LARGE_VEHICLE, spot, odd)
    _cars_along(scene, frame.at(0, width / 2 - 0.35 * scene.style.unit), 0.9 * length, 0.35, 0.5)
    return True


def _stain(scene: Scene, frame: Frame, length: float, width: float) -> None:
    colour = shade(scene.style.paving[0], scene.rng.uniform(0.8, 0.95))
    scene.canvas.pave(frame.place(ellipse(length, width)), colour, 1.0)


def _cars_along(scene: Scene, frame: Frame, length: float, filled: float, odd: float) -> None:
    """Stand cars one behind the other along a line, or what resembles them by the share ``odd``."""
    slot = 1.3 * scene.style.unit
    count = int(length / slot)
    for i in range(count):
        if scene.rng.uniform() < filled:
            spot = frame.at((i - (count - 1) / 2) * slot, 0, scene.flip())
            scene.add_either(SMALL_VEHICLE, spot, odd)


def apron(scene: Scene, number: int) -> bool:
    """Aircraft in a row on concrete, helicopters on their marks."""
    labels = [label for label in (PLANE, HELICOPTER) if label in scene.wanted]
    if len(labels) == 2 and scene.rng.uniform() < 0.6:
        labels = [labels[scene.rng.integers(2)]]
    looks = [scene.one_of(scene.looks(label)) for label in labels]
    reach = max(look.length * max(1.0, look.aspect) * 1.1 for look in looks)
    pitch = reach * scene.rng.uniform(1.08, 1.3)
    rows = 1 if number < 5 or scene.rng.uniform() < 0.5 else 2
    columns = max(1, min(6, math.ceil(number / rows / 0.8)))
    length, width = columns * pitch + 4, rows * pitch * 1.15 + 0.25 * reach
    if max(length, width) > 1.1 * scene.size:
        columns = max(1, int(0.9 * scene.size / pitch))
        length = columns * pitch + 4
    frame = scene.plot(length, width)
    if frame is None:
        return False
    scene.pave(frame, length, width, main=scene.rng.uniform() < 0.4)
    _joints(scene, frame, length, width)
    ahead = math.pi / 2 * scene.rng.choice([-1, 1]) + scene.rng.choice([0, 0, 0.4, -0.4])
    for row in range(rows):
        y = (row - (rows - 1) / 2) * pitch * 1.15 - 0.1 * reach
        for column in range(columns):
            spot = frame.at((column - (columns - 1) / 2) * pitch, y, ahead)
            right, back = scene.rng.normal(0, 0.03 * reach, 2).tolist()
            spot = spot.at(right, back, scene.rng.normal(0, 0.06))
            at = int(scene.rng.integers(len(looks)))
            chance = scene.rng.uniform()
            if labels[at] == HELICOPTER:
                _pad(scene, spot, reach)
                if scene.rng.uniform() < 0.5:
                    spot = spot.at(0, 0, scene.rng.uniform(0, 2 * math.pi))
            if chance < 0.72:
                scene.add(labels[at], spot, looks[at])
            elif chance < 0.9:
                scene.add_lookalike(labels[at], spot)
    edge = width / 2 - 0.6 * scene.style.unit
    if 2 * scene.style.unit < 0.25 * (reach + width):
        _cars_along(scene, frame.at(0, edge), 0.9 * length, 0.15, 0.4)
    return True


def _joints(scene: Scene, frame: Frame, length: float, width: float) -> None:
    """Mark the joints of concrete slabs and a line to roll along."""
    step = scene.rng.uniform(9, 18)
    for x in np.arange(-length / 2 + step, length / 2, step).tolist():
        scene.canvas.mark(frame.place(line((x, -width / 2), (x, width / 2), 0.5)), 0.12)
    y = scene.rng.uniform(-0.5, 0.5) * width
    scene.canvas.mark(frame.place(line((-length / 2, y), (length / 2, y), 1.0)), 0.5)


def _pad(scene: Scene, frame: Frame, reach: float) -> None:
    """Mark where a helicopter lands: a ring and an H."""
    radius = 0.5 * reach
    _outline(scene, frame, ellipse(24.0, 24.0) * (radius / 12), 1.2, 0.6)
    h = 0.3 * radius
    for start, end in (((-h, -h), (h, -h)), ((-h, h), (h, h)), ((0, -h), (0, h))):
        scene.canvas.mark(frame.place(line(start, end, 1.4)), 0.6)


def tank_farm(scene: Scene, number: int) -> bool:
    """Tanks in a grid, in two or three sizes, with a wall around them."""
    look = scene.one_of(scene.looks(STORAGE_TANK))
    gap = scene.rng.uniform(1.15, 1.5)
    pitch = look.length * 1.08 * gap
    columns = max(1, min(6, math.ceil(math.sqrt(number * 1.4))))
    rows = max(1, min(5, math.ceil(number / columns)))
    while max(rows, columns) * pitch > 0.9 * scene.size and columns * rows > 1:
        rows, columns = max(1, rows - 1), max(1, columns - 1)
    length, width = columns * pitch + 3, rows * pitch + 3
    frame = scene.plot(length, width)
    if frame is None:
        return False
    scene.pave(frame, length, width, main=scene.rng.uniform() < 0.3)
    _outline(scene, frame, centred(length - 1, width - 1), 0.9, 0.3)
    sizes = (1.0, scene.rng.uniform(0.55, 0.95))
    looks = scene.looks(STORAGE_TANK)
    for row in range(rows):
        size = sizes[scene.rng.integers(2)]
        for column in range(columns):
            x, y = (column - (columns - 1) / 2) * pitch, (row - (rows - 1) / 2) * pitch
            spot = frame.at(x, y, scene.rng.uniform(0, 2 * math.pi))
            chance = scene.rng.uniform()
            if chance < 0.78:
                tank = scene.one_of(looks)
                longest = max(8.0, size * min(tank.length, look.length))
                scene.add(STORAGE_TANK, spot, tank.within(longest))
            elif chance < 0.93:
                other = scene.one_of(scene.style.lookalikes[STORAGE_TANK])
                scene.stand(other.within(look.length), spot, None)
    return True


def _outline(scene: Scene, frame: Frame, corners: Points, width: float, opacity: float) -> None:
    """Mark the sides of a polygon, given in the frame."""
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        scene.canvas.mark(frame.place(line(start, end, width)), opacity)


def houses(scene: Scene, number: int) -> bool:
    """Parcels along a street: a house, its pool or what resembles one, a shed, a car."""
    unit = scene.style.unit
    parcel = max(3.2 * unit, 1.5 * max(k.length for k in scene.looks(SWIMMING_POOL)) + 4)
    parcel = min(parcel, 90.0)
    deep = parcel * scene.rng.uniform(1.3, 1.7)
    columns = max(1, min(6, number, int(0.8 * scene.size / parcel)))
    street = max(5.0, 0.9 * unit)
    length, width = columns * parcel, deep + street
    frame = scene.plot(length, width)
    if frame is None:
        return False
    street_frame = frame.at(0, (width - street) / 2)
    scene.pave(street_frame, length + 6, street)
    lawn = blend((112, 124, 76), scene.style.paving[-1], scene.rng.uniform(0, 0.5))
    for column in range(columns):
        middle = frame.at((column - (columns - 1) / 2) * parcel, -street / 2)
        scene.canvas.pave(
            middle.place(centred(parcel * 0.94, deep * 0.96)),
            shade(lawn, scene.rng.uniform(0.85, 1.1)),
            1.8,
        )
        _parcel(scene, middle, parcel, deep)
    if street > 0.8 * unit:
        _cars_along(scene, street_frame.at(0, 0.2 * street), 0.96 * length, 0.3, 0.1)
    return True


def _parcel(scene: Scene, frame: Frame, wide: float, deep: float) -> None:
    """One house with its garden; its street lies towards the frame's y."""
    rng, unit = scene.rng, scene.style.unit
    side = 1 if rng.uniform() < 0.5 else -1
    house = Look(
        "hip-roof" if rng.uniform() < 0.6 else "gable",
        wide * rng.uniform(0.5, 0.66),
        rng.uniform(0.55, 0.75),
        scene.style.roofs,
        variant=rng.uniform(),
    )
    drive = frame.at(-side * 0.4 * wide, 0.26 * deep)
    scene.stand(house, frame.at(side * 0.1 * wide, 0.2 * deep, scene.flip()), None)
    if unit < 0.4 * deep:
        scene.canvas.pave(
            drive.place(centred(0.62 * unit, 0.42 * deep)), scene.style.paving[0], 1.0
        )
        if rng.uniform() < 0.5:
            scene.add_either(SMALL_VEHICLE, drive.at(0, 0, math.pi / 2 + scene.flip()), 0.15)
    garden = frame.at(0, -0.28 * deep)
    pool = scene.one_of(scene.looks(SWIMMING_POOL))
    at = garden.at(side * 0.12 * wide, rng.normal(0, 0.03 * deep), rng.integers(2) * math.pi)
    chance = rng.uniform()
    fits = pool.length < 0.7 * wide and pool.length * pool.aspect < 0.36 * deep
    if fits and chance < 0.7 and SWIMMING_POOL in scene.wanted:
        if rng.uniform() < 0.6:
            terrace = centred(1.3 * pool.length, pool.length * pool.aspect + 0.3 * pool.length)
            scene.canvas.pave(at.place(terrace), scene.style.paving[-1], 0.8)
        scene.add(SWIMMING_POOL, at, pool)
    elif chance < 0.9:
        other = scene.one_of(scene.style.lookalikes[SWIMMING_POOL])
        scene.stand(other.within(0.7 * min(wide, 0.5 * deep / other.aspect)), at, None)
    if rng.uniform() < 0.5:
        corner = frame.at(-side * 0.36 * wide, -0.38 * deep, rng.integers(2) * math.pi / 2)
        shed = scene.one_of(scene.style.lookalikes[SMALL_VEHICLE])
        scene.stand(shed.within(0.24 * wide), corner, None)
    if rng.uniform() < 0.5:
        tree = frame.at(-side * 0.34 * wide, -0.1 * deep, rng.uniform(0, 6))
        scene.stand(scene.style.trees.within(0.3 * wide), tree, None)


def road(scene: Scene) -> None:
    """A road through the picture, with traffic on the right."""
    unit = scene.style.unit
    lane = max(5.0, 0.75 * unit)
    lanes = int(scene.rng.integers(1, 3))
    width = 2 * lanes * lane + 2
    for _ in range(6):
        frame, length = scene.crossing(), 3.0 * scene.size
        if scene.ground.free(frame, length, width):
            break
    else:
        return
    scene.ground.take(frame, length, width + 4)
    _carriageway(scene, frame, length, width, lane)
    for direction in (0, 1):
        heading = direction * math.pi
        for number in range(lanes):
            side = (number + 0.5) * lane + 0.5
            x = -1.0 * scene.size
            while x < scene.size:
                x += unit * (1.2 + scene.rng.exponential(3.5))
                large = LARGE_VEHICLE in scene.wanted and scene.rng.uniform() < 0.3
                label = LARGE_VEHICLE if large else SMALL_VEHICLE
                look = scene.one_of(scene.looks(label))
                x += look.length / 2
                if label in scene.wanted and look.length * look.aspect < lane:
                    along = -x if direction else x
                    y = -side if direction else side
                    spot = frame.at(along, y, heading + scene.rng.normal(0, 0.02))
                    scene.add(label, spot, look)
                x += look.length / 2


def _carriageway(scene: Scene, frame: Frame, length: float, width: float, lane: float) -> None:
    scene.pave(frame, length, width)
    dash = 1.2 * lane
    count = int(length / (2 * dash))
    edge = width / 2 - 0.8
    for y in (-edge, edge):
        scene.canvas.mark(frame.place(line((-length, y), (length, y), 0.7)), 0.45)
    for i in range(-count // 2, count // 2):
        for y in np.arange(-width / 2 + 1 + lane, width / 2 - lane / 2, lane).tolist():
            ends = ((2 * i * dash, y), ((2 * i + 1) * dash, y))
            scene.canvas.mark(frame.place(line(*ends, 0.7)), 0.5)

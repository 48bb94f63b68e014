"""What a picture is filled with: water and roads first, then plots, then what stands around."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from training.data.rendering import land, water
from training.data.rendering.looks import Look
from training.data.rendering.scene import Scene
from training.data.rendering.style import (
    BRIDGE,
    HELICOPTER,
    LARGE_VEHICLE,
    PLANE,
    SHIP,
    SMALL_VEHICLE,
    STORAGE_TANK,
    SWIMMING_POOL,
)

LOOKALIKE_SITES = 0.5
"""How often the look-alikes of a class that occurs fill a site of their own, laid out like its."""


def fill(scene: Scene, target: int) -> None:
    """Lay out the picture until it holds about ``target`` labelled objects.

    Every wanted class occurs if there is room for it; each gets a random share of the objects.
    """
    rng = scene.rng
    labels = sorted(scene.wanted)
    drawn = rng.dirichlet(np.full(len(labels), 3.0)) * target
    share = dict(zip(labels, drawn.tolist(), strict=True))
    if BRIDGE in share or (SHIP in share and rng.uniform() < 0.3):
        water.river(scene)
    if SHIP in share and scene.count(SHIP) < 2:
        water.harbour(scene, max(3, round(share[SHIP])))
    if scene.wanted & {SMALL_VEHICLE, LARGE_VEHICLE} and rng.uniform() < 0.4:
        land.road(scene)
    sites: dict[int, tuple[Callable[[Scene, int], bool], ...]] = {
        SMALL_VEHICLE: (land.car_park, land.car_park, land.houses),
        LARGE_VEHICLE: (land.yard,),
        PLANE: (land.apron,),
        HELICOPTER: (land.apron,),
        STORAGE_TANK: (land.tank_farm,),
        SWIMMING_POOL: (land.houses,),
    }
    for label in labels:
        if label in sites and rng.uniform() < LOOKALIKE_SITES:
            site = sites[label][rng.integers(len(sites[label]))]
            with scene.with_lookalikes(label):
                site(scene, max(1, min(20, round(share[label] * rng.uniform(0.4, 1.0)))))
    refused = {label: 0 for label in labels if label in sites}
    while True:
        counts = {label: scene.count(label) for label in refused}
        missing = [label for label, count in counts.items() if not count]
        if not refused or (scene.count() >= target and not missing):
            break
        # The class that lacks most comes next.
        label = max(missing or refused, key=lambda each: share[each] - counts[each])
        lacking = max(1, min(28, round(share[label] - counts[label])))
        site = sites[label][rng.integers(len(sites[label]))]
        if not site(scene, max(1, lacking >> refused[label])):
            refused[label] += 1
            if refused[label] == 4:
                del refused[label]
    _surroundings(scene)


def _surroundings(scene: Scene) -> None:
    """Houses, halls with roof boxes, trees, and stray look-alikes where ground is free."""
    rng, style, unit = scene.rng, scene.style, scene.style.unit
    for _ in range(int(rng.integers(0, 3))):
        length, aspect = unit * rng.uniform(3, 7), rng.uniform(0.4, 0.8)
        frame = scene.plot(length, length * aspect)
        if frame is not None:
            hall = Look("hall", length, aspect, style.roofs, spread=0.0)
            scene.stand(hall, frame, None, low=True)
            for _ in range(int(rng.integers(1, 7))):
                x, y = rng.uniform(-0.4, 0.4, 2) * (length, length * aspect)
                spot = frame.at(x, y, rng.integers(4) * math.pi / 2)
                other = scene.one_of(style.lookalikes[SMALL_VEHICLE])
                scene.stand(other.within(0.3 * length * aspect), spot, None)
    for label, number in (
        (SMALL_VEHICLE, 4), (LARGE_VEHICLE, 2), (STORAGE_TANK, 3), (PLANE, 1), (HELICOPTER, 1),
        (SWIMMING_POOL, 1),
    ):  # fmt: skip
        for _ in range(int(rng.integers(0, number + 1))):
            look = scene.one_of(style.lookalikes[label])
            wide = look.length * max(1.0, look.aspect)
            frame = scene.plot(wide + 2, wide + 2)
            if frame is not None:
                scene.stand(look, frame, None)
    for _ in range(int(rng.integers(0, 9))):
        wide = style.trees.length
        frame = scene.plot(wide, wide, margin=0.0)
        if frame is not None:
            scene.stand(style.trees, frame, None)

"""What is decided once a picture: the look of every class, of its look-alikes, and of the ground.

A class and its look-alikes take their kinds, paints and sizes from tables that overlap. One
picture never gives the same kind to both, so within a picture an object can be told from its
look-alikes, but what is a vehicle in one picture can be a roof box in another one. In most pictures
the two even take their kinds from what both tables hold: then nothing but a click tells which is
which.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.data.readers.dota import TINY_CLASSES
from training.data.rendering.looks import Look
from training.data.rendering.shapes import Colour

(
    PLANE,
    BRIDGE,
    SMALL_VEHICLE,
    LARGE_VEHICLE,
    SHIP,
    STORAGE_TANK,
    SWIMMING_POOL,
    HELICOPTER,
) = range(len(TINY_CLASSES))
TREE = len(TINY_CLASSES)
"""The label of drawn trees, which belong to none of the classes."""

Range = tuple[float, float]
UNIT: Range = (7.0, 21.0)
"""Typical length of a small vehicle in a picture; every other size follows it."""

CAR_PAINTS: tuple[Colour, ...] = (
    (232, 232, 230), (196, 198, 202), (128, 130, 134), (54, 55, 60), (150, 44, 40), (52, 78, 128),
    (62, 84, 66), (178, 160, 128), (104, 78, 60), (206, 168, 60), (88, 116, 150), (120, 40, 60),
)  # fmt: skip
BOX_PAINTS: tuple[Colour, ...] = (
    (206, 204, 198), (150, 148, 142), (128, 92, 70), (146, 76, 58), (96, 104, 92), (80, 92, 112),
    (176, 160, 130), (70, 70, 72),
)  # fmt: skip
CONTAINER_PAINTS: tuple[Colour, ...] = (
    (150, 66, 48), (48, 80, 122), (70, 104, 82), (198, 194, 184), (188, 142, 62), (92, 92, 96),
)  # fmt: skip
AIR_PAINTS: tuple[Colour, ...] = (
    (238, 238, 236), (214, 216, 218), (150, 154, 160), (110, 118, 104), (196, 184, 158),
    (88, 92, 100),
)  # fmt: skip
SHIP_PAINTS: tuple[Colour, ...] = (
    (236, 236, 232), (212, 206, 192), (120, 62, 50), (60, 72, 96), (88, 88, 86), (146, 130, 104),
)  # fmt: skip
TANK_PAINTS: tuple[Colour, ...] = (
    (230, 230, 226), (200, 200, 196), (160, 158, 150), (150, 110, 84), (204, 192, 160),
    (124, 142, 130),
)  # fmt: skip
WATER_PAINTS: tuple[Colour, ...] = (
    (86, 186, 204), (60, 150, 190), (118, 206, 208), (52, 108, 150), (88, 126, 104), (64, 84, 74),
)  # fmt: skip
BRIDGE_PAINTS: tuple[Colour, ...] = (
    (168, 166, 160), (126, 126, 126), (196, 190, 178), (148, 118, 88), (98, 98, 102),
)  # fmt: skip
ACCENTS: tuple[Colour, ...] = (
    (232, 232, 228), (176, 52, 44), (46, 82, 140), (206, 160, 56), (92, 92, 94), (190, 164, 126),
)  # fmt: skip
TREE_PAINTS: tuple[Colour, ...] = ((84, 106, 58), (106, 118, 70), (66, 92, 62), (122, 120, 72))
ROOF_PAINTS: tuple[Colour, ...] = (
    (156, 84, 64), (134, 104, 86), (112, 112, 114), (172, 160, 146), (90, 82, 80), (188, 186, 182),
)  # fmt: skip


@dataclass(frozen=True)
class _Kind:
    """Ranges that a kind's look is drawn from.

    Attributes:
        length: In units of the picture's small vehicle.
        limits: In pixels; the typical length is brought between them.
        aspect: Width as a part of the length.
        weight: How often it is chosen, relative to its neighbours in the table.
        accents: For the second colour.
        paints: Where they differ from those of the table's owner.
    """

    length: Range
    limits: Range
    aspect: Range
    weight: float = 1.0
    accents: tuple[Colour, ...] = ACCENTS
    paints: tuple[Colour, ...] | None = None


@dataclass(frozen=True)
class _Owner:
    """The kinds that a class, or its look-alikes, can have in a picture.

    Attributes:
        paints: What its palette is drawn from.
        palette: Fewest and most paints of one picture.
        kinds: By name in ``looks.KINDS``.
    """

    paints: tuple[Colour, ...]
    palette: tuple[int, int]
    kinds: Mapping[str, _Kind]


_SMALL = ((1.0, 1.0), (6.8, 24.0))
_LARGE = ((1.9, 3.1), (16.0, 55.0))
_TANK = ((1.0, 3.2), (8.5, 54.0))
_POOL = ((0.8, 2.0), (7.5, 38.0))
_ACROSS = ((2.0, 4.5), (20.0, 54.0))
_WHITISH = AIR_PAINTS[:2] + TANK_PAINTS[:2]
_DEEP = ((70, 88, 84), (92, 98, 86), (54, 66, 74))
_WOOD: tuple[Colour, ...] = ((148, 118, 88), (120, 104, 84), (166, 150, 124))

OWNERS: tuple[_Owner, ...] = (
    _Owner(
        AIR_PAINTS,
        (1, 2),
        {
            "airliner": _Kind((2.2, 4.0), (18, 52), (0.86, 1.04), 1.4),
            "propeller": _Kind((1.3, 2.2), (13, 38), (1.1, 1.4)),
            "fighter": _Kind((1.8, 3.0), (15, 46), (0.58, 0.74), 0.8),
        },
    ),
    _Owner(
        BRIDGE_PAINTS,
        (1, 1),
        {
            "deck": _Kind(*_ACROSS, (0.2, 0.34)),
            "truss-bridge": _Kind(*_ACROSS, (0.18, 0.3), 0.8),
            "girder-bridge": _Kind(*_ACROSS, (0.18, 0.3), 0.8),
            "plank-bridge": _Kind(*_ACROSS, (0.12, 0.2), 0.6, paints=_WOOD),
        },
    ),
    _Owner(
        CAR_PAINTS,
        (1, 4),
        {
            "car": _Kind(*_SMALL, (0.42, 0.5), 3.0),
            "pickup": _Kind(*_SMALL, (0.4, 0.46)),
            "plain-box": _Kind(*_SMALL, (0.42, 0.52)),
            "barred-box": _Kind(*_SMALL, (0.42, 0.52), 1.2),
        },
    ),
    _Owner(
        CONTAINER_PAINTS + CAR_PAINTS[:3],
        (1, 3),
        {
            "lorry": _Kind(*_LARGE, (0.22, 0.3), 2.0),
            "tipper": _Kind(*_LARGE, (0.26, 0.34), 0.8),
            "tanker": _Kind(*_LARGE, (0.22, 0.28), 0.6, paints=_WHITISH),
            "long-box": _Kind(*_LARGE, (0.2, 0.3), 1.2),
            "container": _Kind(*_LARGE, (0.24, 0.36), 0.8),
            "open-box": _Kind(*_LARGE, (0.26, 0.34), 0.8),
        },
    ),
    _Owner(
        SHIP_PAINTS,
        (1, 3),
        {
            "motor-boat": _Kind((0.9, 2.6), (9, 44), (0.3, 0.4), 1.5),
            "sailing-boat": _Kind((1.0, 2.6), (10, 44), (0.26, 0.34), 1.2),
            "barge": _Kind((2.0, 4.5), (20, 55), (0.16, 0.24)),
            "cargo-ship": _Kind((2.4, 4.5), (26, 55), (0.18, 0.24), 0.8),
            "pontoon": _Kind((0.9, 2.4), (9, 40), (0.28, 0.5), 0.6),
        },
    ),
    _Owner(
        TANK_PAINTS,
        (1, 2),
        {
            "cone": _Kind(*_TANK, (1, 1), 1.3),
            "sunk-roof": _Kind(*_TANK, (1, 1), 1.2, accents=TANK_PAINTS),
            "flat-roof": _Kind(*_TANK, (1, 1)),
            "dome": _Kind(*_TANK, (1, 1)),
        },
    ),
    _Owner(
        WATER_PAINTS[:5],
        (1, 1),
        {
            "pool": _Kind(*_POOL, (0.45, 0.7), 2.4, accents=(*_WHITISH, (200, 180, 150))),
            "bare-pool": _Kind(*_POOL, (0.45, 0.7), 0.8),
        },
    ),
    _Owner(
        (*AIR_PAINTS, (150, 50, 44), (52, 76, 118), (206, 166, 58)),
        (1, 2),
        {"helicopter": _Kind((1.7, 2.7), (15, 46), (0.78, 0.94))},
    ),
)

LOOKALIKES: tuple[_Owner, ...] = (
    _Owner(
        AIR_PAINTS,
        (1, 1),
        {
            "cross": _Kind((1.6, 3.0), (14, 46), (0.7, 1.0)),
            "bars": _Kind((1.3, 2.6), (12, 40), (0.8, 1.0), paints=(*_WHITISH, (206, 168, 60))),
        },
    ),
    _Owner(
        BRIDGE_PAINTS,
        (1, 1),
        {
            "deck": _Kind(*_ACROSS, (0.12, 0.2)),
            "plank-bridge": _Kind(*_ACROSS, (0.12, 0.2), 1.2, paints=_WOOD),
            "pipe": _Kind(*_ACROSS, (0.06, 0.1)),
        },
    ),
    _Owner(
        BOX_PAINTS,
        (1, 3),
        {
            "gable": _Kind((0.9, 1.5), (7, 30), (0.5, 0.9), 1.2),
            "open-box": _Kind((0.8, 1.3), (7, 26), (0.42, 0.6)),
            "plain-box": _Kind((0.9, 1.2), (6.5, 26), (0.42, 0.6), 1.3),
            "barred-box": _Kind((0.9, 1.2), (6.5, 26), (0.42, 0.6), 1.3),
        },
    ),
    _Owner(
        CONTAINER_PAINTS,
        (1, 4),
        {
            "container": _Kind(*_LARGE, (0.24, 0.36), 1.5),
            "gable": _Kind(*_LARGE, (0.26, 0.4)),
            "long-box": _Kind(*_LARGE, (0.2, 0.3)),
            "open-box": _Kind(*_LARGE, (0.26, 0.34), 0.8),
        },
    ),
    _Owner(
        (*SHIP_PAINTS, *_WOOD),
        (1, 2),
        {
            "pontoon": _Kind((0.8, 2.4), (8, 40), (0.28, 0.5), 1.2),
            "rock": _Kind((0.5, 2.0), (6, 34), (0.5, 0.9), paints=((120, 116, 106), (98, 94, 84))),
            "barge": _Kind((1.6, 3.6), (16, 50), (0.18, 0.3)),
        },
    ),
    _Owner(
        TANK_PAINTS,
        (1, 2),
        {
            "clarifier": _Kind(*_TANK, (1, 1), 1.2, accents=_DEEP),
            "tree": _Kind((0.7, 2.0), (8, 36), (1, 1), paints=TREE_PAINTS),
            "cone": _Kind(*_TANK, (1, 1)),
            "flat-roof": _Kind(*_TANK, (1, 1)),
            "dome": _Kind(*_TANK, (1, 1)),
        },
    ),
    _Owner(
        WATER_PAINTS,
        (1, 1),
        {
            "bare-pool": _Kind(*_POOL, (0.45, 0.8), 1.2),
            "pool": _Kind(*_POOL, (0.45, 0.7), 0.8, accents=(*_WHITISH, (200, 180, 150))),
            "pond": _Kind(*_POOL, (0.55, 0.9), paints=WATER_PAINTS[3:]),
            "solar-panels": _Kind(*_POOL, (0.4, 0.8), paints=((42, 56, 92), (36, 44, 66))),
            "court": _Kind((1.2, 2.6), (12, 44), (0.45, 0.6), paints=WATER_PAINTS[1:5]),
        },
    ),
    _Owner(
        AIR_PAINTS,
        (1, 1),
        {
            "turbine": _Kind((1.7, 2.7), (14, 44), (1, 1), paints=_WHITISH),
            "bars": _Kind((1.3, 2.4), (12, 36), (0.9, 1.0), paints=_WHITISH),
        },
    ),
)
"""What resembles each class without being it, by the label of the class."""

SHARED_PAINTS = 0.5
"""How often a class's look-alikes wear the paints of the class."""
SHARED_KINDS = 0.7
"""How often a class or its look-alikes, or both, have a kind that the other can have as well."""


@dataclass(frozen=True)
class Style:
    """What one picture's objects and ground have in common.

    Attributes:
        unit: Typical length of a small vehicle, in pixels.
        looks: By label, the looks that the objects of the class have.
        lookalikes: By label, the looks of what resembles the class.
        sun: Direction from the ground towards the sun, in radians; shadows fall the other way.
        shadow: Length of a shadow per height of its body.
        darkness: Part of the light that a shadow takes, 0 to 1.
        grid: Direction that streets, plots and rows keep to, in radians.
        paving: Colours of the plots, the most frequent one first.
        water: Colour of rivers and basins.
        roofs: Colours of houses.
        trees: Look of planted trees.
        blur: Standard deviation of the point spread function, in pixels.
        grain: Standard deviation of the sensor's noise, 0 to 255.
    """

    unit: float
    looks: tuple[tuple[Look, ...], ...]
    lookalikes: tuple[tuple[Look, ...], ...]
    sun: float
    shadow: float
    darkness: float
    grid: float
    paving: tuple[Colour, ...]
    water: Colour
    roofs: tuple[Colour, ...]
    trees: Look
    blur: float
    grain: float


PAVINGS: tuple[Colour, ...] = (
    (108, 108, 110), (134, 132, 128), (172, 168, 160), (150, 136, 114), (88, 88, 92),
    (184, 172, 148),
)  # fmt: skip
WATERS: tuple[Colour, ...] = (
    (44, 66, 70), (58, 84, 92), (70, 92, 78), (38, 58, 84), (92, 104, 88), (30, 44, 52),
)  # fmt: skip


def draw_style(sun: float, rng: np.random.Generator) -> Style:
    """Decide what a picture looks like.

    Args:
        sun: See ``Style``; the background has its own shadows, which the drawn ones follow.
        rng: Source of randomness.
    """
    unit = math.exp(rng.uniform(math.log(UNIT[0]), math.log(UNIT[1])))
    looks, lookalikes = [], []
    for owner, twin in zip(OWNERS, LOOKALIKES, strict=True):
        shared = [name for name in owner.kinds if name in twin.kinds]
        if shared and rng.uniform() < SHARED_KINDS:
            kinds, others = _choose_shared(owner, twin, shared, rng)
        else:
            kinds = _choose(owner, 1 + int(rng.uniform() < 0.35), rng)
            others = _choose(twin, 1 + int(rng.uniform() < 0.5), rng, without=kinds)
        paints = _pick(owner.paints, int(rng.integers(*owner.palette, endpoint=True)), rng)
        if rng.uniform() < SHARED_PAINTS:
            other_paints = paints
        else:
            number = int(rng.integers(*twin.palette, endpoint=True))
            other_paints = _pick(twin.paints, number, rng)
        looks.append(tuple(_look(kind, owner.kinds[kind], unit, paints, rng) for kind in kinds))
        lookalikes.append(
            tuple(_look(kind, twin.kinds[kind], unit, other_paints, rng) for kind in others)
        )
    tree = _Kind((0.8, 1.6), (8, 40), (1, 1), paints=TREE_PAINTS)
    return Style(
        unit=unit,
        looks=tuple(looks),
        lookalikes=tuple(lookalikes),
        sun=sun,
        shadow=rng.uniform(0.5, 1.3),
        darkness=rng.uniform(0.4, 0.65),
        grid=rng.uniform(0, math.pi),
        paving=_pick(PAVINGS, 2, rng),
        water=_pick(WATERS, 1, rng)[0],
        roofs=_pick(ROOF_PAINTS, 2, rng),
        trees=_look("tree", tree, unit, (), rng, spread=0.3),
        blur=rng.uniform(0.35, 0.8),
        grain=rng.uniform(1.0, 4.0),
    )


def _pick(colours: Sequence[Colour], number: int, rng: np.random.Generator) -> tuple[Colour, ...]:
    """Draw different colours."""
    chosen = rng.choice(len(colours), min(number, len(colours)), replace=False)
    return tuple(colours[i] for i in chosen.tolist())


def _choose(
    owner: _Owner, number: int, rng: np.random.Generator, without: Sequence[str] = ()
) -> tuple[str, ...]:
    """Draw different kinds by their weights, leaving some out."""
    names = [name for name in owner.kinds if name not in without]
    weights = np.array([owner.kinds[name].weight for name in names])
    chosen = rng.choice(
        len(names), min(number, len(names)), replace=False, p=weights / weights.sum()
    )
    return tuple(names[i] for i in chosen.tolist())


def _choose_shared(
    owner: _Owner, twin: _Owner, shared: Sequence[str], rng: np.random.Generator
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Draw one kind for a class and one for its look-alikes, from what both can have.

    If they share but one kind, either of them has it.
    """
    kind = shared[int(rng.integers(len(shared)))]
    rest = [name for name in shared if name != kind]
    if rest:
        return (kind,), (rest[int(rng.integers(len(rest)))],)
    if rng.uniform() < 0.5:
        return (kind,), _choose(twin, 1, rng, without=(kind,))
    return _choose(owner, 1, rng, without=(kind,)), (kind,)


def _look(
    name: str,
    kind: _Kind,
    unit: float,
    paints: tuple[Colour, ...],
    rng: np.random.Generator,
    spread: float = 0.08,
) -> Look:
    length = unit * rng.uniform(*kind.length)
    return Look(
        kind=name,
        length=min(kind.limits[1], max(kind.limits[0], length)),
        aspect=rng.uniform(*kind.aspect),
        paints=paints if kind.paints is None else _pick(kind.paints, 2, rng),
        accent=_pick(kind.accents, 1, rng)[0],
        spread=spread,
        variant=rng.uniform(),
    )

"""Aircraft and ships, and what resembles them."""

from __future__ import annotations

import math

import numpy as np

from training.data.rendering.brush import CONCRETE, DARK, GLASS, WHITE, Brush, Kinds, body
from training.data.rendering.shapes import (
    Body,
    Part,
    Points,
    blend,
    centred,
    ellipse,
    line,
    rectangle,
    shade,
    symmetric,
)


def _wings(root: float, chord: float, sweep: float, tip: float, span: float) -> Points:
    """Both wings: root and chord at the fuselage, the tip's chord, and how far it lies back."""
    return symmetric(
        (root, 0),
        (root - sweep, span / 2),
        (root - sweep - tip, span / 2),
        (root - chord, 0.04 * span),
        (root - chord, 0),
    )


def _fuselage(a: float, width: float) -> Points:
    return symmetric(
        (0.5 * a, 0), (0.47 * a, 0.3 * width), (0.38 * a, 0.5 * width), (-0.2 * a, 0.5 * width),
        (-0.5 * a, 0.12 * width),
    )  # fmt: skip


def _airliner(brush: Brush) -> Body:
    """A jet with swept wings and engines under them."""
    a, paint = brush.length, brush.paint
    span = brush.width
    sweep = (0.16 + 0.14 * brush.variant) * span
    thick = max(1.8, 0.11 * a)
    wing = shade(paint, 0.9)
    ahead = 0.14 * a
    pods = []
    for share in (0.3, 0.55) if brush.variant > 0.75 else (0.34,):
        for side in (-1, 1):
            x = ahead - sweep * share - 0.01 * a
            pod = centred(0.11 * a, 0.045 * a, x, side * share * span / 2)
            pods.append(Part(pod, shade(paint, 0.62), casts=True))
    return body(
        0.14 * a,
        *pods,
        Part(_wings(ahead, 0.2 * a, sweep, 0.06 * a, span), wing, casts=True),
        Part(_wings(-0.36 * a, 0.12 * a, 0.08 * a, 0.05 * a, 0.36 * span), wing, casts=True),
        Part(_fuselage(a, thick), paint, casts=True),
        Part(line((-0.28 * a, 0), (-0.49 * a, 0), max(0.7, 0.03 * a)), brush.accent),
        Part(centred(0.03 * a, 0.45 * thick, 0.44 * a), GLASS),
    )


def _propeller(brush: Brush) -> Body:
    """A light aircraft with straight wings."""
    a, span, paint = brush.length, brush.width, brush.paint
    wing = blend(paint, shade(paint, 0.92), brush.rng.uniform())
    chord = (0.17 + 0.05 * brush.variant) * a
    thick = max(1.8, 0.13 * a)
    return body(
        0.16 * a,
        Part(centred(chord, span, 0.14 * a), wing, casts=True),
        Part(centred(0.13 * a, 0.34 * span, -0.42 * a), wing, casts=True),
        Part(_fuselage(a, thick), paint, casts=True),
        Part(centred(0.1 * a, 0.7 * thick, 0.22 * a), GLASS),
        Part(line((0.49 * a, -0.13 * a), (0.49 * a, 0.13 * a), max(0.5, 0.02 * a)), DARK),
        Part(centred(chord, 0.1 * span, 0.14 * a, 0.42 * span), brush.accent),
        Part(centred(chord, 0.1 * span, 0.14 * a, -0.42 * span), brush.accent),
    )


def _fighter(brush: Brush) -> Body:
    """A delta-winged jet."""
    a, span, paint = brush.length, brush.width, brush.paint
    delta = symmetric(
        (0.2 * a, 0), (0.12 * a, 0.1 * span), (-0.24 * a, span / 2), (-0.32 * a, span / 2),
        (-0.34 * a, 0.05 * span),
    )  # fmt: skip
    tail = _wings(-0.36 * a, 0.1 * a, 0.08 * a, 0.06 * a, 0.44 * span)
    return body(
        0.12 * a,
        Part(delta, shade(paint, 0.93), casts=True),
        Part(tail, shade(paint, 0.88), casts=True),
        Part(_fuselage(a, max(1.8, 0.13 * a)), paint, casts=True),
        Part(ellipse(0.14 * a, 0.06 * a, 0.24 * a), GLASS),
        Part(line((-0.3 * a, 0.06 * a), (-0.5 * a, 0.06 * a), 0.03 * a), shade(paint, 0.6)),
        Part(line((-0.3 * a, -0.06 * a), (-0.5 * a, -0.06 * a), 0.03 * a), shade(paint, 0.6)),
    )


def _cross(brush: Brush) -> Body:
    """A cross-shaped building."""
    a, b, paint = brush.length, brush.width, brush.paint
    arm = 0.24 * a
    return body(
        0.25 * a,
        Part(centred(arm, b, 0.08 * a), shade(paint, 0.86), casts=True),
        Part(centred(a, arm), shade(paint, brush.lit(0, -1)), casts=True),
        Part(rectangle(-a / 2, 0, a / 2, arm / 2), shade(paint, brush.lit(0, 1))),
        Part(rectangle(0.08 * a, -b / 2, 0.08 * a + arm / 2, b / 2), shade(paint, 1.05)),
    )


def _bars(brush: Brush) -> Body:
    """Two plain bars across each other: a mark of a closed runway."""
    a, b = brush.length, brush.width
    thick = (0.12 + 0.06 * brush.variant) * a
    return body(
        0.0,
        Part(centred(a, thick), brush.paint),
        Part(centred(thick, b, 0.05 * a), brush.paint),
    )


def _blades(count: int, radius: float, thick: float, turn: float, x: float) -> list[Points]:
    """Blades around a mast at ``(x, 0)``."""
    angles = turn + np.arange(count) * (2 * math.pi / count)
    return [
        line((x, 0), (x + radius * math.cos(angle), radius * math.sin(angle)), thick)
        for angle in angles
    ]


def _helicopter(brush: Brush) -> Body:
    """A helicopter: cabin, tail boom, tail rotor and 2 to 5 blades."""
    a, paint = brush.length, brush.paint
    radius = brush.width / 2
    count = 2 + int(3.99 * brush.variant)
    thick = max(0.8, 0.024 * a)
    blade = blend(DARK, CONCRETE, brush.variant * 7 % 1)
    mast, fat = 0.16 * a, 0.24 * a
    turn = brush.rng.uniform(0, math.pi)
    boom = symmetric((0.0, 0.28 * fat), (-0.5 * a, max(0.5, 0.06 * fat)))
    cabin = symmetric(
        (0.42 * a, 0.12 * fat), (0.37 * a, 0.36 * fat), (0.24 * a, 0.5 * fat),
        (0.06 * a, 0.5 * fat), (-0.08 * a, 0.28 * fat),
    )  # fmt: skip
    return body(
        0.14 * a,
        Part(boom, shade(paint, 0.88), casts=True),
        Part(centred(0.07 * a, 0.2 * a, -0.4 * a), paint, casts=True),
        Part(line((-0.46 * a, -0.01 * a), (-0.46 * a, 0.09 * a), max(0.8, 0.03 * a)), blade),
        Part(cabin, shade(paint, 0.92), casts=True),
        Part(cabin * 0.7 + (0.04 * a, 0), shade(paint, 1.06)),
        Part(
            symmetric((0.42 * a, 0.1 * fat), (0.37 * a, 0.34 * fat), (0.3 * a, 0.36 * fat)), GLASS
        ),
        Part(centred(0.2 * a, 0.34 * fat, 0.08 * a), brush.accent),
        *(Part(points, blade) for points in _blades(count, radius, thick, turn, mast)),
        Part(ellipse(0.06 * a, 0.06 * a, mast), DARK),
    )


def _turbine(brush: Brush) -> Body:
    """A wind turbine from above: a nacelle with three blades."""
    a, paint = brush.length, brush.paint
    turn = brush.rng.uniform(0, math.pi)
    blades = _blades(3, 0.5 * a, max(0.9, 0.04 * a), turn, 0.0)
    return body(
        0.5 * a,
        Part(centred(0.3 * a, 0.09 * a, -0.08 * a), shade(paint, 0.85), casts=True),
        *(Part(points, paint) for points in blades),
    )


def _hull(a: float, b: float, bow: float, stern: float) -> Points:
    """A hull: the bow begins ``bow`` of the length from the tip; the stern's width is a share."""
    return symmetric(
        (0.5 * a, 0.02 * b),
        ((0.5 - 0.4 * bow) * a, 0.32 * b),
        ((0.5 - bow) * a, 0.5 * b),
        (-0.3 * a, 0.5 * b),
        (-0.5 * a, 0.5 * stern * b),
    )


def _motor_boat(brush: Brush) -> Body:
    """A motor boat: foredeck, windscreen, open cockpit."""
    a, b, paint = brush.length, brush.width, brush.paint
    deck = shade(paint, 1.1)
    return body(
        0.1 * a,
        Part(_hull(a, b, 0.5, 0.86), shade(paint, 0.82), casts=True),
        Part(_hull(0.9 * a, 0.76 * b, 0.5, 0.86), deck),
        Part(symmetric((0.14 * a, 0.12 * b), (0.02 * a, 0.32 * b), (-0.06 * a, 0.32 * b)), GLASS),
        Part(rectangle(-0.44 * a, -0.3 * b, -0.06 * a, 0.3 * b), brush.accent),
        Part(rectangle(-0.26 * a, -0.24 * b, -0.04 * a, 0.24 * b), shade(paint, 1.15)),
    )


def _sailing_boat(brush: Brush) -> Body:
    """A sailing boat with its sail furled on the boom."""
    a, b, paint = brush.length, brush.width, brush.paint
    return body(
        0.3 * a,
        Part(_hull(a, b, 0.55, 0.7), paint, casts=True),
        Part(_hull(0.88 * a, 0.7 * b, 0.55, 0.7), brush.accent),
        Part(symmetric((0.24 * a, 0.08 * b), (0.1 * a, 0.24 * b), (-0.1 * a, 0.24 * b)), paint),
        Part(rectangle(-0.4 * a, -0.2 * b, -0.16 * a, 0.2 * b), shade(brush.accent, 0.65)),
        Part(line((0.1 * a, 0), (-0.34 * a, 0), max(0.7, 0.1 * b)), shade(paint, 1.1)),
        Part(ellipse(0.06 * a, 0.06 * a, 0.1 * a), DARK),
    )


def _barge(brush: Brush) -> Body:
    """A river barge with hatches, or a working pontoon with a hut."""
    a, b, paint = brush.length, brush.width, brush.paint
    hatches = [
        Part(centred(0.19 * a, 0.7 * b, x * a), shade(brush.accent, brush.rng.uniform(0.8, 1.1)))
        for x in (-0.14, 0.08, 0.3)
    ]
    return body(
        0.3 * b,
        Part(_hull(a, b, 0.1, 0.9), shade(paint, 0.8), casts=True),
        Part(_hull(0.95 * a, 0.86 * b, 0.1, 0.9), paint),
        *hatches,
        Part(centred(0.13 * a, 0.7 * b, -0.38 * a), WHITE),
        Part(centred(0.03 * a, 0.6 * b, -0.31 * a), GLASS),
    )


def _cargo_ship(brush: Brush) -> Body:
    """A freighter: coloured cargo in front of a white bridge."""
    a, b, paint = brush.length, brush.width, brush.paint
    colours = ((168, 70, 52), (58, 88, 130), (196, 190, 176), (82, 110, 84), (190, 150, 70))
    cargo = [
        Part(
            rectangle(x * a, y * b, (x + 0.1) * a, (y + 0.36) * b),
            colours[brush.rng.integers(len(colours))],
        )
        for x in (-0.24, -0.12, 0.0, 0.12, 0.24)
        for y in (-0.38, 0.02)
    ]
    return body(
        0.5 * b,
        Part(_hull(a, b, 0.18, 0.8), shade(paint, 0.8), casts=True),
        Part(_hull(0.96 * a, 0.84 * b, 0.18, 0.8), brush.accent),
        *cargo,
        Part(rectangle(-0.42 * a, -0.42 * b, -0.28 * a, 0.42 * b), WHITE, casts=True),
        Part(rectangle(-0.31 * a, -0.4 * b, -0.28 * a, 0.4 * b), GLASS),
    )


def _pontoon(brush: Brush) -> Body:
    """A floating raft of planks."""
    a, b, paint = brush.length, brush.width, brush.paint
    planks = [
        Part(line((x * a, -0.46 * b), (x * a, 0.46 * b), max(0.4, 0.03 * a)), shade(paint, 0.82))
        for x in (-0.3, -0.1, 0.1, 0.3)
    ]
    return body(0.1 * b, Part(centred(a, b), paint, casts=True), *planks)


def _rock(brush: Brush) -> Body:
    """A rock or a bank: an uneven blob."""
    a, b, paint = brush.length, brush.width, brush.paint
    outline = ellipse(a, b)
    shape = outline * brush.rng.uniform(0.7, 1.0, (len(outline), 1))
    return body(
        0.1 * b,
        Part(shape, shade(paint, 0.85), casts=True),
        Part(shape * 0.7 + np.array(brush.light) * 0.08 * b, shade(paint, 1.1)),
    )


KINDS: Kinds = {
    "airliner": _airliner,
    "propeller": _propeller,
    "fighter": _fighter,
    "cross": _cross,
    "bars": _bars,
    "helicopter": _helicopter,
    "turbine": _turbine,
    "motor-boat": _motor_boat,
    "sailing-boat": _sailing_boat,
    "barge": _barge,
    "cargo-ship": _cargo_ship,
    "pontoon": _pontoon,
    "rock": _rock,
}

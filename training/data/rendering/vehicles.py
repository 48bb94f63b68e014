"""Vehicles, and the boxes, sheds and containers that resemble them."""

from __future__ import annotations

import math

from training.data.rendering.brush import DARK, GLASS, Brush, Kinds, body
from training.data.rendering.shapes import (
    Body,
    Part,
    blend,
    centred,
    ellipse,
    line,
    rectangle,
    rounded,
    shade,
    symmetric,
)


def _car(brush: Brush) -> Body:
    """A car: its glass shows around a lighter roof."""
    a, b, paint = brush.length, brush.width, brush.paint
    glass = shade(GLASS, brush.rng.uniform(0.8, 1.4))
    front = brush.rng.uniform(0.2, 0.3)
    return body(
        0.3 * a,
        Part(rounded(a, b, 0.35 * b), shade(paint, 0.93), casts=True),
        Part(centred(0.9 * a, 0.66 * b), paint),
        Part(
            symmetric(
                (front * a, 0.3 * b),
                ((front - 0.14) * a, 0.43 * b),
                (-0.26 * a, 0.43 * b),
                (-0.36 * a, 0.33 * b),
            ),
            glass,
        ),
        Part(rectangle(-0.25 * a, -0.36 * b, (front - 0.15) * a, 0.36 * b), shade(paint, 1.08)),
    )


def _pickup(brush: Brush) -> Body:
    """A pickup: a short cabin and an open bed."""
    a, b, paint = brush.length, brush.width, brush.paint
    return body(
        0.32 * a,
        Part(rounded(a, b, 0.25 * b), paint, casts=True),
        Part(symmetric((0.26 * a, 0.32 * b), (0.16 * a, 0.43 * b), (-0.06 * a, 0.42 * b)), GLASS),
        Part(rectangle(-0.03 * a, -0.36 * b, 0.14 * a, 0.36 * b), shade(paint, 1.08)),
        Part(rectangle(-0.46 * a, -0.38 * b, -0.08 * a, 0.38 * b), shade(paint, 0.55)),
    )


def _plain_box(brush: Brush) -> Body:
    """A van whose windows do not show, or a plain roof box."""
    a, b, paint = brush.length, brush.width, brush.paint
    return body(
        0.35 * a,
        Part(rounded(a, b, 0.25 * b), shade(paint, 0.84), casts=True),
        Part(centred(0.84 * a, 0.74 * b), shade(paint, 1.03)),
    )


def _barred_box(brush: Brush) -> Body:
    """A van with dark screens across, or a roof unit with two vents."""
    a, b, paint = brush.length, brush.width, brush.paint
    dark = shade(GLASS, brush.rng.uniform(0.9, 1.4))
    front = brush.rng.uniform(0.18, 0.3) * a
    rear = brush.rng.uniform(-0.36, -0.26) * a
    return body(
        0.35 * a,
        Part(rounded(a, b, 0.2 * b), paint, casts=True),
        Part(centred(0.13 * a, 0.8 * b, front), dark),
        Part(centred(0.09 * a, 0.76 * b, rear), dark),
    )


def _gable(brush: Brush) -> Body:
    """A shed: two slopes of a roof, the one towards the sun lighter."""
    a, b, paint = brush.length, brush.width, brush.paint
    return body(
        0.4 * b,
        Part(centred(a, b), shade(paint, brush.lit(0, -1)), casts=True),
        Part(rectangle(-a / 2, 0, a / 2, b / 2), shade(paint, brush.lit(0, 1))),
        Part(line((-a / 2, 0), (a / 2, 0), max(0.5, 0.05 * b)), shade(paint, 1.2)),
    )


def _open_box(brush: Brush) -> Body:
    """A skip: a rim around a dark inside."""
    a, b = brush.length, brush.width
    rim = min(0.16 * b, 2.0)
    return body(
        0.3 * b,
        Part(centred(a, b), brush.paint, casts=True),
        Part(centred(a - 2 * rim, b - 2 * rim), shade(brush.paint, 0.45)),
    )


def _cab(brush: Brush, share: float) -> tuple[Part, ...]:
    """The cab of a lorry, ``share`` of its length, with its windscreen."""
    a, b = brush.length, brush.width
    middle, deep = (0.5 - share / 2) * a, share * a
    return (
        Part(rounded(deep, 0.94 * b, 0.2 * b, middle), brush.accent, casts=True),
        Part(centred(0.24 * deep, 0.8 * b, middle + 0.28 * deep), GLASS),
    )


def _lorry(brush: Brush) -> Body:
    """A lorry: a cab in front of a box."""
    a, b, paint = brush.length, brush.width, brush.paint
    share = 0.17 + 0.1 * brush.variant
    front = (0.5 - share) * a - 0.03 * a
    return body(
        0.5 * b,
        Part(centred(0.94 * a, 0.5 * b), DARK, casts=True),
        *_cab(brush, share),
        Part(rectangle(-a / 2, -b / 2, front, b / 2), shade(paint, 0.86), casts=True),
        Part(rectangle(-0.49 * a, -0.42 * b, front - 0.01 * a, 0.42 * b), paint),
        Part(line((-0.48 * a, 0), (front - 0.02 * a, 0), max(0.4, 0.04 * b)), shade(paint, 0.94)),
    )


def _tipper(brush: Brush) -> Body:
    """A lorry with an open bed and its load."""
    a, b = brush.length, brush.width
    front = 0.24 * a
    load = blend((128, 104, 78), (92, 90, 88), brush.rng.uniform())
    return body(
        0.45 * b,
        Part(centred(0.94 * a, 0.5 * b), DARK, casts=True),
        *_cab(brush, 0.24),
        Part(rectangle(-a / 2, -b / 2, front, b / 2), brush.paint, casts=True),
        Part(rectangle(-0.46 * a, -0.38 * b, front - 0.04 * a, 0.38 * b), shade(load, 0.7)),
        Part(ellipse(0.5 * a, 0.55 * b, -0.12 * a), load),
    )


def _tanker(brush: Brush) -> Body:
    """A tank lorry: a cylinder with a bright line towards the sun."""
    a, b, paint = brush.length, brush.width, brush.paint
    side = math.copysign(0.16 * b, brush.light[1])
    domes = [Part(ellipse(0.3 * b, 0.3 * b, x * a), shade(paint, 0.6)) for x in (-0.3, -0.08, 0.12)]
    return body(
        0.45 * b,
        *_cab(brush, 0.22),
        Part(rounded(0.76 * a, b, 0.4 * b, -0.12 * a), shade(paint, 0.72), casts=True),
        Part(rounded(0.73 * a, 0.66 * b, 0.3 * b, -0.12 * a), paint),
        Part(centred(0.66 * a, 0.16 * b, -0.12 * a, side), shade(paint, 1.25)),
        *domes,
    )


def _long_box(brush: Brush) -> Body:
    """A bus with units on its roof, or a long roof with such units."""
    a, b, paint = brush.length, brush.width, brush.paint
    units = [
        Part(centred(0.11 * a, 0.46 * b, x * a), shade(paint, 0.72))
        for x in (-0.3, 0.02, 0.26)[: 2 + round(brush.variant)]
    ]
    return body(
        0.5 * b,
        Part(rounded(a, b, 0.22 * b), GLASS, casts=True),
        Part(rounded(0.95 * a, 0.86 * b, 0.18 * b, -0.005 * a), paint),
        *units,
        Part(line((-0.44 * a, 0.36 * b), (0.44 * a, 0.36 * b), 0.1 * b), brush.accent),
    )


def _container(brush: Brush) -> Body:
    """A shipping container: corrugated, so striped across."""
    a, b, paint = brush.length, brush.width, brush.paint
    count = max(3, round(a / 3.5))
    ribs = [
        Part(centred(0.4 * a / count, 0.88 * b, (x + 0.5) * a / count - a / 2), shade(paint, 0.84))
        for x in range(count)
    ]
    return body(0.5 * b, Part(centred(a, b), paint, casts=True), *ribs)


KINDS: Kinds = {
    "car": _car,
    "pickup": _pickup,
    "plain-box": _plain_box,
    "barred-box": _barred_box,
    "gable": _gable,
    "open-box": _open_box,
    "lorry": _lorry,
    "tipper": _tipper,
    "tanker": _tanker,
    "long-box": _long_box,
    "container": _container,
}

"""Tanks, pools, bridges and buildings, and what resembles them."""

from __future__ import annotations

import math

import numpy as np

from training.data.rendering.brush import CONCRETE, WHITE, Brush, Kinds, body
from training.data.rendering.shapes import (
    Body,
    Colour,
    Part,
    Points,
    blend,
    centred,
    ellipse,
    line,
    polygon,
    rounded,
    shade,
)


def _cone(brush: Brush) -> Body:
    """A cone-roofed tank, or a round pavilion: sectors lit by the sun."""
    a, paint = brush.length, brush.paint
    ring = ellipse(24.0, 24.0) * (0.94 * a / 24)
    sectors = []
    for i in range(0, 24, 3):
        middle = ring[(i + 1) % 24] / (0.47 * a)
        sector = np.concatenate([[(0.0, 0.0)], ring[np.arange(i, i + 4) % 24]])
        x, y = middle.tolist()
        tone = shade(paint, brush.lit(x, y, contrast=0.05 + 0.12 * brush.variant))
        sectors.append(Part(sector, tone))
    return body(
        0.4 * a,
        Part(ellipse(a, a), shade(paint, 0.8), casts=True),
        *sectors,
        Part(ellipse(0.1 * a, 0.1 * a), shade(paint, 0.7)),
    )


def _sunk_roof(brush: Brush) -> Body:
    """A tank with a floating roof: the wall throws a crescent of shade on the roof."""
    a, paint, (x, y) = brush.length, brush.paint, brush.light
    inner = 0.88 * a
    sink = brush.rng.uniform(0.02, 0.12) * a
    roof = ellipse(inner - 2 * sink, inner - 2 * sink) - (x * sink, y * sink)
    return body(
        0.4 * a,
        Part(ellipse(a, a), shade(paint, 1.1), casts=True),
        Part(ellipse(inner, inner), shade(brush.accent, 0.5)),
        Part(roof, brush.accent),
        Part(line((0, 0), (0.42 * a, 0), max(0.6, 0.03 * a)), shade(paint, 0.9)),
    )


def _flat_roof(brush: Brush) -> Body:
    """A tank with a flat roof and a stair at its side, or a round plant building."""
    a, paint = brush.length, brush.paint
    return body(
        0.35 * a,
        Part(ellipse(a, a), shade(paint, 0.72), casts=True),
        Part(ellipse(0.9 * a, 0.9 * a), paint),
        Part(ellipse(0.62 * a, 0.62 * a), shade(paint, 0.94)),
        Part(ellipse(0.56 * a, 0.56 * a), shade(paint, 1.02)),
        Part(ellipse(0.12 * a, 0.12 * a, 0.3 * a), shade(paint, 0.6)),
    )


def _dome(brush: Brush) -> Body:
    """A domed tank or building: brighter towards the sun."""
    a, paint, (x, y) = brush.length, brush.paint, brush.light
    caps = [
        Part(ellipse(size * a, size * a) + np.array((x, y)) * shift * a, shade(paint, tone))
        for size, shift, tone in ((0.86, 0.05, 0.9), (0.62, 0.12, 1.0), (0.34, 0.18, 1.12))
    ]
    return body(0.3 * a, Part(ellipse(a, a), shade(paint, 0.74), casts=True), *caps)


def _clarifier(brush: Brush) -> Body:
    """A round basin of a sewage works, with its arm."""
    a = brush.length
    angle = brush.rng.uniform(0, 2 * math.pi)
    tip = (0.45 * a * math.cos(angle), 0.45 * a * math.sin(angle))
    return body(
        0.03 * a,
        Part(ellipse(a, a), CONCRETE, casts=True),
        Part(ellipse(0.88 * a, 0.88 * a), brush.accent),
        Part(line((0, 0), tip, max(0.7, 0.05 * a)), CONCRETE),
        Part(ellipse(0.16 * a, 0.16 * a), shade(CONCRETE, 0.8)),
    )


def _tree(brush: Brush) -> Body:
    """A broad-leaved tree: lobes, lighter towards the sun."""
    a, paint, rng = brush.length, brush.paint, brush.rng
    x, y = brush.light
    parts = [Part(ellipse(0.9 * a, 0.9 * a), shade(paint, 0.6), casts=True)]
    for tone, spread, shift in ((0.72, 0.3, 0.0), (0.92, 0.24, 0.06), (1.15, 0.18, 0.14)):
        for angle in rng.uniform(0, 2 * math.pi, 5).tolist():
            distance = spread * a * rng.uniform(0.5, 1)
            lobe = (distance * math.cos(angle) + shift * a * x, distance * math.sin(angle))
            size = rng.uniform(0.16, 0.36) * a
            tint = shade(paint, tone * rng.uniform(0.9, 1.1))
            parts.append(Part(ellipse(size, size, lobe[0], lobe[1] + shift * a * y), tint))
    return Body(tuple(parts), 0.35 * a)


def _kidney(a: float, b: float) -> Points:
    return polygon(
        (0.5, 0.1), (0.44, 0.36), (0.28, 0.5), (0.08, 0.42), (-0.1, 0.36), (-0.3, 0.46),
        (-0.46, 0.3), (-0.5, 0.0), (-0.42, -0.34), (-0.2, -0.5), (0.16, -0.48), (0.4, -0.3),
    ) * (a, b)  # fmt: skip


def _pool_shape(brush: Brush, inset: float) -> Points:
    """The outline of a pool: rectangle, oval or kidney, by the variant."""
    a, b = brush.length - 2 * inset, brush.width - 2 * inset
    if brush.variant < 0.5:
        return rounded(a, b, 0.2 * b)
    return ellipse(a, b) if brush.variant < 0.7 else _kidney(a, b)


def _pool(brush: Brush) -> Body:
    """A pool with a light edge; one end is deeper."""
    a, water = brush.length, brush.paint
    edge = max(0.7, 0.06 * brush.width)
    deep = _pool_shape(brush, edge + 0.16 * brush.width) * (0.6, 1.0) - (0.14 * a, 0.0)
    parts = [
        Part(_pool_shape(brush, 0.0), brush.accent),
        Part(_pool_shape(brush, edge), water),
        Part(deep, shade(water, 0.88)),
    ]
    if brush.rng.uniform() < 0.6 and brush.variant < 0.5:
        steps = centred(0.08 * a, 0.3 * brush.width, 0.5 * a - edge - 0.05 * a)
        parts.append(Part(steps, blend(water, WHITE, 0.6)))
    return Body(tuple(parts), 0.0)


def _bare_pool(brush: Brush) -> Body:
    """A pool without an edge, or a stretched tarpaulin of its colour."""
    crease = line((-0.4 * brush.length, 0.1 * brush.width), (0.4 * brush.length, 0), 0.6)
    return body(
        0.0,
        Part(_pool_shape(brush, 0.0), brush.paint),
        Part(crease * 0.9, shade(brush.paint, 1.1)),
    )


def _pond(brush: Brush) -> Body:
    """A pond: uneven, with a bank."""
    a, b = brush.length, brush.width
    shape = _kidney(1.0, 1.0) * brush.rng.uniform(0.82, 1.0, (12, 1))
    return body(
        0.0,
        Part(shape * (a, b), blend(brush.paint, (120, 112, 84), 0.55)),
        Part(shape * (0.86 * a, 0.84 * b), brush.paint),
        Part(ellipse(0.16 * a, 0.14 * b, 0.14 * a, 0.1 * b), shade(brush.paint, 1.2)),
    )


def _solar_panels(brush: Brush) -> Body:
    """Solar panels: dark blue, with bright joints."""
    a, b, paint = brush.length, brush.width, brush.paint
    joints = [
        Part(line((x * a, -b / 2), (x * a, b / 2), 0.5), shade(paint, 1.7))
        for x in (-0.25, 0, 0.25)
    ]
    return body(
        0.12 * b,
        Part(centred(a, b), paint, casts=True),
        *joints,
        Part(line((-a / 2, 0), (a / 2, 0), 0.5), shade(paint, 1.7)),
    )


def _court(brush: Brush) -> Body:
    """A small court: a coloured ground with white lines."""
    a, b, paint = brush.length, brush.width, brush.paint
    white = blend(paint, WHITE, 0.7)
    return body(
        0.0,
        Part(centred(a, b), shade(paint, 0.8)),
        Part(centred(0.84 * a, 0.74 * b), white),
        Part(centred(0.84 * a - 1.2, 0.74 * b - 1.2), paint),
        Part(line((0, -0.37 * b), (0, 0.37 * b), 0.6), white),
    )


def _rails(brush: Brush, colour: Colour, thick: float) -> tuple[Part, Part]:
    a, y = brush.length / 2, (brush.width - thick) / 2
    return (
        Part(line((-a, -y), (a, -y), thick), colour),
        Part(line((-a, y), (a, y), thick), colour),
    )


def _deck(brush: Brush) -> Body:
    """A road bridge with railings and a dashed line, or the crest of a weir."""
    a, b, paint = brush.length, brush.width, brush.paint
    dashes = [
        Part(centred(0.06 * a, max(0.5, 0.05 * b), x * a), blend(paint, WHITE, 0.7))
        for x in (-0.4, -0.24, -0.08, 0.08, 0.24, 0.4)
    ]
    return body(
        0.7 * b,
        Part(centred(a, b), paint, casts=True),
        *_rails(brush, brush.accent, max(0.8, 0.1 * b)),
        *dashes,
    )


def _truss_bridge(brush: Brush) -> Body:
    """A steel bridge with cross bracing over its deck."""
    a, b, paint = brush.length, brush.width, brush.paint
    bays = max(2, round(a / max(4.0, b)))
    edges = np.linspace(-a / 2, a / 2, bays + 1).tolist()
    braces = []
    for i in range(bays):
        side = 0.45 * b * (-1) ** i
        bar = line((edges[i], -side), (edges[i + 1], side), max(0.6, 0.07 * b))
        braces.append(Part(bar, brush.accent))
    return body(
        0.8 * b,
        Part(centred(a, b), paint, casts=True),
        *braces,
        *_rails(brush, brush.accent, max(0.9, 0.14 * b)),
    )


def _plank_bridge(brush: Brush) -> Body:
    """A wooden bridge, or a pier: planks across."""
    a, b, paint = brush.length, brush.width, brush.paint
    count = max(4, round(a / 3))
    planks = [
        Part(
            centred(0.3 * a / count, 0.8 * b, (i + 0.5) * a / count - a / 2),
            shade(paint, brush.rng.uniform(0.75, 0.95)),
        )
        for i in range(count)
    ]
    rails = _rails(brush, shade(paint, 0.7), max(0.6, 0.1 * b))
    return body(0.5 * b, Part(centred(a, b), paint, casts=True), *planks, *rails)


def _girder_bridge(brush: Brush) -> Body:
    """A bridge between two high girders."""
    a, b, paint = brush.length, brush.width, brush.paint
    return body(
        0.9 * b,
        Part(centred(a, b), shade(paint, 0.75), casts=True),
        *_rails(brush, brush.accent, max(1.2, 0.24 * b)),
        Part(centred(a, 0.12 * b), shade(paint, 0.6)),
    )


def _pipe(brush: Brush) -> Body:
    """A pipeline across the water: a rod with a bright line and joints."""
    a, b, paint = brush.length, brush.width, brush.paint
    joints = [Part(centred(0.03 * a, b, x * a), shade(paint, 0.7)) for x in (-0.3, 0.0, 0.3)]
    return body(
        0.8 * b,
        Part(centred(a, 0.8 * b), shade(paint, 0.8), casts=True),
        Part(centred(a, 0.3 * b, 0, math.copysign(0.15 * b, brush.light[1])), shade(paint, 1.15)),
        *joints,
    )


def _hip_roof(brush: Brush) -> Body:
    """A house: four slopes, each with its light."""
    a, b, paint = brush.length, brush.width, brush.paint
    ridge = max(0.0, a - b) / 2 + 0.1 * brush.variant * b
    near, far = polygon((-ridge, 0), (ridge, 0))
    corners = centred(a, b)
    slopes = (
        (np.array([corners[0], corners[1], far, near]), brush.lit(0, -1)),
        (np.array([corners[1], corners[2], far]), brush.lit(1, 0)),
        (np.array([corners[2], corners[3], near, far]), brush.lit(0, 1)),
        (np.array([corners[3], corners[0], near]), brush.lit(-1, 0)),
    )
    chimney = Part(centred(0.08 * a, 0.1 * b, 0.2 * a, 0.12 * b), shade(paint, 0.6))
    return body(
        0.35 * b,
        Part(corners, paint, casts=True),
        *(Part(points, shade(paint, tone)) for points, tone in slopes),
        chimney,
    )


def _hall(brush: Brush) -> Body:
    """A flat-roofed hall: a parapet, seams and skylights."""
    a, b, paint = brush.length, brush.width, brush.paint
    count = max(2, round(a / 14))
    xs = [(i + 0.5) * a / count - a / 2 for i in range(count)]
    seams = [Part(line((x, -0.47 * b), (x, 0.47 * b), 0.5), shade(paint, 0.93)) for x in xs]
    return body(
        0.2 * b,
        Part(centred(a, b), shade(paint, 1.12), casts=True),
        Part(centred(a - 2.4, b - 2.4), paint),
        *seams,
    )


KINDS: Kinds = {
    "cone": _cone,
    "sunk-roof": _sunk_roof,
    "flat-roof": _flat_roof,
    "dome": _dome,
    "clarifier": _clarifier,
    "tree": _tree,
    "pool": _pool,
    "bare-pool": _bare_pool,
    "pond": _pond,
    "solar-panels": _solar_panels,
    "court": _court,
    "deck": _deck,
    "truss-bridge": _truss_bridge,
    "plank-bridge": _plank_bridge,
    "girder-bridge": _girder_bridge,
    "pipe": _pipe,
    "hip-roof": _hip_roof,
    "hall": _hall,
}

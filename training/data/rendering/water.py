"""Rivers and harbours: ships, bridges, and what resembles them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from training.data.rendering.looks import Look
from training.data.rendering.scene import TRIES, Ground, Scene
from training.data.rendering.shapes import Colour, Frame, Points, blend, centred, rectangle, shade
from training.data.rendering.style import BRIDGE, LARGE_VEHICLE, SHIP, SMALL_VEHICLE

TRUE_SHIPS = (0.4, 0.9)
"""Smallest and largest part of what floats in a picture that are ships."""


def river(scene: Scene) -> None:
    """A winding river; bridges and what resembles them lead across, ships lie on it."""
    rng, style = scene.rng, scene.style
    bridge = style.looks[BRIDGE][0]
    width = bridge.length * 0.86
    frame = scene.crossing()
    frame = frame.at(0, 0, rng.uniform(-0.5, 0.5))
    sway, wave = rng.uniform(0.02, 0.07) * scene.size, rng.uniform(0.8, 1.6) * scene.size
    phase = rng.uniform(0, 2 * math.pi)
    steps = np.arange(-1.0, 1.0, 0.03) * scene.size

    turning = 2 * math.pi / wave
    middle = sway * np.sin(turning * steps + phase)
    slopes = np.arctan(sway * turning * np.cos(turning * steps + phase))
    uneven = rng.normal(0, 0.015 * width, (2, len(steps)))

    def band(extra: float) -> Points:
        left = np.stack([steps, middle - width / 2 - extra + uneven[0]], axis=1)
        right = np.stack([steps, middle + width / 2 + extra + uneven[1]], axis=1)
        return frame.place(np.concatenate([left, right[::-1]]))

    scene.canvas.pave(band(2.2), _bank(scene), 2.0)
    scene.canvas.pave(band(0.0), style.water, 0.5)
    spots = []
    for x, y, slope in zip(steps.tolist(), middle.tolist(), slopes.tolist(), strict=True):
        spot = frame.at(x, y, slope)
        scene.ground.take(spot, 0.05 * scene.size, width + 8)
        if 0 <= spot.x < scene.size and 0 <= spot.y < scene.size:
            spots.append(spot)
    _over(scene, spots, 0.03 * scene.size, width)


def _over(scene: Scene, spots: list[Frame], step: float, width: float) -> None:
    """Fill the places along a river, given in order, ``step`` pixels apart."""
    rng, style = scene.rng, scene.style
    busy = np.zeros(len(spots), bool)

    def claim(length: float) -> Frame | None:
        reach = math.ceil((length / 2 + 4) / step)
        for at in rng.permutation(len(spots))[:TRIES].tolist():
            around = slice(max(0, at - reach), at + reach + 1)
            if not busy[around].any():
                busy[around] = True
                return spots[at]
        return None

    if BRIDGE in scene.wanted:
        for _ in range(int(rng.integers(1, 6))):
            look = scene.one_of(style.looks[BRIDGE])
            spot = claim(3 * look.length * look.aspect)
            if spot is not None:
                _bridge(scene, spot, look, width)
    for _ in range(int(rng.integers(0, 4))):
        look = scene.one_of(style.lookalikes[BRIDGE])
        spot = claim(2 * look.length * look.aspect)
        if spot is not None:
            _false_bridge(scene, spot, look, width)
    true = rng.uniform(*TRUE_SHIPS)
    for _ in range(int(rng.integers(2, 12)) if SHIP in scene.wanted else 0):
        is_ship = rng.uniform() < true
        looks = style.looks if is_ship else style.lookalikes
        look = scene.one_of(looks[SHIP])
        spot = claim(look.length) if look.length * look.aspect < 0.4 * width else None
        if spot is not None:
            side = rng.uniform(-0.2, 0.2) * width
            scene.stand(look, spot.at(0, side, scene.flip()), SHIP if is_ship else None)


def _bridge(scene: Scene, spot: Frame, look: Look, width: float) -> None:
    """A bridge with its road, of which the part over the water is the object."""
    frame = spot.at(0, 0, math.pi / 2 + scene.rng.normal(0, 0.06))
    wide = look.length * look.aspect
    span = max(width * 1.1, look.length * 0.94)
    for end in (-1, 1):
        reach = 1.5 * scene.size
        road = frame.at(end * (span + reach) / 2, 0)
        scene.pave(road, reach, 0.8 * wide)
        scene.ground.take(road, reach, wide + 4)
    deck = replace(look, length=span, aspect=wide / span, spread=0.0)
    scene.stand(deck, frame, BRIDGE, low=True)
    for label in (SMALL_VEHICLE, LARGE_VEHICLE):
        car = scene.style.looks[label][0]
        narrow = car.length * car.aspect < 0.4 * wide and car.length < 0.5 * span
        if narrow and label in scene.wanted and look.kind == "deck" and scene.rng.uniform() < 0.4:
            x = scene.rng.uniform(-0.3, 0.3) * span
            scene.add(label, frame.at(x, 0.22 * wide, 0.0), car)


def _false_bridge(scene: Scene, spot: Frame, look: Look, width: float) -> None:
    """A weir, a pier or a pipeline: no road leads to it."""
    frame = spot.at(0, 0, math.pi / 2 + scene.rng.normal(0, 0.06))
    wide = look.length * look.aspect
    span = width * 1.04
    if look.kind == "plank-bridge":
        span *= scene.rng.uniform(0.45, 0.7)
        frame = frame.at((span - width) / 2 * scene.rng.choice([-1, 1]), 0)
    if look.kind == "deck":
        foam = frame.at(0, 0.5 * wide + 2).place(centred(0.9 * span, 4))
        scene.canvas.pave(foam, (206, 214, 212), 3.0)
    fitted = replace(look, length=span, aspect=wide / span, spread=0.0)
    scene.stand(fitted, frame, None, low=True)


def harbour(scene: Scene, number: int) -> None:
    """Water beyond a quay; jetties with ships on both sides, others at anchor."""
    rng, size, style = scene.rng, scene.size, scene.style
    heading = style.grid + rng.integers(4) * math.pi / 2
    # The quay is the frame's x axis, the water lies towards its y.
    middle = Frame(size / 2, size / 2, heading)
    quay = middle.at(0, rng.uniform(-0.1, 0.28) * size)
    reach = 1.5 * size
    water = quay.place(rectangle(-reach, 0, reach, reach))
    straight = rng.uniform() < 0.65
    edge = quay.place(rectangle(-reach, -4, reach, 2))
    if not straight:
        xs = np.arange(-reach, reach, 0.06 * size)
        shore = rng.normal(0, 0.012 * size, len(xs)) + 0.03 * size * np.sin(xs * 5 / size)
        water = quay.place(
            np.concatenate([np.stack([xs, shore], axis=1), [(reach, reach), (-reach, reach)]])
        )
        edge = quay.place(
            np.concatenate([np.stack([xs, shore - 4], axis=1), [(reach, 20), (-reach, 20)]])
        )
    scene.canvas.pave(edge, style.paving[0] if straight else _bank(scene), 1.6)
    scene.canvas.pave(water, style.water, 0.5)
    scene.ground.take(quay.at(0, reach / 2 - 6), 2 * reach, reach + 6)
    # A river ends here, with what is on it.
    across = np.array([-math.sin(heading), math.cos(heading)])
    scene.low, scene.high = (
        [item for item in items if across @ (item.frame.x - quay.x, item.frame.y - quay.y) < -8]
        for items in (scene.low, scene.high)
    )
    afloat = Ground(size)
    if rng.uniform() < 0.7:
        _jetties(scene, quay, afloat, number)
    true = rng.uniform(*TRUE_SHIPS)
    for _ in range(max(3, min(14, number - scene.count(SHIP)))):
        ship = scene.one_of(style.looks[SHIP])
        is_ship = rng.uniform() < true
        look = ship if is_ship else scene.one_of(style.lookalikes[SHIP])
        x, y = rng.uniform(-0.7, 0.7) * size, rng.uniform(0.06, 0.8) * size
        turn = rng.normal(0, 0.3) if rng.uniform() < 0.6 else rng.uniform(0, 6.3)
        spot = quay.at(x, y + look.length * 0.6, float(turn))
        if not (-8 <= spot.x < size + 8 and -8 <= spot.y < size + 8):
            continue
        room = (look.length * 1.2 + 3, look.length * look.aspect * 1.3 + 4)
        if not afloat.free(spot, *room):
            continue
        afloat.take(spot, *room)
        if is_ship:
            if rng.uniform() < 0.2:
                _wake(scene, spot, look)
            scene.add(SHIP, spot, look)
        else:
            scene.stand(look, spot, None)


def _wake(scene: Scene, spot: Frame, look: Look) -> None:
    a, b = look.length, look.length * look.aspect
    trail = np.array([[-0.45 * a, -0.3 * b], [-0.45 * a, 0.3 * b], [-1.5 * a, b], [-1.5 * a, -b]])
    scene.canvas.pave(spot.place(trail), shade(scene.style.water, 1.35), 2.5)


def _jetties(scene: Scene, quay: Frame, afloat: Ground, number: int) -> None:
    """Jetties with ships moored on both sides."""
    rng, style, size = scene.rng, scene.style, scene.size
    ship = scene.one_of(style.looks[SHIP])
    wide = ship.length * ship.aspect
    pitch = max(4.5, wide * rng.uniform(1.25, 1.7))
    plank = max(2.0, 0.16 * ship.length)
    gap = 2 * ship.length * rng.uniform(1.2, 1.5) + plank
    long = min(rng.uniform(0.2, 0.6) * size, 9 * pitch)
    true = rng.uniform(*TRUE_SHIPS)
    planks = Look("pontoon", long, plank / long, ((170, 164, 152),), spread=0.0)
    for x in rng.permutation(np.arange(-0.6 * size, 0.6 * size, gap)).tolist():
        if scene.count(SHIP) >= number:
            break
        root = quay.at(x + rng.normal(0, 2), 0, math.pi / 2)
        jetty = root.at(long / 2 - 2, 0)
        scene.stand(planks, jetty, None, low=True)
        afloat.take(jetty, long + 6, 2.3 * ship.length + plank)
        filled = rng.uniform(0.4, 0.95)
        for along in np.arange(pitch, long - pitch / 2, pitch).tolist():
            for side in (-1, 1):
                if rng.uniform() > filled:
                    continue
                away = side * (plank / 2 + ship.length / 2 + 0.6)
                turn = side * math.pi / 2 + rng.integers(2) * math.pi + rng.normal(0, 0.03)
                spot = root.at(along, away, turn)
                if rng.uniform() < true:
                    look = scene.one_of(style.looks[SHIP])
                    fits = look.length < 1.1 * ship.length and look.aspect * look.length < pitch
                    scene.add(SHIP, spot, look if fits else ship)
                else:
                    other = scene.one_of(style.lookalikes[SHIP])
                    scene.stand(other.within(min(ship.length, pitch / other.aspect)), spot, None)


def _bank(scene: Scene) -> Colour:
    return blend(scene.style.paving[-1], (134, 126, 92), 0.7)

"""Where a shot takes place: layers from the sky to the ground, drawn once a shot.

A place is one function of a table. Knows no figures and no camera.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from .camera import HEIGHT, WIDTH
from .layers import MARGIN_X, MARGIN_Y, Layer, Pen
from .palettes import PALETTES, Colour, Palette, mix
from .scene import Scene

__all__ = ["FEET", "HORIZON", "backdrop"]

HORIZON = {"wide": 66.0, "medium": 62.0, "close": 70.0}
"""Where the ground begins."""
FEET = {"wide": 96.0, "medium": 132.0, "close": 286.0}
"""Where figures stand; below the frame in the closer shots."""
MAGNIFIED = {"wide": 1.0, "medium": 1.7, "close": 2.5}
BLUR = {"wide": 0.0, "medium": 0.6, "close": 1.8}
"""Depth of field."""
LEFT, RIGHT = -MARGIN_X, WIDTH + MARGIN_X
BOTTOM = HEIGHT + MARGIN_Y


@dataclass(frozen=True)
class Set:
    """What every part of a backdrop needs to know."""

    rng: Random
    palette: Palette
    horizon: float
    m: float
    """Magnification: the closer the shot, the larger what is behind."""
    blur: float
    night: bool
    sun: float
    """Where across the frame the light comes from."""


def backdrop(scene: Scene) -> list[Layer]:
    """Layers from far to near; the first one is opaque, the figures stand before the last."""
    rng = Random(f"backdrop/{scene.seed}")
    place = Set(
        rng=rng,
        palette=PALETTES[scene.time],
        horizon=HORIZON[scene.size],
        m=MAGNIFIED[scene.size],
        blur=BLUR[scene.size],
        night=scene.time == "night",
        sun=light_side(scene) * rng.uniform(0.26, 0.4) * WIDTH + WIDTH / 2,
    )
    return PARTS[scene.place](place)


def light_side(scene: Scene) -> int:
    """-1 for light from the left, 1 from the right."""
    return Random(f"light/{scene.seed}").choice((-1, 1))


def _sky(s: Set, clouds: int = 3) -> Layer:
    pen, p = Pen(), s.palette
    pen.gradient(-MARGIN_Y, s.horizon + 4, p.zenith, p.horizon)
    if s.night:
        for _ in range(46):
            x, y = s.rng.uniform(LEFT, RIGHT), s.rng.uniform(-MARGIN_Y, s.horizon - 14)
            pen.disc(x, y, s.rng.choice((0.3, 0.4, 0.6)), mix(p.zenith, (255, 255, 255), s.rng.uniform(0.35, 0.9)))
    high = {True: 18.0, False: s.rng.uniform(16, s.horizon - 16)}[s.night]
    pen.glow(s.sun, high, 62, p.glow, 0.75)
    pen.disc(s.sun, high, 7 if s.night else 9, p.disc)
    for _ in range(clouds):
        _cloud(s, pen, s.rng.uniform(LEFT, RIGHT), s.rng.uniform(4, s.horizon * 0.6))
    return pen.layer(0.08, s.blur / 2)


def _cloud(s: Set, pen: Pen, x: float, y: float) -> None:
    """A long flat bank: ovals on one base line."""
    for _ in range(4):
        w = s.rng.uniform(12, 28)
        colour = mix(s.palette.cloud, s.palette.horizon, s.rng.uniform(0, 0.35))
        pen.oval(x + s.rng.uniform(-24, 24), y + s.rng.uniform(-1, 1.5), w, s.rng.uniform(1.4, 3.0), colour)


def _ground(s: Set, marks: Callable[[Set, Pen], None]) -> Layer:
    pen, p = Pen(), s.palette
    pen.gradient(s.horizon, BOTTOM - 10, p.ground_far, p.ground_near)
    marks(s, pen)
    return pen.layer(1.0, s.blur / 3)


def _hills(s: Set, pen: Pen, base: float, height: float, length: float, colour: Colour, sharp: bool = False) -> None:
    """A skyline of waves or, if sharp, of peaks."""
    phases = [s.rng.uniform(0, math.tau) for _ in range(3)]
    points = []
    for x in range(LEFT, RIGHT + 4, 3):
        waves = [math.sin(x / length / scale + phase) for scale, phase in zip((1.0, 0.43, 0.19), phases, strict=True)]
        wave = 1 - abs(waves[0]) * 1.2 + 0.35 * abs(waves[1]) if sharp else waves[0] + 0.4 * waves[1] + 0.1 * waves[2]
        points.append((x, base - height * (0.5 + 0.4 * wave)))
    pen.polygon([*points, (RIGHT + 4, BOTTOM), (LEFT, BOTTOM)], colour)


# -- street


def _street(s: Set) -> list[Layer]:
    far, near = Pen(), Pen()
    _skyline(s, far)
    far.shade(s.palette.horizon, s.horizon - 40 * s.m, s.horizon, 0.1, 0.55)
    x = float(LEFT) - s.rng.uniform(0, 20)
    while x < RIGHT:
        width = s.rng.uniform(26, 44) * s.m
        _house(s, near, x, width, s.rng.uniform(30, 54) * s.m)
        x += width + (s.rng.uniform(5, 16) * s.m if s.rng.random() < 0.4 else 0)
    return [_sky(s), far.layer(0.3, s.blur), near.layer(0.6, s.blur), _ground(s, _pavement)]


def _skyline(s: Set, pen: Pen) -> None:
    x = float(LEFT)
    while x < RIGHT:
        width = s.rng.uniform(7, 18) * s.m
        pen.box(x, s.horizon - s.rng.uniform(24, 60) * s.m, x + width, BOTTOM, s.palette.far)
        x += width


def _house(s: Set, pen: Pen, x: float, width: float, height: float) -> None:
    p, top = s.palette, s.horizon - height
    body = mix(p.middle, p.near, s.rng.uniform(0, 0.55))
    pen.box(x, top, x + width, BOTTOM, body)
    pen.box(x - 1, top - 1.2 * s.m, x + width + 1, top + 1.2 * s.m, mix(body, p.near, 0.5))
    lit = x + width - 1.2 if s.sun > WIDTH / 2 else x
    pen.box(lit, top, lit + 1.2, BOTTOM, mix(body, p.rim, 0.4))
    columns, w, h = max(2, round(width / (10 * s.m))), 3.4 * s.m, 5.0 * s.m
    for row in range(int(height // (11 * s.m))):
        for column in range(columns):
            left = x + (column + 0.5) * width / columns - w / 2
            high = top + 5 * s.m + row * 11 * s.m
            if high + h < s.horizon - 3 * s.m:
                pane = p.window if s.rng.random() < 0.45 else mix(body, p.near, 0.6)
                pen.box(left, high, left + w, high + h, pane)
    pen.box(x + width * 0.4, s.horizon - 9 * s.m, x + width * 0.4 + 6 * s.m, BOTTOM, mix(body, p.near, 0.7))


def _pavement(s: Set, pen: Pen) -> None:
    p, y = s.palette, s.horizon
    pen.box(LEFT, y, RIGHT, y + 7 * s.m, mix(p.ground_far, p.near, 0.22))
    pen.box(LEFT, y + 7 * s.m, RIGHT, y + 8.4 * s.m, mix(p.ground_far, p.rim, 0.35))
    x = float(LEFT) + s.rng.uniform(0, 20)
    while x < RIGHT:
        pen.polygon([(x, y + 38), (x + 16, y + 38), (x + 13, y + 41), (x - 4, y + 41)], mix(p.ground_near, p.rim, 0.3))
        x += 34
    for at in (s.rng.uniform(-20, 50), s.rng.uniform(130, 200)):
        _lamp(s, pen, at)


def _lamp(s: Set, pen: Pen, x: float) -> None:
    base, top = s.horizon + 6 * s.m, s.horizon - 40 * s.m
    pen.line([(x, base), (x, top), (x + 6 * s.m, top)], 1.1 * s.m, s.palette.near)
    lamp = s.palette.window if s.palette.shade > 0.32 else mix(s.palette.near, s.palette.rim, 0.5)
    pen.oval(x + 6 * s.m, top + s.m, 2.6 * s.m, 1.3 * s.m, lamp)


# -- forest


def _forest(s: Set) -> list[Layer]:
    far, middle, near = Pen(), Pen(), Pen()
    for row, share in ((0, 0.0), (1, 0.35)):
        x = float(LEFT)
        while x < RIGHT:
            tall = s.rng.uniform(26, 46) * s.m
            _fir(s, far, x, s.horizon + 4 + 3 * row, tall, mix(s.palette.far, s.palette.middle, share))
            x += s.rng.uniform(6, 13) * s.m
    far.shade(s.palette.horizon, s.horizon - 40 * s.m, s.horizon + 4, 0.05, 0.5)
    for _ in range(9):
        x, colour = s.rng.uniform(LEFT, RIGHT), mix(s.palette.middle, s.palette.near, s.rng.uniform(0.1, 0.6))
        (_fir if s.rng.random() < 0.6 else _round)(s, middle, x, s.horizon + 6, s.rng.uniform(46, 72) * s.m, colour)
    for x in (s.rng.uniform(LEFT, 16), s.rng.uniform(WIDTH - 16, RIGHT)):
        _trunk(s, near, x, s.rng.uniform(5, 8) * s.m)
    return [_sky(s, 1), far.layer(0.3, s.blur), middle.layer(0.6, s.blur), _ground(s, _grass), near.layer(0.85, s.blur)]


def _fir(s: Set, pen: Pen, x: float, base: float, tall: float, colour: Colour) -> None:
    pen.box(x - tall * 0.02, base - tall * 0.2, x + tall * 0.02, base + 2, colour)
    for tier in range(4):
        low, high, half = (
            base - tall * (0.12 + 0.2 * tier),
            base - tall * (0.46 + 0.18 * tier),
            tall * (0.2 - 0.038 * tier),
        )
        pen.polygon([(x - half, low), (x + half, low), (x, high)], colour)
        side = half * (0.5 if s.sun > x else -0.5)
        pen.polygon([(x + side, low), (x + side * 2, low), (x, high)], mix(colour, s.palette.rim, 0.1))


def _round(s: Set, pen: Pen, x: float, base: float, tall: float, colour: Colour) -> None:
    pen.polygon(
        [
            (x - tall * 0.03, base),
            (x - tall * 0.015, base - tall * 0.6),
            (x + tall * 0.015, base - tall * 0.6),
            (x + tall * 0.03, base),
        ],
        mix(colour, s.palette.near, 0.5),
    )
    for dx, dy, r in ((0, 0.68, 0.21), (-0.16, 0.58, 0.15), (0.16, 0.6, 0.16)):
        pen.disc(x + dx * tall, base - dy * tall, r * tall, colour)
    lit = 0.06 * tall * (1 if s.sun > x else -1)
    pen.disc(x + lit, base - 0.74 * tall, 0.13 * tall, mix(colour, s.palette.rim, 0.12))


def _trunk(s: Set, pen: Pen, x: float, width: float) -> None:
    """A tree so near that only its trunk fits."""
    low, colour = s.horizon + 16 * s.m, mix(s.palette.near, s.palette.middle, 0.15)
    pen.polygon(
        [(x - width * 0.4, -MARGIN_Y), (x + width * 0.4, -MARGIN_Y), (x + width * 0.6, low), (x - width * 0.6, low)],
        colour,
    )
    lit = 1 if s.sun > x else -1
    pen.polygon(
        [
            (x + lit * width * 0.28, -MARGIN_Y),
            (x + lit * width * 0.4, -MARGIN_Y),
            (x + lit * width * 0.6, low),
            (x + lit * width * 0.4, low),
        ],
        mix(colour, s.palette.rim, 0.3),
    )


def _grass(s: Set, pen: Pen) -> None:
    p = s.palette
    pen.polygon(
        [(70, s.horizon), (112, s.horizon), (196, BOTTOM), (-10, BOTTOM)], mix(p.ground_far, p.ground_near, 0.25)
    )
    for _ in range(60):
        x, y = s.rng.uniform(LEFT, RIGHT), s.rng.uniform(s.horizon + 3, BOTTOM)
        tall = (1.2 + (y - s.horizon) * 0.05) * s.m**0.5
        pen.polygon(
            [(x - 0.8, y), (x + 0.8, y), (x + s.rng.uniform(-1, 1), y - tall)], mix(p.ground_near, p.near, 0.35)
        )


# -- field


def _field(s: Set) -> list[Layer]:
    far, middle, p = Pen(), Pen(), s.palette
    _hills(s, far, s.horizon + 2, 30 * s.m, 26 * s.m, p.far, sharp=True)
    far.shade(p.horizon, s.horizon - 30 * s.m, s.horizon, 0.1, 0.6)
    _hills(s, middle, s.horizon + 4, 16 * s.m, 40 * s.m, mix(p.far, p.middle, 0.6))
    for _ in range(4):
        _round(
            s,
            middle,
            s.rng.uniform(LEFT, RIGHT),
            s.horizon + 4,
            s.rng.uniform(16, 26) * s.m,
            mix(p.middle, p.near, 0.4),
        )
    _hills(s, middle, s.horizon + 6, 7 * s.m, 30 * s.m, p.middle)
    return [_sky(s, 5), far.layer(0.2, s.blur), middle.layer(0.5, s.blur), _ground(s, _meadow)]


def _meadow(s: Set, pen: Pen) -> None:
    p = s.palette
    for row in range(7):
        y = s.horizon + 3 + row * row * 1.6
        pen.line([(LEFT, y + 1.5), (WIDTH / 2, y), (RIGHT, y + 1.5)], 0.5 + row * 0.22, mix(p.ground_far, p.near, 0.16))
    _fence(s, pen)
    for _ in range(40):
        x, y = s.rng.uniform(LEFT, RIGHT), s.rng.uniform(s.horizon + 6, BOTTOM)
        pen.polygon(
            [(x - 0.9, y), (x + 0.9, y), (x + s.rng.uniform(-1, 1), y - 2 - (y - s.horizon) * 0.05)],
            mix(p.ground_near, p.near, 0.3),
        )


def _fence(s: Set, pen: Pen) -> None:
    y, colour = s.horizon + 5 * s.m, mix(s.palette.near, s.palette.ground_far, 0.25)
    for rail in (3.0, 5.4):
        pen.line([(LEFT, y - rail * s.m), (RIGHT, y - rail * s.m)], 0.7 * s.m, colour)
    x = LEFT + s.rng.uniform(0, 16)
    while x < RIGHT:
        pen.box(x, y - 7 * s.m, x + 1.1 * s.m, y, colour)
        x += 17 * s.m


# -- room


def _room(s: Set) -> list[Layer]:
    sky, wall, p = _sky(s, 2), Pen(), s.palette
    wall.gradient(-MARGIN_Y, s.horizon + 8, mix(p.wall, p.near, 0.12), p.wall)
    at = WIDTH / 2 + (s.sun - WIDTH / 2) * 0.7
    _curtained(s, wall, at)
    _furnish(s, wall, WIDTH - at)
    wall.box(LEFT, s.horizon + 1, RIGHT, s.horizon + 5 * s.m, mix(p.wall, p.near, 0.3))
    return [sky, wall.layer(0.75, s.blur), _ground(s, _boards)]


def _curtained(s: Set, pen: Pen, x: float) -> None:
    """A window with the sky of the hour in it, between curtains."""
    p, half, top, low = s.palette, 19 * s.m, s.horizon - 48 * s.m, s.horizon - 14 * s.m
    frame = mix(p.wall, p.near, 0.55)
    pen.box(x - half - 1.5, top - 1.5, x + half + 1.5, low + 1.5, frame)
    steps = 18
    for step in range(steps):
        y = top + (low - top) * step / steps
        pen.box(x - half, y, x + half, top + (low - top) * (step + 1) / steps, mix(p.zenith, p.horizon, step / steps))
    pen.disc(x + 7 * s.m, top + 12 * s.m, 4 * s.m**0.6, p.disc)
    pen.box(x - 0.7, top, x + 0.7, low, frame)
    pen.box(x - half, (top + low) / 2 - 0.7, x + half, (top + low) / 2 + 0.7, frame)
    cloth = mix(p.middle, p.near, 0.2)
    for side in (-1, 1):
        edge = x + side * (half + 2)
        pen.polygon(
            [
                (edge - side * 7 * s.m, top - 4),
                (edge + side * 4 * s.m, top - 4),
                (edge + side * 6 * s.m, low + 9 * s.m),
                (edge, low + 9 * s.m),
            ],
            cloth,
        )
    pen.box(x - half - 9 * s.m, top - 5, x + half + 9 * s.m, top - 3.4, mix(p.near, cloth, 0.3))


def _furnish(s: Set, pen: Pen, x: float) -> None:
    """A picture, and a shelf or a door, on the side that has no window."""
    p = s.palette
    dark = mix(p.wall, p.near, 0.5)
    if s.rng.random() < 0.5:
        pen.box(x - 13 * s.m, s.horizon - 46 * s.m, x + 13 * s.m, BOTTOM, dark)
        pen.box(x - 11 * s.m, s.horizon - 44 * s.m, x + 11 * s.m, BOTTOM, mix(dark, p.wall, 0.35))
        pen.disc(x + 8 * s.m, s.horizon - 18 * s.m, 1.2 * s.m, p.rim)
        return
    pen.box(x - 12 * s.m, s.horizon - 44 * s.m, x + 8 * s.m, s.horizon - 28 * s.m, dark)
    pen.box(x - 10.5 * s.m, s.horizon - 42.5 * s.m, x + 6.5 * s.m, s.horizon - 29.5 * s.m, mix(p.far, p.horizon, 0.4))
    pen.box(x - 20 * s.m, s.horizon - 16 * s.m, x + 16 * s.m, s.horizon + 4, dark)
    left = x - 18 * s.m
    while left < x + 10 * s.m:
        pen.box(left, s.horizon - 14.5 * s.m, left + 9 * s.m, s.horizon - 2 * s.m, mix(dark, p.wall, 0.3))
        left += 11 * s.m


def _boards(s: Set, pen: Pen) -> None:
    p = s.palette
    pen.gradient(s.horizon + 4 * s.m, BOTTOM - 10, p.floor, mix(p.floor, p.near, 0.5))
    for board in range(-14, 15):
        x = WIDTH / 2 + board * 14
        pen.line([(x, s.horizon + 4 * s.m), (WIDTH / 2 + board * 30, BOTTOM)], 0.6, mix(p.floor, p.near, 0.35))


PARTS: dict[str, Callable[[Set], list[Layer]]] = {
    "street": _street, "forest": _forest, "field": _field, "room": _room,
}  # fmt: skip

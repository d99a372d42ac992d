"""Draws a figure in its pose: flat shapes, a lit edge, a darker far side, hair and a face.

Knows nothing of actions or cameras.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from PIL import Image, ImageDraw

from .camera import HEIGHT, WIDTH
from .palettes import Colour, Palette, graded, mix
from .pose import HEAD, Limb, Point, Pose

__all__ = ["SHARP", "Canvas", "Costume", "Stand", "draw_figure"]

SHARP = 3
"""Pixels of the canvas for one of the frame."""
RIM = 0.013
"""Width of the lit edge, in heights of the figure."""


@dataclass(frozen=True)
class Costume:
    """The colours of one figure, in the light of the shot."""

    cloth: Colour
    legs: Colour
    skin: Colour
    hair: Colour
    rim: Colour
    long_hair: bool

    @staticmethod
    def made(cloth: Colour, skin: Colour, hair: Colour, palette: Palette, long_hair: bool) -> Costume:
        lit = graded(cloth, palette)
        return Costume(
            lit, mix(lit, palette.near, 0.42), graded(skin, palette), graded(hair, palette), palette.rim, long_hair
        )


@dataclass(frozen=True)
class Stand:
    """Where a figure's feet are in the frame, its height in pixels, and the side the light comes from."""

    x: float
    y: float
    height: float
    light: int


class Canvas:
    """A clear picture of the frame's shape, finer than it."""

    def __init__(self) -> None:
        self.image = Image.new("RGBA", (WIDTH * SHARP, HEIGHT * SHARP))
        self.draw = ImageDraw.Draw(self.image)

    def polygon(self, points: list[Point], colour: Colour) -> None:
        self.draw.polygon([(x * SHARP, y * SHARP) for x, y in points], fill=(*colour, 255))

    def oval(self, x: float, y: float, width: float, height: float, colour: Colour) -> None:
        box = ((x - width) * SHARP, (y - height) * SHARP, (x + width) * SHARP, (y + height) * SHARP)
        self.draw.ellipse(box, fill=(*colour, 255))

    def taper(self, a: Point, b: Point, start: float, end: float, colour: Colour) -> None:
        """A limb: round ends of two radii and what lies between."""
        length = math.hypot(b[0] - a[0], b[1] - a[1]) or 1e-6
        nx, ny = -(b[1] - a[1]) / length, (b[0] - a[0]) / length
        self.polygon(
            [(a[0] + nx * start, a[1] + ny * start), (b[0] + nx * end, b[1] + ny * end),
             (b[0] - nx * end, b[1] - ny * end), (a[0] - nx * start, a[1] - ny * start)], colour)  # fmt: skip
        self.oval(*a, start, start, colour)
        self.oval(*b, end, end, colour)

    def reduced(self) -> Image.Image:
        """At the size of the frame, colours multiplied by alpha: what was drawn is opaque, the rest is zero."""
        return Image.frombuffer("RGBa", self.image.size, self.image.tobytes()).reduce(SHARP)


class _Body:
    """A pose's points in pixels."""

    def __init__(self, canvas: Canvas, stand: Stand, shift: float = 0.0) -> None:
        self.canvas, self.stand, self.h = canvas, stand, stand.height
        self.shift = shift * stand.light * stand.height

    def at(self, point: Point) -> Point:
        return self.stand.x + self.shift + point[0] * self.h, self.stand.y - point[1] * self.h

    def limb(self, limb: Limb, radii: tuple[float, float, float], colour: Colour, end: Colour, tip: float) -> None:
        a, b, c = self.at(limb.root), self.at(limb.joint), self.at(limb.end)
        first, second, third = (radius * self.h for radius in radii)
        self.canvas.taper(a, b, first, second, colour)
        self.canvas.taper(b, c, second, third, colour)
        self.canvas.oval(*c, tip * self.h, tip * self.h, end)


ARM_RADII, LEG_RADII = (0.034, 0.028, 0.021), (0.052, 0.038, 0.026)


def draw_figure(canvas: Canvas, stand: Stand, pose: Pose, costume: Costume) -> None:
    """The lit edge first, as the whole figure shifted towards the light; then the figure."""
    rim = costume.rim
    edge = Costume(rim, rim, rim, rim, rim, costume.long_hair)
    _parts(_Body(canvas, stand, RIM), pose, edge, edge)
    far = Costume(
        mix(costume.cloth, costume.legs, 0.6), mix(costume.legs, (0, 0, 0), 0.25), mix(costume.skin, costume.hair, 0.3),
        costume.hair, rim, costume.long_hair,
    )  # fmt: skip
    body = _Body(canvas, stand)
    _parts(body, pose, costume, far)
    _face(body, pose, costume)


def _parts(body: _Body, pose: Pose, near: Costume, far: Costume) -> None:
    shoe, far_shoe = mix(near.legs, near.hair, 0.6), mix(far.legs, near.hair, 0.6)
    body.limb(pose.far_arm, ARM_RADII, far.cloth, far.skin, 0.024)
    body.limb(pose.far_leg, LEG_RADII, far.legs, far_shoe, 0.028)
    _foot(body, pose.far_leg, pose.facing, far_shoe)
    body.limb(pose.near_leg, LEG_RADII, near.legs, shoe, 0.028)
    _foot(body, pose.near_leg, pose.facing, shoe)
    _torso(body, pose, near, far)
    _head(body, pose, near)
    body.limb(pose.near_arm, ARM_RADII, near.cloth, near.skin, 0.024)


def _foot(body: _Body, leg: Limb, facing: int, colour: Colour) -> None:
    x, y = body.at(leg.end)
    body.canvas.oval(x + 0.02 * facing * body.h, y - 0.012 * body.h, 0.045 * body.h, 0.018 * body.h, colour)


def _torso(body: _Body, pose: Pose, near: Costume, far: Costume) -> None:
    """From the shoulders to the hem, the side away from the light in the far colour."""
    broad = 0.1 if pose.facing == 0 else 0.07
    neck, hip = pose.neck, pose.hip
    left, right = (neck[0] - broad, neck[1] - 0.03), (neck[0] + broad, neck[1] - 0.03)
    hem = (hip[0] - broad * 0.9, hip[1] - 0.035), (hip[0] + broad * 0.9, hip[1] - 0.035)
    outline = [(neck[0] - 0.03, neck[1] + 0.012), (neck[0] + 0.03, neck[1] + 0.012), right, hem[1], hem[0], left]
    body.canvas.polygon([body.at(p) for p in outline], near.cloth)
    for point in (left, right):
        body.canvas.oval(
            *body.at((point[0] * 0.86 + neck[0] * 0.14, point[1])), 0.03 * body.h, 0.03 * body.h, near.cloth
        )
    shaded = body.stand.light < 0
    a, b = (right, hem[1]) if shaded else (left, hem[0])
    inner = 0.45
    mid = [(a[0] + (neck[0] - a[0]) * inner, a[1]), (b[0] + (hip[0] - b[0]) * inner, b[1])]
    body.canvas.polygon([body.at(p) for p in (a, b, mid[1], mid[0])], mix(near.cloth, far.cloth, 0.55))
    x, y = body.at((neck[0], neck[1] + 0.025))
    body.canvas.taper((x, y + 0.03 * body.h), (x, y - 0.03 * body.h), 0.026 * body.h, 0.026 * body.h, near.skin)


def _head(body: _Body, pose: Pose, costume: Costume) -> None:
    x, y = body.at(pose.head)
    r, facing = HEAD * body.h, pose.facing
    canvas = body.canvas
    if costume.long_hair:
        canvas.oval(x - 0.35 * facing * r, y + 0.35 * r, (1.16 if facing == 0 else 0.75) * r, 1.1 * r, costume.hair)
    canvas.oval(x, y - 0.08 * r, 1.04 * r, 1.1 * r, costume.hair)
    width, low, high = (0.8, 0.26, 1.0) if facing == 0 else (0.82, 0.14, 0.94)
    canvas.oval(x + 0.22 * facing * r, y + low * r, width * r, high * r, costume.skin)
    if facing == 0:
        canvas.oval(x, y + 0.7 * r, 0.62 * r, 0.74 * r, costume.skin)  # the chin is in front of long hair
    if facing:
        canvas.polygon(
            [
                (x + 0.85 * facing * r, y - 0.05 * r),
                (x + 1.22 * facing * r, y + 0.3 * r),
                (x + 0.85 * facing * r, y + 0.38 * r),
            ],
            costume.skin,
        )
        canvas.polygon(
            [
                (x - 0.3 * facing * r, y - 1.1 * r),
                (x + 0.95 * facing * r, y - 0.62 * r),
                (x + 0.5 * facing * r, y - 0.34 * r),
                (x - 0.6 * facing * r, y - 0.1 * r),
            ],
            costume.hair,
        )
    else:
        canvas.polygon(
            [
                (x - 0.9 * r, y - 0.1 * r),
                (x - 0.6 * r, y - 0.95 * r),
                (x + 0.6 * r, y - 0.95 * r),
                (x + 0.9 * r, y - 0.1 * r),
                (x + 0.3 * r, y - 0.5 * r),
            ],
            costume.hair,
        )


def _face(body: _Body, pose: Pose, costume: Costume) -> None:
    """Eyes and a mouth, where the head is large enough to have them."""
    r = HEAD * body.h
    if r < 4:
        return
    x, y = body.at(pose.head)
    dark = mix(costume.hair, (0, 0, 0), 0.4)
    eyes = (-0.36, 0.36) if pose.facing == 0 else (0.62 * pose.facing,)
    for eye in eyes:
        body.canvas.oval(x + eye * r, y + 0.08 * r, 0.085 * r, 0.13 * r, dark)
        body.canvas.polygon(_bar(x + eye * r, y - 0.18 * r, 0.2 * r, 0.05 * r), dark)
    lips = mix(costume.skin, (120, 30, 40), 0.45)
    body.canvas.polygon(
        _bar(x + 0.55 * pose.facing * r, y + 0.66 * r, (0.26 if pose.facing == 0 else 0.2) * r, 0.06 * r), lips
    )


def _bar(x: float, y: float, width: float, height: float) -> list[Point]:
    return [(x - width, y - height), (x + width, y - height), (x + width, y + height), (x - width, y + height)]

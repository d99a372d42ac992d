"""How boards are made: kinds, colours, pens and proportions, drawn at random. Knows no pixels, no texts."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from .assets import faces
from .pens import Pen, SegmentPen, TypePen, draw_hand

__all__ = ["ACCENTS", "KINDS", "MARKERS", "STICKS", "TAPES", "Colour", "Look", "draw_look", "mixed", "shaded"]

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """How a board is made; the same for all of its cells."""

    kind: str
    ground: Colour
    line: Colour
    label_ink: Colour
    ink: Colour
    label_pen: Pen
    value_pen: Pen
    label_cap: float
    """By the height of the board."""
    label_at: str
    """`corner`, `centre`, `beside` or `below`."""
    fill: float
    """How much of its cell a value takes."""
    align: float
    """0 is left, 1 right."""
    lines: float
    """Width of lines between cells, 0 for none."""
    cards: bool
    """Cells are cards with round corners."""
    tape: float
    """Share of values that stand on a strip of tape."""
    tilt: float
    """How far values lean, in degrees."""


KINDS = ("acrylic", "wood", "printed", "digital", "app")
WEIGHTS = (30, 22, 14, 14, 20)
"""How often each kind is drawn."""

STROKES = 0.35
"""Share of hands that are written stroke by stroke; the others are typefaces."""

MARKERS: tuple[Colour, ...] = ((20, 20, 25), (25, 35, 140), (165, 25, 25), (15, 100, 50), (70, 25, 110), (90, 50, 20))
STICKS: tuple[Colour, ...] = (
    (215, 30, 35),
    (240, 200, 30),
    (30, 150, 60),
    (20, 150, 200),
    (30, 60, 170),
    (190, 40, 130),
)
TAPES: tuple[Colour, ...] = (
    (235, 230, 215),
    (240, 215, 90),
    (245, 160, 175),
    (190, 225, 120),
    (205, 165, 125),
    (150, 200, 230),
)
ACCENTS: tuple[Colour, ...] = (
    (255, 70, 60),
    (70, 220, 110),
    (255, 190, 40),
    (60, 170, 255),
    (200, 110, 255),
    (240, 240, 240),
)


def draw_look(rng: Random, held_out: bool) -> Look:
    """A board of any kind; with `held_out`, in typefaces that training never sees."""
    return _LOOKS[rng.choices(KINDS, WEIGHTS)[0]](rng, held_out)


def mixed(a: Colour, b: Colour, share: float) -> Colour:
    """`a` with a share of `b`."""
    return tuple(round(x + (y - x) * share) for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


def shaded(colour: Colour, rng: Random) -> Colour:
    """A little lighter, darker, warmer or colder."""
    up = rng.randint(-12, 12)
    return tuple(min(max(part + up + rng.randint(-6, 6), 0), 255) for part in colour)  # type: ignore[return-value]


def _acrylic(rng: Random, held_out: bool) -> Look:
    shade = rng.randint(222, 255)
    ground = (shade, shade - rng.randint(0, 8), shade - rng.randint(0, 18))
    line = rng.choice(((20, 20, 20), (30, 30, 120), (150, 30, 30), (60, 60, 60)))
    return _look(rng, "acrylic", held_out, ground, line, line, rng.choice(MARKERS), hand=0.92, tape=0.25)


def _wood(rng: Random, held_out: bool) -> Look:
    ground = shaded(rng.choice(((22, 22, 22), (18, 36, 28), (20, 24, 38), (40, 36, 32), (10, 10, 10))), rng)
    light = shaded((238, 236, 228), rng)
    ink = rng.choice((light, light, light, (250, 240, 140), (255, 200, 205)))
    return _look(rng, "wood", held_out, ground, light, light, ink, hand=0.9, tape=0.3)


def _printed(rng: Random, held_out: bool) -> Look:
    dark, light = shaded((20, 20, 24), rng), shaded((240, 240, 238), rng)
    ground, ink = (light, dark) if rng.random() < 0.6 else (dark, light)
    return _look(
        rng, "printed", held_out, ground, mixed(ink, ground, rng.uniform(0, 0.5)), ink, ink, hand=0.0, tape=0.0
    )


def _digital(rng: Random, held_out: bool) -> Look:
    maker = _acrylic if rng.random() < 0.5 else _wood
    look = maker(rng, held_out)
    return Look(**{**look.__dict__, "kind": "digital"})


def _app(rng: Random, held_out: bool) -> Look:
    accent = rng.choice(ACCENTS)
    if rng.random() < 0.82:
        ground, ink = (
            shaded(rng.choice(((14, 14, 16), (22, 24, 30), (10, 20, 36), (0, 0, 0), (30, 26, 20))), rng),
            (240, 240, 242),
        )
    else:
        ground, ink = shaded((238, 239, 243), rng), (20, 22, 26)
    label = rng.choice((accent, mixed(ink, ground, 0.4), mixed(ink, ground, 0.55)))
    if rng.random() < 0.15:
        ink = accent
    return _look(rng, "app", held_out, ground, mixed(ground, ink, 0.25), label, ink, hand=0.0, tape=0.0)


def _look(
    rng: Random,
    kind: str,
    held_out: bool,
    ground: Colour,
    line: Colour,
    label: Colour,
    ink: Colour,
    hand: float,
    tape: float,
) -> Look:
    handed = rng.random() < hand
    pen = _hand(rng, held_out) if handed else _print(rng, held_out)
    if kind in ("app", "printed") and rng.random() < 0.06:
        pen = SegmentPen(rng.uniform(0.1, 0.18), 0.05, 0.0)
    align = rng.choice((0.5, 0.5, 0.5, 0.08, 0.9))
    return Look(
        kind=kind,
        ground=ground,
        line=line,
        label_ink=mixed(label, ground, rng.uniform(0, 0.25)),
        ink=ink,
        label_pen=_print(rng, held_out) if rng.random() < 0.94 else _hand(rng, held_out),
        value_pen=pen,
        label_cap=rng.uniform(0.028, 0.055),
        label_at=rng.choice(("corner", "corner", "corner", "corner", "centre", "beside", "below")),
        fill=rng.uniform(0.4, 0.85),
        align=align,
        lines=0.0 if rng.random() < 0.15 else rng.uniform(1.0, 4.0),
        cards=kind == "app" and rng.random() < 0.7,
        tape=tape * rng.choice((0, 0, 1, 3)),
        tilt=rng.uniform(0.3, 2.5) if handed else 0.0,
    )


def _print(rng: Random, held_out: bool) -> TypePen:
    return TypePen(
        rng.choice(faces("print", held_out)),
        rng,
        spacing=max(rng.gauss(0, 0.05), -0.04),
        stretch=rng.choice((1.0, 1.0, rng.uniform(0.75, 1.25))),
    )


def _hand(rng: Random, held_out: bool) -> Pen:
    if rng.random() < STROKES and not held_out:
        return draw_hand(rng)
    bold = rng.choice((0.0, 0.0, rng.uniform(0, 0.08)))
    face = rng.choice(faces("hand", held_out))
    return TypePen(face, rng, rng.uniform(0.2, 1.3), rng.uniform(-0.02, 0.12), rng.uniform(0.85, 1.2), bold)


_LOOKS = {"acrylic": _acrylic, "wood": _wood, "printed": _printed, "digital": _digital, "app": _app}

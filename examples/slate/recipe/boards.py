"""Boards of many makes, painted with Skia: wood, acrylic, printed, with a timecode, on a tablet. Each glyph's place is kept.

Texts come from `broad`, cells from `flow`, letters from `pens`. Knows nothing of the frame around a board.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import numpy as np
import skia
from numpy.typing import NDArray

from .assets import faces
from .broad import OTHER, Entry, draw_name, draw_title
from .flow import Box, Place, arrange
from .pens import Inked, Pen, SegmentPen, TypePen, draw_hand, paint
from .strokes import has

__all__ = ["KINDS", "Board", "Glyph", "paint_board"]

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Glyph:
    """A glyph of a value, or, with no character, of a label."""

    char: str
    field: str
    index: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Board:
    """A painted board, seen from straight ahead."""

    pixels: NDArray[np.uint8]
    """[height, width, 4], RGB and opacity; colours are not multiplied by it."""
    glyphs: tuple[Glyph, ...]


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
TALL = 480
"""Height of a board in pixels, its sticks included."""

MARKERS: tuple[Colour, ...] = ((20, 20, 25), (25, 35, 140), (165, 25, 25), (15, 100, 50), (70, 25, 110), (90, 50, 20))
STICKS: tuple[Colour, ...] = ((215, 30, 35), (240, 200, 30), (30, 150, 60), (20, 150, 200), (30, 60, 170), (190, 40, 130))
TAPES: tuple[Colour, ...] = ((235, 230, 215), (240, 215, 90), (245, 160, 175), (190, 225, 120), (205, 165, 125), (150, 200, 230))
ACCENTS: tuple[Colour, ...] = ((255, 70, 60), (70, 220, 110), (255, 190, 40), (60, 170, 255), (200, 110, 255), (240, 240, 240))


def paint_board(rng: Random, entries: list[Entry], held_out: bool = False) -> Board:
    """A board with these entries, of any kind."""
    kind = rng.choices(KINDS, WEIGHTS)[0]
    high = TALL
    wide = round(high * rng.choice((rng.uniform(1.2, 1.5), rng.uniform(1.3, 1.8), rng.uniform(1.0, 2.0))))
    look = _LOOKS[kind](rng, held_out)
    surface = skia.Surface(wide, high)
    canvas = surface.getCanvas()
    canvas.clear(0)
    glyphs = _painted(rng, canvas, look, entries, Box(0, 0, wide, high))
    return Board(_pixels(surface), tuple(glyphs))


def _painted(rng: Random, canvas: skia.Canvas, look: Look, entries: list[Entry], box: Box) -> list[Glyph]:
    app = look.kind == "app"
    round_corners = 18.0 if app else rng.choice((0.0, 0.0, 6.0))
    bar, room = box, box
    if app:
        canvas.drawRoundRect(_rect(box), 22, 22, paint(_shaded((8, 8, 10), rng)))
        bar = box.inner(rng.uniform(6, 16))
        canvas.drawRoundRect(_rect(bar), 12, 12, paint(look.ground))
        room = bar.inner(rng.uniform(2, 10))
    elif rng.random() < (0.55 if look.kind == "wood" else 0.2):
        canvas.drawRoundRect(_rect(box), round_corners, round_corners, paint(_shaded(rng.choice(((120, 80, 45), (20, 20, 20), (170, 125, 80))), rng)))
        bar = box.inner(rng.uniform(4, 14))
        canvas.drawRect(_rect(bar), paint(look.ground))
        room = bar
    else:
        canvas.drawRoundRect(_rect(box), round_corners, round_corners, paint(look.ground))
    if rng.random() < 0.75:
        sticks, room = room.down([rng.uniform(0.07, 0.2), 1.0])
        _sticks(rng, canvas, look, sticks)
    _stains(rng, canvas, look, room)
    glyphs: list[Glyph] = []
    parts = [entries]
    if look.kind in ("digital", "app") and rng.random() < (0.95 if look.kind == "digital" else 0.6):
        glyphs += _header(rng, canvas, look, room) if app and rng.random() < 0.5 else []
        timecode, room, parts = _with_timecode(rng, canvas, look, room, entries, bool(glyphs))
        glyphs += timecode
    for number, part in enumerate(parts):
        box_here = room if len(parts) == 1 else _split(room, parts)[number]
        for place in arrange(rng, part, box_here) if part else ():
            glyphs += _cell(rng, canvas, look, place, box.height)
    _wear(rng, canvas, look, box)
    return glyphs


def _split(room: Box, parts: list[list[Entry]]) -> list[Box]:
    return room.down([float(len(part)) for part in parts])


def _with_timecode(
    rng: Random, canvas: skia.Canvas, look: Look, room: Box, entries: list[Entry], headed: bool
) -> tuple[list[Glyph], Box, list[list[Entry]]]:
    """A running timecode above, below or under the first cells."""
    weights = [rng.uniform(0.14, 0.3), 1.0]
    if headed:
        room = room.down([0.1, 1.0])[1]
    if rng.random() < 0.75:
        box, room = room.down(weights)
    else:
        room, box = room.down(weights[::-1])
    return _timecode(rng, canvas, look, box), room, [entries]


def _timecode(rng: Random, canvas: skia.Canvas, look: Look, box: Box) -> list[Glyph]:
    digital = look.kind == "digital"
    ink = rng.choice(((255, 40, 40), (255, 60, 50), (255, 150, 30), (90, 255, 120), (90, 190, 255))) if digital else look.label_ink
    if digital or rng.random() < 0.3:
        canvas.drawRect(_rect(box.inner(2)), paint(_shaded((14, 8, 8), rng)))
    text = rng.choice(":::;").join(f"{rng.randint(0, top):02}" for top in (23, 59, 59, 24))
    if rng.random() < 0.12:
        text = text[:8] + "." + text[9:]
    segments = SegmentPen(rng.uniform(0.1, 0.2), rng.uniform(0, 0.12), rng.choice((0.0, 0.0, 0.12)))
    pen: Pen = segments if digital or rng.random() < 0.4 else look.label_pen
    cap = min(0.62 * box.height, 0.85 * box.width / max(pen.width(text, 1.0), 0.1))
    x = box.left + (box.width - pen.width(text, cap)) * rng.choice((0.5, 0.5, 0.1, 0.9))
    inked = pen.write(canvas, text, x, box.top + (box.height + cap) / 2, cap, ink)
    return _glyphs(inked, OTHER, kept=True)


def _header(rng: Random, canvas: skia.Canvas, look: Look, room: Box) -> list[Glyph]:
    """A title at one edge and a name at the other, without labels."""
    box = room.down([0.1, 1.0])[0].inner(3)
    cap = 0.4 * box.height
    found = []
    for text, share in ((draw_title(rng), 0.0), (draw_name(rng), 1.0)):
        x = box.left + 4 + share * (box.width - 8 - look.label_pen.width(text, cap))
        found += _glyphs(look.label_pen.write(canvas, text, x, (box.top + box.bottom + cap) / 2, cap, look.label_ink), OTHER, True)
    return found


def _cell(rng: Random, canvas: skia.Canvas, look: Look, place: Place, tall: float) -> list[Glyph]:
    box, entry = place.box, place.entry
    if look.cards:
        box = box.inner(rng.uniform(2, 4))
        canvas.drawRoundRect(_rect(box), 8, 8, paint(_mixed(look.ground, look.ink, 0.07)))
    elif look.lines:
        canvas.drawRect(_rect(box), paint(look.line, stroke=look.lines))
    box = box.inner(min(0.06 * box.height + 2, 8))
    if entry.choices:
        return _choices(rng, canvas, look, entry.choices, box)
    pen, text = look.label_pen, entry.label
    cap = min(look.label_cap * tall, 0.3 * box.height)
    beside = look.label_at == "beside" or box.height < 3.2 * cap
    share = 0.42 if beside else 0.96
    cap = max(min(cap if not beside else min(look.label_cap * tall, 0.5 * box.height), share * box.width / max(pen.width(text, 1), 0.1)), 4)
    label, room = _label_box(look, box, cap, pen.width(text, cap), beside)
    found = _glyphs(pen.write(canvas, text, label[0], label[1], cap, look.label_ink), entry.field, kept=False)
    return found + (_value(rng, canvas, look, entry, room) if entry.value else [])


def _label_box(look: Look, box: Box, cap: float, width: float, beside: bool) -> tuple[tuple[float, float], Box]:
    """Where the label's base line begins, and the room for the value."""
    if beside:
        room = Box(box.left + width + 0.6 * cap + 3, box.top, box.right, box.bottom)
        return (box.left + 1, (box.top + box.bottom + cap) / 2), room
    x = box.left + 1 if look.label_at == "corner" else (box.left + box.right - width) / 2
    if look.label_at == "below":
        return (x, box.bottom - 1), Box(box.left, box.top, box.right, box.bottom - 1.4 * cap)
    return (x, box.top + cap + 1), Box(box.left, box.top + 1.4 * cap + 1, box.right, box.bottom)


def _value(rng: Random, canvas: skia.Canvas, look: Look, entry: Entry, room: Box) -> list[Glyph]:
    pen, text = _able(rng, look, entry.value), entry.value
    fill = look.fill * rng.uniform(0.85, 1.1) * (0.8 if entry.field == OTHER else 1.0)
    cap = min(fill * room.height, 0.92 * room.width / max(pen.width(text, 1.0), 0.1))
    cap = max(min(cap, 0.9 * room.height), 5.0)
    spare = room.width - pen.width(text, cap)
    x = room.left + max(spare, 0) * min(max(look.align + rng.gauss(0, 0.12), 0.02), 0.98)
    base = room.top + (room.height + cap) / 2 + rng.uniform(-0.3, 0.3) * max(room.height - cap, 0) * look.tilt / 3
    angle = rng.gauss(0, look.tilt)
    centre = (x + pen.width(text, cap) / 2, base - cap / 2)
    canvas.save()
    canvas.rotate(angle, *centre)
    ink = look.ink
    if rng.random() < look.tape:
        ink = rng.choice(MARKERS[:3]) if sum(look.ground) < 300 or rng.random() < 0.5 else look.ink
        grown = rng.uniform(0.15, 0.4) * cap
        strip = Box(x - grown, base - cap - grown, x + pen.width(text, cap) + grown, base + grown)
        canvas.drawRect(_rect(strip), paint(_shaded(rng.choice(TAPES), rng), rng.randint(200, 255)))
    inked = pen.write(canvas, text, x, base, cap, ink)
    canvas.restore()
    return _glyphs(inked, entry.field, True, text, angle, centre)


def _able(rng: Random, look: Look, text: str) -> Pen:
    """The board's pen, or its printed one where the hand lacks a character."""
    pen = look.value_pen
    if isinstance(pen, SegmentPen):
        return pen if all(c in "0123456789-.:" for c in text) else look.label_pen
    return pen if isinstance(pen, TypePen) or has(text) else look.label_pen


def _choices(rng: Random, canvas: skia.Canvas, look: Look, words: tuple[str, ...], box: Box) -> list[Glyph]:
    """Printed words in a grid, some of them circled."""
    columns = 2 if len(words) > 2 or box.width > 2 * box.height else 1
    rows = -(-len(words) // columns)
    found: list[Glyph] = []
    for number, word in enumerate(words):
        cell = box.across([1.0] * columns)[number % columns].down([1.0] * rows)[number // columns]
        cap = min(0.32 * cell.height, 0.6 * cell.width / max(look.label_pen.width(word, 1), 0.1))
        if cap < 3:
            continue
        wide = look.label_pen.width(word, cap)
        x, base = (cell.left + cell.right - wide) / 2, (cell.top + cell.bottom + cap) / 2
        found += _glyphs(look.label_pen.write(canvas, word, x, base, cap, look.label_ink), OTHER, True)
        if rng.random() < 0.45:
            around = skia.Rect.MakeLTRB(x - 0.6 * cap, base - 1.6 * cap, x + wide + 0.6 * cap, base + 0.6 * cap)
            canvas.drawOval(around, paint(rng.choice((look.ink, look.label_ink)), stroke=max(0.12 * cap, 1)))
    return found


def _glyphs(
    inked: list[Inked], field: str, kept: bool, text: str = "", angle: float = 0.0, centre: tuple[float, float] = (0.0, 0.0)
) -> list[Glyph]:
    """With the characters, or as glyphs of a label; `text` gives the index of each, blanks counted."""
    at = [i for i, char in enumerate(text) if char != " "] or list(range(len(inked)))
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    found = []
    for index, one in zip(at, inked, strict=True):
        dx, dy = (one.left + one.right) / 2 - centre[0], (one.top + one.bottom) / 2 - centre[1]
        x, y = centre[0] + cos * dx - sin * dy, centre[1] + sin * dx + cos * dy
        found.append(Glyph(one.char if kept else "", field, index, x, y, one.right - one.left, one.bottom - one.top))
    return found


# -- what surrounds the cells


def _sticks(rng: Random, canvas: skia.Canvas, look: Look, box: Box) -> None:
    """Stripes, arrows or blocks of colour."""
    dark, light = _shaded((15, 15, 15), rng), _shaded((240, 240, 235), rng)
    if rng.random() < 0.25:
        light = rng.choice(STICKS if look.kind != "app" else ACCENTS)
    canvas.save()
    canvas.clipRect(_rect(box))
    canvas.drawRect(_rect(box), paint(dark))
    if rng.random() < 0.3:
        colours = list(STICKS) + [light, dark]
        rng.shuffle(colours)
        for part, colour in zip(box.across([1.0] * 7), colours, strict=False):
            canvas.drawRect(_rect(part), paint(colour))
    else:
        _stripes(canvas, box, light, box.height * rng.uniform(0.9, 2.2), box.height * rng.uniform(-1.0, 1.0), rng.random() < 0.3)
    canvas.restore()


def _stripes(canvas: skia.Canvas, box: Box, colour: Colour, step: float, lean: float, arrows: bool) -> None:
    x, middle = box.left - abs(lean) - step, (box.top + box.bottom) / 2
    while x < box.right + abs(lean):
        path = skia.Path()
        if arrows:
            path.addPoly([skia.Point(*p) for p in ((x, box.top), (x + step / 2, box.top), (x + step / 2 + lean, middle), (x + step / 2, box.bottom), (x, box.bottom), (x + lean, middle))], True)
        else:
            path.addPoly([skia.Point(*p) for p in ((x, box.top), (x + step / 2, box.top), (x + step / 2 + lean, box.bottom), (x + lean, box.bottom))], True)
        canvas.drawPath(path, paint(colour))
        x += step


def _stains(rng: Random, canvas: skia.Canvas, look: Look, box: Box) -> None:
    """Clouds of chalk, or of wiped ink."""
    for _ in range(rng.choice((0, 0, 2, 5)) if look.kind in ("wood", "acrylic", "digital") else 0):
        blur = skia.Paint(Color=skia.Color(*look.ink, rng.randint(5, 22)), MaskFilter=skia.MaskFilter.MakeBlur(skia.kNormal_BlurStyle, 14))
        x, y = rng.uniform(box.left, box.right), rng.uniform(box.top, box.bottom)
        canvas.drawOval(skia.Rect.MakeXYWH(x, y, rng.uniform(30, 160), rng.uniform(15, 60)), blur)


def _wear(rng: Random, canvas: skia.Canvas, look: Look, box: Box) -> None:
    """Screws, scratches, a shine."""
    if rng.random() < 0.3:
        for x in (box.left + 12, box.right - 12):
            canvas.drawCircle(x, box.top + 14, 6, paint(_shaded((140, 140, 145), rng)))
    for _ in range(rng.choice((0, 0, 3))):
        x, y = rng.uniform(box.left, box.right), rng.uniform(box.top, box.bottom)
        canvas.drawLine(x, y, x + rng.gauss(0, 60), y + rng.gauss(0, 30), paint(look.line, 60, 1))


# -- looks, by kind


def _acrylic(rng: Random, held_out: bool) -> Look:
    shade = rng.randint(222, 255)
    ground = (shade, shade - rng.randint(0, 8), shade - rng.randint(0, 18))
    line = rng.choice(((20, 20, 20), (30, 30, 120), (150, 30, 30), (60, 60, 60)))
    return _look(rng, "acrylic", held_out, ground, line, line, rng.choice(MARKERS), hand=0.92, tape=0.25)


def _wood(rng: Random, held_out: bool) -> Look:
    ground = _shaded(rng.choice(((22, 22, 22), (18, 36, 28), (20, 24, 38), (40, 36, 32), (10, 10, 10))), rng)
    light = _shaded((238, 236, 228), rng)
    ink = rng.choice((light, light, light, (250, 240, 140), (255, 200, 205)))
    return _look(rng, "wood", held_out, ground, light, light, ink, hand=0.9, tape=0.3)


def _printed(rng: Random, held_out: bool) -> Look:
    dark, light = _shaded((20, 20, 24), rng), _shaded((240, 240, 238), rng)
    ground, ink = (light, dark) if rng.random() < 0.6 else (dark, light)
    return _look(rng, "printed", held_out, ground, _mixed(ink, ground, rng.uniform(0, 0.5)), ink, ink, hand=0.0, tape=0.0)


def _digital(rng: Random, held_out: bool) -> Look:
    maker = _acrylic if rng.random() < 0.5 else _wood
    look = maker(rng, held_out)
    return Look(**{**look.__dict__, "kind": "digital"})


def _app(rng: Random, held_out: bool) -> Look:
    accent = rng.choice(ACCENTS)
    if rng.random() < 0.82:
        ground, ink = _shaded(rng.choice(((14, 14, 16), (22, 24, 30), (10, 20, 36), (0, 0, 0), (30, 26, 20))), rng), (240, 240, 242)
    else:
        ground, ink = _shaded((238, 239, 243), rng), (20, 22, 26)
    label = rng.choice((accent, _mixed(ink, ground, 0.4), _mixed(ink, ground, 0.55)))
    if rng.random() < 0.15:
        ink = accent
    return _look(rng, "app", held_out, ground, _mixed(ground, ink, 0.25), label, ink, hand=0.0, tape=0.0)


def _look(
    rng: Random, kind: str, held_out: bool, ground: Colour, line: Colour, label: Colour, ink: Colour, hand: float, tape: float
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
        label_ink=_mixed(label, ground, rng.uniform(0, 0.25)),
        ink=ink,
        label_pen=_print(rng, held_out) if rng.random() < 0.94 else _hand(rng, held_out),
        value_pen=pen,
        label_cap=rng.uniform(0.022, 0.05),
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
    if rng.random() < 0.5 and not held_out:
        return draw_hand(rng)
    bold = rng.choice((0.0, 0.0, rng.uniform(0, 0.08)))
    face = rng.choice(faces("hand", held_out))
    return TypePen(face, rng, rng.uniform(0.2, 1.3), rng.uniform(-0.02, 0.12), rng.uniform(0.85, 1.2), bold)


_LOOKS = {"acrylic": _acrylic, "wood": _wood, "printed": _printed, "digital": _digital, "app": _app}


def _rect(box: Box) -> skia.Rect:
    return skia.Rect.MakeLTRB(box.left, box.top, box.right, box.bottom)


def _mixed(a: Colour, b: Colour, share: float) -> Colour:
    """`a` with a share of `b`."""
    return tuple(round(x + (y - x) * share) for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


def _shaded(colour: Colour, rng: Random) -> Colour:
    """A little lighter, darker, warmer or colder."""
    up = rng.randint(-12, 12)
    return tuple(min(max(part + up + rng.randint(-6, 6), 0), 255) for part in colour)  # type: ignore[return-value]


def _pixels(surface: skia.Surface) -> NDArray[np.uint8]:
    image = surface.makeImageSnapshot()
    return np.asarray(image.toarray(colorType=skia.kRGBA_8888_ColorType))

"""Boards of many makes, painted with Skia: wood, acrylic, printed, digital, on a tablet. Each glyph's place is kept.

Texts come from `broad`, cells from `flow`, letters from `pens`. Knows nothing of the frame around a board.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import numpy as np
import skia
from numpy.typing import NDArray

from .broad import OTHER, Entry, draw_name, draw_title
from .dressing import rect, stains, sticks, wear
from .flow import Box, Place, arrange
from .looks import MARKERS, TAPES, Look, draw_look, mixed, shaded
from .pens import Inked, Pen, SegmentPen, TypePen, paint
from .strokes import has

__all__ = ["Board", "Glyph", "paint_board"]


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


TALL = 400
"""Height of a board in pixels, its sticks included."""


def paint_board(rng: Random, entries: list[Entry], held_out: bool = False) -> Board:
    """A board with these entries, of any kind."""
    high = TALL
    wide = round(high * rng.choice((rng.uniform(1.2, 1.5), rng.uniform(1.3, 1.8), rng.uniform(1.0, 2.0))))
    look = draw_look(rng, held_out)
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
        canvas.drawRoundRect(rect(box), 22, 22, paint(shaded((8, 8, 10), rng)))
        bar = box.inner(rng.uniform(6, 16))
        canvas.drawRoundRect(rect(bar), 12, 12, paint(look.ground))
        room = bar.inner(rng.uniform(2, 10))
    elif rng.random() < (0.55 if look.kind == "wood" else 0.2):
        canvas.drawRoundRect(
            rect(box),
            round_corners,
            round_corners,
            paint(shaded(rng.choice(((120, 80, 45), (20, 20, 20), (170, 125, 80))), rng)),
        )
        bar = box.inner(rng.uniform(4, 14))
        canvas.drawRect(rect(bar), paint(look.ground))
        room = bar
    else:
        canvas.drawRoundRect(rect(box), round_corners, round_corners, paint(look.ground))
    if rng.random() < 0.75:
        bar, room = room.down([rng.uniform(0.07, 0.2), 1.0])
        sticks(rng, canvas, look, bar)
    stains(rng, canvas, look, room)
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
    wear(rng, canvas, look, box)
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
    ink = (
        rng.choice(((255, 40, 40), (255, 60, 50), (255, 150, 30), (90, 255, 120), (90, 190, 255)))
        if digital
        else look.label_ink
    )
    if digital or rng.random() < 0.3:
        canvas.drawRect(rect(box.inner(2)), paint(shaded((14, 8, 8), rng)))
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
        found += _glyphs(
            look.label_pen.write(canvas, text, x, (box.top + box.bottom + cap) / 2, cap, look.label_ink), OTHER, True
        )
    return found


def _cell(rng: Random, canvas: skia.Canvas, look: Look, place: Place, tall: float) -> list[Glyph]:
    box, entry = place.box, place.entry
    if look.cards:
        box = box.inner(rng.uniform(2, 4))
        canvas.drawRoundRect(rect(box), 8, 8, paint(mixed(look.ground, look.ink, 0.07)))
    elif look.lines:
        canvas.drawRect(rect(box), paint(look.line, stroke=look.lines))
    box = box.inner(min(0.06 * box.height + 2, 8))
    if entry.choices:
        return _choices(rng, canvas, look, entry.choices, box)
    pen, text = look.label_pen, entry.label
    cap = min(look.label_cap * tall, 0.3 * box.height)
    beside = look.label_at == "beside" or box.height < 3.2 * cap
    share = 0.42 if beside else 0.96
    cap = max(
        min(
            cap if not beside else min(look.label_cap * tall, 0.5 * box.height),
            share * box.width / max(pen.width(text, 1), 0.1),
        ),
        4,
    )
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
    pen, text = _able(look, entry.value), entry.value
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
        canvas.drawRect(rect(strip), paint(shaded(rng.choice(TAPES), rng), rng.randint(200, 255)))
    inked = pen.write(canvas, text, x, base, cap, ink)
    canvas.restore()
    return _glyphs(inked, entry.field, True, text, angle, centre)


def _able(look: Look, text: str) -> Pen:
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
    inked: list[Inked],
    field: str,
    kept: bool,
    text: str = "",
    angle: float = 0.0,
    centre: tuple[float, float] = (0.0, 0.0),
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


def _pixels(surface: skia.Surface) -> NDArray[np.uint8]:
    image = surface.makeImageSnapshot()
    return np.asarray(image.toarray(colorType=skia.kRGBA_8888_ColorType))

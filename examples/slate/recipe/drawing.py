"""Paints a board: clapper, cells, labels, values. Remembers where each glyph stands.

Knows nothing of the frame around it or of what cells mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from random import Random

from PIL import Image, ImageDraw

from .fonts import DIGITAL, HAND, HELD_OUT_HAND, HELD_OUT_PRINT, PRINT, font, have
from .layouts import Cell

__all__ = ["Board", "Colour", "Glyph", "Style", "draw_style", "paint"]

Colour = tuple[int, int, int]

REFERENCE = 64
"""Typefaces are measured once, in this size."""


@dataclass(frozen=True)
class Glyph:
    """One character of a value or of a label, at its centre."""

    char: str
    """Empty in a label, which says only what stands beside or below it."""
    field: str
    index: int
    """Which character of its text it is."""
    x: float
    y: float
    height: float


@dataclass(frozen=True)
class Board:
    """A painted board, seen from straight ahead."""

    image: Image.Image
    glyphs: tuple[Glyph, ...]


@dataclass(frozen=True)
class Style:
    """How a board looks; the same for all of its cells."""

    ground: Colour
    ink: Colour
    label_ink: Colour
    label_font: str
    value_font: str
    label_height: float
    """Capitals of labels, as a share of the cell."""
    value_height: float
    align: str
    """Where values stand: `left`, `centre`, or `mixed`."""
    lines: bool
    clapper: float
    """Height of the clapper, as a share of the board; 0 where there is none."""
    slant: float
    """Of the clapper's stripes."""
    wobble: float
    """How uneven handwriting is: 0 for print."""
    timecode: bool


def draw_style(rng: Random, d: float, held_out: bool) -> Style:
    """A look of difficulty d, in typefaces that training uses or in those that it never sees."""
    digital = rng.random() < 0.18
    hand = not digital and rng.random() < 0.1 + 0.5 * d
    ground, ink = _digital_colours(rng) if digital else _colours(rng, d)
    print_fonts, hand_fonts = (HELD_OUT_PRINT, HELD_OUT_HAND) if held_out else (PRINT, HAND)
    label_font = rng.choice(have(print_fonts))
    return Style(
        ground=ground,
        ink=ink,
        label_ink=_mixed(ink, ground, rng.uniform(0, 0.3)) if not hand else _label_ink(rng, ground),
        label_font=label_font,
        value_font=rng.choice(have(hand_fonts if hand else print_fonts)),
        label_height=rng.uniform(0.14, 0.18),
        value_height=rng.uniform(0.36, 0.46) - 0.06 * d * rng.random(),
        align=rng.choice(("left", "centre", "centre", "mixed")),
        lines=rng.random() < (0.4 if digital else 0.75),
        clapper=0.0 if digital else rng.choice((0.0, 0.08, 0.1, 0.12, 0.14)),
        slant=rng.choice((-1, 1)) * rng.uniform(0.4, 1.2),
        wobble=rng.uniform(0.3, 1.0) * (0.4 + 0.6 * d) if hand else 0.0,
        timecode=digital and rng.random() < 0.6,
    )


def paint(rng: Random, cells: tuple[Cell, ...], style: Style, size: tuple[int, int]) -> Board:
    """The board in `size` pixels."""
    width, height = size
    image = Image.new("RGB", size, style.ground)
    draw = ImageDraw.Draw(image)
    top = style.clapper * height
    if style.clapper:
        _stripes(draw, width, top, style)
    if style.timecode:
        top = _timecode(rng, draw, width, height, style)
    glyphs: list[Glyph] = []
    for cell in cells:
        left, up, right, down = cell.box
        box = (left * width, top + up * (height - top), right * width, top + down * (height - top))
        glyphs += _cell(rng, draw, cell, box, style)
    return Board(image, tuple(glyphs))


def _cell(
    rng: Random, draw: ImageDraw.ImageDraw, cell: Cell, box: tuple[float, float, float, float], style: Style
) -> list[Glyph]:
    left, top, right, bottom = box
    if style.lines:
        draw.rectangle((left, top, right - 1, bottom - 1), outline=style.label_ink)
    pad = 0.03 * (right - left) + 3
    left, right, height = left + pad, right - pad, bottom - top
    one_line = height < 36
    cap = max(0.3 * height if one_line else style.label_height * height, 12.0)
    share = 0.42 if cell.beside else 1.0
    size = _fitted(style.label_font, cell.label, cap, share * (right - left))
    at = (top + bottom) / 2 if cell.beside else top + 3 + cap / 2
    placed = _write(draw, style.label_font, size, cell.label, left, at, style.label_ink)
    label = [Glyph("", cell.field, i, x, y, cap) for i, (_, x, y) in enumerate(placed)]
    if not cell.value:
        return label
    if cell.beside:
        left += _width(style.label_font, size, cell.label) + pad + 2
        middle = (top + bottom) / 2
    else:
        middle = top + 3 + cap + (height - 3 - cap) / 2
    tall = min((0.5 if one_line else style.value_height) * height, 0.8 * (2 * (bottom - middle) - 4))
    return label + _value(rng, draw, cell, (left, right, middle, tall), style)


def _value(
    rng: Random, draw: ImageDraw.ImageDraw, cell: Cell, room: tuple[float, float, float, float], style: Style
) -> list[Glyph]:
    left, right, middle, tall = room
    size = _fitted(style.value_font, cell.value, tall, right - left)
    spare = right - left - _width(style.value_font, size, cell.value)
    align = rng.choice(("left", "centre", "right")) if style.align == "mixed" else style.align
    x = left + max(spare, 0) * {"left": 0.05, "centre": 0.5, "right": 0.95}[align]
    y = middle + style.wobble * rng.uniform(-0.1, 0.1) * tall
    wobble = style.wobble * 0.06 * tall
    placed = _write(draw, style.value_font, size, cell.value, x, y, style.ink, wobble, rng)
    high = _cap(style.value_font) * size
    return [Glyph(char, cell.field, i, gx, gy, high) for i, (char, gx, gy) in enumerate(placed) if char != " "]


def _write(
    draw: ImageDraw.ImageDraw,
    name: str,
    size: int,
    text: str,
    x: float,
    y: float,
    ink: Colour,
    wobble: float = 0.0,
    rng: Random | None = None,
) -> list[tuple[str, float, float]]:
    """Text from x on, its capitals centred on y; the centres of its characters."""
    face = font(name, size)
    base = y + _cap(name) * size / 2
    ends = [0.0, *(end * size / REFERENCE for end in accumulate(_advance(name, char) for char in text))]
    if not wobble or rng is None:
        draw.text((x, base), text, fill=ink, font=face, anchor="ls")
        return [(char, x + (a + b) / 2, y) for char, a, b in zip(text, ends, ends[1:], strict=False)]
    placed = []
    for char, a, b in zip(text, ends, ends[1:], strict=False):
        lift = rng.uniform(-wobble, wobble)
        draw.text((x + a, base + lift), char, fill=ink, font=face, anchor="ls")
        placed.append((char, x + (a + b) / 2, y + lift))
    return placed


def _fitted(name: str, text: str, cap: float, width: float) -> int:
    """The largest size with capitals of at most `cap` pixels in which the text fits into `width`."""
    return max(6, int(min(cap / _cap(name), width / max(_width(name, 1, text), 0.1))))


def _width(name: str, size: int, text: str) -> float:
    """Of a text, without kerning."""
    return sum(_advance(name, char) for char in text) * size / REFERENCE


@lru_cache(maxsize=8192)
def _advance(name: str, char: str) -> float:
    return float(font(name, REFERENCE).getlength(char))


@lru_cache(maxsize=512)
def _cap(name: str) -> float:
    """Height of capitals and digits, in units of the size."""
    return float(-font(name, REFERENCE).getbbox("H0", anchor="ls")[1]) / REFERENCE


def _stripes(draw: ImageDraw.ImageDraw, width: int, height: float, style: Style) -> None:
    light, dark = (235, 235, 235), (15, 15, 15)
    draw.rectangle((0, 0, width, height), fill=dark)
    step, shift = height * 1.8, height * style.slant
    x = -abs(shift) - step
    while x < width + abs(shift):
        draw.polygon([(x, 0), (x + step / 2, 0), (x + step / 2 + shift, height), (x + shift, height)], fill=light)
        x += step


def _timecode(rng: Random, draw: ImageDraw.ImageDraw, width: int, height: int, style: Style) -> float:
    """A running timecode over the cells of a digital slate; returns where it ends."""
    text = ":".join(f"{rng.randint(0, top):02}" for top in (23, 59, 59, 23))
    name = rng.choice(have(DIGITAL))
    size = _fitted(name, text, 0.13 * height, 0.8 * width)
    _write(draw, name, size, text, 0.1 * width, 0.12 * height, style.ink)
    return 0.22 * height


def _colours(rng: Random, d: float) -> tuple[Colour, Colour]:
    """Ground and ink: white, black, or, the harder the more often, something in between."""
    shade = rng.randint(0, 30 + int(25 * d))
    dark, light = (shade, shade, shade), _grey(rng, 255 - int(40 * d) - 30, 255)
    if rng.random() < 0.12 + 0.2 * d:  # a tinted board
        tint = [rng.randint(0, 70) for _ in range(3)]
        dark = (tint[0], tint[1], tint[2])
    if rng.random() < 0.15:  # a coloured pen on white
        pen = rng.choice(((20, 30, 140), (150, 20, 20), (10, 90, 40), (60, 20, 110)))
        return light, pen
    return (dark, light) if rng.random() < 0.55 else (light, dark)


def _digital_colours(rng: Random) -> tuple[Colour, Colour]:
    ink = rng.choice(((120, 230, 255), (140, 255, 150), (255, 190, 80), (245, 245, 245), (255, 110, 100)))
    return rng.choice(((5, 8, 14), (18, 22, 30), (0, 0, 0), (10, 26, 44))), ink


def _label_ink(rng: Random, ground: Colour) -> Colour:
    """Printed labels on a board that is written on by hand."""
    away = (20, 20, 20) if sum(ground) > 380 else (235, 235, 235)
    return _mixed(away, ground, rng.uniform(0, 0.3))


def _grey(rng: Random, low: int, high: int) -> Colour:
    shade = rng.randint(low, high)
    return shade, shade, min(255, max(0, shade + rng.randint(-12, 8)))


def _mixed(a: Colour, b: Colour, share: float) -> Colour:
    """`a` with a share of `b`."""
    return tuple(round(x + (y - x) * share) for x, y in zip(a, b, strict=True))  # type: ignore[return-value]

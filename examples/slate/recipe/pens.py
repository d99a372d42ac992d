"""Pens write text on a Skia canvas and tell where each glyph stands: typefaces, uneven hands, strokes, seven segments.

Every pen measures and writes in the same terms: the height of capitals, a left edge, a base line. Knows no boards.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Protocol

import skia

from .strokes import variants

__all__ = ["Inked", "Pen", "SegmentPen", "StrokePen", "TypePen", "draw_hand"]

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Inked:
    """A glyph on the canvas: its box in pixels."""

    char: str
    left: float
    top: float
    right: float
    bottom: float


class Pen(Protocol):
    """Writes in one manner."""

    def width(self, text: str, cap: float) -> float:
        """Of a text with capitals of this height."""

    def write(self, canvas: skia.Canvas, text: str, x: float, base: float, cap: float, ink: Colour) -> list[Inked]:
        """Write from x on; the boxes of all glyphs but blanks."""


@lru_cache(maxsize=1024)
def _typeface(path: str) -> skia.Typeface:
    found = skia.Typeface.MakeFromFile(path) if path else None
    return found or skia.Typeface("sans-serif")


@lru_cache(maxsize=2048)
def _cap(path: str) -> float:
    """Height of capitals and digits, by the size."""
    font = skia.Font(_typeface(path), 256)
    box = font.getBounds(font.textToGlyphs("H0"))[0]
    return max(-box.top() / 256, 0.3)


def paint(ink: Colour, alpha: int = 255, stroke: float = 0.0) -> skia.Paint:
    """A paint, to fill or with lines of this width."""
    made = skia.Paint(AntiAlias=True, Color=skia.Color(*ink, alpha))
    if stroke:
        made.setStyle(skia.Paint.kStroke_Style)
        made.setStrokeWidth(stroke)
        made.setStrokeCap(skia.Paint.kRound_Cap)
        made.setStrokeJoin(skia.Paint.kRound_Join)
    return made


@dataclass(frozen=True)
class TypePen:
    """A typeface; `uneven` 0 prints, more of it writes each glyph a little higher, larger or turned."""

    path: str
    rng: Random
    uneven: float = 0.0
    spacing: float = 0.0
    """Between glyphs, by the height of capitals."""
    stretch: float = 1.0
    bold: float = 0.0
    """Width of an outline around glyphs, by the height of capitals."""

    def width(self, text: str, cap: float) -> float:
        return sum(w + self.spacing * cap for w in self._widths(text, cap))

    def write(self, canvas: skia.Canvas, text: str, x: float, base: float, cap: float, ink: Colour) -> list[Inked]:
        font, rng, uneven = self._font(cap), self.rng, self.uneven
        glyphs = font.textToGlyphs(text)
        boxes = font.getBounds(glyphs)
        fill, found = paint(ink), []
        if self.bold:
            fill.setStyle(skia.Paint.kStrokeAndFill_Style)
            fill.setStrokeWidth(self.bold * cap)
        for char, wide, box in zip(text, font.getWidths(glyphs), boxes, strict=False):
            if char != " ":
                up = rng.gauss(0, 0.05 * uneven * cap) if uneven else 0.0
                canvas.save()
                canvas.translate(x, base + up)
                if uneven:
                    canvas.rotate(rng.gauss(0, 3.0 * uneven))
                    grown = 1 + rng.gauss(0, 0.05 * uneven)
                    canvas.scale(grown, grown)
                canvas.drawString(char, 0, 0, font, fill)
                canvas.restore()
                found.append(
                    Inked(char, x + box.left(), base + up + box.top(), x + box.right(), base + up + box.bottom())
                )
            x += wide + self.spacing * cap
        return found

    def _font(self, cap: float) -> skia.Font:
        font = skia.Font(_typeface(self.path), cap / _cap(self.path))
        font.setScaleX(self.stretch)
        font.setSubpixel(True)
        font.setEdging(skia.Font.Edging.kAntiAlias)
        font.setHinting(skia.FontHinting.kNone)
        return font

    def _widths(self, text: str, cap: float) -> list[float]:
        font = self._font(cap)
        return list(font.getWidths(font.textToGlyphs(text)))


@dataclass(frozen=True)
class StrokePen:
    """One person's hand: the same habits in every letter, none of them twice the same."""

    rng: Random
    habits: int
    """Chooses among the variants of each character."""
    slant: float
    wide: float
    """Of a glyph, by the height of capitals."""
    gap: float
    thick: float
    """Of the line, by the height of capitals."""
    shaky: float
    bend: float
    """A warp that all glyphs share."""
    square: bool = False
    """A marker with a flat end."""

    def width(self, text: str, cap: float) -> float:
        return sum(self._advance(char) for char in text) * cap

    def write(self, canvas: skia.Canvas, text: str, x: float, base: float, cap: float, ink: Colour) -> list[Inked]:
        found, line = [], paint(ink, stroke=max(self.thick * cap, 0.8))
        if self.square:
            line.setStrokeCap(skia.Paint.kSquare_Cap)
        drift = self.rng.gauss(0, 0.02)
        for number, char in enumerate(text):
            advance = self._advance(char) * cap
            if char != " ":
                up = (drift * number + self.rng.gauss(0, 0.04 * self.shaky)) * cap
                canvas.drawPath(self._path(char, x, base + up, cap), line)
                found.append(Inked(char, x, base + up - cap, x + advance - self.gap * cap, base + up))
            x += advance
        return found

    def _advance(self, char: str) -> float:
        if char in " .,:":
            return 0.35 * self.wide + self.gap
        return self.wide * (0.45 if char == "1" else 1.0) + self.gap

    def _path(self, char: str, x: float, base: float, cap: float) -> skia.Path:
        shapes = variants(char)
        # Mostly this hand's habit, now and then another one.
        shape = shapes[(self.habits >> (ord(char.upper()) % 13)) % len(shapes)]
        if self.rng.random() < 0.06:
            shape = self.rng.choice(shapes)
        path, wide = skia.Path(), self.wide * cap
        narrow = 0.45 if char == "1" else 1.0
        for stroke in shape:
            dots = [
                self._moved((px / 4 - 0.5) * (1.0 if narrow == 1 else 0.8), py / 6, wide, cap)
                for px, py in stroke.points
            ]
            dots = [(x + narrow * wide / 2 + dx, base + dy) for dx, dy in dots]
            _curve(path, dots) if stroke.curved else _lines(path, dots)
        return path

    def _moved(self, px: float, py: float, wide: float, cap: float) -> tuple[float, float]:
        """A grid point in pixels, seen from the middle of the glyph's foot; px is in -0.5..0.5, py down in 0..1."""
        shake = 0.035 * self.shaky
        px, py = px + self.rng.gauss(0, shake), py + self.rng.gauss(0, shake)
        px += self.bend * math.sin(3 * py) * 0.15
        return px * wide + self.slant * (1 - py) * cap, (py - 1) * cap


@dataclass(frozen=True)
class SegmentPen:
    """Digits of seven straight segments, lit or, if `dim`, faintly there."""

    thick: float
    slant: float
    dim: float

    def width(self, text: str, cap: float) -> float:
        return sum(self._advance(char) for char in text) * cap

    def write(self, canvas: skia.Canvas, text: str, x: float, base: float, cap: float, ink: Colour) -> list[Inked]:
        found = []
        for char in text:
            advance = self._advance(char) * cap
            if char in _LIT:
                self._digit(canvas, char, x, base, cap, ink)
            elif char in ":.;":
                for share in (0.3, 0.72) if char != "." else (1.0,):
                    canvas.drawCircle(x + 0.12 * cap, base - (1 - share) * cap, 0.07 * cap, paint(ink))
            elif char == "-":
                canvas.drawLine(x, base - cap / 2, x + 0.4 * cap, base - cap / 2, paint(ink, stroke=self.thick * cap))
            if char != " ":
                found.append(Inked(char, x, base - cap, x + advance - 0.18 * cap, base))
            x += advance
        return found

    def _advance(self, char: str) -> float:
        return 0.3 if char in ":;. " else 0.74

    def _digit(self, canvas: skia.Canvas, char: str, x: float, base: float, cap: float, ink: Colour) -> None:
        for name, (x0, y0, x1, y1) in _SEGMENTS.items():
            lit = name in _LIT[char]
            if not lit and not self.dim:
                continue
            points = [
                (x + 0.54 * cap * px + self.slant * (1 - py / 2) * cap, base - cap + cap * py / 2)
                for px, py in ((x0, y0), (x1, y1))
            ]
            gap = 0.12
            (ax, ay), (bx, by) = points
            ax, ay, bx, by = ax + (bx - ax) * gap, ay + (by - ay) * gap, bx - (bx - ax) * gap, by - (by - ay) * gap
            line = paint(ink, 255 if lit else int(255 * self.dim), self.thick * cap)
            canvas.drawLine(ax, ay, bx, by, line)


_SEGMENTS = {
    "a": (0, 0, 1, 0),
    "b": (1, 0, 1, 1),
    "c": (1, 1, 1, 2),
    "d": (0, 2, 1, 2),
    "e": (0, 1, 0, 2),
    "f": (0, 0, 0, 1),
    "g": (0, 1, 1, 1),
}
_LIT = {
    "0": "abcdef",
    "1": "bc",
    "2": "abged",
    "3": "abgcd",
    "4": "fgbc",
    "5": "afgcd",
    "6": "afgedc",
    "7": "abc",
    "8": "abcdefg",
    "9": "abcdfg",
    "A": "abcefg",
    "C": "adef",
    "E": "adefg",
    "F": "aefg",
    "H": "bcefg",
    "J": "bcde",
    "L": "def",
    "P": "abefg",
    "U": "bcdef",
    "B": "cdefg",
    "D": "bcdeg",
}


def draw_hand(rng: Random) -> StrokePen:
    """Somebody's hand."""
    return StrokePen(
        rng,
        habits=rng.getrandbits(40),
        slant=rng.gauss(0.02, 0.1),
        wide=rng.uniform(0.42, 0.8),
        gap=rng.uniform(0.12, 0.3),
        thick=rng.choice((rng.uniform(0.05, 0.1), rng.uniform(0.08, 0.2))),
        shaky=rng.uniform(0.2, 1.3),
        bend=rng.gauss(0, 0.6),
        square=rng.random() < 0.2,
    )


def _lines(path: skia.Path, dots: list[tuple[float, float]]) -> None:
    path.moveTo(*dots[0])
    for dot in dots[1:]:
        path.lineTo(*dot)


def _curve(path: skia.Path, dots: list[tuple[float, float]]) -> None:
    """Through the dots, as Catmull and Rom do."""
    path.moveTo(*dots[0])
    for before, a, b, after in _windows(dots):
        path.cubicTo(
            a[0] + (b[0] - before[0]) / 6,
            a[1] + (b[1] - before[1]) / 6,
            b[0] - (after[0] - a[0]) / 6,
            b[1] - (after[1] - a[1]) / 6,
            *b,
        )


def _windows(dots: list[tuple[float, float]]) -> Iterator[tuple[tuple[float, float], ...]]:
    padded = [dots[0], *dots, dots[-1]]
    for index in range(len(dots) - 1):
        yield tuple(padded[index : index + 4])

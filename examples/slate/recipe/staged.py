"""The second drawing path: a board painted with Skia, or writing that is none, held before a background and filmed.

Knows the order of the parts; each of them draws by itself.
"""

from __future__ import annotations

import bisect
from random import Random

import numpy as np
from numpy.typing import NDArray

from .boards import Board, Glyph, paint_board
from .broad import OTHER, draw_broad_slate, draw_entries
from .camera import backdrop, film, hold
from .fields import answer, served
from .frame import Mark, Sample
from .lookalikes import paint_overlay, paint_sheet

__all__ = ["staged"]

SHAPES = ((16 / 9, 0.5), (2.39, 0.14), (1.85, 0.08), (4 / 3, 0.14), (2.0, 0.08), (1.5, 0.04), (9 / 16, 0.02))
"""Width by height of what is filmed, and how often."""

LEGIBLE = 5.0
"""Pixels of the smallest glyph of a value: below that a reader can only guess, and learns to."""

NONE = 0.1
"""Share of frames without a slate."""


def staged(rng: Random, d: float, size: tuple[int, int], held_out: bool) -> Sample:
    """A frame that fits into this size, of a shape that films and videos have."""
    shape = _shape(rng, size)
    behind = backdrop(rng, shape, held_out)
    if rng.random() < NONE:
        return Sample(film(rng, _nothing(rng, behind, d, held_out), d), None, answer(None), ())
    slate = draw_broad_slate(rng)
    entries = draw_entries(rng, slate)
    board = paint_board(rng, entries, held_out)
    image, matrix = hold(rng, board.pixels, behind, d, least=max(0.92 - 0.45 * d, _legible(board, shape)))
    decides = {e.field: served(e.field, e.value) for e in entries if e.field != OTHER}
    marks = [_mark(glyph, decides, matrix) for glyph in board.glyphs]
    return Sample(film(rng, image, d), slate, answer(slate), tuple(marks))


def _legible(board: Board, shape: tuple[int, int]) -> float:
    """The share of the frame from which on the smallest value that is asked for can be read; at most 1."""
    tall = [g.height for g in board.glyphs if g.field != OTHER and g.char not in ("", "-", ".", ",", "/")]
    fitted = min(shape[0] / board.pixels.shape[1], shape[1] / board.pixels.shape[0])
    return min(LEGIBLE / (min(tall, default=LEGIBLE) * fitted), 1.0)


def _shape(rng: Random, size: tuple[int, int]) -> tuple[int, int]:
    """The size of what is filmed, as it fits into the frame; even, since codecs want that."""
    aspects, weights = zip(*SHAPES, strict=True)
    aspect = aspects[bisect.bisect(np.cumsum(weights), rng.random() * sum(weights))]
    if aspect < size[0] / size[1]:
        return round(size[1] * aspect / 2) * 2, size[1]
    return size[0], round(size[0] / aspect / 2) * 2


def _nothing(rng: Random, behind: NDArray[np.uint8], d: float, held_out: bool) -> NDArray[np.uint8]:
    """A place, a sheet or sign in it, or writing over it."""
    kind = rng.random()
    if kind < 0.35:
        return behind
    if kind < 0.75:
        return hold(rng, paint_sheet(rng, held_out), behind, d, least=0.4)[0]
    return paint_overlay(rng, behind, held_out)


def _mark(glyph: Glyph, decides: dict[str, list[tuple[int, ...]]], matrix: NDArray[np.float64]) -> Mark:
    x, y, w = matrix @ (glyph.x, glyph.y, 1.0)
    known = decides[glyph.field][glyph.index] if glyph.char and glyph.field in decides else ()
    return Mark(glyph.char, glyph.field, known, float(x / w), float(y / w))

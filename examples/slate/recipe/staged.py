"""The second drawing path: a board painted with Skia, or writing that is none, held before a background and filmed.

Knows the order of the parts; each of them draws by itself.
"""

from __future__ import annotations

import bisect
from dataclasses import replace
from random import Random

import numpy as np
from numpy.typing import NDArray

from .boards import Board, Glyph, paint_board
from .broad import OTHER, STRANGE, draw_broad_slate, draw_entries
from .camera import backdrop, film, hold
from .fields import FIELDS, answer, served
from .frame import Mark, Sample
from .lookalikes import paint_overlay, paint_sheet

__all__ = ["staged"]

SHAPES = ((16 / 9, 0.5), (2.39, 0.14), (1.85, 0.08), (4 / 3, 0.14), (2.0, 0.08), (1.5, 0.04), (9 / 16, 0.02))
"""Width by height of what is filmed, and how often."""

LEGIBLE = 5.0
"""Pixels of the smallest glyph of a value: below that a reader can only guess, and learns to."""

NONE = 0.1
"""Share of frames without a slate."""

PART, SHARES = 0.35, ((0.8, 0.71), (0.66, 0.587), (1.0, 0.6))
"""Share of frames that are a part of a larger one, and its width and height by those of all of it: a reader looks
again at parts of a picture (`a2d/runtime/inputs/windows.py`).
"""


def staged(rng: Random, d: float, size: tuple[int, int], held_out: bool) -> Sample:
    """A frame that fits into this size, of a shape that films and videos have, or a part of one that is larger."""
    share = rng.choice(SHARES) if rng.random() < PART else None
    shape = _shape(rng, size if share is None else (_even(size[0] / share[1]), _even(size[1] / share[1])))
    behind = backdrop(rng, shape, held_out)
    if rng.random() < NONE:
        return Sample(film(rng, _nothing(rng, behind, d, held_out), d), None, answer(None), ())
    slate = draw_broad_slate(rng, STRANGE)
    entries = draw_entries(rng, slate)
    board = paint_board(rng, entries, held_out)
    image, matrix = hold(rng, board.pixels, behind, d, least=max(0.92 - 0.45 * d, _legible(board, shape)))
    decides = {e.field: served(e.field, e.value) for e in entries if e.field != OTHER}
    marks = tuple(_mark(glyph, decides, matrix) for glyph in board.glyphs)
    whole = Sample(film(rng, image, d), slate, answer(slate), marks)
    return whole if share is None else _part(rng, whole, _corners(board, matrix), share)


def _corners(board: Board, matrix: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Corners `[n, 2]` of the glyphs of each field, its label's included, in the frame: x and y."""
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in FIELDS}
    for glyph in board.glyphs:
        if glyph.field in found:
            for right, down in ((-0.45, -0.45), (0.45, -0.45), (0.45, 0.45), (-0.45, 0.45)):
                point = matrix @ (glyph.x + right * glyph.width, glyph.y + down * glyph.height, 1.0)
                found[glyph.field].append(point[:2] / point[2])
    return {name: np.reshape(points, (-1, 2)) for name, points in found.items()}


def _part(rng: Random, whole: Sample, corners: dict[str, NDArray[np.float64]], share: tuple[float, float]) -> Sample:
    """A part of a frame, in which a field that is not shown whole is not there; all of it, where none would be."""
    assert whole.slate is not None
    full = np.array(whole.pixels.shape[1::-1])
    side = np.round(full * share).astype(int)
    at = np.array((min(max(rng.gauss(0.5, 0.12), 0.0), 1.0), rng.choice((0.0, 0.5, 1.0, rng.random()))))
    first = np.round((full - side) * at).astype(int)
    shown = {
        name for name, points in corners.items() if len(points) and ((points >= first) & (points <= first + side)).all()
    }
    if not shown:
        return whole
    slate = replace(whole.slate, **{name: None for name in FIELDS if name not in shown})
    moved = (replace(m, x=m.x - first[0], y=m.y - first[1]) for m in whole.marks)
    inside = (m for m in moved if 0 <= m.x < side[0] and 0 <= m.y < side[1])
    marks = tuple(m if m.field in shown else replace(m, decides=()) for m in inside)
    pixels = np.ascontiguousarray(whole.pixels[first[1] :, first[0] :][: side[1], : side[0]])
    return Sample(pixels, slate, answer(slate), marks)


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
        return _even(size[1] * aspect), size[1]
    return size[0], _even(size[0] / aspect)


def _even(side: float) -> int:
    return round(side / 2) * 2


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

"""One sample: a frame in the model's input size, its answer, and what each patch of it shows.

`sample(stream, index, d)` is a pure function: the same arguments and fonts give the same pixels, in any process and
any order. The answer does not even depend on the fonts. Knows nothing of tokens or training.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from . import effects
from .clutter import background, no_slate
from .drawing import Board, draw_style, paint
from .fields import FIELDS, Slate, answer, draw_slate
from .layouts import OTHER, draw_cells

__all__ = ["CHARS", "COLUMNS", "HEIGHT", "KINDS", "ROWS", "WIDTH", "Sample", "sample"]

WIDTH, HEIGHT, PATCH = 224, 112, 14
COLUMNS, ROWS = WIDTH // PATCH, HEIGHT // PATCH
SCALE = 2
"""Frames are drawn so much larger, which makes edges and small turns look as a camera shows them."""

CHARS = 128
"""Classes of the glyph in a patch: its ASCII code, 0 for none."""

KINDS = (None, *FIELDS, OTHER)
"""Classes of the field that a patch belongs to."""


@dataclass(frozen=True)
class Sample:
    """A frame and its truth."""

    pixels: NDArray[np.uint8]
    """[112, 224, 3], RGB."""
    slate: Slate | None
    answer: str
    chars: NDArray[np.uint8]
    """[8 * 16]: the glyph of a value whose centre lies in the patch."""
    kinds: NDArray[np.uint8]
    """[8 * 16]: the index in KINDS of the field whose value or label stands in the patch."""


def sample(stream: str, index: int, d: float, without: float = 0.1, held_out: bool = False) -> Sample:
    """Sample `index` of a stream at difficulty d; with probability `without` it shows no slate."""
    truth, look = Random(f"slate/{stream}/{index}/truth"), Random(f"slate/{stream}/{index}/look")
    if truth.random() < without:
        image = no_slate(look, (WIDTH * SCALE, HEIGHT * SCALE), d)
        return Sample(_seen(look, image, d), None, answer(None), *_labels([]))
    slate = draw_slate(truth)
    cells = draw_cells(truth, look, slate, d)
    board = paint(look, cells, draw_style(look, d, held_out), _board_size(look))
    image, points = _placed(look, board, d)
    found = [(g.char, g.field, x, y) for g, (x, y) in zip(board.glyphs, points / SCALE, strict=True)]
    return Sample(_seen(look, image, d), slate, answer(slate), *_labels(found))


def _board_size(rng: Random) -> tuple[int, int]:
    return WIDTH * SCALE, round(HEIGHT * SCALE * rng.uniform(0.9, 1.0))


def _placed(rng: Random, board: Board, d: float) -> tuple[Image.Image, NDArray[np.float64]]:
    """The board in its surroundings, and where its glyphs are."""
    size = (WIDTH * SCALE, HEIGHT * SCALE)
    quad = effects.draw_quad(rng, size, d)
    matrix = effects.homography(board.image.size, quad)
    points = effects.project(matrix, np.array([(g.x, g.y) for g in board.glyphs], np.float64).reshape(-1, 2))
    image = effects.place(board.image, quad, background(rng, size, d))
    half = np.array([(0.6 * g.height, 0.75 * g.height) for g in board.glyphs], np.float64).reshape(-1, 2)
    effects.occlude(rng, image, np.hstack([points - half, points + half]), d)
    return image, points


def _seen(rng: Random, image: Image.Image, d: float) -> NDArray[np.uint8]:
    small = effects.lens(rng, image.reduce(SCALE), d)
    pixels = np.asarray(small, np.float32) * np.float32(1 / 255)
    effects.light(rng, pixels, d)
    return effects.sensor(rng, pixels, d)


def _labels(found: list[tuple[str, str, float, float]]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Classes by patch; where several glyphs share one, values before labels, then the most central."""
    chars, kinds = np.zeros(ROWS * COLUMNS, np.uint8), np.zeros(ROWS * COLUMNS, np.uint8)
    best = np.full(ROWS * COLUMNS, np.inf)
    for char, field, x, y in found:
        column, row = int(x // PATCH), int(y // PATCH)
        if not (0 <= column < COLUMNS and 0 <= row < ROWS):
            continue
        patch, off = row * COLUMNS + column, abs(x / PATCH % 1 - 0.5) + abs(y / PATCH % 1 - 0.5)
        off += not char
        if off < best[patch]:
            best[patch], chars[patch], kinds[patch] = off, ord(char or "\0"), KINDS.index(field)
    return chars, kinds

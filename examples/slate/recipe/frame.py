"""One sample: a frame in the model's input size, its answer, and what each half of a patch shows.

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
from .drawing import Glyph, draw_style, paint
from .fields import FIELDS, LONGEST_VALUE, Slate, answer, draw_slate, served
from .layouts import OTHER, draw_cells

__all__ = ["CHARS", "COLUMNS", "HEIGHT", "KINDS", "PLACES", "ROWS", "SLOTS", "WIDTH", "Sample", "sample"]

WIDTH, HEIGHT, PATCH = 224, 112, 14
COLUMNS, ROWS = WIDTH // PATCH, HEIGHT // PATCH
SCALE = 2
"""Frames are drawn so much larger, which makes edges and small turns look as a camera shows them."""

SLOTS = 2
"""Parts of a patch, side by side: narrow glyphs stand two in a patch."""

CHARS = 128
"""Classes of the glyph in a slot: its ASCII code, 0 for none."""

KINDS = (None, *FIELDS, OTHER)
"""Classes of the field that a slot belongs to."""

PLACES = LONGEST_VALUE + 1
"""Classes of the character of the answer's value that a glyph decides first: 1 is the first one, 0 is none."""

FRAMED = 0.12
"""Share of frames of another shape, between bars."""


@dataclass(frozen=True)
class Sample:
    """A frame and its truth."""

    pixels: NDArray[np.uint8]
    """[112, 224, 3], RGB."""
    slate: Slate | None
    answer: str
    chars: NDArray[np.uint8]
    """[8 * 16 * 2]: the glyph of a value whose centre lies in the slot."""
    kinds: NDArray[np.uint8]
    """[8 * 16 * 2]: the index in KINDS of the field whose value or label stands in the slot."""
    places: NDArray[np.uint8]
    """[8 * 16 * 2]: which character of the answer's value the glyph decides; see PLACES."""
    sources: NDArray[np.bool_]
    """[5 * 10, 8 * 16]: patches with glyphs that decide a character of a field's value in the answer."""


@dataclass(frozen=True)
class _Mark:
    """A glyph where the frame shows it."""

    char: str
    field: str
    decides: tuple[int, ...]
    x: float
    y: float


def sample(stream: str, index: int, d: float, without: float = 0.1, held_out: bool = False) -> Sample:
    """Sample `index` of a stream at difficulty d; with probability `without` it shows no slate."""
    truth, look = Random(f"slate/{stream}/{index}/truth"), Random(f"slate/{stream}/{index}/look")
    size = _view(Random(f"slate/{stream}/{index}/view"))
    if truth.random() < without:
        image = no_slate(look, (size[0] * SCALE, size[1] * SCALE), d)
        return Sample(_framed(_seen(look, image, d)), None, answer(None), *_labels([]))
    slate = draw_slate(truth)
    cells = draw_cells(truth, look, slate, d)
    board = paint(look, cells, draw_style(look, d, held_out), _board_size(look, size))
    image, points = _placed(look, board.image, board.glyphs, d, size)
    decides = {cell.field: served(cell.field, cell.value) for cell in cells if cell.field != OTHER}
    corner = ((WIDTH - size[0]) // 2, (HEIGHT - size[1]) // 2)
    marks = [
        _Mark(g.char, g.field, decides[g.field][g.index] if g.char and g.field in decides else (), x, y)
        for g, (x, y) in zip(board.glyphs, points / SCALE + corner, strict=True)
    ]
    return Sample(_framed(_seen(look, image, d)), slate, answer(slate), *_labels(marks))


def _view(rng: Random) -> tuple[int, int]:
    """The size of the picture in the frame: all of it, or what is left where a video of another shape is fitted in."""
    if rng.random() >= FRAMED:
        return WIDTH, HEIGHT
    aspect = rng.choice((16 / 9, 16 / 9, 1.9, 2.39, 3 / 2))
    if aspect < WIDTH / HEIGHT:
        return round(HEIGHT * aspect / 2) * 2, HEIGHT
    return WIDTH, round(WIDTH / aspect / 2) * 2


def _framed(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture in the middle of a black frame."""
    height, width, _ = pixels.shape
    if (width, height) == (WIDTH, HEIGHT):
        return pixels
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    top, left = (HEIGHT - height) // 2, (WIDTH - width) // 2
    frame[top : top + height, left : left + width] = pixels
    return frame


def _board_size(rng: Random, size: tuple[int, int]) -> tuple[int, int]:
    return size[0] * SCALE, round(size[1] * SCALE * rng.uniform(0.9, 1.0))


def _placed(
    rng: Random, board: Image.Image, glyphs: tuple[Glyph, ...], d: float, view: tuple[int, int]
) -> tuple[Image.Image, NDArray[np.float64]]:
    """The board in its surroundings, and where its glyphs are."""
    size = (view[0] * SCALE, view[1] * SCALE)
    quad = effects.draw_quad(rng, size, d)
    matrix = effects.homography(board.size, quad)
    points = effects.project(matrix, np.array([(g.x, g.y) for g in glyphs], np.float64).reshape(-1, 2))
    image = effects.place(board, quad, background(rng, size, d))
    half = np.array([(0.6 * g.height, 0.75 * g.height) for g in glyphs], np.float64).reshape(-1, 2)
    effects.occlude(rng, image, np.hstack([points - half, points + half]), d)
    return image, points


def _seen(rng: Random, image: Image.Image, d: float) -> NDArray[np.uint8]:
    small = effects.lens(rng, image.reduce(SCALE), d)
    pixels = np.asarray(small, np.float32) * np.float32(1 / 255)
    effects.light(rng, pixels, d)
    return effects.sensor(rng, pixels, d)


def _labels(
    marks: list[_Mark],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]:
    """Classes by slot, and sources; where several glyphs share a slot, values before labels, then the most central."""
    chars, kinds, places = (np.zeros(ROWS * COLUMNS * SLOTS, np.uint8) for _ in range(3))
    sources = np.zeros((len(FIELDS) * LONGEST_VALUE, ROWS * COLUMNS), np.bool_)
    best, wide = np.full(ROWS * COLUMNS * SLOTS, np.inf), PATCH / SLOTS
    for mark in marks:
        if not (0 <= mark.x < WIDTH and 0 <= mark.y < HEIGHT):
            continue
        slot = int(mark.y // PATCH) * COLUMNS * SLOTS + int(mark.x // wide)
        for place in mark.decides:
            sources[FIELDS.index(mark.field) * LONGEST_VALUE + place, slot // SLOTS] = True
        off = abs(mark.x / wide % 1 - 0.5) + abs(mark.y / PATCH % 1 - 0.5) + (not mark.char)
        if off < best[slot]:
            best[slot], chars[slot], kinds[slot] = off, ord(mark.char or "\0"), KINDS.index(mark.field)
            places[slot] = mark.decides[0] + 1 if mark.decides else 0
    return chars, kinds, places, sources

"""One sample of the first drawing path: a frame of 224 by 112, its answer, and where its glyphs are.

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
from .fields import Slate, answer, draw_slate, served
from .layouts import OTHER, draw_cells

__all__ = ["HEIGHT", "WIDTH", "Mark", "Sample", "sample"]

WIDTH, HEIGHT = 224, 112
SCALE = 2
"""Frames are drawn so much larger, which makes edges and small turns look as a camera shows them."""

FRAMED = 0.12
"""Share of frames of another shape, between bars."""


@dataclass(frozen=True)
class Mark:
    """A glyph where the frame shows it."""

    char: str
    """Empty in a label."""
    field: str
    decides: tuple[int, ...]
    """The characters of the field's value in the answer that it decides."""
    x: float
    y: float


@dataclass(frozen=True)
class Sample:
    """A frame and its truth."""

    pixels: NDArray[np.uint8]
    """[112, 224, 3], RGB."""
    slate: Slate | None
    answer: str
    marks: tuple[Mark, ...]
    """Glyphs of values and of labels, where the frame shows them."""


def sample(stream: str, index: int, d: float, without: float = 0.1, held_out: bool = False) -> Sample:
    """Sample `index` of a stream at difficulty d; with probability `without` it shows no slate."""
    truth, look = Random(f"slate/{stream}/{index}/truth"), Random(f"slate/{stream}/{index}/look")
    size = _view(Random(f"slate/{stream}/{index}/view"))
    if truth.random() < without:
        image = no_slate(look, (size[0] * SCALE, size[1] * SCALE), d)
        return Sample(_framed(_seen(look, image, d)), None, answer(None), ())
    slate = draw_slate(truth)
    cells = draw_cells(truth, look, slate, d)
    board = paint(look, cells, draw_style(look, d, held_out), _board_size(look, size))
    image, points = _placed(look, board.image, board.glyphs, d, size)
    decides = {cell.field: served(cell.field, cell.value) for cell in cells if cell.field != OTHER}
    corner = ((WIDTH - size[0]) // 2, (HEIGHT - size[1]) // 2)
    marks = [
        Mark(g.char, g.field, decides[g.field][g.index] if g.char and g.field in decides else (), x, y)
        for g, (x, y) in zip(board.glyphs, points / SCALE + corner, strict=True)
    ]
    return Sample(_framed(_seen(look, image, d)), slate, answer(slate), tuple(marks))


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

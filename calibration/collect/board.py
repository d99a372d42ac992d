"""Drawn boards with captions and values, for a model that sees and nobody's data: something to see, and to say of it.

Ruled as a film slate is, because noise and boxes would make a reader of slates say nothing at all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ["drawn_board"]

CELLS = (
    (("SCENE", "{}A"), ("TAKE", "{}")),
    (("ROLL", "A{:03}"), ("FPS", "{}")),
    (("DATE", "2025-03-{:02}"),),
)
"""Lines of a drawn board: captions, and values with a number."""


def drawn_board(chance: np.random.Generator) -> NDArray[np.uint8]:
    """Draw `[224, 448, 3]`: a ruled board with captions and values below a striped bar."""
    width, height, bar = 448, 224, 40
    paper, ink = (tuple(int(v) for v in chance.integers(low, low + 40, 3)) for low in (210, 0))
    image = Image.new("RGB", (width, height), paper)
    pen, small, large = ImageDraw.Draw(image), ImageFont.load_default(14), ImageFont.load_default(40)
    for left in range(-bar, width, 2 * bar):
        pen.polygon([(left, 0), (left + bar, 0), (left + 2 * bar, bar), (left + bar, bar)], ink)
    tall = (height - bar) // len(CELLS)
    for row, cells in enumerate(CELLS):
        wide = width // len(cells)
        for column, (caption, value) in enumerate(cells):
            left, top = column * wide, bar + row * tall
            pen.rectangle((left, top, left + wide, top + tall), outline=ink, width=2)
            pen.text((left + 8, top + 4), caption, ink, small)
            pen.text((left + wide // 4, top + 14), value.format(int(chance.integers(1, 29))), ink, large)
    noisy = np.asarray(image, np.float64) + chance.normal(0, 4, (height, width, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)

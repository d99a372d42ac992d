"""Several looks at one picture: all of it, then windows that lie a little otherwise, then parts of it from nearer by.

Letters fall into other patches in each look, so a reader's slips differ from look to look, and what most looks say is
right more often than any one of them. In a part letters are larger, and small ones can be read that no look at the
whole can read. Windows keep the picture's proportions, parts come near the shape of a canvas twice as wide as high;
where one reaches beyond the picture, its edge goes on. Knows pixels, not what is read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["NEARER", "WINDOWS", "Window", "windowed"]


@dataclass(frozen=True)
class Window:
    """One look: its edges and sides as shares of the picture's width and height."""

    left: float
    upper: float
    width: float
    height: float
    part: bool = False
    """It leaves out much of the picture: what is not seen in it may stand elsewhere."""


WINDOWS = (
    Window(0.0, 0.0, 1.0, 1.0),
    Window(0.03, 0.03, 0.94, 0.94),
    Window(-0.03, 0.0, 1.03, 1.03),
    Window(0.1, 0.29, 0.8, 0.71, part=True),
    Window(0.1, 0.0, 0.8, 0.71, part=True),
    Window(0.17, 0.2, 0.66, 0.59, part=True),
    Window(0.0, 0.2, 1.0, 0.6, part=True),
    Window(0.17, 0.41, 0.66, 0.59, part=True),
    Window(0.17, 0.0, 0.66, 0.59, part=True),
    Window(0.0, 0.4, 1.0, 0.6, part=True),
    Window(0.0, 0.0, 1.0, 0.6, part=True),
)
"""The looks, in the order in which they are taken."""

NEARER = 2
"""A picture so many times as large as the reader's canvas holds all that these looks can show."""


def windowed(picture: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """The window of look `number` of a picture `[H, W, 3]`, at its own pixels; the windows come round again."""
    window = WINDOWS[number % len(WINDOWS)]
    rows = _places(window.upper, window.height, picture.shape[0])
    columns = _places(window.left, window.width, picture.shape[1])
    return picture[rows[:, None], columns]


def _places(edge: float, size: float, length: int) -> NDArray[np.int64]:
    """The row or column of the picture that each one of a window shows."""
    return np.clip(round(edge * length) + np.arange(max(1, round(size * length))), 0, length - 1)

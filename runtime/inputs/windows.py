"""Several looks at one picture: all of it, then windows that are a little smaller, larger or beside it.

Letters fall into other patches in each look, so a reader's slips differ from look to look, and what most looks say is
right more often than any one of them. Windows keep the picture's proportions; where one reaches beyond the picture, its
edge goes on. Knows pixels, not what is read.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["WINDOWS", "windowed"]

WINDOWS = (
    (0.0, 0.0, 1.0),
    (0.03, 0.03, 0.94),
    (-0.03, 0.0, 1.03),
    (-0.035, -0.035, 1.07),
    (0.0, 0.0, 0.96),
    (0.0, 0.04, 0.96),
    (-0.016, 0.0, 1.0),
    (-0.016, -0.016, 1.032),
)
"""Left and upper edge of each look, and its size, as shares of the picture's width and height."""


def windowed(picture: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """The window of look `number` of a picture `[H, W, 3]`, at its own pixels; the windows come round again."""
    left, upper, size = WINDOWS[number % len(WINDOWS)]
    rows, columns = (_places(edge, size, length) for edge, length in zip((upper, left), picture.shape, strict=False))
    return picture[rows[:, None], columns]


def _places(edge: float, size: float, length: int) -> NDArray[np.int64]:
    """The row or column of the picture that each one of a window shows."""
    return np.clip(round(edge * length) + np.arange(max(1, round(size * length))), 0, length - 1)

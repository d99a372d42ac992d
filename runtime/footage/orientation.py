"""Turning and mirroring of a stored frame, to be seen as it was filmed: the display matrix of QuickTime and MP4.

Knows the matrix and pixels; not where either comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["UPRIGHT", "Orientation"]


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways to lay a picture on a grid: rows and columns swapped first, then mirrored."""

    swapped: bool = False
    """Rows become columns."""
    mirrored: bool = False
    """Left becomes right, after the swap."""
    flipped: bool = False
    """Top becomes bottom, after the swap."""

    @staticmethod
    def of(matrix: Sequence[int]) -> Orientation:
        """The way nearest to a display matrix `[a b u; c d v; x y w]`, row by row: x' = a x + c y, y' = b x + d y."""
        a, b, _, c, d = matrix[:5]
        if abs(b) + abs(c) > abs(a) + abs(d):
            return Orientation(True, c < 0, b < 0)
        return Orientation(False, a < 0, d < 0)

    def shown(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """`picture [H, W, 3]` as it is seen: `[H, W, 3]`, or `[W, H, 3]` where it is swapped."""
        laid = picture.swapaxes(0, 1) if self.swapped else picture
        return np.ascontiguousarray(laid[:: -1 if self.flipped else 1, :: -1 if self.mirrored else 1])


UPRIGHT = Orientation()

"""A frame of any size on a canvas of one size: scaled to fit, centred, the rest bars of one colour.

For models that were trained on frames of exactly one size. A frame that has that size already is not touched, to the
bit. Sizes and offsets are whole-number arithmetic, so that another language finds the same ones. Knows nothing of
patches.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..schema import Violations, bounds

__all__ = ["Letterbox"]

CHANNELS = 3


@dataclass(frozen=True)
class Letterbox:
    """The canvas. `from_json` holds each field against its bounds."""

    height: int = field(metadata=bounds(1, 16_384))
    """In pixels."""
    width: int = field(metadata=bounds(1, 16_384))
    """In pixels."""
    fill: tuple[int, ...] = field(default=(0, 0, 0), metadata=bounds(0, 255))
    """Colour of the bars: red, green, blue."""

    def __post_init__(self) -> None:
        if len(self.fill) != CHANNELS:
            raise Violations([f"fill: got {len(self.fill)} numbers, expected {CHANNELS}: red, green, blue"])

    def fitted(self, height: int, width: int) -> tuple[int, int]:
        """The largest size (height, width) on the canvas with the frame's aspect ratio, sides rounded half up."""
        if width * self.height >= height * self.width:
            return max(1, _rounded(height * self.width, width)), self.width
        return self.height, max(1, _rounded(width * self.height, height))

    def apply(self, frame: NDArray[np.uint8], resample: int) -> NDArray[np.uint8]:
        """The frame `[H, W, 3]` on the canvas `[height, width, 3]`.

        `resample` is Pillow's number of the filter; a reduced frame is filtered over all the pixels that a new one
        covers. Where bars cannot be equally wide, the lower or right one takes the odd pixel.
        """
        height, width = self.fitted(*frame.shape[:2])
        canvas = np.empty((self.height, self.width, CHANNELS), np.uint8)
        canvas[:] = self.fill
        top, left = (self.height - height) // 2, (self.width - width) // 2
        scaled = Image.fromarray(frame).resize((width, height), Image.Resampling(resample))
        canvas[top : top + height, left : left + width] = np.asarray(scaled)
        return canvas


def _rounded(a: int, b: int) -> int:
    """The whole number nearest to a / b, halves up."""
    return (2 * a + b) // (2 * b)

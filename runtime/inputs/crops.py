"""A picture as square crops of one size, and its features in the order in which a prompt takes them.

LLaVA-OneVision's way (2408.03326, "AnyRes"): the whole picture as one crop, and the picture in one of several larger
sizes cut into crops. The features of the cut are laid out as they stood, without those of the bars, reduced if they are
too many, with a feature of its own at the end of each line. Numbers are those of transformers' LlavaOnevision classes.
Knows pixels and places; nothing of patches in a crop, nor of the network that sees them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..schema import Violations, bounds

__all__ = ["Crops"]

SPARE = 1.1
"""Features are reduced where the side of their rectangle is more than so many times too long."""


@dataclass(frozen=True)
class Crops:
    """The rule by which a picture is cut. `from_json` holds each field against its bounds."""

    size: int = field(metadata=bounds(1, 8192))
    """Side of a crop, in pixels."""
    grids: tuple[tuple[int, ...], ...] = field(metadata=bounds(1, 1 << 16))
    """Sizes (height, width) in pixels that a picture may take to be cut: multiples of `size`."""
    most: int = field(metadata=bounds(1, 4096))
    """Crops' worth of features that the cut may have."""

    def __post_init__(self) -> None:
        lines = [
            f"grids[{i}]: got {list(grid)}, expected a height and a width in multiples of {self.size}"
            for i, grid in enumerate(self.grids)
            if len(grid) != len(("height", "width")) or any(side % self.size for side in grid)
        ]
        if lines or not self.grids:
            raise Violations(lines or ["grids: empty, expected at least one size"])

    def best(self, height: int, width: int) -> tuple[int, int]:
        """The size (height, width) that keeps most of a picture's pixels, and has least beside them."""

        def worth(grid: tuple[int, ...]) -> tuple[int, int]:
            scale = min(grid[1] / width, grid[0] / height)
            kept = min(int(width * scale) * int(height * scale), width * height)
            return kept, kept - grid[0] * grid[1]

        rows, columns = max(self.grids, key=worth)
        return rows, columns

    def cut(self, picture: NDArray[np.uint8], resample: int) -> NDArray[np.uint8]:
        """The whole `picture [H, W, 3]`, then its cut, line by line: `[N, size, size, 3]`.

        `resample` is Pillow's number of the filter. The bars beside a picture that does not fill its size are black.
        """
        height, width = self.best(*picture.shape[:2])
        scale = min(width / picture.shape[1], height / picture.shape[0])
        if width / picture.shape[1] < height / picture.shape[0]:
            inner = min(math.ceil(picture.shape[0] * scale), height), width
        else:
            inner = height, min(math.ceil(picture.shape[1] * scale), width)
        top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
        canvas = np.zeros((height, width, 3), np.uint8)
        canvas[top : top + inner[0], left : left + inner[1]] = _resized(picture, *inner, resample)
        parts = canvas.reshape(height // self.size, self.size, width // self.size, self.size, 3).swapaxes(1, 2)
        whole = _resized(picture, self.size, self.size, resample)
        return np.concatenate([whole[None], parts.reshape(-1, self.size, self.size, 3)])

    def square(self, picture: NDArray[np.uint8], fill: tuple[int, ...], resample: int) -> NDArray[np.uint8]:
        """The whole `picture [H, W, 3]` alone, `[1, size, size, 3]`, in a square with bars of the colour `fill`."""
        height, width = picture.shape[:2]
        canvas = np.empty((max(height, width),) * 2 + (3,), np.uint8)
        canvas[:] = fill
        top, left = (len(canvas) - height) // 2, (len(canvas) - width) // 2
        canvas[top : top + height, left : left + width] = picture
        return _resized(canvas, self.size, self.size, resample)[None]

    def arrange(self, height: int, width: int, side: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Sources of the features of a picture of `height` x `width` pixels, in the order of the prompt.

        A crop has `side` x `side` features, and behind them one that ends a line. Returns rows `[G, 4]` among those of
        all crops, and the weights `[G, 4]` with which they are mixed.
        """
        grid = self.best(height, width)
        lines, columns = (length // self.size * side for length in grid)
        lines_cut, columns_cut = _bars(height, width, lines, columns)
        held = lines - 2 * lines_cut, columns - 2 * columns_cut
        ratio = math.sqrt(held[0] * held[1] / (self.most * side**2))
        wanted = (int(held[0] // ratio), int(held[1] // ratio)) if ratio > SPARE else held
        (y0, y1, v), (x0, x1, u) = (_between(n, m) for n, m in zip(held, wanted, strict=True))
        y0, y1, x0, x1 = y0 + lines_cut, y1 + lines_cut, x0 + columns_cut, x1 + columns_cut

        def row(y: NDArray[np.int64], x: NDArray[np.int64]) -> NDArray[np.int64]:
            """Row of line `y`, column `x` of the cut, which begins behind the whole picture."""
            line, column = y[:, None], x[None]
            crop = 1 + line // side * (columns // side) + column // side
            return crop * (side**2 + 1) + line % side * side + column % side

        index = np.stack([row(y0, x0), row(y0, x1), row(y1, x0), row(y1, x1)], -1)
        corners = np.stack([(1 - v)[:, None] * (1 - u), (1 - v)[:, None] * u, v[:, None] * (1 - u), v[:, None] * u], -1)
        end = np.full((wanted[0], 1, 4), side**2)
        first = np.eye(1, 4)
        index = np.concatenate([index, end], 1).reshape(-1, 4)
        weight = np.concatenate([corners, np.broadcast_to(first, end.shape)], 1).reshape(-1, 4)
        base = np.arange(side**2).repeat(4).reshape(-1, 4)
        weight = np.concatenate([np.broadcast_to(first, base.shape), weight]).astype(np.float32)
        return np.concatenate([base, index]), weight


def _resized(picture: NDArray[np.uint8], height: int, width: int, resample: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling(resample)))


def _bars(height: int, width: int, lines: int, columns: int) -> tuple[int, int]:
    """Lines at the top and at the bottom, and columns at either side, that show nothing of the picture."""
    if width / height > columns / lines:
        return (lines - int(round(height * (columns / width), 7))) // 2, 0
    return 0, (columns - int(round(width * (lines / height), 7))) // 2


def _between(held: int, wanted: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """For each of `wanted` places: the two of `held` that it lies between, and its share of the second, bilinearly."""
    at = np.maximum((np.arange(wanted) + 0.5) * np.float32(held / max(wanted, 1)) - 0.5, 0).astype(np.float32)
    low = at.astype(np.int64)
    return low, np.minimum(low + 1, held - 1), at - low.astype(np.float32)

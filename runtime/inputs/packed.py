"""Pictures of any size to the inputs of a vision graph that sees them whole, in the ways of `packing.py`.

Patches come merge group by merge group. Learned positions are a square table that is stretched to the picture,
bilinearly, as torch's interpolation does: what a patch takes of the table's lines and columns is worked out here. Knows
no graphs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .packing import PACKINGS
from .patches import Grid, VisionSpec, normalised, raster_of

__all__ = ["Packed", "cornered", "prepare_packed", "shares"]


@dataclass(frozen=True)
class Packed:
    """A picture as the vision graph takes it: G merge groups of M patches."""

    grid: Grid
    tokens: int
    """Features that the picture gives: G."""
    pixels: NDArray[np.float32]
    """`[G, M, K]`"""
    down: NDArray[np.float32]
    across: NDArray[np.float32]
    """`[G, M, side]`: shares of the table's lines and columns."""
    places: NDArray[np.int64] | None = None
    """`[G, M, 2]`: line and column of each patch, for graphs that ask for them."""

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the picture: the same only for the same pixels on the same grid."""
        return hashlib.sha256(self.pixels.tobytes() + repr(self.grid).encode()).digest()

    def feeds(self) -> Iterator[dict[str, NDArray[Any]]]:
        """The inputs of the vision graph."""
        feeds: dict[str, NDArray[Any]] = {"pixels": self.pixels, "down": self.down, "across": self.across}
        yield feeds if self.places is None else feeds | {"places": self.places}

    def joined(self, features: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Features `[tokens, H]`."""
        return np.concatenate(features)


def prepare_packed(picture: NDArray[np.uint8], spec: VisionSpec) -> Packed:
    """Resize, normalise and cut up one `picture [H, W, 3]`. Raises ImageError for extreme shapes."""
    assert spec.table is not None
    packing = PACKINGS[spec.packing]
    raster, grid = raster_of([picture], spec)
    pixels = normalised(raster, spec)[0]
    pixels = pixels.swapaxes(-1, -2) if packing.colours_together else pixels
    taken = cornered if packing.corners else shares
    groups, m = pixels.shape[0], spec.merge_size
    lines = np.arange(grid.h).reshape(-1, 1, m, 1)
    columns = np.arange(grid.w).reshape(1, -1, 1, m)
    shape = (grid.h // m, grid.w // m, m, m)
    down, across = (np.broadcast_to(at, shape).reshape(groups, m * m) for at in (lines, columns))
    return Packed(
        grid,
        grid.tokens(spec),
        np.ascontiguousarray(pixels.reshape(groups, m * m, -1)),
        taken(spec.table, grid.h)[down],
        taken(spec.table, grid.w)[across],
        np.stack([down, across], -1) if packing.places else None,
    )


def shares(source: int, target: int) -> NDArray[np.float32]:
    """`[target, source]`: what each of `target` points takes of `source` ones, bilinearly; rows add up to 1.

    Both are the middles of equal parts of one line, and several are averaged where it shrinks.
    """
    scale = source / target
    reach = max(scale, 1.0)
    centres = scale * (np.arange(target) + 0.5)
    first = np.maximum((centres - reach + 0.5).astype(np.int64), 0)
    last = np.minimum((centres + reach + 0.5).astype(np.int64), source)
    points = np.arange(source)
    made = np.maximum(0, 1 - np.abs((points + 0.5 - centres[:, None]) / reach))
    made *= (points >= first[:, None]) & (points < last[:, None])
    shared: NDArray[np.float32] = (made / made.sum(1, keepdims=True)).astype(np.float32)
    return shared


def cornered(source: int, target: int) -> NDArray[np.float32]:
    """`shares` whose first and last points are the same on both sides; nothing is averaged."""
    at = np.arange(target, dtype=np.float32) * np.float32(source - 1) / np.float32(max(target - 1, 1))
    made: NDArray[np.float32] = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(source, dtype=np.float32)))
    return made

"""Times and places of rows as the network wants them, in float64 up to the last rounding.

In float32 the angles of a late frame would be off by 1e-5, and more after each layer. Knows numbers alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["rotations", "sinusoid"]

WAVELENGTHS = 10000.0
"""Ratio of a timestep's longest and shortest waves."""


def sinusoid(timesteps: Sequence[float], width: int) -> NDArray[np.float32]:
    """`[F, width]`: the cosines and then the sines of t 10000^(-k / half), k = 0 .. half - 1, half = width / 2."""
    half = width // 2
    angles = np.asarray(timesteps, np.float64)[:, None] * WAVELENGTHS ** (-np.arange(half) / half)
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def rotations(
    start: int, frames: int, grid: tuple[int, int], axes: Sequence[int], theta: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cosines and sines `[R, D]` of latent frames from `start` on, rows in the order time, height, width.

    Two neighbouring channels turn by one angle, and the sine of the first has a minus: a graph multiplies by the
    cosine, swaps each pair, multiplies by the sine and adds. `axes`: channels that turn with time, height and width.
    """
    places = (np.arange(start, start + frames), np.arange(grid[0]), np.arange(grid[1]))
    parts = []
    for axis, (channels, at) in enumerate(zip(axes, places, strict=True)):
        turns = at[:, None] * theta ** (-np.arange(0, channels, 2) / max(channels, 1))
        shape = [1, 1, 1, channels // 2]
        shape[axis] = len(at)
        parts.append(np.broadcast_to(turns.reshape(shape), (frames, *grid, channels // 2)))
    angles = np.concatenate(parts, axis=-1).reshape(frames * grid[0] * grid[1], -1)
    cos, sin = np.cos(angles), np.sin(angles)
    return (
        np.repeat(cos, 2, axis=1).astype(np.float32),
        np.stack([-sin, sin], axis=2).reshape(len(sin), -1).astype(np.float32),
    )

"""Places of a clip's rows behind a prompt, and their rotations: fractions on three axes, one of which turns each pair.

The product of a place and a frequency is rounded to float32 before its cosine is taken, as the network's authors do:
at places of 15000 that is seen in the result. Knows numbers alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .towers_spec import PlacesSpec

__all__ = ["places", "turned"]

Floats = NDArray[np.float32]


def places(spec: PlacesSpec, words: int, frames: int, grid: tuple[int, int], fps: float, temporal: int) -> Floats:
    """`[3, R]` places of rows in the order time, height, width, behind a prompt of `words` tokens.

    `temporal`: pixel frames of a latent frame. One frame alone is not spread by the frames a second.
    """
    begin, steps = np.float32(words + spec.margin), np.arange(frames, dtype=np.float32)
    if spec.base_fps is not None and frames > 1:
        time = steps / np.float32(fps / temporal) * np.float32(spec.base_fps / temporal) + begin
    else:
        time = steps + np.float32(int(words + spec.margin))
    corner = np.float32(0 if spec.reset else int(words + spec.margin))
    down, across = (np.arange(size, dtype=np.float32) + corner for size in grid)
    made = np.meshgrid(time, down, across, indexing="ij")
    return np.stack([axis.reshape(-1) for axis in made])


def turned(spec: PlacesSpec, at: Floats) -> tuple[Floats, Floats]:
    """Cosines and sines `[R, D]` of places `[3, R]`: halves turn together, the sine of the first has a minus."""
    axes, inv_freq = np.asarray(spec.axes), np.asarray(spec.inv_freq, np.float32)
    angles = (at[axes].T * inv_freq).astype(np.float64)
    cos, sin = np.cos(angles), np.sin(angles)
    return (
        np.concatenate([cos, cos], 1).astype(np.float32),
        np.concatenate([-sin, sin], 1).astype(np.float32),
    )

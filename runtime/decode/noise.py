"""Randomness as data: uniform numbers that any language can draw again from the same seed.

Philox4x64 with 10 rounds (Salmon et al. 2011), keyed by the seed and counted by (block, step): a step's noise does not
depend on how many steps came before, on the engine, or on the platform.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["uniform"]


def uniform(seed: int, block: int, step: int, rows: int) -> NDArray[np.float32]:
    """Draw numbers `[1, rows]` in [0, 1), float32 with 24 random bits each, for one step of one block."""
    bits = np.random.Philox(key=seed, counter=[0, 0, step, block]).random_raw(rows)
    return ((bits >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)).reshape(1, rows)

"""Masks of the tokens that a row may propose, as the denoise graphs take them: a bit a token, eight tokens a byte.

Knows no contracts: ids that are forbidden come in as numbers.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

__all__ = ["all_but"]


def all_but(forbidden: Iterable[int], width: int) -> NDArray[np.uint8]:
    """A mask `[1, width]` of every token but those that are `forbidden`; token t is bit `t % 8` of byte `t // 8`."""
    allowed = np.ones(8 * width, np.bool_)
    allowed[list(forbidden)] = False
    return np.packbits(allowed, bitorder="little")[None]

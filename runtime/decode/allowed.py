"""Sets of tokens that a row may propose, as the denoise graphs take them: a bit a token, eight tokens a byte.

Knows no contracts: ids that are forbidden come in as numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Allowed", "all_but", "only"]


def all_but(forbidden: Iterable[int], width: int) -> NDArray[np.uint8]:
    """A mask `[1, width]` of every token but those that are `forbidden`; token t is bit `t % 8` of byte `t // 8`."""
    allowed = np.ones(8 * width, np.bool_)
    allowed[list(forbidden)] = False
    return np.packbits(allowed, bitorder="little")[None]


def only(tokens: Iterable[int], width: int) -> NDArray[np.uint8]:
    """A mask `[1, width]` of `tokens` alone."""
    return ~all_but(tokens, width)


@dataclass(frozen=True)
class Allowed:
    """The tokens that each of some rows may propose, besides what a generation forbids in all of them."""

    masks: NDArray[np.uint8]
    """`[M, W]`, a bit a token."""
    by: NDArray[np.int64]
    """`[B]` number of each row's mask; -1 where it may propose whatever the generation allows."""

    @classmethod
    def everything(cls, rows: int) -> Allowed:
        """No constraint on any of `rows` rows."""
        return cls(np.empty((0, 0), np.uint8), np.full(rows, -1, np.int64))

    def __getitem__(self, rows: NDArray[np.intp] | slice) -> Allowed:
        return Allowed(self.masks, self.by[rows])

    def within(self, base: NDArray[np.uint8]) -> Allowed:
        """The same sets without what `base [1, W]` does not hold, a mask for every row."""
        if not len(self.masks):
            return Allowed(base, np.zeros(len(self.by), np.int64))
        return Allowed(np.concatenate([base, self.masks & base]), self.by + 1)

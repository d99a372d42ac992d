"""How the rows of the block at hand are run: all of them at every step, or with a block cache only a sub-block's.

The block cache (Fast-dLLM v2, 2509.26328) keeps what all rows of a block were when its current sub-block was begun, and
runs only that sub-block again. Rows of the other sub-blocks do not hear of what it settles until the next whole
forward, so tokens may differ from those without it: it is an approximation. Does not know which rows are accepted.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .backbone import Rows
from .block import Block
from .forward import Forward, Propose, Weigh
from .options import Plan

__all__ = ["Canvas"]


class Canvas:
    """The forwards of one block while it is denoised."""

    def __init__(self, rows: Rows, plan: Plan, shift: str) -> None:
        """`rows` are the block's, whatever their tokens; `shift` is the contract's."""
        self._rows = rows
        self._size = plan.sub_block if plan.options.block_cache else None
        self._shifted = shift != "none"
        # One row that the row before it predicts: nobody looks at it before it is final (autoregressive decoding).
        self._unseen = shift == "right_prev_row" and plan.block == 1
        self._drafted: int | None = None

    def forward(self, pending: Rows, block: Block, ask: Propose | Weigh) -> Forward:
        """The forward of one step: `pending`, which is kept, and the `block`, or only the sub-block of `ask`."""
        keep, masked = len(pending), ask.block.masked
        if self._unseen:
            return Forward(pending if keep else None, keep, replace(ask, end=0))
        rows = self._rows.holding(block.tokens)
        if self._size is None:
            return Forward(pending + rows, keep, ask)
        first = int(np.argmax(masked)) // self._size * self._size
        # A shifted model predicts a sub-block's first row from the row before it, which a part does not hold.
        if first != self._drafted or (self._shifted and masked[first]):
            self._drafted = first
            return Forward(pending + rows, keep, ask, draft=len(rows))
        end = min(first + self._size, len(rows))
        return Forward(rows[first:end], 0, replace(ask, end=end), at=first)

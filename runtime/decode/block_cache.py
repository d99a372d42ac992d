"""How the rows of the block at hand are run: all of them at every step, or with a block cache only a sub-block's.

The block cache (Fast-dLLM v2, 2509.26328) keeps what all rows of a block were when its current sub-block was begun, and
runs only that sub-block again. Rows of the other sub-blocks do not hear of what it settles until the next whole
forward, so tokens may differ from those without it: it is an approximation. Does not know which rows are accepted.
"""

from __future__ import annotations

import numpy as np

from ...engines.protocol import Buffer
from .backbone import Rows, Stream
from .block import Block
from .options import Plan

__all__ = ["Canvas"]


class Canvas:
    """The forwards of one block while it is denoised."""

    def __init__(self, backbone: Stream, rows: Rows, plan: Plan, shift: str) -> None:
        """`rows` are the block's, whatever their tokens; `shift` is the contract's."""
        self._backbone, self._rows = backbone, rows
        self._size = plan.sub_block if plan.options.block_cache else None
        self._shifted = shift != "none"
        # One row that the row before it predicts: nobody looks at it before it is final (autoregressive decoding).
        self._unseen = shift == "right_prev_row" and plan.block == 1
        self._drafted: int | None = None

    def forward(self, pending: Rows, block: Block, asked: Block) -> tuple[Buffer, int]:
        """Run `pending`, which is kept, and the `block`; or only the sub-block that `asked` has masks in.

        Returns hidden rows `[1, R, H]` and the row of the block behind the last of them.
        """
        if self._unseen:
            return (self._backbone.forward(pending, keep=len(pending)) if len(pending) else self._backbone.carry), 0
        rows = self._rows.holding(block.tokens)
        if self._size is None:
            return self._backbone.forward(pending + rows, keep=len(pending)), len(rows)
        first = int(np.argmax(asked.masked)) // self._size * self._size
        # A shifted model predicts a sub-block's first row from the row before it, which a part does not hold.
        if first != self._drafted or (self._shifted and asked.masked[first]):
            self._drafted = first
            return self._backbone.forward(pending + rows, keep=len(pending), draft=len(rows)), len(rows)
        end = min(first + self._size, len(rows))
        return self._backbone.refine(rows[first:end], first), end

"""The rows of one generation: the prompt, then block after block, with their positions and reach.

Knows where rows stand and what they may see; not what the tokens mean, nor how they are chosen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .backbone import Rows
from .block import Block
from .chooser import FREE, Chooser
from .layout import Layout

__all__ = ["Prompt", "Sequence"]


@dataclass(frozen=True)
class Prompt:
    """A prompt as rows."""

    tokens: NDArray[np.int64]
    """`[P]`"""
    positions: NDArray[np.int64]
    """`[P]`, or `[3, P]` for mrope."""
    next_position: int
    """Position of the first generated row, in all axes."""
    keys: NDArray[np.int64]
    """`[P]`; equal keys mean equal rows: the token, or a negative hash of an image feature."""
    features: NDArray[np.float32] | None = None
    """`[P, N]`: see `Rows.features`."""
    is_feature: NDArray[np.bool_] | None = None
    """`[P]`"""

    def __len__(self) -> int:
        return len(self.tokens)


class Sequence:
    """A prompt and the blocks that follow it, up to `limit` rows."""

    def __init__(
        self,
        prompt: Prompt,
        layout: Layout,
        mask_token_id: int,
        wanted: int,
        limit: int,
        drop: tuple[int, ...] = (),
        chooser: Chooser = FREE,
    ) -> None:
        """`drop`: generated tokens that are no rows any more once their block is settled."""
        self.prompt, self.layout, self.chooser = prompt, layout, chooser
        self._drop, self._dropped = drop, 0
        self.wanted, self.limit = wanted, limit
        self.keys = prompt.keys
        """Keys of all rows that are final so far."""
        self.reach = layout.reach(0, len(prompt))
        """Reach of all rows that are final so far."""
        self.cached = 0
        """Leading rows that the cache held before this generation."""
        self._mask = mask_token_id

    def context(self, start: int) -> Rows:
        """The prompt's settled rows from `start` to the first block."""
        p, part = self.prompt, slice(start, self.layout.start)
        return Rows(
            p.tokens[part],
            p.positions[..., part],
            self.reach[part],
            None if p.features is None else p.features[part],
            None if p.is_feature is None else p.is_feature[part],
        )

    def first(self) -> Block | None:
        """The first block: the prompt's tail, if the grid leaves one, then masks. None if it does not fit."""
        return self._block(self.layout.start)

    @property
    def answer(self) -> NDArray[np.int64]:
        """Generated tokens of all settled blocks, dropped ones left out."""
        return self.keys[len(self.prompt) :]

    @property
    def ended(self) -> str:
        """Why no block follows: `length` where no more rows are wanted, `context` where they do not fit."""
        return "length" if len(self.keys) >= self.wanted else "context"

    def following(self) -> Block | None:
        """The block after the one that was settled last; None if no more rows are wanted or fit."""
        start = len(self.keys)
        return self._block(start) if start < self.wanted else None

    def noisy(self, block: Block) -> Rows:
        """The rows of the block while it is denoised: each sees all of it."""
        end = block.start + len(block.tokens)
        return self._rows(block, np.full(len(block.tokens), end))

    def causal(self, block: Block) -> Rows:
        """The rows of the block as they are verified: each sees itself and what is before it."""
        return self._rows(block, np.arange(block.start, block.start + len(block.tokens)) + 1)

    def settle(self, block: Block) -> Rows:
        """The rows of the finished block, as the cache shall keep them; they are final from here on."""
        self.chooser.settle(block)
        block = self._kept(block)
        end = block.start + len(block.tokens)
        # Rows that were dropped leave the grid behind: from there on a block is simply what was settled together.
        reach = np.full(len(block.tokens), end) if self._dropped else self.layout.reach(block.start, end)
        self.keys = np.concatenate([self.keys[: block.start + block.prompt], block.generated])
        self.reach = np.concatenate([self.reach[: block.start], reach])
        return self._rows(block, reach)

    def _kept(self, block: Block) -> Block:
        """The block without dropped tokens, of which fewer rows are wanted then."""
        rows = np.flatnonzero(~np.isin(block.tokens, self._drop) | block.fixed)
        gone = len(block.tokens) - len(rows)
        if not gone:
            return block
        self._dropped, self.wanted = self._dropped + gone, self.wanted - gone
        return block[rows]

    def _rows(self, block: Block, reach: NDArray[np.int64]) -> Rows:
        p, end = self.prompt, block.start + len(block.tokens)
        own = np.arange(max(block.start, len(p)), end) - len(p) + p.next_position
        own = own if p.positions.ndim == 1 else np.broadcast_to(own, (3, len(own)))
        positions = np.concatenate([p.positions[..., block.start :], own], axis=-1)
        if block.prompt and p.features is not None and p.is_feature is not None:
            # The prompt's tail stands in this block, and it may hold feature rows.
            pad = end - len(p)
            features = np.pad(p.features[block.start :], ((0, pad), (0, 0)))
            return Rows(block.tokens, positions, reach, features, np.pad(p.is_feature[block.start :], (0, pad)))
        return Rows(block.tokens, positions, reach)

    def _block(self, start: int) -> Block | None:
        """The block at `start` with what is known of it: the prompt's tail, and what the chooser lays."""
        head, size = self.prompt.tokens[start:], self.layout.size(start, min(self.wanted, self.limit))
        if start + size > self.limit or size <= len(head):
            return None
        return self.chooser.lay(Block.of(start, head, size, self._mask))

"""One block while it is denoised, and the record of one step on it. Tokens are ids: words, or codes of a frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

__all__ = ["Block", "Proposal", "Step"]


@dataclass(frozen=True)
class Block:
    """The rows of the current block."""

    start: int
    """Position of its first row in the sequence."""
    tokens: NDArray[np.int64]
    """`[B]`; the mask id where still masked."""
    masked: NDArray[np.bool_]
    """`[B]`; rows that hold no token yet."""
    confidence: NDArray[np.float32]
    """`[B]`; with which each row was settled: 1 for the prompt's, 0 where still masked."""
    fixed: int
    """Leading rows that belong to the prompt and never change."""

    def part(self, size: int) -> Block:
        """The block with the masks of one sub-block alone: the leftmost, of `size` rows, that has any."""
        first = int(np.argmax(self.masked)) // size * size
        rows = np.arange(len(self.masked))
        return replace(self, masked=self.masked & (rows >= first) & (rows < first + size))

    @property
    def done(self) -> bool:
        """No mask is left."""
        return not self.masked.any()

    @property
    def generated(self) -> NDArray[np.int64]:
        """The rows that the model wrote."""
        return self.tokens[self.fixed :]


@dataclass(frozen=True)
class Proposal:
    """What the model says about a block, all `[B]`. Rows that it was not asked about propose what they hold."""

    proposed: NDArray[np.int64]
    """The token that the model would write in each row."""
    confidence: NDArray[np.float32]
    """Probability of the proposed token; of a row not asked about, that with which it was settled."""
    entropy: NDArray[np.float32]
    """Entropy of the row's distribution, in nats; 0 if not asked about."""
    held: NDArray[np.float32]
    """Probability of the token that the row holds now; as `confidence` if not asked about."""
    next_tokens: NDArray[np.int64]
    """The block after the fused accept rule."""
    next_masked: NDArray[np.bool_]


@dataclass(frozen=True)
class Step:
    """What one denoising step did."""

    block: int
    """Index of the block, from 0."""
    index: int
    """Index of the step within its block, from 0."""
    tokens: NDArray[np.int64]
    """`[B]` the block after the step, prompt rows included; the mask id where still masked."""
    masked: NDArray[np.bool_]
    """`[B]`"""
    accepted: NDArray[np.int64]
    """Rows of the block that changed in this step, in rising order."""
    confidence: NDArray[np.float32]
    """`[B]` probability of the token that the model proposed for each row, or with which the row was settled before."""
    fixed: int
    """Leading rows of `tokens` that belong to the prompt."""
    final: bool
    """The block is finished with this step."""
    ended: str = ""
    """Why the answer ended with this step: `stop`, `length`, `repeats` or `context`; empty while it goes on."""

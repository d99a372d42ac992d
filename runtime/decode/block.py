"""One block while it is denoised, the tokens that its rows may propose, and the record of one step on it.

Tokens are ids: words, or codes of a frame. Rows anywhere in a block may be given before it is denoised, and each row
has the set of tokens that it may propose, a bit a token as the denoise graphs take it. Knows neither who gave rows nor
who restricts them, and no contracts: ids that are forbidden come in as numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Allowed",
    "Block",
    "Proposal",
    "Step",
    "all_but",
    "only",
]


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
    """`[B]`; with which each row was settled: 1 for those that are given, 0 where still masked."""
    prompt: int
    """Leading rows that belong to the prompt; the others are the answer's."""
    fixed: NDArray[np.bool_]
    """`[B]`; rows that are given and never change: the prompt's, and those of the answer that were known before."""
    allowed: Allowed
    """Sets of tokens that the rows may propose."""

    @classmethod
    def of(cls, start: int, prompt: NDArray[np.int64], size: int, mask_token_id: int) -> Block:
        """`size` rows from row `start` on: those of the `prompt`, then masks."""
        fixed = np.arange(size) < len(prompt)
        tokens = np.full(size, mask_token_id, np.int64)
        tokens[fixed] = prompt
        return cls(start, tokens, ~fixed, fixed.astype(np.float32), len(prompt), fixed, Allowed.everything(size))

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: NDArray[np.intp] | slice) -> Block:
        """Some of its rows, among them all of the prompt's."""
        tokens, masked, confidence = self.tokens[rows], self.masked[rows], self.confidence[rows]
        return Block(self.start, tokens, masked, confidence, self.prompt, self.fixed[rows], self.allowed[rows])

    def holding(self, rows: NDArray[np.intp], tokens: NDArray[np.int64]) -> Block:
        """The block with some of its `rows` given."""
        held, masked, fixed = self.tokens.copy(), self.masked.copy(), self.fixed.copy()
        confidence = self.confidence.copy()
        held[rows], masked[rows], fixed[rows], confidence[rows] = tokens, False, True, 1
        return replace(self, tokens=held, masked=masked, fixed=fixed, confidence=confidence)

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
        """The rows of the answer."""
        return self.tokens[self.prompt :]


@dataclass(frozen=True)
class Proposal:
    """The model's word on a block, all `[B]`. Rows that it was not asked about propose what they hold."""

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
    """The record of one denoising step."""

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
    prompt: int
    """Leading rows of `tokens` that belong to the prompt."""
    final: bool
    """The block is finished with this step."""
    ended: str = ""
    """Why the answer ended with this step: `stop`, `length`, `repeats` or `context`; empty while it goes on."""

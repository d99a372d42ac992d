"""Rows: of a prompt, of a sequence as they are fed, of a block while it is denoised; and which rows a row may see.

Every context mask is one number per row, its *reach*: row q sees key k if and only if k < reach(q). A settled row's
keys and values depend on nothing beyond its reach, which is what makes caching, chunked prefill and merged commits
exact. A block's rows may be given anywhere before it is denoised, and each has the set of tokens that it may propose, a
bit a token as the denoise graphs take it. Tokens are ids: words, or codes of a frame. Knows nothing of families or
engines, nor who gives rows or restricts them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Allowed",
    "Block",
    "Layout",
    "Prompt",
    "Proposal",
    "Rows",
    "Step",
    "all_but",
    "chunks",
    "only",
    "side_by_side",
    "visibility",
]


@dataclass(frozen=True)
class Layout:
    """The block grid of one decode: a prompt of P rows, blocks of B."""

    prompt: int
    block: int
    alignment: str
    context_mask: str
    cuts_last: bool = False
    """The last block ends where the wanted rows end."""

    @property
    def offset(self) -> int:
        """Rows that the grid is shifted by: `left` puts a boundary at the prompt's end."""
        return -self.prompt % self.block if self.alignment == "left" else 0

    @property
    def start(self) -> int:
        """First row of the first generated block; the prompt's rows from here on open that block."""
        return self.prompt if self.alignment == "left" else self.prompt // self.block * self.block

    def size(self, start: int, last: int) -> int:
        """Rows of the block at `start` when rows beyond `last` are not wanted."""
        return min(self.block, last - start) if self.cuts_last else self.block

    def reach(self, start: int, stop: int) -> NDArray[np.int64]:
        """Reach of the settled rows `start..stop`."""
        rows = np.arange(start, stop)
        block_end = ((rows + self.offset) // self.block + 1) * self.block - self.offset
        if self.context_mask == "block_causal":
            return block_end
        if self.context_mask == "token_causal":
            return rows + 1
        return np.where(rows < self.prompt, rows + 1, block_end)


def visibility(reach: NDArray[np.int64], cached: int, capacity: int, first: int | None = None) -> NDArray[np.bool_]:
    """The mask `[1, 1, R, capacity + R]` of R new rows beside `cached` rows kept in `capacity` columns.

    They follow the cached rows; or they stand at row `first`, in the place of those that the cache holds there.
    """
    first = cached if first is None else first
    columns = np.arange(capacity + len(reach))
    key = np.where(columns < capacity, columns, columns - capacity + first)
    replaced = (columns >= first) & (columns < first + len(reach))
    real = ((columns < cached) & ~replaced) | (columns >= capacity)
    return ((key < reach[:, None]) & real)[None, None]


def side_by_side(masks: Sequence[NDArray[np.bool_]], starts: Sequence[int], capacity: int) -> NDArray[np.bool_]:
    """The mask `[1, 1, R, capacity + R]` of several sequences that do not see each other.

    Each has a mask `[1, 1, r, c + r]` of its own, and its c cached rows stand in the columns from its start on.
    """
    rows = sum(mask.shape[2] for mask in masks)
    joined = np.zeros((1, 1, rows, capacity + rows), np.bool_)
    first = 0
    for mask, start in zip(masks, starts, strict=True):
        count, cached = mask.shape[2], mask.shape[3] - mask.shape[2]
        mine = joined[:, :, first : first + count]
        mine[..., start : start + cached] = mask[..., :cached]
        mine[..., capacity + first : capacity + first + count] = mask[..., cached:]
        first += count
    return joined


def chunks(reach: NDArray[np.int64], first: int, limit: int) -> list[int]:
    """Sizes of pieces in which rows with this `reach`, from row `first` on, can be cached one after the other.

    A piece ends where no row of it sees further, and holds at most `limit` rows wherever that is possible.
    """
    ends = np.flatnonzero(np.maximum.accumulate(reach) <= first + np.arange(1, len(reach) + 1)) + 1
    sizes, at = [], 0
    while at < len(reach):
        near = ends[(ends > at) & (ends <= at + limit)]
        far = ends[ends > at]
        end = int(near[-1] if len(near) else far[0] if len(far) else len(reach))
        sizes.append(end - at)
        at = end
    return sizes


@dataclass(frozen=True)
class Rows:
    """Consecutive rows of a sequence, ready to be fed."""

    tokens: NDArray[np.int64]
    """`[R]`"""
    positions: NDArray[np.int64]
    """`[R]`, or `[3, R]` for mrope."""
    reach: NDArray[np.int64]
    """`[R]`; the row sees every key before this position."""
    features: NDArray[np.float32] | None = None
    """`[R, N]`; rows of another model's features, zero where there is none. N is H, or several H side by side."""
    is_feature: NDArray[np.bool_] | None = None
    """`[R]`"""

    def __len__(self) -> int:
        return len(self.tokens)

    def holding(self, tokens: NDArray[np.int64]) -> Rows:
        """The same rows with other tokens."""
        return Rows(tokens, self.positions, self.reach, self.features, self.is_feature)

    def __getitem__(self, part: slice) -> Rows:
        return Rows(
            self.tokens[part],
            self.positions[..., part],
            self.reach[part],
            None if self.features is None else self.features[part],
            None if self.is_feature is None else self.is_feature[part],
        )

    def __add__(self, other: Rows) -> Rows:
        if not len(self):
            return other  # every plain step adds nothing to its block
        return Rows(
            np.concatenate([self.tokens, other.tokens]),
            np.concatenate([self.positions, other.positions], axis=-1),
            np.concatenate([self.reach, other.reach]),
            _joined(self.features, other.features, self, other),
            _joined(self.is_feature, other.is_feature, self, other),
        )


def _joined(a: NDArray[np.generic] | None, b: NDArray[np.generic] | None, left: Rows, right: Rows) -> NDArray | None:  # type: ignore[type-arg]
    """Both, where a missing side stands for zeros."""
    some = a if a is not None else b
    if some is None:
        return None
    return np.concatenate(
        [
            np.zeros((len(rows), *some.shape[1:]), some.dtype) if side is None else side
            for side, rows in ((a, left), (b, right))
        ]
    )


@dataclass(frozen=True)
class Prompt:
    """A prompt: its rows, and where what follows it begins."""

    rows: Rows
    """`[P]`; each sees itself and what is before it, until a layout says what it sees."""
    next_position: int
    """Position of the first generated row, in all axes."""
    keys: NDArray[np.int64]
    """`[P]`; equal keys mean equal rows: the token, or a negative hash of an image feature."""

    @classmethod
    def of(cls, tokens: NDArray[np.int64], positions: NDArray[np.int64], next_position: int) -> Prompt:
        """A prompt of tokens `[P]` alone, at `positions` `[P]` or `[3, P]`."""
        return cls(Rows(tokens, positions, np.arange(1, len(tokens) + 1)), next_position, tokens)

    def __len__(self) -> int:
        return len(self.rows)


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

    def written(self, tokens: NDArray[np.int64], masked: NDArray[np.bool_], confidence: NDArray[np.float32]) -> Block:
        """The block after a step. Every step makes one, and `replace` takes several times as long."""
        return Block(self.start, tokens, masked, confidence, self.prompt, self.fixed, self.allowed)

    def part(self, size: int) -> Block:
        """The block with the masks of one sub-block alone: the leftmost, of `size` rows, that has any."""
        if size >= len(self.masked):
            return self
        first = int(self.masked.argmax()) // size * size
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

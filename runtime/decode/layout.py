"""Where blocks begin, and which rows a row may see.

Every context mask is one number per row, its *reach*: row q sees key k if and only if k < reach(q). A settled row's
keys and values depend on nothing beyond its reach, which is what makes caching, chunked prefill and merged commits
exact. Knows positions in a sequence; nothing of tokens, families or engines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Layout", "chunks", "side_by_side", "visibility"]


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

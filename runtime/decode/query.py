"""A question to a denoise graph as data, so that the questions of several sessions can be put as one.

Joined are questions to the same graph that draw alike. Each row keeps its own set of tokens and its own noise; what of
a block is accepted is decided for each by itself, by the graph's own rule, here in numpy. Knows no sessions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engines.protocol import Buffer
from .allowed import Allowed

__all__ = ["Drawn", "Query", "accepted", "joined", "split"]

ACCEPTED = ("next_tokens", "next_masked")
"""Results of the accept rule, which ranks all rows of a call."""


@dataclass(frozen=True)
class Drawn:
    """The distribution that tokens are drawn from, and one uniform number for each row."""

    noise: NDArray[np.float32]
    """`[N]`"""
    temperature: float
    top_k: int
    top_p: float


@dataclass(frozen=True)
class Query:
    """N rows whose tokens are asked of a denoise graph."""

    graph: str
    outputs: tuple[str, ...]
    rows: NDArray[np.intp]
    """`[N]`; their numbers in their block."""
    gather: NDArray[np.int64]
    """`[N]`; the row of `[carry, hidden rows]` that predicts each."""
    tokens: NDArray[np.int64]
    """`[N]`"""
    masked: NDArray[np.bool_]
    """`[N]`"""
    allowed: Allowed
    count: int
    bar: float
    """Confidence above which a row is accepted beyond the `count`."""
    drawn: Drawn | None
    at: tuple[int, int]
    """Block and step, for messages."""

    @property
    def kind(self) -> tuple[Any, ...]:
        """Equal for queries that may be joined."""
        drawn = self.drawn
        return (self.graph, self.outputs, None if drawn is None else (drawn.temperature, drawn.top_k, drawn.top_p))

    def feeds(self, hidden: Buffer, carry: Buffer) -> dict[str, NDArray[np.generic] | Buffer]:
        """Inputs of the graph, over the rows `hidden [1, R, H]` behind `carry [1, 1, H]`."""
        made: dict[str, NDArray[np.generic] | Buffer] = {
            "hidden": hidden,
            "carry": carry,
            "gather": self.gather[None],
            "tokens": self.tokens[None],
            "masked": self.masked[None],
            "count": np.array([self.count], np.int64),
            "threshold": np.array([self.bar], np.float32),
            "allowed": self.allowed.masks,
            "allowed_by": self.allowed.by[None],
        }
        if self.drawn is not None:
            made["noise"] = self.drawn.noise[None]
            made["temperature"] = np.array([self.drawn.temperature], np.float32)
            made["top_k"] = np.array([self.drawn.top_k], np.int64)
            made["top_p"] = np.array([self.drawn.top_p], np.float32)
        return made


def joined(queries: Sequence[Query], gathers: Sequence[NDArray[np.int64]]) -> Query:
    """One query for all, of one kind; `gathers` are the rows that predict theirs in what is run together."""
    first, drawn = queries[0], [q.drawn for q in queries if q.drawn is not None]
    together = replace(drawn[0], noise=np.concatenate([d.noise for d in drawn])) if drawn else None
    return replace(
        first,
        rows=np.concatenate([q.rows for q in queries]),
        gather=np.concatenate(gathers),
        tokens=np.concatenate([q.tokens for q in queries]),
        masked=np.concatenate([q.masked for q in queries]),
        allowed=_sets([q.allowed for q in queries]),
        count=0,
        bar=2.0,
        drawn=together,
    )


def split(made: Mapping[str, Any], queries: Sequence[Query]) -> list[dict[str, NDArray[Any]]]:
    """The outputs `[1, N]` for each of the joined queries; what is accepted, for each by itself."""
    parts, first = [], 0
    for query in queries:
        rows = slice(first, first + len(query.rows))
        part = {name: made[name][:, rows] for name in query.outputs if name not in ACCEPTED}
        settled = accepted(query.masked, part["confidence"][0], query.count, query.bar)
        part["next_tokens"] = np.where(settled, part["proposed"][0], query.tokens)[None]
        part["next_masked"] = (query.masked & ~settled)[None]
        parts.append(part)
        first = rows.stop
    return parts


def accepted(masked: NDArray[np.bool_], confidence: NDArray[np.float32], count: int, bar: float) -> NDArray[np.bool_]:
    """The graph's accept rule: the `count` most confident masked rows, of equals the first, and all above the bar."""
    C = np.where(masked, confidence, np.float32(-1))
    rows = np.float32(bar) < C
    rows[np.argsort(-C, kind="stable")[:count]] = True
    return rows & masked


def _sets(all_of: Sequence[Allowed]) -> Allowed:
    """The sets of all, equal tables of masks once."""
    masks: list[NDArray[np.uint8]] = []
    at: dict[bytes, int] = {}
    by, size = [], 0
    for allowed in all_of:
        key = allowed.masks.tobytes()
        if key not in at:
            at[key] = size
            masks.append(allowed.masks)
            size += len(allowed.masks)
        by.append(allowed.by + at[key])
    return Allowed(np.concatenate(masks), np.concatenate(by))

"""Requests of a way to decode while it runs: forwards of rows, and what is wanted of the rows that they make.

A way to decode is a coroutine: it yields a request, is sent what came of it, yields a Step where the block has changed,
and returns why the answer ended. It owns no engine, so whoever drives it may batch, observe or follow it. Knows rows
and blocks; not how they are run.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .block import Allowed, Block, Rows, Step

__all__ = [
    "Accept",
    "Ask",
    "Burst",
    "Decoding",
    "Forward",
    "PredictFirst",
    "PredictNext",
    "Propose",
    "Request",
    "Weigh",
]


@dataclass(frozen=True)
class Propose:
    """Ask for a Proposal for `block`."""

    block: Block
    """Rows that are masked are the ones asked about."""
    count: int
    """Tokens that the step shall settle."""
    at: tuple[int, int]
    """Block and step, for the noise and for messages."""
    end: int | None = None
    """Row of the block behind the last one that was run; None where all were."""


@dataclass(frozen=True)
class Weigh:
    """Ask for a Prediction of the most probable token in each of some sets, several for one row if need be."""

    block: Block
    rows: NDArray[np.intp]
    """`[N]`; rows of the block, each as often as it has sets."""
    allowed: Allowed
    """The N sets."""
    at: tuple[int, int]
    """Block and step, for messages."""
    end: int | None = None
    """Row of the block behind the last one that was run; None where all were."""


@dataclass(frozen=True)
class PredictFirst:
    """Ask for `block` with its first row as the last cached row predicts it."""

    block: Block
    index: int
    """Number of the block, for messages."""


@dataclass(frozen=True)
class PredictNext:
    """Ask for a Prediction of the token behind each of some rows."""

    rows: NDArray[np.intp]
    """`[N]`, counted from the last cached row, which is 0; the forward's first row is 1."""
    first: int
    """Number of the first predicted token among all generated ones, for the noise."""
    index: int
    """Number of the block, for messages."""


Ask = Propose | Weigh | PredictFirst | PredictNext


@dataclass(frozen=True)
class Forward:
    """Run `rows` behind the cached ones and keep the first `keep`; without rows only the last cached one is asked."""

    rows: Rows | None
    keep: int = 0
    ask: Ask | None = None
    draft: int = 0
    """Rows behind the kept ones that the cache holds until it keeps others."""
    at: int | None = None
    """The rows take the place of the drafted ones from this one on."""


@dataclass(frozen=True)
class Accept:
    """Keep the first `count` of the rows that the last forward drafted; forget the others."""

    count: int


@dataclass(frozen=True)
class Burst:
    """Denoise `block` with one forward for each of `counts`, none of which waits for what the one before settled.

    Answered by an iterator of (Block, confidence `[B]`), one for each forward.
    """

    pending: Rows
    """Run with the first forward, and kept."""
    rows: Rows
    block: Block
    counts: tuple[int, ...]
    index: int
    """Numbers of the block and the step, for the noise and for messages."""


Request = Forward | Accept | Burst
Decoding = Generator[Request | Step, Any, str]
"""A way to decode at work; it returns `stop`, `length`, `repeats` or `context`."""

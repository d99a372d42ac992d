"""Questions to the denoise graphs: an ask becomes a query, and the graph's outputs an answer.

Which hidden row predicts which row of the block (the logit shift) is an index here, so that the graphs know no shifts.
Temperature picks the graph: `denoise` takes the most probable token, `sample` draws one. A query is data, so that those
of several sessions can be put as one (`packed.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import NumericsError, RequestError
from ...engines.protocol import Buffer, Engine
from .block import Allowed, Block, Proposal, all_but
from .forward import Ask, PredictFirst, PredictNext, Propose, Weigh
from .noise import uniform
from .options import Plan
from .rules import settled

__all__ = [
    "Denoiser",
    "Drawn",
    "Prediction",
    "Query",
    "check_finite",
    "gather_rows",
]


COLDEST = 1e-30
"""Lowest temperature that graphs divide by: the most probable token, where a lower one is 0 in float32."""


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
            made["temperature"] = np.array([max(self.drawn.temperature, COLDEST)], np.float32)
            made["top_k"] = np.array([self.drawn.top_k], np.int64)
            made["top_p"] = np.array([self.drawn.top_p], np.float32)
        return made


def gather_rows(shift: str, rows: int, block: int, end: int) -> NDArray[np.int64]:
    """For each row of the block, which of [carry, hidden rows] predicts it; the last of `rows` rows is its `end`-th.

    Rows of the block that are not among them get numbers that mean nothing.
    """
    own = rows - end + 1
    if shift == "none":
        return np.arange(own, own + block)
    before = np.arange(own - 1, own - 1 + block)
    if shift == "right_in_block" and end:  # where the block was not run, only the row before it can say its first
        before[0] = own
    return before


class Prediction(NamedTuple):
    """The token that each of N rows predicts behind itself."""

    tokens: NDArray[np.int64]
    """`[N]`"""
    confidence: NDArray[np.float32]
    """`[N]`"""
    entropy: NDArray[np.float32]
    """`[N]`, in nats."""

    def part(self, rows: slice) -> Prediction:
        """The prediction of some rows."""
        return Prediction(self.tokens[rows], self.confidence[rows], self.entropy[rows])


@dataclass(frozen=True)
class Denoiser:
    """Queries and answers of one generation."""

    load: Callable[[str], Engine]
    """The graph by name; a graph is loaded when it is first asked for."""
    shift: str
    plan: Plan
    forbidden: tuple[int, ...]
    """Ids that no row may propose."""

    def query(self, ask: Ask, rows: int) -> Query:
        """The query for `ask`, where the last forward gave `rows` hidden rows."""
        return ASKED[type(ask)].query(self, ask, rows)

    def run(self, query: Query, hidden: Buffer, carry: Buffer) -> Mapping[str, Any]:
        """The graph's outputs `[1, N]`, over `hidden [1, R, H]` behind `carry [1, 1, H]`."""
        return self.load(query.graph).run(query.feeds(hidden, carry), query.outputs)

    def answer(self, ask: Ask, query: Query, made: Mapping[str, Any]) -> Proposal | Prediction | Block:
        """The answer to `ask`. Raises NumericsError if a confidence is not finite."""
        check_finite(query.rows, made["confidence"][0], query.graph, query.at)
        return ASKED[type(ask)].answer(self, ask, query, made)

    def propose_async(
        self,
        hidden: Buffer,
        carry: Buffer,
        block: Block,
        count: int,
        at: tuple[int, int],
        tokens: Buffer | None,
        masked: Buffer | None,
    ) -> dict[str, Buffer]:
        """Propose for a whole `block` without waiting: nothing is read or checked, and ISSUED stay where they are.

        `tokens, masked [1, B]` are the block's where they lie on the device; None takes those of `block`.
        """
        query = self._block(Propose(block, count, at), np.arange(len(block)), hidden.shape[1])
        feeds = query.feeds(hidden, carry)
        feeds |= {name: kept for name, kept in (("tokens", tokens), ("masked", masked)) if kept is not None}
        return self.load(query.graph).run(feeds, ISSUED, keep=ISSUED)  # type: ignore[return-value]

    @property
    def graph(self) -> str:
        """The graph that proposes: the most probable token, or one that is drawn, and how probable it was there."""
        return "sample" if self.plan.temperature > 0 or self.plan.confidence in TEMPERED else "denoise"

    @cached_property
    def allowed(self) -> NDArray[np.uint8]:
        """The mask `[1, W]` of a generation: all but the forbidden, for every row."""
        return all_but(self.forbidden, int(self.load(self.graph).inputs["allowed"].shape[1]))

    def _propose(self, ask: Propose, rows: int) -> Query:
        # Only masked rows can be accepted: where nothing is revised, the others need not be projected on a vocabulary.
        every = self.plan.options.revises
        return self._block(ask, np.arange(len(ask.block)) if every else ask.block.masked.nonzero()[0], rows)

    def _block(self, ask: Propose, asked: NDArray[np.intp], rows: int) -> Query:
        block = ask.block
        gather = gather_rows(self.shift, rows, len(block), len(block) if ask.end is None else ask.end)
        drawn = None
        if self.graph == "sample":
            noise = uniform(self.plan.options.seed, *ask.at, len(block))[0, asked]
            drawn = self._drawn(np.full_like(noise, MOST_PROBABLE) if self.plan.temperature == 0 else noise)
        query = self._query(self.graph, _asked(block, asked), gather[asked], ask.count, drawn, ask.at, asked)
        further = TEMPERED.get(self.plan.confidence, ())
        return replace(query, outputs=(*OUTPUTS, *further)) if further else query

    def _proposal(self, ask: Propose, query: Query, made: Mapping[str, Any]) -> Proposal:
        """The proposal with what the rules shall take for confidence, and for entropy."""
        proposal, source = _spread(made, ask.block, query.rows), self.plan.confidence
        if source == "entropy":
            return replace(proposal, confidence=np.exp(-proposal.entropy))
        if source not in TEMPERED:
            return proposal
        confidence, entropy = proposal.confidence.copy(), proposal.entropy.copy()
        confidence[query.rows], entropy[query.rows] = (made[name][0] for name in TEMPERED[source])
        return replace(proposal, confidence=confidence, entropy=entropy)

    def _weigh(self, ask: Weigh, rows: int) -> Query:
        gather = gather_rows(self.shift, rows, len(ask.block), len(ask.block) if ask.end is None else ask.end)
        asked = _asked(ask.block, ask.rows)._replace(allowed=ask.allowed)
        return self._query("denoise", asked, gather[ask.rows], 0, None, ask.at, ask.rows)

    def _predict_first(self, ask: PredictFirst, rows: int) -> Query:
        """The block's first row as the last hidden row predicts it: always the most probable token."""
        first = np.array([0])
        return self._query("denoise", _asked(ask.block, first), np.array([rows]), 1, None, (ask.index, 0), first)

    def _first(self, ask: PredictFirst, query: Query, made: Mapping[str, Any]) -> Block:
        proposal = _spread(made, ask.block, query.rows)
        return settled(ask.block, proposal, ask.block.masked & ~proposal.next_masked)

    def _predict_next(self, ask: PredictNext, rows: int) -> Query:  # noqa: ARG002 - its rows are numbered
        count = len(ask.rows)
        drawn, graph = None, "denoise"
        if self.plan.temperature > 0:
            seed, graph = self.plan.options.seed, "sample"  # the noise of a token is what it would be in blocks of one
            drawn = self._drawn(np.concatenate([uniform(seed, ask.first + i, 0, 1)[0] for i in range(count)]))
        masked = _Rows(np.zeros(count, np.int64), np.ones(count, np.bool_), Allowed.everything(count))
        return self._query(graph, masked, ask.rows, count, drawn, (ask.index, 0), ask.rows)

    def _prediction(self, ask: Weigh | PredictNext, query: Query, made: Mapping[str, Any]) -> Prediction:  # noqa: ARG002
        return Prediction(made["proposed"][0], made["confidence"][0], made["entropy"][0])

    def _drawn(self, noise: NDArray[np.float32]) -> Drawn:
        return Drawn(noise, self.plan.temperature or 1.0, self.plan.options.top_k, self.plan.options.top_p)

    def _query(
        self,
        graph: str,
        asked: _Rows,
        gather: NDArray[np.int64],
        count: int,
        drawn: Drawn | None,
        at: tuple[int, int],
        rows: NDArray[np.intp],
    ) -> Query:
        """The query about `asked`, which are these `rows` of their block."""
        sets, bar = _within(asked.allowed, self.allowed), self.plan.bar
        return Query(graph, OUTPUTS, rows, gather, asked.tokens, asked.masked, sets, count, bar, drawn, at)


class _Rows(NamedTuple):
    """Some rows as a query has them."""

    tokens: NDArray[np.int64]
    masked: NDArray[np.bool_]
    allowed: Allowed


def _asked(block: Block, rows: NDArray[np.intp]) -> _Rows:
    return _Rows(block.tokens[rows], block.masked[rows], block.allowed[rows])


class _Asked(NamedTuple):
    """The two halves of an ask."""

    query: Callable[[Denoiser, Any, int], Query]
    answer: Callable[[Denoiser, Any, Query, Mapping[str, Any]], Proposal | Prediction | Block]


ASKED: dict[type[Ask], _Asked] = {
    Propose: _Asked(Denoiser._propose, Denoiser._proposal),
    Weigh: _Asked(Denoiser._weigh, Denoiser._prediction),
    PredictNext: _Asked(Denoiser._predict_next, Denoiser._prediction),
    PredictFirst: _Asked(Denoiser._predict_first, Denoiser._first),
}
"""Kind of ask to what makes its query, and its answer."""


def _within(allowed: Allowed, base: NDArray[np.uint8]) -> Allowed:
    """The sets without what the generation forbids. Raises RequestError where they are of another vocabulary."""
    if len(allowed.masks) and allowed.masks.shape[1] != base.shape[1]:
        raise RequestError(
            f"allowed sets of {8 * allowed.masks.shape[1]} tokens, expected sets of {8 * base.shape[1]}: one bit for "
            "each token of this model's vocabulary, in whole bytes"
        )
    return allowed.within(base)


ISSUED = ("next_tokens", "next_masked", "confidence")

MOST_PROBABLE = -1.0
"""The noise that draws the most probable token."""

TEMPERED = {"tempered": ("tempered", "tempered_entropy"), "filtered": ("filtered", "filtered_entropy")}
"""Confidence and entropy of the distributions that tokens are drawn from: further outputs of the sample graph."""

OUTPUTS = ("proposed", "confidence", "entropy", "held", "next_tokens", "next_masked")


def _spread(made: Mapping[str, Any], block: Block, rows: NDArray[np.intp]) -> Proposal:
    """The graph's outputs for `rows` among the rows of the block; the others propose what they hold."""
    if len(rows) == len(block):  # in rising order, as rows of a block are asked about
        return Proposal(*(made[name][0] for name in OUTPUTS))
    entropy = np.zeros(len(block), np.float32)
    held: list[NDArray[Any]] = [block.tokens, block.confidence, entropy, block.confidence, block.tokens, block.masked]
    full = {name: values.copy() for name, values in zip(OUTPUTS, held, strict=True)}
    for name, values in full.items():
        values[rows] = made[name][0]
    return Proposal(**full)


def check_finite(rows: NDArray[np.intp], confidence: NDArray[np.float32], graph: str, at: tuple[int, int]) -> None:
    """Raise NumericsError if the `confidence` of one of the block's `rows` is not finite; `at` is (block, step)."""
    finite = np.isfinite(confidence)
    if not finite.all():
        bad = rows[~finite]
        raise NumericsError(
            f"graph {graph!r}, block {at[0]}, step {at[1]}: the confidence of rows {bad.tolist()} is not finite. "
            "The weights or activations overflow at this precision: export with [precision=fp32] (or bf16) and "
            "check the checkpoint for NaN."
        )

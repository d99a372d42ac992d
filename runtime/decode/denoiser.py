"""The denoise graphs behind one call: hidden rows and a block in, a proposal out.

Which hidden row predicts which row of the block (the logit shift) is an index here, so that the graphs know no shifts.
Temperature picks the graph: `denoise` takes the most probable token, `sample` draws one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import NumericsError
from ...engines.protocol import Buffer, Engine
from .allowed import all_but
from .block import Block, Proposal
from .noise import uniform
from .options import Plan
from .rules import settled

__all__ = ["Denoiser", "Prediction", "check_finite", "gather_rows"]


def gather_rows(shift: str, rows: int, block: int, end: int) -> NDArray[np.int64]:
    """For each row of the block, which of [carry, hidden rows] predicts it; the last of `rows` rows is its `end`-th.

    Rows of the block that are not among them get numbers that mean nothing.
    """
    own = np.arange(block) + rows - end + 1
    if shift == "none":
        return own
    before = own - 1
    if shift == "right_in_block":
        before[0] = own[0]
    return before


class Prediction(NamedTuple):
    """The token that each of N rows predicts behind itself."""

    tokens: NDArray[np.int64]
    """`[N]`"""
    confidence: NDArray[np.float32]
    """`[N]`"""

    def part(self, rows: slice) -> Prediction:
        """The prediction of some rows."""
        return Prediction(self.tokens[rows], self.confidence[rows])


@dataclass(frozen=True)
class Denoiser:
    """Proposals for one generation."""

    load: Callable[[str], Engine]
    """The graph by name; a graph is loaded when it is first asked for."""
    shift: str
    plan: Plan
    forbidden: tuple[int, ...]
    """Ids that no row may propose."""

    def propose(
        self, hidden: Buffer, carry: Buffer, block: Block, count: int, at: tuple[int, int], end: int | None = None
    ) -> Proposal:
        """Propose tokens for `block`, whose rows (up to `end`) are the last of `hidden [1, R, H]`.

        `carry [1, 1, H]` is the hidden row before the first of `hidden`; `at` is (block, step), for the noise.
        Raises NumericsError if a confidence is not finite.
        """
        # Only masked rows can be accepted: where nothing is revised, the others need not be projected on a vocabulary.
        every = np.arange(len(block.tokens))
        rows = every if self.plan.options.revises else np.flatnonzero(block.masked)
        graph = self.graph
        gather = gather_rows(self.shift, hidden.shape[1], len(every), len(every) if end is None else end)
        feeds = self._feeds(hidden, carry, block, rows, gather[rows], count)
        if graph == "sample":
            feeds |= self._randomness(at, len(every), rows)
        made = self.load(graph).run(feeds, (*OUTPUTS, *TEMPERED.get(self.plan.options.confidence or "raw", ())))
        check_finite(rows, made["confidence"][0], graph, at)  # type: ignore[index]
        return self._trusted(_spread(made, block, rows), made, rows, at)

    def _trusted(
        self, proposal: Proposal, made: Mapping[str, Any], rows: NDArray[np.intp], at: tuple[int, int]
    ) -> Proposal:
        """`proposal` with what the rules shall take for confidence, and for entropy."""
        source = self.plan.options.confidence or "raw"
        if source == "entropy":
            return replace(proposal, confidence=np.exp(-proposal.entropy))
        if source == "random":
            drawn = uniform(self.plan.options.seed, *at, len(proposal.confidence), stream=1)[0]
            return replace(proposal, confidence=drawn)
        if source not in TEMPERED:
            return proposal
        confidence, entropy = proposal.confidence.copy(), proposal.entropy.copy()
        confidence[rows], entropy[rows] = (made[name][0] for name in TEMPERED[source])
        return replace(proposal, confidence=confidence, entropy=entropy)

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
        """As `propose`, for whoever does not wait: nothing is read or checked, and ISSUED stay where they are.

        `tokens, masked [1, B]` are the block's where they lie on the device; None takes those of `block`.
        """
        every = np.arange(len(block.tokens))
        gather = gather_rows(self.shift, hidden.shape[1], len(every), len(every))
        feeds = self._feeds(hidden, carry, block, every, gather, count)
        if self.graph == "sample":
            feeds |= self._randomness(at, len(every), every)
        feeds |= {name: kept for name, kept in (("tokens", tokens), ("masked", masked)) if kept is not None}
        return self.load(self.graph).run(feeds, ISSUED, keep=ISSUED)  # type: ignore[return-value]

    @property
    def graph(self) -> str:
        """The graph that proposes: the most probable token, or one that is drawn, and how probable it was there."""
        return "sample" if self.plan.temperature > 0 or self.plan.options.confidence in TEMPERED else "denoise"

    @cached_property
    def allowed(self) -> NDArray[np.uint8]:
        """The one mask `[1, W]` of a generation: all but the forbidden, for every row."""
        return all_but(self.forbidden, int(self.load(self.graph).inputs["allowed"].shape[1]))

    def predict_first(self, block: Block, carry: Buffer, index: int) -> Block:
        """`block` with its first row as `carry [1, 1, H]`, the row before it, predicts it: always the most probable.

        `index` is the block's, for NumericsError.
        """
        row = np.array([0])
        made = self.load("denoise").run(self._feeds(carry, carry, block, row, row, 1), OUTPUTS)
        check_finite(row, made["confidence"][0], "denoise", (index, 0))  # type: ignore[index]
        proposal = _spread(made, block, row)
        return settled(block, proposal, block.masked & ~proposal.next_masked)

    def predict_next(self, hidden: Buffer, carry: Buffer, rows: NDArray[np.intp], first: int, index: int) -> Prediction:
        """The token that each of the N `rows` of `[carry [1, 1, H]; hidden [1, R, H]]` predicts behind it.

        `first` is the number, among all generated ones, of the first row's: the noise of a token is what it would be
        in blocks of one. `index` is the block's, for NumericsError.
        """
        count = len(rows)
        masked = Block(0, np.zeros(count, np.int64), np.ones(count, np.bool_), np.zeros(count, np.float32), 0)
        graph, every = "sample" if self.plan.temperature > 0 else "denoise", np.arange(count)
        feeds = self._feeds(hidden, carry, masked, every, rows, count)
        if graph == "sample":
            seed = self.plan.options.seed
            noise = np.concatenate([uniform(seed, number, 0, 1) for number in range(first, first + count)], axis=1)
            feeds |= self._randomness((0, 0), count, every) | {"noise": noise}
        made = self.load(graph).run(feeds, OUTPUTS)
        check_finite(rows, made["confidence"][0], graph, (index, 0))  # type: ignore[index]
        return Prediction(made["proposed"][0], made["confidence"][0])  # type: ignore[index]

    def _feeds(
        self,
        hidden: Buffer,
        carry: Buffer,
        block: Block,
        rows: NDArray[np.intp],
        gather: NDArray[np.int64],
        count: int,
    ) -> dict[str, NDArray[np.generic] | Buffer]:
        return {
            "hidden": hidden,
            "carry": carry,
            "gather": gather[None],
            "tokens": block.tokens[None, rows],
            "masked": block.masked[None, rows],
            "count": np.array([count], np.int64),
            "threshold": np.array([self.plan.bar], np.float32),
            "allowed": self.allowed,
            "allowed_by": np.zeros((1, len(rows)), np.int64),
        }

    def _randomness(
        self, at: tuple[int, int], block: int, rows: NDArray[np.intp]
    ) -> dict[str, NDArray[np.generic] | Buffer]:
        plan, greedy = self.plan, self.plan.temperature == 0
        noise = uniform(plan.options.seed, *at, block)[:, rows]
        return {
            "noise": np.full_like(noise, MOST_PROBABLE) if greedy else noise,
            "temperature": np.array([1.0 if greedy else plan.temperature], np.float32),
            "top_k": np.array([plan.options.top_k], np.int64),
            "top_p": np.array([plan.options.top_p], np.float32),
        }


ISSUED = ("next_tokens", "next_masked", "confidence")

MOST_PROBABLE = -1.0
"""The noise that draws the most probable token."""

TEMPERED = {"tempered": ("tempered", "tempered_entropy"), "filtered": ("filtered", "filtered_entropy")}
"""Confidence and entropy of the distributions that tokens are drawn from: further outputs of the sample graph."""

OUTPUTS = ("proposed", "confidence", "entropy", "held", "next_tokens", "next_masked")


def _spread(made: Mapping[str, Any], block: Block, rows: NDArray[np.intp]) -> Proposal:
    """The graph's outputs for `rows` among the rows of the block; the others propose what they hold."""
    entropy = np.zeros_like(block.confidence)
    held: list[NDArray[Any]] = [block.tokens, block.confidence, entropy, block.confidence, block.tokens, block.masked]
    full = {name: values.copy() for name, values in zip(OUTPUTS, held, strict=True)}
    for name, values in full.items():
        values[rows] = made[name][0]
    return Proposal(**full)


def check_finite(rows: NDArray[np.intp], confidence: NDArray[np.float32], graph: str, at: tuple[int, int]) -> None:
    """Raise NumericsError if the `confidence` of one of the block's `rows` is not finite; `at` is (block, step)."""
    bad = rows[~np.isfinite(confidence)]
    if len(bad):
        raise NumericsError(
            f"graph {graph!r}, block {at[0]}, step {at[1]}: the confidence of rows {bad.tolist()} is not finite. "
            "The weights or activations overflow at this precision: export with [precision=fp32] (or bf16) and "
            "check the checkpoint for NaN."
        )

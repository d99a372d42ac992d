"""The rows of one generation, block after block, and the seam of whoever restricts them.

A chooser (a template, choices, a schema) lays what is known of a block before it is denoised, says of which tokens the
model shall be asked, and makes the proposal of what the model said; plain decoding has none: `FREE`. Knows where rows
stand and what they may see; not what the tokens mean, nor what is accepted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import RequestError
from .block import Allowed, Block, Layout, Prompt, Proposal, Rows
from .forward import Propose, Weigh
from .options import Plan

__all__ = [
    "FREE",
    "Chooser",
    "Form",
    "Free",
    "Given",
    "Sequence",
]


class Form(Protocol):
    """A restriction that any number of answers may be given under."""

    def begin(self, plan: Plan, start: int, last: int) -> Chooser:
        """The chooser of one answer, whose first row is `start`; rows from `last` on are not wanted, or do not fit.

        Raises RequestError if no answer can keep to it under this plan, or in so many rows.
        """

    def text(self, written: str, whole: bool) -> str:
        """An answer's text, of what the model has written; `whole`: that goes on no more."""


class Chooser(Protocol):
    """Restrictions of one answer, block after block."""

    @property
    def free(self) -> bool:
        """Every row may hold any token that the model may propose, whatever the others hold."""

    def lay(self, block: Block) -> Block:
        """The block with what is known of it. Changes nothing in the chooser."""

    def ask(self, asked: Block, block: Block, count: int, at: tuple[int, int]) -> Propose | Weigh:
        """The question whose answer `proposal` takes: about the masks of `asked`, which is `block` or a part of it."""

    def proposal(self, asked: Block, block: Block, answer: Any) -> Proposal:
        """The proposal for the masks of `asked` that the model's answer allows."""

    def settle(self, block: Block) -> None:
        """Go on behind `block`, which is final."""


class Free:
    """No restriction: whatever the model proposes."""

    free = True

    def begin(self, plan: Plan, start: int, last: int) -> Chooser:  # noqa: ARG002 - see `Form`
        """See `Form.begin`."""
        return self

    def text(self, written: str, whole: bool) -> str:  # noqa: ARG002 - see `Form`
        """See `Form.text`."""
        return written

    def lay(self, block: Block) -> Block:
        """See `Chooser.lay`."""
        return block

    def ask(self, asked: Block, block: Block, count: int, at: tuple[int, int]) -> Propose | Weigh:  # noqa: ARG002
        """See `Chooser.ask`."""
        return Propose(asked, count, at)

    def proposal(self, asked: Block, block: Block, answer: Any) -> Proposal:  # noqa: ARG002
        """See `Chooser.proposal`."""
        made: Proposal = answer
        return made

    def settle(self, block: Block) -> None:
        """See `Chooser.settle`."""


FREE = Free()
"""The chooser of plain decoding."""


@dataclass(frozen=True)
class Given(Free):
    """Infill: rows anywhere in the answer that are given, and sets of tokens for those that are not."""

    tokens: NDArray[np.int64]
    """`[A]`; rows of the answer from its beginning on."""
    given: NDArray[np.bool_]
    """`[A]`; rows that hold their token from the start and never change."""
    allowed: Allowed
    """Sets of tokens that the other rows may propose, `[A]`."""
    start: int = 0
    """Row of the sequence where the answer begins."""

    free = False

    def begin(self, plan: Plan, start: int, last: int) -> Chooser:  # noqa: ARG002 - see `Form`
        """See `Form.begin`."""
        if plan.speculative:
            raise RequestError("decode: got 'speculative', expected 'diffusion': a draft does not keep given rows")
        return replace(self, start=start)

    def lay(self, block: Block) -> Block:
        """See `Chooser.lay`."""
        rows = block.start - self.start + np.arange(len(block))
        known = np.flatnonzero((rows >= 0) & (rows < len(self.tokens)))
        by = block.allowed.by.copy()
        by[known] = self.allowed.by[rows[known]]
        laid = known[self.given[rows[known]]]
        restricted = replace(block, allowed=Allowed(self.allowed.masks, by))
        return restricted.holding(laid, self.tokens[rows[laid]])


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
        part = slice(start, self.layout.start)
        return replace(self.prompt.rows[part], reach=self.reach[part])

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
        if not self._drop:
            return block
        rows = np.flatnonzero(~np.isin(block.tokens, self._drop) | block.fixed)
        gone = len(block.tokens) - len(rows)
        if not gone:
            return block
        self._dropped, self.wanted = self._dropped + gone, self.wanted - gone
        return block[rows]

    def _rows(self, block: Block, reach: NDArray[np.int64]) -> Rows:
        """The rows of the block; the prompt's tail may stand in it, with features."""
        p, head = self.prompt, self.prompt.rows[block.start :]
        first = max(block.start - len(p), 0) + p.next_position
        own = np.arange(first, first + len(block) - len(head))
        own = own if head.positions.ndim == 1 else np.repeat(own[None], 3, 0)
        rows = Rows(block.tokens[len(head) :], own, reach[len(head) :])
        return rows if not len(head) else replace(head + rows, reach=reach)

    def _block(self, start: int) -> Block | None:
        """The block at `start` with what is known of it: the prompt's tail, and what the chooser lays."""
        head, size = self.prompt.rows.tokens[start:], self.layout.size(start, min(self.wanted, self.limit))
        if start + size > self.limit or size <= len(head):
            return None
        return self.chooser.lay(Block.of(start, head, size, self._mask))

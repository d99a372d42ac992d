"""The seam of whoever restricts an answer: a template, choices, a schema. Plain decoding has none: `FREE`.

A chooser lays what is known of a block before it is denoised, says of which tokens the model shall be asked, and makes
the proposal of what the model said. It sees blocks one after the other. Knows no engines, and not what is accepted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import RequestError
from .allowed import Allowed
from .block import Block, Proposal
from .forward import Propose, Weigh
from .options import Plan

__all__ = ["FREE", "Chooser", "Form", "Free", "Given"]


class Form(Protocol):
    """A restriction that any number of answers may be given under."""

    def begin(self, plan: Plan, start: int, last: int) -> Chooser:
        """The chooser of one answer, whose first row is `start`; rows from `last` on are not wanted, or do not fit.

        Raises RequestError if no answer can keep to it under this plan, or in so many rows.
        """


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

"""The parallel decode loop of masked diffusion. docs/decoding.md derives it; here it is.

All rows of a block are run at every step, or with a block cache only those of the sub-block at hand (Fast-dLLM v2,
2509.26328): the cache keeps what all rows were when their sub-block was begun, and rows of the other sub-blocks do not
hear of what it settles until the next whole forward, so tokens may differ: it is an approximation.

Knows rows, blocks and confidences. Does not know text, images, model families, engines or files, and does not assume
that a token is a word.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .block import Block, Rows, Step, chunks
from .contract import DecodeContract
from .forward import Decoding, Forward, PredictFirst, Propose, Weigh
from .options import Plan
from .rules import RULES, STOPS, Pace, Revision, repeats, settled
from .sequence import Chooser, Sequence

__all__ = [
    "PREFILL",
    "Canvas",
    "advance",
    "decode",
]


class Canvas:
    """The forwards of one block while it is denoised."""

    def __init__(self, rows: Rows, plan: Plan, shift: str) -> None:
        """`rows` are the block's, whatever their tokens; `shift` is the contract's."""
        self._rows = rows
        self._size = plan.sub_block if plan.options.block_cache else None
        self._shifted = shift != "none"
        # One row that the row before it predicts: nobody looks at it before it is final (autoregressive decoding).
        self._unseen = shift == "right_prev_row" and plan.block == 1
        self._drafted: int | None = None

    def forward(self, pending: Rows, block: Block, ask: Propose | Weigh) -> Forward:
        """The forward of one step: `pending`, which is kept, and the `block`, or only the sub-block of `ask`."""
        keep, masked = len(pending), ask.block.masked
        if self._unseen:
            return Forward(pending if keep else None, keep, replace(ask, end=0))
        rows = self._rows.holding(block.tokens)
        if self._size is None:
            return Forward(pending + rows, keep, ask)
        first = int(np.argmax(masked)) // self._size * self._size
        # A shifted model predicts a sub-block's first row from the row before it, which a part does not hold.
        if first != self._drafted or (self._shifted and masked[first]):
            self._drafted = first
            return Forward(pending + rows, keep, ask, draft=len(rows))
        end = min(first + self._size, len(rows))
        return Forward(rows[first:end], 0, replace(ask, end=end), at=first)


PREFILL = 128
"""Rows of one prefill forward at most: bounds the memory of attention scores, and on a CPU no slower than 512."""

NONE = np.empty(0, np.int64)
"""Rows that a step has changed where it has changed none."""


def decode(sequence: Sequence, contract: DecodeContract, plan: Plan) -> Decoding:
    """Denoise block after block, until one holds a stop token or no further block is wanted or fits.

    After each block the coroutine may be closed: rows in the cache are always final ones. The last block is never
    committed, because nobody will look at it.
    """
    accept, stops, chooser = plan.accept or RULES[plan.options.rule], STOPS[plan.stop], sequence.chooser
    block, pending = sequence.first(), sequence.context(sequence.cached)
    index = 0
    while block is not None:
        pending = yield from advance(pending, block.start, plan.merged)
        pace, canvas = Pace(contract.schedule, plan), Canvas(sequence.noisy(block), plan, contract.shift)
        revision, step, final = Revision(block, plan.options, plan.filler), 0, False
        if block.done:  # every row was known before: nothing is run for it but its commit
            final, over = True, stops(block, True, contract.stop_token_ids)
            yield Step(index, 0, block.tokens, block.masked, NONE, block.confidence, block.prompt, True)
        while not final:
            if step == 0 and block.masked[0] and contract.opening == "predicted":
                after, confidence = yield from _opened(block, index, chooser)
            else:
                asked = block.part(plan.sub_block)
                number = pace.count(asked)
                # Merged commit: the rows that became final with the last block ride along, and only they are kept.
                answer = yield canvas.forward(pending, block, chooser.ask(asked, block, number, (index, step)))
                proposal = chooser.proposal(asked, block, answer)
                pending, accepted = pending[:0], accept(asked, proposal, number, plan)
                after = revision.apply(settled(block, proposal, accepted), block, proposal)
                confidence = proposal.confidence
            changed = ((after.tokens != block.tokens) | (after.masked != block.masked)).nonzero()[0]
            finished = revision.ended(after)
            over = stops(after, finished, contract.stop_token_ids)
            block, final = after, finished or over
            yield Step(index, step, block.tokens, block.masked, changed, confidence, block.prompt, final)
            step += 1
        if over:
            return "stop"
        pending, block = pending + sequence.settle(block), sequence.following()
        if sequence.ended != "length" and chooser.free and repeats(sequence.answer, plan.options.stop_repeats):
            return "repeats"
        index += 1
    return sequence.ended


def _opened(block: Block, index: int, chooser: Chooser) -> Generator[Forward, Any, tuple[Block, NDArray[np.float32]]]:
    """The block with its first row as the commit predicts it, before any of it is run; and its confidences."""
    if chooser.free:
        after: Block = yield Forward(None, ask=PredictFirst(block, index))
        return after, after.confidence
    first = replace(block, masked=block.masked & (np.arange(len(block)) == 0))
    ask = replace(chooser.ask(first, block, 1, (index, 0)), end=0)
    proposal = chooser.proposal(first, block, (yield Forward(None, ask=ask)))
    return settled(block, proposal, first.masked), proposal.confidence


def advance(pending: Rows, end: int, merged: bool) -> Generator[Forward, None, Rows]:
    """Cache `pending`, which ends before row `end`, piece by piece. Returns the rows that are left:
    a merged commit leaves the last piece to the next forward.
    """
    sizes = chunks(pending.reach, end - len(pending), PREFILL)
    for size in sizes[:-1] if merged else sizes:
        yield Forward(pending[:size], size)
        pending = pending[size:]
    return pending

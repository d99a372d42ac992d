"""The fixed-step parallel decode loop. docs/decoding.md derives it; here it is.

Knows rows, blocks and confidences. Does not know text, images, model families, engines or files, and does not assume
that a token is a word.
"""

from __future__ import annotations

from collections.abc import Generator
from itertools import count

import numpy as np

from .backbone import Rows, Stream
from .block import Step
from .block_cache import Canvas
from .contract import DecodeContract
from .denoiser import Denoiser
from .layout import chunks
from .options import Plan
from .rules import RULES, Revision, settled
from .schedule import Pace
from .sequence import Sequence
from .stops import STOPS, repeats

__all__ = ["PREFILL", "advance", "decode"]

PREFILL = 128
"""Rows of one prefill forward at most: bounds the memory of attention scores, and on a CPU no slower than 512."""


def decode(
    sequence: Sequence, backbone: Stream, denoiser: Denoiser, contract: DecodeContract, plan: Plan
) -> Generator[Step, None, None]:
    """Denoise block after block, until one holds a stop token or no further block is wanted or fits.

    After each block the iterator may be closed: rows in the cache are always final ones. The last block is never
    committed, because nobody will look at it.
    """
    accept, stops = RULES[plan.options.rule], STOPS[plan.options.stop or contract.stop]
    block, pending = sequence.first(), sequence.context(backbone.cache.length)
    for index in count():
        if block is None:
            return
        pending, step = advance(backbone, pending, plan.merged), 0
        pace, canvas = Pace(contract.schedule, plan), Canvas(backbone, sequence.noisy(block), plan, contract.shift)
        revision, final = Revision(block, plan.options, contract.filler), False
        while not final:
            if step == 0 and block.masked[0] and contract.opening == "predicted":
                # The commit yields a token: nothing of the block has been run yet.
                after = denoiser.opened(block, backbone.carry, index)
                confidence = after.confidence
            else:
                asked = block.part(plan.sub_block)
                # Merged commit: the rows that became final with the last block ride along, and only they are kept.
                hidden, end = canvas.forward(pending, block, asked)
                pending, number = pending[:0], pace.count(asked)
                proposal = denoiser.propose(hidden, backbone.carry, asked, number, (index, step), end)
                accepted = accept(asked, proposal, number, plan)
                after = revision.apply(settled(block, proposal, accepted), block, proposal)
                confidence = proposal.confidence
            changed = np.flatnonzero((after.tokens != block.tokens) | (after.masked != block.masked))
            finished = revision.ended(after)
            over = stops(after, finished, contract.stop_token_ids)
            block, final = after, finished or over
            yield Step(index, step, block.tokens, block.masked, changed, confidence, block.fixed, final)
            step += 1
        pending = sequence.settle(block)
        if over or repeats(sequence.answer, plan.options.stop_repeats):
            return
        block = sequence.following()


def advance(backbone: Stream, pending: Rows, merged: bool) -> Rows:
    """Cache `pending` piece by piece; a merged commit leaves the last piece to the next forward."""
    sizes = chunks(pending.reach, backbone.cache.length, PREFILL)
    for size in sizes[:-1] if merged else sizes:
        backbone.forward(pending[:size], keep=size)
        pending = pending[size:]
    return pending

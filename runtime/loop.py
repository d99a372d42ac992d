"""The fixed-step parallel decode loop. docs/decoding.md derives it; here it is.

Knows rows, blocks and confidences. Does not know text, images, model families, engines or files, and does not assume
that a token is a word.
"""

from __future__ import annotations

from collections.abc import Generator
from itertools import chain, count, repeat

import numpy as np

from .backbone import Backbone, Rows
from .block import Step
from .contract import DecodeContract
from .denoiser import Denoiser
from .layout import chunks
from .options import Plan
from .rules import RULES, Revision, settled
from .schedule import SCHEDULES
from .sequence import Sequence

__all__ = ["PREFILL", "decode"]

PREFILL = 128
"""Rows of one prefill forward at most: bounds the memory of attention scores, and on a CPU no slower than 512."""


def decode(
    sequence: Sequence, backbone: Backbone, denoiser: Denoiser, contract: DecodeContract, plan: Plan
) -> Generator[Step, None, None]:
    """Denoise block after block, until one holds a stop token or no further block is wanted or fits.

    After each block the iterator may be closed: rows in the cache are always final ones. The last block is never
    committed, because nobody will look at it.
    """
    accept, schedule = RULES[plan.options.rule], SCHEDULES[contract.schedule]
    block, pending = sequence.first(), sequence.context(backbone.cache.length)
    for index in count():
        if block is None:
            return
        pending = _advance(backbone, pending, merged=plan.options.commit == "merged")
        pace = chain(schedule(int(block.masked.sum()), plan.block, plan.steps), repeat(1))
        noisy = sequence.noisy(block)
        revision, final = Revision(block, plan.options, contract.mask_token_id), False
        for step in count():
            # Merged commit: the rows that became final with the last block ride along, and only they are kept.
            hidden = backbone.forward(pending + noisy.holding(block.tokens), keep=len(pending))
            pending = pending[:0]
            number = next(pace)
            proposal = denoiser.propose(hidden, backbone.carry, block, number, (index, step))
            accepted = accept(block, proposal, number, plan.options)
            after = revision.apply(settled(block, proposal, accepted), block, proposal)
            changed = np.flatnonzero((after.tokens != block.tokens) | (after.masked != block.masked))
            block, final = after, revision.ended(after)
            yield Step(index, step, block.tokens, block.masked, changed, proposal.confidence, block.fixed, final)
            if final:
                break
        if np.isin(block.generated, contract.stop_token_ids).any():
            return
        pending, block = sequence.settle(block), sequence.following(block)


def _advance(backbone: Backbone, pending: Rows, merged: bool) -> Rows:
    """Cache `pending` piece by piece; a merged commit leaves the last piece to the next forward."""
    sizes = chunks(pending.reach, backbone.cache.length, PREFILL)
    for size in sizes[:-1] if merged else sizes:
        backbone.forward(pending[:size], keep=size)
        pending = pending[size:]
    return pending

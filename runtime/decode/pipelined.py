"""Fixed-step decoding that does not wait: the steps of a block are issued one after the other, and read when all are.

On a device, reading what a step has settled stops the host until the device has caught up. Where the host decides
nothing (how many tokens each step settles is known beforehand, and which they are the graph says), what a step settles
is fed to the next where it lies (`runner`). Steps and tokens are those of `loop.decode`; they come a block at a time,
and a generation can be cancelled between blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from .block import Block, Step
from .contract import DecodeContract
from .forward import Burst, Decoding
from .loop import advance
from .options import Plan
from .rules import Pace
from .sequence import Sequence

__all__ = ["decode_ahead", "is_known"]


def is_known(contract: DecodeContract, plan: Plan) -> bool:
    """The steps of a block are known before the first of them, whatever the model says."""
    o = plan.options
    fixed = plan.threshold is None and plan.fused and not o.revises and o.decode == "diffusion"
    plain = plan.stop == "block" and o.stop_repeats is None and o.guidance == 0
    return fixed and plain and contract.opening == "masked" and plan.sub_block == plan.block > 1


def decode_ahead(sequence: Sequence, contract: DecodeContract, plan: Plan) -> Decoding:
    """Decode like `loop.decode`, for what `is_known`."""
    block, pending = sequence.first(), sequence.context(sequence.cached)
    index = 0
    while block is not None:
        pending = yield from advance(pending, block.start, plan.merged)
        counts = tuple(_counts(block, Pace(contract.schedule, plan)))
        answers = yield Burst(pending, sequence.noisy(block), block, counts, index)
        for step, (after, confidence) in enumerate(answers):
            changed = np.flatnonzero(after.masked != block.masked)
            block = after
            yield Step(index, step, block.tokens, block.masked, changed, confidence, block.prompt, block.done)
        if np.isin(block.generated, contract.stop_token_ids).any():
            return "stop"
        pending, block, index = sequence.settle(block), sequence.following(), index + 1
    return sequence.ended


def _counts(block: Block, pace: Pace) -> Iterator[int]:
    """The count of tokens that each step settles; which of the masks they are makes no difference to the pace."""
    while not block.done:
        number = pace.count(block)
        yield number
        left = block.masked.copy()
        left[np.flatnonzero(left)[:number]] = False
        block = replace(block, masked=left)

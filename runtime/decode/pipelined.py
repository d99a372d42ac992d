"""Fixed-step decoding that does not wait: the steps of a block are issued one after the other, and read when all are.

On a device, reading what a step has settled stops the host until the device has caught up. Where the host decides
nothing (how many tokens each step settles is known beforehand, and which they are the graph says), what a step settles
is fed to the next where it lies. Steps and tokens are those of `loop.decode`; they come a block at a time, and a
generation can be cancelled between blocks.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from itertools import count

import numpy as np
from numpy.typing import NDArray

from ...engines.protocol import Buffer
from .backbone import Backbone
from .block import Block, Step
from .contract import DecodeContract
from .denoiser import Denoiser, check_finite
from .loop import advance
from .options import Plan
from .schedule import Pace
from .sequence import Sequence

__all__ = ["decode_ahead", "is_known"]


def is_known(contract: DecodeContract, plan: Plan) -> bool:
    """The steps of a block are known before the first of them, whatever the model says."""
    o = plan.options
    fixed = plan.threshold is None and plan.fused and not o.revises and o.decode == "diffusion"
    plain = o.stop == "block" and o.stop_repeats is None and o.guidance == 0
    return fixed and plain and contract.opening == "masked" and plan.sub_block == plan.block > 1


def decode_ahead(
    sequence: Sequence, backbone: Backbone, denoiser: Denoiser, contract: DecodeContract, plan: Plan
) -> Generator[Step, None, None]:
    """As `loop.decode`, for what `is_known`."""
    block, pending = sequence.first(), sequence.context(backbone.cache.length)
    for index in count():
        if block is None:
            return
        pending = advance(backbone, pending, plan.merged)
        rows, tokens, masked = sequence.noisy(block).holding(block.tokens), None, None
        issued: list[dict[str, Buffer]] = []
        for step, number in enumerate(_counts(block, Pace(contract.schedule, plan))):
            hidden = backbone.forward(pending + rows, keep=len(pending), tokens=tokens)
            pending = pending[:0]
            made = denoiser.issue(hidden, backbone.carry, block, number, (index, step), tokens, masked)
            issued.append(made)
            tokens, masked = made["next_tokens"], made["next_masked"]
        for step, made in enumerate(issued):
            after, confidence = _read(made, block, denoiser.graph, (index, step))
            changed = np.flatnonzero(after.masked != block.masked)
            block = after
            yield Step(index, step, block.tokens, block.masked, changed, confidence, block.fixed, block.done)
        if np.isin(block.generated, contract.stop_token_ids).any():
            return
        pending, block = sequence.settle(block), sequence.following()


def _counts(block: Block, pace: Pace) -> Iterator[int]:
    """How many tokens each step settles; which of the masks they are makes no difference to the pace."""
    while not block.done:
        number = pace.count(block)
        yield number
        left = block.masked.copy()
        left[np.flatnonzero(left)[:number]] = False
        block = replace(block, masked=left)


def _read(
    made: Mapping[str, Buffer], before: Block, graph: str, at: tuple[int, int]
) -> tuple[Block, NDArray[np.float32]]:
    """The block after one step, and the confidences of that step. The first read waits, the others find all done."""
    tokens, masked, said = (made[name].numpy()[0] for name in ("next_tokens", "next_masked", "confidence"))
    rows = np.flatnonzero(before.masked)
    check_finite(rows, said[rows], graph, at)
    confidence = np.where(before.masked, said, before.confidence).astype(np.float32)
    settled = before.masked & ~masked
    kept = np.where(settled, confidence, before.confidence).astype(np.float32)
    return replace(before, tokens=tokens, masked=masked, confidence=kept), confidence

"""Self-speculative decoding: the model drafts a block at once, then verifies it as the autoregressive model that it is.

For models whose settled rows are token-causal and predict the row behind them (Fast-dVLM, 2604.06832): a forward over
the block without masks, each row seeing what is before it, says what one token per forward would have written. So the
output is that of one token per forward, whatever was drafted. Verification as in speculative decoding (Leviathan et al.
2023, 2211.17192); drafting and verifying with one model as in blockwise parallel decoding (Stern et al. 2018,
1811.03115).

Knows rows and predictions, as `loop.py` does. Blocks begin where the last one was cut.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .block import Block, Step
from .contract import DecodeContract
from .denoiser import Prediction
from .forward import Accept, Decoding, Forward, PredictNext
from .loop import advance
from .options import Plan
from .sequence import Sequence

__all__ = ["speculate"]


def speculate(
    sequence: Sequence,
    contract: DecodeContract,
    plan: Plan,  # noqa: ARG001 - a way to decode is called like the others
) -> Decoding:
    """Two steps a block, a draft and what of it is verified; ends after a stop token, or when `loop.decode` does.

    A block is as long as its agreement: 1 to B tokens for two forwards. After each, the coroutine may be closed.
    """
    yield from advance(sequence.context(sequence.cached), sequence.layout.start, merged=False)
    block = sequence.first()
    # What the last settled row predicts: never a guess, so every block has at least one token.
    known = yield Forward(None, ask=PredictNext(np.array([0]), 0, 0))
    index = 0
    while block is not None:
        drafted, B, behind = _holding(block, known), len(block.tokens), block.start - len(sequence.prompt) + 1
        stopped = known.tokens[0] in contract.stop_token_ids
        if stopped or block.start + 1 == sequence.wanted:
            yield _step(_cut(drafted, 1), index, 0, final=True)
            return "stop" if stopped else "length"
        if B > 1:
            guess = yield Forward(sequence.noisy(drafted), ask=PredictNext(np.arange(1, B), behind, index))
            drafted = _holding(block, known, guess)
            yield _step(drafted, index, 0)
        truth = yield Forward(sequence.causal(drafted), 0, PredictNext(np.arange(1, B + 1), behind, index), draft=B)
        agreed = _agreed(drafted.tokens, truth.tokens, contract.stop_token_ids)
        block = _cut(_holding(block, known, truth.part(slice(B - 1))), agreed)
        known = truth.part(slice(agreed - 1, agreed))
        yield Accept(agreed)
        sequence.settle(block)
        yield _step(block, index, int(B > 1), final=True)
        if block.tokens[-1] in contract.stop_token_ids:
            return "stop"
        block, index = sequence.following(), index + 1
    return sequence.ended


def _agreed(drafted: NDArray[np.int64], truth: NDArray[np.int64], stops: tuple[int, ...]) -> int:
    """Leading drafted tokens that one token per forward would have written: up to the first stop token among them."""
    same = np.append(drafted[1:] == truth[:-1], False)
    ends = np.flatnonzero(~same | np.isin(drafted, stops))
    return int(ends[0]) + 1


def _holding(block: Block, *known: Prediction) -> Block:
    """The block with its first rows written."""
    tokens, confidence, held = block.tokens.copy(), block.confidence.copy(), sum(len(t.tokens) for t in known)
    tokens[:held] = np.concatenate([t.tokens for t in known])
    confidence[:held] = np.concatenate([t.confidence for t in known])
    return replace(block, tokens=tokens, masked=np.arange(len(tokens)) >= held, confidence=confidence)


def _cut(block: Block, rows: int) -> Block:
    return block[:rows]


def _step(block: Block, index: int, step: int, final: bool = False) -> Step:
    held = np.flatnonzero(~block.masked)
    return Step(index, step, block.tokens, block.masked, held, block.confidence, block.prompt, final)

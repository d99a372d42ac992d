"""Accept rules and revision as pure functions of a block and the model's proposal.

The confidence rule lives in the denoise graph (so that a device need not wait for the host) and appears here only as
reading its result. The others run on the host over the same outputs: the graph does not grow a switch per system.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .block import Block, Proposal
from .options import Options

__all__ = ["RULES", "Revision", "settled"]

Accept = Callable[[Block, Proposal, int, Options], NDArray[np.bool_]]
"""The rows to accept, of the masked ones, given the count that the schedule asks for."""


def confidence(block: Block, proposal: Proposal, count: int, options: Options) -> NDArray[np.bool_]:
    """The `count` most confident masked rows and all above the threshold: decided by the denoise graph."""
    return block.masked & ~proposal.next_masked


def entropy(block: Block, proposal: Proposal, count: int, options: Options) -> NDArray[np.bool_]:
    """The surest masked rows while their summed entropy is at most the bound, one at least.

    Entropy-bounded unmasking (Ben-Hamu et al. 2025, 2505.24857) in the form of JetEngine's sampler.
    """
    H = np.where(block.masked, proposal.entropy, np.inf)
    order = np.argsort(H, kind="stable")
    within = np.cumsum(H[order]) <= options.entropy_bound
    within[0] = True
    return _rows(order[within], block) & block.masked


def sequential(block: Block, proposal: Proposal, count: int, options: Options) -> NDArray[np.bool_]:
    """The leftmost `count` masked rows."""
    return _rows(np.flatnonzero(block.masked)[:count], block)


RULES: dict[str, Accept] = {"confidence": confidence, "entropy": entropy, "sequential": sequential}
"""Name in Options to rule."""


def settled(block: Block, proposal: Proposal, accept: NDArray[np.bool_]) -> Block:
    """The block with the accepted rows written."""
    return replace(
        block,
        tokens=np.where(accept, proposal.proposed, block.tokens),
        masked=block.masked & ~accept,
        confidence=np.where(accept, proposal.confidence, block.confidence),
    )


class Revision:
    """Second thoughts about the settled rows of one block, and when the block is final.

    `replace_above` writes another token in which the model now believes (token-to-token editing, LLaDA2.1,
    2602.08676); `remask_below` masks a token in which it no longer believes (the error correction that A2D-VL
    describes). A row is masked again once at most and replacing has a budget, so every block ends.
    """

    def __init__(self, block: Block, options: Options, mask_token_id: int) -> None:
        self._options, self._mask = options, mask_token_id
        self._fresh = np.arange(len(block.tokens)) >= block.fixed  # never masked again so far
        self._spent = 0
        self._quiet = True

    def apply(self, after: Block, before: Block, proposal: Proposal) -> Block:
        """`after` the accept rule, with rows that were settled `before` it replaced or masked again."""
        o = self._options
        if not o.revises:
            return after
        old = ~before.masked & (np.arange(len(before.tokens)) >= before.fixed)
        edit, drop = np.zeros_like(old), np.zeros_like(old)
        if o.replace_above is not None:
            edit = old & (proposal.proposed != before.tokens) & (proposal.confidence > o.replace_above)
        if o.remask_below is not None:
            drop = old & ~edit & self._fresh & (proposal.held < o.remask_below)
        self._fresh &= ~drop
        self._spent += before.done
        self._quiet = o.replace_above is None or (before.done and not edit.any())
        return replace(
            after,
            tokens=np.where(edit, proposal.proposed, np.where(drop, self._mask, after.tokens)),
            masked=after.masked | drop,
            confidence=np.where(edit, proposal.confidence, np.where(drop, 0, after.confidence)).astype(np.float32),
        )

    def ended(self, block: Block) -> bool:
        """No mask is left, and replacing has come to rest or spent its budget."""
        return block.done and (self._quiet or self._spent >= self._options.revise_steps)


def _rows(indices: NDArray[np.intp], block: Block) -> NDArray[np.bool_]:
    rows = np.zeros(len(block.tokens), np.bool_)
    rows[indices] = True
    return rows

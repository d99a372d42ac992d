"""The three questions of a step as pure functions in tables: how many tokens settle, which ones, is the answer over.

Schedules count, accept rules and revision choose, stop rules end. The confidence rule lives in the denoise graph (so
that a device need not wait for the host) and appears here only as reading its result. The others run on the host over
the same outputs: the graph does not grow a switch per system. Knows token ids; not what they say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, repeat
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..schema import Choices

if TYPE_CHECKING:
    from .block import Block, Proposal
    from .options import Options, Plan

__all__ = [
    "FALLBACKS",
    "RULES",
    "SCHEDULES",
    "STOPS",
    "Pace",
    "Revision",
    "base_remainder",
    "cosine_round",
    "linear_round",
    "repeats",
    "settled",
]

Accept: TypeAlias = "Callable[[Block, Proposal, int, Plan], NDArray[np.bool_]]"
"""The rows to accept, of the masked ones, given the count that the schedule asks for; one at least if one is masked."""


def confidence(block: Block, proposal: Proposal, count: int, plan: Plan) -> NDArray[np.bool_]:
    """The rows that pass the threshold, and the fallback's; of the usual ones, the denoise graph has decided."""
    if plan.fused:
        return block.masked & ~proposal.next_masked
    C = np.where(block.masked, proposal.confidence, -np.inf)
    accepted: NDArray[np.bool_] = FALLBACKS[plan.fallback](C, plan.bar < C, count) & block.masked
    return accepted


def entropy(block: Block, proposal: Proposal, count: int, plan: Plan) -> NDArray[np.bool_]:
    """The surest masked rows while their summed entropy is at most the bound, one at least.

    Entropy-bounded unmasking (Ben-Hamu et al. 2025, 2505.24857) in the form of JetEngine's sampler.
    """
    return _bounded(block, proposal, lambda H: np.cumsum(H) <= plan.options.entropy_bound)


def joint_entropy(block: Block, proposal: Proposal, count: int, plan: Plan) -> NDArray[np.bool_]:
    """Like `entropy`, with the paper's own bound: of the sum less its largest term."""
    return _bounded(block, proposal, lambda H: np.cumsum(H) - H <= plan.options.entropy_bound)


def sequential(block: Block, proposal: Proposal, count: int, plan: Plan) -> NDArray[np.bool_]:
    """The leftmost `count` masked rows."""
    return _leftmost(block.masked, count)


def factor(block: Block, proposal: Proposal, count: int, plan: Plan) -> NDArray[np.bool_]:
    """The n most confident masked rows, n the largest with c_n >= 1 - f / (n + 1), one at least.

    Fast-dLLM's factor-based parallel decoding (2505.22618).
    """
    C = np.where(block.masked, proposal.confidence, -np.inf)
    n = np.arange(1, len(C) + 1)
    enough = np.flatnonzero(-np.sort(-C) >= 1 - plan.options.factor / (n + 1))
    return _top(C, int(enough[-1]) + 1 if len(enough) else 1) & block.masked


def prefix(block: Block, proposal: Proposal, count: int, plan: Plan) -> NDArray[np.bool_]:
    """The leftmost masked rows up to the first that does not pass the threshold, one at least (SDLM)."""
    rows = np.flatnonzero(block.masked)
    passed = np.logical_and.accumulate(proposal.confidence[rows] > plan.bar)
    return _leftmost(block.masked, max(1, int(passed.sum())))


RULES: Choices[Accept] = Choices(
    ("confidence", "the most confident tokens by count, and all above the threshold", confidence),
    ("entropy", "the surest tokens while their summed entropy stays within a bound (SDAR's JetEngine)", entropy),
    ("sequential", "from left to right by count (SDAR)", sequential),
    ("joint-entropy", "as entropy, but the largest of the entropies does not count (EB-Sampler)", joint_entropy),
    (
        "factor",
        "the most confident n tokens, n the largest whose n-th confidence is 1 - factor / (n + 1) or more (Fast-dLLM)",
        factor,
    ),
    ("prefix", "the leftmost tokens up to the first whose confidence does not pass the threshold (SDLM)", prefix),
)
"""Accept rules by the name in Options."""

Fallback = Callable[[NDArray[np.float32], NDArray[np.bool_], int], NDArray[np.bool_]]
"""Rows from their confidences (-inf where not masked), those that pass the threshold, and the schedule's count."""


def _count(C: NDArray[np.float32], passed: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    return passed | _top(C, count)


def _top_1(C: NDArray[np.float32], passed: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    return passed | _top(C, min(count, 1))


FALLBACKS: Choices[Fallback] = Choices(
    ("count", "the most confident `count` rows are accepted in any case (SDAR, DiffusionVL)", _count),
    ("top-1", "the most confident row is accepted in any case; steps set no pace (Fast-dLLM, LLaDA2)", _top_1),
)
"""Rows accepted besides those that pass the threshold, by the name in contract and Options."""


def settled(block: Block, proposal: Proposal, accept: NDArray[np.bool_]) -> Block:
    """The block with the accepted rows written."""
    return block.written(
        np.where(accept, proposal.proposed, block.tokens),
        block.masked & ~accept,
        np.where(accept, proposal.confidence, block.confidence),
    )


class Revision:
    """Second thoughts about the settled rows of one block, and when the block is final.

    `replace_above` writes another token in which the model now believes (token-to-token editing, LLaDA2.1,
    2602.08676); `remask_below` masks a token in which it no longer believes (the error correction that A2D-VL
    describes). A row is masked again once at most and replacing has a budget, so every block ends.
    """

    def __init__(self, block: Block, options: Options, mask_token_id: int) -> None:
        self._options, self._mask = options, mask_token_id
        self._fresh = ~block.fixed  # never masked again so far
        self._spent = 0
        self._quiet = True

    def apply(self, after: Block, before: Block, proposal: Proposal) -> Block:
        """`after` the accept rule, with rows that were settled `before` it replaced or masked again."""
        o = self._options
        if not o.revises:
            return after
        old = ~before.masked & ~before.fixed
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


def _bounded(
    block: Block, proposal: Proposal, within: Callable[[NDArray[np.float32]], NDArray[np.bool_]]
) -> NDArray[np.bool_]:
    """The masked rows by rising entropy `H` for which `within(H)` holds, the first in any case."""
    rows = np.flatnonzero(block.masked)
    rising = rows[np.argsort(proposal.entropy[rows], kind="stable")]
    chosen = within(proposal.entropy[rising])
    chosen[:1] = True
    return _rows(rising[chosen], len(block.masked))


def _top(C: NDArray[np.float32], count: int) -> NDArray[np.bool_]:
    """The `count` largest; of equals the first."""
    return _rows(np.argsort(-C, kind="stable")[:count], len(C))


def _leftmost(masked: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    return _rows(np.flatnonzero(masked)[:count], len(masked))


def _rows(indices: NDArray[np.intp], size: int) -> NDArray[np.bool_]:
    rows = np.zeros(size, np.bool_)
    rows[indices] = True
    return rows


def base_remainder(masks: int, block: int, steps: int) -> list[int]:
    """B // S per step and one more in the first B % S steps, until `masks` are settled.

    Counted for a whole block even where the prompt's tail has filled a part of it, as in SDAR's generate.py and
    DiffusionVL's generate_with_bd3lm.
    """
    counts, left = [], masks
    for step in range(steps):
        count = min(block // steps + (step < block % steps), left)
        counts.append(count)
        left -= count
    return [count for count in counts if count]


def linear_round(masks: int, block: int, steps: int) -> list[int]:
    """round_half_even(left * (1 - (1 - alpha(s)) / (1 - alpha(t)))) with alpha(t) = 1 - t, zeros dropped (dLLM).

    The ratio is taken in float32 and the rest in float64, as there: whether a half comes out as a half decides which
    way it is rounded.
    """
    return _rounded(masks, steps, lambda t: np.float32(1) - t)


def cosine_round(masks: int, block: int, steps: int) -> list[int]:
    """Like `linear_round`, with alpha(t) = 1 - cos(pi (1 - t) / 2) (dLLM's CosineAlphaScheduler)."""
    return _rounded(masks, steps, lambda t: np.float32(1) - np.cos(np.float32(np.pi / 2) * (np.float32(1) - t)))


def _rounded(masks: int, steps: int, alpha: Callable[[np.float32], np.float32]) -> list[int]:
    counts, left = [], masks
    for step in range(steps, 0, -1):
        alpha_s, alpha_t = (alpha(np.float32(i / steps)) for i in (step - 1, step))
        stays = float((np.float32(1) - alpha_s) / (np.float32(1) - alpha_t))
        count = min(round(left * (1 - stays)), left)  # Python rounds halves to even
        counts.append(count)
        left -= count
    return [count for count in counts if count]


SCHEDULES: Choices[Callable[[int, int, int], list[int]]] = Choices(
    ("base-remainder", "S steps accept B // S tokens each, the first B % S of them one more (SDAR)", base_remainder),
    ("linear-round", "step j accepts round(left / (steps left)) tokens, halves to even (dLLM)", linear_round),
    ("cosine-round", "as linear-round, along a cosine: few tokens first, many last (dLLM)", cosine_round),
)
"""Functions of (masks in the block, block size, steps) by the name in the decode contract."""


class Pace:
    """The count of each step of one block. A sub-block is paced like a block of its own, with its share of the steps.

    When a schedule has ended and masks are left, every further step settles at least one.
    """

    def __init__(self, schedule: str, plan: Plan) -> None:
        self._schedule, self._size = SCHEDULES[schedule], plan.sub_block
        self._steps = -(-plan.steps * plan.sub_block // plan.block)
        self._part: int | None = None
        self._counts: Iterator[int] = repeat(1)

    def count(self, asked: Block) -> int:
        """Tokens that the next step shall settle of the masks in `asked`."""
        part = int(asked.masked.argmax()) // self._size
        if part != self._part and not asked.done:
            self._part = part
            self._counts = chain(self._schedule(int(asked.masked.sum()), self._size, self._steps), repeat(1))
        return next(self._counts)


Stop: TypeAlias = "Callable[[Block, bool, Sequence[int]], bool]"
"""True where the answer ends with this block, given whether the block is finished, and the stop tokens."""


def block_ends(block: Block, finished: bool, stops: Sequence[int]) -> bool:
    """The block is finished, and holds a stop token (LMDeploy, SDAR, DiffusionVL, dLLM)."""
    return finished and not set(stops).isdisjoint(block.generated.tolist())


def reached(block: Block, finished: bool, stops: Sequence[int]) -> bool:
    """A stop token stands in the block, and no mask before it (LLaDA2's early stop)."""
    settled = np.logical_and.accumulate(~block.masked[block.prompt :])
    return bool((settled & np.isin(block.generated, stops)).any())


STOPS: Choices[Stop] = Choices(
    ("block", "when a block is finished that holds a stop token", block_ends),
    (
        "reached",
        "as soon as a stop token stands with no mask before it, in the middle of a block as well",
        reached,
    ),
)
"""Stop rules by the name in contract and Options."""


def repeats(answer: NDArray[np.int64], count: int | None) -> bool:
    """The answer ends with one piece, of whatever length, `count` times in a row (SDAR-VL ends at 20)."""
    if count is None:
        return False
    sizes = range(1, len(answer) // count + 1)
    return any(bool((answer[-size * count :].reshape(count, size) == answer[-size:]).all()) for size in sizes)

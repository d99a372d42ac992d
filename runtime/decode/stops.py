"""When an answer is at its end: stop rules as pure functions of a block and whether it is finished.

Knows token ids; not what they say, nor how many are wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .choices import Choices

if TYPE_CHECKING:  # a contract reads the table below
    from .block import Block

__all__ = ["STOPS", "repeats"]

Stop: TypeAlias = "Callable[[Block, bool, Sequence[int]], bool]"
"""True where the answer ends with this block, given whether the block is finished, and the stop tokens."""


def block_ends(block: Block, finished: bool, stops: Sequence[int]) -> bool:
    """The block is finished, and holds a stop token (LMDeploy, SDAR, DiffusionVL, dLLM)."""
    return finished and bool(np.isin(block.generated, stops).any())


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

"""Schedules: the number of tokens that each step of a block settles. Each is a function; the table names them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, repeat
from typing import TYPE_CHECKING

import numpy as np

from .choices import Choices

if TYPE_CHECKING:  # a contract reads the table below
    from .block import Block
    from .options import Plan

__all__ = ["SCHEDULES", "Pace", "base_remainder", "cosine", "cosine_round", "linear_round"]


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


def cosine(masks: int, block: int, steps: int) -> list[int]:
    """After step j, floor(masks cos(pi j / 2 S)) masks are left (MaskGIT, 2202.04200), one fewer at least each step."""
    counts, left = [], masks
    for step in range(1, steps + 1):
        stays = min(int(np.floor(masks * np.cos(np.pi / 2 * step / steps))) if step < steps else 0, max(left - 1, 0))
        counts.append(left - stays)
        left = stays
    return [count for count in counts if count]


SCHEDULES: Choices[Callable[[int, int, int], list[int]]] = Choices(
    ("base-remainder", "S steps accept B // S tokens each, the first B % S of them one more", base_remainder),
    ("linear-round", "step j accepts round(left / (steps left)) tokens, halves to even", linear_round),
    (
        "cosine-round",
        "as linear-round, along a cosine: more tokens in the middle steps than at the ends",
        cosine_round,
    ),
    ("cosine", "after step j of S, floor(masks * cos(pi j / 2 S)) are left: few tokens first, many last", cosine),
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
        part = int(np.argmax(asked.masked)) // self._size
        if part != self._part and not asked.done:
            self._part = part
            self._counts = chain(self._schedule(int(asked.masked.sum()), self._size, self._steps), repeat(1))
        return next(self._counts)

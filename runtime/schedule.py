"""How many tokens each step of a block settles. An algorithm is a function here; the table names them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["SCHEDULES", "base_remainder", "linear_round"]


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
    counts, left = [], masks
    for step in range(steps, 0, -1):
        alpha_s, alpha_t = (np.float32(1) - np.float32(i / steps) for i in (step - 1, step))
        stays = float((np.float32(1) - alpha_s) / (np.float32(1) - alpha_t))
        count = min(round(left * (1 - stays)), left)  # Python rounds halves to even
        counts.append(count)
        left -= count
    return [count for count in counts if count]


SCHEDULES: dict[str, Callable[[int, int, int], list[int]]] = {
    "base-remainder": base_remainder,
    "linear-round": linear_round,
}
"""Name in the decode contract to function of (masks in the block, block size, steps)."""

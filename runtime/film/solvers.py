"""Update rules of latent diffusion as rows of one table: from noise levels to the constants of a linear rule.

With x the latents at a step, v_k the velocities of the steps so far and e fresh noise, every one of them is
x' = a_s x + sum over k <= s of c_sk v_k + b_s e. Exporters call these; the loop only reads the constants. Float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .contract import StepList

__all__ = ["RULES", "step_list"]

Rule = tuple[tuple[float, ...], tuple[tuple[float, ...], ...], tuple[float, ...]]
"""Constants a `[S]`, c `[S]` rows of s + 1, b `[S]`."""


def step_list(rule: str, timesteps: Sequence[float], sigmas: Sequence[float]) -> StepList:
    """The steps of a block under a rule of the table. `sigmas` has one more number than `timesteps`, the last 0."""
    if rule not in RULES:
        raise ValueError(f"rule: got {rule!r}, expected one of {', '.join(RULES)}")
    keep, velocity, noise = RULES[rule][1](tuple(map(float, sigmas)))
    return StepList(tuple(map(float, timesteps)), tuple(map(float, sigmas)), keep, velocity, noise)


def dmd(sigmas: Sequence[float]) -> Rule:
    """Distilled steps with fresh noise: x0 = x - s v, then x' = (1 - s') x0 + s' e (Yin et al. 2024, eq. 3)."""
    pairs = list(pairwise(sigmas))
    last = tuple(-(1 - after) * now for now, after in pairs)
    return tuple(1 - after for _, after in pairs), _diagonal(last), tuple(after for _, after in pairs)


def euler(sigmas: Sequence[float]) -> Rule:
    """Euler's method, or a flow map's jump: x' = x - (s - s') v."""
    last = tuple(after - now for now, after in pairwise(sigmas))
    return (1.0,) * len(last), _diagonal(last), (0.0,) * len(last)


def unipc(sigmas: Sequence[float]) -> Rule:
    """UniPC of order 2 with B2(h), predicting x0, the last step of order 1 (Zhao et al. 2023, algorithms 5 and 6).

    The algorithm is run on coefficients instead of numbers: column 0 is the first x, column 1 + k is v_k. The network
    sees x before the corrector changes it, so x0 of step s is that x less s v_s.
    """
    if sigmas[0] >= 1:
        raise ValueError(f"sigmas: unipc takes noise levels below 1: got {sigmas[0]:g}, whose logarithm is infinite")
    steps = len(sigmas) - 1
    rows = np.eye(steps + 1)
    seen, before, x0 = rows[0], rows[0], []
    made = [seen]
    for s in range(steps):
        x0.append(seen - sigmas[s] * rows[1 + s])
        # The corrector goes again from the step before to this one, now with this one's x0.
        state = _corrected(sigmas, s, before, x0) if s else seen
        before, seen = state, _predicted(sigmas, s, state, x0)
        made.append(seen)
    moved = np.diff(np.stack(made), axis=0)
    velocity = tuple(tuple(float(c) for c in moved[s, 1 : s + 2]) for s in range(steps))
    return (1.0,) * steps, velocity, (0.0,) * steps


def _diagonal(last: Sequence[float]) -> tuple[tuple[float, ...], ...]:
    return tuple((*(0.0,) * s, value) for s, value in enumerate(last))


def _level(sigma: float) -> float:
    """Logarithm of signal to noise."""
    return math.inf if sigma == 0 else math.log(1 - sigma) - math.log(sigma)


def _base(
    sigmas: Sequence[float], s: int, x: NDArray[np.float64], x0: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float, float, float]:
    """The exponential integrator's step of order 1 from s to s + 1; then h, alpha B(h), and phi_1."""
    now, after = sigmas[s], sigmas[s + 1]
    h = _level(after) - _level(now)
    phi = math.expm1(-h)
    return (after / now) * x - (1 - after) * phi * x0, h, (1 - after) * phi, phi


def _ratio(sigmas: Sequence[float], s: int, h: float) -> float:
    """Length of the step before, in lengths h of the step from s, with a minus."""
    return (_level(sigmas[s - 1]) - _level(sigmas[s])) / h


def _predicted(
    sigmas: Sequence[float], s: int, x: NDArray[np.float64], x0: Sequence[NDArray[np.float64]]
) -> NDArray[np.float64]:
    made, h, weight, _ = _base(sigmas, s, x, x0[s])
    if s == 0 or s == len(sigmas) - 2:
        return made
    slope = (x0[s - 1] - x0[s]) / _ratio(sigmas, s, h)
    return made - weight * 0.5 * slope


def _corrected(
    sigmas: Sequence[float], s: int, x: NDArray[np.float64], x0: Sequence[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """The latents of step s once more from step s - 1, now with its own x0; of order 2 from step 2 on."""
    made, h, weight, phi = _base(sigmas, s - 1, x, x0[s - 1])
    change = x0[s] - x0[s - 1]
    if s == 1:
        return made - weight * 0.5 * change
    # The two unknowns of the order conditions: rows [1, 1] and [r, 1], sides b_1 and b_2.
    r = _ratio(sigmas, s - 1, h)
    b1 = (phi / -h - 1) / phi
    b2 = ((phi / -h - 1) / -h - 0.5) * 2 / phi
    first, second = np.linalg.solve(np.array([[1.0, 1.0], [r, 1.0]]), np.array([b1, b2]))
    slope = (x0[s - 2] - x0[s - 1]) / r
    corrected: NDArray[np.float64] = made - weight * (first * slope + second * change)
    return corrected


RULES: dict[str, tuple[str, Callable[[Sequence[float]], Rule]]] = {
    "dmd": ("the clean latents as predicted, with fresh noise of the next level", dmd),
    "euler": ("along the velocity to the next level; the jump of a flow map is the same", euler),
    "unipc": ("UniPC of order 2 with B2(h): predictor and corrector over two steps", unipc),
}
"""Name to meaning and function; the function takes S + 1 noise levels."""

"""Noise levels of a step list of any length, by a curve of a table: what a scheduler calls its sigmas.

Exporters call these for the lists that a bundle holds, and the runtime for another count of steps. In float64, rounded
to float32 at the end as schedulers hold them. Knows no latents.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..schema import bounds

__all__ = ["CURVES", "Sampler", "levels"]

LOGARITHM = 1e-6
"""Distance that the first level keeps from 1, whose signal has no logarithm."""


@dataclass(frozen=True)
class Sampler:
    """A curve, its settings, and the update rule of its steps."""

    curve: str
    rule: str
    shift: float = field(default=1.0, metadata=bounds(1e-6, 1e6))
    """Warp of the flow's levels s: shift s / (1 + (shift - 1) s)."""
    high: float = field(default=1.0, metadata=bounds(0, 1e9))
    low: float = field(default=0.0, metadata=bounds(0, 1e9))
    """First and last level of the Karras curve, as noise over signal."""
    trained: int = field(default=1000, metadata=bounds(1, 1 << 20))
    """Timesteps of the whole range; timesteps are cut to whole numbers, levels are not."""

    def __post_init__(self) -> None:
        if self.curve not in CURVES:
            raise ValueError(f"curve: got {self.curve!r}, expected one of {', '.join(CURVES)}")


def levels(sampler: Sampler, count: int) -> tuple[list[float], list[float]]:
    """`count` timesteps, and `count + 1` noise levels, the last of them 0."""
    sigmas = CURVES[sampler.curve][1](sampler, count)
    timesteps = (sigmas * sampler.trained).astype(np.int64)
    return [float(t) for t in timesteps], [*(float(s) for s in sigmas.astype(np.float32)), 0.0]


def _native(sampler: Sampler, count: int) -> NDArray[np.float64]:
    """Evenly from 1 - 1 / trained to 0, which is left out."""
    return _warped(np.linspace(1 - 1 / sampler.trained, 0, count + 1)[:-1], sampler.shift)


def _flow(sampler: Sampler, count: int) -> NDArray[np.float64]:
    """Evenly from 1 to 1 / trained, which is left out."""
    return _warped(np.linspace(1, 1 / sampler.trained, count + 1)[:-1], sampler.shift)


def _karras(sampler: Sampler, count: int) -> NDArray[np.float64]:
    """Evenly in the 7th root of noise over signal k (Karras et al. 2022), then k / (k + 1)."""
    root = 1 / 7.0
    high, low = sampler.high**root, sampler.low**root
    k = (high + np.linspace(0, 1, count) * (low - high)) ** 7.0
    made: NDArray[np.float64] = k / (k + 1)
    return made


def _warped(s: NDArray[np.float64], shift: float) -> NDArray[np.float64]:
    sigmas: NDArray[np.float64] = shift * s / (1 + (shift - 1) * s)
    if abs(sigmas[0] - 1) < LOGARITHM:
        sigmas[0] -= LOGARITHM
    return sigmas


CURVES: dict[str, tuple[str, Callable[[Sampler, int], NDArray[np.float64]]]] = {
    "native_flow": ("evenly from 1 - 1 / trained, warped by the shift", _native),
    "flow": ("evenly from 1, warped by the shift", _flow),
    "karras_flow": ("Karras's levels as shares of noise, without a warp", _karras),
}
"""Name to meaning and function, which gives the levels without the last 0."""

"""Shares and ratios with their 95 % intervals. Knows numbers alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["Rate", "ratio", "wilson"]

Z = 1.96


def wilson(hits: float, count: float) -> tuple[float, float]:
    """The interval of a share (Wilson 1927): within [0, 1], also where all or none hit."""
    if not count:
        return 0.0, 1.0
    share, z2 = hits / count, Z * Z / count
    middle, half = share + z2 / 2, Z * math.sqrt(share * (1 - share) / count + z2 / count / 4)
    return max(0.0, (middle - half) / (1 + z2)), min(1.0, (middle + half) / (1 + z2))


class Rate:
    """Hits of a count, growing."""

    def __init__(self) -> None:
        self.hits = self.count = 0

    def add(self, hits: int, count: int = 1) -> None:
        """So many more."""
        self.hits, self.count = self.hits + int(hits), self.count + int(count)

    @property
    def share(self) -> float:
        """Hits over count; 1 of nothing."""
        return self.hits / self.count if self.count else 1.0

    @property
    def interval(self) -> tuple[float, float]:
        """Interval of the share."""
        return wilson(self.hits, self.count)


def ratio(pairs: Sequence[tuple[float, float]], draws: int = 500) -> tuple[float, tuple[float, float]]:
    """Sum of the firsts over sum of the seconds, with its bootstrap interval over pairs."""
    both = np.asarray(pairs, np.float64)
    chance = np.random.default_rng(0)
    picked = both[chance.integers(0, len(both), (draws, len(both)))].sum(1)
    low, high = np.quantile(picked[:, 0] / picked[:, 1], [0.025, 0.975])
    first, second = both.sum(0)
    return float(first / second), (float(low), float(high))

"""Strata to one scale: named choices of the largest magnitude that a format shall keep.

Rows of a prompt outnumber those of a denoising step by far, and rows of a late step are not like those of an early
one; a rule that pools them all asks what is good for the prompt. Here each stratum has one voice, whatever its size.
Knows histograms and formats; not layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ..collect.histogram import Histogram
from .number_formats import Format

__all__ = ["MERGES", "error", "limit"]

KEPT = 0.9999
"""Share of each stratum that `percentile` does not clip."""

CANDIDATES = 2.0 ** (-np.arange(96) / 8)
"""Shares of the largest magnitude that `mse` tries: down to 1/4096."""

Strata = Mapping[str, Histogram]


def _absmax(strata: Strata, _: Format) -> float:
    return max(h.largest for h in strata.values())


def _percentile(strata: Strata, _: Format) -> float:
    return max(h.quantile(KEPT) for h in strata.values())


def _mse(strata: Strata, form: Format) -> float:
    tried = _absmax(strata, form) * CANDIDATES
    # The first of equals: the one that clips least.
    return float(tried[int(np.argmin([error(strata, form, limit) for limit in tried]))])


MERGES: dict[str, tuple[Callable[[Strata, Format], float], str]] = {
    "absmax": (_absmax, "the largest magnitude of all strata: nothing is clipped"),
    "percentile": (_percentile, f"the largest that any stratum asks for to keep {KEPT:.2%} of its own values"),
    "mse": (_mse, "the least squared error, each stratum's in shares of its own power and all strata alike"),
}


def limit(strata: Strata, form: Format, merge: str) -> float:
    """The largest magnitude to keep; 0 where nothing but zeros came."""
    filled = {name: h for name, h in strata.items() if h.largest > 0}
    return MERGES[merge][0](filled, form) if filled else 0.0


def error(strata: Strata, form: Format, limit: float) -> float:
    """Expected squared error in shares of the power, mean over the strata."""
    shares = [
        float(h.counts @ form.noise(h.magnitudes, limit)) / max(h.count * h.power(), 1e-300)
        for h in strata.values()
        if h.largest > 0
    ]
    return float(np.mean(shares)) if shares else 0.0

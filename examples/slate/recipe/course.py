"""What is trained when: two stages, and how each of them grows harder. Pure functions of the progress in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

__all__ = ["STAGES", "Budget", "Now", "Plan", "greatest_difficulty", "now"]

STAGES = ("ar", "adapt", "both")


@dataclass(frozen=True)
class Plan:
    """The choices of a run; they are kept with its state, so that it is resumed as it was begun."""

    stage: str = "both"
    ar_share: float = 0.5
    """Share of the budget that `both` gives the autoregressive stage."""
    batch: int = 32
    draws: int = 2
    """Noisy copies of an answer beside its clean one."""
    rate: float = 0.015
    """Muon's learning rate at its peak; AdamW's is a tenth of it."""
    d_start: float = 0.3
    d_end: float = 1.0
    """The greatest difficulty at the beginning and from `d_full` of the budget on."""
    d_full: float = 0.6
    stream: str = "train"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise ValueError(f"stage: got {self.stage!r}, expected one of {', '.join(STAGES)}")


@dataclass(frozen=True)
class Budget:
    """How long a run is: so many samples, or so many minutes of training."""

    samples: int | None = None
    minutes: float | None = None

    def progress(self, seen: int, seconds: float) -> float:
        """In [0, 1]; 1 is the end."""
        shares = []
        if self.samples is not None:
            shares.append(seen / self.samples)
        if self.minutes is not None:
            shares.append(seconds / (60 * self.minutes))
        if not shares:
            raise ValueError("got a budget of nothing, expected samples or minutes; give --samples or --minutes")
        return min(max(shares), 1.0)


@dataclass(frozen=True)
class Now:
    """What one step trains."""

    stage: str
    block: int
    high: float
    """The greatest mask rate of a block that is not all masks."""
    full: float
    """Share of blocks that are all masks."""
    rate: float


def now(plan: Plan, progress: float) -> Now:
    """The step at this progress."""
    border = {"ar": 1.0, "adapt": 0.0, "both": plan.ar_share}[plan.stage]
    if progress < border or border == 1:
        return Now("ar", 1, 1.0, 1.0, plan.rate * _rate(progress / border, 0.15))
    share = (progress - border) / (1 - border)
    block, within = _block(share)
    high = min(0.5 + 1.5 * within, 1.0)  # noise grows over the first third of each block size
    return Now("adapt", block, high, 0.3, 0.8 * plan.rate * _rate(share, 0.02))


def greatest_difficulty(plan: Plan, progress: float) -> float:
    """Of the samples at this progress."""
    return plan.d_start + (plan.d_end - plan.d_start) * min(progress / plan.d_full, 1.0)


def _block(share: float) -> tuple[int, float]:
    """The block size at this share of the adaptation, and how far its own time has run."""
    steps = ((0.0, 1), (0.08, 2), (0.16, 4), (0.28, 8), (1.0, 8))
    for (start, block), (end, _) in pairwise(steps):
        if share < end:
            return block, (share - start) / (end - start)
    return 8, 1.0


def _rate(share: float, last: float) -> float:
    """Up over the first 2 %, level to the middle, then straight down to `last`."""
    if share < 0.02:
        return max(share / 0.02, 0.05)
    return 1.0 if share < 0.4 else 1.0 - (1.0 - last) * (share - 0.4) / 0.6

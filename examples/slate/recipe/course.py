"""What is trained when: two stages, and how each of them grows harder. Pure functions of the progress in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

__all__ = ["STAGES", "Budget", "Now", "Plan", "greatest_difficulty", "now"]

STAGES = ("look", "ar", "adapt")
"""The vision tower alone, on what its patches show; then autoregressive; then block diffusion."""


@dataclass(frozen=True)
class Plan:
    """The choices of a run; they are kept with its state, so that it is resumed as it was begun."""

    stages: tuple[str, ...] = STAGES
    shares: tuple[float, ...] = (0.2, 0.4, 0.4)
    """Of the budget, by stage."""
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
    path: str = ""
    """The one drawing path that samples come from; empty for all."""

    def __post_init__(self) -> None:
        unknown = set(self.stages) - set(STAGES)
        if unknown or not self.stages:
            raise ValueError(f"stages: got {', '.join(self.stages) or 'none'}, expected some of {', '.join(STAGES)}")
        if len(self.shares) != len(self.stages) or min(self.shares) <= 0:
            raise ValueError(f"shares: got {self.shares}, expected {len(self.stages)} above 0, one for each stage")


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
    stage, share = _stage(plan, progress)
    if stage == "look":
        return Now("look", 1, 1.0, 1.0, plan.rate * min(1.0, max(share / 0.02, 0.05)))
    if stage == "ar":
        return Now("ar", 1, 1.0, 1.0, plan.rate * _rate(share, 0.15))
    block, within = _block(share)
    high = min(0.5 + 1.5 * within, 1.0)  # noise grows over the first third of each block size
    return Now("adapt", block, high, 0.3, 0.8 * plan.rate * _rate(share, 0.02))


def greatest_difficulty(plan: Plan, progress: float) -> float:
    """Of the samples at this progress."""
    return plan.d_start + (plan.d_end - plan.d_start) * min(progress / plan.d_full, 1.0)


def _stage(plan: Plan, progress: float) -> tuple[str, float]:
    """The stage at this progress, and how far it has run."""
    begin, total = 0.0, sum(plan.shares)
    for stage, part in zip(plan.stages, plan.shares, strict=True):
        share = (progress - begin) / (part / total)
        if share < 1:
            return stage, share
        begin += part / total
    return plan.stages[-1], 1.0


def _block(share: float) -> tuple[int, float]:
    """The block size at this share of the adaptation, and how far its own time has run."""
    steps = ((0.0, 1), (0.04, 2), (0.08, 4), (0.14, 8), (1.0, 8))
    for (start, block), (end, _) in pairwise(steps):
        if share < end:
            return block, (share - start) / (end - start)
    return 8, 1.0


def _rate(share: float, last: float) -> float:
    """Up over the first 2 %, level to the middle, then straight down to `last`."""
    if share < 0.02:
        return max(share / 0.02, 0.05)
    return 1.0 if share < 0.4 else 1.0 - (1.0 - last) * (share - 0.4) / 0.6

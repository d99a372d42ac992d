"""The evaluation sets: named, fixed by seed, disjoint from training's stream. Knows nothing of models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .frame import Sample, sample

__all__ = ["SETS", "Set", "frames"]


@dataclass(frozen=True)
class Set:
    """How hard a set is, and what is special about it."""

    low: float
    high: float
    held_out: bool = False
    """Drawn in typefaces that training never sees."""
    without: float = 0.0
    """Share of frames that show no slate."""


SETS = {
    "easy": Set(0.0, 0.25),
    "medium": Set(0.25, 0.55),
    "hard": Set(0.55, 1.0),
    "held-out fonts": Set(0.25, 0.55, held_out=True),
    "no slate": Set(0.0, 1.0, without=1.0),
}


def frames(name: str, count: int) -> Iterator[Sample]:
    """The first `count` frames of a set; the difficulty runs evenly through its range whatever the count.

    Raises KeyError for an unknown name.
    """
    if name not in SETS:
        raise KeyError(f"no evaluation set {name!r}; there are {', '.join(SETS)}")
    chosen = SETS[name]
    for index in range(count):
        share = index * 0.6180339887498949 % 1
        d = chosen.low + (chosen.high - chosen.low) * share
        yield sample(f"evaluation/{name}", index, d, chosen.without, chosen.held_out)

"""Sizes that an engine is built for: an optimization profile, by the names of the graph's dynamic axes.

Knows axes by name, not what they stand for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .errors import EngineError

__all__ = ["Profile", "Range", "fitting"]


@dataclass(frozen=True)
class Range:
    """Sizes of one axis."""

    low: int
    best: int
    """The size that kernels are chosen for."""
    high: int

    def __contains__(self, size: object) -> bool:
        return isinstance(size, int) and self.low <= size <= self.high


@dataclass(frozen=True)
class Profile:
    """A range for every dynamic axis of a graph."""

    name: str
    axes: dict[str, Range]

    def corners(self, shape: Sequence[int | str]) -> tuple[tuple[int, ...], ...]:
        """The smallest, best and largest of a shape. Raises EngineError for an axis that has no range."""
        unknown = [axis for axis in shape if isinstance(axis, str) and axis not in self.axes]
        if unknown:
            has = ", ".join(self.axes)
            raise EngineError(f"profile {self.name!r} has no range for axis {unknown[0]!r}; it has {has}")
        ranges = [self.axes[a] if isinstance(a, str) else Range(a, a, a) for a in shape]
        return tuple(r.low for r in ranges), tuple(r.best for r in ranges), tuple(r.high for r in ranges)

    def fits(self, sizes: Mapping[str, int]) -> bool:
        """Every axis is within its range."""
        return all(size in self.axes[axis] for axis, size in sizes.items() if axis in self.axes)


def fitting(profiles: Iterable[Profile], sizes: Mapping[str, int]) -> int | None:
    """Index of the first profile that fits."""
    return next((i for i, profile in enumerate(profiles) if profile.fits(sizes)), None)

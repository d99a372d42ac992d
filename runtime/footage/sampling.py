"""Frames of a clip that are read: some of each shot, more where slates stand. Knows indices and seconds, no files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..inputs.windows import WINDOWS
from ..schema import bounds

__all__ = ["CAPTIONS", "SLATES", "Sampling", "moments"]


@dataclass(frozen=True)
class Sampling:
    """Settings of how densely clips are looked at."""

    detector: str = "adaptive"
    """Way to find shots: a name of `shots.DETECTORS`."""
    shortest: float = field(default=0.3, metadata=bounds(0, 3600))
    """Seconds that a shot lasts at least."""
    per_shot: int = field(default=1, metadata=bounds(1, 1000))
    """Frames that are read of each shot, evenly."""
    head: float = field(default=0.0, metadata=bounds(0, 86_400))
    """Seconds at a clip's beginning that are read closely."""
    tail: float = field(default=0.0, metadata=bounds(0, 86_400))
    """And at its end."""
    every: float = field(default=0.5, metadata=bounds(0.01, 3600))
    """Seconds from one frame that is read closely to the next."""

    looks: int = field(default=1, metadata=bounds(1, len(WINDOWS)))
    """Looks at a frame of whose slate its shot is not sure: at all of it, then at windows of it."""


SLATES = Sampling(per_shot=3, head=12.0, tail=12.0, looks=3)
"""A board is held up for a second or two, within some seconds of a clip's beginning or end."""

CAPTIONS = Sampling()
"""A shot looks much the same from its beginning to its end."""


def moments(shots: Sequence[tuple[int, int]], seconds: NDArray[np.float64], sampling: Sampling) -> list[int]:
    """Indices of the frames to read, rising.

    `shots` are first frames and those behind the last; `seconds` `[frames + 1]` is when each frame begins, and when the
    last one ends.
    """
    places = (np.arange(sampling.per_shot) + 0.5) / sampling.per_shot
    chosen = {int(first + place * (end - first)) for first, end in shots for place in places}
    end = seconds[-1]
    near = [np.arange(0, min(sampling.head, end), sampling.every)]
    near += [np.arange(max(0.0, end - sampling.tail), end, sampling.every)] if sampling.tail else []
    chosen |= {int(index) for wanted in near for index in np.searchsorted(seconds, wanted)}
    return sorted(index for index in chosen if index < len(seconds) - 1)

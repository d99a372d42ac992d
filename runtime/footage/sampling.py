"""Settings of which frames of a clip are read: some of each shot, more where slates stand. Knows no files."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..inputs.windows import WINDOWS
from ..schema import bounds

__all__ = ["CAPTIONS", "SLATES", "Sampling"]


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


SLATES = Sampling(per_shot=3, head=12.0, tail=12.0, looks=5)
"""A board is held up for a second or two, within some seconds of a clip's beginning or end."""

CAPTIONS = Sampling()
"""A shot looks much the same from its beginning to its end."""

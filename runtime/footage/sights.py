"""Findings of a study of a clip: its facts and shots first, then the frames to read. Plain data; made by `scan.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .clip import Facts

__all__ = ["Fit", "Meter", "Sight", "Survey"]

Fit: TypeAlias = "Callable[[NDArray[np.uint8]], NDArray[np.uint8]]"
"""A frame `[H, W, 3]` to the size that it is kept in until it is read."""


@dataclass(frozen=True)
class Survey:
    """A clip's facts and shots."""

    facts: Facts
    shots: tuple[tuple[float, float], ...]
    """Beginning and end of each, in seconds."""
    sights: int
    """Frames that come next."""


@dataclass(frozen=True)
class Sight:
    """A frame to read."""

    shot: int
    """Index of its shot."""
    seconds: float
    picture: NDArray[np.uint8]
    """[H, W, 3] RGB, as large as looks at it can use."""
    thumbnail: bytes
    """A small JPEG."""
    tail: bool
    """It lies where an end board may stand."""


@dataclass
class Meter:
    """Progress of a study, written by its thread, and whether anybody wants the rest, written by the others."""

    share: float = 0.0
    """Share 0..1 of the pass over the clip in which shots are found."""
    cancelled: bool = False

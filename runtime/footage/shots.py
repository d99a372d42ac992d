"""Cuts between shots, found by PySceneDetect (BSD-3-Clause, https://www.scenedetect.com).

The one file that imports it. Cuts are found on small pictures, one after the other, so a clip's length costs no memory
but its time stamps. Knows pictures and their order; nothing of files, seconds or models.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..schema import Choices

__all__ = ["DETECTORS", "Scan", "scan"]


def _adaptive(shortest: int) -> Any:
    from scenedetect import AdaptiveDetector  # noqa: PLC0415 - takes a second, and the table is read for --help

    return AdaptiveDetector(min_scene_len=shortest)


def _content(shortest: int) -> Any:
    from scenedetect import ContentDetector  # noqa: PLC0415 - as above

    return ContentDetector(min_scene_len=shortest)


def _whole(shortest: int) -> None:
    del shortest


DETECTORS: Choices[Callable[[int], Any]] = Choices(
    (
        "adaptive",
        "a frame differs from the last one far more than its neighbours do: holds through camera moves",
        _adaptive,
    ),
    ("content", "a frame differs from the last one by more than a fixed amount", _content),
    ("whole", "no cuts are looked for: a clip is one shot", _whole),
)
"""Makers of a detector for shots of so many frames at least, by name; None where no cuts are looked for."""


@dataclass(frozen=True)
class Scan:
    """Findings of one pass over a clip."""

    stamps: array[int]
    """The time stamp of every frame, rising."""
    cuts: tuple[int, ...]
    """Indices of the frames that open a shot, the first one's 0 included."""

    @property
    def shots(self) -> list[tuple[int, int]]:
        """First frame of each shot, and the one behind its last."""
        return list(pairwise([*self.cuts, len(self.stamps)]))


def scan(frames: Iterable[tuple[int, NDArray[np.uint8]]], rate: Fraction, name: str, shortest: float) -> Scan:
    """Time stamps and cuts of `frames`: pairs of a time stamp and a small BGR picture. `shortest` is in seconds."""
    from scenedetect import FrameTimecode  # noqa: PLC0415 - as above

    finder = DETECTORS[name](max(1, round(shortest * rate)))
    stamps, cuts = array("q"), {0}
    for stamp, picture in frames:
        if finder is not None:
            cuts |= {cut.frame_num for cut in finder.process_frame(FrameTimecode(len(stamps), rate), picture)}
        stamps.append(stamp)
    if finder is not None and stamps:
        cuts |= {cut.frame_num for cut in finder.post_process(FrameTimecode(len(stamps) - 1, rate))}
    return Scan(stamps, tuple(sorted(cut for cut in cuts if cut < len(stamps))))

"""Files that frames are written to as they come: a table by ending. Knows neither codecs nor where frames come from."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import RequestError

__all__ = ["ENDINGS", "FrameWriter", "opened"]

ENDINGS = {
    ".mp4": "H.264, 8 bits 4:2:0: plays everywhere",
    ".mov": "ProRes 422 HQ, 10 bits: for editing",
    "": "a folder of numbered PNG files, without loss",
}
"""Ending of the path to what is written there."""


class FrameWriter(Protocol):
    """Somewhere that frames go, in order."""

    place: Path
    written: int
    """Frames so far."""

    def add(self, frames: NDArray[np.uint8]) -> None:
        """Write frames `[n, H, W, 3]`. Raises OSError where the disk is full; earlier frames stay readable."""

    def close(self) -> None:
        """Finish: what is there is whole now."""

    def keep(self) -> None:
        """End early: what is there stays, as far as it can be read."""


def opened(path: Path, height: int, width: int, fps: float, facts: str) -> FrameWriter:
    """A writer for `path`, by its ending. `facts`: one line of JSON about how the frames were made.

    Raises RequestError for another ending, and where the path is taken by something that this did not write.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        rows = "\n".join(f"  {name or 'no ending'}: {what}" for name, what in ENDINGS.items())
        raise RequestError(f"{path}: got the ending {ending!r}, expected one of\n{rows}")
    home = ".stills" if ending == "" else ".movie"
    made: FrameWriter = import_module(home, __package__).opened(path, height, width, fps, facts)
    return made

"""A folder of numbered PNG files, each there whole or not at all, and one file about how they were made."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ...engines.errors import RequestError
from ...engines.paths import written_whole

__all__ = ["FACTS", "Stills", "opened"]

FACTS = "film.json"
"""File in the folder that says how the frames were made, and by which the folder is known as one of ours."""

OURS = re.compile(r"\.?\d{6}\.png(\.\d+\.\d+\.partial)?")


class Stills:
    """`000000.png` and so on."""

    def __init__(self, folder: Path, facts: str) -> None:
        self.place, self.written = folder, 0
        self._info = PngInfo()
        self._info.add_itxt("a2d", facts)

    def add(self, frames: NDArray[np.uint8]) -> None:
        """See `FrameWriter.add`."""
        for frame in frames:
            with written_whole(self.place / f"{self.written:06}.png") as part:
                Image.fromarray(frame).save(part, format="PNG", compress_level=3, pnginfo=self._info)
            self.written += 1

    def close(self) -> None:
        """See `FrameWriter.close`."""

    def keep(self) -> None:
        """See `FrameWriter.keep`."""


def opened(path: Path, height: int, width: int, fps: float, facts: str) -> Stills:  # noqa: ARG001 - one table of writers
    """A writer of stills; frames of an earlier film in the folder are taken away.

    Raises RequestError where the folder holds anything else.
    """
    if path.is_file():
        raise RequestError(f"{path} is a file, expected a folder for frames, or a name that ends in .mp4 or .mov")
    path.mkdir(parents=True, exist_ok=True)
    inside = list(path.iterdir())
    strange = [one.name for one in inside if one.name != FACTS and not OURS.fullmatch(one.name)]
    if strange or (inside and not (path / FACTS).is_file()):
        shown = ", ".join(sorted(one.name for one in inside)[:3])
        raise RequestError(f"{path} holds {shown}, which no film has written; choose an empty folder")
    for one in inside:
        one.unlink()
    (path / FACTS).write_text(f"{facts}\n", encoding="utf-8")
    return Stills(path, facts)

"""The cut of filmed shots as an OpenTimelineIO timeline, by the same functions that write logs of footage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from ..footage.timecode import Timebase
from ..footage.writers.otio import clip_of, written

__all__ = ["pieces"]


class InCut(Protocol):
    """A clip that is there, and how much of it is in the cut."""

    @property
    def id(self) -> str: ...
    @property
    def file(self) -> str: ...
    @property
    def frames(self) -> int: ...
    @property
    def length(self) -> int: ...
    @property
    def prompt(self) -> str: ...
    @property
    def seed(self) -> int: ...


def pieces(name: str, base: Timebase, begin: int, folder: Path, shots: Sequence[InCut]) -> Iterator[str]:
    """The file, whole. A clip's media is its file with the handle, its range what is in the cut."""
    rate = float(base.rate)
    clips = [
        clip_of(
            shot.id,
            str(folder.resolve() / shot.file),
            (0, shot.frames, rate),
            (0, shot.length, rate),
            {"id": shot.id, "prompt": shot.prompt, "seed": shot.seed},
        )
        for shot in shots
    ]
    yield written(name, begin, rate, clips)

"""A cut as a CMX 3600 edit decision list: an event a clip, one behind the other. Knows frames and names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..console.lines import one_line
from ..footage.timecode import Timebase

__all__ = ["Cut", "pieces"]


@dataclass(frozen=True)
class Cut:
    """One clip in a cut."""

    id: str
    file: str
    """Name of the clip's file."""
    first: int
    """First frame of the clip that is shown."""
    length: int
    """Frames that are shown."""
    note: str
    """A comment: what the shot shows."""


def pieces(title: str, timebase: Timebase, begin: int, cuts: Sequence[Cut]) -> Iterator[str]:
    """The file, event by event; `begin` is the timeline's first frame."""
    yield f"TITLE: {one_line(title)[:70]}\r\nFCM: {'DROP' if timebase.drop else 'NON-DROP'} FRAME\r\n\r\n"
    at = begin
    for number, cut in enumerate(cuts, 1):
        edges = (cut.first, cut.first + cut.length, at, at + cut.length)
        codes = " ".join(timebase.text(frame) for frame in edges)
        yield f"{number:03}  {_reel(cut.id):<8} V     C        {codes}\r\n"
        yield f"* FROM CLIP NAME: {one_line(cut.file)}\r\n* COMMENT: {one_line(cut.note)[:200]}\r\n\r\n"
        at += cut.length


def _reel(name: str) -> str:
    """A reel's name, of eight letters and digits at most."""
    return "".join(char for char in name.upper() if char.isalnum())[:8] or "AX"

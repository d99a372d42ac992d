"""OUT.edl: a marker at the beginning of each shot, as a CMX 3600 list in the form that DaVinci Resolve exports and
imports (Timelines > Import > Timeline Markers from EDL): an event of one frame, and behind it a note with
`|C:colour |M:name |D:length`.

Its time codes are those of the timeline in OUT.otio, not those of the clips.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...console.lines import one_line
from .log import Log, Placed, label, read_text

__all__ = ["colour", "pieces"]

COLOURS = ((0.9, "Green"), (0.6, "Yellow"), (0.0, "Red"))
"""Confidence from which on a reading has a marker's colour."""

UNREAD = "Blue"


def pieces(log: Log) -> Iterator[str]:
    """The file, event by event."""
    yield f"TITLE: {_plain(log.name)}\r\nFCM: {'DROP' if log.timebase.drop else 'NON-DROP'} FRAME\r\n\r\n"
    for number, placed in enumerate(log.shots(), 1):
        begin, end = (log.timebase.text(placed.at + frame) for frame in (0, 1))
        yield f"{number:03}  001      V     C        {begin} {end} {begin} {end}\r\n"
        note = f" |C:ResolveColor{colour(placed)} |M:{_plain(label(placed))} |D:{max(1, placed.length)}"
        yield f"{_said(placed)}{note}\r\n\r\n"


def colour(placed: Placed) -> str:
    """A marker's colour by how sure the reading is; shots that no slate names and nothing is said of are blue."""
    namer = placed.slate or placed.shot
    if not namer.text or namer.text == "no slate":
        return UNREAD
    return next(name for least, name in COLOURS if namer.confidence >= least)


def _said(placed: Placed) -> str:
    """The reading, with how sure it is."""
    text = _plain(read_text(placed))[:200]
    return f"{text} ({100 * placed.shot.confidence:.0f} %)" if text else text


def _plain(text: str) -> str:
    """On one line, and without what divides a note's parts."""
    return one_line(text).replace("|", "/").strip()

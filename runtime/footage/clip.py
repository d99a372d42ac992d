"""Everything known of a clip: what its file says, its shots, and what was read on their frames. Frozen data.

Knows no media library and no model. Seconds count from the first frame that is shown; time codes follow from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..schema import bounds
from .timecode import EDITING, Timebase

__all__ = ["Clip", "Facts", "Look", "Shot", "Stamp", "certainty"]

DIGITS = 6
"""Decimals of seconds: a microsecond tells frames of any rate apart."""


@dataclass(frozen=True)
class Stamp:
    """Size and time of a clip's file, by which it is known to have changed."""

    size: int
    modified: int
    """In nanoseconds, as the file system says."""

    @staticmethod
    def of(path: Path) -> Stamp:
        """The file's, now. Raises OSError."""
        status = path.stat()
        return Stamp(status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class Facts:
    """Facts that a file states about its video."""

    width: int
    """In square pixels, as shown: turned upright, and widened where pixels are not square."""
    height: int
    rate: str
    """Frames a second as a fraction, `24000/1001`; of a variable rate, the one that time code counts at."""
    variable: bool
    """Frames do not come at equal distances."""
    start: int
    """Frames from 00:00:00:00 to the first one; 0 where the file has no time code."""
    drop: bool
    """Its time code is drop-frame."""
    timecode: bool
    """The file has a time code of its own."""
    frames: int
    seconds: float
    """From the first frame's beginning to the last one's end."""
    restarts: int = 0
    """Places where time stamps begin again, as where recordings were joined; they are counted on there."""
    hdr: str | None = None
    """The HDR curve, `PQ` or `HLG`, that pictures were brought down to SDR from."""

    @property
    def timebase(self) -> Timebase:
        """The timebase in which its time code counts."""
        return Timebase(Fraction(self.rate), self.drop)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Peculiarities that whoever counts on the log should know."""
        strange = self.timebase.rate not in EDITING
        many = f"{self.restarts} times" if self.restarts > 1 else "once"
        found = {
            f"{float(self.timebase.rate):.6g} frames a second, which no editing system counts at": strange,
            f"time stamps begin again {many}, and are counted on": self.restarts > 0,
            f"{self.hdr}, brought down to SDR": self.hdr is not None,
        }
        return tuple(remark for remark, holds in found.items() if holds)

    def frame(self, seconds: float) -> int:
        """The time code's frame so many seconds after the clip's beginning, counted from 00:00:00:00."""
        return self.start + self.timebase.frames(seconds)

    def at(self, seconds: float) -> dict[str, Any]:
        """A moment as people and programs ask for it: seconds into the clip, and time code."""
        return {"seconds": round(seconds, DIGITS), "timecode": self.timebase.text(self.frame(seconds))}


@dataclass(frozen=True)
class Look:
    """One frame that was read."""

    seconds: float
    text: str
    """Text that the model wrote."""
    confidence: float = field(metadata=bounds(0, 1))
    """Probability: of a slate, that of its least certain field; of other texts, the geometric mean over the tokens."""
    fields: dict[str, str] = field(default_factory=dict)
    """Texts of the slate by field; empty where there is none."""
    certainty: dict[str, float] = field(default_factory=dict)
    """For each field that a slate may have, the probability of what was read, its absence included."""
    turned: bool = False
    """It was read upside down, as an end board is held."""
    part: bool = False
    """It shows a part of the picture, in which fields that are on the slate may not be seen."""


@dataclass(frozen=True)
class Shot:
    """One shot, and what its frames say together."""

    start: float
    """In seconds."""
    end: float
    """In seconds; the next shot's start."""
    text: str = ""
    confidence: float = field(default=0.0, metadata=bounds(0, 1))
    fields: dict[str, str] = field(default_factory=dict)
    certainty: dict[str, float] = field(default_factory=dict)
    looks: tuple[Look, ...] = ()
    picture: str = ""
    """A small JPEG in base64."""

    def has_slate(self, least: float) -> bool:
        """True where a slate was read, and at least one of its fields as surely as `least`.

        A reader that is shown something like a board guesses; a shot of which it is sure of nothing has no slate.
        """
        return any(certainty(self, name) >= least for name in self.fields)


def certainty(read: Look | Shot, name: str) -> float:
    """The confidence of a field; of the whole reading, where none of its fields has one."""
    return read.certainty.get(name, read.confidence)


@dataclass(frozen=True)
class Clip:
    """One file of footage: its shots, or why there are none."""

    file: str
    """Its absolute path."""
    facts: Facts | None = None
    shots: tuple[Shot, ...] = ()
    fault: str | None = None
    passed_over: bool = False
    """It is no clip at all, as sound alone or camera raw is not; `fault` says what it is."""

    def named(self, least: float) -> Iterator[tuple[int, Shot, int | None]]:
        """Each shot by number from 1, with the number of the shot whose slate names it, None where none does.

        Only a slate of which something is as sure as `least` names shots: its own and those behind it up to the next
        slate; where a clip has none at its head, the first one names those before it as well, as an end board does.
        """
        slates = [number for number, shot in enumerate(self.shots, 1) if shot.has_slate(least)]
        for number, shot in enumerate(self.shots, 1):
            before = [slate for slate in slates if slate <= number]
            yield number, shot, before[-1] if before else next(iter(slates), None)

"""SMPTE time code: the number of a frame as hh:mm:ss:ff, and back. Counts frames; knows no files and no media.

Time code counts frames in whole numbers a second, whatever the real rate: 23.976 counts as 24, so its seconds are
longer than a clock's. Drop-frame (SMPTE ST 12-1) keeps 29.97 near the clock by skipping *numbers*, never frames: 00 and
01 of every minute that ten does not divide. Arithmetic is on fractions: a day of 23.976 ends on the right frame.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

__all__ = ["EDITING", "Timebase", "drops", "editing_rate", "nearest_rate"]

DAY = 24 * 60 * 60

NTSC = Fraction(1000, 1001)
"""Factor by which the rates of American television fall short of whole numbers."""

RATES = tuple(Fraction(whole) * factor for whole in (24, 30, 48, 60, 72, 96, 120) for factor in (1, NTSC))
"""Rates of cameras that are no plain whole numbers, with their whole ones."""

EDITING = tuple(sorted([*RATES, Fraction(25), Fraction(50), Fraction(100)]))
"""Rates at which editing systems count, lowest first."""

ROUNDING = Fraction(1, 1000)
"""Share of a rate by which a header's rounding may miss it."""

FASTEST = 240
"""Above this a rate in a file's header is the clock of its time stamps, not a rate of frames."""

_FORM = re.compile(r"(\d{1,2}):(\d{2}):(\d{2})([:;.,])(\d{2,3})")


def nearest_rate(rate: Fraction) -> Fraction:
    """The rate at which time code counts footage whose frames come at about `rate` a second."""
    if not 0 < rate <= FASTEST:
        raise ValueError(f"got {rate} frames a second, expected more than 0 and at most {FASTEST}")
    whole = Fraction(max(1, math.floor(rate + Fraction(1, 2))))
    exact = rate < EDITING[0] or abs(whole - rate) <= ROUNDING * rate
    candidates: Iterable[Fraction] = (*EDITING, whole) if exact else EDITING
    return min(candidates, key=lambda known: abs(known - rate))


def editing_rate(rate: Fraction) -> Fraction:
    """The rate at which an editing system counts footage whose frames usually come at `rate` a second.

    The nearest of `EDITING`; for slower footage, the lowest that shows each frame a whole number of times, if there is
    one. Raises ValueError as `nearest_rate` does.
    """
    nearest_rate(rate)
    near = min(EDITING, key=lambda known: abs(known - rate))
    repeats = (known for known in EDITING if abs(known / rate - round(known / rate)) <= ROUNDING * known / rate)
    return near if rate > EDITING[0] * Fraction(9, 10) else next(repeats, near)


def drops(rate: Fraction) -> bool:
    """True where drop-frame counting exists at this rate: 29.97 and its multiples."""
    return rate.denominator == NTSC.denominator and _whole(rate) % 30 == 0


@dataclass(frozen=True)
class Timebase:
    """A way to count frames."""

    rate: Fraction
    """Frames a second."""
    drop: bool = False
    """Drop-frame. Raises ValueError where the rate has none."""

    def __post_init__(self) -> None:
        if self.drop and not drops(self.rate):
            raise ValueError(f"got drop-frame at {self.rate} frames a second, expected 30000/1001 or a multiple of it")

    @property
    def counted(self) -> int:
        """Numbers that a second of time code has: 24 for 23.976."""
        return _whole(self.rate)

    @property
    def day(self) -> int:
        """Frames until time code starts again at zero."""
        return self.counted * DAY - self._skipped * (24 * 54)

    def frames(self, seconds: float | Fraction) -> int:
        """The frame nearest to so many seconds after frame 0."""
        return math.floor(Fraction(seconds) * self.rate + Fraction(1, 2))

    def text(self, frame: int) -> str:
        """Frame to `hh:mm:ss:ff`, with `;` before ff in drop-frame; a new day starts at zero."""
        minutes, rest = divmod(self._numbered(frame % self.day), 60 * self.counted)
        seconds, number = divmod(rest, self.counted)
        sign = ";" if self.drop else ":"
        return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{sign}{number:02}"

    def frame(self, text: str) -> int:
        """`hh:mm:ss:ff` to its frame. A number that drop-frame skips is the next one that there is.

        Raises ValueError for anything else, and for numbers that this rate does not have.
        """
        found = _FORM.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"got {text!r} as a time code, expected hh:mm:ss:ff")
        hours, minutes, seconds, number = (int(found[i]) for i in (1, 2, 3, 5))
        if hours > 23 or minutes > 59 or seconds > 59 or number >= self.counted:
            raise ValueError(f"got {text!r}, which no frame has at {self.counted} frames a second of time code")
        if self.drop and minutes % 10 and not seconds:
            number = max(number, self._skipped)
        minutes += 60 * hours
        return (60 * minutes + seconds) * self.counted + number - self._skipped * (minutes - minutes // 10)

    @property
    def _skipped(self) -> int:
        """Numbers skipped in a minute."""
        return self.counted // 15 if self.drop else 0

    def _numbered(self, frame: int) -> int:
        """The frame's number if no number were skipped."""
        if not self.drop:
            return frame
        minute = 60 * self.counted - self._skipped
        tens, rest = divmod(frame, 10 * minute + self._skipped)
        # The first minute of ten has all its numbers; each of the others starts behind those that it skips.
        later = max(0, (rest - self._skipped) // minute)
        return frame + self._skipped * (9 * tens + later)


def _whole(rate: Fraction) -> int:
    return math.floor(rate + Fraction(1, 2))

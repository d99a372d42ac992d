"""A whole log as writers see it: clips in order, and the one timeline on which all their shots stand. Knows no form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from ...console.lines import one_line
from ..clip import Clip, Facts, Shot
from ..slate import NO_SLATE, UNSURE, certainty, marked, value
from ..timecode import Timebase

__all__ = ["Log", "Placed", "Totals", "label", "named_by", "read_text"]


@dataclass(frozen=True)
class Placed:
    """A shot, its clip, and where it stands on the timeline."""

    clip: Clip
    facts: Facts
    number: int
    """In its clip, from 1."""
    shot: Shot
    slate: Shot | None
    """The shot whose slate names it."""
    slate_number: int | None
    at: int
    """First frame on the timeline, counted from 00:00:00:00."""
    length: int
    """Frames on the timeline."""
    least: float = 0.0
    """Confidence under which a reading names nothing."""


@dataclass(frozen=True)
class Totals:
    """Counts over all clips."""

    clips: int
    shots: int
    slates: int
    """Shots in which a slate was read, and something of it as surely as is asked for."""
    guesses: int
    """Shots in which something like a slate was seen, and nothing of it is sure."""
    unsure: int
    """Slates among them that are too uncertain to name a shot."""
    faults: tuple[Clip, ...]
    """Clips that could not be read."""
    passed_over: tuple[Clip, ...]
    """Files that are no clips: sound alone, camera raw."""
    timebase: Timebase
    """The way in which most of the footage counts its frames; 24 where there is none."""

    @property
    def doubts(self) -> str:
        """Doubts about the slates, to be written behind their number."""
        named = f", {self.unsure} of them too uncertain to name a shot" if self.unsure else ""
        seen = f"; something like a slate, and nothing sure of it, in {self.guesses} more" if self.guesses else ""
        return named + seen

    @staticmethod
    def of(clips: Iterable[Clip], least: float = 0.0) -> Totals:
        """Count. Slates that are less certain than `least` name nothing."""
        count = shots = slates = guesses = unsure = 0
        faults: list[Clip] = []
        passed_over: list[Clip] = []
        spent: dict[Timebase, float] = {}
        for clip in clips:
            if clip.passed_over:
                passed_over.append(clip)
                continue
            count, shots = count + 1, shots + len(clip.shots)
            read = [shot for shot in clip.shots if shot.has_slate(least)]
            slates, unsure = slates + len(read), unsure + sum(not _names(shot, least) for shot in read)
            guesses += sum(bool(shot.fields) for shot in clip.shots) - len(read)
            if clip.fault is not None:
                faults.append(clip)
            if clip.facts is not None:
                spent[clip.facts.timebase] = spent.get(clip.facts.timebase, 0.0) + clip.facts.seconds
        most = max(spent, key=lambda base: spent[base], default=Timebase(Fraction(24)))
        return Totals(count, shots, slates, guesses, unsure, tuple(faults), tuple(passed_over), most)


@dataclass(frozen=True)
class Log:
    """Clips in order, read as often as a writer wants them, one in memory at a time."""

    name: str
    clips: Callable[[], Iterator[Clip]]
    totals: Totals
    least: float = 0.0
    """Confidence under which a reading names nothing."""

    @property
    def timebase(self) -> Timebase:
        """Timebase of the timeline."""
        return self.totals.timebase

    @property
    def begin(self) -> int:
        """The timeline's first frame: timelines begin at an hour."""
        return self.timebase.frame("01:00:00:00")

    def shots(self) -> Iterator[Placed]:
        """All shots of clips that could be read, end to end on the timeline."""
        spent = Fraction(0)
        for clip in self.clips():
            if clip.facts is None:
                continue
            rate = clip.facts.timebase.rate
            for number, shot, slate in clip.named(self.least):
                first, last = clip.facts.frame(shot.start), clip.facts.frame(shot.end)
                at, spent = self.timebase.frames(spent), spent + (last - first) / rate
                yield Placed(
                    clip,
                    clip.facts,
                    number,
                    shot,
                    None if slate is None else clip.shots[slate - 1],
                    slate,
                    self.begin + at,
                    self.timebase.frames(spent) - at,
                    self.least,
                )


def named_by(placed: Placed) -> dict[str, str]:
    """The fields of the slate that names a shot.

    Uncertain ones bear a mark in the slate's own shot, and are left out of the shots that it names besides.
    """
    slate = placed.slate
    if slate is None:
        return {}
    own = placed.slate_number == placed.number
    texts = {name: value(slate, name, placed.least) for name in slate.fields}
    return {name: text for name, text in texts.items() if own or not text.startswith(UNSURE)}


def read_text(placed: Placed) -> str:
    """The text of a shot, with a mark before each part that is uncertain."""
    shot, least = placed.shot, placed.least
    if shot.fields:
        return marked(shot, least)
    return f"{UNSURE} {shot.text}" if shot.text and shot.confidence < least else shot.text


def label(placed: Placed) -> str:
    """A short name for people: `12A-3` by the slate, or else the beginning of what was read, or the shot's number.

    Nothing is named by a scene or take that is less certain than the log's least.
    """
    slate = placed.slate
    if slate is not None and _names(slate, placed.least):
        return "-".join(slate.fields.get(name, "?") for name in NAMING)
    text = one_line(read_text(placed))
    if slate is None and text and placed.shot.text != NO_SLATE:
        return text if len(text) <= 40 else f"{text[:39]}\u2026"
    return f"shot {placed.number}"


NAMING = ("scene", "take")
"""Fields that a shot is called by."""


def _names(slate: Shot, least: float) -> bool:
    """True for a slate whose scene and take, as far as they are on it, are certain enough to name shots."""
    named = [name for name in NAMING if name in slate.fields]
    return bool(named) and all(certainty(slate, name) >= least for name in named)

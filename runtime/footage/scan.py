"""One clip from its file to the frames that are to be read: shots first, then the pictures, as they are asked for.

Runs in a thread of its own beside the model. Knows media and shots; what is asked of the pictures is not known here.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...engines.errors import ClipError
from ..inputs.images import thumbnail
from .clip import DIGITS, Facts, Stamp
from .display import HDR
from .media import Media
from .sampling import Sampling
from .shots import Scan, scan
from .sights import Fit, Meter, Sight, Survey
from .timecode import EDITING, FASTEST, editing_rate

__all__ = ["moments", "study"]

THUMBNAIL = 320
"""Pixels of a thumbnail's longer side."""

SHORT = 0.98
"""Share of what a header promises below which a clip is cut short, and not just rounded."""


def study(path: Path, sampling: Sampling, fit: Fit, meter: Meter) -> Generator[Survey | Sight, None, None]:
    """The clip's survey, then its sights in rising order, opened for reading only.

    Raises ClipError for what is wrong with the file, OSError for what kept it from being read.
    """
    before = Stamp.of(path)
    with Media(path) as media:
        found = _scanned(media, sampling, meter)
        _check_whole(media, found)
        seconds, restarts = _seconds(media, found), media.restarts
        shots = tuple((float(seconds[first]), float(seconds[end])) for first, end in found.shots)
        wanted = moments(found.shots, seconds, sampling)
        yield Survey(_facts(media, seconds), shots, len(wanted))
    with Media(path) as media:
        for index, picture in zip(wanted, media.pictures([found.stamps[i] for i in wanted], not restarts), strict=True):
            shot = sum(first <= index for first in found.cuts) - 1
            tail = seconds[index] >= seconds[-1] - sampling.tail
            yield Sight(shot, float(seconds[index]), fit(picture), thumbnail(picture, THUMBNAIL), bool(tail))
    if Stamp.of(path) != before:
        raise ClipError(
            f"{path} changed while it was read, expected a finished file; run this again when its writer is done"
        )


def moments(shots: Sequence[tuple[int, int]], seconds: NDArray[np.float64], sampling: Sampling) -> list[int]:
    """Indices of the frames to read, rising.

    `shots` are first frames and those behind the last; `seconds` `[frames + 1]` is when each frame begins, and when the
    last one ends.
    """
    places = (np.arange(sampling.per_shot) + 0.5) / sampling.per_shot
    chosen = {int(first + place * (end - first)) for first, end in shots for place in places}
    end = seconds[-1]
    near = [np.arange(0, min(sampling.head, end), sampling.every)]
    near += [np.arange(max(0.0, end - sampling.tail), end, sampling.every)] if sampling.tail else []
    chosen |= {int(index) for wanted in near for index in np.searchsorted(seconds, wanted)}
    return sorted(index for index in chosen if index < len(seconds) - 1)


def _scanned(media: Media, sampling: Sampling, meter: Meter) -> Scan:
    promised = media.promised

    def watched() -> Iterator[tuple[int, NDArray[np.uint8]]]:
        first = None
        for stamp, picture in media.small():
            if meter.cancelled:
                raise ClipError(f"{media.path} was left before its end")
            first = stamp if first is None else first
            meter.share = min(1.0, media.seconds(stamp - first) / promised) if promised else 0.0
            yield stamp, picture

    found = scan(watched(), media.timebase.rate, sampling.detector, sampling.shortest)
    meter.share = 1.0
    return found


def _check_whole(media: Media, found: Scan) -> None:
    if not found.stamps:
        raise ClipError(f"{media.path} has a video in which no frame can be decoded, expected footage; copy it again")
    held = media.seconds(found.stamps[-1] - found.stamps[0]) + _held(media)
    if not media.restarts and held < SHORT * media.promised - 0.5:
        raise ClipError(
            f"{media.path} ends after {held:.1f} s, expected the {media.promised:.1f} s that its header promises: "
            "it is cut short or damaged; copy it again"
        )


def _seconds(media: Media, found: Scan) -> NDArray[np.float64]:
    """`[frames + 1]`: when each frame is shown first, in seconds from the first one, and when the last one ends."""
    stamps = np.asarray(found.stamps, np.int64)
    seconds = (stamps - stamps[0]) * media.seconds(1)
    return np.round(np.append(seconds, seconds[-1] + _held(media)), DIGITS)


def _held(media: Media) -> float:
    """Seconds for which the last frame is shown: as the file says, or else one frame of its rate."""
    return media.seconds(media.last_length) or float(1 / media.timebase.rate)


def _facts(media: Media, seconds: NDArray[np.float64]) -> Facts:
    base = media.timebase
    off = np.abs(seconds[:-1] * float(base.rate) - np.arange(len(seconds) - 1))
    variable = bool(off.max() > 0.6)  # rounding of time stamps stays below half a frame
    if variable and base.rate not in EDITING:
        base = media.counted_at(editing_rate(_usual_rate(seconds)))
    start = media.start(base)
    width, height = media.size
    return Facts(
        width=width,
        height=height,
        rate=str(base.rate),
        variable=variable,
        start=start or 0,
        drop=base.drop and start is not None,
        timecode=start is not None,
        frames=len(seconds) - 1,
        seconds=float(seconds[-1]),
        restarts=media.restarts,
        hdr=HDR[media.transfer][0] if media.transfer in HDR else None,
    )


def _usual_rate(seconds: NDArray[np.float64]) -> Fraction:
    """Frames a second by the usual distance between two: a telephone's late frames do not count."""
    usual = float(np.median(np.diff(seconds)))
    return Fraction(1 / usual).limit_denominator(10_000) if 0 < 1 / usual <= FASTEST else Fraction(FASTEST)

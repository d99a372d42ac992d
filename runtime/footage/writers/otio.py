"""OUT.otio: a timeline of all shots, one behind the other, with a marker on each and all that was read as metadata.

The one file that imports OpenTimelineIO. Clips point to the source by its URL and keep their own rate and time code;
the timeline counts as most of the footage does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import opentimelineio as otio

from ...console.lines import one_line
from ..clip import Facts
from .edl import colour
from .jsonl import line
from .log import Log, Placed, label

__all__ = ["clip_of", "pieces", "url", "written"]


def pieces(log: Log) -> Iterator[str]:
    """The file, whole: OpenTimelineIO writes it."""
    yield written(log.name, log.begin, float(log.timebase.rate), [_clip(placed) for placed in log.shots()])


def written(name: str, begin: int, rate: float, clips: Sequence[otio.schema.Clip]) -> str:
    """A timeline of clips one behind the other, as its file's text; `begin` is its first frame."""
    timeline = otio.schema.Timeline(one_line(name), global_start_time=otio.opentime.RationalTime(begin, rate))
    track = otio.schema.Track("shots", kind=otio.schema.TrackKind.Video)
    track.extend(clips)
    timeline.tracks.append(track)
    text: str = otio.adapters.write_to_string(timeline, "otio_json")
    return text


def clip_of(
    name: str, file: str, available: tuple[int, int, float], shown: tuple[int, int, float], facts: dict[str, Any]
) -> otio.schema.Clip:
    """A clip of a file: the frames that it has and those that are shown, each as first frame, count and rate."""
    media = otio.schema.ExternalReference(url(file), _frames(*available))
    media.name = one_line(Path(file).name)
    return otio.schema.Clip(name, media, _frames(*shown), metadata={"a2d": facts})


def _clip(placed: Placed) -> otio.schema.Clip:
    facts, shot = placed.facts, placed.shot
    title = f"{label(placed)} {one_line(Path(placed.clip.file).name)}"
    found = line(placed) | {"file": one_line(placed.clip.file)}
    shown = _range(facts, shot.start, shot.end)
    clip = clip_of(title, placed.clip.file, _range(facts, 0, facts.seconds), shown, found)
    whole = _frames(*shown)
    read = {name: found[name] for name in ("text", "fields", "confidence", "slate")}
    marker = otio.schema.Marker(label(placed), whole, color=colour(placed).upper(), metadata={"a2d": read})
    clip.markers.append(marker)
    return clip


def url(file: str) -> str:
    """A file's URL, byte for byte: names need not be UTF-8."""
    path = Path(file).as_posix()
    return "file://" + quote(os.fsencode(path if path.startswith("/") else f"/{path}"), safe="/:")


def _range(facts: Facts, start: float, end: float) -> tuple[int, int, float]:
    """First frame, count and rate."""
    first = facts.frame(start)
    return first, facts.frame(end) - first, float(facts.timebase.rate)


def _frames(first: int, count: int, rate: float) -> otio.opentime.TimeRange:
    time = otio.opentime.RationalTime
    return otio.opentime.TimeRange(time(first, rate), time(count, rate))

"""OUT.otio: a timeline of all shots, one behind the other, with a marker on each and all that was read as metadata.

The one file that imports OpenTimelineIO. Clips point to the source by its URL and keep their own rate and time code;
the timeline counts as most of the footage does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import opentimelineio as otio

from ...console.one_line import one_line
from ..clip import Facts
from .edl import colour
from .jsonl import line
from .log import Log, Placed, label

__all__ = ["pieces"]


def pieces(log: Log) -> Iterator[str]:
    """The file, whole: OpenTimelineIO writes it."""
    begin = otio.opentime.RationalTime(log.begin, float(log.timebase.rate))
    timeline = otio.schema.Timeline(one_line(log.name), global_start_time=begin)
    track = otio.schema.Track("shots", kind=otio.schema.TrackKind.Video)
    track.extend([_clip(placed) for placed in log.shots()])
    timeline.tracks.append(track)
    yield otio.adapters.write_to_string(timeline, "otio_json")


def _clip(placed: Placed) -> otio.schema.Clip:
    facts, shot = placed.facts, placed.shot
    name = one_line(Path(placed.clip.file).name)
    media = otio.schema.ExternalReference(url(placed.clip.file), _range(facts, 0, facts.seconds))
    media.name = name
    found = line(placed) | {"file": one_line(placed.clip.file)}
    clip = otio.schema.Clip(
        f"{label(placed)} {name}", media, _range(facts, shot.start, shot.end), metadata={"a2d": found}
    )
    whole = _range(facts, shot.start, shot.end)
    read = {name: found[name] for name in ("text", "fields", "confidence", "slate")}
    marker = otio.schema.Marker(label(placed), whole, color=colour(placed).upper(), metadata={"a2d": read})
    clip.markers.append(marker)
    return clip


def url(file: str) -> str:
    """A file's URL, byte for byte: names need not be UTF-8."""
    path = Path(file).as_posix()
    return "file://" + quote(os.fsencode(path if path.startswith("/") else f"/{path}"), safe="/:")


def _range(facts: Facts, start: float, end: float) -> otio.opentime.TimeRange:
    rate, first = float(facts.timebase.rate), facts.frame(start)
    time = otio.opentime.RationalTime
    return otio.opentime.TimeRange(time(first, rate), time(facts.frame(end) - first, rate))

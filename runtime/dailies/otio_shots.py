"""Shots of an OpenTimelineIO timeline: a clip each, its name and length, and prompt, seed and image as its metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import opentimelineio as otio

from ...engines.errors import RequestError

__all__ = ["rows"]


def rows(path: Path) -> list[dict[str, Any]]:
    """Rows by the columns of a shot list; of a clip without a prompt in metadata["a2d"], its first marker's name."""
    try:
        timeline = otio.adapters.read_from_file(str(path))
        clips = list(timeline.find_clips())
    except Exception as error:  # OpenTimelineIO raises what its JSON reader raises
        raise RequestError(f"{path} is no OpenTimelineIO timeline: {error}") from error
    faults: list[str] = []
    made = [_row(clip, faults) for clip in clips]
    if faults:
        raise RequestError("\n".join([f"{path}:", *(f"  {fault}" for fault in faults[:20])]))
    return made


def _row(clip: Any, faults: list[str]) -> dict[str, Any]:
    """One clip; what is wrong with it is added to `faults`."""
    said = clip.metadata.get("a2d") or {}
    if not hasattr(said, "items"):
        faults.append(f'clip {clip.name!r}: metadata["a2d"] is {said!r}, expected an object with prompt, seed, image')
        said = {}
    prompt = said.get("prompt") or (clip.markers[0].name if len(clip.markers) else "")
    try:
        length = clip.trimmed_range().duration.to_seconds()
    except Exception:  # OpenTimelineIO's own class, which its releases have moved
        faults.append(f"clip {clip.name!r}: has no length, neither a source range nor media with one; give it one")
        length = 0.0
    kept = {key: said[key] for key in ("seed", "image") if said.get(key) not in (None, "")}
    return {"id": said.get("id") or clip.name, "seconds": length, "prompt": prompt, **kept}

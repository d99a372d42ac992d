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
    return [_row(clip) for clip in clips]


def _row(clip: Any) -> dict[str, Any]:
    said = dict(clip.metadata.get("a2d", {}))
    prompt = said.get("prompt") or (clip.markers[0].name if len(clip.markers) else "")
    length = clip.trimmed_range().duration.to_seconds()
    kept = {key: said[key] for key in ("seed", "image") if said.get(key) not in (None, "")}
    return {"id": said.get("id") or clip.name, "seconds": length, "prompt": prompt, **kept}

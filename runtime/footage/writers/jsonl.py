"""OUT.jsonl: one JSON object a line for each shot. docs/log.md has its fields."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .log import Log, Placed, label

__all__ = ["line", "pieces"]


def pieces(log: Log) -> Iterator[str]:
    """The file, line by line."""
    for placed in log.shots():
        yield json.dumps(line(placed), ensure_ascii=not _whole(placed.clip.file)) + "\n"


def line(placed: Placed) -> dict[str, Any]:
    """One shot."""
    facts, shot = placed.facts, placed.shot
    return {
        "file": placed.clip.file,
        "shot": placed.number,
        "start": facts.at(shot.start),
        "end": facts.at(shot.end),
        "text": shot.text,
        "fields": shot.fields,
        "confidence": shot.confidence,
        "certainty": shot.certainty,
        "unsure": [name for name, p in shot.certainty.items() if p < placed.least],
        "label": label(placed),
        "slate": placed.slate_number,
        "frames": [
            {
                **facts.at(look.seconds),
                "text": look.text,
                "fields": look.fields,
                "confidence": look.confidence,
                "turned": look.turned,
                "part": look.part,
            }
            for look in shot.looks
        ],
        "rate": facts.rate,
        "drop_frame": facts.drop,
        "variable_rate": facts.variable,
        "timecode_in_file": facts.timecode,
        "width": facts.width,
        "height": facts.height,
    }


def _whole(name: str) -> bool:
    """Half characters, which a file name may have, are only written as JSON's escapes."""
    return not any("\ud800" <= char <= "\udfff" for char in name)

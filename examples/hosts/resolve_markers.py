"""An a2d log into DaVinci Resolve: a marker on the media pool's clips for every shot, scene and take as metadata.

Run it while Resolve runs, with its scripting module on the path (Help > Documentation > Developer says how):

    python resolve_markers.py logs/day1.jsonl

Markers carry `a2d:SHOT` as custom data, which Resolve does not show: a second run replaces them and leaves all others
as they are. Uses Python's standard library and Resolve's API (17 and later). Not run against a real Resolve by a2d's
tests: they use stand-ins for its objects.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

OURS = "a2d:"
COLOURS = ((0.9, "Green"), (0.6, "Yellow"), (0.0, "Red"))
METADATA = {"scene": "Scene", "take": "Take"}
"""A slate's field to Resolve's name for it."""


def shots(log: Path) -> dict[str, list[dict[str, Any]]]:
    """The log's shots by file."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with log.open(encoding="utf-8") as lines:
        for line in lines:
            shot = json.loads(line)
            found[shot["file"]].append(shot)
    return found


def items(folder: Any) -> Iterator[Any]:
    """All clips of the media pool's folder, and of those in it."""
    yield from folder.GetClipList()
    for inner in folder.GetSubFolderList():
        yield from items(inner)


def mark(item: Any, logged: list[dict[str, Any]]) -> int:
    """Write a clip's markers anew; returns how many there are now."""
    for data in [marker.get("customData", "") for marker in item.GetMarkers().values()]:
        if data.startswith(OURS):
            item.DeleteMarkerByCustomData(data)
    return sum(bool(add(item, shot, logged)) for shot in logged)


def add(item: Any, shot: dict[str, Any], logged: list[dict[str, Any]]) -> bool:
    """One marker. Where somebody's own marker stands, ours goes to the next frame: Resolve has one a frame."""
    rate = Fraction(shot["rate"])
    first, last = (round(shot[end]["seconds"] * rate) for end in ("start", "end"))
    taken = {int(frame) for frame in item.GetMarkers()}
    frame = next((frame for frame in range(first, max(last, first + 1)) if frame not in taken), None)
    slate = slate_of(shot, logged)
    colour = next(name for least, name in COLOURS if slate["confidence"] >= least) if slate["fields"] else "Blue"
    length = max(1, last - first)
    data = f"{OURS}{shot['shot']}"
    return frame is not None and item.AddMarker(frame, colour, name(shot, slate), shot["text"], length, data)


def slate_of(shot: dict[str, Any], logged: list[dict[str, Any]]) -> dict[str, Any]:
    """The shot whose slate names this one; itself where there is none."""
    return next((other for other in logged if other["shot"] == shot["slate"]), shot)


def name(shot: dict[str, Any], slate: dict[str, Any]) -> str:
    """What a marker is called: scene and take, or the shot's number."""
    fields = slate["fields"]
    return f"{fields.get('scene', '?')}-{fields.get('take', '?')}" if fields else f"shot {shot['shot']}"


def apply(project: Any, log: Path) -> tuple[int, list[str]]:
    """Mark every clip of the project that the log knows; returns markers set, and files that no clip has."""
    logged, marked = shots(log), 0
    for item in items(project.GetMediaPool().GetRootFolder()):
        path = item.GetClipProperty("File Path")
        if path not in logged:
            continue
        found = logged.pop(path)
        marked += mark(item, found)
        first = slate_of(found[0], found)
        for field, key in METADATA.items():
            if field in first["fields"]:
                item.SetMetadata(key, first["fields"][field])
    return marked, sorted(logged)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(f"expected a log: resolve_markers.py OUT.jsonl, got {len(arguments)} arguments", file=sys.stderr)
        return 2
    try:
        import DaVinciResolveScript as scripting  # noqa: PLC0415, N813 - Resolve's own module, where it runs
    except ImportError:
        print("DaVinciResolveScript is not on the path: see Resolve's Developer/Scripting/README.txt", file=sys.stderr)
        return 1
    resolve = scripting.scriptapp("Resolve")
    project = resolve and resolve.GetProjectManager().GetCurrentProject()
    if not project:
        print("Resolve is not running, or has no project open; open one and run this again", file=sys.stderr)
        return 1
    marked, missing = apply(project, Path(arguments[0]))
    print(f"{marked} markers" + "".join(f"\nnot in the media pool: {file}" for file in missing))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

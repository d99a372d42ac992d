"""An a2d log to Final Cut Pro 7 XML, which Premiere Pro and many others import: a sequence, a marker on each shot.

    python fcp7_xml.py logs/day1.jsonl day1.xml       then File > Import in Premiere Pro

Nothing but Python's standard library. Clips keep their own time code; the sequence counts as most of the footage does.
Not imported into a real Premiere by a2d's tests: OpenTimelineIO's adapter for this format reads it there.
"""

from __future__ import annotations

import json
import os
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import quote


def element(tag: str, /, *children: ET.Element | None, **texts: object) -> ET.Element:
    """An element: children, then those that hold a text."""
    made = ET.Element(tag)
    for key, text in texts.items():
        ET.SubElement(made, key).text = str(text)
    made.extend(child for child in children if child is not None)
    return made


def rate_of(rate: Fraction) -> ET.Element:
    """24000/1001 is a timebase of 24 and ntsc."""
    return element("rate", timebase=round(rate), ntsc="TRUE" if rate.denominator == 1001 else "FALSE")


def code(text: str, rate: Fraction) -> ET.Element:
    """A time code, and its frame counted from zero."""
    hours, minutes, seconds, frames = (int(part) for part in text.replace(";", ":").split(":"))
    whole, minutes = round(rate), 60 * hours + minutes
    dropped = whole // 15 * (minutes - minutes // 10) if ";" in text else 0
    frame = (60 * minutes + seconds) * whole + frames - dropped
    return element("timecode", rate_of(rate), string=text, frame=frame, displayformat="DF" if ";" in text else "NDF")


def frames(shot: dict[str, Any]) -> tuple[int, int]:
    """First frame of a shot in its file, and the one behind its last."""
    first, last = (round(shot[end]["seconds"] * Fraction(shot["rate"])) for end in ("start", "end"))
    return first, max(last, first + 1)


def source(number: int, shots: list[dict[str, Any]]) -> ET.Element:
    """A file, told once: its shots are all of it."""
    first, rate = shots[0], Fraction(shots[0]["rate"])
    size = element("samplecharacteristics", rate_of(rate), width=first["width"], height=first["height"])
    path = first["file"].replace("\\", "/")
    made = element(
        "file",
        rate_of(rate),
        code(first["start"]["timecode"], rate),
        element("media", element("video", size)),
        name=Path(first["file"]).name,
        pathurl="file://localhost" + quote(os.fsencode(path if path.startswith("/") else f"/{path}"), safe="/:"),
        duration=frames(shots[-1])[1],
    )
    made.set("id", f"file-{number}")
    return made


def title(shot: dict[str, Any], shots: list[dict[str, Any]]) -> str:
    """Scene and take of the slate that names the shot, or its number."""
    slate = next((other["fields"] for other in shots if other["shot"] == shot["slate"]), {})
    return f"{slate.get('scene', '?')}-{slate.get('take', '?')}" if slate else f"shot {shot['shot']}"


def item(
    number: int, shot: dict[str, Any], shots: list[dict[str, Any]], at: tuple[int, int], file: ET.Element
) -> ET.Element:
    """A shot on the sequence."""
    first, last = frames(shot)
    marker = element("marker", name=title(shot, shots), comment=shot["text"])
    marker.extend([element("in"), element("out")])
    marker[-2].text, marker[-1].text = str(first), "-1"
    made = element("clipitem", name=f"{title(shot, shots)} {Path(shot['file']).name}", duration=frames(shots[-1])[1])
    made.append(rate_of(Fraction(shot["rate"])))
    for key, frame in (("start", at[0]), ("end", at[1]), ("in", first), ("out", last)):
        ET.SubElement(made, key).text = str(frame)
    made.extend([file, marker])
    made.set("id", f"clipitem-{number}")
    return made


def sequence(name: str, shots: list[dict[str, Any]]) -> ET.Element:
    """The whole sequence."""
    files: dict[str, list[dict[str, Any]]] = {}
    spent: Counter[str] = Counter()
    for shot in shots:
        files.setdefault(shot["file"], []).append(shot)
        spent[shot["rate"]] += shot["end"]["seconds"] - shot["start"]["seconds"]
    rate = Fraction(spent.most_common(1)[0][0]) if spent else Fraction(24)
    track, at, number = element("track"), Fraction(0), 0
    for count, (_, found) in enumerate(files.items(), 1):
        for shot in found:
            first, last = frames(shot)
            ends = round(at * rate), round((at := at + (last - first) / Fraction(shot["rate"])) * rate)
            file = source(count, found) if shot is found[0] else element("file")
            file.set("id", f"file-{count}")
            number += 1
            track.append(item(number, shot, found, ends, file))
    start = code("01:00:00:00", rate)
    made = element(
        "sequence",
        rate_of(rate),
        start,
        element("media", element("video", track)),
        name=name,
        duration=round(at * rate),
    )
    made.set("id", "a2d")
    return made


def convert(log: Path, target: Path) -> int:
    """Write `target`; returns the number of shots."""
    with log.open(encoding="utf-8") as lines:
        shots = [json.loads(line) for line in lines]
    root = element("xmeml", sequence(log.stem, shots))
    root.set("version", "5")
    ET.indent(root)
    body = ET.tostring(root, encoding="unicode").encode("utf-8", "replace")
    target.write_bytes(b'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE xmeml>\n' + body + b"\n")
    return len(shots)


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print("expected a log and a name: fcp7_xml.py OUT.jsonl OUT.xml", file=sys.stderr)
        return 2
    print(f"{convert(Path(arguments[0]), Path(arguments[1]))} shots in {arguments[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""An a2d log into Blender's video sequencer: a strip for every shot, end to end, and a marker with its scene and take.

    blender edit.blend --python blender_sequencer.py -- logs/day1.jsonl
    blender --background --python blender_sequencer.py -- logs/day1.jsonl --save day1.blend

A strip knows its shot by a custom property. A second run renames what is there and leaves it where the editor has put
it, adds what is new behind it, and removes what is gone; strips and markers of others stay. Uses Blender's own Python
alone; tested with Blender 3.4 without a display.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import bpy

KEY = "a2d_shot"
CHANNEL = 1


def main(arguments: list[str]) -> None:
    log, *more = arguments
    with Path(log).open(encoding="utf-8") as lines:
        shots = [json.loads(line) for line in lines]
    scene = bpy.context.scene
    editor = scene.sequence_editor_create()
    strips = getattr(editor, "strips", None) or editor.sequences  # Blender 4.4 gave them another name
    if not len(strips):
        set_rate(scene, shots)
    place(scene, strips, shots)
    print(f"a2d: {len(shots)} shots at {rate_of(scene)} frames a second")
    if more[:1] == ["--save"]:
        bpy.ops.wm.save_as_mainfile(filepath=str(Path(more[1]).resolve()))


def rate_of(scene: Any) -> Fraction:
    return Fraction(scene.render.fps) / Fraction(scene.render.fps_base).limit_denominator(10_000)


def set_rate(scene: Any, shots: list[dict[str, Any]]) -> None:
    """An empty scene counts as most of the footage does."""
    spent: Counter[str] = Counter()
    for shot in shots:
        spent[shot["rate"]] += shot["end"]["seconds"] - shot["start"]["seconds"]
    if spent:
        rate = Fraction(spent.most_common(1)[0][0])
        scene.render.fps = round(rate)
        scene.render.fps_base = float(round(rate) / rate)


def place(scene: Any, strips: Any, shots: list[dict[str, Any]]) -> None:
    """A strip and a marker for each shot, those of an earlier run again."""
    there = {strip[KEY]: strip for strip in strips if KEY in strip}
    wanted = {f"{shot['file']}#{shot['shot']}": shot for shot in shots}
    for key in there.keys() - wanted.keys():
        strips.remove(there.pop(key))
    for marker in [marker for marker in scene.timeline_markers if KEY in marker]:
        scene.timeline_markers.remove(marker)
    at = max((strip.frame_final_end for strip in strips), default=1)
    for key, shot in wanted.items():
        name = title(shot, wanted)
        strip = there.get(key)
        if strip is None:
            strip = cut(strips, shot, name, at, rate_of(scene))
            at = strip.frame_final_end
        strip.name = f"{name} {Path(shot['file']).stem} #{shot['shot']}"
        strip[KEY], strip["a2d_text"], strip["a2d_confidence"] = key, shot["text"], shot["confidence"]
        marker = scene.timeline_markers.new(name, frame=strip.frame_final_start)
        marker[KEY] = key
    scene.frame_end = max(scene.frame_end, at - 1)


def cut(strips: Any, shot: dict[str, Any], name: str, at: int, rate: Fraction) -> Any:
    """A new strip that shows the shot from frame `at` on."""
    first, last = (round(shot[end]["seconds"] * rate) for end in ("start", "end"))
    strip = strips.new_movie(name, shot["file"], CHANNEL, at - first)
    strip.frame_offset_start = first
    strip.frame_final_duration = max(1, last - first)
    return strip


def title(shot: dict[str, Any], wanted: dict[str, dict[str, Any]]) -> str:
    """Scene and take of the slate that names the shot, or its number."""
    slate = wanted.get(f"{shot['file']}#{shot['slate']}", shot)["fields"]
    return f"{slate.get('scene', '?')}-{slate.get('take', '?')}" if slate else f"shot {shot['shot']}"


if __name__ == "__main__":
    main(sys.argv[sys.argv.index("--") + 1 :])

"""A log in its hosts: stand-ins for Resolve's objects, a real Blender where there is one, another reader of the XML."""

from __future__ import annotations

import ast
import importlib.util
import json
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import opentimelineio as otio
import pytest
from clips import Recipe, make, moving
from conftest import EXAMPLES
from patience import PATIENCE

from a2d.runtime.footage.clip import Clip, Facts, Shot
from a2d.runtime.footage.timecode import Timebase
from a2d.runtime.footage.writers import writer
from a2d.runtime.footage.writers.log import Log, Totals

HOSTS = EXAMPLES / "hosts"
NTSC = Fraction(30000, 1001)
TEXT = "scene 12A take 3 roll A004 date 2025-03-14 fps 24"
FIELDS = {"scene": "12A", "take": "3"}


def script(name):
    """A script of the folder, which is no package, as a module."""
    spec = importlib.util.spec_from_file_location(name, HOSTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def slate(start, end, confidence=0.95, take="3"):
    return Shot(start, end, TEXT, confidence, FIELDS | {"take": take}, dict.fromkeys(FIELDS, confidence))


def plain(start, end):
    return Shot(start, end, "no slate", 0.99)


def clip(path, shots, rate=Fraction(25), start=0, drop=False):
    seconds = shots[-1].end
    return Clip(
        str(path), Facts(224, 112, str(rate), False, start, drop, True, round(seconds * rate), seconds), tuple(shots)
    )


def written(path, clips):
    path.write_text("".join(writer(".jsonl")(Log("log", lambda: iter(clips), Totals.of(clips)))), encoding="utf-8")
    return path


class Item:
    """A clip of Resolve's media pool: one marker a frame, found again by custom data."""

    def __init__(self, path, markers=None):
        self.path, self.markers, self.metadata = path, dict(markers or {}), {}

    def GetClipProperty(self, name):  # noqa: N802 - Resolve's names
        return {"File Path": self.path}[name]

    def GetMarkers(self):  # noqa: N802
        return {float(frame): dict(marker) for frame, marker in self.markers.items()}

    def AddMarker(self, frame, color, name, note, duration, data):  # noqa: N802
        if frame in self.markers:
            return False
        self.markers[frame] = {"color": color, "name": name, "note": note, "duration": duration, "customData": data}
        return True

    def DeleteMarkerByCustomData(self, data):  # noqa: N802
        found = next(frame for frame, marker in self.markers.items() if marker["customData"] == data)
        del self.markers[found]
        return True

    def SetMetadata(self, key, value):  # noqa: N802
        self.metadata[key] = value
        return True


class Folder:
    def __init__(self, clips, folders=()):
        self.GetClipList, self.GetSubFolderList = lambda: clips, lambda: list(folders)


class Project:
    def __init__(self, root):
        self.GetMediaPool = lambda: self
        self.GetRootFolder = lambda: root


MINE = {"color": "Pink", "name": "mine", "note": "", "duration": 1.0, "customData": ""}


def test_resolve_gets_markers_and_a_second_run_updates_them(tmp_path):
    resolve = script("resolve_markers")
    log = written(tmp_path / "log.jsonl", [
        clip("/day/A1.mov", [slate(0.0, 1.2), plain(1.2, 4.0)]),
        clip("/day/A2.mov", [plain(0.0, 2.0), slate(2.0, 3.0, 0.5)]),
        clip("/day/A3.mov", [plain(0.0, 1.0)]),
    ])  # fmt: skip
    one, two, other = Item("/day/A1.mov", {0: MINE}), Item("/day/A2.mov"), Item("/else/B.mov", {5: MINE})
    project = Project(Folder([one, other], [Folder([two])]))
    assert resolve.apply(project, log) == (4, ["/day/A3.mov"])
    assert one.markers[0] == MINE and other.markers == {5: MINE}
    first = {"color": "Green", "name": "12A-3", "note": TEXT, "duration": 30, "customData": "a2d:1"}
    assert one.markers[1] == first  # the frame behind the editor's own
    assert one.markers[30]["name"] == "12A-3" and one.markers[30]["customData"] == "a2d:2"
    assert [marker["color"] for marker in two.markers.values()] == ["Red", "Red"]
    assert one.metadata == two.metadata == {"Scene": "12A", "Take": "3"} and other.metadata == {}

    before = {frame: dict(marker) for frame, marker in one.markers.items()}
    resolve.apply(project, log)
    assert one.markers == before
    resolve.apply(project, written(log, [clip("/day/A1.mov", [slate(0.0, 4.0, take="4")])]))
    assert {marker["name"] for marker in one.markers.values()} == {"mine", "12A-4"} and len(one.markers) == 2
    assert one.metadata["Take"] == "4"


def test_resolve_says_what_is_missing(capsys):
    resolve = script("resolve_markers")
    assert resolve.main([]) == 2 and "expected a log" in capsys.readouterr().err
    assert resolve.main(["log.jsonl"]) == 1 and "DaVinciResolveScript is not on the path" in capsys.readouterr().err


def test_another_reader_opens_the_fcp_xml(tmp_path):
    log = written(tmp_path / "log.jsonl", [
        clip("/day 1/A1 \U0001f3ac&<b>.mov", [slate(0.0, 1.2), plain(1.2, 4.0)], start=90000),
        clip("/day 1/A2.mov", [plain(0.0, 10.01)], NTSC, Timebase(NTSC, True).frame("00:59:58;10"), drop=True),
        clip("/day 1/A3.mov", [plain(0.0, 30.0)]),
    ])  # fmt: skip
    xml = script("fcp7_xml")
    assert xml.main([str(log), str(tmp_path / "log.xml")]) == 0
    timeline = otio.adapters.read_from_file(str(tmp_path / "log.xml"))
    (track,) = timeline.tracks
    assert [one.name for one in track][:2] == ["12A-3 A1 \U0001f3ac&<b>.mov"] * 2
    assert timeline.global_start_time == otio.opentime.RationalTime(90000, 25)
    first, second, drop, _ = track
    assert second.source_range.start_time.value == 90030 and second.source_range.duration.value == 70
    assert first.media_reference.target_url == "file://localhost/day%201/A1%20%F0%9F%8E%AC%26%3Cb%3E.mov"
    assert second.media_reference.target_url == first.media_reference.target_url
    assert first.media_reference.available_range.duration.value == 100
    start = drop.source_range.start_time
    assert otio.opentime.to_timecode(start, float(NTSC), drop_frame=True) == "00:59:58;10"
    assert [marker.name for one in track for marker in one.markers] == ["12A-3", "12A-3", "shot 1", "shot 1"]
    assert xml.main([]) == 2


def test_an_empty_log_is_an_empty_sequence(tmp_path):
    log = written(tmp_path / "log.jsonl", [])
    assert script("fcp7_xml").convert(log, tmp_path / "log.xml") == 0
    assert len(otio.adapters.read_from_file(str(tmp_path / "log.xml")).tracks) <= 1


BLENDER = shutil.which("blender")

TELL = """
import bpy, json, sys
scene = bpy.context.scene
strips = getattr(scene.sequence_editor, "strips", None) or scene.sequence_editor.sequences
if "move" in sys.argv:
    moved = next(s for s in strips if s["a2d_shot"].endswith("A2.mov#1"))
    moved.channel, moved.frame_start = 3, 200
    scene.timeline_markers.new("mine", frame=7)
    bpy.ops.wm.save_mainfile()
told = []
for s in sorted(strips, key=lambda s: s.frame_final_start):
    told.append([s.name, s.frame_final_start, s.frame_final_end, s.frame_offset_start, s["a2d_text"], s.channel])
marks = [[m.name, m.frame] for m in scene.timeline_markers]
print("TOLD" + json.dumps({"strips": told, "markers": sorted(marks), "fps": scene.render.fps}))
"""


def blender(*arguments):
    command = [BLENDER, "--background", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    return done.stdout


def told(blend, tell, *more):
    output = blender(blend, "--python", tell, "--", *more)
    return json.loads(next(line for line in output.splitlines() if line.startswith("TOLD"))[4:])


@pytest.mark.skipif(
    BLENDER is None, reason="no blender on the path (Debian: apt-get install --no-install-recommends blender)"
)
def test_a_real_blender_lays_strips_and_a_second_run_keeps_the_edit(tmp_path):
    one = make(tmp_path, Recipe("A1.mov", [moving(1, 30), moving(2, 70)], Fraction(25)))
    two = make(tmp_path, Recipe("A2.mov", [moving(3, 50)], Fraction(25)))
    tell, blend = tmp_path / "tell.py", tmp_path / "edit.blend"
    tell.write_text(TELL)
    log = written(tmp_path / "log.jsonl", [clip(one, [slate(0.0, 1.2), plain(1.2, 4.0)]), clip(two, [plain(0.0, 2.0)])])
    host = HOSTS / "blender_sequencer.py"
    blender("--factory-startup", "--python", host, "--", log, "--save", blend)
    found = told(blend, tell, "move")
    assert found["fps"] == 25
    assert found["strips"] == [
        ["12A-3 A1 #1", 1, 31, 0, TEXT, 1],
        ["12A-3 A1 #2", 31, 101, 30, "no slate", 1],
        ["shot 1 A2 #1", 200, 250, 0, "no slate", 3],
    ]
    written(log, [clip(one, [slate(0.0, 4.0, take="4")]), clip(two, [slate(0.0, 2.0)])])
    blender(blend, "--python", host, "--", log, "--save", blend)
    again = told(blend, tell)
    assert [strip[0] for strip in again["strips"]] == ["12A-4 A1 #1", "12A-3 A2 #1"]
    assert again["strips"][1][1:] == [200, 250, 0, TEXT, 3]  # where the editor had put it
    assert again["markers"] == [["12A-3", 200], ["12A-4", 1], ["mine", 7]]


def test_the_scripts_use_their_hosts_python_alone():
    hosts = {"bpy", "DaVinciResolveScript"}
    for path in sorted(HOSTS.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        tops = {name.split(".")[0] for name in names}
        assert tops <= sys.stdlib_module_names | hosts, path.name
    assert Path(HOSTS / "README.md").is_file()

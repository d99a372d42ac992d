"""`a2d log` with the built-in slate reader: twenty clips, shots to two frames, what it reads on stills found again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import opentimelineio as otio
import pycmx
import pytest
from clips import FRAMES, NTSC, SLATES, TRUTH, Part, Recipe, held, make, moving, sound

import a2d
from a2d.runtime.cli.log import main
from a2d.runtime.footage.timecode import Timebase

pytestmark = pytest.mark.slow

E, M, H = [[name for name in SLATES if name.startswith(kind)] for kind in ("easy", "medium", "hard")]
E = [*E[1:], E[0]]  # the one that is read with doubts comes last
FINE = {"qmin": "1", "qmax": "2"}
PRORES = ("prores_ks", "23:59:59:00", {}, "yuv422p10le")


def uneven(index: int) -> float:
    return (index + 0.2 * (index % 4) + 0.02 * (index * index % 7)) / 27


def lying(part: Part) -> Part:
    return Part(part.frames, lambda index: np.rot90(part.draw(index), -1), part.slate)


def upside_down(part: Part) -> Part:
    return Part(part.frames, lambda index: np.rot90(part.draw(index), 2), part.slate)


def clip(name, parts, rate=24, *how, **more):
    return Recipe(name, parts, Fraction(rate), *how, **more)


RECIPES = [
    clip("01.mov", [held(E[0]), moving(1), moving(2)], NTSC[24], timecode="01:00:00:00"),
    clip("02 drop.mp4", [held(E[1]), moving(3), moving(4)], NTSC[30], timecode="00:59:58;10"),
    clip("03 non-drop.mp4", [moving(5), held(E[2])], NTSC[30], timecode="00:59:58:10"),
    clip("04.mkv", [held(M[0], 60), moving(6, 80)], NTSC[60], timecode="10:09:59;00"),
    clip("05 \U0001f3ac take one.mov", [held(M[1]), moving(7)], 24, timecode="00:00:00:00"),
    clip("06 uneven.mp4", [held(E[0]), moving(8), moving(9)], 30, times=uneven),
    clip("07.ts", [moving(10, 60), moving(11, 60), held(E[1], 50)], 50),
    clip("08.mxf", [moving(12), held(E[2]), moving(13)], 25, "mpeg2video", "10:00:00:00", FINE, "yuv422p"),
    clip("09 prores.mov", [held(H[0]), moving(14)], 24, *PRORES),
    clip("10 lying.mov", [lying(held(E[0])), lying(moving(15))], 24, turned=90),
    clip("11.avi", [held(E[1]), moving(16)], 25, "mpeg4", None, FINE),
    clip("12 b-frames.mp4", [held(E[2]), *[moving(17 + i, 20) for i in range(6)]], options={"crf": "10", "bf": "3"}),
    clip("13 end board.mov", [moving(24), upside_down(held(E[0]))], 30, timecode="01:00:00:00"),
    clip("14 intra.mov", [moving(25), held(H[1])], 48, "mjpeg", None, FINE, "yuvj420p"),
    clip("15.mkv", [moving(26), moving(27)], 25),
    clip("16 60p.mov", [held(E[0], 60), moving(28, 60)], NTSC[60], timecode="23:59:58;00"),
    clip("17 long.mp4", [held(E[1]), moving(29, 120)], options={"crf": "10", "g": "300"}),
]
BAD = ("18 empty.mov", "19 sound.mp4", "20 corrupt.mov")


@dataclass(frozen=True)
class Logged:
    card: Path
    out: Path
    lines: dict[str, list[dict]]
    told: str
    status: int


@pytest.fixture(scope="module")
def logged(slate, tmp_path_factory):
    folder = tmp_path_factory.mktemp("log")
    card = folder / "card"
    card.mkdir()
    for recipe in RECIPES:
        make(card, recipe)
    (card / BAD[0]).touch()
    sound(card / BAD[1])
    good = (card / RECIPES[0].name).read_bytes()
    (card / BAD[2]).write_bytes(good[:2000] + b"\xff" * (len(good) - 2000))
    with pytest.MonkeyPatch.context() as patch:
        told: list[str] = []
        patch.setattr("builtins.print", lambda *parts, **_: told.append(" ".join(map(str, parts))))
        status = main([str(card), "-o", str(folder / "log"), "--bundle", str(slate), "--threads", "1", "--quiet"])
    lines: dict[str, list[dict]] = {}
    for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines():
        found = json.loads(line)
        lines.setdefault(Path(found["file"]).name, []).append(found)
    return Logged(card, folder / "log", lines, "\n".join(told), status)


@pytest.fixture(scope="module")
def stills(slate):
    """What the model reads on each recorded frame of the clips."""
    model = a2d.load(slate, threads=1)
    shown = sorted({part.slate for recipe in RECIPES for part in recipe.parts if part.slate is not None})
    return {Path(str(reading.image)).name: reading.text for reading in model.each([FRAMES / name for name in shown])}


def test_bad_clips_are_reported_skipped_and_in_the_status(logged):
    assert logged.status == 2
    assert sorted(logged.lines) == sorted(recipe.name for recipe in RECIPES)
    empty, sound, damaged = BAD
    assert f"{empty} is empty" in logged.told and f"{damaged} is damaged" in logged.told
    assert f"1 files hold sound alone: {sound}" in logged.told
    assert "2 of 19 clips could not be read" in logged.told


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_shots_are_found_to_two_frames(logged, recipe):
    found = [line["start"]["seconds"] for line in logged.lines[recipe.name]]
    wanted = [recipe.seconds(cut) - recipe.seconds(0) for cut in recipe.cuts]
    assert found == pytest.approx(wanted, abs=2 / float(recipe.rate))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_time_codes_are_right(logged, recipe):
    if recipe.times:
        base, start = Timebase(Fraction(25)), "00:00:00:00"
    else:
        start = recipe.timecode or "00:00:00:00"
        base = Timebase(recipe.rate, drop=";" in start)
    for line, cut in zip(logged.lines[recipe.name], recipe.cuts, strict=True):
        ahead = base.frames(recipe.seconds(cut)) if recipe.times else cut
        assert line["start"]["timecode"] == base.text(base.frame(start) + ahead)
        assert line["rate"] == str(base.rate) and line["drop_frame"] == base.drop


def test_every_slate_that_is_read_on_a_still_is_found(logged, stills):
    looked_for = found = 0
    for recipe in RECIPES:
        for part, line in zip(recipe.parts, logged.lines[recipe.name], strict=True):
            if part.slate is None:
                assert line["fields"] == {} and line["text"] == "no slate"
            elif stills[part.slate] == TRUTH[part.slate]:
                looked_for, found = looked_for + 1, found + (line["text"] == TRUTH[part.slate])
                assert 0 < line["confidence"] <= 1
    assert looked_for >= 8 and found == looked_for


def test_an_end_board_is_read_upside_down(logged):
    scene, board = logged.lines["13 end board.mov"]
    assert board["text"] == TRUTH[E[0]] and scene["slate"] == board["shot"] == 2
    assert {frame["turned"] for frame in board["frames"]} == {True, False}
    assert not any(frame["turned"] for frame in logged.lines["01.mov"][0]["frames"][1:])  # read surely as it stands


def test_the_written_files_are_read_by_others(logged):
    shots = sum(map(len, logged.lines.values()))
    timeline = otio.adapters.read_from_file(str(logged.out.with_suffix(".otio")))
    again = otio.adapters.read_from_string(otio.adapters.write_to_string(timeline, "otio_json"), "otio_json")
    assert again.is_equivalent_to(timeline) and len(timeline.tracks[0]) == shots
    with logged.out.with_suffix(".edl").open(encoding="utf-8", newline=None) as file:
        events = list(pycmx.parse_cmx3600(file).events)
    assert len(events) == shots
    starts = [timeline.tracks[0].range_of_child_at_index(i).start_time.to_seconds() for i in range(shots)]
    base = Timebase(Fraction(timeline.global_start_time.rate).limit_denominator(1001), drop=False)
    drop = ";" in events[0].edits[0].record_in
    base = Timebase(base.rate, drop)
    for start, event in zip(starts, events, strict=True):
        assert base.frame(event.edits[0].record_in) - base.frame("01:00:00:00") == pytest.approx(
            start * float(base.rate), abs=0.51
        )


def test_with_a_prompt_each_shot_has_a_caption(logged, slate, tmp_path):
    """The slate reader knows one question; asked by hand, its answers are captions like any other model's."""
    recipe, card = RECIPES[0], logged.card
    flags = ["--bundle", str(slate), "--threads", "1", "--quiet", "--prompt", "read the slate"]
    assert main([str(card / recipe.name), "-o", str(tmp_path / "log"), *flags]) == 0
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["start"] for line in lines] == [line["start"] for line in logged.lines[recipe.name]]
    assert [line["text"] for line in lines] == [TRUTH[recipe.parts[0].slate], "no slate", "no slate"]
    assert all(line["slate"] is None and len(line["frames"]) == 1 and line["confidence"] > 0.5 for line in lines)


def test_a_second_run_changes_nothing(logged, slate, monkeypatch):
    monkeypatch.setattr("a2d.runtime.log._reader", lambda _: pytest.fail("the model was loaded"))
    files = [path for path in logged.out.parent.glob("log*") if path.is_file()]
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in files}
    main([str(logged.card), "-o", str(logged.out), "--bundle", str(slate), "--threads", "1", "--quiet"])
    assert len(files) == 5 and before == {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in files}


def test_captions_side_by_side_are_those_of_one_by_one(slate, tmp_path, capsys):
    card = tmp_path / "card"
    card.mkdir()
    make(card, clip("A.mov", [held(E[0]), moving(1), held(M[0])]))
    arguments = [str(card), "--bundle", str(slate), "--prompt", "read the slate", "--frames", "4", "--threads", "1"]
    for together in ("1", "3"):
        out = tmp_path / together / "log"
        assert main([*arguments, "-o", str(out), "--together", together, "--quiet"]) == 0
    alone, beside = (
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()] for name in ("1", "3")
    )
    assert len(alone) == len(beside) >= 2
    for one, other in zip(alone, beside, strict=True):  # products over more rows are summed in another order
        assert one["text"] == other["text"] and one["confidence"] == pytest.approx(other["confidence"], abs=1e-4)
        assert [f["text"] for f in one["frames"]] == [f["text"] for f in other["frames"]]
        assert [f["seconds"] for f in one["frames"]] == [f["seconds"] for f in other["frames"]]
    for together, said in (("0", "expected 1 or more"), ("2", "slates one by one")):
        without = [*arguments[:3], "--together", together, "-o", str(tmp_path / "no" / "log")]
        assert main(without) == 2 and said in capsys.readouterr().err

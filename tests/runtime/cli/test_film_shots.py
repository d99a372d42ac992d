"""`a2d film --shots`: lists in three forms, what a second run makes, and files that others' programs read."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import av
import opentimelineio as otio
import pycmx
import pytest
from film_bundles import loader, tiny
from PIL import Image

from a2d.__main__ import main
from a2d.engines.errors import RequestError
from a2d.runtime.dailies.shot_list import shot_list

ROWS = [
    {"id": "SH010", "seconds": "1", "prompt": 'Wide shot: a train leaves, "slowly".', "seed": "7", "image": ""},
    {"id": "SH020", "seconds": "0.5", "prompt": "Close-up of hands.", "seed": "", "image": "board.png"},
    {"id": "SH030", "seconds": "0.75", "prompt": "A red ball & a taxi.", "seed": "9", "image": ""},
]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a bundle, its list and a board, and the engines that count."""
    _, ready = tiny(tmp_path / "tiny.a2d", window=6, sink=1)
    monkeypatch.setattr("a2d.runtime.model.load_engine", loader(ready))
    Image.new("RGB", (48, 32), (10, 200, 30)).save(tmp_path / "board.png")
    write(tmp_path / "reel.csv", ROWS)
    return tmp_path, ready


def write(path: Path, rows: list[dict]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def shoot(place: Path, *arguments: object, shots: str = "reel.csv") -> int:
    listed = ["film", place / "tiny.a2d", "--shots", place / shots, "-o", place / "out", *arguments]
    return main([str(part) for part in listed])


def frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_a_list_becomes_clips_a_timeline_a_cut_and_a_page(place, capsys):
    folder, _ = place
    assert shoot(folder) == 0
    out = folder / "out"
    assert sorted(p.name for p in out.iterdir()) == [
        "SH010.mp4", "SH020.mp4", "SH030.mp4", "index.html", "shots.json", "timeline.edl", "timeline.otio",
    ]  # fmt: skip
    # 16, 8 and 12 frames in the cut, with at least 4 behind, made up to 1 + 4 k.
    assert [frames(out / f"{row['id']}.mp4") for row in ROWS] == [21, 13, 17]
    timeline = otio.adapters.read_from_file(str(out / "timeline.otio"))
    clips = list(timeline.find_clips())
    assert [clip.name for clip in clips] == ["SH010", "SH020", "SH030"]
    assert [clip.source_range.duration.value for clip in clips] == [16, 8, 12]
    assert [clip.media_reference.available_range.duration.value for clip in clips] == [21, 13, 17]
    assert [clip.metadata["a2d"]["seed"] for clip in clips] == [7, 0, 9]
    assert all(Path(clip.media_reference.target_url.removeprefix("file://")).is_file() for clip in clips)
    events = pycmx.parse_cmx3600((out / "timeline.edl").open()).events
    made = [next(iter(event.edits)) for event in events]
    assert [(str(e.source_in), str(e.source_out)) for e in made] == [
        ("00:00:00:00", "00:00:01:00"), ("00:00:00:00", "00:00:00:08"), ("00:00:00:00", "00:00:00:12"),
    ]  # fmt: skip
    assert (str(made[0].record_in), str(made[2].record_out)) == ("01:00:00:00", "01:00:02:04")
    assert [e.clip_name for e in made] == ["SH010.mp4", "SH020.mp4", "SH030.mp4"]
    page = (out / "index.html").read_text()
    assert page.count("data:image/jpeg") == 9 and "A red ball &amp; a taxi." in page and "3 shots, 2.2 s" in page
    assert "SH010: 21 frames" in capsys.readouterr().out


def test_a_second_run_makes_only_what_has_changed(place, capsys):
    folder, ready = place
    assert shoot(folder) == 0
    before = {p.name: p.stat().st_mtime_ns for p in (folder / "out").iterdir()}
    count = len(ready("frames").calls)
    capsys.readouterr()
    assert shoot(folder) == 0
    assert len(ready("frames").calls) == count and capsys.readouterr().out.count("unchanged") == 3
    assert {p.name: p.stat().st_mtime_ns for p in (folder / "out").iterdir()} == before
    write(folder / "reel.csv", [ROWS[0], ROWS[1], ROWS[2] | {"seed": "10"}])
    assert shoot(folder) == 0
    said = capsys.readouterr().out
    assert said.count("unchanged") == 2 and "SH030: 17 frames" in said
    after = {p.name: p.stat().st_mtime_ns for p in (folder / "out").iterdir()}
    assert {name for name in after if after[name] != before[name]} == {
        "SH030.mp4",
        "shots.json",
        "timeline.otio",
        "index.html",
    }
    Image.new("RGB", (48, 32), (200, 10, 30)).save(folder / "board.png")  # another board of the same name
    (folder / "out" / "SH010.mp4").unlink()
    assert shoot(folder) == 0
    said = capsys.readouterr().out
    assert said.count("unchanged") == 1 and "SH020: 13 frames" in said and "SH010: 21 frames" in said


@pytest.mark.parametrize("form", ["mov", "png"])
def test_clips_in_other_forms(place, form):
    folder, _ = place
    assert shoot(folder, "--format", form, "--handles", 0) == 0
    out = folder / "out"
    if form == "mov":
        assert frames(out / "SH020.mov") == 9
    else:
        assert len(list((out / "SH020").glob("*.png"))) == 9


def test_lists_in_three_forms_are_the_same_shots(place):
    folder, _ = place
    wanted = shot_list(folder / "reel.csv")
    rows = [{k: v for k, v in row.items() if v} | {"seconds": float(row["seconds"])} for row in ROWS]
    (folder / "reel.json").write_text(json.dumps({"shots": rows}))
    assert shot_list(folder / "reel.json") == wanted
    timeline = otio.schema.Timeline("reel")
    track = otio.schema.Track()
    for row in rows:
        time = otio.opentime.RationalTime
        span = otio.opentime.TimeRange(time(0, 16), time(row["seconds"] * 16, 16))
        kept = {key: row[key] for key in ("prompt", "image") if key in row}
        kept |= {"seed": int(row["seed"])} if "seed" in row else {}
        track.append(otio.schema.Clip(row["id"], source_range=span, metadata={"a2d": kept}))
    timeline.tracks.append(track)
    otio.adapters.write_to_file(timeline, str(folder / "reel.otio"))
    assert shot_list(folder / "reel.otio") == wanted


SAVED = {
    "LibreOffice, German": ("a.csv", "utf-8-sig", ";", "2,5", '"Totale: ein Zug; er steht, und wartet."'),
    "Excel, Unicode text": ("a.csv", "utf-16", "\t", "2,5", "Totale: ein Zug; er steht, und wartet."),
    "a sheet's TSV": ("a.tsv", "utf-8", "\t", "2.5", "Totale: ein Zug; er steht, und wartet."),
    "Excel, English": ("a.csv", "utf-8-sig", ",", "2.5", '"Totale: ein Zug; er steht, und wartet."'),
}
"""File, encoding, separator, a number and a quoted cell, as spreadsheets save them."""


@pytest.mark.parametrize("program", SAVED)
def test_lists_that_spreadsheets_save(program, tmp_path):
    name, encoding, mark, number, prompt = SAVED[program]
    rows = [["ID", "Prompt", "Seconds", "seed", "image", ""], ["SH010", prompt, number, "7", "", ""], [""] * 6]
    (tmp_path / name).write_bytes("".join(mark.join(row) + "\r\n" for row in rows).encode(encoding))
    (shot,) = shot_list(tmp_path / name)
    assert (shot.id, shot.seconds, shot.seed, shot.image) == ("SH010", 2.5, 7, None)
    assert shot.prompt == "Totale: ein Zug; er steht, und wartet."


def test_timelines_of_other_programs(tmp_path):
    """Gaps are no shots; a marker is a prompt; clips without a length, or with other metadata, are told."""
    time = otio.opentime.RationalTime
    span = otio.opentime.TimeRange(time(0, 24), time(36, 24))
    media = otio.schema.ExternalReference("a.mov", available_range=span)
    marked = otio.schema.Clip("SH010", media_reference=media)
    marked.markers.append(otio.schema.Marker("A train leaves.", marked_range=span))
    track = otio.schema.Track(children=[otio.schema.Gap(source_range=span), marked])
    timeline = otio.schema.Timeline("cut", tracks=[track])
    otio.adapters.write_to_file(timeline, str(tmp_path / "cut.otio"))
    (shot,) = shot_list(tmp_path / "cut.otio")
    assert (shot.id, shot.seconds, shot.prompt) == ("SH010", 1.5, "A train leaves.")
    track.append(otio.schema.Clip("SH020"))
    track.append(otio.schema.Clip("SH030", media_reference=media.clone(), metadata={"a2d": "a prompt"}))
    otio.adapters.write_to_file(timeline, str(tmp_path / "cut.otio"))
    with pytest.raises(RequestError) as raised:
        shot_list(tmp_path / "cut.otio")
    assert "clip 'SH020': has no length" in str(raised.value)
    assert "clip 'SH030': metadata" in str(raised.value)


def test_one_shot_that_fails_is_that_shots_fault(place, monkeypatch, capsys):
    folder, ready = place
    engine, script = ready("frames"), ready("frames")._script

    def spoiled(feeds):
        made = dict(script(feeds))
        return made | {"velocity": made["velocity"] * float("nan")} if len(engine.calls) == 3 else made

    engine._script = spoiled
    assert shoot(folder) == 2
    said = capsys.readouterr()
    assert "SH010: block 0, step 2: the velocity is not finite" in said.out and "SH010 could not be made" in said.err
    assert "could not be made" in (folder / "out" / "index.html").read_text()
    assert (folder / "out" / "SH020.mp4").is_file() and not (folder / "out" / "SH010.mp4").exists()
    engine._script = script
    assert shoot(folder) == 0 and capsys.readouterr().out.count("unchanged") == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "sh010"}, "id 'sh010' stands 2 times, expected once"),
        ({"id": "a/b"}, "shot 2 ('a/b'): id: expected up to 64 letters"),
        ({"seconds": "long"}, "shot 2 ('SH020'): seconds: got 'long'"),
        ({"seconds": "-1"}, "seconds: got '-1', expected a number up to 3600"),
        ({"prompt": " "}, "shot 2 ('SH020'): prompt: missing"),
        ({"seed": "x"}, "seed: got 'x', expected a whole number"),
        ({"image": "gone.png"}, "image: there is no file"),
    ],
)
def test_a_list_that_is_wrong_is_refused_whole(place, capsys, change, message):
    folder, ready = place
    write(folder / "reel.csv", [ROWS[0], ROWS[1] | change, ROWS[2]])
    assert shoot(folder) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "out").exists() and not ready("frames").calls


def test_files_that_are_no_lists(tmp_path):
    for name, content, message in [
        ("a.csv", b"", "holds 0 shots"),
        ("a.csv", "id,seconds,prompt\nA,1,Caf\u00e9".encode("cp1252"), "cannot be read as CSV in UTF-8"),
        ("a.csv", b"id;seconds;prompt\nA;2,5;x;y\n", "unknown more cells than columns"),
        ("a.csv", b"id,seconds,prompt,colour\nA,1,x,red\n", "unknown colour"),
        ("a.json", b"{", "cannot be read as JSON"),
        ("a.json", b"[1]", "expected a list of"),
        ("a.otio", b"{}", "is no OpenTimelineIO timeline"),
        ("a.txt", b"", "got the ending '.txt'"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RequestError, match=message):
            shot_list(tmp_path / name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompt", "x"], "--shots and --prompt"),
        (["--frames", "9"], "no --frames or --seconds"),
        (["--size", "30x30"], "height: got 30, expected a multiple of 16"),
    ],
)
def test_flags_that_a_list_decides_itself(place, capsys, arguments, message):
    assert shoot(place[0], *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_folder_of_somebody_elses_is_not_written_to(place, capsys):
    folder, _ = place
    (folder / "out").mkdir()
    (folder / "out" / "edit.prproj").touch()
    assert shoot(folder) == 2
    assert "holds something that no shot list has written" in capsys.readouterr().err

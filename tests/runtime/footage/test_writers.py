"""The forms of a log, read by others' programs: OpenTimelineIO, an EDL parser, csv, an HTML parser."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import replace
from fractions import Fraction
from html.parser import HTMLParser

import opentimelineio as otio
import pycmx
import pytest

from a2d.runtime.footage.clip import Clip, Facts, Look, Shot
from a2d.runtime.footage.timecode import Timebase
from a2d.runtime.footage.writers import WRITERS, writer
from a2d.runtime.footage.writers.log import Log, Totals

TEXT = "scene 12A take 3 roll A004 date 2025-03-14 fps 24"
FIELDS = {"scene": "12A", "take": "3", "roll": "A004", "date": "2025-03-14", "fps": "24"}
SURE = dict.fromkeys(FIELDS, 0.95)
NTSC = {whole: Fraction(1000 * whole, 1001) for whole in (24, 30)}


def facts(rate, seconds, start=0, drop=False):
    frames = Timebase(rate, drop).frames(seconds)
    return Facts(1920, 1080, str(rate), False, start, drop, start > 0, frames, seconds)


def slate(start, end, confidence=0.95):
    look = Look(start, TEXT, confidence, FIELDS, SURE)
    return Shot(start, end, TEXT, confidence, FIELDS, SURE, (look, look), "/9j/")


def plain(start, end, text="no slate"):
    return Shot(start, end, text, 0.99, looks=(Look(start, text, 0.99),), picture="/9j/")


HOSTILE = '<script>alert("x")</script> | a,b "c"\n\x1b[31m=1+1 \U0001f3ac'
CLIPS = [
    Clip("/day 1/A001.mov", facts(NTSC[24], 1001 / 24000 * 240, 86400), (slate(0.0, 4.004), plain(4.004, 10.01))),
    Clip("/day 1/\U0001f3ac b|c.mp4", facts(NTSC[30], 1001 / 30000 * 300, 107892, True), (plain(0.0, 10.01, HOSTILE),)),
    Clip("/day 1/25.mov", facts(Fraction(25), 4.0), (plain(0.0, 2.0), slate(2.0, 4.0, 0.4))),
    Clip("/day 1/bad <b>.mov", fault="/day 1/bad <b>.mov is empty, expected footage"),
    Clip(os.fsdecode(b"/day 1/half \xff.mov"), facts(Fraction(25), 1.0), (plain(0.0, 1.0, ""),)),
]
NAMES = ["12A-3", "12A-3", None, "12A-3", "12A-3", "shot 1"]


def log(clips=CLIPS, timebase=None):
    totals = Totals.of(clips)
    return Log("day <1>", lambda: iter(clips), replace(totals, timebase=timebase or totals.timebase))


def written(suffix, made=None):
    """As it is in the file."""
    text = "".join(writer(suffix)(made or log()))
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def test_json_lines_hold_everything():
    lines = [json.loads(line) for line in written(".jsonl").splitlines()]
    assert [(line["file"], line["shot"]) for line in lines] == [
        *[(CLIPS[0].file, 1), (CLIPS[0].file, 2), (CLIPS[1].file, 1)],
        *[(CLIPS[2].file, 1), (CLIPS[2].file, 2), (CLIPS[4].file, 1)],
    ]
    first = lines[0]
    assert first["start"] == {"seconds": 0.0, "timecode": "01:00:00:00"}
    assert first["end"] == lines[1]["start"] == {"seconds": 4.004, "timecode": "01:00:04:00"}
    assert (first["text"], first["fields"], first["confidence"], len(first["frames"])) == (TEXT, FIELDS, 0.95, 2)
    assert first["frames"][0] == first["start"] | {"text": TEXT, "fields": FIELDS, "confidence": 0.95} | {
        "turned": False,
        "part": False,
    }
    assert [line["slate"] for line in lines] == [1, 1, None, 2, 2, None]
    assert lines[2]["start"]["timecode"] == "01:00:00;00" and lines[2]["text"] == HOSTILE


def test_the_table_is_the_same():
    rows = list(csv.DictReader(io.StringIO(written(".csv"), newline="")))
    assert len(rows) == 6
    assert rows[1] | FIELDS == rows[1]  # named by the slate before it
    assert (rows[1]["start timecode"], rows[1]["end timecode"], rows[1]["slate seen in shot"]) == (
        "01:00:04:00",
        "01:00:10:00",
        "1",
    )
    assert rows[2]["text"] == HOSTILE and rows[2]["scene"] == ""


def test_the_timeline_opens_and_round_trips():
    text = written(".otio", log(timebase=Timebase(Fraction(25))))
    timeline = otio.adapters.read_from_string(text, "otio_json")
    assert otio.adapters.read_from_string(
        otio.adapters.write_to_string(timeline, "otio_json"), "otio_json"
    ).is_equivalent_to(timeline)
    assert timeline.global_start_time.to_timecode() == "01:00:00:00"
    (track,) = timeline.tracks
    assert [clip.source_range.start_time.rate for clip in track] == pytest.approx(
        [24000 / 1001] * 2 + [30000 / 1001] + [25] * 3
    )
    first, second, drop, *_ = track
    assert otio.opentime.to_timecode(second.source_range.start_time, rate=24000 / 1001) == "01:00:04:00"
    assert second.source_range.start_time == first.source_range.end_time_exclusive()
    assert first.media_reference.available_range.duration.value == 240
    assert otio.opentime.to_timecode(drop.source_range.start_time, rate=30000 / 1001, drop_frame=True) == "01:00:00;00"
    assert first.media_reference.target_url == "file:///day%201/A001.mov"
    assert [clip.markers[0].name for clip in track if "shot" in clip.metadata["a2d"]][:2] == NAMES[:2]
    assert dict(first.markers[0].metadata["a2d"]["fields"]) == FIELDS
    assert [clip.markers[0].color for clip in track] == ["GREEN", "GREEN", "GREEN", "RED", "RED", "BLUE"]
    last = track[-1].media_reference.target_url
    assert last == "file:///day%201/half%20%FF.mov"
    assert track.duration().to_seconds() == pytest.approx(10.01 * 2 + 4 + 1)


def edits(text):
    found = pycmx.parse_cmx3600(io.StringIO(text, newline=None))
    return found, [edit for event in found.events for edit in event.edits]


def test_another_parser_reads_the_edit_list():
    text = written(".edl", log(timebase=Timebase(Fraction(25))))
    found, (first, second, third, *_) = edits(text)
    assert found.title == "day <1>" and len(list(found.events)) == 6
    assert (first.record_in, first.record_out) == ("01:00:00:00", "01:00:00:01")
    assert (second.record_in, third.record_in) == ("01:00:04:00", "01:00:10:00")  # 10.01 s are 250.25 frames
    notes = [line for line in text.splitlines() if "|C:ResolveColor" in line]
    assert notes[0] == f"{TEXT} (95 %) |C:ResolveColorGreen |M:12A-3 |D:100"
    assert all(note.count("|") == 3 for note in notes) and len(notes) == 6
    assert all(line.isprintable() for line in text.splitlines())


def test_markers_of_a_drop_frame_timeline_are_where_its_clock_says():
    minutes = [plain(60.0 * i, 60.0 * (i + 1)) for i in range(11)]
    base = Timebase(NTSC[30], drop=True)
    clip = Clip("/a.mov", facts(NTSC[30], 660.0, 0, True), tuple(minutes))
    text = written(".edl", log([clip], base))
    assert "FCM: DROP FRAME" in text
    _, found = edits(text)
    wanted = [base.text(base.frame("01:00:00;00") + base.frames(60.0 * i)) for i in range(11)]
    assert [edit.record_in for edit in found] == wanted
    assert wanted[:2] == ["01:00:00;00", "01:00:59;28"]  # a minute of 29.97 is 1798.2 frames


class Page(HTMLParser):
    """Tags and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_whole_and_harmless():
    text = written(".html")
    page = Page(text)
    assert page.open == [] and page.seen.count("img") == page.seen.count("li") == 6
    assert not {"script", "b>", "link", "iframe"} & set(page.seen) and page.seen.count("b") == 6
    said = " ".join(page.text)
    for part in (
        "5 clips, 6 shots, 2 slates",
        "1 could not be read",
        "01:00:04:00",
        "12A-3",
        "drop-frame",
        "A004",
        "95 %",
        "is empty, expected",
    ):
        assert part in said
    assert "\x1b" not in text and "http" not in text


def test_nothing_is_a_log_too():
    empty = log([])
    assert written(".jsonl", empty) == ""
    assert written(".csv", empty).count("\r\n") == 1
    assert len(otio.adapters.read_from_string(written(".otio", empty), "otio_json").tracks[0]) == 0
    assert edits(written(".edl", empty))[1] == []
    assert Page(written(".html", empty)).open == []


def test_a_thousand_shots_are_numbered_on():
    many = Clip("/a.mov", facts(Fraction(24), 1200.0), tuple(plain(float(i), i + 1.0) for i in range(1200)))
    _, found = edits(written(".edl", log([many])))
    assert len(found) == 1200 and found[-1].record_in == "01:19:59:00"


def test_the_timeline_counts_as_most_of_the_footage_does():
    assert Totals.of(CLIPS).timebase in (Timebase(NTSC[24]), Timebase(NTSC[30], drop=True))
    assert Totals.of(CLIPS[2:]) == Totals(3, 3, 1, 0, 0, (CLIPS[3],), (), Timebase(Fraction(25)))
    assert Totals.of([]) == Totals(0, 0, 0, 0, 0, (), (), Timebase(Fraction(24)))


def test_every_writer_of_the_table_is_there():
    assert all(callable(writer(suffix)) for suffix in WRITERS)


# -- what is less certain than is asked for names nothing

GUESS = Shot(
    0.0, 2.0, TEXT.replace("12A", "66WX"), 0.07, FIELDS | {"scene": "66WX"}, SURE | {"scene": 0.07}, (), "/9j/"
)
GUESSED = Clip("/a.mov", facts(Fraction(25), 6.0), (GUESS, plain(2.0, 4.0), plain(4.0, 6.0, "a street")))


def unsure_log(shots=GUESSED, least=0.8):
    return Log("day", lambda: iter([shots]), Totals.of([shots], least), least)


def test_a_guess_names_no_shot_in_any_file():
    made = unsure_log()
    assert made.totals.unsure == 1
    for suffix in WRITERS:
        assert "66WX" not in written(suffix, made).replace("?66WX", "") or suffix in (".jsonl", ".otio"), suffix
        assert "66WX-3" not in written(suffix, made), suffix
    rows = list(csv.DictReader(io.StringIO(written(".csv", made))))
    assert [row["scene"] for row in rows] == ["?66WX", "", ""] and [row["roll"] for row in rows] == ["A004"] * 3
    assert rows[0]["text"].startswith("scene ?66WX take 3")
    lines = [json.loads(line) for line in written(".jsonl", made).splitlines()]
    assert [line["label"] for line in lines] == ["shot 1", "shot 2", "shot 3"]
    assert lines[0]["unsure"] == ["scene"] and lines[0]["fields"]["scene"] == "66WX"
    _, found = edits(written(".edl", made))
    assert len(found) == 3 and "|M:shot 1 " in written(".edl", made) and "(7 %)" in written(".edl", made)


def test_without_a_least_all_is_named_as_it_was_read():
    assert "66WX-3" in written(".edl", unsure_log(least=0.0)) and "?66WX" not in written(".csv", unsure_log(least=0.0))


def test_a_reading_of_which_nothing_is_sure_is_no_slate():
    nothing = replace(GUESS, certainty=dict.fromkeys(GUESS.certainty, 0.5))
    made = unsure_log(replace(GUESSED, shots=(nothing, plain(2.0, 4.0))))
    assert (made.totals.slates, made.totals.guesses, made.totals.unsure) == (0, 1, 0)
    assert made.totals.doubts == "; something like a slate, and nothing sure of it, in 1 more"
    rows = list(csv.DictReader(io.StringIO(written(".csv", made))))
    assert [row["roll"] for row in rows] == ["", ""] and rows[0]["text"].startswith("scene ?66WX take ?3")


def test_a_caption_that_is_unsure_bears_the_mark():
    caption = replace(plain(0.0, 2.0, "a street"), confidence=0.3)
    made = unsure_log(Clip("/a.mov", facts(Fraction(25), 2.0), (caption,)), 0.5)
    assert "|M:? a street" in written(".edl", made)

"""Video files as they are met: what they say of themselves, their frames, some of them again, and what is no video."""

from __future__ import annotations

import hashlib
import os
import random
from fractions import Fraction

import av
import numpy as np
import pytest
from clips import CLOCK, NTSC, Part, Recipe, make, scene, sound

from a2d.engines.errors import ClipError
from a2d.runtime.footage.media import Media
from a2d.runtime.footage.sampling import Sampling
from a2d.runtime.footage.scan import study
from a2d.runtime.footage.sights import Meter, Sight, Survey

BITS = 8


def numbered(index: int):
    """A picture that says its number in black and white bars, which no codec takes away."""
    picture = np.full((64, 128, 3), 40, np.uint8)
    for bit in range(BITS):
        picture[:, bit * 16 : (bit + 1) * 16] = 230 if index >> bit & 1 else 20
    return picture


def number(picture) -> int:
    bars = picture[16:48].mean((0, 2)).reshape(BITS, -1)[:, 4:-4].mean(1)
    return sum(int(bar > 120) << bit for bit, bar in enumerate(bars))


GOOD = {"crf": "12", "preset": "veryfast"}
FINE = {"qmin": "1", "qmax": "3"}


def jittered(index: int) -> float:
    return (index + 0.2 * (index % 4) + 0.02 * (index * index % 7)) / 27


def clip(name, frames, rate, *how, **more):
    return Recipe(name, [Part(frames, numbered)], Fraction(rate), *how, **more)


PRORES = ("prores_ks", "23:59:59:00", {}, "yuv422p10le")
RECIPES = [
    (clip("b-frames.mov", 150, NTSC[24], timecode="01:00:00:00"), (24, False, "01:00:00:00")),
    (clip("drop.mp4", 150, NTSC[30], timecode="00:59:58;00"), (30, True, "00:59:58;00")),
    (clip("non-drop.mp4", 60, NTSC[30], timecode="00:59:58:00"), (30, False, "00:59:58:00")),
    (clip("fast.mkv", 200, NTSC[60], timecode="01:00:00;00"), (60, True, "01:00:00;00")),
    (clip("long-gop.mp4", 250, 24, options=GOOD | {"g": "250"}), (24, False, None)),
    (clip("operational.mxf", 60, 25, "mpeg2video", "10:00:00:00", FINE), (25, False, "10:00:00:00")),
    (clip("stream.ts", 220, 50), (50, False, None)),
    (clip("intra.mov", 60, 24, *PRORES), (24, False, "23:59:59:00")),
    (clip("old.avi", 60, 25, "mpeg4", None, FINE), (25, False, None)),
    (clip("uneven.mp4", 120, 30, times=jittered), (25, False, None)),
]
"""Recipe to what its clip says: numbers in a second, drop-frame, first time code."""


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    return {recipe.name: make(folder, recipe) for recipe, _ in RECIPES}


def looked_at(path, sampling, fit=lambda frame: frame):
    survey, *sights = study(path, sampling, fit, Meter())
    assert isinstance(survey, Survey) and all(isinstance(sight, Sight) for sight in sights)
    return survey, sights


@pytest.mark.parametrize(("recipe", "wanted"), RECIPES, ids=[recipe.name for recipe, _ in RECIPES])
def test_rate_and_time_code_are_the_files(footage, recipe, wanted):
    counted, drop, start = wanted
    survey, _ = looked_at(footage[recipe.name], Sampling("whole"))
    facts, frames = survey.facts, sum(part.frames for part in recipe.parts)
    assert (facts.timebase.counted, facts.drop, facts.timecode) == (counted, drop, start is not None)
    assert facts.at(0)["timecode"] == (start or "00:00:00:00")
    assert (facts.width, facts.height, facts.frames) == (128, 64, frames)
    assert facts.variable == (recipe.times is not None)
    assert facts.seconds == pytest.approx(recipe.seconds(frames), abs=float(1 / recipe.rate))
    if recipe.times is None:
        assert facts.timebase.rate == recipe.rate
        assert [facts.frame(recipe.seconds(i)) - facts.start for i in range(frames)] == list(range(frames))


@pytest.mark.parametrize(("recipe", "wanted"), RECIPES, ids=[recipe.name for recipe, _ in RECIPES])
def test_sampled_frames_are_those_of_their_moments(footage, recipe, wanted):
    """Sought, read on, or read from the beginning: the frame is the one that a player shows then."""
    frames = recipe.parts[0].frames
    for sampling in (Sampling("whole", per_shot=3), Sampling("whole", per_shot=20), Sampling("whole", head=1, tail=1)):
        survey, sights = looked_at(footage[recipe.name], sampling)
        found = [number(sight.picture) for sight in sights]
        shown = [round(recipe.seconds(index), 3) for index in found]
        assert [round(sight.seconds, 3) for sight in sights] == pytest.approx(shown, abs=0.0011)
        assert found == sorted(set(found)) and len(found) == survey.sights and max(found) < frames


def test_the_middle_of_a_long_group_is_found(footage):
    _, sights = looked_at(footage["long-gop.mp4"], Sampling("whole", per_shot=1))
    assert [number(sight.picture) for sight in sights] == [125]


def test_an_index_that_leads_astray_is_not_followed(footage, monkeypatch):
    monkeypatch.setattr(Media, "_sought", lambda self, stamp: iter(()))
    _, sights = looked_at(footage["long-gop.mp4"], Sampling("whole", per_shot=2))
    assert [number(sight.picture) for sight in sights] == [62, 187]


def test_a_frame_that_is_gone_is_an_error(footage):
    with Media(footage["drop.mp4"]) as media, pytest.raises(ClipError, match="changed while it was read"):
        list(media.pictures([1]))  # no frame has this time stamp


def test_pictures_are_turned_upright_and_pixels_made_square(tmp_path):
    def lying(index: int):
        return np.rot90(scene(3, 96, 64)(index), -1)

    turned = make(tmp_path, Recipe("turned.mov", [Part(12, lying)], turned=90, options=GOOD))
    wide = make(tmp_path, Recipe("wide.mov", [Part(12, scene(3, 96, 64))], aspect=Fraction(16, 11), options=GOOD))
    survey, (sight,) = looked_at(turned, Sampling("whole"))
    assert sight.picture.shape == (64, 96, 3) and (survey.facts.width, survey.facts.height) == (96, 64)
    assert np.abs(sight.picture.astype(int) - scene(3, 96, 64)(6)).mean() < 6
    survey, (sight,) = looked_at(wide, Sampling("whole"))
    assert sight.picture.shape == (64, 140, 3) and (survey.facts.width, survey.facts.height) == (140, 64)


def test_names_may_be_anything(footage, tmp_path):
    for name in ("a b.mov", "\U0001f3ac \u00e9.mov", "http:x.mov", os.fsdecode(b"half \xff.mov")):
        path = tmp_path / name
        path.write_bytes(footage["intra.mov"].read_bytes())
        assert looked_at(path, Sampling("whole"))[0].facts.frames == 60


def test_the_source_is_not_touched(footage):
    path = footage["b-frames.mov"]
    before = hashlib.sha256(path.read_bytes()).digest(), path.stat().st_mtime_ns, path.stat().st_ctime_ns
    looked_at(path, Sampling("whole", per_shot=4))
    assert before == (hashlib.sha256(path.read_bytes()).digest(), path.stat().st_mtime_ns, path.stat().st_ctime_ns)


def junk(path, good):
    data = good["b-frames.mov"].read_bytes()
    path.write_bytes(data[:400] + b"\xff" * (len(data) - 400))


def cut_short(path, good):
    data = good["fast.mkv"].read_bytes()
    path.write_bytes(data[: len(data) // 2])


def crashed(path, good):
    """A recording with sound that ended in the middle of itself; its header was written for the whole of it."""
    whole = path.with_name("whole.mkv")
    with av.open(str(whole), "w") as out, av.open(str(good["fast.mkv"])) as source:
        video = out.add_stream_from_template(source.streams.video[0])
        noise = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = video
                out.mux(packet)
        for index in range(40):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = 8000, 800 * index
            out.mux(noise.encode(frame))
    data = whole.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def headless(path, good):
    """A QuickTime file whose index, which is written last, is missing: one that is being copied."""
    data = good["b-frames.mov"].read_bytes()
    path.write_bytes(data[: data.index(b"moov")])


def playlist(path, good):
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://localhost:9/a.ts\n#EXT-X-ENDLIST\n")


BAD = {
    "empty.mov": (lambda path, _: path.touch(), "is empty, expected footage"),
    "junk.mov": (junk, "is damaged, unfinished or no video"),
    "short.mkv": (cut_short, "cut short or damaged"),
    "crashed.mkv": (crashed, "cut short or damaged"),
    "headless.mov": (headless, "is damaged, unfinished or no video"),
    "text.mp4": (lambda path, _: path.write_text("scene 12A take 3"), "is damaged, unfinished or no video"),
    "sound.mp4": (lambda path, _: sound(path), "has no video, expected a clip"),
    "list.mp4": (playlist, "is damaged, unfinished or no video"),
    "folder.mov": (lambda path, _: path.mkdir(), "is a folder, a device or a pipe"),
}
"""File name to its writer and the reason that is given."""


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_footage_says_why(footage, tmp_path, name):
    writer, reason = BAD[name]
    writer(tmp_path / name, footage)
    with pytest.raises(ClipError) as caught:
        looked_at(tmp_path / name, Sampling("whole"))
    assert reason in str(caught.value) and name in str(caught.value)


def flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 40)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def scratch(data: bytearray, rng: random.Random) -> None:
    """The header, where all that counts is."""
    for _ in range(rng.randint(1, 20)):
        data[rng.randrange(min(600, len(data)))] = rng.randrange(256)


def tear(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    data[at : at + rng.randint(1, 5000)] = b""


def blank(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    data[at : at + 2000] = bytes(len(data[at : at + 2000]))


@pytest.mark.parametrize("damage", [flip, scratch, tear, blank])
@pytest.mark.parametrize("name", ["b-frames.mov", "fast.mkv", "stream.ts", "operational.mxf", "old.avi"])
def test_damage_is_read_through_or_told_and_nothing_else(footage, tmp_path, damage, name):
    rng = random.Random(f"{name} {damage.__name__}")
    for _ in range(6):
        data = bytearray(footage[name].read_bytes())
        damage(data, rng)
        (tmp_path / name).write_bytes(data)
        try:
            survey, sights = looked_at(tmp_path / name, Sampling("adaptive", head=1.0))
        except (ClipError, OSError) as error:
            assert str(error)
        else:
            assert survey.sights == len(sights) and survey.facts.frames > 0


def test_video_of_an_unknown_kind_says_so(footage, tmp_path):
    data = footage["b-frames.mov"].read_bytes()
    (tmp_path / "strange.mov").write_bytes(data.replace(b"avc1", b"zzzz"))
    with pytest.raises(ClipError, match="strange.mov holds a kind of video that FFmpeg does not know"):
        looked_at(tmp_path / "strange.mov", Sampling("whole"))


def test_what_is_not_there_is_the_systems_word(tmp_path):
    with pytest.raises(FileNotFoundError):
        looked_at(tmp_path / "nowhere.mov", Sampling("whole"))


def test_a_clip_that_grows_while_it_is_read_is_refused(footage, tmp_path):
    path = tmp_path / "grows.ts"
    path.write_bytes(footage["stream.ts"].read_bytes())

    def growing(frame):
        with path.open("ab") as file:
            file.write(bytes(188))
        return frame

    with pytest.raises(ClipError, match="grows.ts changed while it was read, expected a finished file"):
        looked_at(path, Sampling("whole", per_shot=2), growing)


def test_a_study_that_nobody_wants_ends(footage):
    meter = Meter(cancelled=True)
    with pytest.raises(ClipError, match="was left before its end"):
        list(study(footage["stream.ts"], Sampling("whole"), lambda frame: frame, meter))


def test_the_clock_of_uneven_footage(footage):
    """Time stamps decide, not a count of frames."""
    survey, sights = looked_at(footage["uneven.mp4"], Sampling("whole", per_shot=30))
    assert survey.facts.rate == "25"
    for sight in sights:
        assert sight.seconds == pytest.approx(jittered(number(sight.picture)), abs=2 * float(CLOCK))

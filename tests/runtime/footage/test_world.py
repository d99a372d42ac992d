"""Footage as the world makes it: joined, held, mirrored, uneven, untagged, HDR, and folders with more than clips."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import DATA
from hypothesis import given
from hypothesis import strategies as st

from a2d.engines.errors import ClipError
from a2d.runtime.footage.boxes import recordings
from a2d.runtime.footage.display import HDR, Orientation, to_sdr
from a2d.runtime.footage.files import clips, raw_files
from a2d.runtime.footage.media import Media
from a2d.runtime.footage.sampling import Sampling
from a2d.runtime.footage.scan import study
from a2d.runtime.footage.sights import Meter, Survey
from a2d.runtime.footage.timecode import EDITING, editing_rate, nearest_rate

WIDTH, HEIGHT = 96, 64


def flat(*rgb: int) -> np.ndarray:
    return np.broadcast_to(np.array(rgb, np.uint8), (HEIGHT, WIDTH, 3)).copy()


def encode(path: Path, frames, rate=25, codec="libx264", form=None, times=None, last=None, **stream) -> Path:
    """Frames to a file. `times` count 1/90000 s; `last` is the last frame's length in seconds."""
    with av.open(str(path), "w", format=form) as out:
        made = out.add_stream(codec, rate=rate)
        first = frames[0]
        made.height, made.width = (first.height, first.width) if isinstance(first, av.VideoFrame) else first.shape[:2]
        made.pix_fmt = stream.pop("pix_fmt", "yuv420p")
        for name, value in stream.items():
            setattr(made.codec_context, name, value)
        if times is not None or last is not None:
            made.codec_context.max_b_frames = 0
        if times is not None:
            made.time_base = made.codec_context.time_base = Fraction(1, 90000)
        packets = []
        for index, picture in enumerate(frames):
            frame = picture if isinstance(picture, av.VideoFrame) else av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts = index if times is None else times[index]
            frame.time_base = 1 / Fraction(rate) if times is None else Fraction(1, 90000)
            packets += made.encode(frame)
        packets += made.encode()
        if last is not None:
            packets[-1].duration = int(Fraction(last) / packets[-1].time_base)
        for packet in packets:
            out.mux(packet)
    return path


def looked_at(path: Path, per_shot: int = 3):
    survey, *sights = study(path, Sampling("whole", per_shot=per_shot), lambda picture: picture, Meter())
    assert isinstance(survey, Survey)
    return survey.facts, sights


@pytest.mark.parametrize(("codec", "form"), [("mpeg2video", "mpegts"), ("libx264", "mpegts"), ("mpeg2video", "vob")])
@pytest.mark.parametrize("parts", [2, 3])
def test_joined_recordings_are_counted_on(tmp_path, codec, form, parts):
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200)][:parts]
    pieces = [
        encode(tmp_path / f"{i}.bin", [flat(*c)] * (40 + 10 * i), codec=codec, form=form).read_bytes()
        for i, c in enumerate(colours)
    ]
    joined = tmp_path / ("joined.ts" if form == "mpegts" else "joined.vob")
    joined.write_bytes(b"".join(pieces))
    facts, sights = looked_at(joined, 12)
    frames = sum(40 + 10 * i for i in range(parts))
    assert facts.restarts == parts - 1 and abs(facts.frames - frames) <= parts
    assert facts.seconds == pytest.approx(frames / 25, abs=0.2)
    shown = [int(sight.picture.mean((0, 1)).argmax()) for sight in sights]
    assert shown == sorted(shown) and set(shown) == {int(np.argmax(c)) for c in colours}
    assert "time stamps begin again" in facts.remarks[-1]


@pytest.mark.parametrize("form", ["mp4", "mov"])
def test_movies_joined_as_bytes_are_a_fault(tmp_path, form):
    """FFmpeg shows the first alone; a movie of fragments may repeat its header."""
    whole = encode(tmp_path / f"a.{form}", [flat(200, 0, 0)] * 4)
    (tmp_path / f"joined.{form}").write_bytes(whole.read_bytes() * 3)
    with pytest.raises(ClipError, match="3 recordings joined as bytes"):
        looked_at(tmp_path / f"joined.{form}")
    assert looked_at(whole)[0].frames == 4
    boxes = b"".join(b"\0\0\0\x08" + kind for kind in (b"moov", b"moof", b"moov", b"moof"))
    (tmp_path / "fragments").write_bytes(boxes)
    assert recordings(tmp_path / "fragments") == 1


def test_a_recording_in_one_piece_does_not_begin_again(tmp_path):
    facts, _ = looked_at(encode(tmp_path / "one.ts", [flat(i, 0, 0) for i in range(50)], form="mpegts"))
    assert (facts.restarts, facts.frames, facts.remarks) == (0, 50, ())


@pytest.mark.parametrize(("rate", "stills"), [(Fraction(1, 5), 3), (Fraction(1, 2), 4), (Fraction(2, 3), 2)])
def test_a_show_of_stills_lasts_as_long_as_it_is_shown(tmp_path, rate, stills):
    facts, sights = looked_at(encode(tmp_path / "s.mp4", [flat(60 * i, 0, 0) for i in range(stills)], rate))
    assert facts.seconds == pytest.approx(stills / rate, abs=0.01) and facts.frames == stills and sights


def test_a_held_last_frame_belongs_to_the_clip(tmp_path):
    facts, _ = looked_at(encode(tmp_path / "h.mp4", [flat(9 * i, 0, 0) for i in range(10)], last=3))
    assert facts.seconds == pytest.approx(9 / 25 + 3, abs=0.05)


PICTURE = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


@given(st.sampled_from([(a, b) for a in (-1, 1) for b in (-1, 1)]), st.booleans(), st.integers(1, 1 << 16))
def test_all_eight_orientations_place_each_pixel_where_the_matrix_says(signs, swapped, scale):
    (p, q) = signs
    a, b, c, d = (0, q, p, 0) if swapped else (p, 0, 0, q)
    shown = Orientation.of([a * scale, b * scale, 0, c * scale, d * scale, 0, 0, 0, 1 << 30]).laid(PICTURE)
    corners = [(a * x + c * y, b * x + d * y) for x in range(3) for y in range(2)]
    left, top = min(x for x, _ in corners), min(y for _, y in corners)
    for x in range(3):
        for y in range(2):
            assert (shown[b * x + d * y - top, a * x + c * y - left] == PICTURE[y, x]).all()


def test_the_usual_distance_between_frames_counts_for_a_telephone(tmp_path):
    gaps = np.random.default_rng(3).integers(2900, 3100, 90)
    gaps[::9] += 3000  # every ninth frame comes late: 27 a second on average, 30 by the clock
    times = [0, *np.cumsum(gaps)[:-1].tolist()]
    facts, _ = looked_at(encode(tmp_path / "p.mp4", [flat(i, 0, 0) for i in range(90)], 30, times=times))
    assert facts.variable and facts.rate in ("30", "30000/1001")


def test_a_rate_that_no_editing_system_has_is_told(tmp_path):
    facts, _ = looked_at(encode(tmp_path / "15.mp4", [flat(i, 0, 0) for i in range(30)], 15))
    assert facts.rate == "15" and "15 frames a second, which no editing system counts at" in facts.remarks


@given(st.fractions(Fraction(1, 10), 240, max_denominator=1001))
def test_every_rate_has_one_at_which_it_is_edited(rate):
    assert editing_rate(rate) in EDITING and nearest_rate(rate) > 0
    assert rate not in EDITING or editing_rate(rate) == rate == nearest_rate(rate)


BT709 = ((0.2126, 0.7152, 0.0722), 1.8556, 1.5748)
BT601 = ((0.299, 0.587, 0.114), 1.772, 1.402)


def coded(rgb, matrix, width, height):
    """A flat frame of `rgb` in YCbCr, 8 bits, studio range, without a tag."""
    weights, u, v = matrix
    r, g, b = (c / 255 for c in rgb)
    y = float(np.dot(weights, (r, g, b)))
    planes = np.empty((height * 3 // 2, width), np.uint8)
    planes[:height] = round(16 + 219 * y)
    chroma = planes[height:].reshape(2, height // 2, width // 2)
    chroma[0], chroma[1] = round(128 + 224 * (b - y) / u), round(128 + 224 * (r - y) / v)
    return av.VideoFrame.from_ndarray(planes, format="yuv420p")


@pytest.mark.parametrize(
    ("width", "height", "matrix"), [(1280, 720, BT709), (1920, 1080, BT709), (720, 576, BT601), (640, 480, BT601)]
)
@pytest.mark.parametrize("rgb", [(192, 64, 32), (16, 160, 48), (40, 40, 220)])
def test_untagged_colours_are_those_of_their_size(tmp_path, width, height, matrix, rgb):
    frames = [coded(rgb, matrix, width, height) for _ in range(3)]
    path = encode(tmp_path / "c.mpg", frames, codec="mpeg2video", form="mpeg", bit_rate=20_000_000)
    _, (sight, *_) = looked_at(path, 1)
    assert np.abs(sight.picture[height // 2, width // 2].astype(int) - rgb).max() <= 5


@pytest.mark.parametrize("transfer", HDR)
def test_hdr_is_brought_down_in_order_and_grey_stays_grey(transfer):
    ramp = np.repeat(np.linspace(0, 65535, 256).astype(np.uint16)[:, None, None], 3, 2)
    made = to_sdr(ramp, transfer)[:, 0].astype(int)
    assert (np.diff(made[:, 1]) >= 0).all() and (made.max(1) - made.min(1)).max() <= 1
    assert made[0].max() == 0 and made[-1].min() >= 250


def test_diffuse_white_is_bright_and_not_clipped():
    pq_white, hlg_white = round(0.58 * 65535), round(0.75 * 65535)  # 203 cd/m2 by BT.2408
    for transfer, white in ((16, pq_white), (18, hlg_white)):
        assert 150 <= to_sdr(np.full((1, 1, 3), white, np.uint16), transfer).min() <= 245


def test_hdr_footage_is_mapped_and_told(tmp_path):
    frames = [av.VideoFrame.from_ndarray(flat(150, 150, 150), "rgb24").reformat(format="yuv420p10le")] * 4
    for frame in frames:
        frame.color_trc, frame.colorspace = 16, 9
    tags = {"color_trc": 16, "colorspace": 9, "color_primaries": 9}
    path = encode(tmp_path / "hdr.mp4", frames, codec="libx265", pix_fmt="yuv420p10le", **tags)
    facts, (sight, *_) = looked_at(path, 1)
    assert facts.hdr == "PQ" and "PQ, brought down to SDR" in facts.remarks
    assert sight.picture.mean() > 180  # 150 of 255 in PQ is beyond diffuse white


def test_raw_of_a_folder_is_found_and_no_clip(tmp_path):
    (tmp_path / "card").mkdir()
    for name in ("A.mp4", "b.braw", "c.R3D", "card/d.ARI", "e.txt", ".f.braw"):
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in clips([tmp_path])] == ["A.mp4"]
    assert [path.name for path in raw_files([tmp_path])] == ["b.braw", "c.R3D", "d.ARI"]
    with pytest.raises(Exception, match="1 files of camera raw, which are not read; make proxies"):
        clips([tmp_path / "card"])


# -- frames that are there again without a byte of their own


HELD = (0, 1, 1, 2)
"""Which of three pictures each frame of `held.ogv` shows (libtheora's encoder wrote it; PyAV's wheels have none)."""


def test_a_packet_without_bytes_shows_the_last_frame_again():
    """Theora's way to hold a picture, which FFmpeg's decoders refuse."""
    path = DATA / "footage" / "held.ogv"
    with av.open(str(path)) as container:
        assert sum(packet.size == 0 and packet.dts is not None for packet in container.demux(video=0)) == 1
    with Media(path) as media:
        stamps, pictures = zip(*media.small(), strict=True)
        assert stamps == tuple(range(len(HELD))) and media.timebase.rate == 25
    assert [int(picture[..., 2].mean()) for picture in pictures] == pytest.approx([40 + 80 * at for at in HELD], abs=8)
    with Media(path) as media:
        again = [int(picture[..., 0].mean()) for picture in media.pictures(stamps[2:])]
    assert again == pytest.approx([40 + 80 * at for at in HELD[2:]], abs=8)
    assert looked_at(path)[0].seconds == pytest.approx(len(HELD) / 25)

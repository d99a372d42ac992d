"""Time code against counting by hand, against OpenTimelineIO's, and at the places where it is usually wrong."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from a2d.runtime.footage.timecode import Timebase, drops, nearest_rate

NTSC = {whole: Fraction(1000 * whole, 1001) for whole in (24, 30, 48, 60, 120)}
BASES = [
    Timebase(NTSC[24]),
    Timebase(Fraction(24)),
    Timebase(Fraction(25)),
    Timebase(NTSC[30]),
    Timebase(NTSC[30], drop=True),
    Timebase(Fraction(30)),
    Timebase(Fraction(50)),
    Timebase(NTSC[60]),
    Timebase(NTSC[60], drop=True),
    Timebase(Fraction(60)),
]
NAMES = [f"{base.rate}{'-drop' if base.drop else ''}" for base in BASES]


def counted_by_hand(base: Timebase):
    """Every time code of a day in turn, the slow and obvious way."""
    skipped = base.counted // 15 if base.drop else 0
    for minute in range(24 * 60):
        for second in range(60):
            for number in range(base.counted):
                if minute % 10 and not second and number < skipped:
                    continue
                yield f"{minute // 60:02}:{minute % 60:02}:{second:02}{';' if base.drop else ':'}{number:02}"


@pytest.mark.parametrize("base", BASES, ids=NAMES)
def test_ten_minutes_and_one_are_what_counting_gives(base):
    wanted = list(islice(counted_by_hand(base), base.counted * 60 * 11))
    assert [base.text(frame) for frame in range(len(wanted))] == wanted
    assert [base.frame(text) for text in wanted[::7]] == list(range(0, len(wanted), 7))


@pytest.mark.parametrize("base", BASES, ids=NAMES)
@given(st.integers(0, 10**7))
def test_text_and_frame_are_inverse(base, frame):
    assert base.frame(base.text(frame)) == frame % base.day


@pytest.mark.parametrize("base", BASES, ids=NAMES)
@settings(max_examples=40)
@given(frame=st.integers(0, 5 * 10**6))
def test_opentimelineio_counts_alike(base, frame):
    otio = pytest.importorskip("opentimelineio")
    frame %= base.day
    theirs = otio.opentime.RationalTime(frame, float(base.rate))
    assert otio.opentime.to_timecode(theirs, float(base.rate), base.drop) == base.text(frame)
    assert otio.opentime.from_timecode(base.text(frame), float(base.rate)).value == frame


@pytest.mark.parametrize(
    ("base", "frame", "text"),
    [
        (Timebase(NTSC[30], drop=True), 1799, "00:00:59;29"),
        (Timebase(NTSC[30], drop=True), 1800, "00:01:00;02"),
        (Timebase(NTSC[30], drop=True), 17981, "00:09:59;29"),
        (Timebase(NTSC[30], drop=True), 17982, "00:10:00;00"),
        (Timebase(NTSC[30], drop=True), 107892, "01:00:00;00"),
        (Timebase(NTSC[30]), 108000, "01:00:00:00"),
        (Timebase(NTSC[60], drop=True), 3600, "00:01:00;04"),
        (Timebase(NTSC[24]), 86400, "01:00:00:00"),
        (Timebase(Fraction(120)), 119, "00:00:00:119"),
        (Timebase(Fraction(25)), 24 * 3600 * 25, "00:00:00:00"),  # midnight
    ],
)
def test_known_places(base, frame, text):
    assert base.text(frame) == text
    assert base.frame(text) == frame % base.day


def test_an_hour_of_drop_frame_is_near_an_hour_of_clock():
    assert Timebase(NTSC[30], drop=True).frames(3600) == 107892
    assert Timebase(NTSC[30]).text(Timebase(NTSC[30]).frames(3600)) == "00:59:56:12"


def test_a_number_that_is_skipped_is_the_next_one():
    base = Timebase(NTSC[30], drop=True)
    assert base.frame("00:01:00;00") == base.frame("00:01:00;01") == base.frame("00:01:00;02") == 1800


@pytest.mark.parametrize("text", ["", "1:2", "24:00:00:00", "00:60:00:00", "00:00:61:00", "00:00:00:24", "a:b:c:d"])
def test_what_is_no_time_code(text):
    with pytest.raises(ValueError, match="got"):
        Timebase(Fraction(24)).frame(text)


@pytest.mark.parametrize("rate", [NTSC[24], Fraction(25), Fraction(30), NTSC[48]])
def test_drop_frame_only_where_there_is_one(rate):
    assert not drops(rate)
    with pytest.raises(ValueError, match="drop-frame"):
        Timebase(rate, drop=True)


@pytest.mark.parametrize(
    ("header", "rate"),
    [
        (Fraction(24000, 1001), NTSC[24]),
        (Fraction(2997, 125), NTSC[24]),  # 23.976
        (Fraction(19001, 317), NTSC[60]),  # Matroska's milliseconds
        (Fraction(2997, 100), NTSC[30]),
        (Fraction(299, 10), NTSC[30]),  # a telephone
        (Fraction(25), Fraction(25)),
        (Fraction(15), Fraction(15)),
        (Fraction(125, 10), Fraction(13)),
        (Fraction(1, 4), Fraction(1)),
        (Fraction(120000, 1001), NTSC[120]),
    ],
)
def test_the_rate_that_a_header_means(header, rate):
    assert nearest_rate(header) == rate


@pytest.mark.parametrize("rate", [Fraction(0), Fraction(90000), Fraction(-25)])
def test_what_is_no_rate(rate):
    with pytest.raises(ValueError, match="frames a second"):
        nearest_rate(rate)

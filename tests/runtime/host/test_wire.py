"""Frames and messages: what is written is read, all else is refused, and both implementations mean the same numbers."""

from __future__ import annotations

import importlib.util
import io
import re
import struct
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2d.engines.errors import A2DError, RequestError
from a2d.runtime.host.messages import (
    CHANNELS,
    PAYLOADS,
    Denoised,
    Failed,
    FilmAsked,
    FilmSummary,
    Generate,
    Open,
    Opened,
    PathImage,
    PixelFrames,
    Pixels,
    StepTaken,
    Summary,
)
from a2d.runtime.host.wire import HEADER, LONGEST, Frame, Kind, WireError, pack, read_frame, unpack
from a2d.runtime.host.worker import INTERNAL, STATUSES

EMBED = Path(__file__).parents[3] / "runtime" / "embed"

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
MAYBE = st.none() | TEXT
U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
F32 = st.floats(width=32, allow_nan=False)
IMAGES = st.builds(PathImage, TEXT) | st.builds(Pixels, U64, U32, U32, st.sampled_from(list(CHANNELS)))
FORMS = st.sampled_from(["text", "raw", "messages", "tokens"])
STOPS = st.sampled_from(["stop", "length", "context", "cancelled", "repeats", "budget"])
CONFIDENCES = st.lists(F32, max_size=5).map(tuple)
TOKENS = st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5).map(tuple)

MESSAGES = st.one_of(
    st.builds(Open, TEXT, MAYBE, MAYBE, MAYBE, U32),
    st.builds(Generate, FORMS, MAYBE, U32, U32, F32, MAYBE, st.lists(IMAGES, max_size=3).map(tuple)),
    st.builds(FilmAsked, TEXT, U32, U32, U32, U32, U64, MAYBE, st.lists(IMAGES, max_size=1).map(tuple)),
    st.builds(Opened, *[TEXT] * 4, U32, U32, st.booleans(), st.booleans(), U32, U32, U32, st.floats(0, 100)),
    st.builds(Denoised, U32, U32, U32, U32),
    st.builds(PixelFrames, U32, U32, U32, U32, U32, st.binary(max_size=20)),
    st.builds(FilmSummary, STOPS, *[U32] * 6, *[st.floats(0, 100)] * 3, TEXT),
    st.builds(StepTaken, U32, U32, U32, U32, U32, st.booleans(), F32, TEXT),
    st.builds(
        Summary,
        STOPS,
        U32,
        U32,
        U32,
        U32,
        U32,
        F32,
        st.floats(0, 1),
        st.floats(0, 1),
        TEXT,
        TOKENS,
        CONFIDENCES,
    ),
    st.builds(Failed, st.integers(-30, 0), TEXT),
)


@given(MESSAGES, st.sampled_from(list(Kind)), U32)
def test_what_is_written_is_read(message, kind, number):
    stream = io.BytesIO(Frame(kind, number, pack(message)).encode() + Frame(Kind.PING).encode())
    frame = read_frame(stream)
    assert (frame.kind, frame.id) == (kind, number)
    assert unpack(type(message), frame.payload) == message
    assert read_frame(stream) == Frame(Kind.PING)
    assert read_frame(stream) is None


@given(MESSAGES, st.data())
def test_a_payload_that_is_cut_or_longer_is_refused(message, data):
    payload = pack(message)
    with pytest.raises((WireError, RequestError)):
        unpack(type(message), payload[: data.draw(st.integers(0, len(payload) - 1))])
    with pytest.raises(WireError, match="1 bytes longer"):
        unpack(type(message), payload + b"x")


@given(MESSAGES, st.data())
def test_damaged_bytes_are_an_error_or_another_message(message, data):
    payload = bytearray(pack(message))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert isinstance(unpack(type(message), bytes(payload)), type(message))
    except (WireError, RequestError) as error:
        assert str(error)


@given(st.binary(max_size=64))
def test_bytes_that_are_no_frame_are_refused(data):
    try:
        frame = read_frame(io.BytesIO(data))
        assert frame is None or frame.encode() == data[: HEADER.size + len(frame.payload)]
    except WireError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"Warning: imported something", "expected the header of a frame"),
        (HEADER.pack(b"a2d", 2, 4, 0, 0, 0), "version 2, expected 3"),
        (HEADER.pack(b"a2d", 3, 4, 7, 0, 0), "expected the header of a frame"),
        (HEADER.pack(b"a2d", 3, 99, 0, 0, 0), "kind 99, expected one of OPEN"),
        (HEADER.pack(b"a2d", 3, 2, 0, 1, LONGEST + 1), "expected at most"),
        (HEADER.pack(b"a2d", 3, 2, 0, 1, 5) + b"four", "ended within a frame"),
        (b"a2d\x03", "ended within a frame"),
    ],
)
def test_each_fault_of_a_frame_is_named(data, words):
    with pytest.raises(WireError, match=re.escape(words)):
        read_frame(io.BytesIO(data))


def test_texts_that_are_no_utf8_are_the_request_s_fault():
    with pytest.raises(RequestError, match="not UTF-8"):
        unpack(PathImage, struct.pack("<I", 2) + b"\xff\xfe")
    assert unpack(PathImage, pack(PathImage("half \ud800"))) == PathImage("half ?")


def test_a_payload_that_is_too_long_is_not_sent():
    with pytest.raises(WireError, match="expected at most"):
        Frame(Kind.GENERATE, 1, bytes(LONGEST + 1)).encode()


def test_the_documented_bytes():
    assert Frame(Kind.CANCEL, 0x1234).encode() == b"a2d\x03\x03\0\0\0\x34\x12\0\0\0\0\0\0"


# -- the two implementations


def enumerated(file: str, prefix: str) -> dict[str, int]:
    """The numbers of a C enum's names."""
    text = (EMBED / file).read_text(encoding="utf-8")
    return {name: int(number) for name, number in re.findall(rf"\b{prefix}(\w+) = (-?\d+)", text)}


def test_kinds_are_numbered_as_in_c():
    numbered = enumerated("wire.h", "A2D_")
    assert {kind.name: int(kind) for kind in Kind}.items() <= numbered.items()


def test_the_c_library_s_header_is_written_from_these_declarations():
    spec = importlib.util.spec_from_file_location("wire_header", EMBED.parents[1] / "packaging" / "wire_header.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert (EMBED / "wire.h").read_text(encoding="utf-8") == script.header(), "make wire"
    assert set(PAYLOADS) == set(Kind) - {Kind.CANCEL, Kind.PING, Kind.CLOSE, Kind.PONG}


def test_statuses_are_numbered_as_in_c():
    known = enumerated("include/a2d.h", "A2D_ERROR_")
    named = {error.__name__.removesuffix("Error").upper(): status for error, status in STATUSES.items()}
    named = {{"CONTEXTFULL": "CONTEXT", "WIRE": "PROTOCOL"}.get(name, name): n for name, n in named.items()}
    assert named.pop("CONTRACT") == known["BUNDLE"]
    assert {name: known[name] for name in named} == named
    assert known["INTERNAL"] == INTERNAL
    assert {e for e in STATUSES if issubclass(e, A2DError)} >= {RequestError}


def _names(kind: type, field: str) -> list[str]:
    return list(next(f for f in fields(kind) if f.name == field).metadata["wire"].names)


def test_names_are_numbered_as_in_c():
    stops = enumerated("include/a2d.h", "A2D_STOP_")
    assert list(stops) == ["TOKEN", "LENGTH", "CONTEXT", "CANCELLED", "REPEATS", "BUDGET"]
    assert list(stops.values()) == [*range(6)]
    assert _names(Summary, "stop") == ["stop", *(name.lower() for name in list(stops)[1:])]
    assert _names(FilmSummary, "stop") == _names(Summary, "stop")
    prompts = enumerated("include/a2d.h", "A2D_PROMPT_")
    assert [name.upper() for name in _names(Generate, "prompt_format")] == list(prompts)
    layouts = {n.lower(): i for i, n in enumerate(name.upper() for name in CHANNELS)}
    text = (EMBED / "include" / "a2d.h").read_text(encoding="utf-8")
    assert layouts == {name.lower(): int(n) for name, n in re.findall(r"A2D_((?:RGB|BGR|GRAY)A?8) = (\d)", text)}

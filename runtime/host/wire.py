"""Frames and their payloads as bytes: how a host and its worker talk, as docs/embedding.md explains it.

What is declared here and in `messages.py` is declared once: `packaging/wire_header.py` writes it for the C library.

A payload is the fields of a dataclass one after the other, each in the form that `wire(...)` gives it. Nothing that
comes is believed: what is not exactly as it should be is a WireError. Knows bytes, not what they ask for.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import IntEnum
from typing import Any, Protocol, TypeVar

from ...engines.errors import RequestError

__all__ = [
    "BYTES",
    "HEADER",
    "LONGEST",
    "MAYBE_TEXT",
    "TEXT",
    "VERSION",
    "Form",
    "Frame",
    "Kind",
    "ListOf",
    "Name",
    "Number",
    "Payload",
    "Readable",
    "WireError",
    "pack",
    "read_frame",
    "unpack",
    "wire",
]

T = TypeVar("T")

VERSION = 3
MAGIC = b"a2d"

HEADER = struct.Struct("<3sBHHII")
"""Magic, version, kind, zero, id, length of the payload."""

LONGEST = 16 << 20
"""Bytes of a payload at most."""

ABSENT = 0xFFFFFFFF
"""The length of a text that is not there, which is not the same as an empty one."""


class WireError(ValueError):
    """Bytes that are no frame, or a frame that is not what its kind says."""


class Kind(IntEnum):
    """Kinds of frames: up to 64 from the host, above from the worker."""

    OPEN = 1
    GENERATE = 2
    CANCEL = 3
    PING = 4
    CLOSE = 5
    FILM = 6
    OPENED = 65
    STEP = 66
    DONE = 67
    FAILED = 68
    PONG = 69
    DENOISED = 70
    PIXELS = 71
    FILMED = 72


class Readable(Protocol):
    """A stream: up to `size` bytes, none at its end."""

    def read(self, size: int, /) -> bytes:
        """Read some."""


@dataclass(frozen=True)
class Frame:
    """One frame."""

    kind: Kind
    id: int = 0
    """The generation that it is about; 0 is the worker as a whole."""
    payload: bytes = b""

    def encode(self) -> bytes:
        """Its bytes. Raises WireError for a payload that is too long."""
        if len(self.payload) > LONGEST:
            raise WireError(f"a {self.kind.name} of {len(self.payload)} bytes came up, expected at most {LONGEST}")
        return HEADER.pack(MAGIC, VERSION, self.kind, 0, self.id, len(self.payload)) + self.payload


def read_frame(stream: Readable) -> Frame | None:
    """The next frame; None at the end of the stream, which may only be between two. Raises WireError."""
    head = _exactly(stream, HEADER.size)
    if not head:
        return None
    magic, version, kind, zero, number, length = HEADER.unpack(head)
    if magic != MAGIC or zero:
        raise WireError(f"got {head!r}, expected the header of a frame")
    if version != VERSION:
        raise WireError(
            f"got a frame of version {version}, expected {VERSION}: use an a2d of the host library's release"
        )
    if length > LONGEST:
        raise WireError(f"got a frame of {length} bytes, expected at most {LONGEST}")
    if kind not in list(Kind):
        raise WireError(f"got a frame of kind {kind}, expected one of {', '.join(f'{k.name} ({k:d})' for k in Kind)}")
    payload = _exactly(stream, length)
    if len(payload) < length:
        raise WireError("the stream ended within a frame")
    return Frame(Kind(kind), number, payload)


def _exactly(stream: Readable, size: int) -> bytes:
    """So many bytes, or none at the end of the stream. Raises WireError for an end in between."""
    made = bytearray()
    while len(made) < size and (part := stream.read(min(size - len(made), 1 << 20))):
        made += part
    if made and len(made) < size:
        raise WireError("the stream ended within a frame")
    return bytes(made)


class Payload:
    """A payload that is taken apart from its beginning."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, length: int) -> bytes:
        """The next bytes. Raises WireError where there are not so many."""
        taken = self._data[self._at : self._at + length]
        if len(taken) < length:
            raise WireError("a payload is shorter than it should be")
        self._at += length
        return taken

    def end(self) -> None:
        """Raise WireError unless all has been taken."""
        if self._at != len(self._data):
            raise WireError(f"a payload is {len(self._data) - self._at} bytes longer than it should be")


class Form(Protocol):
    """A field's form on the wire."""

    def write(self, value: Any) -> bytes:
        """The bytes of a value."""

    def read(self, payload: Payload) -> Any:
        """The next value. Raises WireError."""


class Number:
    """One of struct's numbers, little-endian; `code` is its letter there."""

    def __init__(self, code: str) -> None:
        self.code, self._struct = code, struct.Struct(f"<{code}")

    def write(self, value: float) -> bytes:
        """See Form."""
        return self._struct.pack(value)

    def read(self, payload: Payload) -> Any:
        """See Form."""
        return self._struct.unpack(payload.take(self._struct.size))[0]


LENGTH = Number("I")


class _MaybeText:
    """UTF-8 behind its length, or None."""

    def write(self, value: str | None) -> bytes:
        """See Form."""
        # A message of an operating system may hold half a character, which no UTF-8 spells.
        raw = b"" if value is None else value.encode("utf-8", errors="replace")
        return LENGTH.write(ABSENT if value is None else len(raw)) + raw

    def read(self, payload: Payload) -> str | None:
        """See Form. Raises RequestError for bytes that are no UTF-8: the frame is sound then, its request is not."""
        length = LENGTH.read(payload)
        if length == ABSENT:
            return None
        try:
            return payload.take(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise RequestError(f"got a text that is not UTF-8 ({error}); convert it first") from error


class _Text(_MaybeText):
    """A text that has to be there."""

    def read(self, payload: Payload) -> str:
        """See Form."""
        if (text := super().read(payload)) is None:
            raise WireError("a text is missing that has to be there")
        return text


TEXT, MAYBE_TEXT = _Text(), _MaybeText()


class _Bytes:
    """Bytes behind their length."""

    def write(self, value: bytes) -> bytes:
        """See Form."""
        return LENGTH.write(len(value)) + value

    def read(self, payload: Payload) -> bytes:
        """See Form."""
        return payload.take(LENGTH.read(payload))


BYTES = _Bytes()


class Name:
    """One of a few names, as its number."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def write(self, value: str) -> bytes:
        """See Form."""
        return bytes([self.names.index(value)])

    def read(self, payload: Payload) -> str:
        """See Form."""
        (number,) = payload.take(1)
        if number >= len(self.names):
            raise WireError(f"got {number}, expected 0 to {len(self.names) - 1}: {', '.join(self.names)}")
        return self.names[number]


class ListOf:
    """Any number of the same form, `item`, behind their count."""

    def __init__(self, item: Form) -> None:
        self.item = item

    def write(self, value: Sequence[Any]) -> bytes:
        """See Form."""
        return LENGTH.write(len(value)) + b"".join(self.item.write(item) for item in value)

    def read(self, payload: Payload) -> tuple[Any, ...]:
        """See Form."""
        return tuple(self.item.read(payload) for _ in range(LENGTH.read(payload)))


def wire(form: Form) -> Any:
    """A field of a message, in that form."""
    return field(metadata={"wire": form})


def pack(message: Any) -> bytes:
    """A message as a payload."""
    return b"".join(f.metadata["wire"].write(getattr(message, f.name)) for f in fields(message))


def unpack(kind: type[T], payload: bytes) -> T:
    """A message from a payload. Raises WireError, and RequestError for a text that is not UTF-8."""
    rest = Payload(payload)
    message = read_fields(kind, rest)
    rest.end()
    return message


def read_fields(kind: type[T], payload: Payload) -> T:
    """A message from the beginning of a payload."""
    return kind(*(f.metadata["wire"].read(payload) for f in fields(kind)))  # type: ignore[arg-type]

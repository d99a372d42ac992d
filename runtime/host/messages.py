"""Messages between a host and its worker, a dataclass for each kind of frame. docs/embedding.md has tables.

CANCEL, PING, CLOSE and PONG say all by their kind and id, and have no payload. The C library's side is written from
this file (`packaging/wire_header.py`): fields have the names of its structs. Knows forms, not what is done with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .wire import BYTES, MAYBE_TEXT, TEXT, Kind, ListOf, Name, Number, Payload, pack, read_fields, wire

__all__ = [
    "CHANNELS",
    "IMAGE",
    "PAYLOADS",
    "Denoised",
    "Failed",
    "FilmAsked",
    "FilmSummary",
    "Generate",
    "Open",
    "Opened",
    "PathImage",
    "PixelFrames",
    "Pixels",
    "StepTaken",
    "Summary",
]

U8, U32, U64, I32, F32, F64 = (Number(form) for form in "BIQifd")
FLAG = Number("?")

STOPS = Name("stop", "length", "context", "cancelled", "repeats", "budget")

CHANNELS = {"rgb8": 3, "rgba8": 4, "bgr8": 3, "bgra8": 4, "gray8": 1}
"""Bytes of a pixel, by layout."""


# -- from the host


@dataclass(frozen=True)
class Open:
    """Load a bundle; None and 0 leave the choice to a2d."""

    path: str = wire(TEXT)
    precision: str | None = wire(MAYBE_TEXT)
    engine: str | None = wire(MAYBE_TEXT)
    device: str | None = wire(MAYBE_TEXT)
    threads: int = wire(U32)


@dataclass(frozen=True)
class PathImage:
    """An image in a file."""

    path: str = wire(TEXT)


@dataclass(frozen=True)
class Pixels:
    """An image in the shared file: rows without gaps, top first."""

    offset: int = wire(U64)
    width: int = wire(U32)
    height: int = wire(U32)
    layout: str = wire(Name(*CHANNELS))


class _Image:
    """One of the two, behind its number."""

    kinds: tuple[type[Any], ...] = (PathImage, Pixels)
    names = Name("path", "pixels")

    def write(self, value: PathImage | Pixels) -> bytes:
        """See Form."""
        return bytes([self.kinds.index(type(value))]) + pack(value)

    def read(self, payload: Payload) -> PathImage | Pixels:
        """See Form."""
        return read_fields(self.kinds[self.names.names.index(self.names.read(payload))], payload)  # type: ignore[no-any-return]


IMAGE = _Image()


@dataclass(frozen=True)
class Generate:
    """Queue a generation; zeros leave the choice to the bundle."""

    prompt_format: str = wire(Name("text", "raw", "messages", "tokens"))
    """A user's message, text as it is, a JSON list of messages, or a JSON list of token ids."""
    prompt: str | None = wire(MAYBE_TEXT)
    """None asks the bundle's own question."""
    max_tokens: int = wire(U32)
    steps: int = wire(U32)
    threshold: float = wire(F32)
    options: str | None = wire(MAYBE_TEXT)
    """A JSON object with other fields of Options."""
    images: tuple[PathImage | Pixels, ...] = wire(ListOf(IMAGE))


@dataclass(frozen=True)
class FilmAsked:
    """Queue a film: the payload of FILM. Zeros leave the choice to the bundle."""

    prompt: str = wire(TEXT)
    frames: int = wire(U32)
    """Pixel frames."""
    height: int = wire(U32)
    width: int = wire(U32)
    steps: int = wire(U32)
    seed: int = wire(U64)
    options: str | None = wire(MAYBE_TEXT)
    """A JSON object with other fields of FilmOptions."""
    images: tuple[PathImage | Pixels, ...] = wire(ListOf(IMAGE))
    """The first picture, or none."""


# -- from the worker


@dataclass(frozen=True)
class Opened:
    """The bundle is loaded."""

    version: str = wire(TEXT)
    """Version of a2d."""
    name: str = wire(TEXT)
    precision: str = wire(TEXT)
    engine: str = wire(TEXT)
    block_size: int = wire(U32)
    max_context: int = wire(U32)
    """Both 0 where the bundle writes no words."""
    vision: bool = wire(FLAG)
    films: bool = wire(FLAG)
    frames: int = wire(U32)
    height: int = wire(U32)
    width: int = wire(U32)
    fps: float = wire(F64)
    """Length, size in pixels and rate of a film where nothing else is asked for; 0 where the bundle does not film."""


@dataclass(frozen=True)
class StepTaken:
    """The outcome of one step."""

    block: int = wire(U32)
    index: int = wire(U32)
    accepted: int = wire(U32)
    masked: int = wire(U32)
    tokens: int = wire(U32)
    """Written so far."""
    final: bool = wire(FLAG)
    confidence: float = wire(F32)
    """Mean over the tokens accepted, 0 where there is none."""
    text: str = wire(TEXT)
    """All of it so far."""


@dataclass(frozen=True)
class Summary:
    """The end of a generation that wrote text: the payload of DONE."""

    stop: str = wire(STOPS)
    forwards: int = wire(U32)
    steps: int = wire(U32)
    blocks: int = wire(U32)
    prompt_tokens: int = wire(U32)
    cached_tokens: int = wire(U32)
    confidence: float = wire(F32)
    """Mean over the tokens up to the stop token, 0 where there is none."""
    seconds: float = wire(F64)
    first_block_seconds: float = wire(F64)
    text: str = wire(TEXT)
    token_ids: tuple[int, ...] = wire(ListOf(I32))
    token_confidence: tuple[float, ...] = wire(ListOf(F32))
    """One for each of `token_ids`, 0 to 1."""


@dataclass(frozen=True)
class Denoised:
    """The outcome of one step of a film."""

    block: int = wire(U32)
    index: int = wire(U32)
    steps: int = wire(U32)
    """Steps of the block."""
    frames: int = wire(U32)
    """Pixel frames that were sent so far."""


@dataclass(frozen=True)
class PixelFrames:
    """Frames of a film one after the other, all of one block: the payload of PIXELS."""

    block: int = wire(U32)
    first: int = wire(U32)
    """Number of the first of them in the film, from 0."""
    count: int = wire(U32)
    height: int = wire(U32)
    width: int = wire(U32)
    pixels: bytes = wire(BYTES)
    """`[count, height, width, 3]`, rows without gaps, top first."""


@dataclass(frozen=True)
class FilmSummary:
    """The end of a generation that made pixels: the payload of FILMED."""

    stop: str = wire(STOPS)
    """`length`: all frames were made; or `cancelled`."""
    forwards: int = wire(U32)
    steps: int = wire(U32)
    blocks: int = wire(U32)
    frames: int = wire(U32)
    height: int = wire(U32)
    width: int = wire(U32)
    fps: float = wire(F64)
    seconds: float = wire(F64)
    first_block_seconds: float = wire(F64)
    """From the beginning to the first block's frames, the reading of the prompt included."""
    remarks: str = wire(TEXT)
    """A sentence a line about what was done differently from what was asked."""


@dataclass(frozen=True)
class Failed:
    """A generation, or with id 0 the worker as a whole, has failed."""

    status: int = wire(I32)
    """An a2d_status of a2d.h."""
    message: str = wire(TEXT)


PAYLOADS: dict[Kind, type[Any]] = {
    Kind.OPEN: Open,
    Kind.GENERATE: Generate,
    Kind.FILM: FilmAsked,
    Kind.OPENED: Opened,
    Kind.STEP: StepTaken,
    Kind.DONE: Summary,
    Kind.FAILED: Failed,
    Kind.DENOISED: Denoised,
    Kind.PIXELS: PixelFrames,
    Kind.FILMED: FilmSummary,
}
"""Message of each kind of frame that has a payload."""

"""Messages between a host and its worker, a dataclass for each kind of frame. docs/embedding.md has tables.

CANCEL, PING, CLOSE and PONG say all by their kind and id, and have no payload. Knows forms, not what is done with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .wire import MAYBE_TEXT, TEXT, ListOf, Name, Number, Payload, pack, read_fields, wire

__all__ = ["CHANNELS", "Failed", "Generate", "Open", "Opened", "PathImage", "Pixels", "StepTaken", "Summary"]

U8, U32, U64, I32, F32, F64 = (Number(form) for form in "BIQifd")
FLAG = Number("?")

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


@dataclass(frozen=True)
class Generate:
    """Queue a generation; zeros leave the choice to the bundle."""

    form: str = wire(Name("text", "raw", "messages", "tokens"))
    """A user's message, text as it is, a JSON list of messages, or a JSON list of token ids."""
    prompt: str | None = wire(MAYBE_TEXT)
    """None asks the bundle's own question."""
    max_tokens: int = wire(U32)
    steps: int = wire(U32)
    threshold: float = wire(F32)
    options: str | None = wire(MAYBE_TEXT)
    """A JSON object with other fields of Options."""
    images: tuple[PathImage | Pixels, ...] = wire(ListOf(_Image()))


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
    vision: bool = wire(FLAG)


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
    """The end of a generation: the payload of DONE."""

    stop: str = wire(Name("stop", "length", "context", "cancelled", "repeats", "budget"))
    modality: str = wire(Name("text"))
    """Modality of the answer."""
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
    tokens: tuple[int, ...] = wire(ListOf(I32))
    token_confidence: tuple[float, ...] = wire(ListOf(F32))
    """One for each of `tokens`, 0 to 1."""


@dataclass(frozen=True)
class Failed:
    """A generation, or with id 0 the worker as a whole, has failed."""

    status: int = wire(I32)
    """An a2d_status of a2d.h."""
    message: str = wire(TEXT)

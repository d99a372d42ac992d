"""Bounds of one server: what a request may hold, how many may wait, how much is kept. Frozen data."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Bounds that keep a server's memory and disk finite, whatever its clients do."""

    places: int = 4
    """Answers of all models that are under way at the same time; each has a cache."""
    together: int = 1
    """Answers, of those that are under way, that one forward takes on; 1: they take turns."""
    waiting: int = 64
    """Requests that wait for a place; the next one is refused with 429."""
    body: int = 32 * MIB
    """Bytes of one JSON request."""
    held: int = 256 * MIB
    """Bytes of all JSON requests that are being served; more are refused with 429."""
    upload: int = 256 * MIB
    """Bytes of one uploaded file."""
    kept: int = 1024 * MIB
    """Bytes of all uploaded and filmed files."""
    files: int = 1000
    """Files and jobs that are kept."""
    pixels: int = 16_000_000
    """Pixels of one picture."""
    pictures: int = 16
    """Pictures of one request."""
    characters: int = 1_000_000
    """Characters of one request's texts."""
    stalled: float = 30.0
    """Seconds that a client may take to send or to fetch a piece."""
    unread: int = 64
    """Events that wait for a client; its answer is not decoded further before it has read some."""
    shapes: int = 16
    """Requests whose shape is being compiled, or waits for it; more are refused with 429."""
    shape_seconds: float = 60.0
    """Seconds that compiling a shape may take."""
    shape_memory: int = 3072 * MIB
    """Address space of the process that compiles a shape."""

"""The forms in which a log is written: a table of names, each a function from a log to pieces of text.

A writer is one file, and imports what it needs when it is first used. It knows logs; not where its text goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module

from .log import Log

__all__ = ["WRITERS", "writer"]

WRITERS = {
    ".jsonl": "one line for each shot, for programs",
    ".csv": "the same as a table, for people and databases",
    ".otio": "an OpenTimelineIO timeline with markers and metadata",
    ".edl": "markers of that timeline for DaVinci Resolve and others (CMX 3600)",
    ".html": "a page with thumbnails that needs nothing else",
}
"""Ending of the file to what it is."""


def writer(suffix: str) -> Callable[[Log], Iterator[str]]:
    """The writer of that ending, which lies in the file of its name."""
    pieces: Callable[[Log], Iterator[str]] = import_module(f".{suffix[1:]}", __name__).pieces
    return pieces

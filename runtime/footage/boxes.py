"""The outermost boxes of an MP4 or QuickTime file (ISO/IEC 14496-12). Reads their headers and nothing inside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

__all__ = ["recordings"]

MOST = 100_000
"""Boxes that are looked at; a file of more is made of fragments."""


def recordings(path: Path) -> int:
    """Recordings that were joined as bytes: each has a `moov` of its own, and players see the first alone.

    A file of fragments is one, however often its header is repeated. Raises OSError.
    """
    kinds = list(_kinds(path))
    return 1 if b"moof" in kinds else max(1, kinds.count(b"moov"))


def _kinds(path: Path) -> Iterator[bytes]:
    """The type of each box, up to the first that cannot be one."""
    size, at = path.stat().st_size, 0
    with path.open("rb") as file:
        for _ in range(MOST):
            file.seek(at)
            head = file.read(16)
            length = int.from_bytes(head[:4], "big")
            length = int.from_bytes(head[8:16], "big") if length == 1 else length
            if len(head) < 8 or not 8 <= length <= size - at:
                return
            yield head[4:8]
            at += length

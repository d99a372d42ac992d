"""The outcome of one film: counts, sizes and times. The pixels are those of its blocks. Knows nothing of files."""

from __future__ import annotations

from dataclasses import dataclass

from ..decode.result import Result

__all__ = ["PixelsResult", "Seconds"]


@dataclass
class Seconds:
    """Time spent, by part; `total` is the sum with what the host did between them."""

    text: float = 0.0
    denoise: float = 0.0
    commit: float = 0.0
    pixels: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, kw_only=True)
class PixelsResult(Result):
    """Counts and sizes of the frames that a film has given, block by block."""

    modality = "pixels"

    frames: int
    """Pixel frames made."""
    height: int
    width: int
    """Size of a frame, in pixels."""
    fps: float
    """Frames a second."""
    parts: Seconds
    """The time by part; its total is `seconds`, the reading of the prompt included."""
    remarks: tuple[str, ...] = ()
    """Sentences about what was done differently from what was asked."""

"""A film on a terminal while it is made: a line that updates, and small pictures of blocks. Knows escape codes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from ..console.lines import CLEAR, span
from ..film.film import Film, FilmBlock
from ..film.loop import Step
from ..film.result import Seconds

__all__ = ["FilmView", "picture", "rates"]

REDRAW = 0.1
"""Seconds between updates of the line."""

PLAIN = "\x1b[0m"


class FilmView:
    """Draws a line after steps, and with `previews` the last frame of each block above it."""

    def __init__(self, stream: TextIO, film: Film, previews: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._film, self._previews, self._clock = stream, film, previews, clock
        self._live = stream.isatty()
        self._started, self._shown, self._frames = clock(), float("-inf"), 0

    def step(self, step: Step) -> None:
        """A step has been taken."""
        blocks = self._film.clip.blocks
        now = self._clock()
        if self._live and now - self._shown >= REDRAW:
            self._shown = now
            at = f"block {step.block.index + 1} of {blocks[-1].index + 1}, step {step.step + 1} of {step.steps}"
            self._write(f"{CLEAR}{self._cut(f'{at}  {self._pace()}')}")

    def block(self, block: FilmBlock) -> None:
        """A block is done."""
        self._frames += len(block.frames)
        if self._previews:
            self._write(f"{CLEAR if self._live else ''}{picture(block.frames[-1], *self._room())}\n")

    def close(self) -> None:
        """Take the line away."""
        if self._live:
            self._write(CLEAR)

    def _pace(self) -> str:
        clip, made = self._film.clip, self._frames
        spent, ahead = self._clock() - self._started, clip.frames - made
        left = f"  {span(spent / made * ahead)} left" if made else ""
        return f"{made} of {clip.frames} frames  {rates(self._film.seconds, made)}{left}"

    def _room(self) -> tuple[int, int]:
        columns, lines = shutil.get_terminal_size()
        return max(8, min(columns - 1, 64)), max(4, lines - 4)

    def _cut(self, line: str) -> str:
        return line[: shutil.get_terminal_size().columns - 1]

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def rates(seconds: Seconds, frames: int) -> str:
    """Frames a second of each part by itself, and end to end."""
    parts = {"denoise": seconds.denoise, "commit": seconds.commit, "VAE": seconds.pixels, "end to end": seconds.total}
    said = [f"{name} {frames / spent:.1f}" for name, spent in parts.items() if spent > 0 and frames]
    return f"fps: {', '.join(said)}" if said else ""


def picture(frame: NDArray[np.uint8], columns: int, lines: int) -> str:
    """A frame as coloured half blocks, at most so large; a character is two pixels high."""
    height, width = frame.shape[:2]
    scale = max(width / columns, height / (2 * lines))
    wide, high = max(1, int(width / scale)), max(1, int(height / scale / 2)) * 2
    rows = np.arange(high) * height // high
    cells = frame[rows][:, np.arange(wide) * width // wide]
    drawn = []
    for top, bottom in zip(cells[0::2], cells[1::2], strict=True):
        pairs = zip(top.tolist(), bottom.tolist(), strict=True)
        drawn.append("".join(f"\x1b[38;2;{a};{b};{c}m\x1b[48;2;{x};{y};{z}m\u2580" for (a, b, c), (x, y, z) in pairs))
    return f"{PLAIN}\n".join(drawn) + PLAIN

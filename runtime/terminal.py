"""A block on a terminal, masks filling in, in place. Knows lines and escape codes; not where steps come from."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TextIO

import numpy as np

from .block import Step

__all__ = ["BlockView"]

FRESH, DIM, PLAIN = "\x1b[32;1m", "\x1b[2m", "\x1b[0m"
CLEAR_BELOW = "\r\x1b[J"


class BlockView:
    """Draws the text so far and the current block after every step.

    Tokens accepted in the last step are green, masks are dim blocks. The line being written is drawn anew each time;
    lines before it stay.
    """

    def __init__(self, stream: TextIO, detokenize: Callable[[Sequence[int]], str]) -> None:
        self._stream, self._detokenize = stream, detokenize
        self._settled: list[int] = []
        self._printed = ""  # whole lines that are not drawn again
        self._rows = 0
        self._mask = "\u2591" if "utf" in (stream.encoding or "").lower() else "_"
        if os.name == "nt":
            os.system("")

    def show(self, step: Step) -> None:
        """Draw the block as it is after `step`."""
        before = self._text(self._settled)
        if step.final:
            self._settled += step.tokens[step.fixed :].tolist()
            self._draw(self._text(self._settled), "")
        else:
            self._draw(before, self._block(step))

    def close(self) -> None:
        """Leave the cursor on a line of its own."""
        self._stream.write(PLAIN + "\n")
        self._stream.flush()

    def _text(self, tokens: list[int]) -> str:
        return self._detokenize(tokens) or " ".join(map(str, tokens))

    def _block(self, step: Step) -> str:
        fresh = np.isin(np.arange(len(step.tokens)), step.accepted) & ~step.masked
        state = np.where(step.masked, 2, fresh)[step.fixed :]
        parts = []
        for kind, rows in groupby(range(len(state)), key=lambda i: int(state[i])):
            ids = [int(step.tokens[step.fixed + i]) for i in rows]
            text = self._mask * 2 * len(ids) if kind == 2 else self._text(ids)
            parts.append(f"{(PLAIN, FRESH, DIM)[kind]}{text}{PLAIN}")
        return "".join(parts)

    def _draw(self, text: str, block: str) -> None:
        up = f"\x1b[{self._rows}A" if self._rows else ""
        line = text[len(self._printed) :]
        kept, newline, rest = line.rpartition("\n")
        self._stream.write(f"{up}{CLEAR_BELOW}{kept}{newline}{rest}{block}")
        self._stream.flush()
        self._printed += kept + newline
        self._rows = _rows(rest + block)


def _rows(text: str) -> int:
    """Line breaks that `text` takes on this terminal."""
    columns = shutil.get_terminal_size().columns
    for code in (FRESH, DIM, PLAIN):
        text = text.replace(code, "")
    widths = [sum(_width(c) for c in line) for line in text.split("\n")]
    return len(widths) - 1 + sum(max(0, width - 1) // columns for width in widths)


def _width(char: str) -> int:
    return 2 if unicodedata.east_asian_width(char) in "WF" else int(not unicodedata.combining(char))

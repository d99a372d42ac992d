"""A block on a terminal, masks filling in, in place. Knows lines and escape codes; not where steps come from."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TextIO

import numpy as np

from ..console.lines import HARMLESS
from ..decode.block import Step

__all__ = ["DIM", "PLAIN", "BlockView"]

FRESH, DIM, PLAIN = ("", "", "") if os.environ.get("NO_COLOR") else ("\x1b[32;1m", "\x1b[2m", "\x1b[0m")
"""Codes of colours; none where NO_COLOR is set (no-color.org)."""

CLEAR_BELOW = "\r\x1b[J"


class BlockView:
    """Draws the text so far and the current block after every step.

    Tokens accepted in the last step are green, masks are dim blocks. The row of the screen where the settled text
    ends is drawn anew each time, with the block; rows before it stay, and may scroll away. What the stream cannot
    encode, and control characters that a model might write, come out as replacement characters.
    """

    def __init__(self, stream: TextIO, detokenize: Callable[[Sequence[int]], str]) -> None:
        self._stream, self._detokenize = stream, detokenize
        self._settled: list[int] = []
        self._printed = ""  # whole rows of the screen that are not drawn again
        self._rows = 0
        self._mask = "\u2591" if "utf" in (stream.encoding or "").lower() else "_"
        if os.name == "nt":
            os.system("")

    def show(self, step: Step) -> None:
        """Draw the block as it is after `step`."""
        before = self._text(self._settled)
        if step.final:
            self._settled += step.tokens[step.prompt :].tolist()
            self._draw(self._text(self._settled), "")
        else:
            self._draw(before, self._block(step))

    def close(self) -> None:
        """Leave the cursor on a line of its own."""
        self._stream.write(PLAIN + "\n")
        self._stream.flush()

    def _text(self, tokens: list[int]) -> str:
        text = self._detokenize(tokens).translate(HARMLESS)
        encoding = self._stream.encoding or "utf-8"
        return text.encode(encoding, "replace").decode(encoding)

    def _block(self, step: Step) -> str:
        fresh = np.isin(np.arange(len(step.tokens)), step.accepted) & ~step.masked
        state = np.where(step.masked, 2, fresh)[step.prompt :]
        parts = []
        for kind, rows in groupby(range(len(state)), key=lambda i: int(state[i])):
            ids = [int(step.tokens[step.prompt + i]) for i in rows]
            text = self._mask * 2 * len(ids) if kind == 2 else self._text(ids)
            parts.append(f"{(PLAIN, FRESH, DIM)[kind]}{text}{PLAIN}")
        return "".join(parts)

    def _draw(self, text: str, block: str) -> None:
        up = f"\x1b[{self._rows}A" if self._rows else ""
        line = text[len(self._printed) :]
        self._stream.write(f"{up}{CLEAR_BELOW}{line}{block}")
        self._stream.flush()
        kept = _row_starts(line)[-1]
        self._printed += line[:kept]
        self._rows = len(_row_starts(_bare(line[kept:] + block))) - 1


def _bare(text: str) -> str:
    for code in filter(None, (FRESH, DIM, PLAIN)):
        text = text.replace(code, "")
    return text


def _row_starts(text: str) -> list[int]:
    """Indices at which terminal rows of `text` begin. A full row ends with the first character that does not fit."""
    columns = shutil.get_terminal_size().columns
    starts, used = [0], 0
    for at, char in enumerate(text):
        width = _width(char)
        if char == "\n":
            starts.append(at + 1)
            used = 0
        elif used + width > columns:
            starts.append(at)
            used = width
        else:
            used += width
    return starts


def _width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
